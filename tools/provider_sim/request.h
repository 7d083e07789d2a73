// What a client asks, checked the way the provider checks it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "provider_sim/provider.h"

namespace provider_sim {

inline constexpr int64_t kChoicesMax = 8;
inline constexpr uint64_t kImageTokens = 256;

struct Tool {
  std::string name;
  const boost::json::value* parameters = nullptr;  // may be null
};

struct EmbeddingInput {
  std::string text;
  uint64_t tokens = 0;
};

// Views and pointers into the parsed body, which outlives it.
struct Ask {
  Endpoint endpoint = Endpoint::kChat;
  const Model* model = nullptr;
  std::string served_by;  // of a router: the provider chosen
  std::string any_model;  // the id asked for, where any is accepted
  bool stream = false, include_usage = false;
  int64_t max_tokens = -1;
  int64_t n = 1;
  std::vector<std::string> stops;
  std::string last_user;             // the text of the last user message, or of the prompt
  std::string said;                  // the text of a last message of the assistant
  std::vector<std::string> prompts;  // of completions
  uint64_t prompt_tokens = 0, images = 0;
  std::string service_tier;  // that it names
  bool wants_hour = false;   // a `cache_control` somewhere, with a ttl of an hour
  bool wants_json = false;
  const boost::json::value* schema = nullptr;  // of the JSON wanted; may be null
  std::vector<Tool> tools;
  std::string tool_choice =
      "auto";               // "none", "auto", "required", or a tool's name with '=' before it
  bool after_tool = false;  // the last message is a tool's result
  bool reasoning = false;
  int64_t top_logprobs = -1;  // -1: no logprobs
  std::vector<EmbeddingInput> inputs;
  int64_t dimensions = 0;
  bool base64 = false;
};

struct Refusal {
  std::string error;  // a key of Provider::errors
  std::string message, param;
};

// Words between white space.
uint64_t CountWords(std::string_view text);

// Reads `body`, which was parsed from the request, into `ask`; the first thing wrong, or nothing.
std::optional<Refusal> ReadAsk(const Provider& provider, const boost::json::value& body, Ask& ask);

}  // namespace provider_sim
