// Amounts of money, and who may not be told apart from zero: nobody. Nothing here is floating
// point.
#pragma once

#include <cstdint>
#include <limits>

namespace tradewind::ledger {

// 1 USD = 1,000,000,000. A balance holds +-9.2 billion USD.
using NanoUsd = int64_t;

inline constexpr NanoUsd kNanoUsdMax = std::numeric_limits<NanoUsd>::max();

// False when the sum leaves 64 bits; then `sum` is not to be used.
[[nodiscard]] inline bool AddMoney(NanoUsd a, NanoUsd b, NanoUsd& sum) {
  return !__builtin_add_overflow(a, b, &sum);
}

}  // namespace tradewind::ledger
