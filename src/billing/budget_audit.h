// What budgets say was spent, against what the journal says was settled under them: by window, made
// again from the entries alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "ledger/ids.h"
#include "ledger/ledger.h"
#include "ledger/record.h"

namespace tradewind::billing {

// One thread. Records in the order of the journal. The first snapshot, where the journal does not
// begin with the first record of all, says what was spent before; every later one, and the ledger,
// has to say that and all that was settled since. What runs, what is in doubt and what a power cut
// left unaccounted was not spent, and is in none of it; a cost beyond its hold is.
class BudgetAudit {
 public:
  void Take(const ledger::Record& record);

  // Requests settle meanwhile: what was made again lies between what the ledger said before the
  // journal was read and what it says now. Windows that have changed meanwhile are left out.
  void Check(const std::vector<ledger::BudgetState>& before,
             const std::vector<ledger::BudgetState>& now);

  int64_t checked() const { return checked_; }  // windows of budgets
  const std::vector<std::string>& differences() const { return differences_; }

 private:
  void TakeSettle(const ledger::Record& record);
  void TakeAdjust(const ledger::Record& record);
  void TakeAccount(const ledger::Record& record);
  void Compare(const ledger::AccountKey& key, ledger::NanoUsd least, ledger::NanoUsd most);
  void Forget();

  bool is_complete_ = false;  // since a beginning or a snapshot, nothing is missing
  bool is_first_ = false;     // that snapshot is being read
  uint64_t seq_ = 0;
  std::map<ledger::AccountNumber, std::string> names_;
  std::map<ledger::AccountKey, __int128> spent_;
  std::unordered_map<ledger::HoldId, std::vector<ledger::Leg>, ledger::HashOfId> open_;
  int64_t checked_ = 0;
  std::vector<std::string> differences_;
};

}  // namespace tradewind::billing
