#include "routing/rate_limit.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::minutes kWindow{1};
constexpr int kPieces = 30;
// When a running request ends is not known; a client that comes back after this neither hammers nor
// sleeps for long.
constexpr int64_t kConcurrencyRetryMs = 1'000;
constexpr int64_t kTokensMax = int64_t{1} << 40;  // of one request; a larger claim is nonsense
constexpr std::chrono::seconds kSweepPause{1};

std::string KeyOf(std::string_view kind, std::string_view id) {
  return fmt::format("{}\n{}", kind, id);
}

int64_t MsUp(std::chrono::nanoseconds time) {
  return (time.count() + 999'999) / 1'000'000;
}

std::string Whose(const RateSubject& subject) {
  return fmt::format("{} {}", subject.kind, subject.name);
}

RateLimitHit Hit(RateLimitKind which, const RateSubject& subject, int64_t limit,
                 std::optional<int64_t> retry_after_ms, std::string message) {
  return {.which = which,
          .subject_kind = std::string(subject.kind),
          .subject_name = std::string(subject.name),
          .limit = limit,
          .retry_after_ms = retry_after_ms,
          .message = std::move(message)};
}

std::string InSeconds(int64_t ms) {
  return fmt::format("{} s", (ms + 999) / 1'000);
}

}  // namespace

Error RateLimitHit::ToError() const {
  return {ErrorCode::kTooManyRequests, message + ".", {}, retry_after_ms};
}

RateLease& RateLease::operator=(RateLease&& other) noexcept {
  if (this != &other) {
    Release();
    limiter_ = std::exchange(other.limiter_, nullptr);
    parts_ = std::move(other.parts_);
  }
  return *this;
}

void RateLease::Settle(int64_t tokens) {
  if (limiter_ != nullptr) {
    limiter_->Settle(*this, tokens);
  }
}

void RateLease::Release() {
  if (RateLimiter* limiter = std::exchange(limiter_, nullptr); limiter != nullptr) {
    limiter->Release(*this);
  }
}

std::optional<RateLimitHit> RateLimiter::Check(const Entry* entry, const RateSubject& subject,
                                               int64_t tokens, TimePoint now) const {
  const RateLimits& limits = subject.limits;
  if (limits.concurrency.has_value()) {
    const int64_t running = entry == nullptr ? 0 : entry->running;
    if (running >= *limits.concurrency) {
      return Hit(RateLimitKind::kConcurrency, subject, *limits.concurrency, kConcurrencyRetryMs,
                 fmt::format("{}: {} requests at a time are running, as many as it may; wait for "
                             "one to end",
                             Whose(subject), *limits.concurrency));
    }
  }
  if (limits.requests_per_minute.has_value()) {
    const int64_t limit = *limits.requests_per_minute;
    if (limit <= 0) {
      return Hit(RateLimitKind::kRequests, subject, limit, {},
                 fmt::format("{}: its limit is 0 requests per minute", Whose(subject)));
    }
    const bool counted = entry != nullptr && entry->requests != nullptr;
    if (counted && entry->requests->Sum(now) >= limit) {
      const int64_t wait_ms = MsUp(entry->requests->UntilAtMost(now, limit - 1));
      return Hit(RateLimitKind::kRequests, subject, limit, wait_ms,
                 fmt::format("{}: its {} requests per minute are used up; the next one is possible "
                             "in {}",
                             Whose(subject), limit, InSeconds(wait_ms)));
    }
  }
  if (limits.tokens_per_minute.has_value()) {
    const int64_t limit = *limits.tokens_per_minute;
    if (limit <= 0) {
      return Hit(RateLimitKind::kTokens, subject, limit, {},
                 fmt::format("{}: its limit is 0 tokens per minute", Whose(subject)));
    }
    if (tokens > limit) {
      return Hit(RateLimitKind::kTokens, subject, limit, {},
                 fmt::format("{}: this request may use {} tokens, more than its limit of {} tokens "
                             "per minute; send a shorter prompt or a lower max_tokens",
                             Whose(subject), tokens, limit));
    }
    const bool counted = entry != nullptr && entry->tokens != nullptr;
    if (counted && entry->tokens->Sum(now) > limit - tokens) {
      const int64_t wait_ms = MsUp(entry->tokens->UntilAtMost(now, limit - tokens));
      return Hit(RateLimitKind::kTokens, subject, limit, wait_ms,
                 fmt::format("{}: its {} tokens per minute do not have the {} left that this "
                             "request may use; it is possible in {}",
                             Whose(subject), limit, tokens, InSeconds(wait_ms)));
    }
  }
  return {};
}

void RateLimiter::Count(const RateSubject& subject, std::string key, int64_t tokens, TimePoint now,
                        RateLease& lease) {
  Entry& entry = entries_[key];
  RateLease::Part part{.key = std::move(key)};
  if (subject.limits.requests_per_minute.has_value()) {
    if (entry.requests == nullptr) {
      entry.requests = std::make_unique<SlidingSum>(kWindow, kPieces);
    }
    entry.requests->Add(now, 1);
  }
  if (subject.limits.tokens_per_minute.has_value()) {
    if (entry.tokens == nullptr) {
      entry.tokens = std::make_unique<SlidingSum>(kWindow, kPieces);
    }
    part.piece = entry.tokens->Add(now, tokens);
    part.tokens = tokens;
    part.settles = true;
  }
  ++entry.running;
  lease.parts_.push_back(std::move(part));
}

std::expected<RateLease, RateLimitHit> RateLimiter::Acquire(std::span<const RateSubject> subjects,
                                                            int64_t tokens_estimate) {
  RateLease lease;
  if (std::ranges::none_of(subjects, [](const RateSubject& s) { return s.limits.any(); })) {
    return lease;
  }
  const int64_t tokens = std::clamp<int64_t>(tokens_estimate, 0, kTokensMax);
  const TimePoint now = clock_.Now();
  const std::scoped_lock lock(mutex_);
  size_t new_ones = 0;
  const RateSubject* new_one = nullptr;
  for (const RateSubject& subject : subjects) {
    if (!subject.limits.any()) {
      continue;
    }
    const auto found = entries_.find(KeyOf(subject.kind, subject.id));
    const Entry* entry = found == entries_.end() ? nullptr : &found->second;
    if (auto hit = Check(entry, subject, tokens, now); hit.has_value()) {
      return std::unexpected(std::move(*hit));
    }
    if (entry == nullptr) {
      ++new_ones;
      new_one = &subject;
    }
  }
  if (new_one != nullptr && !MakeRoom(new_ones, now)) {
    return std::unexpected(
        Hit(RateLimitKind::kSubjects, *new_one, static_cast<int64_t>(limits::kRateSubjectsMax),
            kConcurrencyRetryMs,
            fmt::format("{}: too many other keys with limits are active; try again soon",
                        Whose(*new_one))));
  }
  lease.limiter_ = this;
  for (const RateSubject& subject : subjects) {
    if (subject.limits.any()) {
      Count(subject, KeyOf(subject.kind, subject.id), tokens, now, lease);
    }
  }
  return lease;
}

void RateLimiter::Settle(RateLease& lease, int64_t tokens) {
  const TimePoint now = clock_.Now();
  const int64_t used = std::clamp<int64_t>(tokens, 0, kTokensMax);
  const std::scoped_lock lock(mutex_);
  for (RateLease::Part& part : lease.parts_) {
    if (!std::exchange(part.settles, false)) {
      continue;
    }
    SlidingSum& sum = *entries_.at(part.key).tokens;  // an entry with a running request stays
    const int64_t difference = used - part.tokens;
    if (!sum.AddTo(part.piece, now, difference) && difference > 0) {
      sum.Add(now, difference);  // a long answer: what came over the estimate came lately
    }
  }
}

void RateLimiter::Release(RateLease& lease) {
  const std::scoped_lock lock(mutex_);
  for (const RateLease::Part& part : lease.parts_) {
    --entries_.at(part.key).running;
  }
  lease.parts_.clear();
}

bool RateLimiter::MakeRoom(size_t needed, TimePoint now) {
  const bool crowded = entries_.size() + needed > std::min(sweep_at_, limits::kRateSubjectsMax);
  if (crowded && now >= next_sweep_) {
    std::erase_if(entries_, [&](const auto& item) { return item.second.Idle(now); });
    next_sweep_ = now + kSweepPause;
    // Sweeping costs as much as there are entries, so the next one waits until as many came again.
    sweep_at_ = std::max<size_t>(1024, 2 * entries_.size());
  }
  return entries_.size() + needed <= limits::kRateSubjectsMax;
}

RateLimiter::Use RateLimiter::UseOf(std::string_view kind, std::string_view id) const {
  const TimePoint now = clock_.Now();
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(KeyOf(kind, id));
  if (found == entries_.end()) {
    return {};
  }
  const Entry& entry = found->second;
  return {entry.requests ? entry.requests->Sum(now) : 0, entry.tokens ? entry.tokens->Sum(now) : 0,
          entry.running};
}

size_t RateLimiter::subjects() const {
  const std::scoped_lock lock(mutex_);
  return entries_.size();
}

}  // namespace tradewind::routing
