#include "billing/meters.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "pricing/cost_parts.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kHourNs = int64_t{3600} * 1'000'000'000;
constexpr std::array<std::string_view, kMeterKinds> kNames = {
    "requests",      "input_tokens",          "cached_input_tokens", "cache_write_tokens",
    "output_tokens", "reasoning_tokens",      "input_audio_tokens",  "output_audio_tokens",
    "input_images",  "cache_write_1h_tokens", "corrections"};

pricing::TokenCounts CountsOf(const Outcome& used) {
  pricing::TokenCounts counts;
  counts.input = used.input_tokens;
  counts.cached = used.cached_tokens;
  counts.cache_write = used.cache_write_tokens;
  counts.cache_write_1h = used.cache_write_1h_tokens;
  counts.output = used.output_tokens;
  counts.reasoning = used.reasoning_tokens;
  counts.audio_input = used.audio_input_tokens;
  counts.audio_output = used.audio_output_tokens;
  counts.images = used.images;
  return counts;
}

std::optional<pricing::CostParts> PartsAt(const catalog::Prices& prices, const Outcome& used) {
  if (!prices.is_priced()) {
    return std::nullopt;
  }
  pricing::TokenCounts counts = CountsOf(used);
  counts.service = prices.ServiceOf(used.service_tier);
  const auto parts = pricing::CostPartsNanoUsd(prices, counts);
  return parts.has_value() ? std::optional(*parts) : std::nullopt;
}

// Where they are its cost.
std::optional<pricing::CostParts> PartsOf(const AttemptRow& row, const catalog::Prices* prices) {
  const auto parts = prices == nullptr ? std::nullopt : PartsAt(*prices, row.outcome);
  return parts.has_value() && parts->total() == row.cost ? parts : std::nullopt;
}

// What is left of input and output beside what has a price of its own, as the cost has it.
struct Quantities {
  int64_t input = 0, output = 0, reasoning = 0, audio_input = 0, audio_output = 0;
  int64_t cache_write = 0, cache_write_1h = 0;
};

Quantities QuantitiesOf(const Outcome& used, const catalog::TokenPrices* prices) {
  Quantities of;
  of.input = std::max<int64_t>(
      0, used.input_tokens - used.cached_tokens - used.cache_write_tokens.value_or(0));
  of.output = used.output_tokens;
  of.cache_write = used.cache_write_tokens.value_or(0);
  const auto take = [](int64_t tokens, const std::optional<Decimal>& price, int64_t& whole) {
    const int64_t taken = price.has_value() ? std::clamp<int64_t>(tokens, 0, whole) : 0;
    whole -= taken;
    return taken;
  };
  if (prices != nullptr) {
    of.audio_input = take(used.audio_input_tokens, prices->audio_input, of.input);
    of.cache_write_1h = take(used.cache_write_1h_tokens, prices->cache_write_1h, of.cache_write);
    of.reasoning = take(used.reasoning_tokens, prices->reasoning, of.output);
    of.audio_output = take(used.audio_output_tokens, prices->audio_output, of.output);
  }
  return of;
}

}  // namespace

std::string_view MeterName(MeterKind kind) {
  return kNames[static_cast<size_t>(kind)];
}

std::string_view MeterUnit(MeterKind kind) {
  return kind == MeterKind::kRequests      ? "Requests"
         : kind == MeterKind::kImages      ? "Images"
         : kind == MeterKind::kCorrections ? "Corrections"
                                           : "Tokens";
}

bool IsOfTokens(MeterKind kind) {
  return kind != MeterKind::kRequests && kind != MeterKind::kImages &&
         kind != MeterKind::kCorrections;
}

MeterSum& MeterSum::operator+=(const MeterSum& other) {
  quantity += other.quantity;
  cost += other.cost;
  charge += other.charge;
  unverifiable += other.unverifiable;
  return *this;
}

bool IsUnpriced(const MeterKey& key, const MeterSum& sum) {
  return key.price_version == 0 && key.provider != catalog::kLocalSlug && sum.cost == 0 &&
         sum.charge == 0 && key.kind != MeterKind::kCorrections;
}

int64_t HourOf(int64_t unix_ns) {
  return unix_ns / kHourNs;
}

std::optional<int64_t> CostAt(const catalog::Prices& prices, const Outcome& used) {
  const auto parts = PartsAt(prices, used);
  return parts.has_value() ? std::optional(parts->total()) : std::nullopt;
}

std::string DearerTier(const catalog::Prices& prices, const Outcome& used) {
  const size_t tier = prices.TierOf(used.input_tokens);
  const size_t service = prices.ServiceOf(used.service_tier);
  const catalog::TokenPrices& paid = prices.OfService(service).OfTier(tier);
  const auto is_dearer = [&paid](const catalog::TokenPrices& than) {
    return std::ranges::any_of(catalog::kTokenPriceFields, [&](const auto& field) {
      const std::optional<Decimal>&here = paid.*field.price, &there = than.*field.price;
      return here.has_value() && there.has_value() && *here > *there;
    });
  };
  std::string name;
  if (tier > 0 && is_dearer(prices.OfService(service).OfTier(0))) {
    name = fmt::format("above {} input tokens", prices.tiers[tier - 1].above);
  }
  if (service > 0 && is_dearer(prices.OfTier(tier))) {
    name += fmt::format("{}at {}", name.empty() ? "" : " ", prices.ServiceName(service));
  }
  return name;
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
  const Outcome& used = row.outcome;
  const size_t tier = prices == nullptr ? 0 : prices->TierOf(used.input_tokens);
  const size_t service = prices == nullptr ? 0 : prices->ServiceOf(used.service_tier);
  const std::optional<pricing::CostParts> parts = PartsOf(row, prices);
  const pricing::CostParts split = parts.value_or(pricing::CostParts());
  // What is charged is the cost, or nothing; anything else is no price's.
  const bool is_charged = parts.has_value() && row.charge == row.cost;
  const auto put = [&](MeterKind kind, const MeterSum& sum) {
    if (sum == MeterSum()) {
      return;
    }
    key.kind = kind;
    key.tier = IsOfTokens(kind) ? static_cast<uint8_t>(tier) : 0;
    key.service = IsOfTokens(kind) ? static_cast<uint8_t>(service) : 0;
    meters[key] += sum;
  };
  const auto add = [&](MeterKind kind, int64_t quantity, int64_t part, int64_t unverifiable = 0) {
    put(kind, {quantity, part, is_charged ? part : 0, unverifiable});
  };
  const Quantities of =
      QuantitiesOf(used, prices == nullptr ? nullptr : &prices->OfService(service).OfTier(tier));
  const int64_t hidden_apart = std::min(used.unverifiable_tokens, of.reasoning);
  put(MeterKind::kRequests,
      {1, parts.has_value() ? split.request : row.cost, is_charged ? split.request : row.charge});
  add(MeterKind::kInput, of.input, split.input);
  add(MeterKind::kCachedInput, used.cached_tokens, split.cached);
  add(MeterKind::kCacheWrite, of.cache_write, split.cache_write);
  add(MeterKind::kCacheWrite1h, of.cache_write_1h, split.cache_write_1h);
  add(MeterKind::kOutput, of.output, split.output, used.unverifiable_tokens - hidden_apart);
  add(MeterKind::kReasoning, of.reasoning, split.reasoning, hidden_apart);
  add(MeterKind::kAudioInput, of.audio_input, split.audio_input);
  add(MeterKind::kAudioOutput, of.audio_output, split.audio_output);
  add(MeterKind::kImages, used.images, split.image);
}

}  // namespace tradewind::billing
