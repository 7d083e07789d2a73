#include "base/ids.h"

#include <sys/random.h>

#include "base/check.h"

namespace tradewind {
namespace {

class OsRandom final : public Random {
 public:
  uint64_t Next64() override {
    uint64_t value = 0;
    TW_CHECK(::getrandom(&value, sizeof(value), 0) ==
             sizeof(value));  // up to 256 bytes never come short
    return value;
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
