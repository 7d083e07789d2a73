#include "ledger/window.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <exception>
#include <utility>

#include <date/tz.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

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

constexpr std::array<std::string_view, 7> kWeekdays = {
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
constexpr unsigned kMonthDaysMax = 31;
constexpr int64_t kMinuteS = 60, kHourS = 3600, kDayS = 86'400, kSpanMaxS = 366 * kDayS;
constexpr std::string_view kRollingPrefix = "rolling:";

constexpr int64_t kFirstSecond = -2'208'988'800;  // 1900-01-01
constexpr int64_t kLastSecond = 253'370'764'799;  // 9998-12-31, so that a next window exists

// The day on which a month's window begins.
LocalDays CycleDay(date::year_month month, unsigned cycle_day) {
  const date::year_month_day_last last = month / date::last;
  return LocalDays(month / std::min(date::day(cycle_day), last.day()));
}

// First day of the period that `day` lies in, and of the next one.
std::pair<LocalDays, LocalDays> DaysOf(Period period, LocalDays day, uint8_t first_day) {
  const date::year_month_day ymd(day);
  const auto first = [](date::year_month month) { return LocalDays(month / 1); };
  switch (period) {
    case Period::kWeek: {
      const date::weekday start = date::Monday + date::days(first_day - 1);
      const LocalDays first_of_week = day - (date::weekday(day) - start);
      return {first_of_week, first_of_week + date::weeks(1)};
    }
    case Period::kMonth: {
      date::year_month month = ymd.year() / ymd.month();
      if (day < CycleDay(month, first_day)) {
        month -= date::months(1);
      }
      return {CycleDay(month, first_day), CycleDay(month + date::months(1), first_day)};
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
  if (period == Period::kRolling) {
    return "rolling";
  }
  const auto* found =
      std::ranges::find(kNames, period, &std::pair<Period, std::string_view>::first);
  return found == kNames.end() ? "total" : found->second;
}

Result<Period> ParsePeriod(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name, &std::pair<Period, std::string_view>::second);
  if (found == kNames.end()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("\"{}\" is no period: total, minute, hour, day, week, month, quarter, or a "
                    "rolling one like rolling:24h or rolling:7d",
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

Result<uint8_t> ParseWeekStart(std::string_view name) {
  const auto* found = std::ranges::find(kWeekdays, name);
  if (found == kWeekdays.end()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is no day of the week: {}", name.substr(0, 64),
                            fmt::join(kWeekdays, ", ")),
                "week_start");
  }
  return static_cast<uint8_t>(found - kWeekdays.begin() + 1);
}

std::string_view WeekdayName(uint8_t day) {
  return day >= 1 && day <= kWeekdays.size() ? kWeekdays[day - 1] : kWeekdays.front();
}

Result<int64_t> ParseRolling(std::string_view text) {
  int64_t count = 0, unit_s = 0;
  if (text.starts_with(kRollingPrefix) && text.size() > kRollingPrefix.size() + 1) {
    const char* const end = text.data() + text.size() - 1;
    const auto [stopped, error] = std::from_chars(text.data() + kRollingPrefix.size(), end, count);
    const bool is_number = error == std::errc() && stopped == end;
    unit_s = !is_number    ? 0
             : *end == 'm' ? kMinuteS
             : *end == 'h' ? kHourS
             : *end == 'd' ? kDayS
                           : 0;
  }
  if (unit_s == 0 || count < 1 || count > kSpanMaxS / unit_s) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is no rolling period: rolling:30m, rolling:24h, rolling:7d; at "
                            "most 366 days",
                            text.substr(0, 64)),
                "period");
  }
  return count * unit_s;
}

std::string RollingName(int64_t span_s) {
  if (span_s % kDayS == 0 && span_s > kDayS) {
    return fmt::format("{}{}d", kRollingPrefix, span_s / kDayS);
  }
  return span_s % kHourS == 0 ? fmt::format("{}{}h", kRollingPrefix, span_s / kHourS)
                              : fmt::format("{}{}m", kRollingPrefix, span_s / kMinuteS);
}

Status CheckWindows(Period period, uint8_t first_day, int64_t span_s) {
  const size_t most = period == Period::kWeek    ? kWeekdays.size()
                      : period == Period::kMonth ? kMonthDaysMax
                                                 : 1;
  if (first_day < 1 || first_day > most) {
    return Fail(ErrorCode::kInvalidArgument,
                "only a week and a month begin on another day than their first", "period");
  }
  const bool is_span = span_s >= kMinuteS && span_s <= kSpanMaxS && span_s % kMinuteS == 0;
  if (period == Period::kRolling ? !is_span : span_s != 0) {
    return Fail(ErrorCode::kInvalidArgument, "a rolling period is 1 minute to 366 days", "period");
  }
  return {};
}

Window WindowOf(Period period, const std::string& zone, int64_t unix_s, uint8_t first_day) {
  if (period == Period::kTotal) {
    return {0, kEndOfTime};
  }
  unix_s = std::clamp(unix_s, kFirstSecond, kLastSecond);
  const date::time_zone& tz = *date::locate_zone(zone);
  if (period == Period::kMinute || period == Period::kHour) {
    return ClockWindow(tz, period == Period::kMinute ? 60 : 3600, unix_s);
  }
  const LocalSeconds local = tz.to_local(date::sys_seconds{seconds(unix_s)});
  const auto [first, next] = DaysOf(period, date::floor<date::days>(local), first_day);
  return {BeginOf(tz, first), BeginOf(tz, next)};
}

}  // namespace tradewind::ledger
