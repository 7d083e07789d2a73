// Time comes in through a seam so that tests can turn it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tradewind {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::chrono::steady_clock::time_point Now() const = 0;      // for durations and deadlines
  virtual std::chrono::system_clock::time_point WallNow() const = 0;  // for timestamps only

  // As Now, and it goes on while the machine sleeps.
  virtual std::chrono::steady_clock::time_point SinceBoot() const { return Now(); }

  int64_t UnixMs() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(WallNow().time_since_epoch())
        .count();
  }
  int64_t UnixSeconds() const {
    return std::chrono::duration_cast<std::chrono::seconds>(WallNow().time_since_epoch()).count();
  }
};

// The real one; thread-safe, lives as long as the process.
const Clock& SystemClock();

// Turned by a test while threads of what is tested read it; one thread turns.
class FakeClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override { return now_.load(); }
  std::chrono::system_clock::time_point WallNow() const override { return wall_.load(); }
  void Advance(std::chrono::nanoseconds by) {
    now_ = now_.load() + by;
    wall_ = wall_.load() + std::chrono::duration_cast<std::chrono::system_clock::duration>(by);
  }
  // Both clocks go on until the wall clock says this.
  void PassTo(std::chrono::system_clock::time_point wall) { Advance(wall - WallNow()); }
  // The wall clock is set: the other one stays.
  void SetWall(std::chrono::system_clock::time_point wall) { wall_ = wall; }

 private:
  std::atomic<std::chrono::steady_clock::time_point> now_{};
  std::atomic<std::chrono::system_clock::time_point> wall_{};
};

inline double MsBetween(std::chrono::steady_clock::time_point from,
                        std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace tradewind
