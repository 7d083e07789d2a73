// How activations enter the products with weights.
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::engine {

// Weights without a packed layout (F16, BF16, F32 and the rare block formats) always take f32.
enum class ActivationType : uint8_t {
  kF32,  // exact: weights are dequantised to f32; the slowest
  kI16,  // rounded to 1/65,534 of the largest of 32 values
  kI8,   // rounded to 1/254 of it, as llama.cpp does
};

constexpr std::string_view Name(ActivationType type) {
  return type == ActivationType::kF32 ? "f32" : type == ActivationType::kI16 ? "i16" : "i8";
}

}  // namespace tradewind::engine
