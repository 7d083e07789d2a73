// Cerebras. Refuses fields that it does not know, answers errors without an envelope, ends streams
// without [DONE], and reserves max_completion_tokens (16,384 if absent) against its rate limit.
#include <array>
#include <utility>

#include "providers/kinds.h"
#include "providers/quirk_tools.h"

namespace tradewind::providers {
namespace {

constexpr std::array<std::string_view, 20> kChatFields = {"model",
                                                          "messages",
                                                          "stream",
                                                          "stream_options",
                                                          "max_completion_tokens",
                                                          "temperature",
                                                          "top_p",
                                                          "seed",
                                                          "stop",
                                                          "n",
                                                          "tools",
                                                          "tool_choice",
                                                          "response_format",
                                                          "logprobs",
                                                          "top_logprobs",
                                                          "user",
                                                          "reasoning_effort",
                                                          "reasoning_format",
                                                          "disable_reasoning",
                                                          "clear_thinking"};

void Translate(Endpoint endpoint, dialects::JsonText& request) {
  if (endpoint != Endpoint::kChat) {
    return;
  }
  // Its schemas need a name.
  if (auto schema = ReadSchema(request); schema.has_value() && schema->name.empty()) {
    SetSchema(*schema, request);
  }
  // Earlier thoughts are `reasoning` here; the other name is refused.
  if (request.Raw("messages").find("\"reasoning_content\"") != std::string_view::npos) {
    EditMessages(request, [](boost::json::object& message) {
      if (const auto* found = message.if_contains("reasoning_content"); found != nullptr) {
        boost::json::value thought = *found;  // a copy: adding a field moves the others
        message.erase("reasoning_content");
        message["reasoning"] = std::move(thought);
      }
    });
  }
  UseSystemForDeveloper(request);
}

// Its own bounds and its subset of schemas: a temperature above 1.5, a keyword like minItems under
// `strict`. Nothing is taken out, as the answer would be another one; another route may take it.
Refusal Classify(int status, const dialects::WireError& error) {
  const bool is_about_form = (status == 400 || status == 422) && error.code == "wrong_api_format";
  return is_about_form ? Refusal::kNotHere : Refusal::kByStatus;
}

}  // namespace

constinit const Quirks kCerebras = {
    .kind = "cerebras",
    .name = "Cerebras",
    .base_url = "https://api.cerebras.ai/v1",
    .api_key_env = "CEREBRAS_API_KEY",
    .embeddings_path = "",
    .request_id_header = "inference-id",
    .chat_fields = kChatFields,
    .prefix = PrefixForm::kLastMessage,
    .bound_name = BoundName::kMaxCompletionTokens,
    .translate = Translate,
    .classify = Classify,
};

}  // namespace tradewind::providers
