// The query of a URL, as forms write it.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tradewind::http {

using Query = std::vector<std::pair<std::string, std::string>>;

// Percent-decoded, in order; "name[]" is "name". A broken escape stays as it is, and beyond 64 fields
// nothing is read.
Query ParseQuery(std::string_view text);
std::string First(const Query& query, std::string_view name);  // "" when there is none
// A field that may be repeated, and whose values may be joined by commas.
std::set<std::string> All(const Query& query, std::string_view name);
// What a URL's query may hold as it is; the rest percent-encoded.
std::string EncodeQuery(std::string_view text);

}  // namespace tradewind::http
