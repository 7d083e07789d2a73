// Which budgets an attempt falls into, and what is said where none of them is at fault.
#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

TEST(Meter, TakesABudgetAndACreditInWhateverCaseTheyWereSet) {
  for (const char* scope : {"key:key_1/model:ORG/Model", "org:org_1/provider:Site-A",
                            "model:Org/MODEL", "provider:SITE-A"}) {
    World world;
    static_cast<void>(world.ledger->Define({.name = scope, .limit = 10}));
    Meter meter(*world.ledger);
    EXPECT_FALSE(meter.Begin(world.Ask(1, 1)).has_value()) << scope;
  }
  // Of two that differ in case alone both bind, as they did before each its own spelling.
  World world;
  static_cast<void>(world.ledger->Define({.name = "model:ORG/MODEL", .limit = 1'000'000}));
  static_cast<void>(world.ledger->Define({.name = "model:org/model", .limit = 10}));
  Meter meter(*world.ledger);
  EXPECT_FALSE(meter.Begin(world.Ask(1, 1)).has_value());
  static_cast<void>(world.ledger->Define({.name = "model:org/model", .limit = 1'000'000}));
  auto attempt = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  EXPECT_EQ(world.At("model:ORG/MODEL").pending, 200'000);
  EXPECT_EQ(world.At("model:org/model").pending, 200'000);
}

TEST(Meter, SaysThatAPriceIsAtFaultWhereMoreThanAnyHoldWouldBeHeld) {
  for (const char* price : {"999999999", "1000000000000000000000000000000"}) {
    World world;
    static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
    Meter meter(*world.ledger);
    catalog::Prices prices;
    prices.input = prices.output = Decimal::Parse(price).value();
    Offer offer = world.Ask(1000, 1000);
    offer.prices = &prices;
    const auto refused = meter.Begin(offer);
    ASSERT_FALSE(refused.has_value()) << price;
    EXPECT_EQ(refused.error().code, ErrorCode::kPaymentRequired) << price;
    EXPECT_EQ(refused.error().param, "model") << "no budget is at fault";
    EXPECT_EQ(refused.error().message,
              "At its price site-a may bill more than $1000000.00 for this request to org/model, "
              "and so much is held for none; name a smaller max_tokens, or have the operator look "
              "at the price of that route.");
  }
}

}  // namespace
}  // namespace tradewind::billing
