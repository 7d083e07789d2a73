// What a series of costs says: its speed, its season, where it leads to.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "alerts/season.h"
#include "alerts/series.h"
#include "alerts/watch.h"
#include "billing/usd.h"

namespace tradewind::alerts {
namespace {

using billing::FormatUsd;
using ledger::BudgetState;
using ledger::NanoUsd;

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kBucketNs = kBucketS * kNanosPerSecond;
constexpr int64_t kDayS = 86'400;
constexpr int64_t kDayNs = kDayS * kNanosPerSecond;
// A bucket is compared when what was settled in it is surely recorded.
constexpr int64_t kBucketLateNs = 10 * kNanosPerSecond;
constexpr int64_t kRearmBuckets = kBucketsPerDay;

double UsdOf(NanoUsd amount) {
  return static_cast<double>(amount) / 1e9;
}

// To cents; of statistics only.
std::string AboutUsd(double usd) {
  return fmt::format("${:.2f}", usd);
}

// What a budget that begins anew affords a day.
std::optional<NanoUsd> LimitOfDay(const std::optional<BudgetState>& state) {
  const bool is_rolling = state.has_value() && state->spec.period == ledger::Period::kRolling;
  if (!state.has_value() || state->spec.closed ||
      state->spec.dimension != ledger::Dimension::kCost ||  // series are of cost
      (!is_rolling && state->window.end_s == ledger::kEndOfTime)) {
    return std::nullopt;
  }
  const int64_t seconds = is_rolling
                              ? state->spec.span_s
                              : std::max<int64_t>(1, state->window.end_s - state->window.start_s);
  return static_cast<NanoUsd>(
      std::min<__int128>(__int128{state->spec.limit} * kDayS / seconds, ledger::kNanoUsdMax));
}

// Of the last ten minutes, what no alert has told. One speaks for what comes until the operator
// has acknowledged it, or until it throttles no more (where nothing is throttled, for a day):
// nullopt.
Result<std::optional<NanoUsd>> UntoldSpending(storage::Database& database, const Policy& policy,
                                              const std::string& name, int64_t now_ns) {
  const int64_t bucket = now_ns / kBucketNs;
  int64_t from = bucket - 1;
  NanoUsd told_of_first = 0;
  TW_ASSIGN_OR_RETURN(const std::optional<Alert> told,
                      NewestAlert(database, Kind::kVelocity, name));
  if (told.has_value()) {
    const bool is_seen = told->acknowledged_ns != 0;
    const int64_t until_ns = is_seen ? told->acknowledged_ns
                                     : told->raised_ns + (policy.throttle ? kThrottleNs : kDayNs);
    if (!is_seen && now_ns < until_ns) {
      return std::nullopt;
    }
    if (until_ns / kBucketNs >= from) {
      from = until_ns / kBucketNs;
      TW_ASSIGN_OR_RETURN(told_of_first, SpentWhenAcknowledged(database, told->id));
    }
  }
  TW_ASSIGN_OR_RETURN(const NanoUsd spent, CostBetween(database, name, from, bucket + 1));
  return spent - told_of_first;
}

}  // namespace

bool Throttles(const Alert& alert, int64_t now_ns) {
  return alert.kind == Kind::kVelocity && alert.acknowledged_ns == 0 &&
         alert.raised_ns >= now_ns - kThrottleNs;
}

// No history is needed: what was spent in ten minutes would use up the day's budget, or is much for
// somebody who is new.
Status Watch::LookAtSpeeds(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns,
                           const std::set<std::string>& series) {
  constexpr int64_t kPerDay = 144;   // times ten minutes
  constexpr int64_t kOfDayMin = 20;  // one request is no speed: at least a twentieth of the day
  constexpr int64_t kNewBuckets = 3 * kBucketsPerDay;
  const int64_t bucket = now_ns / kBucketNs;
  for (const std::string& name : series) {
    if (!name.starts_with("key:") && !name.starts_with("org:")) {
      continue;
    }
    TW_ASSIGN_OR_RETURN(const std::optional<Series> one, FindSeries(database, name));
    if (!one.has_value()) {
      continue;
    }
    TW_ASSIGN_OR_RETURN(const std::optional<NanoUsd> untold,
                        UntoldSpending(database, policy_, name, now_ns));
    if (!untold.has_value()) {
      continue;
    }
    const NanoUsd spent = *untold;
    const std::optional<NanoUsd> of_day = LimitOfDay(ledger.FindBudget(name));
    const bool is_beyond_day = of_day.has_value() && __int128{spent} * kPerDay > *of_day &&
                               __int128{spent} * kOfDayMin >= *of_day;
    const bool is_much_for_new =
        policy_.velocity > 0 && spent > policy_.velocity && bucket - one->first < kNewBuckets;
    if (!is_beyond_day && !is_much_for_new) {
      continue;
    }
    Alert alert;
    alert.kind = Kind::kVelocity;
    alert.scope = name;
    alert.org_id = one->org_id;
    alert.dedup = fmt::format("velocity:{}:{}", name, now_ns);
    alert.raised_ns = now_ns;
    alert.amount = spent;
    alert.text =
        is_beyond_day
            ? fmt::format("{} spent {} within ten minutes; its budget affords {} a day.", name,
                          FormatUsd(spent), FormatUsd(*of_day))
            : fmt::format("{}, which is new, spent {} within ten minutes.", name, FormatUsd(spent));
    if (policy_.throttle) {
      alert.text +=
          " Its paid requests are refused for an hour, or until the server's operator acknowledges "
          "this.";
    }
    TW_RETURN_IF_ERROR(Put(database, std::move(alert)));
  }
  return {};
}

namespace {

// What is usual in a bucket; nullopt: not known for long enough.
Result<std::optional<Usual>> UsualIn(storage::Database& database, const Series& series,
                                     int64_t bucket) {
  std::vector<double> roots;
  for (int64_t week = 1; week <= kSeasonWeeks; ++week) {
    const int64_t middle = bucket - week * kBucketsPerWeek;
    const int64_t from = std::max(series.first, middle - kSeasonSide);
    TW_ASSIGN_OR_RETURN(const std::vector<NanoUsd> costs,
                        CostsBetween(database, series.name, from, middle + kSeasonSide + 1));
    for (const NanoUsd cost : costs) {
      roots.push_back(std::sqrt(UsdOf(cost)));
    }
  }
  return roots.size() < kSeasonSamplesMin ? std::nullopt : std::optional(UsualOf(std::move(roots)));
}

Result<double> UsualDayUsd(storage::Database& database, const Series& series, int64_t bucket) {
  const int64_t from = std::max(series.first, bucket - kSeasonWeeks * kBucketsPerWeek);
  TW_ASSIGN_OR_RETURN(const NanoUsd spent, CostBetween(database, series.name, from, bucket));
  return UsdOf(spent) * static_cast<double>(kBucketsPerDay) /
         static_cast<double>(std::max<int64_t>(kBucketsPerDay, bucket - from));
}

}  // namespace

Status Watch::LookAtSeasons(storage::Database& database, int64_t now_ns) {
  const int64_t closed = (now_ns - kBucketLateNs) / kBucketNs - 1;
  TW_ASSIGN_OR_RETURN(std::vector<Series> all, SeriesToEvaluate(database, closed));
  for (Series& series : all) {
    while (series.evaluated < closed) {
      if (series.state.score <= 0) {  // nothing spent is never unusual
        TW_ASSIGN_OR_RETURN(const std::optional<int64_t> next,
                            NextSpending(database, series.name, series.evaluated));
        series.evaluated = std::max(series.evaluated, std::min(closed, next.value_or(closed)) - 1);
      }
      const int64_t bucket = ++series.evaluated;
      TW_ASSIGN_OR_RETURN(const std::optional<Usual> usual, UsualIn(database, series, bucket));
      if (!usual.has_value() || bucket < series.armed_from) {
        series.state = {};
        continue;
      }
      TW_ASSIGN_OR_RETURN(const NanoUsd cost,
                          CostBetween(database, series.name, bucket, bucket + 1));
      // What a usual day costs is a long sum: only for what would be an alarm otherwise.
      const SeasonState before = series.state;
      if (!StepSeason(*usual, UsdOf(cost), 0, series.state)) {
        continue;
      }
      series.state = before;
      TW_ASSIGN_OR_RETURN(const double usual_day, UsualDayUsd(database, series, bucket));
      if (!StepSeason(*usual, UsdOf(cost), usual_day, series.state)) {
        continue;
      }
      series.armed_from = bucket + kRearmBuckets;
      const double excess = before.excess_usd + UsdOf(cost) - usual->median * usual->median;
      Alert alert;
      alert.kind = Kind::kUnusual;
      alert.scope = series.name;
      alert.org_id = series.org_id;
      alert.dedup = fmt::format("unusual:{}:{}", series.name, bucket);
      alert.raised_ns = now_ns;
      alert.amount = cost;
      alert.text = fmt::format(
          "{} spends more than usual at this time of the week: {} in five minutes where {} is "
          "usual, about {} more all in all.",
          series.name, FormatUsd(cost), AboutUsd(usual->median * usual->median), AboutUsd(excess));
      TW_RETURN_IF_ERROR(Put(database, std::move(alert)));
    }
    TW_RETURN_IF_ERROR(SaveEvaluation(database, series));
  }
  return {};
}

Result<std::vector<BudgetForecast>> ForecastBudgets(storage::Database& database,
                                                    ledger::Ledger& ledger, int64_t now_ns) {
  std::vector<BudgetForecast> out;
  const int64_t now_s = now_ns / kNanosPerSecond;
  const int64_t today = now_s / kDayS;
  for (BudgetState& state : ledger.Budgets()) {
    TW_ASSIGN_OR_RETURN(const std::optional<Series> series, FindSeries(database, state.spec.name));
    // A rolling budget has no end to forecast, and series are of cost.
    if (!series.has_value() || state.spec.period == ledger::Period::kRolling ||
        state.spec.dimension == ledger::Dimension::kCharge ||
        state.window.end_s == ledger::kEndOfTime ||
        state.window.end_s - state.window.start_s <= kDayS + 3600) {
      continue;
    }
    const int64_t first_day = std::max(series->first / kBucketsPerDay + 1,
                                       today - static_cast<int64_t>(kForecastDaysMax));
    if (today - first_day < static_cast<int64_t>(kForecastDaysMin)) {
      continue;
    }
    std::vector<double> days;
    for (int64_t day = first_day; day < today; ++day) {
      TW_ASSIGN_OR_RETURN(
          const NanoUsd spent,
          CostBetween(database, series->name, day * kBucketsPerDay, (day + 1) * kBucketsPerDay));
      days.push_back(UsdOf(spent));
    }
    const auto of_day = [](int64_t seconds) { return static_cast<double>(seconds) / kDayS; };
    const Forecast forecast = ForecastPeriod(
        days, static_cast<int>(today % 7), of_day((today + 1) * kDayS - now_s),
        of_day(std::max<int64_t>(0, state.window.end_s - now_s)), UsdOf(state.account.debits));
    out.push_back({std::move(state), forecast});
  }
  return out;
}

Status Watch::LookAtForecasts(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns) {
  TW_ASSIGN_OR_RETURN(const std::vector<BudgetForecast> all,
                      ForecastBudgets(database, ledger, now_ns));
  for (const auto& [budget, forecast] : all) {
    const double chance = forecast.ChanceOver(UsdOf(budget.spec.limit));
    const int crossed = chance > 0.9 ? 90 : chance > 0.5 ? 50 : 0;
    if (crossed == 0) {
      continue;
    }
    Alert alert;
    alert.kind = Kind::kForecast;
    alert.scope = budget.spec.name;
    TW_ASSIGN_OR_RETURN(alert.org_id, OrgOf(database, alert.scope));
    alert.dedup = fmt::format("forecast:{}:{}:{}:{}", alert.scope, budget.window.start_s,
                              budget.spec.limit, crossed);
    alert.raised_ns = now_ns;
    alert.amount = budget.account.debits;
    alert.text = fmt::format(
        "The {} of the budget {} will probably end at {} ({} to {}), above its {}.",
        ledger::PeriodName(budget.spec.period), alert.scope, AboutUsd(forecast.expected_usd),
        AboutUsd(forecast.low_usd), AboutUsd(forecast.high_usd), FormatUsd(budget.spec.limit));
    TW_RETURN_IF_ERROR(Put(database, std::move(alert)));
  }
  return {};
}

}  // namespace tradewind::alerts
