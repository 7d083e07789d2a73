#include "dialects/hub_models.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

uint64_t Fnv(std::string_view text, uint64_t hash) {
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

void WriteMappingFields(const HubMapping& mapping, JsonWriter& json) {
  json.Field("status", mapping.status).Field("providerId", mapping.provider_id);
  json.Field("task", mapping.task).Field("isModelAuthor", mapping.is_model_author);
}

void WriteModel(const HubModel& model, HubExpand expand, bool as_list, JsonWriter& json) {
  json.BeginObject().Field("_id", HubId(model.id)).Field("id", model.id);
  if (!expand.any()) {
    json.Field("modelId", model.id).Field("private", false);
  }
  if (expand.pipeline_tag || !expand.any()) {
    json.Field("pipeline_tag", model.pipeline_tag);
  }
  const bool is_warm = std::any_of(model.mappings.begin(), model.mappings.end(),
                                   [](const HubMapping& one) { return one.status == "live"; });
  if (expand.inference && is_warm) {
    json.Field("inference", "warm");
  }
  if (expand.mapping) {
    json.Key("inferenceProviderMapping");
    as_list ? json.BeginArray() : json.BeginObject();
    std::string_view last;
    for (const HubMapping& mapping : model.mappings) {
      if (!as_list && mapping.provider == last) {
        continue;  // a second task of the same provider: an object has one entry for it
      }
      last = mapping.provider;
      if (as_list) {
        json.BeginObject().Field("provider", mapping.provider);
      } else {
        json.Key(mapping.provider).BeginObject();
      }
      WriteMappingFields(mapping, json);
      json.EndObject();
    }
    as_list ? json.EndArray() : json.EndObject();
  }
  json.EndObject();
}

}  // namespace

std::string HubId(std::string_view name) {
  const uint64_t first = Fnv(name, 0xcbf29ce484222325ULL);
  const auto second = static_cast<uint32_t>(Fnv(name, first));
  return fmt::format("{:016x}{:08x}", first, second);
}

std::string FormatHubModel(const HubModel& model, HubExpand expand) {
  JsonWriter json;
  WriteModel(model, expand, false, json);
  return json.Take();
}

std::string FormatHubModelList(std::span<const HubModel> models, HubExpand expand) {
  JsonWriter json;
  json.BeginArray();
  for (const HubModel& model : models) {
    WriteModel(model, expand, true, json);
  }
  json.EndArray();
  return json.Take();
}

std::string FormatPartnerModels(std::span<const HubModel> models, std::string_view slug) {
  struct Entry {
    std::string_view model;
    const HubMapping* mapping;
  };
  std::map<std::string_view, std::vector<Entry>> by_task;
  for (const HubModel& model : models) {
    for (const HubMapping& mapping : model.mappings) {
      if (mapping.provider == slug) {
        by_task[mapping.task].push_back({model.id, &mapping});
      }
    }
  }
  JsonWriter json;
  json.BeginObject();
  for (const auto& [task, entries] : by_task) {
    json.Key(task).BeginObject();
    for (const Entry& entry : entries) {
      json.Key(entry.model).BeginObject();
      json.Field("_id", HubId(fmt::format("{} {} {}", slug, task, entry.model)));
      json.Field("providerId", entry.mapping->provider_id).Field("status", entry.mapping->status);
      json.EndObject();
    }
    json.EndObject();
  }
  json.EndObject();
  return json.Take();
}

}  // namespace tradewind::dialects
