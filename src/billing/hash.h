// What says whether two texts are the same.
#pragma once

#include <string>
#include <string_view>

namespace tradewind::billing {

// SHA-256, as 64 hexadecimal digits in lower case.
std::string Sha256Hex(std::string_view bytes);

}  // namespace tradewind::billing
