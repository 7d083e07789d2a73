#include "engine/tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

namespace tradewind::engine {
namespace {

using Words = std::vector<std::string>;

Words SplitBy(std::string_view name, std::string_view text, uint32_t steps_per_byte = 16) {
  const auto rule = FindPreTokenizerRule(name);
  EXPECT_TRUE(rule.has_value()) << name;
  Words words;
  PreTokenizer(*rule).Split(
      text, [&](std::string_view word) { words.emplace_back(word); }, steps_per_byte);
  return words;
}

std::string Joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) {
    text += word;
  }
  return text;
}

constexpr const char* kFamilies[] = {"default", "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"};

TEST(PreTokenizerTest, Gpt2TakesTheSpaceWithTheWordAndLeavesTheLastOfManyToTheNext) {
  EXPECT_EQ(SplitBy("gpt-2", "I'll  see 42 of them!?\n\nOk"),
            (Words{"I", "'ll", " ", " see", " 42", " of", " them", "!?", "\n", "\n", "Ok"}));
}

TEST(PreTokenizerTest, SmollmIsolatesEveryDigit) {
  EXPECT_EQ(SplitBy("smollm", "in 1984, é"), (Words{"in", " ", "1", "9", "8", "4", ",", " é"}));
}

TEST(PreTokenizerTest, LlamaGroupsDigitsByThreeAndIgnoresTheCaseOfContractions) {
  EXPECT_EQ(SplitBy("llama-bpe", "WE'RE 12345\t\tx \n y"),
            (Words{"WE", "'RE", " ", "123", "45", "\t", "\tx", " \n", " y"}));
}

TEST(PreTokenizerTest, Qwen2SplitsDigitsSingly) {
  EXPECT_EQ(SplitBy("qwen2", "a 12"), (Words{"a", " ", "1", "2"}));
}

TEST(PreTokenizerTest, TekkenSplitsAtTheChangeToUpperCaseAndKeepsCombiningMarksWithTheirLetters) {
  EXPECT_EQ(SplitBy("tekken", "HelloWorld ABCdef"), (Words{"Hello", "World", " ABCdef"}));
  EXPECT_EQ(SplitBy("tekken", "नमस्ते दुनिया"), (Words{"नमस्ते", " दुनिया"}));
  EXPECT_EQ(SplitBy("tekken", "://\n/x don't"), (Words{"://\n/", "x", " don", "'t"}));
}

TEST(PreTokenizerTest, DefaultSplitsPunctuationFirstAndDigitsInThreesLast) {
  EXPECT_EQ(SplitBy("default", "cost: $12345.67 now"),
            (Words{"cost", ":", " ", "$", "123", "45", ".", "67", " now"}));
}

TEST(PreTokenizerTest, WhiteSpaceIsUnicodesAndNotAlsoTheMongolianVowelSeparator) {
  EXPECT_EQ(SplitBy("gpt-2", "a\u2003\u2003b"), (Words{"a", "\u2003", "\u2003", "b"}));
  EXPECT_EQ(SplitBy("gpt-2", "a\u180E\u180Eb"), (Words{"a", "\u180E\u180E", "b"}));
}

TEST(PreTokenizerTest, BytesThatAreNotUtf8AreWordsOfTheirOwn) {
  EXPECT_EQ(SplitBy("gpt-2", "ab\xFF\xFE cd\xE2\x82"),
            (Words{"ab", "\xFF\xFE", " cd", "\xE2\x82"}));
}

TEST(PreTokenizerTest, AnUnknownNameIsRefusedWithTheListOfTheKnown) {
  const auto rule = FindPreTokenizerRule("gibberish");
  ASSERT_FALSE(rule.has_value());
  EXPECT_EQ(rule.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(rule.error().message.find("gibberish"), std::string::npos);
  EXPECT_NE(rule.error().message.find("llama-bpe"), std::string::npos);
  EXPECT_NE(rule.error().message.find("tekken"), std::string::npos);
}

TEST(PreTokenizerTest, LongRunsOfAnyKindStayLossless) {
  const size_t size = 1 << 20;
  std::vector<std::string> texts;
  for (const std::string unit :
       {"a", "A", " ", "\n", "\t \n", "\u0301", "A\u0301", "!", "!A", "\u00A0", "7", "é", "'",
        "\xFF", "a\xFF", " \u180E", "/\n", "日"}) {
    std::string text;
    while (text.size() < size) {
      text += unit;
    }
    texts.push_back(text + "x");
  }
  for (const char* family : kFamilies) {  // what is quadratic is ended by ctest
    for (const std::string& text : texts) {
      EXPECT_EQ(Joined(SplitBy(family, text)), text) << family << " " << text.substr(0, 8);
    }
  }
}

TEST(PreTokenizerTest, WhenMatchingTakesTooManyStepsTheRestIsOneWord) {
  for (const char* family : kFamilies) {
    const std::string text = std::string(5000, 'A') + "1 b c  d\n";
    EXPECT_EQ(Joined(SplitBy(family, text, 0)), text) << family;
  }
}

}  // namespace
}  // namespace tradewind::engine
