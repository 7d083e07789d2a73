#include "engine/quant/types.h"

#include <array>

#include "base/bytes.h"
#include "base/check.h"

namespace tradewind::engine {
namespace {

using enum TensorType;

constexpr std::array kTypes = {
    TensorTypeTraits{kF32, "F32", 1, 4},
    TensorTypeTraits{kF16, "F16", 1, 2},
    TensorTypeTraits{kQ4_0, "Q4_0", 32, 18},
    TensorTypeTraits{kQ4_1, "Q4_1", 32, 20},
    TensorTypeTraits{kQ5_0, "Q5_0", 32, 22},
    TensorTypeTraits{kQ5_1, "Q5_1", 32, 24},
    TensorTypeTraits{kQ8_0, "Q8_0", 32, 34},
    TensorTypeTraits{kQ8_1, "Q8_1", 32, 36},
    TensorTypeTraits{kQ2_K, "Q2_K", 256, 84},
    TensorTypeTraits{kQ3_K, "Q3_K", 256, 110},
    TensorTypeTraits{kQ4_K, "Q4_K", 256, 144},
    TensorTypeTraits{kQ5_K, "Q5_K", 256, 176},
    TensorTypeTraits{kQ6_K, "Q6_K", 256, 210},
    TensorTypeTraits{kQ8_K, "Q8_K", 256, 292},
    TensorTypeTraits{kIQ2_XXS, "IQ2_XXS", 256, 66},
    TensorTypeTraits{kIQ2_XS, "IQ2_XS", 256, 74},
    TensorTypeTraits{kIQ3_XXS, "IQ3_XXS", 256, 98},
    TensorTypeTraits{kIQ1_S, "IQ1_S", 256, 50},
    TensorTypeTraits{kIQ4_NL, "IQ4_NL", 32, 18},
    TensorTypeTraits{kIQ3_S, "IQ3_S", 256, 110},
    TensorTypeTraits{kIQ2_S, "IQ2_S", 256, 82},
    TensorTypeTraits{kIQ4_XS, "IQ4_XS", 256, 136},
    TensorTypeTraits{kI8, "I8", 1, 1},
    TensorTypeTraits{kI16, "I16", 1, 2},
    TensorTypeTraits{kI32, "I32", 1, 4},
    TensorTypeTraits{kI64, "I64", 1, 8},
    TensorTypeTraits{kF64, "F64", 1, 8},
    TensorTypeTraits{kIQ1_M, "IQ1_M", 256, 56},
    TensorTypeTraits{kBF16, "BF16", 1, 2},
    TensorTypeTraits{kTQ1_0, "TQ1_0", 256, 54},
    TensorTypeTraits{kTQ2_0, "TQ2_0", 256, 66},
    TensorTypeTraits{kMXFP4, "MXFP4", 32, 17},
    TensorTypeTraits{kNVFP4, "NVFP4", 64, 36},
    TensorTypeTraits{kQ1_0, "Q1_0", 128, 18},
    TensorTypeTraits{kQ2_0, "Q2_0", 64, 18},
};

constexpr uint32_t kIdsEnd = static_cast<uint32_t>(kQ2_0) + 1;
constexpr uint8_t kNone = 0xFF;

// id -> position in kTypes.
constexpr auto kPosition = [] {
  std::array<uint8_t, kIdsEnd> position{};
  position.fill(kNone);
  for (size_t i = 0; i < kTypes.size(); ++i) {
    position[static_cast<uint32_t>(kTypes[i].type)] = static_cast<uint8_t>(i);
  }
  return position;
}();

}  // namespace

const TensorTypeTraits* FindTensorType(uint32_t id) {
  return id < kIdsEnd && kPosition[id] != kNone ? &kTypes[kPosition[id]] : nullptr;
}

const TensorTypeTraits& TraitsOf(TensorType type) {
  const TensorTypeTraits* traits = FindTensorType(static_cast<uint32_t>(type));
  TW_CHECK(traits != nullptr);
  return *traits;
}

std::span<const TensorTypeTraits> AllTensorTypes() {
  return kTypes;
}

std::optional<uint64_t> RowBytes(TensorType type, uint64_t elements) {
  const TensorTypeTraits& traits = TraitsOf(type);
  uint64_t bytes = 0;
  if (elements % traits.block_elements != 0 ||
      !MultiplyChecked(elements / traits.block_elements, traits.block_bytes, bytes)) {
    return std::nullopt;
  }
  return bytes;
}

}  // namespace tradewind::engine
