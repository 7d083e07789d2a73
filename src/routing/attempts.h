// What happens after an attempt failed: once more here, on to the next route, go on with the answer
// elsewhere, or give up. The table and its reasons: docs/adr/0008-what-follows-a-failure.md.
//
// A completion costs money where it runs, and no provider offers a key that makes a second POST the
// same as the first. So a failure is told apart by what the provider may have done:
//   not sent / refused   nothing was done and nothing billed: another route is always safe
//   maybe done           it may have run and may be billed: another route answers the client, and
//                        the attempt's bill stays `unknown` until usage or the provider tells
// Callers that must not have a prompt processed twice ask for SecondTries::kOnlyIfUndone.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/limits.h"
#include "routing/failure.h"
#include "routing/window.h"

namespace tradewind::routing {

enum class SecondTries {
  kOff,           // the first failure is the answer
  kOnlyIfUndone,  // never when the first may have been processed
  kYes,           // the default
};

struct AttemptFailure {
  FailureKind kind = FailureKind::kConnect;
  Reached reached = Reached::kNotSent;
  bool client_has_bytes = false;  // of the answer: it cannot be taken back
  bool in_tool_call = false;      // the answer was inside a tool call when it broke
  std::optional<int64_t> retry_after_ms = {};
  // The client's bytes are of earlier attempts: this one, which was to go on with them, gave none.
  bool gave_nothing = false;
};

// What may have become of the failed attempt's cost.
enum class Bill {
  kNothing,  // no work was done
  kUnknown,  // reconcile it; never assume zero
};

// What a failure allows, whatever is left of routes, budget and time. See RuleFor.
struct Rule {
  bool elsewhere = false;   // a next route may answer
  bool here_again = false;  // the same route may, if no other is left
  bool continues = false;   // the rest of the answer may come from elsewhere (opt-in)
  Bill bill = Bill::kUnknown;
};

// The table. Total: every combination has a row; those that cannot be are treated as the most
// careful one of their kind.
Rule RuleFor(const AttemptFailure& failure, SecondTries second_tries, bool continuation);

enum class Step { kHereAgain, kNextRoute, kContinueElsewhere, kGiveUp };

enum class GiveUpReason {
  kNone,
  kNotHelped,       // no second try would end differently: the request, the client, the deadline
  kClientHasBytes,  // part of the answer is out, and it may not go on elsewhere
  kTriesOff,        // SecondTries::kOff
  kMayBeDone,       // SecondTries::kOnlyIfUndone
  kNoRouteLeft,
  kAttemptsUsed,
  kBudgetSpent,  // too many second attempts of late
  kNoTime,       // the deadline, or Retry-After beyond it
};
std::string_view GiveUpReasonName(GiveUpReason reason);

// At most `ratio` of the requests that a provider could serve, plus a floor, may come to it as
// second attempts, over a sliding window: so a provider's trouble is not multiplied on it or on its
// neighbours. Thread-safe.
class RetryBudget {
 public:
  struct Options {
    double ratio = 0.5;
    int64_t floor = 10;  // per window
    int64_t window_ms = 10'000;
  };
  explicit RetryBudget(const Clock& clock) : RetryBudget(clock, Options{}) {}
  RetryBudget(const Clock& clock, Options options) : clock_(clock), options_(options) {}

  // A request came that this provider is a candidate for.
  void CountRequest(std::string_view provider);
  // Takes one second attempt; false when the budget is spent.
  bool Take(std::string_view provider);

  struct Use {
    int64_t requests = 0;
    int64_t second_attempts = 0;
  };
  Use UseOf(std::string_view provider) const;

 private:
  struct Counts {
    explicit Counts(int64_t window_ms)
        : requests(std::chrono::milliseconds(window_ms), 10),
          second_attempts(std::chrono::milliseconds(window_ms), 10) {}
    mutable std::mutex mutex;
    SlidingSum requests;
    SlidingSum second_attempts;
  };
  Counts& CountsOf(std::string_view provider);

  const Clock& clock_;
  const Options options_;
  mutable std::shared_mutex mutex_;  // of the map
  std::map<std::string, std::unique_ptr<Counts>, std::less<>> counts_;
};

struct AttemptOptions {
  SecondTries second_tries = SecondTries::kYes;
  bool continuation = false;        // opt-in
  int attempts_max = 4;             // in all: three in trouble may stand before one in health
  int here_again_max = 1;           // of them on the route that just failed
  int64_t first_byte_ms = 120'000;  // an attempt waits no longer for its first byte
  // And, when another may follow, for an answer that is no stream.
  int64_t whole_answer_ms = limits::kUpstreamWholeAnswerMs;
  int64_t attempt_least_ms = 500;  // with less left a new attempt is not begun
  int64_t backoff_ms = 200;        // before "here again"; doubles, half of it random
  int64_t backoff_max_ms = 5'000;
};

// The attempts of one request. Not thread-safe; lives as long as the request. Every path ends: each
// Next but one that gives up uses one of attempts_max.
class Attempts {
 public:
  // `routes`: how many candidates there are, at least 1.
  Attempts(const AttemptOptions& options, size_t routes, TimePoint deadline, RetryBudget& budget,
           Random& random);

  // The index of the candidate whose turn it is.
  size_t route() const { return route_; }
  int number() const { return number_; }  // 1, 2 ...
  // Until when this attempt's first byte must be there: half of what is left while another attempt
  // may follow a timeout, all of it otherwise, and never more than first_byte_ms. After the first
  // byte the request's own deadline counts.
  TimePoint FirstByteBy(TimePoint now) const;
  // The same of an answer that is no stream, whose first byte comes when all of it is done: all of
  // what is left, but no more than whole_answer_ms while another attempt may follow.
  TimePoint WholeAnswerBy(TimePoint now) const;

  struct Decision {
    Step step = Step::kGiveUp;
    int64_t wait_ms = 0;         // before the next attempt
    Bill bill = Bill::kUnknown;  // of the attempt that failed
    GiveUpReason reason = GiveUpReason::kNone;
    std::optional<int64_t> retry_after_ms = {};  // to tell the client, when giving up
  };
  // `next_provider` is who would take the next attempt: of candidate route() + 1, and of route()
  // itself when none is left. Moves on unless it gives up.
  Decision Next(const AttemptFailure& failure, std::string_view next_provider, TimePoint now);
  // A second attempt beside the running one, which has said nothing yet, at candidate route() + 1.
  // False: there is none, or too little budget, attempts or time is left. If both fail, Skip stands
  // for the first one and Next is told of the second.
  bool Hedge(std::string_view provider, TimePoint now);
  // The candidate whose turn it is was not begun (its circuit opened meanwhile): moves on without
  // using an attempt. False when it is the last one: begin it as a last resort.
  bool Skip();

 private:
  bool TimeoutMayBeFollowed() const;
  int64_t Backoff();

  const AttemptOptions options_;
  const size_t routes_;
  const TimePoint deadline_;
  RetryBudget& budget_;
  Random& random_;
  size_t route_ = 0;
  int number_ = 1;
  int here_again_ = 0;
};

}  // namespace tradewind::routing
