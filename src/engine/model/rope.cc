#include "engine/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace tradewind::engine {
namespace {

// The pair index at which a frequency turns `rotations` times over the original context.
double CorrectionDim(const RopeConfig& c, double rotations) {
  return static_cast<double>(c.dims) *
         std::log(static_cast<double>(c.original_context) / (2 * std::numbers::pi * rotations)) /
         (2 * std::log(c.theta));
}

// 0 for pairs that turn fast (kept), 1 for pairs that turn slowly (divided by the factor), a ramp
// between.
double YarnRamp(const RopeConfig& c, int64_t pair) {
  const double last = static_cast<double>(c.dims - 1);
  const double low = std::clamp(std::floor(CorrectionDim(c, c.beta_fast)), 0.0, last);
  double high = std::clamp(std::ceil(CorrectionDim(c, c.beta_slow)), 0.0, last);
  if (high == low) {
    high += 0.001;
  }
  return std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
}

// Values kStep * i and `reach` beyond are a pair. The step is a constant, and pointers do not
// alias, for the compiler to make vectors of it: in a prefill this is no small part.
template <size_t kStep>
void RotatePairs(float* __restrict x, size_t reach, size_t pairs, const float* __restrict cos,
                 const float* __restrict sin) {
  for (size_t i = 0; i < pairs; ++i) {
    const float a = x[kStep * i];
    const float b = x[kStep * i + reach];
    x[kStep * i] = a * cos[i] - b * sin[i];
    x[kStep * i + reach] = a * sin[i] + b * cos[i];
  }
}

}  // namespace

Rope::Rope(const RopeConfig& config, std::span<const float> divisors)
    : pairing_(config.pairing), attention_factor_(static_cast<float>(config.attention_factor)) {
  TW_CHECK(config.dims > 0 && config.dims % 2 == 0);
  TW_CHECK(static_cast<int64_t>(divisors.size()) == (config.has_divisors ? config.dims / 2 : 0));
  for (int64_t pair = 0; pair < config.dims / 2; ++pair) {
    double f =
        std::pow(config.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(config.dims));
    switch (config.scaling) {
      case RopeScaling::kNone:
        break;
      case RopeScaling::kLinear:
        f /= config.factor;
        break;
      case RopeScaling::kYarn: {
        const double keep = (1 - YarnRamp(config, pair)) * config.extrapolation;
        f *= keep + (1 - keep) / config.factor;
        break;
      }
    }
    if (config.has_divisors) {
      f /= static_cast<double>(divisors[static_cast<size_t>(pair)]);
    }
    frequencies_.push_back(static_cast<float>(f));
  }
}

void Rope::Angles(int64_t position, std::span<float> cos, std::span<float> sin) const {
  TW_DCHECK(cos.size() == frequencies_.size() && sin.size() == frequencies_.size());
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<float>(position) * frequencies_[i];
    cos[i] = static_cast<float>(std::cos(angle)) * attention_factor_;
    sin[i] = static_cast<float>(std::sin(angle)) * attention_factor_;
  }
}

void Rope::Rotate(std::span<float> x, int64_t head_dim, std::span<const float> cos,
                  std::span<const float> sin) const {
  const size_t pairs = frequencies_.size();
  TW_DCHECK(cos.size() == pairs && sin.size() == pairs);
  for (size_t head = 0; head < x.size(); head += static_cast<size_t>(head_dim)) {
    if (pairing_ == RopePairing::kAdjacent) {
      RotatePairs<2>(x.data() + head, 1, pairs, cos.data(), sin.data());
    } else {
      RotatePairs<1>(x.data() + head, pairs, pairs, cos.data(), sin.data());
    }
  }
}

}  // namespace tradewind::engine
