// Two small summaries of what happened lately: a sum over a sliding window and a mean that forgets.
// Not thread-safe; their owners lock. Time given to them may step back by a little (threads read
// the clock before they lock): it is then taken to be the latest time seen.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace tradewind::routing {

using TimePoint = std::chrono::steady_clock::time_point;

// The sum of amounts of the last `window`, kept in `buckets` + 1 pieces. It never forgets early: a
// piece counts until all of it is older than the window, so a sum is over at most window x (1 + 1 /
// buckets).
class SlidingSum {
 public:
  SlidingSum(std::chrono::nanoseconds window, int buckets);

  // Returns the piece it went into, for AddTo.
  int64_t Add(TimePoint now, int64_t amount);
  // Corrects an earlier piece; false, and nothing changes, when the window has left it behind.
  bool AddTo(int64_t piece, TimePoint now, int64_t amount);
  int64_t Sum(TimePoint now) const;
  // How long until the sum is at most `target` if nothing is added; 0 when it is already.
  // `target` >= 0.
  std::chrono::nanoseconds UntilAtMost(TimePoint now, int64_t target) const;
  void Clear();

 private:
  int64_t PieceOf(TimePoint now) const;
  bool Holds(int64_t piece, int64_t latest) const {
    return piece <= latest && piece > latest - static_cast<int64_t>(amounts_.size());
  }
  int64_t& At(int64_t piece);
  int64_t At(int64_t piece) const;
  void AdvanceTo(int64_t piece);

  std::chrono::nanoseconds width_;
  std::vector<int64_t> amounts_;  // of piece p at p mod size
  int64_t latest_ = INT64_MIN;    // newest piece; INT64_MIN before the first
};

// The mean of samples, each weighing half as much per half-life of age. Unbiased from the first
// sample on; keeps its value when samples stop.
class DecayingMean {
 public:
  explicit DecayingMean(std::chrono::nanoseconds half_life) : half_life_(half_life) {}

  void Add(TimePoint now, double sample);  // ignores what is not finite
  std::optional<double> value() const;     // nothing before the first sample
  std::optional<TimePoint> measured_at() const { return at_; }
  void Clear();

 private:
  std::chrono::nanoseconds half_life_;
  double sum_ = 0;
  double weight_ = 0;
  std::optional<TimePoint> at_;
};

// The last samples, for a percentile of them.
class RecentSamples {
 public:
  void Add(double sample);
  // The smallest sample that `share` of them do not exceed; nothing before kLeast samples.
  std::optional<double> Percentile(double share) const;
  void Clear() { count_ = 0; }

  static constexpr size_t kLeast = 20;

 private:
  std::array<float, 64> samples_{};
  size_t count_ = 0;  // ever added
};

}  // namespace tradewind::routing
