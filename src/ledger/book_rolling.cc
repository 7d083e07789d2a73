// Rolling budgets: what was admitted in the span before now counts, by buckets, each an account of
// its own. A hold counts in the bucket of its admission as long as any of that is in the span.
#include <algorithm>
#include <utility>
#include <vector>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

void Add(NanoUsd& sum, NanoUsd amount) {
  sum = static_cast<NanoUsd>(std::min<__int128>(__int128{sum} + amount, kNanoUsdMax));
}

}  // namespace

// The oldest first. Of what is not there nothing was used.
std::vector<std::pair<AccountKey, const Account*>> Book::BucketsUntil(AccountKey newest) const {
  const int64_t span_s = budgets_.at(newest.number).span_s;
  const int64_t length_s = span_s / kBuckets;
  std::vector<std::pair<AccountKey, const Account*>> buckets;
  for (int64_t back = kBuckets; back >= 0; --back) {
    AccountKey key = newest;
    if (__builtin_sub_overflow(newest.window_start_s, back * length_s, &key.window_start_s)) {
      continue;  // a file says so
    }
    // An account of another period or span may begin at the same instant.
    if (const auto found = accounts_.find(key);
        found != accounts_.end() &&
        __int128{found->second.window_end_s} - key.window_start_s == length_s + span_s) {
      buckets.emplace_back(key, &found->second);
    }
  }
  return buckets;
}

Account Book::SumUntil(AccountKey newest) const {
  Account sum;
  sum.limit = budgets_.at(newest.number).limit;
  for (const auto& [key, account] : BucketsUntil(newest)) {
    Add(sum.debits, account->debits);
    Add(sum.credits, account->credits);
    Add(sum.pending, account->pending);
    Add(sum.in_doubt, account->in_doubt);
    Add(sum.unaccounted, account->unaccounted);
    sum.warned_percent = std::max(sum.warned_percent, account->warned_percent);
    sum.lowered_at_ns = std::max(sum.lowered_at_ns, account->lowered_at_ns);
    sum.cut_at_ns = std::max(sum.cut_at_ns, account->cut_at_ns);
    if (sum.window_end_s == kEndOfTime && account->used() > 0) {
      sum.window_end_s = account->window_end_s;
    }
  }
  return sum;
}

// Each span that the bucket is in has to keep the limit: later ones too, where it is not the
// newest any more.
NanoUsd Book::AvailableInBucket(AccountKey key) const {
  const int64_t length_s = budgets_.at(key.number).span_s / kBuckets;
  const auto last = opened_.find(key.number);
  NanoUsd available = SumUntil(key).available();
  for (int64_t i = 0; i < kBuckets && last != opened_.end() &&
                      __int128{key.window_start_s} + length_s <= last->second.start_s;
       ++i) {
    key.window_start_s += length_s;
    available = std::min(available, SumUntil(key).available());
  }
  return available;
}

NanoUsd Book::AvailableIn(AccountKey key) const {
  const BudgetSpec& budget = budgets_.at(key.number);
  if (budget.period == Period::kRolling) {
    return AvailableInBucket(key);
  }
  const auto account = accounts_.find(key);
  return account == accounts_.end() ? budget.limit : account->second.available();
}

int64_t Book::FitsAt(AccountKey newest, NanoUsd asked) const {
  __int128 available = SumUntil(newest).available();
  for (const auto& [key, account] : BucketsUntil(newest)) {
    available += account->used();
    if (available >= asked) {
      return account->window_end_s;
    }
  }
  return kEndOfTime;
}

AccountKey Book::NewestBeside(AccountKey key, const Account& account) const {
  const auto last = opened_.find(key.number);
  if (last != opened_.end() && key.window_start_s < last->second.start_s &&
      account.window_end_s > last->second.start_s) {
    key.window_start_s = last->second.start_s;
  }
  return key;
}

Account Book::WarnedOf(AccountKey key, const Account& account) const {
  const bool is_rolling = budgets_.at(key.number).period == Period::kRolling;
  return is_rolling ? SumUntil(NewestBeside(key, account)) : account;
}

std::vector<AccountKey> Book::KeysNow(AccountNumber number, int64_t unix_s) {
  const AccountKey now{number, WindowNow(number, unix_s).start_s};
  if (budgets_.at(number).period != Period::kRolling) {
    return {now};
  }
  std::vector<AccountKey> keys;
  for (const auto& [key, account] : BucketsUntil(now)) {
    keys.push_back(key);
  }
  return keys;
}

}  // namespace tradewind::ledger
