#include "ledger/window.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <utility>

#include <date/tz.h>
#include <fmt/format.h>

namespace tradewind::ledger {
namespace {

using std::chrono::seconds;
using LocalSeconds = date::local_time<seconds>;
using LocalDays = date::local_days;

constexpr std::array<std::pair<Period, std::string_view>, 7> kNames = {{
    {Period::kTotal, "total"},
    {Period::kMinute, "minute"},
    {Period::kHour, "hour"},
    {Period::kDay, "day"},
    {Period::kWeek, "week"},
    {Period::kMonth, "month"},
    {Period::kQuarter, "quarter"},
}};

constexpr int64_t kFirstSecond = -2'208'988'800;  // 1900-01-01
constexpr int64_t kLastSecond = 253'370'764'799;  // 9998-12-31, so that a next window exists

// First day of the period that `day` lies in, and of the next one.
std::pair<LocalDays, LocalDays> DaysOf(Period period, LocalDays day) {
  const date::year_month_day ymd(day);
  const auto first = [](date::year_month month) { return LocalDays(month / 1); };
  switch (period) {
    case Period::kWeek: {
      const LocalDays monday = day - (date::weekday(day) - date::Monday);
      return {monday, monday + date::weeks(1)};
    }
    case Period::kMonth: {
      const date::year_month month = ymd.year() / ymd.month();
      return {first(month), first(month + date::months(1))};
    }
    case Period::kQuarter: {
      const unsigned quarter = (static_cast<unsigned>(ymd.month()) - 1) / 3;
      const date::year_month month = ymd.year() / date::month(quarter * 3 + 1);
      return {first(month), first(month + date::months(3))};
    }
    default:
      return {day, day + date::days(1)};
  }
}

// The instant at which a local date begins: midnight, or the end of the gap when midnight is
// skipped; the first of two when the clocks show it twice.
int64_t BeginOf(const date::time_zone& zone, LocalDays day) {
  return zone.to_sys(LocalSeconds(day), date::choose::earliest).time_since_epoch().count();
}

// Whole hours and minutes are counted on the local clock: zones with offsets of 30 and 45 minutes
// have their own. A change of the offset within the window ends it.
Window ClockWindow(const date::time_zone& zone, int64_t length_s, int64_t unix_s) {
  const date::sys_seconds now{seconds(unix_s)};
  const date::sys_info info = zone.get_info(now);
  const int64_t offset = info.offset.count();
  const int64_t local = unix_s + offset;
  const int64_t into = ((local % length_s) + length_s) % length_s;
  const int64_t start = unix_s - into;
  return {std::max(start, info.begin.time_since_epoch().count()),
          std::min(start + length_s, info.end.time_since_epoch().count())};
}

}  // namespace

std::string_view PeriodName(Period period) {
  const auto* found =
      std::ranges::find(kNames, period, &std::pair<Period, std::string_view>::first);
  return found == kNames.end() ? "total" : found->second;
}

Result<Period> ParsePeriod(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name, &std::pair<Period, std::string_view>::second);
  if (found == kNames.end()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is no period: total, minute, hour, day, week, month, quarter",
                            name.substr(0, 64)),
                "period");
  }
  return found->first;
}

Status CheckZone(const std::string& zone) {
  try {
    static_cast<void>(date::locate_zone(zone));
    return {};
  } catch (const std::exception&) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is no time zone of the tz database, like UTC or Europe/Berlin",
                            zone.substr(0, 64)),
                "zone");
  }
}

Window WindowOf(Period period, const std::string& zone, int64_t unix_s) {
  if (period == Period::kTotal) {
    return {0, kEndOfTime};
  }
  unix_s = std::clamp(unix_s, kFirstSecond, kLastSecond);
  const date::time_zone& tz = *date::locate_zone(zone);
  if (period == Period::kMinute || period == Period::kHour) {
    return ClockWindow(tz, period == Period::kMinute ? 60 : 3600, unix_s);
  }
  const LocalSeconds local = tz.to_local(date::sys_seconds{seconds(unix_s)});
  const auto [first, next] = DaysOf(period, date::floor<date::days>(local));
  return {BeginOf(tz, first), BeginOf(tz, next)};
}

}  // namespace tradewind::ledger
