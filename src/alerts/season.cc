#include "alerts/season.h"

#include <algorithm>
#include <cmath>

namespace tradewind::alerts {
namespace {

constexpr double kDrift = 1.5;
constexpr double kAlarm = 15;
constexpr double kClip = 6;  // one bucket alone is no alarm
constexpr double kHigh = 7;
constexpr int64_t kHighRuns = 2;
constexpr double kExcessUsdMin = 1;
constexpr double kExcessOfDayMin = 0.02;

double MedianOf(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) {
    return *middle;
  }
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace

Usual UsualOf(std::vector<double> roots) {
  constexpr double kToSigma = 1.4826;  // of a normal distribution
  Usual usual;
  usual.median = MedianOf(roots);
  for (double& root : roots) {
    root = std::abs(root - usual.median);
  }
  // A series that never varies is not infinitely sure of itself.
  usual.scale = std::max(kToSigma * MedianOf(roots), 0.10 * usual.median + 0.02);
  return usual;
}

bool StepSeason(const Usual& usual, double cost_usd, double usual_day_usd, SeasonState& state) {
  const double z = (std::sqrt(std::max(0.0, cost_usd)) - usual.median) / usual.scale;
  state.score = std::max(0.0, state.score + std::clamp(z, -kClip, kClip) - kDrift);
  state.high_runs = z > kHigh ? state.high_runs + 1 : 0;
  state.excess_usd =
      state.score > 0 ? state.excess_usd + cost_usd - usual.median * usual.median : 0;
  const bool is_high = state.score > kAlarm || state.high_runs >= kHighRuns;
  if (!is_high || state.excess_usd <= std::max(kExcessUsdMin, kExcessOfDayMin * usual_day_usd)) {
    return false;
  }
  state = {};
  return true;
}

}  // namespace tradewind::alerts
