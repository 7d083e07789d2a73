// The attention oracle: softmax in two passes over the part, as its definition reads, in doubles.
// The scores are computed once for each pass: nothing here may allocate.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/scalar.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine::scalar {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kBlock = limits::kKvBlockPositions;

// Element c of the key or value at a position of a block.
template <class T>
struct Plain {
  static float Key(const std::byte* keys, int64_t c, int64_t position, int64_t) {
    return Open(reinterpret_cast<const T*>(keys)[c * kBlock + position]);
  }
  static float Value(const std::byte* values, int64_t c, int64_t position, int64_t head_dim) {
    return Open(reinterpret_cast<const T*>(values)[position * PaddedHeadDim(head_dim) + c]);
  }
  static float Open(float value) { return value; }
  static float Open(uint16_t half) { return HalfToFloat(half); }
};
struct Q8 {
  static float Key(const std::byte* keys, int64_t c, int64_t position, int64_t head_dim) {
    const auto* const scales = reinterpret_cast<const uint16_t*>(keys + kBlock * head_dim);
    return static_cast<float>(reinterpret_cast<const int8_t*>(keys)[c * kBlock + position]) *
           HalfToFloat(scales[c / kQ8Group * kBlock + position]);
  }
  static float Value(const std::byte* values, int64_t c, int64_t position, int64_t head_dim) {
    const int64_t stride = PaddedHeadDim(head_dim);
    const auto* const scales = reinterpret_cast<const uint16_t*>(values + kBlock * stride);
    return static_cast<float>(reinterpret_cast<const int8_t*>(values)[position * stride + c]) *
           HalfToFloat(scales[position * Q8Groups(head_dim) + c / kQ8Group]);
  }
};

template <class Type>
float Score(const AttentionTask& task, const float* query, int64_t position) {
  const std::byte* const keys = task.blocks[position / kBlock] + task.keys_offset;
  double sum = 0;
  for (int64_t c = 0; c < task.head_dim; ++c) {
    sum += static_cast<double>(query[c]) * Type::Key(keys, c, position % kBlock, task.head_dim);
  }
  return static_cast<float>(sum * task.scale);
}

template <class Type>
void AttendRow(const AttentionTask& task, const float* query, int64_t begin, int64_t end,
               float* largest, float* sum, float* out) {
  *largest = kMinusInfinity;
  for (int64_t position = begin; position < end; ++position) {
    *largest = std::fmax(*largest, Score<Type>(task, query, position));
  }
  const float subtract = *largest == kMinusInfinity ? 0.0f : *largest;
  double total = 0;
  for (int64_t position = begin; position < end; ++position) {
    total += std::exp(static_cast<double>(Score<Type>(task, query, position)) - subtract);
  }
  *sum = static_cast<float>(total);
  const int64_t stride = PaddedHeadDim(task.head_dim);
  std::fill(out, out + stride, 0.0f);
  for (int64_t position = begin; position < end; ++position) {
    const std::byte* const values = task.blocks[position / kBlock] + task.values_offset;
    const double weight =
        std::exp(static_cast<double>(Score<Type>(task, query, position)) - subtract);
    for (int64_t c = 0; c < task.head_dim; ++c) {
      const float value = Type::Value(values, c, position % kBlock, task.head_dim);
      out[c] = static_cast<float>(out[c] + weight * value);
    }
  }
}

template <class Type>
void Attend(const AttentionTask& task, const AttentionPart& part) {
  const int64_t stride = PaddedHeadDim(task.head_dim);
  for (int64_t i = 0; i < task.rows; ++i) {
    const int64_t own_end = task.first_position + i + 1;
    const int64_t end = std::min(own_end, task.end);
    const int64_t begin = std::max(task.begin, own_end - std::min(own_end, task.window));
    for (int64_t g = 0; g < task.group; ++g) {
      const int64_t r = i * task.group + g;
      AttendRow<Type>(task, task.q + i * task.q_stride + g * task.head_dim, begin, end,
                      part.largest + r, part.sum + r, part.out + r * stride);
    }
  }
}

bool SawNothing(const AttentionPart& part, int64_t row) {
  return part.largest[row] == kMinusInfinity && part.sum[row] == 0;
}

}  // namespace

void AttendF16(const AttentionTask& task, const AttentionPart& part) {
  Attend<Plain<uint16_t>>(task, part);
}
void AttendF32(const AttentionTask& task, const AttentionPart& part) {
  Attend<Plain<float>>(task, part);
}
void AttendQ8(const AttentionTask& task, const AttentionPart& part) {
  Attend<Q8>(task, part);
}

void QuantizeQ8(const float* x, int64_t n, int8_t* codes, uint16_t* scales) {
  for (int64_t at = 0; at < n; at += kQ8Group, ++scales) {
    const int64_t end = std::min(at + kQ8Group, n);
    float largest = 0;
    for (int64_t i = at; i < end; ++i) {
      // Not finite stays so: NaN compares false.
      largest = !(std::fabs(x[i]) <= largest) && !std::isnan(largest) ? std::fabs(x[i]) : largest;
    }
    *scales = FloatToHalf(largest / 127.0f);
    const float scale = HalfToFloat(*scales);
    if (!std::isfinite(scale) || scale == 0) {
      *scales = std::isinf(largest) || std::isnan(largest) ? FloatToHalf(NAN) : *scales;
      std::fill(codes + at, codes + end, int8_t{0});
      continue;
    }
    for (int64_t i = at; i < end; ++i) {
      const float code = std::nearbyint(x[i] * (1.0f / scale));
      codes[i] = static_cast<int8_t>(std::clamp(code, -127.0f, 127.0f));
    }
  }
}

void MergeAttention(const AttentionPart& from, const AttentionPart& into, int64_t query_rows,
                    int64_t head_dim) {
  const int64_t stride = PaddedHeadDim(head_dim);
  for (int64_t r = 0; r < query_rows; ++r) {
    if (SawNothing(from, r)) {
      continue;
    }
    const bool copies = SawNothing(into, r);
    const float largest = copies ? from.largest[r] : std::fmax(from.largest[r], into.largest[r]);
    const float keep = copies ? 0.0f : std::exp(into.largest[r] - largest);
    const float add = copies ? 1.0f : std::exp(from.largest[r] - largest);
    into.largest[r] = largest;
    into.sum[r] = (copies ? 0.0f : into.sum[r] * keep) + from.sum[r] * add;
    for (int64_t c = r * stride; c < r * stride + head_dim; ++c) {
      into.out[c] = copies ? from.out[c] : into.out[c] * keep + from.out[c] * add;
    }
  }
}

void FinishAttention(const AttentionPart& part, int64_t rows, int64_t group, int64_t head_dim,
                     float* out, int64_t out_stride) {
  for (int64_t r = 0; r < rows * group; ++r) {
    for (int64_t c = 0; c < head_dim; ++c) {
      out[r / group * out_stride + r % group * head_dim + c] =
          part.out[r * PaddedHeadDim(head_dim) + c] / part.sum[r];
    }
  }
}

}  // namespace tradewind::engine::scalar
