// What a period will have cost at its end, from the days before: weekdays differ, the level may
// drift, and single days do not count for much. Pure functions; for telling, never for bills.
#pragma once

#include <cstddef>
#include <span>

namespace tradewind::alerts {

struct Forecast {
  double expected_usd = 0;
  double low_usd = 0, high_usd = 0;  // eight of ten times it ends between these
  double sigma_usd = 0;

  // How likely the period ends above the limit: 0 to 1.
  double ChanceOver(double limit_usd) const;
};

inline constexpr size_t kForecastDaysMin = 7;
inline constexpr size_t kForecastDaysMax = 35;

// `days_usd`: whole days, oldest first, at least kForecastDaysMin; the last one is yesterday, and
// today has the weekday `today` (0 to 6, by any count). `days_left` of the period from now on; its
// first part is what is left of today. `spent_usd`: in the period so far.
Forecast ForecastPeriod(std::span<const double> days_usd, int today, double today_left,
                        double days_left, double spent_usd);

}  // namespace tradewind::alerts
