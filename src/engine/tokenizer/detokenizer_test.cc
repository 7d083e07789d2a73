#include "engine/tokenizer/detokenizer.h"

#include <random>

#include <gtest/gtest.h>

#include "base/utf8.h"
#include "engine/tokenizer/test_vocabularies.h"

namespace tradewind::engine {
namespace {

using testing::ByteVocabulary;
using testing::Load;
using testing::SentencePieceVocabulary;
using testing::SpellBytes;
using testing::TestVocabulary;

constexpr std::string_view kText = "aé日🦙\u0301 z";

// Tokens that cut kText at every place, so that a sequence of ids can be any split of it.
std::unique_ptr<Tokenizer> AllSplits() {
  TestVocabulary vocabulary = ByteVocabulary();
  for (size_t begin = 0; begin < kText.size(); ++begin) {
    for (size_t size = 2; begin + size <= kText.size(); ++size) {
      vocabulary.Add(SpellBytes(kText.substr(begin, size)));
    }
  }
  vocabulary.Add("<|im_end|>", TokenKind::kControl);
  return Load(vocabulary.ByteLevel());
}

TEST(DetokenizerTest, NoSplitOfATextEverShowsHalfACharacter) {
  const auto tokenizer = AllSplits();
  ASSERT_NE(tokenizer, nullptr);
  for (uint32_t cuts = 0; cuts < 1u << (kText.size() - 1); ++cuts) {
    Detokenizer detokenizer(*tokenizer);
    std::string text;
    size_t begin = 0;
    for (size_t end = 1; end <= kText.size(); ++end) {
      if (end == kText.size() || (cuts >> (end - 1) & 1) != 0) {
        const auto id = tokenizer->FindToken(kText.substr(begin, end - begin));
        ASSERT_TRUE(id.has_value());
        const std::string part = detokenizer.Push(*id);
        ASSERT_TRUE(IsValidUtf8(part));
        text += part;
        ASSERT_EQ(text, kText.substr(0, text.size()));
        ASSERT_GT(text.size() + 4, end);  // at most 3 bytes are held
        begin = end;
      }
    }
    ASSERT_EQ(text, kText);
    ASSERT_EQ(detokenizer.Flush(), "");
  }
}

TEST(DetokenizerTest, RandomTokensGiveWhatDecodeGivesWithInvalidBytesReplaced) {
  TestVocabulary spaced = SentencePieceVocabulary();
  spaced.Add("\u2581", TokenKind::kNormal, -1);
  spaced.Add("\u2581a", TokenKind::kNormal, -2);
  spaced.Add("<tool>", TokenKind::kUserDefined);
  const auto pieces = Load(spaced.SentencePiece());
  const auto bytes = AllSplits();
  std::mt19937 random(3);
  for (const Tokenizer* tokenizer : {pieces.get(), bytes.get()}) {
    ASSERT_NE(tokenizer, nullptr);
    for (int round = 0; round < 20000; ++round) {
      const bool with_special = random() % 2 == 0;
      std::vector<TokenId> ids;
      Detokenizer detokenizer(*tokenizer, true, with_special);
      std::string text;
      for (size_t i = random() % 12; i > 0; --i) {
        // Also ids just outside the vocabulary.
        ids.push_back(static_cast<TokenId>(random() % (tokenizer->vocab_size() + 2u)) - 1);
        text += detokenizer.Push(ids.back());
      }
      text += detokenizer.Flush();
      ASSERT_EQ(text, ReplaceInvalidUtf8(tokenizer->Decode(ids, with_special)));
    }
  }
}

TEST(DetokenizerTest, AnInvalidByteIsReplacedAtOnceAndAHalfCharacterAtTheEnd) {
  const auto tokenizer = Load(ByteVocabulary().ByteLevel());
  ASSERT_NE(tokenizer, nullptr);
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.Push(0xFF), kReplacementCharacter);
  EXPECT_EQ(detokenizer.Push(0xF0), "");
  EXPECT_EQ(detokenizer.Push(0x9F), "");
  EXPECT_EQ(detokenizer.Push(0xA6), "");
  EXPECT_EQ(detokenizer.Push('x'), std::string(kReplacementCharacter) + "x");
  EXPECT_EQ(detokenizer.Push(0xE2), "");
  EXPECT_EQ(detokenizer.Flush(), kReplacementCharacter);
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST(DetokenizerTest, AWordStartSpaceIsDroppedOnlyAtTheStartOfATextAndControlTokensAreSilent) {
  TestVocabulary vocabulary = SentencePieceVocabulary();
  const TokenId hi = vocabulary.Add("\u2581hi", TokenKind::kNormal, -1);
  const auto tokenizer = Load(vocabulary.SentencePiece());
  ASSERT_NE(tokenizer, nullptr);
  Detokenizer start(*tokenizer, true);
  EXPECT_EQ(start.Push(1), "");
  EXPECT_EQ(start.Push(hi), "hi");
  EXPECT_EQ(start.Push(hi), " hi");
  Detokenizer inside(*tokenizer);
  EXPECT_EQ(inside.Push(hi), " hi");
  Detokenizer named(*tokenizer, true, true);
  EXPECT_EQ(named.Push(1) + named.Push(hi), "<s> hi");
}

}  // namespace
}  // namespace tradewind::engine
