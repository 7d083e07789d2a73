// GET /v1/models and /v1/models/{id}.
#include <algorithm>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "catalog/catalog.h"
#include "dialects/openai_models.h"
#include "gateway/gateway.h"

namespace tradewind::gateway {
namespace {

using catalog::Catalog;
using catalog::Mapping;

std::string Owner(std::string_view id) {
  const size_t slash = id.find('/');
  return std::string(slash == std::string_view::npos ? "local" : id.substr(0, slash));
}

dialects::ModelEntry Describe(const catalog::LocalModel& model,
                              const std::vector<providers::LoadedModel>& loaded) {
  dialects::ModelEntry entry;
  entry.id = model.id;
  entry.created = model.modified_unix_s;
  entry.owned_by = Owner(model.id);
  entry.bytes = model.bytes;
  const auto found = std::find_if(loaded.begin(), loaded.end(),
                                  [&](const auto& one) { return one.id == model.id; });
  entry.loaded = found != loaded.end();
  entry.context = entry.loaded ? found->info.context : 0;
  entry.input_modalities = {"text"};
  return entry;
}

std::string Number(const std::optional<Decimal>& price) {
  return price ? price->ToString() : "";
}

using NamedPrices = std::vector<std::pair<std::string, std::string>>;

void Add(std::string_view name, const std::optional<Decimal>& price, NamedPrices& out) {
  if (price.has_value()) {
    out.emplace_back(name, price->ToString());
  }
}

void AddTokenPrices(const catalog::TokenPrices& prices, NamedPrices& out, size_t from = 0) {
  for (const catalog::TokenPriceField& field :
       std::span(catalog::kTokenPriceFields).subspan(from)) {
    Add(field.name, prices.*field.price, out);
  }
}

void AddTiers(const catalog::TieredPrices& prices,
              std::vector<dialects::ModelProviderEntry::Tier>& tiers) {
  for (const catalog::PriceTier& tier : prices.tiers) {
    tiers.emplace_back().above = tier.above;
    AddTokenPrices(tier, tiers.back().prices);
  }
}

void AddOtherPrices(const catalog::Prices& prices, dialects::ModelProviderEntry& entry) {
  constexpr size_t kUsual = 3;  // input, output and cached input have places of their own
  AddTokenPrices(prices, entry.other_prices, kUsual);
  Add("request", prices.request, entry.other_prices);
  Add("image", prices.image, entry.other_prices);
  AddTiers(prices, entry.tiers);
  for (const catalog::ServiceTier& service : prices.service_tiers) {
    dialects::ModelProviderEntry::ServiceTier& out = entry.service_tiers.emplace_back();
    out.name = service.name;
    AddTokenPrices(service, out.prices);
    AddTiers(service, out.tiers);
  }
}

// What the last probe and the traffic say, over what the catalogue says.
void AddLive(const Mapping& mapping, routing::Marketplace& market,
             dialects::ModelProviderEntry& entry) {
  entry.status = StatusNow(mapping, market);
  const auto verdict = market.probes.VerdictOf(mapping.provider, mapping.provider_model);
  if (verdict.has_value()) {
    const auto adopt = [&](routing::Known seen, std::optional<bool>& known) {
      const bool is_written = mapping.source == catalog::Source::kConfig && known.has_value();
      if (seen != routing::Known::kUnknown && !is_written) {
        known = seen == routing::Known::kYes;
      }
    };
    adopt(verdict->supports_tools, entry.supports_tools);
    adopt(verdict->supports_structured_output, entry.supports_structured_output);
  }
  const routing::HealthSnapshot health =
      market.health.Route(mapping.provider, mapping.provider_model).Snapshot();
  entry.first_token_latency_ms = health.ttft_ms;
  entry.throughput = health.tokens_per_second;
}

dialects::ModelProviderEntry Describe(const Mapping& mapping) {
  dialects::ModelProviderEntry entry;
  entry.provider = mapping.provider;
  entry.context_length = mapping.context_length;
  entry.input = Number(mapping.prices.input);
  entry.output = Number(mapping.prices.output);
  entry.cached_input = Number(mapping.prices.cached_input);
  AddOtherPrices(mapping.prices, entry);
  entry.is_free = mapping.prices.is_free();
  entry.supports_tools = mapping.supports_tools;
  entry.supports_structured_output = mapping.supports_structured_output;
  entry.quantization = mapping.quantization;
  entry.is_model_author = mapping.is_model_author;
  return entry;
}

// Staging rows are for those who name them, and a provider without a key serves nobody.
bool IsListed(const Catalog& catalog, const Mapping& mapping) {
  const catalog::Provider* provider = catalog.FindProvider(mapping.provider);
  return mapping.provider != catalog::kLocalSlug &&
         mapping.status != catalog::MappingStatus::kStaging && provider != nullptr &&
         provider->off.empty();
}

// Adds who serves the model beyond this device.
void AddProviders(const Catalog& catalog, const catalog::Model& model, routing::Marketplace& market,
                  dialects::ModelEntry& entry) {
  for (const Mapping& mapping : model.mappings) {
    if (IsListed(catalog, mapping)) {
      entry.providers.push_back(Describe(mapping));
      AddLive(mapping, market, entry.providers.back());
      if (!entry.is_local) {
        entry.context = std::max(entry.context, mapping.context_length.value_or(0));
      }
    }
  }
}

// A model that is not on this device; without providers when nobody lists it.
dialects::ModelEntry Describe(const Catalog& catalog, const catalog::Model& model,
                              routing::Marketplace& market) {
  dialects::ModelEntry entry;
  entry.id = model.id;
  entry.is_local = false;
  entry.owned_by = Owner(model.id);
  entry.created = model.Created();
  entry.input_modalities = model.InputModalities();
  AddProviders(catalog, model, market, entry);
  return entry;
}

}  // namespace

std::string StatusNow(const Mapping& mapping, routing::Marketplace& market) {
  if (mapping.status == catalog::MappingStatus::kStaging) {
    return std::string(MappingStatusName(mapping.status));  // whatever it can do: it is not listed
  }
  const auto health = market.health.Route(mapping.provider, mapping.provider_model).Snapshot();
  if (health.circuit == routing::Circuit::kOpen) {
    return "error";
  }
  const auto verdict = market.probes.VerdictOf(mapping.provider, mapping.provider_model);
  if (verdict.has_value() && verdict->status.has_value()) {
    return *verdict->status == routing::RouteStatus::kError ? "error" : "live";
  }
  return std::string(MappingStatusName(mapping.status));
}

std::shared_ptr<const Catalog> Gateway::CatalogNow() const {
  return market_.board.Get()->shared_catalog();
}

Task<void> Gateway::ListModels(Call& call) {
  const auto loaded = local_.pool().loaded();
  const std::shared_ptr<const Catalog> catalog = CatalogNow();
  std::vector<dialects::ModelEntry> entries;
  for (const catalog::LocalModel& model : local_.pool().models().models()) {
    if (!model.error.has_value()) {
      entries.push_back(Describe(model, loaded));
      if (const catalog::Model* known = catalog->Find(model.id); known != nullptr) {
        AddProviders(*catalog, *known, market_, entries.back());
      }
    }
  }
  for (const catalog::Model& model : catalog->models()) {
    const catalog::LocalModel* local = local_.pool().models().Find(model.id);
    if (local != nullptr && !local->error.has_value()) {
      continue;  // listed above
    }
    dialects::ModelEntry entry = Describe(*catalog, model, market_);
    if (!entry.providers.empty()) {
      entries.push_back(std::move(entry));
    }
  }
  co_await RespondJson(call, dialects::FormatModelList(entries));
}

Task<void> Gateway::ShowModel(Call& call) {
  const std::shared_ptr<const Catalog> catalog = CatalogNow();
  const auto local = local_.pool().models().Resolve(call.rest, catalog::RefSource::kWire);
  if (local.has_value()) {
    dialects::ModelEntry entry = Describe(**local, local_.pool().loaded());
    if (const catalog::Model* known = catalog->Find((*local)->id); known != nullptr) {
      AddProviders(*catalog, *known, market_, entry);
    }
    co_return co_await RespondJson(call, dialects::FormatModel(entry));
  }
  const auto model = catalog->Resolve(call.rest);
  if (!model.has_value()) {
    // With nothing but this device, its own words are the clearer ones.
    const Error& error = catalog->models().empty() ? local.error() : model.error();
    co_return co_await Refuse(call, {ErrorCode::kNotFound, error.message, "model", {}});
  }
  const dialects::ModelEntry entry = Describe(*catalog, **model, market_);
  if (entry.providers.empty()) {
    catalog::ModelRef ref;
    ref.model = (*model)->id;
    co_return co_await Refuse(
        call,
        {ErrorCode::kNotFound, catalog::ExplainUnsupported(*catalog, ref).message, "model", {}});
  }
  co_await RespondJson(call, dialects::FormatModel(entry));
}

}  // namespace tradewind::gateway
