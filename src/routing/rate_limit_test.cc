#include "routing/rate_limit.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

RateSubject Key(std::string_view id, RateLimits limits) {
  return {"key", id, id, limits};
}

class Limiter : public testing::Test {
 protected:
  std::expected<RateLease, RateLimitHit> Acquire(const RateSubject& subject, int64_t tokens = 0) {
    return limiter_.Acquire(std::span(&subject, 1), tokens);
  }
  FakeClock clock_;
  RateLimiter limiter_{clock_};
};

TEST_F(Limiter, LetsThroughWhoHasNoLimitAndRemembersNothing) {
  auto lease = Acquire(Key("k", {}), 1'000'000);
  ASSERT_TRUE(lease.has_value());
  lease->Settle(5);
  EXPECT_EQ(limiter_.subjects(), 0u);
  EXPECT_TRUE(limiter_.Acquire({}, 5).has_value());
}

TEST_F(Limiter, SaysWhoseLimitWhichAndWhen) {
  const RateSubject laptop{"key", "id-1", "laptop", {.requests_per_minute = 2}};
  EXPECT_TRUE(Acquire(laptop).has_value());
  clock_.Advance(seconds(10));
  EXPECT_TRUE(Acquire(laptop).has_value());
  const auto hit = Acquire(laptop);
  ASSERT_FALSE(hit.has_value());
  EXPECT_EQ(hit.error().which, RateLimitKind::kRequests);
  EXPECT_EQ(hit.error().subject_kind, "key");
  EXPECT_EQ(hit.error().subject_name, "laptop");
  EXPECT_EQ(hit.error().limit, 2);
  EXPECT_EQ(hit.error().message,
            "key laptop: its 2 requests per minute are used up; the next one is possible in 52 s");
  EXPECT_EQ(hit.error().ToError().code, ErrorCode::kTooManyRequests);
  ASSERT_TRUE(hit.error().retry_after_ms.has_value());
  clock_.Advance(milliseconds(*hit.error().retry_after_ms - 1));
  EXPECT_FALSE(Acquire(laptop).has_value());
  clock_.Advance(milliseconds(1));
  EXPECT_TRUE(Acquire(laptop).has_value()) << "as it said";
}

TEST_F(Limiter, ReservesTokensAndCorrectsThemAfterwards) {
  const RateSubject key = Key("k", {.tokens_per_minute = 1'000});
  auto lease = Acquire(key, 800);
  ASSERT_TRUE(lease.has_value());
  EXPECT_FALSE(Acquire(key, 300).has_value());
  lease->Settle(200);
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 200);
  lease->Settle(900);
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 200) << "once";
  EXPECT_TRUE(Acquire(key, 800).has_value());
  const auto hit = Acquire(key, 1);
  ASSERT_FALSE(hit.has_value());
  EXPECT_EQ(hit.error().message,
            "key k: its 1000 tokens per minute do not have the 1 left that this request may use; "
            "it is possible in 62 s");
}

TEST_F(Limiter, CountsWhatWasUsedEvenOverTheLimit) {
  const RateSubject key = Key("k", {.tokens_per_minute = 1'000});
  auto lease = Acquire(key, 100);
  lease->Settle(5'000);
  EXPECT_FALSE(Acquire(key, 0).has_value());
  clock_.Advance(seconds(62));
  EXPECT_TRUE(Acquire(key, 1'000).has_value());
}

TEST_F(Limiter, CountsTheExcessOfAnAnswerLongerThanAMinuteWhenItIsKnown) {
  const RateSubject key = Key("k", {.tokens_per_minute = 1'000});
  auto more = Acquire(key, 100);
  auto less = Acquire(key, 100);
  clock_.Advance(seconds(300));
  more->Settle(700);
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 600);
  less->Settle(10);
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 600)
      << "nothing of that minute is left to give back";
}

TEST_F(Limiter, ALeaseThatIsDroppedKeepsItsEstimateForAMinuteAtMost) {
  const RateSubject key = Key("k", {.tokens_per_minute = 1'000});
  {
    auto lease = Acquire(key, 900);
  }
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 900);
  EXPECT_EQ(limiter_.UseOf("key", "k").running, 0);
  clock_.Advance(seconds(62));
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 0) << "no phantom";
}

TEST_F(Limiter, ARequestThatAloneIsTooLargeIsNotToldToComeBack) {
  const auto hit = Acquire(Key("k", {.tokens_per_minute = 1'000}), 1'001);
  ASSERT_FALSE(hit.has_value());
  EXPECT_FALSE(hit.error().retry_after_ms.has_value());
  EXPECT_EQ(hit.error().message,
            "key k: this request may use 1001 tokens, more than its limit of 1000 tokens per "
            "minute; send a shorter prompt or a lower max_tokens");
}

TEST_F(Limiter, ALimitOfZeroLetsNothingThrough) {
  EXPECT_FALSE(Acquire(Key("a", {.requests_per_minute = 0})).has_value());
  EXPECT_FALSE(Acquire(Key("b", {.tokens_per_minute = 0})).has_value());
  EXPECT_FALSE(Acquire(Key("c", {.concurrency = 0})).has_value());
  EXPECT_FALSE(Acquire(Key("d", {.requests_per_minute = -5})).has_value());
}

TEST_F(Limiter, LimitsRequestsAtATimeAndFreesThemWithTheLease) {
  const RateSubject key = Key("k", {.concurrency = 2});
  auto one = Acquire(key);
  auto two = Acquire(key);
  ASSERT_TRUE(one.has_value() && two.has_value());
  const auto hit = Acquire(key);
  ASSERT_FALSE(hit.has_value());
  EXPECT_EQ(hit.error().message,
            "key k: 2 requests at a time are running, as many as it may; wait for one to end");
  EXPECT_EQ(hit.error().retry_after_ms, 1'000);
  RateLease moved = std::move(*one);
  EXPECT_FALSE(Acquire(key).has_value()) << "moving ends nothing";
  moved.Release();
  moved.Release();
  auto three = Acquire(key);
  EXPECT_TRUE(three.has_value());
  *three = std::move(*two);
  EXPECT_EQ(limiter_.UseOf("key", "k").running, 1) << "what is assigned to ends first";
}

TEST_F(Limiter, CountsNothingWhenAnySubjectRefuses) {
  const RateLimits wide{.requests_per_minute = 100, .tokens_per_minute = 100'000};
  const std::array subjects = {Key("k", wide),
                               RateSubject{"org", "k", "acme", {.requests_per_minute = 1}}};
  auto lease = limiter_.Acquire(subjects, 50);
  ASSERT_TRUE(lease.has_value());
  lease->Settle(60);
  const auto hit = limiter_.Acquire(subjects, 50);
  ASSERT_FALSE(hit.has_value());
  EXPECT_EQ(hit.error().subject_kind, "org") << "an org and a key of one name are two";
  EXPECT_EQ(limiter_.UseOf("key", "k").requests, 1);
  EXPECT_EQ(limiter_.UseOf("key", "k").tokens, 60);
}

TEST_F(Limiter, AChangedLimitCountsAtOnce) {
  EXPECT_TRUE(Acquire(Key("k", {.requests_per_minute = 1})).has_value());
  EXPECT_FALSE(Acquire(Key("k", {.requests_per_minute = 1})).has_value());
  EXPECT_TRUE(Acquire(Key("k", {.requests_per_minute = 2})).has_value());
  EXPECT_TRUE(Acquire(Key("k", {})).has_value());
}

TEST_F(Limiter, ForgetsIdleSubjectsAndKeepsRunningOnes) {
  auto running = Acquire(Key("long", {.concurrency = 1}));
  for (int i = 0; i < 5'000; ++i) {
    EXPECT_TRUE(Acquire(Key(std::to_string(i), {.requests_per_minute = 1})).has_value());
    clock_.Advance(milliseconds(100));
  }
  EXPECT_LT(limiter_.subjects(), 2'100u) << "600 are active in a minute";
  EXPECT_FALSE(Acquire(Key("long", {.concurrency = 1})).has_value());
}

TEST_F(Limiter, RefusesNewSubjectsWhenTooManyAreActive) {
  for (size_t i = 0; i < limits::kRateSubjectsMax; ++i) {
    ASSERT_TRUE(Acquire(Key(std::to_string(i), {.requests_per_minute = 9})).has_value());
  }
  const auto hit = Acquire(Key("one more", {.requests_per_minute = 9}));
  ASSERT_FALSE(hit.has_value());
  EXPECT_EQ(hit.error().which, RateLimitKind::kSubjects);
  EXPECT_TRUE(Acquire(Key("7", {.requests_per_minute = 9})).has_value()) << "known ones go on";
  clock_.Advance(seconds(63));
  EXPECT_TRUE(Acquire(Key("one more", {.requests_per_minute = 9})).has_value());
  EXPECT_EQ(limiter_.subjects(), 1u);
}

TEST_F(Limiter, TakesEstimatesNobodyShouldGive) {
  const RateSubject key = Key("k", {.tokens_per_minute = INT64_MAX});
  for (const int64_t tokens : {INT64_MIN, int64_t{-1}, INT64_MAX}) {
    auto lease = Acquire(key, tokens);
    ASSERT_TRUE(lease.has_value());
    lease->Settle(tokens);
  }
  EXPECT_GE(limiter_.UseOf("key", "k").tokens, 0);
}

// The twin keeps every request. No minute holds more than the limits, and what is told to come back
// is let in then if nobody else came.
TEST_F(Limiter, NoMinuteHoldsMoreThanTheLimits) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SeededRandom random(seed);
    RateLimiter limiter(clock_);
    const RateLimits limits{.requests_per_minute = 1 + random.Below(40),
                            .tokens_per_minute = 100 + random.Below(2'000)};
    const RateSubject key = Key("k", limits);
    std::deque<std::pair<TimePoint, int64_t>> let_in;
    for (int step = 0; step < 600; ++step) {
      clock_.Advance(milliseconds(random.Below(3'000)));
      const int64_t tokens = random.Below(*limits.tokens_per_minute / 2);
      auto lease = limiter.Acquire(std::span(&key, 1), tokens);
      if (!lease.has_value()) {
        ASSERT_TRUE(lease.error().retry_after_ms.has_value());
        ASSERT_GT(*lease.error().retry_after_ms, 0);
        ASSERT_LE(*lease.error().retry_after_ms, 62'000);
        clock_.Advance(milliseconds(*lease.error().retry_after_ms));
        lease = limiter.Acquire(std::span(&key, 1), tokens);
        // The requests may have room then, and the tokens not yet.
        if (!lease.has_value()) {
          clock_.Advance(milliseconds(*lease.error().retry_after_ms));
          lease = limiter.Acquire(std::span(&key, 1), tokens);
        }
        ASSERT_TRUE(lease.has_value()) << "seed " << seed;
      }
      const int64_t used = random.Below(tokens + 1);
      lease->Settle(used);
      let_in.emplace_back(clock_.Now(), used);
      while (clock_.Now() - let_in.front().first >= seconds(60)) {
        let_in.pop_front();
      }
      int64_t sum = 0;
      for (const auto& [at, spent] : let_in) {
        sum += spent;
      }
      ASSERT_LE(static_cast<int64_t>(let_in.size()), *limits.requests_per_minute);
      ASSERT_LE(sum, *limits.tokens_per_minute);
    }
  }
}

TEST(LimiterThreads, HoldsItsLimitsUnderManyThreads) {
  SharedFakeClock clock;
  RateLimiter limiter(clock);
  std::atomic<int> running = 0;
  std::atomic<int> most = 0;
  std::atomic<int> let_in = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string own = std::to_string(t);
      for (int i = 0; i < 3'000; ++i) {
        const std::array subjects = {
            RateSubject{"org", "o", "o", {.requests_per_minute = 1'000, .concurrency = 2}},
            Key(own, {.tokens_per_minute = 1'000'000})};
        auto lease = limiter.Acquire(subjects, 10);
        if (!lease.has_value()) {
          std::this_thread::yield();
          continue;
        }
        ++let_in;
        const int now = ++running;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        lease->Settle(i % 20);
        --running;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_LE(most, 2);
  EXPECT_LE(let_in, 1'000);
  EXPECT_EQ(limiter.UseOf("org", "o").running, 0);
  EXPECT_EQ(limiter.UseOf("org", "o").requests, let_in);
}

}  // namespace
}  // namespace tradewind::routing
