// AVX-512 (F, BW, DQ, VL) with F16C and FMA. Includes nothing but intrinsics and plain headers: an
// inline library function compiled here could be the copy that the linker keeps for every CPU.
//
// Whole because the functions share a handful of lane helpers. Each sum runs over 16 lanes in
// ascending i and is reduced once at the end, whatever the tile: results do not depend on the
// batch.
#include <immintrin.h>

#include "engine/kernels/kernels.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kLanes = 16;

inline __mmask16 TailMask(int64_t left) {
  return left >= kLanes ? static_cast<__mmask16>(0xFFFF)
                        : static_cast<__mmask16>((1u << left) - 1u);
}

// --- Dot products

// R rows times C columns in R * C accumulators: 4 x 4 keeps both FMA ports busy with half the loads
// of a single column.
template <int R, int C>
inline void Tile(const float* rows, const float* x, int64_t x_stride, int64_t k, float* out,
                 int64_t out_stride) {
  __m512 sum[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      sum[r][c] = _mm512_setzero_ps();
    }
  }
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    __m512 row[R];
    for (int r = 0; r < R; ++r) {
      row[r] = _mm512_loadu_ps(rows + r * k + i);
    }
    for (int c = 0; c < C; ++c) {
      const __m512 column = _mm512_loadu_ps(x + c * x_stride + i);
      for (int r = 0; r < R; ++r) {
        sum[r][c] = _mm512_fmadd_ps(row[r], column, sum[r][c]);
      }
    }
  }
  if (i < k) {
    const __mmask16 mask = TailMask(k - i);
    for (int c = 0; c < C; ++c) {
      const __m512 column = _mm512_maskz_loadu_ps(mask, x + c * x_stride + i);
      for (int r = 0; r < R; ++r) {
        sum[r][c] =
            _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, rows + r * k + i), column, sum[r][c]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      out[c * out_stride + r] = _mm512_reduce_add_ps(sum[r][c]);
    }
  }
}

template <int C>
inline void TileColumns(const float* rows, int64_t n_rows, const float* x, int64_t x_stride,
                        int64_t k, float* out, int64_t out_stride) {
  constexpr int kRows =
      C == 1 ? 8 : 4;  // one column needs eight sums in flight to hide the FMA latency
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
  for (; c + 4 <= n_cols; c += 4) {
    TileColumns<4>(rows, n_rows, x + c * x_stride, x_stride, k, out + c * out_stride, out_stride);
  }
  for (; c < n_cols; ++c) {
    TileColumns<1>(rows, n_rows, x + c * x_stride, x_stride, k, out + c * out_stride, out_stride);
  }
}

// --- Element-wise

// e^x by 2^n * e^r, |r| <= ln2/2, degree-6 polynomial: within 2 ulp of the true value. NaN stays
// NaN.
inline __m512 Exp(__m512 x) {
  const __m512 clamped =
      _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.72283f)), _mm512_set1_ps(-104.0f));
  const __m512 n =
      _mm512_roundscale_ps(_mm512_mul_ps(clamped, _mm512_set1_ps(1.44269504088896341f)),
                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145751953125f), clamped);  // ln2 in two parts
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682030941723e-6f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  const __m512 result =
      _mm512_scalef_ps(p, n);  // exact scaling, into the denormals and to infinity
  const __mmask16 large = _mm512_cmp_ps_mask(x, _mm512_set1_ps(88.72283f), _CMP_GT_OQ);
  const __m512 with_inf = _mm512_mask_mov_ps(result, large, _mm512_set1_ps(__builtin_inff()));
  return _mm512_mask_mov_ps(with_inf, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512 v = _mm512_maskz_loadu_ps(TailMask(n - i), x + i);
    sum = _mm512_fmadd_ps(v, v, sum);
  }
  const float scale =
      1.0f / __builtin_sqrtf(_mm512_reduce_add_ps(sum) / static_cast<float>(n) + eps);
  const __m512 scales = _mm512_set1_ps(scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), scales);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i)));
  }
}

void SiluMultiply(float* gate, const float* up, int64_t n) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m512 z = _mm512_maskz_loadu_ps(mask, gate + i);
    const __m512 denominator = _mm512_add_ps(one, Exp(_mm512_sub_ps(_mm512_setzero_ps(), z)));
    const __m512 silu = _mm512_div_ps(z, denominator);
    _mm512_mask_storeu_ps(gate + i, mask, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(mask, up + i)));
  }
}

void Add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m512 sum =
        _mm512_add_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
    _mm512_mask_storeu_ps(x + i, mask, sum);
  }
}

void Softmax(float* x, int64_t n) {
  const __m512 minus_inf = _mm512_set1_ps(-__builtin_inff());
  __m512 max = minus_inf;
  for (int64_t i = 0; i < n; i += kLanes) {
    max = _mm512_max_ps(max, _mm512_mask_loadu_ps(minus_inf, TailMask(n - i), x + i));
  }
  const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(max));
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m512 e = Exp(_mm512_sub_ps(_mm512_mask_loadu_ps(minus_inf, mask, x + i), top));
    _mm512_mask_storeu_ps(x + i, mask, e);
    sum = _mm512_mask_add_ps(sum, mask, sum, e);
  }
  const __m512 total = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), total));
  }
}

void ToHalf(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m256i half = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, x + i),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_mask_storeu_epi16(out + i, mask, half);
  }
}

// --- Attention

inline __m512 LoadMasked(const float* p, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, p);
}
inline __m512 LoadMasked(const uint16_t* p, __mmask16 mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}

template <class T>
void Scores(const float* q, int64_t group, int64_t head_dim, const T* keys, int64_t positions,
            float scale, float* scores, int64_t scores_stride) {
  for (int64_t g = 0; g < group; ++g) {
    const float* const query = q + g * head_dim;
    int64_t s = 0;
    for (; s + 4 <= positions; s += 4) {  // four keys in flight hide the FMA latency
      __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                       _mm512_setzero_ps()};
      for (int64_t c = 0; c < head_dim; c += kLanes) {
        const __mmask16 mask = TailMask(head_dim - c);
        const __m512 lane = LoadMasked(query + c, mask);
        for (int j = 0; j < 4; ++j) {
          sum[j] = _mm512_fmadd_ps(lane, LoadMasked(keys + (s + j) * head_dim + c, mask), sum[j]);
        }
      }
      for (int j = 0; j < 4; ++j) {
        scores[g * scores_stride + s + j] = _mm512_reduce_add_ps(sum[j]) * scale;
      }
    }
    for (; s < positions; ++s) {
      __m512 sum = _mm512_setzero_ps();
      for (int64_t c = 0; c < head_dim; c += kLanes) {
        const __mmask16 mask = TailMask(head_dim - c);
        sum = _mm512_fmadd_ps(LoadMasked(query + c, mask),
                              LoadMasked(keys + s * head_dim + c, mask), sum);
      }
      scores[g * scores_stride + s] = _mm512_reduce_add_ps(sum) * scale;
    }
  }
}

template <class T>
void Mix(const float* probs, int64_t probs_stride, int64_t group, int64_t head_dim, const T* values,
         int64_t positions, float* out) {
  for (int64_t g = 0; g < group; ++g) {
    const float* const p = probs + g * probs_stride;
    for (int64_t c = 0; c < head_dim; c += kLanes) {
      const __mmask16 mask = TailMask(head_dim - c);
      __m512 sum = _mm512_maskz_loadu_ps(mask, out + g * head_dim + c);
      for (int64_t s = 0; s < positions; ++s) {
        sum =
            _mm512_fmadd_ps(_mm512_set1_ps(p[s]), LoadMasked(values + s * head_dim + c, mask), sum);
      }
      _mm512_mask_storeu_ps(out + g * head_dim + c, mask, sum);
    }
  }
}

// --- Block formats
// Products of an 11-bit scale and an integer below 2^13 are exact in f32, so fused and separate
// rounding agree here.

inline float LoadHalf(const std::byte* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return _cvtsh_ss(bits);
}

inline __m512 FromBytesU(__m128i bytes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}
inline __m512 FromBytesS(__m128i bytes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
inline __m128i LowNibbles(__m128i bytes) {
  return _mm_and_si128(bytes, _mm_set1_epi8(15));
}
inline __m128i HighNibbles(__m128i bytes) {
  return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
}
inline __m128i Load16(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

void DequantizeQ4_0(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 32, blocks += 18, y += 32) {
    const __m512 d = _mm512_set1_ps(LoadHalf(blocks));
    const __m128i qs = Load16(blocks + 2);
    const __m128i eight = _mm_set1_epi8(8);
    _mm512_storeu_ps(y, _mm512_mul_ps(d, FromBytesS(_mm_sub_epi8(LowNibbles(qs), eight))));
    _mm512_storeu_ps(y + 16, _mm512_mul_ps(d, FromBytesS(_mm_sub_epi8(HighNibbles(qs), eight))));
  }
}

void DequantizeQ4_1(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 32, blocks += 20, y += 32) {
    const __m512 d = _mm512_set1_ps(LoadHalf(blocks));
    const __m512 m = _mm512_set1_ps(LoadHalf(blocks + 2));
    const __m128i qs = Load16(blocks + 4);
    _mm512_storeu_ps(y, _mm512_fmadd_ps(d, FromBytesU(LowNibbles(qs)), m));
    _mm512_storeu_ps(y + 16, _mm512_fmadd_ps(d, FromBytesU(HighNibbles(qs)), m));
  }
}

void DequantizeQ8_0(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 32, blocks += 34, y += 32) {
    const __m512 d = _mm512_set1_ps(LoadHalf(blocks));
    _mm512_storeu_ps(y, _mm512_mul_ps(d, FromBytesS(Load16(blocks + 2))));
    _mm512_storeu_ps(y + 16, _mm512_mul_ps(d, FromBytesS(Load16(blocks + 18))));
  }
}

void DequantizeF16(const std::byte* blocks, std::span<float> out) {
  const auto n = static_cast<int64_t>(out.size());
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m256i half = _mm256_maskz_loadu_epi16(mask, blocks + 2 * i);
    _mm512_mask_storeu_ps(out.data() + i, mask, _mm512_cvtph_ps(half));
  }
}

void DequantizeBF16(const std::byte* blocks, std::span<float> out) {
  const auto n = static_cast<int64_t>(out.size());
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = TailMask(n - i);
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, blocks + 2 * i));
    _mm512_mask_storeu_ps(out.data() + i, mask, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
  }
}

// Scale and minimum of sub-block j of Q4_K and Q5_K: six bits each, packed in 12 bytes.
inline void ScaleAndMin(const uint8_t* s, int j, float& scale, float& min) {
  if (j < 4) {
    scale = static_cast<float>(s[j] & 63);
    min = static_cast<float>(s[j + 4] & 63);
  } else {
    scale = static_cast<float>((s[j + 4] & 15) | ((s[j - 4] >> 6) << 4));
    min = static_cast<float>((s[j + 4] >> 4) | ((s[j] >> 6) << 4));
  }
}

// y = a * q - b with both products rounded first, as the definition has it.
inline __m512 ScaleMinusMin(__m512 a, __m512 q, __m512 b) {
  return _mm512_sub_ps(_mm512_mul_ps(a, q), b);
}

void DequantizeQ4_K(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 256, blocks += 144) {
    const float d = LoadHalf(blocks);
    const float dmin = LoadHalf(blocks + 2);
    const auto* const scales = reinterpret_cast<const uint8_t*>(blocks + 4);
    for (int chunk = 0; chunk < 4; ++chunk, y += 64) {
      float scale[2];
      float min[2];
      ScaleAndMin(scales, 2 * chunk, scale[0], min[0]);
      ScaleAndMin(scales, 2 * chunk + 1, scale[1], min[1]);
      for (int half = 0; half < 2; ++half) {
        const __m128i qs = Load16(blocks + 16 + 32 * chunk + 16 * half);
        _mm512_storeu_ps(y + 16 * half,
                         ScaleMinusMin(_mm512_set1_ps(d * scale[0]), FromBytesU(LowNibbles(qs)),
                                       _mm512_set1_ps(dmin * min[0])));
        _mm512_storeu_ps(y + 32 + 16 * half,
                         ScaleMinusMin(_mm512_set1_ps(d * scale[1]), FromBytesU(HighNibbles(qs)),
                                       _mm512_set1_ps(dmin * min[1])));
      }
    }
  }
}

void DequantizeQ6_K(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  const __m128i three = _mm_set1_epi8(3);
  for (size_t i = 0; i < out.size(); i += 256, blocks += 210) {
    const float d = LoadHalf(blocks + 208);
    const auto* const scales = reinterpret_cast<const int8_t*>(blocks + 192);
    for (int half = 0; half < 2; ++half, y += 128) {
      for (int part = 0; part < 2; ++part) {  // l = 16 * part ..
        const __m128i ql0 = Load16(blocks + 64 * half + 16 * part);
        const __m128i ql1 = Load16(blocks + 64 * half + 32 + 16 * part);
        const __m128i qh = Load16(blocks + 128 + 32 * half + 16 * part);
        const __m128i high[4] = {qh, _mm_srli_epi16(qh, 2), _mm_srli_epi16(qh, 4),
                                 _mm_srli_epi16(qh, 6)};
        const __m128i low[4] = {LowNibbles(ql0), LowNibbles(ql1), HighNibbles(ql0),
                                HighNibbles(ql1)};
        for (int j = 0; j < 4; ++j) {
          const __m128i bits = _mm_slli_epi16(_mm_and_si128(high[j], three), 4);
          const __m128i q = _mm_sub_epi8(_mm_or_si128(low[j], bits), _mm_set1_epi8(32));
          const float scale = d * static_cast<float>(scales[8 * half + 2 * j + part]);
          _mm512_storeu_ps(y + 32 * j + 16 * part,
                           _mm512_mul_ps(_mm512_set1_ps(scale), FromBytesS(q)));
        }
      }
    }
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
    case TensorType::kBF16:
      return DequantizeBF16;
    case TensorType::kQ4_K:
      return DequantizeQ4_K;
    case TensorType::kQ6_K:
      return DequantizeQ6_K;
    default:
      return nullptr;
  }
}

}  // namespace

const Kernels* Avx512Kernels() {
  static constexpr Kernels kernels{
      .name = "avx512",
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
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma");
  return supported ? &kernels : nullptr;
}

}  // namespace tradewind::engine
