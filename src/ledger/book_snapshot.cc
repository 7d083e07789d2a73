// A whole book as records.
#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// A window that ended is kept for late settles and for those who look at yesterday.
constexpr int64_t kForgetWindowAfterS = 8 * 86'400;

}  // namespace

// Journals of older programs say of no window that it ends otherwise since its budget was set anew.
void Book::EndWindowsWithBudgets(int64_t time_ns) {
  for (const auto& [number, budget] : budgets_) {
    if (budget.closed) {
      continue;
    }
    Window window = WindowNow(number, time_ns / kNanosPerSecond);
    window.end_s += budget.span_s;
    const auto account = accounts_.find({number, window.start_s});
    if (account != accounts_.end() && account->second.window_end_s != window.end_s) {
      account->second.window_end_s = window.end_s;
      account->second.limit = budget.limit;
      account->second.warned_percent = 0;
    }
  }
}

Status Book::Snapshot(int64_t time_ns, const std::function<Status(const Record&)>& write) {
  std::set<AccountKey> in_use;  // by a hold of nothing, too
  for (const auto& [id, hold] : holds_) {
    for (const Leg& leg : hold.legs.all()) {
      in_use.insert(leg.account);
    }
  }
  EndWindowsWithBudgets(time_ns);
  const auto is_past = [&](const BudgetSpec& budget, const Account& account) {
    // An extension looks at what counted beside the bucket that it is in.
    return budget.period == Period::kRolling
               ? account.window_end_s < time_ns / kNanosPerSecond - budget.span_s
               : account.window_end_s < time_ns / kNanosPerSecond - kForgetWindowAfterS;
  };
  std::erase_if(accounts_, [&](const auto& entry) {
    const auto& [key, account] = entry;
    const BudgetSpec* const budget = BudgetOf(key.number);
    return budget != nullptr && !in_use.contains(key) && is_past(*budget, account);
  });
  ForgetPrices(time_ns);
  const auto put = [&](RecordType type, Record record) -> Status {
    record.type = type;
    record.seq = seq_ + 1;
    record.time_ns = std::max(time_ns_ + 1, time_ns);
    TW_RETURN_IF_ERROR(write(record));
    seq_ = record.seq;  // what is not there has no number: readers count them
    time_ns_ = record.time_ns;
    return {};
  };
  TW_RETURN_IF_ERROR(put(RecordType::kSnapshotBegin, {}));
  for (const auto& [number, budget] : budgets_) {
    Record record;
    record.account = number;
    record.budget = budget;
    if (const auto last = opened_.find(number); last != opened_.end()) {
      record.key.window_start_s = last->second.start_s;
      record.window_end_s = last->second.end_s;
    }
    TW_RETURN_IF_ERROR(put(RecordType::kBudget, std::move(record)));
  }
  for (const auto& [number, credit] : credits_) {
    TW_RETURN_IF_ERROR(put(RecordType::kCredit, {.account = number, .credit = credit}));
  }
  for (const std::string& payer : prepaid_) {
    TW_RETURN_IF_ERROR(put(RecordType::kPayer, {.payer = payer, .is_prepaid = true}));
  }
  for (const auto& [number, name] : payees_) {
    TW_RETURN_IF_ERROR(put(RecordType::kPayee, {.account = number, .text = name}));
  }
  for (const auto& [version, price] : prices_) {
    TW_RETURN_IF_ERROR(put(RecordType::kPrice, {.price_version = version, .price = price}));
  }
  for (const auto& [key, account] : accounts_) {
    Record record;
    record.cost = account.limit;
    record.key = key;
    record.window_end_s = account.window_end_s;
    record.debits = account.debits;
    record.credits = account.credits;
    record.warned_percent = account.warned_percent;
    record.charge = account.expired;
    record.since_ns = account.lowered_at_ns;
    record.lowered_percent = account.lowered_percent;
    TW_RETURN_IF_ERROR(put(RecordType::kSnapshotAccount, std::move(record)));
    // Also of a window that is over: it may come back, as one of another period.
    if (account.lease.up_to > 0 || account.cut_at_ns > 0) {
      TW_RETURN_IF_ERROR(put(RecordType::kLease, LeaseOf(key, account)));
    }
  }
  for (const auto& [id, hold] : holds_) {
    Record record;
    record.hold = id;
    record.cost = hold.cost;
    record.charge = hold.charge;
    record.price_version = hold.price_version;
    record.account = hold.payee;
    record.legs = hold.legs;
    record.text = hold.text;
    record.payer = hold.payer;
    record.purposes = hold.purposes;
    record.state = hold.state;
    record.metered_cost = hold.metered_cost;
    record.metered_charge = hold.metered_charge;
    record.since_ns = hold.since_ns;
    TW_RETURN_IF_ERROR(put(RecordType::kSnapshotHold, std::move(record)));
    if (!hold.upstream_id.empty()) {
      TW_RETURN_IF_ERROR(put(RecordType::kUpstreamId, {.hold = id, .text = hold.upstream_id}));
    }
    if (!hold.metered_text.empty()) {
      TW_RETURN_IF_ERROR(put(RecordType::kProgress, {.hold = id,
                                                     .cost = hold.metered_cost,
                                                     .charge = hold.metered_charge,
                                                     .text = hold.metered_text}));
    }
  }
  return put(RecordType::kSnapshotEnd, {});
}

uint64_t Book::snapshot_bytes_max() const {
  // Names have at most 256 bytes, notes 512; a record is a multiple of 64.
  constexpr uint64_t kDefinition = 768, kCredit = 1280, kAccount = 192 + 192,
                     kHold = 256 + kLegsMax * 48, kUpstreamId = 128, kProgress = 192;
  uint64_t bytes = 1024 + price_bytes_ +
                   (budgets_.size() + payees_.size() + prepaid_.size()) * kDefinition +
                   credits_.size() * kCredit + scope_bytes_ + accounts_.size() * kAccount;
  for (const auto& [id, hold] : holds_) {
    bytes += kHold + hold.text.size() + hold.payer.size() + hold.purposes.size() + kUpstreamId +
             hold.upstream_id.size() +
             (hold.metered_text.empty() ? 0 : kProgress + hold.metered_text.size());
  }
  return bytes;
}

}  // namespace tradewind::ledger
