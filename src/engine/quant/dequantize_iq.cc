// IQ types: groups of 32 values, as codebook entries times signs times a small scale (IQ4_XS:
// levels of a fixed table).
#include <bit>

#include "engine/quant/blocks.h"
#include "engine/quant/iq_grids.h"

namespace tradewind::engine::internal {
namespace {

// Seven stored sign bits; the eighth makes the number of minus signs even.
uint8_t EvenSigns(uint32_t stored) {
  const uint32_t seven = stored & 127u;
  return static_cast<uint8_t>(seven | (std::popcount(seven) & 1u) << 7);
}

// Writes one codebook entry: bit j of `signs` negates value j.
float* PutSigned(const IqGrid& grid, uint32_t index, uint32_t signs, float scale, float* y) {
  for (int j = 0; j < grid.values; ++j) {
    const float value = scale * static_cast<float>(grid.Value(index, j));
    *y++ = ((signs >> j) & 1u) != 0 ? -value : value;
  }
  return y;
}

float* PutShifted(uint32_t index, float delta, float scale, float* y) {
  const IqGrid& grid = Iq1Grid();
  for (int j = 0; j < grid.values; ++j) {
    *y++ = scale * (static_cast<float>(grid.Value(index, j)) + delta);
  }
  return y;
}

constexpr float kIq1Delta = 0.125f;

}  // namespace

void DequantizeIQ2_XXS(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 66>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    for (int g = 0; g < 8; ++g) {
      const uint8_t* index = b + 2 + 8 * g;
      const auto signs_and_scale = LoadLe<uint32_t>(index + 4);
      const float scale = d * (0.5f + static_cast<float>(signs_and_scale >> 28)) * 0.25f;
      for (int l = 0; l < 4; ++l) {
        y = PutSigned(Iq2XxsGrid(), index[l], EvenSigns(signs_and_scale >> (7 * l)), scale, y);
      }
    }
  });
}

void DequantizeIQ2_XS(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 74>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint8_t* scales = b + 66;
    for (int g = 0; g < 8; ++g) {
      for (int l = 0; l < 4; ++l) {
        const uint32_t q = LoadLe<uint16_t>(b + 2 + 2 * (4 * g + l));
        const int nibble = l < 2 ? Low(scales[g]) : High(scales[g]);
        const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
        y = PutSigned(Iq2XsGrid(), q & 511u, EvenSigns(q >> 9), scale, y);
      }
    }
  });
}

void DequantizeIQ2_S(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 82>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint8_t* qs = b + 2;
    const uint8_t* signs = b + 34;
    const uint8_t* qh = b + 66;
    const uint8_t* scales = b + 74;
    for (int g = 0; g < 8; ++g) {
      for (int l = 0; l < 4; ++l) {
        const uint32_t index = qs[4 * g + l] | ((uint32_t{qh[g]} >> (2 * l)) & 3u) << 8;
        const int nibble = l < 2 ? Low(scales[g]) : High(scales[g]);
        const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
        y = PutSigned(Iq2SGrid(), index, signs[4 * g + l], scale, y);
      }
    }
  });
}

void DequantizeIQ3_XXS(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 98>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    for (int g = 0; g < 8; ++g) {
      const uint8_t* index = b + 2 + 8 * g;
      const auto signs_and_scale = LoadLe<uint32_t>(b + 66 + 4 * g);
      const float scale = d * (0.5f + static_cast<float>(signs_and_scale >> 28)) * 0.5f;
      for (int l = 0; l < 4; ++l) {
        const uint8_t signs = EvenSigns(signs_and_scale >> (7 * l));
        y = PutSigned(Iq3XxsGrid(), index[2 * l], signs, scale, y);
        y = PutSigned(Iq3XxsGrid(), index[2 * l + 1], signs >> 4, scale, y);
      }
    }
  });
}

void DequantizeIQ3_S(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 110>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint8_t* qs = b + 2;
    const uint8_t* qh = b + 66;
    const uint8_t* signs = b + 74;
    const uint8_t* scales = b + 106;
    for (int g = 0; g < 8; ++g) {
      const int nibble = g % 2 == 0 ? Low(scales[g / 2]) : High(scales[g / 2]);
      const float scale = d * static_cast<float>(1 + 2 * nibble);
      for (int i = 0; i < 8; ++i) {  // bit i of qh[g] is the ninth index bit of entry i
        const uint32_t index = qs[8 * g + i] | ((uint32_t{qh[g]} >> i) & 1u) << 8;
        y = PutSigned(Iq3SGrid(), index, signs[4 * g + i / 2] >> (4 * (i % 2)), scale, y);
      }
    }
  });
}

void DequantizeIQ1_S(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 50>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint8_t* qs = b + 2;
    for (int g = 0; g < 8; ++g) {
      const uint32_t qh = LoadLe<uint16_t>(b + 34 + 2 * g);
      const float scale = d * static_cast<float>(2 * ((qh >> 12) & 7u) + 1);
      const float delta = (qh & 0x8000u) != 0 ? -kIq1Delta : kIq1Delta;
      for (int l = 0; l < 4; ++l) {
        y = PutShifted(qs[4 * g + l] | ((qh >> (3 * l)) & 7u) << 8, delta, scale, y);
      }
    }
  });
}

void DequantizeIQ1_M(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 56>(blocks, out, [](const uint8_t* b, float* y) {
    const uint8_t* qs = b;
    const uint8_t* qh = b + 32;
    uint32_t scales[4];  // twelve bits of sub-scales each; the top nibbles together are the block's
                         // f16 scale
    uint32_t d_bits = 0;
    for (int i = 0; i < 4; ++i) {
      scales[i] = LoadLe<uint16_t>(b + 48 + 2 * i);
      d_bits |= (scales[i] >> 12) << (4 * i);
    }
    const float d = HalfToFloat(static_cast<uint16_t>(d_bits));
    for (int i = 0; i < 32; ++i) {  // one codebook entry of 8 values
      const uint32_t high = (qh[i / 2] >> (4 * (i % 2))) & 15u;
      const uint32_t sub_scale = (scales[i / 8] >> (3 * (i % 8 / 2))) & 7u;
      const float scale = d * static_cast<float>(2 * sub_scale + 1);
      const float delta = (high & 8u) != 0 ? -kIq1Delta : kIq1Delta;
      y = PutShifted(qs[i] | (high & 7u) << 8, delta, scale, y);
    }
  });
}

void DequantizeIQ4_XS(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 136>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint32_t scales_high = LoadLe<uint16_t>(b + 2);
    const uint8_t* scales_low = b + 4;
    for (int g = 0; g < 8; ++g) {
      const int low = g % 2 == 0 ? Low(scales_low[g / 2]) : High(scales_low[g / 2]);
      const int high = static_cast<int>((scales_high >> (2 * g)) & 3u);
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      const uint8_t* qs = b + 8 + 16 * g;
      for (int j = 0; j < 16; ++j) {
        y[32 * g + j] = scale * static_cast<float>(kIq4Levels[Low(qs[j])]);
        y[32 * g + 16 + j] = scale * static_cast<float>(kIq4Levels[High(qs[j])]);
      }
    }
  });
}

}  // namespace tradewind::engine::internal
