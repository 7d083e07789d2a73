// A second seeded world beside simulator_test.cc: windows of days, a budget whose period turns, a
// rolling one, soft budgets, charges that are not costs, credits that expire, extensions, overruns,
// versions of prices, names of providers and transfers; under kills and power cuts. A slow model of
// all that says what the books must show.
//
// A failing seed prints how to replay it.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/test_support.h"

namespace tradewind::ledger {
namespace {

constexpr int kSteps = 300;
constexpr const char* kZone = "Europe/Berlin";
constexpr const char* kPrepaid = "org:1";   // refused beyond his credits
constexpr const char* kPostpaid = "org:2";  // owes what is beyond them
constexpr int64_t kDayS = 86'400, kRollS = kDayS / 2;

// Plain additions, in the order in which things happened.
struct Model {
  struct Grant {
    CreditSpec spec;
    NanoUsd spent = 0, pending = 0;
  };
  struct Request {
    HoldRequest ask;
    Window day, turn, roll;
    bool sent = false;
    NanoUsd cost = 0, charge = 0;                     // held
    std::vector<std::pair<size_t, NanoUsd>> credits;  // grant, share; in the order of paying
  };
  struct End {
    NanoUsd cost = 0, charge = 0;
  };

  std::vector<Grant> grants;  // in the order of paying
  std::map<HoldId, Request> open;
  std::map<int64_t, NanoUsd> spent_of_day;  // by the window's start
  std::map<int64_t, NanoUsd> overrun_of_day;
  std::map<int64_t, NanoUsd> spent_of_turn, overrun_of_turn;  // whatever its windows' ends
  std::map<int64_t, NanoUsd> spent_of_roll, overrun_of_roll;
  NanoUsd charged = 0, soft = 0;
  int unpaid_after_credit = 0;
  std::map<AccountNumber, NanoUsd> owed;

  static NanoUsd FreeOf(const Grant& grant, std::string_view payer, int64_t now_s) {
    return grant.spec.owner != payer || grant.spec.expires_s <= now_s
               ? 0
               : grant.spec.amount - grant.spent - grant.pending;
  }
  NanoUsd Spendable(std::string_view payer, int64_t now_s) const {
    NanoUsd free = 0;
    for (const Grant& grant : grants) {
      free += FreeOf(grant, payer, now_s);
    }
    return free;
  }
  void Reserve(Request& request, NanoUsd charge, int64_t now_s) {
    for (size_t i = 0; i < grants.size() && charge > 0; ++i) {
      Grant& grant = grants[i];
      const NanoUsd share = std::min(charge, FreeOf(grant, request.ask.payer, now_s));
      if (share > 0) {
        grant.pending += share;
        charge -= share;
        const auto same = std::ranges::find(request.credits, i, &std::pair<size_t, NanoUsd>::first);
        if (same == request.credits.end()) {
          request.credits.emplace_back(i, share);
        } else {
          same->second += share;
        }
      }
    }
  }
  void Release(const Request& request) {
    for (const auto& [grant, share] : request.credits) {
      grants[grant].pending -= share;
    }
  }
  // What was held of a credit pays, and what is free of it now.
  void Settle(HoldId id, End end, int64_t now_s) {
    const Request& request = open.at(id);
    end.charge = std::min(end.charge, request.charge);
    NanoUsd unpaid = end.charge;
    std::vector<NanoUsd> paid(grants.size(), 0);
    for (size_t i = 0; i < grants.size(); ++i) {
      NanoUsd can = FreeOf(grants[i], request.ask.payer, now_s);
      for (const auto& [grant, share] : request.credits) {
        can += grant == i ? share : 0;
      }
      paid[i] = std::min(can, unpaid);
      unpaid -= paid[i];
    }
    Release(request);
    for (size_t i = 0; i < grants.size(); ++i) {
      grants[i].spent += paid[i];
    }
    unpaid_after_credit += unpaid > 0 && unpaid < end.charge ? 1 : 0;
    spent_of_day[request.day.start_s] += end.cost;
    overrun_of_day[request.day.start_s] += std::max<NanoUsd>(0, end.cost - request.cost);
    spent_of_turn[request.turn.start_s] += end.cost;
    overrun_of_turn[request.turn.start_s] += std::max<NanoUsd>(0, end.cost - request.cost);
    spent_of_roll[request.roll.start_s] += end.cost;
    overrun_of_roll[request.roll.start_s] += std::max<NanoUsd>(0, end.cost - request.cost);
    charged += end.charge;
    owed[request.ask.payee] += end.cost;
    open.erase(id);
  }
  void Void(HoldId id) {
    Release(open.at(id));
    open.erase(id);
  }
};

class Economy : testing::SeededWorld {
 public:
  explicit Economy(uint64_t seed) : SeededWorld(seed, std::chrono::seconds(1'774'656'000)) {
    day_limit_ = 2000 + random_.Below(8000);
    total_limit_ = 20'000 + random_.Below(50'000);
    day_ = *ledger_->Define(
        {.name = "day", .limit = day_limit_, .period = Period::kDay, .zone = kZone});
    total_ =
        *ledger_->Define({.name = "total", .limit = total_limit_, .dimension = Dimension::kCharge});
    turn_ = *ledger_->Define(TurnBudget());
    roll_ = *ledger_->Define(
        {.name = "roll", .limit = day_limit_, .period = Period::kRolling, .span_s = kRollS});
    soft_ = *ledger_->Define({.name = "soft", .limit = 10, .mode = Mode::kSoft});
    payees_ = {*ledger_->Payee("provider:p"), *ledger_->Payee("provider:q")};
    const int64_t now_s = NowS();
    // In the order in which they pay: promotional ones, then the soonest to expire.
    for (const auto& [name, owner, days, promotional] : {std::tuple("gift", kPrepaid, 3, true),
                                                         {"week", kPrepaid, 7, false},
                                                         {"month", kPrepaid, 30, false},
                                                         {"welcome", kPostpaid, 5, true},
                                                         {"second", kPostpaid, 9, true}}) {
      Model::Grant grant;
      grant.spec = {name, owner, 200 + random_.Below(2000), now_s + days * kDayS, 0, promotional};
      model_.grants.push_back(grant);
    }
    for (const size_t i : {2, 0, 4, 1, 3}) {
      EXPECT_TRUE(ledger_->Grant(model_.grants[i].spec).has_value());
    }
    EXPECT_TRUE(ledger_->SetPrepaid(kPrepaid, true).has_value());
    EXPECT_TRUE(ledger_->WaitDurable().has_value());
  }

  void Run() {
    for (int i = 0; i < kSteps && !::testing::Test::HasFatalFailure(); ++i) {
      Step();
      CheckBounds();
    }
    Kill(false);
    if (!::testing::Test::HasFatalFailure()) {
      CheckBooks();
    }
  }
  int overruns = 0, extensions = 0, kills = 0, no_credit = 0, paid_by_credit = 0, turns_in_use = 0;
  int owed_in_part() const { return model_.unpaid_after_credit; }

 private:
  int64_t NowS() const {
    return std::chrono::duration_cast<std::chrono::seconds>(clock_.WallNow().time_since_epoch())
        .count();
  }

  void Step() {
    clock_.Advance(std::chrono::seconds(random_.Below(3600)));
    const int64_t what = random_.Below(100);
    if (what < 45) {
      Take();
    } else if (what < 60) {
      Extend();
    } else if (what < 81) {
      End();
    } else if (what < 85) {
      Turn();
    } else if (what < 92) {
      ledger_->Tend();
    } else if (what < 95) {
      Move();
    } else {
      Kill(random_.Below(2) == 0);
    }
  }

  void Take() {
    Model::Request request;
    HoldRequest& ask = request.ask;
    ask.id = {{random_.Next64(), random_.Next64()}, 1};
    ask.cost = random_.Below(400);
    ask.charge = random_.Below(5) == 0 ? 0 : ask.cost;  // by an own key
    const int64_t who = random_.Below(5);
    ask.payer = who < 2 ? kPrepaid : who < 4 ? kPostpaid : "";
    ask.payee = payees_[static_cast<size_t>(random_.Below(2))];
    const std::vector<AccountNumber> budgets = {day_, turn_, roll_, total_, soft_};
    ask.budgets = budgets;
    const auto version =
        ledger_->PriceVersion({.item = "m", .terms = std::to_string(random_.Below(3))});
    ASSERT_TRUE(version.has_value()) << version.error().message;
    ask.price_version = *version;
    const NanoUsd spendable = model_.Spendable(ask.payer, NowS());
    request.day = WindowOf(Period::kDay, kZone, NowS());
    request.turn = WindowOf(turn_period_, kZone, NowS());
    request.roll = BucketOf(kRollS, NowS());
    auto hold = ledger_->Take(ask);
    if (!hold.has_value()) {
      if (hold.error().reason == Refusal::Reason::kCredit) {
        ASSERT_EQ(ask.payer, kPrepaid);
        ASSERT_EQ(hold.error().available, spendable);
        ASSERT_LT(spendable, ask.charge) << "refused though there was credit";
        ++no_credit;
      }
      return;
    }
    request.cost = ask.cost;
    request.charge = ask.charge;
    if (!ask.payer.empty()) {
      ASSERT_TRUE(ask.payer == kPostpaid || spendable >= ask.charge) << "credit that there was not";
      model_.Reserve(request, ask.charge, NowS());
      paid_by_credit += request.credits.empty() ? 0 : 1;
    }
    // What must not be lost to a power cut is waited for before anything is sent.
    request.sent = random_.Below(4) != 0 && hold->Sent().has_value();
    if (request.sent) {
      static_cast<void>(hold->UpstreamId("theirs"));
    }
    ASSERT_TRUE(ledger_->WaitDurable().has_value());
    const HoldId id = ask.id;
    model_.open.emplace(id, std::move(request));
    running_.emplace(id, std::move(*hold));
  }

  std::optional<HoldId> Any() {
    if (running_.empty()) {
      return std::nullopt;
    }
    auto at = running_.begin();
    std::advance(at, random_.Below(static_cast<int64_t>(running_.size())));
    return at->first;
  }

  void Extend() {
    const auto id = Any();
    if (!id.has_value()) {
      return;
    }
    Model::Request& request = model_.open.at(*id);
    const NanoUsd cost = random_.Below(200), charge = request.charge == 0 ? 0 : cost;
    if (running_.at(*id).Extend(cost, charge).has_value()) {
      request.cost += cost;
      request.charge += charge;
      if (!request.ask.payer.empty()) {
        model_.Reserve(request, charge, NowS());
      }
      ++extensions;
    }
    ASSERT_TRUE(ledger_->WaitDurable().has_value());
  }

  // What the provider bills is true whatever becomes of the record of it.
  Model::End BillOf(const Model::Request& request) {
    Model::End end;
    end.cost = random_.Below(10) == 0 ? request.cost + 1 + random_.Below(300)
                                      : random_.Below(request.cost + 1);
    end.charge = request.charge == 0 ? 0 : end.cost;
    overruns += end.cost > request.cost ? 1 : 0;
    return end;
  }

  void End() {
    const auto id = Any();
    if (!id.has_value()) {
      return;
    }
    Hold hold = std::move(running_.at(*id));
    running_.erase(*id);
    const Model::Request& request = model_.open.at(*id);
    if (!request.sent) {
      ASSERT_TRUE(hold.Void("refused").has_value());
      model_.Void(*id);
    } else if (random_.Below(4) == 0) {
      static_cast<void>(hold.Progress(request.cost / 2, request.charge / 2));
      ASSERT_TRUE(hold.Doubt("client left").has_value());
    } else {
      const Model::End end = BillOf(request);
      ASSERT_TRUE(hold.Settle(end.cost, end.charge, "").has_value());
      model_.Settle(*id, end, NowS());
    }
    ASSERT_TRUE(ledger_->WaitDurable().has_value());
  }

  BudgetSpec TurnBudget() const {
    return {.name = "turn", .limit = day_limit_, .period = turn_period_, .zone = kZone};
  }

  // What was used since a window began counts in every window that begins there.
  void Turn() {
    constexpr std::array kPeriods = {Period::kHour, Period::kDay, Period::kWeek, Period::kMonth};
    const BudgetState before = *ledger_->FindBudget("turn");
    turn_period_ = kPeriods[static_cast<size_t>(random_.Below(kPeriods.size()))];
    const Window window = WindowOf(turn_period_, kZone, NowS());
    turns_in_use += window.start_s == before.window.start_s &&
                            window.end_s != before.window.end_s && before.account.debits > 0
                        ? 1
                        : 0;
    ASSERT_TRUE(ledger_->Define(TurnBudget()).has_value());
    ASSERT_TRUE(ledger_->WaitDurable().has_value());
  }

  void Move() {
    const NanoUsd amount = 1 + random_.Below(50);
    if (ledger_->Transfer(payees_[0], payees_[1], amount, "moved").has_value()) {
      model_.owed[payees_[0]] -= amount;
      model_.owed[payees_[1]] += amount;
    }
    ASSERT_TRUE(ledger_->WaitDurable().has_value());
  }

  void Kill(bool is_power_cut) {
    ++kills;
    KillAndStart(is_power_cut, [&] { running_.clear(); });
    for (auto at = model_.open.begin(); at != model_.open.end();) {
      const auto now = at++;
      if (!now->second.sent) {
        model_.Void(now->first);  // as the start does
      }
    }
    // The provider is asked, one after the other.
    for (const auto& [id, hold] : ledger_->HoldsInDoubt()) {
      ASSERT_TRUE(model_.open.contains(id));
      ASSERT_EQ(hold.upstream_id, "theirs");
      const Model::End end = BillOf(model_.open.at(id));
      ASSERT_TRUE(ledger_->ResolveSettled(id, end.cost, end.charge, "billed").has_value());
      model_.Settle(id, end, NowS());
    }
    ASSERT_TRUE(model_.open.empty()) << "a hold that was forgotten";
    ASSERT_TRUE(ledger_->WaitDurable().has_value());
  }

  void CheckBounds() {
    ASSERT_EQ(ledger_->stopped_because(), "");
    const BudgetState day = *ledger_->FindBudget("day");
    ASSERT_EQ(day.window, WindowOf(Period::kDay, kZone, NowS()));
    const int64_t start = day.window.start_s;
    ASSERT_EQ(day.account.debits, model_.spent_of_day[start]);
    ASSERT_LE(day.account.debits + day.account.pending, day_limit_ + model_.overrun_of_day[start])
        << "overspent";
    const BudgetState turn = *ledger_->FindBudget("turn");
    ASSERT_EQ(turn.window, WindowOf(turn_period_, kZone, NowS()));
    ASSERT_EQ(turn.account.window_end_s, turn.window.end_s);
    ASSERT_EQ(turn.account.debits, model_.spent_of_turn[turn.window.start_s]);
    ASSERT_LE(turn.account.debits + turn.account.pending,
              day_limit_ + model_.overrun_of_turn[turn.window.start_s]);
    CheckRoll();
    const Account total = ledger_->FindBudget("total")->account;
    ASSERT_EQ(total.debits, model_.charged);
    ASSERT_LE(total.debits + total.pending, total_limit_) << "a charge is never beyond its hold";
  }

  void CheckRoll() {
    const Account roll = ledger_->FindBudget("roll")->account;
    const int64_t newest = BucketOf(kRollS, NowS()).start_s;
    const auto sum = [&](const std::map<int64_t, NanoUsd>& of, int64_t last) {
      NanoUsd all = 0;
      for (auto one = of.lower_bound(last - kRollS); one != of.upper_bound(last); ++one) {
        all += one->second;
      }
      return all;
    };
    ASSERT_EQ(roll.debits, sum(model_.spent_of_roll, newest));
    ASSERT_LE(roll.debits + roll.pending, day_limit_ + sum(model_.overrun_of_roll, newest));
    for (const auto& [last, spent] : model_.spent_of_roll) {
      ASSERT_LE(sum(model_.spent_of_roll, last), day_limit_ + sum(model_.overrun_of_roll, last));
    }
  }

  void CheckBooks() {
    CheckBounds();
    ASSERT_EQ(ledger_->FindBudget("day")->account.pending, 0);
    ASSERT_EQ(ledger_->OwedTo("provider:p"), model_.owed[payees_[0]]);
    ASSERT_EQ(ledger_->OwedTo("provider:q"), model_.owed[payees_[1]]);
    const std::vector<CreditState> credits = ledger_->Credits();
    for (const Model::Grant& grant : model_.grants) {
      const auto found = std::ranges::find(credits, grant.spec.name,
                                           [](const CreditState& one) { return one.spec.name; });
      ASSERT_NE(found, credits.end());
      ASSERT_EQ(found->spent(), grant.spent) << grant.spec.name;
      ASSERT_EQ(found->held, 0) << "a hold that nobody has";
      ASSERT_EQ(found->left, Model::FreeOf(grant, grant.spec.owner, NowS()));
    }
    const NanoUsd left = model_.Spendable(kPrepaid, NowS());
    ASSERT_EQ(ledger_->PrepaidLeft(kPrepaid), left);
    ASSERT_EQ(ledger_->PrepaidLeft(kPostpaid), std::nullopt);
    HoldRequest ask;
    ask.payer = kPrepaid;
    ask.id = {{9, 1}, 1};
    ask.cost = ask.charge = left + 1;
    auto refused = ledger_->Take(ask);
    ASSERT_FALSE(refused.has_value());
    ASSERT_EQ(refused.error().available, left);
    ask.cost = ask.charge = left;
    ask.id = {{9, 2}, 1};
    ASSERT_TRUE(ledger_->Take(ask).has_value()) << "refused though there was credit";
    ledger_->Tend();
    ASSERT_EQ(ledger_->stopped_because(), "");
  }

  AccountNumber day_ = 0, turn_ = 0, roll_ = 0, total_ = 0, soft_ = 0;
  Period turn_period_ = Period::kDay;
  std::vector<AccountNumber> payees_;
  NanoUsd day_limit_ = 0, total_limit_ = 0;
  Model model_;
  std::map<HoldId, Hold> running_;
};

TEST(SimulatorMore, WindowsCreditsExtensionsAndOverrunsAddUpUnderKills) {
  int overruns = 0, extensions = 0, kills = 0, no_credit = 0, paid_by_credit = 0, in_part = 0,
      turns_in_use = 0;
  const bool all_came = testing::ForEachSeed("SimulatorMore", [&](uint64_t seed) {
    Economy economy(seed);
    economy.Run();
    overruns += economy.overruns;
    extensions += economy.extensions;
    kills += economy.kills;
    no_credit += economy.no_credit;
    paid_by_credit += economy.paid_by_credit;
    in_part += economy.owed_in_part();
    turns_in_use += economy.turns_in_use;
  });
  if (all_came) {  // what never comes tests nothing
    for (const auto& [what, came] : {std::pair("overruns", overruns),
                                     {"extensions", extensions},
                                     {"kills", kills},
                                     {"no credit", no_credit},
                                     {"paid by credit", paid_by_credit},
                                     {"in part", in_part}}) {
      EXPECT_GE(came, 200) << what;
    }
    EXPECT_GE(turns_in_use, 50);  // only where two periods begin together
  }
}

}  // namespace
}  // namespace tradewind::ledger
