// Usage x price -> nano-USD. Exact: products in 128 bits, rounded up once per request.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "catalog/mapping.h"

namespace tradewind::pricing {

struct TokenCounts {
  int64_t input = 0;
  int64_t cached =
      0;  // of the input; charged as input where cached tokens have no price of their own
  int64_t output = 0;  // reasoning included
  // Of the input, beside `cached`: written to the provider's cache; nullopt: it did not say.
  std::optional<int64_t> cache_write = {};
};

// Errors: kInvalidArgument with param "price" (unpriced, which is not zero; negative), "usage" (a
// negative count, more cached and written than input, writes that have a price of their own and are
// not counted), kResourceExhausted (beyond 64 bits of nano-USD).
Result<int64_t> CostNanoUsd(const catalog::Prices& prices, const TokenCounts& counts);

// The most that a request can cost: its whole input at the dearest of its prices (fresh, read from
// a cache, written to one), and every one of `choices` answers as long as it may get. At least
// CostNanoUsd of every usage within these counts. Errors: as above.
Result<int64_t> WorstCaseNanoUsd(const catalog::Prices& prices, int64_t input_max,
                                 int64_t output_max, int64_t choices);

// The longest answers, at most `output_max` tokens each, whose worst case stays within `budget`;
// 0 when not even the input does.
int64_t AffordableOutput(const catalog::Prices& prices, int64_t input_max, int64_t output_max,
                         int64_t choices, int64_t budget_nanousd);

}  // namespace tradewind::pricing
