// A model string and what the request needs -> the routes to try, best first, each with its health.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "routing/health.h"
#include "routing/market.h"
#include "routing/rank.h"

namespace tradewind::routing {

class ProbeBook;

// One mapping by what its provider calls it: nothing else is looked at.
struct NamedMapping {
  std::string provider;  // slug
  std::string provider_model;
};

struct PlanRequest {
  std::vector<std::string> models;         // as written, suffix and all; then the fallbacks
  std::optional<NamedMapping> named = {};  // instead of `models`, which is empty then
  std::string task = "conversational";
  RouteNeeds needs;  // what the config says of routes is added
  // Which key of the caller's own goes to a provider, in HealthBook's names; nullopt: none, so that
  // the operator's does. May be empty: nobody has one.
  std::function<std::optional<std::string>(std::string_view slug)> own_key_ref;
};

struct PlannedRoute {
  const MarketPlace* place = nullptr;
  const catalog::Model* model = nullptr;
  const catalog::Mapping* mapping = nullptr;
  RouteHealth* health = nullptr;
  bool last_resort = false;
  bool is_named = false;      // by the request, to follow its first route (routing::IsNamed)
  bool is_asked_for = false;  // by name (routing::IsAskedFor)

  bool is_local() const { return place->is_local(); }
  const std::string& slug() const { return mapping->provider; }
};

struct Plan {
  std::shared_ptr<const Market> market;  // what the pointers point into
  std::vector<PlannedRoute> routes;      // at least one
  // For `route explain`: every fact, and the ranking over them.
  std::vector<RouteFacts> facts;
  Ranking ranking;
  RouteNeeds needs;  // with what the asked model's string and the config say
  SecondTries second_tries() const;
  std::vector<std::string> unknown;  // of `models`, beyond the first: nobody has these
};

// What each string says behind its colon (place, policy) holds for its own model; but `private` of
// the asked one is about the request's data, and holds for its fallbacks too. A fallback that is
// not known is skipped; a route that two strings lead to is planned once.
//
// `probes`: what they found counts over what the catalogue says; null: nothing is known.
// Errors: kModelNotSupported with param "model": which providers were looked at, and why each does
// not serve this.
Result<Plan> MakePlan(std::shared_ptr<const Market> market, HealthBook& health,
                      const PlanRequest& request, const ProbeBook* probes = nullptr);
// The same, but a request that no route can serve is a plan without routes: to explain it.
Result<Plan> ExplainPlan(std::shared_ptr<const Market> market, HealthBook& health,
                         const PlanRequest& request, const ProbeBook* probes = nullptr);

// USD per million tokens in nano-USD, rounded up beyond nine places; for ranking, not for bills.
// Negative when it cannot be held.
int64_t NanoUsdPerMtok(const Decimal& usd_per_mtok);

}  // namespace tradewind::routing
