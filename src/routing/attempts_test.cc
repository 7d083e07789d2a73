#include "routing/attempts.h"

#include <array>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array kAllReached = {Reached::kNotSent, Reached::kSent, Reached::kHead};
constexpr std::array kAllTries = {SecondTries::kOff, SecondTries::kOnlyIfUndone, SecondTries::kYes};

// The table of docs/adr/0008, row by row, before the first byte reached the client.
//   E  another route may answer        H  the same route too, if no other is left
//   .  neither                         $  the bill of the attempt is unknown
// One column per Reached: not sent, sent, head.
struct TableRow {
  std::array<std::string_view, 3> if_undone;  // SecondTries::kOnlyIfUndone
  std::array<std::string_view, 3> yes;        // SecondTries::kYes
};
const std::map<FailureKind, TableRow> kTable = {
    {FailureKind::kConnect, {{"EH", "$", "$"}, {"EH", "EH$", "EH$"}}},
    {FailureKind::kReset, {{"EH", "$", "$"}, {"EH", "EH$", "EH$"}}},
    {FailureKind::kFirstByteTimeout, {{"E", "$", "$"}, {"E", "E$", "E$"}}},
    {FailureKind::kCut, {{"$", "$", "$"}, {"EH$", "EH$", "EH$"}}},
    {FailureKind::kStall, {{"$", "$", "$"}, {"EH$", "EH$", "EH$"}}},
    {FailureKind::kServerError, {{"$", "$", "$"}, {"EH$", "EH$", "EH$"}}},
    {FailureKind::kRedirect, {{"$", "$", "E"}, {"E$", "E$", "E"}}},
    {FailureKind::kGarbage, {{"$", "$", "$"}, {"EH$", "EH$", "EH$"}}},
    {FailureKind::kErrorEvent, {{"$", "$", "$"}, {"EH$", "EH$", "EH$"}}},
    {FailureKind::kOtherForm, {{"", "$", "$"}, {"", "$", "$"}}},
    {FailureKind::kOverloaded, {{"$", "$", "EH"}, {"EH$", "EH$", "EH"}}},
    {FailureKind::kRateLimited, {{"$", "$", "EH"}, {"EH$", "EH$", "EH"}}},
    {FailureKind::kKeyRejected, {{"$", "$", "E"}, {"E$", "E$", "E"}}},
    {FailureKind::kNoFunds, {{"$", "$", "E"}, {"E$", "E$", "E"}}},
    {FailureKind::kModelUnknown, {{"$", "$", "E"}, {"E$", "E$", "E"}}},
    {FailureKind::kNotCapable, {{"$", "$", "E"}, {"E$", "E$", "E"}}},
    {FailureKind::kClientError, {{"", "", ""}, {"", "", ""}}},
    {FailureKind::kClientLeft, {{"", "$", "$"}, {"", "$", "$"}}},
    {FailureKind::kDeadline, {{"", "$", "$"}, {"", "$", "$"}}},
    {FailureKind::kShutdown, {{"", "$", "$"}, {"", "$", "$"}}},
};

std::string Text(const Rule& rule) {
  return std::string(rule.elsewhere ? "E" : "") + (rule.here_again ? "H" : "") +
         (rule.continues ? "C" : "") + (rule.bill == Bill::kUnknown ? "$" : "");
}

std::string_view Expected(FailureKind kind, Reached reached, SecondTries tries) {
  const TableRow& row = kTable.at(kind);
  const auto column = static_cast<size_t>(reached);
  return tries == SecondTries::kYes ? row.yes[column] : row.if_undone[column];
}

template <class Body>
void ForEveryFailure(Body&& body) {
  for (int kind = 0; kind < kFailureKinds; ++kind) {
    for (const Reached reached : kAllReached) {
      for (const bool client_has_bytes : {false, true}) {
        for (const bool in_tool_call : {false, true}) {
          body(AttemptFailure{.kind = static_cast<FailureKind>(kind),
                              .reached = reached,
                              .client_has_bytes = client_has_bytes,
                              .in_tool_call = in_tool_call});
        }
      }
    }
  }
}

TEST(FailureTable, HoldsForEveryFailureBeforeTheFirstByte) {
  ASSERT_EQ(kTable.size(), static_cast<size_t>(kFailureKinds));
  ForEveryFailure([](const AttemptFailure& failure) {
    if (failure.client_has_bytes) {
      return;
    }
    for (const bool continuation : {false, true}) {
      for (const SecondTries tries : {SecondTries::kOnlyIfUndone, SecondTries::kYes}) {
        EXPECT_EQ(Text(RuleFor(failure, tries, continuation)),
                  Expected(failure.kind, failure.reached, tries))
            << FailureKindName(failure.kind) << " reached " << static_cast<int>(failure.reached);
      }
    }
  });
}

TEST(FailureTable, WithoutSecondTriesOnlyTheBillIsLeft) {
  ForEveryFailure([](const AttemptFailure& failure) {
    const Rule off = RuleFor(failure, SecondTries::kOff, true);
    EXPECT_FALSE(off.elsewhere || off.here_again || off.continues);
    EXPECT_EQ(off.bill, RuleFor(failure, SecondTries::kYes, true).bill);
  });
}

TEST(FailureTable, AfterTheFirstByteNothingStartsAnew) {
  ForEveryFailure([](const AttemptFailure& failure) {
    if (!failure.client_has_bytes) {
      return;
    }
    for (const SecondTries tries : kAllTries) {
      for (const bool continuation : {false, true}) {
        const Rule rule = RuleFor(failure, tries, continuation);
        EXPECT_FALSE(rule.elsewhere || rule.here_again) << FailureKindName(failure.kind);
        EXPECT_EQ(rule.bill, Bill::kUnknown) << "tokens were written: they cost";
        const bool text_is_good =
            failure.kind == FailureKind::kReset || failure.kind == FailureKind::kCut ||
            failure.kind == FailureKind::kStall || failure.kind == FailureKind::kErrorEvent ||
            failure.kind == FailureKind::kGarbage;
        EXPECT_EQ(rule.continues, continuation && tries == SecondTries::kYes && text_is_good &&
                                      !failure.in_tool_call)
            << FailureKindName(failure.kind);
      }
    }
  });
}

TEST(FailureTable, AnAttemptThatWasToGoOnAndGaveNothingIsFollowedWhateverItsFailureWas) {
  ForEveryFailure([](const AttemptFailure& one) {
    AttemptFailure failure = one;
    failure.client_has_bytes = true;
    failure.gave_nothing = true;
    const Rule rule = RuleFor(failure, SecondTries::kYes, true);
    const bool is_over =
        failure.kind == FailureKind::kClientError || failure.kind == FailureKind::kClientLeft ||
        failure.kind == FailureKind::kDeadline || failure.kind == FailureKind::kShutdown ||
        failure.kind == FailureKind::kOtherForm;
    EXPECT_EQ(rule.continues, !is_over && !failure.in_tool_call) << FailureKindName(failure.kind);
    EXPECT_FALSE(RuleFor(failure, SecondTries::kYes, false).continues);
    EXPECT_FALSE(RuleFor(failure, SecondTries::kOnlyIfUndone, true).continues);
  });
}

TEST(FailureTable, WhatMayHaveRunIsNeverRepeatedForACallerThatForbidsIt) {
  ForEveryFailure([](const AttemptFailure& failure) {
    const Rule rule = RuleFor(failure, SecondTries::kOnlyIfUndone, true);
    if (rule.elsewhere || rule.here_again) {
      EXPECT_EQ(rule.bill, Bill::kNothing) << FailureKindName(failure.kind);
    }
  });
}

class AttemptsOf : public testing::Test {
 protected:
  Attempts Make(size_t routes, AttemptOptions options = {}, int64_t deadline_ms = 60'000) {
    return Attempts(options, routes, clock_.Now() + milliseconds(deadline_ms), budget_, random_);
  }
  Attempts::Decision Fail(Attempts& attempts, AttemptFailure failure) {
    return attempts.Next(failure, "next", clock_.Now());
  }

  static constexpr AttemptFailure kRefusedConnection{.kind = FailureKind::kConnect};
  static constexpr AttemptFailure kBusy{.kind = FailureKind::kOverloaded,
                                        .reached = Reached::kHead};

  FakeClock clock_;
  SeededRandom random_{1};
  RetryBudget budget_{clock_};
};

TEST_F(AttemptsOf, GoesToTheNextRouteAtOnceAndThenOn) {
  Attempts attempts = Make(5);
  EXPECT_EQ(attempts.route(), 0u);
  for (size_t route = 1; route <= 3; ++route) {
    const auto decision = Fail(attempts, kRefusedConnection);
    EXPECT_EQ(decision.step, Step::kNextRoute);
    EXPECT_EQ(decision.wait_ms, 0);
    EXPECT_EQ(decision.bill, Bill::kNothing);
    EXPECT_EQ(attempts.route(), route);
  }
  const auto last = Fail(attempts, kRefusedConnection);
  EXPECT_EQ(last.step, Step::kGiveUp);
  EXPECT_EQ(last.reason, GiveUpReason::kAttemptsUsed);
  EXPECT_EQ(attempts.number(), 4);
}

TEST_F(AttemptsOf, AHedgeIsASecondAttemptInEveryCount) {
  Attempts attempts = Make(3);
  const int64_t before = budget_.UseOf("next").second_attempts;
  EXPECT_TRUE(attempts.Hedge("next", clock_.Now()));
  EXPECT_EQ(attempts.number(), 2);
  EXPECT_EQ(attempts.route(), 0u) << "it is the first one's turn until both have failed";
  EXPECT_EQ(budget_.UseOf("next").second_attempts, before + 1);
  EXPECT_TRUE(attempts.Skip());
  EXPECT_EQ(Fail(attempts, kRefusedConnection).step, Step::kNextRoute);
  EXPECT_EQ(attempts.route(), 2u);
  EXPECT_FALSE(attempts.Hedge("next", clock_.Now())) << "there is no other route";

  EXPECT_FALSE(Make(1).Hedge("next", clock_.Now()));
  EXPECT_FALSE(Make(2, {.attempts_max = 1}).Hedge("next", clock_.Now()));
  EXPECT_FALSE(Make(2, {.second_tries = SecondTries::kOff}).Hedge("next", clock_.Now()));
  EXPECT_FALSE(Make(2, {}, 100).Hedge("next", clock_.Now())) << "too little time is left";
}

TEST_F(AttemptsOf, TriesTheOnlyRouteAgainAfterAPauseAndOnce) {
  Attempts attempts = Make(1);
  const auto again = Fail(attempts, kBusy);
  EXPECT_EQ(again.step, Step::kHereAgain);
  EXPECT_GE(again.wait_ms, 100);
  EXPECT_LE(again.wait_ms, 200);
  EXPECT_EQ(attempts.route(), 0u);
  EXPECT_EQ(Fail(attempts, kBusy).reason, GiveUpReason::kNoRouteLeft);
}

TEST_F(AttemptsOf, BacksOffLongerEachTimeWithJitterUpToABound) {
  Attempts attempts = Make(1, {.attempts_max = 10, .here_again_max = 9}, 600'000);
  int64_t full_ms = 200;
  for (int i = 0; i < 9; ++i) {
    const auto again = Fail(attempts, kBusy);
    ASSERT_EQ(again.step, Step::kHereAgain) << i;
    EXPECT_GE(again.wait_ms, full_ms / 2);
    EXPECT_LE(again.wait_ms, full_ms);
    full_ms = std::min<int64_t>(2 * full_ms, 5'000);
  }
}

TEST_F(AttemptsOf, HonoursRetryAfterOnlyWithinTheDeadline) {
  AttemptFailure limited{
      .kind = FailureKind::kRateLimited, .reached = Reached::kHead, .retry_after_ms = 3'000};
  Attempts in_time = Make(1, {}, 4'000);
  EXPECT_EQ(Fail(in_time, limited).wait_ms, 3'000);

  Attempts too_late = Make(1, {}, 3'400);
  const auto given_up = Fail(too_late, limited);
  EXPECT_EQ(given_up.step, Step::kGiveUp);
  EXPECT_EQ(given_up.reason, GiveUpReason::kNoTime);
  EXPECT_EQ(given_up.wait_ms, 0);
  EXPECT_EQ(given_up.retry_after_ms, 3'000) << "the client is told when to come back";

  Attempts elsewhere = Make(2, {}, 3'400);
  EXPECT_EQ(Fail(elsewhere, limited).step, Step::kNextRoute);
  EXPECT_EQ(Fail(elsewhere, limited).reason, GiveUpReason::kNoTime);

  limited.retry_after_ms = INT64_MAX;
  Attempts absurd = Make(1);
  EXPECT_EQ(Fail(absurd, limited).reason, GiveUpReason::kNoTime);
  limited.retry_after_ms = INT64_MIN;
  Attempts negative = Make(1);
  EXPECT_EQ(Fail(negative, limited).step, Step::kHereAgain);
}

TEST_F(AttemptsOf, BeginsNothingWithoutTimeForIt) {
  Attempts attempts = Make(3, {}, 10'000);
  clock_.Advance(milliseconds(9'501));
  EXPECT_EQ(Fail(attempts, kRefusedConnection).reason, GiveUpReason::kNoTime);
  clock_.Advance(seconds(60));
  EXPECT_EQ(Fail(attempts, kRefusedConnection).reason, GiveUpReason::kNoTime);
}

TEST_F(AttemptsOf, SplitsTheDeadlineSoThatALaterAttemptHasTime) {
  Attempts attempts = Make(3, {}, 40'000);
  const TimePoint start = clock_.Now();
  EXPECT_EQ(attempts.FirstByteBy(start), start + seconds(20));
  clock_.Advance(seconds(20));
  const AttemptFailure timeout{.kind = FailureKind::kFirstByteTimeout, .reached = Reached::kSent};
  EXPECT_EQ(Fail(attempts, timeout).step, Step::kNextRoute);
  EXPECT_EQ(attempts.FirstByteBy(clock_.Now()), start + seconds(30));
  clock_.Advance(seconds(10));
  EXPECT_EQ(Fail(attempts, timeout).step, Step::kNextRoute);
  EXPECT_EQ(attempts.FirstByteBy(clock_.Now()), start + seconds(40)) << "the last one has it all";
  clock_.Advance(seconds(50));
  EXPECT_EQ(attempts.FirstByteBy(clock_.Now()), clock_.Now()) << "never in the past";
}

TEST_F(AttemptsOf, AnAttemptThatNoneMayFollowHasAllTheTime) {
  const TimePoint end = clock_.Now() + seconds(40);
  EXPECT_EQ(Make(1, {}, 40'000).FirstByteBy(clock_.Now()), end);
  for (const SecondTries tries : {SecondTries::kOff, SecondTries::kOnlyIfUndone}) {
    EXPECT_EQ(Make(3, {.second_tries = tries}, 40'000).FirstByteBy(clock_.Now()), end)
        << "a timeout would be the end of it";
  }
  EXPECT_EQ(Make(3, {.first_byte_ms = 7'000}, 40'000).FirstByteBy(clock_.Now()),
            clock_.Now() + seconds(7));
}

TEST_F(AttemptsOf, SaysWhyItGivesUp) {
  const auto reason = [&](AttemptFailure failure, AttemptOptions options, size_t routes = 3) {
    Attempts attempts = Make(routes, options);
    return Fail(attempts, failure).reason;
  };
  const AttemptFailure sent{.kind = FailureKind::kReset, .reached = Reached::kSent};
  AttemptFailure cut{
      .kind = FailureKind::kCut, .reached = Reached::kHead, .client_has_bytes = true};
  EXPECT_EQ(reason(sent, {.second_tries = SecondTries::kOnlyIfUndone}), GiveUpReason::kMayBeDone);
  EXPECT_EQ(reason(sent, {.second_tries = SecondTries::kOff}), GiveUpReason::kTriesOff);
  EXPECT_EQ(reason(cut, {}), GiveUpReason::kClientHasBytes);
  EXPECT_EQ(reason({.kind = FailureKind::kClientError, .reached = Reached::kHead}, {}),
            GiveUpReason::kNotHelped);
  EXPECT_EQ(reason({.kind = FailureKind::kClientLeft, .reached = Reached::kHead},
                   {.second_tries = SecondTries::kOff}),
            GiveUpReason::kNotHelped);
  EXPECT_EQ(reason({.kind = FailureKind::kKeyRejected, .reached = Reached::kHead}, {}, 1),
            GiveUpReason::kNoRouteLeft);
}

TEST_F(AttemptsOf, ContinuesACutAnswerElsewhereOnlyWhenAskedTo) {
  const AttemptFailure cut{
      .kind = FailureKind::kCut, .reached = Reached::kHead, .client_has_bytes = true};
  Attempts attempts = Make(2, {.continuation = true});
  const auto decision = Fail(attempts, cut);
  EXPECT_EQ(decision.step, Step::kContinueElsewhere);
  EXPECT_EQ(decision.bill, Bill::kUnknown);
  EXPECT_EQ(attempts.route(), 1u);
  EXPECT_EQ(Fail(attempts, cut).reason, GiveUpReason::kNoRouteLeft);
}

TEST_F(AttemptsOf, SkipsWhatMayNotBeginWithoutUsingAnAttempt) {
  Attempts attempts = Make(3);
  EXPECT_TRUE(attempts.Skip());
  EXPECT_TRUE(attempts.Skip());
  EXPECT_FALSE(attempts.Skip()) << "the last one is the last resort";
  EXPECT_EQ(attempts.route(), 2u);
  EXPECT_EQ(attempts.number(), 1);
}

// T35: whatever fails, in whatever order, a request ends, and within its bounds.
TEST_F(AttemptsOf, EveryPathEndsWithinItsBounds) {
  for (uint64_t seed = 0; seed < 3'000; ++seed) {
    SeededRandom random(seed);
    RetryBudget budget(clock_, {.ratio = 0, .floor = random.Chance(80) ? 1'000'000 : 1});
    const AttemptOptions options{.second_tries = random.Pick<SecondTries>(kAllTries),
                                 .continuation = random.Chance(50),
                                 .attempts_max = 1 + static_cast<int>(random.Below(6)),
                                 .here_again_max = static_cast<int>(random.Below(4))};
    const auto routes = static_cast<size_t>(1 + random.Below(5));
    const TimePoint deadline = clock_.Now() + milliseconds(random.Below(20'000));
    Attempts attempts(options, routes, deadline, budget, random);
    bool client_has_bytes = false;
    int begun = 1;
    size_t last_route = 0;
    while (true) {
      ASSERT_LT(attempts.route(), routes);
      ASSERT_GE(attempts.route(), last_route) << "never back to a route that failed";
      last_route = attempts.route();
      const TimePoint by = attempts.FirstByteBy(clock_.Now());
      ASSERT_GE(by, clock_.Now());
      ASSERT_LE(by, std::max(deadline, clock_.Now()));
      client_has_bytes = client_has_bytes || random.Chance(10);
      AttemptFailure failure{.kind = static_cast<FailureKind>(random.Below(kFailureKinds)),
                             .reached = random.Pick<Reached>(kAllReached),
                             .client_has_bytes = client_has_bytes,
                             .in_tool_call = random.Chance(20)};
      if (random.Chance(30)) {
        failure.retry_after_ms = random.Below(30'000);
      }
      clock_.Advance(milliseconds(random.Below(2'000)));
      const auto decision = attempts.Next(failure, "p", clock_.Now());
      if (decision.step == Step::kGiveUp) {
        EXPECT_NE(decision.reason, GiveUpReason::kNone);
        EXPECT_FALSE(GiveUpReasonName(decision.reason).empty());
        break;
      }
      ++begun;
      ASSERT_EQ(decision.reason, GiveUpReason::kNone);
      ASSERT_NE(options.second_tries, SecondTries::kOff);
      ASSERT_EQ(decision.step == Step::kContinueElsewhere, client_has_bytes);
      clock_.Advance(milliseconds(decision.wait_ms));
      ASSERT_LE(clock_.Now() + milliseconds(options.attempt_least_ms), deadline)
          << "what is begun has time";
    }
    EXPECT_LE(begun, options.attempts_max);
    EXPECT_EQ(begun, attempts.number());
  }
}

TEST(RetryBudgetOf, AllowsAShareOfTheRequestsAndAFloor) {
  FakeClock clock;
  RetryBudget budget(clock, {.ratio = 0.2, .floor = 3, .window_ms = 10'000});
  const auto take_all = [&] {
    int taken = 0;
    while (budget.Take("a")) {
      ++taken;
    }
    return taken;
  };
  EXPECT_EQ(take_all(), 3) << "the floor, without any request";
  for (int i = 0; i < 100; ++i) {
    budget.CountRequest("a");
  }
  EXPECT_EQ(take_all(), 20);
  EXPECT_TRUE(budget.Take("b")) << "each provider has its own";
  EXPECT_EQ(budget.UseOf("a").requests, 100);
  EXPECT_EQ(budget.UseOf("a").second_attempts, 23);
  EXPECT_EQ(budget.UseOf("never seen").requests, 0);
  clock.Advance(seconds(11));
  EXPECT_EQ(take_all(), 3) << "the window moves on";
}

TEST(RetryBudgetOf, StopsTheStormWhenEverythingFails) {
  FakeClock clock;
  SeededRandom random(5);
  RetryBudget budget(clock, {.ratio = 0.2, .floor = 5, .window_ms = 10'000});
  int64_t calls = 0;
  constexpr int kRequests = 2'000;
  for (int i = 0; i < kRequests; ++i) {
    clock.Advance(milliseconds(10));
    for (const std::string_view provider : {"a", "b", "c"}) {
      budget.CountRequest(provider);
    }
    Attempts attempts({}, 3, clock.Now() + seconds(60), budget, random);
    constexpr std::array<std::string_view, 4> kProviders = {"a", "b", "c", "c"};
    do {
      ++calls;
    } while (attempts
                 .Next({.kind = FailureKind::kServerError, .reached = Reached::kHead},
                       kProviders[attempts.route() + 1], clock.Now())
                 .step != Step::kGiveUp);
  }
  EXPECT_LE(calls, kRequests * 145 / 100) << "at most 20 % at each of the two next routes";
  EXPECT_GT(calls, kRequests * 115 / 100);
}

TEST(RetryBudgetOf, HoldsWhileManyThreadsTake) {
  SharedFakeClock clock;
  RetryBudget budget(clock, {.ratio = 0, .floor = 500, .window_ms = 10'000});
  std::atomic<int> taken = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1'000; ++i) {
        budget.CountRequest("p");
        taken += budget.Take("p") ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(taken, 500);
  EXPECT_EQ(budget.UseOf("p").requests, 4'000);
}

}  // namespace
}  // namespace tradewind::routing
