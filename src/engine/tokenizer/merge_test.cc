// Merging against the plainest program that does the same.
#include "engine/tokenizer/merge.h"

#include <map>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "engine/tokenizer/test_vocabularies.h"

namespace tradewind::engine {
namespace {

using testing::ByteVocabulary;
using testing::Load;
using testing::SentencePieceVocabulary;
using testing::TestVocabulary;

using Parts = std::vector<std::string>;

// Joins the best pair, looks at all again, until none is left: quadratic and obvious. Lower is
// better.
template <class Rank>
Parts MergeObviously(Parts parts, const Rank& rank) {
  while (true) {
    size_t best = parts.size();
    double lowest = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::optional<double> here = rank(parts[i], parts[i + 1]);
      if (here.has_value() && (best == parts.size() || *here < lowest)) {
        best = i;
        lowest = *here;
      }
    }
    if (best == parts.size()) {
      return parts;
    }
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

Parts Characters(const std::string& word) {
  Parts parts;
  for (const char c : word) {
    parts.emplace_back(1, c);
  }
  return parts;
}

std::string RandomWord(std::mt19937& random, size_t length, std::string_view letters = "abc") {
  std::string word;
  while (word.size() < length) {
    word += letters[random() % letters.size()];
  }
  return word;
}

Parts TextsOf(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Parts parts;
  for (const TokenId id : ids) {
    parts.emplace_back(tokenizer.TokenBytes(id));
  }
  return parts;
}

TEST(MergeTest, PairsMergeAsTheObviousProgramSaysForWordsOfEveryLength) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    TestVocabulary vocabulary = ByteVocabulary();
    std::map<std::pair<std::string, std::string>, double> ranks;
    Parts known = {"a", "b", "c"};
    while (ranks.size() < 40) {
      const std::string left = known[random() % known.size()];
      const std::string right = known[random() % known.size()];
      if (ranks.emplace(std::pair(left, right), ranks.size()).second) {
        vocabulary.AddMerge(left, right);
        known.push_back(left + right);
      }
    }
    const auto tokenizer = Load(vocabulary.ByteLevel());
    ASSERT_NE(tokenizer, nullptr);
    for (size_t length = 1; length < 140; length += 1 + length / 10) {
      const std::string word = RandomWord(random, length);
      const Parts expected = MergeObviously(Characters(word), [&](const auto& a, const auto& b) {
        const auto found = ranks.find({a, b});
        return found == ranks.end() ? std::nullopt : std::optional(found->second);
      });
      EXPECT_EQ(TextsOf(*tokenizer, tokenizer->Encode(word)), expected) << word;
    }
  }
}

TEST(MergeTest, ScoresMergeAsTheObviousProgramSaysWithOrWithoutTokensAcrossWords) {
  std::mt19937 random(2);
  for (const bool across : {false, true}) {
    for (int round = 0; round < 20; ++round) {
      TestVocabulary vocabulary = SentencePieceVocabulary();
      std::map<std::string, double> scores;
      const auto add = [&](const std::string& piece) {
        const size_t inner = piece.find_last_of(' ');
        const bool crosses = inner != std::string::npos && piece.find_first_not_of(' ') < inner;
        // Scores repeat on purpose: ties go to the leftmost.
        const auto score = static_cast<float>(random() % 12);
        if ((across || !crosses) && scores.emplace(piece, score).second) {
          std::string marked;
          for (const char c : piece) {
            marked += c == ' ' ? "\u2581" : std::string(1, c);
          }
          vocabulary.Add(marked, TokenKind::kNormal, score);
        }
      };
      for (const char* letter : {"a", "b", " "}) {
        add(letter);
      }
      for (int i = 0; i < 60; ++i) {
        add(RandomWord(random, 2 + random() % 4, "ab "));
      }
      const auto tokenizer = Load(vocabulary.SentencePiece(false));
      ASSERT_NE(tokenizer, nullptr);
      for (size_t length = 1; length < 140; length += 1 + length / 10) {
        const std::string text = RandomWord(random, length, "ab ");
        const Parts expected = MergeObviously(Characters(text), [&](const auto& a, const auto& b) {
          const auto found = scores.find(a + b);
          return found == scores.end() ? std::nullopt : std::optional(-found->second);
        });
        EXPECT_EQ(TextsOf(*tokenizer, tokenizer->Encode(text)), expected) << text;
      }
    }
  }
}

TEST(MergeTest, AMegabyteOfOneCharacterTakesNoLongerThanItsLengthAsksFor) {
  TestVocabulary vocabulary = ByteVocabulary();
  for (std::string run = "a"; run.size() < 4096; run += run) {
    vocabulary.AddMerge(run, run);
  }
  const auto tokenizer = Load(vocabulary.ByteLevel());
  ASSERT_NE(tokenizer, nullptr);
  const std::string text(1 << 20, 'a');
  const auto ids = tokenizer->Encode(text);  // a quadratic program needs hours: ctest ends it
  EXPECT_EQ(ids.size(), (1u << 20) / 4096);
  EXPECT_EQ(tokenizer->Decode(ids), text);
}

TEST(MergeTest, AWordAboveItsBoundIsEncodedInPartsAndDecodesWhole) {
  const auto tokenizer = Load(ByteVocabulary().ByteLevel());
  ASSERT_NE(tokenizer, nullptr);
  std::string text;
  while (text.size() < (2u << 20)) {
    text += "é";
  }
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
}

}  // namespace
}  // namespace tradewind::engine
