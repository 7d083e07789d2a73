// A usage taken apart into what has a price of its own: the terms of the sum that it costs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/decimal.h"
#include "base/result.h"
#include "catalog/mapping.h"
#include "pricing/cost.h"

namespace tradewind::pricing {

enum class Unit : uint8_t {
  kInput,  // tokens, neither read from a cache nor written to one, nor sound
  kCached,
  kCacheWrite,  // for as long as a provider keeps it by itself
  kCacheWrite1h,
  kOutput,  // tokens, neither thought nor sound where these have prices of their own
  kReasoning,
  kAudioInput,
  kAudioOutput,
  kImage,
  kRequest,
};
inline constexpr size_t kUnits = static_cast<size_t>(Unit::kRequest) + 1;

// Its cost is quantity x price.digits() x 10^exponent nano-USD.
struct Term {
  int64_t quantity = 0;
  Decimal price;
  int exponent = 0;

  bool is_zero() const { return quantity == 0 || price.is_zero(); }
};
using Terms = std::array<Term, kUnits>;  // by Unit

// Of the service tier, and of the tier that the input falls into. Errors: those of CostNanoUsd but
// for its size.
Result<Terms> TermsOf(const catalog::Prices& prices, const TokenCounts& counts);

// The power of ten that makes all of them whole numbers: 0 or less.
int LeastExponent(const Terms& terms);

}  // namespace tradewind::pricing
