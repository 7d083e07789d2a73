// Tokens: their text, and the keyed hash by which they are known.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "identity/secret.h"

namespace tradewind::identity {

// "hf_tw_" and 43 characters of [0-9A-Za-z], 256 random bits: Hugging Face's SDKs route what begins
// with hf_, and a double click selects all of it.
inline constexpr std::string_view kTokenPrefix = "hf_tw_";
inline constexpr size_t kTokenBytes = 6 + 43;

Secret MintToken();
bool LooksLikeToken(std::string_view text);  // the right length, prefix and characters

using Digest = std::array<std::byte, 32>;

// BLAKE2b-256 under a key that is not in the database: a stolen database shows no token, and nobody
// can steer where a guess falls. A slow hash would add nothing to 256 random bits.
class TokenHasher {
 public:
  explicit TokenHasher(Secret key) : key_(std::move(key)) {}
  Digest Hash(std::string_view token) const;

 private:
  Secret key_;  // 32 bytes
};

}  // namespace tradewind::identity
