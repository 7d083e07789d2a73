// GET /v1/models and /v1/models/{id}: OpenAI's fields, and who serves a model at what price as the
// Hub's router lists them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tradewind::dialects {

// A provider of a model beyond this device. What is not known is left out of the answer.
struct ModelProviderEntry {
  std::string provider;
  std::string status;  // "live", "error"
  std::optional<int64_t> context_length;
  std::string input, output;  // USD per million tokens as exact JSON numbers; empty = unpriced
  std::string cached_input;
  // What few have, by its name: "reasoning", "request" (USD each), "image" (USD each), ...
  std::vector<std::pair<std::string, std::string>> other_prices;
  struct Tier {
    int64_t above = 0;  // input tokens
    std::vector<std::pair<std::string, std::string>> prices;
  };
  std::vector<Tier> tiers;
  struct ServiceTier {
    std::string name;
    std::vector<std::pair<std::string, std::string>> prices;
    std::vector<Tier> tiers;
  };
  std::vector<ServiceTier> service_tiers;
  bool is_free = false;
  std::optional<bool> supports_tools, supports_structured_output;
  std::optional<double> first_token_latency_ms, throughput;  // throughput in output tokens/s
  std::string quantization;
  bool is_model_author = false;
};

struct ModelEntry {
  std::string id;
  int64_t created = 0;   // Unix seconds: when the file was last written, or the model came out
  std::string owned_by;  // the organisation in the id, else "local"
  int64_t bytes = 0;
  int64_t context = 0;  // positions a sequence may use; 0 = not known
  bool loaded = false;
  bool is_local = true;                            // bytes and loaded count
  std::vector<std::string> input_modalities = {};  // empty = not said
  std::vector<ModelProviderEntry> providers = {};
};

std::string FormatModel(const ModelEntry& entry);
std::string FormatModelList(std::span<const ModelEntry> entries);

}  // namespace tradewind::dialects
