#include "billing/barred.h"

#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

using ledger::Mode;

TEST(Bars, SpendsNoHardBudgetOnARouteThatIsBarred) {
  World world;
  Meter meter(*world.ledger);
  const std::vector<BarredRoute> routes = {{"", "site-a", "org/model", 12},
                                           {"", "site-b", "org/other", 13}};
  meter.bars().Set(routes);
  EXPECT_TRUE(meter.Begin(world.Ask(100, 50)).has_value()) << "without a budget nothing changes";
  static_cast<void>(
      world.ledger->Define({.name = "org:org_1", .limit = 1'000'000'000, .mode = Mode::kSoft}));
  EXPECT_TRUE(meter.Begin(world.Ask(100, 50)).has_value()) << "nor with a soft one";
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  const auto refused = meter.Begin(world.Ask(100, 50));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kPaymentRequired);
  EXPECT_FALSE(IsOutOfBudget(refused.error())) << "other routes have room";
  EXPECT_EQ(refused.error().message,
            "site-a billed more for org/model than could be held, so the budget \"key:key_1\" is "
            "not spent there; ask another route. Its operator can allow it again: tradewind alerts "
            "ack 12.");
  Offer elsewhere = world.Ask(100, 50);
  elsewhere.purchase.provider = "site-b";
  EXPECT_TRUE(meter.Begin(elsewhere).has_value()) << "the same model at another provider";
  elsewhere = world.Ask(100, 50);
  elsewhere.purchase.model = "org/other";
  EXPECT_TRUE(meter.Begin(elsewhere).has_value()) << "and another one at this provider";
  meter.bars().Set({});
  EXPECT_TRUE(meter.Begin(world.Ask(100, 50)).has_value());
}

TEST(Bars, BarsARouteForThoseAloneWhoPayByTheAccountThatWasBilled) {
  World world;
  Meter meter(*world.ledger);
  static_cast<void>(world.ledger->Define({.name = "org:evil", .limit = 1'000'000'000}));
  static_cast<void>(world.ledger->Define({.name = "org:good", .limit = 1'000'000'000}));
  const auto is_barred = [&](const char* org, bool own_key) {
    Offer offer = world.Ask(100, 50);
    offer.purchase.org_id = org;
    offer.purchase.own_key = own_key;
    return !meter.Begin(offer).has_value();
  };
  const BarredRoute own{"evil", "site-a", "org/model", 12};
  meter.bars().Set({&own, 1});
  EXPECT_TRUE(is_barred("evil", true));
  EXPECT_FALSE(is_barred("evil", false)) << "the server's key pays";
  EXPECT_FALSE(is_barred("good", true)) << "another own key does";
  EXPECT_FALSE(is_barred("good", false));
  const BarredRoute shared{"", "site-a", "org/model", 13};
  meter.bars().Set({&shared, 1});
  EXPECT_FALSE(is_barred("evil", true));
  EXPECT_TRUE(is_barred("evil", false) && is_barred("good", false)) << "one account for all";
}

}  // namespace
}  // namespace tradewind::billing
