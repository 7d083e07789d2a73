// Element type of the KV cache.
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::engine {

enum class KvType : uint8_t {
  kF16,
  kF32,
  kQ8_0,  // a byte, and an f16 scale for 32 dims of a position
};

constexpr std::string_view Name(KvType type) {
  return type == KvType::kF16 ? "f16" : type == KvType::kF32 ? "f32" : "q8_0";
}

}  // namespace tradewind::engine
