#include "engine/stop_matcher.h"

#include <random>

#include <gtest/gtest.h>

namespace tradewind::engine {
namespace {

TEST(StopMatcher, CutsBeforeAStopStringThatSpansPieces) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.Push("the E"), "the ");
  EXPECT_EQ(matcher.Push("N"), "");
  EXPECT_EQ(matcher.Push("D and more"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Push("later"), "");
}

TEST(StopMatcher, GivesBackWhatOnlyLookedLikeAStop) {
  StopMatcher matcher({"</s>"});
  EXPECT_EQ(matcher.Push("a <"), "a ");
  EXPECT_EQ(matcher.Push("b>"), "<b>");
  EXPECT_EQ(matcher.Push("</"), "");
  EXPECT_EQ(matcher.Flush(), "</");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, TheOneThatIsCompleteFirstWins) {
  StopMatcher matcher({"ccc", "b"});
  EXPECT_EQ(matcher.Push("aabccc"), "aa");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, IgnoresEmptyStops) {
  StopMatcher matcher({""});
  EXPECT_EQ(matcher.Push("text"), "text");
  EXPECT_FALSE(matcher.stopped());
}

// The oracle: find the first stop in the whole text.
TEST(StopMatcher, EqualsASearchInTheWholeTextHoweverItIsCut) {
  std::mt19937 random(7);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int i = pick(30); i >= 0; --i) {
      text.push_back(static_cast<char>('a' + pick(2)));
    }
    std::vector<std::string> stops;
    for (int i = pick(3); i >= 0; --i) {
      std::string stop;
      for (int j = pick(4); j >= 0; --j) {
        stop.push_back(static_cast<char>('a' + pick(2)));
      }
      stops.push_back(stop);
    }
    StopMatcher matcher(stops);
    std::string out;
    for (size_t i = 0; i < text.size() && !matcher.stopped();) {
      const size_t length = 1 + static_cast<size_t>(pick(5));
      out += matcher.Push(std::string_view(text).substr(i, length));
      i += length;
    }
    out += matcher.Flush();
    // The shortest prefix of the text that ends with a stop string.
    size_t want = std::string::npos;
    for (size_t end = 1; end <= text.size() && want == std::string::npos; ++end) {
      for (const std::string& stop : stops) {
        if (std::string_view(text).substr(0, end).ends_with(stop)) {
          want = std::min(want, end - stop.size());
        }
      }
    }
    ASSERT_EQ(out, text.substr(0, want));
    ASSERT_EQ(matcher.stopped(), want != std::string::npos);
  }
}

}  // namespace
}  // namespace tradewind::engine
