// For tests only: small vocabularies as GGUF files, and SentencePiece models read into one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "engine/tokenizer/tokenizer.h"
#include "testing/gguf_builder.h"

namespace tradewind::engine::testing {

using ::tradewind::testing::GgufBuilder;

// GPT-2's spelling of bytes, written down anew: the reverse of DecodeByteLevel.
inline std::string SpellBytes(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const int b = static_cast<unsigned char>(c);
    int character = b;
    if (b <= 32) {
      character = 256 + b;
    } else if (b >= 127 && b <= 160) {
      character = 256 + 33 + (b - 127);
    } else if (b == 173) {
      character = 256 + 67;
    }
    AppendUtf8(static_cast<char32_t>(character), text);
  }
  return text;
}

struct TestVocabulary {
  std::vector<std::string> tokens;  // as the file spells them
  std::vector<int32_t> kinds;
  std::vector<float> scores;
  std::vector<std::string> merges;

  TokenId Add(std::string token, TokenKind kind = TokenKind::kNormal, float score = 0) {
    tokens.push_back(std::move(token));
    kinds.push_back(static_cast<int32_t>(kind));
    scores.push_back(score);
    return static_cast<TokenId>(tokens.size()) - 1;
  }
  // Bytes in and out; adds the merged token too.
  void AddMerge(std::string_view left, std::string_view right) {
    merges.push_back(SpellBytes(left) + " " + SpellBytes(right));
    Add(SpellBytes(std::string(left) + std::string(right)));
  }

  GgufBuilder ByteLevel(std::string_view pre = "gpt-2") const {
    GgufBuilder file;
    file.Set("tokenizer.ggml.model", "gpt2").Set("tokenizer.ggml.pre", pre);
    file.Set("tokenizer.ggml.tokens", tokens).Set("tokenizer.ggml.token_type", kinds);
    file.Set("tokenizer.ggml.merges", merges);
    return file;
  }
  GgufBuilder SentencePiece(bool add_space_prefix = true) const {
    GgufBuilder file;
    file.Set("tokenizer.ggml.model", "llama").Set("tokenizer.ggml.tokens", tokens);
    file.Set("tokenizer.ggml.token_type", kinds).Set("tokenizer.ggml.scores", scores);
    file.Set("tokenizer.ggml.add_space_prefix", add_space_prefix);
    return file;
  }
};

// Ids 0..255 are the bytes.
inline TestVocabulary ByteVocabulary() {
  TestVocabulary vocabulary;
  for (int b = 0; b < 256; ++b) {
    vocabulary.Add(SpellBytes(std::string(1, static_cast<char>(b))));
  }
  return vocabulary;
}

// <unk>, <s>, </s>, then the bytes at 3..258, as in Llama 2.
inline TestVocabulary SentencePieceVocabulary() {
  TestVocabulary vocabulary;
  vocabulary.Add("<unk>", TokenKind::kUnknown);
  vocabulary.Add("<s>", TokenKind::kControl);
  vocabulary.Add("</s>", TokenKind::kControl);
  for (int b = 0; b < 256; ++b) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    vocabulary.Add(std::string("<0x") + kDigits[b / 16] + kDigits[b % 16] + ">", TokenKind::kByte);
  }
  return vocabulary;
}

inline Result<std::unique_ptr<Tokenizer>> TryLoad(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  TW_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(AsBytes(bytes), "test"));
  return Tokenizer::FromGguf(file);
}

inline std::unique_ptr<Tokenizer> Load(const GgufBuilder& builder) {
  auto tokenizer = TryLoad(builder);
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer.has_value() ? *std::move(tokenizer) : nullptr;
}

inline std::vector<TokenId> EndTokens(const Tokenizer& tokenizer) {
  return {tokenizer.end_tokens().begin(), tokenizer.end_tokens().end()};
}

// Reads what a SentencePiece `tokenizer.model` says of its pieces. It is a protocol buffer: field 1
// is a piece {1: text, 2: score, 3: kind}; a field is a number (field << 3 | wire type), then its
// value. Wire type 0 is a varint, 2 bytes with their length, 5 four bytes, 1 eight.
class SentencePieceReader {
 public:
  explicit SentencePieceReader(std::string_view bytes) : rest_(bytes) {}

  TestVocabulary Read() {
    TestVocabulary vocabulary;
    while (Next()) {
      if (field_ == 1) {
        SentencePieceReader piece(bytes_);
        std::string text;
        float score = 0;
        auto kind = TokenKind::kNormal;
        while (piece.Next()) {
          if (piece.field_ == 1) {
            text = piece.bytes_;
          } else if (piece.field_ == 2) {
            score = LoadLe<float>(piece.bytes_.data());
          } else if (piece.field_ == 3) {
            kind = static_cast<TokenKind>(piece.number_);
          }
        }
        vocabulary.Add(std::move(text), kind, score);
      }
    }
    return vocabulary;
  }

 private:
  bool Next() {
    if (rest_.empty()) {
      return false;
    }
    const uint64_t key = Varint();
    field_ = key >> 3;
    switch (key & 7) {
      case 0:
        number_ = Varint();
        break;
      case 1:
        Take(8);
        break;
      case 2:
        Take(Varint());
        break;
      default:
        Take(4);
    }
    return true;
  }
  void Take(uint64_t size) {
    bytes_ = rest_.substr(0, size);
    rest_.remove_prefix(bytes_.size());
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) {
        break;
      }
    }
    return value;
  }

  std::string_view rest_, bytes_;
  uint64_t field_ = 0, number_ = 0;
};

}  // namespace tradewind::engine::testing
