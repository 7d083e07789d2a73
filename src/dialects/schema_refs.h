// What a template writes of JSON schemas whose `$ref`s it resolves.
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::dialects {

// More than any context holds; what is larger, or too intricate to be measured, counts as this.
inline constexpr int64_t kResolvedBytesMax = 1'000'000'000;

// Bytes of `tools`, JSON with schemas in it, when each "$ref" to something in them ("#/$defs/a") is
// replaced by what it names and the whole is written anew (as in rewritten.h): GigaChat's template
// does, and stops only where a name leads to itself. Of a schema's root any object around the
// reference is taken, whichever gives most. 0: there is no reference, or this is no JSON.
int64_t ResolvedBytes(std::string_view tools);

}  // namespace tradewind::dialects
