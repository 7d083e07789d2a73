// The money of one data folder: HOME/journal and HOME/ledger.db, opened together.
#pragma once

#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "billing/meter.h"
#include "billing/recorder.h"
#include "ledger/disk.h"
#include "ledger/ledger.h"

namespace tradewind::billing {

// Thread-safe but for Release and Reopen.
class Books {
 public:
  // Errors: those of ledger::Ledger::Open and Recorder::Open.
  static Result<std::unique_ptr<Books>> Open(const std::filesystem::path& home,
                                             const Clock& clock = SystemClock());

  ledger::Ledger& ledger() { return *ledger_; }
  Recorder& recorder() { return *recorder_; }
  Meter& meter() { return *meter_; }

  // Gives the files to another process, and takes them back: as identity::Store does it.
  void Release();
  Status Reopen();

 private:
  Books() = default;

  std::unique_ptr<ledger::Disk> disk_;
  std::unique_ptr<ledger::Ledger> ledger_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<Meter> meter_;
};

}  // namespace tradewind::billing
