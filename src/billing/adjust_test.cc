// What was settled, put right: in the books, in every sum and on every bill.
#include "billing/adjust.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "billing/bill_period.h"
#include "billing/focus.h"
#include "billing/statement.h"
#include "billing/test_support.h"
#include "billing/verify.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kNoonS = 1'764'072'000;  // 2025-11-25T12:00:00Z
constexpr ledger::NanoUsd kDaily = 1'000'000'000;

struct Corrected : World {
  ledger::AccountNumber budget = 0;
  std::string provider_model = "model-x";

  Corrected() {
    SetTime(kNoonS);
    budget = *ledger->Define(
        {.name = "key:key_1", .limit = 50'000'000, .period = ledger::Period::kMonth});
  }
  void SetTime(int64_t unix_s) {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(unix_s)));
  }
  // A settled attempt at 1,000 and 2,000 nano-USD a token.
  ledger::HoldId Buy(int64_t input, int64_t output, const chat::Usage* said = nullptr) {
    Offer offer = Ask(10'000, 10'000);
    const int64_t now_ms =
        std::chrono::floor<std::chrono::milliseconds>(clock.WallNow()).time_since_epoch().count();
    offer.id.request.high = static_cast<uint64_t>(now_ms) << 16;
    offer.purchase.provider_model = provider_model;
    const ledger::HoldId id = offer.id;
    Meter meter(*ledger);
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt.has_value()) << attempt.error().message;
    EXPECT_TRUE(attempt->Sent().has_value());
    const chat::Usage usage = said != nullptr ? *said : Used(input, output);
    const auto cost = attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
    EXPECT_EQ(cost.has_value(), prices.is_priced());
    return id;
  }
  Adjuster adjuster(ledger::NanoUsd daily = kDaily) { return {*ledger, *recorder, daily}; }
  Status To(ledger::HoldId id, std::optional<int64_t> cost, std::optional<int64_t> charge = {}) {
    Adjuster one(*ledger, *recorder, kDaily);
    return one.Adjust(id, {cost, charge, "it was wrong", "admin"});
  }
  StatementOrder Of(const char* period) { return {*ParseBillPeriod(period), "", ""}; }
  Statement StatementOf(const char* period) {
    const Result<Verification> verified = VerifyStatement(Of(period), *recorder, *ledger, disk);
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
    EXPECT_TRUE(verified->is_good())
        << (verified->differences.empty() ? "hash" : verified->differences.front());
    return verified->statement;
  }
};

TEST(Adjust, StandsInUsageInTheBudgetAndOnTheStatementOfItsHour) {
  Corrected world;
  const ledger::HoldId id = world.Buy(1'000, 500);  // 2,000,000
  const std::string october = world.StatementOf("2025-11").hash;
  world.SetTime(kNoonS + 10 * 86'400);  // in December
  ASSERT_TRUE(world.To(id, 2'000).has_value());
  EXPECT_EQ(world.Sum().cost, 2'000);
  EXPECT_EQ(world.Sum().charge, 2'000);
  EXPECT_EQ(world.Sum().settled, 1) << "no other request";
  EXPECT_EQ(world.Sum({.from_ns = (kNoonS + 86'400) * 1'000'000'000}).cost, 0)
      << "by the admission of its attempt";
  EXPECT_EQ(world.StatementOf("2025-11").hash, october) << "what was shown stays";
  const Statement now = world.StatementOf("2025-12");
  ASSERT_EQ(now.lines.size(), 1U);
  EXPECT_EQ(now.lines[0].meter(), "corrections");
  EXPECT_EQ(now.lines[0].sum.cost, -1'998'000);
  EXPECT_EQ(now.payable(), -1'998'000);
  EXPECT_EQ(now.requests, 0);
  EXPECT_EQ(world.ledger->OwedTo("provider:site-a"), 2'000);
}

TEST(Adjust, TheWindowOfTheAdmissionGetsItBackAndNoOther) {
  Corrected world;
  const ledger::HoldId id = world.Buy(1'000, 500);
  world.Buy(1'000, 0);
  ASSERT_TRUE(world.To(id, 500'000).has_value());
  EXPECT_EQ(world.At("key:key_1").debits, 1'500'000);
  world.SetTime(kNoonS + 10 * 86'400);
  world.Buy(1'000, 0);
  ASSERT_TRUE(world.To(id, 400'000).has_value());
  EXPECT_EQ(world.At("key:key_1").debits, 1'000'000) << "December's";
}

TEST(Adjust, TheSameTotalsAgainChangeNothingAndAChargeNeverRises) {
  Corrected world;
  const ledger::HoldId id = world.Buy(1'000, 500);
  ASSERT_TRUE(world.To(id, 1'000'000, 400'000).has_value());
  const uint64_t seq = world.ledger->seq();
  ASSERT_TRUE(world.To(id, 1'000'000, 400'000).has_value());
  EXPECT_EQ(world.ledger->seq(), seq);
  EXPECT_EQ(world.To(id, std::nullopt, 400'001).error().param, "charge");
  ASSERT_TRUE(world.To(id, 3'000'000).has_value()) << "a cost may rise";
  EXPECT_EQ(world.Sum().cost, 3'000'000);
  EXPECT_EQ(world.Sum().charge, 400'000);
  std::vector<Correction> made;
  ASSERT_TRUE(world.recorder
                  ->ForEachCorrectionOf({&id.request, 1},
                                        [&](const Correction& one) { made.push_back(one); })
                  .has_value());
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[1].number, 2U);
  EXPECT_EQ(made[1].cost_before, 1'000'000);
  EXPECT_EQ(made[1].reason, "it was wrong");
  EXPECT_EQ(made[1].actor, "admin");
  EXPECT_EQ(made[1].purchase.key_id, "key_1");
  world.StatementOf("2025-11");
}

TEST(Adjust, CreditsGetBackWhatTheyPaidAndBillsSaySo) {
  Corrected world;
  ASSERT_TRUE(
      world.ledger->Grant({.name = "gift", .owner = "org:org_1", .amount = 1'500'000}).has_value());
  const ledger::HoldId id = world.Buy(1'000, 500);  // 500,000 are owed
  ASSERT_TRUE(world.To(id, std::nullopt, 600'000).has_value());
  const Statement now = world.StatementOf("2025-11");
  EXPECT_EQ(now.charge, 600'000);
  EXPECT_EQ(now.credited, 600'000);
  EXPECT_EQ(now.payable(), 0);
  EXPECT_EQ(world.ledger->Credits().front().left, 900'000);
  ASSERT_TRUE(world.To(id, std::nullopt, 0).has_value());
  EXPECT_EQ(world.ledger->Credits().front().left, 1'500'000);
  EXPECT_EQ(world.StatementOf("2025-11").credited, 0);
}

TEST(Adjust, IsNotBeyondWhatADayAllowsAndSaysWhatWasNotSettled) {
  Corrected world;
  const ledger::HoldId first = world.Buy(1'000, 500), second = world.Buy(1'000, 500);
  Adjuster strict = world.adjuster(3'000'000);
  ASSERT_TRUE(strict.Adjust(first, {0, {}, "why", "admin"}).has_value());
  const Status refused = strict.Adjust(second, {0, {}, "why", "admin"});
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(refused.error().param, "adjust_daily_usd");
  world.SetTime(kNoonS + 86'400);
  EXPECT_TRUE(strict.Adjust(second, {0, {}, "why", "admin"}).has_value()) << "another day";
  EXPECT_EQ(world.To({{1, 99}, 1}, 0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(strict.Adjust(first, {0, {}, "", "admin"}).error().param, "reason");
  EXPECT_EQ(strict.Adjust(first, {{}, {}, "why", "admin"}).error().param, "cost");
}

TEST(Adjust, WhatProvidersBillIsComparedWithTheCorrectedCost) {
  Corrected world;
  const ledger::HoldId id = world.Buy(1'000, 500);
  BillLine line;
  line.provider = "site-a";
  line.model = "model-x";
  line.start_s = kNoonS - kNoonS % 86'400;
  line.end_s = line.start_s + 86'400;
  line.cost = 2'000;
  ASSERT_TRUE(world.recorder->PutBillLines({&line, 1}).has_value());
  const auto difference = [&] {
    return world.recorder->Differences("site-a", *ParseBillPeriod("2025-11"))->front();
  };
  EXPECT_EQ(difference().local.cost, 2'000'000);
  ASSERT_TRUE(world.To(id, 2'000).has_value());
  EXPECT_EQ(difference().local.cost, 2'000);
  EXPECT_TRUE(IsExplained(difference().kind));
}

TEST(Adjust, AnAttemptWithoutAPriceThatIsGivenACostIsNotUnpricedAnyMore) {
  Corrected world;
  ASSERT_TRUE(world.ledger->CloseBudget("key:key_1").has_value());
  world.prices = {};
  const ledger::HoldId id = world.Buy(1'000, 500);
  world.Buy(1'000, 500);
  EXPECT_EQ(world.Sum().unpriced, 2);
  ASSERT_TRUE(world.To(id, 2'000).has_value());
  ASSERT_TRUE(world.To(id, 3'000).has_value());
  for (int start = 0; start < 2; ++start) {
    EXPECT_EQ(world.Sum().unpriced, 1);
    EXPECT_EQ(world.Sum().cost, 3'000);
    Meters corrected;
    ASSERT_TRUE(world.recorder->AddCorrected(FilterOf(world.Of("2025-11")), corrected).has_value());
    ASSERT_EQ(corrected.size(), 1U);
    EXPECT_EQ(corrected.begin()->second.quantity, 1);
    bool is_on_its_line = false;
    for (const StatementLine& line : world.StatementOf("2025-11").lines) {
      is_on_its_line |= line.key == corrected.begin()->first && IsUnpriced(line.key, line.sum);
    }
    EXPECT_TRUE(is_on_its_line);
    EXPECT_TRUE(world.recorder->AddCorrected(FilterOf(world.Of("2025-12")), corrected).has_value());
    EXPECT_TRUE(world.recorder->AddCorrected({.key_id = "key_9"}, corrected).has_value());
    EXPECT_EQ(corrected.begin()->second.quantity, 1) << "of another month, of another key";
    world.KillAndStart();
  }
  // Tables of before counted it all the same.
  ASSERT_TRUE(world.recorder
                  ->Change([](storage::Database& database) {
                    return database.Execute(
                        "UPDATE sums SET unpriced = unpriced + 1; UPDATE day_sums SET unpriced = "
                        "unpriced + 1");
                  })
                  .has_value());
  EXPECT_EQ(world.Sum().unpriced, 2);
  ASSERT_TRUE(world.recorder
                  ->Change([](storage::Database& database) {
                    return database.Execute(
                        "ALTER TABLE sums DROP COLUMN own_key_cost; ALTER TABLE day_sums DROP "
                        "COLUMN own_key_cost; DELETE FROM migrations WHERE number >= 14");
                  })
                  .has_value());
  world.KillAndStart();
  EXPECT_EQ(world.Sum().unpriced, 1);
  EXPECT_EQ(world.Sum({.from_ns = kNoonS * 1'000'000'000}).unpriced, 1) << "by quarters of an hour";
  BillLine line;
  line.provider = "site-a";
  line.model = "model-x";
  line.start_s = kNoonS - kNoonS % 86'400;
  line.end_s = line.start_s + 86'400;
  line.cost = 3'000;
  ASSERT_TRUE(world.recorder->PutBillLines({&line, 1}).has_value());
  const auto found = world.recorder->Differences("site-a", *ParseBillPeriod("2025-11"));
  EXPECT_EQ(found->front().local.unpriced, 1);
  EXPECT_EQ(found->front().local.requests, 2);
}

TEST(Adjust, AnExportHasThemAsCorrections) {
  Corrected world;
  ASSERT_TRUE(world.To(world.Buy(1'000, 500), 2'000).has_value());
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters({}, meters).has_value());
  FocusOrder order;
  order.billing_period = *ParseBillPeriod("2025-11");
  const std::string csv =
      FocusFile(FocusFormat::kCsv, order, meters, *world.recorder->Prices(), {}, {});
  EXPECT_NE(csv.find(",Correction,"), csv.npos) << csv;
  EXPECT_NE(csv.find("-0.001998"), csv.npos) << csv;
}

TEST(Adjust, ARestartAndALostDatabaseKnowThem) {
  Corrected world;
  ASSERT_TRUE(world.To(world.Buy(1'000, 500), 2'000).has_value());
  world.KillAndStart();
  EXPECT_EQ(world.Sum().cost, 2'000);
  EXPECT_EQ(world.At("key:key_1").debits, 2'000);
  world.StatementOf("2025-11");
}

RerateOrder Order(bool applies) {
  RerateOrder order;
  order.model = "org/model";
  order.provider = "site-a";
  order.prices = Priced("0.001", "0.002");
  order.applies = applies;
  order.reason = "mistyped";
  order.actor = "admin";
  return order;
}

TEST(Rerate, TellsFirstThenCorrectsAndOnceIsEnough) {
  Corrected world;
  for (int i = 0; i < 5; ++i) {
    world.Buy(1'000, 500);
  }
  const Rerating told = *world.adjuster().Rerate(Order(false));
  ASSERT_EQ(told.corrections.size(), 5U);
  EXPECT_EQ(told.corrections[0].cost, 2'000);
  EXPECT_EQ(world.Sum().cost, 10'000'000) << "only told";
  ASSERT_EQ(world.adjuster().Rerate(Order(true))->corrections.size(), 5U);
  EXPECT_EQ(world.Sum().cost, 10'000);
  EXPECT_EQ(world.At("key:key_1").debits, 10'000);
  const Rerating again = *world.adjuster().Rerate(Order(true));
  EXPECT_TRUE(again.corrections.empty());
  EXPECT_EQ(again.right, 5);
  world.StatementOf("2025-11");
}

TEST(Rerate, GoesOnWhereAKillEndedIt) {
  Corrected world;
  for (int i = 0; i < 4; ++i) {
    world.Buy(1'000, 500);
  }
  RerateOrder first = Order(true);
  ASSERT_EQ(world.Sum().settled, 4);
  first.to_ns = world.recorder->Page({}, 10)->at(1).admitted_ns + 1;
  ASSERT_EQ(world.adjuster().Rerate(first)->corrections.size(), 2U);
  world.KillAndStart();
  EXPECT_EQ(world.adjuster().Rerate(Order(true))->corrections.size(), 2U);
  EXPECT_EQ(world.Sum().cost, 8'000);
  world.StatementOf("2025-11");
}

TEST(Rerate, ByThePriceNowInForce) {
  Corrected world;
  world.Buy(1'000, 500);
  world.prices = Priced("0.5", "1");
  world.Buy(1'000, 500);
  RerateOrder order = Order(true);
  order.prices.reset();
  const Rerating done = *world.adjuster().Rerate(order);
  ASSERT_EQ(done.corrections.size(), 1U);
  EXPECT_EQ(done.corrections[0].price_version, done.price_version);
  EXPECT_GT(done.price_version, 1U);
  EXPECT_EQ(world.Sum().cost, 2'000'000);
  order.model = "org/other";
  EXPECT_EQ(world.adjuster().Rerate(order).error().param, "model");
}

TEST(Rerate, APriceThatNothingWasHeldAtYetIsAVersionOnceItCorrectsSomething) {
  Corrected world;
  world.Buy(1'000, 500);
  RerateOrder order = Order(false);
  order.prices.reset();
  catalog::Mapping now;
  now.hf_model = order.model;
  now.provider = order.provider;
  now.provider_model = "model-x";
  now.prices = Priced("0.5", "1");
  order.now = {now};
  const Rerating told = *world.adjuster().Rerate(order);
  ASSERT_EQ(told.corrections.size(), 1U);
  EXPECT_EQ(told.price_version, 0U);
  EXPECT_EQ(world.recorder->Prices()->size(), 1U) << "telling makes no version";
  order.applies = true;
  EXPECT_EQ(world.adjuster().Rerate(order)->price_version, 2U);
  EXPECT_EQ(world.Sum().cost, 1'000'000);
  const Rerating again = *world.adjuster().Rerate(order);
  EXPECT_EQ(again.right, 1);
  EXPECT_EQ(again.price_version, 2U) << "the same";
  world.prices = now.prices;
  world.Buy(1'000, 500);
  EXPECT_EQ(world.recorder->Prices()->size(), 2U) << "requests are held at it, too";
  world.StatementOf("2025-11");
  world.KillAndStart();
  world.StatementOf("2025-11");
}

TEST(Rerate, ThePriceInForceIsThatOfTheSameModelOfTheProvider) {
  Corrected world;
  world.Buy(1'000, 500);
  world.prices = Priced("0.5", "1");
  world.provider_model = "another";
  world.Buy(1'000, 500);
  RerateOrder order = Order(true);
  order.prices.reset();
  const Rerating done = *world.adjuster().Rerate(order);
  EXPECT_TRUE(done.corrections.empty());
  EXPECT_EQ(done.right, 2);
}

TEST(Rerate, PricesOfTokensSayNothingOfWhatElseWasPaidFor) {
  Corrected world;
  world.prices.request = Decimal::Parse("0.01").value();
  world.Buy(1'000, 500);
  const Rerating done = *world.adjuster().Rerate(Order(true));
  EXPECT_TRUE(done.corrections.empty());
  EXPECT_EQ(done.not_by_tokens, 1);
}

// Paid by as many credits as an attempt may be, and in a budget.
ledger::HoldId BuyOfManyCredits(Corrected& world) {
  for (size_t i = 0; i < ledger::kLegsMax; ++i) {
    EXPECT_TRUE(
        world.ledger
            ->Grant({.name = "small " + std::to_string(i), .owner = "org:org_1", .amount = 50'000})
            .has_value());
  }
  return world.Buy(1'000, 500);
}

TEST(Rerate, GoesOnBehindWhatChangesTooManyAccounts) {
  Corrected world;
  world.Buy(1'000, 500);
  const ledger::HoldId many = BuyOfManyCredits(world);
  world.Buy(1'000, 500);
  ASSERT_EQ(world.recorder->Find(many.request)->at(0).credits.size(), ledger::kLegsMax);
  for (const bool applies : {false, true}) {
    const Result<Rerating> done = world.adjuster().Rerate(Order(applies));
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_EQ(done->corrections.size(), 2U);
    EXPECT_EQ(done->too_many, std::vector{many});
  }
  world.StatementOf("2025-11");
}

TEST(Adjust, WhatChangesTooManyAccountsIsLoweredInSteps) {
  Corrected world;
  const ledger::HoldId many = BuyOfManyCredits(world);
  const Status refused = world.To(many, 0);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("in steps"), std::string::npos);
  ASSERT_TRUE(world.To(many, std::nullopt, 600'000).has_value());
  ASSERT_TRUE(world.To(many, 0).has_value());
  EXPECT_EQ(world.Sum().cost, 0);
  EXPECT_EQ(world.Sum().charge, 0);
  EXPECT_EQ(world.ledger->Credits().front().left, 50'000);
  EXPECT_EQ(world.At("key:key_1").debits, 0);
  world.StatementOf("2025-11");
}

TEST(Rerate, GoesAsFarAsTheDayHasRoom) {
  Corrected world;
  for (int i = 0; i < 5; ++i) {
    world.Buy(1'000, 500);  // 1,998,000 too much
  }
  Adjuster adjuster(*world.ledger, *world.recorder, 5'000'000);
  const Rerating first = *adjuster.Rerate(Order(true));
  ASSERT_EQ(first.corrections.size(), 2U);
  ASSERT_TRUE(first.next.has_value());
  RerateOrder rest = Order(true);
  rest.after = *first.next;
  EXPECT_EQ(adjuster.Rerate(rest).error().param, "adjust_daily_usd");
  world.SetTime(kNoonS + 86'400);
  EXPECT_EQ(adjuster.Rerate(rest)->corrections.size(), 2U) << "the next day";
}

TEST(Adjust, WhatIsOwedOfAClosedMonthIsFinal) {
  Corrected world;
  const ledger::HoldId id = world.Buy(1'000, 500);
  const auto suspense = world.ledger->Payee("suspense:site-a/2025-11").value();
  ASSERT_TRUE(world.ledger
                  ->Transfer(ledger::kExpense, suspense, 1,
                             TransferText("close", "site-a", *ParseBillMonth("2025-11"), "done"))
                  .has_value());
  const auto refused = world.To(id, 1'000);
  EXPECT_EQ(refused.error().param, "cost");
  EXPECT_NE(refused.error().message.find("reopen 2025-11 --provider site-a --reason"),
            std::string::npos);
  const Rerating done = *world.adjuster().Rerate(Order(true));
  EXPECT_EQ(done.closed, 1);
  EXPECT_TRUE(done.corrections.empty());
  EXPECT_TRUE(world.To(id, std::nullopt, 5).has_value()) << "its caller may be given it back";
  EXPECT_EQ(world.ledger->OwedTo("provider:site-a"), 2'000'000);
}

TEST(Rerate, WhatSomebodyNamedStays) {
  Corrected world;
  ASSERT_TRUE(world.To(world.Buy(1'000, 500), 7).has_value());
  const Rerating done = *world.adjuster().Rerate(Order(true));
  EXPECT_EQ(done.named, 1);
  EXPECT_EQ(world.Sum().cost, 7);
}

TEST(Correction, ATextSaysItAllAgain) {
  Correction correction;
  correction.is_rerated = true;
  correction.price_version = 7;
  correction.actor = "admin";
  correction.reason = "two\nlines\x1F and more";
  correction.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
  Correction read;
  DecodeInto(Encode(correction), read);
  EXPECT_EQ(read.reason, "two lines  and more");
  read.reason = correction.reason;
  EXPECT_EQ(read, correction);
}

TEST(Correction, TheWindowsOfAHoldAreKeptAsAText) {
  ledger::Legs legs;
  ledger::Leg leg;
  leg.account = {17, -5};
  leg.dimension = ledger::Dimension::kCharge;
  legs.Push(leg);
  leg.account = {4'000'000'000, 1'764'072'000};
  leg.dimension = ledger::Dimension::kCost;
  legs.Push(leg);
  leg.is_credit = true;
  legs.Push(leg);
  const std::vector<ledger::Leg> read = BudgetsOf(BudgetsText(legs));
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0], legs.all()[0]);
  EXPECT_EQ(read[1], legs.all()[1]);
  EXPECT_EQ(BudgetsOf("x y 3").size(), 3U) << "whatever stands there";
}

}  // namespace
}  // namespace tradewind::billing
