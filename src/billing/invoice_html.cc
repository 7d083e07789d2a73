#include "billing/invoice_html.h"

#include <map>

#include <fmt/format.h>

#include "billing/usd.h"

namespace tradewind::billing {
namespace {

constexpr std::string_view kStyle = R"(
:root { --ink: #1a2230; --soft: #5b6676; --line: #dfe4ea; --tint: #f5f7f9; --mark: #0f5c8c; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9edf1; color: var(--ink);
  font: 14px/1.5 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
main { max-width: 210mm; min-height: 297mm; margin: 24px auto; padding: 18mm 16mm 14mm;
  background: #fff; box-shadow: 0 1px 4px rgba(20, 30, 45, .18); }
header { display: flex; justify-content: space-between; gap: 24px;
  border-bottom: 3px solid var(--mark); padding-bottom: 14px; }
h1 { margin: 0; font-size: 28px; font-weight: 600; letter-spacing: .01em; }
h2 { margin: 22px 0 6px; font-size: 14px; font-weight: 600; }
.issuer { font-size: 18px; font-weight: 600; }
.soft { color: var(--soft); }
.address { white-space: pre-line; overflow-wrap: anywhere; }
.parties { display: flex; justify-content: space-between; gap: 24px; margin: 22px 0 4px; }
.parties > div { flex: 1; min-width: 0; }
dl { display: grid; grid-template-columns: auto auto; gap: 2px 18px; margin: 0;
  justify-content: end; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
header > div:last-child { flex: none; text-align: right; }
.due { margin: 20px 0; padding: 14px 18px; background: var(--tint); border-left: 3px solid
  var(--mark); display: flex; justify-content: space-between; align-items: baseline; }
.due strong { font-size: 22px; font-variant-numeric: tabular-nums; }
table { width: 100%; border-collapse: collapse; font-size: 12px; table-layout: fixed; }
thead { display: table-header-group; }
th { text-align: left; color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--ink);
  padding: 5px 6px; }
td { border-bottom: 1px solid var(--line); padding: 5px 6px; vertical-align: top;
  overflow-wrap: anywhere; }
tr { break-inside: avoid; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
col.what { width: 31%; } col.meter { width: 17%; } col.quantity { width: 13%; }
col.hidden { width: 13%; } col.price { width: 12%; } col.charge { width: 14%; }
tfoot td { border: 0; padding: 4px 6px; } tfoot tr.first td { padding-top: 10px; }
tfoot tr.total td { border-top: 1px solid var(--ink); font-weight: 600; font-size: 14px;
  padding-top: 7px; }
footer { margin-top: 28px; padding-top: 10px; border-top: 1px solid var(--line); font-size: 11px;
  color: var(--soft); overflow-wrap: anywhere; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 10px; }
@page { size: A4; margin: 14mm 12mm; }
@media print { body { background: #fff; } main { margin: 0; padding: 0; box-shadow: none;
  max-width: none; min-height: 0; } }
@media (max-width: 640px) { main { margin: 0; padding: 20px; } header, .parties { display: block; }
  dl { justify-content: start; margin-top: 12px; } dd { text-align: left; }
  header > div:last-child { text-align: left; } }
)";

// "1,234,567"
std::string Grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(text.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

std::string_view MeterWords(MeterKind kind) {
  switch (kind) {
    case MeterKind::kRequests:
      return "Requests";
    case MeterKind::kInput:
      return "Input tokens";
    case MeterKind::kCachedInput:
      return "Cached input tokens";
    case MeterKind::kCacheWrite:
      return "Cache write tokens";
    case MeterKind::kCacheWrite1h:
      return "Cache write tokens, kept for 1 h";
    case MeterKind::kOutput:
      return "Output tokens";
    case MeterKind::kReasoning:
      return "Reasoning tokens";
    case MeterKind::kAudioInput:
      return "Audio input tokens";
    case MeterKind::kAudioOutput:
      return "Audio output tokens";
    case MeterKind::kImages:
      return "Input images";
    case MeterKind::kCorrections:
      return "Corrections";
  }
  return "";
}

std::string Party(std::string_view heading, const InvoiceParty& party) {
  std::string html = fmt::format("<div><div class=\"soft\">{}</div><div><b>{}</b></div>", heading,
                                 EscapeHtml(party.name));
  if (!party.address.empty()) {
    html += fmt::format("<div class=\"address\">{}</div>", EscapeHtml(party.address));
  }
  if (!party.tax_id.empty()) {
    html += fmt::format("<div class=\"soft\">Tax ID {}</div>", EscapeHtml(party.tax_id));
  }
  return html + "</div>";
}

void Line(const StatementLine& line, std::string& html) {
  const std::string what =
      fmt::format("{}<div class=\"soft\">{}{}</div>", EscapeHtml(line.key.model),
                  EscapeHtml(line.key.provider), line.key.own_key ? ", own key" : "");
  std::string meter(MeterWords(line.key.kind));
  if (line.above > 0) {
    meter += fmt::format("<div class=\"soft\">above {} input tokens</div>", Grouped(line.above));
  }
  if (!line.service_tier.empty()) {
    meter += fmt::format("<div class=\"soft\">{}</div>", EscapeHtml(line.service_tier));
  }
  const bool is_unpriced = IsUnpriced(line.key, line.sum);
  const std::string price = is_unpriced          ? "unpriced"
                            : line.price.empty() ? "&ndash;"
                                                 : "$" + line.price;
  html += fmt::format(
      "<tr id=\"line-{}\"><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>"
      "<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
      line.id, what, meter, Grouped(line.sum.quantity),
      line.sum.unverifiable == 0 ? std::string("&ndash;") : Grouped(line.sum.unverifiable), price,
      is_unpriced ? "&ndash;" : FormatUsd(line.sum.charge));
}

std::string Total(std::string_view words, const std::string& amount, std::string_view row) {
  return fmt::format(
      "<tr class=\"{}\"><td></td><td colspan=\"4\">{}</td><td class=\"n\">{}</td></tr>\n", row,
      words, amount);
}

std::string Totals(const InvoiceDraft& draft, const InvoiceSums& sums) {
  const bool is_invoice = draft.kind == "invoice";
  std::string html = Total(is_invoice ? "Charges, exact" : "Credited, exact",
                           FormatUsd(is_invoice ? draft.statement.charge : sums.net), "first");
  for (const CreditLine& line : draft.statement.credits) {
    const std::string words = line.note.empty() ? line.credit : line.credit + ": " + line.note;
    html += Total("Credit " + EscapeHtml(words), FormatUsd(-line.amount), "credit");
  }
  if (!draft.statement.credits.empty()) {
    html += Total("Left to pay, exact", FormatUsd(sums.net), "");
  }
  if (draft.carry_in != 0) {
    html += Total("Rounding carried from the invoice before", FormatUsd(draft.carry_in), "");
  }
  if (sums.carry_out != 0) {
    html += Total("Rounding carried to the next invoice", FormatUsd(-sums.carry_out), "");
  }
  html += Total("Net", "$" + FormatCents(sums.net_cents), "");
  if (!draft.tax_percent.is_zero()) {
    html += Total(fmt::format("Tax, {} %", draft.tax_percent.ToString()),
                  "$" + FormatCents(sums.tax_cents), "");
  }
  html += Total("Total, USD", "$" + FormatCents(sums.payable_cents()), "total");
  if (draft.statement.unverifiable > 0) {
    html += Total("Tokens that only their providers can count, in the quantities above",
                  Grouped(draft.statement.unverifiable), "hidden");
  }
  return html;
}

// A table for each project and key, in the order of the statement.
std::string Tables(const InvoiceDraft& draft, const InvoiceSums& sums) {
  constexpr std::string_view kHead =
      "<table><colgroup><col class=\"what\"><col class=\"meter\"><col class=\"quantity\">"
      "<col class=\"hidden\"><col class=\"price\"><col class=\"charge\"></colgroup>\n";
  std::string html;
  std::string open;
  for (const StatementLine& line : draft.statement.lines) {
    const std::string group = line.key.project_id + "\n" + line.key.key_id;
    if (group != open) {
      html += open.empty() ? "" : "</tbody></table>\n";
      open = group;
      html += fmt::format(
          "<h2>{} <span class=\"soft\">&middot; key {}</span></h2>\n{}"
          "<thead><tr><th>Model</th><th>Meter</th><th class=\"n\">Quantity</th><th class=\"n\">"
          "Unverifiable</th><th class=\"n\">Per million</th><th "
          "class=\"n\">Charge</th></tr></thead><tbody>\n",
          EscapeHtml(draft.names.ProjectOf(line.key)),
          EscapeHtml(BillNames::Of(draft.names.keys, line.key.key_id)), kHead);
    }
    Line(line, html);
  }
  html += open.empty() ? "" : "</tbody></table>\n";
  return html +
         fmt::format("<h2>Total</h2>\n{}<tfoot>{}</tfoot></table>\n", kHead, Totals(draft, sums));
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' ? ' ' : c;
    }
  }
  return out;
}

std::string InvoiceHtml(const InvoiceDraft& draft, const InvoiceSums& sums, std::string_view hash) {
  const bool is_invoice = draft.kind == "invoice";
  const std::string_view title = is_invoice ? "Invoice" : "Credit note";
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<title>{} {}</title><style>{}</style></head>\n<body><main>\n",
      title, EscapeHtml(draft.number), kStyle);
  html += fmt::format(
      "<header><div><div class=\"issuer\">{}</div></div><div><h1>{}</h1><dl><dt>Number</dt>"
      "<dd>{}</dd><dt>Issued</dt><dd>{}</dd><dt>Period</dt><dd>{} to {}</dd></dl></div></header>\n",
      EscapeHtml(draft.issuer.name), title, EscapeHtml(draft.number), UtcDate(draft.issued_s),
      UtcDate(draft.period.from_s), UtcDate(draft.period.to_s - 1));
  html += fmt::format("<section class=\"parties\">{}{}</section>\n", Party("From", draft.issuer),
                      Party("Billed to", draft.customer));
  html += fmt::format("<section class=\"due\"><span>{}</span><strong>${}</strong></section>\n",
                      is_invoice ? "Amount due" : "Amount credited",
                      FormatCents(is_invoice ? sums.payable_cents() : -sums.payable_cents()));
  if (!is_invoice) {
    html += fmt::format("<p>For invoice {}: {}</p>\n", EscapeHtml(draft.refers_to),
                        EscapeHtml(draft.reason));
    if (!draft.settles.empty()) {
      html += fmt::format("<p>It settles {}, in which more was given back than used.</p>\n",
                          EscapeHtml(draft.settles));
    }
  }
  if (draft.returned > 0) {
    html += fmt::format("<p>Credits had paid {} of it, which comes back as the credit {}.</p>\n",
                        FormatUsd(draft.returned), EscapeHtml(CreditOfNote(draft.number)));
  }
  html += Tables(draft, sums);
  html += fmt::format(
      "<footer><div>Charges are exact to the billionth of a dollar and add up to the ledger; the "
      "total is rounded half to even, and what rounding leaves is carried to the next invoice. "
      "Prices are USD per million tokens, or per request or image. Unverifiable are tokens of "
      "thought: billed as the provider counted them, as nobody else can. Times are UTC.</div><div>"
      "SHA-256 of this document's data: <code>{}</code></div><div>Statement: "
      "<code>{}</code></div></footer>\n"
      "</main></body></html>\n",
      hash, draft.statement.hash.empty() ? std::string_view("none") : draft.statement.hash);
  return html;
}

}  // namespace tradewind::billing
