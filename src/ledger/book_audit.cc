// Every balance once more, computed another way: all at once at a start, and while it runs a little
// each second, so that nobody waits for it however many holds are open.
#include <utility>

#include <fmt/format.h>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

Status CheckSum(__int128 debits, __int128 credits) {
  return debits == credits ? Status()
                           : Fail(ErrorCode::kInternal, "the sum of all money is not zero");
}

}  // namespace

Status Book::AuditAccount(AccountKey key, const Account& account,
                          const HeldByAccount& expected) const {
  const auto found = expected.find(key);
  const Account held = found == expected.end() ? Account() : found->second;
  if (account.pending != held.pending || account.in_doubt != held.in_doubt) {
    return Fail(
        ErrorCode::kInternal,
        fmt::format("account {} has {} pending, {} in doubt; its holds say {} and {}", key.number,
                    account.pending, account.in_doubt, held.pending, held.in_doubt));
  }
  if (credits_.contains(key.number) && account.available() < 0) {
    return Fail(ErrorCode::kInternal, fmt::format("credit {} is overdrawn", key.number));
  }
  return {};
}

Status Book::Audit() const {
  HeldByAccount expected;
  size_t doubts = 0;
  for (const auto& [id, hold] : holds_) {
    doubts += hold.state == HoldState::kInDoubt ? 1 : 0;
    for (const Leg& leg : hold.legs.all()) {
      expected[leg.account].pending += leg.amount;
      expected[leg.account].in_doubt += hold.state == HoldState::kInDoubt ? leg.amount : 0;
    }
  }
  __int128 debits = 0, credits = 0;
  for (const auto& [key, account] : accounts_) {
    TW_RETURN_IF_ERROR(AuditAccount(key, account, expected));
    if (!budgets_.contains(key.number)) {
      debits += account.debits;
      credits += account.credits;
    }
  }
  if (doubts != doubts_.size()) {
    return Fail(ErrorCode::kInternal, "the list of what is in doubt is not what holds say");
  }
  TW_RETURN_IF_ERROR(CheckSum(debits, credits));
  return CheckWallets();
}

Status Book::CheckWallets() const {
  __int128 free = 0;
  for (const auto& [number, credit] : credits_) {
    const auto account = accounts_.find({number, 0});
    free += account == accounts_.end() ? 0 : account->second.available();
  }
  for (const auto& [owner, wallet] : wallets_) {
    free -= wallet.free_sum;
  }
  return free == 0
             ? Status()
             : Fail(ErrorCode::kInternal, "credits have not what their owners are said to have");
}

// A round goes through the holds, bucket by bucket, adding up what they hold, and then through the
// accounts. What changes behind it is added where it changes (NoteHeld, NoteMoved), so that what it
// has seen is always as it is now. Only a larger table begins it again.
Result<bool> Book::AuditStep(size_t work_max) {
  size_t work = 0;
  if (!round_.runs || round_.hold_buckets != holds_.bucket_count()) {
    round_ = AuditRound();
    round_.runs = true;
    round_.hold_buckets = holds_.bucket_count();
  }
  for (; round_.next_hold < round_.hold_buckets; ++round_.next_hold, ++work) {
    if (work >= work_max) {
      return false;
    }
    for (auto hold = holds_.cbegin(round_.next_hold); hold != holds_.cend(round_.next_hold);
         ++hold) {
      work += 1 + hold->second.legs.size();
      AddHeld(hold->second.legs, hold->second.state, 1);
    }
  }
  if (round_.account_buckets != accounts_.bucket_count()) {
    round_.account_buckets = accounts_.bucket_count();
    round_.next_account = 0;
    round_.debits = round_.credits = 0;
  }
  for (; round_.next_account < round_.account_buckets; ++round_.next_account, ++work) {
    if (work >= work_max) {
      return false;
    }
    for (auto at = accounts_.cbegin(round_.next_account); at != accounts_.cend(round_.next_account);
         ++at, ++work) {
      TW_RETURN_IF_ERROR(AuditAccount(at->first, at->second, round_.expected));
      if (!budgets_.contains(at->first.number)) {
        round_.debits += at->second.debits;
        round_.credits += at->second.credits;
      }
    }
  }
  const AuditRound done = std::exchange(round_, AuditRound());
  TW_RETURN_IF_ERROR(CheckSum(done.debits, done.credits));
  TW_RETURN_IF_ERROR(CheckWallets());
  return true;
}

void Book::AddHeld(const Legs& legs, HoldState state, int sign) {
  for (const Leg& leg : legs.all()) {
    Account& expected = round_.expected[leg.account];
    expected.pending += sign * leg.amount;
    expected.in_doubt += state == HoldState::kInDoubt ? sign * leg.amount : 0;
  }
}

void Book::NoteHeld(HoldId id, const Legs& legs, HoldState state, int sign) {
  if (round_.runs && round_.hold_buckets == holds_.bucket_count() &&
      holds_.bucket(id) < round_.next_hold) {
    AddHeld(legs, state, sign);
  }
}

void Book::NoteEnded(HoldId id, const OpenHold& hold) {
  NoteHeld(id, hold.legs, hold.state, -1);
  doubts_.erase(id);
}

void Book::NoteMoved(AccountKey debit, AccountKey credit, NanoUsd amount) {
  if (!round_.runs || round_.account_buckets != accounts_.bucket_count()) {
    return;
  }
  round_.debits += accounts_.bucket(debit) < round_.next_account ? amount : 0;
  round_.credits += accounts_.bucket(credit) < round_.next_account ? amount : 0;
}

}  // namespace tradewind::ledger
