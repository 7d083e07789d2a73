#include "engine/tokenizer/vocabulary.h"

#include <array>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::engine {
namespace {

constexpr int kByteCharacters = 324;  // U+0000 .. U+0143

// Bytes that are printable in Latin-1 stand for themselves, the other 68 for U+0100, U+0101, ...
std::array<int16_t, kByteCharacters> MakeByteOfCharacter() {
  std::array<int16_t, kByteCharacters> byte_of{};
  byte_of.fill(-1);
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    byte_of[static_cast<size_t>(printable ? b : next++)] = static_cast<int16_t>(b);
  }
  return byte_of;
}

}  // namespace

std::optional<std::string> DecodeByteLevel(std::string_view token) {
  static const auto byte_of = MakeByteOfCharacter();
  std::string bytes;
  while (!token.empty()) {
    const Utf8Char c = DecodeUtf8(token);
    if (!c.valid || c.code_point >= kByteCharacters || byte_of[c.code_point] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(byte_of[c.code_point]));
    token.remove_prefix(static_cast<size_t>(c.bytes));
  }
  return bytes;
}

Status CheckVocabulary(const Vocabulary& vocabulary) {
  size_t special_bytes = 0;
  for (size_t i = 0; i < vocabulary.bytes.size(); ++i) {
    const size_t bytes = vocabulary.bytes[i].size();
    if (bytes > limits::kTokenBytesMax) {
      return Fail(ErrorCode::kCorruptFile, fmt::format("token {} is {} bytes long; the bound is {}",
                                                       i, bytes, limits::kTokenBytesMax));
    }
    if (IsSpecialKind(vocabulary.kinds[i]) && bytes <= limits::kSpecialTokenBytesMax) {
      special_bytes += bytes;
    }
  }
  if (special_bytes > limits::kSpecialBytesMax) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("the names of special tokens take {} bytes; the bound is {}",
                            special_bytes, limits::kSpecialBytesMax));
  }
  return {};
}

}  // namespace tradewind::engine
