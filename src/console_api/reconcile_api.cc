// /tw/v1/reconcile: providers' bills against what was recorded here, month by month
// (docs/operating/reconcile.md). The operator's alone.
#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "billing/bill_boundary.h"
#include "billing/meter.h"
#include "billing/price_proposal.h"
#include "billing/remote_bill.h"
#include "billing/usage_json.h"
#include "billing/usd.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "console_api/sight.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::console_api {
namespace {

using billing::BillLine;
using billing::BillPeriod;
using billing::Difference;
using dialects::JsonWriter;
using ledger::NanoUsd;

constexpr int64_t kNanosPerSecond = 1'000'000'000;

NanoUsd SumOf(const std::vector<Difference>& differences) {
  NanoUsd sum = 0;
  for (const Difference& difference : differences) {
    sum += difference.amount();
  }
  return sum;
}

void Money(JsonWriter& json, std::string_view name, NanoUsd amount) {
  json.Field(name, std::to_string(amount));
}

void Count(JsonWriter& json, std::string_view name, const std::optional<int64_t>& count) {
  json.Key(name);
  count.has_value() ? json.Value(*count) : json.Null();
}

void WriteLine(const BillLine& line, JsonWriter& json) {
  json.Field("model", line.model).Field("from", FormatTime(line.start_s));
  json.Field("to", FormatTime(line.end_s)).Field("invoice", line.is_invoice);
  json.Key("billed").BeginObject();
  json.Key("cost_nanousd");
  line.cost.has_value() ? json.Value(std::to_string(*line.cost)) : json.Null();
  Count(json, "requests", line.requests);
  Count(json, "input_tokens", line.input_tokens);
  Count(json, "output_tokens", line.output_tokens);
  json.EndObject();
}

// What stands on a bill, where the requests that it is compared with were set aside.
void WriteSetAside(const billing::ImportedBill& bill, JsonWriter& json) {
  NanoUsd billed = 0;
  for (const BillLine& line : bill.lines) {
    billed += line.cost.value_or(0);
  }
  Money(json, "billed_nanousd", billed);
  json.Field("set_aside_until", FormatTime(bill.set_aside_until_s.value_or(0)));
  for (const char* unknown :
       {"recorded_nanousd", "unexplained", "tolerated_nanousd", "sum_explained", "in_doubt"}) {
    json.Key(unknown).Null();
  }
  json.Key("lines").BeginArray();
  for (const BillLine& line : bill.lines) {
    json.BeginObject();
    for (const char* unknown : {"class", "explained", "difference_nanousd", "recorded"}) {
      json.Key(unknown).Null();
    }
    WriteLine(line, json);
    json.EndObject();
  }
  json.EndArray().Key("prices").BeginArray().EndArray();
}

void WriteDifference(const Difference& difference, JsonWriter& json) {
  json.BeginObject().Field("class", billing::DifferenceClassName(difference.kind));
  json.Field("explained", billing::IsExplained(difference.kind));
  Money(json, "difference_nanousd", difference.amount());
  WriteLine(difference.line, json);
  json.Key("recorded").BeginObject();
  Money(json, "cost_nanousd", difference.local.cost);
  json.Field("requests", difference.local.requests);
  json.Field("input_tokens", difference.local.input_tokens);
  json.Field("output_tokens", difference.local.output_tokens);
  json.Field("unpriced", difference.local.unpriced);
  json.Field("in_doubt", difference.local.in_doubt);
  json.Field("estimated", difference.local.estimated.requests);
  json.EndObject().EndObject();
}

// Prices change by an operator's hand alone: this says which, and the line that does it.
void WriteProposals(const std::vector<Difference>& differences, JsonWriter& json) {
  json.Key("prices").BeginArray();
  for (const billing::PriceProposal& proposal : billing::ProposePrices(differences)) {
    json.BeginObject().Field("model", proposal.model).Field("lines", proposal.lines);
    for (const auto& [name, price] :
         {std::pair("input_usd_per_mtok", &proposal.input),
          std::pair("cached_input_usd_per_mtok", &proposal.cached_input),
          std::pair("output_usd_per_mtok", &proposal.output)}) {
      json.Key(name);
      price->has_value() ? json.Value((*price)->ToString()) : json.Null();
    }
    json.Field("confirmed_by", proposal.confirmed_by).Field("exact", proposal.is_exact);
    json.Field("none_because", proposal.none_because).Field("config", proposal.config);
    json.EndObject();
  }
  json.EndArray();
}

struct Errand {
  std::string provider, text, from, to;
  bool invoice = false, replace = false;
};

Result<Errand> ReadErrand(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  dialects::Fields fields(object);
  Errand errand;
  fields.Text("provider", errand.provider);
  fields.Text("bill", errand.text);
  fields.Text("from", errand.from);
  fields.Text("to", errand.to);
  fields.Flag("invoice", errand.invoice);
  fields.Flag("replace", errand.replace);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a provider's bill"));
  if (errand.provider.empty() || errand.provider.size() > 64) {
    return Fail(ErrorCode::kInvalidArgument, "`provider` has to be the name of a provider.",
                "provider");
  }
  return errand;
}

// `from` and `to` of a bill say that it is all there is of that time, so that it replaces what was
// imported of it before.
Result<std::optional<std::pair<int64_t, int64_t>>> WholeTimeOf(const Errand& errand,
                                                               std::span<const BillLine> lines) {
  if (errand.from.empty() && errand.to.empty()) {
    return std::nullopt;
  }
  const auto from = billing::ReadBillTime(errand.from), to = billing::ReadBillTime(errand.to);
  const bool is_time = from.has_value() && to.has_value() && *from < *to && !errand.invoice;
  if (!is_time || !std::ranges::all_of(lines, [&](const BillLine& line) {
        return *from <= line.start_s && line.end_s <= *to;
      })) {
    return Fail(ErrorCode::kInvalidArgument,
                "`from` and `to` are the dates that all lines of a bill lie between, and that it "
                "covers; an invoice has none.",
                "from");
  }
  return std::pair(*from, *to);
}

// Lines that tell tokens alone, where another one tells what all models of their time cost
// together: their costs are in that one's.
bool IsPartOfAnother(const Difference& difference, const std::vector<Difference>& all) {
  const BillLine& line = difference.line;
  return !line.cost.has_value() && std::ranges::any_of(all, [&](const Difference& other) {
    return other.line.model.empty() && other.line.cost.has_value() &&
           other.line.start_s == line.start_s && other.line.end_s == line.end_s;
  });
}

}  // namespace

// The provider is owed what its bill says; what was not recorded here is nobody's cost yet.
Status MoneyApi::PostSuspense(const std::string& provider, const BillPeriod& period,
                              const std::vector<Difference>& differences) {
  const std::string name = billing::SuspenseName(provider, period);
  const NanoUsd posted = -ledger_.OwedTo(name);
  const NanoUsd more = SumOf(differences) - posted;
  if (more == 0) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber suspense, ledger_.Payee(name));
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber payee, ledger_.Payee("provider:" + provider));
  const std::string text = billing::TransferText("suspense", provider, period, "bill imported");
  return more > 0 ? ledger_.Transfer(suspense, payee, more, text)
                  : ledger_.Transfer(payee, suspense, -more, text);
}

Result<http::Response> MoneyApi::AnswerPeriod(const std::string& wanted, const BillPeriod& period) {
  std::vector<std::string> providers = {wanted};
  if (wanted.empty()) {
    TW_ASSIGN_OR_RETURN(providers, recorder_.BilledProviders(period));
  }
  // Of one that is not over more will be billed.
  const bool is_over = NowS() >= period.to_s;
  const auto reach = is_over ? billing::BillReach::kWholeMonth : billing::BillReach::kItsLines;
  const billing::Recorder::Stillness still = recorder_.HoldStill();
  DifferencesOf found;
  BillsOf set_aside;
  for (const std::string& provider : providers) {
    TW_ASSIGN_OR_RETURN(billing::ImportedBill bill, recorder_.BillOf(provider, period));
    if (bill.set_aside_until_s.has_value()) {
      set_aside[provider] = std::move(bill);
    } else {
      TW_ASSIGN_OR_RETURN(found[provider], recorder_.Differences(provider, period, reach));
    }
  }
  return AnswerWith(period, found, set_aside);
}

Result<http::Response> MoneyApi::AnswerWith(const BillPeriod& period, const DifferencesOf& found,
                                            const BillsOf& set_aside) {
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.reconcile/v1").Field("period", period.name);
  json.Key("providers").BeginArray();
  const auto begin = [&](const std::string& provider, bool has_invoice) -> Status {
    TW_ASSIGN_OR_RETURN(const bool is_closed, recorder_.IsClosed(provider, period));
    json.BeginObject().Field("provider", provider).Field("closed", is_closed);
    json.Field("invoices_alone", has_invoice);
    Money(json, "suspense_nanousd", -ledger_.OwedTo(billing::SuspenseName(provider, period)));
    return {};
  };
  for (const auto& [provider, bill] : set_aside) {
    TW_RETURN_IF_ERROR(begin(provider, std::ranges::any_of(bill.lines, &BillLine::is_invoice)));
    WriteSetAside(bill, json);
    json.EndObject();
  }
  for (const auto& [provider, differences] : found) {
    NanoUsd billed = 0, recorded = 0;
    for (const Difference& difference : differences) {
      if (!IsPartOfAnother(difference, differences)) {
        recorded += difference.local.cost;
        billed += difference.local.cost + difference.amount();
      }
    }
    TW_RETURN_IF_ERROR(begin(provider, std::ranges::any_of(differences, [](const Difference& one) {
                               return one.line.is_invoice;
                             })));
    Money(json, "billed_nanousd", billed);
    json.Key("set_aside_until").Null();
    Money(json, "recorded_nanousd", recorded);
    json.Field("unexplained", std::ranges::count_if(differences, [](const Difference& one) {
                 return !billing::IsExplained(one.kind);
               }));
    const billing::BillSum sum = billing::SumUp(differences);
    Money(json, "tolerated_nanousd", sum.apart);
    json.Field("sum_explained", sum.IsWithinTolerance());
    TW_ASSIGN_OR_RETURN(const int64_t open, recorder_.CountOpenOf(provider, period));
    json.Field("in_doubt", open);
    json.Key("lines").BeginArray();
    for (const Difference& difference : differences) {
      WriteDifference(difference, json);
    }
    json.EndArray();
    WriteProposals(differences, json);
    json.EndObject();
  }
  return JsonResponse(json.EndArray().EndObject().Take());
}

Result<MoneyApi::DifferencesOf> MoneyApi::TakeLines(const std::string& provider,
                                                    std::span<const BillPeriod> periods,
                                                    const std::function<Status()>& put) {
  TW_RETURN_IF_ERROR(put());
  DifferencesOf last;
  for (const BillPeriod& period : periods) {
    TW_ASSIGN_OR_RETURN(last[provider], recorder_.Differences(provider, period));
    TW_RETURN_IF_ERROR(PostSuspense(provider, period, last[provider]));
    TW_RETURN_IF_ERROR(recorder_.TellDifferences(provider, period, last[provider],
                                                 SystemClock().UnixSeconds() * kNanosPerSecond));
  }
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  return last;
}

Result<std::vector<BillPeriod>> MoneyApi::OpenPeriods(const std::string& provider,
                                                      std::span<const BillLine> lines) {
  std::vector<BillPeriod> periods;
  for (const BillLine& line : lines) {
    const BillPeriod period = billing::MonthOf(line.start_s);
    if (line.end_s > period.to_s) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("A line goes from {} to {}: months are settled one by one.",
                              FormatTime(line.start_s), FormatTime(line.end_s)),
                  "file");
    }
    if (std::ranges::find(periods, period.name, &BillPeriod::name) != periods.end()) {
      continue;
    }
    TW_ASSIGN_OR_RETURN(const int64_t set_aside_until_ns, recorder_.SetAsideUntil());
    if (line.start_s < set_aside_until_ns / kNanosPerSecond) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("Requests until {} were set aside into HOME/archive, and a bill of {} "
                      "cannot be compared with them; keep them longer with [billing] "
                      "keep_requests.",
                      FormatTime(set_aside_until_ns / kNanosPerSecond), period.name),
          "period");
    }
    TW_ASSIGN_OR_RETURN(const bool is_closed, recorder_.IsClosed(provider, period));
    if (is_closed) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{0} of {1} is closed. To take this bill, open it with `tradewind "
                              "reconcile reopen {0} --provider {1} --reason TEXT`, and close it "
                              "again behind the bill.",
                              period.name, provider),
                  "period");
    }
    periods.push_back(period);
  }
  return periods;
}

// Month by month: one that was closed early takes nothing away from the one before.
Status MoneyApi::TakeUsage(const std::string& provider, int64_t from_s, int64_t to_s,
                           std::vector<BillLine> lines) {
  const std::lock_guard lock(reconciling_);
  while (from_s < to_s) {
    const BillPeriod month = billing::MonthOf(from_s);
    const int64_t end_s = std::min(to_s, month.to_s);
    std::vector<BillLine> taken;
    std::ranges::copy_if(lines, std::back_inserter(taken), [&](const BillLine& line) {
      return from_s <= line.start_s && line.start_s < end_s;
    });
    TW_ASSIGN_OR_RETURN(const bool is_closed, recorder_.IsClosed(provider, month));
    if (!is_closed && !taken.empty()) {
      TW_ASSIGN_OR_RETURN(const std::vector<BillPeriod> periods, OpenPeriods(provider, taken));
      const auto found = TakeLines(provider, periods, [&] {
        return recorder_.ReplaceBillLines(provider, from_s, end_s, taken);
      });
      if (!found.has_value()) {
        return Fail(found.error());
      }
    }
    from_s = month.to_s;
  }
  return {};
}

// A provider that the config has no more may bill yet; a bill of one that never was here would be
// owed to nobody, and be missed where it belongs.
Result<std::string> MoneyApi::BilledProvider(const std::string& name) {
  const std::vector<ledger::PayeeState> payees = ledger_.Payees();
  const bool was_here =
      std::ranges::find(payees, "provider:" + name, &ledger::PayeeState::name) != payees.end();
  if (was_here || !catalog_) {
    return name;
  }
  TW_ASSIGN_OR_RETURN(const auto catalog, catalog_());
  return NameInCatalog(*catalog, billing::kProviderScope, name, "provider");
}

Result<http::Response> MoneyApi::ImportBill(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(Errand errand, ReadErrand(request.body));
  TW_ASSIGN_OR_RETURN(errand.provider, BilledProvider(errand.provider));
  const bool is_json = errand.text.substr(0, errand.text.find('{')).find_first_not_of(" \t\r\n") ==
                           std::string::npos &&
                       errand.text.find('{') != std::string::npos;
  TW_ASSIGN_OR_RETURN(const std::vector<BillLine> lines,
                      is_json ? billing::ReadUsageJson(errand.text, errand.provider, errand.invoice)
                              : billing::ReadBillCsv(errand.text, errand.provider, errand.invoice));
  if (lines.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "The bill has no lines.", "file");
  }
  constexpr int64_t kDayS = 86'400;  // a provider's clock may be ahead, and his zone another
  for (const BillLine& line : lines) {
    if (line.start_s > NowS() + kDayS) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("A line is of {}, which is to come: correct its date.",
                              billing::MonthOf(line.start_s).name),
                  "file");
    }
  }
  TW_ASSIGN_OR_RETURN(const auto whole, WholeTimeOf(errand, lines));
  TW_ASSIGN_OR_RETURN(std::vector<BillPeriod> periods, OpenPeriods(errand.provider, lines));
  if (whole.has_value()) {
    // What is replaced is in months, too, that have no line any more.
    std::vector<BillLine> months;
    for (int64_t at_s = whole->first; at_s < whole->second; at_s = billing::MonthOf(at_s).to_s) {
      BillLine& month = months.emplace_back();
      month.start_s = month.end_s = at_s;
    }
    TW_ASSIGN_OR_RETURN(periods, OpenPeriods(errand.provider, months));
  }
  const auto put = [&] {
    return whole.has_value() ? recorder_.ReplaceBillLines(errand.provider, whole->first,
                                                          whole->second, lines, errand.replace)
                             : recorder_.PutBillLines(lines, errand.replace);
  };
  TW_ASSIGN_OR_RETURN(const DifferencesOf found, TakeLines(errand.provider, periods, put));
  return AnswerWith(periods.back(), found);
}

Result<http::Response> MoneyApi::AnswerReconcile(const http::Request& request,
                                                 std::string_view rest,
                                                 const identity::Principal& caller) {
  if (!caller.is_admin_token) {
    return Fail(ErrorCode::kPermissionDenied,
                "Providers' bills are the operator's: use the admin token.");
  }
  const std::lock_guard lock(reconciling_);
  if (rest.empty()) {
    if (request.method != "GET") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET.");
    }
    constexpr std::array<std::string_view, 2> kFields = {"period", "provider"};
    const http::Query query = http::ParseQuery(request.query);
    TW_RETURN_IF_ERROR(CheckFields(query, kFields));
    BillPeriod period = billing::MonthOf(SystemClock().UnixSeconds());
    if (const std::string name = http::First(query, "period"); !name.empty()) {
      TW_ASSIGN_OR_RETURN(period, billing::ParseBillMonth(name));
    }
    std::string provider = http::First(query, "provider");
    if (!provider.empty()) {
      TW_ASSIGN_OR_RETURN(provider, BilledProvider(provider));
    }
    return AnswerPeriod(provider, period);
  }
  if (request.method == "POST" && rest == "/resolve") {
    return Resolve(request, caller);
  }
  if (request.method == "POST" && rest == "/import") {
    return ImportBill(request);
  }
  if (request.method == "POST" && (rest == "/close" || rest == "/reopen")) {
    return rest == "/close" ? ClosePeriod(request) : ReopenPeriod(request);
  }
  return Fail(ErrorCode::kNotFound, "There is import, close, reopen and resolve, by POST.");
}

}  // namespace tradewind::console_api
