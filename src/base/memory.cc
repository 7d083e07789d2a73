#include "base/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <string_view>

#include "base/file.h"

namespace tradewind {
namespace {

// A number of bytes of /proc/meminfo ("MemAvailable:"), which counts in kB.
std::optional<int64_t> MemInfo(std::string_view key) {
  std::ifstream in("/proc/meminfo");
  std::string name;
  int64_t kilobytes = 0;
  while (in >> name >> kilobytes) {
    if (name == key) {
      return kilobytes * 1024;
    }
    in.ignore(64, '\n');
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> MemoryTotalBytes() {
  return MemInfo("MemTotal:");
}
std::optional<int64_t> MemoryAvailableBytes() {
  return MemInfo("MemAvailable:");
}

std::optional<int64_t> MemoryLimitBytes() {
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const std::string text = ReadFile(path, 64).value_or("");
    int64_t limit = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), limit).ec == std::errc() &&
        limit < (int64_t{1} << 60)) {
      return limit;
    }
  }
  return std::nullopt;
}

std::optional<int64_t> MemoryAllowedBytes() {
  const auto total = MemoryTotalBytes();
  const auto limit = MemoryLimitBytes();
  return total && limit ? std::min(*total, *limit) : total ? total : limit;
}

}  // namespace tradewind
