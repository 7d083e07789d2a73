// L-T5: clocks that jump. L-T6: a disk that fails at each of the first five hundred calls. L-T7:
// power cuts at any point, with sectors that were not flushed dropped and torn.
//
// TW_POWER_CUTS sets how many cut points; `make prove` takes 10,000.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/fake_disk.h"
#include "ledger/ledger.h"

namespace tradewind::ledger {
namespace {

constexpr LedgerOptions kByHand = {
    .segment_bytes = 32 << 10, .segments_max = 64, .background = false};
constexpr NanoUsd kLimit = 10'000;

struct World {
  FakeDisk disk;
  FakeClock clock;
  std::vector<std::unique_ptr<Ledger>> dead;
  std::unique_ptr<Ledger> ledger;
  uint64_t ids = 0;

  World() {
    clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
  }
  Status Start() {
    TW_ASSIGN_OR_RETURN(ledger, Ledger::Open(disk, clock, kByHand));
    return {};
  }
  void Kill() {
    disk.Kill();
    if (ledger != nullptr) {
      dead.push_back(std::move(ledger));
    }
    disk.Revive();
  }
  HoldRequest Ask(const AccountNumber& budget, NanoUsd cost) {
    HoldRequest request;
    request.id = {{1, ++ids}, 1};
    request.cost = request.charge = cost;
    request.budgets = {&budget, 1};
    return request;
  }
};

// --- L-T5 ---

TEST(Clock, WhateverItDoesWindowsAreNeitherLostNorDoubledAndTimeGrows) {
  constexpr std::array kPeriods = {Period::kMinute, Period::kHour,  Period::kDay,
                                   Period::kWeek,   Period::kMonth, Period::kQuarter};
  // Half and quarter hours, midnights that are skipped, a day that never was, and both hemispheres.
  constexpr std::array kZones = {"UTC",
                                 "Europe/Berlin",
                                 "America/New_York",
                                 "America/Sao_Paulo",
                                 "America/St_Johns",
                                 "Asia/Kathmandu",
                                 "Asia/Kolkata",
                                 "Africa/Casablanca",
                                 "Australia/Lord_Howe",
                                 "Pacific/Chatham",
                                 "Pacific/Apia",
                                 "Asia/Beirut"};
  SeededRandom random(11);
  for (int trial = 0; trial < 1000; ++trial) {
    World world;
    ASSERT_TRUE(world.Start().has_value());
    const AccountNumber budget = *world.ledger->Define(
        {.name = "key:a",
         .limit = 100,
         .period = kPeriods[static_cast<size_t>(trial) % kPeriods.size()],
         .zone = kZones[static_cast<size_t>(trial) / kPeriods.size() % kZones.size()]});
    std::map<int64_t, NanoUsd> spent;  // by window
    for (int step = 0; step < 30; ++step) {
      const int64_t jump = random.Below(4) == 0   ? random.Below(2 * 400 * 86'400) - 400 * 86'400
                           : random.Below(2) == 0 ? random.Below(7200) - 3600
                                                  : 0;
      world.clock.Advance(std::chrono::seconds(jump));
      const BudgetState before = *world.ledger->FindBudget("key:a");
      const NanoUsd cost = 10 + random.Below(30);
      auto hold = world.ledger->Take(world.Ask(budget, cost));
      const Window window = world.ledger->FindBudget("key:a")->window;
      NanoUsd& sum = spent[window.start_s];
      ASSERT_EQ(hold.has_value(), sum + cost <= 100) << trial << " " << step;
      if (hold.has_value()) {
        sum += cost;
        ASSERT_TRUE(hold->Sent().has_value() && hold->Settle(cost, cost, "").has_value());
      }
      ASSERT_GE(window.start_s, before.window.start_s) << "no window comes back";
      ASSERT_EQ(world.ledger->FindBudget("key:a")->account.debits, sum);
      if (random.Below(10) == 0) {
        world.Kill();
        ASSERT_TRUE(world.Start().has_value());
      }
    }
    int64_t time_ns = 0;
    JournalReader reader(world.disk, 1);
    while (true) {
      const auto record = reader.Next();
      ASSERT_TRUE(record.has_value());
      if (!record->has_value()) {
        break;
      }
      ASSERT_GT((*record)->time_ns, time_ns);
      time_ns = (*record)->time_ns;
    }
  }
}

// Who sets the clock wrong for a moment has not moved what comes after it to another day.
TEST(Clock, AJumpAheadThatIsTakenBackDatesNothing) {
  World world;
  ASSERT_TRUE(world.Start().has_value());
  const AccountNumber budget =
      *world.ledger->Define({.name = "key:a", .limit = 100, .period = Period::kDay});
  const auto spend = [&] {
    auto hold = world.ledger->Take(world.Ask(budget, 30));
    return hold.has_value() && hold->Sent().has_value() && hold->Settle(30, 30, "").has_value();
  };
  ASSERT_TRUE(spend());
  const Window today = world.ledger->FindBudget("key:a")->window;
  const auto wall = world.clock.WallNow();
  const auto pass = [&](std::chrono::nanoseconds time) {
    for (auto left = time; left.count() > 0; left -= std::chrono::seconds(1)) {
      world.clock.Advance(std::chrono::seconds(1));
      world.ledger->Tend();
    }
  };
  world.clock.SetWall(wall + std::chrono::days(40));
  world.ledger->Tend();
  EXPECT_TRUE(spend());
  EXPECT_EQ(world.ledger->FindBudget("key:a")->window, today);
  const Trouble trouble = world.ledger->trouble();
  EXPECT_EQ(trouble.kind, Trouble::Kind::kClock);
  EXPECT_NE(trouble.why.find("ahead by 57600 minutes"), std::string::npos) << trouble.why;

  pass(std::chrono::minutes(2));
  world.clock.SetWall(wall + std::chrono::minutes(2));
  world.ledger->Tend();
  EXPECT_EQ(world.ledger->trouble(), Trouble());
  EXPECT_TRUE(spend());
  EXPECT_FALSE(spend()) << "the window is the same, and it is used up";
  EXPECT_EQ(world.ledger->FindBudget("key:a")->account.debits, 90);

  world.clock.SetWall(world.clock.WallNow() + std::chrono::days(1));
  world.ledger->Tend();
  pass(LedgerTime::kBelievedAfter);
  EXPECT_EQ(world.ledger->trouble(), Trouble()) << "one that stays is believed";
  EXPECT_TRUE(spend());
  EXPECT_EQ(world.ledger->FindBudget("key:a")->window.start_s, today.end_s);
}

TEST(Clock, OneThatIsBehindTheBooksIsTold) {
  World world;
  ASSERT_TRUE(world.Start().has_value());
  static_cast<void>(world.ledger->Define({.name = "key:a", .limit = 100}));
  world.clock.SetWall(world.clock.WallNow() - std::chrono::hours(2));
  world.ledger->Tend();
  const Trouble trouble = world.ledger->trouble();
  EXPECT_EQ(trouble.kind, Trouble::Kind::kClock);
  EXPECT_NE(trouble.why.find("121 minutes behind"), std::string::npos) << trouble.why;
  world.Kill();
  ASSERT_TRUE(world.Start().has_value());
  EXPECT_EQ(world.ledger->trouble().kind, Trouble::Kind::kClock) << "after a restart, too";
}

// --- L-T6 ---

struct Outcome {
  NanoUsd settled = 0;  // confirmed
  NanoUsd durable = 0;  // of these: flushed
  NanoUsd perhaps = 0;  // the call failed: it may have been recorded all the same
  NanoUsd billed = 0;   // by the provider: of what was sent
  int refused = 0;
};

// What a gateway does with a disk that fails under it; 600 calls of the disk and more.
Outcome Work(World& world) {
  Outcome outcome;
  if (!world.Start().has_value()) {
    return outcome;
  }
  const auto budget = world.ledger->Define({.name = "key:a", .limit = kLimit});
  if (!budget.has_value() || !world.ledger->WaitDurable().has_value()) {
    return outcome;  // nobody is told of a budget that a power cut could take
  }
  for (int i = 0; i < 250; ++i) {
    auto hold = world.ledger->Take(world.Ask(*budget, 30));
    if (!hold.has_value()) {
      ++outcome.refused;
      continue;
    }
    if (hold->Sent().has_value()) {
      outcome.billed += 20;  // nothing goes out before Sent has returned
      if (hold->Settle(20, 20, "").has_value()) {
        outcome.settled += 20;
      } else {
        outcome.perhaps += 30;
      }
    } else {
      outcome.perhaps += 30;
    }
    if (i % 25 == 24) {
      const uint64_t seq = world.ledger->seq();
      world.ledger->Tend();
      outcome.durable = world.ledger->synced_seq() >= seq ? outcome.settled : outcome.durable;
      static_cast<void>(world.ledger->ForgetBefore(UINT64_MAX));
    }
    world.clock.Advance(std::chrono::milliseconds(3));
  }
  return outcome;
}

void CheckAfter(World& world, const Outcome& outcome, const std::string& where) {
  world.Kill();
  world.disk.Heal();
  const Status started = world.Start();
  ASSERT_TRUE(started.has_value()) << where << ": " << started.error().message;
  const auto state = world.ledger->FindBudget("key:a");
  if (!state.has_value()) {
    ASSERT_EQ(outcome.billed, 0) << where << ": a budget is gone that money was spent from";
    return;
  }
  const Account& account = state->account;
  // Pages that could not be flushed are gone, and no other segment could be written before the
  // kill: the same as a power cut.
  const bool is_dropped = world.disk.failed_syncs > 0 && outcome.refused > 0;
  ASSERT_GE(account.debits, is_dropped ? outcome.durable : outcome.settled)
      << where << ": a settle was lost";
  ASSERT_LE(account.debits, outcome.settled + outcome.perhaps) << where << ": counted twice";
  if (!is_dropped) {
    ASSERT_GE(account.debits + account.pending, outcome.billed) << where << ": a bill was lost";
  }
  ASSERT_LE(outcome.billed, kLimit) << where;
  ASSERT_EQ(account.pending, account.in_doubt) << where << ": a hold that nobody has";
  // And it goes on.
  const AccountNumber budget = state->number;
  auto hold = world.ledger->Take(world.Ask(budget, 1));
  ASSERT_TRUE(hold.has_value()) << where;
  ASSERT_TRUE(hold->Sent().has_value() && hold->Settle(1, 1, "").has_value()) << where;
}

TEST(DiskFaults, AtEachOfTheFirstFiveHundredCallsNothingIsLostAndTheNextStartIsClean) {
  int64_t calls = 0;
  {
    World world;
    const Outcome outcome = Work(world);
    EXPECT_EQ(outcome.refused, 0);
    calls = world.disk.calls;
  }
  ASSERT_GE(calls, 500) << "there are no five hundred calls to fail";
  const char* sparse = std::getenv("TW_DISK_FAULT_STEP");  // for mutants: some of them
  const int64_t step =
      sparse != nullptr ? std::max<int64_t>(1, std::strtoll(sparse, nullptr, 10)) : 1;
  int refused = 0;
  for (const FakeDisk::Fault fault :
       {FakeDisk::Fault::kOnce, FakeDisk::Fault::kFromThenOn, FakeDisk::Fault::kFull}) {
    for (int64_t failing = 0; failing < 500; failing += step) {
      World world;
      world.disk.FailAt(failing, fault);
      const Outcome outcome = Work(world);
      refused += outcome.refused;
      CheckAfter(
          world, outcome,
          "call " + std::to_string(failing) + ", fault " + std::to_string(static_cast<int>(fault)));
      if (HasFatalFailure()) {
        return;
      }
    }
  }
  EXPECT_GT(refused, 10'000 / step) << "a disk that fails for good stops admission";
}

// A full disk stops what is new; what runs is settled from the room that was kept for it.
TEST(DiskFaults, AFullDiskStillSettlesWhatRuns) {
  World world;
  ASSERT_TRUE(world.Start().has_value());
  const AccountNumber budget = *world.ledger->Define({.name = "key:a", .limit = 1'000'000});
  world.disk.creates_left = 0;
  std::vector<Hold> running;
  while (true) {
    auto hold = world.ledger->Take(world.Ask(budget, 10));
    if (!hold.has_value()) {
      EXPECT_EQ(hold.error().reason, Refusal::Reason::kStopped);
      break;
    }
    ASSERT_TRUE(hold->Sent().has_value());
    running.push_back(std::move(*hold));
    if (running.size() > 20) {  // as many as run at a time
      ASSERT_TRUE(running.front().Settle(5, 5, "").has_value());
      running.erase(running.begin());
    }
  }
  for (Hold& hold : running) {
    EXPECT_TRUE(hold.Settle(5, 5, "").has_value());
  }
  const NanoUsd spent = world.ledger->FindBudget("key:a")->account.debits;
  EXPECT_EQ(world.ledger->FindBudget("key:a")->account.pending, 0);
  world.disk.creates_left = -1;
  EXPECT_TRUE(world.ledger->Take(world.Ask(budget, 10)).has_value()) << "room again: it goes on";
  world.Kill();
  ASSERT_TRUE(world.Start().has_value());
  EXPECT_EQ(world.ledger->FindBudget("key:a")->account.debits, spent);
}

// --- L-T7 ---

TEST(PowerCuts, LoseAtMostWhatWasNotFlushedAndNoHalfRecord) {
  const char* count = std::getenv("TW_POWER_CUTS");
  const int64_t cuts = count != nullptr ? std::strtoll(count, nullptr, 10) : 400;
  SeededRandom random(5);
  int64_t something_lost = 0, rotated = 0;
  for (int64_t cut = 0; cut < cuts; ++cut) {
    World world;
    ASSERT_TRUE(world.Start().has_value());
    const AccountNumber budget = *world.ledger->Define({.name = "key:a", .limit = kLimit});
    ASSERT_TRUE(world.ledger->WaitDurable().has_value());
    NanoUsd settled = 0, durable = 0, billed = 0;
    const int64_t steps = random.Below(300);
    for (int64_t i = 0; i < steps; ++i) {
      auto hold = world.ledger->Take(world.Ask(budget, 30));
      if (hold.has_value() && random.Below(8) != 0) {
        ASSERT_TRUE(hold->Sent().has_value());
        if (hold->goes_out_after() > world.ledger->synced_seq()) {
          ASSERT_TRUE(world.ledger->WaitDurable().has_value());
          durable = settled;
        }
        billed += 20;
        if (random.Below(8) != 0) {
          ASSERT_TRUE(hold->Settle(20, 20, std::string(static_cast<size_t>(random.Below(700)), 'x'))
                          .has_value());
          settled += 20;
        }
      }
      if (random.Below(30) == 0) {
        world.ledger->Tend();
        durable = settled;
      }
      if (random.Below(10) == 0) {  // whoever reads the journal has read all of it
        ASSERT_TRUE(world.ledger->ForgetBefore(ListSegments(world.disk)->back()).has_value());
      }
    }
    rotated += ListSegments(world.disk)->back() > 2 ? 1 : 0;
    world.disk.Kill();
    world.disk.CutPower(random);
    world.dead.push_back(std::move(world.ledger));
    world.disk.Revive();
    const Status started = world.Start();
    ASSERT_TRUE(started.has_value()) << "cut " << cut << ": " << started.error().message;
    const Account account = world.ledger->FindBudget("key:a")->account;
    ASSERT_GE(account.debits, durable) << "cut " << cut << ": what was flushed is gone";
    ASSERT_LE(account.debits, settled) << "cut " << cut;
    ASSERT_EQ(account.debits % 20, 0) << "cut " << cut << ": half a settle";
    ASSERT_LE(account.used(), kLimit) << "cut " << cut << ": over the bound";
    ASSERT_GE(account.used(), billed) << "cut " << cut << ": free again, though it was billed";
    something_lost += account.debits < settled ? 1 : 0;
    // And again, over what is left.
    ASSERT_TRUE(world.ledger->WaitDurable().has_value());
    world.disk.Kill();
    world.disk.CutPower(random);
    world.dead.push_back(std::move(world.ledger));
    world.disk.Revive();
    ASSERT_TRUE(world.Start().has_value()) << "cut " << cut << ", the second";
    ASSERT_EQ(world.ledger->FindBudget("key:a")->account.debits, account.debits) << "cut " << cut;
  }
  EXPECT_GT(something_lost, cuts / 4) << "a power cut that takes nothing tests nothing";
  EXPECT_GT(rotated, cuts / 16);
}

}  // namespace
}  // namespace tradewind::ledger
