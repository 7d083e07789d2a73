#include "pricing/cost.h"

#include <algorithm>
#include <limits>

#include "base/decimal.h"
#include "pricing/terms.h"

namespace tradewind::pricing {
namespace {

// A term has at most 18 + 19 digits.
using Wide = __int128;

constexpr int kPlacesAtOnce = 18;  // so that the divisor has 64 bits

// value x 10^places; false when it leaves 128 bits.
bool Scale(Wide& value, int places) {
  for (int i = 0; i < places; ++i) {
    if (__builtin_mul_overflow(value, Wide{10}, &value)) {
      return false;
    }
  }
  return true;
}

void Raise(std::optional<Decimal>& price, const std::optional<Decimal>& other) {
  if (price.has_value() && other.has_value() && *other > *price) {
    price = other;
  }
}

// Every token at the dearest price that it can have in this tier of `service`.
catalog::Prices DearestOf(const catalog::Prices& prices, size_t service, size_t tier,
                          const UsageBounds& bounds) {
  const catalog::TokenPrices& of = prices.OfService(service).OfTier(tier);
  catalog::Prices dearest;
  dearest.input = of.input;
  Raise(dearest.input, of.cached_input);
  Raise(dearest.input, of.cache_write);
  if (bounds.may_write_cache_1h) {
    Raise(dearest.input, of.cache_write_1h);
  }
  if (bounds.may_have_audio_input) {
    Raise(dearest.input, of.audio_input);
  }
  dearest.output = of.output;
  Raise(dearest.output, of.reasoning);
  if (bounds.may_have_audio_output) {
    Raise(dearest.output, of.audio_output);
  }
  dearest.image = prices.image;
  dearest.request = prices.request;
  return dearest;
}

}  // namespace

Result<int64_t> CostNanoUsd(const catalog::Prices& prices, const TokenCounts& counts) {
  TW_ASSIGN_OR_RETURN(const Terms terms, TermsOf(prices, counts));
  // All terms over one power of ten, so that the sum is exact and is rounded once.
  const int least = LeastExponent(terms);
  const Error too_much{ErrorCode::kResourceExhausted, "the cost does not fit 64 bits of nano-USD"};
  Wide sum = 0;
  for (const Term& term : terms) {
    if (term.is_zero()) {
      continue;
    }
    Wide value = Wide{term.price.digits()} * term.quantity;
    if (!Scale(value, term.exponent - least) || __builtin_add_overflow(sum, value, &sum)) {
      return Fail(too_much);
    }
  }
  // Rounded up: a division is exact but for its remainder, which is remembered.
  bool has_rest = false;
  for (int left = least; left < 0; left += kPlacesAtOnce) {
    Wide divisor = 1;
    Scale(divisor, std::min(-left, kPlacesAtOnce));
    has_rest |= sum % divisor != 0;
    sum /= divisor;
  }
  sum += has_rest ? 1 : 0;
  if (sum > std::numeric_limits<int64_t>::max()) {
    return Fail(too_much);
  }
  return static_cast<int64_t>(sum);
}

bool HasUnpricedWrites(const catalog::Prices& prices, const TokenCounts& counts) {
  const catalog::TokenPrices& tier =
      prices.OfService(counts.service).OfTier(prices.TierOf(counts.input));
  const int64_t written = counts.cache_write.value_or(0);
  const int64_t priced = tier.cache_write.has_value()      ? written
                         : tier.cache_write_1h.has_value() ? counts.cache_write_1h
                                                           : 0;
  return written > priced && !prices.is_free();
}

size_t DearerService(const catalog::Prices& prices, TokenCounts counts, size_t asked) {
  if (asked == 0) {
    return 0;
  }
  counts.service = 0;
  const Result<int64_t> usual = CostNanoUsd(prices, counts);
  counts.service = asked;
  const Result<int64_t> at_it = CostNanoUsd(prices, counts);
  return usual.has_value() && at_it.has_value() && *usual >= *at_it ? 0 : asked;
}

Result<int64_t> WorstCaseNanoUsd(const catalog::Prices& prices, const UsageBounds& bounds) {
  TokenCounts counts;
  counts.requests = bounds.choices;
  const int64_t output_max = bounds.cap_trust.Bound(bounds.output_max, bounds.model_output_max);
  if (bounds.choices < 1 || bounds.output_max < 0 || bounds.images < 0 ||
      __builtin_mul_overflow(output_max, bounds.choices, &counts.output) ||
      __builtin_mul_overflow(bounds.images, bounds.choices, &counts.images)) {
    return Fail(ErrorCode::kInvalidArgument, "the bounds contradict themselves", "usage");
  }
  int64_t most = 0;
  for (size_t tier = 0; tier <= prices.TierOf(bounds.input_max); ++tier) {
    counts.input = tier < prices.tiers.size() ? std::min(bounds.input_max, prices.tiers[tier].above)
                                              : bounds.input_max;
    for (size_t service = 0;; service = bounds.service) {
      TW_ASSIGN_OR_RETURN(const int64_t cost,
                          CostNanoUsd(DearestOf(prices, service, tier, bounds), counts));
      most = std::max(most, cost);
      if (service == bounds.service) {
        break;
      }
    }
  }
  return most;
}

int64_t AffordableOutput(const catalog::Prices& prices, const UsageBounds& bounds,
                         int64_t budget_nanousd) {
  const auto fits = [&](int64_t output) {
    UsageBounds shorter = bounds;
    shorter.output_max = output;
    const Result<int64_t> cost = WorstCaseNanoUsd(prices, shorter);
    return cost.has_value() && *cost <= budget_nanousd;
  };
  // The cost grows with the output: the last that fits, by halving.
  int64_t fitting = 0, beyond = bounds.output_max + 1;
  if (!fits(0)) {
    return 0;
  }
  while (beyond - fitting > 1) {
    const int64_t middle = fitting + (beyond - fitting) / 2;
    (fits(middle) ? fitting : beyond) = middle;
  }
  return fitting;
}

}  // namespace tradewind::pricing
