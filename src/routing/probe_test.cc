#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "routing/probe_checks.h"
#include "routing/probe_schedule.h"
#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

ProbeMapping Mapping(std::string provider, std::string model, uint64_t version = 1) {
  return {.target = {std::move(provider), std::move(model)}, .version = version};
}

class Schedule : public testing::Test {
 protected:
  static ProbeScheduleOptions Exact() { return {.jitter = 0}; }
  std::vector<ProbeTarget> Take() { return schedule_.TakeDue(now_); }
  void Sync(std::vector<ProbeMapping> mappings) { schedule_.Sync(mappings, now_); }

  const ProbeTarget a_{"p", "a"};
  TimePoint now_{hours(1'000)};
  SeededRandom random_{1};
  ProbeSchedule schedule_{random_, Exact()};
};

TEST_F(Schedule, ProbesWhatIsNewAtOnceAndThenEverySixHours) {
  EXPECT_FALSE(schedule_.NextDue().has_value());
  Sync({Mapping("p", "a")});
  EXPECT_EQ(schedule_.NextDue(), now_);
  ASSERT_EQ(Take(), std::vector{a_});
  EXPECT_TRUE(Take().empty()) << "it runs";
  schedule_.Done(a_, ProbeEnd::kWell, now_);
  EXPECT_EQ(schedule_.NextDue(), now_ + hours(6));
  now_ += hours(6) - milliseconds(1);
  EXPECT_TRUE(Take().empty());
  now_ += milliseconds(1);
  EXPECT_EQ(Take(), std::vector{a_});
}

TEST_F(Schedule, ProbesEveryHourAfterAFailureUntilItIsWell) {
  Sync({Mapping("p", "a")});
  for (const ProbeEnd end : {ProbeEnd::kFailed, ProbeEnd::kNothingLearned, ProbeEnd::kFailed}) {
    ASSERT_EQ(Take(), std::vector{a_});
    schedule_.Done(a_, end, now_);
    EXPECT_EQ(schedule_.NextDue(), now_ + hours(1));
    now_ += hours(1);
  }
  ASSERT_EQ(Take(), std::vector{a_});
  schedule_.Done(a_, ProbeEnd::kWell, now_);
  EXPECT_EQ(schedule_.NextDue(), now_ + hours(6));
}

TEST_F(Schedule, ProbesAChangedMappingAtOnceAndLeavesTheOthers) {
  Sync({Mapping("p", "a"), Mapping("q", "b")});
  for (const ProbeTarget& target : Take()) {
    schedule_.Done(target, ProbeEnd::kWell, now_);
  }
  now_ += minutes(5);
  Sync({Mapping("p", "a", 2), Mapping("q", "b")});
  EXPECT_EQ(Take(), std::vector{a_});
}

TEST_F(Schedule, AMappingThatChangesDuringItsProbeIsProbedAgain) {
  Sync({Mapping("p", "a")});
  ASSERT_EQ(Take().size(), 1u);
  Sync({Mapping("p", "a", 2)});
  EXPECT_TRUE(Take().empty()) << "not twice at a time";
  Sync({Mapping("p", "a", 2)});
  schedule_.Done(a_, ProbeEnd::kWell, now_);
  EXPECT_EQ(Take(), std::vector{a_}) << "what ended was the old one";
  schedule_.Done(a_, ProbeEnd::kWell, now_);
  EXPECT_TRUE(Take().empty());
}

TEST_F(Schedule, ADroppedMappingIsForgottenAndItsProbeIgnored) {
  Sync({Mapping("p", "a")});
  ASSERT_EQ(Take().size(), 1u);
  Sync({});
  EXPECT_EQ(schedule_.running(), 1u) << "it still uses the provider";
  schedule_.Done(a_, ProbeEnd::kFailed, now_);
  EXPECT_EQ(schedule_.running(), 0u);
  EXPECT_EQ(schedule_.size(), 0u);
  EXPECT_FALSE(schedule_.NextDue().has_value());
  EXPECT_FALSE(schedule_.Ask(a_, now_));
  schedule_.Done(a_, ProbeEnd::kWell, now_);
}

TEST_F(Schedule, ARestartDoesNotProbeWhatWasProbedLately) {
  ProbeMapping well = Mapping("p", "a");
  well.last_ago_ms = 3'600'000;
  ProbeMapping failed = Mapping("q", "b");
  failed.last_ago_ms = 1'800'000;
  failed.last_end = ProbeEnd::kFailed;
  ProbeMapping old = Mapping("r", "c");
  old.last_ago_ms = INT64_MAX;
  Sync({well, failed, old});
  const auto take_and_end = [&] {
    const std::vector<ProbeTarget> taken = Take();
    for (const ProbeTarget& target : taken) {
      schedule_.Done(target, ProbeEnd::kWell, now_);
    }
    return taken;
  };
  EXPECT_EQ(take_and_end(), (std::vector<ProbeTarget>{{"r", "c"}}));
  now_ += minutes(30);
  EXPECT_EQ(take_and_end(), (std::vector<ProbeTarget>{{"q", "b"}}));
  now_ += hours(4) + minutes(30);
  EXPECT_EQ(take_and_end(), (std::vector<ProbeTarget>{{"p", "a"}}));
}

TEST_F(Schedule, RunsFewAtATimeAndOneOfAProvider) {
  std::vector<ProbeMapping> mappings;
  for (const std::string provider : {"p", "q", "r", "s", "t", "u"}) {
    mappings.push_back(Mapping(provider, "a"));
    mappings.push_back(Mapping(provider, "b"));
  }
  Sync(mappings);
  const std::vector<ProbeTarget> first = Take();
  EXPECT_EQ(first, (std::vector<ProbeTarget>{{"p", "a"}, {"q", "a"}, {"r", "a"}, {"s", "a"}}));
  EXPECT_TRUE(Take().empty());
  EXPECT_EQ(schedule_.NextDue(), now_ + minutes(5)) << "no room: only a lost one can make some";
  now_ += seconds(1);
  schedule_.Done(first[1], ProbeEnd::kWell, now_);
  EXPECT_EQ(Take().size(), 1u);
}

TEST_F(Schedule, AProbeThatNeverEndsIsGivenUp) {
  Sync({Mapping("p", "a")});
  ASSERT_EQ(Take().size(), 1u);
  now_ += minutes(5);
  EXPECT_TRUE(Take().empty());
  EXPECT_EQ(schedule_.running(), 0u);
  EXPECT_EQ(schedule_.NextDue(), now_ + hours(1));
}

TEST_F(Schedule, AUserMayAskForAProbeNow) {
  Sync({Mapping("p", "a")});
  Take();
  schedule_.Done(a_, ProbeEnd::kWell, now_);
  EXPECT_TRUE(schedule_.Ask(a_, now_));
  EXPECT_EQ(Take(), std::vector{a_});
}

TEST_F(Schedule, LeavesOutWhatIsOverTheBoundAndSaysHowMany) {
  std::vector<ProbeMapping> mappings;
  for (size_t i = 0; i < limits::kProbesMax + 7; ++i) {
    mappings.push_back(Mapping("p", std::to_string(i)));
  }
  EXPECT_EQ(schedule_.Sync(mappings, now_), 7u);
  EXPECT_EQ(schedule_.size(), limits::kProbesMax);
}

// A day of a busy schedule, played through: each mapping is probed as often as it should be, never
// two at a time of one provider, and never more than may run.
TEST(ScheduleDay, KeepsItsTimesAndBounds) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SeededRandom random(seed);
    ProbeSchedule schedule(random);
    std::vector<ProbeMapping> mappings;
    for (int i = 0; i < 40; ++i) {
      mappings.push_back(
          Mapping(std::string(1, static_cast<char>('a' + i % 8)), std::to_string(i)));
    }
    TimePoint now{hours(500)};
    const TimePoint end = now + hours(48);
    schedule.Sync(mappings, now);
    std::map<ProbeTarget, int> probes;
    std::vector<std::pair<TimePoint, ProbeTarget>> running;
    const auto fails = [](const ProbeTarget& target) { return target.provider == "h"; };
    int steps = 0;
    while (now < end) {
      ASSERT_LT(++steps, 100'000) << "time must move on";
      for (const ProbeTarget& target : schedule.TakeDue(now)) {
        ++probes[target];
        running.emplace_back(now + seconds(1 + random.Below(60)), target);
      }
      ASSERT_LE(running.size(), 4u);
      std::ranges::sort(running);
      const auto due = schedule.NextDue();
      ASSERT_TRUE(due.has_value());
      if (!running.empty() && running.front().first <= *due) {
        now = std::max(now, running.front().first);
        const ProbeTarget target = running.front().second;
        schedule.Done(target, fails(target) ? ProbeEnd::kFailed : ProbeEnd::kWell, now);
        running.erase(running.begin());
      } else {
        ASSERT_GT(*due, now) << "what is due and has room was taken";
        now = *due;
      }
    }
    for (const ProbeMapping& mapping : mappings) {
      const int count = probes[mapping.target];
      if (fails(mapping.target)) {
        EXPECT_GE(count, 40) << "hourly, with a little jitter and waiting";
        EXPECT_LE(count, 54);
      } else {
        EXPECT_GE(count, 8) << "every six hours";
        EXPECT_LE(count, 9);
      }
    }
  }
}

// --- What a probe saw ---

ProbeSeen Good() {
  ProbeSeen seen;
  seen.format_ok = true;
  seen.ttft_ms = 300;
  seen.tools = {.failure = {}, .as_asked = true};
  seen.structured_output = {.failure = {}, .as_asked = true};
  return seen;
}

TEST(ProbeChecks, AGoodRouteIsLiveWithItsAbilities) {
  const ProbeResult result = EvaluateProbe(Good());
  EXPECT_EQ(result.end, ProbeEnd::kWell);
  EXPECT_EQ(result.status, RouteStatus::kLive);
  EXPECT_EQ(result.supports_tools, Known::kYes);
  EXPECT_EQ(result.supports_structured_output, Known::kYes);
  EXPECT_EQ(result.words, "");
  std::string names;
  for (const ProbeCheck& check : result.checks) {
    names += check.name + " ";
    EXPECT_EQ(check.passed, Known::kYes) << check.name;
    EXPECT_EQ(check.words, "") << check.name;
  }
  EXPECT_EQ(names, "reachable format ttft tools structured_output ");
}

TEST(ProbeChecks, EachOfTheFirstThreeMakesItAnError) {
  ProbeSeen down = Good();
  down.failure = FailureKind::kServerError;
  down.failure_words = "500 no worker";
  ProbeSeen garbled = Good();
  garbled.format_ok = false;
  garbled.format_words = "no finish_reason";
  ProbeSeen late = Good();
  late.ttft_ms = 6'240;
  ProbeSeen silent = Good();
  silent.ttft_ms.reset();
  const std::vector<std::pair<ProbeSeen, std::string>> rows = {
      {down, "server error: 500 no worker"},
      {garbled, "no finish_reason"},
      {late, "first token after 6.2 s, not under 5 s"},
      {silent, "no token came"}};
  for (const auto& [seen, words] : rows) {
    const ProbeResult result = EvaluateProbe(seen);
    EXPECT_EQ(result.end, ProbeEnd::kFailed) << words;
    EXPECT_EQ(result.status, RouteStatus::kError) << words;
    EXPECT_EQ(result.words, words);
  }
}

TEST(ProbeChecks, TheTimeAllowedDependsOnTheTask) {
  ProbeSeen seen = Good();
  seen.ttft_ms = 5'000;
  EXPECT_EQ(EvaluateProbe(seen).status, RouteStatus::kError) << "under 5 s, not at 5 s";
  seen.ttft_ms = 4'999;
  EXPECT_EQ(EvaluateProbe(seen).status, RouteStatus::kLive);
  seen.task = ProbedTask::kOther;
  seen.ttft_ms = 29'000;
  EXPECT_EQ(EvaluateProbe(seen).status, RouteStatus::kLive);
  seen.ttft_ms = 30'000;
  EXPECT_EQ(EvaluateProbe(seen).words, "answer after 30.0 s, not under 30 s");
  seen.ttft_ms = std::nan("");
  EXPECT_EQ(EvaluateProbe(seen).status, RouteStatus::kError);
}

TEST(ProbeChecks, AProbeThatCouldNotLookChangesNothing) {
  for (const FailureKind kind :
       {FailureKind::kRateLimited, FailureKind::kKeyRejected, FailureKind::kNoFunds,
        FailureKind::kShutdown, FailureKind::kClientLeft, FailureKind::kDeadline}) {
    ProbeSeen seen;
    seen.failure = kind;
    const ProbeResult result = EvaluateProbe(seen);
    EXPECT_EQ(result.end, ProbeEnd::kNothingLearned) << FailureKindName(kind);
    EXPECT_FALSE(result.status.has_value());
    EXPECT_EQ(result.supports_tools, Known::kUnknown);
    EXPECT_EQ(result.words, FailureWords(kind));
  }
}

TEST(ProbeChecks, AProviderThatRefusesOurProbeOutrightIsInError) {
  for (const FailureKind kind : {FailureKind::kClientError, FailureKind::kNotCapable,
                                 FailureKind::kModelUnknown, FailureKind::kConnect}) {
    ProbeSeen seen;
    seen.failure = kind;
    EXPECT_EQ(EvaluateProbe(seen).status, RouteStatus::kError) << FailureKindName(kind);
  }
}

TEST(ProbeChecks, AMissingAbilityIsNoErrorAndTroubleOnTheWayIsNoMissingAbility) {
  ProbeSeen seen = Good();
  seen.tools = {.failure = {}, .as_asked = false};
  seen.structured_output = {.failure = FailureKind::kClientError, .as_asked = false};
  ProbeResult result = EvaluateProbe(seen);
  EXPECT_EQ(result.status, RouteStatus::kLive);
  EXPECT_EQ(result.supports_tools, Known::kNo);
  EXPECT_EQ(result.checks[3].words, "it did not call the tool");
  EXPECT_EQ(result.supports_structured_output, Known::kNo);
  EXPECT_EQ(result.checks[4].words, "it refused to follow the schema");
  seen.tools = {.failure = FailureKind::kServerError, .as_asked = false};
  seen.structured_output.reset();
  result = EvaluateProbe(seen);
  EXPECT_EQ(result.supports_tools, Known::kUnknown);
  EXPECT_EQ(result.supports_structured_output, Known::kUnknown);
}

}  // namespace
}  // namespace tradewind::routing
