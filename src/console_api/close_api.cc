// Of MoneyApi: a provider's month is closed, and opened again for a bill that came late
// (docs/operating/reconcile.md).
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "billing/bill_boundary.h"
#include "billing/bill_period.h"
#include "billing/usd.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"

namespace tradewind::console_api {
namespace {

using billing::BillPeriod;
using billing::Difference;
using ledger::NanoUsd;

constexpr int64_t kNanosPerSecond = 1'000'000'000;

struct Closing {
  std::string provider;
  BillPeriod period;
  std::string why;
};

// `why`: what the field with the reason is called.
Result<Closing> ReadClosing(std::string_view body, std::string_view why) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  dialects::Fields fields(object);
  Closing closing;
  std::string period;
  fields.Text("provider", closing.provider);
  fields.Text("period", period);
  fields.Text(why, closing.why);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a close"));
  if (closing.provider.empty() || closing.provider.size() > 64) {
    return Fail(ErrorCode::kInvalidArgument, "`provider` has to be the name of a provider.",
                "provider");
  }
  TW_ASSIGN_OR_RETURN(closing.period, billing::ParseBillMonth(period));
  return closing;
}

// What nothing explains, and how much of it is no matter of the bill's lines: they say nothing of
// its time.
Status CheckExplained(const Closing& closing, const std::vector<Difference>& differences) {
  const BillPeriod& period = closing.period;
  int64_t unexplained = 0, uncovered = 0;
  NanoUsd uncovered_cost = 0;
  for (const Difference& one : differences) {
    const bool counts = !billing::IsExplained(one.kind);
    unexplained += counts ? 1 : 0;
    uncovered += counts && one.is_uncovered ? one.local.requests : 0;
    uncovered_cost += counts && one.is_uncovered ? one.local.cost : 0;
  }
  if (unexplained > 0) {
    const std::string rest = uncovered == 0
                                 ? ""
                                 : fmt::format(
                                       " Among them are {} requests ({}) of times that no line is "
                                       "of: import the rest of the bill.",
                                       uncovered, billing::FormatUsd(uncovered_cost));
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} of {} has {} differences that nothing explains (tradewind "
                            "reconcile status).{} Otherwise say with --accept why it is closed "
                            "all the same.",
                            period.name, closing.provider, unexplained, rest),
                "accept");
  }
  if (const billing::BillSum sum = billing::SumUp(differences); !sum.IsWithinTolerance()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The lines of {} of {}, each within its tolerance, are {} off in all, "
                            "which is more than 0.5 % and $0.01 of their sum; say with --accept "
                            "why it is closed all the same.",
                            period.name, closing.provider, billing::FormatUsd(sum.apart)),
                "accept");
  }
  return {};
}

}  // namespace

Result<http::Response> MoneyApi::ClosePeriod(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(const Closing closing, ReadClosing(request.body, "accept"));
  const BillPeriod& period = closing.period;
  TW_ASSIGN_OR_RETURN(const bool is_closed, recorder_.IsClosed(closing.provider, period));
  if (is_closed) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} of {} is closed.", period.name, closing.provider), "period");
  }
  const billing::Recorder::Stillness still = recorder_.HoldStill();
  TW_ASSIGN_OR_RETURN(const int64_t open, recorder_.CountOpenOf(closing.provider, period));
  TW_ASSIGN_OR_RETURN(billing::ImportedBill bill, recorder_.BillOf(closing.provider, period));
  if (bill.lines.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("No bill of {} for {} was imported.", closing.provider, period.name),
                "period");
  }
  if (open > 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} requests of {} to {} run or are in doubt, and what they cost is "
                            "not known: wait for it, a day at most, or say what you know with "
                            "`tradewind reconcile resolve` (`tradewind requests --state in_doubt` "
                            "lists them).",
                            open, period.name, closing.provider),
                "period");
  }
  TW_ASSIGN_OR_RETURN(const int64_t set_aside_until_ns, recorder_.SetAsideUntil());
  const int64_t until_s = set_aside_until_ns / kNanosPerSecond;
  if (closing.why.empty() && (period.from_s < until_s || bill.set_aside_until_s.has_value())) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Requests until {} were set aside into HOME/archive, and cannot be "
                            "compared with the bill; say with --accept why {} is closed all the "
                            "same.",
                            FormatTime(until_s), period.name),
                "accept");
  }
  // What its last import posted stands where the lines' own time was set aside since.
  DifferencesOf found;
  BillsOf set_aside;
  if (bill.set_aside_until_s.has_value()) {
    set_aside[closing.provider] = std::move(bill);
  } else {
    TW_ASSIGN_OR_RETURN(
        found[closing.provider],
        recorder_.Differences(closing.provider, period, billing::BillReach::kWholeMonth));
  }
  if (closing.why.empty()) {
    TW_RETURN_IF_ERROR(CheckExplained(closing, found[closing.provider]));
    if (NowS() < period.to_s) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is not over: close it when it is, or say with --accept why it is "
                              "closed all the same.",
                              period.name),
                  "accept");
    }
  }
  if (set_aside.empty()) {
    TW_RETURN_IF_ERROR(PostSuspense(closing.provider, period, found[closing.provider]));
  }
  const std::string name = billing::SuspenseName(closing.provider, period);
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber suspense, ledger_.Payee(name));
  const NanoUsd owed = -ledger_.OwedTo(name);
  const std::string text = billing::TransferText("close", closing.provider, period, closing.why);
  TW_RETURN_IF_ERROR(owed >= 0 ? ledger_.Transfer(ledger::kExpense, suspense, owed, text)
                               : ledger_.Transfer(suspense, ledger::kExpense, -owed, text));
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  return AnswerWith(period, found, set_aside);
}

// What the close made the operator's expense is in suspense again, as behind the last import.
Result<http::Response> MoneyApi::ReopenPeriod(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(const Closing closing, ReadClosing(request.body, "reason"));
  const auto& [provider, period, why] = closing;
  if (why.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        "Say with `reason` (--reason TEXT) why the month is opened again: the journal keeps it.",
        "reason");
  }
  TW_ASSIGN_OR_RETURN(const bool is_closed, recorder_.IsClosed(provider, period));
  if (!is_closed) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} of {} is not closed.", period.name, provider), "period");
  }
  const billing::Recorder::Stillness still = recorder_.HoldStill();
  TW_ASSIGN_OR_RETURN(const int64_t set_aside_until_ns, recorder_.SetAsideUntil());
  if (const int64_t until_s = set_aside_until_ns / kNanosPerSecond; period.from_s < until_s) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Requests until {} were set aside into HOME/archive, and no bill of {} "
                            "can be compared with them any more: it stays closed.",
                            FormatTime(until_s), period.name),
                "period");
  }
  TW_ASSIGN_OR_RETURN(const auto closes,
                      recorder_.Transfers(billing::TransferText("close", provider, period)));
  const billing::TransferRow& last = closes.back();
  TW_RETURN_IF_ERROR(ledger_.Transfer(last.credit, last.debit, last.amount,
                                      billing::TransferText("reopen", provider, period, why)));
  TW_ASSIGN_OR_RETURN(const std::vector<Difference> differences,
                      recorder_.Differences(provider, period));
  TW_RETURN_IF_ERROR(PostSuspense(provider, period, differences));
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  return AnswerPeriod(provider, period);
}

}  // namespace tradewind::console_api
