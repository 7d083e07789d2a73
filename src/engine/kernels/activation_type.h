// How activations enter the products with weights.
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::engine {

// Weights without a packed layout (F16, BF16, F32 and the rare block formats) always take f32.
enum class ActivationType : uint8_t {
  kF32,    // exact: weights are dequantised to f32; the slowest
  kI16,    // rounded to 1/65,534 of the largest of 32 values
  kMixed,  // like kI8, but outliers do not widen the steps of their 32: they get two bytes
  kI8,     // rounded to 1/254 of the largest of 32 values, as llama.cpp does
};

constexpr std::string_view Name(ActivationType type) {
  switch (type) {
    case ActivationType::kF32:
      return "f32";
    case ActivationType::kI16:
      return "i16";
    case ActivationType::kMixed:
      return "mixed";
    case ActivationType::kI8:
      return "i8";
  }
  return "";
}

}  // namespace tradewind::engine
