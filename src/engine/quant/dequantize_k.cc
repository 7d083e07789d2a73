// K-quants: blocks of 256 in sub-blocks of 16 or 32, whose scales are themselves quantised against
// one f16 (two where there is a minimum as well).
#include "engine/quant/blocks.h"

namespace tradewind::engine::internal {
namespace {

// Sixteen 6-bit scales in 12 bytes: the low nibbles of S[0..7] and S[8..15] share bytes 0..7, and
// bytes 8..11 hold the upper two bits of four scales each, one per quarter.
int Q3Scale(const uint8_t* s, int i) {
  const uint8_t low = s[i % 8];
  const int upper = (s[8 + i % 4] >> (2 * (i / 4))) & 3;
  return (i < 8 ? Low(low) : High(low)) | upper << 4;
}

struct ScaleAndMin {
  int scale;
  int min;
};

// Eight pairs of 6 bits in 12 bytes: pairs 0..3 whole in bytes 0..7, whose upper two bits complete
// pairs 4..7.
ScaleAndMin Q4Scale(const uint8_t* s, int j) {
  if (j < 4) {
    return {s[j] & 63, s[j + 4] & 63};
  }
  return {Low(s[j + 4]) | (s[j - 4] >> 6) << 4, High(s[j + 4]) | (s[j] >> 6) << 4};
}

}  // namespace

void DequantizeQ2_K(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 84>(blocks, out, [](const uint8_t* b, float* y) {
    const uint8_t* scales = b;
    const float d = LoadHalf(b + 80);
    const float dmin = LoadHalf(b + 82);
    for (int sub = 0; sub < 16; ++sub) {
      const uint8_t* qs = b + 16 + 32 * (sub / 8) + 16 * (sub % 2);
      const int shift = 2 * (sub % 8 / 2);
      const float scale = d * static_cast<float>(Low(scales[sub]));
      const float min = dmin * static_cast<float>(High(scales[sub]));
      for (int l = 0; l < 16; ++l) {
        *y++ = scale * static_cast<float>((qs[l] >> shift) & 3) - min;
      }
    }
  });
}

void DequantizeQ3_K(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 110>(blocks, out, [](const uint8_t* b, float* y) {
    const uint8_t* scales = b + 96;
    const float d = LoadHalf(b + 108);
    for (int sub = 0; sub < 16; ++sub) {
      const uint8_t* hmask = b + 16 * (sub % 2);
      const uint8_t* qs = b + 32 + 32 * (sub / 8) + 16 * (sub % 2);
      const int shift = 2 * (sub % 8 / 2);
      const float scale = d * static_cast<float>(Q3Scale(scales, sub) - 32);
      for (int l = 0; l < 16; ++l) {
        const int third_bit = (hmask[l] >> (sub / 2)) & 1;
        *y++ = scale * static_cast<float>(((qs[l] >> shift) & 3) - (third_bit != 0 ? 0 : 4));
      }
    }
  });
}

void DequantizeQ4_K(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 144>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const float dmin = LoadHalf(b + 2);
    for (int sub = 0; sub < 8; ++sub) {
      const uint8_t* qs = b + 16 + 32 * (sub / 2);
      const auto [sc, mn] = Q4Scale(b + 4, sub);
      const float scale = d * static_cast<float>(sc);
      const float min = dmin * static_cast<float>(mn);
      for (int l = 0; l < 32; ++l) {
        *y++ = scale * static_cast<float>(sub % 2 == 0 ? Low(qs[l]) : High(qs[l])) - min;
      }
    }
  });
}

void DequantizeQ5_K(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 176>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const float dmin = LoadHalf(b + 2);
    const uint8_t* qh = b + 16;
    for (int sub = 0; sub < 8; ++sub) {
      const uint8_t* qs = b + 48 + 32 * (sub / 2);
      const auto [sc, mn] = Q4Scale(b + 4, sub);
      const float scale = d * static_cast<float>(sc);
      const float min = dmin * static_cast<float>(mn);
      for (int l = 0; l < 32; ++l) {
        const int low = sub % 2 == 0 ? Low(qs[l]) : High(qs[l]);
        *y++ = scale * static_cast<float>(low | ((qh[l] >> sub) & 1) << 4) - min;
      }
    }
  });
}

void DequantizeQ6_K(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 210>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b + 208);
    for (int half = 0; half < 2; ++half) {
      const uint8_t* ql = b + 64 * half;
      const uint8_t* qh = b + 128 + 32 * half;
      const uint8_t* scales = b + 192 + 8 * half;
      for (int quarter = 0; quarter < 4; ++quarter) {
        for (int l = 0; l < 32; ++l) {
          const uint8_t packed = ql[l + 32 * (quarter % 2)];
          const int low = quarter < 2 ? Low(packed) : High(packed);
          const int q = (low | ((qh[l] >> (2 * quarter)) & 3) << 4) - 32;
          const auto scale = static_cast<int8_t>(scales[2 * quarter + l / 16]);
          *y++ = d * static_cast<float>(scale) * static_cast<float>(q);
        }
      }
    }
  });
}

void DequantizeQ8_K(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 292>(blocks, out, [](const uint8_t* b, float* y) {
    const auto d =
        LoadLe<float>(b);  // the only f32 scale; the sums behind the values serve dot products
    for (int j = 0; j < 256; ++j) {
      y[j] = d * static_cast<float>(static_cast<int8_t>(b[4 + j]));
    }
  });
}

}  // namespace tradewind::engine::internal
