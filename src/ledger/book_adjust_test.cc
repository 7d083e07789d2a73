#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/book.h"
#include "ledger/fake_disk.h"
#include "ledger/ledger.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNoonNs = 1'764'072'000'000'000'000;  // 2025-11-25 12:00 UTC

// One settled attempt of cost and charge 100, on a budget, of which credits may have paid a part.
struct Settled {
  Book book;
  int64_t now_ns = kNoonNs;
  AccountNumber key = 0, payee = 0, gift = 0, paid = 0;
  Legs held, shares;
  static constexpr HoldId kId{{7, 1}, 1};

  explicit Settled(NanoUsd credits = 0, NanoUsd limit = 1000) {
    key = Commit(*book.DecideBudget({.name = "key:a", .limit = limit}, now_ns)).account;
    payee = Commit(*book.DecidePayee("provider:p")).account;
    if (credits > 0) {
      CreditSpec half{.name = "gift", .owner = "org:o", .amount = credits / 2, .promotional = true};
      gift = Commit(*book.DecideCredit(half)).account;
      paid = Commit(*book.DecideCredit(
                        {.name = "paid", .owner = "org:o", .amount = credits - credits / 2}))
                 .account;
    }
    HoldRequest request{.id = kId,
                        .cost = 100,
                        .charge = 100,
                        .budgets = std::span(&key, 1),
                        .payer = {},
                        .text = {}};
    request.payer = "org:o";
    request.payee = payee;
    held = Commit(*book.DecideHold(request, now_ns)).legs;
    shares = Commit(*book.DecideSettle(kId, 100, 100, "", now_ns)).legs;
  }
  Record Commit(Record record) {
    record.seq = book.seq() + 1;
    record.time_ns = now_ns = std::max(now_ns, book.time_ns()) + 1;
    const Status applied = book.Apply(record);
    EXPECT_TRUE(applied.has_value()) << applied.error().message;
    EXPECT_TRUE(book.Audit().has_value()) << book.Audit().error().message;
    return record;
  }
  Adjustment To(NanoUsd cost, NanoUsd charge) const {
    return {.id = kId,
            .cost_before = 100,
            .charge_before = 100,
            .cost = cost,
            .charge = charge,
            .budgets = Budgets(),
            .paid = shares.all(),
            .payee = payee,
            .admitted_ns = kNoonNs};
  }
  std::span<const Leg> Budgets() const { return held.all().first(1); }
  Account At(AccountNumber number) { return book.BudgetAccount(number, now_ns / 1'000'000'000); }
  NanoUsd Debit(AccountNumber number) const {
    const Account account = book.AccountOf({number, 0});
    return account.debits - account.credits;
  }
};

TEST(Adjust, GivesBackToTheBudgetToWhoOwesAndTakesItFromWhoIsOwed) {
  Settled settled;
  settled.Commit(*settled.book.DecideAdjust(settled.To(30, 40)));
  EXPECT_EQ(settled.At(settled.key).debits, 30);
  EXPECT_EQ(settled.At(settled.key).available(), 970);
  EXPECT_EQ(settled.Debit(kExpense), 30);
  EXPECT_EQ(settled.Debit(settled.payee), -30);
  EXPECT_EQ(settled.Debit(kReceivable), 40);
  EXPECT_EQ(settled.Debit(kRevenue), -40);
}

TEST(Adjust, ARaiseCountsAsUsedAlsoBeyondTheLimitAndIsTold) {
  Settled settled(0, 120);
  settled.book.TakeNotices();
  settled.Commit(*settled.book.DecideAdjust(settled.To(150, 100)));
  EXPECT_EQ(settled.At(settled.key).available(), -30);
  EXPECT_EQ(settled.Debit(settled.payee), -150);
  EXPECT_EQ(settled.Debit(kReceivable), 100) << "a charge does not rise";
  const auto notices = settled.book.TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].percent, 100);
  EXPECT_FALSE(settled.book.DecideAdjust(settled.To(100, 101)).has_value());
  EXPECT_FALSE(settled.book.DecideAdjust(settled.To(-1, 0)).has_value());
  EXPECT_FALSE(settled.book.DecideAdjust(settled.To(0, -1)).has_value());
}

TEST(Adjust, LessIsOwedFirstAndThenTheLastToPayGetsItBackFirst) {
  Settled settled(80);  // 40 of the gift, 40 that were paid, 20 owed
  const auto left = [&](AccountNumber credit) {
    return settled.book.AccountOf({credit, 0}).available();
  };
  settled.Commit(*settled.book.DecideAdjust(settled.To(100, 85)));
  EXPECT_EQ(settled.Debit(kReceivable), 5);
  EXPECT_EQ(left(settled.gift) + left(settled.paid), 0);

  Settled other(80);
  other.Commit(*other.book.DecideAdjust(other.To(100, 30)));
  EXPECT_EQ(other.Debit(kReceivable), 0);
  EXPECT_EQ(other.book.AccountOf({other.paid, 0}).available(), 40);
  EXPECT_EQ(other.book.AccountOf({other.gift, 0}).available(), 10);
  EXPECT_EQ(other.book.Spendable("org:o", other.now_ns), 50) << "to be spent again";
}

TEST(Adjust, WhatIsCrossedAgainIsToldAgain) {
  Settled settled(0, 110);
  settled.book.TakeNotices();
  settled.Commit(*settled.book.DecideAdjust(settled.To(10, 10)));
  EXPECT_EQ(settled.At(settled.key).warned_percent, 0);
  HoldRequest request{.id = {{7, 2}, 1},
                      .cost = 80,
                      .budgets = std::span(&settled.key, 1),
                      .payer = {},
                      .text = {}};
  settled.Commit(*settled.book.DecideHold(request, settled.now_ns));
  settled.Commit(*settled.book.DecideSettle(request.id, 80, 0, "", settled.now_ns));
  const auto notices = settled.book.TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].percent, 80);
}

// The share stands in the bucket that crossed it, and another one is corrected.
TEST(Adjust, WhatARollingBudgetCrossesAgainIsToldAgain) {
  Settled settled;
  const AccountNumber key =
      settled
          .Commit(*settled.book.DecideBudget(
              {.name = "org:o", .limit = 110, .period = Period::kRolling, .span_s = 3600},
              settled.now_ns))
          .account;
  Legs first;
  const auto spend = [&](uint64_t id, NanoUsd cost) {
    HoldRequest request{
        .id = {{7, id}, 1}, .cost = cost, .budgets = std::span(&key, 1), .payer = {}, .text = {}};
    const Legs legs = settled.Commit(*settled.book.DecideHold(request, settled.now_ns)).legs;
    settled.Commit(*settled.book.DecideSettle(request.id, cost, 0, "", settled.now_ns));
    settled.now_ns += int64_t{60} * 1'000'000'000;
    return legs;
  };
  first = spend(2, 50);
  spend(3, 40);
  settled.book.TakeNotices();
  Adjustment less = settled.To(51, 0);
  less.charge_before = 0;
  less.paid = {};
  less.budgets = first.all();
  settled.Commit(*settled.book.DecideAdjust(less));
  EXPECT_EQ(settled.At(key).warned_percent, 0);
  EXPECT_TRUE(settled.book.TakeNotices().empty());
  spend(4, 49);
  const auto notices = settled.book.TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].percent, 80);
}

TEST(Adjust, AWindowThatIsForgottenIsLeftOut) {
  Settled settled;
  Leg other = settled.Budgets().front();
  other.account.window_start_s = 12345;
  Adjustment asked = settled.To(50, 100);
  asked.budgets = std::span(&other, 1);
  EXPECT_EQ(settled.Commit(*settled.book.DecideAdjust(asked)).legs.size(), 0U);
  EXPECT_EQ(settled.At(settled.key).debits, 100);
}

TEST(Adjust, ARecordThatDoesNotFitChangesNothing) {
  Settled settled(80);
  const Record good = *settled.book.DecideAdjust(settled.To(30, 20));
  const auto fails = [&](auto change) {
    Record bad = good;
    change(bad);
    bad.seq = settled.book.seq() + 1;
    bad.time_ns = settled.now_ns + 5;
    const bool failed = !settled.book.Apply(bad).has_value();
    return failed && settled.book.Audit().has_value() && settled.At(settled.key).debits == 100 &&
           settled.Debit(kExpense) == 100;
  };
  EXPECT_TRUE(fails([](Record& bad) { bad.charge = bad.metered_charge + 1; }));
  EXPECT_TRUE(fails([](Record& bad) { bad.metered_cost = -1; }));
  EXPECT_TRUE(fails([](Record& bad) { bad.legs.all()[0].amount = 71; }));
  EXPECT_TRUE(fails([](Record& bad) { bad.legs.all()[0].account.number = 99; }));
  EXPECT_TRUE(fails([](Record& bad) { bad.legs.all()[1].amount = 79; }));
  EXPECT_TRUE(fails([](Record& bad) { bad.legs.all()[1].account = bad.legs.all()[0].account; }));
  EXPECT_TRUE(fails([](Record& bad) { bad.legs.Push(bad.legs.all()[1]); }));
  settled.Commit(good);
}

TEST(Adjust, IsReadBackAsItWasWritten) {
  Settled settled(80);
  Record record = *settled.book.DecideAdjust(settled.To(30, 20));
  record.text = "why";
  record.seq = 5;
  std::vector<std::byte> bytes;
  EncodeRecord(record, 1, bytes);
  const auto read = DecodeRecord(bytes, 1);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->record.hold, record.hold);
  EXPECT_EQ(read->record.cost, 30);
  EXPECT_EQ(read->record.charge, 20);
  EXPECT_EQ(read->record.metered_cost, 100);
  EXPECT_EQ(read->record.metered_charge, 100);
  EXPECT_EQ(read->record.price_version, 1U);
  EXPECT_EQ(read->record.since_ns, kNoonNs);
  EXPECT_EQ(read->record.account, settled.payee);
  EXPECT_EQ(read->record.text, "why");
  EXPECT_TRUE(std::ranges::equal(read->record.legs.all(), record.legs.all()));
}

TEST(Adjust, SurvivesASnapshot) {
  Settled settled(80);
  settled.Commit(*settled.book.DecideAdjust(settled.To(30, 20)));
  Book copy;
  ASSERT_TRUE(
      settled.book.Snapshot(settled.now_ns + 1, [&](const Record& r) { return copy.Apply(r); })
          .has_value());
  ASSERT_TRUE(copy.Audit().has_value());
  EXPECT_EQ(copy.BudgetAccount(settled.key, settled.now_ns / 1'000'000'000).debits, 30);
  EXPECT_EQ(copy.Spendable("org:o", settled.now_ns), 60);
}

// Nor does it tell what was told before the correction.
TEST(Adjust, ASnapshotKnowsWhatIsCrossedAgain) {
  Settled settled(0, 110);
  const auto read_notices = [&] {
    Book copy;
    EXPECT_TRUE(
        settled.book.Snapshot(settled.now_ns + 1, [&](const Record& r) { return copy.Apply(r); })
            .has_value());
    return copy.TakeNotices();
  };
  EXPECT_EQ(read_notices().size(), 1U) << "80 %";
  settled.Commit(*settled.book.DecideAdjust(settled.To(60, 60)));
  EXPECT_TRUE(read_notices().empty()) << "50 % are not told by a correction";
  settled.book.TakeNotices();
  HoldRequest request{.id = {{7, 2}, 1},
                      .cost = 40,
                      .budgets = std::span(&settled.key, 1),
                      .payer = {},
                      .text = {}};
  settled.Commit(*settled.book.DecideHold(request, settled.now_ns));
  settled.Commit(*settled.book.DecideSettle(request.id, 40, 0, "", settled.now_ns));
  const auto now = settled.book.TakeNotices(), again = read_notices();
  ASSERT_EQ(now.size(), 1U);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].percent, now[0].percent);
  EXPECT_GT(now[0].lowered_at_ns, 0);
  EXPECT_EQ(again[0].lowered_at_ns, now[0].lowered_at_ns);
}

// What was leased ahead of a use that a typing error made large is not lost to a power cut.
TEST(Adjust, APowerCutTakesNoMoreOfABudgetThanItDidBefore) {
  FakeDisk disk;
  FakeClock clock;
  clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
  SeededRandom random(3);
  const LedgerOptions by_hand = {.background = false};
  auto ledger = *Ledger::Open(disk, clock, by_hand);
  const AccountNumber key = *ledger->Define({.name = "key:a", .limit = 1'000'000});
  Leg leg;
  leg.account = {key, ledger->FindBudget(key)->window.start_s};
  HoldRequest request{
      .id = {{7, 1}, 1}, .cost = 500'000, .budgets = std::span(&key, 1), .payer = {}, .text = {}};
  auto hold = ledger->Take(request);
  ASSERT_TRUE(hold.has_value());
  ASSERT_TRUE(hold->Sent().has_value());
  ASSERT_TRUE(hold->Settle(500'000, 0, "").has_value());
  ASSERT_TRUE(ledger
                  ->Adjust({.id = request.id,
                            .cost_before = 500'000,
                            .cost = 500,
                            .budgets = std::span(&leg, 1)})
                  .has_value());
  ASSERT_TRUE(ledger->WaitDurable().has_value());
  EXPECT_EQ(ledger->FindBudget(key)->account.debits, 500);
  disk.Kill();
  disk.CutPower(random);
  ledger.reset();
  disk.Revive();
  ledger = *Ledger::Open(disk, clock, by_hand);
  const Account after = ledger->FindBudget(key)->account;
  EXPECT_EQ(after.debits, 500);
  EXPECT_LE(after.unaccounted, 500'000) << "what was leased ahead, and not what was given back";
}

}  // namespace
}  // namespace tradewind::ledger
