// The float functions of the table, written once over sixteen lanes (`S` is Avx2 or Avx512). Each
// sum runs over 16 lanes in ascending order and is reduced by one tree at the end, whatever the
// tile: results depend neither on the batch nor on the instruction set.
//
// Only for the files of the instruction sets; no standard library function that the linker could
// share with other files may be called here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/quant/types.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kLanes = 16;

// The first `n` < 16 values, and `fill` in the other lanes.
template <class S, class T>
typename S::F LoadTail(const T* p, int64_t n, T fill = T{}) {
  T lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    lanes[i] = i < n ? p[i] : fill;
  }
  return S::Load(lanes);
}

template <class S>
void StoreTail(float* p, int64_t n, typename S::F v) {
  float lanes[kLanes];
  S::Store(lanes, v);
  for (int64_t i = 0; i < n; ++i) {
    p[i] = lanes[i];
  }
}

// out[i] = f(a[i], b[i]) in vectors, the tail included.
template <class S, class Function>
void Map(const float* a, const float* b, float* out, int64_t n, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    S::Store(out + i, f(S::Load(a + i), S::Load(b + i)));
  }
  if (i < n) {
    StoreTail<S>(out + i, n - i, f(LoadTail<S>(a + i, n - i), LoadTail<S>(b + i, n - i)));
  }
}

// --- Dot products

template <class S, int R, int C>
void DotRowsColumns(const float* rows, const float* x, int64_t x_stride, int64_t k, float* out,
                    int64_t out_stride) {
  typename S::F sum[R][C];
  for (auto& row : sum) {
    for (auto& s : row) {
      s = S::Zero();
    }
  }
  const auto add = [&](auto load, int64_t i) __attribute__((always_inline)) {
    typename S::F row[R];
    for (int r = 0; r < R; ++r) {
      row[r] = load(rows + r * k + i);
    }
    for (int c = 0; c < C; ++c) {
      const typename S::F column = load(x + c * x_stride + i);
      for (int r = 0; r < R; ++r) {
        sum[r][c] = S::Fma(row[r], column, sum[r][c]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    add([](const float* p) { return S::Load(p); }, i);
  }
  if (i < k) {
    add([n = k - i](const float* p) { return LoadTail<S>(p, n); }, i);
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      out[c * out_stride + r] = S::Sum(sum[r][c]);
    }
  }
}

template <class S, int C>
void DotColumns(const float* rows, int64_t n_rows, const float* x, int64_t x_stride, int64_t k,
                float* out, int64_t out_stride) {
  // One column needs more rows in flight to hide the latency of the sums.
  constexpr int kRows = C == 1 ? 2 * S::kFloatRows : S::kFloatRows;
  int64_t r = 0;
  for (; r + kRows <= n_rows; r += kRows) {
    DotRowsColumns<S, kRows, C>(rows + r * k, x, x_stride, k, out + r, out_stride);
  }
  for (; r < n_rows; ++r) {
    DotRowsColumns<S, 1, C>(rows + r * k, x, x_stride, k, out + r, out_stride);
  }
}

template <class S>
void DotTile(const float* rows, int64_t n_rows, const float* x, int64_t x_stride, int64_t n_cols,
             int64_t k, float* out, int64_t out_stride) {
  constexpr int kColumns = S::kFloatColumns;
  int64_t c = 0;
  for (; c + kColumns <= n_cols; c += kColumns) {
    DotColumns<S, kColumns>(rows, n_rows, x + c * x_stride, x_stride, k, out + c * out_stride,
                            out_stride);
  }
  for (; c < n_cols; ++c) {
    DotColumns<S, 1>(rows, n_rows, x + c * x_stride, x_stride, k, out + c * out_stride, out_stride);
  }
}

// --- Element-wise

// e^x by 2^n * e^r, |r| <= ln2/2, degree-6 polynomial: within 2 ulp of the true value. NaN stays
// NaN.
template <class S>
typename S::F Exp(typename S::F x) {
  using F = typename S::F;
  const F largest = S::Set(88.72283f);
  const F clamped = S::Max(S::Min(x, largest), S::Set(-104.0f));
  const F n = S::Round(S::Mul(clamped, S::Set(1.44269504088896341f)));
  F r = S::Fnma(n, S::Set(0.693145751953125f), clamped);  // ln2 in two parts
  r = S::Fnma(n, S::Set(1.42860682030941723e-6f), r);
  F p = S::Set(1.0f / 720);
  p = S::Fma(p, r, S::Set(1.0f / 120));
  p = S::Fma(p, r, S::Set(1.0f / 24));
  p = S::Fma(p, r, S::Set(1.0f / 6));
  p = S::Fma(p, r, S::Set(0.5f));
  p = S::Fma(p, r, S::Set(1.0f));
  p = S::Fma(p, r, S::Set(1.0f));
  const F finite = S::ScaleByPowerOfTwo(p, n);
  return S::IfNan(x, x, S::IfGreater(x, largest, S::Set(__builtin_inff()), finite));
}

template <class S>
float SumOfSquares(const float* x, int64_t n) {
  typename S::F sum = S::Zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto v = S::Load(x + i);
    sum = S::Fma(v, v, sum);
  }
  if (i < n) {
    const auto v = LoadTail<S>(x + i, n - i);
    sum = S::Fma(v, v, sum);
  }
  return S::Sum(sum);
}

template <class S>
void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const float mean = SumOfSquares<S>(x, n) / static_cast<float>(n);
  const auto scale = S::Set(1.0f / __builtin_sqrtf(mean + eps));
  Map<S>(x, weight, out, n, [&](auto v, auto w) { return S::Mul(S::Mul(v, scale), w); });
}

template <class S>
void SiluMultiply(float* gate, const float* up, int64_t n) {
  const auto one = S::Set(1.0f);
  Map<S>(gate, up, gate, n, [&](auto z, auto u) {
    const auto denominator = S::Add(one, Exp<S>(S::Sub(S::Zero(), z)));
    return S::Mul(S::Div(z, denominator), u);
  });
}

template <class S>
void Add(float* x, const float* y, int64_t n) {
  Map<S>(x, y, x, n, [](auto a, auto b) { return S::Add(a, b); });
}

template <class S>
void ToHalf(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    S::StoreHalf(out + i, S::Load(x + i));
  }
  if (i < n) {
    uint16_t lanes[kLanes];
    S::StoreHalf(lanes, LoadTail<S>(x + i, n - i));
    for (int64_t j = i; j < n; ++j) {
      out[j] = lanes[j - i];
    }
  }
}

// --- Block formats to float, for the exact path. A product of an 11-bit scale and an integer below
// 2^13 is exact in f32, so fused and separate rounding agree.

template <class S>
void DequantizeF16(const std::byte* blocks, std::span<float> out) {
  const auto* const half = reinterpret_cast<const uint16_t*>(blocks);
  const auto n = static_cast<int64_t>(out.size());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    S::Store(out.data() + i, S::Load(half + i));
  }
  if (i < n) {
    StoreTail<S>(out.data() + i, n - i, LoadTail<S>(half + i, n - i));
  }
}

template <class S>
void DequantizeBF16(const std::byte* blocks, std::span<float> out) {
  const auto n = static_cast<int64_t>(out.size());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto wide = S::template ShiftLeft<16>(S::WordsUnsigned(blocks + 2 * i));
    S::Store(out.data() + i, S::AsFloat(wide));
  }
  for (; i < n; ++i) {
    uint16_t bits;
    __builtin_memcpy(&bits, blocks + 2 * i, sizeof(bits));
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    __builtin_memcpy(out.data() + i, &wide, sizeof(wide));
  }
}

inline float HalfAt(const std::byte* p) {
  _Float16 half;
  __builtin_memcpy(&half, p, sizeof(half));
  return static_cast<float>(half);
}

// Q4_0 and Q4_1: the low nibbles are the first sixteen values, the high ones the others.
template <class S, bool kHasMin>
void DequantizeNibbles(const std::byte* blocks, std::span<float> out) {
  constexpr int64_t kHeader = kHasMin ? 4 : 2;
  const auto fifteen = S::SetInt(15);
  const auto zero_point = S::SetInt(kHasMin ? 0 : 8);
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 32, blocks += kHeader + 16, y += 32) {
    const auto d = S::Set(HalfAt(blocks));
    // x + -0 keeps the sign of a zero
    const auto m = S::Set(kHasMin ? HalfAt(blocks + 2) : -0.0f);
    const auto bytes = S::BytesUnsigned(blocks + kHeader);
    const auto low = S::SubInt(S::And(bytes, fifteen), zero_point);
    const auto high = S::SubInt(S::template WordShiftRight<4>(bytes), zero_point);
    S::Store(y, S::Fma(d, S::ToFloat(low), m));
    S::Store(y + 16, S::Fma(d, S::ToFloat(high), m));
  }
}

template <class S>
void DequantizeQ8_0(const std::byte* blocks, std::span<float> out) {
  float* y = out.data();
  for (size_t i = 0; i < out.size(); i += 32, blocks += 34, y += 32) {
    const auto d = S::Set(HalfAt(blocks));
    S::Store(y, S::Mul(d, S::ToFloat(S::BytesSigned(blocks + 2))));
    S::Store(y + 16, S::Mul(d, S::ToFloat(S::BytesSigned(blocks + 18))));
  }
}

template <class S>
void (*Dequantizer(TensorType type))(const std::byte*, std::span<float>) {
  switch (type) {
    case TensorType::kF16:
      return DequantizeF16<S>;
    case TensorType::kBF16:
      return DequantizeBF16<S>;
    case TensorType::kQ4_0:
      return DequantizeNibbles<S, false>;
    case TensorType::kQ4_1:
      return DequantizeNibbles<S, true>;
    case TensorType::kQ8_0:
      return DequantizeQ8_0<S>;
    default:
      return nullptr;
  }
}

}  // namespace
}  // namespace tradewind::engine
