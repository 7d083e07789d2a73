// Element type of the KV cache.
#pragma once

#include <cstdint>

namespace tradewind::engine {

enum class KvType : uint8_t { kF16, kF32 };

}  // namespace tradewind::engine
