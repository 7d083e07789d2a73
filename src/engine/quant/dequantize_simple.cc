// Plain floats, the 32-element blocks with one scale, 4-bit floats, ternary, one and two bits.
#include <bit>

#include "engine/quant/blocks.h"

namespace tradewind::engine::internal {
namespace {

// The E2M1 values, doubled so that they are whole; the scales below carry the factor 1/2.
constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128): an E8M0 scale, halved. The two smallest are denormal.
float HalvedE8m0(uint8_t e) {
  const uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1u) << 23;
  return std::bit_cast<float>(bits);
}

// An unsigned E4M3 scale, halved. The sign bit is not part of it; 0x7F, E4M3's NaN, counts as 0.
float HalvedUe4m3(uint8_t bits) {
  const uint32_t exponent = (bits >> 3) & 15u;
  const uint32_t fraction = bits & 7u;
  if ((bits & 0x7Fu) == 0x7Fu) {
    return 0.0f;
  }
  if (exponent == 0) {
    return static_cast<float>(fraction) * 0x1p-10f;
  }
  return std::bit_cast<float>((exponent - 7 + 127 - 1) << 23 | fraction << 20);
}

// Digit `n` (most significant first) of the five base-3 digits in a byte, which holds them as a
// fixed-point fraction.
int TernaryDigit(uint8_t byte, int n) {
  constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  const uint8_t fraction = static_cast<uint8_t>(byte * kPowers[n]);
  return (fraction * 3) >> 8;
}

}  // namespace

void DequantizeF32(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<1, 4>(blocks, out, [](const uint8_t* b, float* y) { *y = LoadLe<float>(b); });
}

void DequantizeF16(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<1, 2>(blocks, out, [](const uint8_t* b, float* y) { *y = LoadHalf(b); });
}

void DequantizeBF16(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<1, 2>(blocks, out,
                     [](const uint8_t* b, float* y) { *y = Bfloat16ToFloat(LoadLe<uint16_t>(b)); });
}

void DequantizeQ4_0(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 18>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint8_t* qs = b + 2;
    for (int j = 0; j < 16; ++j) {
      y[j] = d * static_cast<float>(Low(qs[j]) - 8);
      y[j + 16] = d * static_cast<float>(High(qs[j]) - 8);
    }
  });
}

void DequantizeQ4_1(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 20>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const float m = LoadHalf(b + 2);
    const uint8_t* qs = b + 4;
    for (int j = 0; j < 16; ++j) {
      y[j] = d * static_cast<float>(Low(qs[j])) + m;
      y[j + 16] = d * static_cast<float>(High(qs[j])) + m;
    }
  });
}

void DequantizeQ5_0(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 22>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const auto qh = LoadLe<uint32_t>(b + 2);
    const uint8_t* qs = b + 6;
    for (int j = 0; j < 16; ++j) {
      const int low = Low(qs[j]) | static_cast<int>((qh >> j) & 1u) << 4;
      const int high = High(qs[j]) | static_cast<int>((qh >> (j + 16)) & 1u) << 4;
      y[j] = d * static_cast<float>(low - 16);
      y[j + 16] = d * static_cast<float>(high - 16);
    }
  });
}

void DequantizeQ5_1(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 24>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const float m = LoadHalf(b + 2);
    const auto qh = LoadLe<uint32_t>(b + 4);
    const uint8_t* qs = b + 8;
    for (int j = 0; j < 16; ++j) {
      const int low = Low(qs[j]) | static_cast<int>((qh >> j) & 1u) << 4;
      const int high = High(qs[j]) | static_cast<int>((qh >> (j + 16)) & 1u) << 4;
      y[j] = d * static_cast<float>(low) + m;
      y[j + 16] = d * static_cast<float>(high) + m;
    }
  });
}

void DequantizeQ8_0(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 34>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    for (int j = 0; j < 32; ++j) {
      y[j] = d * static_cast<float>(static_cast<int8_t>(b[2 + j]));
    }
  });
}

void DequantizeQ8_1(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 36>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    for (int j = 0; j < 32; ++j) {
      y[j] = d * static_cast<float>(static_cast<int8_t>(b[4 + j]));
    }
  });
}

void DequantizeIQ4_NL(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 18>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    const uint8_t* qs = b + 2;
    for (int j = 0; j < 16; ++j) {
      y[j] = d * static_cast<float>(kIq4Levels[Low(qs[j])]);
      y[j + 16] = d * static_cast<float>(kIq4Levels[High(qs[j])]);
    }
  });
}

void DequantizeMXFP4(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<32, 17>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = HalvedE8m0(b[0]);
    const uint8_t* qs = b + 1;
    for (int j = 0; j < 16; ++j) {
      y[j] = d * static_cast<float>(kE2m1Doubled[Low(qs[j])]);
      y[j + 16] = d * static_cast<float>(kE2m1Doubled[High(qs[j])]);
    }
  });
}

void DequantizeNVFP4(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<64, 36>(blocks, out, [](const uint8_t* b, float* y) {
    for (int s = 0; s < 4; ++s) {
      const float d = HalvedUe4m3(b[s]);
      const uint8_t* qs = b + 4 + 8 * s;
      for (int j = 0; j < 8; ++j) {
        y[16 * s + j] = d * static_cast<float>(kE2m1Doubled[Low(qs[j])]);
        y[16 * s + 8 + j] = d * static_cast<float>(kE2m1Doubled[High(qs[j])]);
      }
    }
  });
}

void DequantizeTQ1_0(const std::byte* blocks, std::span<float> out) {
  // Five digits of 32 bytes, five of the next 16, four of the last 4; digit by digit within each
  // run.
  struct Run {
    int bytes;
    int digits;
  };
  constexpr Run kRuns[] = {{32, 5}, {16, 5}, {4, 4}};
  ForEachBlock<256, 54>(blocks, out, [&](const uint8_t* b, float* y) {
    const float d = LoadHalf(b + 52);
    const uint8_t* qs = b;
    for (const Run run : kRuns) {
      for (int n = 0; n < run.digits; ++n) {
        for (int m = 0; m < run.bytes; ++m) {
          *y++ = d * static_cast<float>(TernaryDigit(qs[m], n) - 1);
        }
      }
      qs += run.bytes;
    }
  });
}

void DequantizeTQ2_0(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<256, 66>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b + 64);
    for (int half = 0; half < 2; ++half) {
      for (int shift = 0; shift < 8; shift += 2) {
        for (int m = 0; m < 32; ++m) {
          *y++ = d * static_cast<float>(((b[32 * half + m] >> shift) & 3) - 1);
        }
      }
    }
  });
}

void DequantizeQ1_0(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<128, 18>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    for (int j = 0; j < 128; ++j) {
      y[j] = ((b[2 + j / 8] >> (j % 8)) & 1) != 0 ? d : -d;
    }
  });
}

void DequantizeQ2_0(const std::byte* blocks, std::span<float> out) {
  ForEachBlock<64, 18>(blocks, out, [](const uint8_t* b, float* y) {
    const float d = LoadHalf(b);
    for (int j = 0; j < 64; ++j) {
      y[j] = d * static_cast<float>(((b[2 + j / 4] >> (2 * (j % 4))) & 3) - 1);
    }
  });
}

}  // namespace tradewind::engine::internal
