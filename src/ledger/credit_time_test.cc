#include "ledger/credit_time.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace tradewind::ledger {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

struct Watched {
  CreditTime time;
  FakeClock clock;

  Watched() { clock.SetWall(std::chrono::system_clock::time_point(seconds(1'764'072'000))); }
  int64_t Wall() const {
    return std::chrono::nanoseconds(clock.WallNow().time_since_epoch()).count();
  }
  std::optional<int64_t> Look() { return time.Look(Wall(), clock.Now()); }
  void Jump(std::chrono::nanoseconds by) {
    clock.SetWall(clock.WallNow() +
                  std::chrono::duration_cast<std::chrono::system_clock::duration>(by));
  }
  // Looks every second; whether it was always believed, or never.
  bool WasBelieved(std::chrono::nanoseconds during) {
    bool always = true;
    for (auto left = during; left > seconds(0); left -= seconds(1)) {
      clock.Advance(seconds(1));
      always = Look().has_value() && always;
    }
    return always;
  }
};

TEST(CreditTime, BelievesAClockThatItFindsAfterAWhile) {
  Watched at;
  EXPECT_EQ(at.Look(), std::nullopt);
  at.clock.Advance(CreditTime::kBelievedAfter - seconds(1));
  EXPECT_EQ(at.Look(), std::nullopt);
  at.clock.Advance(seconds(1));
  EXPECT_EQ(at.Look(), at.Wall());
  EXPECT_TRUE(at.WasBelieved(minutes(30)));
}

TEST(CreditTime, DoesNotBelieveAJumpAheadThatIsTakenBack) {
  Watched at;
  at.Look();
  at.clock.Advance(hours(1));
  const int64_t before = at.Look().value();
  at.Jump(hours(24));
  EXPECT_EQ(at.time.Now(at.Wall()), at.Wall()) << "what may be over pays for nothing";
  for (int i = 0; i < 60; ++i) {
    at.clock.Advance(seconds(1));
    EXPECT_EQ(at.Look(), std::nullopt);
  }
  at.Jump(-hours(24));
  EXPECT_EQ(at.Look(), at.Wall());
  EXPECT_EQ(at.time.Now(at.Wall()), before + minutes(1) / std::chrono::nanoseconds(1));
}

TEST(CreditTime, BelievesAJumpAheadThatStays) {
  Watched at;
  at.Look();
  at.clock.Advance(hours(1));
  at.Look();
  at.Jump(hours(24));
  EXPECT_FALSE(at.WasBelieved(CreditTime::kBelievedAfter));
  EXPECT_TRUE(at.WasBelieved(minutes(30)));
}

TEST(CreditTime, AnotherJumpIsAnotherDoubt) {
  Watched at;
  at.Look();
  at.clock.Advance(hours(1));
  at.Look();
  at.Jump(hours(24));
  at.Look();
  at.clock.Advance(CreditTime::kBelievedAfter - seconds(1));
  at.Jump(hours(24));
  EXPECT_EQ(at.Look(), std::nullopt);
  at.clock.Advance(seconds(30));
  EXPECT_EQ(at.Look(), std::nullopt);
}

TEST(CreditTime, SmallStepsAndDriftAreNoJump) {
  Watched at;
  at.Look();
  at.clock.Advance(hours(1));
  at.Look();
  at.Jump(CreditTime::kSlack);
  EXPECT_TRUE(at.Look().has_value());
  at.Jump(seconds(1));
  EXPECT_FALSE(at.Look().has_value()) << "many small ones are a large one";
}

TEST(CreditTime, AClockSetBackTakesNothingBack) {
  Watched at;
  at.Look();
  at.clock.Advance(hours(1));
  const int64_t believed = at.Look().value();
  at.Jump(-hours(48));
  EXPECT_EQ(at.Look(), believed);
  EXPECT_EQ(at.time.Now(at.Wall()), believed);
  at.Jump(hours(48));
  EXPECT_EQ(at.Look(), std::nullopt) << "ahead of what it is now";
}

}  // namespace
}  // namespace tradewind::ledger
