// Which fields of a request are known to bring no cost beyond its bytes and the bound of its
// answer: those that are read here, and what chooses how tokens are sampled, stopped or shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dialects/json_text.h"

namespace tradewind::dialects {

// The name as CaseFolded leaves it.
bool IsKnownField(std::string_view folded);

// Those that are neither known nor billed apart (billed_apart.h) and say something, in lower case:
// a provider may take them for anything.
std::vector<std::string> UnknownFields(const JsonText& request);

}  // namespace tradewind::dialects
