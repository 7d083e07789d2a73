// The seasonal detector and the forecast on synthetic traffic: diurnal +-60 %, weekends at half, a
// lognormal noise of 15 % a day, heavy-tailed costs of requests. The bounds are those that the
// design promises: at most one false alarm per series and month, and a tenfold burst found within
// twenty minutes from $60 a day up.
#include "alerts/season.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "alerts/forecast.h"

namespace tradewind::alerts {
namespace {

constexpr int64_t kTrainWeeks = 4, kTestWeeks = 4;
constexpr int64_t kAll = (kTrainWeeks + kTestWeeks) * kBucketsPerWeek;
constexpr int kSeries = 16;
constexpr double kManyUsd = 500;  // a day: fewer series, of ten times as many requests each

class Traffic {
 public:
  Traffic(uint64_t seed, double usd_per_day) : random_(seed) {
    // A request costs a cent on average, and some cost a dollar.
    constexpr double kCost = 0.01, kSigma = 1.0;
    std::lognormal_distribution<double> cost(std::log(kCost) - kSigma * kSigma / 2, kSigma);
    std::lognormal_distribution<double> noise(-0.15 * 0.15 / 2, 0.15);
    double of_day = 1;
    for (int64_t bucket = 0; bucket < kAll; ++bucket) {
      if (bucket % kBucketsPerDay == 0) {
        of_day = noise(random_);
      }
      const double hour = static_cast<double>(bucket % kBucketsPerDay) / kBucketsPerDay;
      const bool is_weekend = bucket / kBucketsPerDay % 7 >= 5;
      const double rate = usd_per_day / kCost / kBucketsPerDay *
                          (1 + 0.6 * std::sin(2 * std::numbers::pi * hour)) *
                          (is_weekend ? 0.5 : 1) * of_day;
      rates_.push_back(rate);
      costs_.push_back(Draw(rate, cost));
      sums_.push_back(sums_.back() + costs_.back());
    }
    cost_ = cost;
  }
  double UsualDay(int64_t bucket) const {
    const auto at = static_cast<size_t>(bucket);
    constexpr size_t kFourWeeks = kTrainWeeks * kBucketsPerWeek;
    return (sums_[at] - sums_[at - kFourWeeks]) / (kTrainWeeks * 7);
  }
  const std::vector<double>& costs() const { return costs_; }
  // By day, and not at a weekend.
  bool IsBusy(int64_t bucket) const {
    return bucket / kBucketsPerDay % 7 < 5 && bucket % kBucketsPerDay < kBucketsPerDay / 2;
  }
  // What the bucket would have cost with `factor` times as many requests.
  double Burst(int64_t bucket, double factor) {
    return Draw(rates_[static_cast<size_t>(bucket)] * factor, cost_);
  }

 private:
  double Draw(double rate, std::lognormal_distribution<double>& cost) {
    std::poisson_distribution<int> count(rate);
    double sum = 0;
    for (int i = count(random_); i > 0; --i) {
      sum += cost(random_);
    }
    return sum;
  }

  std::mt19937_64 random_;
  std::lognormal_distribution<double> cost_;
  std::vector<double> rates_, costs_, sums_ = {0};
};

Usual UsualAt(const std::vector<double>& costs, int64_t bucket) {
  std::vector<double> roots;
  for (int64_t week = 1; week <= kSeasonWeeks; ++week) {
    const int64_t middle = bucket - week * kBucketsPerWeek;
    for (int64_t i = middle - kSeasonSide; i <= middle + kSeasonSide; ++i) {
      if (i >= 0) {
        roots.push_back(std::sqrt(costs[static_cast<size_t>(i)]));
      }
    }
  }
  return UsualOf(std::move(roots));
}

struct Found {
  double false_alarms_per_month = 0;
  std::vector<double> delays_min;  // sorted; those not found in a day are infinite
  double median() const { return delays_min[delays_min.size() / 2]; }
  double p95() const { return delays_min[delays_min.size() * 95 / 100]; }
};

enum class Begin { kAnyTime, kBusyTime };

// Alarms on traffic as it is, and how long bursts of `factor` run before one.
Found Watch(double usd_per_day, double factor, Begin begins) {
  Found found;
  int64_t alarms = 0;
  const int all = usd_per_day > kManyUsd ? kSeries / 4 : kSeries;
  for (int series = 0; series < all; ++series) {
    Traffic traffic(static_cast<uint64_t>(series) + 100, usd_per_day);
    const std::vector<double>& costs = traffic.costs();
    SeasonState state;
    int64_t armed_from = 0;
    for (int64_t bucket = kTrainWeeks * kBucketsPerWeek; bucket < kAll; ++bucket) {
      if (bucket < armed_from) {
        continue;
      }
      const bool alarm = StepSeason(UsualAt(costs, bucket), costs[static_cast<size_t>(bucket)],
                                    traffic.UsualDay(bucket), state);
      alarms += alarm ? 1 : 0;
      armed_from = alarm ? bucket + kBucketsPerDay : armed_from;
    }
    // Bursts begin at all hours of all days, those of them that are wanted.
    for (int64_t begin = kTrainWeeks * kBucketsPerWeek; begin + kBucketsPerDay < kAll;
         begin += 2 * kBucketsPerDay + 37) {
      if (begins == Begin::kBusyTime && !traffic.IsBusy(begin)) {
        continue;
      }
      SeasonState fresh;
      double delay = INFINITY;
      for (int64_t bucket = begin; bucket < begin + kBucketsPerDay; ++bucket) {
        if (StepSeason(UsualAt(costs, bucket), traffic.Burst(bucket, factor),
                       traffic.UsualDay(bucket), fresh)) {
          delay = static_cast<double>((bucket - begin + 1) * kBucketS) / 60;
          break;
        }
      }
      found.delays_min.push_back(delay);
    }
  }
  std::ranges::sort(found.delays_min);
  constexpr double kDaysOfMonth = 30;
  found.false_alarms_per_month =
      static_cast<double>(alarms) / (all * kTestWeeks * 7 / kDaysOfMonth);
  return found;
}

TEST(Season, FindsATenfoldBurstWithinTwentyMinutesAndSeldomCriesWolf) {
  for (const double usd_per_day : {62.0, 619.0}) {
    const Found found = Watch(usd_per_day, 10, Begin::kAnyTime);
    RecordProperty("false_alarms", std::to_string(found.false_alarms_per_month));
    EXPECT_LE(found.false_alarms_per_month, 1) << usd_per_day;
    EXPECT_LE(found.p95(), 20) << usd_per_day;
  }
}

TEST(Season, FindsSmallerBurstsLaterAndThoseOfSmallSeriesToo) {
  // At night a tenfold cent is no dollar for hours: there is nothing to tell of.
  const Found five = Watch(62, 5, Begin::kBusyTime);
  EXPECT_LE(five.median(), 20);
  EXPECT_LE(five.p95(), 35);
  const Found three = Watch(62, 3, Begin::kBusyTime);
  EXPECT_LE(three.median(), 45);
  EXPECT_LE(three.p95(), 115);
  const Found small = Watch(6, 10, Begin::kBusyTime);
  EXPECT_LE(small.false_alarms_per_month, 1);
  EXPECT_LE(small.median(), 35);
  EXPECT_LE(small.p95(), 75);
}

TEST(Season, TheMedianOfNothingSpentIsNoReasonForAlarm) {
  SeasonState state;
  const Usual idle = UsualOf(std::vector<double>(52, 0));
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(StepSeason(idle, 0.0001, 0, state)) << "cents are no anomaly";
  }
  EXPECT_FALSE(StepSeason(idle, 0.9, 0, state)) << "one bucket, less than a dollar";
  EXPECT_TRUE(StepSeason(idle, 0.9, 0, state)) << "twice running, and beyond a dollar together";
}

TEST(Forecast, TheEndOfAMonthLiesInsideItsBandEightOfTenTimes) {
  int inside = 0, trials = 0;
  double worst_middle = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> noise(0, 0.2);
    const auto day_cost = [&](int day) { return (day % 7 >= 5 ? 30 : 60) * noise(random); };
    std::vector<double> days;
    for (int day = 0; day < 28 + 30; ++day) {
      days.push_back(day_cost(day));
    }
    // Twelve days into a month that began at day 28.
    constexpr int kNow = 28 + 12, kEnd = 28 + 30;
    double spent = 0, all = 0;
    for (int day = 28; day < kEnd; ++day) {
      all += days[static_cast<size_t>(day)];
      spent += day < kNow ? days[static_cast<size_t>(day)] : 0;
    }
    const Forecast forecast = ForecastPeriod({days.data(), kNow}, kNow % 7, 1, kEnd - kNow, spent);
    inside += forecast.low_usd <= all && all <= forecast.high_usd ? 1 : 0;
    worst_middle = std::max(worst_middle, std::abs(forecast.expected_usd - all) / all);
    ++trials;
    EXPECT_GT(forecast.ChanceOver(all * 0.5), 0.9);
    EXPECT_LT(forecast.ChanceOver(all * 2), 0.1);
  }
  EXPECT_GE(inside * 100 / trials, 70);
  EXPECT_LE(inside * 100 / trials, 97);
  EXPECT_LE(worst_middle, 0.35);
}

TEST(Forecast, ASeriesThatGrowsIsExpectedToGrow) {
  std::vector<double> days;
  for (int day = 0; day < 28; ++day) {
    days.push_back(100 + 2 * day);
  }
  const Forecast forecast = ForecastPeriod(days, 0, 1, 10, 0);
  EXPECT_GT(forecast.expected_usd, 10 * 156.0);
  EXPECT_LT(forecast.expected_usd, 10 * 180.0);
}

TEST(Forecast, OneWildDayDoesNotCountForMuch) {
  std::vector<double> days(28, 10);
  days[20] = 5000;
  EXPECT_LT(ForecastPeriod(days, 0, 1, 10, 0).expected_usd, 130);
}

}  // namespace
}  // namespace tradewind::alerts
