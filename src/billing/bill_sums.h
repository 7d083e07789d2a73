// What one answer about a bill is made of: all as of one moment, so that it agrees with itself
// while requests end.
#pragma once

#include <cstdint>
#include <vector>

#include "billing/credits.h"
#include "billing/meters.h"
#include "billing/price_version.h"

namespace tradewind::billing {

struct BillSums {
  Meters meters;
  // Of the hours, where they were asked for; of a line of the statement, as one: without the hour
  // and provider_model.
  Meters by_hour;
  CreditUses credits;
  Meters corrected;  // as Recorder::AddCorrected has it
  std::vector<PriceVersion> prices;
  // What ended by then is in the sums, and nothing that ended later; no two records have one time.
  int64_t last_end_ns = 0;
};

}  // namespace tradewind::billing
