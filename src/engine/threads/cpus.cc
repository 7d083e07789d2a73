#include "engine/threads/cpus.h"

#include <algorithm>
#include <cmath>
#include <sched.h>
#include <thread>

#include "engine/threads/cgroup.h"

namespace tradewind::engine {
int AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = ::sched_getaffinity(0, sizeof(set), &set) == 0
                 ? CPU_COUNT(&set)
                 : static_cast<int>(std::thread::hardware_concurrency());
  if (const auto quota = ReadCgroupLimits().cpus) {
    cpus = std::min(cpus, static_cast<int>(std::ceil(*quota)));
  }
  return std::max(cpus, 1);
}

}  // namespace tradewind::engine
