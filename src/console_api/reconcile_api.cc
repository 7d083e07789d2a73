// /tw/v1/reconcile: providers' bills against what was recorded here, month by month
// (docs/operating/reconcile.md). The operator's alone.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "billing/price_proposal.h"
#include "billing/remote_bill.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "console_api/usage_json.h"
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

constexpr char kSeparator = '\x1F';

// The texts of transfers: what was done, of whose bill, of which month, and why.
std::string TransferText(std::string_view what, std::string_view provider, const BillPeriod& period,
                         std::string_view why) {
  constexpr size_t kWhyBytesMax = 1024;
  std::string reason(why.substr(0, kWhyBytesMax));
  std::ranges::replace(reason, kSeparator, ' ');
  return fmt::format("{}{}{}{}{}{}{}", what, kSeparator, provider, kSeparator, period.name,
                     kSeparator, reason);
}

// Of a provider's month: what its bill says beyond what was recorded, for as long as nobody has
// accepted it.
std::string SuspenseName(std::string_view provider, const BillPeriod& period) {
  return fmt::format("suspense:{}/{}", provider, period.name);
}

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

void WriteDifference(const Difference& difference, JsonWriter& json) {
  const BillLine& line = difference.line;
  json.BeginObject().Field("class", billing::DifferenceClassName(difference.kind));
  json.Field("explained", billing::IsExplained(difference.kind));
  json.Field("model", line.model).Field("from", FormatTime(line.start_s));
  json.Field("to", FormatTime(line.end_s)).Field("invoice", line.is_invoice);
  Money(json, "difference_nanousd", difference.amount());
  json.Key("billed").BeginObject();
  json.Key("cost_nanousd");
  line.cost.has_value() ? json.Value(std::to_string(*line.cost)) : json.Null();
  Count(json, "requests", line.requests);
  Count(json, "input_tokens", line.input_tokens);
  Count(json, "output_tokens", line.output_tokens);
  json.EndObject().Key("recorded").BeginObject();
  Money(json, "cost_nanousd", difference.local.cost);
  json.Field("requests", difference.local.requests);
  json.Field("input_tokens", difference.local.input_tokens);
  json.Field("output_tokens", difference.local.output_tokens);
  json.Field("unpriced", difference.local.unpriced);
  json.Field("in_doubt", difference.local.in_doubt);
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

int64_t InDoubt(const std::vector<Difference>& differences) {
  int64_t in_doubt = 0;
  for (const Difference& difference : differences) {
    in_doubt += difference.local.in_doubt;
  }
  return in_doubt;
}

struct Errand {
  std::string provider, period, text, accept;
  bool invoice = false;
};

Result<Errand> ReadErrand(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  dialects::Fields fields(object);
  Errand errand;
  fields.Text("provider", errand.provider);
  fields.Text("period", errand.period);
  fields.Text("bill", errand.text);
  fields.Text("accept", errand.accept);
  fields.Flag("invoice", errand.invoice);
  TW_RETURN_IF_ERROR(fields.status());
  if (const auto unknown = fields.Unknown(); !unknown.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`{}` is no field here.", unknown.front().substr(0, 80)),
                unknown.front().substr(0, 80));
  }
  if (errand.provider.empty() || errand.provider.size() > 64) {
    return Fail(ErrorCode::kInvalidArgument, "`provider` has to be the name of a provider.",
                "provider");
  }
  return errand;
}

}  // namespace

Result<bool> MoneyApi::IsClosed(const std::string& provider, const BillPeriod& period) {
  TW_ASSIGN_OR_RETURN(const auto closes,
                      recorder_.Transfers(TransferText("close", provider, period, "")));
  return !closes.empty();
}

// The provider is owed what its bill says; what was not recorded here is nobody's cost yet.
Status MoneyApi::PostSuspense(const std::string& provider, const BillPeriod& period) {
  TW_ASSIGN_OR_RETURN(const std::vector<Difference> differences,
                      recorder_.Differences(provider, period));
  const std::string name = SuspenseName(provider, period);
  const NanoUsd posted = -ledger_.OwedTo(name);
  const NanoUsd more = SumOf(differences) - posted;
  if (more == 0) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber suspense, ledger_.Payee(name));
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber payee, ledger_.Payee("provider:" + provider));
  const std::string text = TransferText("suspense", provider, period, "bill imported");
  return more > 0 ? ledger_.Transfer(suspense, payee, more, text)
                  : ledger_.Transfer(payee, suspense, -more, text);
}

Result<http::Response> MoneyApi::AnswerPeriod(const std::string& wanted, const BillPeriod& period) {
  std::vector<std::string> providers = {wanted};
  if (wanted.empty()) {
    TW_ASSIGN_OR_RETURN(providers, recorder_.BilledProviders(period));
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.reconcile/v1").Field("period", period.name);
  json.Key("providers").BeginArray();
  for (const std::string& provider : providers) {
    TW_ASSIGN_OR_RETURN(const std::vector<Difference> differences,
                        recorder_.Differences(provider, period));
    TW_ASSIGN_OR_RETURN(const bool is_closed, IsClosed(provider, period));
    NanoUsd billed = 0, recorded = 0;
    for (const Difference& difference : differences) {
      recorded += difference.local.cost;
      billed += difference.local.cost + difference.amount();
    }
    json.BeginObject().Field("provider", provider).Field("closed", is_closed);
    Money(json, "billed_nanousd", billed);
    Money(json, "recorded_nanousd", recorded);
    Money(json, "suspense_nanousd", -ledger_.OwedTo(SuspenseName(provider, period)));
    json.Field("unexplained", std::ranges::count_if(differences, [](const Difference& one) {
                 return !billing::IsExplained(one.kind);
               }));
    json.Field("in_doubt", InDoubt(differences));
    json.Key("lines").BeginArray();
    for (const Difference& difference : differences) {
      WriteDifference(difference, json);
    }
    json.EndArray();
    WriteProposals(differences, json);
    json.EndObject();
  }
  json.EndArray().EndObject();
  http::Response response;
  response.headers.Set("Content-Type", "application/json");
  response.body = json.Take();
  return response;
}

Result<http::Response> MoneyApi::ImportBill(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(const Errand errand, ReadErrand(request.body));
  const bool is_json = errand.text.substr(0, errand.text.find('{')).find_first_not_of(" \t\r\n") ==
                           std::string::npos &&
                       errand.text.find('{') != std::string::npos;
  TW_ASSIGN_OR_RETURN(const std::vector<BillLine> lines,
                      is_json ? ReadUsageJson(errand.text, errand.provider, errand.invoice)
                              : billing::ReadBillCsv(errand.text, errand.provider, errand.invoice));
  if (lines.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "The bill has no lines.", "file");
  }
  std::vector<BillPeriod> periods;
  for (const BillLine& line : lines) {
    const BillPeriod period = billing::MonthOf(line.start_s);
    if (line.end_s > period.to_s) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("A line goes from {} to {}: months are settled one by one.",
                              FormatTime(line.start_s), FormatTime(line.end_s)),
                  "file");
    }
    if (periods.empty() || periods.back().name != period.name) {
      TW_ASSIGN_OR_RETURN(const bool is_closed, IsClosed(errand.provider, period));
      if (is_closed) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("{} of {} is closed; what comes later belongs to a later month.",
                                period.name, errand.provider),
                    "period");
      }
      periods.push_back(period);
    }
  }
  TW_RETURN_IF_ERROR(recorder_.PutBillLines(lines));
  for (const BillPeriod& period : periods) {
    TW_RETURN_IF_ERROR(PostSuspense(errand.provider, period));
    TW_RETURN_IF_ERROR(recorder_.TellDifferences(errand.provider, period,
                                                 SystemClock().UnixSeconds() * 1'000'000'000));
  }
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  return AnswerPeriod(errand.provider, periods.back());
}

Result<http::Response> MoneyApi::ClosePeriod(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(const Errand errand, ReadErrand(request.body));
  TW_ASSIGN_OR_RETURN(const BillPeriod period, billing::ParseBillMonth(errand.period));
  TW_ASSIGN_OR_RETURN(const bool is_closed, IsClosed(errand.provider, period));
  TW_ASSIGN_OR_RETURN(const std::vector<Difference> differences,
                      recorder_.Differences(errand.provider, period));
  if (is_closed || differences.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        is_closed ? fmt::format("{} of {} is closed.", period.name, errand.provider)
                  : fmt::format("No bill of {} for {} was imported.", errand.provider, period.name),
        "period");
  }
  if (const int64_t in_doubt = InDoubt(differences); in_doubt > 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} requests of {} are still in doubt; what they cost is not known.",
                            in_doubt, period.name),
                "period");
  }
  const auto unexplained = std::ranges::count_if(
      differences, [](const Difference& one) { return !billing::IsExplained(one.kind); });
  if (unexplained > 0 && errand.accept.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} of {} has {} differences that nothing explains (tradewind "
                            "reconcile status); say with --accept why it is closed all the same.",
                            period.name, errand.provider, unexplained),
                "accept");
  }
  if (clock_.WallNow() < std::chrono::sys_seconds(std::chrono::seconds(period.to_s)) &&
      errand.accept.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{} is not over, and no bill of it could be imported any more; say with "
                    "--accept why it is closed all the same.",
                    period.name),
        "accept");
  }
  TW_RETURN_IF_ERROR(PostSuspense(errand.provider, period));
  const std::string name = SuspenseName(errand.provider, period);
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber suspense, ledger_.Payee(name));
  const NanoUsd open = -ledger_.OwedTo(name);
  const std::string text = TransferText("close", errand.provider, period, errand.accept);
  TW_RETURN_IF_ERROR(open >= 0 ? ledger_.Transfer(ledger::kExpense, suspense, open, text)
                               : ledger_.Transfer(suspense, ledger::kExpense, -open, text));
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  return AnswerPeriod(errand.provider, period);
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
    const http::Query query = http::ParseQuery(request.query);
    BillPeriod period = billing::MonthOf(SystemClock().UnixSeconds());
    if (const std::string name = http::First(query, "period"); !name.empty()) {
      TW_ASSIGN_OR_RETURN(period, billing::ParseBillMonth(name));
    }
    return AnswerPeriod(http::First(query, "provider"), period);
  }
  if (request.method != "POST" || (rest != "/import" && rest != "/close")) {
    return Fail(ErrorCode::kNotFound, "There is import and close, by POST.");
  }
  return rest == "/import" ? ImportBill(request) : ClosePeriod(request);
}

}  // namespace tradewind::console_api
