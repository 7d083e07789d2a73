// How much memory this process may use.
#pragma once

#include <cstdint>
#include <optional>

namespace tradewind {

// Of the machine, as /proc/meminfo has it; nullopt when it cannot be read.
std::optional<int64_t> MemoryTotalBytes();
std::optional<int64_t> MemoryAvailableBytes();

// The limit of a container (cgroup v2, or v1); nullopt when there is none.
std::optional<int64_t> MemoryLimitBytes();

// The smaller of the machine's memory and the container's limit; nullopt when neither is known.
std::optional<int64_t> MemoryAllowedBytes();

}  // namespace tradewind
