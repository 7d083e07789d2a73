#include "billing/hash.h"

#include <array>
#include <sodium.h>

namespace tradewind::billing {

std::string Sha256Hex(std::string_view bytes) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> digest;
  static_cast<void>(crypto_hash_sha256(
      digest.data(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
  std::array<char, crypto_hash_sha256_BYTES * 2 + 1> hex;
  sodium_bin2hex(hex.data(), hex.size(), digest.data(), digest.size());
  return hex.data();
}

}  // namespace tradewind::billing
