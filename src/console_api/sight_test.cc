#include "console_api/sight.h"

#include <gtest/gtest.h>

namespace tradewind::console_api {
namespace {

constexpr int64_t kNowS = 1'793'491'200, kNanosPerSecond = 1'000'000'000;

TEST(Sight, ATimeIsADateOrHowLongAgo) {
  const auto seconds = [](std::string_view text) {
    return ReadTime(text, "from", -kNanosPerSecond, kNowS).value() / kNanosPerSecond;
  };
  EXPECT_EQ(seconds(""), -1);
  EXPECT_EQ(seconds("2026-11-01"), kNowS);
  EXPECT_EQ(seconds("2026-11-01T00:00:30Z"), kNowS + 30);
  EXPECT_EQ(seconds("7d"), kNowS - 7 * 86'400);
  EXPECT_EQ(seconds("90m"), kNowS - 5'400);
  EXPECT_EQ(seconds("0h"), kNowS);
  EXPECT_EQ(seconds("36500d"), 0) << "not before 1970";
  EXPECT_EQ(ReadTime("9999-12-31", "to", 0, kNowS).value(), INT64_MAX);
  for (const char* wrong : {"7", "7 d", "-7d", "7w", "yesterday", "36501d"}) {
    EXPECT_EQ(ReadTime(wrong, "to", 0, kNowS).error().param, "to") << wrong;
  }
}

}  // namespace
}  // namespace tradewind::console_api
