#include "catalog/mapping.h"

#include <algorithm>

#include <fmt/format.h>

namespace tradewind::catalog {
namespace {

bool IsZero(const std::optional<Decimal>& price) {
  return !price.has_value() || price->is_zero();
}

}  // namespace

bool TokenPrices::is_zero() const {
  return std::ranges::all_of(kTokenPriceFields, [this](const TokenPriceField& field) {
    return IsZero(this->*field.price);
  });
}

bool Prices::is_free() const {
  return is_priced() && is_zero() && IsZero(request) && IsZero(image) &&
         std::ranges::all_of(tiers, &PriceTier::is_zero);
}

bool Prices::empty() const {
  return static_cast<const TokenPrices&>(*this) == TokenPrices() && !request && !image &&
         tiers.empty();
}

size_t Prices::TierOf(int64_t input_tokens) const {
  return static_cast<size_t>(std::ranges::count_if(
      tiers, [input_tokens](const PriceTier& tier) { return input_tokens > tier.above; }));
}

const TokenPrices& Prices::OfTier(size_t tier) const {
  if (tier == 0 || tiers.empty()) {
    return *this;
  }
  return tiers[std::min(tier, tiers.size()) - 1];
}

TokenPrices Prices::Dearest() const {
  TokenPrices dearest;
  const auto raise = [](const std::optional<Decimal>& price, std::optional<Decimal>& to) {
    to = price.has_value() && (!to.has_value() || *price > *to) ? price : to;
  };
  for (size_t tier = 0; tier <= tiers.size(); ++tier) {
    raise(OfTier(tier).input, dearest.input);
    raise(OfTier(tier).output, dearest.output);
    raise(OfTier(tier).reasoning, dearest.output);
    raise(OfTier(tier).audio_input, dearest.audio_input);
    raise(OfTier(tier).audio_output, dearest.audio_output);
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
    for (const auto& [name, price] : kTokenPriceFields) {
      if ((this->*price).has_value() && !(tier.*price).has_value()) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("must each say all prices: above {} tokens there is none for {}",
                                tier.above, name),
                    std::string(name));
      }
      if (!(this->*price).has_value() && (tier.*price).has_value()) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("have a price for {} above {} tokens, and below there is none",
                                name, tier.above),
                    std::string(name));
      }
    }
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

}  // namespace tradewind::catalog
