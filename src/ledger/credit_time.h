// The time by which credits expire. What expires is gone for good, so it goes by two clocks: a wall
// clock that jumps ahead, as after a start with a dead battery, has to stay there for a while.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace tradewind::ledger {

// One thread at a time.
class CreditTime {
 public:
  // The wall clock may be ahead of the steady one by so much more than it was.
  static constexpr std::chrono::nanoseconds kSlack = std::chrono::minutes(1);
  // What is further ahead, and what a process finds when it starts, is believed after so long.
  static constexpr std::chrono::nanoseconds kBelievedAfter = std::chrono::minutes(10);

  // Looks at both clocks: at the start, and every second. The time at which credits are over for
  // good; nullopt while the wall clock is in doubt.
  std::optional<int64_t> Look(int64_t wall_ns, std::chrono::steady_clock::time_point steady);

  // By which holds are decided: the wall clock's, but never before what was believed already. So a
  // credit that may be over pays for nothing, and pays again when the wall clock is set right.
  int64_t Now(int64_t wall_ns) const { return wall_ns > believed_ns_ ? wall_ns : believed_ns_; }

 private:
  struct Doubt {
    int64_t ahead_ns = 0;  // of the steady clock
    std::chrono::steady_clock::time_point since;
  };

  std::optional<int64_t> ahead_ns_;  // the wall clock of the steady one, as it was last believed
  std::optional<Doubt> doubt_;
  int64_t believed_ns_ = INT64_MIN;
};

}  // namespace tradewind::ledger
