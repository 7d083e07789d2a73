#include "base/clock.h"

#include <ctime>

namespace tradewind {
namespace {

class RealClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override {
    return std::chrono::steady_clock::now();
  }
  std::chrono::system_clock::time_point WallNow() const override {
    return std::chrono::system_clock::now();
  }
  std::chrono::steady_clock::time_point SinceBoot() const override {
    timespec at{};
    clock_gettime(CLOCK_BOOTTIME, &at);
    return std::chrono::steady_clock::time_point(std::chrono::seconds(at.tv_sec) +
                                                 std::chrono::nanoseconds(at.tv_nsec));
  }
};

}  // namespace

const Clock& SystemClock() {
  static const RealClock clock;
  return clock;
}

}  // namespace tradewind
