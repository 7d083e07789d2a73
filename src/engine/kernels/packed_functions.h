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

// One row of activations; see Kernels::quantize.
template <class S>
void Quantize(const float* x, int64_t k, float q_max, int16_t* q, float* scales, int32_t* sums) {
  for (int64_t i = 0; i < k; i += 32) {
    const auto a = S::Load(x + i);
    const auto b = S::Load(x + i + 16);
    const float largest = S::Largest(S::Max(S::Abs(a), S::Abs(b)));
    // x - x is 0, or NaN when x is not finite.
    const float odd = S::Sum(S::Add(S::Sub(a, a), S::Sub(b, b)));
    const bool is_zero = !(largest >= kQuantizedMin);
    const float inverse = is_zero ? 0.0f : q_max / largest;
    const auto factor = S::Set(odd == 0.0f ? inverse : 0.0f);
    const bool poisoned = odd != 0.0f;
    const auto qa = S::ToInt(poisoned ? S::Zero() : S::Mul(a, factor));
    const auto qb = S::ToInt(poisoned ? S::Zero() : S::Mul(b, factor));
    S::StoreWords(q + i, qa);
    S::StoreWords(q + i + 16, qb);
    scales[i / 32] = poisoned ? __builtin_nanf("") : is_zero ? 0.0f : largest / q_max;
    sums[i / 16] = S::SumInt(qa);
    sums[i / 16 + 1] = S::SumInt(qb);
  }
}

template <class S>
void NarrowToBytes(const int16_t* q, int64_t k, int8_t* bytes) {
  for (int64_t i = 0; i < k; i += 8) {
    S::NarrowPiece(q + i, bytes + i);
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
