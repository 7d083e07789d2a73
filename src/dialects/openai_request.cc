#include "dialects/openai_request.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

// What a field may hold without asking for anything; anything else is refused.
enum class Neutral { kNothing, kEmpty, kFalse, kTrue, kZero, kOne };

struct RefusedField {
  std::string_view name;
  Neutral neutral;
  std::string_view next_step;
};

constexpr RefusedField kRefused[] = {
    {"audio", Neutral::kNothing, "is not supported: this server answers in text; leave it out"},
    {"prediction", Neutral::kNothing, "is not supported; leave it out"},
    {"web_search_options", Neutral::kEmpty, "is not supported; leave it out"},
    {"moderation", Neutral::kNothing, "is not supported; leave it out"},
    {"min_tokens", Neutral::kZero, "is not supported; use `ignore_eos` with `max_tokens`"},
    {"stop_token_ids", Neutral::kEmpty, "is not supported; use `stop`"},
    {"bad_words", Neutral::kEmpty, "is not supported; use `logit_bias`"},
    {"allowed_token_ids", Neutral::kEmpty, "is not supported; use `logit_bias`"},
    {"use_beam_search", Neutral::kFalse, "is not supported; sample with `n`"},
    {"length_penalty", Neutral::kOne, "is not supported; leave it out"},
    {"truncate_prompt_tokens", Neutral::kNothing, "is not supported: prompts are never cut"},
    {"include_stop_str_in_output", Neutral::kFalse, "is not supported; append the string yourself"},
    {"skip_special_tokens", Neutral::kTrue,
     "must be true: special tokens are not part of the text"},
    {"guided_json", Neutral::kNothing, "is not supported; check the answer yourself"},
    {"guided_regex", Neutral::kNothing, "is not supported; check the answer yourself"},
    {"guided_choice", Neutral::kNothing, "is not supported; check the answer yourself"},
    {"guided_grammar", Neutral::kNothing, "is not supported; check the answer yourself"},
    {"structured_outputs", Neutral::kNothing, "is not supported; check the answer yourself"},
    {"grammar", Neutral::kEmpty, "is not supported; check the answer yourself"},
    {"json_schema", Neutral::kNothing, "is not supported; check the answer yourself"},
    {"prompt_logprobs", Neutral::kNothing,
     "is not supported; use /v1/completions with `echo` and `logprobs`"},
    {"prompt_embeds", Neutral::kNothing, "is not supported; send `prompt`"},
    {"mirostat", Neutral::kZero, "is not supported; use `top_p` or `min_p`"},
    {"dry_multiplier", Neutral::kZero, "is not supported; use `repetition_penalty`"},
    {"xtc_probability", Neutral::kZero, "is not supported; use `min_p`"},
};

bool IsNeutral(const json::value& value, Neutral neutral) {
  switch (neutral) {
    case Neutral::kNothing:
      return false;
    case Neutral::kEmpty:
      return (value.is_array() && value.get_array().empty()) ||
             (value.is_object() && value.get_object().empty()) ||
             (value.is_string() && value.get_string().empty());
    case Neutral::kFalse:
      return value.is_bool() && !value.get_bool();
    case Neutral::kTrue:
      return value.is_bool() && value.get_bool();
    case Neutral::kZero:
      return AsInteger(value) == 0;
    case Neutral::kOne:
      return AsInteger(value) == 1;
  }
  return false;
}

void ReadResponseFormat(Fields& fields) {
  const json::value* format = fields.Find("response_format");
  if (format == nullptr) {
    return;
  }
  if (!format->is_object()) {
    fields.Wrong("response_format", "must be an object");
    return;
  }
  const json::value* type = format->get_object().if_contains("type");
  if (type == nullptr || !type->is_string()) {
    fields.Wrong("response_format.type", "must be a string");
  } else if (type->get_string() != "text") {
    fields.Refuse("response_format",
                  "other than {\"type\":\"text\"} is not supported; ask for the format in the "
                  "prompt and check the answer");
  }
}

void ReadStop(Fields& fields, std::vector<std::string>& stop) {
  const json::value* value = fields.Find("stop");
  if (value == nullptr) {
    return;
  }
  const auto add = [&](const json::value& item, const std::string& name) {
    if (!item.is_string() || item.get_string().empty()) {
      fields.Wrong(name, "must be a non-empty string");
    } else if (item.get_string().size() > limits::kStopStringBytesMax) {
      fields.Wrong(name, fmt::format("has more than {} bytes", limits::kStopStringBytesMax));
    } else {
      stop.emplace_back(item.get_string().data(), item.get_string().size());
    }
  };
  if (!value->is_array()) {
    add(*value, "stop");
    return;
  }
  if (value->get_array().size() > limits::kStopStringsMax) {
    fields.Wrong("stop", fmt::format("has more than {} strings", limits::kStopStringsMax));
    return;
  }
  for (size_t i = 0; i < value->get_array().size(); ++i) {
    add(value->get_array()[i], fmt::format("stop[{}]", i));
  }
}

void ReadLogitBias(Fields& fields, std::vector<std::pair<int64_t, float>>& out) {
  const json::value* value = fields.Find("logit_bias");
  if (value == nullptr) {
    return;
  }
  if (!value->is_object()) {
    fields.Wrong("logit_bias", "must be an object from token ids to numbers");
    return;
  }
  if (value->get_object().size() > limits::kLogitBiasMax) {
    fields.Wrong("logit_bias", fmt::format("has more than {} entries", limits::kLogitBiasMax));
    return;
  }
  std::map<int64_t, float> biases;  // "7" and "07" are one token
  for (const auto& member : value->get_object()) {
    const std::string_view key(member.key().data(), member.key().size());
    int64_t id = -1;
    const auto [end, failed] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (failed != std::errc() || end != key.data() + key.size() || id < 0) {
      fields.Wrong("logit_bias", "must have token ids (integers from 0) as keys");
      return;
    }
    const double bias = member.value().is_number() ? member.value().to_number<double>() : 1000;
    if (!(bias >= -100 && bias <= 100)) {
      fields.Wrong(fmt::format("logit_bias.{}", id), "must be a number from -100 to 100");
      return;
    }
    biases[id] = static_cast<float>(bias);
  }
  out.assign(biases.begin(), biases.end());
}

void ReadSeed(Fields& fields, std::optional<uint64_t>& seed) {
  const json::value* value = fields.Find("seed");
  if (value == nullptr) {
    return;
  }
  if (value->is_uint64()) {
    seed = value->get_uint64();
  } else if (const auto number = AsInteger(*value); number.has_value()) {
    seed = static_cast<uint64_t>(*number);
  } else {
    fields.Wrong("seed", "must be an integer of 64 bits");
  }
}

void ReadStreaming(Fields& fields, chat::Generation& generation) {
  fields.Flag("stream", generation.stream);
  const json::value* options = fields.Find("stream_options");
  if (options == nullptr) {
    return;
  }
  if (!options->is_object()) {
    fields.Wrong("stream_options", "must be an object");
    return;
  }
  if (!generation.stream) {
    fields.Wrong("stream_options", "is only allowed with `stream`: true");
    return;
  }
  Fields inner(options->get_object(), "stream_options.");
  inner.Flag("include_usage", generation.include_usage);
  fields.Adopt(inner.status());
}

void ReadSampling(Fields& fields, chat::Sampling& sampling) {
  fields.Number("temperature", 0, 2, sampling.temperature);
  fields.Number("top_p", 0, 1, sampling.top_p, true);
  fields.Number("min_p", 0, 1, sampling.min_p);
  fields.Number("typical_p", 0, 1, sampling.typical_p, true);
  fields.Number("repetition_penalty", 0, 100, sampling.repetition_penalty, true);
  fields.Number("frequency_penalty", -2, 2, sampling.frequency_penalty);
  fields.Number("presence_penalty", -2, 2, sampling.presence_penalty);
  std::optional<int64_t> top_k;
  if (fields.Integer("top_k", -1, std::numeric_limits<int32_t>::max(), top_k)) {
    sampling.top_k = static_cast<int>(std::max<int64_t>(*top_k, 0));  // vLLM: -1 = off
  }
  ReadSeed(fields, sampling.seed);
  ReadLogitBias(fields, sampling.logit_bias);
}

}  // namespace

void ReadGeneration(Fields& fields, chat::Generation& generation) {
  if (!fields.Text("model", generation.model)) {
    fields.Wrong("model", "is required: a string, as GET /v1/models lists them");
  } else if (generation.model.empty() || generation.model.size() > limits::kModelStringBytesMax) {
    fields.Wrong("model", fmt::format("must have 1 to {} bytes", limits::kModelStringBytesMax));
  }
  ReadSampling(fields, generation.sampling);
  ReadStop(fields, generation.stop);
  std::optional<int64_t> n;
  if (fields.Integer("n", 1, limits::kChoicesMax, n)) {
    generation.n = static_cast<int>(*n);
  }
  ReadStreaming(fields, generation);
  fields.Flag("ignore_eos", generation.ignore_end);
}

void RefuseUnsupported(Fields& fields) {
  ReadResponseFormat(fields);
  for (const RefusedField& refused : kRefused) {
    const json::value* value = fields.Find(refused.name);
    if (value != nullptr && !IsNeutral(*value, refused.neutral)) {
      fields.Refuse(refused.name, std::string(refused.next_step));
    }
  }
  // Known, and harmless to the answer: bookkeeping of the caller's account.
  for (const std::string_view name :
       {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options", "parallel_tool_calls"}) {
    fields.Find(name);
  }
}

std::vector<std::string> NamedIgnored(const Fields& fields) {
  std::vector<std::string> names;
  for (std::string& name : fields.Unknown()) {
    const bool plain =
        !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '_' || c == '-' || c == '.';
        });
    if (plain && names.size() < limits::kIgnoredFieldsNamedMax) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

}  // namespace tradewind::dialects
