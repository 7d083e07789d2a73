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
  meter.bars().Set(routes, 0);
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
  meter.bars().Set({}, 0);
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
  meter.bars().Set({&own, 1}, 0);
  EXPECT_TRUE(is_barred("evil", true));
  EXPECT_FALSE(is_barred("evil", false)) << "the server's key pays";
  EXPECT_FALSE(is_barred("good", true)) << "another own key does";
  EXPECT_FALSE(is_barred("good", false));
  const BarredRoute shared{"", "site-a", "org/model", 13};
  meter.bars().Set({&shared, 1}, 0);
  EXPECT_FALSE(is_barred("evil", true));
  EXPECT_TRUE(is_barred("evil", false) && is_barred("good", false)) << "one account for all";
}

// Neither the tables nor who looks at them have seen it yet.
TEST(Bars, BarsARouteAtOnceAndUntilItsAlertIsAcknowledged) {
  World world;
  Meter meter(*world.ledger);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  const auto overrun = [&] {
    auto attempt = meter.Begin(world.Ask(100, 50));
    ASSERT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    auto beside = meter.Begin(world.Ask(100, 50));
    ASSERT_TRUE(beside.has_value()) << "which runs is not ended";
    EXPECT_GT(attempt->End({.is_complete = true, .usage = Used(100, 60)}), attempt->held());
  };
  const auto refusal = [&] {
    const auto refused = meter.Begin(world.Ask(100, 50));
    return refused.has_value() ? "" : refused.error().message;
  };
  const uint64_t before = world.ledger->seq();
  overrun();
  EXPECT_NE(refusal().find("tradewind alerts ack ID."), std::string::npos) << refusal();
  meter.bars().Set({}, before);
  EXPECT_NE(refusal(), "") << "who looked did not know of it";
  const BarredRoute told{"", "site-a", "org/model", 7};
  meter.bars().Set({&told, 1}, world.ledger->seq());
  EXPECT_NE(refusal().find("tradewind alerts ack 7."), std::string::npos) << refusal();
  const uint64_t known = world.ledger->seq();
  meter.bars().Set({}, known);
  EXPECT_EQ(refusal(), "") << "somebody has acknowledged it";
  overrun();
  meter.bars().Set({}, known);
  EXPECT_NE(refusal(), "") << "a later one is another one";
}

TEST(Bars, BarsWhatTheJournalSaysAlsoWhereItsDatabaseCannotBeWritten) {
  World world;
  Meter meter(*world.ledger);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  Purchase bought;
  {
    auto attempt = meter.Begin(world.Ask(100, 50));
    ASSERT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    bought = world.Ask(100, 50).purchase;
    attempt->End({.is_complete = true, .usage = Used(100, 60)});
  }
  world.disk.Kill();
  world.recorder.reset();
  world.disk.Revive();
  auto ledger = ledger::Ledger::Open(world.disk, world.clock, {.background = false});
  ASSERT_TRUE(ledger.has_value());
  Bars bars;
  auto recorder = Recorder::Open(world.home.path() / "ledger.db", world.disk, **ledger,
                                 {.bars = &bars, .background = false});
  ASSERT_TRUE(recorder.has_value());
  ASSERT_TRUE((*recorder)
                  ->Change([](storage::Database& database) {
                    return database.Execute("PRAGMA query_only = ON");
                  })
                  .has_value());
  EXPECT_FALSE((*recorder)->CatchUp().has_value());
  EXPECT_EQ(bars.Find(bought), 0);
  bars.Set({}, (*recorder)->applied_seq());
  EXPECT_EQ(bars.Find(bought), 0) << "no table has it";
}

}  // namespace
}  // namespace tradewind::billing
