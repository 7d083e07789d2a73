// How each route, a (provider, model) pair, is doing: speeds, failures, and a circuit breaker that
// rests a route which fails. Knows no HTTP and does no I/O: whoever calls an upstream reports here.
//
//   auto attempt = health.Begin(key_ref, last_resort);   // nothing: rest it, take the next one
//   attempt->Answered(ttft_ms);                          // the first token is there
//   attempt->Succeeded({.output_tokens = 90, .generation_ms = 800});   // or Failed(kind, ...)
//
// Circuit: closed --[N faults in a row, or too many in the window]--> open --[its time is up]-->
// half-open --[k trials answered]--> closed, or --[a fault]--> open for twice as long. A 429 rests
// the route for one key without a fault; a refused key or an empty account rests the whole provider
// for that key.
// Nothing is ever shut out: Begin with `last_resort` always admits. A forced attempt that fails
// lengthens no rest, one that answers counts as a trial, so a mass of them neither locks nor loops.
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
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "routing/failure.h"
#include "routing/holds.h"
#include "routing/window.h"

namespace tradewind::routing {

struct HealthOptions {
  int64_t half_life_ms = 300'000;  // of the speeds' means

  int faults_in_a_row = 3;  // open the circuit
  double error_rate = 0.5;  // or this share of the window, of at least `error_rate_min_count`
  int error_rate_min_count = 10;
  int64_t window_ms = 30'000;

  int64_t open_ms = 5'000;  // the first time; doubles up to
  int64_t open_max_ms = 300'000;
  int64_t forgive_ms = 120'000;  // closed for that long: the next open is a first one again
  double jitter = 0.2;           // a rest lasts 1 +- jitter times its length
  int trials = 2;                // half-open: so many at a time, and so many answers close it

  int64_t throttle_ms = 1'000;           // 429 without Retry-After; doubles up to
  int64_t throttle_max_ms = 60'000;      //
  int64_t retry_after_max_ms = 600'000;  // a longer Retry-After is not believed
  int64_t key_hold_ms = 300'000;         // our key refused; doubles up to
  int64_t key_hold_max_ms = 3'600'000;
};

enum class Circuit { kClosed, kOpen, kHalfOpen };

enum class Availability {
  kReady,    // use it
  kTrial,    // half-open with a trial to give: use it, it may close the circuit
  kHeld,     // rests: last resort
  kKeyHeld,  // our key was refused: the very last resort
};

enum class HoldReason { kNone, kFaultsInARow, kErrorRate, kTrialsBusy, kThrottled, kKey };

struct HealthSnapshot {
  Availability availability = Availability::kReady;
  Circuit circuit = Circuit::kClosed;
  HoldReason reason = HoldReason::kNone;  // why not ready
  int64_t held_for_ms = 0;                // until it may be tried; 0 when it may
  int faults_in_a_row = 0;
  int64_t window_ms = 0;  // of the two counts
  int64_t window_successes = 0;
  int64_t window_faults = 0;
  std::optional<FailureKind> last_failure =
      {};  // the one that `reason` is about, else the last fault
  std::optional<int64_t> last_failure_ago_ms = {};
  std::optional<double> ttft_ms = {};            // first_token_latency_ms in /v1/models
  std::optional<double> tokens_per_second = {};  // throughput
  int64_t opened_total = 0;                      // since the program started
};

// Why a route rests, in words, with the time left: "3 failures in a row (no connection), next try
// in 4 s". Empty when it is ready.
std::string HealthWords(const HealthSnapshot& snapshot);

// What a finished answer showed. Speeds of fewer than limits::kSpeedTokensMin tokens are noise and
// are left out.
struct Measured {
  int64_t output_tokens = 0;
  double generation_ms = 0;  // from the first token to the last; 0 when not known (no stream)
};

class RouteHealth;

// One try at a route. Reports once: Succeeded, Failed, or, when it is destroyed without either,
// "nothing learned" (its trial is given back). One thread at a time. Must not outlive its book.
class Attempt {
 public:
  Attempt(Attempt&& other) noexcept
      : route_(std::exchange(other.route_, nullptr)),
        key_ref_(std::move(other.key_ref_)),
        epoch_(other.epoch_),
        trial_(other.trial_),
        answered_(other.answered_) {}
  Attempt& operator=(Attempt&& other) noexcept;
  ~Attempt();

  // The first token came, `ttft_ms` after the request went out. Call at most once.
  void Answered(double ttft_ms);
  void Succeeded(const Measured& measured);
  // `retry_after_ms`: what a 429 or 503 asked for.
  void Failed(FailureKind kind, std::optional<int64_t> retry_after_ms = {});

 private:
  friend class RouteHealth;
  Attempt(RouteHealth* route, std::string_view key_ref, uint64_t epoch, bool trial)
      : route_(route), key_ref_(key_ref), epoch_(epoch), trial_(trial) {}

  RouteHealth* route_;  // null once it has reported
  std::string key_ref_;
  uint64_t epoch_;
  bool trial_;
  bool answered_ = false;
};

// Keys of one provider that were refused; shared by its routes. Thread-safe.
class ProviderKeys {
 public:
  std::optional<Hold> Find(std::string_view key_ref, TimePoint now) const;
  void Refused(std::string_view key_ref, FailureKind kind, TimePoint now,
               const HealthOptions& options);
  void Clear(std::string_view key_ref);

 private:
  mutable std::mutex mutex_;
  Holds holds_;
};

// Thread-safe; a call takes one or two uncontended locks and allocates at most the key's name.
class RouteHealth {
 public:
  RouteHealth(const Clock& clock, const HealthOptions& options, std::shared_ptr<ProviderKeys> keys,
              uint64_t seed);

  // `key_ref` names which of our keys with the provider is meant: "" the operator's, else whatever
  // the caller tells own keys apart by. Never the key itself.
  HealthSnapshot Snapshot(std::string_view key_ref = {}) const;
  // Within which 95 of 100 answers of late began; nothing before there are enough.
  std::optional<double> Ttft95Ms() const;
  // Nothing when the route rests and this is not the last resort.
  std::optional<Attempt> Begin(std::string_view key_ref, bool last_resort);
  // The mapping changed: faults of the old one say nothing any more. Speeds are forgotten too.
  void Reset();

 private:
  friend class Attempt;
  void Answered(Attempt& attempt, double ttft_ms);
  void Succeeded(Attempt& attempt, const Measured& measured);
  void Failed(Attempt& attempt, FailureKind kind, std::optional<int64_t> retry_after_ms);
  void Abandoned(const Attempt& attempt);

  // Under mutex_:
  void Pass(TimePoint now);     // open → half-open when its time is up
  void Enter(Circuit circuit);  // a new epoch
  void CountTrial(const Attempt& attempt, TimePoint now);
  void ReturnTrial(const Attempt& attempt);
  void CountFault(const Attempt& attempt, TimePoint now);
  void Open(HoldReason reason, TimePoint now);
  void Throttle(std::string_view key_ref, std::optional<int64_t> retry_after_ms, TimePoint now);
  int64_t Jittered(int64_t ms);

  const Clock& clock_;
  const HealthOptions& options_;
  const std::shared_ptr<ProviderKeys> keys_;

  mutable std::mutex mutex_;
  uint64_t random_;
  Circuit circuit_ = Circuit::kClosed;
  HoldReason reason_ = HoldReason::kNone;
  uint64_t epoch_ = 0;  // of the circuit's present state; older attempts do not move it
  TimePoint open_until_{};
  TimePoint closed_at_{};
  int opens_ = 0;  // without a forgiving pause
  int64_t opened_total_ = 0;
  int faults_in_a_row_ = 0;
  int trials_running_ = 0;
  int trials_answered_ = 0;
  std::optional<FailureKind> last_fault_;
  TimePoint last_fault_at_{};
  SlidingSum successes_;
  SlidingSum faults_;
  DecayingMean ttft_ms_;
  RecentSamples ttfts_ms_;
  DecayingMean tokens_per_second_;
  Holds throttled_;
};

// All routes. Thread-safe. Routes are made on first use and stay, so that references to them may be
// kept; beyond limits::kRoutesMax all further ones share one that is always ready.
class HealthBook {
 public:
  HealthBook(const Clock& clock, Random& random, HealthOptions options = {});

  RouteHealth& Route(std::string_view provider, std::string_view model);
  // A key was replaced: its refusals say nothing any more.
  void KeyChanged(std::string_view provider, std::string_view key_ref);

  struct Row {
    std::string provider;
    std::string model;
    HealthSnapshot health;  // with the operator's key
  };
  std::vector<Row> Rows() const;  // by provider, then model

 private:
  using Key = std::pair<std::string, std::string>;
  struct Less {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      const std::pair<std::string_view, std::string_view> left(a.first, a.second);
      const std::pair<std::string_view, std::string_view> right(b.first, b.second);
      return left < right;
    }
  };

  const Clock& clock_;
  Random& random_;
  const HealthOptions options_;
  const HealthOptions overflow_options_;
  mutable std::shared_mutex mutex_;
  std::map<Key, std::unique_ptr<RouteHealth>, Less> routes_;
  std::map<std::string, std::shared_ptr<ProviderKeys>, std::less<>> providers_;
  std::unique_ptr<RouteHealth> overflow_;
};

}  // namespace tradewind::routing
