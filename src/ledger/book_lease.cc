// How far ahead of their use hard budgets are leased, and what a power cut leaves of that.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// A lease is raised about once a second while its budget is used: twice as far as the last time
// when that was sooner, half as far when it was much later.
constexpr int64_t kSoonNs = kNanosPerSecond, kLateNs = 4 * kNanosPerSecond;
// For one more request like this one at least, and otherwise for at most this share of what is
// left: no more of it counts as used after a power cut.
constexpr int64_t kRoomShare = 8;
constexpr int64_t kRestNs = 10 * kNanosPerSecond;

bool IsDrawn(const Leg& leg) {
  return !leg.is_credit && leg.amount > 0;
}

}  // namespace

NanoUsd Account::used() const {
  const __int128 sum = __int128{debits} + pending + unaccounted - credits;
  return static_cast<NanoUsd>(std::clamp<__int128>(sum, 0, kNanoUsdMax));
}

Record Book::LeaseOf(AccountKey key, const Account& account) {
  Record record;
  record.type = RecordType::kLease;
  record.account = key.number;
  record.key.window_start_s = key.window_start_s;
  record.window_end_s = account.window_end_s;
  record.cost = account.lease.up_to;
  record.charge = account.unaccounted;
  record.since_ns = account.cut_at_ns;
  record.text = account.lease.boot_id;
  return record;
}

std::vector<Record> Book::DecideLeases(const Legs& legs, int64_t time_ns) const {
  static const Account kUnused;
  std::vector<Record> leases;
  for (const Leg& leg : legs.all()) {
    if (!IsDrawn(leg)) {
      continue;
    }
    const BudgetSpec& budget = budgets_.at(leg.account.number);
    if (budget.mode != Mode::kHard) {
      continue;
    }
    const auto found = accounts_.find(leg.account);
    const Account& account = found == accounts_.end() ? kUnused : found->second;
    const Lease& lease = account.lease;
    // Within the limit: otherwise there was no room for it.
    const NanoUsd used = account.used() + leg.amount;
    if (used + lease.step / 2 <= lease.up_to) {
      continue;
    }
    const int64_t age_ns = time_ns - lease.since_ns;
    const NanoUsd room = std::max<NanoUsd>(0, AvailableIn(leg.account) - leg.amount);
    const NanoUsd most = std::max(leg.amount, room / kRoomShare);
    const NanoUsd step = age_ns < kSoonNs   ? lease.step * 2
                         : age_ns > kLateNs ? lease.step / 2
                                            : lease.step;
    Account raised;
    raised.window_end_s = leg.window_end_s;
    raised.unaccounted = account.unaccounted;
    raised.cut_at_ns = account.cut_at_ns;
    raised.lease.boot_id = boot_id_;
    raised.lease.up_to = used + std::min(room, std::clamp(step, leg.amount, most));
    if (raised.lease.up_to > lease.up_to) {
      leases.push_back(LeaseOf(leg.account, raised));
    }
  }
  return leases;
}

// Where something is held, that may end and its room be held again within the lease: it stays as
// far as it is used. Without one the next hold writes a lease before it goes out.
std::vector<Record> Book::DecideReturns(int64_t time_ns, bool is_last) {
  std::vector<Record> returns;
  for (auto next = leased_.begin(); next != leased_.end();) {
    const auto key = next++;
    const auto found = accounts_.find(*key);
    if (found == accounts_.end() || found->second.lease.up_to == 0) {
      leased_.erase(key);
      continue;
    }
    const Account& account = found->second;
    const bool is_over = account.window_end_s <= time_ns / kNanosPerSecond;
    if (!is_last && !is_over && time_ns - account.lease.drawn_at_ns < kRestNs) {
      continue;
    }
    const NanoUsd kept = is_last || account.pending == 0 ? 0 : account.used();
    if (kept < account.lease.up_to) {
      Account given_back = account;
      given_back.lease.up_to = kept;
      given_back.lease.boot_id = kept == 0 ? "" : boot_id_;
      returns.push_back(LeaseOf(*key, given_back));
    }
  }
  return returns;
}

std::vector<Record> Book::DecideUnaccounted(std::string_view boot_id, int64_t time_ns) const {
  std::vector<Record> records;
  for (const auto& [key, account] : accounts_) {
    if (account.lease.up_to == 0 || account.lease.boot_id == boot_id) {
      continue;
    }
    Account after = account;
    after.lease.boot_id = boot_id;
    if (budgets_.at(key.number).mode != Mode::kHard) {
      after.lease.up_to = 0;  // who only tells is not told of what may have been
    } else if (const NanoUsd lost = account.lease.up_to - account.used();
               lost > 0 || account.pending > 0) {
      after.unaccounted += std::max<NanoUsd>(0, lost);
      after.cut_at_ns = time_ns;
    }
    records.push_back(LeaseOf(key, after));
  }
  std::ranges::sort(records, {}, [](const Record& record) {
    return std::pair(record.account, record.key.window_start_s);
  });
  return records;
}

Result<Record> Book::DecideAccounted(AccountKey key) const {
  const auto found = accounts_.find(key);
  if (found == accounts_.end() || found->second.cut_at_ns == 0) {
    return Fail(ErrorCode::kNotFound,
                "nothing of this budget is set aside for what a power cut may have taken",
                "budget");
  }
  Account accounted = found->second;
  accounted.unaccounted = accounted.cut_at_ns = 0;
  return LeaseOf(key, accounted);
}

Status Book::ApplyLease(const Record& record) {
  const auto budget = budgets_.find(record.account);
  if (budget == budgets_.end()) {
    return Fail(ErrorCode::kCorruptFile, "a lease is of a budget that there is not");
  }
  const AccountKey key{record.account, record.key.window_start_s};
  const auto [found, is_new] = accounts_.try_emplace(key);
  Account& account = found->second;
  if (is_new) {
    account.limit = budget->second.limit;
    account.window_end_s = record.window_end_s;
    NoteOpened(key, record.window_end_s);
  }
  TellOfCut(record, key, account);
  account.unaccounted = record.charge;
  account.cut_at_ns = record.since_ns;
  Lease& lease = account.lease;
  if (record.cost < lease.up_to) {
    // What is given back counts at once, also while a power cut would take that again.
    lease.durable = std::min(lease.durable, record.cost);
    for (WrittenLease& written : written_leases_) {
      written.up_to = written.key == key ? std::min(written.up_to, record.cost) : written.up_to;
    }
  }
  lease.up_to = record.cost;
  lease.step = std::max<NanoUsd>(0, record.cost - account.used());
  lease.seq = record.seq;
  lease.since_ns = record.time_ns;
  lease.boot_id = record.text;
  leased_.insert(key);
  written_leases_.push_back({record.seq, key, record.cost});
  return {};
}

// What is held may have ended in the records that are gone: it is at stake, too.
void Book::TellOfCut(const Record& record, AccountKey key, const Account& account) {
  const bool is_over = account.window_end_s <= record.time_ns / kNanosPerSecond;
  NanoUsd at_stake = 0;
  if (record.since_ns == 0 || record.since_ns == account.cut_at_ns || is_over ||
      !AddMoney(record.charge, account.pending, at_stake) || at_stake == 0) {
    return;
  }
  Notice cut{record.account, key, 0, {}, at_stake, account.limit};
  cut.cut_at_ns = record.since_ns;
  notices_.push_back(cut);
}

uint64_t Book::DrawLeases(const Legs& legs, int64_t time_ns) {
  uint64_t seq = 0;
  for (const Leg& leg : legs.all()) {
    if (!IsDrawn(leg)) {
      continue;
    }
    Account& account = accounts_.at(leg.account);
    account.lease.drawn_at_ns = time_ns;
    if (account.used() > account.lease.durable &&
        budgets_.at(leg.account.number).mode == Mode::kHard) {
      TW_CHECK(account.used() <= account.lease.up_to);
      seq = std::max(seq, account.lease.seq);
    }
  }
  return seq;
}

void Book::NoteDurable(uint64_t seq) {
  for (; !written_leases_.empty() && written_leases_.front().seq <= seq;
       written_leases_.pop_front()) {
    const WrittenLease& written = written_leases_.front();
    if (const auto found = accounts_.find(written.key); found != accounts_.end()) {
      Lease& lease = found->second.lease;
      lease.durable = std::min(lease.up_to, std::max(lease.durable, written.up_to));
    }
  }
}

}  // namespace tradewind::ledger
