// What a container or a service manager lets this process use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace tradewind::engine {

struct CgroupLimits {
  std::optional<double> cpus;           // CPU time per time: 1.5 = one and a half CPUs
  std::optional<int64_t> memory_bytes;  // resident and page cache together
};

// The narrowest limits of our cgroup and those around it (v2, or v1), as far as they can be seen
// from here; in a container the outermost seen is the container's own. Never fails: what cannot be
// read is no limit. Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
CgroupLimits ReadCgroupLimits(const std::filesystem::path& mount = "/sys/fs/cgroup",
                              const std::filesystem::path& membership = "/proc/self/cgroup");

// The smaller of the machine's memory and the cgroup's limit; nullopt when neither can be read.
std::optional<int64_t> AllowedMemoryBytes();

}  // namespace tradewind::engine
