#include "base/memory.h"

#include <fstream>
#include <string>
#include <string_view>

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

}  // namespace tradewind
