// What holds and accounts are called.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace tradewind::ledger {

// 128 bits: 48 of milliseconds since 1970, 80 random. Later ids sort behind earlier ones, so that
// tables by id grow at their end.
struct RequestId {
  uint64_t high = 0, low = 0;

  static RequestId Make(int64_t unix_ms, Random& random = SystemRandom());
  // 32 hexadecimal digits, lower case.
  static std::optional<RequestId> Parse(std::string_view text);
  std::string ToString() const;
  int64_t unix_ms() const { return static_cast<int64_t>(high >> 16); }

  auto operator<=>(const RequestId&) const = default;
};

// One try of a request at one provider: each has its own hold. Attempts count from 1.
struct HoldId {
  RequestId request;
  uint16_t attempt = 0;

  auto operator<=>(const HoldId&) const = default;
};

// Accounts are numbered in the order in which they came; the numbers below kFirstNumber are fixed.
using AccountNumber = uint32_t;

inline constexpr AccountNumber kExpense = 1;       // what providers cost us
inline constexpr AccountNumber kRevenue = 2;       // what users were charged
inline constexpr AccountNumber kReceivable = 3;    // charges that no credit covers: to be invoiced
inline constexpr AccountNumber kCreditSource = 4;  // where credits come from: payments, presents
inline constexpr AccountNumber kBreakage = 5;      // paid credits that expired unused
inline constexpr AccountNumber kUnknownPayee = 6;  // owed to providers that have no account here
inline constexpr AccountNumber kFirstNumber = 16;

// A budget has one account for each of its windows; everything else has start 0.
struct AccountKey {
  AccountNumber number = 0;
  int64_t window_start_s = 0;  // Unix seconds

  auto operator<=>(const AccountKey&) const = default;
};

struct HashOfId {
  size_t operator()(const HoldId& id) const {
    // The low half is random.
    return static_cast<size_t>(id.request.low ^ (uint64_t{id.attempt} << 48));
  }
  size_t operator()(const AccountKey& key) const {
    return std::hash<uint64_t>()(static_cast<uint64_t>(key.window_start_s) * 0x9E3779B97F4A7C15U ^
                                 key.number);
  }
};

}  // namespace tradewind::ledger
