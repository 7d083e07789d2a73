#include "providers/continuation.h"

#include <string>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/text.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "dialects/openai_facts.h"

namespace tradewind::providers {
namespace {

namespace json = boost::json;
using dialects::JsonText;

// False when nothing is left.
bool LowerBounds(int64_t tokens, JsonText& request) {
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"}) {
    const auto bound = dialects::ParseJson(request.Has(name) ? request.Raw(name) : "null");
    if (bound.has_value() && bound->is_int64()) {
      const int64_t left = bound->get_int64() - tokens;
      if (left <= 0) {
        return false;
      }
      request.Set(name, std::to_string(left));
    }
  }
  for (const std::string_view name : dialects::kOtherBounds) {
    if (const auto bound = dialects::OtherBound(request, name); bound.has_value()) {
      if (*bound <= tokens) {
        return false;
      }
      request.Set(name, std::to_string(*bound - tokens));
    }
  }
  return true;
}

bool ExtendPrompt(std::string_view text, JsonText& request) {
  auto prompt = dialects::ParseJson(request.Has("prompt") ? request.Raw("prompt") : "null");
  const bool is_plain = prompt.has_value() && prompt->is_string() && !request.Has("suffix") &&
                        (!request.Has("echo") || request.Raw("echo") == "false");
  if (!is_plain) {
    return false;
  }
  prompt->get_string().append(text);
  request.Set("prompt", json::serialize(*prompt));
  return true;
}

// A message of the assistant that the client began itself is the beginning of this one.
bool ExtendMessages(std::string_view text, JsonText& request) {
  auto messages = dialects::ParseJson(request.Has("messages") ? request.Raw("messages") : "null");
  if (!messages.has_value() || !messages->is_array() || messages->get_array().empty()) {
    return false;
  }
  json::value& last = messages->get_array().back();
  const json::value* role = last.is_object() ? last.get_object().if_contains("role") : nullptr;
  if (role != nullptr && role->is_string() && role->get_string() == "assistant") {
    json::value* content = last.get_object().if_contains("content");
    if (content == nullptr || !content->is_string()) {
      return false;
    }
    content->get_string().append(text);
  } else {
    messages->get_array().push_back(
        json::object{{"role", "assistant"}, {"content", json::string_view(text)}});
  }
  request.Set("messages", json::serialize(*messages));
  return true;
}

}  // namespace

bool CanGoOn(const Upstream& upstream, Endpoint endpoint, std::string_view provider_model) {
  switch (endpoint) {
    case Endpoint::kChat:
      return upstream.prefix != PrefixForm::kNone &&
             AsciiLower(provider_model).find("gpt-oss") == std::string::npos;
    case Endpoint::kCompletions:
      return !upstream.quirks->completions_path.empty();
    case Endpoint::kEmbeddings:
      return false;
  }
  return false;
}

bool AskForTheRest(const Upstream& upstream, Endpoint endpoint, std::string_view text,
                   int64_t tokens, JsonText& request) {
  if (!LowerBounds(tokens, request)) {
    return false;
  }
  if (endpoint == Endpoint::kCompletions) {
    return ExtendPrompt(text, request);
  }
  if (upstream.prefix == PrefixForm::kFinalFlag) {
    request.Set("continue_final_message", "true");
    request.Set("add_generation_prompt", "false");
  }
  return ExtendMessages(text, request);
}

}  // namespace tradewind::providers
