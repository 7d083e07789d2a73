#include "alerts/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace tradewind::alerts {
namespace {

constexpr int kWeek = 7;

double Median(std::vector<double> values) {
  if (values.empty()) {
    return 0;
  }
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

int WeekdayOf(size_t day, size_t days, int today) {
  const auto back = static_cast<int>((days - day) % kWeek);
  return (today - back + kWeek) % kWeek;
}

// How each weekday differs from the middle of its week; 1 where nothing is known of it.
std::array<double, kWeek> FactorsOf(std::span<const double> days, int today) {
  std::array<double, kWeek> factors;
  factors.fill(1);
  const double middle = Median({days.begin(), days.end()});
  if (middle <= 0 || days.size() < 2 * kWeek) {
    return factors;
  }
  for (int weekday = 0; weekday < kWeek; ++weekday) {
    std::vector<double> same;
    for (size_t i = 0; i < days.size(); ++i) {
      if (WeekdayOf(i, days.size(), today) == weekday) {
        same.push_back(days[i]);
      }
    }
    factors[static_cast<size_t>(weekday)] = std::clamp(Median(same) / middle, 0.05, 20.0);
  }
  return factors;
}

constexpr double kToSigma = 1.4826;  // of a normal distribution, from the median deviation

double SigmaOf(const std::vector<double>& values) {
  const double middle = Median(values);
  std::vector<double> off;
  for (const double value : values) {
    off.push_back(std::abs(value - middle));
  }
  return kToSigma * Median(std::move(off));
}

// Theil and Sen: the median of the slopes between all pairs of days. Nothing when less than three
// weeks are known, or when chance alone could have made it; at most a few percent of the level.
double SlopeOf(const std::vector<double>& level, double error) {
  if (level.size() < 3 * kWeek) {
    return 0;
  }
  std::vector<double> slopes;
  for (size_t i = 0; i < level.size(); ++i) {
    for (size_t j = i + 1; j < level.size(); ++j) {
      slopes.push_back((level[j] - level[i]) / static_cast<double>(j - i));
    }
  }
  constexpr double kErrors = 2.5, kOfLevel = 0.03;
  const double slope = Median(std::move(slopes)), most = kOfLevel * Median(level);
  return std::abs(slope) < kErrors * error ? 0 : std::clamp(slope, -most, most);
}

}  // namespace

double Forecast::ChanceOver(double limit_usd) const {
  if (sigma_usd <= 0) {
    return expected_usd > limit_usd ? 1 : 0;
  }
  return 0.5 * std::erfc((limit_usd - expected_usd) / (sigma_usd * std::sqrt(2.0)));
}

Forecast ForecastPeriod(std::span<const double> days_usd, int today, double today_left,
                        double days_left, double spent_usd) {
  constexpr double kEightOfTen = 1.2816;
  constexpr double kOfMedian = 1.57;  // a median's variance beside a mean's
  const std::span<const double> days = days_usd.last(std::min(days_usd.size(), kForecastDaysMax));
  const std::array<double, kWeek> factors = FactorsOf(days, today);
  std::vector<double> level;
  for (size_t i = 0; i < days.size(); ++i) {
    level.push_back(days[i] / factors[static_cast<size_t>(WeekdayOf(i, days.size(), today))]);
  }
  const auto n = static_cast<double>(level.size());
  const double slope_error = SigmaOf(level) * std::sqrt(12 / (n * n * n));
  const double slope = SlopeOf(level, slope_error);
  std::vector<double> flat;  // all days as if they were today
  for (size_t i = 0; i < level.size(); ++i) {
    flat.push_back(level[i] + slope * (n - static_cast<double>(i)));
  }
  const double now = Median(flat);
  // What was fitted to the days makes them look nearer than they are.
  const double fitted = n > 2 * kWeek ? std::sqrt(n / (n - kWeek)) : 1.1;
  const double sigma = std::max(fitted * SigmaOf(flat), 0.02 * now);

  Forecast out;
  out.expected_usd = spent_usd;
  double own = 0, together = 0, far = 0;  // variance of single days; weights of what is shared
  double left = days_left;
  for (int day = 0; left > 1e-9; ++day) {
    const double part = std::min(left, day == 0 ? today_left : 1.0);
    const double weight = part * factors[static_cast<size_t>((today + day) % kWeek)];
    out.expected_usd += weight * std::max(0.0, now + slope * day);
    own += weight * weight / std::max(part, 0.05);
    together += weight;
    far += weight * (n / 2 + day);
    left -= std::max(part, 1e-6);
  }
  const double of_slope = slope == 0 ? 0 : slope_error * far;
  // The level's own error, and that of the weekdays.
  out.sigma_usd = std::sqrt(sigma * sigma * (own + 2 * kOfMedian * together * together / n) +
                            of_slope * of_slope);
  out.low_usd = std::max(spent_usd, out.expected_usd - kEightOfTen * out.sigma_usd);
  out.high_usd = out.expected_usd + kEightOfTen * out.sigma_usd;
  return out;
}

}  // namespace tradewind::alerts
