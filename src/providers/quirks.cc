#include "providers/quirks.h"

#include <algorithm>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "dialects/openai_facts.h"
#include "providers/quirk_tools.h"

namespace tradewind::providers {
namespace {

namespace json = boost::json;
using dialects::JsonText;

bool IsNull(std::string_view raw) {
  return raw.empty() || raw == "null";
}

bool IsEmptyArray(std::string_view raw) {
  return raw.starts_with('[') && raw.find_first_not_of(" \t\r\n", 1) == raw.size() - 1;
}

// {"function":{"name":"f"}} of the Hugging Face clients lacks its type.
void NormalizeToolChoice(JsonText& request) {
  const std::string_view raw = request.Raw("tool_choice");
  if (!raw.starts_with('{')) {
    return;
  }
  auto choice = dialects::ParseJsonObject(raw);
  if (choice.has_value() && choice->contains("function") && !choice->contains("type")) {
    json::object out{{"type", "function"}};
    for (const auto& member : *choice) {
      out.insert(member);
    }
    request.Set("tool_choice", json::serialize(out));
  }
}

void AskForUsage(const Quirks& quirks, bool is_stream, JsonText& request) {
  if (!is_stream || !quirks.usage_needs_asking) {
    return;
  }
  auto options = dialects::ParseJsonObject(request.Raw("stream_options"));
  json::object out = std::move(options).value_or(json::object());
  if (const json::value* asked = out.if_contains("include_usage");
      asked == nullptr || !asked->is_bool() || !asked->get_bool()) {
    out["include_usage"] = true;
    request.Set("stream_options", json::serialize(out));
  }
}

}  // namespace

std::string_view Quirks::Path(Endpoint endpoint) const {
  switch (endpoint) {
    case Endpoint::kChat:
      return chat_path;
    case Endpoint::kCompletions:
      return completions_path;
    case Endpoint::kEmbeddings:
      return embeddings_path;
  }
  return {};
}

std::optional<Schema> ReadSchema(const JsonText& request) {
  const std::string_view raw = request.Raw("response_format");
  if (IsNull(raw)) {
    return std::nullopt;
  }
  auto format = dialects::ParseJsonObject(raw);
  if (!format.has_value()) {
    return std::nullopt;
  }
  Schema out;
  const json::object* holder = &*format;
  for (const char* name : {"json_schema", "value"}) {
    if (const json::value* inner = format->if_contains(name);
        inner != nullptr && inner->is_object()) {
      holder = &inner->get_object();
      if (name[0] == 'v') {  // text-generation-inference: the value is the schema
        out.schema = json::serialize(*holder);
        return out;
      }
    }
  }
  const json::value* schema = holder->if_contains("schema");
  if (schema == nullptr || !schema->is_object()) {
    return std::nullopt;
  }
  out.schema = json::serialize(*schema);
  if (const json::value* name = holder->if_contains("name"); name != nullptr && name->is_string()) {
    out.name.assign(name->get_string().data(), name->get_string().size());
  }
  out.is_openai_form = holder != &*format;
  const json::value* strict = holder->if_contains("strict");
  out.strict = strict != nullptr && strict->is_bool() && strict->get_bool();
  return out;
}

void SetSchema(const Schema& schema, JsonText& request) {
  dialects::JsonWriter out;
  out.BeginObject().Field("type", "json_schema").Key("json_schema").BeginObject();
  out.Field("name", schema.name.empty() ? std::string("answer") : schema.name);
  out.Key("schema").Raw(schema.schema).Field("strict", schema.strict);
  out.EndObject().EndObject();
  request.Set("response_format", out.Take());
}

void EditMessages(JsonText& request, void (*edit)(json::object& message)) {
  auto messages = dialects::ParseJson(request.Raw("messages"));
  if (!messages.has_value() || !messages->is_array()) {
    return;
  }
  for (json::value& message : messages->get_array()) {
    if (message.is_object()) {
      edit(message.get_object());
    }
  }
  request.Set("messages", json::serialize(*messages));
}

void UseSystemForDeveloper(JsonText& request) {
  if (request.Raw("messages").find("\"developer\"") != std::string_view::npos) {
    EditMessages(request, [](json::object& message) {
      if (json::value* role = message.if_contains("role");
          role != nullptr && role->is_string() && role->get_string() == "developer") {
        *role = "system";
      }
    });
  }
}

void NameBound(BoundName name, Endpoint endpoint, JsonText& request) {
  constexpr std::string_view kOlder = "max_tokens", kNewer = "max_completion_tokens";
  if (endpoint == Endpoint::kCompletions) {
    name = BoundName::kMaxTokens;
  }
  if (endpoint == Endpoint::kEmbeddings || name == BoundName::kAsSaid ||
      name == BoundName::kUnclear) {
    return;
  }
  if (name == BoundName::kBoth && IsNull(request.Raw(kNewer)) && !IsNull(request.Raw(kOlder))) {
    request.Set(kNewer, std::string(request.Raw(kOlder)));
    return;
  }
  const bool is_newer = name == BoundName::kMaxCompletionTokens;
  const std::string_view from = is_newer ? kOlder : kNewer, to = is_newer ? kNewer : kOlder;
  if (IsNull(request.Raw(from))) {
    return;
  }
  const auto said = dialects::OtherBound(request, from), also = dialects::OtherBound(request, to);
  if (said.has_value() && also.has_value() && *said != *also) {
    const std::string least = std::to_string(std::min(*said, *also));
    request.Set(from, least);
    request.Set(to, least);
  }
  if (name == BoundName::kBoth || name == BoundName::kOlderToo) {
    request.Set(to, std::string(request.Raw(also.has_value() ? to : from)));
  } else if (also.has_value()) {
    request.Remove(from);
  } else {
    request.Remove(to);
    request.Rename(from, std::string(to));
  }
}

void Normalize(JsonText& request) {
  request.Remove("provider");
  request.Remove("models");
  if (IsEmptyArray(request.Raw("tools"))) {
    request.Remove("tools");
    request.Remove("tool_choice");
    request.Remove("parallel_tool_calls");
  }
  NormalizeToolChoice(request);
  if (const auto schema = ReadSchema(request); schema.has_value() && !schema->is_openai_form) {
    SetSchema(*schema, request);
  }
}

std::vector<std::string> PrepareRequest(const Quirks& quirks, Endpoint endpoint,
                                        std::string_view provider_model, bool is_stream,
                                        JsonText& request) {
  Normalize(request);
  if (quirks.translate != nullptr) {
    quirks.translate(endpoint, request);
  }
  const auto has = [](std::span<const std::string_view> list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  std::vector<std::string> dropped;
  if (endpoint == Endpoint::kChat &&
      !(quirks.chat_fields.empty() && quirks.refused_fields.empty())) {
    for (const std::string_view name : request.names()) {
      if (has(quirks.refused_fields, name) ||
          (!quirks.chat_fields.empty() && !has(quirks.chat_fields, name))) {
        dropped.emplace_back(name);
      }
    }
    for (const std::string& name : dropped) {
      request.Remove(name);
    }
  }
  dialects::JsonWriter model;
  model.Value(provider_model);
  if (std::string text = model.Take(); request.Raw("model") != text) {
    request.Set("model", std::move(text));
  }
  AskForUsage(quirks, is_stream, request);
  return dropped;
}

void PrepareOwnForm(const Quirks& quirks, bool is_stream, JsonText& request) {
  request.Remove("provider");
  request.Remove("models");
  AskForUsage(quirks, is_stream, request);
}

}  // namespace tradewind::providers
