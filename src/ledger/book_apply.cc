// What happens: each record's effect, the same live and when the journal is read again. Whole
// because it is one switch over the types of records.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

std::unexpected<Error> DoesNotFollow(const Record& record, std::string_view why) {
  return Fail(
      ErrorCode::kCorruptFile,
      fmt::format("the journal's record {} (type {}) cannot follow what stands before it: {}",
                  record.seq, static_cast<int>(record.type), why));
}

bool IsWithin(NanoUsd amount) {
  return amount >= 0 && amount <= kAmountMax;
}

NanoUsd AmountOf(const Leg& leg, NanoUsd cost, NanoUsd charge) {
  return leg.dimension == Dimension::kCost ? cost : charge;
}

}  // namespace

Status Book::Apply(const Record& record) {
  // A snapshot starts anywhere; every other record is the next one.
  if (record.type != RecordType::kSnapshotBegin &&
      (record.seq != seq_ + 1 || record.time_ns <= time_ns_)) {
    return DoesNotFollow(record, "its number or time is not the next");
  }
  if (!IsWithin(record.cost) || !IsWithin(record.charge)) {
    return DoesNotFollow(record, "its amount is out of range");
  }
  switch (record.type) {
    case RecordType::kHold:
      TW_RETURN_IF_ERROR(ApplyHold(record));
      break;
    case RecordType::kExtend:
      TW_RETURN_IF_ERROR(ApplyExtend(record));
      break;
    case RecordType::kSettle:
      TW_RETURN_IF_ERROR(ApplySettle(record));
      break;
    case RecordType::kSent:
    case RecordType::kUpstreamId:
    case RecordType::kProgress:
    case RecordType::kVoid:
    case RecordType::kInDoubt:
      TW_RETURN_IF_ERROR(ApplyStep(record));
      break;
    case RecordType::kBudget:
    case RecordType::kPayee:
      TW_RETURN_IF_ERROR(ApplyDefinition(record));
      break;
    case RecordType::kCredit:
    case RecordType::kExpire:
    case RecordType::kPayer:
      TW_RETURN_IF_ERROR(ApplyCredit(record));
      break;
    case RecordType::kPrice:
      TW_RETURN_IF_ERROR(ApplyPrice(record));
      break;
    case RecordType::kAdjust:
      TW_RETURN_IF_ERROR(ApplyAdjust(record));
      break;
    case RecordType::kTransfer:
      TW_RETURN_IF_ERROR(ApplyTransfer(record));
      break;
    case RecordType::kLease:
      TW_RETURN_IF_ERROR(ApplyLease(record));
      break;
    default:
      TW_RETURN_IF_ERROR(ApplySnapshot(record));
      break;
  }
  seq_ = record.seq;
  time_ns_ = record.time_ns;
  return {};
}

Account& Book::Open(const Leg& leg) {
  const auto [found, is_new] = accounts_.try_emplace(leg.account);
  if (is_new) {
    found->second.limit = budgets_.at(leg.account.number).limit;
    found->second.window_end_s = leg.window_end_s;
  }
  return found->second;
}

// Legs come from a decision, or from a file: what does not fit is an error and changes nothing.
Status Book::CheckLegs(const Legs& legs, bool is_new) const {
  for (const Leg& leg : legs.all()) {
    const auto account = accounts_.find(leg.account);
    const auto budget = budgets_.find(leg.account.number);
    const bool is_known = leg.is_credit
                              ? credits_.contains(leg.account.number) && account != accounts_.end()
                              : budget != budgets_.end();
    const auto is_same = [&](const Leg& other) {
      return other.account == leg.account ||
             (!leg.is_credit && is_known && budget->second.period == Period::kRolling &&
              other.account.number == leg.account.number);
    };
    if (!is_known || !IsWithin(leg.amount) || std::ranges::count_if(legs.all(), is_same) != 1) {
      return Fail(ErrorCode::kCorruptFile,
                  "a leg is on an account that there is not, or on it twice");
    }
    const Account now = account != accounts_.end() ? account->second : Account();
    NanoUsd sum = 0;
    if (!AddMoney(now.pending, leg.amount, sum) || !AddMoney(sum, now.debits, sum)) {
      return Fail(ErrorCode::kCorruptFile, "a balance beyond 64 bits");
    }
    const bool is_hard = leg.is_credit || budget->second.mode == Mode::kHard;
    const NanoUsd available = leg.is_credit ? now.available() : AvailableIn(leg.account);
    if (is_new && is_hard && leg.amount > 0 && leg.amount > available) {
      return Fail(ErrorCode::kCorruptFile, "a hold goes beyond a hard bound");
    }
  }
  return {};
}

// Requires CheckLegs.
Account& Book::AddPending(const Leg& leg, NanoUsd amount) {
  // A file may name a window of a credit, which is nobody's to spend.
  const bool is_spendable = leg.is_credit && leg.account.window_start_s == 0;
  const Standing before = is_spendable ? StandingOf(leg.account.number) : Standing();
  Account& account = Open(leg);
  account.pending += amount;
  if (is_spendable) {
    Restand(leg.account.number, before);
  }
  return account;
}

void Book::Reserve(const Legs& legs) {
  for (const Leg& leg : legs.all()) {
    AddPending(leg, leg.amount);
  }
}

// Before what it did cost is posted.
void Book::Release(const OpenHold& hold, NanoUsd cost, NanoUsd charge) {
  for (const Leg& leg : hold.legs.all()) {
    Account& account = AddPending(leg, -leg.amount);
    if (hold.since_ns < account.cut_at_ns) {
      const NanoUsd freed = std::max<NanoUsd>(0, leg.amount - AmountOf(leg, cost, charge));
      account.unaccounted = std::min(account.unaccounted + freed, kAmountMax);
    }
    TW_CHECK(account.pending >= 0);
    if (hold.state == HoldState::kInDoubt) {
      account.in_doubt -= leg.amount;
      TW_CHECK(account.in_doubt >= 0);
    }
  }
}

Status Book::ApplyHold(const Record& record) {
  if (holds_.contains(record.hold) || holds_.size() >= kOpenHoldsMax) {
    return DoesNotFollow(record, "there is such a hold");
  }
  TW_RETURN_IF_ERROR(CheckLegs(record.legs, true));
  Reserve(record.legs);
  for (const Leg& leg : record.legs.all()) {
    // The promise, once more: a hold never goes beyond a hard bound.
    const bool is_hard = leg.is_credit || budgets_.at(leg.account.number).mode == Mode::kHard;
    const NanoUsd left =
        leg.is_credit ? accounts_.at(leg.account).available() : AvailableIn(leg.account);
    TW_CHECK(!is_hard || leg.amount == 0 || left >= 0);
    if (!leg.is_credit) {
      NoteOpened(leg.account, leg.window_end_s);
    }
  }
  OpenHold& hold = holds_[record.hold];
  hold.cost = record.cost;
  hold.charge = record.charge;
  hold.price_version = record.price_version;
  hold.payee = payees_.contains(record.account) ? record.account : kUnknownPayee;
  hold.since_ns = record.time_ns;
  hold.legs = record.legs;
  hold.text = record.text;
  hold.payer = record.payer;
  hold.purposes = record.purposes;
  NoteHeld(record.hold, hold.legs, hold.state, 1);
  return {};
}

Status Book::ApplyExtend(const Record& record) {
  const auto found = holds_.find(record.hold);
  if (found == holds_.end()) {
    return DoesNotFollow(record, "there is no such hold");
  }
  OpenHold& hold = found->second;
  Legs merged = hold.legs;
  for (const Leg& more : record.legs.all()) {
    const auto same = std::ranges::find(merged.all(), more.account, &Leg::account);
    NanoUsd sum = 0;
    if (same != merged.all().end()) {
      if (!AddMoney(same->amount, more.amount, sum) || !IsWithin(sum)) {
        return DoesNotFollow(record, "it extends a leg beyond what one may have");
      }
      same->amount = sum;
    } else if (!more.is_credit || !merged.Push(more)) {
      return DoesNotFollow(record, "it extends what was not held");
    }
  }
  NanoUsd cost = 0, charge = 0;
  if (!AddMoney(hold.cost, record.cost, cost) || !AddMoney(hold.charge, record.charge, charge)) {
    return DoesNotFollow(record, "it extends a hold beyond 64 bits");
  }
  TW_RETURN_IF_ERROR(CheckLegs(record.legs, true));
  Reserve(record.legs);
  NoteHeld(record.hold, record.legs, hold.state, 1);
  if (hold.state == HoldState::kInDoubt) {
    for (const Leg& more : record.legs.all()) {
      accounts_.at(more.account).in_doubt += more.amount;
    }
  }
  hold.legs = merged;
  hold.cost = cost;
  hold.charge = charge;
  return {};
}

Status Book::ApplySettle(const Record& record) {
  const auto found = holds_.find(record.hold);
  if (found == holds_.end()) {
    return DoesNotFollow(record, "there is no such hold");
  }
  if (record.charge > found->second.charge) {
    return DoesNotFollow(record, "it charges more than was held");
  }
  const OpenHold& open = found->second;
  // An older record does not say what credits pay: those that were held do.
  const Legs shares =
      record.legs.size() > 0 ? record.legs : SharesOf(open, record.charge, std::nullopt);
  TW_RETURN_IF_ERROR(CheckShares(open, shares, record.charge));
  if (!CanPost(open, record.cost, record.charge)) {
    return DoesNotFollow(record, "a balance beyond 64 bits");
  }
  NoteEnded(record.hold, open);
  const OpenHold hold = std::move(found->second);
  holds_.erase(found);
  Release(hold, record.cost, record.charge);
  Post(record.hold, hold, record.cost, record.charge, shares);
  return {};
}

bool Book::CanPost(const OpenHold& hold, NanoUsd cost, NanoUsd charge) const {
  NanoUsd sum = 0;
  return Fits({kExpense, 0}, {hold.payee, 0}, cost) &&
         Fits({kReceivable, 0}, {kRevenue, 0}, charge) &&
         std::ranges::all_of(hold.legs.all(), [&](const Leg& leg) {
           return leg.is_credit ||
                  AddMoney(accounts_.at(leg.account).debits, AmountOf(leg, cost, charge), sum);
         });
}

bool Book::Fits(AccountKey debit, AccountKey credit, NanoUsd amount) const {
  NanoUsd sum = 0;
  return AddMoney(accounts_.at(debit).debits, amount, sum) &&
         AddMoney(accounts_.at(credit).credits, amount, sum);
}

void Book::Move(AccountKey debit, AccountKey credit, NanoUsd amount) {
  Account& from = accounts_.at(debit);
  Account& to = accounts_.at(credit);
  TW_CHECK(AddMoney(from.debits, amount, from.debits) && AddMoney(to.credits, amount, to.credits));
  NoteMoved(debit, credit, amount);
}

void Book::Post(HoldId id, const OpenHold& hold, NanoUsd cost, NanoUsd charge, const Legs& shares) {
  NanoUsd unpaid = charge;
  for (const Leg& leg : shares.all()) {
    const NanoUsd share = leg.amount;
    const Standing before = StandingOf(leg.account.number);
    Move(leg.account, {kRevenue, 0}, share);
    unpaid -= share;
    Restand(leg.account.number, before);
  }
  for (const Leg& leg : hold.legs.all()) {
    if (leg.is_credit) {
      continue;
    }
    Account& account = accounts_.at(leg.account);
    TW_CHECK(AddMoney(account.debits, AmountOf(leg, cost, charge), account.debits));
    Warn(leg.account.number, leg.account, account);
  }
  Move({kReceivable, 0}, {kRevenue, 0}, unpaid);
  Move({kExpense, 0}, {hold.payee, 0}, cost);
  if (cost > hold.cost) {
    Notice overrun;
    overrun.hold = id;
    overrun.amount = cost - hold.cost;
    notices_.push_back(overrun);
  }
}

void Book::Warn(AccountNumber number, AccountKey key, Account& used) {
  const BudgetSpec& budget = budgets_.at(number);
  std::optional<Account> all;  // copied for rolling ones alone: this is on the path of requests
  if (budget.period == Period::kRolling) {
    all = WarnedOf(key, used);
    all->lowered_at_ns = used.lowered_at_ns;  // a name of the bucket's own crossings
  }
  const Account& account = all.has_value() ? *all : used;
  uint8_t crossed = 0;
  for (const uint8_t percent : budget.warn_percent) {
    const __int128 bound = __int128{account.limit} * percent;
    if (percent > account.warned_percent && __int128{account.debits} * 100 >= bound) {
      crossed = std::max(crossed, percent);
    }
  }
  if (crossed > 0) {
    used.warned_percent = crossed;
    NoteCrossed(key, account, crossed);
  }
}

void Book::NoteCrossed(AccountKey key, const Account& account, uint8_t percent) {
  Notice notice{key.number, key, percent, {}, account.debits, account.limit};
  notice.lowered_at_ns = account.lowered_at_ns;
  notices_.push_back(notice);
}

Status Book::ApplyStep(const Record& record) {
  const auto found = holds_.find(record.hold);
  if (found == holds_.end()) {
    return DoesNotFollow(record, "there is no such hold");
  }
  OpenHold& hold = found->second;
  switch (record.type) {
    case RecordType::kSent:
      if (hold.state == HoldState::kHeld) {
        hold.state = HoldState::kSent;
      }
      return {};
    case RecordType::kProgress:
      // The last word, which whoever decided it has not made less than it may be.
      hold.metered_cost = record.cost;
      hold.metered_charge = record.charge;
      if (!record.text.empty()) {
        hold.metered_text = record.text;
      }
      return {};
    case RecordType::kVoid:
      Release(hold, 0, 0);
      NoteEnded(record.hold, hold);
      holds_.erase(found);
      return {};
    case RecordType::kUpstreamId:
      hold.upstream_id = record.text;
      return {};
    case RecordType::kInDoubt:
      if (hold.state != HoldState::kInDoubt) {
        NoteHeld(record.hold, hold.legs, hold.state, -1);
        hold.state = HoldState::kInDoubt;
        NoteHeld(record.hold, hold.legs, hold.state, 1);
        doubts_.insert(record.hold);
        for (const Leg& leg : hold.legs.all()) {
          accounts_.at(leg.account).in_doubt += leg.amount;
        }
      }
      return {};
    default:
      return {};
  }
}

Status Book::ApplyTransfer(const Record& record) {
  const AccountKey debit{record.account, 0}, credit{record.key.number, 0};
  if (debit == credit || !IsPlainMoney(debit.number) || !IsPlainMoney(credit.number) ||
      !Fits(debit, credit, record.cost)) {
    return DoesNotFollow(record, "it is between accounts that there are not");
  }
  Move(debit, credit, record.cost);
  return {};
}

Status Book::ApplyDefinition(const Record& record) {
  const AccountNumber number = record.account;
  if (number < kFirstNumber || number == UINT32_MAX) {
    return DoesNotFollow(record, "its account's number is taken");
  }
  if (record.type == RecordType::kBudget) {
    if (!CheckZone(record.budget.zone).has_value()) {
      // It was known when the budget was set: the books are right, and this system lacks it.
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("the budget \"{}\" is in the time zone {}, which this system does not "
                      "know: install tzdata (and where old names moved out of it, like "
                      "US/Eastern, tzdata-legacy); nothing was changed",
                      record.budget.name, record.budget.zone),
          "zone");
    }
    if (!IsWithin(record.budget.limit) ||
        !CheckWindows(record.budget.period, record.budget.first_day, record.budget.span_s)
             .has_value() ||
        credits_.contains(number) || payees_.contains(number)) {
      return DoesNotFollow(record, "its definition is none");
    }
    const BudgetSpec* const known = BudgetOf(number);
    if (known != nullptr && !known->HasSameWindows(record.budget)) {
      opened_.erase(number);
    }
    budgets_[number] = record.budget;
    budget_names_[record.budget.name] = number;
    windows_.erase(number);
    if (record.window_end_s != kEndOfTime) {
      opened_[number] = {record.key.window_start_s, record.window_end_s};
      const auto same_start = accounts_.find({number, record.key.window_start_s});
      if (same_start != accounts_.end()) {
        same_start->second.window_end_s = record.window_end_s;
      }
    }
    for (auto& [key, account] : accounts_) {
      if (key.number == number && account.window_end_s > record.time_ns / kNanosPerSecond) {
        account.limit = record.budget.limit;
        account.warned_percent = 0;
      }
    }
  } else {
    if (budgets_.contains(number) || credits_.contains(number)) {
      return DoesNotFollow(record, "its definition is none");
    }
    payees_[number] = record.text;
    payee_names_[record.text] = number;
    accounts_.try_emplace({number, 0});
  }
  next_number_ = std::max(next_number_, number + 1);
  return {};
}

Status Book::ApplyCredit(const Record& record) {
  const AccountNumber number = record.account;
  if (record.type == RecordType::kPayer) {
    if (record.payer.empty()) {
      return DoesNotFollow(record, "it is of nobody");
    }
    if (record.is_prepaid) {
      prepaid_.insert(record.payer);
    } else {
      prepaid_.erase(record.payer);
    }
    return {};
  }
  if (record.type == RecordType::kExpire) {
    const auto credit = accounts_.find({number, 0});
    if (!credits_.contains(number) || credit->second.available() < record.cost ||
        !Fits({number, 0}, ExpiredTo(number), record.cost)) {
      return DoesNotFollow(record, "it lets expire what is not there");
    }
    const Standing before = StandingOf(number);
    Move({number, 0}, ExpiredTo(number), record.cost);
    credit->second.expired += record.cost;
    Restand(number, before);
    return {};
  }
  if (number < kFirstNumber || number == UINT32_MAX || !IsWithin(record.credit.amount) ||
      credits_.contains(number) || budgets_.contains(number) || payees_.contains(number) ||
      !Fits({kCreditSource, 0}, {kCreditSource, 0}, record.credit.amount)) {
    return DoesNotFollow(record, "its definition is none");
  }
  CreditSpec& credit = credits_[number] = record.credit;
  credit.granted_ns = credit.granted_ns == 0 ? record.time_ns : credit.granted_ns;
  credit_names_[credit.name] = number;
  scope_bytes_ += credit.scope.size();
  accounts_[{number, 0}] = Account();
  Move({kCreditSource, 0}, {number, 0}, credit.amount);
  Restand(number, {});
  next_number_ = std::max(next_number_, number + 1);
  return {};
}

// Definitions come as they once came, then balances replace what they made, then holds come back.
Status Book::ApplySnapshot(const Record& record) {
  switch (record.type) {
    case RecordType::kSnapshotBegin: {
      *this = Book();
      return {};
    }
    case RecordType::kSnapshotAccount: {
      const AccountNumber number = record.key.number;
      if (number >= kFirstNumber && !budgets_.contains(number) && !credits_.contains(number) &&
          !payees_.contains(number)) {
        return DoesNotFollow(record, "its account is not defined");
      }
      if (record.debits < 0 || record.credits < 0) {
        return DoesNotFollow(record, "its balance is negative");
      }
      const bool is_credit = credits_.contains(number);
      const Standing before = is_credit ? StandingOf(number) : Standing();
      Account& account = accounts_[record.key];
      if (account.pending != 0) {  // accounts come before the holds that stand on them
        return DoesNotFollow(record, "holds stand on its account already");
      }
      account = Account();
      if (budgets_.contains(number)) {
        account.limit = record.cost;
      }
      account.debits = record.debits;
      account.credits = record.credits;
      account.window_end_s = record.window_end_s;
      account.warned_percent = record.warned_percent;
      account.expired = record.charge;
      account.lowered_at_ns = record.since_ns;
      account.lowered_percent = record.lowered_percent;
      if (is_credit) {
        Restand(number, before);
      }
      // What a correction left was told before it.
      if (account.warned_percent > account.lowered_percent) {
        NoteCrossed(record.key, account, account.warned_percent);
      }
      return {};
    }
    case RecordType::kSnapshotHold: {
      if (holds_.contains(record.hold) || holds_.size() >= kOpenHoldsMax) {
        return DoesNotFollow(record, "there is such a hold");
      }
      TW_RETURN_IF_ERROR(CheckLegs(record.legs, false));
      Reserve(record.legs);
      OpenHold& open = holds_[record.hold];
      open.cost = record.cost;
      open.charge = record.charge;
      open.metered_cost = record.metered_cost;
      open.metered_charge = record.metered_charge;
      open.price_version = record.price_version;
      open.payee = payees_.contains(record.account) ? record.account : kUnknownPayee;
      open.since_ns = record.since_ns;
      open.legs = record.legs;
      open.text = record.text;
      open.payer = record.payer;
      open.purposes = record.purposes;
      if (record.state == HoldState::kInDoubt) {
        for (const Leg& leg : open.legs.all()) {
          accounts_.at(leg.account).in_doubt += leg.amount;
        }
      }
      open.state = record.state;
      if (open.state == HoldState::kInDoubt) {
        doubts_.insert(record.hold);
      }
      NoteHeld(record.hold, open.legs, open.state, 1);
      return {};
    }
    default:
      return {};
  }
}

}  // namespace tradewind::ledger
