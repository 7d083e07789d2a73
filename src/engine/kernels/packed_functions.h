// Integer dot products with packed weights (packed.h), written once over sixteen lanes, one lane a
// row. Within a group all products are summed exactly in int32; groups are added up in f32 in
// ascending order, each as fma(sum, w_scale * x_scale, total). So one column equals the same column
// of a batch bit for bit, and every instruction set and the scalar oracle agree on every bit.
//
// No sum can overflow: 32 products of a code below 256 and an int16 stay below 2^28.
//
// Only for the files of the instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/packed.h"
#include "engine/kernels/packed_panel.h"
#include "engine/kernels/packed_strip.h"

namespace tradewind::engine {
namespace {

// 32 values, x - x = 0 for the finite ones. Magnitude `size` of them becomes `q_max`.
template <class S>
TW_INLINE void QuantizeBlock(typename S::F a, typename S::F b, bool finite, float size, float q_max,
                             int16_t* q, float* scale, int32_t* sums) {
  const bool is_zero = !(size >= kQuantizedMin);
  const float inverse = is_zero ? 0.0f : q_max / size;
  const auto factor = S::Set(finite ? inverse : 0.0f);
  const auto qa = S::ToInt(finite ? S::Mul(a, factor) : S::Zero());
  const auto qb = S::ToInt(finite ? S::Mul(b, factor) : S::Zero());
  S::StoreWords(q, qa);
  S::StoreWords(q + 16, qb);
  *scale = !finite ? __builtin_nanf("") : is_zero ? 0.0f : size / q_max;
  sums[0] = S::SumInt(qa);
  sums[1] = S::SumInt(qb);
}

// The largest of magnitudes; as numbers of their bits they are in the same order, and what is not
// finite is beyond all others.
template <class S>
TW_INLINE float LargestMagnitude(typename S::F a, typename S::F b) {
  return S::LargestBits(S::MaxBits(a, b));
}

// One row of activations; see Kernels::quantize.
template <class S>
void Quantize(const float* x, int64_t k, float q_max, int16_t* q, float* scales, int32_t* sums) {
  for (int64_t i = 0; i < k; i += 32) {
    const auto a = S::Load(x + i);
    const auto b = S::Load(x + i + 16);
    const float largest = LargestMagnitude<S>(S::Abs(a), S::Abs(b));
    QuantizeBlock<S>(a, b, largest <= __FLT_MAX__, largest, q_max, q + i, scales + i / 32,
                     sums + i / 16);
  }
}

// Without branches on what the values are: they could not be foreseen.
template <class S>
void QuantizeMixed(const float* x, int64_t k, int16_t* q, float* scales, int32_t* sums) {
  auto magnitudes = S::Zero();
  for (int64_t i = 0; i < k; i += 16) {
    magnitudes = S::Add(magnitudes, S::Abs(S::Load(x + i)));
  }
  const auto limit = S::Set(kMixedReach * (S::Sum(magnitudes) / static_cast<float>(k)));
  for (int64_t i = 0; i < k; i += 32) {
    const auto a = S::Load(x + i);
    const auto b = S::Load(x + i + 16);
    const auto a_size = S::Abs(a);
    const auto b_size = S::Abs(b);
    const float largest = LargestMagnitude<S>(a_size, b_size);
    const float inner = LargestMagnitude<S>(S::IfGreater(a_size, limit, S::Zero(), a_size),
                                            S::IfGreater(b_size, limit, S::Zero(), b_size));
    const int outliers =
        __builtin_popcount(S::GreaterMask(a_size, limit) | S::GreaterMask(b_size, limit) << 16);
    const bool mixed = static_cast<unsigned>(outliers - 1) < kOutliersMax;
    const bool in_reach = inner >= kQuantizedMin && largest <= kOutlierRatioMax * inner;
    const float size = mixed && in_reach ? inner : largest;
    const float q_max = mixed && !in_reach ? 127.0f * kOutlierRatioMax : 127.0f;
    QuantizeBlock<S>(a, b, largest <= __FLT_MAX__, size, q_max, q + i, scales + i / 32,
                     sums + i / 16);
  }
}

template <class S>
void SplitBytes(const int16_t* q, int64_t k, int64_t width, int8_t* low, int8_t* high,
                uint8_t* masks) {
  for (int64_t i = 0; i < k / 32; ++i) {
    masks[i] = S::SplitBlock(q + 32 * i, low + i * width * 32, high + 32 * i);
  }
}

// --- The table's selectors

using DotStripFn = void (*)(const std::byte*, int64_t, const PackedInput&, int64_t, float*,
                            int64_t);
using OpenPanelFn = void (*)(const std::byte*, const PackedPanel&);

template <class S>
DotStripFn SelectDotStrip(TensorType type) {
  DotStripFn function = nullptr;
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() { function = DotStrip<S, kLayout>; });
  return function;
}

template <class S>
OpenPanelFn SelectOpenPanel(TensorType type) {
  OpenPanelFn function = nullptr;
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() { function = OpenPanel<S, kLayout>; });
  return function;
}

template <class S>
OpenPanelFn SelectOpenBytePanel(TensorType type) {
  OpenPanelFn function = nullptr;
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() {
    // Level tables have values up to 255.
    if constexpr (S::ByteSteps(kLayout.levels ? 8 : kLayout.bits) > 0) {
      function = OpenBytePanel<S, kLayout>;
    }
  });
  return function;
}

}  // namespace
}  // namespace tradewind::engine
