#include "http/open_files.h"

#include <algorithm>
#include <limits>

#include <sys/resource.h>

#include "base/limits.h"

namespace tradewind::http {

int64_t RaiseOpenFilesMax() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return 1024;
  }
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) {
      limit = raised;
    }
  }
  constexpr auto kMax = static_cast<rlim_t>(std::numeric_limits<int32_t>::max());
  return static_cast<int64_t>(std::min(limit.rlim_cur, kMax));
}

int64_t ConnectionsFor(int64_t wanted, int64_t open_files_max) {
  constexpr int64_t kLeast = 16;
  return std::min(wanted, std::max(kLeast, (open_files_max - limits::kFilesReserved) / 2));
}

}  // namespace tradewind::http
