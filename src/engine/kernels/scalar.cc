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

void Softmax(float* x, int64_t n) {
  float max = x[0];
  for (int64_t i = 1; i < n; ++i) {
    max = std::fmax(max, x[i]);
  }
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = std::exp(x[i] - max);
    sum += x[i];
  }
  for (int64_t i = 0; i < n; ++i) {
    x[i] /= sum;
  }
}

inline float ToFloat(float value) {
  return value;
}
inline float ToFloat(uint16_t half) {
  return HalfToFloat(half);
}

template <class T>
void Scores(const float* q, int64_t group, int64_t head_dim, const T* keys, int64_t positions,
            float scale, float* scores, int64_t scores_stride) {
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t s = 0; s < positions; ++s) {
      float sum = 0;
      for (int64_t c = 0; c < head_dim; ++c) {
        sum += q[g * head_dim + c] * ToFloat(keys[s * head_dim + c]);
      }
      scores[g * scores_stride + s] = sum * scale;
    }
  }
}

template <class T>
void Mix(const float* probs, int64_t probs_stride, int64_t group, int64_t head_dim, const T* values,
         int64_t positions, float* out) {
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t s = 0; s < positions; ++s) {
      const float p = probs[g * probs_stride + s];
      for (int64_t c = 0; c < head_dim; ++c) {
        out[g * head_dim + c] += p * ToFloat(values[s * head_dim + c]);
      }
    }
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
      .dot_strip = scalar::SelectDotStrip,
      .open_panel = scalar::SelectOpenPanel,
      .dot_panel = scalar::DotPanel,
      .rms_norm = RmsNorm,
      .silu_multiply = SiluMultiply,
      .add = Add,
      .softmax = Softmax,
      .scores_f16 = Scores<uint16_t>,
      .scores_f32 = Scores<float>,
      .mix_f16 = Mix<uint16_t>,
      .mix_f32 = Mix<float>,
      .to_half = ToHalf,
  };
  return kernels;
}

}  // namespace tradewind::engine
