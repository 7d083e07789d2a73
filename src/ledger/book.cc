// What may happen: decisions and views. What happens is in book_apply.cc.
#include "ledger/book.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

std::unexpected<Refusal> Refuse(Refusal::Reason reason, std::string detail = {}) {
  Refusal refusal;
  refusal.reason = reason;
  refusal.detail = std::move(detail);
  return std::unexpected(std::move(refusal));
}

bool IsAmount(NanoUsd amount) {
  return amount >= 0 && amount <= kAmountMax;
}

Window OfDefinition(const BudgetSpec& budget, int64_t unix_s) {
  return budget.period == Period::kRolling
             ? BucketOf(budget.span_s, unix_s)
             : WindowOf(budget.period, budget.zone, unix_s, budget.first_day);
}

Status CheckName(std::string_view name) {
  if (name.empty() || name.size() > 256) {
    return Fail(ErrorCode::kInvalidArgument, "the name has to have 1 to 256 bytes", "name");
  }
  return {};
}

}  // namespace

NanoUsd Account::available() const {
  const __int128 left = __int128{limit} + credits - debits - pending - unaccounted;
  const __int128 most = std::numeric_limits<NanoUsd>::max();
  return static_cast<NanoUsd>(std::clamp(left, -most, most));
}

std::string_view RefusalName(Refusal::Reason reason) {
  switch (reason) {
    case Refusal::Reason::kBudget:
      return "budget_exhausted";
    case Refusal::Reason::kCredit:
      return "credit_exhausted";
    case Refusal::Reason::kDuplicate:
      return "duplicate_hold";
    case Refusal::Reason::kTooMany:
      return "too_many_holds";
    case Refusal::Reason::kAmount:
      return "amount_out_of_range";
    case Refusal::Reason::kNoHold:
      return "no_such_hold";
    case Refusal::Reason::kStopped:
      return "ledger_stopped";
    case Refusal::Reason::kHandedOver:
      return "ledger_handed_over";
  }
  return "unknown";
}

Error ErrorOf(const Refusal& refusal) {
  return {refusal.reason == Refusal::Reason::kNoHold ? ErrorCode::kNotFound
                                                     : ErrorCode::kInvalidArgument,
          fmt::format("the ledger refuses: {}", RefusalName(refusal.reason))};
}

Refusal Stopped(std::string why) {
  Refusal refusal;
  refusal.reason = Refusal::Reason::kStopped;
  refusal.detail = std::move(why);
  return refusal;
}

Book::Book() {
  for (const AccountNumber fixed :
       {kExpense, kRevenue, kReceivable, kCreditSource, kBreakage, kUnknownPayee}) {
    accounts_[{fixed, 0}] = Account();
  }
}

const Window& Book::WindowNow(AccountNumber number, int64_t unix_s) {
  Window& window = windows_[number];
  if (!window.Has(unix_s)) {
    window = WindowAt(number, unix_s);
  }
  return window;
}

Window Book::WindowAt(AccountNumber number, int64_t unix_s) const {
  const BudgetSpec& budget = budgets_.at(number);
  const auto last = budget.period == Period::kRolling ? opened_.end() : opened_.find(number);
  if (last != opened_.end() && last->second.Has(unix_s)) {
    return last->second;
  }
  Window window = OfDefinition(budget, unix_s);
  if (last == opened_.end() || unix_s < last->second.start_s ||
      window.start_s >= last->second.end_s) {
    return window;
  }
  // The rules have changed: the rest of its window, or, where that is short, all of the next too.
  const int64_t start_s = last->second.end_s;
  if (window.end_s - start_s < start_s - window.start_s) {
    window.end_s = OfDefinition(budget, window.end_s).end_s;
  }
  return {start_s, window.end_s};
}

void Book::NoteOpened(AccountKey key, int64_t end_s) {
  const Window window{key.window_start_s, end_s};
  if (const auto last = opened_.find(key.number);
      last == opened_.end() || last->second.start_s < window.start_s) {
    opened_[key.number] = window;
  }
}

std::optional<Refusal> Book::AddBudgetLegs(std::span<const AccountNumber> budgets, NanoUsd cost,
                                           NanoUsd charge, int64_t time_ns, Legs& legs) {
  for (const AccountNumber number : budgets) {
    const auto found = budgets_.find(number);
    if (found == budgets_.end() || found->second.closed) {
      continue;  // closed since the request began
    }
    const BudgetSpec& budget = found->second;
    const Window& window = WindowNow(number, time_ns / kNanosPerSecond);
    Leg leg;
    leg.account = {number, window.start_s};
    if (std::ranges::count(legs.all(), leg.account, &Leg::account) > 0) {
      continue;  // a scope named twice
    }
    leg.window_end_s = window.end_s + budget.span_s;
    leg.dimension = budget.dimension;
    leg.amount = budget.dimension == Dimension::kCost ? cost : charge;
    const auto account = accounts_.find(leg.account);
    const NanoUsd available = AvailableIn(leg.account);
    if (budget.mode == Mode::kHard && leg.amount > 0 && leg.amount > available) {
      Refusal refusal;
      refusal.reason = Refusal::Reason::kBudget;
      refusal.account = number;
      refusal.asked = leg.amount;
      refusal.available = available;
      refusal.resets_at_s =
          budget.period == Period::kRolling ? FitsAt(leg.account, leg.amount) : window.end_s;
      return refusal;
    }
    NanoUsd sum = 0;
    if (account != accounts_.end() && (!AddMoney(account->second.pending, leg.amount, sum) ||
                                       !AddMoney(sum, account->second.debits, sum))) {
      Refusal refusal;
      refusal.reason = Refusal::Reason::kAmount;
      return refusal;
    }
    if (!legs.Push(leg)) {
      Refusal refusal;
      refusal.reason = Refusal::Reason::kTooMany;
      refusal.detail = fmt::format("a request falls into at most {} scopes", kLegsMax);
      return refusal;
    }
  }
  return std::nullopt;
}

void Book::NoteRefused(AccountNumber number, NanoUsd asked, int64_t time_ns) {
  if (!budgets_.contains(number)) {
    return;
  }
  const int64_t start_s = WindowNow(number, time_ns / kNanosPerSecond).start_s;
  const BudgetSpec& budget = budgets_.at(number);
  const NanoUsd limit = budget.limit;
  if (const auto [told, is_new] = refused_.try_emplace(number, start_s, limit); !is_new) {
    const auto& [told_s, told_limit] = told->second;
    if (told_limit == limit && (told_s == start_s || start_s - told_s < budget.span_s)) {
      return;
    }
    told->second = {start_s, limit};
  }
  const Account account = BudgetAccount(number, time_ns / kNanosPerSecond);
  Notice notice;
  notice.account = number;
  notice.window = {number, start_s};
  notice.amount = account.debits;
  notice.limit = limit;
  notice.asked = asked;
  notice.in_doubt = account.in_doubt;
  notice.held = account.pending - account.in_doubt;
  notice.lowered_at_ns = account.lowered_at_ns;
  notices_.push_back(notice);
}

std::expected<Record, Refusal> Book::DecideHold(const HoldRequest& request, Moment now) {
  if (!IsAmount(request.cost) || !IsAmount(request.charge) ||
      request.text.size() > kRecordTextBytesMax || request.payer.size() > kPayerBytesMax ||
      request.purposes.size() > kPurposesBytesMax) {
    return Refuse(Refusal::Reason::kAmount);
  }
  if (holds_.contains(request.id)) {
    return Refuse(Refusal::Reason::kDuplicate);
  }
  if (holds_.size() >= kOpenHoldsMax) {
    return Refuse(Refusal::Reason::kTooMany, "too many requests are open");
  }
  std::expected<Record, Refusal> decided;
  Record& record = *decided;
  record.type = RecordType::kHold;
  record.hold = request.id;
  record.cost = request.cost;
  record.charge = request.charge;
  record.price_version = request.price_version;
  record.account = request.payee;
  if (auto no =
          AddBudgetLegs(request.budgets, request.cost, request.charge, now.time_ns, record.legs);
      no.has_value()) {
    return std::unexpected(std::move(*no));
  }
  if (auto no = AddCreditLegs(request.payer, request.purposes, request.charge, now.credit_ns,
                              record.legs);
      no.has_value()) {
    return std::unexpected(std::move(*no));
  }
  if (const auto owned = wallets_.find(request.payer);
      request.charge > 0 && owned != wallets_.end()) {
    record.payer = request.payer;
    record.purposes = owned->second.scoped.empty() ? "" : request.purposes;
  }
  record.text = request.text;
  return decided;
}

std::expected<Record, Refusal> Book::DecideExtend(HoldId id, NanoUsd cost, NanoUsd charge,
                                                  std::string_view payer, Moment now) {
  const auto found = holds_.find(id);
  if (found == holds_.end()) {
    return Refuse(Refusal::Reason::kNoHold);
  }
  const OpenHold& hold = found->second;
  if (!IsAmount(cost) || !IsAmount(charge) || !IsAmount(hold.cost + cost) ||
      !IsAmount(hold.charge + charge)) {
    return Refuse(Refusal::Reason::kAmount);
  }
  std::expected<Record, Refusal> decided;
  Record& record = *decided;
  record.type = RecordType::kExtend;
  record.hold = id;
  record.cost = cost;
  record.charge = charge;
  // The windows in which it was admitted, not those of now: nothing slips over a boundary.
  for (const Leg& leg : hold.legs.all()) {
    if (leg.is_credit) {
      continue;
    }
    Leg more = leg;
    more.amount = leg.dimension == Dimension::kCost ? cost : charge;
    NanoUsd available = AvailableIn(leg.account);
    if (budgets_.at(leg.account.number).period == Period::kRolling &&
        accounts_.at(leg.account).window_end_s <= now.time_ns / kNanosPerSecond) {
      available = 0;  // what counted beside it may be forgotten
    }
    if (budgets_.at(leg.account.number).mode == Mode::kHard && more.amount > 0 &&
        more.amount > available) {
      Refusal refusal;
      refusal.reason = Refusal::Reason::kBudget;
      refusal.account = leg.account.number;
      refusal.asked = more.amount;
      refusal.available = available;
      refusal.resets_at_s = accounts_.at(leg.account).window_end_s;
      return std::unexpected(std::move(refusal));
    }
    record.legs.Push(more);
  }
  if (auto no = AddCreditLegs(payer, hold.purposes, charge, now.credit_ns, record.legs);
      no.has_value()) {
    return std::unexpected(std::move(*no));
  }
  const auto others = std::ranges::count_if(record.legs.all(), [&](const Leg& more) {
    return std::ranges::count(hold.legs.all(), more.account, &Leg::account) == 0;
  });
  if (hold.legs.size() + static_cast<size_t>(others) > kLegsMax) {
    return Refuse(Refusal::Reason::kTooMany, "its parts are on too many accounts");
  }
  return decided;
}

std::expected<Record, Refusal> Book::DecideSettle(HoldId id, NanoUsd cost, NanoUsd charge,
                                                  std::string text, int64_t credit_ns) const {
  const auto found = holds_.find(id);
  if (found == holds_.end()) {
    return Refuse(Refusal::Reason::kNoHold);
  }
  charge = std::min(charge, found->second.charge);
  if (!IsAmount(cost) || !IsAmount(charge) || text.size() > kRecordTextBytesMax ||
      !CanPost(found->second, cost, charge)) {
    return Refuse(Refusal::Reason::kAmount);
  }
  std::expected<Record, Refusal> decided;
  decided->type = RecordType::kSettle;
  decided->hold = id;
  decided->cost = cost;
  decided->charge = charge;
  decided->legs = SharesOf(found->second, decided->charge, credit_ns);
  decided->text = std::move(text);
  return decided;
}

std::expected<Record, Refusal> Book::DecideStep(RecordType type, HoldId id,
                                                std::string text) const {
  const auto found = holds_.find(id);
  if (found == holds_.end()) {
    return Refuse(Refusal::Reason::kNoHold);
  }
  std::expected<Record, Refusal> decided;
  decided->type = type;
  decided->hold = id;
  text.resize(std::min(text.size(), kRecordTextBytesMax));
  decided->text = std::move(text);
  return decided;
}

std::expected<Record, Refusal> Book::DecideProgress(HoldId id, NanoUsd cost, NanoUsd charge,
                                                    Metering metering, std::string text) const {
  const auto found = holds_.find(id);
  if (found == holds_.end()) {
    return Refuse(Refusal::Reason::kNoHold);
  }
  if (!IsAmount(cost) || !IsAmount(charge)) {
    return Refuse(Refusal::Reason::kAmount);
  }
  const OpenHold& hold = found->second;
  const bool has_ended = metering == Metering::kEnded;
  std::expected<Record, Refusal> decided;
  decided->type = RecordType::kProgress;
  decided->hold = id;
  // What was metered of something that runs is never taken back.
  decided->cost = has_ended ? cost : std::max(cost, hold.metered_cost);
  decided->charge = has_ended ? charge : std::max(charge, hold.metered_charge);
  text.resize(std::min(text.size(), kRecordTextBytesMax));
  decided->text = std::move(text);
  return decided;
}

Result<Record> Book::DecideBudget(const BudgetSpec& budget, int64_t time_ns) const {
  TW_RETURN_IF_ERROR(CheckName(budget.name));
  if (!IsAmount(budget.limit)) {
    return Fail(ErrorCode::kInvalidArgument, "a budget is 0 to 1,000,000 USD", "budget");
  }
  TW_RETURN_IF_ERROR(CheckZone(budget.zone));
  TW_RETURN_IF_ERROR(CheckWindows(budget.period, budget.first_day, budget.span_s));
  Record record;
  record.type = RecordType::kBudget;
  record.account = FindBudget(budget.name).value_or(next_number_);
  record.budget = budget;
  if (const BudgetSpec* known = BudgetOf(record.account);
      known != nullptr && known->HasSameWindows(budget) && opened_.contains(record.account)) {
    return record;
  }
  // The window of another period may begin at the same instant: what was used since counts in it.
  Window window = OfDefinition(budget, time_ns / kNanosPerSecond);
  window.end_s += budget.span_s;
  const auto account = accounts_.find({record.account, window.start_s});
  if (!budget.closed && account != accounts_.end() &&
      account->second.window_end_s != window.end_s) {
    record.key.window_start_s = window.start_s;
    record.window_end_s = window.end_s;
  }
  return record;
}

Result<Record> Book::DecidePayee(std::string_view name) const {
  TW_RETURN_IF_ERROR(CheckName(name));
  Record record;
  record.type = RecordType::kPayee;
  record.account = FindPayee(name).value_or(next_number_);
  record.text = name;
  return record;
}

bool Book::IsPlainMoney(AccountNumber number) const {
  return number < kFirstNumber ? accounts_.contains({number, 0}) : payees_.contains(number);
}

Result<Record> Book::DecideTransfer(AccountNumber debit, AccountNumber credit, NanoUsd amount,
                                    std::string text) const {
  if (!IsAmount(amount) || text.size() > kRecordTextBytesMax) {
    return Fail(ErrorCode::kInvalidArgument, "a transfer is 0 to 1,000,000 USD", "amount");
  }
  if (debit == credit || !IsPlainMoney(debit) || !IsPlainMoney(credit) ||
      !Fits({debit, 0}, {credit, 0}, amount)) {
    return Fail(ErrorCode::kInvalidArgument, "a transfer is between two money accounts", "account");
  }
  Record record;
  record.type = RecordType::kTransfer;
  record.account = debit;
  record.key.number = credit;
  record.cost = amount;
  record.text = std::move(text);
  return record;
}

std::optional<AccountNumber> Book::FindBudget(std::string_view name) const {
  const auto found = budget_names_.find(name);
  return found == budget_names_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<AccountNumber> Book::FindPayee(std::string_view name) const {
  const auto found = payee_names_.find(name);
  return found == payee_names_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<AccountNumber> Book::FindCredit(std::string_view name) const {
  const auto found = credit_names_.find(name);
  return found == credit_names_.end() ? std::nullopt : std::optional(found->second);
}

const BudgetSpec* Book::BudgetOf(AccountNumber number) const {
  const auto found = budgets_.find(number);
  return found == budgets_.end() ? nullptr : &found->second;
}

Account Book::BudgetAccount(AccountNumber number, int64_t unix_s) {
  if (BudgetOf(number) == nullptr) {
    return {};
  }
  const Window window = WindowNow(number, unix_s);
  if (budgets_.at(number).period == Period::kRolling) {
    return SumUntil({number, window.start_s});
  }
  const auto found = accounts_.find({number, window.start_s});
  if (found != accounts_.end()) {
    return found->second;
  }
  Account unused;
  unused.limit = budgets_.at(number).limit;
  unused.window_end_s = window.end_s;
  return unused;
}

Account Book::AccountOf(AccountKey key) const {
  const auto found = accounts_.find(key);
  return found == accounts_.end() ? Account() : found->second;
}

const OpenHold* Book::Find(HoldId id) const {
  const auto found = holds_.find(id);
  return found == holds_.end() ? nullptr : &found->second;
}

}  // namespace tradewind::ledger
