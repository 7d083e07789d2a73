// The windows of a budget's period, by the calendar of an IANA time zone: days of 23 and 25 hours
// included. Source: the system's tz database.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind::ledger {

enum class Period : uint8_t { kTotal, kMinute, kHour, kDay, kWeek, kMonth, kQuarter, kRolling };

std::string_view PeriodName(Period period);  // "total", "minute", ...
// Errors: kInvalidArgument (param period).
Result<Period> ParsePeriod(std::string_view name);
// Errors: kInvalidArgument (param zone): the tz database knows no such zone.
Status CheckZone(const std::string& zone);
// Days of the week by their English names. Errors: kInvalidArgument (param week_start).
Result<uint8_t> ParseWeekStart(std::string_view name);
std::string_view WeekdayName(uint8_t day);  // 1: "monday"
// "rolling:24h": the seconds of a span that ends now, whenever that is; in minutes, hours or days.
// Errors: kInvalidArgument (param period).
Result<int64_t> ParseRolling(std::string_view text);
std::string RollingName(int64_t span_s);
// Errors: kInvalidArgument (param period): a first day or a span that the period cannot have.
Status CheckWindows(Period period, uint8_t first_day, int64_t span_s);

// [start, end) in Unix seconds. kTotal is one window from 0 to the end of time.
struct Window {
  int64_t start_s = 0, end_s = 0;

  bool Has(int64_t unix_s) const { return start_s <= unix_s && unix_s < end_s; }
  bool operator==(const Window&) const = default;
};

inline constexpr int64_t kEndOfTime = INT64_MAX;

// What a rolling budget counts together: a 60th of its span. One falls out of it as a whole, when
// all of it is older than the span: until then there are one more of them than these 60.
inline constexpr int64_t kBuckets = 60;
constexpr Window BucketOf(int64_t span_s, int64_t unix_s) {
  const int64_t length_s = span_s / kBuckets;
  const int64_t start_s = unix_s - ((unix_s % length_s) + length_s) % length_s;
  return {start_s, start_s + length_s};
}

// The window of the calendar that `unix_s` lies in. A week begins on `first_day`, 1 (Monday) to 7;
// a month on that day of it, 1 to 31, or on its last one where it has not so many. An hour or
// minute of local time that the clocks show twice is two windows' worth of time in one; a skipped
// one does not exist. Requires CheckZone(zone); any thread. Instants outside the years 1900 to
// 9999 count as the nearest of these.
Window WindowOf(Period period, const std::string& zone, int64_t unix_s, uint8_t first_day = 1);

}  // namespace tradewind::ledger
