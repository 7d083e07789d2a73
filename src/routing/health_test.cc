#include "routing/health.h"

#include <atomic>
#include <set>
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

class Health : public testing::Test {
 protected:
  static constexpr std::string_view kOurs;  // the operator's key

  // Without jitter, so that times can be told exactly.
  static HealthOptions Exact() {
    HealthOptions options;
    options.jitter = 0;
    return options;
  }

  void Fail(FailureKind kind, std::string_view key_ref = kOurs,
            std::optional<int64_t> retry_after_ms = {}) {
    auto attempt = route().Begin(key_ref, true);
    ASSERT_TRUE(attempt.has_value());
    attempt->Failed(kind, retry_after_ms);
  }
  void Succeed(std::string_view key_ref = kOurs) {
    auto attempt = route().Begin(key_ref, false);
    ASSERT_TRUE(attempt.has_value());
    attempt->Succeeded({});
  }
  void FailTimes(int times, FailureKind kind = FailureKind::kConnect) {
    for (int i = 0; i < times; ++i) {
      Fail(kind);
    }
  }
  bool Admits(std::string_view key_ref = kOurs) {
    return route().Begin(key_ref, false).has_value();
  }
  HealthSnapshot Now() { return route().Snapshot(); }
  RouteHealth& route() { return book_.Route("prov-a", "org/model"); }

  FakeClock clock_;
  SeededRandom random_{1};
  HealthBook book_{clock_, random_, Exact()};
};

TEST_F(Health, BeginsReadyAndUnmeasured) {
  const HealthSnapshot health = Now();
  EXPECT_EQ(health.availability, Availability::kReady);
  EXPECT_FALSE(health.ttft_ms.has_value());
  EXPECT_FALSE(health.tokens_per_second.has_value());
  EXPECT_FALSE(health.last_failure.has_value());
  EXPECT_EQ(HealthWords(health), "");
}

TEST_F(Health, MeasuresSpeedsAsMeansThatForget) {
  const auto answer = [&](double ttft_ms, Measured measured) {
    auto attempt = route().Begin(kOurs, false);
    attempt->Answered(ttft_ms);
    attempt->Succeeded(measured);
  };
  answer(100, {.output_tokens = 100, .generation_ms = 1'000});
  EXPECT_DOUBLE_EQ(*Now().ttft_ms, 100);
  EXPECT_DOUBLE_EQ(*Now().tokens_per_second, 100);
  clock_.Advance(milliseconds(HealthOptions().half_life_ms));
  answer(400, {.output_tokens = 400, .generation_ms = 1'000});
  EXPECT_DOUBLE_EQ(*Now().ttft_ms, 300);
  EXPECT_DOUBLE_EQ(*Now().tokens_per_second, 300);
  answer(400, {.output_tokens = 3, .generation_ms = 1});
  EXPECT_DOUBLE_EQ(*Now().tokens_per_second, 300) << "three tokens tell no speed";
  answer(400, {.output_tokens = 30, .generation_ms = 0});
  EXPECT_DOUBLE_EQ(*Now().tokens_per_second, 300) << "neither does an answer without a stream";
}

TEST_F(Health, OpensAfterFaultsInARowAndSaysWhy) {
  FailTimes(2);
  EXPECT_EQ(Now().availability, Availability::kReady);
  FailTimes(1);
  const HealthSnapshot health = Now();
  EXPECT_EQ(health.circuit, Circuit::kOpen);
  EXPECT_EQ(health.availability, Availability::kHeld);
  EXPECT_EQ(health.held_for_ms, 5'000);
  EXPECT_EQ(HealthWords(health), "3 failures in a row (no connection), next try in 5 s");
  EXPECT_FALSE(Admits());
}

TEST_F(Health, ASuccessBetweenBreaksTheRow) {
  FailTimes(2);
  Succeed();
  FailTimes(2);
  EXPECT_EQ(Now().availability, Availability::kReady);
}

TEST_F(Health, OpensOnAnErrorRateOnlyWithEnoughToJudgeBy) {
  for (int i = 0; i < 4; ++i) {
    Fail(FailureKind::kServerError);
    Succeed();
  }
  Fail(FailureKind::kServerError);
  EXPECT_EQ(Now().availability, Availability::kReady) << "9 in the window";
  Fail(FailureKind::kServerError);
  EXPECT_EQ(Now().reason, HoldReason::kErrorRate);
  EXPECT_EQ(HealthWords(Now()), "6 of 10 failed in the last 30 s (server error), next try in 5 s");
}

TEST_F(Health, JudgesTheWindowNotTheWholePast) {
  for (int i = 0; i < 4; ++i) {
    Fail(FailureKind::kServerError);
    Succeed();
  }
  clock_.Advance(seconds(40));
  Fail(FailureKind::kServerError);
  Fail(FailureKind::kServerError);
  EXPECT_EQ(Now().availability, Availability::kReady);
  EXPECT_EQ(Now().window_faults, 2);
}

TEST_F(Health, HalfOpenAdmitsItsTrialsAndClosesWhenTheyAnswer) {
  FailTimes(3);
  clock_.Advance(seconds(5));
  EXPECT_EQ(Now().availability, Availability::kTrial);
  auto one = route().Begin(kOurs, false);
  auto two = route().Begin(kOurs, false);
  ASSERT_TRUE(one.has_value() && two.has_value());
  EXPECT_FALSE(Admits()) << "two trials at a time";
  EXPECT_EQ(Now().reason, HoldReason::kTrialsBusy);
  EXPECT_EQ(HealthWords(Now()), "failed lately (no connection), being tried by other requests");
  one->Succeeded({});
  EXPECT_EQ(Now().circuit, Circuit::kHalfOpen);
  two->Answered(20);
  EXPECT_EQ(Now().circuit, Circuit::kClosed) << "a long stream closes it with its first token";
  two->Succeeded({});
  EXPECT_TRUE(Admits());
  EXPECT_EQ(Now().window_faults, 0) << "what opened it does not open it again";
}

TEST_F(Health, ATrialThatLearnsNothingGivesItsPlaceBack) {
  FailTimes(3);
  clock_.Advance(seconds(5));
  for (int i = 0; i < 10; ++i) {
    auto abandoned = route().Begin(kOurs, false);
    ASSERT_TRUE(abandoned.has_value()) << i;
    if (i % 3 == 1) {
      abandoned->Failed(FailureKind::kClientError);
    } else if (i % 3 == 2) {
      abandoned->Failed(FailureKind::kClientLeft);
    }
  }
  EXPECT_EQ(Now().circuit, Circuit::kHalfOpen);
}

TEST_F(Health, AFaultWhileHalfOpenOpensForTwiceAsLongUpToABound) {
  FailTimes(3);
  int64_t expected_ms = 5'000;
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(Now().held_for_ms, expected_ms) << i;
    clock_.Advance(milliseconds(Now().held_for_ms));
    auto trial = route().Begin(kOurs, false);
    ASSERT_TRUE(trial.has_value());
    trial->Failed(FailureKind::kStall);
    expected_ms = std::min<int64_t>(2 * expected_ms, 300'000);
  }
  EXPECT_EQ(Now().opened_total, 13);
}

TEST_F(Health, IsForgivenOnlyAfterStayingWellForAWhile) {
  const auto close = [&] {
    clock_.Advance(milliseconds(Now().held_for_ms));
    Succeed();
    Succeed();
    ASSERT_EQ(Now().circuit, Circuit::kClosed);
  };
  FailTimes(3);
  close();
  FailTimes(3);
  EXPECT_EQ(Now().held_for_ms, 10'000) << "it flaps";
  close();
  clock_.Advance(seconds(120));
  FailTimes(3);
  EXPECT_EQ(Now().held_for_ms, 5'000);
}

TEST_F(Health, OldAttemptsDoNotMoveANewState) {
  auto slow_fault = route().Begin(kOurs, false);
  auto slow_success = route().Begin(kOurs, false);
  FailTimes(3);
  slow_success->Succeeded({});
  EXPECT_EQ(Now().circuit, Circuit::kOpen) << "it was sent before the circuit opened";
  clock_.Advance(seconds(5));
  auto trial = route().Begin(kOurs, false);
  slow_fault->Failed(FailureKind::kCut);
  EXPECT_EQ(Now().circuit, Circuit::kHalfOpen);
  trial->Succeeded({});
  Succeed();
  EXPECT_EQ(Now().circuit, Circuit::kClosed);
}

TEST_F(Health, TheLastResortIsAdmittedAlwaysAndLengthensNothing) {
  FailTimes(3);
  EXPECT_EQ(Now().held_for_ms, 5'000);
  clock_.Advance(seconds(1));
  FailTimes(50);
  EXPECT_EQ(Now().held_for_ms, 4'000);
  EXPECT_EQ(Now().opened_total, 1);
  for (int i = 0; i < 2; ++i) {
    auto forced = route().Begin(kOurs, true);
    ASSERT_TRUE(forced.has_value());
    forced->Succeeded({});
  }
  EXPECT_EQ(Now().circuit, Circuit::kClosed) << "last resorts that answer are trials";
}

TEST_F(Health, ClientErrorsNeverCount) {
  for (const FailureKind kind :
       {FailureKind::kClientError, FailureKind::kNotCapable, FailureKind::kClientLeft,
        FailureKind::kDeadline, FailureKind::kShutdown}) {
    FailTimes(50, kind);
    EXPECT_EQ(Now().availability, Availability::kReady) << FailureKindName(kind);
    EXPECT_EQ(Now().window_faults, 0);
    EXPECT_FALSE(Now().last_failure.has_value());
  }
}

TEST_F(Health, ARateLimitRestsForRetryAfterAndIsNoFault) {
  Fail(FailureKind::kRateLimited, kOurs, 7'500);
  const HealthSnapshot health = Now();
  EXPECT_EQ(health.availability, Availability::kHeld);
  EXPECT_EQ(health.circuit, Circuit::kClosed);
  EXPECT_EQ(health.held_for_ms, 7'500);
  EXPECT_EQ(health.window_faults, 0);
  EXPECT_EQ(HealthWords(health), "the provider asked for a pause (rate limit), next try in 8 s");
  EXPECT_FALSE(Admits());
  EXPECT_TRUE(Admits("org:acme")) << "another key has a limit of its own";
  clock_.Advance(milliseconds(7'500));
  EXPECT_TRUE(Admits());
}

TEST_F(Health, ARateLimitWithoutRetryAfterRestsLongerEachTime) {
  int64_t expected_ms = 1'000;
  for (int i = 0; i < 9; ++i) {
    Fail(FailureKind::kRateLimited);
    Fail(FailureKind::kRateLimited);  // two were under way: one rest
    EXPECT_LE(Now().held_for_ms, 2 * expected_ms);
    EXPECT_GE(Now().held_for_ms, expected_ms);
    clock_.Advance(milliseconds(Now().held_for_ms));
    expected_ms = std::min<int64_t>(2 * expected_ms, 60'000);
  }
  Succeed();
  Fail(FailureKind::kRateLimited);
  EXPECT_EQ(Now().held_for_ms, 1'000) << "a success ends the streak";
}

TEST_F(Health, AnAbsurdRetryAfterIsNotBelieved) {
  Fail(FailureKind::kRateLimited, kOurs, INT64_MAX);
  EXPECT_EQ(Now().held_for_ms, 600'000);
  clock_.Advance(seconds(600));
  Fail(FailureKind::kRateLimited, kOurs, -5);
  EXPECT_TRUE(Admits());
}

TEST_F(Health, ARefusedKeyRestsTheProviderForThatKeyAlone) {
  RouteHealth& sibling = book_.Route("prov-a", "org/other");
  RouteHealth& elsewhere = book_.Route("prov-b", "org/model");
  Fail(FailureKind::kKeyRejected, "org:acme");
  const HealthSnapshot health = sibling.Snapshot("org:acme");
  EXPECT_EQ(health.availability, Availability::kKeyHeld);
  EXPECT_EQ(health.circuit, Circuit::kClosed);
  EXPECT_EQ(health.held_for_ms, 300'000);
  EXPECT_EQ(HealthWords(health), "the provider refuses our key, next try in 5 min");
  EXPECT_FALSE(sibling.Begin("org:acme", false).has_value());
  EXPECT_TRUE(sibling.Begin("org:acme", true).has_value());
  EXPECT_TRUE(sibling.Begin(kOurs, false).has_value());
  EXPECT_TRUE(elsewhere.Begin("org:acme", false).has_value());
}

TEST_F(Health, ARefusedKeyIsBelievedAgainWhenItWorksOrIsReplaced) {
  Fail(FailureKind::kNoFunds);
  EXPECT_EQ(HealthWords(Now()), "the provider reports a lack of funds, next try in 5 min");
  auto forced = route().Begin(kOurs, true);
  forced->Succeeded({});
  EXPECT_TRUE(Admits());
  Fail(FailureKind::kKeyRejected);
  EXPECT_FALSE(Admits());
  book_.KeyChanged("prov-a", kOurs);
  EXPECT_TRUE(Admits());
}

TEST_F(Health, AKeyRefusedAgainAndAgainRestsLongerUpToAnHour) {
  int64_t expected_ms = 300'000;
  for (int i = 0; i < 8; ++i) {
    Fail(FailureKind::kKeyRejected);
    Fail(FailureKind::kKeyRejected);
    EXPECT_EQ(Now().held_for_ms, expected_ms);
    clock_.Advance(milliseconds(Now().held_for_ms));
    expected_ms = std::min<int64_t>(2 * expected_ms, 3'600'000);
  }
}

TEST_F(Health, ManyRefusedKeysTakeBoundedMemory) {
  for (int i = 0; i < 1'000; ++i) {
    Fail(FailureKind::kRateLimited, "org:" + std::to_string(i), 60'000 + i);
  }
  EXPECT_FALSE(Admits("org:999"));
  EXPECT_TRUE(Admits("org:0")) << "the rest that ends first gave way";
  Holds holds;
  for (size_t i = 0; i < 3 * limits::kHoldsMax; ++i) {
    holds.Set({.key_ref = std::to_string(i)});
  }
  EXPECT_EQ(holds.size(), limits::kHoldsMax);
}

TEST_F(Health, JitterStaysInItsBoundsAndDependsOnTheSeed) {
  std::set<int64_t> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SeededRandom random(seed);
    HealthBook book(clock_, random);
    RouteHealth& route = book.Route("p", "m");
    for (int i = 0; i < 3; ++i) {
      route.Begin(kOurs, false)->Failed(FailureKind::kConnect);
    }
    const int64_t held_for_ms = route.Snapshot().held_for_ms;
    EXPECT_GE(held_for_ms, 4'000);
    EXPECT_LE(held_for_ms, 6'000);
    seen.insert(held_for_ms);
    SeededRandom again(seed);
    HealthBook twin(clock_, again);
    for (int i = 0; i < 3; ++i) {
      twin.Route("p", "m").Begin(kOurs, false)->Failed(FailureKind::kConnect);
    }
    EXPECT_EQ(twin.Route("p", "m").Snapshot().held_for_ms, held_for_ms);
  }
  EXPECT_GT(seen.size(), 30u);
}

TEST_F(Health, AChangedMappingBeginsAnew) {
  FailTimes(3);
  auto old = route().Begin(kOurs, true);
  old->Answered(50);
  route().Reset();
  EXPECT_EQ(Now().availability, Availability::kReady);
  EXPECT_FALSE(Now().ttft_ms.has_value());
  EXPECT_FALSE(Now().last_failure.has_value());
}

TEST_F(Health, RowsComeByProviderAndModel) {
  book_.Route("prov-b", "m2");
  book_.Route("prov-a", "m9");
  book_.Route("prov-a", "m1");
  EXPECT_EQ(&book_.Route("prov-a", "m1"), &book_.Route("prov-a", "m1"));
  std::vector<std::string> names;
  for (const HealthBook::Row& row : book_.Rows()) {
    names.push_back(row.provider + "/" + row.model);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"prov-a/m1", "prov-a/m9", "prov-b/m2"}));
}

TEST_F(Health, RoutesBeyondTheBoundShareOneThatNeverRests) {
  for (size_t i = 0; i < limits::kRoutesMax; ++i) {
    book_.Route("p", std::to_string(i));
  }
  RouteHealth& more = book_.Route("p", "one more");
  EXPECT_EQ(&more, &book_.Route("q", "and another"));
  for (const FailureKind kind :
       {FailureKind::kConnect, FailureKind::kRateLimited, FailureKind::kKeyRejected}) {
    for (int i = 0; i < 20; ++i) {
      auto attempt = more.Begin(kOurs, false);
      ASSERT_TRUE(attempt.has_value());
      attempt->Failed(kind, 1'000);
    }
  }
  EXPECT_EQ(book_.Rows().size(), limits::kRoutesMax);
}

TEST_F(Health, StatusesAreReadAsTheFailuresTheyAre) {
  EXPECT_EQ(FailureOfStatus(400), FailureKind::kClientError);
  EXPECT_EQ(FailureOfStatus(401), FailureKind::kKeyRejected);
  EXPECT_EQ(FailureOfStatus(402), FailureKind::kNoFunds);
  EXPECT_EQ(FailureOfStatus(403), FailureKind::kNotCapable) << "moderation, a gated model ...";
  EXPECT_EQ(FailureOfStatus(404), FailureKind::kModelUnknown);
  EXPECT_EQ(FailureOfStatus(413), FailureKind::kNotCapable);
  EXPECT_EQ(FailureOfStatus(422), FailureKind::kClientError);
  EXPECT_EQ(FailureOfStatus(429), FailureKind::kRateLimited);
  EXPECT_EQ(FailureOfStatus(500), FailureKind::kServerError);
  EXPECT_EQ(FailureOfStatus(503), FailureKind::kOverloaded);
  EXPECT_EQ(FailureOfStatus(524), FailureKind::kServerError);
  EXPECT_EQ(FailureOfStatus(302), FailureKind::kRedirect) << "we follow none";
  EXPECT_EQ(FailureOfStatus(-1), FailureKind::kGarbage);
  EXPECT_EQ(FailureOfStatus(999), FailureKind::kGarbage);
  for (int kind = 0; kind < kFailureKinds; ++kind) {
    EXPECT_FALSE(FailureWords(static_cast<FailureKind>(kind)).empty());
    EXPECT_FALSE(FailureKindName(static_cast<FailureKind>(kind)).empty());
  }
}

// Whatever is reported in whatever order, the counts of trials stay sane: a route whose time is up
// can always be tried again once nothing runs.
TEST_F(Health, NoOrderOfReportsShutsARouteOut) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SeededRandom random(seed);
    HealthBook book(clock_, random);
    RouteHealth& route = book.Route("p", "m");
    std::vector<Attempt> running;
    for (int step = 0; step < 300; ++step) {
      clock_.Advance(milliseconds(random.Below(4'000)));
      if (random.Chance(50)) {
        if (auto attempt = route.Begin(kOurs, random.Chance(20)); attempt.has_value()) {
          running.push_back(std::move(*attempt));
        }
      } else if (!running.empty()) {
        const auto at = running.begin() + random.Below(static_cast<int64_t>(running.size()));
        if (random.Chance(40)) {
          at->Answered(10);
        }
        if (random.Chance(30)) {
          at->Succeeded({});
        } else if (random.Chance(60)) {
          at->Failed(static_cast<FailureKind>(random.Below(kFailureKinds)), random.Below(9'000));
        }
        running.erase(at);
      }
    }
    running.clear();
    clock_.Advance(milliseconds(HealthOptions().key_hold_max_ms * 2));
    const Availability availability = route.Snapshot().availability;
    EXPECT_TRUE(availability == Availability::kReady || availability == Availability::kTrial);
    for (int i = 0; i < 2; ++i) {
      auto attempt = route.Begin(kOurs, false);
      ASSERT_TRUE(attempt.has_value()) << "seed " << seed;
      attempt->Succeeded({});
    }
    EXPECT_EQ(route.Snapshot().availability, Availability::kReady) << "seed " << seed;
  }
}

TEST(HealthThreads, ManyLoopsReportAndReadAtOnce) {
  SharedFakeClock clock;
  SeededRandom random(3);
  HealthBook book(clock, random);
  std::atomic<int64_t> seen = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      SeededRandom mine(static_cast<uint64_t>(t));
      for (int i = 0; i < 3'000; ++i) {
        RouteHealth& route = book.Route("p", mine.Chance(50) ? "a" : "b");
        seen += route.Snapshot("k").window_successes;
        auto attempt = route.Begin("k", mine.Chance(30));
        if (!attempt.has_value()) {
          clock.Advance(milliseconds(50));
          continue;
        }
        if (mine.Chance(60)) {
          attempt->Answered(12);
          attempt->Succeeded({.output_tokens = 20, .generation_ms = 100});
        } else {
          attempt->Failed(static_cast<FailureKind>(mine.Below(kFailureKinds)));
        }
        if (i % 500 == 0) {
          seen += static_cast<int64_t>(book.Rows().size());
          book.KeyChanged("p", "k");
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_GT(seen, 0);
  EXPECT_EQ(book.Rows().size(), 2u);
}

}  // namespace
}  // namespace tradewind::routing
