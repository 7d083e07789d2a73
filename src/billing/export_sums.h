// What is read at once for an export, whose rows are read one by one later.
#pragma once

#include <cstdint>
#include <map>

#include "billing/credits.h"
#include "billing/meters.h"

namespace tradewind::billing {

// Of one moment. Records come in the order of time: hours before the last one that has any never
// change.
struct ExportSums {
  Meters by_day;
  CreditUses credits;               // by organisation and credit alone
  std::map<int64_t, int64_t> rows;  // how many an hour has, of both tables; before `last_hour`
  int64_t last_hour = 0;
  Meters last_meters;       // since then, by hours
  CreditUses last_credits;  // likewise
};

}  // namespace tradewind::billing
