// The oracle of the packed products: one lane, one code at a time, straight from the description in
// packed.h. std::fma rounds once, as the vector instructions do: the results are equal bit for bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/bytes.h"
#include "engine/kernels/packed.h"
#include "engine/kernels/scalar.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine::scalar {
namespace {

template <class T>
T Lane(const std::byte* array, int64_t row) {
  T value;
  std::memcpy(&value, array + row * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

float HalfLane(const std::byte* header, int index, int64_t row) {
  return HalfToFloat(Lane<uint16_t>(header + index * kStripRows * 2, row));
}

// The code of column `j` < 32, level table applied, zero point not subtracted.
int Code(const PackedLayout& layout, const std::byte* codes, int64_t row, int j) {
  constexpr int kVector = 64;
  constexpr int kByteOf[8] = {0, 2, 0, 2, 1, 3, 1, 3};  // in the dword of its vector
  const int piece = j / 8;
  const bool high = (j & 2) != 0;
  const int shift = 8 * kByteOf[j % 8];
  const auto byte = [&](int vector) {
    return static_cast<int>(Lane<uint32_t>(codes + vector * kVector, row) >> shift & 0xFF);
  };
  if (layout.bits == 8) {
    return byte(2 * piece + (high ? 1 : 0));
  }
  int code = byte(piece) >> (high ? 4 : 0) & 15;
  if (layout.bits == 5) {
    code |= (byte(4) >> (2 * piece + (high ? 1 : 0)) & 1) << 4;
  } else if (layout.bits == 6) {
    code |= (byte(4 + piece / 2) >> (piece % 2 * 4 + (high ? 2 : 0)) & 3) << 4;
  }
  return layout.levels ? kPackedIq4Levels[code] : code;
}

float ScaleOf(const PackedLayout& layout, const std::byte* header, int64_t row, int g) {
  if (!layout.is_super()) {
    return HalfLane(header, g, row);
  }
  const std::byte* const entry = header + 64 + g * kStripRows;
  const int s = layout.has_min() ? Lane<uint8_t>(entry, row) : Lane<int8_t>(entry, row);
  return HalfLane(header, 0, row) * static_cast<float>(s);
}

float MinOf(const PackedLayout& layout, const std::byte* header, int64_t row, int g) {
  if (!layout.is_super()) {
    return HalfLane(header, 2 + g, row);
  }
  const int groups = layout.unit / layout.group;
  const int m = Lane<uint8_t>(header + 64 + (groups + g) * kStripRows, row);
  return -HalfLane(header, 1, row) * static_cast<float>(m);
}

// total + group . x, where the group's codes are given with their zero point subtracted.
template <class CodeAt>
float AddGroup(float total, const PackedInput& x, int64_t c, int64_t begin, int group, float scale,
               bool has_min, float min, CodeAt code_at) {
  int32_t sum = 0;
  int32_t sum_x = 0;
  for (int j = 0; j < group; ++j) {
    const int32_t q = x.q[c * x.q_stride + begin + j];
    sum += code_at(j) * q;
    sum_x += q;
  }
  const float x_scale = x.scales[c * x.scales_stride + begin / 32];
  total = std::fma(static_cast<float>(sum), scale * x_scale, total);
  return has_min ? std::fma(min, x_scale * static_cast<float>(sum_x), total) : total;
}

template <PackedLayout kLayout>
void DotStrip(const std::byte* strip, int64_t k, const PackedInput& x, int64_t n_cols, float* out,
              int64_t out_stride) {
  for (int64_t c = 0; c < n_cols; ++c) {
    for (int64_t r = 0; r < kStripRows; ++r) {
      float total = 0;
      for (int64_t begin = 0; begin < k; begin += kLayout.group) {
        const std::byte* const unit = strip + begin / kLayout.unit * kLayout.unit_bytes();
        const int64_t inside = begin % kLayout.unit;
        const std::byte* const codes =
            unit + kLayout.header_bytes() + inside / 32 * kLayout.code_bytes();
        const int g = static_cast<int>(inside / kLayout.group);
        const float min = kLayout.has_min() ? MinOf(kLayout, unit, r, g) : 0.0f;
        total = AddGroup(total, x, c, begin, kLayout.group, ScaleOf(kLayout, unit, r, g),
                         kLayout.has_min(), min, [&](int j) {
                           return Code(kLayout, codes, r, static_cast<int>(inside % 32) + j) -
                                  kLayout.zero;
                         });
      }
      out[c * out_stride + r] = total;
    }
  }
}

template <PackedLayout kLayout>
void OpenPanel(const std::byte* units, const PackedPanel& panel) {
  for (int64_t k = 0; k < panel.k; ++k) {
    const std::byte* const unit = units + k / kLayout.unit * kLayout.unit_bytes();
    const int64_t inside = k % kLayout.unit;
    const std::byte* const codes =
        unit + kLayout.header_bytes() + inside / 32 * kLayout.code_bytes();
    const int g = static_cast<int>(inside / kLayout.group);
    for (int64_t r = 0; r < kStripRows; ++r) {
      const int code = Code(kLayout, codes, r, static_cast<int>(inside % 32)) - kLayout.zero;
      panel.codes[(k / 2 * kStripRows + r) * 2 + k % 2] = static_cast<int16_t>(code);
      if (inside % kLayout.group == 0) {
        const int64_t entry = k / kLayout.group * kStripRows + r;
        panel.scales[entry] = ScaleOf(kLayout, unit, r, g);
        if (kLayout.has_min()) {
          panel.mins[entry] = MinOf(kLayout, unit, r, g);
        }
      }
    }
  }
}

}  // namespace

DotStripFn SelectDotStrip(TensorType type) {
  DotStripFn function = nullptr;
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() { function = DotStrip<kLayout>; });
  return function;
}

OpenPanelFn SelectOpenPanel(TensorType type) {
  OpenPanelFn function = nullptr;
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() { function = OpenPanel<kLayout>; });
  return function;
}

void DotPanel(const PackedPanel& panel, const PackedInput& x, int64_t n_cols, float* totals) {
  for (int64_t c = 0; c < n_cols; ++c) {
    for (int64_t r = 0; r < kStripRows; ++r) {
      float& total = totals[c * kStripRows + r];
      total = panel.first ? 0.0f : total;
      for (int64_t begin = 0; begin < panel.k; begin += panel.group) {
        const int64_t entry = begin / panel.group * kStripRows + r;
        total = AddGroup(total, x, c, begin, panel.group, panel.scales[entry], panel.has_min,
                         panel.has_min ? panel.mins[entry] : 0.0f, [&](int64_t j) {
                           const int64_t column = begin + j;
                           return panel.codes[(column / 2 * kStripRows + r) * 2 + column % 2];
                         });
      }
    }
  }
}

namespace {

struct Steps {
  float size = 0;   // of the magnitude that
  float q_max = 0;  // becomes this
};

float Largest(const float* x) {
  float largest = 0;
  for (int64_t i = 0; i < 32; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
  }
  return largest;
}

void QuantizeBlock(const float* x, const Steps& steps, int16_t* q, float* scale, int32_t* sums) {
  const bool finite = std::all_of(x, x + 32, [](float v) { return std::isfinite(v); });
  const bool zero = !finite || steps.size < kQuantizedMin;
  const float factor = zero ? 0.0f : steps.q_max / steps.size;
  *scale = !finite ? std::numeric_limits<float>::quiet_NaN()
           : zero  ? 0.0f
                   : steps.size / steps.q_max;
  sums[0] = sums[1] = 0;
  for (int64_t i = 0; i < 32; ++i) {
    q[i] = zero ? int16_t{0} : static_cast<int16_t>(std::nearbyintf(x[i] * factor));
    sums[i / 16] += q[i];
  }
}

// The order of the sum is that of sixteen lanes, added as a tree.
float MeanMagnitude(const float* x, int64_t k) {
  float lanes[16] = {};
  for (int64_t i = 0; i < k; ++i) {
    lanes[i % 16] += std::fabs(x[i]);
  }
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      lanes[i] += lanes[i + half];
    }
  }
  return lanes[0] / static_cast<float>(k);
}

Steps MixedSteps(const float* x, float limit) {
  const float largest = Largest(x);
  float inner = 0;  // the largest of those that are not beyond the limit
  int outliers = 0;
  for (int64_t i = 0; i < 32; ++i) {
    const bool outlier = std::fabs(x[i]) > limit;
    outliers += outlier ? 1 : 0;
    inner = outlier ? inner : std::max(inner, std::fabs(x[i]));
  }
  if (outliers == 0 || outliers > kOutliersMax) {
    return {largest, 127.0f};
  }
  if (inner >= kQuantizedMin && largest <= kOutlierRatioMax * inner) {
    return {inner, 127.0f};
  }
  return {largest, 127.0f * kOutlierRatioMax};
}

}  // namespace

void Quantize(const float* x, int64_t k, float q_max, int16_t* q, float* scales, int32_t* sums) {
  for (int64_t i = 0; i < k; i += 32) {
    QuantizeBlock(x + i, {Largest(x + i), q_max}, q + i, scales + i / 32, sums + i / 16);
  }
}

void QuantizeMixed(const float* x, int64_t k, int16_t* q, float* scales, int32_t* sums) {
  const float limit = kMixedReach * MeanMagnitude(x, k);
  for (int64_t i = 0; i < k; i += 32) {
    QuantizeBlock(x + i, MixedSteps(x + i, limit), q + i, scales + i / 32, sums + i / 16);
  }
}

void SplitBytes(const int16_t* q, int64_t k, int64_t width, int8_t* low, int8_t* high,
                uint8_t* masks) {
  constexpr int kPlaceOf[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // of c0 .. c7 in their piece
  for (int64_t block = 0; block < k / 32; ++block) {
    masks[block] = 0;
    for (int64_t i = 0; i < 32; ++i) {
      const int value = q[block * 32 + i];
      const int64_t place = i / 8 * 8 + kPlaceOf[i % 8];
      // Floor division: q = 256 * above + below with below in -128..127.
      const int above = (value + 128 + 32768) / 256 - 128;
      low[block * width * 32 + place] = static_cast<int8_t>(value - 256 * above);
      high[block * 32 + place] = static_cast<int8_t>(above);
      masks[block] |= static_cast<uint8_t>((above != 0 ? 1 : 0) << place / 4);
    }
  }
}

}  // namespace tradewind::engine::scalar
