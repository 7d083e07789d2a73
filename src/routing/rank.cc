#include "routing/rank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tradewind::routing {
namespace {

constexpr std::array<std::string_view, kCapabilities> kCapabilityWords = {
    "tools", "structured output", "images", "audio input", "logprobs", "reasoning"};
constexpr std::array<std::string_view, kCapabilities> kCapabilityNames = {
    "tools", "json", "vision", "audio", "logprobs", "reasoning"};
constexpr std::array<std::string_view, kExclusions> kExclusionNames = {"model_not_allowed",
                                                                       "provider_not_allowed",
                                                                       "other_model",
                                                                       "not_pinned",
                                                                       "not_local",
                                                                       "not_in_only",
                                                                       "ignored",
                                                                       "disabled",
                                                                       "no_key",
                                                                       "staging",
                                                                       "retains_data",
                                                                       "collects_data",
                                                                       "quantization",
                                                                       "capability_missing",
                                                                       "capability_unknown",
                                                                       "context_too_small",
                                                                       "output_too_small",
                                                                       "unpriced",
                                                                       "too_expensive",
                                                                       "no_fallbacks",
                                                                       "dear_failover"};
constexpr std::array<std::string_view, 6> kPolicyNames = {"fastest", "cheapest", "preferred",
                                                          "private", "pinned",   "local"};

bool Contains(const std::vector<std::string>& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

// Where `word` stands in the list; its size when it does not.
size_t PlaceIn(const std::vector<std::string>& list, std::string_view word) {
  return static_cast<size_t>(std::ranges::find(list, word) - list.begin());
}

int64_t ExpectedOutput(const RouteNeeds& needs) {
  return std::clamp<int64_t>(needs.max_tokens.value_or(kOutputTokensExpected), 0,
                             kOutputTokensExpected);
}

// --- What leaves a route out ---

struct Reason {
  Exclusion code;
  std::string words;
};
using MaybeReason = std::optional<Reason>;

// "org/*" allows every model of an organisation.
bool AllowsModel(const std::vector<std::string>& allowed, std::string_view model) {
  return std::ranges::any_of(allowed, [model](std::string_view entry) {
    return entry.ends_with('*') ? model.starts_with(entry.substr(0, entry.size() - 1))
                                : entry == model;
  });
}

MaybeReason NotPermitted(const RouteFacts& route, const RouteNeeds& needs) {
  if (needs.allowed_models.has_value() && !AllowsModel(*needs.allowed_models, route.model)) {
    return Reason{Exclusion::kModelNotAllowed,
                  fmt::format("the token may not use the model {}", route.model)};
  }
  if (needs.allowed_providers.has_value() && !Contains(*needs.allowed_providers, route.provider)) {
    return Reason{Exclusion::kProviderNotAllowed, "the token may not use this provider"};
  }
  return {};
}

MaybeReason NotAsked(const RouteFacts& route, const RouteNeeds& needs) {
  const Policy policy = PolicyOf(route, needs);
  const std::string& pinned = route.asked.has_value() ? route.asked->pinned : needs.pinned;
  if (!needs.only_model.empty() && route.model != needs.only_model) {
    return Reason{Exclusion::kOtherModel,
                  "the config's [route] fallback lets no other model answer"};
  }
  if (policy == Policy::kPinned && route.provider != pinned) {
    return Reason{Exclusion::kNotPinned, fmt::format("the request names {} and no other", pinned)};
  }
  if ((policy == Policy::kLocal || needs.local_only) && !route.is_local) {
    return Reason{Exclusion::kNotLocal, "only this device is asked for"};
  }
  if (!needs.only.empty() && !Contains(needs.only, route.provider)) {
    return Reason{Exclusion::kNotInOnly, "not among provider.only"};
  }
  if (Contains(needs.ignore, route.provider)) {
    return Reason{Exclusion::kIgnored, "in provider.ignore"};
  }
  return {};
}

MaybeReason NotUsable(const RouteFacts& route, const RouteNeeds& needs) {
  if (!route.enabled) {
    return Reason{Exclusion::kDisabled, "the provider is switched off"};
  }
  if (!route.key_present && !route.is_local) {
    return Reason{Exclusion::kNoKey,
                  fmt::format("no key for it: tradewind login --provider {}", route.provider)};
  }
  const bool sees_staging = route.asked.has_value() ? route.asked->see_staging : needs.see_staging;
  if (route.status == RouteStatus::kStaging && !sees_staging) {
    return Reason{Exclusion::kStaging, "not released yet (staging)"};
  }
  return {};
}

MaybeReason NotPrivateEnough(const RouteFacts& route, const RouteNeeds& needs) {
  if (route.is_local) {
    return {};
  }
  const bool keeps_none =
      PolicyOf(route, needs) == Policy::kPrivate || needs.keep_private || needs.zero_data_retention;
  if (keeps_none && route.data_policy != DataPolicy::kNoRetention) {
    return Reason{Exclusion::kRetainsData, route.data_policy == DataPolicy::kUnknown
                                               ? "it is not known to keep no data"
                                               : "it keeps data"};
  }
  if (needs.deny_data_collection && route.data_policy != DataPolicy::kNoTraining &&
      route.data_policy != DataPolicy::kNoRetention) {
    return Reason{Exclusion::kCollectsData, route.data_policy == DataPolicy::kUnknown
                                                ? "it is not known to collect no data"
                                                : "it may train on data"};
  }
  return {};
}

MaybeReason NotAble(const RouteFacts& route, const RouteNeeds& needs) {
  const std::string_view quantization =
      route.quantization.empty() ? "unknown" : std::string_view(route.quantization);
  if (!needs.quantizations.empty() && !Contains(needs.quantizations, quantization)) {
    return Reason{Exclusion::kQuantization,
                  fmt::format("quantization {} is not among {}", quantization,
                              fmt::join(needs.quantizations, ", "))};
  }
  for (const Capability capability : needs.capabilities) {
    if (route[capability] == Known::kNo) {
      return Reason{Exclusion::kCapabilityMissing,
                    fmt::format("no support for {}", CapabilityWords(capability))};
    }
  }
  for (const Capability capability : needs.capabilities) {
    if (needs.require_parameters && route[capability] == Known::kUnknown) {
      return Reason{Exclusion::kCapabilityUnknown,
                    fmt::format("support for {} is not known, and require_parameters is set",
                                CapabilityWords(capability))};
    }
  }
  return {};
}

MaybeReason TooSmall(const RouteFacts& route, const RouteNeeds& needs) {
  const int64_t output = std::max<int64_t>(needs.max_tokens.value_or(1), 0);
  const int64_t input =
      std::max<int64_t>(needs.input_tokens, 0) / std::max<int64_t>(needs.prompts, 1);
  if (route.context_length.has_value() &&
      (input > *route.context_length || output > *route.context_length - input)) {
    return Reason{Exclusion::kContextTooSmall,
                  fmt::format("about {} prompt tokens and {} to write do not fit its context of {}",
                              input, output, *route.context_length)};
  }
  if (route.max_output_tokens.has_value() && output > *route.max_output_tokens) {
    return Reason{Exclusion::kOutputTooSmall,
                  fmt::format("max_tokens {} is over its {}", output, *route.max_output_tokens)};
  }
  return {};
}

MaybeReason OverPrice(const RouteFacts& route, const RouteNeeds& needs) {
  const MaxPrice& most = needs.max_price;
  if (!most.input_nanousd_per_mtok && !most.output_nanousd_per_mtok && !most.request_nanousd) {
    return {};
  }
  if (!route.price.has_value()) {
    return Reason{Exclusion::kUnpriced, "its price is not known, and there is a price cap"};
  }
  const auto over = [](int64_t price, const std::optional<int64_t>& cap,
                       std::string_view per) -> MaybeReason {
    if (!cap.has_value() || price <= *cap) {
      return {};
    }
    return Reason{Exclusion::kTooExpensive, fmt::format("{} USD {} is over the cap of {}",
                                                        UsdText(price), per, UsdText(*cap))};
  };
  MaybeReason reason = over(route.price->input_nanousd_per_mtok, most.input_nanousd_per_mtok,
                            "per million input tokens");
  if (!reason.has_value()) {
    reason = over(route.price->output_nanousd_per_mtok, most.output_nanousd_per_mtok,
                  "per million output tokens");
  }
  if (!reason.has_value()) {
    reason = over(route.price->request_nanousd, most.request_nanousd, "per request");
  }
  return reason;
}

MaybeReason WhyNot(const RouteFacts& route, const RouteNeeds& needs) {
  for (const auto check :
       {NotPermitted, NotAsked, NotUsable, NotPrivateEnough, NotAble, TooSmall, OverPrice}) {
    if (MaybeReason reason = check(route, needs); reason.has_value()) {
      return reason;
    }
  }
  return {};
}

// --- In what order ---

int RestOf(const RouteFacts& route) {
  switch (route.health.availability) {
    case Availability::kKeyHeld:
      // Whom the caller's own account was to pay, others' do not unasked: it keeps its place.
      return route.own_key ? 0 : 2;
    case Availability::kHeld:
      return 1;
    case Availability::kReady:
    case Availability::kTrial:
      break;
  }
  return route.status == RouteStatus::kError ? 1 : 0;
}

size_t NamedPlace(const RouteFacts& route, const RouteNeeds& needs) {
  if (!needs.order.empty()) {
    return PlaceIn(needs.order, route.provider);
  }
  const Policy policy = PolicyOf(route, needs);
  const bool by_user = policy == Policy::kPreferred || policy == Policy::kPrivate;
  if (!by_user || needs.sort != SortBy::kPolicy) {
    return 0;
  }
  const size_t place = PlaceIn(needs.user_order, route.provider);
  return place == needs.user_order.size() && route.is_local ? 0 : place + 1;
}

// 0 meets, 1 not known, 2 misses; the worse of both.
int PreferenceMissed(const RouteFacts& route, const RouteNeeds& needs) {
  int missed = 0;
  if (needs.preferred_max_latency_ms.has_value()) {
    const auto& ttft_ms = route.health.ttft_ms;
    missed = !ttft_ms.has_value() ? 1 : *ttft_ms > *needs.preferred_max_latency_ms ? 2 : 0;
  }
  if (needs.preferred_min_tokens_per_second.has_value()) {
    const auto& speed = route.health.tokens_per_second;
    const int by_speed = !speed.has_value()                                ? 1
                         : *speed < *needs.preferred_min_tokens_per_second ? 2
                                                                           : 0;
    missed = std::max(missed, by_speed);
  }
  return missed;
}

// Less is better; infinity when it was never measured, and 0 when speed does not matter here.
double SpeedMeasureOf(const RouteFacts& route, const RouteNeeds& needs) {
  constexpr double kUnmeasured = std::numeric_limits<double>::infinity();
  const HealthSnapshot& health = route.health;
  switch (needs.sort) {
    case SortBy::kPrice:
      return 0;
    case SortBy::kThroughput:
      return health.tokens_per_second.has_value() ? -*health.tokens_per_second : kUnmeasured;
    case SortBy::kLatency:
      return health.ttft_ms.value_or(kUnmeasured);
    case SortBy::kPolicy:
      break;
  }
  return PolicyOf(route, needs) == Policy::kFastest
             ? ExpectedMs(health, needs).value_or(kUnmeasured)
             : 0;
}

double SpeedMeasure(const RouteFacts& route, const RouteNeeds& needs) {
  const double measure = SpeedMeasureOf(route, needs);
  return std::isnan(measure) ? std::numeric_limits<double>::infinity() : measure;
}

struct SortKey {
  int rest;
  int model_rank;
  size_t named_place;
  bool capability_unknown;
  int preference_missed;
  double speed;
  bool unpriced;
  __int128 cost;
  std::string_view provider;
  std::string_view provider_model;
  std::string_view model;
  size_t index;  // only twins come to this

  auto Tie() const {
    return std::tie(rest, model_rank, named_place, capability_unknown, preference_missed, speed,
                    unpriced, cost, provider, provider_model, model, index);
  }
  auto TieWithoutRest() const {
    return std::tie(model_rank, named_place, capability_unknown, preference_missed, speed, unpriced,
                    cost, provider, provider_model, model, index);
  }
};

SortKey KeyOf(const RouteFacts& route, size_t index, const RouteNeeds& needs) {
  return {.rest = RestOf(route),
          .model_rank = needs.across_models ? 0 : route.model_rank,
          .named_place = NamedPlace(route, needs),
          .capability_unknown = std::ranges::any_of(
              needs.capabilities, [&](Capability c) { return route[c] != Known::kYes; }),
          .preference_missed = PreferenceMissed(route, needs),
          .speed = SpeedMeasure(route, needs),
          .unpriced = !route.price.has_value(),
          .cost = route.price.has_value() ? ExpectedCost(*route.price, needs) : 0,
          .provider = route.provider,
          .provider_model = route.provider_model,
          .model = route.model,
          .index = index};
}

// allow_fallbacks false: only what the request names, or else the first, may be tried. The config's
// `off` leaves the first alone, whatever the request says.
void DropFallbacks(std::span<const RouteFacts> facts, const RouteNeeds& needs, Ranking& ranking) {
  const bool by_order = !needs.allow_fallbacks && !needs.order.empty();
  // A key of the caller's own that was refused keeps its place, unless he pays for another one.
  const auto rests = [&](const Candidate& candidate) {
    const RouteFacts& route = facts[candidate.index];
    return route.own_key && route.health.availability == Availability::kKeyHeld;
  };
  if (!ranking.candidates.empty() && rests(ranking.candidates.front())) {
    const auto other = std::ranges::find_if(ranking.candidates, [&](const Candidate& candidate) {
      const RouteFacts& route = facts[candidate.index];
      return !rests(candidate) && (route.own_key || route.is_local);
    });
    if (other != ranking.candidates.end()) {
      std::rotate(ranking.candidates.begin(), other, other + 1);
    }
  }
  std::vector<Candidate> kept;
  for (const Candidate& candidate : ranking.candidates) {
    const bool is_named = !by_order || Contains(needs.order, facts[candidate.index].provider);
    const bool is_one_more = !kept.empty() && (!by_order || needs.only_best);
    if (is_named && !is_one_more) {
      kept.push_back(candidate);
    } else {
      ranking.left_out.push_back({candidate.index, Exclusion::kNoFallbacks,
                                  is_named ? "fallbacks are off, and another route is better"
                                           : "fallbacks are off, and it is not in provider.order"});
    }
  }
  ranking.candidates = std::move(kept);
}

// What failover is measured by: the cost of the route that would be first if none rested, as one
// that is down for days must not make a dear one usual. What the catalogue or a probe says is
// broken, or would not take our key, never was an alternative. 0: nothing costs anything.
// `model_rank`: of the routes of one model string alone.
__int128 FirstCost(std::span<const RouteFacts> facts, std::span<const SortKey> keys,
                   std::optional<int> model_rank = {}) {
  const SortKey* first = nullptr;
  for (const SortKey& key : keys) {
    const RouteFacts& route = facts[key.index];
    const bool is_usable = key.rest == 0 || (route.status != RouteStatus::kError &&
                                             route.health.availability == Availability::kHeld);
    const bool is_meant = model_rank.value_or(route.model_rank) == route.model_rank;
    if (is_meant && is_usable && !key.unpriced && key.cost > 0 &&
        (first == nullptr || key.TieWithoutRest() < first->TieWithoutRest())) {
      first = &key;
    }
  }
  return first == nullptr ? 0 : first->cost;
}

// By the places of model strings: a model that the request lists may be dearer than the one before
// it, but of its own routes the first is the measure, as no other was asked for.
std::map<int, __int128> DearMeasures(std::span<const RouteFacts> facts, const RouteNeeds& needs,
                                     std::span<const SortKey> keys) {
  const __int128 first = FirstCost(facts, keys);
  std::map<int, __int128> measures;
  for (const SortKey& key : keys) {
    const int model_rank = facts[key.index].model_rank;
    if (!measures.contains(model_rank)) {
      measures[model_rank] = needs.dear_failover.value_or(true)
                                 ? std::max(first, FirstCost(facts, keys, model_rank))
                                 : first;
    }
  }
  return measures;
}

// A route of unknown price is not known to be dear.
void DropDear(std::span<const RouteFacts> facts, const RouteNeeds& needs, Ranking& ranking,
              std::vector<SortKey>& keys) {
  const std::map<int, __int128> measures = DearMeasures(facts, needs, keys);
  std::erase_if(keys, [&](const SortKey& key) {
    const __int128 first = measures.at(facts[key.index].model_rank);
    const bool is_ordered =
        needs.dear_failover.value_or(true) && Contains(needs.order, key.provider);
    const bool is_dear =
        first > 0 && !key.unpriced && !is_ordered && key.cost > first * needs.dear_times;
    if (is_dear) {
      ranking.left_out.push_back(
          {key.index, Exclusion::kDearFailover,
           fmt::format("is expected to cost {} times what the first route does, and failover "
                       "beyond {} times is off ([route] dear_failover, provider.dear_failover)",
                       static_cast<int64_t>(std::min<__int128>(key.cost / first, 1'000'000)),
                       needs.dear_times)});
    }
    return is_dear;
  });
}

}  // namespace

std::string_view CapabilityWords(Capability capability) {
  return kCapabilityWords[static_cast<size_t>(capability)];
}

std::optional<Capability> CapabilityNamed(std::string_view name) {
  const auto found = std::ranges::find(kCapabilityNames, name);
  return found == kCapabilityNames.end()
             ? std::nullopt
             : std::optional(static_cast<Capability>(found - kCapabilityNames.begin()));
}

bool IsNamed(const RouteFacts& route, const RouteNeeds& needs) {
  return needs.dear_failover.value_or(true) &&
         (route.model_rank > 0 || Contains(needs.order, route.provider));
}

bool IsAskedFor(const RouteFacts& route, const RouteNeeds& needs) {
  return route.model_rank > 0 || Contains(needs.order, route.provider) ||
         PolicyOf(route, needs) == Policy::kPinned;
}

Policy PolicyOf(const RouteFacts& route, const RouteNeeds& needs) {
  return route.asked.has_value() ? route.asked->policy : needs.policy;
}

std::string_view PolicyName(Policy policy) {
  return kPolicyNames[static_cast<size_t>(policy)];
}

std::optional<Policy> PolicyNamed(std::string_view name) {
  const auto found = std::ranges::find(kPolicyNames, name);
  if (found == kPolicyNames.end() || name == PolicyName(Policy::kPinned)) {
    return std::nullopt;
  }
  return static_cast<Policy>(found - kPolicyNames.begin());
}

std::string_view ExclusionName(Exclusion exclusion) {
  return kExclusionNames[static_cast<size_t>(exclusion)];
}

__int128 ExpectedCost(const Price& price, const RouteNeeds& needs) {
  const __int128 input = std::max<int64_t>(needs.input_tokens, 0);
  return input * price.input_nanousd_per_mtok +
         static_cast<__int128>(ExpectedOutput(needs)) * price.output_nanousd_per_mtok +
         static_cast<__int128>(price.request_nanousd) * 1'000'000;
}

std::optional<double> ExpectedMs(const HealthSnapshot& health, const RouteNeeds& needs) {
  if (!health.tokens_per_second.has_value() || !(*health.tokens_per_second > 0)) {
    return std::nullopt;
  }
  return health.ttft_ms.value_or(kTtftUnknownMs) +
         static_cast<double>(ExpectedOutput(needs)) * 1'000 / *health.tokens_per_second;
}

std::string UsdText(int64_t nanousd) {
  constexpr int64_t kNano = 1'000'000'000;
  std::string text = fmt::format("{}{}.{:09}", nanousd < 0 ? "-" : "", std::abs(nanousd / kNano),
                                 std::abs(nanousd % kNano));
  while (text.ends_with('0') && text[text.size() - 3] != '.') {
    text.pop_back();
  }
  return text;
}

Ranking Rank(std::span<const RouteFacts> facts, const RouteNeeds& needs) {
  Ranking ranking;
  std::vector<SortKey> keys;
  keys.reserve(facts.size());
  for (size_t i = 0; i < facts.size(); ++i) {
    if (MaybeReason reason = WhyNot(facts[i], needs); reason.has_value()) {
      ranking.left_out.push_back({i, reason->code, std::move(reason->words)});
    } else {
      keys.push_back(KeyOf(facts[i], i, needs));
    }
  }
  if (needs.dear_times > 0) {
    DropDear(facts, needs, ranking, keys);
  }
  std::ranges::sort(keys, [](const SortKey& a, const SortKey& b) { return a.Tie() < b.Tie(); });
  ranking.candidates.reserve(keys.size());
  for (const SortKey& key : keys) {
    ranking.candidates.push_back({key.index, key.rest > 0});
  }
  if (!needs.allow_fallbacks || needs.only_best) {
    DropFallbacks(facts, needs, ranking);
  }
  std::ranges::sort(ranking.left_out, {}, [&](const LeftOut& out) {
    const RouteFacts& route = facts[out.index];
    return std::tie(route.provider, route.provider_model, route.model, out.index);
  });
  return ranking;
}

}  // namespace tradewind::routing
