#include "engine/threads/cpus.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <sched.h>
#include <string>
#include <string_view>
#include <thread>

#include "base/file.h"

namespace tradewind::engine {
namespace {

std::optional<double> ParseNumber(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::string ReadOrEmpty(const char* path) {
  return ReadFile(path, 4096).value_or("");
}

// The quota of our own cgroup as the container sees it (mounted at the root of the hierarchy).
std::optional<double> CgroupQuotaCpus() {
  const std::string v2 = ReadOrEmpty("/sys/fs/cgroup/cpu.max");  // "200000 100000" or "max 100000"
  const size_t space = v2.find(' ');
  if (space != std::string::npos) {
    const auto quota = ParseNumber(std::string_view(v2).substr(0, space));
    const auto period = ParseNumber(std::string_view(v2).substr(space + 1));
    return quota && period && *period > 0 ? std::optional(*quota / *period) : std::nullopt;
  }
  const auto quota = ParseNumber(ReadOrEmpty("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
  const auto period = ParseNumber(ReadOrEmpty("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return quota && *quota > 0 && period && *period > 0 ? std::optional(*quota / *period)
                                                      : std::nullopt;
}

}  // namespace

int AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = ::sched_getaffinity(0, sizeof(set), &set) == 0
                 ? CPU_COUNT(&set)
                 : static_cast<int>(std::thread::hardware_concurrency());
  if (const auto quota = CgroupQuotaCpus()) {
    cpus = std::min(cpus, static_cast<int>(std::ceil(*quota)));
  }
  return std::max(cpus, 1);
}

}  // namespace tradewind::engine
