// Weights repacked for the CPU: sixteen rows side by side, so that a vector lane is a row. A dot
// product then needs no shuffles and no horizontal sums, one layout serves every vector width, and
// each block format keeps its exact values: codes and scales are moved, never re-rounded.
//
// A matrix is rows / 16 strips (the last one filled up with zeros). A strip is a run of units of 64
// (simple formats) or 256 columns (K-quants); a unit is a header and then codes.
//
// Header, every array with 16 entries, one per row; n = groups in the unit:
//   kHalf         f16 d[2][16]                                  w = d * (code - zero)
//   kHalfAndMin   f16 d[2][16], f16 m[2][16]                    w = d * code + m
//   kSuper        f16 d[16], 32 bytes, s8 s[n][16]              w = d * s * (code - zero)
//   kSuperAndMin  f16 d[16], f16 dmin[16], u8 s[n][16], u8 m[n][16]
//                                                               w = d * s * code - dmin * m
// Codes, for every 32 columns: four pieces of 8 columns c0..c7. Their 16 x 8 codes are two vectors
// of 64 bytes, one dword per row: `low` with bytes c0 c4 c1 c5 and `high` with c2 c6 c3 c7. So a
// mask of the even bytes leaves the pair (c0, c1) as two 16-bit numbers, a shift by 8 the pair
// (c4, c5), and whole dwords are quads for 8-bit dot products.
//   8 bits: low, high of each piece.
//   4 bits: low | high << 4 of each piece.
//   5 bits: like 4, then one vector of fifth bits; bit 2 * piece of a byte belongs to `low`, the
//           next to `high`.
//   6 bits: like 4, then two vectors of upper bit pairs; the first serves pieces 0 and 1: bits 0-1
//           low 0, bits 2-3 high 0, bits 4-5 low 1, bits 6-7 high 1.
// Formats below 4 bits are stored with 4.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/inline.h"
#include "engine/quant/types.h"

namespace tradewind::engine {

inline constexpr int64_t kStripRows = 16;

enum class PackedScales : uint8_t { kHalf, kHalfAndMin, kSuper, kSuperAndMin };

struct PackedLayout {
  int bits = 0;         // of a code as stored
  int zero = 0;         // the code that means 0; subtracted after the level table
  bool levels = false;  // codes are indices into kPackedIq4Levels
  int unit = 0;         // columns: 64 or 256
  int group = 0;        // columns that share a scale: 16 or 32
  PackedScales scales = PackedScales::kHalf;

  TW_INLINE constexpr bool has_min() const {
    return scales == PackedScales::kHalfAndMin || scales == PackedScales::kSuperAndMin;
  }
  TW_INLINE constexpr bool is_super() const {
    return scales == PackedScales::kSuper || scales == PackedScales::kSuperAndMin;
  }
  TW_INLINE constexpr int64_t header_bytes() const {
    const int64_t of_groups = unit / group * kStripRows * (has_min() ? 2 : 1);
    return is_super() ? 64 + of_groups : of_groups * 2;
  }
  TW_INLINE constexpr int64_t code_bytes() const { return bits * 64; }  // of 32 columns
  TW_INLINE constexpr int64_t unit_bytes() const {
    return header_bytes() + unit / 32 * code_bytes();
  }
};

inline constexpr PackedLayout kPackedQ4_0{4, 8, false, 64, 32, PackedScales::kHalf};
inline constexpr PackedLayout kPackedQ4_1{4, 0, false, 64, 32, PackedScales::kHalfAndMin};
inline constexpr PackedLayout kPackedQ5_0{5, 16, false, 64, 32, PackedScales::kHalf};
inline constexpr PackedLayout kPackedQ5_1{5, 0, false, 64, 32, PackedScales::kHalfAndMin};
inline constexpr PackedLayout kPackedQ8_0{8, 128, false, 64, 32, PackedScales::kHalf};
inline constexpr PackedLayout kPackedQ2_K{4, 0, false, 256, 16, PackedScales::kSuperAndMin};
inline constexpr PackedLayout kPackedQ3_K{4, 4, false, 256, 16, PackedScales::kSuper};
inline constexpr PackedLayout kPackedQ4_K{4, 0, false, 256, 32, PackedScales::kSuperAndMin};
inline constexpr PackedLayout kPackedQ5_K{5, 0, false, 256, 32, PackedScales::kSuperAndMin};
inline constexpr PackedLayout kPackedQ6_K{6, 32, false, 256, 16, PackedScales::kSuper};
inline constexpr PackedLayout kPackedIQ4_NL{4, 128, true, 64, 32, PackedScales::kHalf};
inline constexpr PackedLayout kPackedIQ4_XS{4, 128, true, 256, 32, PackedScales::kSuper};

// The levels of IQ4_NL and IQ4_XS plus 128.
inline constexpr uint8_t kPackedIq4Levels[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                 129, 141, 153, 166, 181, 197, 217, 241};

// Calls visit.template operator()<layout>() for the layout of a type; false when it has none.
template <class Visit>
constexpr bool VisitPackedLayout(TensorType type, Visit&& visit) {
  switch (type) {
    case TensorType::kQ4_0:
      return visit.template operator()<kPackedQ4_0>(), true;
    case TensorType::kQ4_1:
      return visit.template operator()<kPackedQ4_1>(), true;
    case TensorType::kQ5_0:
      return visit.template operator()<kPackedQ5_0>(), true;
    case TensorType::kQ5_1:
      return visit.template operator()<kPackedQ5_1>(), true;
    case TensorType::kQ8_0:
      return visit.template operator()<kPackedQ8_0>(), true;
    case TensorType::kQ2_K:
      return visit.template operator()<kPackedQ2_K>(), true;
    case TensorType::kQ3_K:
      return visit.template operator()<kPackedQ3_K>(), true;
    case TensorType::kQ4_K:
      return visit.template operator()<kPackedQ4_K>(), true;
    case TensorType::kQ5_K:
      return visit.template operator()<kPackedQ5_K>(), true;
    case TensorType::kQ6_K:
      return visit.template operator()<kPackedQ6_K>(), true;
    case TensorType::kIQ4_NL:
      return visit.template operator()<kPackedIQ4_NL>(), true;
    case TensorType::kIQ4_XS:
      return visit.template operator()<kPackedIQ4_XS>(), true;
    default:
      return false;
  }
}

// nullptr for a type that has no packed layout. Static storage.
const PackedLayout* FindPackedLayout(TensorType type);

// Bytes of one strip of `cols` columns.
int64_t PackedStripBytes(const PackedLayout& layout, int64_t cols);

// Repacks up to sixteen rows. `rows`: `n_rows` rows of `row_bytes` bytes each, in the file's
// blocks; `cols` is whole blocks. Writes PackedStripBytes to `strip`, zeros for the missing rows.
void PackStrip(TensorType type, const std::byte* rows, int64_t row_bytes, int64_t n_rows,
               int64_t cols, std::byte* strip);

// Activations as integers: x ~= scale * q, with a scale for every 32 values. The rows of a batch
// stand `*_stride` entries apart; values beyond k up to the next multiple of 64 are zero.
struct PackedInput {
  const int16_t* q = nullptr;
  int64_t q_stride = 0;
  const float* scales = nullptr;       // [k / 32]
  const float* scaled_sums = nullptr;  // [k / 32], scale * sum of q
  int64_t scales_stride = 0;           // of both
  const int32_t* sums = nullptr;       // [k / 16], of q
  int64_t sums_stride = 0;

  TW_INLINE PackedInput Columns(int64_t first) const {
    PackedInput input = *this;
    input.q += first * q_stride;
    input.scales += first * scales_stride;
    input.scaled_sums += first * scales_stride;
    input.sums += first * sums_stride;
    return input;
  }
  TW_INLINE PackedInput From(int64_t column) const {  // starts at a later k, a multiple of 64
    PackedInput input = *this;
    input.q += column;
    input.scales += column / 32;
    input.scaled_sums += column / 32;
    input.sums += column / 16;
    return input;
  }
};

// The facts of a block of 32 activations.
struct PackedBlock {
  float scale = 0;
  float scaled_sum = 0;    // scale * sum of q
  int32_t sum = 0;         // of q
  int32_t first_sum = 0;   // of the first sixteen
  int32_t correction = 0;  // where that of its outliers stands, 0 without any: PackedOutliers::into
};

// Four neighbours (in the order of the codes) of a row that do not fit bytes: their high bytes.
struct PackedOutliers {
  int8_t high[4] = {};
  int32_t codes = 0;  // of their codes, from those of the row's first column, opened as bytes
  int32_t from = 0;   // corrections[from..] + 256 * product goes to corrections[into..]
  int32_t into = 0;   // of their block; a multiple of 16
};

// At most so many of a block of 32.
inline constexpr int kOutliersMax = 4;

// The same activations for byte panels: tiles of `width` rows of a batch stand side by side, block
// by block, so that a panel's loop reads one stream. The last tile is filled up with zeros. q = 256
// * high + low: every low byte in a plane of pieces in the order of the codes, and of the high ones
// only those that are not 0, in a list. Only panels with groups of 32 take tiles with outliers.
struct PackedTiles {
  int64_t width = 0;
  int64_t stride = 0;                        // blocks of a row: k / 32, k up to a multiple of 64
  const int8_t* low = nullptr;               // [tile][stride][width][32]
  const PackedBlock* blocks = nullptr;       // [tile][stride][width]
  const PackedOutliers* outliers = nullptr;  // [tile][stride * width * kOutliersMax], in order
  const int32_t* first = nullptr;            // [tile][stride + 1], of a block in its tile's list
  int64_t block = 0;                         // where the rows begin

  TW_INLINE PackedTiles From(int64_t column) const {
    PackedTiles tiles = *this;
    tiles.low += column * width;
    tiles.blocks += column / 32 * width;
    tiles.first += column / 32;
    tiles.block += column / 32;
    return tiles;
  }
  TW_INLINE PackedTiles Tile(int64_t tile) const {
    PackedTiles tiles = *this;
    tiles.low += tile * stride * width * 32;
    tiles.blocks += tile * stride * width;
    tiles.outliers += tile * stride * width * kOutliersMax;
    tiles.first += tile * (stride + 1);
    return tiles;
  }
  // Of int32: the sum of every block with outliers, after one that is always 0.
  TW_INLINE static constexpr int64_t CorrectionsMax(int64_t width, int64_t stride) {
    return (1 + width * stride) * kStripRows;
  }
};

// Some units of a strip, opened up for many columns, with scales as floats. Codes are either pairs
// of int16 with their zero points subtracted, or the bytes of packed.h's pieces as they are.
struct PackedPanel {
  int16_t* codes = nullptr;        // [k / 2][16][2]
  uint8_t* bytes = nullptr;        // [k / 8][low, high][64]
  float* scales = nullptr;         // [k / group][16]
  float* mins = nullptr;           // likewise; added, not subtracted
  int32_t* corrections = nullptr;  // room for those of a tile, the first 16 are 0; with bytes
  int64_t k = 0;
  bool first = true;  // of its strip: totals begin with it
  int group = 32;
  bool has_min = false;
  int zero = 0;  // of bytes
  int bits = 0;  // likewise
};

// A block of activations whose largest magnitude is below this counts as zeros: its scale would
// leave the range of f32.
inline constexpr float kQuantizedMin = 0x1p-100f;

// Mixed activations: what is beyond so many times the mean magnitude of its row is an outlier of
// its block, if there are at most kOutliersMax.
inline constexpr float kMixedReach = 5.0f;
// An outlier is at most so many times the largest of the others, which have 127 steps: q fits two
// signed bytes. Where it is more, it has 127 * 256 steps, and the others make do with that.
inline constexpr float kOutlierRatioMax = 256.0f;

// Columns of one panel: its codes take 16 KiB, half of the smallest L1.
inline constexpr int64_t kPanelColumnsMax = 512;
// Of bytes in half the space: beside them lie corrections, a tile and its blocks.
inline constexpr int64_t kBytePanelColumnsMax = 576;

}  // namespace tradewind::engine
