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
      Prefetch<kLayout.code_bytes()>(codes + kPrefetchBytes);
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

// Sums of low bytes over kGroup columns of a tile; kSteps products are added up before they are
// widened.
template <class S, int kGroup, int kSteps>
TW_INLINE void SumBytes(const uint8_t* codes, const int8_t* bytes, typename S::I* sums) {
  constexpr int C = S::kByteTileColumns;
  constexpr int kStep = kSteps < kGroup / 4 ? kSteps : kGroup / 4;
#pragma unroll
  for (int done = 0; done < kGroup / 4; done += kStep) {
    typename S::I words[C];
#pragma unroll
    for (int step = 0; step < kStep; ++step) {
      const auto w = S::Load(static_cast<const void*>(codes + (done + step) * 64));
#pragma unroll
      for (int c = 0; c < C; ++c) {
        const auto x = S::Broadcast(bytes + c * 32 + 4 * (done + step));
        words[c] = step == 0 ? S::MulBytes(w, x) : S::AddBytes(words[c], w, x);
      }
    }
#pragma unroll
    for (int c = 0; c < C; ++c) {
      sums[c] = done == 0 ? S::Widen(words[c]) : S::AddInt(sums[c], S::Widen(words[c]));
    }
  }
}

// What the high bytes of outliers are worth, one sum for each of their blocks. Before the tile's
// loop, which then adds a sum to every block, those without outliers too: a branch there could not
// be foreseen.
template <class S>
TW_INLINE void SumOutliers(const PackedPanel& panel, const PackedTiles& x) {
  const uint8_t* const codes = panel.bytes - x.block * 8 * 64;
  int32_t* const corrections = panel.corrections;
  const PackedOutliers* const end = x.outliers + x.first[panel.k / 32];
  for (const PackedOutliers* at = x.outliers + x.first[0]; at != end; ++at) {
    const auto w = S::Load(static_cast<const void*>(codes + at->codes));
    const auto sum = S::WidenTimes256(S::MulBytes(w, S::Broadcast(at->high)));
    const auto before = S::Load(static_cast<const void*>(corrections + at->from));
    S::Store(static_cast<void*>(corrections + at->into), S::AddInt(before, sum));
  }
}

// The list of a tile stands apart from that of the one before it.
TW_INLINE void PrefetchOutliers(const PackedTiles& x) {
  constexpr int64_t kLines = 4;
  const auto* const list = reinterpret_cast<const std::byte*>(x.outliers + x.first[0]);
  for (int64_t line = 0; line < kLines; ++line) {
    __builtin_prefetch(list + line * 64);
  }
}

// What one group of a panel meets in a tile.
struct TileGroup {
  const float* scales;
  const float* mins;
  const PackedBlock* blocks;
  const int32_t* corrections;
  float* totals;
};

// totals += scale * (sums - zero point) + min
template <class S, int kGroup, bool kHasMin, int kPart>
TW_INLINE void AddTileTotals(const TileGroup& group, int zero_bits, const typename S::I* sums) {
  const auto scale = S::Load(group.scales);
#pragma unroll
  for (int c = 0; c < S::kByteTileColumns; ++c) {
    const PackedBlock& block = group.blocks[c];
    auto sum = sums[c];
    if constexpr (kGroup == 32) {
      sum = S::AddInt(sum, S::Load(static_cast<const void*>(group.corrections + block.correction)));
    }
    if constexpr (!kHasMin) {
      auto of_q = S::Broadcast(kGroup == 32 ? &block.sum : &block.first_sum);
      if constexpr (kPart == 1) {
        of_q = S::SubInt(S::Broadcast(&block.sum), of_q);
      }
      sum = S::SubInt(sum, S::ShiftLeftBy(of_q, zero_bits));
    }
    auto total = S::Load(group.totals + c * kStripRows);
    total = S::Fma(S::ToFloat(sum), S::Mul(scale, S::Set(block.scale)), total);
    if constexpr (kHasMin) {
      const int32_t of_q = kPart == 0 ? block.first_sum : block.sum - block.first_sum;
      const float of_x = kGroup == 32 ? block.scaled_sum : block.scale * static_cast<float>(of_q);
      total = S::Fma(S::Load(group.mins), S::Set(of_x), total);
    }
    S::Store(group.totals + c * kStripRows, total);
  }
}

// The same as DotPanelColumns over one tile of bytes.
template <class S, int kGroup, bool kHasMin, int kSteps>
void DotBytePanelTile(const PackedPanel& panel, const PackedTiles& x, float* totals) {
  constexpr int C = S::kByteTileColumns;
  if constexpr (kGroup == 32) {
    SumOutliers<S>(panel, x);
  }
  const int zero_bits = __builtin_ctz(static_cast<unsigned>(panel.zero) | 1U << 30);
  TileGroup group{panel.scales, panel.mins, x.blocks, panel.corrections, totals};
  const uint8_t* codes = panel.bytes;
  const int8_t* low = x.low;
  for (int64_t left = panel.k / 32; left > 0; --left) {
    const auto add = [&]<int kPart>() __attribute__((always_inline)) {
      typename S::I sums[C];
      SumBytes<S, kGroup, kSteps>(codes, low + kPart * kGroup, sums);
      AddTileTotals<S, kGroup, kHasMin, kPart>(group, zero_bits, sums);
      codes += kGroup * kStripRows;
      group.scales += kStripRows;
      group.mins += kStripRows;
    };
    add.template operator()<0>();
    if constexpr (kGroup == 16) {
      add.template operator()<1>();
    }
    low += 32 * C;
    group.blocks += C;
  }
}

// Calls run.template operator()<C>(first column) for tiles that cover n_cols.
template <int kTile, class Run>
TW_INLINE void ForEachColumnTile(int64_t n_cols, Run run) {
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
    ForEachColumnTile<S::kTileColumns>(n_cols, [&]<int C>(int64_t c) {
      if (panel.first) {
        __builtin_memset(totals + c * kStripRows, 0, C * kStripRows * sizeof(float));
      }
      DotPanelColumns<S, kGroup, kHasMin, C>(panel, x.Columns(c), totals + c * kStripRows);
    });
  });
}

template <class S>
void DotBytePanel(const PackedPanel& panel, const PackedTiles& x, int64_t n_tiles, float* totals) {
  const auto run = [&]<int kSteps>() {
    VisitPanelKind(panel, [&]<int kGroup, bool kHasMin>() {
      constexpr int64_t kTotals = S::kByteTileColumns * kStripRows;
      for (int64_t tile = 0; tile < n_tiles; ++tile, totals += kTotals) {
        for (int64_t i = 0; panel.first && i < kTotals; i += kStripRows) {
          S::Store(totals + i, S::Zero());
        }
        if (kGroup == 32 && tile + 1 < n_tiles) {
          PrefetchOutliers(x.Tile(tile + 1));
        }
        DotBytePanelTile<S, kGroup, kHasMin, kSteps>(panel, x.Tile(tile), totals);
      }
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
