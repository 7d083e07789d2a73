#include "billing/invoice_store.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "billing/hash.h"
#include "billing/usd.h"
#include "dialects/json_reader.h"
#include "storage/migrations.h"

namespace tradewind::billing {
namespace {

constexpr std::array<storage::Migration, 4> kMigrations = {{{"invoices", R"(
CREATE TABLE invoices (
  serial INTEGER PRIMARY KEY, number TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
  refers_to TEXT NOT NULL, org TEXT NOT NULL, period TEXT NOT NULL, issued_s INTEGER NOT NULL,
  net INTEGER NOT NULL, carry_out INTEGER NOT NULL, payable_cents INTEGER NOT NULL,
  json TEXT NOT NULL, html TEXT NOT NULL, csv TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX one_of_a_month ON invoices (org, period) WHERE kind = 'invoice';
CREATE TRIGGER frozen_update BEFORE UPDATE ON invoices
  BEGIN SELECT RAISE(ABORT, 'an invoice is never changed'); END;
CREATE TRIGGER frozen_delete BEFORE DELETE ON invoices
  BEGIN SELECT RAISE(ABORT, 'an invoice is never removed'); END;
)"},
                                                            {"payments", R"(
CREATE INDEX notes_of ON invoices (refers_to);
CREATE TABLE payments (
  serial INTEGER PRIMARY KEY, invoice TEXT NOT NULL, reference TEXT NOT NULL,
  cents INTEGER NOT NULL CHECK (cents > 0), recorded_s INTEGER NOT NULL,
  UNIQUE (invoice, reference)) STRICT;
CREATE TRIGGER frozen_payment_update BEFORE UPDATE ON payments
  BEGIN SELECT RAISE(ABORT, 'a payment is never changed'); END;
CREATE TRIGGER frozen_payment_delete BEFORE DELETE ON payments
  BEGIN SELECT RAISE(ABORT, 'a payment is never removed'); END;
)"},
                                                            {"references of notes", R"(
ALTER TABLE invoices ADD COLUMN reference TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX one_of_a_reference ON invoices (org, reference) WHERE reference <> '';
)"},
                                                            {"accepted differences", R"(
ALTER TABLE invoices ADD COLUMN accepted TEXT NOT NULL DEFAULT '';
)"}}};

// What a note says that it gives back as a credit; those of before say nothing, and gave nothing.
constexpr std::string_view kReturned =
    "CASE kind WHEN 'credit_note' "
    "THEN CAST(coalesce(json_extract(json, '$.returned_nanousd'), 0) AS INTEGER) ELSE 0 END";

constexpr std::string_view kSettles = "coalesce(json_extract(json, '$.settles'), '')";

// `what`: "A payment", ...; `like`: where one may come from; `done`: what is done once under it.
Status CheckReference(std::string_view reference, std::string_view what, std::string_view like,
                      std::string_view done) {
  if (reference.empty() || reference.size() > kReferenceBytesMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} has a `reference` (--reference TEXT) of at most {} bytes, like {}: "
                            "under the same one "
                            "it is {} once.",
                            what, kReferenceBytesMax, like, done),
                "reference");
  }
  return {};
}

std::string NumberOf(int64_t serial) {
  return fmt::format("TW-{:06}", serial);
}

IssuedInvoice IssuedOf(const InvoiceDraft& draft, const InvoiceSums& sums) {
  IssuedInvoice issued;
  issued.number = draft.number;
  issued.kind = draft.kind;
  issued.refers_to = draft.refers_to;
  issued.reference = draft.reference;
  issued.settles = draft.settles;
  issued.accepted = draft.accepted;
  issued.org_id = draft.org_id;
  issued.period = draft.period.name;
  issued.issued_s = draft.issued_s;
  issued.net = sums.net;
  issued.carry_out = sums.carry_out;
  issued.returned = draft.returned;
  issued.payable_cents = sums.payable_cents();
  issued.tax_cents = sums.tax_cents;
  issued.documents = WriteInvoice(draft, sums);
  return issued;
}

Status CheckSettles(const InvoiceDraft& draft, std::span<const IssuedInvoice> known) {
  if (draft.settles.empty()) {
    return {};
  }
  ledger::NanoUsd left = draft.settles_max;
  for (const IssuedInvoice& one : known) {
    left -= one.org_id == draft.org_id && one.settles == draft.settles ? one.credited() : 0;
  }
  if (draft.credit > left) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is left of what {} gave back beyond its use: no more of it can be "
                            "settled.",
                            FormatUsd(left), draft.settles),
                "settles");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<InvoiceStore>> InvoiceStore::Open(const std::filesystem::path& path) {
  TW_ASSIGN_OR_RETURN(storage::Database database, storage::Database::Open(path));
  TW_RETURN_IF_ERROR(storage::Migrate(database, kMigrations));
  return std::unique_ptr<InvoiceStore>(new InvoiceStore(std::move(database)));
}

Status InvoiceStore::CheckOpen() const {
  if (!database_.is_open()) {
    return Fail(ErrorCode::kUnavailable, "Another process has the invoices.");
  }
  return {};
}

// What the last document of the organisation left.
Result<ledger::NanoUsd> InvoiceStore::CarryOf(std::string_view org_id) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT carry_out FROM invoices WHERE org = ?1 ORDER BY serial DESC "
                        "LIMIT 1"));
  query.Bind(1, org_id);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

Result<IssuedInvoice> InvoiceStore::Preview(InvoiceDraft draft) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  draft.number = "DRAFT";
  TW_ASSIGN_OR_RETURN(draft.carry_in, CarryOf(draft.org_id));
  TW_ASSIGN_OR_RETURN(const InvoiceSums sums, SumsOf(draft));
  return IssuedOf(draft, sums);
}

Status InvoiceStore::CheckMonth(std::string_view org, std::string_view month) {
  TW_ASSIGN_OR_RETURN(const std::vector<IssuedInvoice> known, Rows(org));
  for (const IssuedInvoice& one : known) {
    if (one.kind == "invoice" && one.org_id == org && one.period == month) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} was invoiced by {}: what was wrong with it is corrected by a "
                              "credit note.",
                              month, one.number),
                  "period");
    }
  }
  return {};
}

Status InvoiceStore::CheckNotInvoiced(std::string_view org_id, const BillPeriod& period) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return CheckMonth(org_id, period.name);
}

Result<std::optional<IssuedInvoice>> InvoiceStore::IssuedUnder(const InvoiceDraft& note) {
  TW_ASSIGN_OR_RETURN(std::vector<IssuedInvoice> known, Rows(note.org_id));
  const auto found = std::ranges::find(known, note.reference, &IssuedInvoice::reference);
  if (found == known.end()) {
    return std::nullopt;
  }
  TW_RETURN_IF_ERROR(AddDocuments(*found));
  TW_ASSIGN_OR_RETURN(const boost::json::object said,
                      dialects::ParseJsonObject(found->documents.json));
  if (found->refers_to != note.refers_to || found->credited() != note.credit ||
      found->settles != note.settles || said.at("reason").as_string() != note.reason) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} has this reference already, and says something else: it credits {} "
                            "of {}. Give this one another.",
                            found->number, FormatUsd(found->credited()), found->refers_to),
                "reference");
  }
  return std::move(*found);
}

Result<IssuedInvoice> InvoiceStore::Issue(InvoiceDraft draft) {
  if (draft.kind == "credit_note") {
    TW_RETURN_IF_ERROR(
        CheckReference(draft.reference, "A credit note", "that of the complaint", "issued"));
  }
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Transaction transaction, storage::Transaction::Begin(database_));
  if (draft.kind == "credit_note") {
    TW_ASSIGN_OR_RETURN(std::optional<IssuedInvoice> same, IssuedUnder(draft));
    if (same.has_value()) {
      return std::move(*same);
    }
  }
  if (draft.kind == "invoice") {
    TW_RETURN_IF_ERROR(CheckMonth(draft.org_id, draft.period.name));
  }
  TW_ASSIGN_OR_RETURN(const std::vector<IssuedInvoice> known, Rows(""));
  TW_RETURN_IF_ERROR(CheckSettles(draft, known));
  for (const IssuedInvoice& one : known) {
    if (draft.kind == "credit_note" && one.number == draft.refers_to) {
      TW_ASSIGN_OR_RETURN(const Left left, LeftAfterNotes(one));
      if (draft.credit > left.charge) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("{} is left of {}: no more can be credited.",
                                FormatUsd(left.charge), one.number),
                    "usd");
      }
      draft.returned = std::max<ledger::NanoUsd>(0, draft.credit - left.net);
      if (draft.returned > ledger::kAmountMax) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("{} of it would come back as one credit, and no credit is more "
                                "than {}: issue several notes.",
                                FormatUsd(draft.returned), FormatUsd(ledger::kAmountMax)),
                    "usd");
      }
      draft.invoice_net = one.net;
      draft.invoice_tax_cents = one.tax_cents;
      draft.noted_net = left.net - one.net;
    }
    if (draft.kind == "credit_note" && one.refers_to == draft.refers_to) {
      draft.noted_tax_cents += one.tax_cents;
    }
  }
  // Nothing is ever removed, so the count is the last number.
  const auto serial = static_cast<int64_t>(known.size()) + 1;
  draft.number = NumberOf(serial);
  TW_ASSIGN_OR_RETURN(draft.carry_in, CarryOf(draft.org_id));
  TW_ASSIGN_OR_RETURN(const InvoiceSums sums, SumsOf(draft));
  IssuedInvoice issued = IssuedOf(draft, sums);
  TW_RETURN_IF_ERROR(
      database_.Run("INSERT INTO invoices VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"
                    "?15,?16)",
                    serial, std::string_view(issued.number), std::string_view(issued.kind),
                    std::string_view(issued.refers_to), std::string_view(issued.org_id),
                    std::string_view(issued.period), issued.issued_s, issued.net, issued.carry_out,
                    issued.payable_cents, std::string_view(issued.documents.json),
                    std::string_view(issued.documents.html), std::string_view(issued.documents.csv),
                    std::string_view(issued.documents.hash), std::string_view(issued.reference),
                    std::string_view(issued.accepted)));
  TW_RETURN_IF_ERROR(transaction.Commit());
  return issued;
}

Result<std::vector<IssuedInvoice>> InvoiceStore::Rows(std::string_view org) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare(fmt::format(
                          "SELECT number, kind, refers_to, org, period, issued_s, net, carry_out, "
                          "payable_cents, hash, {}, "
                          "(SELECT coalesce(sum(payable_cents), 0) FROM invoices AS note WHERE "
                          "note.refers_to = invoices.number), "
                          "(SELECT coalesce(sum(cents), 0) FROM payments WHERE "
                          "invoice = invoices.number), reference, accepted, "
                          "coalesce(json_extract(json, '$.issuer.name'), ''), {} "
                          "FROM invoices WHERE ?1 = '' OR org = ?1 ORDER BY serial",
                          kReturned, kSettles)));
  query.Bind(1, org);
  std::vector<IssuedInvoice> rows;
  std::map<std::string, ledger::NanoUsd> carried;  // to the next document, by organisation
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return rows;
    }
    IssuedInvoice& row = rows.emplace_back();
    int column = 0;
    for (std::string* field : {&row.number, &row.kind, &row.refers_to, &row.org_id, &row.period}) {
      *field = query.Text(column++);
    }
    row.issued_s = query.Integer(5);
    row.net = query.Integer(6);
    row.carry_out = query.Integer(7);
    row.payable_cents = query.Integer(8);
    row.documents.hash = query.Text(9);
    row.returned = query.Integer(10);
    row.noted_cents = query.Integer(11);
    row.paid_cents = query.Integer(12);
    row.reference = query.Text(13);
    row.accepted = query.Text(14);
    row.issuer = query.Text(15);
    row.settles = query.Text(16);
    ledger::NanoUsd& carry = carried[row.org_id];
    row.tax_cents = row.payable_cents - (row.net + carry - row.carry_out) / kNanoPerCent;
    carry = row.carry_out;
  }
}

Result<std::vector<IssuedInvoice>> InvoiceStore::List(std::string_view org_id) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return Rows(org_id);
}

Result<IssuedInvoice> InvoiceStore::RowOf(std::string_view number) {
  TW_ASSIGN_OR_RETURN(std::vector<IssuedInvoice> rows, Rows(""));
  const auto found = std::ranges::find(rows, number, &IssuedInvoice::number);
  if (found == rows.end()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("There is no invoice \"{}\".", number.substr(0, 40)), "number");
  }
  return std::move(*found);
}

Status InvoiceStore::AddDocuments(IssuedInvoice& invoice) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT json, html, csv FROM invoices WHERE number = ?1"));
  query.Bind(1, std::string_view(invoice.number));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  if (!has_row) {
    return Fail(ErrorCode::kInternal, "an invoice is gone");
  }
  invoice.documents.json = query.Text(0);
  invoice.documents.html = query.Text(1);
  invoice.documents.csv = query.Text(2);
  if (Sha256Hex(invoice.documents.json) != invoice.documents.hash) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{} is not what was issued; restore invoices.db from a backup",
                            invoice.number));
  }
  return {};
}

Result<IssuedInvoice> InvoiceStore::Find(std::string_view number) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(IssuedInvoice found, RowOf(number));
  TW_RETURN_IF_ERROR(AddDocuments(found));
  return found;
}

// Where credits paid of it, an invoice says what its charge was; otherwise that is its net.
Result<InvoiceStore::Left> InvoiceStore::LeftAfterNotes(const IssuedInvoice& invoice) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(fmt::format(
          "SELECT (SELECT CAST(coalesce(json_extract(json, '$.charge_nanousd'), net) AS INTEGER) "
          "FROM invoices WHERE number = ?1), coalesce(sum(net), 0), coalesce(sum({}), 0) "
          "FROM invoices WHERE refers_to = ?1",
          kReturned)));
  query.Bind(1, std::string_view(invoice.number));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  if (!has_row) {
    return Left();
  }
  const ledger::NanoUsd notes_net = query.Integer(1), returned = query.Integer(2);
  return Left{query.Integer(0) + notes_net - returned, invoice.net + notes_net};
}

Result<ledger::NanoUsd> InvoiceStore::LeftOf(const IssuedInvoice& invoice) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(const Left left, LeftAfterNotes(invoice));
  return left.charge;
}

Result<std::vector<Payment>> InvoiceStore::PaymentsOf(std::string_view number) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT reference, cents, recorded_s FROM payments WHERE "
                                        "invoice = ?1 ORDER BY serial"));
  query.Bind(1, number);
  std::vector<Payment> payments;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return payments;
    }
    payments.push_back({std::string(query.Text(0)), query.Integer(1), query.Integer(2)});
  }
}

Result<std::vector<Payment>> InvoiceStore::Payments(std::string_view number) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_RETURN_IF_ERROR(RowOf(number));
  return PaymentsOf(number);
}

Result<IssuedInvoice> InvoiceStore::Pay(std::string_view number, ledger::NanoUsd amount,
                                        std::string_view reference, int64_t now_s) {
  const auto wrong = [](std::string message, std::string param) {
    return Fail(ErrorCode::kInvalidArgument, std::move(message), std::move(param));
  };
  TW_RETURN_IF_ERROR(CheckReference(reference, "A payment", "that of the bank", "recorded"));
  if (amount <= 0 || amount % kNanoPerCent != 0) {
    return wrong("A payment is of whole cents, and of more than nothing.", "usd");
  }
  const int64_t cents = amount / kNanoPerCent;
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Transaction transaction, storage::Transaction::Begin(database_));
  TW_ASSIGN_OR_RETURN(IssuedInvoice invoice, RowOf(number));
  if (invoice.kind != "invoice") {
    return wrong(fmt::format("{} is a credit note; a payment is of its invoice, {}.",
                             invoice.number, invoice.refers_to),
                 "number");
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Payment> known, PaymentsOf(number));
  if (const auto same = std::ranges::find(known, reference, &Payment::reference);
      same != known.end()) {
    return same->cents == cents
               ? Result<IssuedInvoice>(std::move(invoice))
               : wrong(fmt::format("A payment of ${} has this reference already; give this one "
                                   "another.",
                                   FormatCents(same->cents)),
                       "reference");
  }
  if (cents > invoice.open_cents()) {
    return wrong(
        fmt::format("${} is open of {}: no more can be paid.",
                    FormatCents(std::max<int64_t>(0, invoice.open_cents())), invoice.number),
        "usd");
  }
  TW_RETURN_IF_ERROR(database_.Run(
      "INSERT INTO payments (invoice, reference, cents, recorded_s) VALUES (?1, ?2, ?3, ?4)",
      number, reference, cents, now_s));
  TW_RETURN_IF_ERROR(transaction.Commit());
  invoice.paid_cents += cents;
  return invoice;
}

Status InvoiceStore::BackUp(const std::filesystem::path& folder) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return database_.CopyTo(folder / "invoices.db");
}

void InvoiceStore::Release() {
  const std::lock_guard lock(mutex_);
  database_.Release();
}

Status InvoiceStore::Reopen() {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(database_, storage::Database::Open(database_.path()));
  return storage::Migrate(database_, kMigrations);
}

}  // namespace tradewind::billing
