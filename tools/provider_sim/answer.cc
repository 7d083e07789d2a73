#include "provider_sim/answer.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

namespace provider_sim {
namespace {

namespace json = boost::json;

constexpr int kSchemaDepthMax = 16;
constexpr int64_t kTokensMax = 200'000;

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) {
      ++at;
    }
    const size_t begin = at;
    while (at < text.size() && !std::isspace(static_cast<unsigned char>(text[at]))) {
      ++at;
    }
    if (at > begin && !text.substr(begin, at - begin).starts_with("sim:")) {
      words.push_back(text.substr(begin, at - begin));
    }
  }
  return words;
}

uint64_t HashOf(std::string_view text) {
  uint64_t hash = text.size();
  for (const char c : text) {
    hash = Mix(hash ^ static_cast<unsigned char>(c));
  }
  return hash;
}

const json::value* Member(const json::object& object, std::string_view key) {
  return object.if_contains(key);
}

// "#/$defs/Name" in `root`.
const json::value* Resolve(const json::value& root, std::string_view reference) {
  if (!reference.starts_with("#/")) {
    return nullptr;
  }
  boost::system::error_code error;
  const json::value* const found = root.find_pointer(reference.substr(1), error);
  return error ? nullptr : found;
}

struct SchemaWriter {
  const json::value& root;
  std::string_view word;

  json::value Make(const json::value& schema, int depth) const;
  json::value MakeObject(const json::object& schema, int depth) const;
  json::value OfType(std::string_view type, const json::object& schema, int depth) const;
};

json::value SchemaWriter::MakeObject(const json::object& schema, int depth) const {
  json::object made;
  const json::value* const properties = Member(schema, "properties");
  if (properties != nullptr && properties->is_object()) {
    for (const auto& [key, property] : properties->get_object()) {
      made[key] = Make(property, depth + 1);
    }
  }
  return made;
}

json::value SchemaWriter::OfType(std::string_view type, const json::object& schema,
                                 int depth) const {
  if (type == "string") {
    const json::value* const format = Member(schema, "format");
    const bool date = format != nullptr && format->is_string() && format->get_string() == "date";
    return date ? json::value("2026-01-02") : json::value(json::string_view(word));
  }
  if (type == "integer" || type == "number") {
    const json::value* const minimum = Member(schema, "minimum");
    return minimum != nullptr && minimum->is_number() ? *minimum : json::value(7);
  }
  if (type == "boolean") {
    return true;
  }
  if (type == "array") {
    const json::value* const items = Member(schema, "items");
    const json::value* const least = Member(schema, "minItems");
    const int64_t count =
        least != nullptr && least->is_int64() ? std::clamp<int64_t>(least->get_int64(), 1, 16) : 1;
    json::array array;
    for (int64_t i = 0; i < count; ++i) {
      array.push_back(items == nullptr ? json::value(json::string_view(word))
                                       : Make(*items, depth + 1));
    }
    return array;
  }
  return type == "null" ? json::value(nullptr) : MakeObject(schema, depth);
}

json::value SchemaWriter::Make(const json::value& value, int depth) const {
  if (!value.is_object() || depth > kSchemaDepthMax) {
    return json::value(nullptr);
  }
  const json::object& schema = value.get_object();
  for (const std::string_view key : {"const", "default"}) {
    if (const json::value* const given = Member(schema, key)) {
      return *given;
    }
  }
  if (const json::value* const choices = Member(schema, "enum");
      choices != nullptr && choices->is_array() && !choices->get_array().empty()) {
    return choices->get_array().front();
  }
  if (const json::value* const reference = Member(schema, "$ref");
      reference != nullptr && reference->is_string()) {
    const json::value* const target = Resolve(root, std::string_view(reference->get_string()));
    return target == nullptr ? json::value(nullptr) : Make(*target, depth + 1);
  }
  for (const std::string_view key : {"anyOf", "oneOf", "allOf"}) {
    if (const json::value* const some = Member(schema, key);
        some != nullptr && some->is_array() && !some->get_array().empty()) {
      return Make(some->get_array().front(), depth + 1);
    }
  }
  const json::value* type = Member(schema, "type");
  if (type != nullptr && type->is_array() && !type->get_array().empty()) {
    type = &type->get_array().front();
  }
  const std::string_view name =
      type != nullptr && type->is_string() ? std::string_view(type->get_string()) : "object";
  return OfType(name, schema, depth);
}

// "MODEL heard w1 w2 w1 w2 ...": `tokens` of them.
void Speak(std::string_view model, std::string_view heard, size_t tokens, TokenText& out) {
  const std::vector<std::string_view> words = Words(heard);
  std::string token;
  for (size_t i = 0; i < tokens; ++i) {
    token = i == 0 ? "" : " ";
    if (i == 0) {
      token += model;
    } else if (i == 1) {
      token += "heard";
    } else if (words.empty()) {
      token += "nothing";
    } else {
      token += words[(i - 2) % words.size()];
    }
    out.Add(token);
  }
}

// The tools that the request forces or its last user message asks for: "call NAME", more than once
// for parallel calls.
std::vector<const Tool*> CalledTools(const Ask& ask) {
  std::vector<const Tool*> called;
  if (ask.tools.empty() || ask.tool_choice == "none" || ask.after_tool) {
    return called;
  }
  const std::vector<std::string_view> words = Words(ask.last_user);
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    for (const Tool& tool : ask.tools) {
      const std::string_view next = words[i + 1];
      if ((words[i] == "call" || words[i] == "Call") && next.starts_with(tool.name) &&
          next.substr(tool.name.size()).find_first_not_of(".,;!?") == next.npos) {
        called.push_back(&tool);
      }
    }
  }
  const bool forced = ask.tool_choice == "required" || ask.tool_choice == "any";
  if (called.empty() && forced) {
    called.push_back(&ask.tools.front());
  }
  if (ask.tool_choice.starts_with("=")) {
    called.clear();
    for (const Tool& tool : ask.tools) {
      if (tool.name == std::string_view(ask.tool_choice).substr(1)) {
        called.push_back(&tool);
      }
    }
  }
  return called;
}

void CutAtStops(const std::vector<std::string>& stops, Choice& choice) {
  size_t at = std::string::npos;
  for (const std::string& stop : stops) {
    at = std::min(at, choice.content.text().find(stop));
  }
  if (at != std::string::npos) {
    choice.content.CutBytes(at);
    choice.finish = "stop";
  }
}

// The bound on tokens strikes reasoning first: it comes first.
void CutAtMax(int64_t max_tokens, bool spares_reasoning, Choice& choice) {
  const uint64_t max = static_cast<uint64_t>(std::max<int64_t>(max_tokens, 0)) +
                       (spares_reasoning ? choice.reasoning.size() : 0);
  if (choice.tokens() <= max || !choice.calls.empty()) {
    return;
  }
  choice.reasoning.CutTokens(max);
  choice.content.CutTokens(max - choice.reasoning.size());
  choice.finish = "length";
}

// What of the answer has been said already; a prompt ends in it.
std::string SaidBefore(const Ask& ask, std::string_view name, std::string_view& heard) {
  if (ask.endpoint == Endpoint::kChat) {
    return ask.said;
  }
  const size_t at = heard.find(std::string(name) + " heard");
  std::string said(heard.substr(std::min(at, heard.size())));
  heard = heard.substr(0, at);
  return said;
}

Choice MakeChoice(const Ask& ask, std::string_view heard, const Behaviour& how) {
  Choice choice;
  choice.finish = "stop";
  const int64_t reasoning = how.reasoning_tokens >= 0 ? how.reasoning_tokens
                            : ask.reasoning           ? kDefaultReasoningTokens
                                                      : ask.model->default_reasoning_tokens;
  if (ask.endpoint == Endpoint::kChat && reasoning > 0) {
    TokenText& out = ask.model->think_in_content ? choice.content : choice.reasoning;
    Speak(ask.model->think_in_content ? "<think>considered" : "considered", heard,
          static_cast<size_t>(std::min(reasoning, kTokensMax)), out);
    if (ask.model->think_in_content) {
      out.Add("\n</think>\n");
    }
  }
  const std::string word(Words(heard).empty() ? "nothing" : std::string(Words(heard).back()));
  for (const Tool* tool : CalledTools(ask)) {
    ToolCall call;
    call.name = tool->name;
    call.arguments.AddPieces(json::serialize(Instance(tool->parameters, word)));
    choice.calls.push_back(std::move(call));
    choice.finish = "tool_calls";
  }
  if (!choice.calls.empty()) {
    return choice;
  }
  if (ask.wants_json) {
    choice.content.AddPieces(json::serialize(Instance(ask.schema, word)));
  } else {
    const std::string name =
        ask.any_model.empty() ? ask.model->id : ask.any_model.substr(1, ask.any_model.size() - 2);
    const std::string said =
        how.prefix == "continue" ? SaidBefore(ask, name, heard) : std::string();
    Speak(name, heard,
          static_cast<size_t>(std::min(how.tokens >= 0 ? how.tokens : kDefaultTokens, kTokensMax)),
          choice.content);
    if (choice.content.text().starts_with(said)) {
      choice.content.DropBytes(said.size());
    }
  }
  CutAtStops(ask.stops, choice);
  CutAtMax(ask.max_tokens, how.thinks_beyond_cap, choice);
  return choice;
}

}  // namespace

void TokenText::Add(std::string_view token) {
  text_ += token;
  ends_.push_back(static_cast<uint32_t>(text_.size()));
}

void TokenText::AddPieces(std::string_view text) {
  while (!text.empty()) {
    size_t end = std::min(kJsonTokenBytes, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
      ++end;
    }
    Add(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::string_view TokenText::Range(size_t from, size_t to) const {
  const size_t begin = from == 0 ? 0 : ends_[from - 1];
  return std::string_view(text_).substr(begin, ends_[to - 1] - begin);
}

void TokenText::CutTokens(size_t tokens) {
  if (tokens < ends_.size()) {
    ends_.resize(tokens);
    text_.resize(tokens == 0 ? 0 : ends_.back());
  }
}

void TokenText::CutBytes(size_t bytes) {
  text_.resize(std::min(bytes, text_.size()));
  while (!ends_.empty() && ends_.back() > text_.size()) {
    ends_.pop_back();
  }
  if (!text_.empty() && (ends_.empty() || ends_.back() < text_.size())) {
    ends_.push_back(static_cast<uint32_t>(text_.size()));  // a part of a token is one
  }
}

void TokenText::DropBytes(size_t bytes) {
  TokenText rest;
  size_t begin = 0;
  for (const uint32_t end : ends_) {
    if (end > bytes) {
      const size_t from = std::max(begin, bytes);
      rest.Add(std::string_view(text_).substr(from, end - from));
    }
    begin = end;
  }
  *this = std::move(rest);
}

uint64_t Choice::tokens() const {
  uint64_t tokens = reasoning.size() + content.size();
  for (const ToolCall& call : calls) {
    tokens += 1 + call.arguments.size();
  }
  return tokens;
}

uint64_t Answer::completion_tokens() const {
  uint64_t tokens = 0;
  for (const Choice& choice : choices) {
    tokens += choice.tokens();
  }
  return tokens;
}

uint64_t Answer::reasoning_tokens() const {
  uint64_t tokens = 0;
  for (const Choice& choice : choices) {
    tokens += choice.reasoning.size();
  }
  return tokens;
}

Answer MakeAnswer(const Ask& ask, const Behaviour& how) {
  Answer answer;
  answer.prompt_tokens = ask.prompt_tokens;
  answer.cached_tokens =
      std::min(ask.prompt_tokens, static_cast<uint64_t>(std::max<int64_t>(how.cached_tokens, 0)));
  (ask.wants_hour ? answer.written_1h_tokens : answer.written_tokens) =
      std::min(ask.prompt_tokens - answer.cached_tokens,
               static_cast<uint64_t>(std::max<int64_t>(how.cache_write_tokens, 0)));
  std::vector<std::string> heard = ask.prompts;
  if (heard.empty()) {
    heard.push_back(ask.last_user);
  }
  for (const std::string& text : heard) {
    const Choice choice = MakeChoice(ask, text, how);
    for (int64_t i = 0; i < ask.n; ++i) {
      answer.choices.push_back(choice);
      if (!how.finish.empty()) {
        answer.choices.back().finish = how.finish;
      }
    }
  }
  return answer;
}

json::value Instance(const json::value* schema, std::string_view word) {
  if (schema == nullptr) {
    return json::object{{"answer", json::string_view(word)}};
  }
  return SchemaWriter{*schema, word}.Make(*schema, 0);
}

std::vector<float> Embed(std::string_view text, int64_t dims) {
  constexpr double kTwoTo53 = 9007199254740992.0;
  std::vector<double> raw;
  double squares = 0;
  const uint64_t hash = HashOf(text);
  for (int64_t i = 0; i < dims; ++i) {
    raw.push_back(static_cast<double>(Mix(hash + static_cast<uint64_t>(i)) >> 11) / kTwoTo53 - 0.5);
    squares += raw.back() * raw.back();
  }
  std::vector<float> vector;
  for (const double entry : raw) {
    vector.push_back(static_cast<float>(entry / std::sqrt(squares)));
  }
  return vector;
}

}  // namespace provider_sim
