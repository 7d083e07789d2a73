// What a power cut takes of a hard budget: records that were not flushed, and never the bound.
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/test_support.h"
#include "testing/temp_dir.h"

namespace tradewind::ledger {
namespace {

using std::chrono::seconds;

class World : public testing::SeededWorld {
 public:
  World() : SeededWorld(1, seconds(1'764'072'000)) {}

  AccountNumber Define(const BudgetSpec& spec) {
    const AccountNumber number = *ledger_->Define(spec);
    EXPECT_TRUE(ledger_->WaitDurable().has_value());
    return number;
  }
  HoldRequest RequestOf(const AccountNumber& budget, NanoUsd cost) {
    HoldRequest request;
    request.id = {{1, ++ids_}, 1};
    request.cost = request.charge = cost;
    request.budgets = {&budget, 1};
    return request;
  }
  Hold Take(const AccountNumber& budget, NanoUsd cost, bool is_strict = false) {
    HoldRequest request = RequestOf(budget, cost);
    request.is_strict = is_strict;
    return std::move(*ledger_->Take(request, Send::kNow));
  }
  bool MayGoOut(const Hold& hold) { return hold.goes_out_after() <= ledger_->synced_seq(); }
  bool HasRoom(const AccountNumber& budget, NanoUsd cost) {
    auto hold = ledger_->Take(RequestOf(budget, cost));
    return hold.has_value() && hold->Void("only asked").has_value();
  }
  // Records that were not flushed are gone, all of them.
  void CutPower() {
    disk_.lost_percent = 100;
    KillAndStart(true, [&] { running.clear(); });
  }
  void Kill() {
    KillAndStart(false, [&] { running.clear(); });
  }
  // As an operator does it; the next process is begun by CutPower.
  void Stop() { ledger_.reset(); }
  // The next process has counted what it could until its n-th write failed.
  void CutPowerAndFailAt(int64_t write) {
    disk_.lost_percent = 100;
    disk_.Kill();
    running.clear();
    disk_.CutPower(random_);
    ledger_.reset();
    disk_.Revive();
    disk_.writes_left = write;
    disk_.creates_left = 1;
    const auto half =
        Ledger::Open(disk_, clock_, {.segment_bytes = 128 << 10, .background = false});
    disk_.Kill();
  }
  Account At(std::string_view name) { return ledger_->FindBudget(name)->account; }
  Ledger& ledger() { return *ledger_; }
  FakeClock& clock() { return clock_; }
  std::vector<Hold> running;

 private:
  uint64_t ids_ = 0;
};

TEST(Leases, OnlyTheFirstRequestOfManyWaitsForTheDisk) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1'000'000});
  Hold first = world.Take(key, 100);
  EXPECT_FALSE(world.MayGoOut(first)) << "a power cut would take its bound with it";
  world.ledger().Tend();
  EXPECT_TRUE(world.MayGoOut(first));
  for (int i = 0; i < 1000; ++i) {
    world.running.push_back(world.Take(key, 100));
    ASSERT_TRUE(world.MayGoOut(world.running.back())) << i;
    world.ledger().Tend();
  }
}

TEST(Leases, WhatGoesOutBeforeItIsFlushedIsUsedAfterAPowerCut) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1000});
  ASSERT_TRUE(world.Take(key, 100).Settle(60, 60, "").has_value());
  world.ledger().Tend();
  const NanoUsd leased = world.At("key:a").lease.up_to;
  // It goes out, the provider bills all of it, and nothing of it is flushed.
  world.running.push_back(world.Take(key, 100));
  ASSERT_TRUE(world.MayGoOut(world.running.back()));
  world.CutPower();
  const Account account = world.At("key:a");
  EXPECT_EQ(account.debits, 60);
  EXPECT_EQ(account.pending, 0) << "its record is gone";
  EXPECT_EQ(account.unaccounted, leased - 60);
  EXPECT_EQ(world.ledger().recovery().unaccounted, leased - 60);
  EXPECT_FALSE(world.HasRoom(key, 1000 - leased + 1)) << "may be spent already";
  EXPECT_TRUE(world.HasRoom(key, 1000 - leased));
}

// It was void, and another one had its room, in the records that are gone.
TEST(Leases, WhatEndsAfterAPowerCutAndWasHeldBeforeItIsNotFreeAgain) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1000});
  Hold known = world.Take(key, 1000);
  world.ledger().Tend();
  ASSERT_TRUE(known.Void("refused").has_value());
  world.running.push_back(world.Take(key, 1000));
  ASSERT_TRUE(world.MayGoOut(world.running.back()));
  world.CutPower();
  EXPECT_EQ(world.At("key:a").in_doubt, 1000);
  const auto doubts = world.ledger().HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U);
  ASSERT_TRUE(world.ledger().ResolveSettled(doubts[0].first, 300, 300, "").has_value());
  EXPECT_EQ(world.At("key:a").debits, 300);
  EXPECT_EQ(world.At("key:a").unaccounted, 700);
  EXPECT_FALSE(world.HasRoom(key, 1)) << "the other one may have cost 700";
}

TEST(Leases, AKillOfTheProcessSetsNothingAside) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1000});
  ASSERT_TRUE(world.Take(key, 100).Settle(60, 60, "").has_value());
  world.Kill();
  EXPECT_EQ(world.At("key:a").unaccounted, 0);
  EXPECT_TRUE(world.HasRoom(key, 940)) << "refused though there was room";
}

TEST(Leases, WhoIsStrictIsOnTheDiskBeforeItGoesOut) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1'000'000});
  ASSERT_TRUE(world.Take(key, 100).Void("it leases").has_value());
  world.ledger().Tend();
  world.running.push_back(world.Take(key, 100, true));
  EXPECT_FALSE(world.MayGoOut(world.running.back()));
  world.ledger().Tend();
  EXPECT_TRUE(world.MayGoOut(world.running.back()));
  const HoldId id = world.running.back().id();
  world.CutPower();
  EXPECT_EQ(world.ledger().HeldBy(id), 100);
}

TEST(Leases, ABudgetAtRestLeavesNothingForAPowerCutToTake) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1'000'000});
  ASSERT_TRUE(world.Take(key, 100).Settle(60, 60, "").has_value());
  world.clock().Advance(seconds(9));
  world.ledger().Tend();
  EXPECT_GT(world.At("key:a").lease.up_to, 60);
  world.clock().Advance(seconds(2));
  world.ledger().Tend();
  EXPECT_EQ(world.At("key:a").lease.up_to, 0);
  Hold next = world.Take(key, 100);
  EXPECT_FALSE(world.MayGoOut(next)) << "what was given back is nobody's to use";
  ASSERT_TRUE(next.Settle(0, 0, "").has_value());
  world.clock().Advance(seconds(11));
  world.ledger().Tend();
  world.ledger().Tend();  // flushes that
  world.CutPower();
  EXPECT_EQ(world.At("key:a").unaccounted, 0);
}

TEST(Leases, WhatIsUnaccountedIsFreeWhenAnOperatorSaysSoAndInTheNextWindow) {
  World world;
  const AccountNumber day = world.Define({.name = "key:a", .limit = 1000, .period = Period::kDay});
  ASSERT_TRUE(world.Take(day, 100).Settle(60, 60, "").has_value());
  world.ledger().Tend();
  world.running.push_back(world.Take(day, 100));
  world.CutPower();
  EXPECT_FALSE(world.HasRoom(day, 940));
  world.Kill();
  EXPECT_FALSE(world.HasRoom(day, 940)) << "a second start forgets nothing";
  ASSERT_TRUE(world.ledger().ReleaseUnaccounted("key:a").has_value());
  EXPECT_TRUE(world.HasRoom(day, 940));
  EXPECT_EQ(world.ledger().ReleaseUnaccounted("key:a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world.ledger().ReleaseUnaccounted("key:b").error().code, ErrorCode::kNotFound);

  ASSERT_TRUE(world.Take(day, 100).Settle(60, 60, "").has_value());
  world.ledger().Tend();
  world.running.push_back(world.Take(day, 100));
  world.CutPower();
  EXPECT_GT(world.At("key:a").unaccounted, 0);
  world.clock().Advance(std::chrono::hours(24));
  EXPECT_EQ(world.At("key:a").unaccounted, 0);
  EXPECT_TRUE(world.HasRoom(day, 1000));
}

TEST(Leases, OfSoftBudgetsAndOfWhatCostsNothingThereAreNone) {
  World world;
  const AccountNumber soft = world.Define({.name = "key:a", .limit = 1000, .mode = Mode::kSoft});
  const AccountNumber hard = world.Define({.name = "key:b", .limit = 1000});
  EXPECT_TRUE(world.MayGoOut(world.Take(soft, 100)));
  EXPECT_TRUE(world.MayGoOut(world.Take(hard, 0)));
}

TEST(Leases, WhoeverWaitsIsToldOnceWhetherItIsOnTheDisk) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1000});
  Hold hold = world.Take(key, 100);
  std::vector<bool> told;
  const auto tell = [&](bool is_durable) { told.push_back(is_durable); };
  world.ledger().WhenDurable(hold.goes_out_after(), tell);
  EXPECT_TRUE(told.empty());
  world.ledger().Tend();
  world.ledger().WhenDurable(hold.goes_out_after(), tell);  // it is there already
  EXPECT_EQ(told, (std::vector<bool>{true, true}));
}

// As every planned start of the machine: what was in doubt then, and cost less, is free.
TEST(Leases, AStopBeforeTheMachineIsStartedAnewSetsNothingAside) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 1000});
  Hold doubtful = world.Take(key, 600);
  ASSERT_TRUE(doubtful.Doubt("cut").has_value());
  world.Stop();
  world.CutPower();
  const auto doubts = world.ledger().HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U);
  ASSERT_TRUE(world.ledger().ResolveSettled(doubts[0].first, 10, 10, "").has_value());
  EXPECT_EQ(world.At("key:a").unaccounted, 0);
  EXPECT_TRUE(world.HasRoom(key, 990));
  // What has come after the stop is leased anew.
  Hold next = world.Take(key, 100);
  EXPECT_FALSE(world.MayGoOut(next));
}

// A start that is killed after a power cut has counted some budgets, and the next one the others.
TEST(Leases, AStartThatIsKilledForgetsNoBudget) {
  for (int64_t write = 0; write < 60; ++write) {
    World world;
    std::vector<AccountNumber> budgets;
    for (const char* name : {"key:a", "key:b", "key:c"}) {
      budgets.push_back(world.Define({.name = name, .limit = 1000}));
      ASSERT_TRUE(world.Take(budgets.back(), 100).Settle(60, 60, "").has_value());
    }
    world.ledger().Tend();
    for (const AccountNumber& budget : budgets) {
      world.running.push_back(world.Take(budget, 100));
      ASSERT_TRUE(world.MayGoOut(world.running.back()));
    }
    world.CutPowerAndFailAt(write);
    world.Kill();
    for (const char* name : {"key:a", "key:b", "key:c"}) {
      EXPECT_GE(world.At(name).used(), 160) << name << ", the write " << write;
    }
  }
}

// Monday's use counts in the week's budget that follows, and so does what a power cut took of it.
TEST(Leases, WhatIsUnaccountedComesBackWithItsWindow) {
  World world;
  world.clock().PassTo(std::chrono::system_clock::time_point(seconds(1'764'568'800)));  // a Monday
  BudgetSpec spec{.name = "key:a", .limit = 1000, .period = Period::kDay};
  const AccountNumber key = world.Define(spec);
  ASSERT_TRUE(world.Take(key, 100).Settle(60, 60, "").has_value());
  world.ledger().Tend();
  world.running.push_back(world.Take(key, 100));
  for (const bool is_cut_late : {false, true}) {
    if (is_cut_late) {
      world.clock().Advance(std::chrono::hours(24));
    }
    world.CutPower();
  }
  world.Kill();
  ASSERT_TRUE(world.ledger().CloseBudget("key:a").has_value());
  spec.period = Period::kWeek;
  world.Define(spec);
  EXPECT_EQ(world.At("key:a").debits, 60);
  EXPECT_GE(world.At("key:a").used(), 160);
}

// As it closes, so that the machine may be switched off after it.
TEST(Leases, AProcessThatEndsGivesBackWhatItHadLeased) {
  const tradewind::testing::TempDir home;
  auto disk = *OpenFolder(home.path() / "journal");
  {
    auto ledger = *Ledger::Open(*disk, SystemClock());
    const AccountNumber key = *ledger->Define({.name = "key:a", .limit = 1'000'000});
    HoldRequest request;
    request.id = {{1, 1}, 1};
    request.cost = 100;
    request.budgets = {&key, 1};
    Hold hold = std::move(*ledger->Take(request, Send::kNow));
    std::atomic<int> told{0};
    ledger->WhenDurable(hold.goes_out_after(), [&](bool is_durable) {
      told = is_durable ? 1 : 2;
      told.notify_all();
    });
    told.wait(0);
    EXPECT_EQ(told, 1);
    EXPECT_GT(ledger->FindBudget("key:a")->account.lease.up_to, 100);
    ASSERT_TRUE(hold.Settle(60, 60, "").has_value());
  }
  auto ledger = *Ledger::Open(*disk, SystemClock());
  EXPECT_EQ(ledger->FindBudget("key:a")->account.lease.up_to, 0);
}

}  // namespace
}  // namespace tradewind::ledger
