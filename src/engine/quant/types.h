// Tensor element types of GGUF and their block layouts (docs/formats/gguf.md has them as a
// grammar).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tradewind::engine {

// The values are GGUF's (ggml_type). Ids 4, 5, 31-33 and 36-38 were removed from the format.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

struct TensorTypeTraits {
  TensorType type;
  std::string_view name;    // "Q4_K"
  uint32_t block_elements;  // elements in one block; rows are whole blocks
  uint32_t block_bytes;
};

// nullptr for an id that GGUF does not define. Static storage.
const TensorTypeTraits* FindTensorType(uint32_t id);
const TensorTypeTraits& TraitsOf(TensorType type);
std::span<const TensorTypeTraits> AllTensorTypes();

// Bytes of one row of `elements`; nullopt when `elements` is not a multiple of the block, or on
// overflow.
std::optional<uint64_t> RowBytes(TensorType type, uint64_t elements);

}  // namespace tradewind::engine
