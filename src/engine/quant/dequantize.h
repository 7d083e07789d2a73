// Block formats -> float, one obvious scalar loop per type: the oracle for every faster path.
// Source: the block tables of docs/formats/gguf.md; checked bit for bit against reference blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/quant/types.h"

namespace tradewind::engine {

// blocks: RowBytes(type, out.size()) bytes, any alignment; out.size() is a multiple of the type's
// block.
using DequantizeFn = void (*)(const std::byte* blocks, std::span<float> out);

// The scalar function of a type; nullptr for I8..I64 and F64, which are not weights.
DequantizeFn ScalarDequantizer(TensorType type);

float HalfToFloat(uint16_t half);   // IEEE 754 binary16, NaN and denormals included
uint16_t FloatToHalf(float value);  // round to nearest even; overflow becomes infinity
inline float Bfloat16ToFloat(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}

}  // namespace tradewind::engine
