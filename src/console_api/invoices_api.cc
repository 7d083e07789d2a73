// Of BillApi: invoices are made of bills that were verified, and refused when anything speaks
// against them.
#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "billing/bill_boundary.h"
#include "billing/bill_period.h"
#include "billing/bill_sums.h"
#include "billing/remote_bill.h"
#include "billing/usd.h"
#include "billing/verify.h"
#include "console_api/bill_api.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/sight.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::console_api {
namespace {

using billing::IssuedInvoice;
using dialects::JsonWriter;

constexpr int64_t kGraceS = 12 * 3600;  // after the end of a month: what is late may still come
constexpr int64_t kNanosPerSecond = 1'000'000'000;
// A total is unusual when it is so many times the largest of the last ones, and so many cents.
constexpr int64_t kUnusualTimes = 3, kUnusualCents = 1000;
constexpr size_t kUsualMonths = 3;
constexpr size_t kTextBytesMax = 2000;

// What an operator accepted is nobody else's business.
void Write(const IssuedInvoice& invoice, bool is_operator, JsonWriter& json) {
  json.BeginObject().Field("number", invoice.number).Field("kind", invoice.kind);
  json.Field("refers_to", invoice.refers_to);
  if (invoice.kind == "credit_note") {
    json.Field("reference", invoice.reference);
    if (!invoice.settles.empty()) {
      json.Field("settles", invoice.settles);
    }
  }
  json.Field("org", invoice.org_id);
  json.Field("period", invoice.period).Field("issued", FormatTime(invoice.issued_s));
  json.Field("net_nanousd", std::to_string(invoice.net));
  json.Field("tax_cents", invoice.tax_cents).Field("payable_cents", invoice.payable_cents);
  if (invoice.kind == "invoice") {
    json.Field("noted_cents", invoice.noted_cents).Field("paid_cents", invoice.paid_cents);
    json.Field("open_cents", invoice.open_cents());
  }
  if (invoice.returned > 0) {
    json.Field("returned_nanousd", std::to_string(invoice.returned));
    json.Field("returned_as", billing::CreditOfNote(invoice.number));
  }
  if (is_operator && !invoice.accepted.empty()) {
    json.Field("accepted", invoice.accepted);
  }
  json.Field("sha256", invoice.documents.hash).EndObject();
}

// To who issues and records payments.
http::Response One(const IssuedInvoice& invoice) {
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.invoices/v1").Key("invoices").BeginArray();
  Write(invoice, true, json);
  return JsonResponse(json.EndArray().EndObject().Take());
}

Result<std::string> DocumentOf(const IssuedInvoice& invoice, const std::string& format,
                               std::string& type) {
  if (format.empty() || format == "json") {
    type = "application/json";
    return invoice.documents.json;
  }
  if (format == "html") {
    type = "text/html; charset=utf-8";
    return invoice.documents.html;
  }
  if (format == "csv") {
    type = "text/csv; charset=utf-8";
    return invoice.documents.csv;
  }
  return Fail(ErrorCode::kInvalidArgument, "`format` is json, html or csv.", "format");
}

Result<http::Response> Document(const IssuedInvoice& invoice, const std::string& format) {
  http::Response response;
  std::string type;
  TW_ASSIGN_OR_RETURN(response.body, DocumentOf(invoice, format, type));
  response.headers.Set("Content-Type", type);
  // A page of ours runs nothing and loads nothing.
  response.headers.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  return response;
}

// The fields of a body, each a text. Errors: kInvalidArgument naming one that is not known.
class Body {
 public:
  static Result<Body> Read(const http::Request& request, const std::vector<std::string>& names) {
    TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(request.body));
    dialects::Fields fields(object);
    Body body;
    for (const std::string& name : names) {
      fields.Text(name.c_str(), body.texts_[name]);
    }
    TW_RETURN_IF_ERROR(CheckKnown(fields, "this"));
    for (const auto& [name, text] : body.texts_) {
      if (text.size() > kTextBytesMax) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("`{}` has more than {} bytes.", name, kTextBytesMax), name);
      }
    }
    return body;
  }
  const std::string& operator[](const std::string& name) const { return texts_.at(name); }

 private:
  std::map<std::string, std::string> texts_;
};

// The known one, but for what the body says. Of another one by name the body says all there is: the
// address of the known one is not his.
billing::InvoiceParty IssuerOf(const Body& body, const billing::InvoiceParty& known) {
  const std::string& name = body["issuer"];
  billing::InvoiceParty issuer =
      name.empty() || name == known.name ? known : billing::InvoiceParty{name, "", ""};
  for (const auto& [field, text] :
       {std::pair("issuer_address", &issuer.address), std::pair("issuer_tax_id", &issuer.tax_id)}) {
    *text = body[field].empty() ? *text : body[field];
  }
  return issuer;
}

}  // namespace

Result<http::Response> BillApi::AnswerInvoices(const http::Request& request, std::string_view rest,
                                               const identity::Principal& caller) {
  if (rest.empty() && request.method == "POST") {
    if (!caller.is_admin_token) {
      return Fail(ErrorCode::kPermissionDenied, "Invoices are issued with the admin token.");
    }
    return Issue(request);
  }
  if (!caller.is_admin_token && !caller.scopes.Has(identity::Scope::kManage)) {
    return Fail(ErrorCode::kPermissionDenied, "Invoices need a token with the scope `manage`.");
  }
  if (rest.empty()) {
    if (request.method != "GET") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET, POST.");
    }
    constexpr std::array<std::string_view, 2> kFields = {"org", "period"};
    TW_RETURN_IF_ERROR(CheckFields(http::ParseQuery(request.query), kFields));
    TW_ASSIGN_OR_RETURN(const billing::StatementOrder order, OrderOf(request, caller));
    TW_ASSIGN_OR_RETURN(std::vector<IssuedInvoice> invoices, books_.invoices().List(order.org_id));
    if (!http::First(http::ParseQuery(request.query), "period").empty()) {
      if (!order.period.is_month()) {
        return Fail(ErrorCode::kInvalidArgument, "An invoice is of a month, like 2026-11.",
                    "period");
      }
      std::erase_if(invoices, [&order](const IssuedInvoice& invoice) {
        return invoice.period != order.period.name;
      });
    }
    JsonWriter json;
    json.BeginObject().Field("schema", "tradewind.invoices/v1").Key("invoices").BeginArray();
    for (const IssuedInvoice& invoice : invoices) {
      Write(invoice, caller.is_admin_token, json);
    }
    return JsonResponse(json.EndArray().EndObject().Take());
  }
  constexpr std::string_view kCredit = "/credit-notes";
  if (rest.ends_with(kCredit)) {
    if (!caller.is_admin_token) {
      return Fail(ErrorCode::kPermissionDenied, "Credit notes are issued with the admin token.");
    }
    if (request.method != "POST") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes POST.");
    }
    return Credit(request, std::string(rest.substr(1, rest.size() - 1 - kCredit.size())));
  }
  constexpr std::string_view kPayments = "/payments";
  if (rest.ends_with(kPayments)) {
    return AnswerPayments(request, std::string(rest.substr(1, rest.size() - 1 - kPayments.size())),
                          caller);
  }
  if (request.method != "GET") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET.");
  }
  return ShowInvoice(request, std::string(rest.substr(1)), caller);
}

Status BillApi::CheckSees(const identity::Principal& caller, const IssuedInvoice& invoice) const {
  if (!caller.is_admin_token && invoice.org_id != caller.org_id) {
    return Fail(ErrorCode::kNotFound, fmt::format("There is no invoice \"{}\".", invoice.number),
                "number");
  }
  return {};
}

Result<http::Response> BillApi::AnswerPayments(const http::Request& request,
                                               const std::string& number,
                                               const identity::Principal& caller) {
  if (request.method == "POST") {
    if (!caller.is_admin_token) {
      return Fail(ErrorCode::kPermissionDenied, "Payments are recorded with the admin token.");
    }
    TW_ASSIGN_OR_RETURN(const Body body, Body::Read(request, {"usd", "reference"}));
    TW_ASSIGN_OR_RETURN(const ledger::NanoUsd amount, billing::ParseUsd(body["usd"], "usd"));
    TW_ASSIGN_OR_RETURN(const IssuedInvoice paid,
                        books_.invoices().Pay(number, amount, body["reference"], NowS()));
    return One(paid);
  }
  if (request.method != "GET") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET, POST.");
  }
  TW_ASSIGN_OR_RETURN(const IssuedInvoice invoice, books_.invoices().Find(number));
  TW_RETURN_IF_ERROR(CheckSees(caller, invoice));
  TW_ASSIGN_OR_RETURN(const auto payments, books_.invoices().Payments(number));
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.payments/v1").Field("invoice", invoice.number);
  json.Field("open_cents", invoice.open_cents()).Key("payments").BeginArray();
  for (const billing::Payment& payment : payments) {
    json.BeginObject().Field("reference", payment.reference).Field("cents", payment.cents);
    json.Field("recorded_at", FormatTime(payment.recorded_s)).EndObject();
  }
  return JsonResponse(json.EndArray().EndObject().Take());
}

Result<http::Response> BillApi::ShowInvoice(const http::Request& request, const std::string& number,
                                            const identity::Principal& caller) {
  TW_ASSIGN_OR_RETURN(const IssuedInvoice invoice, books_.invoices().Find(number));
  TW_RETURN_IF_ERROR(CheckSees(caller, invoice));
  return Document(invoice, http::First(http::ParseQuery(request.query), "format"));
}

// What would make an invoice one that has to be taken back.
Status BillApi::CheckReadyToInvoice(const billing::StatementOrder& order) {
  if (!order.period.is_month()) {
    return Fail(ErrorCode::kInvalidArgument, "An invoice is of a month, like 2026-11.", "period");
  }
  // First: whoever repeats a command has to hear of the invoice that he has.
  TW_RETURN_IF_ERROR(books_.invoices().CheckNotInvoiced(order.org_id, order.period));
  if (NowS() < order.period.to_s + kGraceS) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "{} can be invoiced from {} on; with `draft` (--draft) it is shown as it is now.",
            order.period.name, FormatTime(order.period.to_s + kGraceS)),
        "period");
  }
  TW_ASSIGN_OR_RETURN(const int64_t open, books_.recorder().CountOpen(
                                              order.period.to_s * kNanosPerSecond, order.org_id));
  if (open > 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} requests of {} or before are in doubt; they are settled within a "
                            "day, or by asking the provider.",
                            open, order.period.name),
                "period");
  }
  TW_ASSIGN_OR_RETURN(
      const billing::Verification verified,
      billing::VerifyStatement(order, books_.recorder(), books_.ledger(), books_.disk()));
  if (!verified.is_good()) {
    return Fail(
        ErrorCode::kCorruptFile,
        "the journal does not explain this bill; `tradewind bill verify` says what differs");
  }
  return {};
}

// A month that is closed was looked at, and says by itself what was accepted.
Status BillApi::CheckBills(const billing::StatementOrder& order, const std::string& accept,
                           billing::InvoiceDraft& draft) {
  std::set<std::string> providers;
  for (const billing::StatementLine& line : draft.statement.lines) {
    if (!line.key.own_key) {
      providers.insert(line.key.provider);
    }
  }
  billing::Recorder& recorder = books_.recorder();
  const billing::Recorder::Stillness still = recorder.HoldStill();
  std::string unexplained;
  for (const std::string& provider : providers) {
    TW_ASSIGN_OR_RETURN(const bool is_closed, recorder.IsClosed(provider, order.period));
    TW_ASSIGN_OR_RETURN(const billing::ImportedBill bill, recorder.BillOf(provider, order.period));
    if (is_closed || bill.lines.empty() || bill.set_aside_until_s.has_value()) {
      continue;
    }
    TW_ASSIGN_OR_RETURN(auto differences, recorder.Differences(provider, order.period));
    const billing::BillSum sum = billing::SumUp(differences);
    std::erase_if(differences,
                  [](const billing::Difference& one) { return billing::IsExplained(one.kind); });
    ledger::NanoUsd amount = differences.empty() ? sum.apart : 0;
    for (const billing::Difference& difference : differences) {
      amount += difference.amount();
    }
    if (!differences.empty() || !sum.IsWithinTolerance()) {
      unexplained +=
          fmt::format("{}{} ({}{} off in all)", unexplained.empty() ? "" : ", ", provider,
                      differences.empty() ? "" : fmt::format("lines: {}, ", differences.size()),
                      billing::FormatUsd(amount));
    }
  }
  if (unexplained.empty()) {
    return {};
  }
  if (accept.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Bills of {} differ from what was recorded, and nothing explains it: "
                            "{}. `tradewind reconcile status {}` shows them; put it right or close "
                            "the month there, or say with `accept` (--accept TEXT) why it is "
                            "invoiced all the same.",
                            order.period.name, unexplained, order.period.name),
                "accept");
  }
  draft.accepted = accept;
  return {};
}

Status BillApi::CheckTotal(const IssuedInvoice& draft, const std::string& confirmed) {
  TW_ASSIGN_OR_RETURN(std::vector<IssuedInvoice> earlier, books_.invoices().List(draft.org_id));
  std::erase_if(earlier, [](const IssuedInvoice& one) { return one.kind != "invoice"; });
  int64_t usual = 0;
  for (size_t i = earlier.size() - std::min(earlier.size(), kUsualMonths); i < earlier.size();
       ++i) {
    usual = std::max(usual, earlier[i].payable_cents);
  }
  const std::string total = billing::FormatCents(draft.payable_cents);
  const bool is_unusual = !earlier.empty() && draft.payable_cents > kUnusualCents &&
                          draft.payable_cents / kUnusualTimes > usual;
  if (is_unusual && confirmed != total && confirmed != "$" + total) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("${0} is more than {1} times what was usual, ${2}; say "
                            "`confirm_total` \"{0}\" (--confirm-total {0}) if it is right.",
                            total, kUnusualTimes, billing::FormatCents(usual)),
                "confirm_total");
  }
  return {};
}

Result<http::Response> BillApi::Issue(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(
      const Body body,
      Body::Read(request, {"period", "org", "issuer", "issuer_address", "issuer_tax_id", "customer",
                           "customer_address", "customer_tax_id", "tax_percent", "confirm_total",
                           "accept", "draft", "format"}));
  billing::StatementOrder order;
  TW_ASSIGN_OR_RETURN(order.period, billing::ParseBillPeriod(body["period"]));
  TW_ASSIGN_OR_RETURN(order.org_id, OrgIdOf(body["org"]));
  const bool is_draft = body["draft"] == "true";
  if (!is_draft) {
    TW_RETURN_IF_ERROR(CheckReadyToInvoice(order));
  }
  billing::InvoiceDraft draft;
  draft.org_id = order.org_id;
  draft.period = order.period;
  draft.issued_s = NowS();
  TW_ASSIGN_OR_RETURN(draft.names, NamesOf(order));
  draft.issuer = IssuerOf(body, issuer_.party);
  if (!is_draft && draft.issuer.name.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "An invoice says for good who issues it: write `issuer` (and tax_percent) under "
                "[billing] of the config that the server is started with, or say it with this "
                "request (--issuer).",
                "issuer");
  }
  draft.customer = {body["customer"].empty()
                        ? billing::BillNames::Of(draft.names.orgs, order.org_id)
                        : body["customer"],
                    body["customer_address"], body["customer_tax_id"]};
  const bool is_of_config = draft.issuer.name == issuer_.party.name;
  if (const std::string text =
          body["tax_percent"].empty() && is_of_config ? issuer_.tax_percent : body["tax_percent"];
      !text.empty()) {
    TW_ASSIGN_OR_RETURN(draft.tax_percent, billing::ParseTaxPercent(text));
  }
  TW_ASSIGN_OR_RETURN(const billing::BillSums sums,
                      books_.recorder().SumsOf(billing::FilterOf(order)));
  draft.statement = billing::MakeStatement(order, sums.meters, sums.prices, sums.credits);
  if (draft.statement.lines.empty()) {
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("Nothing was used in {}: there is nothing to invoice.", order.period.name),
        "period");
  }
  // What was corrected in this time may be of requests of an earlier one.
  if (std::ranges::any_of(draft.statement.lines, [](const auto& line) {
        return line.sum.charge < 0 && line.key.kind != billing::MeterKind::kCorrections;
      })) {
    return Fail(ErrorCode::kCorruptFile, "a line is negative: that is for credit notes");
  }
  if (draft.statement.payable() < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("In {0} more was given back by corrections than is to be paid: that is "
                            "no invoice. Give back the rest, {1}, by a credit note for the invoice "
                            "that the corrected requests stand on, which `settles` {0} "
                            "(`tradewind bill credit NUMBER --usd {2} --settles {0} --reason "
                            "TEXT`).",
                            order.period.name, billing::FormatUsd(-draft.statement.payable()),
                            billing::FormatUsd(-draft.statement.payable()).substr(1)),
                "period");
  }
  TW_ASSIGN_OR_RETURN(const IssuedInvoice preview, books_.invoices().Preview(draft));
  if (is_draft) {
    return Document(preview, body["format"]);
  }
  TW_RETURN_IF_ERROR(CheckBills(order, body["accept"], draft));
  TW_RETURN_IF_ERROR(CheckTotal(preview, body["confirm_total"]));
  TW_ASSIGN_OR_RETURN(const IssuedInvoice issued, books_.invoices().Issue(std::move(draft)));
  return One(issued);
}

// What was given back in a month beyond what was used is in that month's rows, and an invoice of it
// can never be issued.
Status BillApi::ReadSettled(const std::string& month, billing::InvoiceDraft& note) {
  billing::StatementOrder order;
  order.org_id = note.org_id;
  const Result<billing::BillPeriod> period = billing::ParseBillMonth(month);
  if (!period.has_value()) {
    return Fail(ErrorCode::kInvalidArgument, "`settles` is a month, like 2026-11.", "settles");
  }
  order.period = *period;
  TW_RETURN_IF_ERROR(CheckReadyToInvoice(order));
  TW_ASSIGN_OR_RETURN(const billing::BillSums sums,
                      books_.recorder().SumsOf(billing::FilterOf(order)));
  const ledger::NanoUsd payable =
      billing::MakeStatement(order, sums.meters, sums.prices, sums.credits).payable();
  if (payable >= 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("In {} no more was given back than used: it is settled by an invoice.",
                            order.period.name),
                "settles");
  }
  note.settles = order.period.name;
  note.settles_max = -payable;
  return {};
}

Result<http::Response> BillApi::Credit(const http::Request& request, const std::string& number) {
  TW_ASSIGN_OR_RETURN(const Body body,
                      Body::Read(request, {"usd", "reason", "reference", "settles"}));
  TW_ASSIGN_OR_RETURN(const IssuedInvoice invoice, books_.invoices().Find(number));
  if (invoice.kind != "invoice") {
    return Fail(ErrorCode::kInvalidArgument, "A credit note is for an invoice.", "number");
  }
  if (body["reason"].empty()) {
    return Fail(ErrorCode::kInvalidArgument, "A credit note says why: `reason` (--reason TEXT).",
                "reason");
  }
  // Its parties are those of the invoice.
  TW_ASSIGN_OR_RETURN(const boost::json::object known,
                      dialects::ParseJsonObject(invoice.documents.json));
  const auto party = [&](const char* name) {
    const boost::json::object& from = known.at(name).as_object();
    return billing::InvoiceParty{std::string(from.at("name").as_string()),
                                 std::string(from.at("address").as_string()),
                                 std::string(from.at("tax_id").as_string())};
  };
  billing::InvoiceDraft draft;
  draft.kind = "credit_note";
  draft.refers_to = invoice.number;
  draft.reason = body["reason"];
  draft.reference = body["reference"];
  draft.issuer = party("issuer");
  draft.customer = party("customer");
  draft.org_id = invoice.org_id;
  TW_ASSIGN_OR_RETURN(draft.period, billing::ParseBillPeriod(invoice.period));
  draft.issued_s = NowS();
  TW_ASSIGN_OR_RETURN(draft.tax_percent,
                      Decimal::Parse(std::string(known.at("tax_percent").as_string())));
  TW_ASSIGN_OR_RETURN(draft.credit, billing::ParseUsd(body["usd"], "usd"));
  if (draft.credit == 0) {
    return Fail(ErrorCode::kInvalidArgument, "A credit is more than nothing.", "usd");
  }
  if (!body["settles"].empty()) {
    TW_RETURN_IF_ERROR(ReadSettled(body["settles"], draft));
  }
  TW_ASSIGN_OR_RETURN(const IssuedInvoice issued, books_.invoices().Issue(std::move(draft)));
  const Status granted = books_.GrantReturned();
  const bool has_its_own =
      issued.returned == 0 ||
      books_.ledger().FindCredit(billing::CreditOfNote(issued.number)).has_value();
  if (!granted.has_value() && !has_its_own) {
    return Fail(granted.error().code,
                fmt::format("{} is issued. What it gives back as a credit follows when this is "
                            "repeated with its `reference`, with the next note, or with the next "
                            "start; now it failed: {}",
                            issued.number, granted.error().message));
  }
  return One(issued);
}

}  // namespace tradewind::console_api
