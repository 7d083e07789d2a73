// Taking packed weights apart, over sixteen lanes, one lane a row: codes as bytes or pairs, scales
// and minimums as floats. The layout is packed.h's. Only for the files of the instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/inline.h"
#include "engine/kernels/packed.h"

namespace tradewind::engine {
namespace {

// The hardware's prefetcher stops at every 4 KiB page; this does not.
constexpr int64_t kPrefetchBytes = 4096;
template <int64_t kBytes>
TW_INLINE void Prefetch(const std::byte* from) {
#pragma unroll
  for (int64_t line = 0; line < kBytes; line += 64) {
    __builtin_prefetch(from + line);
  }
}

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

}  // namespace
}  // namespace tradewind::engine
