#include "pricing/cost_parts.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/decimal.h"

namespace tradewind::pricing {
namespace {

// USD per million tokens = 1,000 nano-USD per token.
constexpr int kNanoPerTokenExponent = 3;

struct Part {
  int64_t tokens;
  const Decimal* price;
  int64_t* nano;
  unsigned __int128 rest = 0;  // of the division, over the power of ten of all
};

}  // namespace

Result<CostParts> CostPartsNanoUsd(const catalog::Prices& prices, const TokenCounts& counts) {
  TW_ASSIGN_OR_RETURN(const int64_t total, CostNanoUsd(prices, counts));
  const int64_t written = counts.cache_write.value_or(0);
  const Decimal& cached = prices.cached_input.has_value() ? *prices.cached_input : *prices.input;
  const Decimal& write = prices.cache_write.has_value() ? *prices.cache_write : *prices.input;
  CostParts parts;
  std::array<Part, 4> all = {
      Part{counts.input - counts.cached - written, &*prices.input, &parts.input},
      Part{counts.cached, &cached, &parts.cached}, Part{written, &write, &parts.cache_write},
      Part{counts.output, &*prices.output, &parts.output}};
  int least = 0;
  for (const Part& part : all) {
    if (part.tokens > 0 && !part.price->is_zero()) {
      least = std::min(least, part.price->exponent() + kNanoPerTokenExponent);
    }
  }
  // No overflow: the whole had room, and no part is negative.
  const auto power = [](int places) {
    unsigned __int128 value = 1;
    for (int i = 0; i < places; ++i) {
      value *= 10;
    }
    return value;
  };
  for (Part& part : all) {
    if (part.tokens == 0 || part.price->is_zero()) {
      continue;
    }
    const auto value = static_cast<unsigned __int128>(part.price->digits()) *
                       static_cast<unsigned __int128>(part.tokens) *
                       power(part.price->exponent() + kNanoPerTokenExponent - least);
    // 10^38 is less than 2^128; a price has at most 30 places.
    const unsigned __int128 unit = power(-least);
    *part.nano = static_cast<int64_t>(value / unit);
    part.rest = value % unit;
  }
  // At most one nano-USD for each part with a rest.
  for (int64_t missing = total - parts.total(); missing > 0; --missing) {
    Part& loser = *std::ranges::max_element(all, {}, &Part::rest);
    TW_CHECK(loser.rest > 0);
    ++*loser.nano;
    loser.rest = 0;
  }
  TW_CHECK(parts.total() == total);
  return parts;
}

}  // namespace tradewind::pricing
