#include "billing/budget_audit.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "billing/bill_period.h"

namespace tradewind::billing {
namespace {

using ledger::AccountKey;
using ledger::BudgetState;
using ledger::NanoUsd;
using ledger::RecordType;

constexpr size_t kDifferencesMax = 20;

int64_t Text(__int128 amount) {  // all that is not absurd fits
  return static_cast<int64_t>(std::clamp<__int128>(amount, INT64_MIN, INT64_MAX));
}

}  // namespace

void BudgetAudit::Forget() {
  is_complete_ = is_first_ = false;
  spent_.clear();
  open_.clear();
}

void BudgetAudit::Take(const ledger::Record& record) {
  if (record.seq != seq_ + 1) {
    Forget();  // a segment is gone
  }
  is_complete_ |= record.seq == 1;
  seq_ = record.seq;
  switch (record.type) {
    case RecordType::kSnapshotBegin:
      is_first_ = !is_complete_;
      return;
    case RecordType::kSnapshotEnd:
      is_complete_ |= is_first_;  // of one whose beginning is gone it is not known what it said
      is_first_ = false;
      return;
    case RecordType::kBudget:
      names_[record.account] = record.budget.name;
      return;
    case RecordType::kSnapshotAccount:
      TakeAccount(record);
      return;
    case RecordType::kHold:
    case RecordType::kSnapshotHold: {
      std::vector<ledger::Leg>& legs = open_[record.hold];
      legs.assign(record.legs.all().begin(), record.legs.all().end());
      return;
    }
    case RecordType::kVoid:
      open_.erase(record.hold);
      return;
    case RecordType::kSettle:
      TakeSettle(record);
      return;
    case RecordType::kAdjust:
      TakeAdjust(record);
      return;
    default:
      return;
  }
}

void BudgetAudit::TakeSettle(const ledger::Record& record) {
  const auto found = open_.find(record.hold);
  if (found == open_.end()) {
    return;  // held before all that there is
  }
  for (const ledger::Leg& leg : found->second) {
    if (!leg.is_credit) {
      spent_[leg.account] +=
          leg.dimension == ledger::Dimension::kCost ? record.cost : record.charge;
    }
  }
  open_.erase(found);
}

void BudgetAudit::TakeAdjust(const ledger::Record& record) {
  for (const ledger::Leg& leg : record.legs.all()) {
    const NanoUsd change = leg.dimension == ledger::Dimension::kCost
                               ? record.cost - record.metered_cost
                               : record.charge - record.metered_charge;
    if (!leg.is_credit) {
      spent_[leg.account] += change < 0 ? -leg.amount : leg.amount;
    }
  }
}

void BudgetAudit::TakeAccount(const ledger::Record& record) {
  if (!names_.contains(record.key.number)) {
    return;  // of money, or a credit
  }
  if (is_first_) {
    spent_[record.key] = record.debits;
  } else if (is_complete_) {
    Compare(record.key, record.debits, record.debits);
  }
}

void BudgetAudit::Compare(const AccountKey& key, NanoUsd least, NanoUsd most) {
  ++checked_;
  const auto found = spent_.find(key);
  __int128& spent = found == spent_.end() ? spent_[key] : found->second;
  if (spent >= least && spent <= most) {
    return;
  }
  if (differences_.size() < kDifferencesMax) {
    differences_.push_back(fmt::format(
        "the budget {} says that {} nano-USD were spent in its window from {}, and its requests "
        "{}",
        names_[key.number], spent < least ? least : most,
        key.window_start_s == 0 ? "the beginning" : UtcTime(key.window_start_s), Text(spent)));
  }
  spent = spent < least ? least : most;  // told once
}

void BudgetAudit::Check(const std::vector<BudgetState>& before,
                        const std::vector<BudgetState>& now) {
  if (!is_complete_) {
    return;
  }
  std::map<AccountKey, NanoUsd> then;
  for (const BudgetState& state : before) {
    then[{state.number, state.window.start_s}] = state.account.debits;
  }
  for (const BudgetState& state : now) {
    if (state.spec.period == ledger::Period::kRolling) {
      continue;  // a sum of accounts, which snapshots say one by one
    }
    const AccountKey key = {state.number, state.window.start_s};
    const auto found = then.find(key);
    // One that was corrected meanwhile has less: it lies anywhere.
    if (found != then.end() && found->second <= state.account.debits) {
      Compare(key, found->second, state.account.debits);
    }
  }
}

}  // namespace tradewind::billing
