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

namespace tradewind::engine {
namespace {

#define TW_INLINE inline __attribute__((always_inline))

// The codes of 8 columns as bytes: low has c0 c4 c1 c5 of each row, high c2 c6 c3 c7.
template <class S>
struct Piece {
  typename S::I low, high;
};

template <class S, int kShift>
TW_INLINE typename S::I BitsToPosition4(typename S::I v, int mask) {
  if constexpr (kShift >= 0) {
    return S::And(S::template WordShiftLeft<kShift>(v), S::SetInt(mask));
  } else {
    return S::And(S::template WordShiftRight<-kShift>(v), S::SetInt(mask));
  }
}

// codes: those of 32 columns.
template <class S, PackedLayout kLayout, int kPiece>
TW_INLINE Piece<S> LoadPiece(const std::byte* codes) {
  constexpr int kVector = 64;
  if constexpr (kLayout.bits == 8) {
    return {S::Load(codes + 2 * kPiece * kVector), S::Load(codes + (2 * kPiece + 1) * kVector)};
  } else {
    const auto nibbles = S::SetInt(0x0F0F0F0F);
    const auto both = S::Load(static_cast<const void*>(codes + kPiece * kVector));
    Piece<S> piece{S::And(both, nibbles), S::And(S::template WordShiftRight<4>(both), nibbles)};
    if constexpr (kLayout.bits == 5) {
      const auto fifth = S::Load(static_cast<const void*>(codes + 4 * kVector));
      constexpr int kMask = 0x10101010;
      piece.low = S::Or(piece.low, BitsToPosition4<S, 4 - 2 * kPiece>(fifth, kMask));
      piece.high = S::Or(piece.high, BitsToPosition4<S, 3 - 2 * kPiece>(fifth, kMask));
    }
    if constexpr (kLayout.bits == 6) {
      const auto upper = S::Load(static_cast<const void*>(codes + (4 + kPiece / 2) * kVector));
      constexpr int kMask = 0x30303030;
      constexpr int kFirst = kPiece % 2 * 4;
      piece.low = S::Or(piece.low, BitsToPosition4<S, 4 - kFirst>(upper, kMask));
      piece.high = S::Or(piece.high, BitsToPosition4<S, 2 - kFirst>(upper, kMask));
    }
    if constexpr (kLayout.levels) {
      piece.low = S::Lookup(kPackedIq4Levels, piece.low);
      piece.high = S::Lookup(kPackedIq4Levels, piece.high);
    }
    return piece;
  }
}

// The pairs (c0,c1) (c2,c3) (c4,c5) (c6,c7) of a piece as 16-bit numbers.
template <class S>
struct Pairs {
  typename S::I pair[4];
  TW_INLINE explicit Pairs(const Piece<S>& piece) {
    const auto even = S::SetInt(0x00FF00FF);
    pair[0] = S::And(piece.low, even);
    pair[1] = S::And(piece.high, even);
    pair[2] = S::template WordShiftRight<8>(piece.low);
    pair[3] = S::template WordShiftRight<8>(piece.high);
  }
};

// Scale and minimum of group `g` of a unit. The minimum is meant to be added.
template <class S, PackedLayout kLayout>
struct GroupScales {
  const std::byte* header;
  typename S::F d, dmin;  // of a super-block

  TW_INLINE explicit GroupScales(const std::byte* unit) : header(unit) {
    if constexpr (kLayout.is_super()) {
      d = LoadHalves(0);
      if constexpr (kLayout.has_min()) {
        dmin = S::Sub(S::Zero(), LoadHalves(1));
      }
    }
  }
  TW_INLINE typename S::F Scale(int g) const {
    if constexpr (!kLayout.is_super()) {
      return LoadHalves(g);
    } else if constexpr (kLayout.has_min()) {
      return S::Mul(d, S::ToFloat(S::BytesUnsigned(header + 64 + g * kStripRows)));
    } else {
      return S::Mul(d, S::ToFloat(S::BytesSigned(header + 64 + g * kStripRows)));
    }
  }
  TW_INLINE typename S::F Min(int g) const {
    if constexpr (!kLayout.is_super()) {
      return LoadHalves(2 + g);
    } else {
      constexpr int kGroups = kLayout.unit / kLayout.group;
      const auto m = S::BytesUnsigned(header + 64 + (kGroups + g) * kStripRows);
      return S::Mul(dmin, S::ToFloat(m));
    }
  }
  TW_INLINE typename S::F LoadHalves(int index) const {
    return S::Load(reinterpret_cast<const uint16_t*>(header) + index * kStripRows);
  }
};

// Scale times sum of a group of column c's activations: what a minimum is multiplied with.
template <int kGroup>
TW_INLINE float ScaledSum(const PackedInput& x, int64_t c, int64_t at) {
  if constexpr (kGroup == 32) {
    return x.scaled_sums[c * x.scales_stride + at / 32];
  } else {
    return x.scales[c * x.scales_stride + at / 32] *
           static_cast<float>(x.sums[c * x.sums_stride + at / 16]);
  }
}

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
      __builtin_prefetch(codes + 2048);
      __builtin_prefetch(codes + 2048 + 64);
      __builtin_prefetch(codes + 2048 + 128);
      __builtin_prefetch(codes + 2048 + 192);
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

template <class S, PackedLayout kLayout>
TW_INLINE void OpenScales(const std::byte* unit, float*& scales_out, float*& mins_out) {
  const GroupScales<S, kLayout> scales(unit);
  for (int g = 0; g < kLayout.unit / kLayout.group; ++g) {
    S::Store(scales_out, scales.Scale(g));
    scales_out += kStripRows;
    if constexpr (kLayout.has_min()) {
      S::Store(mins_out, scales.Min(g));
      mins_out += kStripRows;
    }
  }
}

// Opens up panel.k columns that begin at a unit; store(piece) gets the pieces in order.
template <class S, PackedLayout kLayout, class Store>
TW_INLINE void OpenUnits(const std::byte* units, const PackedPanel& panel, Store store) {
  float* scales_out = panel.scales;
  float* mins_out = panel.mins;
  for (int64_t at = 0; at < panel.k; at += kLayout.unit, units += kLayout.unit_bytes()) {
    OpenScales<S, kLayout>(units, scales_out, mins_out);
    const std::byte* codes = units + kLayout.header_bytes();
    for (int sub = 0; sub < kLayout.unit / 32; ++sub, codes += kLayout.code_bytes()) {
      store(LoadPiece<S, kLayout, 0>(codes));
      store(LoadPiece<S, kLayout, 1>(codes));
      store(LoadPiece<S, kLayout, 2>(codes));
      store(LoadPiece<S, kLayout, 3>(codes));
    }
  }
}

template <class S, PackedLayout kLayout>
void OpenPanel(const std::byte* units, const PackedPanel& panel) {
  int16_t* out = panel.codes;
  const auto zero = S::SetInt(kLayout.zero | kLayout.zero << 16);
  OpenUnits<S, kLayout>(units, panel, [&](const Piece<S>& piece) __attribute__((always_inline)) {
    const Pairs<S> pairs(piece);
    for (int p = 0; p < 4; ++p, out += 2 * kStripRows) {
      S::Store(static_cast<void*>(out), S::SubWords(pairs.pair[p], zero));
    }
  });
}

template <class S, PackedLayout kLayout>
void OpenBytePanel(const std::byte* units, const PackedPanel& panel) {
  uint8_t* out = panel.bytes;
  OpenUnits<S, kLayout>(units, panel, [&](const Piece<S>& piece) __attribute__((always_inline)) {
    S::Store(static_cast<void*>(out), piece.low);
    S::Store(static_cast<void*>(out + 64), piece.high);
    out += 128;
  });
}

template <class S, int kGroup, bool kHasMin, int C>
TW_INLINE void AddGroupTotals(const PackedPanel& panel, const PackedInput& x, int64_t at,
                              const typename S::I* sums, float* totals) {
  const auto scale = S::Load(panel.scales + at / kGroup * kStripRows);
  for (int c = 0; c < C; ++c) {
    const float x_scale = x.scales[c * x.scales_stride + at / 32];
    auto total = S::Load(totals + c * kStripRows);
    total = S::Fma(S::ToFloat(sums[c]), S::Mul(scale, S::Set(x_scale)), total);
    if constexpr (kHasMin) {
      const auto min = S::Load(panel.mins + at / kGroup * kStripRows);
      total = S::Fma(min, S::Set(ScaledSum<kGroup>(x, c, at)), total);
    }
    S::Store(totals + c * kStripRows, total);
  }
}

// totals[c * 16 + lane] += panel . x[c] for C columns. The inner loop is all of prefill: its
// addresses are one register per column plus constants, or the decoder is the limit.
template <class S, int kGroup, bool kHasMin, int C>
void DotPanelColumns(const PackedPanel& panel, const PackedInput& x, float* totals) {
  const int16_t* columns[C];
  for (int c = 0; c < C; ++c) {
    columns[c] = x.q + c * x.q_stride;
  }
  const int16_t* codes = panel.codes;
  for (int64_t at = 0; at < panel.k; at += kGroup) {
    typename S::I sums[C];
    for (auto& s : sums) {
      s = S::SetInt(0);
    }
    constexpr int kUnroll = 4;
    for (int quad = 0; quad < kGroup / 2 / kUnroll; ++quad) {
#pragma unroll
      for (int pair = 0; pair < kUnroll; ++pair) {
        const auto w = S::Load(static_cast<const void*>(codes + pair * 2 * kStripRows));
#pragma unroll
        for (int c = 0; c < C; ++c) {
          sums[c] = S::MulAddPairs(sums[c], w, S::Broadcast(columns[c] + 2 * pair));
        }
      }
      codes += kUnroll * 2 * kStripRows;
      for (auto& column : columns) {
        column += 2 * kUnroll;
      }
    }
    AddGroupTotals<S, kGroup, kHasMin, C>(panel, x, at, sums, totals);
  }
}

// The same over bytes: kSteps products are added up before they are widened.
template <class S, int kGroup, bool kHasMin, int kSteps, int C>
void DotBytePanelColumns(const PackedPanel& panel, const PackedInput& x, float* totals) {
  const int8_t* columns[C];
  for (int c = 0; c < C; ++c) {
    columns[c] = x.bytes + c * x.q_stride;
  }
  const uint8_t* codes = panel.bytes;
  for (int64_t at = 0; at < panel.k; at += kGroup) {
    typename S::I sums[C];
    for (int c = 0; c < C; ++c) {
      const int32_t* const s = x.sums + c * x.sums_stride + at / 16;
      sums[c] = S::SetInt(-panel.zero * (kGroup == 32 ? s[0] + s[1] : s[0]));
    }
    constexpr int kStep = kSteps < kGroup / 4 ? kSteps : kGroup / 4;
    for (int done = 0; done < kGroup / 4; done += kStep) {
      typename S::I words[C];
      for (auto& w : words) {
        w = S::SetInt(0);
      }
#pragma unroll
      for (int step = 0; step < kStep; ++step) {
        const auto w = S::Load(static_cast<const void*>(codes + step * 64));
#pragma unroll
        for (int c = 0; c < C; ++c) {
          words[c] = S::AddBytes(words[c], w, S::Broadcast(columns[c] + 4 * step));
        }
      }
      codes += kStep * 64;
      for (int c = 0; c < C; ++c) {
        columns[c] += 4 * kStep;
        sums[c] = S::Widen(sums[c], words[c]);
      }
    }
    AddGroupTotals<S, kGroup, kHasMin, C>(panel, x, at, sums, totals);
  }
}

// Calls run.template operator()<C>(first column) for tiles that cover n_cols.
template <class S, class Run>
TW_INLINE void ForEachColumnTile(int64_t n_cols, Run run) {
  constexpr int kTile = S::kTileColumns;
  int64_t c = 0;
  for (; c + kTile <= n_cols; c += kTile) {
    run.template operator()<kTile>(c);
  }
  for (; c + 4 <= n_cols; c += 4) {
    run.template operator()<4>(c);
  }
  for (; c < n_cols; ++c) {
    run.template operator()<1>(c);
  }
}

// Calls run.template operator()<group, has_min>() with those of the panel.
template <class Run>
TW_INLINE void VisitPanelKind(const PackedPanel& panel, Run run) {
  if (panel.group == 32) {
    panel.has_min ? run.template operator()<32, true>() : run.template operator()<32, false>();
  } else {
    panel.has_min ? run.template operator()<16, true>() : run.template operator()<16, false>();
  }
}

template <class S>
void DotPanel(const PackedPanel& panel, const PackedInput& x, int64_t n_cols, float* totals) {
  VisitPanelKind(panel, [&]<int kGroup, bool kHasMin>() {
    ForEachColumnTile<S>(n_cols, [&]<int C>(int64_t c) {
      DotPanelColumns<S, kGroup, kHasMin, C>(panel, x.Columns(c), totals + c * kStripRows);
    });
  });
}

template <class S>
void DotBytePanel(const PackedPanel& panel, const PackedInput& x, int64_t n_cols, float* totals) {
  const auto run = [&]<int kSteps>() {
    VisitPanelKind(panel, [&]<int kGroup, bool kHasMin>() {
      ForEachColumnTile<S>(n_cols, [&]<int C>(int64_t c) {
        DotBytePanelColumns<S, kGroup, kHasMin, kSteps, C>(panel, x.Columns(c),
                                                           totals + c * kStripRows);
      });
    });
  };
  switch (S::ByteSteps(panel.bits)) {
    case 2:
      return run.template operator()<2>();
    case 4:
      return run.template operator()<4>();
    default:
      return run.template operator()<8>();
  }
}

template <class S>
void NarrowToBytes(const int16_t* q, int64_t k, int8_t* bytes) {
  for (int64_t i = 0; i < k; i += 8) {
    S::NarrowPiece(q + i, bytes + i);
  }
}

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

#undef TW_INLINE

}  // namespace
}  // namespace tradewind::engine
