#include "billing/meter.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/limits.h"
#include "billing/price_version.h"
#include "billing/usd.h"

namespace tradewind::billing {
namespace {

using ledger::AccountNumber;
using ledger::BudgetRoom;
using ledger::BudgetState;
using ledger::NanoUsd;
using ledger::Refusal;

constexpr size_t kUpstreamIdBytesMax = 256;
// Of one attempt: more is no usage, and sums of it have to stay within 64 bits.
constexpr int64_t kTokensMax = 1'000'000'000'000;
constexpr int64_t kProgressBytes = 1024;  // about 256 tokens
constexpr auto kProgressPause = std::chrono::seconds(1);

// The names of all budgets that a purchase may fall into. Made for every attempt, so in one piece
// of memory.
class ScopeNames {
 public:
  explicit ScopeNames(const Purchase& purchase) {
    const std::array<std::pair<std::string_view, const std::string*>, 4> scopes = {
        {{"key", &purchase.key_id},
         {"user", &purchase.user_id},
         {"project", &purchase.project_id},
         {"org", &purchase.org_id}}};
    constexpr size_t kRest = 3 * sizeof("project:/provider:");
    size_t bytes = 0;
    for (const auto& [kind, id] : scopes) {
      bytes += 3 * id->size() + purchase.model.size() + purchase.provider.size() + kRest;
    }
    text_.reserve(bytes);  // so that the views stay where they are
    for (const auto& [kind, id] : scopes) {
      if (!id->empty()) {
        Add({kind, ":", *id});
        Add({kind, ":", *id, "/model:", purchase.model});
        Add({kind, ":", *id, "/provider:", purchase.provider});
      }
    }
  }
  ScopeNames(const ScopeNames&) = delete;
  ScopeNames& operator=(const ScopeNames&) = delete;

  std::span<const std::string_view> all() const { return {names_.data(), size_}; }

 private:
  void Add(std::initializer_list<std::string_view> parts) {
    const size_t start = text_.size();
    for (const std::string_view part : parts) {
      text_ += part;
    }
    names_[size_++] = std::string_view(text_).substr(start);
  }

  std::string text_;
  std::array<std::string_view, 12> names_;
  size_t size_ = 0;
};

pricing::UsageBounds BoundsOf(const Offer& offer, int64_t output_max) {
  pricing::UsageBounds bounds;
  bounds.input_max = offer.input_tokens_max;
  bounds.output_max = output_max;
  bounds.choices = offer.choices;
  bounds.images = offer.images;
  bounds.may_have_audio_input = offer.has_audio_input;
  bounds.may_have_audio_output = offer.wants_audio_output;
  return bounds;
}

Error NoRoom(const Refusal& refusal, const std::optional<BudgetState>& budget, const Offer& offer) {
  if (refusal.reason == Refusal::Reason::kStopped || refusal.reason == Refusal::Reason::kTooMany) {
    constexpr int64_t kRetryAfterMs = 1000;
    return {ErrorCode::kUnavailable,
            fmt::format("The ledger admits no paid request now: {}", refusal.detail),
            {},
            kRetryAfterMs};
  }
  const bool is_credit = refusal.reason == Refusal::Reason::kCredit;
  if (!is_credit && (refusal.reason != Refusal::Reason::kBudget || !budget.has_value())) {
    return {ErrorCode::kPaymentRequired,
            fmt::format("The request may cost {}, and {} is left.", FormatUsd(refusal.asked),
                        FormatUsd(std::max<NanoUsd>(0, refusal.available)))};
  }
  const std::string left = FormatUsd(std::max<NanoUsd>(0, refusal.available));
  std::string message =
      fmt::format("This request may cost up to {}, and ", FormatUsd(refusal.asked));
  message += is_credit ? fmt::format(
                             "\"{}\", which is prepaid, has {} of credit left; its operator "
                             "can grant more",
                             PayerOf(offer.purchase), left)
                       : fmt::format("the budget \"{}\" of {} has {} left", budget->spec.name,
                                     FormatUsd(budget->spec.limit), left);
  if (offer.output_tokens_max.has_value()) {
    const int64_t affordable = pricing::AffordableOutput(
        *offer.prices, BoundsOf(offer, *offer.output_tokens_max), refusal.available);
    if (affordable >= 1) {
      message += fmt::format("; max_tokens {} would fit", affordable);
    }
  }
  return {ErrorCode::kPaymentRequired, message + "."};
}

// What an attempt may spend, read just before it is held for.
struct Bound {
  std::vector<BudgetRoom> budgets;    // that it falls into
  std::optional<AccountNumber> hard;  // of one of them that may not be exceeded
  std::string payer;
  std::optional<NanoUsd> prepaid;  // what is left of the payer's credit, where he may owe nothing

  bool is_hard() const { return hard.has_value() || prepaid.has_value(); }
  NanoUsd room() const {
    NanoUsd room = prepaid.value_or(ledger::kNanoUsdMax);
    for (const BudgetRoom& budget : budgets) {
      if (budget.mode == ledger::Mode::kHard) {
        room = std::min(room, budget.available);
      }
    }
    return room;
  }
};

Bound BoundOf(const Offer& offer, const ScopeNames& names, ledger::Ledger& ledger) {
  Bound bound;
  bound.budgets = ledger.FindRoom(names.all());
  const auto hard = std::ranges::find(bound.budgets, ledger::Mode::kHard, &BudgetRoom::mode);
  if (hard != bound.budgets.end()) {
    bound.hard = hard->number;
  }
  bound.payer = PayerOf(offer.purchase);
  bound.prepaid = ledger.PrepaidLeft(bound.payer);
  return bound;
}

std::string NameOf(const Bound& bound, ledger::Ledger& ledger) {
  return bound.hard.has_value() ? fmt::format("the budget \"{}\"", ledger.BudgetName(*bound.hard))
                                : fmt::format("the credit of {}, which is prepaid,", bound.payer);
}

// Where nothing may be exceeded, whatever the attempt is billed by has to have a price.
Status CheckPriced(const Offer& offer, const Bound& bound, ledger::Ledger& ledger) {
  const bool is_priced = offer.purchase.priced, is_hard = bound.is_hard();
  if (!is_priced && is_hard) {
    return Fail(ErrorCode::kPaymentRequired,
                fmt::format("{} has no price for {} in the catalogue, so {} cannot be "
                            "kept; give the route a price, or ask another one.",
                            offer.purchase.provider, offer.purchase.model, NameOf(bound, ledger)),
                "model");
  }
  if (!offer.billed_apart.empty() && is_hard) {
    return Fail(ErrorCode::kPaymentRequired,
                fmt::format("`{}` is billed apart from tokens, so {} cannot be kept "
                            "with it; leave it out, or use a token without a hard budget.",
                            offer.billed_apart, NameOf(bound, ledger)),
                offer.billed_apart);
  }
  return {};
}

bool SaysItsLength(const Offer& offer) {
  return offer.output_tokens_max.has_value() &&
         !(offer.has_zero_bound && offer.output_tokens_max == 0);
}

struct OutputBound {
  int64_t tokens = 0;    // of each answer
  bool is_sent = false;  // it is none of the request's own, and has to go out with it
};

// How long an answer is held for. Where nothing may be exceeded, no longer than there is room for.
OutputBound OutputBoundOf(const Offer& offer, const Bound& bound) {
  const bool is_bounded = SaysItsLength(offer), is_hard = bound.is_hard();
  int64_t output_max = is_bounded ? *offer.output_tokens_max
                                  : std::min(offer.model_output_max.value_or(kOutputTokensDefault),
                                             kOutputTokensDefault);
  if (offer.has_zero_bound && is_hard) {
    return {std::max<int64_t>(1, *offer.output_tokens_max), true};
  }
  if (is_bounded || !is_hard) {
    return {output_max, false};
  }
  const int64_t affordable =
      pricing::AffordableOutput(*offer.prices, BoundsOf(offer, output_max), bound.room());
  output_max = std::max(affordable, std::min(output_max, kOutputTokensMin));
  return {output_max, true};
}

}  // namespace

std::string BudgetName(std::string_view kind, std::string_view id) {
  return fmt::format("{}:{}", kind, id);
}

pricing::TokenCounts CountsOf(const chat::Usage& usage, int64_t images) {
  pricing::TokenCounts counts;
  counts.input = usage.input_tokens;
  counts.cached = usage.cached_tokens;
  counts.output = usage.output_tokens;
  counts.cache_write = usage.cache_write_tokens;
  counts.reasoning = usage.reasoning_tokens;
  counts.audio_input = usage.audio_input_tokens;
  counts.audio_output = usage.audio_output_tokens;
  counts.images = images;
  return counts;
}

std::string PayerOf(const Purchase& purchase) {
  return purchase.own_key || purchase.org_id.empty() ? "" : "org:" + purchase.org_id;
}

bool IsOutOfBudget(const Error& error) {
  return error.code == ErrorCode::kPaymentRequired && error.param.empty();
}

// --- Metered ---

Status Metered::Sent() {
  if (!hold_.is_open()) {
    return {};
  }
  if (const Status sent = hold_.Sent(); !sent.has_value()) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("The ledger cannot record this request: {}", sent.error().message));
  }
  was_sent_ = true;
  return {};
}

void Metered::UpstreamId(std::string_view id) {
  if (hold_.is_open() && !id.empty()) {
    has_upstream_id_ = true;
    static_cast<void>(hold_.UpstreamId(id.substr(0, kUpstreamIdBytesMax)));
  }
}

void Metered::UpstreamIdWithNext(std::string_view id) {
  has_upstream_id_ = has_upstream_id_ || !id.empty();
  hold_.UpstreamIdWithNext(id.substr(0, kUpstreamIdBytesMax));
}

std::optional<int64_t> Metered::CostOf(const pricing::TokenCounts& counts) const {
  if (purchase_.provider == catalog::kLocalSlug) {
    return 0;
  }
  if (!purchase_.priced) {
    return std::nullopt;
  }
  if (const Result<int64_t> cost = pricing::CostNanoUsd(*prices_, counts); cost.has_value()) {
    return *cost;
  }
  // A usage that contradicts itself, or leaves out what has a price: at its dearest, never for
  // nothing.
  pricing::UsageBounds bounds;
  bounds.input_max = std::max<int64_t>(0, counts.input);
  bounds.output_max = std::max<int64_t>(0, counts.output);
  bounds.images = counts.images;
  bounds.may_have_audio_input = counts.audio_input != 0;
  bounds.may_have_audio_output = counts.audio_output != 0;
  return pricing::WorstCaseNanoUsd(*prices_, bounds).value_or(hold_.cost());
}

std::optional<int64_t> Metered::MeteredCost(int64_t bytes) const {
  if (wants_audio_output_ && purchase_.priced) {
    return hold_.cost();  // what was spoken is not in the bytes of text
  }
  pricing::TokenCounts counts{input_tokens_max_, 0, MeteredTokens(bytes), 0};
  counts.audio_input = has_audio_input_ ? input_tokens_max_ : 0;
  counts.images = images_;
  return CostOf(counts);
}

void Metered::Progress(int64_t delivered_bytes) {
  if (!hold_.is_open() || delivered_bytes == progress_bytes_) {
    return;
  }
  const auto now = clock_->Now();
  if (delivered_bytes - progress_bytes_ < kProgressBytes && now - progress_at_ < kProgressPause) {
    return;
  }
  progress_at_ = now;
  // A kill leaves it unread.
  WriteProgress(delivered_bytes, 0, bills_whole_, ledger::Metering::kRuns);
}

void Metered::WriteProgress(int64_t delivered_bytes, int64_t unread_bytes, bool whole,
                            ledger::Metering metering) {
  progress_bytes_ = delivered_bytes;
  const auto cost_of = [&](int64_t bytes) {
    return std::min(MeteredCost(bytes).value_or(0), hold_.cost());
  };
  static_cast<void>(hold_.Progress(whole ? hold_.cost() : cost_of(delivered_bytes + unread_bytes),
                                   std::min(cost_of(delivered_bytes), hold_.charge()), metering));
}

std::optional<int64_t> Metered::Settle(const Outcome& outcome, std::optional<int64_t> cost,
                                       std::optional<int64_t> charge_max) {
  // More than the ledger takes of one request is a usage that no model has; it is not for nothing.
  if (cost.has_value()) {
    cost = std::min(*cost, ledger::kAmountMax);
  }
  // A caller's own account at the provider pays there, and nothing here.
  const int64_t charge = purchase_.own_key ? 0 : cost.value_or(0);
  static_cast<void>(hold_.Settle(cost.value_or(0), std::min(charge, charge_max.value_or(charge)),
                                 Encode(outcome)));
  return cost;
}

std::optional<int64_t> Metered::SettleByUsage(const Ended& ended, Outcome outcome) {
  const chat::Usage& usage = *ended.usage;
  outcome.input_tokens = std::clamp<int64_t>(usage.input_tokens, 0, kTokensMax);
  outcome.cached_tokens = std::clamp<int64_t>(usage.cached_tokens, 0, outcome.input_tokens);
  outcome.output_tokens = std::clamp<int64_t>(usage.output_tokens, 0, kTokensMax);
  outcome.reasoning_tokens = std::clamp<int64_t>(usage.reasoning_tokens, 0, outcome.output_tokens);
  if (usage.cache_write_tokens.has_value()) {
    outcome.cache_write_tokens = std::clamp<int64_t>(*usage.cache_write_tokens, 0,
                                                     outcome.input_tokens - outcome.cached_tokens);
  }
  outcome.audio_input_tokens =
      std::clamp<int64_t>(usage.audio_input_tokens, 0, outcome.input_tokens);
  outcome.audio_output_tokens =
      std::clamp<int64_t>(usage.audio_output_tokens, 0, outcome.output_tokens);
  outcome.images = images_;
  outcome.source = UsageSource::kProvider;
  outcome.is_beyond =
      purchase_.provider != catalog::kLocalSlug &&
      (outcome.input_tokens > input_tokens_max_ || outcome.output_tokens > output_tokens_max_);
  if (outcome.is_beyond) {
    beyond_bounds_->fetch_add(1, std::memory_order_relaxed);
  }
  pricing::TokenCounts counts = CountsOf(usage, images_);
  counts.input = outcome.input_tokens;
  counts.cached = outcome.cached_tokens;
  counts.output = outcome.output_tokens;
  std::optional<int64_t> charge_max;
  if (ended.unread_bytes > 0) {
    pricing::TokenCounts delivered = counts;
    delivered.output = std::min(counts.output, MeteredTokens(ended.delivered_bytes));
    delivered.reasoning = std::min(counts.reasoning, delivered.output);
    delivered.audio_output = std::min(counts.audio_output, delivered.output - delivered.reasoning);
    charge_max = CostOf(delivered);
  }
  return Settle(outcome, CostOf(counts), charge_max);
}

void Metered::NoteDoubt(Ending ending, const Ended& ended) {
  if (ending == Ending::kDoubtMetered) {
    // What is still to come is billed by some when nobody reads it: as much as was held. When the
    // provider itself has ended it, nothing is.
    const bool goes_on = bills_whole_ && !ended.is_complete && !ended.provider_ended;
    WriteProgress(ended.delivered_bytes, ended.unread_bytes, goes_on, ledger::Metering::kEnded);
  } else if (ending == Ending::kDoubtHeld) {
    static_cast<void>(hold_.Progress(hold_.cost(), 0));
  }
}

std::optional<int64_t> Metered::End(const Ended& ended) {
  constexpr size_t kFinishBytesMax = 256;
  if (!hold_.is_open()) {
    return std::nullopt;
  }
  Ended known = ended;
  known.was_sent = was_sent_;
  known.can_be_asked = has_upstream_id_ ? askable_.theirs : askable_.ours;
  Ending ending = EndingOf(known);
  if (IsDoubt(ending) && purchase_.priced && hold_.cost() == 0) {
    ending = Ending::kMetered;  // whatever it did, it cost nothing
  }
  Outcome outcome;
  outcome.finish = ended.finish.substr(0, kFinishBytesMax);
  switch (ending) {
    case Ending::kSettle:
      return SettleByUsage(ended, std::move(outcome));
    case Ending::kMetered: {
      outcome.input_tokens = input_tokens_max_;
      outcome.output_tokens = MeteredTokens(ended.delivered_bytes + ended.unread_bytes);
      outcome.source = UsageSource::kMetered;
      outcome.images = images_;
      std::optional<int64_t> cost = MeteredCost(ended.delivered_bytes + ended.unread_bytes);
      if (cost.has_value()) {
        cost = std::min(*cost, hold_.cost());  // an estimate is no overrun
      }
      return Settle(outcome, cost, MeteredCost(ended.delivered_bytes));
    }
    case Ending::kVoid:
      static_cast<void>(hold_.Void(outcome.finish));
      return std::nullopt;
    case Ending::kDoubtMetered:
    case Ending::kDoubtHeld:
    case Ending::kDoubtVoid:
      NoteDoubt(ending, ended);
      static_cast<void>(hold_.Doubt(outcome.finish));
      return std::nullopt;
  }
  return std::nullopt;
}

// --- Meter ---

void Meter::SetThrottled(std::set<std::string, std::less<>> names) {
  const std::lock_guard lock(mutex_);
  throttled_ = std::move(names);
  is_throttling_ = !throttled_.empty();
}

Status Meter::CheckThrottle(std::span<const std::string_view> names) {
  constexpr int64_t kRetryAfterMs = 60'000;
  if (!is_throttling_) {
    return {};
  }
  const std::lock_guard lock(mutex_);
  const auto at_fault = std::ranges::find_if(
      names, [this](std::string_view name) { return throttled_.contains(name); });
  if (at_fault == names.end()) {
    return {};
  }
  return Fail(Error{ErrorCode::kTooManyRequests,
                    fmt::format("{} spent unusually fast, and its paid requests are refused for a "
                                "while; its operator can acknowledge the alert.",
                                *at_fault),
                    {},
                    kRetryAfterMs});
}

void Meter::SetBarred(std::vector<BarredRoute> routes) {
  const std::lock_guard lock(mutex_);
  barred_ = std::move(routes);
  is_barring_ = !barred_.empty();
}

Status Meter::CheckBarred(const Purchase& purchase, std::string_view bound) {
  const std::lock_guard lock(mutex_);
  const auto barred = std::ranges::find_if(barred_, [&](const BarredRoute& route) {
    return route.provider == purchase.provider && route.model == purchase.model;
  });
  if (barred == barred_.end()) {
    return {};
  }
  return Fail(
      ErrorCode::kPaymentRequired,
      fmt::format("{} billed more for {} than could be held, so {} is not spent there; ask "
                  "another route. Its operator can allow it again: tradewind alerts ack {}.",
                  purchase.provider, purchase.model, bound, barred->alert_id),
      "model");
}

Result<Metered> Meter::Begin(Offer offer, ledger::Send send) {
  Metered metered;
  metered.prices_ = offer.prices;
  metered.input_tokens_max_ = offer.input_tokens_max;
  metered.images_ = offer.images;
  metered.has_audio_input_ = offer.has_audio_input;
  metered.wants_audio_output_ = offer.wants_audio_output;
  metered.askable_ = offer.askable;
  metered.bills_whole_ = offer.bills_whole;
  metered.beyond_bounds_ = &beyond_bounds_;
  metered.clock_ = &clock_;
  metered.progress_at_ = clock_.Now();
  const bool is_local = offer.purchase.provider == catalog::kLocalSlug;
  const bool is_priced = is_local || (offer.prices != nullptr && offer.prices->is_priced());
  offer.purchase.priced = is_priced;

  // What costs nothing falls into no budget of money.
  const bool is_free = is_local || (is_priced && offer.prices->is_free());
  Bound bound;
  if (!is_free) {
    const ScopeNames names(offer.purchase);
    TW_RETURN_IF_ERROR(CheckThrottle(names.all()));
    bound = BoundOf(offer, names, ledger_);
  }
  TW_RETURN_IF_ERROR(CheckPriced(offer, bound, ledger_));
  if (bound.is_hard() && is_barring_) {
    TW_RETURN_IF_ERROR(CheckBarred(offer.purchase, NameOf(bound, ledger_)));
  }
  offer.purchase.open_ended = !bound.is_hard() && (!SaysItsLength(offer) || offer.has_zero_bound ||
                                                   !offer.billed_apart.empty());
  const OutputBound output = OutputBoundOf(offer, bound);
  if (output.is_sent) {
    metered.output_cap_ = output.tokens;
  }
  if (!offer.purchase.open_ended &&
      __builtin_mul_overflow(output.tokens, offer.choices, &metered.output_tokens_max_)) {
    metered.output_tokens_max_ = INT64_MAX;
  }
  ledger::HoldRequest request;
  request.id = offer.id;
  if (!is_free && is_priced) {
    TW_ASSIGN_OR_RETURN(request.cost,
                        pricing::WorstCaseNanoUsd(*offer.prices, BoundsOf(offer, output.tokens)));
  }
  if (is_priced && !is_local) {
    // Without a ledger to record it in, nothing is bought that would need it.
    metered.price_version_ =
        ledger_.PriceVersion(SpecOf(offer.purchase, *offer.prices)).value_or(0);
    request.price_version = metered.price_version_;
  }
  request.charge = offer.purchase.own_key ? 0 : request.cost;
  request.payer = bound.payer;
  std::vector<AccountNumber> numbers;
  numbers.reserve(bound.budgets.size());
  for (const BudgetRoom& budget : bound.budgets) {
    numbers.push_back(budget.number);
  }
  request.budgets = numbers;
  // What a caller's own account pays is owed to nobody by us.
  request.payee =
      ledger_.Payee((offer.purchase.own_key ? "callers:" : "provider:") + offer.purchase.provider)
          .value_or(ledger::kUnknownPayee);  // Take says why nothing can be written
  request.text = Encode(offer.purchase);
  std::expected<ledger::Hold, Refusal> hold = ledger_.Take(request, send);
  // What costs nothing is not refused because it cannot be counted. Nor, when another process has
  // taken over, what no budget bounds.
  const bool is_full = !hold.has_value() && (hold.error().reason == Refusal::Reason::kStopped ||
                                             hold.error().reason == Refusal::Reason::kTooMany);
  if (is_full && (is_free || (!bound.is_hard() && ledger_.is_released()))) {
    metered.purchase_ = std::move(offer.purchase);
    return metered;
  }
  if (!hold.has_value()) {
    return Fail(NoRoom(hold.error(), ledger_.FindBudget(hold.error().account), offer));
  }
  metered.purchase_ = std::move(offer.purchase);
  metered.hold_ = std::move(*hold);
  metered.was_sent_ = send == ledger::Send::kNow;
  return metered;
}

static_assert(limits::kHoldsInDoubtMax * 2 <= int64_t{ledger::kOpenHoldsMax});

// A clock that jumps is no day in which the provider could have been asked.
bool Meter::IsOverdue(ledger::HoldId id, const ledger::OpenHold& hold,
                      std::chrono::nanoseconds deadline) {
  constexpr std::chrono::nanoseconds kAskedForMin = std::chrono::minutes(30);
  const std::chrono::nanoseconds wall =
      std::chrono::nanoseconds(clock_.WallNow().time_since_epoch()) -
      std::chrono::nanoseconds(hold.since_ns);
  const auto now = clock_.Now();
  const Seen& seen =
      doubts_.try_emplace(id, Seen{now, std::max(wall, std::chrono::nanoseconds(0))}).first->second;
  const std::chrono::nanoseconds watched = now - seen.at;
  // Behind the ledger's own time the wall clock has been set back, and says nothing.
  const bool is_wall_over = wall >= deadline || wall < std::chrono::nanoseconds(0);
  return is_wall_over && seen.age + watched >= deadline &&
         watched >= std::min(deadline, kAskedForMin);
}

void Meter::SettleOverdue(std::chrono::nanoseconds deadline) {
  auto doubts = ledger_.HoldsInDoubt();
  std::ranges::sort(doubts, {}, [](const auto& doubt) { return doubt.second.since_ns; });
  // Beyond so many the oldest do not wait: a provider that fails all day would leave no room for
  // requests that run.
  size_t surplus =
      doubts.size() - std::min(doubts.size(), static_cast<size_t>(limits::kHoldsInDoubtMax));
  std::map<ledger::HoldId, Seen> still;
  for (const auto& [id, hold] : doubts) {
    const bool is_overdue = IsOverdue(id, hold, deadline);
    still.insert(doubts_.extract(id));
    if (surplus > 0) {
      --surplus;
    } else if (!is_overdue) {
      continue;
    }
    if (hold.metered_cost == 0) {
      static_cast<void>(
          ledger_.ResolveVoid(id, "in doubt for too long, and nothing had come of it"));
      continue;
    }
    Outcome outcome;
    outcome.source = hold.metered_cost < hold.cost ? UsageSource::kMetered : UsageSource::kBound;
    outcome.finish = "in doubt for too long";
    static_cast<void>(
        ledger_.ResolveSettled(id, hold.metered_cost, hold.metered_charge, Encode(outcome)));
  }
  doubts_ = std::move(still);
}

}  // namespace tradewind::billing
