// Text for who takes ASCII alone, as FOCUS does.
#pragma once

#include <string>
#include <string_view>

namespace tradewind::billing {

bool IsAscii(std::string_view text);

// Latin letters without their marks ("Muller & Sohne"), plain dashes and quotes; the rest as
// AsciiEscaped has it.
std::string AsciiFolded(std::string_view text);

// What is none of ASCII as JSON escapes it ("\u4e2d"): JSON stays the same JSON, and different
// texts stay different.
std::string AsciiEscaped(std::string_view text);

}  // namespace tradewind::billing
