// Names of budgets and purposes: whoever set one need not have written it in the case in which
// requests name it, so that both are compared without (ASCII).
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <string_view>

namespace tradewind::ledger {

struct AnyCase {
  std::string_view text;

  friend std::weak_ordering operator<=>(AnyCase a, AnyCase b) {
    const auto lower = [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    };
    const size_t both = std::min(a.text.size(), b.text.size());
    for (size_t i = 0; i < both; ++i) {
      if (const char x = a.text[i], y = b.text[i]; x != y && lower(x) != lower(y)) {
        return lower(x) <=> lower(y);
      }
    }
    return a.text.size() <=> b.text.size();
  }
  friend bool operator==(AnyCase a, AnyCase b) { return (a <=> b) == 0; }
};

// The order of a map whose keys may differ in case alone: these stand beside each other, and are
// all found by an AnyCase.
struct NameLess {
  using is_transparent = void;

  bool operator()(std::string_view a, std::string_view b) const {
    const auto order = AnyCase{a} <=> AnyCase{b};
    return order == 0 ? a < b : order < 0;
  }
  bool operator()(std::string_view a, AnyCase b) const { return AnyCase{a} < b; }
  bool operator()(AnyCase a, std::string_view b) const { return a < AnyCase{b}; }
};

}  // namespace tradewind::ledger
