// Random identifiers and the Random seam.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tradewind {

// Randomness comes in through a seam so that tests can fix it.
class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next64() = 0;
};

// Bits from the operating system (getrandom); thread-safe. For identifiers, not for secrets: unused
// bits wait in memory, and a forked child would see the same.
Random& SystemRandom();

// `prefix` + `length` characters of [0-9a-z]: RandomId("chatcmpl-", 24). 24 characters carry 124
// bits.
std::string RandomId(std::string_view prefix, int length, Random& random = SystemRandom());

}  // namespace tradewind
