// A statement, made again from the journal: by code that shares nothing with the recorder, whose
// sums it judges. What providers are owed is compared too, by all attempts there ever were, and
// what budgets say was spent, by what the journal has of their windows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "billing/recorder.h"
#include "billing/statement.h"
#include "ledger/disk.h"
#include "ledger/ledger.h"

namespace tradewind::billing {

struct Verification {
  Statement statement;          // of the sums
  std::string recomputed_hash;  // of the statement made from attempts
  // Where those came from: the journal, or rows whose part of the journal is gone.
  int64_t from_journal = 0, from_rows = 0;
  // Rows that are in files only: by the sums that were kept as they were set aside.
  int64_t set_aside = 0;
  int64_t budgets = 0;                   // windows of budgets whose entries were added up again
  std::vector<std::string> differences;  // the first of them

  bool is_good() const { return differences.empty() && recomputed_hash == statement.hash; }
};

// Reads all attempts, and looks up those that the journal has: some twenty seconds for a million.
// In memory is what was open at a time, ten thousand attempts and the sums. Requests that end
// meanwhile are no difference. Errors: those of the recorder and the journal.
Result<Verification> VerifyStatement(const StatementOrder& order, Recorder& recorder,
                                     ledger::Ledger& ledger, ledger::Disk& disk);

}  // namespace tradewind::billing
