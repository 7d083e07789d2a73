#include "billing/barred.h"

#include <string_view>

#include "catalog/mapping.h"

namespace tradewind::billing {
namespace {

// Served at a service tier that has no price here, and nobody has named the cost.
bool IsOfUnknownCost(const Outcome& outcome) {
  const bool is_named = outcome.is_told || outcome.source == UsageSource::kBilled ||
                        outcome.source == UsageSource::kOperator;
  return outcome.is_other_tier && !is_named;
}

std::string_view OwnerOf(const Purchase& purchase) {
  return purchase.own_key ? std::string_view(purchase.org_id) : std::string_view();
}

}  // namespace

// What no hard bound was held for says nothing about the route: anybody could bar it for all
// others, by a field that nobody here knows.
std::optional<BarredRoute> BarredBy(const Purchase& purchase, const Outcome& outcome,
                                    ledger::NanoUsd cost, ledger::NanoUsd held) {
  if (purchase.provider == catalog::kLocalSlug || !purchase.priced || purchase.open_ended ||
      (cost <= held && !IsOfUnknownCost(outcome))) {
    return std::nullopt;
  }
  return BarredRoute{std::string(OwnerOf(purchase)), purchase.provider, purchase.model};
}

void Bars::Set(std::span<const BarredRoute> routes) {
  const std::lock_guard lock(mutex_);
  alerts_.clear();
  for (const BarredRoute& route : routes) {
    alerts_.try_emplace({route.org_id, route.provider, route.model}, route.alert_id);
  }
  any_ = !alerts_.empty();
}

std::optional<int64_t> Bars::Find(const Purchase& purchase) {
  const std::lock_guard lock(mutex_);
  const auto found = alerts_.find(std::tuple(OwnerOf(purchase), std::string_view(purchase.provider),
                                             std::string_view(purchase.model)));
  return found == alerts_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace tradewind::billing
