// What was settled and turns out wrong: put right by a record of its own, which follows the entries
// of the settle.
#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

bool IsAmount(NanoUsd amount) {
  return amount >= 0 && amount <= kAmountMax;
}

NanoUsd ChangeOf(const Record& record, Dimension dimension) {
  return dimension == Dimension::kCost ? record.cost - record.metered_cost
                                       : record.charge - record.metered_charge;
}

NanoUsd Magnitude(NanoUsd amount) {
  return amount < 0 ? -amount : amount;
}

std::unexpected<Error> Wrong(std::string why, std::string field) {
  return Fail(ErrorCode::kInvalidArgument, std::move(why), std::move(field));
}

std::unexpected<Error> DoesNotFit(std::string_view why) {
  return Fail(ErrorCode::kCorruptFile,
              "a journal's adjustment cannot follow what stands before it: " + std::string(why));
}

// Of a small step few credits get anything back.
std::unexpected<Error> TooMany() {
  return Wrong(
      fmt::format("one correction changes at most {} budgets and credits, and it would change "
                  "more: lower the charge in steps, a part of it at a time",
                  kLegsMax),
      std::string(kTooManyAccounts));
}

NanoUsd SumOf(std::span<const Leg> legs) {
  NanoUsd sum = 0;
  for (const Leg& leg : legs) {
    sum += leg.is_credit ? leg.amount : 0;
  }
  return sum;
}

}  // namespace

Result<Record> Book::DecideAdjust(const Adjustment& asked) const {
  if (!IsAmount(asked.cost) || !IsAmount(asked.cost_before) || !IsAmount(asked.charge_before)) {
    return Wrong("a cost is 0 to 1,000,000 USD", "cost");
  }
  if (asked.charge < 0 || asked.charge > asked.charge_before) {
    return Wrong("a charge that was settled falls, at most to 0, and never rises", "charge");
  }
  if (asked.text.size() > kRecordTextBytesMax) {
    return Wrong("the reason is too long", "reason");
  }
  Record record;
  record.type = RecordType::kAdjust;
  record.hold = asked.id;
  record.cost = asked.cost;
  record.charge = asked.charge;
  record.metered_cost = asked.cost_before;
  record.metered_charge = asked.charge_before;
  record.price_version = asked.number;
  record.account = payees_.contains(asked.payee) ? asked.payee : kUnknownPayee;
  record.since_ns = asked.admitted_ns;
  record.text = asked.text;
  for (Leg leg : asked.budgets) {
    const auto account = accounts_.find(leg.account);
    const NanoUsd change = ChangeOf(record, leg.dimension);
    if (account == accounts_.end() || !budgets_.contains(leg.account.number)) {
      continue;  // long over
    }
    leg.amount = change < 0 ? std::min(-change, account->second.debits) : change;
    if (leg.amount > 0 && !record.legs.Push(leg)) {
      return TooMany();
    }
  }
  std::vector<Leg> paid;
  std::ranges::copy_if(asked.paid, std::back_inserter(paid), [this](const Leg& leg) {
    return leg.amount > 0 && credits_.contains(leg.account.number);
  });
  std::ranges::sort(paid, std::greater(),
                    [this](const Leg& leg) { return PlaceOf(leg.account.number); });
  const NanoUsd owed = std::max<NanoUsd>(0, asked.charge_before - SumOf(paid));
  NanoUsd back = std::max<NanoUsd>(0, asked.charge_before - asked.charge - owed);
  for (Leg& leg : paid) {
    leg.amount = std::min(leg.amount, back);
    back -= leg.amount;
    if (leg.amount > 0 && !record.legs.Push(leg)) {
      return TooMany();
    }
  }
  if (!CheckAdjust(record).has_value()) {
    return Wrong("the ledger has no room for it", "cost");
  }
  return record;
}

Status Book::CheckAdjust(const Record& record) const {
  const NanoUsd cost = ChangeOf(record, Dimension::kCost);
  const NanoUsd charge = ChangeOf(record, Dimension::kCharge);
  if (!IsAmount(record.metered_cost) || !IsAmount(record.metered_charge) || charge > 0) {
    return DoesNotFit("its amounts are out of range");
  }
  for (const Leg& leg : record.legs.all()) {
    const auto account = accounts_.find(leg.account);
    const bool is_known =
        leg.is_credit ? credits_.contains(leg.account.number) && leg.account.window_start_s == 0
                      : budgets_.contains(leg.account.number);
    if (!is_known || account == accounts_.end() || !IsAmount(leg.amount) ||
        std::ranges::count(record.legs.all(), leg.account, &Leg::account) != 1) {
      return DoesNotFit("it is on an account that there is not, or on it twice");
    }
    const NanoUsd change = ChangeOf(record, leg.dimension);
    NanoUsd sum = 0;
    if (!leg.is_credit &&
        (leg.amount > Magnitude(change) || (change < 0 && leg.amount > account->second.debits) ||
         !AddMoney(account->second.debits, leg.amount, sum) ||
         !AddMoney(sum, account->second.pending, sum))) {
      return DoesNotFit("it changes a window by more than its attempt");
    }
    if (leg.is_credit && !Fits({kRevenue, 0}, leg.account, leg.amount)) {
      return DoesNotFit("a balance beyond 64 bits");
    }
  }
  const AccountKey payee{payees_.contains(record.account) ? record.account : kUnknownPayee, 0};
  const bool fits_cost =
      cost < 0 ? Fits(payee, {kExpense, 0}, -cost) : Fits({kExpense, 0}, payee, cost);
  if (SumOf(record.legs.all()) > -charge || !fits_cost ||
      !Fits({kRevenue, 0}, {kReceivable, 0}, -charge)) {
    return DoesNotFit("credits get back more than was charged, or a balance is beyond 64 bits");
  }
  return {};
}

Status Book::ApplyAdjust(const Record& record) {
  TW_RETURN_IF_ERROR(CheckAdjust(record));
  const NanoUsd cost = ChangeOf(record, Dimension::kCost);
  NanoUsd owed = -ChangeOf(record, Dimension::kCharge);  // so much less
  for (const Leg& leg : record.legs.all()) {
    if (leg.is_credit) {
      const Standing before = StandingOf(leg.account.number);
      Move({kRevenue, 0}, leg.account, leg.amount);
      Restand(leg.account.number, before);
      owed -= leg.amount;
    } else {
      AdjustWindow(leg, ChangeOf(record, leg.dimension) < 0 ? -leg.amount : leg.amount,
                   record.time_ns);
    }
  }
  Move({kRevenue, 0}, {kReceivable, 0}, owed);
  const AccountKey payee{payees_.contains(record.account) ? record.account : kUnknownPayee, 0};
  if (cost < 0) {
    Move(payee, {kExpense, 0}, -cost);
  } else {
    Move({kExpense, 0}, payee, cost);
  }
  return {};
}

void Book::AdjustWindow(const Leg& leg, NanoUsd by, int64_t time_ns) {
  Account& account = accounts_.at(leg.account);
  account.debits += by;
  TW_CHECK(account.debits >= 0);
  // Else what a power cut may have taken, up to the lease, would be as much more as this gives
  // back; or a raise would leave nothing of the lease to what runs.
  const auto shifted = [by](NanoUsd up_to) {
    NanoUsd sum = 0;
    return up_to > 0 && AddMoney(up_to, by, sum) ? std::max<NanoUsd>(0, sum) : up_to;
  };
  account.lease.up_to = shifted(account.lease.up_to);
  account.lease.durable = std::min(account.lease.up_to, shifted(account.lease.durable));
  for (WrittenLease& written : written_leases_) {
    written.up_to = written.key == leg.account ? shifted(written.up_to) : written.up_to;
  }
  if (by < 0) {
    LowerWarned(leg.account, account, time_ns);
  }
  Warn(leg.account.number, leg.account, account);
}

void Book::LowerWarned(AccountKey key, Account& account, int64_t time_ns) {
  const BudgetSpec& budget = budgets_.at(key.number);
  const Account all = WarnedOf(key, account);
  uint8_t crossed = 0;
  for (const uint8_t percent : budget.warn_percent) {
    if (__int128{all.debits} * 100 >= __int128{all.limit} * percent) {
      crossed = std::max(crossed, percent);
    }
  }
  const auto lower = [&](Account& one) {
    if (one.warned_percent > crossed) {
      one.warned_percent = crossed;
      one.lowered_percent = crossed;
      one.lowered_at_ns = time_ns;
      refused_.erase(key.number);
    }
  };
  if (budget.period != Period::kRolling) {
    return lower(account);
  }
  // What was told stands in the bucket that crossed it.
  for (const auto& [bucket, unused] : BucketsUntil(NewestBeside(key, account))) {
    lower(accounts_.at(bucket));
  }
}

}  // namespace tradewind::ledger
