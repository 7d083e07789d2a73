#include "routing/window.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tradewind::routing {

SlidingSum::SlidingSum(std::chrono::nanoseconds window, int buckets)
    : width_(window / buckets), amounts_(static_cast<size_t>(buckets) + 1) {
  TW_CHECK(width_.count() > 0);
}

int64_t SlidingSum::PieceOf(TimePoint now) const {
  const int64_t ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  const int64_t piece = ns / width_.count() - (ns % width_.count() < 0 ? 1 : 0);
  return std::max(piece, latest_);
}

int64_t& SlidingSum::At(int64_t piece) {
  const auto size = static_cast<int64_t>(amounts_.size());
  return amounts_[static_cast<size_t>(((piece % size) + size) % size)];
}

int64_t SlidingSum::At(int64_t piece) const {
  return const_cast<SlidingSum*>(this)->At(piece);
}

void SlidingSum::AdvanceTo(int64_t piece) {
  if (latest_ == INT64_MIN || piece - latest_ >= static_cast<int64_t>(amounts_.size())) {
    std::ranges::fill(amounts_, 0);
  } else {
    for (int64_t passed = latest_ + 1; passed <= piece; ++passed) {
      At(passed) = 0;
    }
  }
  latest_ = piece;
}

int64_t SlidingSum::Add(TimePoint now, int64_t amount) {
  AdvanceTo(PieceOf(now));
  At(latest_) += amount;
  return latest_;
}

bool SlidingSum::AddTo(int64_t piece, TimePoint now, int64_t amount) {
  AdvanceTo(PieceOf(now));
  if (!Holds(piece, latest_)) {
    return false;
  }
  At(piece) += amount;
  return true;
}

int64_t SlidingSum::Sum(TimePoint now) const {
  if (latest_ == INT64_MIN) {
    return 0;
  }
  const int64_t current = PieceOf(now);
  int64_t sum = 0;
  for (int64_t piece = latest_; Holds(piece, latest_) && Holds(piece, current); --piece) {
    sum += At(piece);
  }
  return sum;
}

std::chrono::nanoseconds SlidingSum::UntilAtMost(TimePoint now, int64_t target) const {
  int64_t sum = Sum(now);
  if (sum <= target) {
    return std::chrono::nanoseconds(0);
  }
  const int64_t current = PieceOf(now);
  const auto size = static_cast<int64_t>(amounts_.size());
  // The oldest leave first; once the newest has left, the sum is 0.
  for (int64_t piece = std::max(current, latest_) - size + 1; piece <= latest_; ++piece) {
    sum -= Holds(piece, latest_) && Holds(piece, current) ? At(piece) : 0;
    if (sum <= target || piece == latest_) {
      const TimePoint leaves{std::chrono::duration_cast<TimePoint::duration>(
          std::chrono::nanoseconds((piece + size) * width_.count()))};
      return std::max(std::chrono::nanoseconds(1), std::chrono::nanoseconds(leaves - now));
    }
  }
  return std::chrono::nanoseconds(1);
}

void SlidingSum::Clear() {
  std::ranges::fill(amounts_, 0);
  latest_ = INT64_MIN;
}

void DecayingMean::Add(TimePoint now, double sample) {
  if (!std::isfinite(sample)) {
    return;
  }
  if (at_.has_value() && now > *at_) {
    const double halvings = std::chrono::duration<double>(now - *at_).count() /
                            std::chrono::duration<double>(half_life_).count();
    const double kept = std::exp2(-std::min(halvings, 60.0));
    sum_ *= kept;
    weight_ *= kept;
  }
  at_ = at_.has_value() ? std::max(*at_, now) : now;
  sum_ += sample;
  weight_ += 1;
}

std::optional<double> DecayingMean::value() const {
  return at_.has_value() ? std::optional(sum_ / weight_) : std::nullopt;
}

void DecayingMean::Clear() {
  sum_ = 0;
  weight_ = 0;
  at_.reset();
}

void RecentSamples::Add(double sample) {
  samples_[count_ % samples_.size()] = static_cast<float>(sample);
  ++count_;
}

std::optional<double> RecentSamples::Percentile(double share) const {
  if (count_ < kLeast) {
    return std::nullopt;
  }
  std::array<float, 64> sorted = samples_;
  const size_t size = std::min(count_, sorted.size());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(size)));
  const size_t at = std::clamp<size_t>(rank, 1, size) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + at, sorted.begin() + size);
  return sorted[at];
}

}  // namespace tradewind::routing
