// An invoice: the statement of a month, rounded to cents, as documents that never change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/decimal.h"
#include "base/result.h"
#include "billing/focus.h"
#include "billing/statement.h"

namespace tradewind::billing {

struct InvoiceParty {
  std::string name, address, tax_id;  // address: lines separated by '\n'
};

struct InvoiceDraft {
  std::string number;            // "TW-000007"
  std::string kind = "invoice";  // or "credit_note"
  std::string refers_to;         // of a credit note: the invoice
  std::string reason;            // likewise
  // Likewise: under one of the organisation it is issued once, and says the same.
  std::string reference;
  // Likewise: the month that it settles, in which corrections gave back more than was used, and how
  // much that is in all; "": none.
  std::string settles;
  ledger::NanoUsd settles_max = 0;
  // Of an invoice, and on none of its documents: why it is issued though bills of providers that
  // served it are not explained.
  std::string accepted;
  InvoiceParty issuer, customer;
  std::string org_id;
  BillPeriod period;
  int64_t issued_s = 0;
  Statement statement;  // of a credit note without lines: `credit`
  ledger::NanoUsd credit = 0;
  ledger::NanoUsd returned = 0;  // of `credit`: credits had paid it, and CreditOfNote gives it back
  // Likewise: its invoice's, and what earlier notes took off these (negative).
  ledger::NanoUsd invoice_net = 0, noted_net = 0;
  int64_t invoice_tax_cents = 0, noted_tax_cents = 0;
  BillNames names;
  ledger::NanoUsd carry_in = 0;  // what earlier rounding left
  Decimal tax_percent;
};

inline constexpr ledger::NanoUsd kNanoPerCent = 10'000'000;

struct InvoiceSums {
  // Exact: what credits left of the statement's charge; or what a note takes off that, negative.
  ledger::NanoUsd net = 0;
  int64_t net_cents = 0;          // with the carry, rounded half to even
  ledger::NanoUsd carry_out = 0;  // to the next invoice
  // Rounded half to even; a note's is that of all that its invoice's notes take off, less that of
  // the earlier ones: never more than the invoice's, and all of it when nothing is left.
  int64_t tax_cents = 0;
  int64_t payable_cents() const { return net_cents + tax_cents; }
};

// The credit that gives back what credits had paid, by the number of its note: "note:TW-000008",
// which no grant by hand is called.
std::string CreditOfNote(std::string_view number);

// "19", "7.7". Errors: kInvalidArgument (param tax_percent): no number, not from 0 to 100, more than
// four places.
Result<Decimal> ParseTaxPercent(std::string_view text);

// Errors: kInvalidArgument (param tax_percent).
Result<InvoiceSums> SumsOf(const InvoiceDraft& draft);

// The same draft gives the same bytes.
struct InvoiceDocuments {
  std::string json, html, csv;
  std::string hash;  // SHA-256 of `json`; the others name it
};
InvoiceDocuments WriteInvoice(const InvoiceDraft& draft, const InvoiceSums& sums);

// "1,234.50", "-0.05"
std::string FormatCents(int64_t cents);

}  // namespace tradewind::billing
