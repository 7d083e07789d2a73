// How much memory the machine has. What a container allows: engine/threads/cgroup.h.
#pragma once

#include <cstdint>
#include <optional>

namespace tradewind {

// Of the machine, as /proc/meminfo has it; nullopt when it cannot be read.
std::optional<int64_t> MemoryTotalBytes();
std::optional<int64_t> MemoryAvailableBytes();

}  // namespace tradewind
