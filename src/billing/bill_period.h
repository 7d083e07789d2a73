// The time that a bill is for: a month or a day of UTC.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind::billing {

struct BillPeriod {
  std::string name;              // "2026-11", "2026-11-25"
  int64_t from_s = 0, to_s = 0;  // Unix seconds; whole hours

  bool is_month() const { return name.size() == 7; }
};

// Errors: kInvalidArgument (param period): neither a month nor a day of the years 1970 to 9999.
Result<BillPeriod> ParseBillPeriod(std::string_view text);
// The same of a month alone.
Result<BillPeriod> ParseBillMonth(std::string_view text);
// The month that `unix_s` lies in.
BillPeriod MonthOf(int64_t unix_s);
BillPeriod MonthBefore(const BillPeriod& month);

// The texts of the transfers that reconciling makes: what was done ("suspense", "close",
// "reopen"), of whose bill, of which month, and why; without a reason what all of them begin with.
std::string TransferText(std::string_view what, std::string_view provider, const BillPeriod& period,
                         std::string_view why = {});

// The account of what a provider's bill of a month says beyond what was recorded, for as long as
// the month is not closed.
std::string SuspenseName(std::string_view provider, const BillPeriod& period);

std::string UtcTime(int64_t unix_s);  // "2026-11-01T00:00:00Z"
std::string UtcDate(int64_t unix_s);  // "2026-11-01"

}  // namespace tradewind::billing
