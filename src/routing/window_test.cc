#include "routing/window.h"

#include <cmath>
#include <deque>
#include <limits>

#include <gtest/gtest.h>

#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(SlidingSum, CountsWhatIsYoungAndForgetsWhatIsOld) {
  SlidingSum sum(seconds(10), 10);
  const TimePoint start{seconds(100)};
  EXPECT_EQ(sum.Sum(start), 0);
  sum.Add(start, 5);
  sum.Add(start + seconds(4), 2);
  EXPECT_EQ(sum.Sum(start + seconds(4)), 7);
  EXPECT_EQ(sum.Sum(start + seconds(10)), 7) << "forgets nothing that is 10 s old";
  EXPECT_EQ(sum.Sum(start + seconds(11)), 2);
  EXPECT_EQ(sum.Sum(start + seconds(15)), 0);
  sum.Add(start + seconds(500), 1);
  EXPECT_EQ(sum.Sum(start + seconds(500)), 1) << "a long pause leaves nothing behind";
}

TEST(SlidingSum, TakesTimeThatStepsBackAsTheLatest) {
  SlidingSum sum(seconds(10), 10);
  const TimePoint start{seconds(100)};
  sum.Add(start, 1);
  sum.Add(start - seconds(60), 1);
  EXPECT_EQ(sum.Sum(start), 2);
  EXPECT_EQ(sum.Sum(start - seconds(60)), 2);
}

TEST(SlidingSum, CorrectsAPieceWhileItIsInTheWindow) {
  SlidingSum sum(seconds(10), 10);
  const TimePoint start{seconds(100)};
  const int64_t piece = sum.Add(start, 50);
  EXPECT_TRUE(sum.AddTo(piece, start + seconds(3), -20));
  EXPECT_EQ(sum.Sum(start + seconds(3)), 30);
  EXPECT_FALSE(sum.AddTo(piece, start + seconds(60), -20));
  EXPECT_EQ(sum.Sum(start + seconds(60)), 0);
}

// The twin keeps every amount with its time.
TEST(SlidingSum, NeverCountsLessThanTheWindowNorMoreThanAPieceAboveIt) {
  SeededRandom random(7);
  for (int round = 0; round < 200; ++round) {
    const int buckets = 1 + static_cast<int>(random.Below(40));
    const auto width = milliseconds(1 + random.Below(3'000));
    const nanoseconds window = width * buckets;
    SlidingSum sum(window, buckets);
    std::deque<std::pair<TimePoint, int64_t>> all;
    TimePoint now{seconds(random.Below(1'000'000) - 500'000)};
    for (int step = 0; step < 200; ++step) {
      now += nanoseconds(random.Below(window.count() / 10 + 1) * (random.Chance(3) ? 30 : 1));
      const int64_t amount = random.Below(100);
      sum.Add(now, amount);
      all.emplace_back(now, amount);
      int64_t least = 0;
      int64_t most = 0;
      for (const auto& [at, added] : all) {
        least += now - at < window ? added : 0;
        most += now - at < window + width ? added : 0;
      }
      ASSERT_GE(sum.Sum(now), least);
      ASSERT_LE(sum.Sum(now), most);
      const int64_t target = random.Below(sum.Sum(now) + 1);
      const nanoseconds wait = sum.UntilAtMost(now, target);
      ASSERT_LE(sum.Sum(now + wait), target) << "after the wait it fits";
      if (wait.count() > 0) {
        ASSERT_GT(sum.Sum(now + wait - nanoseconds(1)), target) << "and not a moment before";
      }
    }
  }
}

TEST(DecayingMean, WeighsASampleHalfAsMuchPerHalfLife) {
  DecayingMean mean(seconds(10));
  EXPECT_FALSE(mean.value().has_value());
  const TimePoint start{seconds(50)};
  mean.Add(start, 100);
  EXPECT_DOUBLE_EQ(*mean.value(), 100) << "the first sample is the mean: no bias to zero";
  mean.Add(start + seconds(10), 400);
  EXPECT_DOUBLE_EQ(*mean.value(), (0.5 * 100 + 400) / 1.5);
  mean.Add(start + seconds(10'000), 7);
  EXPECT_NEAR(*mean.value(), 7, 1e-12);
}

TEST(DecayingMean, IgnoresWhatIsNotANumber) {
  DecayingMean mean(seconds(10));
  mean.Add(TimePoint{}, std::numeric_limits<double>::quiet_NaN());
  mean.Add(TimePoint{}, std::numeric_limits<double>::infinity());
  EXPECT_FALSE(mean.value().has_value());
  mean.Add(TimePoint{}, 3);
  mean.Add(TimePoint{} - seconds(99), 5);
  EXPECT_DOUBLE_EQ(*mean.value(), 4) << "time that steps back does not make old samples heavier";
}

TEST(RecentSamples, GiveAPercentileOfTheLastOnesOnceThereAreEnough) {
  RecentSamples samples;
  for (size_t i = 1; i < RecentSamples::kLeast; ++i) {
    samples.Add(static_cast<double>(i));
    EXPECT_EQ(samples.Percentile(0.95), std::nullopt);
  }
  samples.Add(20);
  EXPECT_EQ(samples.Percentile(0.95), 19);
  EXPECT_EQ(samples.Percentile(1), 20);
  EXPECT_EQ(samples.Percentile(0), 1);
  for (int i = 0; i < 64; ++i) {
    samples.Add(7);
  }
  EXPECT_EQ(samples.Percentile(0.95), 7) << "the old ones are forgotten";
  samples.Clear();
  EXPECT_EQ(samples.Percentile(0.95), std::nullopt);
}

}  // namespace
}  // namespace tradewind::routing
