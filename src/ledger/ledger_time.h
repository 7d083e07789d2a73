// The time by which requests are dated and windows of budgets begin. It never goes back, so a wall
// clock that is wrong for a second would date all that comes until it is past that again: it is
// followed as far as a clock says that no one sets.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace tradewind::ledger {

// One thread at a time.
class LedgerTime {
 public:
  // The wall clock may run away from the other one by so much.
  static constexpr std::chrono::nanoseconds kSlack = std::chrono::minutes(1);
  // What is further away is believed after so long.
  static constexpr std::chrono::nanoseconds kBelievedAfter = std::chrono::minutes(10);

  // A wall clock that is put right little by little is followed by so much in a second.
  static constexpr std::chrono::nanoseconds kSlew = std::chrono::milliseconds(16);

  // Looks at both clocks: at the start, where the wall one is believed, and every second. One that
  // was behind what is in the books (`book_ns`) was wrong, and is believed at once when it is set.
  void Look(int64_t wall_ns, std::chrono::steady_clock::time_point since_boot,
            int64_t book_ns = INT64_MIN / 2);

  // The wall clock's time, but at most kSlack more than what it was believed to be.
  int64_t Now(int64_t wall_ns, std::chrono::steady_clock::time_point since_boot) const;

  // By how much it is ahead of what is believed, where that is more than kSlack.
  std::optional<std::chrono::nanoseconds> DoubtedAhead() const;

 private:
  struct Doubt {
    int64_t ahead_ns = 0;
    std::chrono::steady_clock::time_point since;
  };

  std::optional<int64_t> ahead_ns_;  // of the other clock, as it was last believed
  std::optional<Doubt> doubt_;
};

}  // namespace tradewind::ledger
