#include "routing/attempts.h"

#include <algorithm>

#include "base/check.h"

namespace tradewind::routing {
namespace {

using std::chrono::milliseconds;

// What the provider may have done before it failed.
enum class Work {
  kUndone,   // nothing
  kMaybe,    // perhaps all of it
  kRefused,  // nothing, and every other route would refuse too
  kOver,     // nobody waits for an answer any more, or it has come and is of no use
};

Work WorkOf(FailureKind kind, Reached reached) {
  switch (kind) {
    case FailureKind::kConnect:
    case FailureKind::kReset:
    case FailureKind::kFirstByteTimeout:
      return reached == Reached::kNotSent ? Work::kUndone : Work::kMaybe;
    case FailureKind::kCut:
    case FailureKind::kStall:
    case FailureKind::kServerError:
    case FailureKind::kGarbage:
    case FailureKind::kErrorEvent:
      return Work::kMaybe;
    case FailureKind::kOverloaded:
    case FailureKind::kRateLimited:
    case FailureKind::kKeyRejected:
    case FailureKind::kNoFunds:
    case FailureKind::kModelUnknown:
    case FailureKind::kNotCapable:
    case FailureKind::kRedirect:
      return reached == Reached::kHead ? Work::kUndone : Work::kMaybe;
    case FailureKind::kClientError:
      return Work::kRefused;
    case FailureKind::kOtherForm:
    case FailureKind::kClientLeft:
    case FailureKind::kDeadline:
    case FailureKind::kShutdown:
      return Work::kOver;
  }
  return Work::kMaybe;
}

// A moment later the same route may do it. A timeout has had its time already, and a key, a model
// or a capability does not come back in a moment.
bool PassesSoon(FailureKind kind) {
  switch (kind) {
    case FailureKind::kConnect:
    case FailureKind::kReset:
    case FailureKind::kCut:
    case FailureKind::kStall:
    case FailureKind::kServerError:
    case FailureKind::kOverloaded:
    case FailureKind::kRateLimited:
    case FailureKind::kGarbage:
    case FailureKind::kErrorEvent:
      return true;
    default:
      return false;
  }
}

// Breaks that leave the text so far good: it may go on elsewhere.
bool LeavesGoodText(FailureKind kind) {
  return kind == FailureKind::kReset || kind == FailureKind::kCut || kind == FailureKind::kStall ||
         kind == FailureKind::kErrorEvent || kind == FailureKind::kGarbage;
}

Bill BillOf(Work work, const AttemptFailure& failure) {
  switch (work) {
    case Work::kUndone:
    case Work::kRefused:
      return failure.client_has_bytes ? Bill::kUnknown : Bill::kNothing;
    case Work::kMaybe:
      return Bill::kUnknown;
    case Work::kOver:
      return failure.reached == Reached::kNotSent && !failure.client_has_bytes ? Bill::kNothing
                                                                               : Bill::kUnknown;
  }
  return Bill::kUnknown;
}

GiveUpReason WhyNoStep(const AttemptFailure& failure, SecondTries second_tries) {
  if (failure.client_has_bytes) {
    return GiveUpReason::kClientHasBytes;
  }
  if (!RuleFor(failure, SecondTries::kYes, false).elsewhere) {
    return GiveUpReason::kNotHelped;
  }
  return second_tries == SecondTries::kOff ? GiveUpReason::kTriesOff : GiveUpReason::kMayBeDone;
}

}  // namespace

Rule RuleFor(const AttemptFailure& failure, SecondTries second_tries, bool continuation) {
  const Work work = WorkOf(failure.kind, failure.reached);
  Rule rule{.bill = BillOf(work, failure)};
  if (failure.client_has_bytes) {
    rule.continues = continuation && second_tries == SecondTries::kYes && !failure.in_tool_call &&
                     (LeavesGoodText(failure.kind) ||
                      (failure.gave_nothing && (work == Work::kUndone || work == Work::kMaybe)));
    return rule;
  }
  const bool allowed = (work == Work::kUndone && second_tries != SecondTries::kOff) ||
                       (work == Work::kMaybe && second_tries == SecondTries::kYes);
  rule.elsewhere = allowed;
  rule.here_again = allowed && PassesSoon(failure.kind);
  return rule;
}

std::string_view GiveUpReasonName(GiveUpReason reason) {
  switch (reason) {
    case GiveUpReason::kNone:
      return "none";
    case GiveUpReason::kNotHelped:
      return "not_helped";
    case GiveUpReason::kClientHasBytes:
      return "client_has_bytes";
    case GiveUpReason::kTriesOff:
      return "second_tries_off";
    case GiveUpReason::kMayBeDone:
      return "may_be_done";
    case GiveUpReason::kNoRouteLeft:
      return "no_route_left";
    case GiveUpReason::kAttemptsUsed:
      return "attempts_used";
    case GiveUpReason::kBudgetSpent:
      return "retry_budget_spent";
    case GiveUpReason::kNoTime:
      return "no_time";
  }
  return "none";
}

// --- RetryBudget ---

RetryBudget::Counts& RetryBudget::CountsOf(std::string_view provider) {
  {
    const std::shared_lock lock(mutex_);
    if (const auto found = counts_.find(provider); found != counts_.end()) {
      return *found->second;
    }
  }
  const std::scoped_lock lock(mutex_);
  std::unique_ptr<Counts>& counts = counts_[std::string(provider)];
  if (counts == nullptr) {
    counts = std::make_unique<Counts>(options_.window_ms);
  }
  return *counts;
}

void RetryBudget::CountRequest(std::string_view provider) {
  Counts& counts = CountsOf(provider);
  const TimePoint now = clock_.Now();
  const std::scoped_lock lock(counts.mutex);
  counts.requests.Add(now, 1);
}

bool RetryBudget::Take(std::string_view provider) {
  Counts& counts = CountsOf(provider);
  const TimePoint now = clock_.Now();
  const std::scoped_lock lock(counts.mutex);
  const double most = options_.ratio * static_cast<double>(counts.requests.Sum(now)) +
                      static_cast<double>(options_.floor);
  if (static_cast<double>(counts.second_attempts.Sum(now)) + 1 > most) {
    return false;
  }
  counts.second_attempts.Add(now, 1);
  return true;
}

RetryBudget::Use RetryBudget::UseOf(std::string_view provider) const {
  const std::shared_lock lock(mutex_);
  const auto found = counts_.find(provider);
  if (found == counts_.end()) {
    return {};
  }
  const TimePoint now = clock_.Now();
  const std::scoped_lock counts_lock(found->second->mutex);
  return {found->second->requests.Sum(now), found->second->second_attempts.Sum(now)};
}

// --- Attempts ---

Attempts::Attempts(const AttemptOptions& options, size_t routes, TimePoint deadline,
                   RetryBudget& budget, Random& random)
    : options_(options), routes_(routes), deadline_(deadline), budget_(budget), random_(random) {
  TW_CHECK(routes > 0);
}

bool Attempts::TimeoutMayBeFollowed() const {
  return options_.second_tries == SecondTries::kYes && number_ < options_.attempts_max &&
         route_ + 1 < routes_;
}

TimePoint Attempts::FirstByteBy(TimePoint now) const {
  const auto left = std::max(TimePoint::duration(0), deadline_ - now);
  TimePoint::duration share = left;
  if (TimeoutMayBeFollowed()) {
    share = std::max<TimePoint::duration>(left / 2, milliseconds(options_.attempt_least_ms));
  }
  return now + std::min({share, left, TimePoint::duration(milliseconds(options_.first_byte_ms))});
}

TimePoint Attempts::WholeAnswerBy(TimePoint now) const {
  const TimePoint bound = now + milliseconds(options_.whole_answer_ms);
  return TimeoutMayBeFollowed() ? std::min(bound, deadline_) : deadline_;
}

int64_t Attempts::Backoff() {
  int64_t ms = options_.backoff_ms;
  for (int i = 0; i < here_again_ && ms < options_.backoff_max_ms; ++i) {
    ms *= 2;
  }
  ms = std::clamp<int64_t>(ms, 0, options_.backoff_max_ms);
  return ms - ms / 2 + static_cast<int64_t>(random_.Next64() % static_cast<uint64_t>(ms / 2 + 1));
}

Attempts::Decision Attempts::Next(const AttemptFailure& failure, std::string_view next_provider,
                                  TimePoint now) {
  const Rule rule = RuleFor(failure, options_.second_tries, options_.continuation);
  Decision decision{.bill = rule.bill};
  if (failure.retry_after_ms.has_value()) {
    decision.retry_after_ms = std::max<int64_t>(*failure.retry_after_ms, 0);
  }
  const auto give_up = [&](GiveUpReason reason) {
    decision.step = Step::kGiveUp;
    decision.wait_ms = 0;
    decision.reason = reason;
    return decision;
  };
  if (!rule.elsewhere && !rule.here_again && !rule.continues) {
    return give_up(WhyNoStep(failure, options_.second_tries));
  }
  if (number_ >= options_.attempts_max) {
    return give_up(GiveUpReason::kAttemptsUsed);
  }
  if ((rule.elsewhere || rule.continues) && route_ + 1 < routes_) {
    decision.step = rule.continues ? Step::kContinueElsewhere : Step::kNextRoute;
  } else if (rule.here_again && here_again_ < options_.here_again_max) {
    decision.step = Step::kHereAgain;
    decision.wait_ms = std::max(Backoff(), decision.retry_after_ms.value_or(0));
  } else {
    return give_up(GiveUpReason::kNoRouteLeft);
  }
  const int64_t left_ms = std::chrono::duration_cast<milliseconds>(deadline_ - now).count();
  if (left_ms - options_.attempt_least_ms < decision.wait_ms) {
    return give_up(GiveUpReason::kNoTime);
  }
  if (!budget_.Take(next_provider)) {
    return give_up(GiveUpReason::kBudgetSpent);
  }
  ++number_;
  if (decision.step == Step::kHereAgain) {
    ++here_again_;
  } else {
    ++route_;
    here_again_ = 0;
  }
  return decision;
}

bool Attempts::Hedge(std::string_view provider, TimePoint now) {
  const auto least = milliseconds(options_.attempt_least_ms);
  if (options_.second_tries != SecondTries::kYes || number_ >= options_.attempts_max ||
      route_ + 1 >= routes_ || deadline_ - now < least || !budget_.Take(provider)) {
    return false;
  }
  ++number_;
  return true;
}

bool Attempts::Skip() {
  if (route_ + 1 >= routes_) {
    return false;
  }
  ++route_;
  here_again_ = 0;
  return true;
}

}  // namespace tradewind::routing
