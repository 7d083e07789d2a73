#include "ledger/ledger_time.h"

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

TEST(LedgerTime, GoesOnWhileTheMachineSleeps) {
  const auto now = SystemClock().Now();
  EXPECT_GE(SystemClock().SinceBoot(), now);
}

}  // namespace
}  // namespace tradewind::ledger
