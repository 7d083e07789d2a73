#include "console_api/bill_api.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "billing/bill_sums.h"
#include "billing/export_sums.h"
#include "billing/focus_charges.h"
#include "billing/focus_export.h"
#include "billing/meter.h"
#include "billing/price_json.h"
#include "billing/usd.h"
#include "billing/verify.h"
#include "console_api/keys_json.h"
#include "console_api/sight.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::console_api {
namespace {

using billing::StatementOrder;
using dialects::JsonWriter;

constexpr std::string_view kBill = "/tw/v1/bill";
constexpr std::string_view kPrices = "/tw/v1/prices";
constexpr std::string_view kInvoices = "/tw/v1/invoices";
constexpr std::string_view kBackup = "/tw/v1/backup";
// Of a bill, of its verification, and (all) of an export.
constexpr std::array<std::string_view, 5> kBillFields = {"period", "org", "version", "format",
                                                         "issuer"};
constexpr std::array<std::string_view, 1> kPriceFields = {"model"};
constexpr int64_t kNanosPerSecond = 1'000'000'000;

http::Response Answered(std::string body, std::string type = "application/json") {
  http::Response response;
  response.headers.Set("Content-Type", std::move(type));
  response.body = std::move(body);
  return response;
}

Status CheckAdmin(const identity::Principal& caller, std::string_view what) {
  if (!caller.is_admin_token) {
    return Fail(ErrorCode::kPermissionDenied, fmt::format("{} needs the admin token.", what));
  }
  return {};
}

Status CheckMethod(const http::Request& request, std::string_view method) {
  if (request.method != method) {
    return Fail(ErrorCode::kMethodNotAllowed, fmt::format("This path takes {}.", method));
  }
  return {};
}

void WritePrice(std::string_view name, const std::optional<Decimal>& price, JsonWriter& json) {
  json.Key(name);
  price.has_value() ? json.Value(price->ToString()) : json.Null();
}

void WriteVersion(const billing::PriceVersion& version, bool shows_source, JsonWriter& json) {
  json.BeginObject().Field("version", int64_t{version.version}).Field("hash", version.hash);
  json.Field("provider", version.provider).Field("model", version.model);
  json.Field("provider_model", version.provider_model);
  WritePrice("input_usd_per_mtok", version.prices.input, json);
  WritePrice("cached_input_usd_per_mtok", version.prices.cached_input, json);
  WritePrice("cache_write_usd_per_mtok", version.prices.cache_write, json);
  WritePrice("output_usd_per_mtok", version.prices.output, json);
  billing::WriteOtherPrices(version.prices, json);
  json.Key("source");
  shows_source ? json.Value(version.source) : json.Null();  // it names the operator's files
  json.Field("valid_from", FormatTime(version.from_ns / kNanosPerSecond)).Key("valid_to");
  version.to_ns == INT64_MAX ? json.Null()
                             : json.Value(FormatTime(version.to_ns / kNanosPerSecond));
  json.EndObject();
}

std::string VerificationJson(const StatementOrder& order, const billing::Verification& verified) {
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.bill_verification/v1");
  json.Field("period", order.period.name).Field("org", order.org_id);
  json.Field("good", verified.is_good()).Field("hash", verified.statement.hash);
  json.Field("recomputed_hash", verified.recomputed_hash);
  json.Field("attempts_from_journal", verified.from_journal);
  json.Field("attempts_from_rows", verified.from_rows);
  json.Field("attempts_set_aside", verified.set_aside);
  json.Field("budget_windows", verified.budgets).Key("differences").BeginArray();
  for (const std::string& difference : verified.differences) {
    json.Value(difference);
  }
  json.EndArray().EndObject();
  return json.Take();
}

// Of each line, by its id: the query that lists what it counts. Beside the statement, whose bytes
// have a hash.
std::string RequestsOfLines(const StatementOrder& order, const billing::Statement& statement) {
  JsonWriter json;
  json.BeginObject();
  for (const billing::StatementLine& line : statement.lines) {
    const billing::MeterKey& key = line.key;
    std::string query = "/tw/v1/requests?period=" + order.period.name;
    for (const auto& [name, value] :
         {std::pair("org", &key.org_id), std::pair("project", &key.project_id),
          std::pair("key", &key.key_id), std::pair("model", &key.model),
          std::pair("provider", &key.provider)}) {
      query += fmt::format("&{}={}", name, http::EncodeQuery(*value));
    }
    query += fmt::format("&own_key={}&price_version={}&line={}", key.own_key, key.price_version,
                         line.id);
    json.Field(line.id, query);
  }
  json.EndObject();
  return json.Take();
}

// Of the ids that stand in the lines, how each is called now: beside the statement too, whose bytes
// stay the same when somebody is called otherwise. Of a project without its organisation: who bills
// another one has not said which to whom it bills.
std::string NamesOfLines(identity::Store& store, const billing::Statement& statement) {
  constexpr std::string_view kProject = "project";
  std::map<std::string, std::string> names;
  for (const billing::StatementLine& line : statement.lines) {
    for (const auto& [kind, id] : {std::pair(std::string_view("org"), &line.key.org_id),
                                   std::pair(kProject, &line.key.project_id),
                                   std::pair(std::string_view("key"), &line.key.key_id)}) {
      if (!names.contains(*id)) {
        const std::string name = store.LabelOf(kind, *id).value_or(identity::Store::Label()).name;
        names[*id] = kind == kProject ? name.substr(name.find('/') + 1) : name;
      }
    }
  }
  JsonWriter json;
  json.BeginObject();
  for (const auto& [id, name] : names) {
    if (!name.empty()) {
      json.Field(id, name);
    }
  }
  json.EndObject();
  return json.Take();
}

// Of each line of requests without a price, by its id: how many of them a correction has given a
// cost, which is on a line of its own.
std::string CorrectedOfLines(const billing::Statement& statement,
                             const billing::Meters& corrected) {
  JsonWriter json;
  json.BeginObject();
  for (const billing::StatementLine& line : statement.lines) {
    const bool is_of_requests = line.key.kind == billing::MeterKind::kRequests;
    if (is_of_requests && IsUnpriced(line.key, line.sum) && corrected.contains(line.key)) {
      json.Field(line.id, corrected.at(line.key).quantity);
    }
  }
  json.EndObject();
  return json.Take();
}

}  // namespace

bool BillApi::Has(std::string_view path) {
  return path == kBill || path.starts_with(std::string(kBill) + "/") || path == kPrices ||
         path == kInvoices || path.starts_with(std::string(kInvoices) + "/") || path == kBackup;
}

int64_t BillApi::NowS() const {
  return books_.ledger().TimeNs() / kNanosPerSecond;
}

Result<http::Response> BillApi::Answer(const http::Request& request,
                                       const identity::Principal& caller) {
  const std::string_view path = request.path;
  if (path == kPrices) {
    return AnswerPrices(request, caller);
  }
  if (path == kBackup) {
    TW_RETURN_IF_ERROR(CheckAdmin(caller, "A backup"));
    TW_RETURN_IF_ERROR(CheckMethod(request, "POST"));
    return BackUp();
  }
  if (path.starts_with(kInvoices)) {
    return AnswerInvoices(request, path.substr(kInvoices.size()), caller);
  }
  TW_RETURN_IF_ERROR(CheckMethod(request, "GET"));
  return AnswerBill(request, path.substr(kBill.size()), caller);
}

Result<std::string> BillApi::OrgIdOf(const std::string& name) {
  TW_ASSIGN_OR_RETURN(const std::vector<identity::OrgInfo> orgs, store_.ListOrgs());
  for (const identity::OrgInfo& org : orgs) {
    if (org.id == name || org.name == name) {
      return org.id;
    }
  }
  return Fail(ErrorCode::kNotFound,
              fmt::format("There is no organisation \"{}\".", name.substr(0, 80)), "org");
}

Result<StatementOrder> BillApi::OrderOf(const http::Request& request,
                                        const identity::Principal& caller) {
  const http::Query query = http::ParseQuery(request.query);
  StatementOrder order;
  order.period = billing::MonthOf(NowS());
  if (const std::string period = http::First(query, "period"); !period.empty()) {
    TW_ASSIGN_OR_RETURN(order.period, billing::ParseBillPeriod(period));
  }
  const std::string org = http::First(query, "org");
  if (caller.is_admin_token) {
    if (!org.empty()) {
      TW_ASSIGN_OR_RETURN(order.org_id, OrgIdOf(org));
    }
    return order;
  }
  if (!org.empty() && org != caller.org_id && org != caller.org) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("There is no organisation \"{}\".", org.substr(0, 80)), "org");
  }
  if (caller.scopes.Has(identity::Scope::kManage)) {
    order.org_id = caller.org_id;
  } else {
    order.key_id = caller.key_id;  // also what another organisation paid for
  }
  return order;
}

Result<billing::BillNames> BillApi::NamesOf(const StatementOrder& order) {
  billing::BillNames names;
  TW_ASSIGN_OR_RETURN(const std::vector<identity::OrgInfo> orgs, store_.ListOrgs());
  for (const identity::OrgInfo& org : orgs) {
    names.orgs[org.id] = org.name;
  }
  TW_ASSIGN_OR_RETURN(const std::vector<identity::KeyInfo> keys, store_.ListKeys());
  for (const identity::KeyInfo& key : keys) {
    names.keys[key.id] = key.name;
    names.projects_of_keys[key.id] = key.project;
  }
  TW_ASSIGN_OR_RETURN(const auto invoices, books_.invoices().List(order.org_id));
  for (const billing::IssuedInvoice& invoice : invoices) {
    if (!invoice.issuer.empty()) {
      names.issuers[invoice.number] = invoice.issuer;
    }
    if (invoice.kind == "invoice" && invoice.period == order.period.name) {
      names.invoices[invoice.org_id] = invoice.number;
    }
  }
  return names;
}

// An invoice is its organisation's: who sees one key alone sees no documents.
Result<std::vector<billing::FocusCharge>> BillApi::ChargesOf(const StatementOrder& order) {
  if (!order.key_id.empty()) {
    return std::vector<billing::FocusCharge>();
  }
  TW_ASSIGN_OR_RETURN(const auto documents, books_.invoices().List(order.org_id));
  const std::string owner =
      order.org_id.empty() ? std::string() : billing::BudgetName("org", order.org_id);
  return billing::ChargesOf(order.period, documents, books_.ledger().Credits(owner));
}

Result<http::Response> BillApi::AnswerBill(const http::Request& request, std::string_view what,
                                           const identity::Principal& caller) {
  const http::Query query = http::ParseQuery(request.query);
  TW_RETURN_IF_ERROR(
      CheckFields(query, std::span(kBillFields).first(what == "/focus" ? kBillFields.size() : 2)));
  TW_ASSIGN_OR_RETURN(const StatementOrder order, OrderOf(request, caller));
  if (what == "/verify") {
    TW_RETURN_IF_ERROR(CheckAdmin(caller, "To verify a bill"));
    TW_ASSIGN_OR_RETURN(
        const billing::Verification verified,
        billing::VerifyStatement(order, books_.recorder(), books_.ledger(), books_.disk()));
    return Answered(VerificationJson(order, verified));
  }
  if (what == "/focus") {
    return Export(order, query);
  }
  if (!what.empty()) {
    return Fail(ErrorCode::kNotFound, "A bill has verify and focus beside it.");
  }
  TW_ASSIGN_OR_RETURN(const billing::BillSums sums,
                      books_.recorder().SumsOf(billing::FilterOf(order)));
  const billing::Statement statement =
      billing::MakeStatement(order, sums.meters, sums.prices, sums.credits);
  // The statement is last, so that who has the bytes finds it, and its hash, by hand.
  return Answered(fmt::format(
      R"({{"schema":"tradewind.bill/v1","hash":"{}","names":{},"requests":{},"corrected":{},)"
      R"("statement":{}}})",
      statement.hash, NamesOfLines(store_, statement), RequestsOfLines(order, statement),
      CorrectedOfLines(statement, sums.corrected), statement.text));
}

Result<http::Response> BillApi::Export(const StatementOrder& order, const http::Query& query) {
  billing::FocusOrder focus;
  focus.billing_period = billing::MonthOf(order.period.from_s);
  if (const std::string version = http::First(query, "version"); !version.empty()) {
    TW_ASSIGN_OR_RETURN(focus.version, billing::ParseFocusVersion(version));
  }
  const std::string format = http::First(query, "format");
  if (!format.empty() && format != "csv" && format != "parquet") {
    return Fail(ErrorCode::kInvalidArgument, "`format` is csv or parquet.", "format");
  }
  const bool is_csv = format != "parquet";
  billing::MeterFilter hours = billing::FilterOf(order);
  hours.by_day = false;
  billing::ExportSums sums;
  TW_RETURN_IF_ERROR(books_.recorder().BeginExport(hours, sums));
  TW_ASSIGN_OR_RETURN(auto prices, books_.recorder().Prices());
  focus.ledger_hash = billing::MakeStatement(order, sums.by_day, prices, sums.credits).hash;
  TW_ASSIGN_OR_RETURN(billing::BillNames names, NamesOf(order));
  for (const std::string& issuer : {issuer_.party.name, http::First(query, "issuer")}) {
    names.issuer = issuer.empty() ? names.issuer : issuer;
  }
  for (const ledger::CreditState& credit : books_.ledger().Credits("")) {
    if (credit.spec.promotional) {
      names.presents.insert(credit.spec.name);
    }
  }
  TW_ASSIGN_OR_RETURN(std::vector<billing::FocusCharge> charges, ChargesOf(order));
  auto writer = std::make_unique<billing::FocusWriter>(
      is_csv ? billing::FocusFormat::kCsv : billing::FocusFormat::kParquet, std::move(focus),
      std::move(prices), std::move(names));
  const auto pieces = std::make_shared<billing::FocusExport>(
      books_.recorder(), std::move(hours), std::move(sums), std::move(writer), std::move(charges));
  TW_ASSIGN_OR_RETURN(std::string first, pieces->Next());
  http::Response response = Answered(
      std::move(first), is_csv ? "text/csv; charset=utf-8" : "application/vnd.apache.parquet");
  if (!pieces->is_done()) {
    response.more = [pieces] { return pieces->Next(); };
  }
  return response;
}

Result<http::Response> BillApi::AnswerPrices(const http::Request& request,
                                             const identity::Principal& caller) {
  TW_RETURN_IF_ERROR(CheckMethod(request, "GET"));
  const http::Query query = http::ParseQuery(request.query);
  TW_RETURN_IF_ERROR(CheckFields(query, kPriceFields));
  const std::string model = http::First(query, "model");
  TW_ASSIGN_OR_RETURN(const std::vector<billing::PriceVersion> versions,
                      books_.recorder().Prices(model));
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.prices/v1").Key("versions").BeginArray();
  for (const billing::PriceVersion& version : versions) {
    WriteVersion(version, caller.is_admin_token, json);
  }
  json.EndArray().EndObject();
  return Answered(json.Take());
}

}  // namespace tradewind::console_api
