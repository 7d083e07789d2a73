// The Hub's answers about models that inference clients read: which provider serves one, under
// which name.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tradewind::dialects {

struct HubMapping {
  std::string provider, provider_id;
  std::string status;  // "live", "staging", "error"
  std::string task;    // "conversational"
  bool is_model_author = false;
};

struct HubModel {
  std::string id;
  std::string pipeline_tag;
  std::vector<HubMapping> mappings;  // in order of preference
};

// What expand= asked for. Without any, a model's plain fields.
struct HubExpand {
  bool mapping = false, inference = false, pipeline_tag = false;
  bool any() const { return mapping || inference || pipeline_tag; }
};

// One model: the mapping is an object whose first key is the one to use.
std::string FormatHubModel(const HubModel& model, HubExpand expand);
// A list: the mapping is an array.
std::string FormatHubModelList(std::span<const HubModel> models, HubExpand expand);
// GET /api/partners/{slug}/models: {task: {model: {_id, providerId, status}}}.
std::string FormatPartnerModels(std::span<const HubModel> models, std::string_view slug);

// 24 hexadecimal digits, the same for the same name: the shape of the Hub's ids.
std::string HubId(std::string_view name);

}  // namespace tradewind::dialects
