#include "engine/sampler/softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace tradewind::engine::sampler {
namespace {

constexpr size_t kBlock = 1024;
constexpr size_t kLanes =
    16;  // independent accumulators: what lets the compiler use vectors without reordering sums
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

std::span<const float> BlockAt(std::span<const float> values, size_t begin) {
  return values.subspan(begin, std::min(kBlock, values.size() - begin));
}

float BlockMaximum(std::span<const float> values) {
  std::array<float, kLanes> lanes;
  lanes.fill(kMinusInfinity);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];  // false for NaN
    }
  }
  float best = kMinusInfinity;
  for (; i < values.size(); ++i) {
    best = values[i] > best ? values[i] : best;
  }
  for (const float lane : lanes) {
    best = lane > best ? lane : best;
  }
  return best;
}

// Sum of map(value) over a block, in lanes.
template <class Map>
double BlockSum(std::span<const float> values, Map map) {
  std::array<float, kLanes> lanes{};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] += map(values[i + j]);
    }
  }
  double sum = 0;
  for (; i < values.size(); ++i) {
    sum += map(values[i]);
  }
  for (const float lane : lanes) {
    sum += lane;
  }
  return sum;
}

double BlockWeight(std::span<const float> weights) {
  return BlockSum(weights, [](float weight) { return weight; });
}

}  // namespace

Maximum FindMaximum(std::span<const float> values) {
  Maximum best{kMinusInfinity, 0};
  size_t best_block = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const float maximum = BlockMaximum(BlockAt(values, begin));
    if (maximum > best.value) {
      best.value = maximum;
      best_block = begin;
    }
  }
  if (best.value > kMinusInfinity) {
    best.position = best_block;
    while (values[best.position] != best.value) {
      ++best.position;
    }
  }
  return best;
}

double ExponentiateInPlace(std::span<float> values) {
  double sum = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    for (float& value : block) {
      value = ExpNegative(value);
    }
    sum += BlockWeight(block);
  }
  return sum;
}

double LogSumExp(std::span<const float> values, float maximum) {
  double sum = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    sum +=
        BlockSum(BlockAt(values, begin), [=](float value) { return ExpNegative(value - maximum); });
  }
  return maximum + std::log(sum);
}

size_t PickByWeight(std::span<const float> weights, double target) {
  double before = 0;
  size_t begin = 0;
  for (; begin + kBlock < weights.size(); begin += kBlock) {
    const double weight = BlockWeight(BlockAt(weights, begin));
    if (before + weight > target) {
      break;
    }
    before += weight;
  }
  for (size_t i = begin; i < weights.size(); ++i) {
    before += weights[i];
    if (before > target && weights[i] > 0) {
      return i;
    }
  }
  // Rounding may leave `target` a hair above the sum: then it is the last token that has any
  // weight.
  for (size_t i = weights.size(); i > 0; --i) {
    if (weights[i - 1] > 0) {
      return i - 1;
    }
  }
  TW_CHECK(false);
}

}  // namespace tradewind::engine::sampler
