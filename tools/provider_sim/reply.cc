#include "provider_sim/reply.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace provider_sim {
namespace {

constexpr uint64_t kVocabulary = 128000;  // token ids are below it

std::string Hex(uint64_t value, int digits) {
  return fmt::format("{:0{}x}", value, digits);
}

std::string Uuid(uint64_t high, uint64_t low) {
  const std::string hex = Hex(high, 16) + Hex(low, 16);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-4" + hex.substr(13, 3) + "-a" +
         hex.substr(17, 3) + "-" + hex.substr(20);
}

std::string Base64(const std::string& bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      out.push_back(i + j <= bytes.size() ? kDigits[group >> (18 - 6 * j) & 63] : '=');
    }
  }
  return out;
}

void AppendLogprob(std::string_view token, int64_t top, std::string& out) {
  const std::string quoted = JsonString(token);
  std::string bytes;
  for (const char c : token) {
    bytes += (bytes.empty() ? "" : ",") + std::to_string(static_cast<unsigned char>(c));
  }
  const std::string entry =
      fmt::format(R"({{"token":{},"logprob":-0.125,"bytes":[{}])", quoted, bytes);
  out += entry + R"(,"top_logprobs":[)";
  for (int64_t i = 0; i < top && i < 20; ++i) {
    out += (i == 0 ? "" : ",") + entry + "}";
  }
  out += "]}";
}

// The log-probabilities of tokens [from, to).
std::string LogprobsJson(const Provider& provider, const TokenText& text, size_t from, size_t to,
                         int64_t top) {
  std::string out;
  if (provider.together_logprobs) {
    std::string tokens, logprobs, ids;
    for (size_t i = from; i < to; ++i) {
      const std::string comma = i == from ? "" : ",";
      tokens += comma + JsonString(text.At(i));
      logprobs += comma + "-0.125";
      ids += comma + std::to_string(Mix(i) % kVocabulary);
    }
    return fmt::format(R"({{"tokens":[{}],"token_logprobs":[{}],"token_ids":[{}]}})", tokens,
                       logprobs, ids);
  }
  out = R"({"content":[)";
  for (size_t i = from; i < to; ++i) {
    out += i == from ? "" : ",";
    AppendLogprob(text.At(i), top, out);
  }
  return out + "]}";
}

std::string ToolCallId(const Identity& identity, size_t choice, size_t call) {
  return "call_" + identity.hex32.substr(1, 20) + std::to_string(choice) + std::to_string(call);
}

std::string WholeCalls(const Identity& identity, const Choice& choice, size_t choice_index,
                       bool with_index) {
  std::string out = "[";
  for (size_t i = 0; i < choice.calls.size(); ++i) {
    const ToolCall& call = choice.calls[i];
    out += i == 0 ? "{" : ",{";
    if (with_index) {
      out += fmt::format(R"("index":{},)", i);
    }
    out += fmt::format(R"("id":"{}","type":"function","function":{{"name":{},"arguments":{}}}}})",
                       ToolCallId(identity, choice_index, i), JsonString(call.name),
                       JsonString(call.arguments.text()));
  }
  return out + "]";
}

std::string ChoiceJson(const Provider& provider, const ReplyShapes& shapes,
                       const Identity& identity, const Choice& choice, size_t index,
                       int64_t top_logprobs) {
  Values values;
  identity.Fill(values);
  const std::string number = std::to_string(index);
  const std::string finish = JsonString(choice.finish);
  const std::string content = JsonString(choice.content.text());
  const std::string reasoning =
      choice.reasoning.size() == 0 ? "" : JsonString(choice.reasoning.text());
  const std::string calls =
      choice.calls.empty() ? "" : WholeCalls(identity, choice, index, provider.tool_call_index);
  const std::string logprobs = top_logprobs < 0 ? ""
                                                : LogprobsJson(provider, choice.content, 0,
                                                               choice.content.size(), top_logprobs);
  values.Set(Slot::kIndex, number);
  values.Set(Slot::kFinish, finish);
  values.Set(Slot::kContent, choice.calls.empty() ? std::string_view(content) : "");
  values.Set(Slot::kReasoning, reasoning);
  values.Set(Slot::kToolCalls, calls);
  values.Set(Slot::kToolCallsOrNone, calls.empty() ? "[]" : std::string_view(calls));
  values.Set(Slot::kLogprobs, logprobs);
  return shapes.choice.Render(values);
}

std::string PriceUsd(int64_t nanousd) {
  constexpr int64_t kNano = 1'000'000'000;
  std::string text = fmt::format("{}.{:09}", nanousd / kNano, nanousd % kNano);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) {
    text.pop_back();
  }
  return text;
}

std::string FloatList(const std::vector<float>& vector) {
  std::string out = "[";
  for (size_t i = 0; i < vector.size(); ++i) {
    out += fmt::format("{}{}", i == 0 ? "" : ",", vector[i]);
  }
  return out + "]";
}

std::string FloatBytes(const std::vector<float>& vector) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(vector.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), vector.data(), bytes.size());
  return bytes;
}

}  // namespace

void Identity::Fill(Values& values) const {
  values.Set(Slot::kId, id);
  values.Set(Slot::kUuid, uuid);
  values.Set(Slot::kHex32, hex32);
  values.Set(Slot::kRay, ray);
  values.Set(Slot::kCreated, created);
  values.Set(Slot::kCreatedFloat, created_float);
  values.Set(Slot::kModel, model);
  values.Set(Slot::kSeed, seed);
  values.Set(Slot::kServedBy, served_by);
}

Identity MakeIdentity(const Provider& provider, const Ask& ask, uint64_t number,
                      int64_t created_ms) {
  const uint64_t high = Mix(number * 2);
  const uint64_t low = Mix(number * 2 + 1);
  Identity identity;
  identity.uuid = JsonString(Uuid(high, low));
  identity.hex32 = JsonString(Hex(high, 16) + Hex(low, 16));
  identity.ray = JsonString(Hex(low, 16));
  identity.created = std::to_string(created_ms / 1000);
  identity.created_float = fmt::format("{}.{:03}", created_ms / 1000, created_ms % 1000);
  identity.seed = std::to_string(high | (uint64_t{1} << 63));  // more than an int64 holds
  if (ask.model != nullptr) {
    identity.model = ask.any_model.empty() ? ask.model->reply_model : ask.any_model;
  }
  identity.served_by = ask.served_by.empty() ? "" : JsonString(ask.served_by);
  Values values;
  identity.Fill(values);
  identity.id = JsonString(provider.id.Render(values));
  values.Set(Slot::kId, identity.id);
  identity.billing_id = provider.billing_id.Render(values);
  return identity;
}

namespace {

struct Told {
  uint64_t prompt, cached, completion, reasoning;  // negative ones as two's complements
  uint64_t beside = 0;                             // of the total alone
};

void Lie(std::string_view how, Told& told) {
  constexpr uint64_t kBillion = 1'000'000'000;
  if (how == "zero") {
    told = {};
  } else if (how == "negative") {
    told.prompt = 0 - told.prompt;
    told.completion = 0 - told.completion;
  } else if (how == "huge") {
    told.completion = kBillion;
  } else if (how == "inflated") {
    told.prompt += (told.prompt + 4) / 5;
    told.completion += (told.completion + 4) / 5;
  } else if (how == "padded" || how == "padded_half") {
    told.completion += 1000;
  } else if (how == "cached_over") {
    told.cached = told.prompt + 100;
  } else if (how == "reasoning_over") {
    told.reasoning = told.completion + 100;
  } else if (how == "total_alone") {
    told.completion -= told.reasoning;
    told.beside = std::exchange(told.reasoning, 0);
  }
}

// As JavaScript writes it: the fewest digits, and small ones with an exponent.
std::string Usd(int64_t nanousd) {
  if (nanousd < 1000) {
    return fmt::format("{}e-9", nanousd);
  }
  std::string text = fmt::format("{}.{:09}", nanousd / 1'000'000'000, nanousd % 1'000'000'000);
  text.erase(text.find_last_not_of('0') + 1);
  return text.ends_with('.') ? text + '0' : text;
}

}  // namespace

std::string UsageJson(const Provider& provider, uint64_t prompt_tokens, uint64_t cached_tokens,
                      uint64_t completion_tokens, uint64_t reasoning_tokens, const Behaviour& how,
                      int64_t cost_nanousd) {
  if (how.usage == "missing") {
    return {};
  }
  const bool tells_cost = cost_nanousd >= 0 && how.usage != "no_cost";
  const std::string cost = tells_cost ? Usd(cost_nanousd) : "";
  const std::string upstream_cost = tells_cost ? Usd(cost_nanousd - cost_nanousd / 20) : "";
  Told told{prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens};
  Lie(how.usage, told);
  const auto text = [&](uint64_t tokens) {
    const std::string digits = std::to_string(static_cast<int64_t>(tokens));
    return how.usage == "text" ? JsonString(digits) : digits;
  };
  const std::string prompt = how.usage == "padded_half" ? "null" : text(told.prompt);
  const std::string cached = text(told.cached);
  const std::string completion = how.usage == "half" ? "null" : text(told.completion);
  const std::string reasoning = text(told.reasoning);
  const bool is_half = how.usage == "half" || how.usage == "padded_half";
  const std::string total = is_half ? "null" : text(told.prompt + told.completion + told.beside);
  Values values;
  values.Set(Slot::kPromptTokens, prompt);
  values.Set(Slot::kCompletionTokens, completion);
  values.Set(Slot::kTotalTokens, total);
  values.Set(Slot::kCachedTokens, cached);
  values.Set(Slot::kCachedTold, how.cached_tokens >= 0 ? std::string_view(cached) : "");
  values.Set(Slot::kReasoningTokens, reasoning);
  values.Set(Slot::kCost, cost);
  values.Set(Slot::kUpstreamCost, upstream_cost);
  return provider.usage.Render(values);
}

namespace {

// In Anthropic's words, where anything was written.
void AddWritten(const Answer& answer, const Behaviour& how, std::string& usage) {
  if (how.cache_write_tokens < 0 || !usage.ends_with('}')) {
    return;
  }
  usage.pop_back();
  usage += ",\"cache_creation_input_tokens\":" +
           std::to_string(answer.written_tokens + answer.written_1h_tokens) +
           ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":" +
           std::to_string(answer.written_tokens) +
           ",\"ephemeral_1h_input_tokens\":" + std::to_string(answer.written_1h_tokens) + "}}";
}

// Where the shape says that there is none, else at the end of the object.
void TellTier(std::string_view tier, std::string& json) {
  const std::string text = "\"service_tier\":" + JsonString(tier);
  for (const std::string_view none : {"\"service_tier\":null", "\"service_tier\": null"}) {
    if (const size_t at = json.find(none); at != json.npos) {
      json.replace(at, none.size(), text);
      return;
    }
  }
  if (json.ends_with('}')) {
    json.insert(json.size() - 1, "," + text);
  }
}

}  // namespace

std::string ChatBody(const Provider& provider, const ReplyShapes& shapes, const Identity& identity,
                     const Answer& answer, ReplyOptions options, const Behaviour& how) {
  std::string choices = "[";
  for (size_t i = 0; i < answer.choices.size(); ++i) {
    choices += i == 0 ? "" : ",";
    choices += ChoiceJson(provider, shapes, identity, answer.choices[i], i, options.top_logprobs);
  }
  choices += "]";
  std::string usage =
      UsageJson(provider, answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens(),
                answer.reasoning_tokens(), how, answer.cost_nanousd);
  AddWritten(answer, how, usage);
  if (!answer.service_tier.empty() && how.tier_told == "usage") {
    TellTier(answer.service_tier, usage);
  }
  Values values;
  identity.Fill(values);
  values.Set(Slot::kChoices, choices);
  values.Set(Slot::kUsage, usage);
  std::string body = shapes.reply.Render(values);
  if (!answer.service_tier.empty() && how.tier_told.empty()) {
    TellTier(answer.service_tier, body);
  }
  return body;
}

std::string EmbeddingsBody(const Provider& provider, const Identity& identity, const Ask& ask,
                           const Behaviour& how) {
  constexpr int64_t kDimsMax = 4096;
  const int64_t dims = std::min(ask.dimensions > 0 ? ask.dimensions : ask.model->dims, kDimsMax);
  std::string data = "[";
  for (size_t i = 0; i < ask.inputs.size(); ++i) {
    const std::vector<float> vector = Embed(ask.inputs[i].text, dims);
    const std::string number = std::to_string(i);
    const std::string content =
        ask.base64 ? JsonString(Base64(FloatBytes(vector))) : FloatList(vector);
    Values values;
    values.Set(Slot::kIndex, number);
    values.Set(Slot::kContent, content);
    data += i == 0 ? "" : ",";
    provider.embedding.Render(values, data);
  }
  data += "]";
  const std::string usage = UsageJson(provider, ask.prompt_tokens, 0, 0, 0, how);
  Values values;
  identity.Fill(values);
  values.Set(Slot::kData, data);
  values.Set(Slot::kUsage, usage);
  return provider.embeddings.Render(values);
}

std::string ModelBody(const Provider& provider, const Model& model) {
  const std::string id = JsonString(model.id);
  const std::string in = PriceUsd(model.input_price), out = PriceUsd(model.output_price);
  constexpr int64_t kUnit = 100'000;  // a ten-thousandth of a dollar
  const std::string in_units = std::to_string(model.input_price / kUnit);
  const std::string out_units = std::to_string(model.output_price / kUnit);
  Values values;
  values.Set(Slot::kModel, id);
  values.Set(Slot::kCreated, model.created);
  values.Set(Slot::kOwnedBy, model.owned_by);
  values.Set(Slot::kKind, model.task == "chat" ? R"("chat")" : R"("embedding")");
  values.Set(Slot::kContext, model.context);
  values.Set(Slot::kProviders, model.providers);
  values.Set(Slot::kPriceIn, in);
  values.Set(Slot::kPriceOut, out);
  values.Set(Slot::kPriceInUnits, in_units);
  values.Set(Slot::kPriceOutUnits, out_units);
  return provider.model_entry.Render(values);
}

std::string ModelsBody(const Provider& provider) {
  std::string data = "[";
  for (const auto& model : provider.model_list) {
    data += data.size() == 1 ? "" : ",";
    data += ModelBody(provider, *model);
  }
  data += "]";
  Values values;
  values.Set(Slot::kData, data);
  return provider.models.Render(values);
}

EventSource::EventSource(const Provider& provider, const ReplyShapes& shapes, Identity identity,
                         Answer answer, ReplyOptions options, const Behaviour& how)
    : provider_(provider),
      shapes_(shapes),
      identity_(std::move(identity)),
      answer_(std::move(answer)),
      options_(options),
      how_(how) {
  Plan();
}

void EventSource::PlanChoice(size_t index) {
  const Choice& choice = answer_.choices[index];
  const auto c = static_cast<uint8_t>(index);
  const auto add = [&](Kind kind, size_t count, uint16_t call = 0) {
    for (uint32_t i = 0; i < count; ++i) {
      steps_.push_back({kind, c, call, i, 1, false});
    }
  };
  if (!shapes_.stream.role.empty()) {
    add(Kind::kRole, 1);
  }
  add(Kind::kReasoning, choice.reasoning.size());
  const auto group = static_cast<size_t>(provider_.tokens_per_event);
  for (size_t i = 0; i < choice.content.size(); i += group) {
    add(Kind::kContent, 1);
    steps_.back().index = static_cast<uint32_t>(i);
    steps_.back().count = static_cast<uint32_t>(std::min(group, choice.content.size() - i));
  }
  if (provider_.whole_tool_calls && !choice.calls.empty()) {
    add(Kind::kTools, 1);
  } else {
    for (size_t i = 0; i < choice.calls.size(); ++i) {
      add(Kind::kTool, 1, static_cast<uint16_t>(i));
      add(Kind::kToolPiece, choice.calls[i].arguments.size(), static_cast<uint16_t>(i));
    }
  }
  if (!shapes_.stream.finish.empty()) {
    add(Kind::kFinish, 1);
    return;
  }
  if (choice.tokens() == 0) {
    add(Kind::kContent, 1);  // of no token: carries the reason alone
  }
  steps_.back().last = true;
}

void EventSource::Plan() {
  const size_t all = answer_.choices.size();
  for (size_t i = 0; i < (how_.choices < 0 ? all : static_cast<size_t>(how_.choices)); ++i) {
    PlanChoice(i);
  }
  const bool normally = provider_.usage_at == UsageAt::kChunk ||
                        (provider_.usage_at == UsageAt::kAsked && options_.include_usage);
  const bool is_elsewhere =
      how_.usage == "missing" || how_.usage == "after_done" || how_.usage == "early";
  const size_t chunks = is_elsewhere                ? 0
                        : how_.usage == "duplicate" ? (normally ? 2 : 1)
                                                    : (normally ? 1 : 0);
  for (size_t i = 0; i < chunks; ++i) {
    steps_.push_back({Kind::kUsage});
  }
}

const Template& EventSource::ShapeOf(Kind kind) const {
  const ChunkShapes& shapes = shapes_.stream;
  switch (kind) {
    case Kind::kRole:
      return shapes.role;
    case Kind::kReasoning:
      return shapes.reasoning;
    case Kind::kContent:
      return shapes.delta;
    case Kind::kFinish:
      return shapes.finish;
    case Kind::kUsage:
      return shapes.usage;
    default:
      return shapes.tool;
  }
}

// The text, reasoning or calls of a step, and the tokens they are; to the slots that all kinds may
// use.
std::string EventSource::Fragment(const Step& step) {
  const Choice& choice = answer_.choices[step.choice];
  switch (step.kind) {
    case Kind::kReasoning:
      ++tokens_sent_;
      return JsonString(choice.reasoning.At(step.index));
    case Kind::kContent:
      if (step.index == choice.content.size()) {
        return JsonString("");
      }
      tokens_sent_ += step.count;
      return JsonString(choice.content.Range(step.index, step.index + step.count));
    case Kind::kTool:
      ++tokens_sent_;
      return fmt::format(
          R"([{{"index":{},"id":"{}","type":"function","function":{{"name":{},"arguments":""}}}}])",
          step.call, ToolCallId(identity_, step.choice, step.call),
          JsonString(choice.calls[step.call].name));
    case Kind::kToolPiece:
      ++tokens_sent_;
      return fmt::format(R"([{{"index":{},"function":{{"arguments":{}}}}}])", step.call,
                         JsonString(choice.calls[step.call].arguments.At(step.index)));
    case Kind::kTools:
      tokens_sent_ += choice.tokens() - choice.reasoning.size();
      return WholeCalls(identity_, choice, step.choice, true);
    default:
      return {};
  }
}

std::string EventSource::UsageOf(const Step& step, bool finishes, uint64_t tokens_before) const {
  const bool ends = finishes && step.choice + size_t{1} == answer_.choices.size();
  const bool cumulative = provider_.usage_at == UsageAt::kCumulative || how_.usage == "cumulative";
  if (how_.usage == "delta") {
    return UsageJson(provider_, answer_.prompt_tokens, answer_.cached_tokens,
                     tokens_sent_ - tokens_before, 0, how_);
  }
  if (how_.usage == "early") {
    return events_ > 0
               ? ""
               : UsageJson(provider_, answer_.prompt_tokens, answer_.cached_tokens, 1, 0, how_);
  }
  if (cumulative || step.kind == Kind::kUsage || (ends && provider_.usage_at == UsageAt::kFinish)) {
    std::string usage =
        UsageJson(provider_, answer_.prompt_tokens, answer_.cached_tokens, tokens_sent_,
                  answer_.reasoning_tokens(), how_, answer_.cost_nanousd);
    AddWritten(answer_, how_, usage);
    if (!answer_.service_tier.empty() && how_.tier_told == "usage") {
      TellTier(answer_.service_tier, usage);
    }
    return usage;
  }
  return provider_.null_usage_when_asked && options_.include_usage ? "null" : "";
}

std::string EventSource::Payload(const Step& step) {
  const Choice& choice = answer_.choices[step.choice];
  const bool finishes = step.kind == Kind::kFinish || step.last;
  const uint64_t tokens_before = tokens_sent_;
  const std::string fragment = Fragment(step);
  const std::string index = std::to_string(step.choice);
  const std::string token_id = std::to_string(Mix(step.index) % kVocabulary);
  const std::string finish = finishes ? JsonString(choice.finish) : "";
  const std::string usage = UsageOf(step, finishes, tokens_before);
  std::string logprobs;
  if (step.kind == Kind::kContent && options_.top_logprobs >= 0 &&
      step.index < choice.content.size()) {
    logprobs = LogprobsJson(provider_, choice.content, step.index, step.index + step.count,
                            options_.top_logprobs);
  }
  Values values;
  identity_.Fill(values);
  values.Set(Slot::kIndex, index);
  values.Set(Slot::kContent, fragment);
  values.Set(Slot::kReasoning, fragment);
  values.Set(Slot::kToolCalls, fragment);
  values.Set(Slot::kTokenId, token_id);
  values.Set(Slot::kLogprobs, logprobs);
  values.Set(Slot::kFinish, finish);
  values.Set(Slot::kSeed, finishes ? std::string_view(identity_.seed) : "");
  values.Set(Slot::kUsage, usage);
  std::string payload = ShapeOf(step.kind).Render(values);
  if (!answer_.service_tier.empty() &&
      (how_.tier_told.empty() || (how_.tier_told == "first" && events_ == 0))) {
    TellTier(answer_.service_tier, payload);
  }
  const std::string text = "\"content\":" + fragment;
  if (const size_t at = payload.find(text);
      how_.spoken && step.kind == Kind::kContent && at != payload.npos) {
    payload.replace(at, text.size(), fmt::format(R"("audio":{{"transcript":{}}})", fragment));
  }
  return payload;
}

void EventSource::Frame(std::string_view payload, std::string& out) {
  const std::string_view end = how_.crlf ? "\r\n" : "\n";
  const auto now = static_cast<int64_t>(events_++);
  if (how_.comments) {
    out.append(": keep-alive").append(end).append(end);
  }
  if (now == how_.malformed_after) {
    payload = payload.substr(0, payload.size() / 2);
  }
  if (now != how_.broken_line_after) {
    out += "data: ";
  }
  out.append(payload).append(end).append(end);
}

bool EventSource::End(std::string& out) {
  const std::string_view end = how_.crlf ? "\r\n" : "\n";
  if (done_ || ended_in_error_ || !provider_.done || how_.done == "none") {
    return false;
  }
  done_ = true;
  out.append(how_.done == "nospace" ? "data:[DONE]" : "data: [DONE]").append(end).append(end);
  if (how_.usage == "after_done") {
    Frame(Payload({Kind::kUsage}), out);
  }
  return true;
}

bool EventSource::Next(std::string& out) {
  if (ended_in_error_ || next_ == steps_.size()) {
    return End(out);
  }
  if (static_cast<int64_t>(events_) == how_.error_after) {
    const std::string message =
        JsonString(how_.message.empty() ? "The server had an error while streaming" : how_.message);
    Values values;
    identity_.Fill(values);
    values.Set(Slot::kMessage, message);
    Frame(provider_.stream_error.Render(values), out);
    ended_in_error_ = true;
    return true;
  }
  Frame(Payload(steps_[next_++]), out);
  return true;
}

}  // namespace provider_sim
