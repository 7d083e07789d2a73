#include "dialects/openai_models.h"

#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

template <class T>
void FieldIfKnown(std::string_view name, const std::optional<T>& value, JsonWriter& json) {
  if (value) {
    json.Field(name, *value);
  }
}

void WritePrices(const std::vector<std::pair<std::string, std::string>>& prices, JsonWriter& json) {
  for (const auto& [name, price] : prices) {
    json.Key(name).Raw(price);
  }
}

void WriteTiers(const std::vector<ModelProviderEntry::Tier>& tiers, JsonWriter& json) {
  if (tiers.empty()) {
    return;
  }
  json.Key("tiers").BeginArray();
  for (const ModelProviderEntry::Tier& tier : tiers) {
    json.BeginObject().Field("above", tier.above);
    WritePrices(tier.prices, json);
    json.EndObject();
  }
  json.EndArray();
}

void WriteServiceTiers(const ModelProviderEntry& entry, JsonWriter& json) {
  if (entry.service_tiers.empty()) {
    return;
  }
  json.Key("service_tiers").BeginObject();
  for (const ModelProviderEntry::ServiceTier& service : entry.service_tiers) {
    json.Key(service.name).BeginObject();
    WritePrices(service.prices, json);
    WriteTiers(service.tiers, json);
    json.EndObject();
  }
  json.EndObject();
}

void WriteProvider(const ModelProviderEntry& entry, JsonWriter& json) {
  json.BeginObject().Field("provider", entry.provider).Field("status", entry.status);
  FieldIfKnown("context_length", entry.context_length, json);
  if (!entry.input.empty() && !entry.output.empty()) {
    json.Key("pricing").BeginObject().Key("input").Raw(entry.input).Key("output").Raw(entry.output);
    if (!entry.cached_input.empty()) {
      json.Key("cached_input").Raw(entry.cached_input);
    }
    WritePrices(entry.other_prices, json);
    WriteTiers(entry.tiers, json);
    WriteServiceTiers(entry, json);
    json.EndObject();
    json.Field("is_free", entry.is_free);
  }
  FieldIfKnown("supports_tools", entry.supports_tools, json);
  FieldIfKnown("supports_structured_output", entry.supports_structured_output, json);
  FieldIfKnown("first_token_latency_ms", entry.first_token_latency_ms, json);
  FieldIfKnown("throughput", entry.throughput, json);
  if (!entry.quantization.empty()) {
    json.Field("quantization", entry.quantization);
  }
  json.Field("is_model_author", entry.is_model_author).EndObject();
}

// OpenAI's four fields, vLLM's max_model_len, and where the model is served, as the Hub's router
// lists its providers.
void WriteModel(const ModelEntry& entry, JsonWriter& json) {
  json.BeginObject().Field("id", entry.id).Field("object", "model");
  json.Field("created", entry.created).Field("owned_by", entry.owned_by).Key("max_model_len");
  entry.context > 0 ? json.Value(entry.context) : json.Null();
  if (!entry.input_modalities.empty()) {
    json.Key("architecture").BeginObject().Key("input_modalities").BeginArray();
    for (const std::string& modality : entry.input_modalities) {
      json.Value(modality);
    }
    json.EndArray().Key("output_modalities").BeginArray().Value("text").EndArray().EndObject();
  }
  json.Key("providers").BeginArray();
  if (entry.is_local) {
    json.BeginObject();
    json.Field("provider", "local").Field("status", entry.loaded ? "ready" : "not_loaded");
    json.Field("bytes", entry.bytes).EndObject();
  }
  for (const ModelProviderEntry& provider : entry.providers) {
    WriteProvider(provider, json);
  }
  json.EndArray().EndObject();
}

}  // namespace

std::string FormatModel(const ModelEntry& entry) {
  JsonWriter json;
  WriteModel(entry, json);
  return json.Take();
}

std::string FormatModelList(std::span<const ModelEntry> entries) {
  JsonWriter json;
  json.BeginObject().Field("object", "list").Key("data").BeginArray();
  for (const ModelEntry& entry : entries) {
    WriteModel(entry, json);
  }
  json.EndArray().EndObject();
  return json.Take();
}

}  // namespace tradewind::dialects
