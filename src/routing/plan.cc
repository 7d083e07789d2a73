#include "routing/plan.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "catalog/model_ref.h"
#include "routing/probe_book.h"

namespace tradewind::routing {
namespace {

constexpr size_t kNamedBytesMax = 100;  // of a model string in an error

DataPolicy PolicyOf(catalog::DataPolicy policy) {
  switch (policy) {
    case catalog::DataPolicy::kUnknown:
      return DataPolicy::kUnknown;
    case catalog::DataPolicy::kRetention:
      return DataPolicy::kMayTrain;
    case catalog::DataPolicy::kNoRetention:
      return DataPolicy::kNoRetention;
  }
  return DataPolicy::kUnknown;
}

RouteStatus StatusOf(catalog::MappingStatus status) {
  switch (status) {
    case catalog::MappingStatus::kStaging:
      return RouteStatus::kStaging;
    case catalog::MappingStatus::kLive:
      return RouteStatus::kLive;
    case catalog::MappingStatus::kError:
      return RouteStatus::kError;
  }
  return RouteStatus::kError;
}

Known KnownOf(const std::optional<bool>& value) {
  return value.has_value() ? (*value ? Known::kYes : Known::kNo) : Known::kUnknown;
}

// All prompts of the request together; what is more than the context is refused, and not billed.
int64_t InputTokensMax(const PlannedRoute& route, const RouteNeeds& needs) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const catalog::Mapping& mapping = *route.mapping;
  const std::vector<std::string>& takes = mapping.input_modalities;
  int64_t further = 0;
  if (route.place->upstream->may_be_any_server) {
    const bool may_take_pictures =
        takes.empty() || std::ranges::find(takes, "image") != takes.end();
    further = needs.resolved_tokens_max + (may_take_pictures ? needs.picture_tokens_max : 0);
  }
  const int64_t tokens =
      needs.input_tokens_max > kMost - further ? kMost : needs.input_tokens_max + further;
  const bool is_bounded =
      mapping.context_length.has_value() && *mapping.context_length <= kMost / needs.prompts;
  const int64_t once =
      is_bounded ? std::min(tokens, *mapping.context_length * needs.prompts) : tokens;
  return once > kMost / needs.answers_each ? kMost : once * needs.answers_each;
}

// Of the tier that the request is expected to fall into; where a cap is to be kept, of the dearest
// that it can reach, and of the dearest kind of token that it may be billed for.
std::optional<Price> PriceOf(const PlannedRoute& route, const RouteNeeds& needs) {
  const catalog::Prices& prices = route.mapping->prices;
  const bool is_capped =
      needs.max_price.input_nanousd_per_mtok || needs.max_price.output_nanousd_per_mtok;
  const size_t service = prices.ServiceOf(needs.service_tier);
  const catalog::TokenPrices of =
      is_capped ? prices.Dearest(InputTokensMax(route, needs), service)
                : prices.OfService(service).OfTier(prices.TierOf(needs.input_tokens));
  if (!of.is_priced()) {
    return std::nullopt;
  }
  Price price;
  const bool hears = is_capped && needs.has_sound, speaks = is_capped && needs.wants_sound;
  price.input_nanousd_per_mtok =
      NanoUsdPerMtok(*(hears ? std::max(of.input, of.audio_input) : of.input));
  price.output_nanousd_per_mtok =
      NanoUsdPerMtok(*(speaks ? std::max(of.output, of.audio_output) : of.output));
  price.request_nanousd = NanoUsdPerMtok(prices.request.value_or(Decimal()));
  const auto fits = [](int64_t amount) { return amount >= 0 && amount <= kPriceMax; };
  return fits(price.input_nanousd_per_mtok) && fits(price.output_nanousd_per_mtok) &&
                 fits(price.request_nanousd)
             ? std::optional(price)
             : std::nullopt;
}

void SetCapabilities(const catalog::Mapping& mapping, RouteFacts& facts) {
  facts[Capability::kTools] = KnownOf(mapping.supports_tools);
  facts[Capability::kStructuredOutput] = KnownOf(mapping.supports_structured_output);
  if (!mapping.input_modalities.empty()) {
    const bool sees =
        std::ranges::find(mapping.input_modalities, "image") != mapping.input_modalities.end();
    facts[Capability::kVision] = sees ? Known::kYes : Known::kNo;
  }
  if (facts.is_local) {
    for (const Capability missing :
         {Capability::kTools, Capability::kStructuredOutput, Capability::kVision}) {
      facts[missing] = Known::kNo;
    }
    facts[Capability::kLogprobs] = Known::kYes;
  }
}

// Measured beats told; what the operator wrote into the config about his own provider stays.
void SetProbed(const catalog::Mapping& mapping, const ProbeBook* probes, RouteFacts& facts) {
  const auto verdict = probes == nullptr
                           ? std::nullopt
                           : probes->VerdictOf(mapping.provider, mapping.provider_model);
  if (!verdict.has_value()) {
    return;
  }
  if (verdict->status.has_value() && facts.status != RouteStatus::kStaging) {
    facts.status = *verdict->status;
    facts.status_words = verdict->words;
  }
  const bool is_written = mapping.source == catalog::Source::kConfig;
  const auto adopt = [&](Capability capability, Known seen) {
    if (seen != Known::kUnknown && !(is_written && facts[capability] != Known::kUnknown)) {
      facts[capability] = seen;
    }
  };
  adopt(Capability::kTools, verdict->supports_tools);
  adopt(Capability::kStructuredOutput, verdict->supports_structured_output);
}

RouteFacts FactsOf(const PlannedRoute& route, int model_rank, const Asked& asked,
                   const PlanRequest& request, const ProbeBook* probes) {
  const catalog::Mapping& mapping = *route.mapping;
  RouteFacts facts;
  facts.provider = mapping.provider;
  facts.model = mapping.hf_model;
  facts.provider_model = mapping.provider_model;
  facts.model_rank = model_rank;
  facts.asked = asked;
  facts.is_local = route.is_local();
  SetCapabilities(mapping, facts);
  facts.context_length = mapping.context_length;
  facts.max_output_tokens = mapping.max_output;
  facts.price = facts.is_local ? std::optional(Price{}) : PriceOf(route, request.needs);
  facts.data_policy =
      facts.is_local ? DataPolicy::kNoRetention : PolicyOf(route.place->provider->data_policy);
  facts.quantization = mapping.quantization;
  facts.status = StatusOf(mapping.status);
  SetProbed(mapping, probes, facts);
  const std::optional<std::string> own_key =
      request.own_key_ref ? request.own_key_ref(mapping.provider) : std::nullopt;
  facts.own_key = own_key.has_value();
  facts.key_present = facts.is_local || route.place->has_key() || own_key.has_value();
  facts.health = route.health->Snapshot(own_key.value_or(std::string()));
  return facts;
}

// Which model a string means. The provider's own id counts where its provider is named.
Result<const catalog::Model*> FindModel(const catalog::Catalog& catalog,
                                        const catalog::ModelRef& ref) {
  if (ref.place == catalog::Place::kProvider) {
    if (const catalog::Mapping* mapping = catalog.FindByProviderModel(ref.suffix, ref.model)) {
      return catalog.Find(mapping->hf_model);
    }
  }
  Result<const catalog::Model*> found = catalog.Resolve(ref.model);
  const bool is_served = found.has_value() && ref.tag.empty();
  if (!is_served) {
    return Fail(catalog::ExplainUnsupported(catalog, ref));
  }
  return found;
}

Asked AskedBy(const catalog::ModelRef& ref, const catalog::RouteConfig& config) {
  switch (ref.place) {
    case catalog::Place::kDefault:
      break;
    case catalog::Place::kLocal:
      return {.policy = Policy::kLocal};
    case catalog::Place::kProvider:
      return {.policy = Policy::kPinned, .pinned = ref.suffix, .see_staging = true};
    case catalog::Place::kPolicy:
      return {.policy = PolicyNamed(ref.suffix).value_or(Policy::kPreferred)};
  }
  return {.policy = PolicyNamed(catalog::RoutePolicyName(config.default_policy))
                        .value_or(Policy::kPreferred)};
}

// What the asked model's string and the config say of the whole request.
void SetNeeds(const Asked& asked, const catalog::Model& model, const catalog::RouteConfig& config,
              RouteNeeds& needs) {
  needs.policy = asked.policy;
  needs.pinned = asked.pinned;
  needs.see_staging = asked.see_staging;
  needs.user_order = config.order;
  needs.keep_private |=
      asked.policy == Policy::kPrivate || config.data_policy == catalog::DataRule::kNoRetention;
  needs.local_only |= config.data_policy == catalog::DataRule::kLocalOnly;
  needs.only_best |= config.fallback == catalog::Fallback::kOff;
  needs.dear_times = needs.dear_failover.value_or(config.dear_failover) ? 0 : kDearTimes;
  if (config.fallback != catalog::Fallback::kList) {
    needs.only_model = model.id;
  }
}

bool Serves(const catalog::Mapping& mapping, std::string_view task) {
  // A model for conversations completes texts too; where it does not, its provider says so.
  return mapping.task == task || (task == "text-generation" && mapping.task == "conversational");
}

struct AskedModel {
  const catalog::Model* model = nullptr;
  Asked asked;
};

Result<AskedModel> ReadModel(const Market& market, const std::string& text) {
  const catalog::Catalog& catalog = market.catalog();
  TW_ASSIGN_OR_RETURN(const catalog::ModelRef ref,
                      catalog::ParseModelRef(text, catalog::RefSource::kWire, catalog.slugs()));
  TW_ASSIGN_OR_RETURN(const catalog::Model* model, FindModel(catalog, ref));
  return AskedModel{model, AskedBy(ref, market.route())};
}

struct Considered {
  const catalog::Model* model = nullptr;
  const catalog::Mapping* mapping = nullptr;
  int rank = 0;
  Asked asked;
};

// The mappings of the model strings, each with its own place and policy. Fallbacks that nobody
// knows are `unknown`.
Result<std::vector<Considered>> ConsiderModels(const Market& market, const PlanRequest& request,
                                               RouteNeeds& needs,
                                               std::vector<std::string>& unknown) {
  std::vector<Considered> all;
  for (size_t rank = 0; rank < request.models.size(); ++rank) {
    const std::string& text = request.models[rank];
    const auto before = request.models.begin() + static_cast<ptrdiff_t>(rank);
    if (std::find(request.models.begin(), before, text) != before) {
      continue;
    }
    const Result<AskedModel> read = ReadModel(market, text);
    if (!read.has_value() && rank > 0) {
      unknown.push_back(text.substr(0, kNamedBytesMax));
      continue;
    }
    if (!read.has_value()) {
      return Fail(read.error());
    }
    if (rank == 0) {
      SetNeeds(read->asked, *read->model, market.route(), needs);
    }
    for (const catalog::Mapping& mapping : read->model->mappings) {
      if (Serves(mapping, request.task)) {
        all.push_back({read->model, &mapping, static_cast<int>(rank), read->asked});
      }
    }
  }
  return all;
}

// The one mapping that is meant: a pair that is not in the catalogue has no price and no policy,
// and nothing is sent to it.
Result<std::vector<Considered>> ConsiderNamed(const Market& market, const PlanRequest& request,
                                              RouteNeeds& needs) {
  const NamedMapping& named = *request.named;
  const catalog::Mapping* mapping =
      market.catalog().FindByProviderModel(named.provider, named.provider_model);
  if (mapping == nullptr || !Serves(*mapping, request.task)) {
    return Fail(
        ErrorCode::kModelNotSupported,
        fmt::format("\"{}\" is no {} model of {} that this server knows: on the provider's "
                    "own path `model` is the provider's id, as `tradewind search` shows it.",
                    named.provider_model, request.task, named.provider),
        "model");
  }
  const Asked asked{.policy = Policy::kPinned, .pinned = named.provider, .see_staging = true};
  const catalog::Model* model = market.catalog().Find(mapping->hf_model);
  SetNeeds(asked, *model, market.route(), needs);
  return std::vector<Considered>{{model, mapping, 0, asked}};
}

Error NoRoute(const Plan& plan, const std::string& asked) {
  std::vector<std::string> reasons;
  const auto add = [&reasons](std::string reason) {
    if (std::ranges::find(reasons, reason) == reasons.end()) {
      reasons.push_back(std::move(reason));
    }
  };
  for (const LeftOut& left_out : plan.ranking.left_out) {
    add(fmt::format("{}: {}", plan.facts[left_out.index].provider, left_out.reason));
  }
  for (const std::string& unknown : plan.unknown) {
    add(fmt::format("the fallback \"{}\" is not known", unknown));
  }
  return {
      ErrorCode::kModelNotSupported,
      reasons.empty()
          ? fmt::format("No provider serves \"{}\" for this kind of request.", asked)
          : fmt::format("No route can serve \"{}\" as asked: {}.", asked, fmt::join(reasons, "; ")),
      "model",
      {}};
}

// Two model strings may lead to one route; the first that does so counts.
void DropTwins(const std::vector<RouteFacts>& facts, Ranking& ranking) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  std::erase_if(ranking.candidates, [&](const Candidate& candidate) {
    const RouteFacts& route = facts[candidate.index];
    return !seen.emplace(route.provider, route.provider_model).second;
  });
}

}  // namespace

SecondTries Plan::second_tries() const {
  return needs.only_best ? SecondTries::kOff : SecondTries::kYes;
}

int64_t NanoUsdPerMtok(const Decimal& usd_per_mtok) {
  __int128 value = usd_per_mtok.digits();
  bool has_rest = false;
  for (int i = usd_per_mtok.exponent() + 9; i > 0; --i) {
    value *= 10;
    if (value > kPriceMax) {
      return -1;
    }
  }
  for (int i = usd_per_mtok.exponent() + 9; i < 0; ++i) {
    has_rest |= value % 10 != 0;
    value /= 10;
  }
  value += has_rest ? 1 : 0;
  return value < 0 || value > kPriceMax ? -1 : static_cast<int64_t>(value);
}

Result<Plan> ExplainPlan(std::shared_ptr<const Market> market, HealthBook& health,
                         const PlanRequest& request, const ProbeBook* probes) {
  Plan plan;
  RouteNeeds needs = request.needs;
  TW_ASSIGN_OR_RETURN(const std::vector<Considered> considered,
                      request.named.has_value()
                          ? ConsiderNamed(*market, request, needs)
                          : ConsiderModels(*market, request, needs, plan.unknown));
  std::vector<PlannedRoute> all;
  for (const auto& [model, mapping, rank, asked] : considered) {
    if (const MarketPlace* place = market->Find(mapping->provider); place != nullptr) {
      const PlannedRoute route{place, model, mapping,
                               &health.Route(mapping->provider, mapping->provider_model), false};
      plan.facts.push_back(FactsOf(route, rank, asked, request, probes));
      all.push_back(route);
    }
  }
  // What only this device could serve is not left out for what it lacks: its refusal says more.
  if (std::ranges::all_of(plan.facts, &RouteFacts::is_local)) {
    needs.capabilities.clear();
  }
  plan.ranking = Rank(plan.facts, needs);
  DropTwins(plan.facts, plan.ranking);
  plan.needs = std::move(needs);
  for (const Candidate& candidate : plan.ranking.candidates) {
    plan.routes.push_back(all[candidate.index]);
    plan.routes.back().last_resort = candidate.last_resort;
    plan.routes.back().is_named = IsNamed(plan.facts[candidate.index], plan.needs);
    plan.routes.back().is_asked_for = IsAskedFor(plan.facts[candidate.index], plan.needs);
  }
  plan.market = std::move(market);
  return plan;
}

Result<Plan> MakePlan(std::shared_ptr<const Market> market, HealthBook& health,
                      const PlanRequest& request, const ProbeBook* probes) {
  TW_ASSIGN_OR_RETURN(Plan plan, ExplainPlan(std::move(market), health, request, probes));
  if (plan.routes.empty()) {
    return Fail(NoRoute(
        plan, request.named.has_value() ? request.named->provider_model : request.models.front()));
  }
  return plan;
}

}  // namespace tradewind::routing
