#include "base/ids.h"

#include <array>
#include <cstddef>

#include <sys/random.h>

#include "base/check.h"

namespace tradewind {
namespace {

class OsRandom final : public Random {
 public:
  uint64_t Next64() override {
    // A thread's share, taken many at a time: every request has an identifier.
    thread_local std::array<uint64_t, 32> values;
    thread_local size_t used = values.size();
    if (used == values.size()) {
      TW_CHECK(::getrandom(values.data(), sizeof(values), 0) ==
               sizeof(values));  // up to 256 bytes never come short
      used = 0;
    }
    return values[used++];
  }
};

}  // namespace

Random& SystemRandom() {
  static OsRandom random;
  return random;
}

std::string RandomId(std::string_view prefix, int length, Random& random) {
  static constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id(prefix);
  uint64_t bits = 0;
  int digits = 0;
  for (int i = 0; i < length; ++i) {
    if (digits == 0) {
      bits = random.Next64();
      digits = 12;  // 36^12 < 2^64: the bias per character stays below 1e-14
    }
    id.push_back(kAlphabet[bits % kAlphabet.size()]);
    bits /= kAlphabet.size();
    --digits;
  }
  return id;
}

}  // namespace tradewind
