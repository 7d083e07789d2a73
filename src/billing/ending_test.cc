// A test for each row of the table in ending.h: what the hold becomes, and what is charged.
#include "billing/ending.h"

#include <tuple>

#include <gtest/gtest.h>

#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kHeld = 100 * 1000 + 5000 * 2000;
constexpr int64_t kInput = 100 * 1000;  // all that may have been put in
constexpr int64_t kLikelyInput = 30;
constexpr int64_t kLikely = kLikelyInput * 1000;

chat::Usage SaidOutput(int64_t tokens) {
  return {.output_tokens = tokens, .lacks_input = true};
}
chat::Usage SaidInput(int64_t tokens) {
  return {.input_tokens = tokens, .lacks_output = true};
}

Offer Asked(World& world) {
  Offer offer = world.Ask(100, 5000);
  offer.input_tokens_likely = kLikelyInput;
  return offer;
}

// One attempt that ended so, and then a day in which nobody could be asked.
class Row {
 public:
  explicit Row(Ended ended, bool can_be_asked = false, bool is_sent = true) {
    EXPECT_TRUE(world_.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}).has_value());
    Meter meter(*world_.ledger, world_.clock);
    Offer offer = Asked(world_);
    offer.askable = {can_be_asked, false};
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt.has_value());
    if (is_sent) {
      EXPECT_TRUE(attempt->Sent().has_value());
      attempt->UpstreamId("inf-1");
    }
    static_cast<void>(attempt->End(ended));
    at_once_ = Find();
    meter.SettleOverdue();
    world_.clock.Advance(std::chrono::hours(25));
    meter.SettleOverdue();
    in_the_end_ = Find();
    EXPECT_EQ(world_.At("key:key_1").pending, 0) << "a hold that nobody has";
    EXPECT_EQ(world_.At("key:key_1").debits, in_the_end_.cost);
  }
  const AttemptRow& at_once() const { return at_once_; }
  const AttemptRow& in_the_end() const { return in_the_end_; }

 private:
  AttemptRow Find() {
    const auto rows = world_.recorder->Find({1, 1});
    EXPECT_EQ(rows->size(), 1U);
    return rows->front();
  }
  World world_;
  AttemptRow at_once_, in_the_end_;
};

TEST(Ending, WhatWasNeverSentIsVoid) {
  const Row row({.likely_billed = true}, false, false);
  EXPECT_EQ(row.at_once().state, AttemptState::kVoid);
}

TEST(Ending, AUsageSettlesWhateverElseWentWrong) {
  const Row row({.usage = Used(10, 5), .delivered_bytes = 9, .finish = "cut"});
  EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
  EXPECT_EQ(row.at_once().cost, 20'000);
  EXPECT_EQ(row.at_once().charge, 20'000);
  EXPECT_EQ(row.at_once().outcome.source, UsageSource::kProvider);
}

TEST(Ending, AUsageOfZeroIsAValue) {
  const Row row({.is_complete = true, .usage = Used(0, 0), .delivered_bytes = 3000});
  EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
  EXPECT_EQ(row.at_once().cost, 0);
}

TEST(Ending, WhatWasRefusedBeforeAnyWorkIsVoid) {
  const Row row({.surely_unbilled = true, .finish = "rate_limited"});
  EXPECT_EQ(row.at_once().state, AttemptState::kVoid);
  EXPECT_EQ(row.at_once().reason, "rate_limited");
}

TEST(Ending, ACompleteAnswerWithoutAUsageIsMetered) {
  const Row row({.is_complete = true, .delivered_bytes = 3000, .finish = "stop"});
  EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
  EXPECT_EQ(row.at_once().outcome.source, UsageSource::kMetered);
  EXPECT_EQ(row.at_once().cost, kInput + (3000 + 64) * 2000) << "digits: a token of each byte";
  EXPECT_EQ(row.at_once().charge, kLikely + 1000 * 2000);
  EXPECT_EQ(row.at_once().outcome.input_tokens, kLikelyInput);
  EXPECT_EQ(row.at_once().outcome.output_tokens, 1000);
}

TEST(Ending, AGuessIsNeverMoreThanWasAskedFor) {
  const Row row({.is_complete = true, .delivered_bytes = 60'000});
  EXPECT_EQ(row.at_once().outcome.output_tokens, 5000);
  EXPECT_EQ(row.at_once().cost, kHeld);
  EXPECT_EQ(row.at_once().charge, kLikely + 5000 * 2000);
}

TEST(Ending, ACompleteAnswerWithoutAUsageWaitsForAProviderThatCanBeAsked) {
  const Row row({.is_complete = true, .delivered_bytes = 3000, .finish = "stop"}, true);
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().state, AttemptState::kSettled);
  EXPECT_EQ(row.in_the_end().cost, kInput + (3000 + 64) * 2000);
  EXPECT_EQ(row.in_the_end().charge, kLikely + 1000 * 2000);
  EXPECT_EQ(row.in_the_end().outcome.source, UsageSource::kMetered);
}

TEST(Ending, HalfAUsageCountsAsSaidOrWhereItIsMoreThanWhatCame) {
  for (const auto& [usage, delivered_bytes, input, output, most] :
       {std::tuple(SaidOutput(4000), 300, kLikelyInput, 4000, 4000),
        std::tuple(SaidOutput(5), 3000, kLikelyInput, 1000, 3000 + 64),
        std::tuple(SaidInput(10), 3000, int64_t{10}, 1000, 3000 + 64)}) {
    const Row row({.is_complete = true, .usage = usage, .delivered_bytes = delivered_bytes});
    EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
    EXPECT_EQ(row.at_once().outcome.source, UsageSource::kMetered);
    EXPECT_EQ(row.at_once().outcome.input_tokens, input);
    EXPECT_EQ(row.at_once().outcome.output_tokens, output);
    EXPECT_EQ(row.at_once().cost, kInput + most * 2000);
    EXPECT_EQ(row.at_once().charge, input * 1000 + output * 2000);
  }
}

TEST(Ending, HalfAUsageBeyondItsHoldIsAnEstimateAndTold) {
  World world;
  Meter meter(*world.ledger, world.clock);
  for (const auto& [usage, beyond, cost] :
       {std::tuple(SaidOutput(5001), 1, kHeld),
        std::tuple(SaidInput(101), 2, int64_t{101'000 + 128'000}),
        std::tuple(SaidInput(100), 2, kInput + 128'000)}) {
    auto attempt = meter.Begin(Asked(world), ledger::Send::kNow);
    attempt->End({.is_complete = true, .usage = usage});
    EXPECT_EQ(meter.beyond_bounds(), beyond);
    EXPECT_EQ(world.recorder->Find({1, world.ids})->front().cost, cost);
    EXPECT_EQ(world.recorder->Find({1, world.ids})->front().state, AttemptState::kSettled);
  }
}

TEST(Ending, HalfAUsageOfAProviderThatCanBeAskedCountsWhileItIsInDoubt) {
  const Row row({.is_complete = true, .usage = SaidOutput(4000), .delivered_bytes = 300}, true);
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().cost, kInput + 4000 * 2000);
  EXPECT_EQ(row.in_the_end().charge, kLikely + 4000 * 2000);
  EXPECT_EQ(row.in_the_end().outcome.source, UsageSource::kMetered);
}

TEST(Ending, HalfAUsageDoesNotChargeWhatNobodyGot) {
  const Row row({.is_complete = true,
                 .usage = SaidOutput(4000),
                 .delivered_bytes = 300,
                 .unread_bytes = 3000});
  EXPECT_EQ(row.at_once().cost, kInput + 4000 * 2000);
  EXPECT_EQ(row.at_once().charge, kLikely + 100 * 2000);
}

TEST(Ending, HalfAUsageAndNothingElseIsHeldAndChargesNobodyInTheEnd) {
  const Row row({.provider_ended = true, .usage = SaidInput(10), .finish = "error_event"});
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().cost, kHeld);
  EXPECT_EQ(row.in_the_end().charge, 0);
}

TEST(Ending, AClientWhoLeftPaysForWhatHeGotOfAProviderThatWasReadOn) {
  const Row row({.is_complete = true,
                 .usage = Used(10, 2000),
                 .delivered_bytes = 300,
                 .finish = "client_left",
                 .unread_bytes = 6000});
  EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
  EXPECT_EQ(row.at_once().cost, 10 * 1000 + 2000 * 2000) << "all of it is the provider's bill";
  EXPECT_EQ(row.at_once().charge, 10 * 1000 + 100 * 2000);
}

TEST(Ending, AnAnswerThatCameWhenAnotherHadChargesNobody) {
  const Row row({.is_complete = true, .usage = Used(10, 5), .is_waste = true});
  EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
  EXPECT_EQ(row.at_once().cost, 20'000) << "it is on its provider's bill";
  EXPECT_EQ(row.at_once().charge, 0);
}

TEST(Ending, WhatWasReadOnWithoutAUsageIsMeteredToItsEnd) {
  const Row row({.is_complete = true, .delivered_bytes = 300, .unread_bytes = 2700});
  EXPECT_EQ(row.at_once().state, AttemptState::kSettled);
  EXPECT_EQ(row.at_once().cost, kInput + (3000 + 64) * 2000);
  EXPECT_EQ(row.at_once().charge, kLikely + 100 * 2000);
  EXPECT_EQ(row.at_once().outcome.output_tokens, 100) << "as many as are charged";
}

TEST(Ending, WhatWasCutAfterSomethingCountsForTheMostAndIsChargedForWhatIsLikely) {
  const Row row({.likely_billed = true, .delivered_bytes = 3000, .finish = "cut"});
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().state, AttemptState::kSettled);
  EXPECT_EQ(row.in_the_end().cost, kInput + (3000 + 64) * 2000) << "digits: a token of each byte";
  EXPECT_EQ(row.in_the_end().charge, kLikely + 1000 * 2000) << "and nothing on its way";
}

TEST(Ending, WhatCameAndNobodyWasShownCountsAndChargesNobody) {
  const Row row(
      {.likely_billed = true, .delivered_bytes = 3000, .finish = "garbage", .is_waste = true});
  EXPECT_EQ(row.in_the_end().cost, kInput + (3000 + 64) * 2000) << "it may be on a bill";
  EXPECT_EQ(row.in_the_end().charge, 0);
}

TEST(Ending, WhatWasCutKeepsTheTokensThatItProbablyHad) {
  const Row row({.likely_billed = true, .delivered_bytes = 3000, .finish = "cut"});
  EXPECT_EQ(row.in_the_end().outcome.source, UsageSource::kMetered);
  EXPECT_EQ(row.in_the_end().outcome.input_tokens, kLikelyInput);
  EXPECT_EQ(row.in_the_end().outcome.output_tokens, 1000);
  const Row held({.likely_billed = true, .finish = "first_byte_timeout"});
  EXPECT_EQ(held.in_the_end().outcome.output_tokens, 0) << "of which nobody knows anything";
}

TEST(Ending, WhatWasCutCountsItsInputAsWrittenToACacheAndIsChargedAsUsual) {
  for (const char* sound : {"1", "8"}) {
    World world;
    world.prices.cache_write = Decimal::Parse("1.25").value();
    world.prices.audio_input = Decimal::Parse(sound).value();
    Meter meter(*world.ledger, world.clock);
    Offer offer = Asked(world);
    offer.has_audio_input = true;
    auto attempt = meter.Begin(std::move(offer));
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.likely_billed = true, .delivered_bytes = 30, .finish = "cut"});
    const auto doubts = world.ledger->HoldsInDoubt();
    ASSERT_EQ(doubts.size(), 1U);
    const int64_t input = sound[0] == '1' ? 125'000 : 800'000;
    EXPECT_EQ(doubts.front().second.metered_cost, input + (30 + 64) * 2000) << "the dearest of all";
    EXPECT_EQ(doubts.front().second.metered_charge,
              (sound[0] == '1' ? kLikely : 8 * kLikely) + 10 * 2000);
  }
}

TEST(Ending, WhatWasCutAndMayHaveThoughtUnseenCountsForAllThatWasHeld) {
  World world;
  Meter meter(*world.ledger, world.clock);
  Offer offer = Asked(world);
  offer.thinks_unseen = true;
  auto attempt = meter.Begin(std::move(offer));
  ASSERT_TRUE(attempt->Sent().has_value());
  attempt->End({.likely_billed = true, .delivered_bytes = 30, .finish = "client_left"});
  const auto doubts = world.ledger->HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U);
  EXPECT_EQ(doubts.front().second.metered_cost, doubts.front().second.cost);
  EXPECT_EQ(doubts.front().second.metered_charge, kLikely + 10 * 2000);
}

TEST(Ending, WhatTimedOutBeforeAnythingIsHeldAndChargesNobodyInTheEnd) {
  const Row row({.likely_billed = true, .finish = "first_byte_timeout"});
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().state, AttemptState::kSettled);
  EXPECT_EQ(row.in_the_end().cost, kHeld);
  EXPECT_EQ(row.in_the_end().charge, 0);
  EXPECT_EQ(row.in_the_end().outcome.source, UsageSource::kBound);
}

TEST(Ending, AnErrorBeforeAnythingIsInDoubtAndVoidInTheEnd) {
  const Row row({.finish = "server_error"});
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().state, AttemptState::kVoid);
}

TEST(Ending, AnErrorAfterSomethingIsMeteredInTheEnd) {
  const Row row({.delivered_bytes = 30, .finish = "error_event"});
  EXPECT_EQ(row.at_once().state, AttemptState::kInDoubt);
  EXPECT_EQ(row.in_the_end().cost, kInput + (30 + 64) * 2000);
  EXPECT_EQ(row.in_the_end().charge, kLikely + 10 * 2000);
}

TEST(Ending, WhatNobodyEndedIsHeldAndChargesNobodyInTheEnd) {
  World world;
  Meter meter(*world.ledger, world.clock);
  {
    auto attempt = meter.Begin(Asked(world));
    ASSERT_TRUE(attempt->Sent().has_value());
  }  // as a drain does that waits no longer
  meter.SettleOverdue();
  world.clock.Advance(std::chrono::hours(25));
  meter.SettleOverdue();
  const AttemptRow row = world.recorder->Find({1, 1})->front();
  EXPECT_EQ(row.state, AttemptState::kSettled) << "the provider may bill all of it";
  EXPECT_EQ(row.cost, kHeld);
  EXPECT_EQ(row.charge, 0);
}

TEST(Progress, IsWrittenEvery256TokensOrSecondSoThatAKillKnowsIt) {
  World world;
  Meter meter(*world.ledger, world.clock);
  auto attempt = meter.Begin(Asked(world));
  ASSERT_TRUE(attempt->Sent().has_value());
  const uint64_t seq = world.ledger->seq();
  attempt->Progress(30);
  EXPECT_EQ(world.ledger->seq(), seq) << "little, and soon";
  world.clock.Advance(std::chrono::seconds(1));
  attempt->Progress(60);
  EXPECT_EQ(world.ledger->seq(), seq + 1);
  attempt->Progress(60 + 1024);
  EXPECT_EQ(world.ledger->seq(), seq + 2);
  attempt->Progress(60 + 1024);
  EXPECT_EQ(world.ledger->seq(), seq + 2) << "nothing new";
  world.KillAndStart();
  const auto doubts = world.ledger->HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U);
  EXPECT_EQ(doubts.front().second.metered_cost, kInput + (60 + 1024 + 1024 + 64) * 2000)
      << "and as much as may come before the next one";
  EXPECT_EQ(doubts.front().second.metered_charge, kLikely + ((60 + 1024 + 2) / 3) * 2000);
}

}  // namespace
}  // namespace tradewind::billing
