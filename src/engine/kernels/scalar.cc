// The oracle: each function as its definition reads. Compiled without contraction, so that x * y +
// z rounds twice here and exactness claims mean the same on every machine.
#include "engine/kernels/scalar.h"

#include <cmath>

#include "engine/kernels/kernels.h"

namespace tradewind::engine {
namespace {

DequantizeFn NoDequantizer(TensorType) {
  return nullptr;
}

void DotTile(const float* rows, int64_t n_rows, const float* x, int64_t x_stride, int64_t n_cols,
             int64_t k, float* out, int64_t out_stride) {
  for (int64_t c = 0; c < n_cols; ++c) {
    for (int64_t r = 0; r < n_rows; ++r) {
      float sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        sum += rows[r * k + i] * x[c * x_stride + i];
      }
      out[c * out_stride + r] = sum;
    }
  }
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i] * x[i];
  }
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = weight[i] * (x[i] * scale);
  }
}

void SiluMultiply(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  }
}

void Add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] += y[i];
  }
}

void ToHalf(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = FloatToHalf(x[i]);
  }
}

}  // namespace

const Kernels& ScalarKernels() {
  static constexpr Kernels kernels{
      .name = "scalar",
      .dequantizer = NoDequantizer,
      .dot_tile = DotTile,
      .quantize = scalar::Quantize,
      .quantize_mixed = scalar::QuantizeMixed,
      .dot_strip = scalar::SelectDotStrip,
      .open_panel = scalar::SelectOpenPanel,
      .dot_panel = scalar::DotPanel,
      .open_byte_panel = scalar::NoBytePanel,
      .dot_byte_panel = nullptr,
      .tile_width = 0,
      .split_bytes = scalar::SplitBytes,
      .rms_norm = RmsNorm,
      .silu_multiply = SiluMultiply,
      .add = Add,
      .attend_f16 = scalar::AttendF16,
      .attend_f32 = scalar::AttendF32,
      .attend_q8_0 = scalar::AttendQ8,
      .merge_attention = scalar::MergeAttention,
      .finish_attention = scalar::FinishAttention,
      .to_half = ToHalf,
      .quantize_q8_0 = scalar::QuantizeQ8,
  };
  return kernels;
}

}  // namespace tradewind::engine
