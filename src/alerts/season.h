// Whether what a series costs is unusual for its time of the week: a robust seasonal CUSUM over
// five-minute buckets. Pure functions over numbers; statistics may use doubles, money does not.
//
// Each bucket's square root of its cost is compared with the median of the same time of the week
// (half an hour to each side) of up to four weeks before; z, how many scales it lies above, is
// summed up with a drift. Sources: Page 1954 (CUSUM); Rousseeuw and Croux 1993 (median absolute
// deviation).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tradewind::alerts {

inline constexpr int64_t kBucketS = 300;
inline constexpr int64_t kBucketsPerDay = 86'400 / kBucketS;
inline constexpr int64_t kBucketsPerWeek = 7 * kBucketsPerDay;
inline constexpr int64_t kSeasonWeeks = 4;
inline constexpr int64_t kSeasonSide = 6;  // buckets before and after: half an hour
// Fewer of them say nothing: two weeks have to be known.
inline constexpr size_t kSeasonSamplesMin = 26;

// What is usual at a time of the week, in square roots of USD.
struct Usual {
  double median = 0, scale = 0;
};
// Of the roots of the buckets around that time in earlier weeks; at least one.
Usual UsualOf(std::vector<double> roots);

// What is carried from bucket to bucket.
struct SeasonState {
  double score = 0;       // the sum; 0: all is as usual
  int64_t high_runs = 0;  // buckets in a row that were far above
  double excess_usd = 0;  // beyond the usual, since the score last was 0
};

// Takes one bucket in. True: it is unusual, by its height and by its money; then the state begins
// anew. `usual_day_usd` is what a whole day costs usually.
bool StepSeason(const Usual& usual, double cost_usd, double usual_day_usd, SeasonState& state);

}  // namespace tradewind::alerts
