#include "billing/barred.h"

#include <algorithm>
#include <string_view>

#include "catalog/mapping.h"
#include "ledger/book.h"

namespace tradewind::billing {
namespace {

std::string_view OwnerOf(const Purchase& purchase) {
  return purchase.own_key ? std::string_view(purchase.org_id) : std::string_view();
}

}  // namespace

bool IsOfUnknownCost(const Outcome& outcome) {
  const bool is_named = outcome.is_told || outcome.source == UsageSource::kBilled ||
                        outcome.source == UsageSource::kOperator;
  return (outcome.is_other_tier || outcome.has_unpriced_writes) && !is_named;
}

ledger::NanoUsd PostedMax(ledger::NanoUsd held) {
  return std::min(ledger::kAmountMax, kAbsurdTimes * std::max(held, kPostedHeldMin));
}

// What no hard bound was held for says little about the route: anybody could bar it for all
// others, by a field that nobody here knows. What is billed apart has no bound at all.
std::optional<BarredRoute> BarredBy(const Purchase& purchase, const Outcome& outcome,
                                    ledger::NanoUsd cost, ledger::NanoUsd held) {
  const ledger::NanoUsd billed = cost + outcome.unposted;
  if (purchase.provider == catalog::kLocalSlug || !purchase.priced ||
      (billed <= held && !IsOfUnknownCost(outcome))) {
    return std::nullopt;
  }
  const bool is_absurd =
      billed > kAbsurdTimes * std::max(held, kAbsurdHeldMin) && purchase.billed_apart.empty();
  if (purchase.open_ended && !is_absurd) {
    return std::nullopt;
  }
  return BarredRoute{.org_id = std::string(OwnerOf(purchase)),
                     .provider = purchase.provider,
                     .model = purchase.model,
                     .for_all = is_absurd};
}

Bars::Bar& Bars::At(const BarredRoute& route) {
  any_ = true;
  return bars_[{route.for_all, route.org_id, route.provider, route.model}];
}

void Bars::Expect(const BarredRoute& route) {
  const std::lock_guard lock(mutex_);
  ++At(route).expected;
}

void Bars::Settled(const BarredRoute& route, uint64_t seq) {
  const std::lock_guard lock(mutex_);
  Bar& bar = At(route);
  --bar.expected;
  bar.seq = std::max(bar.seq, seq);
}

void Bars::Read(const BarredRoute& route, uint64_t seq) {
  const std::lock_guard lock(mutex_);
  Bar& bar = At(route);
  bar.seq = std::max(bar.seq, seq);
}

void Bars::Set(std::span<const BarredRoute> told, uint64_t applied_seq) {
  const std::lock_guard lock(mutex_);
  for (auto& [route, bar] : bars_) {
    bar.alert_id = 0;
    bar.seq = bar.seq <= applied_seq ? 0 : bar.seq;
  }
  for (const BarredRoute& route : told) {
    At(route).alert_id = route.alert_id;
  }
  std::erase_if(bars_, [](const auto& one) {
    const Bar& bar = one.second;
    return bar.alert_id == 0 && bar.seq == 0 && bar.expected == 0;
  });
  any_ = !bars_.empty();
}

std::optional<BarredRoute> Bars::Find(const Purchase& purchase, bool is_bounded) {
  const std::lock_guard lock(mutex_);
  for (const bool for_all : {true, false}) {
    const auto found =
        bars_.find(std::tuple(for_all, OwnerOf(purchase), std::string_view(purchase.provider),
                              std::string_view(purchase.model)));
    if (found != bars_.end() && (for_all || is_bounded)) {
      return BarredRoute{std::string(OwnerOf(purchase)), purchase.provider, purchase.model,
                         found->second.alert_id, for_all};
    }
  }
  return std::nullopt;
}

}  // namespace tradewind::billing
