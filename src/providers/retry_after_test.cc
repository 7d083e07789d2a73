#include "providers/retry_after.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace tradewind::providers {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

// 1994-11-06 08:49:00.
constexpr std::chrono::system_clock::time_point kNow{std::chrono::seconds(784'111'740)};

std::optional<int64_t> Ms(const Fields& fields) {
  http::Headers headers;
  for (const auto& [name, value] : fields) {
    headers.Set(name, value);
  }
  return RetryAfterMs(headers, kNow);
}

TEST(RetryAfterTest, SecondsWithAndWithoutAFraction) {
  EXPECT_EQ(Ms({{"Retry-After", "7"}}), 7'000);
  EXPECT_EQ(Ms({{"Retry-After", "1.5"}}), 1'500);
  EXPECT_EQ(Ms({{"Retry-After", "0"}}), 0);
  EXPECT_EQ(Ms({{"Retry-After", "999999999999"}}), 86'400'000) << "a day at most";
}

TEST(RetryAfterTest, ADateIsTheTimeUntilThen) {
  EXPECT_EQ(Ms({{"Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"}}), 37'000);
  EXPECT_EQ(Ms({{"Retry-After", "Sun, 06 Nov 1994 08:48:00 GMT"}}), 0) << "it is over";
  EXPECT_EQ(Ms({{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"}}), 86'400'000) << "hostile";
}

TEST(RetryAfterTest, MillisecondsCountFirst) {
  EXPECT_EQ(Ms({{"Retry-After", "2"}, {"retry-after-ms", "1250"}}), 1'250);
}

TEST(RetryAfterTest, OtherwiseTheLimitThatIsUsedUpCounts) {
  EXPECT_EQ(Ms({{"x-ratelimit-remaining-tokens-minute", "0"},
                {"x-ratelimit-reset-tokens-minute", "8.998601913452148"},
                {"x-ratelimit-remaining-requests-day", "99"},
                {"x-ratelimit-reset-requests-day", "33000.5"}}),
            8'999);
  EXPECT_EQ(
      Ms({{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "2m59.56s"}}),
      179'560);
  EXPECT_EQ(Ms({{"X-RateLimit-Remaining-Tokens", "0"}, {"X-RateLimit-Reset-Tokens", "120ms"}}),
            120);
  EXPECT_EQ(Ms({{"x-ratelimit-remaining-tokens", "5"}, {"x-ratelimit-reset-tokens", "9"}}),
            std::nullopt);
}

TEST(RetryAfterTest, WhatCannotBeReadSaysNothing) {
  for (const char* text : {"", "soon", "-1", "1 s", "nan", "inf", "Sun, 06 Foo 1994 08:49:37 GMT",
                           "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"}) {
    EXPECT_EQ(Ms({{"Retry-After", text}}), std::nullopt) << text;
  }
  EXPECT_EQ(Ms({}), std::nullopt);
}

}  // namespace
}  // namespace tradewind::providers
