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
};

// Errors: kInvalidArgument with param "price" (unpriced, which is not zero; negative), "usage" (a
// negative count, more cached than input), kResourceExhausted (beyond 64 bits of nano-USD).
Result<int64_t> CostNanoUsd(const catalog::Prices& prices, const TokenCounts& counts);

}  // namespace tradewind::pricing
