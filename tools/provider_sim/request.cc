#include "provider_sim/request.h"

#include <algorithm>
#include <cctype>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

namespace provider_sim {
namespace {

namespace json = boost::json;

std::string_view KindOf(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "integer";
    case json::kind::double_:
      return "number";
    case json::kind::string:
      return "string";
    case json::kind::array:
      return "array";
    case json::kind::object:
      return "object";
  }
  return "null";
}

bool TypeFits(std::string_view types, std::string_view kind) {
  if (types.empty() || (kind == "integer" && types.find("number") != types.npos)) {
    return true;
  }
  for (size_t at = types.find(kind); at != types.npos; at = types.find(kind, at + 1)) {
    const size_t end = at + kind.size();
    if ((at == 0 || types[at - 1] == '|') && (end == types.size() || types[end] == '|')) {
      return true;
    }
  }
  return false;
}

std::optional<Refusal> CheckField(std::string_view name, const json::value& value,
                                  const FieldRule& rule) {
  const auto refuse = [&](std::string why) {
    return Refusal{"invalid", std::move(why), std::string(name)};
  };
  const std::string quoted = "'" + std::string(name) + "'";
  if (value.is_null()) {
    return std::nullopt;
  }
  if (!rule.refused.empty()) {
    return refuse(rule.refused);
  }
  if (!TypeFits(rule.types, KindOf(value))) {
    return refuse(quoted + ": expected " + rule.types + ", got " + std::string(KindOf(value)));
  }
  if (value.is_number()) {
    const auto number = value.to_number<double>();
    if ((rule.min && number < *rule.min) || (rule.max && number > *rule.max)) {
      return refuse(quoted + " is out of range: " + json::serialize(value));
    }
  }
  if (rule.non_empty && value.is_array() && value.get_array().empty()) {
    return refuse(quoted + " must not be an empty array");
  }
  return std::nullopt;
}

bool Allowed(const std::vector<std::string>& names, std::string_view name) {
  return names.empty() || std::ranges::find(names, name) != names.end();
}

const json::value* Find(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string_view TextOf(const json::object& object, std::string_view key) {
  const json::value* const value = Find(object, key);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string())
                                                : std::string_view();
}

std::optional<Refusal> CheckFields(const Provider& provider, const json::object& body) {
  for (const auto& [key, value] : body) {
    const std::string_view name = key;
    if (!Allowed(provider.allowed_fields, name)) {
      return Refusal{"unknown_field", {}, std::string(name)};
    }
    const auto rule = provider.fields.find(name);
    if (rule == provider.fields.end()) {
      continue;
    }
    if (auto refusal = CheckField(name, value, rule->second)) {
      return refusal;
    }
  }
  return std::nullopt;
}

// Where the client does not say; of a pool it is not known yet.
std::string ServedBy(const Model& model) {
  return model.pool.empty() ? model.served_by : std::string();
}

// The id as it stands, or before a router's suffix.
std::optional<Refusal> ReadModel(const Provider& provider, const json::object& body, Ask& ask) {
  const std::string_view id = TextOf(body, "model");
  if (id.empty()) {
    return Refusal{"invalid", "you must provide a model parameter", "model"};
  }
  ask.model = provider.FindModel(id);
  const size_t colon = id.rfind(':');
  if (ask.model == nullptr && provider.model_suffixes && colon != id.npos) {
    const Model* const model = provider.FindModel(id.substr(0, colon));
    const std::string suffix(id.substr(colon + 1));
    const bool policy = suffix == "fastest" || suffix == "cheapest" || suffix == "preferred";
    if (model != nullptr &&
        (policy || std::ranges::find(model->suffixes, suffix) != model->suffixes.end())) {
      ask.model = model;
      ask.served_by = policy ? ServedBy(*model) : suffix;
    }
  } else if (ask.model != nullptr) {
    ask.served_by = ServedBy(*ask.model);
  }
  if (ask.model == nullptr && provider.accept_any_model) {
    ask.model = provider.model_list.front().get();
    ask.any_model = JsonString(id);
  }
  const bool fits = ask.model != nullptr &&
                    (ask.model->task == "embedding") == (ask.endpoint == Endpoint::kEmbeddings);
  return fits ? std::nullopt : std::optional(Refusal{"model_not_found", std::string(id), "model"});
}

std::string ContentText(const json::value& content, Ask& ask) {
  std::string text;
  if (content.is_string()) {
    text = std::string_view(content.get_string());
  } else if (content.is_array()) {
    for (const json::value& part : content.get_array()) {
      if (!part.is_object()) {
        continue;
      }
      const std::string_view type = TextOf(part.get_object(), "type");
      if (type == "text") {
        text += (text.empty() ? "" : " ") + std::string(TextOf(part.get_object(), "text"));
      } else if (type == "image_url") {
        ask.prompt_tokens += kImageTokens;
        ++ask.images;
      }
    }
  }
  ask.prompt_tokens += CountWords(text);
  return text;
}

// An assistant's tool call without arguments is 500 at some providers: their data says "tool_call".
std::optional<Refusal> CheckToolCalls(const Provider& provider, const json::object& message) {
  const json::value* const calls = Find(message, "tool_calls");
  if (calls == nullptr || !calls->is_array() || !provider.errors.contains("tool_call")) {
    return std::nullopt;
  }
  for (const json::value& call : calls->get_array()) {
    const json::value* const function =
        call.is_object() ? Find(call.get_object(), "function") : nullptr;
    if (function == nullptr || !function->is_object() ||
        Find(function->get_object(), "arguments") == nullptr) {
      return Refusal{"tool_call", "tool call without arguments", "messages"};
    }
  }
  return std::nullopt;
}

std::optional<Refusal> ReadMessages(const Provider& provider, const json::object& body, Ask& ask) {
  const json::value* const messages = Find(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->get_array().empty()) {
    return Refusal{"invalid", "'messages' must be a non-empty array", "messages"};
  }
  size_t at = 0;
  for (const json::value& value : messages->get_array()) {
    const std::string where = "messages." + std::to_string(at++);
    const std::string_view role =
        value.is_object() ? TextOf(value.get_object(), "role") : std::string_view();
    if (role.empty()) {
      return Refusal{"invalid", "'" + where + ".role' is required", "messages"};
    }
    const json::object& message = value.get_object();
    for (const auto& [key, member] : message) {
      if (!Allowed(provider.allowed_message_fields, key)) {
        return Refusal{"unknown_field", {}, where + "." + std::string(key)};
      }
    }
    if (auto refusal = CheckToolCalls(provider, message)) {
      return refusal;
    }
    const json::value* const content = Find(message, "content");
    std::string text = content == nullptr ? "" : ContentText(*content, ask);
    ask.said.clear();
    if (role == "user") {
      ask.last_user = std::move(text);
    } else if (role == "assistant") {
      ask.said = std::move(text);
    }
    ask.after_tool = role == "tool";
  }
  return std::nullopt;
}

std::optional<Refusal> ReadTools(const json::object& body, Ask& ask) {
  if (const json::value* const tools = Find(body, "tools"); tools != nullptr && tools->is_array()) {
    for (const json::value& value : tools->get_array()) {
      const json::value* const function =
          value.is_object() ? Find(value.get_object(), "function") : nullptr;
      if (function == nullptr || !function->is_object() ||
          TextOf(function->get_object(), "name").empty()) {
        return Refusal{"invalid", "each of 'tools' needs a function with a name", "tools"};
      }
      ask.tools.push_back({std::string(TextOf(function->get_object(), "name")),
                           Find(function->get_object(), "parameters")});
    }
  }
  if (const json::value* const choice = Find(body, "tool_choice")) {
    if (choice->is_string()) {
      ask.tool_choice = std::string_view(choice->get_string());
    } else if (choice->is_object()) {
      const json::value* const function = Find(choice->get_object(), "function");
      if (function != nullptr && function->is_object()) {
        ask.tool_choice = "=" + std::string(TextOf(function->get_object(), "name"));
      }
    }
  }
  return std::nullopt;
}

// OpenAI's form, and those of TGI, Fireworks and Together.
std::optional<Refusal> ReadFormat(const Provider& provider, const json::object& body, Ask& ask) {
  const json::value* const value = Find(body, "response_format");
  if (value == nullptr || !value->is_object()) {
    return std::nullopt;
  }
  const json::object& format = value->get_object();
  const std::string_view type = TextOf(format, "type");
  ask.wants_json = type == "json_object" || type == "json_schema" || type == "json";
  const json::value* const wrapped = Find(format, "json_schema");
  if (wrapped != nullptr && wrapped->is_object()) {
    if (provider.schema_needs_name && TextOf(wrapped->get_object(), "name").empty()) {
      return Refusal{"invalid", "response_format.json_schema.name is required", "response_format"};
    }
    ask.schema = Find(wrapped->get_object(), "schema");
  }
  for (const std::string_view key : {"schema", "value"}) {
    if (ask.schema == nullptr) {
      ask.schema = Find(format, key);
    }
  }
  return std::nullopt;
}

void ReadNumbers(const Provider& provider, const json::object& body, Ask& ask) {
  const auto whole = [&](std::string_view key, int64_t fallback) {
    const json::value* const value = Find(body, key);
    return value != nullptr && value->is_int64() ? value->get_int64() : fallback;
  };
  const auto flag = [&](std::string_view key) {
    const json::value* const value = Find(body, key);
    return value != nullptr && value->is_bool() && value->get_bool();
  };
  ask.stream = flag("stream");
  if (const json::value* const options = Find(body, "stream_options");
      options != nullptr && options->is_object()) {
    const json::value* const usage = Find(options->get_object(), "include_usage");
    ask.include_usage = usage != nullptr && usage->is_bool() && usage->get_bool();
  }
  ask.max_tokens = whole("max_completion_tokens", whole("max_tokens", provider.default_max_tokens));
  if (const int64_t bound = whole(provider.output_bound, ask.max_tokens);
      !provider.output_bound.empty()) {
    ask.max_tokens = bound < 0 ? provider.default_max_tokens : bound;
  }
  ask.n = std::clamp<int64_t>(whole("n", 1), 1, kChoicesMax);
  ask.top_logprobs = flag("logprobs") ? whole("top_logprobs", 0) : whole("logprobs", -1);
  ask.reasoning =
      !TextOf(body, "reasoning_effort").empty() && TextOf(body, "reasoning_effort") != "none";
  ask.dimensions = whole("dimensions", 0);
  ask.base64 = TextOf(body, "encoding_format") == "base64";
  if (const json::value* const stop = Find(body, "stop")) {
    if (stop->is_string()) {
      ask.stops.emplace_back(std::string_view(stop->get_string()));
    } else if (stop->is_array()) {
      for (const json::value& word : stop->get_array()) {
        if (word.is_string() && !word.get_string().empty()) {
          ask.stops.emplace_back(std::string_view(word.get_string()));
        }
      }
    }
  }
}

// A string, strings, token ids, or arrays of these.
bool ReadInputs(const json::value& value, std::vector<EmbeddingInput>& inputs) {
  if (value.is_string()) {
    const std::string text(value.get_string());
    inputs.push_back({text, CountWords(text)});
    return true;
  }
  if (!value.is_array() || value.get_array().empty()) {
    return false;
  }
  if (value.get_array().front().is_number()) {
    inputs.push_back({json::serialize(value), value.get_array().size()});
    return true;
  }
  return std::ranges::all_of(value.get_array(), [&](const json::value& one) {
    return (one.is_string() || one.is_array()) && ReadInputs(one, inputs);
  });
}

std::optional<Refusal> ReadPrompts(const json::object& body, Ask& ask) {
  const bool embeds = ask.endpoint == Endpoint::kEmbeddings;
  const std::string_view name = embeds ? "input" : "prompt";
  const json::value* const value = Find(body, name);
  if (value == nullptr || !ReadInputs(*value, ask.inputs)) {
    return Refusal{"invalid", "'" + std::string(name) + "' must be a string or an array",
                   std::string(name)};
  }
  for (const EmbeddingInput& input : ask.inputs) {
    ask.prompt_tokens += input.tokens;
    if (!embeds) {
      ask.prompts.push_back(input.text);
    }
  }
  ask.last_user = ask.inputs.back().text;
  return std::nullopt;
}

}  // namespace

uint64_t CountWords(std::string_view text) {
  uint64_t words = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
    words += !space && !in_word ? 1 : 0;
    in_word = !space;
  }
  return words;
}

namespace {

bool WantsHour(const json::value& value) {
  if (value.is_array()) {
    return std::ranges::any_of(value.get_array(), WantsHour);
  }
  if (!value.is_object()) {
    return false;
  }
  return std::ranges::any_of(value.get_object(), [](const auto& member) {
    const json::value& of = member.value();
    return (member.key() == "cache_control" && of.is_object() &&
            TextOf(of.get_object(), "ttl") == "1h") ||
           WantsHour(of);
  });
}

}  // namespace

std::optional<Refusal> ReadAsk(const Provider& provider, const json::value& value, Ask& ask) {
  if (!value.is_object()) {
    return Refusal{"bad_json", "the body is not a JSON object", {}};
  }
  const json::object& body = value.get_object();
  if (auto refusal = CheckFields(provider, body)) {
    return refusal;
  }
  if (auto refusal = ReadModel(provider, body, ask)) {
    return refusal;
  }
  ReadNumbers(provider, body, ask);
  ask.wants_hour = WantsHour(value);
  ask.service_tier = TextOf(body, "service_tier");
  if (ask.endpoint != Endpoint::kChat) {
    return ReadPrompts(body, ask);
  }
  if (auto refusal = ReadMessages(provider, body, ask)) {
    return refusal;
  }
  if (auto refusal = ReadTools(body, ask)) {
    return refusal;
  }
  return ReadFormat(provider, body, ask);
}

}  // namespace provider_sim
