// The oracle's integer and attention functions, for the table in scalar.cc. Contracts: kernels.h.
#pragma once

#include "engine/kernels/attention.h"
#include "engine/kernels/packed.h"

namespace tradewind::engine::scalar {

using DotStripFn = void (*)(const std::byte*, int64_t, const PackedInput&, int64_t, float*,
                            int64_t);
using OpenPanelFn = void (*)(const std::byte*, const PackedPanel&);

DotStripFn SelectDotStrip(TensorType type);
OpenPanelFn SelectOpenPanel(TensorType type);
inline OpenPanelFn NoBytePanel(TensorType) {
  return nullptr;
}
void DotPanel(const PackedPanel& panel, const PackedInput& x, int64_t n_cols, float* totals);
void Quantize(const float* x, int64_t k, float q_max, int16_t* q, float* scales, int32_t* sums);
void QuantizeMixed(const float* x, int64_t k, int16_t* q, float* scales, int32_t* sums);
void SplitBytes(const int16_t* q, int64_t k, int64_t width, int8_t* low, int8_t* high,
                uint8_t* masks);

void AttendF16(const AttentionTask& task, const AttentionPart& part);
void AttendF32(const AttentionTask& task, const AttentionPart& part);
void AttendQ8(const AttentionTask& task, const AttentionPart& part);
void QuantizeQ8(const float* x, int64_t n, int8_t* codes, uint16_t* scales);
void MergeAttention(const AttentionPart& from, const AttentionPart& into, int64_t query_rows,
                    int64_t head_dim);
void FinishAttention(const AttentionPart& part, int64_t rows, int64_t group, int64_t head_dim,
                     float* out, int64_t out_stride);

}  // namespace tradewind::engine::scalar
