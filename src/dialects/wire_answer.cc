#include "dialects/wire_answer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <simdjson.h>
#include <utility>

#include <fmt/format.h>

#include "base/decimal.h"
#include "base/limits.h"
#include "dialects/json_reader.h"
#include "dialects/json_text.h"
#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

namespace dom = simdjson::dom;

// What of an answer providers name differently; OpenAI's word is "stop".
constexpr std::array<std::string_view, 3> kOtherStops = {"eos", "eos_token", "stop_sequence"};

// Parses into memory of this thread, which is used again; the element lives until the next call.
// What a large text took is given back at the next one.
simdjson::error_code Parse(std::string_view text, dom::element& out) {
  constexpr size_t kKeptBytes = 1 << 20;
  thread_local std::unique_ptr<dom::parser> parser;
  thread_local std::string padded;
  if (parser == nullptr || padded.capacity() > kKeptBytes) {
    parser = std::make_unique<dom::parser>();
    padded = std::string();
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
std::string Code(const dom::element& object) {
  int64_t number = 0;
  if (object["code"].get(number) == simdjson::SUCCESS) {
    return std::to_string(number);
  }
  return std::string(Text(object, "code"));
}

// Counts may come as floating point (an integer in it); anything else is no count.
std::optional<int64_t> Count(const dom::element& object, std::string_view name) {
  dom::element value;
  if (object[name].get(value) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  int64_t integer = 0;
  if (value.get(integer) == simdjson::SUCCESS) {
    return integer >= 0 ? std::optional(integer) : std::nullopt;
  }
  double number = 0;
  constexpr double kExactMax = 9007199254740992.0;
  const bool is_count = value.get(number) == simdjson::SUCCESS && number >= 0 &&
                        number <= kExactMax && number == std::floor(number);
  return is_count ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
}

// How much was written to a cache, and how much of it for an hour: a total, or Anthropic's parts of
// one, which proxies pass on or name in their own words.
void ReadCacheWrites(const dom::element& usage, chat::Usage& out) {
  dom::element details, parts;
  if (usage["prompt_tokens_details"].get(details) == simdjson::SUCCESS) {
    out.cache_write_tokens = Count(details, "cache_write_tokens");  // OpenRouter
    if (!out.cache_write_tokens.has_value()) {
      out.cache_write_tokens = Count(details, "cache_creation_tokens");  // LiteLLM
    }
  }
  if (!out.cache_write_tokens.has_value()) {
    out.cache_write_tokens = Count(usage, "cache_creation_input_tokens");
  }
  if (usage["cache_creation"].get(parts) != simdjson::SUCCESS &&
      usage["prompt_tokens_details"]["cache_creation_token_details"].get(parts) !=
          simdjson::SUCCESS) {
    return;
  }
  out.cache_write_1h_tokens = Count(parts, "ephemeral_1h_input_tokens");
  const auto for_minutes = Count(parts, "ephemeral_5m_input_tokens");
  int64_t sum = 0;
  if (!out.cache_write_tokens.has_value() &&
      (out.cache_write_1h_tokens.has_value() || for_minutes.has_value()) &&
      !__builtin_add_overflow(out.cache_write_1h_tokens.value_or(0), for_minutes.value_or(0),
                              &sum)) {
    out.cache_write_tokens = sum;
  }
}

// What the answer cost in USD, as OpenRouter has it; not what that paid to others
// (cost_details.upstream_inference_cost), which is in it. It is the text of a double, so the
// shortest text of that double is the same number.
std::optional<int64_t> ToldCost(const dom::element& usage) {
  constexpr int64_t kNanoUsdMax = 1'000'000'000'000'000;
  double usd = 0;
  if (usage["cost"].get(usd) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  const Result<Decimal> cost = Decimal::Parse(fmt::format("{}", usd));
  if (!cost.has_value() || cost->is_negative()) {
    return std::nullopt;
  }
  __int128 nano = cost->digits();
  int places = cost->exponent() + 9;
  for (; places > 0 && nano <= kNanoUsdMax; --places) {
    nano *= 10;
  }
  for (; places < 0; ++places) {
    nano = (nano + 9) / 10;
  }
  return nano <= kNanoUsdMax ? std::optional(static_cast<int64_t>(nano)) : std::nullopt;
}

// What is left of the total when the other part is `known`.
std::optional<int64_t> Rest(std::optional<int64_t> total, std::optional<int64_t> known) {
  const bool is_told = total.has_value() && known.has_value() && *total >= *known;
  return is_told ? std::optional(*total - *known) : std::nullopt;
}

void ReadInputParts(const dom::element& usage, chat::Usage& out) {
  dom::element details;
  if (usage["prompt_tokens_details"].get(details) == simdjson::SUCCESS) {
    out.cached_tokens = Count(details, "cached_tokens").value_or(0);
    out.audio_input_tokens = Count(details, "audio_tokens").value_or(0);
  }
  ReadCacheWrites(usage, out);
  if (out.cached_tokens == 0) {
    out.cached_tokens = Count(usage, "cached_tokens").value_or(0);  // Together
  }
}

void ReadOutputParts(const dom::element& usage, chat::Usage& out) {
  dom::element details;
  if (usage["completion_tokens_details"].get(details) == simdjson::SUCCESS) {
    out.reasoning_tokens = Count(details, "reasoning_tokens").value_or(0);
    out.audio_output_tokens = Count(details, "audio_tokens").value_or(0);
  }
}

// What the total has beyond a prompt and a completion that were both said. Where the parts of the
// prompt tell that these are beside it (Anthropic's, as proxies pass them on), it is input; else it
// is thoughts, which some tell apart (xAI) and others in the total alone (proxies of Gemini): never
// nothing.
void ReadRest(std::optional<int64_t> total, bool has_output, chat::Usage& out) {
  int64_t told = 0, kept = 0;
  if (__builtin_add_overflow(out.input_tokens, out.output_tokens, &told) ||
      __builtin_add_overflow(out.cached_tokens, out.cache_write_tokens.value_or(0), &kept)) {
    return;
  }
  int64_t rest = Rest(total, told).value_or(0);
  if (!has_output) {
    out.input_tokens += rest;
    return;
  }
  const int64_t thoughts = out.reasoning_tokens;
  const bool is_kept_beside = rest != thoughts && kept > 0 && rest >= kept &&
                              (kept > out.input_tokens || rest == kept || rest - kept == thoughts);
  if (is_kept_beside) {
    out.input_tokens += kept;
    rest -= kept;
  }
  // Thoughts that were told are in the completion, unless they are these.
  const bool are_told = rest == thoughts || thoughts > out.output_tokens;
  out.output_tokens += rest;
  out.reasoning_tokens = are_told ? std::max(thoughts, rest) : thoughts + rest;
}

// Whatever of it was said; the total may tell the other half. What nobody said is not zero.
// Embeddings have no output.
std::optional<chat::Usage> ReadUsage(const dom::element& holder, bool has_output = true) {
  dom::element usage;
  if (holder["usage"].get(usage) != simdjson::SUCCESS || !usage.is_object()) {
    return std::nullopt;
  }
  auto input = Count(usage, "prompt_tokens");
  auto output = has_output ? Count(usage, "completion_tokens") : 0;
  const auto total = Count(usage, "total_tokens");
  input = input.has_value() ? input : Rest(total, output);
  output = output.has_value() ? output : Rest(total, input);
  chat::Usage out;
  out.cost_nanousd = ToldCost(usage);
  const bool says_output = has_output && output.has_value();
  if (!input.has_value() && !says_output && !out.cost_nanousd.has_value()) {
    return std::nullopt;
  }
  out.lacks_input = !input.has_value();
  out.lacks_output = !output.has_value();
  out.input_tokens = input.value_or(0);
  out.output_tokens = output.value_or(0);
  if (input.has_value()) {
    ReadInputParts(usage, out);
  }
  if (output.has_value()) {
    ReadOutputParts(usage, out);
  }
  if (input.has_value() && output.has_value()) {
    ReadRest(total, has_output, out);
  }
  // More of a cache than the prompt has stands beside it (as Anthropic counts), or is wrong: either
  // way it was not less than both.
  if (int64_t kept = 0;
      input.has_value() &&
      !__builtin_add_overflow(out.cached_tokens, out.cache_write_tokens.value_or(0), &kept) &&
      kept > out.input_tokens &&
      __builtin_add_overflow(out.input_tokens, kept, &out.input_tokens)) {
    out.input_tokens = INT64_MAX;
  }
  return out;
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
    if (has_delta) {
      ReadDelta(delta, out);
    }
    // Some repeat the delta's text here.
    if (const std::string_view text = Text(choice, "text"); !text.empty()) {
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
  return true;
}

std::optional<std::string> ReadError(const dom::element& root, bool has_choices) {
  dom::element error;
  if (root["error"].get(error) == simdjson::SUCCESS && !error.is_null()) {
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
  const std::string_view message = Text(root, "message");
  const bool is_bare = !Code(root).empty() || Text(root, "object") == "error";
  return is_bare && !message.empty() ? std::optional<std::string>(message) : std::nullopt;
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
  const bool has_null_error = root["error"].get(error) == simdjson::SUCCESS && error.is_null();
  if (has_null_error) {
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
    return Fail(ErrorCode::kInvalidArgument, fmt::format("the answer has no `{}`", list));
  }
  out.usage = ReadUsage(root, kind != WireKind::kEmbeddings);
  if (out.usage.has_value()) {
    out.usage->service_tier = ServiceTier(root);
  }
  out.finish_reason = chunk.finish_reason;
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
    const dom::element holder = has_error && error.is_object() ? error : root;
    out = {std::string(Text(holder, "message")), std::string(Text(holder, "type")),
           std::string(Text(holder, "param")), Code(holder)};
    if (out.message.empty() && has_error) {
      out.message = Text(root, "error");
    }
    if (out.message.empty()) {
      dom::element detail;
      if (root["detail"].get(detail) == simdjson::SUCCESS) {
        out.message =
            detail.is_string() ? std::string(Text(root, "detail")) : simdjson::minify(detail);
      }
    }
  }
  if (out.message.empty()) {
    out.message = fmt::format("The provider answered with status {}.", status);
  }
  return out;
}

}  // namespace tradewind::dialects
