// L-T1: the machine of holds and the order in which credits pay, in small random worlds: every step
// at every time, allowed or not, against a slow model that adds things up. What lasts (kills, power
// cuts, whole days) is the simulators'.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/book.h"
#include "testing/property.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kBegin = 1'764'547'200;  // where a day, a week and a month begin
constexpr int64_t kDayS = 86'400;
constexpr std::array kPeriods = {Period::kMinute, Period::kHour,  Period::kDay,
                                 Period::kWeek,   Period::kMonth, Period::kTotal};
constexpr const char* kPayer = "org:a";
constexpr size_t kCredits = 4;

// What the books must show, by plain additions.
struct Model {
  struct Credit {
    CreditSpec spec;
    AccountNumber number = 0;
    NanoUsd spent = 0, expired = 0, held = 0;
    NanoUsd left() const { return spec.amount - spent - expired - held; }
    NanoUsd FreeAt(int64_t now_s) const { return spec.expires_s <= now_s ? 0 : left(); }
  };
  struct Request {
    HoldState state = HoldState::kHeld;
    NanoUsd cost = 0, charge = 0, metered_cost = 0, metered_charge = 0;
    std::array<NanoUsd, kCredits> shares = {};
    int64_t window = 0;      // by its start
    bool has_payer = false;  // who had credits when it was held
  };
  // That can be put right.
  struct Settled {
    HoldId id;
    NanoUsd cost = 0, charge = 0;
    std::array<NanoUsd, kCredits> paid = {};
    int64_t window = 0;
  };
  struct Used {
    NanoUsd limit = 0, spent = 0;
    int64_t end_s = 0;
  };

  BudgetSpec budget = {.name = "key:a"};
  std::map<int64_t, Used> windows;  // in which something was held, by their starts
  NanoUsd spent = 0, receivable = 0;
  bool is_prepaid = false;
  std::vector<Credit> credits;  // in the order of paying
  std::map<HoldId, Request> open;
  std::vector<Settled> settled;

  Window WindowAt(int64_t now_s) const {
    return WindowOf(budget.period, budget.zone, now_s, budget.first_day);
  }
  Used UsedIn(Window window) const {
    const auto found = windows.find(window.start_s);
    return found == windows.end() ? Used{budget.limit, 0, window.end_s} : found->second;
  }
  NanoUsd Pending(int64_t window) const {
    NanoUsd sum = 0;
    for (const auto& [id, request] : open) {
      sum += request.window == window ? request.cost : 0;
    }
    return sum;
  }
  // True: a window that was used has another end now.
  bool Redefine(const BudgetSpec& other, int64_t now_s) {
    budget = other;
    const Window now = WindowAt(now_s);
    const auto same_start = windows.find(now.start_s);
    const bool ends_otherwise =
        same_start != windows.end() && same_start->second.end_s != now.end_s;
    if (ends_otherwise) {
      same_start->second.end_s = now.end_s;
    }
    for (auto& [start, used] : windows) {
      used.limit = used.end_s > now_s ? budget.limit : used.limit;
    }
    return ends_otherwise;
  }
  void Forget(int64_t now_s) {
    std::erase_if(windows, [&](const auto& window) {
      return window.second.end_s < now_s - 8 * kDayS &&
             std::ranges::none_of(
                 open, [&](const auto& one) { return one.second.window == window.first; });
    });
  }
  NanoUsd Free(int64_t now_s) const {
    NanoUsd sum = 0;
    for (const Credit& credit : credits) {
      sum += credit.FreeAt(now_s);
    }
    return sum;
  }
  // Why so much more is refused; nullopt: it is not.
  std::optional<Refusal::Reason> WhyNot(Window window, NanoUsd cost, NanoUsd charge,
                                        int64_t now_s) const {
    const Used used = UsedIn(window);
    if (cost > used.limit - used.spent - Pending(window.start_s) && cost > 0) {
      return Refusal::Reason::kBudget;
    }
    return is_prepaid && charge > Free(now_s) ? std::optional(Refusal::Reason::kCredit)
                                              : std::nullopt;
  }
  void Hold(Request& request, NanoUsd cost, NanoUsd charge, int64_t now_s) {
    request.cost += cost;
    request.charge += charge;
    for (size_t i = 0; i < credits.size(); ++i) {
      const NanoUsd share = std::min(charge, credits[i].FreeAt(now_s));
      credits[i].held += share;
      request.shares[i] += share;
      charge -= share;
    }
  }
  void Release(HoldId id) {
    for (size_t i = 0; i < credits.size(); ++i) {
      credits[i].held -= open.at(id).shares[i];
    }
    open.erase(id);
  }
  // What was held of a credit pays, expired or not, and what is free of it now.
  void Settle(HoldId id, NanoUsd cost, NanoUsd charge, int64_t now_s) {
    NanoUsd unpaid = std::min(charge, open.at(id).charge);
    std::array<NanoUsd, kCredits> paid = {};
    for (size_t i = 0; i < credits.size(); ++i) {
      const NanoUsd free = open.at(id).has_payer ? credits[i].FreeAt(now_s) : 0;
      paid[i] = std::min(unpaid, open.at(id).shares[i] + free);
      unpaid -= paid[i];
    }
    const int64_t window = open.at(id).window;
    settled.push_back({id, cost, std::min(charge, open.at(id).charge), paid, window});
    Release(id);
    for (size_t i = 0; i < credits.size(); ++i) {
      credits[i].spent += paid[i];
    }
    spent += cost;
    windows.at(window).spent += cost;
    receivable += unpaid;
  }
  void Adjust(Settled& one, NanoUsd cost, NanoUsd charge) {
    NanoUsd owed = one.charge;
    for (const NanoUsd paid : one.paid) {
      owed -= paid;
    }
    NanoUsd back = one.charge - charge;
    const NanoUsd less_owed = std::min(back, owed);
    receivable -= less_owed;
    back -= less_owed;
    for (size_t i = kCredits; i-- > 0;) {
      const NanoUsd share = std::min(back, one.paid[i]);
      one.paid[i] -= share;
      credits[i].spent -= share;
      back -= share;
    }
    spent += cost - one.cost;
    if (const auto window = windows.find(one.window); window != windows.end()) {
      window->second.spent += cost - one.cost;
    }
    one.cost = cost;
    one.charge = charge;
  }
  void Expire(int64_t now_s) {
    for (Credit& credit : credits) {
      credit.expired += credit.spec.expires_s <= now_s ? credit.left() : 0;
    }
  }
};

class SmallWorld {
 public:
  explicit SmallWorld(uint64_t seed) : random_(seed) {
    model_.budget.limit = Below(600);
    model_.budget.period = kPeriods[static_cast<size_t>(Below(kPeriods.size()))];
    model_.budget.first_day = AnyFirstDay(model_.budget.period);
    model_.is_prepaid = Below(2) == 0;
    Record budget = *book_.DecideBudget(model_.budget, time_ns_);
    budget_ = budget.account;
    Commit(budget);
    for (size_t i = 0; i < kCredits; ++i) {
      Model::Credit credit;
      credit.spec = {std::string(1, static_cast<char>('a' + i)),
                     kPayer,
                     1 + Below(150),
                     kBegin + 1 + Below(3) * 40,
                     static_cast<int32_t>(Below(2)),
                     Below(2) == 0};
      Record record = *book_.DecideCredit(credit.spec);
      credit.number = record.account;
      Commit(record);
      model_.credits.push_back(credit);
    }
    std::ranges::sort(model_.credits, {}, [](const Model::Credit& one) {
      return std::tuple(!one.spec.promotional, one.spec.expires_s, one.spec.priority, one.number);
    });
    Commit(*book_.DecidePayer(kPayer, model_.is_prepaid));
  }

  void Run() {
    constexpr int kSteps = 14;
    for (int i = 0; i < kSteps && !::testing::Test::HasFatalFailure(); ++i) {
      Step();
      Check();
    }
    const Status sound = book_.Audit();
    ASSERT_TRUE(sound.has_value()) << sound.error().message;
  }
  int refused = 0, settled = 0, expired_while_held = 0, in_part = 0, ends_otherwise = 0,
      adjusted = 0;

 private:
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound));
  }
  int64_t NowS() const { return time_ns_ / kSecond; }
  void Commit(Record record) {
    record.seq = book_.seq() + 1;
    record.time_ns = ++time_ns_;
    const Status applied = book_.Apply(record);
    ASSERT_TRUE(applied.has_value()) << applied.error().message;
  }
  // Of a step at a hold that is not open; else it is done.
  bool IsDone(const std::expected<Record, Refusal>& decided, HoldId id) {
    EXPECT_EQ(decided.has_value(), model_.open.contains(id));
    if (!decided.has_value()) {
      EXPECT_EQ(decided.error().reason, Refusal::Reason::kNoHold);
      ++refused;
      return false;
    }
    Commit(*decided);
    return true;
  }

  void Step() {
    const HoldId id = {{7, static_cast<uint64_t>(Below(3))}, 1};
    const NanoUsd cost = Below(120), charge = Below(3) == 0 ? Below(120) : cost;
    switch (Below(14)) {
      case 0:
      case 1:
      case 2:
        return Take(id, cost, charge);
      case 3:
        return Extend(id, cost, charge);
      case 4:
        return At(RecordType::kSent, id);
      case 5:
        return At(RecordType::kInDoubt, id);
      case 6:
        return At(RecordType::kVoid, id);
      case 7:
        return Progress(id, cost, charge, Below(2) == 0 ? Metering::kRuns : Metering::kEnded);
      case 8:
      case 9:
        return Settle(id, cost, charge);
      case 10:
        time_ns_ += (Below(8) == 0 ? Below(12) * kDayS : Below(50)) * kSecond;
        return;
      case 11:
        return Redefine();
      case 12:
        return Adjust(cost, charge);
      default:
        return Below(2) == 0 ? Expire() : Restart();
    }
  }

  void Take(HoldId id, NanoUsd cost, NanoUsd charge) {
    HoldRequest request;
    request.id = id;
    request.cost = cost;
    request.charge = charge;
    request.budgets = {&budget_, 1};
    request.payer = kPayer;
    const Window now = model_.WindowAt(NowS());
    const auto decided = book_.DecideHold(request, time_ns_);
    const auto why = model_.open.contains(id) ? std::optional(Refusal::Reason::kDuplicate)
                                              : model_.WhyNot(now, cost, charge, NowS());
    ASSERT_EQ(decided.has_value(), !why.has_value());
    if (why.has_value()) {
      ++refused;
      ASSERT_EQ(decided.error().reason, *why);
      return;
    }
    model_.windows.try_emplace(now.start_s, model_.UsedIn(now));
    model_.open[id].window = now.start_s;
    model_.open[id].has_payer =
        charge > 0 && std::ranges::any_of(model_.credits, [](const auto& one) {
          return one.left() > 0 || one.held > 0;
        });
    model_.Hold(model_.open[id], cost, charge, NowS());
    Commit(*decided);
  }

  void Redefine() {
    BudgetSpec other = model_.budget;
    if (Below(2) == 0) {  // set anew, after it was removed
      other.closed = true;
      Commit(*book_.DecideBudget(other, time_ns_));
      other.closed = false;
    }
    other.limit = Below(600);
    other.period = kPeriods[static_cast<size_t>(Below(kPeriods.size()))];
    other.first_day = AnyFirstDay(other.period);
    Commit(*book_.DecideBudget(other, time_ns_));
    ends_otherwise += model_.Redefine(other, NowS()) ? 1 : 0;
  }

  void Extend(HoldId id, NanoUsd cost, NanoUsd charge) {
    const auto decided = book_.DecideExtend(id, cost, charge, kPayer, time_ns_);
    const auto why = !model_.open.contains(id)
                         ? std::optional(Refusal::Reason::kNoHold)
                         : model_.WhyNot({model_.open.at(id).window, 0}, cost, charge, NowS());
    ASSERT_EQ(decided.has_value(), !why.has_value());
    if (why.has_value()) {
      ++refused;
      ASSERT_EQ(decided.error().reason, *why);
      return;
    }
    model_.Hold(model_.open.at(id), cost, charge, NowS());
    Commit(*decided);
  }

  void At(RecordType type, HoldId id) {
    if (!IsDone(book_.DecideStep(type, id, "why"), id)) {
      return;
    }
    HoldState& state = model_.open.at(id).state;
    if (type == RecordType::kVoid) {
      model_.Release(id);
    } else if (type == RecordType::kInDoubt) {
      state = HoldState::kInDoubt;
    } else {
      state = state == HoldState::kHeld ? HoldState::kSent : state;
    }
  }

  void Progress(HoldId id, NanoUsd cost, NanoUsd charge, Metering metering) {
    if (!IsDone(book_.DecideProgress(id, cost, charge, metering), id)) {
      return;
    }
    Model::Request& request = model_.open.at(id);
    const bool may_fall = metering == Metering::kEnded;
    request.metered_cost = may_fall ? cost : std::max(cost, request.metered_cost);
    request.metered_charge = may_fall ? charge : std::max(charge, request.metered_charge);
  }

  void Settle(HoldId id, NanoUsd cost, NanoUsd charge) {
    const NanoUsd before = model_.receivable;
    if (IsDone(book_.DecideSettle(id, cost, charge, "", time_ns_), id)) {
      for (size_t i = 0; i < kCredits; ++i) {
        const bool is_over = model_.credits[i].spec.expires_s <= NowS();
        expired_while_held += is_over && model_.open.at(id).shares[i] > 0 ? 1 : 0;
      }
      model_.Settle(id, cost, charge, NowS());
      ++settled;
      in_part += model_.receivable > before && model_.receivable < before + charge ? 1 : 0;
    }
  }

  // What was settled some time ago, as it stands by now.
  void Adjust(NanoUsd cost, NanoUsd charge) {
    if (model_.settled.empty()) {
      return;
    }
    Model::Settled& one =
        model_.settled[static_cast<size_t>(Below(static_cast<int64_t>(model_.settled.size())))];
    Leg window;
    window.account = {budget_, one.window};
    std::vector<Leg> paid;
    for (size_t i = 0; i < kCredits; ++i) {
      Leg leg;
      leg.account.number = model_.credits[i].number;
      leg.is_credit = true;
      leg.dimension = Dimension::kCharge;
      leg.amount = one.paid[i];
      paid.push_back(leg);
    }
    const auto decided = book_.DecideAdjust({.id = one.id,
                                             .cost_before = one.cost,
                                             .charge_before = one.charge,
                                             .cost = cost,
                                             .charge = charge,
                                             .budgets = {&window, 1},
                                             .paid = paid});
    ASSERT_EQ(decided.has_value(), charge <= one.charge);
    if (!decided.has_value()) {
      ++refused;
      return;
    }
    adjusted += cost != one.cost || charge != one.charge ? 1 : 0;
    Commit(*decided);
    model_.Adjust(one, cost, charge);
  }

  void Expire() {
    for (const Record& record : book_.DecideExpiries(time_ns_)) {
      Commit(record);
    }
    model_.Expire(NowS());
  }

  uint8_t AnyFirstDay(Period period) {
    const uint64_t days = period == Period::kWeek ? 7 : period == Period::kMonth ? 31 : 1;
    return static_cast<uint8_t>(1 + Below(days));
  }

  // Another book, from nothing but the records.
  void Restart() {
    Book again;
    ASSERT_TRUE(
        book_.Snapshot(++time_ns_, [&](const Record& record) { return again.Apply(record); })
            .has_value());
    book_ = std::move(again);
    model_.Forget(NowS());
    time_ns_ += kSecond / 1000;  // a snapshot's records have times too
  }

  void Check() {
    const Account budget = book_.BudgetAccount(budget_, NowS());
    const Window now = model_.WindowAt(NowS());
    const Model::Used used = model_.UsedIn(now);
    ASSERT_EQ(budget.debits, used.spent);
    ASSERT_EQ(budget.limit, used.limit);
    ASSERT_EQ(budget.window_end_s, now.end_s);
    ASSERT_EQ(budget.pending, model_.Pending(now.start_s));
    NanoUsd in_doubt = 0;
    ASSERT_EQ(book_.holds().size(), model_.open.size());
    for (const auto& [id, request] : model_.open) {
      const OpenHold* hold = book_.Find(id);
      ASSERT_NE(hold, nullptr);
      ASSERT_EQ(hold->state, request.state);
      ASSERT_EQ(hold->cost, request.cost);
      ASSERT_EQ(hold->charge, request.charge);
      ASSERT_EQ(hold->metered_cost, request.metered_cost);
      ASSERT_EQ(hold->metered_charge, request.metered_charge);
      in_doubt +=
          request.state == HoldState::kInDoubt && request.window == now.start_s ? request.cost : 0;
    }
    ASSERT_EQ(budget.in_doubt, in_doubt);
    for (const Model::Credit& credit : model_.credits) {
      const Account account = book_.AccountOf({credit.number, 0});
      ASSERT_EQ(account.pending, credit.held) << credit.spec.name;
      ASSERT_EQ(account.debits - account.credits + credit.spec.amount,
                credit.spent + credit.expired)
          << credit.spec.name;
      ASSERT_EQ(account.expired, credit.expired) << credit.spec.name;
    }
    const auto balance = [&](AccountNumber number) {
      const Account account = book_.AccountOf({number, 0});
      return account.debits - account.credits;
    };
    ASSERT_EQ(balance(kReceivable), model_.receivable);
    ASSERT_EQ(balance(kExpense), model_.spent);
    ASSERT_EQ(balance(kUnknownPayee), -model_.spent);
    ASSERT_EQ(book_.Spendable(kPayer, time_ns_), model_.Free(NowS()));
  }

  std::mt19937_64 random_;
  Book book_;
  int64_t time_ns_ = kBegin * kSecond;
  AccountNumber budget_ = 0;
  Model model_;
};

TEST(BookProperty, HoldsAndCreditsAreThoseOfTheSlowModel) {
  int refused = 0, settled = 0, expired_while_held = 0, in_part = 0, ends_otherwise = 0,
      adjusted = 0;
  const uint64_t cases = testing::ForEachCase(5'000, [&](uint64_t seed) {
    SmallWorld world(seed);
    world.Run();
    refused += world.refused;
    settled += world.settled;
    expired_while_held += world.expired_while_held;
    in_part += world.in_part;
    ends_otherwise += world.ends_otherwise;
    adjusted += world.adjusted;
  });
  if (cases >= 1'000) {  // what never comes tests nothing
    const int often = static_cast<int>(cases / 100);
    EXPECT_GT(refused, often);
    EXPECT_GT(settled, often);
    EXPECT_GT(expired_while_held, often);
    EXPECT_GT(in_part, often);
    EXPECT_GT(ends_otherwise, often);
    EXPECT_GT(adjusted, often);
  }
}

}  // namespace
}  // namespace tradewind::ledger
