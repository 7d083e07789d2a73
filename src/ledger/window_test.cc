#include "ledger/window.h"

#include <array>

#include <gtest/gtest.h>

namespace tradewind::ledger {
namespace {

constexpr int64_t kHour = 3600, kDay = 86'400;

TEST(Window, OfUtcIsPlainArithmetic) {
  const int64_t noon = 1'764'072'000;  // Tuesday 2025-11-25 12:00
  EXPECT_EQ(WindowOf(Period::kMinute, "UTC", noon + 59), (Window{noon, noon + 60}));
  EXPECT_EQ(WindowOf(Period::kHour, "UTC", noon + 1), (Window{noon, noon + kHour}));
  const int64_t midnight = noon - 12 * kHour;
  EXPECT_EQ(WindowOf(Period::kDay, "UTC", noon), (Window{midnight, midnight + kDay}));
  EXPECT_EQ(WindowOf(Period::kDay, "UTC", midnight), (Window{midnight, midnight + kDay}));
  EXPECT_EQ(WindowOf(Period::kDay, "UTC", midnight - 1), (Window{midnight - kDay, midnight}));
  EXPECT_EQ(WindowOf(Period::kWeek, "UTC", noon), (Window{midnight - kDay, midnight + 6 * kDay}));
  EXPECT_EQ(WindowOf(Period::kMonth, "UTC", noon),
            (Window{midnight - 24 * kDay, midnight + 6 * kDay}));
  EXPECT_EQ(WindowOf(Period::kQuarter, "UTC", noon),
            (Window{midnight - 55 * kDay, midnight + 37 * kDay}));
  EXPECT_EQ(WindowOf(Period::kTotal, "UTC", noon), (Window{0, kEndOfTime}));
}

TEST(Window, BeginsOnTheDayThatIsAskedFor) {
  const int64_t midnight = 1'764'028'800;  // Tuesday 2025-11-25
  EXPECT_EQ(WindowOf(Period::kWeek, "UTC", midnight, 7),
            (Window{midnight - 2 * kDay, midnight + 5 * kDay}));
  EXPECT_EQ(WindowOf(Period::kWeek, "UTC", midnight, 2), (Window{midnight, midnight + 7 * kDay}));
  EXPECT_EQ(WindowOf(Period::kMonth, "UTC", midnight, 15),
            (Window{midnight - 10 * kDay, midnight + 20 * kDay}));
  // To the last of November, a Sunday; on to the last of December.
  EXPECT_EQ(WindowOf(Period::kMonth, "UTC", midnight, 31),
            (Window{midnight - 25 * kDay, midnight + 5 * kDay}));
  EXPECT_EQ(WindowOf(Period::kMonth, "UTC", midnight + 5 * kDay, 31),
            (Window{midnight + 5 * kDay, midnight + 36 * kDay}));
}

TEST(Window, KnowsTheDaysThatAWeekAndAMonthHave) {
  EXPECT_EQ(*ParseWeekStart("sunday"), 7);
  EXPECT_EQ(WeekdayName(7), "sunday");
  EXPECT_EQ(ParseWeekStart("Sun").error().param, "week_start");
  EXPECT_TRUE(CheckWindows(Period::kWeek, 7, 0).has_value());
  EXPECT_FALSE(CheckWindows(Period::kWeek, 8, 0).has_value());
  EXPECT_FALSE(CheckWindows(Period::kDay, 2, 0).has_value());
  EXPECT_FALSE(CheckWindows(Period::kMonth, 0, 0).has_value());
}

TEST(Window, KnowsTheSpansOfRollingPeriods) {
  for (const char* text :
       {"rolling:24h", "rolling:7d", "rolling:90m", "rolling:1m", "rolling:366d"}) {
    const Result<int64_t> span_s = ParseRolling(text);
    ASSERT_TRUE(span_s.has_value()) << text;
    EXPECT_EQ(RollingName(*span_s), text);
    EXPECT_TRUE(CheckWindows(Period::kRolling, 1, *span_s).has_value()) << text;
  }
  for (const char* no :
       {"rolling", "rolling:", "rolling:h", "rolling:0h", "rolling:-1h", "rolling:24",
        "rolling:367d", "rolling:99999999999999999999h", "rolling:1s", "rolling:1 h"}) {
    EXPECT_EQ(ParseRolling(no).error().param, "period") << no;
  }
  EXPECT_FALSE(ParsePeriod("rolling").has_value());
  for (const int64_t no : {int64_t{0}, int64_t{59}, int64_t{61}, 367 * kDay, int64_t{-60}}) {
    EXPECT_FALSE(CheckWindows(Period::kRolling, 1, no).has_value()) << no;
  }
  EXPECT_FALSE(CheckWindows(Period::kDay, 1, 60).has_value());
  EXPECT_EQ(BucketOf(3600, 119), (Window{60, 120}));
  EXPECT_EQ(BucketOf(3600, -1), (Window{-60, 0}));
}

TEST(Window, DaysHave23And25HoursWhenTheClocksChange) {
  const int64_t spring = 1'774'746'000;  // 2026-03-29 01:00 UTC, 02:00 -> 03:00 in Berlin
  const Window short_day = WindowOf(Period::kDay, "Europe/Berlin", spring);
  EXPECT_EQ(short_day, (Window{spring - 2 * kHour, spring + 21 * kHour}));
  const int64_t autumn = 1'792'890'000;  // 2026-10-25 01:00 UTC, 03:00 -> 02:00
  const Window long_day = WindowOf(Period::kDay, "Europe/Berlin", autumn);
  EXPECT_EQ(long_day.end_s - long_day.start_s, 25 * kHour);
}

TEST(Window, HasTheMidnightsOfZonesWithOddOffsets) {
  const int64_t noon = 1'764'072'000;
  EXPECT_EQ(WindowOf(Period::kDay, "Asia/Kathmandu", noon).start_s % kDay, kDay - 20'700);  // +5:45
  EXPECT_EQ(WindowOf(Period::kHour, "Asia/Kolkata", noon).start_s % kHour, kHour / 2);      // +5:30
}

// Every instant lies in one window, and each window begins where the one before ends.
TEST(Window, TilesTenYearsInTwelveZones) {
  constexpr std::array kZones = {"UTC",
                                 "Europe/Berlin",
                                 "America/New_York",
                                 "America/St_Johns",
                                 "Asia/Kolkata",
                                 "Asia/Kathmandu",
                                 "Australia/Lord_Howe",
                                 "Pacific/Chatham",
                                 "America/Havana",
                                 "America/Santiago",
                                 "Africa/Casablanca",
                                 "Pacific/Apia"};
  for (const char* zone : kZones) {
    for (const Period period :
         {Period::kHour, Period::kDay, Period::kWeek, Period::kMonth, Period::kQuarter}) {
      int64_t at = 1'293'840'000;  // 2011, the year in which Samoa had no 30th of December
      const int64_t end = at + 10 * 366 * kDay;
      Window window = WindowOf(period, zone, at);
      int64_t windows = 0;
      while (window.end_s < end) {
        const Window next = WindowOf(period, zone, window.end_s);
        ASSERT_EQ(next.start_s, window.end_s) << zone << " " << PeriodName(period);
        ASSERT_GT(next.end_s, next.start_s);
        ASSERT_EQ(WindowOf(period, zone, next.end_s - 1), next) << zone << " " << next.start_s;
        window = next;
        if (period == Period::kHour && ++windows > 20'000) {
          break;  // two years of hours
        }
      }
    }
  }
}

TEST(Window, OfAnyInstantIsFinite) {
  for (const int64_t at : {INT64_MIN, int64_t{-1}, int64_t{0}, INT64_MAX}) {
    const Window window = WindowOf(Period::kMonth, "Europe/Berlin", at);
    EXPECT_LT(window.start_s, window.end_s);
  }
}

TEST(Window, NamesWhatItCannotRead) {
  EXPECT_EQ(ParsePeriod("fortnight").error().param, "period");
  EXPECT_EQ(*ParsePeriod("month"), Period::kMonth);
  EXPECT_EQ(PeriodName(Period::kQuarter), "quarter");
  EXPECT_EQ(CheckZone("../../etc/passwd").error().param, "zone");
  EXPECT_TRUE(CheckZone("America/New_York").has_value());
}

}  // namespace
}  // namespace tradewind::ledger
