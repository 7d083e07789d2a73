// The one table of compute functions. scalar.cc is the oracle, obvious and slow; avx2.cc and
// avx512.cc are checked against it over random shapes and hostile values. Chosen once per engine by
// what the CPU has, or by name.
//
// Shapes use the letters of engine/README.md. All float arrays are row-major f32. No function
// allocates, locks or fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/packed.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine {

struct Kernels {
  std::string_view name;  // "scalar", "avx2", "avx512"

  // Block rows -> f32, exactly the oracle's values. nullptr means: use ScalarDequantizer.
  DequantizeFn (*dequantizer)(TensorType type);

  // out[c * out_stride + r] = sum_i rows[r * k + i] * x[c * x_stride + i]   for r < n_rows, c <
  // n_cols. Each sum is taken in an order that depends on k alone, so a batch of one equals a batch
  // of many, bit for bit.
  void (*dot_tile)(const float* rows, int64_t n_rows, const float* x, int64_t x_stride,
                   int64_t n_cols, int64_t k, float* out, int64_t out_stride);

  // --- integer products with packed weights (packed.h); results are the same bits in every table

  // Activations to integers, block by block: scale = largest / q_max, q = round(x * q_max /
  // largest), ties to even. k is a multiple of 32; q_max is 32767 or 127. A block with a value that
  // is not finite gets a NaN scale, so that every product with it is NaN.
  void (*quantize)(const float* x, int64_t k, float q_max, int16_t* q, float* scales,
                   int32_t* sums);
  // The same with q_max 127, but outliers (kMixedReach) are left out when the largest of a block is
  // looked for, so that they get a q beyond a byte. There are none when the magnitudes of the row
  // have no finite sum in f32.
  void (*quantize_mixed)(const float* x, int64_t k, int16_t* q, float* scales, int32_t* sums);
  // out[c * out_stride + r] = strip row r . x[c], r < 16: for few columns.
  void (*(*dot_strip)(TensorType type))(const std::byte* strip, int64_t k, const PackedInput& x,
                                        int64_t n_cols, float* out, int64_t out_stride);
  // Opens up panel.k columns of a strip, which begin at `units`, for dot_panel.
  void (*(*open_panel)(TensorType type))(const std::byte* units, const PackedPanel& panel);
  // totals[c * 16 + r] += panel row r . x[c]; they begin at 0 with the first panel of a strip.
  void (*dot_panel)(const PackedPanel& panel, const PackedInput& x, int64_t n_cols, float* totals);

  // The same over bytes: equal sums, at up to twice the speed.
  // nullptr for a type whose codes are too large for it here.
  void (*(*open_byte_panel)(TensorType type))(const std::byte* units, const PackedPanel& panel);
  // All columns of n_tiles tiles, those that fill up the last one too.
  void (*dot_byte_panel)(const PackedPanel& panel, const PackedTiles& x, int64_t n_tiles,
                         float* totals);
  // PackedTiles::width that dot_byte_panel takes; 0 when there is none.
  int64_t tile_width;
  // One row's bytes: the low ones from its place in its tile, the high ones of one row alone. Bit i
  // of masks[block]: quad i of the block has high bytes that are not 0. k is a multiple of 32, |q|
  // at most 127 * 256 + 127.
  void (*split_bytes)(const int16_t* q, int64_t k, int64_t width, int8_t* low, int8_t* high,
                      uint8_t* masks);

  // --- element-wise

  // out[i] = weight[i] * x[i] / sqrt(mean(x^2) + eps)
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  // gate[i] = silu(gate[i]) * up[i],  silu(z) = z / (1 + e^-z)
  void (*silu_multiply)(float* gate, const float* up, int64_t n);
  // x[i] += y[i]
  void (*add)(float* x, const float* y, int64_t n);

  // --- attention (attention.h)

  // Overwrites `part` with what the task's rows see of positions [begin, end), for a cache of f16,
  // f32 or q8_0 elements. Scores that are NaN or +inf make the row NaN, as softmax has it. Elements
  // count as the f32 values they stand for: exactly.
  void (*attend_f16)(const AttentionTask& task, const AttentionPart& part);
  void (*attend_f32)(const AttentionTask& task, const AttentionPart& part);
  void (*attend_q8_0)(const AttentionTask& task, const AttentionPart& part);
  // Adds a part to those before it. Merging into a part that saw nothing copies, bit for bit.
  void (*merge_attention)(const AttentionPart& from, const AttentionPart& into, int64_t query_rows,
                          int64_t head_dim);
  // out[i * out_stride + g * head_dim + c] = part.out / part.sum for `rows` rows of `group` heads
  void (*finish_attention)(const AttentionPart& part, int64_t rows, int64_t group, int64_t head_dim,
                           float* out, int64_t out_stride);
  // f32 -> f16, round to nearest even
  void (*to_half)(const float* x, int64_t n, uint16_t* out);
  // Per 32 values, the last group may be shorter: scale = f16(largest / 127), code = round(x /
  // scale) in -127..127, ties to even. A group with a value that is not finite, or too large for
  // such a scale, gets a scale that is not finite, so that its values are NaN.
  void (*quantize_q8_0)(const float* x, int64_t n, int8_t* codes, uint16_t* scales);
};

const Kernels& ScalarKernels();
// nullptr when this build or this CPU does not have them.
const Kernels* Avx2Kernels();
const Kernels* Avx512Kernels();

// "" = the best this CPU has. Errors: kUnsupported (names those available), kInvalidArgument (no
// such name).
Result<const Kernels*> SelectKernels(std::string_view name);

// What `doctor` prints: "avx2 fma f16c avx512f avx512bw avx512vnni ..."
std::string CpuFeatures();

}  // namespace tradewind::engine
