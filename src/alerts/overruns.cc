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
// whose own key pays, and behind kAllPart where nobody may use it.
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
  if (scope.starts_with(kAllPart)) {
    route.for_all = true;
    scope.remove_prefix(kAllPart.size());
  }
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
  const billing::Purchase& bought = row.purchase;
  const ledger::NanoUsd billed = row.cost + row.outcome.unposted;
  Alert alert = OfRoute(Kind::kOverrun, "overrun", row, billed - row.held);
  Narrow(alert, bought.own_key ? std::string_view(bought.org_id) : std::string_view());
  alert.text =
      fmt::format("{} billed {} for request {} of {}, {} more than was held for it.",
                  bought.provider, FormatUsd(billed), id, bought.model, FormatUsd(alert.amount));
  if (row.outcome.unposted > 0) {
    alert.text += fmt::format(" {} are posted of it, and no more.", FormatUsd(row.cost));
  }
  return alert;
}

Result<bool> CountOverrun(storage::Database& database, const Alert& more) {
  TW_ASSIGN_OR_RETURN(const std::vector<Alert> open, OpenAlerts(database, more.kind, more.scope));
  if (open.empty()) {
    return false;
  }
  const Alert& told = open.back();
  TW_RETURN_IF_ERROR(
      database.Run("INSERT INTO alert_repeats VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET count = "
                   "count + 1",
                   told.id, std::string_view(told.text)));
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT count, text FROM alert_repeats WHERE alert = ?1"));
  query.Bind(1, told.id);
  TW_RETURN_IF_ERROR(query.Next());
  const ledger::NanoUsd amount =
      told.amount + std::min(more.amount, ledger::kNanoUsdMax - std::max<int64_t>(0, told.amount));
  const std::string text =
      fmt::format("{} So were {} more since then: {} more than was held in all.", query.Text(1),
                  query.Integer(0), FormatUsd(amount));
  query.Reset();
  TW_RETURN_IF_ERROR(database.Run("UPDATE alerts SET amount = ?1, text = ?2 WHERE id = ?3",
                                  int64_t{amount}, std::string_view(text), told.id));
  return true;
}

Alert UsageOf(const AttemptRow& row) {
  const std::string id = row.id.request.ToString();
  Alert alert = OfRoute(Kind::kUsage, "usage", row, row.cost);
  if (!row.outcome.is_beyond) {
    alert.text = fmt::format(
        "{} counts {} tokens of request {} of {} as written to its cache (cache_write), and the "
        "route has no price of that: they are settled as other input, which may be too little. "
        "Give the route cache_write_usd_per_mtok (the price of its input, where writing costs no "
        "more). It is told once, until this is acknowledged.",
        row.purchase.provider, row.outcome.cache_write_tokens.value_or(0), id, row.purchase.model);
    return alert;
  }
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
  const ledger::NanoUsd billed = row.cost + row.outcome.unposted;
  Alert alert = OfRoute(Kind::kBarred, "barred", row, billed - row.held);
  Narrow(alert, route.org_id);
  const std::string whose =
      route.org_id.empty()
          ? "Hard budgets are not spent"
          : fmt::format("Hard budgets of {} are not spent, by its own key,", route.org_id);
  if (route.for_all) {
    alert.scope.insert(0, kAllPart);
    alert.text = fmt::format(
        "{} is not asked for {} any more{}, with or without a budget, until this is acknowledged: "
        "{} were billed for request {}, which is more than {} times the {} that were held.",
        row.purchase.provider, row.purchase.model,
        route.org_id.empty() ? "" : fmt::format(" by the own key of {}", route.org_id),
        FormatUsd(billed), id, billing::kAbsurdTimes, FormatUsd(row.held));
    return alert;
  }
  if (billed <= row.held && row.outcome.has_unpriced_writes) {
    alert.text = fmt::format(
        "{} on {} at {} any more, until this is acknowledged: input of request {} was written to a "
        "cache, which has no price here, so nobody knows what it cost. Give the route "
        "cache_write_usd_per_mtok.",
        whose, row.purchase.model, row.purchase.provider, id);
    return alert;
  }
  if (billed <= row.held) {
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
      whose, row.purchase.model, row.purchase.provider, FormatUsd(billed), id, FormatUsd(row.held));
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
