#include "pricing/cost.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/decimal.h"

namespace tradewind::pricing {
namespace {

// USD per million tokens = 1,000 nano-USD per token.
constexpr int kNanoPerTokenExponent = 3;
// A term has at most 18 + 19 digits.
using Wide = __int128;

struct Term {
  int64_t tokens;
  const Decimal* price;
};

// digits x tokens x 10^exponent; false when it leaves 128 bits.
bool Scale(Wide& value, int places) {
  for (int i = 0; i < places; ++i) {
    if (__builtin_mul_overflow(value, Wide{10}, &value)) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<int64_t> CostNanoUsd(const catalog::Prices& prices, const TokenCounts& counts) {
  if (!prices.is_priced()) {
    return Fail(ErrorCode::kInvalidArgument, "the route has no price", "price");
  }
  const int64_t written = counts.cache_write.value_or(0);
  if (counts.input < 0 || counts.output < 0 || counts.cached < 0 || written < 0 ||
      counts.cached > counts.input || written > counts.input - counts.cached) {
    return Fail(ErrorCode::kInvalidArgument, "the usage contradicts itself", "usage");
  }
  const bool writes_cost_extra =
      prices.cache_write.has_value() && prices.cache_write != prices.input;
  if (writes_cost_extra && !counts.cache_write.has_value() && counts.cached < counts.input) {
    return Fail(ErrorCode::kInvalidArgument,
                "tokens written to the cache have a price, and the usage does not count them",
                "usage");
  }
  const Decimal& cached = prices.cached_input.has_value() ? *prices.cached_input : *prices.input;
  const Decimal& write = writes_cost_extra ? *prices.cache_write : *prices.input;
  const std::array<Term, 4> terms = {Term{counts.input - counts.cached - written, &*prices.input},
                                     Term{counts.cached, &cached}, Term{written, &write},
                                     Term{counts.output, &*prices.output}};
  // All terms over one power of ten, so that the sum is exact and is rounded once.
  int least = 0;
  for (const Term& term : terms) {
    if (term.price->is_negative()) {
      return Fail(ErrorCode::kInvalidArgument, "a price is negative", "price");
    }
    if (term.tokens > 0 && !term.price->is_zero()) {
      least = std::min(least, term.price->exponent() + kNanoPerTokenExponent);
    }
  }
  const Error too_much{ErrorCode::kResourceExhausted, "the cost does not fit 64 bits of nano-USD"};
  Wide sum = 0;
  for (const Term& term : terms) {
    if (term.tokens == 0 || term.price->is_zero()) {
      continue;
    }
    Wide value = Wide{term.price->digits()} * term.tokens;
    if (!Scale(value, term.price->exponent() + kNanoPerTokenExponent - least) ||
        __builtin_add_overflow(sum, value, &sum)) {
      return Fail(too_much);
    }
  }
  // Rounded up: division by ten is exact but for a remainder, which is remembered.
  bool has_rest = false;
  for (int i = least; i < 0; ++i) {
    has_rest |= sum % 10 != 0;
    sum /= 10;
  }
  sum += has_rest ? 1 : 0;
  if (sum > std::numeric_limits<int64_t>::max()) {
    return Fail(too_much);
  }
  return static_cast<int64_t>(sum);
}

Result<int64_t> WorstCaseNanoUsd(const catalog::Prices& prices, int64_t input_max,
                                 int64_t output_max, int64_t choices) {
  int64_t output = 0;
  if (choices < 1 || output_max < 0 || __builtin_mul_overflow(output_max, choices, &output)) {
    return Fail(ErrorCode::kInvalidArgument, "the bounds contradict themselves", "usage");
  }
  catalog::Prices dearest = prices;
  for (const auto& price : {prices.cached_input, prices.cache_write}) {
    if (price.has_value() && dearest.input.has_value() && *price > *dearest.input) {
      dearest.input = price;
    }
  }
  dearest.cache_write.reset();  // it is in the price of the input by now
  return CostNanoUsd(dearest, {input_max, 0, output});
}

int64_t AffordableOutput(const catalog::Prices& prices, int64_t input_max, int64_t output_max,
                         int64_t choices, int64_t budget_nanousd) {
  const auto fits = [&](int64_t output) {
    const Result<int64_t> cost = WorstCaseNanoUsd(prices, input_max, output, choices);
    return cost.has_value() && *cost <= budget_nanousd;
  };
  // The cost grows with the output: the last that fits, by halving.
  int64_t fitting = 0, beyond = output_max + 1;
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
