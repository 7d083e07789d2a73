#include "dialects/wire_answer.h"

#include <algorithm>
#include <array>
#include <memory>
#include <simdjson.h>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "dialects/billed_apart.h"
#include "dialects/json_reader.h"
#include "dialects/json_text.h"
#include "dialects/json_writer.h"
#include "dialects/wire_usage.h"

namespace tradewind::dialects {
namespace {

namespace dom = simdjson::dom;

// What of an answer providers name differently; OpenAI's word is "stop".
constexpr std::array<std::string_view, 3> kOtherStops = {"eos", "eos_token", "stop_sequence"};

// Of this thread, used again and again.
thread_local std::unique_ptr<dom::parser> parser;
thread_local std::string padded;

// What a large text took, many times its size: an element of it must be gone.
void GiveBackLarge() {
  constexpr size_t kKeptBytes = 1 << 20;
  if (padded.capacity() > kKeptBytes) {
    parser.reset();
    padded = std::string();
  }
}

// The element lives until the next call, or until GiveBackLarge.
simdjson::error_code Parse(std::string_view text, dom::element& out) {
  GiveBackLarge();
  if (parser == nullptr) {
    parser = std::make_unique<dom::parser>();
  }
  padded.reserve(text.size() + simdjson::SIMDJSON_PADDING);
  padded.assign(text);
  return parser->parse(padded.data(), padded.size(), false).get(out);
}

std::string_view Text(const dom::element& object, std::string_view name) {
  std::string_view text;
  return object[name].get(text) == simdjson::SUCCESS ? text : std::string_view();
}

// Of an error: a word, or, from some, a number.
std::string Code(const dom::element& object, std::string_view name = "code") {
  int64_t number = 0;
  if (object[name].get(number) == simdjson::SUCCESS) {
    return std::to_string(number);
  }
  return std::string(Text(object, name));
}

// What stands in an object that holds an error, or is one: OpenAI's fields, or Baidu's, or
// MiniMax's, or iFlytek's, whose answers say that they are none.
WireError ErrorIn(const dom::element& holder) {
  WireError out;
  out.message = Text(holder, "message");
  out.type = Text(holder, "type");
  out.param = Text(holder, "param");
  out.code = Code(holder);
  if (out.code == "0" && out.type.empty()) {
    out.code.clear();  // "Success"
  }
  dom::element base;
  if (out.code.empty() && holder["base_resp"].get(base) == simdjson::SUCCESS) {
    const std::string code = Code(base, "status_code");
    if (!code.empty() && code != "0") {
      out.code = code;
      out.message = Text(base, "status_msg");
    }
  } else if (const std::string code = Code(holder, "error_code");
             out.code.empty() && !code.empty() && code != "0") {
    out.code = code;
    out.message = Text(holder, "error_msg");
  }
  return out;
}

// What servers say that have no envelope.
std::string Detail(const dom::element& root) {
  dom::element detail;
  if (root["detail"].get(detail) != simdjson::SUCCESS || detail.is_null()) {
    return {};
  }
  return detail.is_string() ? std::string(Text(root, "detail")) : simdjson::minify(detail);
}

// That the answer, or its usage, says; "auto" says what was asked, and not what was done.
std::string ServiceTier(const dom::element& holder) {
  constexpr size_t kBytesMax = 64;
  std::string_view tier = Text(holder, "service_tier");
  if (dom::element usage;
      (tier.empty() || tier == "auto") && holder["usage"].get(usage) == simdjson::SUCCESS) {
    tier = Text(usage, "service_tier");
  }
  return tier == "auto" ? std::string() : std::string(tier.substr(0, kBytesMax));
}

bool IsSomething(const dom::element& value) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    return !text.empty();
  }
  dom::array items;
  dom::object fields;
  return (value.get(items) == simdjson::SUCCESS && items.size() > 0) ||
         (value.get(fields) == simdjson::SUCCESS && fields.size() > 0);
}

// What names something, or was not written by the model.
constexpr std::array<std::string_view, 6> kNames = {"role",  "type",   "id",
                                                    "index", "format", "annotations"};

bool IsThought(std::string_view name) {
  return name.starts_with("reasoning") || name.starts_with("think");
}

// Bytes of what a model wrote of it: of text, of thoughts, of a call's name and arguments. Some say
// the same thoughts under several names.
int64_t WrittenBytes(const dom::element& value) {
  constexpr int64_t kScalarBytes = 4;
  constexpr int64_t kCallBytes = 32;  // what frames a call, where the model's text is parsed
  std::string_view text;
  dom::array items;
  dom::object fields;
  int64_t bytes = 0;
  if (value.get(text) == simdjson::SUCCESS) {
    return static_cast<int64_t>(text.size());
  }
  if (value.get(items) == simdjson::SUCCESS) {
    for (const dom::element item : items) {
      bytes += WrittenBytes(item);
    }
    return bytes;
  }
  if (value.get(fields) != simdjson::SUCCESS) {
    return value.is_null() ? 0 : kScalarBytes;
  }
  int64_t thoughts = 0;
  for (const dom::key_value_pair& field : fields) {
    if (std::ranges::find(kNames, field.key) != kNames.end()) {
      continue;
    }
    // Of a call whose arguments are no text, the model wrote the JSON.
    const bool is_json = (field.key == "arguments" || field.key == "input") &&
                         !field.value.is_string() && !field.value.is_null();
    const int64_t part = is_json ? static_cast<int64_t>(simdjson::minify(field.value).size())
                                 : WrittenBytes(field.value);
    bytes += IsThought(field.key) ? 0 : part;
    bytes += field.key == "name" && part > 0 ? kCallBytes : 0;
    thoughts = std::max(thoughts, IsThought(field.key) ? part : 0);
  }
  return bytes + thoughts;
}

// Of a stream's delta. What thoughts, calls and speech are called differs from provider to
// provider, so whatever a delta says is something, but for who speaks.
void ReadDelta(const dom::object& delta, WireChunk& out) {
  for (const dom::key_value_pair& field : delta) {
    if (field.key == "role" || !IsSomething(field.value)) {
      continue;
    }
    std::string_view text;
    const bool is_text = field.key == "content" && field.value.get(text) == simdjson::SUCCESS;
    out.text += text;
    out.has_content = true;
    out.has_other |= !is_text;
    out.has_calls |= field.key == "tool_calls" || field.key == "function_call";
  }
}

// False: an impossible index. Who names none means the place in the list.
bool ReadChoices(const dom::element& root, WireChunk& out, WireChoices* seen) {
  dom::array choices;
  if (root["choices"].get(choices) != simdjson::SUCCESS) {
    return true;
  }
  int64_t place = 0;
  for (const dom::element choice : choices) {
    out.has_choices = true;
    int64_t index = place++;
    static_cast<void>(choice["index"].get(index));
    dom::object delta;
    const bool has_delta = choice["delta"].get(delta) == simdjson::SUCCESS;
    int64_t written = 0;
    if (has_delta) {
      ReadDelta(delta, out);
      written = WrittenBytes(choice["delta"]);
    } else if (dom::element message; choice["message"].get(message) == simdjson::SUCCESS) {
      written = WrittenBytes(message);
    }
    // Some repeat the delta's text here.
    const std::string_view text = Text(choice, "text");
    out.written_bytes += std::max(written, static_cast<int64_t>(text.size()));
    if (!text.empty()) {
      out.has_content = true;
      if (!has_delta) {
        out.text += text;
      }
    }
    const std::string_view reason = Text(choice, "finish_reason");
    if (!reason.empty()) {
      out.finish_reason = reason;
    }
    if (seen != nullptr && !seen->Note(index, !reason.empty())) {
      return false;
    }
  }
  out.written_bytes = std::max<int64_t>(out.written_bytes, out.has_content ? 1 : 0);
  return true;
}

// Some put an `error` into all that they send, and where there is none it is "", {} or false.
bool HasError(const dom::element& root) {
  dom::element error;
  if (root["error"].get(error) != simdjson::SUCCESS || error.is_null()) {
    return false;
  }
  dom::array list;
  dom::object usage;
  const bool is_answer = root["choices"].get(list) == simdjson::SUCCESS ||
                         root["data"].get(list) == simdjson::SUCCESS ||
                         root["usage"].get(usage) == simdjson::SUCCESS;
  return !is_answer || !SaysNothing(simdjson::minify(error));
}

std::optional<std::string> ReadError(const dom::element& root, bool has_choices) {
  dom::element error;
  if (HasError(root) && root["error"].get(error) == simdjson::SUCCESS) {
    std::string_view text;
    if (error.get(text) == simdjson::SUCCESS) {
      return std::string(text);
    }
    return std::string(Text(error, "message"));
  }
  if (has_choices) {
    return std::nullopt;
  }
  // One without a holder of its own.
  const WireError said = ErrorIn(root);
  const bool is_bare = !said.code.empty() || Text(root, "object") == "error";
  return is_bare && !said.message.empty() ? std::optional(said.message) : std::nullopt;
}

// Where the value of the field begins whose name ends before `at`; npos: that was no name.
size_t ValueAt(std::string_view text, size_t at) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t colon = text.find_first_not_of(kSpace, at);
  const bool is_name = colon != std::string_view::npos && text[colon] == ':';
  return is_name ? text.find_first_not_of(kSpace, colon + 1) : std::string_view::npos;
}

// Inside of a JSON string quotes have backslashes, so a quoted name before a colon is a field.
bool ReplaceStops(std::string& text) {
  constexpr std::string_view kName = "\"finish_reason\"";
  bool replaced = false;
  for (size_t at = text.find(kName); at != std::string::npos; at = text.find(kName, at + 1)) {
    const size_t value = ValueAt(text, at + kName.size());
    const std::string_view rest = std::string_view(text).substr(std::min(value, text.size()));
    for (const std::string_view other : kOtherStops) {
      if (rest.starts_with(fmt::format("\"{}\"", other))) {
        text.replace(value, other.size() + 2, "\"stop\"");
        replaced = true;
        break;
      }
    }
  }
  return replaced;
}

bool IsOtherStop(std::string_view reason) {
  return std::find(kOtherStops.begin(), kOtherStops.end(), reason) != kOtherStops.end();
}

}  // namespace

bool WireChoices::Note(int64_t index, bool is_end) {
  if (index < 0 || index >= limits::kWireChoicesMax) {
    return false;
  }
  const auto at = static_cast<size_t>(index);
  if (at >= states_.size()) {
    states_.resize(at + 1, State::kUnseen);
  }
  State& state = states_[at];
  if (state == State::kEnded) {
    return true;
  }
  open_ += (is_end ? 0 : 1) - (state == State::kOpen ? 1 : 0);
  state = is_end ? State::kEnded : State::kOpen;
  return true;
}

bool WireChoices::EndAll() {
  std::ranges::replace(states_, State::kOpen, State::kEnded);
  return std::exchange(open_, 0) > 0;
}

int64_t WireChoices::ended() const {
  return open_ == 0 ? std::ranges::count(states_, State::kEnded) : 0;
}

Result<WireChunk> ReadWireChunk(std::string_view data, WireChoices* choices) {
  dom::element root;
  if (const auto failed = Parse(data, root); failed != simdjson::SUCCESS || !root.is_object()) {
    return Fail(ErrorCode::kInvalidArgument, "an event of the stream is not a JSON object");
  }
  WireChunk chunk;
  if (!ReadChoices(root, chunk, choices)) {
    return Fail(ErrorCode::kInvalidArgument, "an event of the stream names an impossible choice");
  }
  chunk.usage = ReadUsage(root);
  chunk.service_tier = ServiceTier(root);
  if (chunk.usage.has_value()) {
    chunk.usage->service_tier = chunk.service_tier;
  }
  chunk.error = ReadError(root, chunk.has_choices);
  dom::element error;
  if (root["error"].get(error) == simdjson::SUCCESS && !HasError(root)) {
    TW_ASSIGN_OR_RETURN(JsonText text, JsonText::Parse(std::string(data)));
    text.Remove("error");
    chunk.rewritten = text.Text();
  }
  if (IsOtherStop(chunk.finish_reason)) {
    std::string text = chunk.rewritten.value_or(std::string(data));
    if (ReplaceStops(text)) {
      chunk.rewritten = std::move(text);
      chunk.finish_reason = "stop";
    }
  }
  return chunk;
}

std::string WithField(std::string_view chunk, std::string_view name, std::string_view json) {
  std::string out(chunk);
  const size_t end = out.rfind('}');
  const size_t last = out.find_last_not_of(" \t\r\n", end == 0 ? 0 : end - 1);
  const bool is_empty = end == std::string::npos || out[last] == '{';
  out.insert(end, fmt::format("{}\"{}\":{}", is_empty ? "" : ",", name, json));
  return out;
}

Result<WireWhole> ReadWireWhole(std::string body, WireKind kind) {
  struct AtEnd {
    ~AtEnd() { GiveBackLarge(); }
  } const at_end;
  dom::element root;
  if (Parse(body, root) != simdjson::SUCCESS || !root.is_object()) {
    return Fail(ErrorCode::kInvalidArgument, "the answer is not a JSON object");
  }
  WireWhole out;
  WireChunk chunk;
  ReadChoices(root, chunk, nullptr);
  if (out.error = ReadError(root, chunk.has_choices); out.error.has_value()) {
    out.body = std::move(body);
    return out;
  }
  const std::string_view list = kind == WireKind::kEmbeddings ? "data" : "choices";
  dom::array items;
  if (root[list].get(items) != simdjson::SUCCESS || items.size() == 0) {
    const std::string nothing = fmt::format("the answer has no `{}`", list);
    std::string words = Detail(root);
    words = words.empty() ? std::string(Text(root, "message")) : words;
    if (words.empty() && !ReadUsage(root).has_value()) {
      return Fail(ErrorCode::kInvalidArgument, nothing);
    }
    out.error = words.empty() ? nothing : std::move(words);
    out.body = std::move(body);
    return out;
  }
  out.usage = ReadUsage(root, kind != WireKind::kEmbeddings);
  if (out.usage.has_value()) {
    out.usage->service_tier = ServiceTier(root);
  }
  out.finish_reason = chunk.finish_reason;
  out.written_bytes = chunk.written_bytes;
  dom::element field;
  const bool has_usage = root["usage"].get(field) == simdjson::SUCCESS;
  const bool has_error = root["error"].get(field) == simdjson::SUCCESS;
  if (!has_usage || has_error) {
    TW_ASSIGN_OR_RETURN(JsonText text, JsonText::Parse(std::move(body), "answer"));
    text.Remove("error");
    if (!has_usage) {
      text.Set("usage", "null");
    }
    body = text.Text();
  }
  if (IsOtherStop(out.finish_reason) && ReplaceStops(body)) {
    out.finish_reason = "stop";
  }
  out.body = std::move(body);
  return out;
}

WireError ReadWireError(int status, std::string_view body) {
  WireError out;
  dom::element root;
  if (Parse(body, root) == simdjson::SUCCESS && root.is_object()) {
    dom::element error;
    const bool has_error = root["error"].get(error) == simdjson::SUCCESS;
    out = ErrorIn(has_error && error.is_object() ? error : root);
    out.usage = ReadUsage(root);
    if (out.message.empty() && has_error) {
      out.message = Text(root, "error");
    }
    if (out.message.empty()) {
      out.message = Detail(root);
    }
  }
  if (out.message.empty()) {
    constexpr size_t kBytesMax = 500;
    out.message = status > 0 ? fmt::format("The provider answered with status {}.", status)
                             : std::string(body.substr(0, kBytesMax));
  }
  return out;
}

}  // namespace tradewind::dialects
