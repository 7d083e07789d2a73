// What credits paid of charges: what is less to pay on bills.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "billing/recorder.h"
#include "ledger/ids.h"
#include "ledger/money.h"
#include "ledger/record.h"

namespace tradewind::billing {

// As its grant says it; never changes.
struct CreditName {
  std::string name, note;

  bool operator==(const CreditName&) const = default;
};
using CreditNames = std::map<ledger::AccountNumber, CreditName>;

// A credit pays in the hour of the settle, as its charge belongs there.
struct CreditUseKey {
  int64_t hour = 0;  // since 1970
  std::string org_id, project_id, key_id;
  std::string credit, note;

  auto operator<=>(const CreditUseKey&) const = default;
};
using CreditUses = std::map<CreditUseKey, ledger::NanoUsd>;

// Of a settle, by the credit's number.
std::vector<CreditShare> CreditSharesOf(const ledger::Record& record);

// Adds what credits paid of a settled attempt.
void AddToCreditUses(const AttemptRow& row, const CreditNames& names, CreditUses& uses);

}  // namespace tradewind::billing
