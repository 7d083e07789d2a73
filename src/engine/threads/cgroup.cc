#include "engine/threads/cgroup.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/memory.h"

namespace tradewind::engine {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFileBytesMax = 64 << 10;

template <class T>
std::optional<T> ParseNumber(std::string_view text) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::string ReadOrEmpty(const fs::path& path) {
  return ReadFile(path, kFileBytesMax).value_or("");
}

template <class T>
void Narrow(std::optional<T>& limit, std::optional<T> other) {
  if (other && *other > 0 && (!limit || *other < *limit)) {
    limit = other;
  }
}

std::optional<double> Quotient(std::optional<double> quota, std::optional<double> period) {
  return quota && period && *period > 0 ? std::optional(*quota / *period) : std::nullopt;
}

// A file of v2 says "max" and one of v1 a huge number, or -1, where there is no limit.
void ReadFolder(const fs::path& folder, CgroupLimits& limits) {
  const std::string cpu_max = ReadOrEmpty(folder / "cpu.max");  // "150000 100000": quota, period
  const size_t space = std::min(cpu_max.find(' '), cpu_max.size());
  Narrow(limits.cpus, Quotient(ParseNumber<double>(cpu_max),
                               ParseNumber<double>(std::string_view(cpu_max).substr(
                                   std::min(space + 1, cpu_max.size())))));
  Narrow(limits.cpus, Quotient(ParseNumber<double>(ReadOrEmpty(folder / "cpu.cfs_quota_us")),
                               ParseNumber<double>(ReadOrEmpty(folder / "cpu.cfs_period_us"))));
  constexpr int64_t kNoLimit = int64_t{1} << 60;
  for (const char* name : {"memory.max", "memory.limit_in_bytes"}) {
    const auto bytes = ParseNumber<int64_t>(ReadOrEmpty(folder / name));
    Narrow(limits.memory_bytes, bytes && *bytes < kNoLimit ? bytes : std::nullopt);
  }
}

// `root` is where a hierarchy is mounted, `path` our place in it ("/user.slice/a"). A container may
// see the path of its host, of which only the root is there.
void ReadUpwards(const fs::path& root, std::string_view path, CgroupLimits& limits) {
  fs::path at = fs::path(path).relative_path().lexically_normal();
  constexpr int kDepthMax = 64;
  for (int i = 0; i < kDepthMax && !at.empty() && *at.begin() != ".."; ++i) {
    ReadFolder(root / at, limits);
    at = at.parent_path();
  }
  ReadFolder(root, limits);
}

}  // namespace

CgroupLimits ReadCgroupLimits(const fs::path& mount, const fs::path& membership) {
  CgroupLimits limits;
  const std::string text = ReadOrEmpty(membership);
  std::string_view rest = text;
  while (!rest.empty()) {  // "4:cpu,cpuacct:/a" in v1, "0::/a" in v2
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) {
      continue;
    }
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (controllers.empty()) {
      ReadUpwards(mount, path, limits);
    }
    while (!controllers.empty()) {
      const std::string_view controller = controllers.substr(0, controllers.find(','));
      controllers.remove_prefix(std::min(controller.size() + 1, controllers.size()));
      if (controller == "cpu" || controller == "memory") {
        ReadUpwards(mount / controller, path, limits);
      }
    }
  }
  return limits;
}

std::optional<int64_t> AllowedMemoryBytes() {
  const auto total = MemoryTotalBytes();
  const auto limit = ReadCgroupLimits().memory_bytes;
  return total && limit ? std::min(*total, *limit) : total ? total : limit;
}

}  // namespace tradewind::engine
