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
            "site-a billed more for org/model than could be held, or what has no price, so the "
            "budget \"key:key_1\" is not spent there; ask another route. Its operator can allow it "
            "again: tradewind alerts "
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

TEST(Bars, BarsARouteWhoseWritesToACacheHaveNoPrice) {
  World world;
  Meter meter(*world.ledger);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  chat::Usage used = Used(100, 50);
  used.cache_write_tokens = 40;
  const auto buy = [&](Offer offer) {
    auto attempt = meter.Begin(std::move(offer));
    EXPECT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    EXPECT_EQ(attempt->End({.is_complete = true, .usage = used}), 200'000);
    return world.recorder->Find({1, world.ids})->front();
  };
  const auto is_barred = [&] { return !meter.Begin(world.Ask(100, 50)).has_value(); };
  Offer free = world.Ask(100, 50);
  free.purchase.key_id = "key_2";
  AttemptRow row = buy(std::move(free));
  EXPECT_EQ(row.reason, "incomplete: cache_write is billed apart from tokens");
  EXPECT_FALSE(is_barred()) << "no hard bound was held";
  row = buy(world.Ask(100, 50));
  EXPECT_NE(row.reason, "");
  EXPECT_TRUE(is_barred());
  meter.bars().Set({}, world.ledger->seq());
  EXPECT_FALSE(is_barred()) << "somebody has acknowledged it";
  world.prices.cache_write = world.prices.input;
  row = buy(world.Ask(100, 50));
  EXPECT_EQ(row.reason, "");
  EXPECT_FALSE(is_barred());
}

TEST(Bars, RefusesAPromptThatIsToBeWrittenToACacheWithoutAPrice) {
  World world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, 50);
  offer.writes_unpriced = true;
  EXPECT_TRUE(meter.Begin(offer).has_value()) << "without a hard budget";
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  const auto refused = meter.Begin(offer);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().param, "cache_control");
  EXPECT_NE(refused.error().message.find("`cache_write_usd_per_mtok`"), std::string::npos)
      << refused.error().message;
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
  EXPECT_TRUE(bars.Find(bought, true).has_value());
  bars.Set({}, (*recorder)->applied_seq());
  EXPECT_TRUE(bars.Find(bought, true).has_value()) << "no table has it";
}

struct Bills {
  World world;
  Meter meter{*world.ledger};

  // Of 100 input tokens, at 1,000 nano-USD each, and 50 of output, at 2,000, that were held.
  std::optional<int64_t> Bill(int64_t output_tokens, const std::string& billed_apart = "") {
    Offer offer = world.Ask(100, 50);
    offer.billed_apart = billed_apart;
    auto attempt = meter.Begin(std::move(offer));
    EXPECT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    return attempt->End({.is_complete = true, .usage = Used(100, output_tokens)});
  }
  std::string Refusal(bool own_key = false) {
    Offer offer = world.Ask(100, 50);
    offer.purchase.own_key = own_key;
    const auto refused = meter.Begin(std::move(offer));
    return refused.has_value() ? "" : refused.error().message;
  }
};

TEST(Bars, NobodyAsksAgainWhoBilledAThousandTimesWhatWasHeld) {
  Bills bills;  // without any budget
  EXPECT_EQ(bills.Bill(499'950), 1'000'000'000);
  EXPECT_EQ(bills.Refusal(), "") << "a thousand times the least that counts as held";
  bills.Bill(499'951, "tools");
  EXPECT_EQ(bills.Refusal(), "") << "no price bounds what is billed apart";
  bills.Bill(499'951);
  EXPECT_TRUE(
      bills.Refusal().starts_with("site-a billed more than 1000 times what could be held "
                                  "for org/model, so it is not asked for it; "))
      << bills.Refusal();
  EXPECT_EQ(bills.Refusal(true), "") << "who pays by another key";
  bills.meter.bars().Set({}, bills.world.ledger->seq());
  EXPECT_EQ(bills.Refusal(), "") << "somebody has acknowledged it";
}

TEST(Bars, NoAttemptIsPostedBeyondAThousandTimesWhatWasHeld) {
  Bills bills;
  constexpr int64_t kTokens = 900'000'000'000;
  EXPECT_EQ(bills.Bill(kTokens), 1'000'000'000'000);
  EXPECT_EQ(bills.world.ledger->OwedTo("provider:site-a"), 1'000'000'000'000);
  EXPECT_EQ(bills.world.ledger->trouble(), ledger::Trouble());
  EXPECT_EQ(PostedMax(2'000'000'000), 2'000'000'000'000);
  EXPECT_EQ(PostedMax(ledger::kAmountMax), ledger::kAmountMax);
  Outcome outcome;
  outcome.unposted = kTokens * 2'000;
  EXPECT_EQ(DecodeOutcome(Encode(outcome)), outcome) << "the alert tells the rest";
}

TEST(Bars, AnAccountWithoutRoomIsToldAndTakesWhatItCan) {
  Bills bills;
  ledger::Ledger& ledger = *bills.world.ledger;
  const auto payee = ledger.Payee("provider:site-a");
  ASSERT_TRUE(payee.has_value());
  const auto owe = [&](ledger::NanoUsd amount) {
    return ledger.Transfer(ledger::kExpense, *payee, amount, "").has_value();
  };
  ledger::NanoUsd left = ledger::kNanoUsdMax - 250'000;
  for (; left > ledger::kAmountMax; left -= ledger::kAmountMax) {
    ASSERT_TRUE(owe(ledger::kAmountMax));
  }
  ASSERT_TRUE(owe(left));
  EXPECT_EQ(ledger.trouble(), ledger::Trouble());
  EXPECT_EQ(bills.Bill(1'000), 200'000) << "what was held";
  EXPECT_EQ(ledger.trouble().kind, ledger::Trouble::Kind::kFull);
  EXPECT_NE(ledger.trouble().why.find("2100000 nano-USD of request "), std::string::npos)
      << ledger.trouble().why;
  EXPECT_EQ(bills.Bill(0), std::nullopt) << "50,000 are left, and it is 100,000";
  ASSERT_EQ(ledger.HoldsInDoubt().size(), 1U);
}

}  // namespace
}  // namespace tradewind::billing
