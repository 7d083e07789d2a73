// Products for many columns: weights are opened up into a panel in L1, which then meets every
// column. Only for the files of the instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/inline.h"
#include "engine/kernels/packed.h"
#include "engine/kernels/packed_codes.h"

namespace tradewind::engine {
namespace {

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
    for (int c = 0; c < C; ++c) {
      sums[c] = S::SetInt(0);
      __builtin_prefetch(columns[c] + C * x.q_stride);  // the next tile's
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
      __builtin_prefetch(columns[c] + C * x.q_stride);  // the next tile's
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

}  // namespace
}  // namespace tradewind::engine
