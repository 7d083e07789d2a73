// Products straight from the packed weights, for few columns: the decode path, one pass over the
// weights. Only for the files of the instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/inline.h"
#include "engine/kernels/packed.h"
#include "engine/kernels/packed_codes.h"

namespace tradewind::engine {
namespace {

// One group's integer sums of `C` columns, minus the zero point.
template <class S, PackedLayout kLayout, int C, int kFirstPiece>
TW_INLINE void SumGroup(const std::byte* codes, const int16_t* q, int64_t q_stride,
                        const int32_t* zero_sums, typename S::I* sums) {
  for (int c = 0; c < C; ++c) {
    sums[c] = S::SetInt(zero_sums[c]);
  }
  const auto add = [&]<int kPiece>() __attribute__((always_inline)) {
    const Pairs<S> pairs(LoadPiece<S, kLayout, kPiece>(codes));
    const int16_t* const first = q + (kPiece - kFirstPiece) * 8;
#pragma unroll
    for (int p = 0; p < 4; ++p) {
#pragma unroll
      for (int c = 0; c < C; ++c) {
        sums[c] =
            S::MulAddPairs(sums[c], pairs.pair[p], S::Broadcast(first + c * q_stride + 2 * p));
      }
    }
  };
  add.template operator()<kFirstPiece>();
  add.template operator()<kFirstPiece + 1>();
  if constexpr (kLayout.group == 32) {
    add.template operator()<kFirstPiece + 2>();
    add.template operator()<kFirstPiece + 3>();
  }
}

// out[c * out_stride + lane] for one strip and C columns: the decode path, one pass over the
// weights.
template <class S, PackedLayout kLayout, int C>
void DotStripColumns(const std::byte* strip, int64_t k, const PackedInput& x, float* out,
                     int64_t out_stride) {
  constexpr int kGroup = kLayout.group;
  typename S::F total[C];
  for (auto& t : total) {
    t = S::Zero();
  }
  for (int64_t at = 0; at < k; at += kLayout.unit, strip += kLayout.unit_bytes()) {
    const GroupScales<S, kLayout> scales(strip);
    const std::byte* codes = strip + kLayout.header_bytes();
    for (int sub = 0; sub < kLayout.unit / 32; ++sub, codes += kLayout.code_bytes()) {
      const int64_t column = at + 32 * sub;
      if (kLayout.unit == 64 && column >= k) {
        break;  // k is an odd number of blocks
      }
      Prefetch<kLayout.code_bytes()>(codes + kPrefetchBytes);
      const auto add_group = [&]<int kFirstPiece>() __attribute__((always_inline)) {
        const int64_t begin = column + 8 * kFirstPiece;
        const int g = sub * (32 / kGroup) + kFirstPiece / 2;
        int32_t zero_sums[C] = {};
        if constexpr (kLayout.zero != 0) {
          for (int c = 0; c < C; ++c) {
            const int32_t* const s = x.sums + c * x.sums_stride + begin / 16;
            zero_sums[c] = -kLayout.zero * (kGroup == 32 ? s[0] + s[1] : s[0]);
          }
        }
        typename S::I sums[C];
        SumGroup<S, kLayout, C, kFirstPiece>(codes, x.q + begin, x.q_stride, zero_sums, sums);
        const auto scale = scales.Scale(g);
        for (int c = 0; c < C; ++c) {
          const auto x_scale = S::Set(x.scales[c * x.scales_stride + begin / 32]);
          total[c] = S::Fma(S::ToFloat(sums[c]), S::Mul(scale, x_scale), total[c]);
        }
        if constexpr (kLayout.has_min()) {
          const auto min = scales.Min(g);
          for (int c = 0; c < C; ++c) {
            total[c] = S::Fma(min, S::Set(ScaledSum<kGroup>(x, c, begin)), total[c]);
          }
        }
      };
      add_group.template operator()<0>();
      if constexpr (kGroup == 16) {
        add_group.template operator()<2>();
      }
    }
  }
  for (int c = 0; c < C; ++c) {
    S::Store(out + c * out_stride, total[c]);
  }
}

template <class S, PackedLayout kLayout>
void DotStrip(const std::byte* strip, int64_t k, const PackedInput& x, int64_t n_cols, float* out,
              int64_t out_stride) {
  const auto run = [&]<int C>(int64_t first) {
    DotStripColumns<S, kLayout, C>(strip, k, x.Columns(first), out + first * out_stride,
                                   out_stride);
  };
  int64_t c = 0;
  for (; c + S::kDirectColumns <= n_cols; c += S::kDirectColumns) {
    run.template operator()<S::kDirectColumns>(c);
  }
  for (; c + 4 <= n_cols; c += 4) {
    run.template operator()<4>(c);
  }
  switch (n_cols - c) {
    case 3:
      return run.template operator()<3>(c);
    case 2:
      return run.template operator()<2>(c);
    case 1:
      return run.template operator()<1>(c);
    default:
      return;
  }
}

}  // namespace
}  // namespace tradewind::engine
