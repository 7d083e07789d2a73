// Invoices that were issued, numbered without gaps, and what was paid of them: never changed.
// HOME/invoices.db.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "billing/invoice.h"
#include "storage/database.h"

namespace tradewind::billing {

struct IssuedInvoice {
  std::string number, kind, refers_to, org_id, period;
  std::string reference;  // of a credit note; of those of before there were any: empty
  std::string settles;    // likewise: a month, see InvoiceDraft
  std::string accepted;   // see InvoiceDraft
  std::string issuer;     // its name
  int64_t issued_s = 0;
  ledger::NanoUsd net = 0, carry_out = 0;
  ledger::NanoUsd returned = 0;  // by a credit note, as a credit
  int64_t payable_cents = 0, tax_cents = 0;
  // Of an invoice: what its notes took off (negative) and what was paid, by now.
  int64_t noted_cents = 0, paid_cents = 0;
  InvoiceDocuments documents;  // empty in lists

  int64_t net_cents() const { return payable_cents - tax_cents; }
  // Of a credit note: what it takes off and gives back.
  ledger::NanoUsd credited() const { return returned - net; }
  // Of an invoice: what is to be paid yet; negative: what is to be paid back.
  int64_t open_cents() const { return payable_cents + noted_cents - paid_cents; }
};

struct Payment {
  std::string reference;  // one of the invoice is the same payment, however often it is recorded
  int64_t cents = 0;
  int64_t recorded_s = 0;

  bool operator==(const Payment&) const = default;
};

inline constexpr size_t kReferenceBytesMax = 200;

// Thread-safe; calls wait for the disk. Errors of all: those of storage::Database.
class InvoiceStore {
 public:
  static Result<std::unique_ptr<InvoiceStore>> Open(const std::filesystem::path& path);

  // Numbers the draft, writes its documents and keeps them: all of it or nothing. Its number and
  // carry are set here. A credit note that was issued under this reference is returned as it is.
  // Errors besides: kInvalidArgument: there is an invoice of this organisation and month; a credit
  // note that credits more than is left of its invoice (usd), has no reference or more than
  // kReferenceBytesMax bytes of it, or that of a note which says something else (reference), or
  // settles more of a month than that gave back beyond its use (settles). A note
  // takes off what was to be paid first; what is beyond that credits had paid, and it says so
  // (`returned`).
  Result<IssuedInvoice> Issue(InvoiceDraft draft);
  // Errors besides: kInvalidArgument: there is an invoice of this organisation and month (period).
  Status CheckNotInvoiced(std::string_view org_id, const BillPeriod& period);
  // What Issue would write, with "DRAFT" for a number.
  Result<IssuedInvoice> Preview(InvoiceDraft draft);

  Result<std::vector<IssuedInvoice>> List(std::string_view org_id = {});  // the oldest first
  // With its documents. Errors besides: kNotFound, kCorruptFile when it is not what was issued.
  Result<IssuedInvoice> Find(std::string_view number);
  // What may still be credited of an invoice: of its charge, whoever paid it.
  Result<ledger::NanoUsd> LeftOf(const IssuedInvoice& invoice);

  // Records that so much of an invoice was paid: once under one reference. Returns the invoice
  // without its documents. Errors besides: kNotFound; kInvalidArgument: it is no invoice, a credit
  // note (param number), more than is open, no whole cents (usd), another amount under this
  // reference, no reference or more than kReferenceBytesMax bytes (reference).
  Result<IssuedInvoice> Pay(std::string_view number, ledger::NanoUsd amount,
                            std::string_view reference, int64_t now_s);
  // Of an invoice, the oldest first.
  Result<std::vector<Payment>> Payments(std::string_view number);

  Status BackUp(const std::filesystem::path& folder);
  void Release();
  Status Reopen();

 private:
  explicit InvoiceStore(storage::Database database) : database_(std::move(database)) {}
  Status CheckOpen() const;                                         // requires mutex_
  Result<ledger::NanoUsd> CarryOf(std::string_view org_id);         // requires mutex_
  Result<std::vector<IssuedInvoice>> Rows(std::string_view org);    // requires mutex_
  Status CheckMonth(std::string_view org, std::string_view month);  // requires mutex_
  Status AddDocuments(IssuedInvoice& invoice);                      // requires mutex_
  // What has a note's reference already; an error when that is another one. Requires mutex_.
  Result<std::optional<IssuedInvoice>> IssuedUnder(const InvoiceDraft& note);
  Result<IssuedInvoice> RowOf(std::string_view number);              // requires mutex_
  Result<std::vector<Payment>> PaymentsOf(std::string_view number);  // requires mutex_
  struct Left {
    ledger::NanoUsd charge = 0;
    ledger::NanoUsd net = 0;  // of it: credits did not pay it
  };
  Result<Left> LeftAfterNotes(const IssuedInvoice& invoice);  // requires mutex_

  std::mutex mutex_;  // guards what follows
  storage::Database database_;
};

}  // namespace tradewind::billing
