// AVX2 with FMA and F16C: the path of most laptops. The same shape as avx512.cc with 8 lanes; tails
// run scalar, in the order that keeps each sum independent of the batch.
#include <immintrin.h>

#include "engine/kernels/kernels.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kLanes = 8;

inline float ReduceAdd(__m256 v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));
  return _mm_cvtss_f32(sum);
}

inline float ReduceMax(__m256 v) {
  __m128 max = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  max = _mm_max_ps(max, _mm_movehl_ps(max, max));
  max = _mm_max_ss(max, _mm_movehdup_ps(max));
  return _mm_cvtss_f32(max);
}

// --- Dot products

template <int R, int C>
inline void Tile(const float* rows, const float* x, int64_t x_stride, int64_t k, float* out,
                 int64_t out_stride) {
  __m256 sum[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      sum[r][c] = _mm256_setzero_ps();
    }
  }
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (int c = 0; c < C; ++c) {
      const __m256 column = _mm256_loadu_ps(x + c * x_stride + i);
      for (int r = 0; r < R; ++r) {
        sum[r][c] = _mm256_fmadd_ps(_mm256_loadu_ps(rows + r * k + i), column, sum[r][c]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      float total = ReduceAdd(sum[r][c]);
      for (int64_t j = i; j < k; ++j) {
        total += rows[r * k + j] * x[c * x_stride + j];
      }
      out[c * out_stride + r] = total;
    }
  }
}

// Sixteen registers: 4 x 3 sums leave room for one column and the memory operands.
template <int C>
inline void TileColumns(const float* rows, int64_t n_rows, const float* x, int64_t x_stride,
                        int64_t k, float* out, int64_t out_stride) {
  constexpr int kRows = C == 1 ? 8 : 4;
  int64_t r = 0;
  for (; r + kRows <= n_rows; r += kRows) {
    Tile<kRows, C>(rows + r * k, x, x_stride, k, out + r, out_stride);
  }
  for (; r < n_rows; ++r) {
    Tile<1, C>(rows + r * k, x, x_stride, k, out + r, out_stride);
  }
}

void DotTile(const float* rows, int64_t n_rows, const float* x, int64_t x_stride, int64_t n_cols,
             int64_t k, float* out, int64_t out_stride) {
  int64_t c = 0;
  for (; c + 3 <= n_cols; c += 3) {
    TileColumns<3>(rows, n_rows, x + c * x_stride, x_stride, k, out + c * out_stride, out_stride);
  }
  for (; c < n_cols; ++c) {
    TileColumns<1>(rows, n_rows, x + c * x_stride, x_stride, k, out + c * out_stride, out_stride);
  }
}

// --- Element-wise

// 2^n for integral n in [-150, 128], in two exact steps so that denormal results are reached.
inline __m256 ScaleByPowerOfTwo(__m256 p, __m256 n) {
  const __m256i exponent = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(exponent, 1);
  const __m256i rest = _mm256_sub_epi32(exponent, half);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(p, first), second);
}

// The polynomial of avx512.cc.
inline __m256 Exp(__m256 x) {
  const __m256 clamped =
      _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(88.72283f)), _mm256_set1_ps(-104.0f));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, _mm256_set1_ps(1.44269504088896341f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145751953125f), clamped);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860682030941723e-6f), r);
  __m256 p = _mm256_set1_ps(1.0f / 720);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  const __m256 result = ScaleByPowerOfTwo(p, n);
  const __m256 large = _mm256_cmp_ps(x, _mm256_set1_ps(88.72283f), _CMP_GT_OQ);
  const __m256 with_inf = _mm256_blendv_ps(result, _mm256_set1_ps(__builtin_inff()), large);
  return _mm256_blendv_ps(with_inf, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

// The vector function on one value, so that a tail rounds as the body does.
inline float ExpOne(float x) {
  return _mm256_cvtss_f32(Exp(_mm256_set1_ps(x)));
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  __m256 lanes = _mm256_setzero_ps();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256 v = _mm256_loadu_ps(x + i);
    lanes = _mm256_fmadd_ps(v, v, lanes);
  }
  float sum = ReduceAdd(lanes);
  for (; i < n; ++i) {
    sum += x[i] * x[i];
  }
  const float scale = 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
  const __m256 scales = _mm256_set1_ps(scale);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scales);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
  }
  for (; i < n; ++i) {
    out[i] = weight[i] * (x[i] * scale);
  }
}

void SiluMultiply(float* gate, const float* up, int64_t n) {
  const __m256 one = _mm256_set1_ps(1.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256 z = _mm256_loadu_ps(gate + i);
    const __m256 denominator = _mm256_add_ps(one, Exp(_mm256_sub_ps(_mm256_setzero_ps(), z)));
    _mm256_storeu_ps(gate + i,
                     _mm256_mul_ps(_mm256_div_ps(z, denominator), _mm256_loadu_ps(up + i)));
  }
  for (; i < n; ++i) {
    gate[i] = gate[i] / (1.0f + ExpOne(-gate[i])) * up[i];
  }
}

void Add(float* x, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
  }
  for (; i < n; ++i) {
    x[i] += y[i];
  }
}

void Softmax(float* x, int64_t n) {
  __m256 lanes = _mm256_set1_ps(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    lanes = _mm256_max_ps(lanes, _mm256_loadu_ps(x + i));
  }
  float max = ReduceMax(lanes);
  for (; i < n; ++i) {
    max = x[i] > max ? x[i] : max;
  }
  const __m256 top = _mm256_set1_ps(max);
  lanes = _mm256_setzero_ps();
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const __m256 e = Exp(_mm256_sub_ps(_mm256_loadu_ps(x + i), top));
    _mm256_storeu_ps(x + i, e);
    lanes = _mm256_add_ps(lanes, e);
  }
  float sum = ReduceAdd(lanes);
  for (; i < n; ++i) {
    x[i] = ExpOne(x[i] - max);
    sum += x[i];
  }
  for (i = 0; i + kLanes <= n; i += kLanes) {
    _mm256_storeu_ps(x + i, _mm256_div_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(sum)));
  }
  for (; i < n; ++i) {
    x[i] /= sum;
  }
}

void ToHalf(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(out + i),
        _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  for (; i < n; ++i) {
    out[i] = static_cast<uint16_t>(_cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
}

// --- Attention

inline __m256 Load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline __m256 Load(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline float LoadOne(const float* p) {
  return *p;
}
inline float LoadOne(const uint16_t* p) {
  return _cvtsh_ss(*p);
}

template <class T>
void Scores(const float* q, int64_t group, int64_t head_dim, const T* keys, int64_t positions,
            float scale, float* scores, int64_t scores_stride) {
  for (int64_t g = 0; g < group; ++g) {
    const float* const query = q + g * head_dim;
    for (int64_t s = 0; s < positions; ++s) {
      const T* const key = keys + s * head_dim;
      __m256 even = _mm256_setzero_ps();
      __m256 odd = _mm256_setzero_ps();
      int64_t c = 0;
      for (; c + 2 * kLanes <= head_dim; c += 2 * kLanes) {
        even = _mm256_fmadd_ps(Load(query + c), Load(key + c), even);
        odd = _mm256_fmadd_ps(Load(query + c + kLanes), Load(key + c + kLanes), odd);
      }
      float sum = ReduceAdd(_mm256_add_ps(even, odd));
      for (; c < head_dim; ++c) {
        sum += query[c] * LoadOne(key + c);
      }
      scores[g * scores_stride + s] = sum * scale;
    }
  }
}

template <class T>
void Mix(const float* probs, int64_t probs_stride, int64_t group, int64_t head_dim, const T* values,
         int64_t positions, float* out) {
  for (int64_t g = 0; g < group; ++g) {
    const float* const p = probs + g * probs_stride;
    int64_t c = 0;
    for (; c + kLanes <= head_dim; c += kLanes) {
      __m256 sum = _mm256_loadu_ps(out + g * head_dim + c);
      for (int64_t s = 0; s < positions; ++s) {
        sum = _mm256_fmadd_ps(_mm256_set1_ps(p[s]), Load(values + s * head_dim + c), sum);
      }
      _mm256_storeu_ps(out + g * head_dim + c, sum);
    }
    for (; c < head_dim; ++c) {
      for (int64_t s = 0; s < positions; ++s) {
        out[g * head_dim + c] += p[s] * LoadOne(values + s * head_dim + c);
      }
    }
  }
}

// --- Block formats (exact, as in avx512.cc)

inline float LoadHalf(const std::byte* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return _cvtsh_ss(bits);
}

inline __m128i Load16(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m256 FromBytes8(__m128i bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

// y[0..15] = d * q + m for sixteen signed bytes
inline void Store16(float* y, __m256 d, __m128i q, __m256 m) {
  _mm256_storeu_ps(y, _mm256_fmadd_ps(d, FromBytes8(q), m));
  _mm256_storeu_ps(y + 8, _mm256_fmadd_ps(d, FromBytes8(_mm_srli_si128(q, 8)), m));
}

void DequantizeNibbles(const std::byte* blocks, std::span<float> out, bool has_min) {
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i zero_point = _mm_set1_epi8(has_min ? 0 : 8);
  const int64_t header = has_min ? 4 : 2;
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 32, blocks += header + 16, y += 32) {
    const __m256 d = _mm256_set1_ps(LoadHalf(blocks));
    const __m256 m =
        _mm256_set1_ps(has_min ? LoadHalf(blocks + 2) : -0.0f);  // x + -0 keeps the sign of a zero
    const __m128i qs = Load16(blocks + header);
    Store16(y, d, _mm_sub_epi8(_mm_and_si128(qs, mask), zero_point), m);
    Store16(y + 16, d, _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(qs, 4), mask), zero_point), m);
  }
}

void DequantizeQ4_0(const std::byte* blocks, std::span<float> out) {
  DequantizeNibbles(blocks, out, false);
}
void DequantizeQ4_1(const std::byte* blocks, std::span<float> out) {
  DequantizeNibbles(blocks, out, true);
}

void DequantizeQ8_0(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  const __m256 none = _mm256_set1_ps(-0.0f);
  for (size_t i = 0; i < out.size(); i += 32, blocks += 34, y += 32) {
    const __m256 d = _mm256_set1_ps(LoadHalf(blocks));
    Store16(y, d, Load16(blocks + 2), none);
    Store16(y + 16, d, Load16(blocks + 18), none);
  }
}

void DequantizeF16(const std::byte* blocks, std::span<float> out) {
  const auto n = static_cast<int64_t>(out.size());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm256_storeu_ps(out.data() + i, _mm256_cvtph_ps(Load16(blocks + 2 * i)));
  }
  for (; i < n; ++i) {
    out.data()[i] = LoadHalf(blocks + 2 * i);
  }
}

DequantizeFn Dequantizer(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return DequantizeQ4_0;
    case TensorType::kQ4_1:
      return DequantizeQ4_1;
    case TensorType::kQ8_0:
      return DequantizeQ8_0;
    case TensorType::kF16:
      return DequantizeF16;
    default:
      return nullptr;
  }
}

}  // namespace

const Kernels* Avx2Kernels() {
  static constexpr Kernels kernels{
      .name = "avx2",
      .dequantizer = Dequantizer,
      .dot_tile = DotTile,
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
  __builtin_cpu_init();
  const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                         __builtin_cpu_supports("f16c");
  return supported ? &kernels : nullptr;
}

}  // namespace tradewind::engine
