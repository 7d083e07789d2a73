// Text as protocols and ids mean it: ASCII only, whatever the locale says.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace tradewind {

// A to Z become a to z; every other byte stays.
inline std::string AsciiLower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

// As servers compare names that take no notice of case (Go's encoding/json): AsciiLower, and two
// letters from elsewhere that fold into ASCII, the long s and the sign of the kelvin.
inline std::string CaseFolded(std::string_view text) {
  std::string out = AsciiLower(text);
  for (const auto& [from, to] : {std::pair<std::string_view, char>{"\u017F", 's'},
                                 std::pair<std::string_view, char>{"\u212A", 'k'}}) {
    for (size_t at = out.find(from); at != std::string::npos; at = out.find(from, at)) {
      out.replace(at, from.size(), 1, to);
    }
  }
  return out;
}

}  // namespace tradewind
