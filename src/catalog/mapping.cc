#include "catalog/mapping.h"

#include <algorithm>
#include <array>
#include <limits>

#include <fmt/format.h>

namespace tradewind::catalog {
namespace {

bool IsZero(const std::optional<Decimal>& price) {
  return !price.has_value() || price->is_zero();
}

// `where`: "above 200000 tokens".
Status CheckSaysAll(const TokenPrices& usual, const TokenPrices& other, std::string_view where,
                    std::string_view elsewhere) {
  for (const auto& [name, price] : kTokenPriceFields) {
    if ((usual.*price).has_value() && !(other.*price).has_value()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("must say all prices: {} there is none for {}", where, name),
                  std::string(name));
    }
    if (!(usual.*price).has_value() && (other.*price).has_value()) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("must have no price for {} {}, as {} there is none", name, where, elsewhere),
          std::string(name));
    }
  }
  return {};
}

bool IsServiceTierName(std::string_view name) {
  return !name.empty() && name.size() <= kServiceTierBytesMax && !IsUsualServiceTier(name) &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
         });
}

}  // namespace

bool TokenPrices::is_zero() const {
  return std::ranges::all_of(kTokenPriceFields, [this](const TokenPriceField& field) {
    return IsZero(this->*field.price);
  });
}

const TokenPrices& TieredPrices::OfTier(size_t tier) const {
  if (tier == 0 || tiers.empty()) {
    return *this;
  }
  return tiers[std::min(tier, tiers.size()) - 1];
}

bool TieredPrices::is_zero() const {
  return TokenPrices::is_zero() && std::ranges::all_of(tiers, &PriceTier::is_zero);
}

bool IsUsualServiceTier(std::string_view name) {
  constexpr std::array<std::string_view, 4> kUsual = {"auto", "default", "standard", "on_demand"};
  return std::ranges::find(kUsual, name) != kUsual.end();
}

bool Prices::is_free() const {
  return is_priced() && is_zero() && IsZero(request) && IsZero(image) &&
         std::ranges::all_of(service_tiers, &ServiceTier::is_zero);
}

bool Prices::empty() const {
  return static_cast<const TokenPrices&>(*this) == TokenPrices() && !request && !image &&
         tiers.empty() && service_tiers.empty();
}

size_t Prices::TierOf(int64_t input_tokens) const {
  return static_cast<size_t>(std::ranges::count_if(
      tiers, [input_tokens](const PriceTier& tier) { return input_tokens > tier.above; }));
}

size_t Prices::ServiceOf(std::string_view name) const {
  const auto found = std::ranges::find(service_tiers, name, &ServiceTier::name);
  return found == service_tiers.end() ? 0 : static_cast<size_t>(found - service_tiers.begin()) + 1;
}

const TieredPrices& Prices::OfService(size_t service) const {
  if (service == 0 || service > service_tiers.size()) {
    return *this;
  }
  return service_tiers[service - 1];
}

std::string Prices::ServiceName(size_t service) const {
  return service == 0 || service > service_tiers.size() ? std::string()
                                                        : service_tiers[service - 1].name;
}

ServiceTier& Prices::AddService(std::string_view name) {
  const auto at = std::ranges::lower_bound(service_tiers, name, {}, &ServiceTier::name);
  if (at != service_tiers.end() && at->name == name) {
    return *at;
  }
  ServiceTier& added = *service_tiers.emplace(at);
  added.name = name;
  return added;
}

TokenPrices Prices::Dearest(int64_t input_tokens_max, size_t service) const {
  TokenPrices dearest;
  const auto raise = [](const std::optional<Decimal>& price, std::optional<Decimal>& to) {
    to = price.has_value() && (!to.has_value() || *price > *to) ? price : to;
  };
  for (const TieredPrices* of : {static_cast<const TieredPrices*>(this), &OfService(service)}) {
    for (size_t tier = 0; tier <= TierOf(input_tokens_max); ++tier) {
      raise(of->OfTier(tier).input, dearest.input);
      raise(of->OfTier(tier).output, dearest.output);
      raise(of->OfTier(tier).reasoning, dearest.output);
      raise(of->OfTier(tier).audio_input, dearest.audio_input);
      raise(of->OfTier(tier).audio_output, dearest.audio_output);
    }
  }
  return dearest;
}

Status Prices::CheckTiers() const {
  if (tiers.size() > kPriceTiersMax) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("may be at most {}", kPriceTiersMax));
  }
  int64_t before = 0;
  for (const PriceTier& tier : tiers) {
    if (tier.above <= before) {
      return Fail(ErrorCode::kInvalidArgument,
                  "must each begin above more input tokens than the one before");
    }
    before = tier.above;
    TW_RETURN_IF_ERROR(
        CheckSaysAll(*this, tier, fmt::format("above {} tokens", tier.above), "below"));
  }
  return {};
}

Status Prices::CheckService(const ServiceTier& service) const {
  if (!IsServiceTierName(service.name)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("must have the name that requests give it: at most {} of a-z, 0-9, _ "
                            "and -, and none of the usual one",
                            kServiceTierBytesMax));
  }
  if (service_tiers.size() > kServiceTiersMax ||
      (1 + service_tiers.size()) * (1 + tiers.size()) > 1 + kPriceTiersMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("is one too many: at most {}, and with the tiers of each {} lists of "
                            "prices",
                            kServiceTiersMax, 1 + kPriceTiersMax));
  }
  if (!std::ranges::equal(tiers, service.tiers, {}, &PriceTier::above, &PriceTier::above)) {
    return Fail(ErrorCode::kInvalidArgument,
                "must have a price in each of the tiers above so many input tokens that the usual "
                "one has, and in no other");
  }
  for (size_t tier = 0; tier <= tiers.size(); ++tier) {
    TW_RETURN_IF_ERROR(CheckSaysAll(
        OfTier(tier), service.OfTier(tier),
        tier == 0 ? "at it" : fmt::format("at it above {} tokens", tiers[tier - 1].above),
        "at the usual one"));
  }
  return {};
}

std::string_view DataPolicyName(DataPolicy policy) {
  switch (policy) {
    case DataPolicy::kUnknown:
      return "unknown";
    case DataPolicy::kRetention:
      return "retention";
    case DataPolicy::kNoRetention:
      return "no-retention";
  }
  return "unknown";
}

std::optional<DataPolicy> ParseDataPolicy(std::string_view name) {
  for (const DataPolicy policy :
       {DataPolicy::kUnknown, DataPolicy::kRetention, DataPolicy::kNoRetention}) {
    if (DataPolicyName(policy) == name) {
      return policy;
    }
  }
  return std::nullopt;
}

std::string_view MappingStatusName(MappingStatus status) {
  switch (status) {
    case MappingStatus::kStaging:
      return "staging";
    case MappingStatus::kLive:
      return "live";
    case MappingStatus::kError:
      return "error";
  }
  return "error";
}

std::optional<MappingStatus> ParseMappingStatus(std::string_view name) {
  for (const MappingStatus status :
       {MappingStatus::kStaging, MappingStatus::kLive, MappingStatus::kError}) {
    if (MappingStatusName(status) == name) {
      return status;
    }
  }
  return std::nullopt;
}

std::string_view SourceName(Source source) {
  switch (source) {
    case Source::kLocal:
      return "local";
    case Source::kConfig:
      return "config";
    case Source::kImported:
      return "imported";
    case Source::kStarter:
      return "starter";
  }
  return "starter";
}

int64_t CapTrust::Bound(int64_t cap, std::optional<int64_t> model_max) const {
  if (is_full() || cap <= 0) {
    return cap;
  }
  constexpr __int128 kMost = std::numeric_limits<int64_t>::max();
  const __int128 answer = (__int128{cap} * factor_permille + 999) / 1000;
  const __int128 model_most =
      std::max(cap, model_max.value_or(std::numeric_limits<int64_t>::max()));
  return static_cast<int64_t>(std::min(std::min(answer, model_most) + slack, kMost));
}

}  // namespace tradewind::catalog
