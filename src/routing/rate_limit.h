// Limits per key and org: requests per minute, tokens per minute, requests at a time. A minute is
// sliding: never more than the limit in any 60 seconds (counted in pieces of 2 s, so that what was
// used comes back between 60 and 62 s later).
//
//   auto lease = limiter.Acquire(subjects, tokens_estimate);    // all subjects, or none
//   if (!lease) ... lease.error().message, .retry_after_ms      // whose limit, which, and when
//   lease->Settle(tokens_used);                                 // the estimate becomes the actual
//   // destroying the lease ends the request
//
// Only subjects with a limit are remembered, and those that are idle are forgotten.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "routing/window.h"

namespace tradewind::routing {

// Absent: no such limit. A limit of 0 lets nothing through.
struct RateLimits {
  std::optional<int64_t> requests_per_minute = {};
  std::optional<int64_t> tokens_per_minute = {};
  std::optional<int64_t> concurrency = {};

  bool any() const { return requests_per_minute || tokens_per_minute || concurrency; }
};

// Who is limited. The limits come along each time, so that a change counts at once.
struct RateSubject {
  std::string_view kind;  // "key", "org": for people
  std::string_view id;    // unique within the kind
  std::string_view name;  // for people: "laptop"
  RateLimits limits;
};

enum class RateLimitKind { kRequests, kTokens, kConcurrency, kSubjects };

struct RateLimitHit {
  RateLimitKind which = RateLimitKind::kRequests;
  std::string subject_kind;  // whose
  std::string subject_name;
  int64_t limit = 0;
  // When to come back; nothing when that would not help: the request alone is over the limit.
  std::optional<int64_t> retry_after_ms = {};
  // "key laptop: 60 requests per minute are used up; the next one is possible in 3 s"
  std::string message;

  Error ToError() const;  // kTooManyRequests
};

class RateLimiter;

// One request under its limits. Movable; ends when destroyed. Any thread, one at a time. Must not
// outlive its limiter.
class RateLease {
 public:
  RateLease() = default;  // of nobody
  RateLease(RateLease&& other) noexcept
      : limiter_(std::exchange(other.limiter_, nullptr)), parts_(std::move(other.parts_)) {}
  RateLease& operator=(RateLease&& other) noexcept;
  ~RateLease() { Release(); }

  // The tokens that were really used, in all: the difference to the estimate is given back or
  // taken, the latter even over the limit (they are spent). Once; without it the estimate stays
  // counted.
  void Settle(int64_t tokens);
  // Ends the request now.
  void Release();

 private:
  friend class RateLimiter;
  struct Part {
    std::string key;
    int64_t tokens = 0;  // reserved
    int64_t piece = 0;   // of the window they were reserved in
    bool settles = false;
  };
  RateLimiter* limiter_ = nullptr;
  std::vector<Part> parts_;
};

// Thread-safe: one lock, held for a few operations per subject.
class RateLimiter {
 public:
  explicit RateLimiter(const Clock& clock) : clock_(clock) {}
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;

  // `tokens_estimate` >= 0: what the request may use at most or is expected to use; matters only
  // where a token limit is set. Nothing is counted when any subject refuses.
  std::expected<RateLease, RateLimitHit> Acquire(std::span<const RateSubject> subjects,
                                                 int64_t tokens_estimate);

  struct Use {
    int64_t requests = 0;  // in the last minute
    int64_t tokens = 0;
    int64_t running = 0;
  };
  Use UseOf(std::string_view kind, std::string_view id) const;
  size_t subjects() const;  // remembered ones

 private:
  friend class RateLease;
  struct Entry {
    std::unique_ptr<SlidingSum> requests;  // made when there is such a limit
    std::unique_ptr<SlidingSum> tokens;
    int64_t running = 0;

    bool Idle(TimePoint now) const {
      return running == 0 && (!requests || requests->Sum(now) == 0) &&
             (!tokens || tokens->Sum(now) == 0);
    }
  };

  std::optional<RateLimitHit> Check(const Entry* entry, const RateSubject& subject, int64_t tokens,
                                    TimePoint now) const;
  void Count(const RateSubject& subject, std::string key, int64_t tokens, TimePoint now,
             RateLease& lease);
  void Settle(RateLease& lease, int64_t tokens);
  void Release(RateLease& lease);
  bool MakeRoom(size_t needed, TimePoint now);

  const Clock& clock_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
  size_t sweep_at_ = 1024;  // forget idle ones when there are so many
  TimePoint next_sweep_{};  // and not before
};

}  // namespace tradewind::routing
