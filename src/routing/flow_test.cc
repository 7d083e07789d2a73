// The parts together, as the gateway uses them, in a world where time is played: rank, begin,
// answer or fail, go on. Shows that requests end, in time and with the right answer, whatever
// providers do.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "routing/attempts.h"
#include "routing/health.h"
#include "routing/rank.h"
#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What one provider does with a request.
struct Reaction {
  std::optional<FailureKind> failure = {};
  Reached reached = Reached::kHead;
  bool after_first_byte = false;
  int64_t takes_ms = 100;  // until the first byte, or until it fails
  std::optional<int64_t> retry_after_ms = {};
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {}

  virtual ~World() = default;
  virtual Reaction React(const std::string& provider) = 0;

  struct Ended {
    bool answered = false;
    bool cut = false;  // the client has a part and an error
    GiveUpReason reason = GiveUpReason::kNone;
    std::string provider;  // who had it last
    int attempts = 0;
    int unknown_bills = 0;
    int64_t took_ms = 0;
  };

  // The life of one request.
  Ended Send(int64_t deadline_ms, AttemptOptions options = {}) {
    const TimePoint start = clock_.Now();
    std::vector<RouteFacts> facts;
    for (const std::string provider : {"a", "b", "c"}) {
      RouteFacts route;
      route.provider = provider;
      route.model = route.provider_model = "m";
      route.price = Price{};
      route.health = book_.Route(provider, "m").Snapshot();
      facts.push_back(route);
      budget_.CountRequest(provider);
    }
    const Ranking ranking = Rank(facts, {});
    Attempts attempts(options, ranking.candidates.size(), start + milliseconds(deadline_ms),
                      budget_, random_);
    const auto provider_of = [&](size_t candidate) {
      const size_t last = ranking.candidates.size() - 1;
      return facts[ranking.candidates[std::min(candidate, last)].index].provider;
    };
    Ended ended;
    while (true) {
      const std::string provider = provider_of(attempts.route());
      RouteHealth& health = book_.Route(provider, "m");
      auto attempt = health.Begin({}, ranking.candidates[attempts.route()].last_resort);
      if (!attempt.has_value()) {
        if (attempts.Skip()) {
          continue;
        }
        attempt = health.Begin({}, true);
      }
      ++calls_[provider];
      ended.provider = provider;
      ended.attempts = attempts.number();
      const AttemptFailure failure = Call(provider, *attempt, attempts.FirstByteBy(clock_.Now()));
      ended.took_ms = std::chrono::duration_cast<milliseconds>(clock_.Now() - start).count();
      if (answered_) {
        ended.answered = true;
        return ended;
      }
      const auto next = attempts.Next(failure, provider_of(attempts.route() + 1), clock_.Now());
      ended.unknown_bills += next.bill == Bill::kUnknown ? 1 : 0;
      if (next.step == Step::kGiveUp) {
        ended.cut = failure.client_has_bytes;
        ended.reason = next.reason;
        return ended;
      }
      clock_.Advance(milliseconds(next.wait_ms));
    }
  }

  FakeClock clock_;
  SeededRandom random_;
  HealthBook book_{clock_, random_};
  RetryBudget budget_{clock_};
  std::map<std::string, int> calls_;

 private:
  // One attempt, played. Sets answered_.
  AttemptFailure Call(const std::string& provider, Attempt& attempt, TimePoint first_byte_by) {
    const Reaction reaction = React(provider);
    const TimePoint happens = clock_.Now() + milliseconds(reaction.takes_ms);
    answered_ = false;
    AttemptFailure failure;
    if (happens > first_byte_by) {
      clock_.Advance(first_byte_by - clock_.Now());
      failure = {.kind = FailureKind::kFirstByteTimeout, .reached = Reached::kSent};
    } else {
      clock_.Advance(milliseconds(reaction.takes_ms));
      if (!reaction.failure.has_value()) {
        attempt.Answered(static_cast<double>(reaction.takes_ms));
        attempt.Succeeded({.output_tokens = 50, .generation_ms = 500});
        answered_ = true;
        return failure;
      }
      failure = {.kind = *reaction.failure,
                 .reached = reaction.reached,
                 .client_has_bytes = reaction.after_first_byte,
                 .retry_after_ms = reaction.retry_after_ms};
    }
    attempt.Failed(failure.kind, failure.retry_after_ms);
    return failure;
  }

  bool answered_ = false;
};

// One dies, one stalls, one answers.
class OneOfThreeIsWell final : public World {
 public:
  using World::World;
  Reaction React(const std::string& provider) override {
    if (provider == "a") {
      return {.failure = FailureKind::kConnect, .reached = Reached::kNotSent, .takes_ms = 1};
    }
    if (provider == "b") {
      return {.takes_ms = 1'000'000};
    }
    return {};
  }
};

TEST(Flow, EveryRequestIsAnsweredWhileOneProviderIsWell) {
  OneOfThreeIsWell world(1);
  int late = 0;
  for (int i = 0; i < 1'000; ++i) {
    world.clock_.Advance(milliseconds(100));
    const auto ended = world.Send(60'000);
    ASSERT_TRUE(ended.answered) << i << " " << GiveUpReasonName(ended.reason);
    ASSERT_EQ(ended.provider, "c");
    late += ended.took_ms > 1'000 ? 1 : 0;
  }
  EXPECT_LE(late, 20) << "those that stall are soon left alone";
  EXPECT_LE(world.calls_["a"], 60);
  EXPECT_GE(world.calls_["a"], 4) << "and looked at again now and then";
}

// Each does anything at random.
class AnythingGoes final : public World {
 public:
  AnythingGoes(uint64_t seed, int percent_well) : World(seed), percent_well_(percent_well) {}
  Reaction React(const std::string&) override {
    if (random_.Chance(percent_well_)) {
      return {.takes_ms = random_.Below(2'000)};
    }
    constexpr std::array kReached = {Reached::kNotSent, Reached::kSent, Reached::kHead};
    return {
        .failure = static_cast<FailureKind>(random_.Below(kFailureKinds)),
        .reached = random_.Pick<Reached>(kReached),
        .after_first_byte = random_.Chance(20),
        .takes_ms = random_.Below(5'000) * (random_.Chance(10) ? 100 : 1),
        .retry_after_ms = random_.Chance(30) ? std::optional(random_.Below(20'000)) : std::nullopt};
  }

 private:
  int percent_well_;
};

TEST(Flow, EveryRequestEndsInTimeWhateverHappens) {
  constexpr int64_t kDeadlineMs = 20'000;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    AnythingGoes world(seed, static_cast<int>(seed % 4) * 30);
    for (int i = 0; i < 200; ++i) {
      world.clock_.Advance(milliseconds(world.random_.Below(3'000)));
      const auto ended = world.Send(kDeadlineMs);
      ASSERT_LE(ended.took_ms, kDeadlineMs);
      ASSERT_LE(ended.attempts, AttemptOptions().attempts_max);
      ASSERT_TRUE(ended.answered != (ended.reason != GiveUpReason::kNone))
          << "an answer, or a reason why not";
      ASSERT_FALSE(ended.answered && ended.cut) << "what was cut is never shown as complete";
    }
  }
}

// T35: everything rests, and still each request is tried.
class AllDead final : public World {
 public:
  using World::World;
  Reaction React(const std::string&) override {
    if (revived) {
      return {};
    }
    return {.failure = FailureKind::kServerError, .takes_ms = 10};
  }
  bool revived = false;
};

TEST(Flow, WhenEverythingRestsRequestsAreStillTriedAndNothingLoops) {
  AllDead world(3);
  for (int i = 0; i < 300; ++i) {
    world.clock_.Advance(milliseconds(200));
    const auto ended = world.Send(10'000);
    ASSERT_FALSE(ended.answered);
    ASSERT_GE(ended.attempts, 1);
    ASSERT_LE(ended.attempts, AttemptOptions().attempts_max);
    ASSERT_EQ(ended.unknown_bills, ended.attempts);
  }
  world.revived = true;
  EXPECT_TRUE(world.Send(10'000).answered) << "at once: no rest stands in the way";
}

TEST(Flow, ACallerThatForbidsItIsNeverProcessedTwice) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    AnythingGoes world(seed, 30);
    for (int i = 0; i < 100; ++i) {
      world.clock_.Advance(milliseconds(world.random_.Below(3'000)));
      const auto ended = world.Send(20'000, {.second_tries = SecondTries::kOnlyIfUndone});
      ASSERT_LE(ended.unknown_bills + (ended.answered ? 1 : 0), 1);
    }
  }
}

}  // namespace
}  // namespace tradewind::routing
