#include "routing/plan.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "catalog/model_ref.h"
#include "routing/probe_book.h"

namespace tradewind::routing {
namespace {

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

std::optional<Price> PriceOf(const catalog::Prices& prices) {
  if (!prices.is_priced()) {
    return std::nullopt;
  }
  Price price;
  price.input_nanousd_per_mtok = NanoUsdPerMtok(*prices.input);
  price.output_nanousd_per_mtok = NanoUsdPerMtok(*prices.output);
  const bool fits = price.input_nanousd_per_mtok >= 0 && price.output_nanousd_per_mtok >= 0 &&
                    price.input_nanousd_per_mtok <= kPriceMax &&
                    price.output_nanousd_per_mtok <= kPriceMax;
  return fits ? std::optional(price) : std::nullopt;
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

RouteFacts FactsOf(const PlannedRoute& route, int model_rank, const PlanRequest& request,
                   const ProbeBook* probes) {
  const catalog::Mapping& mapping = *route.mapping;
  RouteFacts facts;
  facts.provider = mapping.provider;
  facts.model = mapping.hf_model;
  facts.provider_model = mapping.provider_model;
  facts.model_rank = model_rank;
  facts.is_local = route.is_local();
  SetCapabilities(mapping, facts);
  facts.context_length = mapping.context_length;
  facts.max_output_tokens = mapping.max_output;
  facts.price = facts.is_local ? std::optional(Price{}) : PriceOf(mapping.prices);
  facts.data_policy =
      facts.is_local ? DataPolicy::kNoRetention : PolicyOf(route.place->provider->data_policy);
  facts.quantization = mapping.quantization;
  facts.status = StatusOf(mapping.status);
  SetProbed(mapping, probes, facts);
  facts.key_present = facts.is_local || route.place->has_key() ||
                      (request.has_own_key && request.has_own_key(mapping.provider));
  facts.health = route.health->Snapshot();
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

void SetPolicy(const catalog::ModelRef& ref, const catalog::RouteConfig& config,
               RouteNeeds& needs) {
  needs.user_order = config.order;
  needs.keep_private |= config.data_policy == catalog::DataRule::kNoRetention;
  needs.local_only |= config.data_policy == catalog::DataRule::kLocalOnly;
  switch (ref.place) {
    case catalog::Place::kDefault:
      needs.policy =
          PolicyNamed(catalog::RoutePolicyName(config.default_policy)).value_or(Policy::kPreferred);
      break;
    case catalog::Place::kLocal:
      needs.policy = Policy::kLocal;
      break;
    case catalog::Place::kProvider:
      needs.policy = Policy::kPinned;
      needs.pinned = ref.suffix;
      needs.see_staging = true;
      break;
    case catalog::Place::kPolicy:
      needs.policy = PolicyNamed(ref.suffix).value_or(Policy::kPreferred);
      break;
  }
}

bool Serves(const catalog::Mapping& mapping, std::string_view task) {
  // A model for conversations completes texts too; where it does not, its provider says so.
  return mapping.task == task || (task == "text-generation" && mapping.task == "conversational");
}

struct Considered {
  const catalog::Model* model = nullptr;
  const catalog::Mapping* mapping = nullptr;
  int rank = 0;
};

// The mappings of the model strings, and the policy of the first one.
Result<std::vector<Considered>> ConsiderModels(const Market& market, const PlanRequest& request,
                                               RouteNeeds& needs) {
  const catalog::Catalog& catalog = market.catalog();
  std::vector<Considered> all;
  for (size_t rank = 0; rank < request.models.size(); ++rank) {
    TW_ASSIGN_OR_RETURN(
        const catalog::ModelRef ref,
        catalog::ParseModelRef(request.models[rank], catalog::RefSource::kWire, catalog.slugs()));
    TW_ASSIGN_OR_RETURN(const catalog::Model* model, FindModel(catalog, ref));
    if (rank == 0) {
      SetPolicy(ref, market.route(), needs);
    }
    for (const catalog::Mapping& mapping : model->mappings) {
      const bool is_other_pin =
          rank > 0 && ref.place == catalog::Place::kProvider && mapping.provider != ref.suffix;
      if (!is_other_pin && Serves(mapping, request.task)) {
        all.push_back({model, &mapping, static_cast<int>(rank)});
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
  catalog::ModelRef pin;
  pin.place = catalog::Place::kProvider;
  pin.suffix = named.provider;
  SetPolicy(pin, market.route(), needs);
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
  return std::vector<Considered>{{market.catalog().Find(mapping->hf_model), mapping, 0}};
}

Error NoRoute(const Plan& plan, const std::string& asked) {
  std::vector<std::string> reasons;
  for (const LeftOut& left_out : plan.ranking.left_out) {
    reasons.push_back(fmt::format("{}: {}", plan.facts[left_out.index].provider, left_out.reason));
  }
  return {
      ErrorCode::kModelNotSupported,
      reasons.empty()
          ? fmt::format("No provider serves \"{}\" for this kind of request.", asked)
          : fmt::format("No route can serve \"{}\" as asked: {}.", asked, fmt::join(reasons, "; ")),
      "model",
      {}};
}

}  // namespace

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
                      request.named.has_value() ? ConsiderNamed(*market, request, needs)
                                                : ConsiderModels(*market, request, needs));
  std::vector<PlannedRoute> all;
  for (const auto& [model, mapping, rank] : considered) {
    if (const MarketPlace* place = market->Find(mapping->provider); place != nullptr) {
      const PlannedRoute route{place, model, mapping,
                               &health.Route(mapping->provider, mapping->provider_model), false};
      plan.facts.push_back(FactsOf(route, rank, request, probes));
      all.push_back(route);
    }
  }
  // What only this device could serve is not left out for what it lacks: its refusal says more.
  if (std::ranges::all_of(plan.facts, &RouteFacts::is_local)) {
    needs.capabilities.clear();
  }
  plan.ranking = Rank(plan.facts, needs);
  plan.needs = std::move(needs);
  for (const Candidate& candidate : plan.ranking.candidates) {
    plan.routes.push_back(all[candidate.index]);
    plan.routes.back().last_resort = candidate.last_resort;
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
