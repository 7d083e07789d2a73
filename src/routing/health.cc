// Whole because the circuit, its speeds and its probes are one state under one lock.
#include "routing/health.h"

#include <algorithm>
#include <climits>
#include <cmath>

#include <fmt/format.h>

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;

constexpr int kWindowPieces = 10;

int64_t Ms(TimePoint::duration duration) {
  return std::chrono::duration_cast<milliseconds>(duration).count();
}

// Rounded up: a caller that waits so long finds it over.
int64_t MsUntil(TimePoint now, TimePoint until) {
  return until <= now ? 0 : Ms(until - now + milliseconds(1) - std::chrono::nanoseconds(1));
}

// base, 2 base, 4 base ... up to max.
int64_t Doubled(int64_t base_ms, int times, int64_t max_ms) {
  int64_t ms = base_ms;
  for (int i = 0; i < times && ms < max_ms; ++i) {
    ms *= 2;
  }
  return std::min(ms, max_ms);
}

std::string Seconds(int64_t ms) {
  if (ms < 1'000) {
    return fmt::format("{} ms", ms);
  }
  return ms < 120'000 ? fmt::format("{} s", (ms + 999) / 1'000)
                      : fmt::format("{} min", (ms + 59'999) / 60'000);
}

}  // namespace

std::string HealthWords(const HealthSnapshot& health) {
  const std::string_view what =
      health.last_failure.has_value() ? FailureWords(*health.last_failure) : "unknown";
  const std::string next = health.held_for_ms > 0
                               ? fmt::format(", next try in {}", Seconds(health.held_for_ms))
                               : std::string();
  switch (health.reason) {
    case HoldReason::kNone:
      return {};
    case HoldReason::kFaultsInARow:
      return fmt::format("{} failure{} in a row ({}){}", health.faults_in_a_row,
                         health.faults_in_a_row == 1 ? "" : "s", what, next);
    case HoldReason::kErrorRate:
      return fmt::format("{} of {} failed in the last {} ({}){}", health.window_faults,
                         health.window_faults + health.window_successes, Seconds(health.window_ms),
                         what, next);
    case HoldReason::kTrialsBusy:
      return fmt::format("failed lately ({}), being tried by other requests", what);
    case HoldReason::kThrottled:
      return fmt::format("the provider asked for a pause ({}){}", what, next);
    case HoldReason::kKey:
      return fmt::format("the provider {}{}",
                         health.last_failure == FailureKind::kNoFunds ? "reports a lack of funds"
                                                                      : "refuses our key",
                         next);
  }
  return {};
}

// --- Attempt ---

Attempt& Attempt::operator=(Attempt&& other) noexcept {
  std::swap(route_, other.route_);
  std::swap(key_ref_, other.key_ref_);
  std::swap(epoch_, other.epoch_);
  std::swap(trial_, other.trial_);
  std::swap(answered_, other.answered_);
  return *this;
}

Attempt::~Attempt() {
  if (route_ != nullptr) {
    route_->Abandoned(*this);
  }
}

void Attempt::Answered(double ttft_ms) {
  if (route_ != nullptr && !answered_) {
    route_->Answered(*this, ttft_ms);
    answered_ = true;
  }
}

void Attempt::Succeeded(const Measured& measured) {
  if (RouteHealth* route = std::exchange(route_, nullptr); route != nullptr) {
    route->Succeeded(*this, measured);
  }
}

void Attempt::Failed(FailureKind kind, std::optional<int64_t> retry_after_ms) {
  if (RouteHealth* route = std::exchange(route_, nullptr); route != nullptr) {
    route->Failed(*this, kind, retry_after_ms);
  }
}

// --- ProviderKeys ---

std::optional<Hold> ProviderKeys::Find(std::string_view key_ref, TimePoint now) const {
  const std::scoped_lock lock(mutex_);
  const Hold* hold = holds_.Find(key_ref);
  return hold != nullptr && now < hold->until ? std::optional(*hold) : std::nullopt;
}

void ProviderKeys::Refused(std::string_view key_ref, FailureKind kind, TimePoint now,
                           const HealthOptions& options) {
  const std::scoped_lock lock(mutex_);
  const Hold* before = holds_.Find(key_ref);
  if (before != nullptr && now < before->until) {
    return;  // a last resort, or one that was under way: lengthens nothing
  }
  const int streak = before == nullptr ? 0 : before->streak;
  holds_.Set(
      {.key_ref = std::string(key_ref),
       .kind = kind,
       .streak = streak + 1,
       .since = now,
       .until = now + milliseconds(Doubled(options.key_hold_ms, streak, options.key_hold_max_ms))});
}

void ProviderKeys::Clear(std::string_view key_ref) {
  const std::scoped_lock lock(mutex_);
  holds_.Clear(key_ref);
}

// --- RouteHealth ---

RouteHealth::RouteHealth(const Clock& clock, const HealthOptions& options,
                         std::shared_ptr<ProviderKeys> keys, uint64_t seed)
    : clock_(clock),
      options_(options),
      keys_(std::move(keys)),
      random_(seed),
      successes_(milliseconds(options.window_ms), kWindowPieces),
      faults_(milliseconds(options.window_ms), kWindowPieces),
      ttft_ms_(milliseconds(options.half_life_ms)),
      tokens_per_second_(milliseconds(options.half_life_ms)) {}

HealthSnapshot RouteHealth::Snapshot(std::string_view key_ref) const {
  const TimePoint now = clock_.Now();
  const std::optional<Hold> refused = keys_->Find(key_ref, now);
  const std::scoped_lock lock(mutex_);
  HealthSnapshot health{.circuit = circuit_,
                        .faults_in_a_row = faults_in_a_row_,
                        .window_ms = options_.window_ms,
                        .window_successes = successes_.Sum(now),
                        .window_faults = faults_.Sum(now),
                        .ttft_ms = ttft_ms_.value(),
                        .tokens_per_second = tokens_per_second_.value(),
                        .opened_total = opened_total_};
  TimePoint failed_at = last_fault_at_;
  health.last_failure = last_fault_;
  const auto hold_until = [&](HoldReason reason, TimePoint until) {
    health.availability = Availability::kHeld;
    health.reason = reason;
    health.held_for_ms = MsUntil(now, until);
  };
  if (circuit_ == Circuit::kOpen && now < open_until_) {
    hold_until(reason_, open_until_);
  } else if (circuit_ == Circuit::kHalfOpen &&
             trials_running_ + trials_answered_ >= options_.trials) {
    hold_until(HoldReason::kTrialsBusy, now);
  } else if (circuit_ != Circuit::kClosed) {
    health.circuit = Circuit::kHalfOpen;
    health.availability = Availability::kTrial;
  }
  const auto held_for_key = [&](const Hold& hold, HoldReason reason) {
    hold_until(reason, hold.until);
    health.last_failure = hold.kind;
    failed_at = hold.since;
  };
  const Hold* pause = throttled_.Find(key_ref);
  if (pause != nullptr && now < pause->until && MsUntil(now, pause->until) > health.held_for_ms) {
    held_for_key(*pause, HoldReason::kThrottled);
  }
  if (refused.has_value()) {
    held_for_key(*refused, HoldReason::kKey);
    health.availability = Availability::kKeyHeld;
  }
  if (health.last_failure.has_value()) {
    health.last_failure_ago_ms = std::max<int64_t>(0, Ms(now - failed_at));
  }
  return health;
}

std::optional<Attempt> RouteHealth::Begin(std::string_view key_ref, bool last_resort) {
  const TimePoint now = clock_.Now();
  if (!last_resort && keys_->Find(key_ref, now).has_value()) {
    return std::nullopt;
  }
  const std::scoped_lock lock(mutex_);
  Pass(now);
  const Hold* pause = throttled_.Find(key_ref);
  if (!last_resort && pause != nullptr && now < pause->until) {
    return std::nullopt;
  }
  const bool trial =
      circuit_ == Circuit::kHalfOpen && trials_running_ + trials_answered_ < options_.trials;
  if (circuit_ != Circuit::kClosed && !trial && !last_resort) {
    return std::nullopt;
  }
  trials_running_ += trial ? 1 : 0;
  return Attempt(this, key_ref, epoch_, trial);
}

std::optional<double> RouteHealth::Ttft95Ms() const {
  const std::scoped_lock lock(mutex_);
  return ttfts_ms_.Percentile(0.95);
}

void RouteHealth::Reset() {
  const std::scoped_lock lock(mutex_);
  Enter(Circuit::kClosed);
  opens_ = 0;
  last_fault_.reset();
  ttft_ms_.Clear();
  ttfts_ms_.Clear();
  tokens_per_second_.Clear();
  throttled_.ClearAll();
}

void RouteHealth::Answered(Attempt& attempt, double ttft_ms) {
  const TimePoint now = clock_.Now();
  {
    const std::scoped_lock lock(mutex_);
    ttft_ms_.Add(now, ttft_ms);
    ttfts_ms_.Add(ttft_ms);
    throttled_.Clear(attempt.key_ref_);
    CountTrial(attempt, now);
  }
  keys_->Clear(attempt.key_ref_);
}

void RouteHealth::Succeeded(Attempt& attempt, const Measured& measured) {
  const TimePoint now = clock_.Now();
  {
    const std::scoped_lock lock(mutex_);
    if (!attempt.answered_) {
      throttled_.Clear(attempt.key_ref_);
      CountTrial(attempt, now);
    }
    successes_.Add(now, 1);
    faults_in_a_row_ = attempt.epoch_ == epoch_ ? 0 : faults_in_a_row_;
    if (measured.output_tokens >= limits::kSpeedTokensMin && measured.generation_ms > 0) {
      tokens_per_second_.Add(
          now, static_cast<double>(measured.output_tokens) * 1'000 / measured.generation_ms);
    }
  }
  if (!attempt.answered_) {
    keys_->Clear(attempt.key_ref_);
  }
}

void RouteHealth::Failed(Attempt& attempt, FailureKind kind,
                         std::optional<int64_t> retry_after_ms) {
  const TimePoint now = clock_.Now();
  const Blame blame = BlameOf(kind);
  if (blame == Blame::kKey) {
    keys_->Refused(attempt.key_ref_, kind, now, options_);
  }
  const std::scoped_lock lock(mutex_);
  if (blame != Blame::kRoute) {
    ReturnTrial(attempt);
    if (blame == Blame::kThrottle) {
      Throttle(attempt.key_ref_, retry_after_ms, now);
    }
    return;
  }
  last_fault_ = kind;
  last_fault_at_ = now;
  CountFault(attempt, now);
}

void RouteHealth::Abandoned(const Attempt& attempt) {
  const std::scoped_lock lock(mutex_);
  ReturnTrial(attempt);
}

void RouteHealth::Pass(TimePoint now) {
  if (circuit_ == Circuit::kOpen && now >= open_until_) {
    Enter(Circuit::kHalfOpen);
  }
}

void RouteHealth::Enter(Circuit circuit) {
  circuit_ = circuit;
  ++epoch_;
  trials_running_ = 0;
  trials_answered_ = 0;
  if (circuit == Circuit::kClosed) {
    // What opened it would open it again at the first fault.
    faults_in_a_row_ = 0;
    successes_.Clear();
    faults_.Clear();
    reason_ = HoldReason::kNone;
  }
}

void RouteHealth::CountTrial(const Attempt& attempt, TimePoint now) {
  if (attempt.epoch_ != epoch_ || circuit_ == Circuit::kClosed) {
    return;  // it began before things changed: old news
  }
  if (circuit_ == Circuit::kOpen) {
    Enter(Circuit::kHalfOpen);  // a last resort that answered
  } else if (attempt.trial_) {
    --trials_running_;
  }
  if (++trials_answered_ >= options_.trials) {
    Enter(Circuit::kClosed);
    closed_at_ = now;
  }
}

// Of an attempt that showed nothing about the circuit. One that answered gave its place back then.
void RouteHealth::ReturnTrial(const Attempt& attempt) {
  if (attempt.trial_ && !attempt.answered_ && attempt.epoch_ == epoch_) {
    --trials_running_;
  }
}

void RouteHealth::CountFault(const Attempt& attempt, TimePoint now) {
  faults_.Add(now, 1);
  if (circuit_ == Circuit::kHalfOpen) {
    if (attempt.epoch_ == epoch_) {
      ++faults_in_a_row_;
      Open(reason_, now);
    }
    return;
  }
  if (circuit_ == Circuit::kOpen) {
    return;
  }
  faults_in_a_row_ += attempt.epoch_ == epoch_ ? 1 : 0;
  const int64_t faults = faults_.Sum(now);
  const int64_t all = faults + successes_.Sum(now);
  if (faults_in_a_row_ >= options_.faults_in_a_row) {
    Open(HoldReason::kFaultsInARow, now);
  } else if (all >= options_.error_rate_min_count &&
             static_cast<double>(faults) >= options_.error_rate * static_cast<double>(all)) {
    Open(HoldReason::kErrorRate, now);
  }
}

void RouteHealth::Open(HoldReason reason, TimePoint now) {
  if (circuit_ == Circuit::kClosed && now - closed_at_ >= milliseconds(options_.forgive_ms)) {
    opens_ = 0;
  }
  Enter(Circuit::kOpen);
  reason_ = reason;
  const int64_t ms = Jittered(Doubled(options_.open_ms, opens_, options_.open_max_ms));
  open_until_ = now + milliseconds(ms);
  opens_ = std::min(opens_ + 1, 62);
  ++opened_total_;
}

void RouteHealth::Throttle(std::string_view key_ref, std::optional<int64_t> retry_after_ms,
                           TimePoint now) {
  const Hold* before = throttled_.Find(key_ref);
  const int streak = before == nullptr ? 0 : before->streak;
  const int64_t ms =
      retry_after_ms.has_value()
          ? std::clamp<int64_t>(*retry_after_ms, 0, options_.retry_after_max_ms)
          : Jittered(Doubled(options_.throttle_ms, streak, options_.throttle_max_ms));
  TimePoint until = now + milliseconds(ms);
  if (before != nullptr) {
    until = std::max(until, before->until);
  }
  // Only one that came after a rest makes the next rest longer: many may be under way at once.
  const bool counts = before == nullptr || now >= before->until;
  throttled_.Set({.key_ref = std::string(key_ref),
                  .kind = FailureKind::kRateLimited,
                  .streak = std::min(streak + (counts ? 1 : 0), 62),
                  .since = now,
                  .until = until});
}

int64_t RouteHealth::Jittered(int64_t ms) {
  // SplitMix64 (Steele, Lea, Flood 2014).
  random_ += 0x9E3779B97F4A7C15u;
  uint64_t bits = random_;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  bits ^= bits >> 31;
  const double unit = static_cast<double>(bits >> 11) * 0x1.0p-53;  // [0, 1)
  return std::llround(static_cast<double>(ms) * (1 + options_.jitter * (2 * unit - 1)));
}

// --- HealthBook ---

namespace {

HealthOptions NeverOpening(HealthOptions options) {
  options.faults_in_a_row = INT_MAX;
  options.error_rate = 2;
  options.retry_after_max_ms = 0;
  options.throttle_ms = options.throttle_max_ms = 0;
  options.key_hold_ms = options.key_hold_max_ms = 0;
  return options;
}

}  // namespace

HealthBook::HealthBook(const Clock& clock, Random& random, HealthOptions options)
    : clock_(clock),
      random_(random),
      options_(options),
      overflow_options_(NeverOpening(options)),
      overflow_(std::make_unique<RouteHealth>(clock, overflow_options_,
                                              std::make_shared<ProviderKeys>(), 0)) {}

RouteHealth& HealthBook::Route(std::string_view provider, std::string_view model) {
  const std::pair key(provider, model);
  {
    const std::shared_lock lock(mutex_);
    if (const auto found = routes_.find(key); found != routes_.end()) {
      return *found->second;
    }
  }
  const std::scoped_lock lock(mutex_);
  if (const auto found = routes_.find(key); found != routes_.end()) {
    return *found->second;
  }
  if (routes_.size() >= limits::kRoutesMax) {
    return *overflow_;
  }
  std::shared_ptr<ProviderKeys>& keys = providers_[std::string(provider)];
  if (keys == nullptr) {
    keys = std::make_shared<ProviderKeys>();
  }
  auto route = std::make_unique<RouteHealth>(clock_, options_, keys, random_.Next64());
  return *routes_.emplace(Key(provider, model), std::move(route)).first->second;
}

void HealthBook::KeyChanged(std::string_view provider, std::string_view key_ref) {
  const std::shared_lock lock(mutex_);
  if (const auto found = providers_.find(provider); found != providers_.end()) {
    found->second->Clear(key_ref);
  }
}

std::vector<HealthBook::Row> HealthBook::Rows() const {
  const std::shared_lock lock(mutex_);
  std::vector<Row> rows;
  rows.reserve(routes_.size());
  for (const auto& [key, route] : routes_) {
    rows.push_back({key.first, key.second, route->Snapshot()});
  }
  return rows;
}

}  // namespace tradewind::routing
