// File blocks -> packed strips. Runs once per weight at load, so it is plain code; the compiler
// vectorises the loops over 16 and 32 codes.
#include <bit>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/kernels/packed.h"

namespace tradewind::engine {
namespace {

// One row's share of a unit, format by format taken apart.
struct RowUnit {
  uint8_t codes[256];
  uint16_t d[2], m[2];  // f16 bits; of a super-block only the first
  uint8_t scales[16], mins[16];
};

using Bytes16 = uint8_t __attribute__((vector_size(16)));

// n is a multiple of 16.
inline void SplitNibbles(const uint8_t* qs, int n, uint8_t* low, uint8_t* high) {
  for (int j = 0; j < n; j += 16) {
    Bytes16 v;
    std::memcpy(&v, qs + j, sizeof(v));
    const Bytes16 lower = v & 15;
    const Bytes16 upper = v >> 4;
    std::memcpy(low + j, &lower, sizeof(v));
    std::memcpy(high + j, &upper, sizeof(v));
  }
}

void AddFifthBits(const uint8_t* qh, uint8_t* codes) {
  const auto bits = LoadLe<uint32_t>(qh);
  for (int j = 0; j < 32; ++j) {
    codes[j] = static_cast<uint8_t>(codes[j] | ((bits >> j) & 1u) << 4);
  }
}

// One block of 32: `index` says which half of the unit.
inline void ReadBlock32(TensorType type, const uint8_t* b, int index, RowUnit& out) {
  uint8_t* const codes = out.codes + 32 * index;
  out.d[index] = LoadLe<uint16_t>(b);
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kIQ4_NL:
      return SplitNibbles(b + 2, 16, codes, codes + 16);
    case TensorType::kQ4_1:
      out.m[index] = LoadLe<uint16_t>(b + 2);
      return SplitNibbles(b + 4, 16, codes, codes + 16);
    case TensorType::kQ5_0:
      SplitNibbles(b + 6, 16, codes, codes + 16);
      return AddFifthBits(b + 2, codes);
    case TensorType::kQ5_1:
      out.m[index] = LoadLe<uint16_t>(b + 2);
      SplitNibbles(b + 8, 16, codes, codes + 16);
      return AddFifthBits(b + 4, codes);
    case TensorType::kQ8_0:
      for (int j = 0; j < 32; ++j) {
        codes[j] = b[2 + j] ^ 0x80;  // s8 + 128
      }
      return;
    default:
      TW_CHECK(false);
  }
}

// Eight pairs of 6 bits in 12 bytes (Q4_K, Q5_K).
void ReadScalesAndMins(const uint8_t* s, RowUnit& out) {
  for (int j = 0; j < 4; ++j) {
    out.scales[j] = s[j] & 63;
    out.mins[j] = s[j + 4] & 63;
    out.scales[j + 4] = static_cast<uint8_t>((s[j + 8] & 15) | (s[j] >> 6) << 4);
    out.mins[j + 4] = static_cast<uint8_t>((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4);
  }
}

void ReadQ2_K(const uint8_t* b, RowUnit& out) {
  for (int sub = 0; sub < 16; ++sub) {
    const uint8_t* const qs = b + 16 + 32 * (sub / 8) + 16 * (sub % 2);
    const int shift = 2 * (sub % 8 / 2);
    out.scales[sub] = b[sub] & 15;
    out.mins[sub] = b[sub] >> 4;
    for (int l = 0; l < 16; ++l) {
      out.codes[16 * sub + l] = (qs[l] >> shift) & 3;
    }
  }
  out.d[0] = LoadLe<uint16_t>(b + 80);
  out.m[0] = LoadLe<uint16_t>(b + 82);
}

void ReadQ3_K(const uint8_t* b, RowUnit& out) {
  const uint8_t* const s = b + 96;
  for (int sub = 0; sub < 16; ++sub) {
    const uint8_t* const hmask = b + 16 * (sub % 2);
    const uint8_t* const qs = b + 32 + 32 * (sub / 8) + 16 * (sub % 2);
    const int shift = 2 * (sub % 8 / 2);
    const int low = sub < 8 ? s[sub] & 15 : s[sub - 8] >> 4;
    const int upper = (s[8 + sub % 4] >> (2 * (sub / 4))) & 3;
    out.scales[sub] = static_cast<uint8_t>((low | upper << 4) - 32);
    for (int l = 0; l < 16; ++l) {
      const int third = (hmask[l] >> (sub / 2)) & 1;
      out.codes[16 * sub + l] = static_cast<uint8_t>(((qs[l] >> shift) & 3) | third << 2);
    }
  }
  out.d[0] = LoadLe<uint16_t>(b + 108);
}

void ReadQ4_K(const uint8_t* b, const uint8_t* qs, RowUnit& out) {
  out.d[0] = LoadLe<uint16_t>(b);
  out.m[0] = LoadLe<uint16_t>(b + 2);
  ReadScalesAndMins(b + 4, out);
  for (int pair = 0; pair < 4; ++pair) {
    SplitNibbles(qs + 32 * pair, 32, out.codes + 64 * pair, out.codes + 64 * pair + 32);
  }
}

void ReadQ5_K(const uint8_t* b, RowUnit& out) {
  ReadQ4_K(b, b + 48, out);
  const uint8_t* const qh = b + 16;
  for (int sub = 0; sub < 8; ++sub) {
    for (int l = 0; l < 32; ++l) {
      const int fifth = (qh[l] >> sub) & 1;
      out.codes[32 * sub + l] = static_cast<uint8_t>(out.codes[32 * sub + l] | fifth << 4);
    }
  }
}

void ReadQ6_K(const uint8_t* b, RowUnit& out) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* const ql = b + 64 * half;
    const uint8_t* const qh = b + 128 + 32 * half;
    uint8_t* const codes = out.codes + 128 * half;
    SplitNibbles(ql, 64, codes, codes + 64);
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int l = 0; l < 32; ++l) {
        const int upper = (qh[l] >> (2 * quarter)) & 3;
        codes[32 * quarter + l] = static_cast<uint8_t>(codes[32 * quarter + l] | upper << 4);
      }
    }
  }
  std::memcpy(out.scales, b + 192, 16);
  out.d[0] = LoadLe<uint16_t>(b + 208);
}

void ReadIQ4_XS(const uint8_t* b, RowUnit& out) {
  out.d[0] = LoadLe<uint16_t>(b);
  const uint32_t high = LoadLe<uint16_t>(b + 2);
  for (int g = 0; g < 8; ++g) {
    const int low = g % 2 == 0 ? b[4 + g / 2] & 15 : b[4 + g / 2] >> 4;
    const int upper = static_cast<int>((high >> (2 * g)) & 3u);
    out.scales[g] = static_cast<uint8_t>((low | upper << 4) - 32);
    SplitNibbles(b + 8 + 16 * g, 16, out.codes + 32 * g, out.codes + 32 * g + 16);
  }
}

void ReadUnit(TensorType type, const uint8_t* b, RowUnit& out) {
  switch (type) {
    case TensorType::kQ2_K:
      return ReadQ2_K(b, out);
    case TensorType::kQ3_K:
      return ReadQ3_K(b, out);
    case TensorType::kQ4_K:
      return ReadQ4_K(b, b + 16, out);
    case TensorType::kQ5_K:
      return ReadQ5_K(b, out);
    case TensorType::kQ6_K:
      return ReadQ6_K(b, out);
    case TensorType::kIQ4_XS:
      return ReadIQ4_XS(b, out);
    default:
      TW_CHECK(false);
  }
}

template <class T>
void PutLane(std::byte* array, int64_t row, T value) {
  std::memcpy(array + row * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

void WriteHeader(const PackedLayout& layout, const RowUnit& in, int64_t row, std::byte* header) {
  constexpr int64_t kHalves = kStripRows * 2;  // bytes of 16 f16
  const int groups = layout.unit / layout.group;
  if (!layout.is_super()) {
    for (int i = 0; i < 2; ++i) {
      PutLane(header + i * kHalves, row, in.d[i]);
      if (layout.has_min()) {
        PutLane(header + (2 + i) * kHalves, row, in.m[i]);
      }
    }
    return;
  }
  PutLane(header, row, in.d[0]);
  if (layout.has_min()) {
    PutLane(header + kHalves, row, in.m[0]);
  }
  std::byte* const scales = header + 64;
  for (int g = 0; g < groups; ++g) {
    PutLane(scales + g * kStripRows, row, in.scales[g]);
    if (layout.has_min()) {
      PutLane(scales + (groups + g) * kStripRows, row, in.mins[g]);
    }
  }
}

// Eight codes in the order of packed.h: c0 c4 c1 c5 c2 c6 c3 c7. One instruction everywhere.
uint64_t LoadOrdered(const uint8_t* c) {
  using Bytes8 = uint8_t __attribute__((vector_size(8)));
  Bytes8 v;
  std::memcpy(&v, c, sizeof(v));
  v = __builtin_shufflevector(v, v, 0, 4, 1, 5, 2, 6, 3, 7);
  return std::bit_cast<uint64_t>(v);
}

// 32 codes of one row -> its dwords in the vectors of `codes`.
void WriteCodes(int bits, const uint8_t* c, int64_t row, std::byte* codes) {
  constexpr int64_t kVector = 64;
  constexpr uint64_t kNibbles = 0x0F0F0F0F0F0F0F0F;
  uint64_t fifth = 0;
  uint64_t upper[2] = {0, 0};
  for (int piece = 0; piece < 4; ++piece) {
    const uint64_t both = LoadOrdered(c + 8 * piece);  // low dword: `low`, high dword: `high`
    if (bits == 8) {
      PutLane(codes + 2 * piece * kVector, row, static_cast<uint32_t>(both));
      PutLane(codes + (2 * piece + 1) * kVector, row, static_cast<uint32_t>(both >> 32));
      continue;
    }
    const uint64_t nibbles = both & kNibbles;
    PutLane(codes + piece * kVector, row, static_cast<uint32_t>(nibbles | nibbles >> 28));
    const uint64_t rest = both >> 4 & kNibbles;
    fifth |= (rest | rest >> 31) << (2 * piece);
    upper[piece / 2] |= (rest | rest >> 30) << (4 * (piece % 2));
  }
  if (bits == 5) {
    PutLane(codes + 4 * kVector, row, static_cast<uint32_t>(fifth));
  } else if (bits == 6) {
    PutLane(codes + 4 * kVector, row, static_cast<uint32_t>(upper[0]));
    PutLane(codes + 5 * kVector, row, static_cast<uint32_t>(upper[1]));
  }
}

template <PackedLayout kLayout>
void PackUnit(TensorType type, const uint8_t* blocks, int64_t cols, int64_t row, std::byte* unit) {
  constexpr PackedLayout layout = kLayout;
  RowUnit in;
  if (cols < layout.unit) {
    in = {};  // the missing half of the last unit is zeros
  }
  if (layout.is_super()) {
    ReadUnit(type, blocks, in);
  } else {
    for (int i = 0; i < 2 && 32 * i < cols; ++i) {
      ReadBlock32(type, blocks + i * TraitsOf(type).block_bytes, i, in);
    }
  }
  WriteHeader(layout, in, row, unit);
  for (int i = 0; i < layout.unit / 32; ++i) {
    WriteCodes(layout.bits, in.codes + 32 * i, row,
               unit + layout.header_bytes() + i * layout.code_bytes());
  }
}

}  // namespace

const PackedLayout* FindPackedLayout(TensorType type) {
  const PackedLayout* found = nullptr;
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() {
    static constexpr PackedLayout layout = kLayout;
    found = &layout;
  });
  return found;
}

int64_t PackedStripBytes(const PackedLayout& layout, int64_t cols) {
  return (cols + layout.unit - 1) / layout.unit * layout.unit_bytes();
}

void PackStrip(TensorType type, const std::byte* rows, int64_t row_bytes, int64_t n_rows,
               int64_t cols, std::byte* strip) {
  const PackedLayout* const layout = FindPackedLayout(type);
  TW_CHECK(layout != nullptr && n_rows > 0 && n_rows <= kStripRows);
  if (n_rows < kStripRows) {
    std::memset(strip, 0, static_cast<size_t>(PackedStripBytes(*layout, cols)));
  }
  VisitPackedLayout(type, [&]<PackedLayout kLayout>() {
    constexpr int64_t kUnitBytes = kLayout.unit_bytes();
    const TensorTypeTraits& traits = TraitsOf(type);
    const int64_t file_bytes = kLayout.unit / traits.block_elements * traits.block_bytes;
    // Unit by unit, so that the sixteen rows fill each cache line of the strip while it is near.
    for (int64_t unit = 0; unit * kLayout.unit < cols; ++unit) {
      for (int64_t r = 0; r < n_rows; ++r) {
        const auto* const blocks =
            reinterpret_cast<const uint8_t*>(rows) + r * row_bytes + unit * file_bytes;
        PackUnit<kLayout>(type, blocks, cols - unit * kLayout.unit, r, strip + unit * kUnitBytes);
      }
    }
  });
}

}  // namespace tradewind::engine
