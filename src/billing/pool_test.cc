// What requests at pools cost, whose price differs from request to request.
#include <chrono>
#include <optional>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/test_support.h"

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
    EXPECT_EQ(row.outcome.input_tokens, 50);
    EXPECT_EQ(row.outcome.output_tokens, 64);
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
