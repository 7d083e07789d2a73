// Shared by the dequantize_*.cc files only: walking blocks, and one function per type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine::internal {

// Calls block(bytes, values) for each block of `kElements` values and `kBytes` bytes.
template <size_t kElements, size_t kBytes, class Block>
void ForEachBlock(const std::byte* blocks, std::span<float> out, Block block) {
  TW_DCHECK(out.size() % kElements == 0);
  const auto* bytes = reinterpret_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < out.size() / kElements; ++i) {
    block(bytes + i * kBytes, out.data() + i * kElements);
  }
}

inline float LoadHalf(const uint8_t* p) {
  return HalfToFloat(LoadLe<uint16_t>(p));
}
inline int Low(uint8_t byte) {
  return byte & 15;
}
inline int High(uint8_t byte) {
  return byte >> 4;
}

// The 16 levels of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// dequantize_simple.cc
void DequantizeF32(const std::byte* blocks, std::span<float> out);
void DequantizeF16(const std::byte* blocks, std::span<float> out);
void DequantizeBF16(const std::byte* blocks, std::span<float> out);
void DequantizeQ4_0(const std::byte* blocks, std::span<float> out);
void DequantizeQ4_1(const std::byte* blocks, std::span<float> out);
void DequantizeQ5_0(const std::byte* blocks, std::span<float> out);
void DequantizeQ5_1(const std::byte* blocks, std::span<float> out);
void DequantizeQ8_0(const std::byte* blocks, std::span<float> out);
void DequantizeQ8_1(const std::byte* blocks, std::span<float> out);
void DequantizeIQ4_NL(const std::byte* blocks, std::span<float> out);
void DequantizeMXFP4(const std::byte* blocks, std::span<float> out);
void DequantizeNVFP4(const std::byte* blocks, std::span<float> out);
void DequantizeTQ1_0(const std::byte* blocks, std::span<float> out);
void DequantizeTQ2_0(const std::byte* blocks, std::span<float> out);
void DequantizeQ1_0(const std::byte* blocks, std::span<float> out);
void DequantizeQ2_0(const std::byte* blocks, std::span<float> out);
// dequantize_k.cc
void DequantizeQ2_K(const std::byte* blocks, std::span<float> out);
void DequantizeQ3_K(const std::byte* blocks, std::span<float> out);
void DequantizeQ4_K(const std::byte* blocks, std::span<float> out);
void DequantizeQ5_K(const std::byte* blocks, std::span<float> out);
void DequantizeQ6_K(const std::byte* blocks, std::span<float> out);
void DequantizeQ8_K(const std::byte* blocks, std::span<float> out);
// dequantize_iq.cc
void DequantizeIQ1_S(const std::byte* blocks, std::span<float> out);
void DequantizeIQ1_M(const std::byte* blocks, std::span<float> out);
void DequantizeIQ2_XXS(const std::byte* blocks, std::span<float> out);
void DequantizeIQ2_XS(const std::byte* blocks, std::span<float> out);
void DequantizeIQ2_S(const std::byte* blocks, std::span<float> out);
void DequantizeIQ3_XXS(const std::byte* blocks, std::span<float> out);
void DequantizeIQ3_S(const std::byte* blocks, std::span<float> out);
void DequantizeIQ4_XS(const std::byte* blocks, std::span<float> out);

}  // namespace tradewind::engine::internal
