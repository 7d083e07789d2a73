#include "billing/books.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "telemetry/log.h"

namespace tradewind::billing {

Result<std::unique_ptr<Books>> Books::Open(const std::filesystem::path& home, const Clock& clock,
                                           RecordWatcher* watcher, std::chrono::days keep) {
  std::unique_ptr<Books> books(new Books);
  // First: where there is a journal there is this (cli/home.h CheckWhole).
  TW_ASSIGN_OR_RETURN(books->invoices_, InvoiceStore::Open(home / "invoices.db"));
  TW_ASSIGN_OR_RETURN(books->disk_, ledger::OpenFolder(home / "journal"));
  TW_ASSIGN_OR_RETURN(books->ledger_, ledger::Ledger::Open(*books->disk_, clock));
  books->meter_ = std::make_unique<Meter>(*books->ledger_, clock);
  TW_ASSIGN_OR_RETURN(
      books->recorder_,
      Recorder::Open(
          home / "ledger.db", *books->disk_, *books->ledger_,
          {.watcher = watcher, .bars = &books->meter_->bars(), .keep = keep, .clock = &clock}));
  TW_ASSIGN_OR_RETURN(
      books->replays_,
      ReplayStore::Open(home / "replies.db",
                        [&recorder = *books->recorder_](ledger::RequestId id) -> Result<bool> {
                          TW_ASSIGN_OR_RETURN(const auto rows, recorder.Find(id));
                          return std::ranges::all_of(rows, [](const AttemptRow& row) {
                            return row.state == AttemptState::kVoid;
                          });
                        }));
  if (const Status granted = books->GrantReturned(); !granted.has_value()) {
    telemetry::Log(telemetry::Level::kWarn,
                   "what a credit note gives back was not granted: " + granted.error().message);
  }
  return books;
}

Status Books::GrantReturned() {
  const std::lock_guard lock(granting_);
  TW_ASSIGN_OR_RETURN(const std::vector<IssuedInvoice> issued, invoices_->List());
  Status all;
  bool has_granted = false;
  for (const IssuedInvoice& note : issued) {
    if (note.returned == 0 || ledger_->FindCredit(CreditOfNote(note.number)).has_value()) {
      continue;
    }
    const Result<ledger::AccountNumber> granted =
        ledger_->Grant({.name = CreditOfNote(note.number),
                        .owner = BudgetName("org", note.org_id),
                        .amount = note.returned,
                        .note = fmt::format("credit note {} for {}", note.number, note.refers_to)});
    has_granted |= granted.has_value();
    if (!granted.has_value()) {  // one that cannot be keeps no other one back
      all = Fail(granted.error());
    }
  }
  if (has_granted) {
    TW_RETURN_IF_ERROR(ledger_->WaitDurable());
  }
  return all;
}

Status Books::BackUp(const std::filesystem::path& folder) {
  TW_RETURN_IF_ERROR(recorder_->BackUp(folder));
  return invoices_->BackUp(folder);
}

void Books::Release() {
  invoices_->Release();
  replays_->Release();
  recorder_->Release();
  ledger_->Release();
}

Status Books::Reopen() {
  TW_RETURN_IF_ERROR(ledger_->Reopen());
  Status opened = invoices_->Reopen();
  opened = opened.has_value() ? replays_->Reopen() : opened;
  opened = opened.has_value() ? recorder_->Reopen() : opened;
  if (!opened.has_value()) {
    ledger_->Release();  // what cannot be recorded is not admitted
  }
  return opened;
}

}  // namespace tradewind::billing
