#include "ledger/credit_time.h"

#include <algorithm>

namespace tradewind::ledger {

std::optional<int64_t> CreditTime::Look(int64_t wall_ns,
                                        std::chrono::steady_clock::time_point steady) {
  const int64_t steady_ns = std::chrono::nanoseconds(steady.time_since_epoch()).count();
  const int64_t ahead_ns = wall_ns - steady_ns;
  if (!ahead_ns_.has_value() || ahead_ns - *ahead_ns_ > kSlack.count()) {
    // A wall clock that moves again begins a doubt of its own.
    if (!doubt_.has_value() ||
        std::max(ahead_ns - doubt_->ahead_ns, doubt_->ahead_ns - ahead_ns) > kSlack.count()) {
      doubt_ = {ahead_ns, steady};
    }
    if (steady - doubt_->since < kBelievedAfter) {
      return std::nullopt;
    }
    ahead_ns_ = ahead_ns;
  }
  doubt_.reset();
  ahead_ns_ = std::min(*ahead_ns_, ahead_ns);
  believed_ns_ = std::max(believed_ns_, wall_ns);
  return believed_ns_;
}

}  // namespace tradewind::ledger
