#include "dialects/openai_models.h"

#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

// OpenAI's four fields, vLLM's max_model_len, and where the model is served, as the Hub's router
// lists its providers.
void WriteModel(const ModelEntry& entry, JsonWriter& json) {
  json.BeginObject().Field("id", entry.id).Field("object", "model");
  json.Field("created", entry.created).Field("owned_by", entry.owned_by).Key("max_model_len");
  entry.context > 0 ? json.Value(entry.context) : json.Null();
  json.Key("providers").BeginArray().BeginObject();
  json.Field("provider", "local").Field("status", entry.loaded ? "ready" : "not_loaded");
  json.Field("bytes", entry.bytes).EndObject().EndArray().EndObject();
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
