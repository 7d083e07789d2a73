#include "billing/invoice.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "billing/csv.h"
#include "billing/hash.h"
#include "billing/invoice_html.h"
#include "billing/usd.h"
#include "dialects/json_writer.h"

namespace tradewind::billing {
namespace {

using dialects::JsonWriter;
using Wide = __int128;

constexpr int kTaxPlacesMax = 4;

// The nearest whole, of two that are equally near the even one.
Wide DivideHalfEven(Wide value, Wide by) {
  const bool is_negative = value < 0;
  const Wide magnitude = is_negative ? -value : value;
  Wide whole = magnitude / by;
  const Wide twice = magnitude % by * 2;
  if (twice > by || (twice == by && whole % 2 != 0)) {
    ++whole;
  }
  return is_negative ? -whole : whole;
}

// `percent` has at most kTaxPlacesMax places.
int64_t TaxOf(int64_t net_cents, const Decimal& percent) {
  Wide scaled = percent.digits(), by = 100;  // percent times 10^4
  for (int i = percent.exponent(); i > -kTaxPlacesMax; --i) {
    scaled *= 10;
  }
  by *= 10'000;
  return static_cast<int64_t>(DivideHalfEven(Wide{net_cents} * scaled, by));
}

// Each note's own tax, rounded by itself, would add up to more than the invoice's.
int64_t TaxOfNote(const InvoiceDraft& note, ledger::NanoUsd net) {
  const int64_t left = std::max<int64_t>(0, note.invoice_tax_cents + note.noted_tax_cents);
  const ledger::NanoUsd noted = note.noted_net + net;
  if (note.invoice_net + noted == 0) {
    return -left;
  }
  const auto cents = static_cast<int64_t>(DivideHalfEven(noted, kNanoPerCent));
  return std::clamp<int64_t>(TaxOf(cents, note.tax_percent) - note.noted_tax_cents, -left, 0);
}

void WriteParty(std::string_view name, const InvoiceParty& party, JsonWriter& json) {
  json.Key(name).BeginObject().Field("name", party.name).Field("address", party.address);
  json.Field("tax_id", party.tax_id).EndObject();
}

std::string JsonOf(const InvoiceDraft& draft, const InvoiceSums& sums) {
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.invoice/v1").Field("number", draft.number);
  json.Field("kind", draft.kind);
  if (!draft.refers_to.empty()) {
    json.Field("refers_to", draft.refers_to).Field("reason", draft.reason);
    json.Field("reference", draft.reference);
    if (!draft.settles.empty()) {
      json.Field("settles", draft.settles);
    }
  }
  json.Field("issued", UtcTime(draft.issued_s)).Field("period", draft.period.name);
  json.Field("from", UtcTime(draft.period.from_s)).Field("to", UtcTime(draft.period.to_s));
  json.Field("currency", "USD").Field("org", draft.org_id);
  WriteParty("issuer", draft.issuer, json);
  WriteParty("customer", draft.customer, json);
  if (!draft.statement.credits.empty()) {
    json.Field("charge_nanousd", std::to_string(draft.statement.charge));
    json.Field("credit_nanousd", std::to_string(draft.statement.credited));
  }
  if (draft.returned > 0) {
    json.Field("returned_nanousd", std::to_string(draft.returned));
    json.Field("returned_as", CreditOfNote(draft.number));
  }
  json.Field("net_nanousd", std::to_string(sums.net));
  json.Field("rounding_carry_in_nanousd", std::to_string(draft.carry_in));
  json.Field("rounding_carry_out_nanousd", std::to_string(sums.carry_out));
  json.Field("net_cents", sums.net_cents);
  json.Field("tax_percent", draft.tax_percent.ToString()).Field("tax_cents", sums.tax_cents);
  json.Field("payable_cents", sums.payable_cents());
  json.Field("unverifiable_tokens", draft.statement.unverifiable);
  json.Field("statement_hash", draft.statement.hash);
  json.Key("lines").BeginArray();
  for (const StatementLine& line : draft.statement.lines) {
    json.BeginObject().Field("id", line.id).Field("project", line.key.project_id);
    json.Field("project_name", draft.names.ProjectOf(line.key));
    json.Field("key", line.key.key_id);
    json.Field("key_name", BillNames::Of(draft.names.keys, line.key.key_id));
    json.Field("model", line.key.model).Field("provider", line.key.provider);
    json.Field("own_key", line.key.own_key).Field("meter", MeterName(line.key.kind));
    json.Field("unit", MeterUnit(line.key.kind)).Field("quantity", line.sum.quantity);
    json.Field("price_version", int64_t{line.key.price_version});
    json.Field("usd_per_mtok", line.usd_per_mtok());
    if (!line.usd_each().empty()) {
      json.Field("usd_each", line.usd_each());
    }
    if (line.above > 0) {
      json.Field("above_input_tokens", line.above);
    }
    if (!line.service_tier.empty()) {
      json.Field("service_tier", line.service_tier);
    }
    json.Field("unverifiable_tokens", line.sum.unverifiable);
    json.Field("charge_nanousd", std::to_string(line.sum.charge)).EndObject();
  }
  json.EndArray();
  if (!draft.statement.credits.empty()) {
    json.Key("credits").BeginArray();
    for (const CreditLine& line : draft.statement.credits) {
      json.BeginObject().Field("id", line.id).Field("credit", line.credit);
      json.Field("note", line.note);
      json.Field("amount_nanousd", std::to_string(line.amount)).EndObject();
    }
    json.EndArray();
  }
  json.EndObject();
  return json.Take();
}

std::string Cell(std::string_view text) {
  return CsvQuoted(NoFormula(text));
}

std::string CsvOf(const InvoiceDraft& draft, const InvoiceSums& sums, std::string_view hash) {
  std::string csv =
      "invoice,line,project,key,model,provider,meter,quantity,unit,usd_per_mtok,price_version,"
      "charge_nanousd,unverifiable_tokens\r\n";
  for (const StatementLine& line : draft.statement.lines) {
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n", Cell(draft.number), line.id,
                       Cell(draft.names.ProjectOf(line.key)),
                       Cell(BillNames::Of(draft.names.keys, line.key.key_id)), Cell(line.key.model),
                       Cell(line.key.provider), line.meter(), line.sum.quantity,
                       MeterUnit(line.key.kind), line.usd_per_mtok(), line.key.price_version,
                       line.sum.charge, line.sum.unverifiable);
  }
  for (const CreditLine& line : draft.statement.credits) {
    const std::string what = line.note.empty() ? line.credit : line.credit + ": " + line.note;
    csv += fmt::format("{},{},,,{},,credit,,,,,{},\r\n", Cell(draft.number), line.id, Cell(what),
                       -line.amount);
  }
  if (draft.returned > 0) {
    csv += fmt::format("{},returned,,,{},,credit,,,,,{},\r\n", Cell(draft.number),
                       Cell(CreditOfNote(draft.number)), -draft.returned);
  }
  const std::array<std::pair<std::string_view, int64_t>, 4> totals = {
      {{"net", sums.net},
       {"rounding", sums.net_cents * kNanoPerCent - sums.net},
       {"tax", sums.tax_cents * kNanoPerCent},
       {"payable", sums.payable_cents() * kNanoPerCent}}};
  for (const auto& [name, amount] : totals) {
    csv += fmt::format("{},{},,,,,,,,,,{},\r\n", Cell(draft.number), name, amount);
  }
  csv += fmt::format("{},unverifiable,,,,,,,,,,,{}\r\n", Cell(draft.number),
                     draft.statement.unverifiable);
  return csv + fmt::format("{},sha256,,,,,,,,,,{},\r\n", Cell(draft.number), hash);
}

Status CheckTaxPercent(const Decimal& percent) {
  if (percent.is_negative() || percent > Decimal::Parse("100").value() ||
      percent.exponent() < -kTaxPlacesMax) {
    return Fail(ErrorCode::kInvalidArgument, "A tax is 0 to 100 percent, with at most 4 places.",
                "tax_percent");
  }
  return {};
}

}  // namespace

std::string CreditOfNote(std::string_view number) {
  return fmt::format("note:{}", number);
}

Result<Decimal> ParseTaxPercent(std::string_view text) {
  const Result<Decimal> percent = Decimal::Parse(text);
  if (!percent.has_value()) {
    return Fail(ErrorCode::kInvalidArgument, "`tax_percent` is a number, like 19.", "tax_percent");
  }
  TW_RETURN_IF_ERROR(CheckTaxPercent(*percent));
  return percent;
}

Result<InvoiceSums> SumsOf(const InvoiceDraft& draft) {
  const Decimal& percent = draft.tax_percent;
  TW_RETURN_IF_ERROR(CheckTaxPercent(percent));
  InvoiceSums sums;
  const bool is_note = draft.kind == "credit_note";
  sums.net = is_note ? draft.returned - draft.credit : draft.statement.payable();
  const Wide exact = Wide{sums.net} + draft.carry_in;
  sums.net_cents = static_cast<int64_t>(DivideHalfEven(exact, kNanoPerCent));
  sums.carry_out = static_cast<int64_t>(exact - Wide{sums.net_cents} * kNanoPerCent);
  sums.tax_cents = is_note ? TaxOfNote(draft, sums.net) : TaxOf(sums.net_cents, percent);
  return sums;
}

InvoiceDocuments WriteInvoice(const InvoiceDraft& draft, const InvoiceSums& sums) {
  InvoiceDocuments documents;
  documents.json = JsonOf(draft, sums);
  documents.hash = Sha256Hex(documents.json);
  documents.html = InvoiceHtml(draft, sums, documents.hash);
  documents.csv = CsvOf(draft, sums, documents.hash);
  return documents;
}

std::string FormatCents(int64_t cents) {
  const uint64_t magnitude =
      cents < 0 ? -static_cast<uint64_t>(cents) : static_cast<uint64_t>(cents);
  std::string whole = std::to_string(magnitude / 100);
  for (int64_t at = static_cast<int64_t>(whole.size()) - 3; at > 0; at -= 3) {
    whole.insert(static_cast<size_t>(at), ",");
  }
  return fmt::format("{}{}.{:02}", cents < 0 ? "-" : "", whole, magnitude % 100);
}

}  // namespace tradewind::billing
