#include "dialects/normalised.h"

#include <string>

#include <gtest/gtest.h>

namespace tradewind::dialects {
namespace {

TEST(NormalisedGrowth, OfPlainTextIsNothing) {
  EXPECT_EQ(NormalisedGrowth(""), 0);
  EXPECT_EQ(NormalisedGrowth(std::string(1000, 'a')), 0);
  EXPECT_EQ(NormalisedGrowth(R"({"a":"\n\t\\u0FA7 \"","b":"\u0041\u4e2d"})"), 0);
  EXPECT_EQ(NormalisedGrowth("中文 한국어 🙂 ไทย"), 0) << "most of what is written";
}

TEST(NormalisedGrowth, CountsWhatIsLongerWhenItIsTakenApart) {
  EXPECT_EQ(NormalisedGrowth("\u0FA7"), 3);
  std::string text;
  for (int i = 0; i < 100; ++i) {
    text +=
        "\U0001D160"
        "a";
  }
  EXPECT_EQ(NormalisedGrowth(text), 800) << "over the edges of blocks too";
  EXPECT_EQ(NormalisedGrowth("\u00E9t\u00E9"), 2) << "a mark may follow that parts them";
}

TEST(NormalisedGrowth, CountsAnEscapeThatIsShorterThanWhatItBecomes) {
  EXPECT_EQ(NormalisedGrowth(R"(\u0CCB)"), 3);
  EXPECT_EQ(NormalisedGrowth(R"(\u1f82)"), 2);
  EXPECT_EQ(NormalisedGrowth(R"(\u0FA7)"), 0) << "six bytes, as its normal form";
}

TEST(NormalisedGrowth, TakesWhatIsNoUtf8) {
  EXPECT_EQ(NormalisedGrowth("\xE0\xBE"), 0);
  EXPECT_EQ(NormalisedGrowth("\xFF\xBF\x80"), 0);
  EXPECT_EQ(NormalisedGrowth("\\u0C"), 0);
  EXPECT_EQ(NormalisedGrowth("\\"), 0);
}

}  // namespace
}  // namespace tradewind::dialects
