#include "billing/meters.h"

#include <algorithm>
#include <optional>

#include "pricing/cost_parts.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kHourNs = int64_t{3600} * 1'000'000'000;
constexpr std::array<std::string_view, kMeterKinds.size()> kNames = {
    "requests", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens"};

std::optional<pricing::CostParts> PartsOf(const AttemptRow& row, const catalog::Prices* prices) {
  if (prices == nullptr || !prices->is_priced()) {
    return std::nullopt;
  }
  const Outcome& used = row.outcome;
  const auto parts = pricing::CostPartsNanoUsd(
      *prices,
      {used.input_tokens, used.cached_tokens, used.output_tokens, used.cache_write_tokens});
  if (!parts.has_value() || parts->total() != row.cost) {
    return std::nullopt;
  }
  return *parts;
}

}  // namespace

std::string_view MeterName(MeterKind kind) {
  return kNames[static_cast<size_t>(kind)];
}

std::string_view MeterUnit(MeterKind kind) {
  return kind == MeterKind::kRequests ? "Requests" : "Tokens";
}

int64_t HourOf(int64_t unix_ns) {
  return unix_ns / kHourNs;
}

void AddToMeters(const AttemptRow& row, const catalog::Prices* prices, Meters& meters) {
  const Purchase& bought = row.purchase;
  MeterKey key;
  key.hour = HourOf(row.ended_ns);
  key.org_id = bought.org_id;
  key.project_id = bought.project_id;
  key.key_id = bought.key_id;
  key.model = bought.model;
  key.provider = bought.provider;
  key.provider_model = bought.provider_model;
  key.own_key = bought.own_key;
  key.price_version = row.price_version;
  const auto add = [&](MeterKind kind, int64_t quantity, int64_t cost, int64_t charge) {
    if (quantity == 0 && cost == 0 && charge == 0) {
      return;
    }
    key.kind = kind;
    MeterSum& sum = meters[key];
    sum.quantity += quantity;
    sum.cost += cost;
    sum.charge += charge;
  };
  const Outcome& used = row.outcome;
  const std::optional<pricing::CostParts> parts = PartsOf(row, prices);
  const pricing::CostParts split = parts.value_or(pricing::CostParts());
  // What is charged is the cost, or nothing; anything else is no price's.
  const bool is_charged = parts.has_value() && row.charge == row.cost;
  const auto charged = [&](int64_t part) { return is_charged ? part : 0; };
  const int64_t written = used.cache_write_tokens.value_or(0);
  add(MeterKind::kRequests, 1, parts.has_value() ? 0 : row.cost, is_charged ? 0 : row.charge);
  add(MeterKind::kInput, std::max<int64_t>(0, used.input_tokens - used.cached_tokens - written),
      split.input, charged(split.input));
  add(MeterKind::kCachedInput, used.cached_tokens, split.cached, charged(split.cached));
  add(MeterKind::kCacheWrite, written, split.cache_write, charged(split.cache_write));
  add(MeterKind::kOutput, used.output_tokens, split.output, charged(split.output));
}

}  // namespace tradewind::billing
