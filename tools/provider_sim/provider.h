// A provider as its data file tells it: addresses, models and prices, reply shapes, errors, what it
// refuses.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "provider_sim/json_template.h"

namespace provider_sim {

// The last four say what all of the provider's users cost: as OpenAI has it, and as Anthropic does.
enum class Endpoint : uint8_t {
  kChat,
  kCompletions,
  kEmbeddings,
  kModels,
  kBilling,
  kUsage,
  kCosts,
  kUsageReport,
  kCostReport
};
inline constexpr std::array<std::string_view, 9> kEndpointNames = {
    "chat",  "completions", "embeddings",   "models",     "billing",
    "usage", "costs",       "usage_report", "cost_report"};
inline std::string_view NameOf(Endpoint endpoint) {
  return kEndpointNames[static_cast<size_t>(endpoint)];
}

struct Model {
  std::string id;
  std::string reply_model;    // JSON string: what replies call it
  std::string task = "chat";  // "chat", "embedding": others answer 404
  std::string owned_by, context, created, providers, served_by;  // JSON fragments
  std::vector<std::string> suffixes;                             // of a router: live providers
  // Prices in nano-USD per million tokens.
  int64_t input_price = 0, cached_price = 0, output_price = 0, reasoning_price = 0;
  // All of these, for a prompt of more than `above` tokens; 0: there is no such tier.
  uint64_t above = 0;
  int64_t above_input_price = 0, above_cached_price = 0, above_output_price = 0,
          above_reasoning_price = 0;
  int64_t request_price = 0, image_price = 0;  // nano-USD for each
  // Of prompt tokens that are written to its cache, for minutes and for an hour; of any length.
  int64_t cache_write_price = 0, cache_write_1h_price = 0;
  // By the word that requests name it with: the same model, at the prices of this service tier.
  std::map<std::string, std::shared_ptr<const Model>, std::less<>> service_tiers;
  int64_t default_reasoning_tokens = 0;
  bool think_in_content = false;  // <think>...</think> before the answer
  int64_t dims = 8;               // of an embedding
  // Who may serve it, each at prices of its own: every request goes to one of them, which nobody
  // chooses but by a suffix. Empty: it has the one price.
  std::vector<std::shared_ptr<const Model>> pool;
};

// What was used; `cached` and what was written are of the prompt, `reasoning` of the completion.
struct Used {
  uint64_t prompt = 0, cached = 0, completion = 0, reasoning = 0, images = 0;
  uint64_t written = 0, written_1h = 0;
};

// Rounded up once.
int64_t CostNanoUsd(const Model& model, const Used& used);

// Sets the one price of a model: "output_nanousd_per_mtok", "above" ..., as data files name them, and
// "service_tiers": each of them by its name. Throws std::runtime_error for a name that is none.
void SetPrices(const boost::json::object& prices, Model& model);

struct ErrorShape {
  int status = 500;
  Template message;
  std::string type, code, param;  // JSON fragments; a param of "" takes the request's
  Template body;                  // empty: the provider's usual body
  std::string content_type;
  std::vector<std::pair<std::string, Template>> headers;
};

// What a request's field may hold; null is always fine.
struct FieldRule {
  std::string types;  // "integer|boolean"; empty: any
  std::optional<double> min, max;
  bool non_empty = false;
  std::string refused;  // a message: the field may not be there at all
};

struct ChunkShapes {
  Template role, delta, reasoning, tool, finish, usage;
};

struct ReplyShapes {
  Template reply, choice;
  ChunkShapes stream;
};

enum class UsageAt : uint8_t { kFinish, kChunk, kCumulative, kAsked };

struct Provider {
  std::string name;  // the path prefix; the slug unless another was asked for
  std::map<Endpoint, std::string> paths;
  Template id, billing_id;
  std::string client_id_header;  // by whose value its billing knows a request too; empty: none
  std::vector<std::pair<std::string, Template>> all_headers, json_headers, stream_headers,
      error_headers;
  bool chunked_json = true;
  ReplyShapes chat, completions;
  Template usage, zero_usage;
  UsageAt usage_at = UsageAt::kFinish;
  bool null_usage_when_asked = false;
  bool done = true;
  int64_t tokens_per_event = 1;   // of content
  bool whole_tool_calls = false;  // a streamed tool call comes in one chunk
  bool together_logprobs = false;
  bool tool_call_index = false;  // also in what is not streamed
  Template embeddings, embedding, models, model_entry;
  Template error_body, stream_error;
  std::map<std::string, ErrorShape, std::less<>> errors;  // "401", "unknown_field" ...
  std::map<std::string, FieldRule, std::less<>> fields;
  std::vector<std::string> allowed_fields, allowed_message_fields;  // empty: any
  bool schema_needs_name = false;
  bool model_suffixes = false;
  bool accept_any_model = false;  // an unknown id is the first model under another name
  int64_t default_max_tokens = 1 << 20;
  std::string output_bound;  // a name that is obeyed before max_tokens; below 0 is "without end"
  std::string abort_bill = "generated";
  std::vector<std::unique_ptr<Model>> model_list;

  const Model* FindModel(std::string_view model_id) const;
  const ErrorShape& Error(std::string_view which) const;  // falls back to "500"
};

// Throws std::runtime_error that names the file and what is wrong in it. A file may say "extends":
// "slug"; its members then replace those of that file.
std::unique_ptr<Provider> LoadProvider(const std::filesystem::path& folder, std::string_view slug,
                                       std::string_view name);

}  // namespace provider_sim
