#include "billing/books.h"

namespace tradewind::billing {

Result<std::unique_ptr<Books>> Books::Open(const std::filesystem::path& home, const Clock& clock) {
  std::unique_ptr<Books> books(new Books);
  TW_ASSIGN_OR_RETURN(books->disk_, ledger::OpenFolder(home / "journal"));
  TW_ASSIGN_OR_RETURN(books->ledger_, ledger::Ledger::Open(*books->disk_, clock));
  TW_ASSIGN_OR_RETURN(books->recorder_,
                      Recorder::Open(home / "ledger.db", *books->disk_, *books->ledger_));
  books->meter_ = std::make_unique<Meter>(*books->ledger_);
  return books;
}

void Books::Release() {
  recorder_->Release();
  ledger_->Release();
}

Status Books::Reopen() {
  TW_RETURN_IF_ERROR(ledger_->Reopen());
  return recorder_->Reopen();
}

}  // namespace tradewind::billing
