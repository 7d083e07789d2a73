#include "billing/focus_charges.h"

#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "billing/meter.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kHourS = 3600, kNanosPerSecond = 1'000'000'000;

void AddDocument(const BillPeriod& period, const IssuedInvoice& document,
                 std::vector<FocusCharge>& charges) {
  const bool is_note = document.kind == "credit_note";
  const auto add = [&](std::string category, std::string line, std::string description,
                       ledger::NanoUsd billed, ledger::NanoUsd effective) {
    if (billed == 0 && effective == 0) {
      return;
    }
    FocusCharge& charge = charges.emplace_back();
    charge.category = std::move(category);
    charge.charge_class = is_note ? "Correction" : "";
    charge.description = std::move(description);
    charge.org_id = document.org_id;
    charge.invoice = document.number;
    charge.line = std::move(line);
    charge.from_s = period.from_s;
    charge.to_s = period.to_s;
    charge.billed = billed;
    charge.effective = effective;
  };
  if (is_note) {
    add("Credit", "credit",
        fmt::format("credit note {} for {}", document.number, document.refers_to), document.net,
        document.net - document.returned);
  }
  const ledger::NanoUsd rounded = document.net_cents() * kNanoPerCent - document.net;
  add("Adjustment", "rounding",
      fmt::format("what rounding {} to cents carries to or from other invoices", document.number),
      rounded, rounded);
  const ledger::NanoUsd tax = document.tax_cents * kNanoPerCent;
  add("Tax", "tax", fmt::format("tax of {}", document.number), tax, tax);
}

// The month's own rows say already what the note gives back: of the two one counts.
void AddSettled(const BillPeriod& period, const IssuedInvoice& note,
                std::vector<FocusCharge>& charges) {
  FocusCharge& charge = charges.emplace_back();
  charge.category = "Adjustment";
  charge.description = fmt::format("given back by credit note {}", note.number);
  charge.org_id = note.org_id;
  charge.from_s = period.from_s;
  charge.to_s = period.to_s;
  charge.billed = charge.effective = note.credited();
}

}  // namespace

std::vector<FocusCharge> ChargesOf(const BillPeriod& period,
                                   std::span<const IssuedInvoice> documents,
                                   std::span<const ledger::CreditState> credits) {
  std::vector<FocusCharge> charges;
  std::set<std::string> returned;
  for (const IssuedInvoice& document : documents) {
    returned.insert(CreditOfNote(document.number));
    if (document.period == period.name) {
      AddDocument(period, document, charges);
    }
    if (document.settles == period.name) {
      AddSettled(period, document, charges);
    }
  }
  for (const ledger::CreditState& credit : credits) {
    const int64_t granted_s = credit.spec.granted_ns / kNanosPerSecond;
    if (credit.spec.promotional || granted_s < period.from_s || granted_s >= period.to_s ||
        returned.contains(credit.spec.name)) {
      continue;
    }
    FocusCharge& charge = charges.emplace_back();
    charge.category = "Purchase";
    charge.description = fmt::format("credit {}{}{}", credit.spec.name,
                                     credit.spec.note.empty() ? "" : ": ", credit.spec.note);
    charge.org_id = credit.spec.owner.substr(credit.spec.owner.find(':') + 1);
    charge.credit = credit.spec.name;
    charge.from_s = granted_s / kHourS * kHourS;
    charge.to_s = charge.from_s + kHourS;
    charge.billed = credit.spec.amount;
  }
  return charges;
}

FocusCharge ChargeOf(const CreditUseKey& use, ledger::NanoUsd amount, const BillNames& names) {
  FocusCharge charge;
  charge.category = "Credit";
  charge.description =
      fmt::format("credit {}{}{}", use.credit, use.note.empty() ? "" : ": ", use.note);
  const auto invoice = names.invoices.find(use.org_id);
  charge.invoice = invoice == names.invoices.end() ? "" : invoice->second;
  charge.line = CreditLineId(use.org_id, use.credit);
  charge.credit = use.credit;
  charge.from_s = use.hour * kHourS;
  charge.to_s = charge.from_s + kHourS;
  charge.billed = -amount;
  charge.effective = names.presents.contains(use.credit) ? -amount : 0;
  return charge;
}

}  // namespace tradewind::billing
