// L-T5: the days, weeks, months and quarters of ten years in thirteen zones, each one, against an
// oracle that knows nothing but offsets: tests/data/windows/offsets.txt, which Python wrote.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/window.h"
#include "testing/data.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kBegin = 1'451'606'400, kEnd = 1'767'225'600;  // 2016 to 2025
constexpr int64_t kKnownUntil = kEnd + 9 * kDay;                 // by the file

struct Offset {
  int64_t from_s, offset_s;
};

struct Zone {
  std::string name;
  std::vector<Offset> offsets;

  // The instant at which a local day begins: the first that shows it or a later one.
  int64_t BeginOf(int64_t local_day) const {
    for (size_t i = 0; i < offsets.size(); ++i) {
      const int64_t end = i + 1 < offsets.size() ? offsets[i + 1].from_s : INT64_MAX;
      const int64_t at = std::max(offsets[i].from_s, local_day * kDay - offsets[i].offset_s);
      if (at < end) {
        return at;
      }
    }
    return INT64_MAX;
  }
};

std::vector<Zone> Zones() {
  std::ifstream file(testing::DataPath("windows/offsets.txt"));
  std::vector<Zone> zones;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) {
      continue;
    }
    std::istringstream words(line);
    Zone zone;
    words >> zone.name;
    for (std::string pair; words >> pair;) {
      const size_t colon = pair.find(':');
      zone.offsets.push_back(
          {std::stoll(pair.substr(0, colon)), std::stoll(pair.substr(colon + 1))});
    }
    zones.push_back(std::move(zone));
  }
  return zones;
}

// The day on which a month begins that begins on its `first_day`, or on its last one.
int64_t DayOf(std::chrono::year_month month, unsigned first_day) {
  using namespace std::chrono;
  for (unsigned day = first_day;; --day) {
    const year_month_day date = month / std::chrono::day(day);
    if (date.ok()) {
      return sys_days(date).time_since_epoch().count();
    }
  }
}

// The first local day of the period behind the one that begins with `day`.
int64_t NextOf(Period period, int64_t day, unsigned first_day) {
  using namespace std::chrono;
  const sys_days date{days(day)};
  const year_month_day ymd(date);
  switch (period) {
    case Period::kDay:
      return day + 1;
    case Period::kWeek:
      return day + 7;
    case Period::kMonth:
      return DayOf(ymd.year() / ymd.month() + months(1), first_day);
    default:
      return sys_days((ymd.year() / ymd.month() + months(3)) / 1).time_since_epoch().count();
  }
}

struct Cycle {
  Period period;
  uint8_t first_day = 1;
};
constexpr Cycle kCycles[] = {{Period::kDay},       {Period::kWeek},      {Period::kWeek, 4},
                             {Period::kWeek, 7},   {Period::kMonth},     {Period::kMonth, 15},
                             {Period::kMonth, 29}, {Period::kMonth, 31}, {Period::kQuarter}};

TEST(WindowOracle, EveryBoundaryOfTenYearsIsWhereTheOffsetsSay) {
  const std::vector<Zone> zones = Zones();
  ASSERT_GE(zones.size(), 13U);
  for (const Zone& zone : zones) {
    for (const auto& [period, first_day] : kCycles) {
      // 2016 began on a Friday; its first Monday was the fourth.
      int64_t day = kBegin / kDay + (period == Period::kWeek    ? 3 + first_day - 1
                                     : period == Period::kMonth ? first_day - 1
                                                                : 0);
      int64_t boundaries = 0;
      while (zone.BeginOf(day) < kEnd) {
        const int64_t next = NextOf(period, day, first_day);
        const Window expected{zone.BeginOf(day), zone.BeginOf(next)};
        if (expected.end_s > kKnownUntil) {
          break;
        }
        for (const int64_t at : {expected.start_s, expected.start_s + 1,
                                 (expected.start_s + expected.end_s) / 2, expected.end_s - 1}) {
          ASSERT_EQ(WindowOf(period, zone.name, at, first_day), expected)
              << zone.name << " " << PeriodName(period) << " from " << int{first_day} << " at "
              << at;
        }
        ++boundaries;
        day = next;
      }
      const int64_t least = period == Period::kDay     ? 3650
                            : period == Period::kWeek  ? 520
                            : period == Period::kMonth ? 119
                                                       : 40;
      EXPECT_GE(boundaries, least) << zone.name << " " << PeriodName(period);
    }
  }
}

// Around each change of the clocks: an hour on the clock face, cut where the offset changes.
TEST(WindowOracle, HoursAndMinutesFollowTheClockFaceThroughEveryChange) {
  for (const Zone& zone : Zones()) {
    for (size_t i = 1; i < zone.offsets.size(); ++i) {
      const int64_t change = zone.offsets[i].from_s;
      for (int64_t at = change - 7200; at < change + 7200; at += 450) {
        const bool is_after = at >= change;
        const int64_t offset = zone.offsets[is_after ? i : i - 1].offset_s;
        for (const auto& [period, length] :
             {std::pair(Period::kHour, int64_t{3600}), std::pair(Period::kMinute, int64_t{60})}) {
          const int64_t start = (at + offset) / length * length - offset;
          const Window expected{is_after ? std::max(start, change) : start,
                                is_after ? start + length : std::min(start + length, change)};
          ASSERT_EQ(WindowOf(period, zone.name, at), expected) << zone.name << " at " << at;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tradewind::ledger
