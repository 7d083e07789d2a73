#include "pricing/cost_parts.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "pricing/terms.h"

namespace tradewind::pricing {
namespace {

using Wide = unsigned __int128;

struct Part {
  int64_t nano = 0;
  Wide rest = 0;  // of the division, over the power of ten of all
};

Wide PowerOfTen(int places) {
  Wide value = 1;
  for (int i = 0; i < places; ++i) {
    value *= 10;
  }
  return value;
}

}  // namespace

Result<CostParts> CostPartsNanoUsd(const catalog::Prices& prices, const TokenCounts& counts) {
  TW_ASSIGN_OR_RETURN(const int64_t total, CostNanoUsd(prices, counts));
  TW_ASSIGN_OR_RETURN(const Terms terms, TermsOf(prices, counts));
  const int least = LeastExponent(terms);
  std::array<Part, kUnits> all;
  int64_t missing = total;
  for (size_t unit = 0; unit < kUnits; ++unit) {
    const Term& term = terms[unit];
    if (term.is_zero()) {
      continue;
    }
    // No overflow: the whole had room, and no part is negative.
    const Wide value = static_cast<Wide>(term.price.digits()) * static_cast<Wide>(term.quantity) *
                       PowerOfTen(term.exponent - least);
    // 10^38 is less than 2^128; a price has at most 30 places.
    const Wide whole = PowerOfTen(-least);
    all[unit] = {static_cast<int64_t>(value / whole), value % whole};
    missing -= all[unit].nano;
  }
  // At most one nano-USD for each part with a rest.
  for (; missing > 0; --missing) {
    Part& loser = *std::ranges::max_element(all, {}, &Part::rest);
    TW_CHECK(loser.rest > 0);
    ++loser.nano;
    loser.rest = 0;
  }
  const auto of = [&](Unit unit) { return all[static_cast<size_t>(unit)].nano; };
  CostParts parts;
  parts.input = of(Unit::kInput);
  parts.cached = of(Unit::kCached);
  parts.cache_write = of(Unit::kCacheWrite);
  parts.cache_write_1h = of(Unit::kCacheWrite1h);
  parts.output = of(Unit::kOutput);
  parts.reasoning = of(Unit::kReasoning);
  parts.audio_input = of(Unit::kAudioInput);
  parts.audio_output = of(Unit::kAudioOutput);
  parts.image = of(Unit::kImage);
  parts.request = of(Unit::kRequest);
  TW_CHECK(parts.total() == total);
  return parts;
}

}  // namespace tradewind::pricing
