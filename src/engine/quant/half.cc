#include <bit>

#include "engine/quant/dequantize.h"

namespace tradewind::engine {
namespace {

// binary16 has 10 fraction bits and bias 15, binary32 23 and 127.
constexpr int kFractionShift = 13;
constexpr uint32_t kRebias = (127 - 15) << 10;  // in units of a half's lowest exponent bit
constexpr uint32_t kHalfInfinity = 0x7C00;
constexpr uint32_t kFloatInfinity = 0x7F800000;

}  // namespace

float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7FFFu;
  uint32_t bits;
  if (magnitude >= kHalfInfinity) {
    bits = kFloatInfinity | (magnitude & 0x3FFu) << kFractionShift;
  } else if (magnitude >= 0x0400) {
    bits = (magnitude + kRebias) << kFractionShift;
  } else {
    bits = std::bit_cast<uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);  // denormal: exact
  }
  return std::bit_cast<float>(sign | bits);
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (magnitude > kFloatInfinity) {
    half = kHalfInfinity | 0x0200u | ((magnitude >> kFractionShift) & 0x3FFu);  // a quiet NaN
  } else if (magnitude >= 0x477FF000u) {  // 65520 and above round away from 65504
    half = kHalfInfinity;
  } else if (magnitude >= 0x38800000u) {  // 2^-14, the smallest normal half
    const uint32_t to_even = 0xFFFu + ((magnitude >> kFractionShift) & 1u);
    half = ((magnitude + to_even) >> kFractionShift) - kRebias;
  } else {
    // One unit in the last place of 0.5f is 2^-24, a denormal half's step: the addition rounds for
    // us.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace tradewind::engine
