// Model files as the reading verbs see them: found by reference, described from their header
// without loading weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "catalog/local_models.h"
#include "cli/chat_client.h"
#include "cli/settings.h"
#include "engine/engine.h"

namespace tradewind::cli {

// The model that REF names on the command line: a path, or a model of the models folder.
// Errors: kInvalidArgument, kNotFound, kModelNotSupported, kCorruptFile, with the next step.
Result<catalog::LocalModel> FindModel(const Settings& settings, const std::string& reference);

// Every model of the models folder.
Result<catalog::LocalModels> ScanModels(const Settings& settings);

// What the file says about itself; absent keys stay empty.
struct ModelDescription {
  std::string architecture, name, license, quantization, chat_template;
  int64_t parameters = 0, tensors = 0, weight_bytes = 0;
  std::optional<int64_t> context, layers, model_dim, heads, kv_heads, head_dim, ffn_dim, vocab_size;
  // Recommended sampling; what the API would not take counts as absent.
  std::optional<double> temperature, top_p, min_p;
  std::optional<int64_t> top_k;

  bool recommends_sampling() const { return temperature || top_p || min_p || top_k; }
  // What a position costs in the KV cache; nullopt when the file does not say enough, or nonsense.
  std::optional<int64_t> KvBytesPerToken(engine::KvType type) const;
  std::string Recommendation() const;  // "temperature 0.15, top_p 0.95"
};

// Errors: as engine::GgufFile::Open.
Result<ModelDescription> DescribeModel(const std::filesystem::path& path);

// What counts the tokens of texts as this model does, without its weights. Errors: as
// engine::GgufFile::Open and engine::Tokenizer::FromGguf.
Result<std::function<int64_t(std::string_view)>> LoadTokenCounter(
    const std::filesystem::path& path);

// Fills in what the caller left open. Returns what was taken from the file, as Recommendation()
// writes it; "" if nothing.
std::string UseRecommendedSampling(const ModelDescription& about, ChatCall& call);

}  // namespace tradewind::cli
