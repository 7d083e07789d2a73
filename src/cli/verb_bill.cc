// bill, backup, and prices history: statements, their proof, exports, invoices.
#include "cli/verb_bill.h"

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/ids.h"
#include "billing/invoice.h"
#include "billing/usd.h"
#include "catalog/mapping.h"
#include "cli/admin_link.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Array;
using reply::Dollars;
using reply::Flag;
using reply::Number;
using reply::Object;
using reply::Text;

// What --period says: not a period of budgets, which has the same variable.
std::string Period(const Settings& settings) {
  const auto value = settings.Find("period");
  return value.has_value() && value->origin == "--period" ? value->text : "";
}

std::string QueryOf(std::initializer_list<std::pair<std::string_view, std::string>> fields) {
  std::string query;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) {
      query += fmt::format("{}{}={}", query.empty() ? "" : "&", name, http::EncodeQuery(value));
    }
  }
  return query;
}

Result<std::string> Ask(const Settings& settings, std::string_view method, const std::string& path,
                        const std::string& query, const std::string& body = "") {
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  return link.Send(method, path, body, query);
}

std::unexpected<Error> OtherFile(const Error& error) {
  return Fail(error.code, fmt::format("{}; name another file with --out", error.message), "out");
}

// To --out, or stdout.
Result<ExitCode> Hand(const Settings& settings, const std::string& bytes) {
  const std::string out = settings.Text("out");
  if (out.empty() || out == "-") {
    Print(bytes);
    return ExitCode::kDone;
  }
  if (const tradewind::Status written = WriteFileAtomic(out, bytes, 0600); !written.has_value()) {
    return OtherFile(written.error());
  }
  return ExitCode::kDone;
}

// As billing::IsUnpriced has it.
bool IsUnpriced(const json::object& line) {
  return Number(line, "price_version") == 0 && Text(line, "provider") != catalog::kLocalSlug &&
         Text(line, "cost_nanousd") == "0" && Text(line, "charge_nanousd") == "0";
}

// What all lines of one key's requests to a model say.
std::string GroupOf(const json::object& line) {
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", Text(line, "org"), Text(line, "project"),
                     Text(line, "key"), Text(line, "model"), Text(line, "provider"),
                     Flag(line, "own_key"));
}

// Of requests without a price, by their group: those whose cost no correction has said.
std::map<std::string, int64_t> UnpricedOf(const json::object& answer) {
  std::map<std::string, int64_t> unpriced;
  for (const json::value& entry : Array(Object(answer, "statement"), "lines")) {
    const json::object* line = entry.if_object();
    if (line != nullptr && Text(*line, "meter") == "requests" && IsUnpriced(*line)) {
      unpriced[GroupOf(*line)] =
          Number(*line, "quantity") - Number(Object(answer, "corrected"), Text(*line, "id"));
    }
  }
  return unpriced;
}

Result<ExitCode> ShowBill(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const std::string answer,
                      Ask(settings, "GET", "/tw/v1/bill",
                          QueryOf({{"period", Period(settings)}, {"org", settings.Text("org")}})));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  const json::object& bill = Object(object, "statement");
  std::vector<std::vector<std::string>> rows = {{"PROJECT", "KEY", "MODEL", "PROVIDER", "METER",
                                                 "QUANTITY", "UNVERIFIABLE", "PER MTOK", "COST",
                                                 "CHARGE"}};
  const auto named = [&names = Object(object, "names")](const std::string& id) {
    const std::string name = Text(names, id);
    return name.empty() ? id : fmt::format("{} ({})", id, name);
  };
  std::map<std::string, int64_t> unpriced = UnpricedOf(object);
  for (const json::value& entry : Array(bill, "lines")) {
    if (entry.is_object()) {
      const json::object& line = entry.get_object();
      const bool is_unpriced = IsUnpriced(line) && unpriced[GroupOf(line)] > 0;
      std::string price = Text(line, "usd_per_mtok");
      if (const std::string each = Text(line, "usd_each"); !each.empty()) {
        price = each + " each";
      }
      const int64_t above = Number(line, "above_input_tokens");
      const std::string tier = Text(line, "service_tier");
      const int64_t hidden = Number(line, "unverifiable_tokens");
      rows.push_back({named(Text(line, "project")), named(Text(line, "key")), Text(line, "model"),
                      Text(line, "provider"),
                      Text(line, "meter") + (above > 0 ? fmt::format(" above {}", above) : "") +
                          (tier.empty() ? "" : " at " + tier),
                      std::to_string(Number(line, "quantity")),
                      hidden > 0 ? std::to_string(hidden) : "-",
                      is_unpriced     ? "unpriced"
                      : price.empty() ? "-"
                                      : "$" + price,
                      is_unpriced ? "-" : Dollars(line, "cost_nanousd"),
                      is_unpriced ? "-" : Dollars(line, "charge_nanousd")});
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  Print(fmt::format("{}: {} requests cost {}, charged {}\n", Text(bill, "period"),
                    Number(bill, "requests"), Dollars(bill, "cost_nanousd"),
                    Dollars(bill, "charge_nanousd")));
  if (const int64_t hidden = Number(bill, "unverifiable_tokens"); hidden > 0) {
    Print(fmt::format("{} tokens of thought, as the providers count: nobody else can\n", hidden));
  }
  int64_t unknown = 0;
  for (const auto& [group, count] : unpriced) {
    unknown += count;
  }
  if (unknown > 0) {
    Print(fmt::format("unpriced: {} requests, whose cost is not known and not in the sum\n",
                      unknown));
  }
  for (const json::value& entry : Array(bill, "credits")) {
    if (entry.is_object()) {
      const json::object& line = entry.get_object();
      Print(fmt::format("credit {} paid {}  {}\n", Text(line, "credit"),
                        Dollars(line, "amount_nanousd"), Text(line, "note")));
    }
  }
  if (bill.contains("payable_nanousd")) {
    Print(fmt::format("left to pay {}\n", Dollars(bill, "payable_nanousd")));
  }
  Print(fmt::format("sha256 {}\n", Text(object, "hash")));
  return ExitCode::kDone;
}

Result<ExitCode> VerifyBill(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const std::string answer,
                      Ask(settings, "GET", "/tw/v1/bill/verify",
                          QueryOf({{"period", Period(settings)}, {"org", settings.Text("org")}})));
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  const bool is_good = Flag(object, "good");
  if (as_json) {
    Print(answer + "\n");
  } else {
    Print(
        fmt::format("{}  sha256 {}\nmade again from {} attempts of the journal and {} rows whose "
                    "journal is gone: {}\n",
                    Text(object, "period"), Text(object, "hash"),
                    Number(object, "attempts_from_journal"), Number(object, "attempts_from_rows"),
                    is_good ? "the same" : Text(object, "recomputed_hash")));
    if (const int64_t windows = Number(object, "budget_windows"); windows > 0) {
      Print(fmt::format("windows of budgets that were added up again: {}\n", windows));
    }
    if (const int64_t set_aside = Number(object, "attempts_set_aside"); set_aside > 0) {
      Print(
          fmt::format("{} more were set aside into HOME/archive: compared were the sums that were "
                      "kept of them then\n",
                      set_aside));
    }
    for (const json::value& entry : Array(object, "differences")) {
      Print(fmt::format("{}\n",
                        entry.is_string() ? WithoutControls(std::string(entry.get_string())) : ""));
    }
  }
  if (!is_good) {
    return Fail(ErrorCode::kCorruptFile,
                "the tables are not what the journal says; restore both from one backup");
  }
  return ExitCode::kDone;
}

// As it comes: it may be larger than what there is memory for. A file is there whole or not at all.
Result<ExitCode> ExportBill(const Settings& settings) {
  const std::string query = QueryOf({{"period", Period(settings)},
                                     {"org", settings.Text("org")},
                                     {"version", settings.Text("focus")},
                                     {"issuer", settings.Text("issuer")},
                                     {"format", settings.Text("format")}});
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  const std::string out = settings.Text("out");
  if (out.empty() || out == "-") {
    TW_RETURN_IF_ERROR(link.Receive("/tw/v1/bill/focus", query, [](std::string_view bytes) {
      Print(std::string(bytes));
      return Status();
    }));
    return ExitCode::kDone;
  }
  const auto named = [](Status written) {
    return written.has_value() ? written : Status(OtherFile(std::move(written).error()));
  };
  Result<AtomicFile> file = AtomicFile::Create(out, 0, 0600);
  if (!file.has_value()) {
    return OtherFile(std::move(file).error());
  }
  TW_RETURN_IF_ERROR(link.Receive("/tw/v1/bill/focus", query, [&](std::string_view bytes) {
    return named(file->Write(AsBytes(bytes)));
  }));
  TW_RETURN_IF_ERROR(named(file->Commit()));
  return ExitCode::kDone;
}

std::string InvoiceBody(const Settings& settings) {
  dialects::JsonWriter body;
  body.BeginObject().Field("period", Period(settings));
  for (const auto& [flag, field] :
       {std::pair("org", "org"), std::pair("issuer", "issuer"),
        std::pair("issuer-address", "issuer_address"), std::pair("issuer-tax-id", "issuer_tax_id"),
        std::pair("customer", "customer"), std::pair("customer-address", "customer_address"),
        std::pair("customer-tax-id", "customer_tax_id"), std::pair("tax-percent", "tax_percent"),
        std::pair("confirm-total", "confirm_total"), std::pair("accept", "accept"),
        std::pair("format", "format"), std::pair("draft", "draft")}) {
    if (const std::string text = settings.Text(flag); !text.empty()) {
      body.Field(field, text);
    }
  }
  body.EndObject();
  return body.Take();
}

Result<ExitCode> PrintInvoices(const Settings& settings, const std::string& answer) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  std::vector<std::vector<std::string>> rows = {{"NUMBER", "KIND", "ORG", "PERIOD", "ISSUED",
                                                 "TOTAL", "PAID", "OPEN", "FOR", "REFERENCE",
                                                 "SHA256"}};
  for (const json::value& entry : Array(object, "invoices")) {
    if (entry.is_object()) {
      const json::object& one = entry.get_object();
      const auto cents = [&one](std::string_view name) {
        std::string text = billing::FormatCents(Number(one, name));
        text.insert(text.starts_with('-') ? 1 : 0, "$");
        return one.contains(name) ? text : "-";
      };
      rows.push_back({Text(one, "number"), Text(one, "kind"), Text(one, "org"), Text(one, "period"),
                      Text(one, "issued"), cents("payable_cents"), cents("paid_cents"),
                      cents("open_cents"), Text(one, "refers_to"), Text(one, "reference"),
                      Text(one, "sha256").substr(0, 16)});
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  for (const json::value& entry : Array(object, "invoices")) {
    if (entry.is_object() && entry.get_object().contains("returned_as")) {
      const json::object& note = entry.get_object();
      Print(fmt::format("{} gave {} back as the credit {}\n", Text(note, "number"),
                        Dollars(note, "returned_nanousd"), Text(note, "returned_as")));
    }
  }
  return ExitCode::kDone;
}

// Issues one, or hands out a document of one that was issued.
Result<ExitCode> Invoice(const Settings& settings, const std::string& number) {
  TW_ASSIGN_OR_RETURN(const bool is_draft, settings.Switch("draft"));
  if (!number.empty()) {
    TW_ASSIGN_OR_RETURN(const std::string document,
                        Ask(settings, "GET", "/tw/v1/invoices/" + number,
                            QueryOf({{"format", settings.Text("format")}})));
    return Hand(settings, document);
  }
  if (Period(settings).empty() || settings.Text("org").empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "say whose month with --org and --period, like --org acme --period 2026-11",
                "period");
  }
  TW_ASSIGN_OR_RETURN(const std::string answer,
                      Ask(settings, "POST", "/tw/v1/invoices", "", InvoiceBody(settings)));
  return is_draft ? Hand(settings, answer) : PrintInvoices(settings, answer);
}

Result<ExitCode> Credit(const Settings& settings, const std::string& number) {
  if (number.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "say which invoice: `bill credit TW-000001`",
                "NUMBER");
  }
  dialects::JsonWriter body;
  std::string reference = settings.Text("reference");
  if (reference.empty()) {  // said before it is sent: whoever gets no answer needs it
    reference = RandomId("note_", 20);
    fmt::print(stderr, "to repeat this, add --reference {}: it is issued once\n", reference);
  }
  body.BeginObject().Field("usd", settings.Text("usd")).Field("reason", settings.Text("reason"));
  body.Field("reference", reference);
  if (const std::string month = settings.Text("settles"); !month.empty()) {
    body.Field("settles", month);
  }
  body.EndObject();
  TW_ASSIGN_OR_RETURN(const std::string answer,
                      Ask(settings, "POST", fmt::format("/tw/v1/invoices/{}/credit-notes", number),
                          "", body.Take()));
  return PrintInvoices(settings, answer);
}

Result<ExitCode> Pay(const Settings& settings, const std::string& number) {
  if (number.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "say which invoice: `bill pay TW-000001`", "NUMBER");
  }
  dialects::JsonWriter body;
  body.BeginObject().Field("usd", settings.Text("usd"));
  body.Field("reference", settings.Text("reference")).EndObject();
  TW_ASSIGN_OR_RETURN(
      const std::string answer,
      Ask(settings, "POST", fmt::format("/tw/v1/invoices/{}/payments", number), "", body.Take()));
  return PrintInvoices(settings, answer);
}

}  // namespace

Result<ExitCode> RunBill(const Settings& settings) {
  const std::string action = settings.Words(0).empty() ? "show" : settings.Words(0).front();
  const std::string number = settings.Words(1).empty() ? "" : settings.Words(1).front();
  if (!number.empty() && action != "invoice" && action != "credit" && action != "pay") {
    return Fail(ErrorCode::kInvalidArgument,
                "only `bill invoice`, `bill credit` and `bill pay` take a number", "NUMBER");
  }
  if (action == "show") {
    return ShowBill(settings);
  }
  if (action == "verify") {
    return VerifyBill(settings);
  }
  if (action == "export") {
    return ExportBill(settings);
  }
  if (action == "invoice") {
    return Invoice(settings, number);
  }
  if (action == "invoices") {
    TW_ASSIGN_OR_RETURN(
        const std::string answer,
        Ask(settings, "GET", "/tw/v1/invoices",
            QueryOf({{"period", Period(settings)}, {"org", settings.Text("org")}})));
    return PrintInvoices(settings, answer);
  }
  if (action == "credit") {
    return Credit(settings, number);
  }
  return Pay(settings, number);
}

Result<ExitCode> RunBackup(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const std::string answer, Ask(settings, "POST", "/tw/v1/backup", "", "{}"));
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  Print(as_json ? answer + "\n" : Text(object, "folder") + "\n");
  return ExitCode::kDone;
}

// What few models have, in short: "reasoning $3, request $0.005, tiers above 200000".
std::string OtherPrices(const json::object& version) {
  std::string text;
  const auto add = [&text](std::string_view words) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", words);
  };
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kOther = {
      {{"reasoning", "reasoning_usd_per_mtok"},
       {"audio in", "audio_input_usd_per_mtok"},
       {"audio out", "audio_output_usd_per_mtok"},
       {"cache write 1 h", "cache_write_1h_usd_per_mtok"},
       {"request", "request_usd"},
       {"image", "image_usd"}}};
  for (const auto& [words, field] : kOther) {
    if (const std::string price = Text(version, field); !price.empty()) {
      add(fmt::format("{} ${}", words, price));
    }
  }
  for (const json::value& tier : Array(version, "tiers")) {
    if (tier.is_object()) {
      add(fmt::format("above {}: ${} in, ${} out", Number(tier.get_object(), "above"),
                      Text(tier.get_object(), "input_usd_per_mtok"),
                      Text(tier.get_object(), "output_usd_per_mtok")));
    }
  }
  const json::value* services = version.if_contains("service_tiers");
  if (services != nullptr && services->is_object()) {
    for (const auto& service : services->get_object()) {
      if (const json::object* prices = service.value().if_object(); prices != nullptr) {
        add(fmt::format("{}: ${} in, ${} out", std::string_view(service.key()),
                        Text(*prices, "input_usd_per_mtok"), Text(*prices, "output_usd_per_mtok")));
      }
    }
  }
  return text.empty() ? "-" : text;
}

Result<ExitCode> RunPriceHistory(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  const std::string model = settings.Words(1).empty() ? "" : settings.Words(1).front();
  TW_ASSIGN_OR_RETURN(const std::string answer,
                      Ask(settings, "GET", "/tw/v1/prices", QueryOf({{"model", model}})));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  std::vector<std::vector<std::string>> rows = {{"VERSION", "MODEL", "PROVIDER", "IN", "CACHED",
                                                 "WRITE", "OUT", "OTHER", "FROM", "TO", "SOURCE"}};
  for (const json::value& entry : Array(object, "versions")) {
    if (!entry.is_object()) {
      continue;
    }
    const json::object& one = entry.get_object();
    const auto price = [&one](std::string_view name) {
      const std::string text = Text(one, name);
      return text.empty() ? std::string("-") : "$" + text;
    };
    const std::string to = Text(one, "valid_to");
    rows.push_back({std::to_string(Number(one, "version")), Text(one, "model"),
                    Text(one, "provider"), price("input_usd_per_mtok"),
                    price("cached_input_usd_per_mtok"), price("cache_write_usd_per_mtok"),
                    price("output_usd_per_mtok"), OtherPrices(one), Text(one, "valid_from"),
                    to.empty() ? "now" : to, Text(one, "source")});
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
