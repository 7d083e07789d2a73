#include "billing/price_json.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace tradewind::billing {
namespace {

constexpr std::array<std::string_view, 4> kUsual = {"input", "output", "cached_input",
                                                    "cache_write"};

void WriteTokenPrices(const catalog::TokenPrices& prices, bool with_usual,
                      dialects::JsonWriter& json) {
  for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
    const bool is_wanted = with_usual || std::ranges::find(kUsual, field.name) == kUsual.end();
    if (is_wanted && (prices.*field.price).has_value()) {
      json.Field(fmt::format("{}_usd_per_mtok", field.name), (prices.*field.price)->ToString());
    }
  }
}

void WriteTiers(const catalog::TieredPrices& prices, dialects::JsonWriter& json) {
  if (prices.tiers.empty()) {
    return;
  }
  json.Key("tiers").BeginArray();
  for (const catalog::PriceTier& tier : prices.tiers) {
    json.BeginObject().Field("above", tier.above);
    WriteTokenPrices(tier, true, json);
    json.EndObject();
  }
  json.EndArray();
}

}  // namespace

void WriteOtherPrices(const catalog::Prices& prices, dialects::JsonWriter& json) {
  WriteTokenPrices(prices, false, json);
  for (const auto& [name, price] :
       {std::pair("request_usd", &prices.request), std::pair("image_usd", &prices.image)}) {
    if (price->has_value()) {
      json.Field(name, (*price)->ToString());
    }
  }
  WriteTiers(prices, json);
  if (prices.service_tiers.empty()) {
    return;
  }
  json.Key("service_tiers").BeginObject();
  for (const catalog::ServiceTier& service : prices.service_tiers) {
    json.Key(service.name).BeginObject();
    WriteTokenPrices(service, true, json);
    WriteTiers(service, json);
    json.EndObject();
  }
  json.EndObject();
}

}  // namespace tradewind::billing
