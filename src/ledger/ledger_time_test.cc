#include "ledger/ledger_time.h"

#include <ctime>

#include <gtest/gtest.h>

#include "base/clock.h"

namespace tradewind::ledger {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

struct Watched {
  LedgerTime time;
  FakeClock clock;

  Watched() {
    clock.SetWall(std::chrono::system_clock::time_point(seconds(1'764'072'000)));
    Look();
  }
  int64_t Wall() const {
    return std::chrono::nanoseconds(clock.WallNow().time_since_epoch()).count();
  }
  void Look() { time.Look(Wall(), clock.Now()); }
  // How far the wall clock is ahead of what is taken.
  std::chrono::nanoseconds CutOff() const {
    return std::chrono::nanoseconds(Wall() - time.Now(Wall(), clock.Now()));
  }
  void Jump(std::chrono::seconds by) { clock.SetWall(clock.WallNow() + by); }
  void Pass(std::chrono::nanoseconds during) {
    for (auto left = during; left.count() > 0; left -= seconds(1)) {
      clock.Advance(seconds(1));
      Look();
    }
  }
};

TEST(LedgerTime, IsTheWallClocksFromTheStart) {
  Watched at;
  EXPECT_EQ(at.CutOff(), seconds(0));
  at.Pass(hours(1));
  EXPECT_EQ(at.CutOff(), seconds(0));
  EXPECT_EQ(LedgerTime().Now(5, at.clock.Now()), 5) << "before it has looked";
}

TEST(LedgerTime, FollowsAJumpAheadAMinuteAndNoFurther) {
  Watched at;
  at.Jump(hours(24));
  EXPECT_EQ(at.CutOff(), hours(24) - LedgerTime::kSlack) << "at once, before anybody looks";
  at.Pass(LedgerTime::kBelievedAfter - seconds(1));
  EXPECT_EQ(at.CutOff(), hours(24) - LedgerTime::kSlack);
  EXPECT_EQ(at.time.DoubtedAhead(), hours(24));
  at.Pass(seconds(2));
  EXPECT_EQ(at.CutOff(), seconds(0)) << "one that stays is believed";
  EXPECT_EQ(at.time.DoubtedAhead(), std::nullopt);
}

TEST(LedgerTime, AnotherJumpIsAnotherDoubt) {
  Watched at;
  at.Jump(hours(24));
  at.Pass(LedgerTime::kBelievedAfter - seconds(1));
  at.Jump(hours(24));
  at.Pass(LedgerTime::kBelievedAfter - seconds(1));
  EXPECT_EQ(at.CutOff(), hours(48) - LedgerTime::kSlack);
}

TEST(LedgerTime, AJumpBackIsFollowedAndItsEndTooWithinTenMinutes) {
  Watched at;
  at.Jump(-hours(2));
  at.Pass(minutes(5));
  EXPECT_EQ(at.CutOff(), seconds(0));
  EXPECT_EQ(at.time.DoubtedAhead(), std::nullopt);
  at.Jump(hours(2));
  EXPECT_EQ(at.CutOff(), seconds(0)) << "where it was";
  at.Jump(-hours(2));
  at.Pass(LedgerTime::kBelievedAfter + seconds(1));
  at.Jump(hours(2));
  EXPECT_EQ(at.CutOff(), hours(2) - LedgerTime::kSlack) << "a jump ahead of what is believed now";
}

TEST(LedgerTime, BelievesAtOnceAClockThatWasBehindTheBooksAndIsSetRight) {
  Watched at;
  const int64_t book_ns = at.Wall() + std::chrono::nanoseconds(hours(24)).count();
  at.Jump(hours(25));
  at.time.Look(at.Wall(), at.clock.Now(), book_ns);
  EXPECT_EQ(at.CutOff(), seconds(0));

  at.Jump(hours(24));  // and what is dated meanwhile is no reason to believe this one
  const auto dated = std::chrono::nanoseconds(at.Wall()) - hours(24) + LedgerTime::kSlack;
  at.time.Look(at.Wall(), at.clock.Now(), dated.count());
  EXPECT_EQ(at.CutOff(), hours(24) - LedgerTime::kSlack);
}

TEST(LedgerTime, FollowsAClockThatIsPutRightEveryNight) {
  Watched at;
  for (int night = 0; night < 40; ++night) {
    at.Jump(seconds(3));
    at.Pass(minutes(10));
    EXPECT_EQ(at.time.DoubtedAhead(), std::nullopt) << night;
  }
  EXPECT_EQ(at.CutOff(), seconds(0));
}

TEST(LedgerTime, GoesByAClockThatCountsTheSleepOfTheMachine) {
  const auto read = [] {
    timespec at{};
    clock_gettime(CLOCK_BOOTTIME, &at);
    return std::chrono::seconds(at.tv_sec) + std::chrono::nanoseconds(at.tv_nsec);
  };
  const auto before = read();
  const auto seen = SystemClock().SinceBoot().time_since_epoch();
  EXPECT_TRUE(before <= seen && seen <= read());
}

}  // namespace
}  // namespace tradewind::ledger
