// The money of one data folder: HOME/journal, ledger.db, invoices.db and replies.db, opened
// together.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>

#include "base/clock.h"
#include "base/result.h"
#include "billing/invoice_store.h"
#include "billing/meter.h"
#include "billing/recorder.h"
#include "billing/replay_store.h"
#include "ledger/disk.h"
#include "ledger/ledger.h"

namespace tradewind::billing {

// Thread-safe but for Release and Reopen.
class Books {
 public:
  // `watcher` must outlive it; `keep` as RecorderOptions has it. Errors: those of
  // ledger::Ledger::Open and Recorder::Open.
  static Result<std::unique_ptr<Books>> Open(const std::filesystem::path& home,
                                             const Clock& clock = SystemClock(),
                                             RecordWatcher* watcher = nullptr,
                                             std::chrono::days keep = std::chrono::days(0));

  ledger::Ledger& ledger() { return *ledger_; }
  Recorder& recorder() { return *recorder_; }
  Meter& meter() { return *meter_; }
  ledger::Disk& disk() { return *disk_; }  // of the journal
  InvoiceStore& invoices() { return *invoices_; }
  ReplayStore& replays() { return *replays_; }

  // Grants what credit notes give back of what credits had paid: once, wherever the process was
  // killed. Open does it, and whoever has issued a note. Errors: those of the invoices and of
  // ledger::Ledger::Grant.
  Status GrantReturned();

  // Copies of all of it, that belong together, in a folder that is there and empty. Errors: those
  // of the stores, kIo.
  Status BackUp(const std::filesystem::path& folder);

  // Gives the files to another process, and takes them back: as identity::Store does it.
  void Release();
  Status Reopen();

 private:
  Books() = default;

  std::mutex granting_;  // of what is returned
  std::unique_ptr<ledger::Disk> disk_;
  std::unique_ptr<ledger::Ledger> ledger_;
  std::unique_ptr<Meter> meter_;
  std::unique_ptr<Recorder> recorder_;  // bars the meter's routes
  std::unique_ptr<InvoiceStore> invoices_;
  std::unique_ptr<ReplayStore> replays_;
};

}  // namespace tradewind::billing
