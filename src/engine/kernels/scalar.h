// The oracle's integer functions, for the table in scalar.cc. Contracts: kernels.h.
#pragma once

#include "engine/kernels/packed.h"

namespace tradewind::engine::scalar {

using DotStripFn = void (*)(const std::byte*, int64_t, const PackedInput&, int64_t, float*,
                            int64_t);
using OpenPanelFn = void (*)(const std::byte*, const PackedPanel&);

DotStripFn SelectDotStrip(TensorType type);
OpenPanelFn SelectOpenPanel(TensorType type);
void DotPanel(const PackedPanel& panel, const PackedInput& x, int64_t n_cols, float* totals);
void Quantize(const float* x, int64_t k, float q_max, int16_t* q, float* scales, int32_t* sums);

}  // namespace tradewind::engine::scalar
