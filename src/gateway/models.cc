// GET /v1/models and /v1/models/{id}.
#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "dialects/openai_models.h"
#include "gateway/gateway.h"

namespace tradewind::gateway {
namespace {

dialects::ModelEntry Describe(const catalog::LocalModel& model,
                              const std::vector<providers::LoadedModel>& loaded) {
  dialects::ModelEntry entry;
  entry.id = model.id;
  entry.created = model.modified_unix_s;
  const size_t slash = model.id.find('/');
  entry.owned_by = slash == std::string::npos ? "local" : model.id.substr(0, slash);
  entry.bytes = model.bytes;
  const auto found = std::find_if(loaded.begin(), loaded.end(),
                                  [&](const auto& one) { return one.id == model.id; });
  entry.loaded = found != loaded.end();
  entry.context = entry.loaded ? found->info.context : 0;
  return entry;
}

}  // namespace

Task<void> Gateway::ListModels(Call& call) {
  const auto loaded = local_.pool().loaded();
  std::vector<dialects::ModelEntry> entries;
  for (const catalog::LocalModel& model : local_.pool().models().models()) {
    if (!model.error.has_value()) {
      entries.push_back(Describe(model, loaded));
    }
  }
  co_await RespondJson(call, dialects::FormatModelList(entries));
}

Task<void> Gateway::ShowModel(Call& call) {
  const auto model = local_.pool().models().Resolve(call.rest, catalog::RefSource::kWire);
  if (!model.has_value()) {
    co_return co_await Refuse(call, {ErrorCode::kNotFound, model.error().message, "model"});
  }
  co_await RespondJson(call, dialects::FormatModel(Describe(**model, local_.pool().loaded())));
}

}  // namespace tradewind::gateway
