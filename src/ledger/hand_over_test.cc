// An upgrade in place as the ledger sees it: two processes, and later more, on one disk.
#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/fake_disk.h"
#include "ledger/ledger.h"

namespace tradewind::ledger {
namespace {

constexpr LedgerOptions kByHand = {
    .segment_bytes = 256 << 10, .segments_max = 64, .background = false};

class HandOverTest : public ::testing::Test {
 protected:
  HandOverTest() {
    Start();
    key_ = *now().Define({.name = "key:a", .limit = 1'000'000});
  }
  // The next process; the one before gives it the journal.
  void Upgrade() {
    now().Release();
    Start();
  }
  void Start() {
    auto opened = Ledger::Open(disk_, clock_, kByHand);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledgers_.push_back(std::move(*opened));
  }
  Ledger& now() { return *ledgers_.back(); }
  std::expected<Hold, Refusal> Take(NanoUsd cost) {
    HoldRequest request;
    request.id = {{1, ++ids_}, 1};
    request.cost = request.charge = cost;
    request.budgets = {&key_, 1};
    return now().Take(request, Send::kNow);
  }
  Account Budget() { return now().FindBudget("key:a")->account; }
  bool HasFile() {
    return std::ranges::any_of(
        *disk_.List(), [](const std::string& name) { return name.starts_with("handover-"); });
  }

  FakeDisk disk_;
  FakeClock clock_;
  std::vector<std::unique_ptr<Ledger>> ledgers_;  // of all processes
  AccountNumber key_ = 0;
  uint64_t ids_ = 0;
};

TEST_F(HandOverTest, WhatRunsIsHeldWithItsWholeCostUntilTheOldProcessSaysHowItEnded) {
  auto hold = Take(300);
  ASSERT_TRUE(hold->Progress(10, 10).has_value());
  Upgrade();
  EXPECT_EQ(Budget().in_doubt, 300);
  EXPECT_EQ(now().HoldsInDoubt()[0].second.metered_cost, 300) << "should the old one die now";
  EXPECT_EQ(now().HoldsInDoubt()[0].second.metered_charge, 10) << "he has got no more than that";
  ASSERT_TRUE(hold->Progress(20, 20).has_value()) << "and it runs on";
  ASSERT_TRUE(hold->Settle(40, 40, "stop").has_value());
  now().Tend();
  EXPECT_EQ(Budget().debits, 40);
  EXPECT_EQ(Budget().pending, 0);
  EXPECT_EQ(now().stopped_because(), "");
}

TEST_F(HandOverTest, NobodyIsAskedAboutWhatMayStillRunInTheOldProcess) {
  auto cut = Take(300), runs = Take(200);
  Upgrade();
  EXPECT_EQ(now().HoldsInDoubt().size(), 2U);
  const HoldId id = cut->id();
  EXPECT_TRUE(now().DoubtsToAskAbout().empty()) << "a bill of one that runs is not its end";
  EXPECT_FALSE(now().DoubtToAskAbout(id).has_value());
  ASSERT_TRUE(cut->Progress(50, 30, Metering::kEnded).has_value());
  ASSERT_TRUE(cut->Doubt("cut").has_value());
  now().Tend();
  ASSERT_EQ(now().DoubtsToAskAbout().size(), 1U);
  EXPECT_EQ(now().DoubtsToAskAbout()[0].second.metered_cost, 50);
  EXPECT_EQ(now().DoubtToAskAbout(id)->metered_cost, 50);
  EXPECT_FALSE(now().DoubtToAskAbout(runs->id()).has_value());
  clock_.Advance(std::chrono::hours(2));
  EXPECT_EQ(now().DoubtsToAskAbout().size(), 2U) << "the old one is gone, and did not say";
  EXPECT_TRUE(now().DoubtToAskAbout(runs->id()).has_value());
  ASSERT_TRUE(now().ResolveVoid(id, "told").has_value());
  EXPECT_FALSE(now().DoubtToAskAbout(id).has_value()) << "it has ended";
}

TEST_F(HandOverTest, AnErrorWithoutAnAnswerTakesBackWhatWasFeared) {
  auto failed = Take(300);
  Upgrade();
  EXPECT_EQ(now().HoldsInDoubt()[0].second.metered_cost, 300);
  ASSERT_TRUE(failed->Progress(0, 0, Metering::kEnded).has_value());
  ASSERT_TRUE(failed->Doubt("server_error").has_value());
  now().Tend();
  EXPECT_EQ(now().HoldsInDoubt()[0].second.metered_cost, 0);
  EXPECT_EQ(Budget().in_doubt, 300) << "until it is forgotten";
}

TEST_F(HandOverTest, EveryKindOfEndReachesTheNewProcess) {
  auto cut = Take(300), refused = Take(200), unended = Take(100);
  Upgrade();
  cut->UpstreamIdWithNext("req-1");
  ASSERT_TRUE(cut->Progress(50, 30, Metering::kEnded, "ten tokens").has_value());
  ASSERT_TRUE(cut->Doubt("cut").has_value());
  ASSERT_TRUE(refused->Void("refused").has_value());
  {
    const Hold ends_here = std::move(*unended);
  }
  now().Tend();
  EXPECT_EQ(Budget().pending, 400);
  auto doubts = now().HoldsInDoubt();
  std::ranges::sort(doubts, {}, [](const auto& doubt) { return doubt.first; });
  ASSERT_EQ(doubts.size(), 2U);
  EXPECT_EQ(doubts[0].second.upstream_id, "req-1");
  EXPECT_EQ(doubts[0].second.metered_text, "ten tokens");
  EXPECT_EQ(doubts[0].second.metered_cost, 50) << "less than had to be feared";
  EXPECT_EQ(doubts[0].second.metered_charge, 30);
  EXPECT_EQ(doubts[1].second.metered_cost, 100);
}

TEST_F(HandOverTest, TheOldProcessAdmitsNothingAndSaysWhoDoes) {
  Ledger& old = now();
  Upgrade();
  HoldRequest request;
  request.id = {{7, 7}, 1};
  const auto refused = old.Take(request, Send::kNow);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Refusal::Reason::kHandedOver);
  EXPECT_FALSE(old.Define({.name = "key:b", .limit = 1}).has_value());
  EXPECT_FALSE(old.SetPrepaid("org:a", true).has_value());
}

TEST_F(HandOverTest, AnEndIsBookedOnceHoweverManyProcessesFollow) {
  auto first = Take(300), second = Take(300);
  Upgrade();
  ASSERT_TRUE(first->Settle(40, 40, "").has_value());
  now().Tend();
  Upgrade();
  now().Tend();
  EXPECT_EQ(Budget().debits, 40) << "the third process reads it again";
  ASSERT_TRUE(second->Settle(5, 5, "").has_value()) << "the first one still runs";
  now().Tend();
  EXPECT_EQ(Budget().debits, 45);
  EXPECT_EQ(Budget().pending, 0);
}

TEST_F(HandOverTest, AStartFindsWhatWasWrittenWhileNobodyRead) {
  auto hold = Take(300);
  Upgrade();
  disk_.Kill();  // the new process alone: the old one has its file open, and dies with it here
  disk_.Revive();
  Start();
  EXPECT_EQ(Budget().in_doubt, 300);
  EXPECT_FALSE(hold->Settle(40, 40, "").has_value());
  EXPECT_TRUE(HasFile());
  ASSERT_TRUE(now().ResolveSettled(hold->id(), 40, 40, "billed").has_value());
  now().Tend();
  now().Tend();
  EXPECT_FALSE(HasFile()) << "nothing that could stand in it is in doubt";
}

TEST_F(HandOverTest, TheFileGoesWhenAllOfItIsBookedAndSafe) {
  auto hold = Take(300);
  Upgrade();
  EXPECT_TRUE(HasFile());
  ASSERT_TRUE(hold->Settle(40, 40, "").has_value());
  disk_.syncs_left = 0;
  now().Tend();
  now().Tend();
  EXPECT_TRUE(HasFile()) << "a power cut would lose the end";
  disk_.syncs_left = -1;
  now().Tend();
  now().Tend();
  auto another = Take(1);
  ASSERT_TRUE(another->Settle(1, 1, "").has_value());
  now().Tend();
  EXPECT_FALSE(HasFile());
  EXPECT_EQ(Budget().debits, 41);
}

TEST_F(HandOverTest, WithoutRoomForTheFileAllOfItStaysHeld) {
  auto hold = Take(300);
  disk_.creates_left = 0;
  now().Release();
  disk_.creates_left = -1;
  Start();
  EXPECT_FALSE(hold->Settle(40, 40, "").has_value());
  now().Tend();
  EXPECT_EQ(Budget().in_doubt, 300);
}

TEST_F(HandOverTest, AProcessThatTakesTheJournalBackKnowsItsOwnEnds) {
  auto before = Take(300), after = Take(200);
  Ledger& only = now();
  only.Release();
  ASSERT_TRUE(before->Settle(40, 40, "").has_value());
  ASSERT_TRUE(only.Reopen().has_value());
  EXPECT_EQ(Budget().debits, 40);
  ASSERT_TRUE(after->Settle(5, 5, "").has_value());
  EXPECT_EQ(Budget().debits, 45);
  EXPECT_EQ(Budget().pending, 0);
  EXPECT_TRUE(Take(10).has_value());
}

TEST_F(HandOverTest, AProcessThatTakesTheJournalBackMetersACutStreamAsAnyOther) {
  auto cut = Take(300);
  ASSERT_TRUE(cut->Progress(10, 10).has_value());
  now().Release();
  ASSERT_TRUE(now().Reopen().has_value());
  EXPECT_EQ(now().HoldsInDoubt()[0].second.metered_cost, 300) << "should this one die now";
  ASSERT_TRUE(cut->Progress(20, 15).has_value());
  EXPECT_EQ(now().HoldsInDoubt()[0].second.metered_cost, 300) << "it runs on";
  EXPECT_TRUE(now().DoubtsToAskAbout().empty());
  ASSERT_TRUE(cut->Progress(50, 30, Metering::kEnded).has_value());
  ASSERT_TRUE(cut->Doubt("cut").has_value());
  ASSERT_EQ(now().DoubtsToAskAbout().size(), 1U) << "at once: its end is known";
  EXPECT_EQ(now().DoubtsToAskAbout()[0].second.metered_cost, 50);
  EXPECT_EQ(now().DoubtsToAskAbout()[0].second.metered_charge, 30);
}

TEST_F(HandOverTest, AnErrorWithoutAnAnswerEndsAtNothingAfterAnyNumberOfFailedUpgrades) {
  auto failed = Take(300), cut = Take(200);
  now().Release();
  ASSERT_TRUE(now().Reopen().has_value());
  ASSERT_TRUE(failed->Progress(0, 0, Metering::kEnded).has_value());
  ASSERT_TRUE(failed->Doubt("server_error").has_value());
  now().Release();
  ASSERT_TRUE(now().Reopen().has_value());
  EXPECT_EQ(now().DoubtsToAskAbout().size(), 1U) << "the other one runs through both";
  ASSERT_TRUE(cut->Progress(40, 20, Metering::kEnded).has_value());
  ASSERT_TRUE(cut->Doubt("cut").has_value());
  const auto doubts = now().DoubtsToAskAbout();
  ASSERT_EQ(doubts.size(), 2U);
  EXPECT_EQ(doubts[0].second.metered_cost, 0);
  EXPECT_EQ(doubts[1].second.metered_cost, 40);
  EXPECT_EQ(doubts[1].second.metered_charge, 20);
}

TEST_F(HandOverTest, AfterAFailedUpgradeNobodyIsAskedAboutWhatRunsAndAllOthersAtOnce) {
  auto before = Take(300), runs = Take(200), ends_here = Take(100);
  ASSERT_TRUE(before->Doubt("cut").has_value());
  now().Release();
  ASSERT_TRUE(now().Reopen().has_value());
  ASSERT_EQ(now().DoubtsToAskAbout().size(), 1U) << "its own doubt waits for nobody";
  clock_.Advance(std::chrono::hours(2));
  ASSERT_EQ(now().DoubtsToAskAbout().size(), 1U) << "the others run here, however long";
  ASSERT_TRUE(runs->Doubt("cut").has_value());
  {
    const Hold gone = std::move(*ends_here);
  }
  EXPECT_EQ(now().DoubtsToAskAbout().size(), 3U);
}

TEST_F(HandOverTest, AfterAFailedUpgradeWhatNobodyHasAnyMoreIsAskedAbout) {
  auto lost = Take(300);
  now().Release();
  disk_.writes_left = 0;
  {
    const Hold gone = std::move(*lost);  // its end cannot be handed over
  }
  disk_.writes_left = -1;
  ASSERT_TRUE(now().Reopen().has_value());
  EXPECT_EQ(now().DoubtsToAskAbout().size(), 1U);
}

TEST_F(HandOverTest, AFailedUpgradeGivesAnOlderProcessNoNewHour) {
  auto oldest = Take(300);
  Upgrade();
  clock_.Advance(std::chrono::minutes(50));
  now().Release();
  ASSERT_TRUE(now().Reopen().has_value());
  EXPECT_TRUE(now().DoubtsToAskAbout().empty()) << "it may run there";
  clock_.Advance(std::chrono::minutes(11));
  EXPECT_EQ(now().DoubtsToAskAbout().size(), 1U);
}

// Requests that end in any process, processes that follow each other or die: what was settled is
// booked to the nano-dollar, and what nobody could say is held whole.
TEST_F(HandOverTest, ManyUpgradesLoseNothing) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SeededRandom random(seed);
    FakeDisk disk;
    FakeClock clock;
    std::vector<std::unique_ptr<Ledger>> ledgers;
    const auto start = [&] { ledgers.push_back(*Ledger::Open(disk, clock, kByHand)); };
    start();
    const AccountNumber key = *ledgers[0]->Define({.name = "key:a", .limit = 1'000'000});
    std::vector<Hold> running, dead;  // what a killed process had; `dead` outlives the check
    NanoUsd settled = 0, unknown = 0;
    uint64_t ids = 0;
    for (int step = 0; step < 80; ++step) {
      const int64_t event = random.Below(10);
      if (event < 5) {
        HoldRequest request;
        request.id = {{seed, ++ids}, 1};
        request.cost = request.charge = 100 + random.Below(100);
        request.budgets = {&key, 1};
        running.push_back(*ledgers.back()->Take(request, Send::kNow));
      } else if (event < 8 && !running.empty()) {
        std::swap(running[static_cast<size_t>(random.Below(static_cast<int64_t>(running.size())))],
                  running.back());
        const NanoUsd cost = random.Below(100);
        ASSERT_TRUE(running.back().Settle(cost, cost, "").has_value());
        settled += cost;
        running.pop_back();
      } else if (event == 8) {
        ledgers.back()->Release();
        start();
      } else {
        ledgers.back()->Tend();
      }
    }
    ledgers.back()->Release();
    start();
    for (Hold& hold : running) {
      if (random.Below(2) == 0) {
        ASSERT_TRUE(hold.Settle(7, 7, "").has_value());
        settled += 7;
      } else {
        unknown += hold.cost();
        dead.push_back(std::move(hold));
      }
    }
    ledgers.back()->Tend();
    const Account account = ledgers.back()->FindBudget("key:a")->account;
    ASSERT_EQ(account.debits, settled) << "seed " << seed;
    ASSERT_EQ(account.in_doubt, unknown) << "seed " << seed;
    ASSERT_EQ(account.pending, unknown) << "seed " << seed;
    for (const auto& [id, hold] : ledgers.back()->HoldsInDoubt()) {
      ASSERT_EQ(hold.metered_cost, hold.cost) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tradewind::ledger
