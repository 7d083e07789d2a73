// The ledger in a seeded world: budgets, clients, and a provider that keeps its own bill, which is
// the judge. Kills come between any two steps, power cuts between flushes, clocks jump.
//
// A failing seed prints how to replay it.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/test_support.h"

namespace tradewind::ledger {
namespace {

constexpr int kSteps = 400;

struct Faults {
  int kills = 0, power_cuts = 0, failed_writes = 0, failed_flushes = 0, clock_jumps = 0;
  int refusals = 0, in_doubt = 0, settled = 0, waits = 0, lost = 0, adjusted = 0;
};

class Simulation : testing::SeededWorld {
 public:
  explicit Simulation(uint64_t seed) : SeededWorld(seed, std::chrono::seconds(1'764'072'000)) {
    for (int i = 0; i < 4; ++i) {
      // Of large ones much is leased ahead, which a power cut takes.
      const NanoUsd limit = 500 + random_.Below(i < 2 ? 5000 : 100'000);
      limits_.push_back(limit);
      budgets_.push_back(*ledger_->Define({.name = Name(i), .limit = limit}));
    }
    EXPECT_TRUE(ledger_->WaitDurable().has_value());
  }

  void Run() {
    for (int i = 0; i < kSteps; ++i) {
      Step();
      CheckTheBill();
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
    Reconcile();
  }

  const Faults& faults() const { return faults_; }

 private:
  struct Running {
    Hold hold;
    std::vector<int> scopes;
    bool sent = false, is_strict = false;
  };
  struct Bill {
    NanoUsd cost = 0;
    std::vector<int> scopes;
  };

  static std::string Name(int scope) { return "scope:" + std::to_string(scope); }

  void Step() {
    clock_.Advance(std::chrono::milliseconds(random_.Below(50)));
    const int64_t what = random_.Below(100);
    if (what < 40) {
      Request();
    } else if (what < 60) {
      Bills();
    } else if (what < 82) {
      End();
    } else if (what < 85) {
      Adjust();
    } else if (what < 90) {
      ledger_->Tend();
    } else if (what < 93) {
      Kill(false);
    } else if (what < 95) {
      Kill(true);
    } else if (what < 97) {
      disk_.writes_left = random_.Below(3);
      ++faults_.failed_writes;
    } else if (what < 98) {
      disk_.syncs_left = random_.Below(2);
      ++faults_.failed_flushes;
    } else {
      clock_.SetWall(clock_.WallNow() + std::chrono::hours(random_.Below(2 * 400 * 24) - 400 * 24));
      ++faults_.clock_jumps;
    }
    // A disk that fails does so for a while.
    if (random_.Below(4) == 0) {
      disk_.writes_left = disk_.syncs_left = -1;
    }
  }

  void Request() {
    Running request;
    std::vector<AccountNumber> budgets;
    for (int scope = 0; scope < static_cast<int>(budgets_.size()); ++scope) {
      if (random_.Below(2) == 0) {
        request.scopes.push_back(scope);
        budgets.push_back(budgets_[static_cast<size_t>(scope)]);
      }
    }
    HoldRequest ask;
    ask.id = {{random_.Next64(), random_.Next64()}, 1};
    ask.cost = ask.charge = random_.Below(400);
    ask.budgets = budgets;
    ask.is_strict = request.is_strict = random_.Below(4) == 0;
    auto hold = ledger_->Take(ask);
    if (!hold.has_value()) {
      ++faults_.refusals;
      return;
    }
    request.hold = std::move(*hold);
    running_.push_back(std::move(request));
  }

  // A request goes out, and the provider bills some of what was held: at once, or more later.
  void Bills() {
    if (running_.empty()) {
      return;
    }
    Running& one =
        running_[static_cast<size_t>(random_.Below(static_cast<int64_t>(running_.size())))];
    if (!one.sent) {
      one.sent = one.hold.Sent().has_value() && MayGoOut(one.hold);
      if (!one.sent) {
        return;
      }
    }
    Bill& bill = bills_[one.hold.id()];
    bill.scopes = one.scopes;
    bill.cost += random_.Below(one.hold.cost() - bill.cost + 1);
    static_cast<void>(one.hold.Progress(bill.cost, bill.cost));
  }

  // A power cut may take its records: the budget holds without them. Who is strict has them too.
  bool MayGoOut(const Hold& hold) {
    if (hold.goes_out_after() <= ledger_->synced_seq()) {
      return true;
    }
    ++faults_.waits;
    return ledger_->WaitDurable().has_value();
  }

  void End() {
    if (running_.empty()) {
      return;
    }
    const auto at = running_.begin() + random_.Below(static_cast<int64_t>(running_.size()));
    const auto bill = bills_.find(at->hold.id());
    if (bill == bills_.end()) {
      if (at->hold.Void("refused").has_value()) {
        running_.erase(at);
      }
    } else if (random_.Below(5) == 0) {
      if (at->hold.Doubt("client left").has_value()) {
        ++faults_.in_doubt;
        running_.erase(at);
      }
    } else if (at->hold.Settle(bill->second.cost, bill->second.cost, "").has_value()) {
      ++faults_.settled;
      settled_.push_back(bill->first);
      running_.erase(at);
    }
  }

  // The provider bills less for something that was settled, or more where there is room. It is
  // known to have been settled once that survives a power cut.
  void Adjust() {
    if (settled_.empty() || !ledger_->WaitDurable().has_value()) {
      return;
    }
    const HoldId id =
        settled_[static_cast<size_t>(random_.Below(static_cast<int64_t>(settled_.size())))];
    Bill& bill = bills_.at(id);
    NanoUsd most = bill.cost;
    std::vector<Leg> windows;
    for (const int scope : bill.scopes) {
      const BudgetState state = *ledger_->FindBudget(Name(scope));
      most = std::min(most + 50, bill.cost + std::max<NanoUsd>(0, state.account.available()));
      Leg& leg = windows.emplace_back();
      leg.account = {state.number, state.window.start_s};
    }
    const NanoUsd before = bill.cost, cost = random_.Below(most + 1);
    if (!ledger_
             ->Adjust({.id = id,
                       .cost_before = before,
                       .charge_before = before,
                       .cost = cost,
                       .charge = std::min(cost, before),
                       .budgets = windows})
             .has_value()) {
      return;
    }
    ++faults_.adjusted;
    // Nobody is told of it before it is on the disk; what it freed is used before. Until then a
    // power cut may take it.
    const bool is_durable = random_.Below(2) == 0 && ledger_->WaitDurable().has_value();
    bill.cost = cost < before || is_durable ? cost : before;
    for (const int scope : bill.scopes) {
      unsure_[static_cast<size_t>(scope)] += is_durable ? 0 : std::abs(cost - before);
    }
  }

  void Kill(bool is_power_cut) {
    ++(is_power_cut ? faults_.power_cuts : faults_.kills);
    // A flush that failed, no room for another segment, or flushes that went on failing, and a kill
    // before there is one that did not: three faults at once, of which the first may take records
    // as a power cut does, and leaves no trace.
    if (!is_power_cut && std::exchange(failed_syncs_, disk_.failed_syncs) != disk_.failed_syncs) {
      disk_.Heal();
      clock_.Advance(std::chrono::minutes(10));
      ledger_->Tend();
    }
    std::map<HoldId, bool> sent;  // whether it is strict
    for (const Running& one : running_) {
      if (one.sent) {
        sent[one.hold.id()] = one.is_strict;
      }
    }
    if (is_power_cut) {
      settled_.clear();  // their records may be gone
    }
    KillAndStart(is_power_cut, [&] { running_.clear(); });
    for (const auto& [id, is_strict] : sent) {
      const bool is_lost = !ledger_->HeldBy(id).has_value();
      faults_.lost += is_lost ? 1 : 0;
      ASSERT_FALSE(is_lost && (is_strict || !is_power_cut)) << "a request was forgotten";
    }
  }

  void CheckTheBill() {
    std::vector<NanoUsd> billed(budgets_.size(), 0);
    for (const auto& [id, bill] : bills_) {
      for (const int scope : bill.scopes) {
        billed[static_cast<size_t>(scope)] += bill.cost;
      }
    }
    for (size_t scope = 0; scope < billed.size(); ++scope) {
      ASSERT_LE(billed[scope], limits_[scope]) << "overspent";
      const Account account = ledger_->FindBudget(Name(static_cast<int>(scope)))->account;
      ASSERT_LE(billed[scope], account.used()) << "lost";
    }
  }

  // Quiet: the provider is asked about every request in doubt; then both books agree to the nano.
  void Reconcile() {
    Kill(false);
    for (const auto& [id, hold] : ledger_->HoldsInDoubt()) {
      const auto bill = bills_.find(id);
      const Status resolved =
          bill == bills_.end()
              ? ledger_->ResolveVoid(id, "not billed")
              : ledger_->ResolveSettled(id, bill->second.cost, bill->second.cost, "billed");
      ASSERT_TRUE(resolved.has_value()) << resolved.error().message;
    }
    std::vector<NanoUsd> billed(budgets_.size(), 0);
    for (const auto& [id, bill] : bills_) {
      for (const int scope : bill.scopes) {
        billed[static_cast<size_t>(scope)] += bill.cost;
      }
    }
    for (size_t scope = 0; scope < billed.size(); ++scope) {
      const Account account = ledger_->FindBudget(Name(static_cast<int>(scope)))->account;
      ASSERT_LE(billed[scope], account.debits + account.unaccounted);
      if (faults_.power_cuts == 0) {
        ASSERT_GE(account.debits, billed[scope]);
        ASSERT_LE(account.debits, billed[scope] + unsure_[scope]);
      }
      static_cast<void>(ledger_->ReleaseUnaccounted(Name(static_cast<int>(scope))));
      ASSERT_EQ(account.pending, 0) << "a hold that nobody has";
      HoldRequest rest;
      rest.id = {{9, scope}, 1};
      rest.cost = std::max<NanoUsd>(0, limits_[scope] - billed[scope] - unsure_[scope]);
      rest.budgets = {&budgets_[scope], 1};
      ASSERT_TRUE(ledger_->Take(rest).has_value()) << "refused though there was room";
    }
  }

  std::vector<AccountNumber> budgets_;
  std::vector<NanoUsd> limits_;
  std::vector<Running> running_;
  std::map<HoldId, Bill> bills_;
  std::vector<HoldId> settled_;
  std::array<NanoUsd, 4> unsure_ = {};  // adjusted, and perhaps lost
  int64_t failed_syncs_ = 0;
  Faults faults_;
};

TEST(Simulator, NothingIsOverspentLostOrStuckUnderAnyFault) {
  Faults all;
  const bool all_came = testing::ForEachSeed("Simulator", [&](uint64_t seed) {
    Simulation simulation(seed);
    simulation.Run();
    const Faults& faults = simulation.faults();
    all.kills += faults.kills;
    all.power_cuts += faults.power_cuts;
    all.failed_writes += faults.failed_writes;
    all.failed_flushes += faults.failed_flushes;
    all.clock_jumps += faults.clock_jumps;
    all.refusals += faults.refusals;
    all.in_doubt += faults.in_doubt;
    all.settled += faults.settled;
    all.waits += faults.waits;
    all.lost += faults.lost;
    all.adjusted += faults.adjusted;
  });
  if (all_came) {  // a fault that never comes tests nothing
    for (const int fired :
         {all.kills, all.power_cuts, all.failed_writes, all.failed_flushes, all.clock_jumps,
          all.refusals, all.in_doubt, all.settled, all.waits, all.adjusted}) {
      EXPECT_GE(fired, 300);
    }
    EXPECT_GE(all.lost, 100) << "power cuts that take no request that was sent";
  }
}

}  // namespace
}  // namespace tradewind::ledger
