#include "identity/token.h"

#include <algorithm>
#include <sodium.h>
#include <string>

#include "base/check.h"

namespace tradewind::identity {
namespace {

constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

}  // namespace

Secret MintToken() {
  std::array<unsigned char, 32> number;
  randombytes_buf(number.data(), number.size());
  Secret out = Secret::OfSize(kTokenBytes);
  std::ranges::copy(kTokenPrefix, out.data());
  for (size_t i = kTokenBytes; i-- > kTokenPrefix.size();) {  // 62^43 > 2^256: nothing is lost
    unsigned remainder = 0;
    for (unsigned char& byte : number) {  // long division of the number by 62
      remainder = remainder * 256 + byte;
      byte = static_cast<unsigned char>(remainder / 62);
      remainder %= 62;
    }
    out.data()[i] = static_cast<unsigned char>(kDigits[remainder]);
  }
  sodium_memzero(number.data(), number.size());
  return out;
}

bool LooksLikeToken(std::string_view text) {
  return text.size() == kTokenBytes && text.starts_with(kTokenPrefix) &&
         text.find_first_not_of(kDigits, kTokenPrefix.size()) == text.npos;
}

Digest TokenHasher::Hash(std::string_view token) const {
  Digest out;
  const int failed = crypto_generichash(reinterpret_cast<unsigned char*>(out.data()), out.size(),
                                        reinterpret_cast<const unsigned char*>(token.data()),
                                        token.size(), key_.data(), key_.size());
  TW_CHECK(failed == 0);  // only wrong sizes of our own fail
  return out;
}

}  // namespace tradewind::identity
