// Single passes over a vocabulary's logits. NaN counts as -infinity everywhere; sums run in a fixed
// order, so that the same logits give the same bits on every machine without contraction of a*b+c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tradewind::engine::sampler {

// The largest value and its lowest position; value is -infinity (and position 0) when nothing is
// larger.
struct Maximum {
  float value;
  size_t position;
};
Maximum FindMaximum(std::span<const float> values);

// exp(x) for x <= 0 within 2 units in the last place; 0 below -87 (where the result would be
// denormal) and for NaN.
inline float ExpNegative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f,
                  kLn2Low = -2.12194440e-4f;  // Cody-Waite: kLn2High * n is exact
  const bool in_range = x > -87.0f;
  const float clamped = in_range ? x : 0.0f;
  const int32_t n = static_cast<int32_t>(clamped * kLog2E - 0.5f);
  const float n_float = static_cast<float>(n);
  const float r = (clamped - n_float * kLn2High) - n_float * kLn2Low;
  float series = 1.0f / 5040;  // Taylor to r^7: |r| <= ln(2) / 2, so the rest is below 1e-8
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const float scale = __builtin_bit_cast(float, (n + 127) << 23);
  return in_range ? series * scale : 0.0f;
}

// values[i] becomes exp(values[i]) (values <= 0); returns their sum.
double ExponentiateInPlace(std::span<float> values);

// ln(sum(exp(values))) given their maximum, a finite number.
double LogSumExp(std::span<const float> values, float maximum);

// The first position whose cumulative weight exceeds target = u * total, u in [0, 1). At least one
// weight is positive; a position of weight 0 is never returned.
size_t PickByWeight(std::span<const float> weights, double target);

}  // namespace tradewind::engine::sampler
