#include "ledger/ledger_time.h"

#include <algorithm>

namespace tradewind::ledger {
namespace {

int64_t AheadOf(std::chrono::steady_clock::time_point clock, int64_t wall_ns) {
  return wall_ns - std::chrono::nanoseconds(clock.time_since_epoch()).count();
}

bool AreApart(int64_t a, int64_t b) {
  return std::max(a - b, b - a) > LedgerTime::kSlack.count();
}

}  // namespace

void LedgerTime::Look(int64_t wall_ns, std::chrono::steady_clock::time_point since_boot,
                      int64_t book_ns) {
  const int64_t ahead_ns = AheadOf(since_boot, wall_ns);
  // What is dated while a jump is doubted is within the slack.
  const bool was_behind =
      ahead_ns_.has_value() && AheadOf(since_boot, book_ns) - *ahead_ns_ > 2 * kSlack.count();
  if (!ahead_ns_.has_value() || (was_behind && ahead_ns > *ahead_ns_)) {
    ahead_ns_ = ahead_ns;
  }
  if (!AreApart(ahead_ns, *ahead_ns_)) {
    *ahead_ns_ += std::clamp(ahead_ns - *ahead_ns_, -kSlew.count(), kSlew.count());
    doubt_.reset();
    return;
  }
  if (!doubt_.has_value() || AreApart(ahead_ns, doubt_->ahead_ns)) {
    doubt_ = {ahead_ns, since_boot};  // one that moves again begins a doubt of its own
  }
  if (since_boot - doubt_->since >= kBelievedAfter) {
    ahead_ns_ = ahead_ns;
    doubt_.reset();
  }
}

int64_t LedgerTime::Now(int64_t wall_ns, std::chrono::steady_clock::time_point since_boot) const {
  if (!ahead_ns_.has_value()) {
    return wall_ns;
  }
  return wall_ns - std::max<int64_t>(0, AheadOf(since_boot, wall_ns) - *ahead_ns_ - kSlack.count());
}

std::optional<std::chrono::nanoseconds> LedgerTime::DoubtedAhead() const {
  if (!doubt_.has_value() || doubt_->ahead_ns < *ahead_ns_) {
    return std::nullopt;
  }
  return std::chrono::nanoseconds(doubt_->ahead_ns - *ahead_ns_);
}

}  // namespace tradewind::ledger
