// What requests at pools cost, whose price differs from request to request.
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/reconcile.h"
#include "billing/statement.h"
#include "billing/test_support.h"
#include "billing/verify.h"

namespace tradewind::billing {
namespace {

// Beside the table's price, up and down.
TEST(Pool, ARequestCostsWhatItsAnswerSays) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000}));
  Meter meter(*world.ledger);
  int64_t spent = 0;
  for (const auto& [is_pool, told, cost] :
       {std::tuple(true, 7, 7), std::tuple(true, 0, 0), std::tuple(true, 90'000, 90'000),
        std::tuple(false, 7, 20'000)}) {
    Offer offer = world.Ask(50, 20);
    offer.price_varies = is_pool;
    auto attempt = meter.Begin(std::move(offer), ledger::Send::kNow);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    chat::Usage usage = Used(10, 5);
    usage.cost_nanousd = told;
    EXPECT_EQ(attempt->End({.is_complete = true, .usage = usage}), cost);
    spent += cost;
    EXPECT_EQ(world.At("key:key_1").debits, spent);
    EXPECT_EQ(world.At("key:key_1").pending, 0);
  }
}

TEST(Pool, ARouteOfPriceZeroIsCountedAtWhatItIsBilledAllTheSame) {
  World world;
  Meter meter(*world.ledger);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 50'000}));
  catalog::Prices zero;
  zero.input = zero.output = Decimal();
  Offer offer = world.Ask(100, 50);
  offer.prices = &zero;
  offer.price_varies = true;
  auto attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  EXPECT_EQ(attempt->held(), 0);
  ASSERT_TRUE(attempt->Sent().has_value());
  chat::Usage told = Used(10, 5);
  told.cost_nanousd = 200'000;
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = told}), 200'000);
  EXPECT_EQ(world.At("key:key_1").debits, 200'000) << "no budget is told that nothing was spent";
  offer.id.attempt = 2;
  EXPECT_EQ(meter.Begin(offer).error().param, "model") << "it is no price of zero";
  meter.bars().Set({}, world.ledger->seq());
  EXPECT_TRUE(meter.Begin(offer).has_value()) << "somebody has acknowledged it";
  offer.id.attempt = 3;
  offer.billed_apart = "plugins";
  EXPECT_EQ(meter.Begin(offer).error().param, "plugins");
}

// A pool that can be asked need not be: nothing but tokens is estimated.
TEST(Pool, ARequestCostsWhatIsToldWithHalfItsTokensOrNone) {
  World world;
  Meter meter(*world.ledger);
  for (const auto& [lacks_input, lacks_output] :
       {std::pair(true, false), {false, true}, {true, true}}) {
    Offer offer = world.Ask(50, 20);
    offer.price_varies = offer.askable.theirs = true;
    auto attempt = meter.Begin(std::move(offer), ledger::Send::kNow);
    attempt->UpstreamId("id-7");
    chat::Usage usage = Used(lacks_input ? 0 : 10, lacks_output ? 0 : 5);
    usage.lacks_input = lacks_input;
    usage.lacks_output = lacks_output;
    usage.cost_nanousd = 7;
    EXPECT_EQ(attempt->End({.is_complete = true, .usage = usage}), 7);
    const AttemptRow row = world.recorder->Find({1, world.ids})->front();
    EXPECT_EQ(row.charge, 7);
    EXPECT_EQ(row.outcome.source, UsageSource::kMetered);
    EXPECT_EQ(row.outcome.input_tokens, lacks_input ? 50 : 10);
    EXPECT_EQ(row.outcome.output_tokens, lacks_output ? 0 : 5);
  }
}

// Where it says none and can be asked, that is waited for: at most at the table's price.
TEST(Pool, ARequestWithoutACostWaitsForItsBill) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000}));
  Meter meter(*world.ledger);
  for (const bool is_asked : {true, false}) {
    Offer offer = world.Ask(50, 20);
    offer.price_varies = true;
    offer.askable.theirs = is_asked;
    auto attempt = meter.Begin(std::move(offer), ledger::Send::kNow);
    attempt->UpstreamId("id-7");
    const auto cost = attempt->End({.is_complete = true, .usage = Used(10, 5)});
    EXPECT_EQ(cost, is_asked ? std::nullopt : std::optional<int64_t>(20'000));
    EXPECT_EQ(attempt->may_cost(), 20'000);
  }
  EXPECT_EQ(world.At("key:key_1").in_doubt, 90'000) << "all that was held";
  EXPECT_EQ(world.At("key:key_1").debits, 20'000);
  meter.SettleOverdue(std::chrono::nanoseconds(0));
  EXPECT_EQ(world.At("key:key_1").in_doubt, 0);
  EXPECT_EQ(world.At("key:key_1").debits, 40'000) << "nobody said: the table does";
}

// Its tokens, a usage beyond its bounds and a half one wait with it: over kills, of which the
// second start reads what the first one wrote of all that is open.
TEST(Pool, WhatItsAnswerSaidIsKnownWhenTheBillComes) {
  const auto ask = [](World& world, const chat::Usage& usage, bool is_complete = true) {
    Meter meter(*world.ledger);
    Offer offer = world.Ask(50, 200);
    offer.price_varies = offer.askable.theirs = true;
    auto attempt = meter.Begin(std::move(offer), ledger::Send::kNow);
    attempt->UpstreamId("id-" + std::to_string(world.ids));
    EXPECT_EQ(attempt->End({.is_complete = is_complete, .usage = usage}), std::nullopt);
    return meter.beyond_bounds();
  };
  chat::Usage thought = Used(10, 15), half = Used(0, 5);
  thought.cached_tokens = 4;
  thought.cache_write_tokens = 3;
  thought.reasoning_tokens = 6;
  half.lacks_input = true;
  for (const bool is_billed : {true, false}) {
    World world;
    EXPECT_EQ(ask(world, thought), 0);
    EXPECT_EQ(ask(world, Used(10, 201)), 1);
    EXPECT_EQ(ask(world, half), 0);
    EXPECT_EQ(ask(world, half, false), 0);
    world.KillAndStart();
    world.KillAndStart();
    if (is_billed) {
      Reconciliation reconciliation(*world.ledger, std::chrono::minutes(30));
      const auto questions = reconciliation.Questions([](auto) { return AskableIds{true, false}; });
      ASSERT_EQ(questions.size(), 1U);
      const std::vector<BilledCost> bill = {{"id-1", 7}, {"id-2", 8}, {"id-3", 9}, {"id-4", 10}};
      EXPECT_EQ(reconciliation.Take(questions[0], bill, {}).settled, 4);
    } else {
      Meter(*world.ledger).SettleOverdue(std::chrono::nanoseconds(0));
    }
    std::vector<Outcome> used;
    for (uint64_t id = 1; id <= 4; ++id) {
      const AttemptRow row = world.recorder->Find({1, id})->front();
      ASSERT_EQ(row.state, AttemptState::kSettled);
      used.push_back(row.outcome);
    }
    EXPECT_EQ(used[0].input_tokens, 10);
    EXPECT_EQ(used[0].cached_tokens, 4);
    EXPECT_EQ(used[0].cache_write_tokens, 3);
    EXPECT_EQ(used[0].output_tokens, 15);
    EXPECT_EQ(used[0].unverifiable_tokens, 6);
    EXPECT_EQ(used[0].source, is_billed ? UsageSource::kBilled : UsageSource::kProvider);
    EXPECT_EQ(used[1].output_tokens, 201);
    EXPECT_EQ(used[2].output_tokens, 5);
    EXPECT_EQ(used[2].source, is_billed ? UsageSource::kBilled : UsageSource::kMetered);
    EXPECT_EQ(used[3].output_tokens, 5);
    EXPECT_EQ(used[3].source, is_billed ? UsageSource::kBilled : UsageSource::kBound);
    EXPECT_EQ(world.Sum().output_tokens, 15 + 201 + 5 + 5);
    EXPECT_EQ(world.Sum().unverifiable_tokens, 6);
    const StatementOrder all{{"all", 0, 4'000'000'000}, "", ""};
    EXPECT_TRUE(VerifyStatement(all, *world.recorder, *world.ledger, world.disk)->is_good());
  }
}

// And reaches whoever raises alerts.
TEST(Pool, AUsageBeyondItsBoundsIsSeenWhenTheBillComes) {
  struct Seen : RecordWatcher {
    Status Opened(storage::Database&) override { return {}; }
    Status Ended(storage::Database&, std::span<const AttemptRow> rows) override {
      for (const AttemptRow& row : rows) {
        beyond += row.outcome.is_beyond ? 1 : 0;
      }
      return {};
    }
    int beyond = 0;
  } seen;
  World world;
  world.recorder.reset();
  world.recorder = Recorder::Open(world.home.path() / "ledger.db", world.disk, *world.ledger,
                                  {.watcher = &seen, .background = false})
                       .value();
  Meter meter(*world.ledger);
  for (const int64_t output : {20, 21}) {
    Offer offer = world.Ask(50, 20);
    offer.price_varies = offer.askable.theirs = true;
    auto attempt = meter.Begin(std::move(offer), ledger::Send::kNow);
    attempt->UpstreamId("id-7");
    attempt->End({.is_complete = true, .usage = Used(10, output)});
  }
  meter.SettleOverdue(std::chrono::nanoseconds(0));
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  EXPECT_EQ(seen.beyond, 1);
}

TEST(Pool, WhoGotNothingIsChargedNothingWhenTheBillComes) {
  World world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(50, 20);
  offer.price_varies = offer.askable.theirs = true;
  auto loser = meter.Begin(std::move(offer), ledger::Send::kNow);
  loser->UpstreamId("id-7");
  EXPECT_EQ(loser->End({.is_complete = true, .usage = Used(10, 5), .is_waste = true}),
            std::nullopt);
  meter.SettleOverdue(std::chrono::nanoseconds(0));
  EXPECT_EQ(world.Sum().cost, 20'000);
  EXPECT_EQ(world.Sum().charge, 0);
}

}  // namespace
}  // namespace tradewind::billing
