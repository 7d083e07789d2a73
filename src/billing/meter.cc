// Whole because what a purchase may cost, what there is room for, and what is held are one
// decision: each of them looks at the same offer.
#include "billing/meter.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/limits.h"
#include "billing/price_version.h"
#include "billing/usd.h"

namespace tradewind::billing {

// What an attempt may spend, read just before it is held for.
struct SpendingBound {
  std::vector<ledger::BudgetRoom> budgets;    // that it falls into
  std::optional<ledger::AccountNumber> hard;  // of one of them that may not be exceeded
  std::string payer, purposes;
  std::optional<ledger::NanoUsd>
      prepaid;  // what is left of the payer's credit, where he may owe nothing

  bool is_hard() const { return hard.has_value() || prepaid.has_value(); }
  ledger::NanoUsd room() const {
    ledger::NanoUsd room = prepaid.value_or(ledger::kNanoUsdMax);
    for (const ledger::BudgetRoom& budget : budgets) {
      if (budget.mode == ledger::Mode::kHard) {
        room = std::min(room, budget.available);
      }
    }
    return room;
  }
};

struct OutputBound {
  int64_t tokens = 0;    // of each answer
  bool is_sent = false;  // it is none of the request's own, and has to go out with it
};

namespace {

using ledger::AccountNumber;
using ledger::BudgetRoom;
using ledger::BudgetState;
using ledger::NanoUsd;
using ledger::Refusal;

constexpr std::string_view kDearParam = "provider.dear_failover";

// The names of all budgets that a purchase may fall into. Made for every attempt, so in one piece
// of memory. What a caller's own account at the provider pays is no spending of the server's.
class ScopeNames {
 public:
  explicit ScopeNames(const Purchase& purchase) {
    const std::array<std::pair<std::string_view, const std::string*>, 4> scopes = {
        {{"key", &purchase.key_id},
         {"user", &purchase.user_id},
         {"project", &purchase.project_id},
         {"org", &purchase.org_id}}};
    constexpr size_t kRest = 3 * sizeof("project:/provider:");
    size_t bytes = purchase.model.size() + purchase.provider.size() + kRest;
    for (const auto& [kind, id] : scopes) {
      bytes += 3 * id->size() + purchase.model.size() + purchase.provider.size() + kRest;
    }
    text_.reserve(bytes);  // so that the views stay where they are
    const bool is_probe = purchase.key_id == kProbesScope;
    if (is_probe) {
      Add({kProbesScope});
    }
    for (const auto& [kind, id] : scopes) {
      if (!id->empty() && !is_probe) {
        Add({kind, ":", *id});
        Add({kind, ":", *id, "/model:", purchase.model});
        Add({kind, ":", *id, "/provider:", purchase.provider});
      }
    }
    if (!purchase.own_key) {
      Add({kServerScope});
      Add({kProviderScope, purchase.provider});
      Add({kModelScope, purchase.model});
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
  std::array<std::string_view, 15> names_;
  static_assert(std::tuple_size_v<decltype(names_)> < ledger::kLegsMax, "credits are legs, too");
  size_t size_ = 0;
};

pricing::UsageBounds BoundsOf(const Offer& offer, int64_t output_max) {
  pricing::UsageBounds bounds;
  bounds.input_max = offer.input_tokens_max;
  bounds.output_max = output_max;
  bounds.cap_trust = offer.cap_trust;
  bounds.model_output_max = offer.model_output_max;
  bounds.choices = offer.choices;
  bounds.images = offer.images;
  bounds.may_have_audio_input = offer.has_audio_input;
  bounds.may_have_audio_output = offer.wants_audio_output;
  bounds.may_write_cache_1h = offer.wants_long_cache;
  bounds.service = offer.prices->ServiceOf(offer.service_tier);
  return bounds;
}

// Of an answer whose length the request does not say.
int64_t OutputMaxOf(const Offer& offer) {
  return std::min(offer.model_output_max.value_or(offer.output_default), offer.output_default);
}
// The same, where it is sent.
int64_t SentMaxOf(const Offer& offer) {
  const int64_t most = OutputMaxOf(offer);
  return std::min(most, offer.output_sent_max.value_or(most));
}
int64_t SentMinOf(const Offer& offer) {
  return std::min(SentMaxOf(offer), offer.output_min);
}

bool IsForRoom(const Refusal& refusal) {
  return refusal.reason == Refusal::Reason::kBudget || refusal.reason == Refusal::Reason::kCredit;
}

// Nothing that a budget or a credit says: nothing can be recorded.
bool IsOfTheLedger(const Refusal& refusal) {
  return refusal.reason == Refusal::Reason::kStopped ||
         refusal.reason == Refusal::Reason::kTooMany ||
         refusal.reason == Refusal::Reason::kHandedOver;
}

// 503 is for what is over in a moment: some clients ask again at once and for ever. What lasts has
// other words.
Error NotRecorded(const Refusal& refusal) {
  constexpr int64_t kSoonMs = 1'000, kTooManyMs = 5'000, kLastsMs = 60'000;
  switch (refusal.reason) {
    case Refusal::Reason::kHandedOver:
      return {ErrorCode::kUnavailable,
              "Another process has taken over this server: ask again, on a new connection.",
              {},
              kSoonMs};
    case Refusal::Reason::kTooMany:
      return {ErrorCode::kTooManyRequests,
              fmt::format("The ledger admits no paid request now: {}.", refusal.detail),
              {},
              kTooManyMs};
    default:
      return {ErrorCode::kResourceExhausted,
              fmt::format("The ledger admits no paid request: {}.", refusal.detail),
              {},
              kLastsMs};
  }
}

// No budget is at fault, but a price, or a length.
Error BeyondEveryHold(const Offer& offer) {
  return {
      ErrorCode::kPaymentRequired,
      fmt::format("At its price {} may bill more than {} for this request to {}, and so much is "
                  "held for none; name a smaller max_tokens, or have the operator look at the "
                  "price of that route.",
                  offer.purchase.provider, FormatUsd(ledger::kAmountMax), offer.purchase.model),
      "model"};
}

Error NoRoom(const Refusal& refusal, const std::optional<BudgetState>& budget, const Offer& offer) {
  if (IsOfTheLedger(refusal)) {
    return NotRecorded(refusal);
  }
  const bool is_credit = refusal.reason == Refusal::Reason::kCredit;
  if (!is_credit && (refusal.reason != Refusal::Reason::kBudget || !budget.has_value())) {
    return {ErrorCode::kPaymentRequired,
            fmt::format("What the request may cost cannot be held: {}.",
                        ledger::RefusalName(refusal.reason)),
            "model"};
  }
  const std::string left = FormatUsd(std::max<NanoUsd>(0, refusal.available));
  std::string message =
      fmt::format("This request may cost up to {}, and ", FormatUsd(refusal.asked));
  if (is_credit) {
    message +=
        fmt::format("\"{}\", which is prepaid, has {} of credit left; its operator can grant more",
                    PayerOf(offer.purchase), left);
  } else if (IsServerScope(budget->spec.name)) {
    // How much the operator allows himself is told to nobody else.
    message += fmt::format("the server's own budget \"{}\" has no room for it", budget->spec.name);
  } else {
    message += fmt::format(
        "the budget \"{}\" of {}{} has {} left", budget->spec.name, FormatUsd(budget->spec.limit),
        budget->spec.dimension == ledger::Dimension::kCharge ? " of charges" : "", left);
  }
  constexpr int64_t kNamingTokens = 32;  // a bound is in the body, which is held for by its bytes
  pricing::UsageBounds bounds = BoundsOf(offer, offer.output_tokens_max.value_or(SentMinOf(offer)));
  if (!offer.output_tokens_max.has_value()) {
    message +=
        fmt::format("; as it names no max_tokens, it is given {} at least", bounds.output_max);
    bounds.input_max += kNamingTokens;
  }
  const int64_t affordable = pricing::AffordableOutput(*offer.prices, bounds, refusal.available);
  if (affordable >= 1) {
    message += fmt::format("; max_tokens {} would fit", affordable);
  }
  return {ErrorCode::kPaymentRequired, message + "."};
}

SpendingBound BoundOf(const Offer& offer, const ScopeNames& names, ledger::Ledger& ledger) {
  SpendingBound bound;
  bound.budgets = ledger.FindRoom(names.all());
  if (offer.purchase.own_key) {  // it is charged nothing
    std::erase_if(bound.budgets, [](const BudgetRoom& budget) {
      return budget.dimension == ledger::Dimension::kCharge;
    });
  }
  const auto hard = std::ranges::find(bound.budgets, ledger::Mode::kHard, &BudgetRoom::mode);
  if (hard != bound.budgets.end()) {
    bound.hard = hard->number;
  }
  bound.payer = PayerOf(offer.purchase);
  bound.purposes = PurposesOf(offer.purchase);
  bound.prepaid = ledger.PrepaidLeft(bound.payer, bound.purposes);
  return bound;
}

std::string NameOf(const SpendingBound& bound, ledger::Ledger& ledger) {
  return bound.hard.has_value() ? fmt::format("the budget \"{}\"", ledger.BudgetName(*bound.hard))
                                : fmt::format("the credit of {}, which is prepaid,", bound.payer);
}

// Where nothing may be exceeded, whatever the attempt is billed by has to have a price.
Status CheckPriced(const Offer& offer, const SpendingBound& bound, ledger::Ledger& ledger) {
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
  if (offer.writes_unpriced && is_hard) {
    return Fail(
        ErrorCode::kPaymentRequired,
        fmt::format("`cache_control` has {0} write its prompt to a cache, and the route has "
                    "no price of that, so {1} cannot be kept with it; give the route "
                    "`cache_write_usd_per_mtok`, leave `cache_control` out, or use a token "
                    "without a hard budget.",
                    offer.purchase.provider, NameOf(bound, ledger)),
        "cache_control");
  }
  if (!offer.unknown_field.empty() && is_hard) {
    return Fail(ErrorCode::kPaymentRequired,
                fmt::format("`{0}` is no field of which it is known here what it may cost, so {1} "
                            "cannot be kept with it; leave it out, name it in `harmless_fields` "
                            "of {2} in the config, or use a token without a hard budget.",
                            offer.unknown_field, NameOf(bound, ledger), offer.purchase.provider),
                offer.unknown_field);
  }
  return {};
}

bool SaysItsLength(const Offer& offer) {
  return offer.output_tokens_max.has_value() &&
         !(offer.has_zero_bound && offer.output_tokens_max == 0);
}

// Nothing that it may be held for costs anything.
bool IsFree(const Offer& offer) {
  return offer.purchase.provider == catalog::kLocalSlug ||
         (offer.purchase.priced && offer.prices->is_free());
}

// How long an answer is held for. Where nothing may be exceeded, no longer than there is room for.
OutputBound OutputBoundOf(const Offer& offer, const SpendingBound& bound) {
  // A budget makes no answer shorter of which nothing is held.
  const bool is_bounded = SaysItsLength(offer), is_hard = bound.is_hard() && !IsFree(offer);
  if (offer.has_zero_bound && is_hard) {
    return {std::max<int64_t>(1, *offer.output_tokens_max), true};
  }
  if (is_bounded || !is_hard) {
    return {is_bounded ? *offer.output_tokens_max : OutputMaxOf(offer), false};
  }
  const int64_t affordable =
      pricing::AffordableOutput(*offer.prices, BoundsOf(offer, SentMaxOf(offer)), bound.room());
  return {std::max(affordable, SentMinOf(offer)), true};
}

}  // namespace

bool IsServerScope(std::string_view scope) {
  return scope == kServerScope || scope == kProbesScope || scope.starts_with(kProviderScope) ||
         scope.starts_with(kModelScope);
}

std::string BudgetName(std::string_view kind, std::string_view id) {
  return fmt::format("{}:{}", kind, id);
}

std::string PayerOf(const Purchase& purchase) {
  return purchase.own_key || purchase.org_id.empty() ? "" : "org:" + purchase.org_id;
}

std::string PurposesOf(const Purchase& purchase) {
  std::string purposes(kModelScope);
  purposes.append(purchase.model).append("\n").append(kProviderScope).append(purchase.provider);
  return purposes.size() > ledger::kPurposesBytesMax ? "" : purposes;
}

bool IsOutOfBudget(const Error& error) {
  return error.code == ErrorCode::kPaymentRequired && error.param.empty();
}

bool IsBeyondRequest(const Error& error) {
  return error.code == ErrorCode::kPaymentRequired && error.param == kDearParam;
}

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
                                "while; this server's operator can end that: tradewind alerts "
                                "ack ID.",
                                *at_fault),
                    {},
                    kRetryAfterMs});
}

Status Meter::CheckBarred(const Purchase& purchase, const SpendingBound& bound) {
  const std::optional<BarredRoute> barred = bars_.Find(purchase, bound.is_hard());
  if (!barred.has_value()) {
    return {};
  }
  const std::string why =
      barred->for_all
          ? fmt::format(
                "{} billed more than {} times what could be held for {}, so it is not "
                "asked for it",
                purchase.provider, kAbsurdTimes, purchase.model)
          : fmt::format(
                "{} billed more for {} than could be held, or what has no price, so {} is "
                "not spent there",
                purchase.provider, purchase.model, NameOf(bound, ledger_));
  return Fail(ErrorCode::kPaymentRequired,
              fmt::format("{}; ask another route. Its operator can allow it again: tradewind "
                          "alerts ack {}.",
                          why, barred->alert_id == 0 ? "ID" : std::to_string(barred->alert_id)),
              "model");
}

// What an attempt has to know of its offer; its money comes later.
Metered Meter::Prepare(const Offer& offer) {
  Metered metered;
  static const catalog::Prices kNone;
  metered.prices_ = offer.prices == nullptr ? &kNone : offer.prices;
  metered.service_ = metered.prices_->ServiceOf(offer.service_tier);
  metered.input_tokens_max_ = offer.input_tokens_max;
  metered.input_tokens_likely_ = offer.input_tokens_likely;
  metered.images_ = offer.images;
  metered.choices_ = offer.choices;
  metered.has_audio_input_ = offer.has_audio_input;
  metered.wants_audio_output_ = offer.wants_audio_output;
  metered.thinks_unseen_ = offer.thinks_unseen;
  metered.hides_answers_ = offer.hides_answers;
  metered.wants_long_cache_ = offer.wants_long_cache;
  metered.askable_ = offer.askable;
  metered.bills_whole_ = offer.bills_whole;
  metered.price_varies_ = offer.price_varies;
  metered.meter_ = this;
  metered.clock_ = &clock_;
  metered.progress_at_ = clock_.Now();
  return metered;
}

// How long an answer there is room for, if the attempt may be made at all.
Result<OutputBound> Meter::Fit(const SpendingBound& bound, Offer& offer, Metered& metered) {
  TW_RETURN_IF_ERROR(CheckPriced(offer, bound, ledger_));
  if (bars_.any()) {
    TW_RETURN_IF_ERROR(CheckBarred(offer.purchase, bound));
  }
  offer.purchase.open_ended = !bound.is_hard();
  const bool may_run_on =
      (!bound.is_hard() || IsFree(offer)) &&
      (!SaysItsLength(offer) || offer.has_zero_bound || !offer.billed_apart.empty());
  const OutputBound output = OutputBoundOf(offer, bound);
  metered.output_cap_ = output.is_sent ? std::optional(output.tokens) : std::nullopt;
  const int64_t billed = offer.cap_trust.Bound(output.tokens, offer.model_output_max);
  if (may_run_on || __builtin_mul_overflow(billed, offer.choices, &metered.output_tokens_max_)) {
    metered.output_tokens_max_ = INT64_MAX;
  }
  return output;
}

// Without its budgets, which the caller has.
Result<ledger::HoldRequest> Meter::RequestOf(const SpendingBound& bound, const OutputBound& output,
                                             const Offer& offer, Metered& metered) {
  const Purchase& bought = offer.purchase;
  const bool is_local = bought.provider == catalog::kLocalSlug;
  ledger::HoldRequest request;
  request.id = offer.id;
  if (bought.priced && !is_local) {
    const Result<NanoUsd> cost =
        pricing::WorstCaseNanoUsd(*offer.prices, BoundsOf(offer, output.tokens));
    if (cost.has_value() ? *cost > ledger::kAmountMax
                         : cost.error().code == ErrorCode::kResourceExhausted) {
      return Fail(BeyondEveryHold(offer));
    }
    TW_ASSIGN_OR_RETURN(request.cost, cost);
    // Without a ledger to record it in, nothing is bought that would need it.
    metered.price_version_ = ledger_.PriceVersion(SpecOf(bought, *offer.prices)).value_or(0);
    request.price_version = metered.price_version_;
  }
  if (offer.cost_max.has_value() && request.cost > *offer.cost_max) {
    return Fail(
        ErrorCode::kPaymentRequired,
        fmt::format("One more attempt may cost {}, and what this request's attempts may "
                    "cost together leaves {}; "
                    "\"provider\": {{\"dear_failover\": true}} allows more.",
                    FormatUsd(request.cost), FormatUsd(std::max<NanoUsd>(0, *offer.cost_max))),
        std::string(kDearParam));
  }
  request.charge = bought.own_key || offer.charges_nobody ? 0 : request.cost;
  request.payer = bound.payer;
  request.purposes = bound.purposes;
  // What a caller's own account pays is owed to nobody by us.
  request.payee = ledger_.Payee((bought.own_key ? "callers:" : "provider:") + bought.provider)
                      .value_or(ledger::kUnknownPayee);  // Take says why nothing can be written
  request.text = Encode(bought);
  return request;
}

Result<Metered> Meter::Begin(Offer offer, ledger::Send send,
                             std::optional<ledger::Refusal>* refused) {
  const bool is_local = offer.purchase.provider == catalog::kLocalSlug;
  offer.purchase.askable = offer.askable.theirs;
  offer.purchase.askable_by_ours = offer.askable.ours;
  offer.purchase.billed_apart = offer.billed_apart;
  offer.purchase.priced = is_local || (offer.prices != nullptr && offer.prices->is_priced());
  Metered metered = Prepare(offer);
  // The model on this device falls into no budget of money. A route at zero does: nothing is held
  // of it, and what it is billed all the same counts.
  const bool is_free = IsFree(offer);
  std::optional<ScopeNames> names;
  if (!is_local) {
    names.emplace(offer.purchase);
  }
  if (!is_free) {
    TW_RETURN_IF_ERROR(CheckThrottle(names->all()));
  }
  // An answer whose length is ours to choose is held for as long as there is room; what another
  // thread takes of that meanwhile makes it shorter, and is no reason to refuse it.
  constexpr int kFittings = 4;
  Refusal refusal;
  for (int i = 0; i < kFittings; ++i) {
    const SpendingBound bound = is_local ? SpendingBound() : BoundOf(offer, *names, ledger_);
    TW_ASSIGN_OR_RETURN(const OutputBound output, Fit(bound, offer, metered));
    TW_ASSIGN_OR_RETURN(ledger::HoldRequest request, RequestOf(bound, output, offer, metered));
    std::vector<AccountNumber> numbers;
    numbers.reserve(bound.budgets.size());
    for (const BudgetRoom& budget : bound.budgets) {
      numbers.push_back(budget.number);
    }
    request.budgets = numbers;
    request.is_strict = offer.is_strict && !is_free;
    std::expected<ledger::Hold, Refusal> hold = ledger_.Take(request, send);
    if (hold.has_value()) {
      metered.hold_ = std::move(*hold);
      metered.was_sent_ = send == ledger::Send::kNow;
    }
    // What costs nothing is not refused because it cannot be counted.
    if (hold.has_value() || (is_free && IsOfTheLedger(hold.error()))) {
      metered.purchase_ = std::move(offer.purchase);
      return metered;
    }
    refusal = std::move(hold).error();
    if (!output.is_sent || !IsForRoom(refusal)) {
      break;
    }
  }
  if (refused == nullptr) {
    ledger_.NoteRefused(refusal);
  } else {
    *refused = refusal;
  }
  return Fail(NoRoom(refusal, ledger_.FindBudget(refusal.account), offer));
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

namespace {

// Void in the end, and nobody can say sooner: an error came before anything that costs. Whoever
// could be asked when it began may be so again: a config that lacks him for a moment forgets
// nothing.
bool IsSurelyForgotten(const ledger::OpenHold& hold, const Meter::Askable& askable) {
  if (!askable || hold.cost == 0 || hold.metered_cost > 0) {
    return false;
  }
  const Purchase bought = DecodePurchase(hold.text);
  const AskableIds can = askable(bought.provider);
  return hold.upstream_id.empty() ? !can.ours && !bought.askable_by_ours
                                  : !can.theirs && !bought.askable;
}

}  // namespace

void Meter::SettleOverdue(std::chrono::nanoseconds deadline, const Askable& askable) {
  constexpr std::chrono::nanoseconds kErrorDeadline = std::chrono::minutes(10);
  auto doubts = ledger_.DoubtsToAskAbout();
  std::ranges::sort(doubts, {}, [](const auto& doubt) { return doubt.second.since_ns; });
  // Beyond so many the oldest do not wait: a provider that fails all day would leave no room for
  // requests that run.
  size_t surplus =
      doubts.size() - std::min(doubts.size(), static_cast<size_t>(limits::kHoldsInDoubtMax));
  std::map<ledger::HoldId, Seen> still;
  for (const auto& [id, hold] : doubts) {
    const bool is_overdue = IsOverdue(
        id, hold, IsSurelyForgotten(hold, askable) ? std::min(deadline, kErrorDeadline) : deadline);
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
    Outcome outcome = SaidOf(hold);
    if (outcome.source != UsageSource::kProvider) {
      outcome.source = hold.metered_cost < hold.cost ? UsageSource::kMetered : UsageSource::kBound;
    }
    outcome.finish = "in doubt for too long";
    static_cast<void>(
        ledger_.ResolveSettled(id, hold.metered_cost, hold.metered_charge, Encode(outcome)));
  }
  doubts_ = std::move(still);
}

}  // namespace tradewind::billing
