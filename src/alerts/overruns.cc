#include "alerts/overruns.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "billing/meter.h"
#include "billing/usd.h"

namespace tradewind::alerts {
namespace {

using billing::AttemptRow;
using billing::FormatUsd;

// A route's scope: of the provider and the model, as budgets name both; behind the organisation
// whose own key pays.
constexpr std::string_view kOrgPart = "org:", kProviderPart = "provider:", kModelPart = "/model:";

std::string RouteScope(const billing::Purchase& bought) {
  return fmt::format("{}{}{}", billing::BudgetName("provider", bought.provider), kModelPart,
                     bought.model);
}

// What an attempt shows of its route.
Alert OfRoute(Kind kind, std::string_view name, const AttemptRow& row, ledger::NanoUsd amount) {
  Alert alert;
  alert.kind = kind;
  alert.dedup = fmt::format("{}:{}:{}", name, row.id.request.ToString(), row.id.attempt);
  alert.scope = RouteScope(row.purchase);
  alert.raised_ns = row.ended_ns;
  alert.amount = amount;
  return alert;
}

// To the organisation whose own key pays there, if it is one's.
void Narrow(Alert& alert, std::string_view org_id) {
  if (!org_id.empty()) {
    alert.org_id = org_id;
    alert.scope = fmt::format("{}{}/{}", kOrgPart, org_id, alert.scope);
  }
}

// Of what BarredOf has made.
std::optional<billing::BarredRoute> RouteOf(const Alert& alert) {
  std::string_view scope = alert.scope;
  billing::BarredRoute route;
  if (scope.starts_with(kOrgPart)) {  // ids and slugs have no slashes
    const size_t end = std::min(scope.find('/'), scope.size() - 1);
    route.org_id = scope.substr(kOrgPart.size(), end - kOrgPart.size());
    scope.remove_prefix(end + 1);
  }
  const size_t end = scope.find(kModelPart);
  if (!scope.starts_with(kProviderPart) || end == std::string_view::npos) {
    return std::nullopt;
  }
  route.provider = scope.substr(kProviderPart.size(), end - kProviderPart.size());
  route.model = scope.substr(end + kModelPart.size());
  route.alert_id = alert.id;
  return route;
}

}  // namespace

Alert OverrunOf(const AttemptRow& row) {
  const std::string id = row.id.request.ToString();
  Alert alert;
  alert.kind = Kind::kOverrun;
  alert.dedup = fmt::format("overrun:{}:{}", id, row.id.attempt);
  alert.scope = billing::BudgetName("provider", row.purchase.provider);
  alert.org_id = row.purchase.org_id;
  alert.raised_ns = row.ended_ns;
  alert.amount = row.cost - row.held;
  alert.text = fmt::format("{} billed {} for request {}, {} more than was held for it.",
                           row.purchase.provider, FormatUsd(row.cost), id, FormatUsd(alert.amount));
  return alert;
}

Alert UsageOf(const AttemptRow& row) {
  const std::string id = row.id.request.ToString();
  Alert alert = OfRoute(Kind::kUsage, "usage", row, row.cost);
  alert.text = fmt::format(
      "{} counts {} tokens of input and {} of output (thoughts: {}) for request {} of {}, which is "
      "more than its length, its bounds or the bytes of its answer allow. It is told once, until "
      "this is acknowledged.",
      row.purchase.provider, row.outcome.input_tokens, row.outcome.output_tokens,
      row.outcome.reasoning_tokens, id, row.purchase.model);
  return alert;
}

Alert BarredOf(const AttemptRow& row, const billing::BarredRoute& route) {
  const std::string id = row.id.request.ToString();
  Alert alert = OfRoute(Kind::kBarred, "barred", row, row.cost - row.held);
  Narrow(alert, route.org_id);
  const std::string whose =
      route.org_id.empty()
          ? "Hard budgets are not spent"
          : fmt::format("Hard budgets of {} are not spent, by its own key,", route.org_id);
  if (row.cost <= row.held) {
    alert.text = fmt::format(
        "{} on {} at {} any more, until this is acknowledged: request {} was served at a service "
        "tier that has no price here, so nobody knows what it cost. Give "
        "the route the tier's prices (service_tiers), or have requests name \"default\".",
        whose, row.purchase.model, row.purchase.provider, id);
    return alert;
  }
  alert.text = fmt::format(
      "{} on {} at {} any more, until this is acknowledged: {} were billed for request {}, and {} "
      "was the most that it could cost by its price and bounds.",
      whose, row.purchase.model, row.purchase.provider, FormatUsd(row.cost), id,
      FormatUsd(row.held));
  return alert;
}

Result<std::vector<billing::BarredRoute>> BarredNow(storage::Database& database) {
  TW_ASSIGN_OR_RETURN(const std::vector<Alert> open, OpenAlerts(database, Kind::kBarred));
  std::vector<billing::BarredRoute> routes;
  for (const Alert& alert : open) {
    if (std::optional<billing::BarredRoute> route = RouteOf(alert); route.has_value()) {
      routes.push_back(std::move(*route));
    }
  }
  return routes;
}

}  // namespace tradewind::alerts
