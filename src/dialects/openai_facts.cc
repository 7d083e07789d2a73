#include "dialects/openai_facts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include <boost/json/array.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "dialects/json_reader.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

std::string Text(const json::string& text) {
  return {text.data(), text.size()};
}

void ReadStrings(Fields& fields, std::string_view name, size_t max, std::vector<std::string>& out) {
  const json::value* value = fields.Find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_array() || value->get_array().size() > max) {
    fields.Wrong(name, fmt::format("must be an array of at most {} strings", max));
    return;
  }
  for (const json::value& item : value->get_array()) {
    if (!item.is_string() || item.get_string().empty() ||
        item.get_string().size() > limits::kModelStringBytesMax) {
      fields.Wrong(name,
                   fmt::format("must hold strings of 1 to {} bytes", limits::kModelStringBytesMax));
      return;
    }
    out.push_back(Text(item.get_string()));
  }
}

// A price keeps its decimal text, also when it is written as a number: it never passes through a
// double. `raw` is the JSON text of the value; empty when there is none.
void ReadPrice(Fields& fields, std::string_view name, std::string_view raw, std::string& out) {
  const json::value* value = fields.Find(name);
  if (value == nullptr) {
    return;
  }
  if (value->is_string()) {
    out = Text(value->get_string());
  } else if (value->is_number()) {
    out = raw;
  } else {
    fields.Wrong(name, "must be a price in USD");
  }
}

void ReadMaxPrice(const json::value& price, const std::string& provider_text, Fields& fields,
                  ProviderPreferences& out) {
  if (!price.is_object()) {
    fields.Wrong("max_price", "must be an object with `prompt` and `completion`");
    return;
  }
  // Both texts were parsed as part of the request.
  const Result<JsonText> provider = JsonText::Parse(provider_text, "provider");
  const Result<JsonText> text = provider.has_value()
                                    ? JsonText::Parse(std::string(provider->Raw("max_price")))
                                    : Fail(provider.error());
  if (!text.has_value()) {
    fields.Adopt(Fail(text.error()));
    return;
  }
  Fields inner(price.get_object(), "provider.max_price.");
  ReadPrice(inner, "prompt", text->Raw("prompt"), out.max_prompt_price);
  ReadPrice(inner, "completion", text->Raw("completion"), out.max_completion_price);
  ReadPrice(inner, "request", text->Raw("request"), out.max_request_price);
  // A cap is kept or refused.
  for (const std::string& name : inner.Unknown()) {
    if (!price.get_object().at(name).is_null()) {
      fields.Refuse("max_price", fmt::format("may cap `prompt`, `completion` and `request`; no "
                                             "route has a price for `{}` that could be compared",
                                             name));
    }
  }
  fields.Adopt(inner.status());
}

// A word, or OpenRouter's object: what by, and whether each model's routes stay together.
void ReadSort(Fields& fields, ProviderPreferences& out) {
  const json::value* sort = fields.Find("sort");
  if (sort == nullptr) {
    return;
  }
  if (sort->is_object()) {
    Fields inner(sort->get_object(), "provider.sort.");
    std::string partition = "model";
    inner.Text("by", out.sort);
    inner.Text("partition", partition);
    if (partition != "model" && partition != "none") {
      inner.Wrong("partition", "must be \"model\" or \"none\"");
    }
    out.across_models = partition == "none";
    fields.Adopt(inner.status());
  } else {
    fields.Text("sort", out.sort);
  }
  if (!out.sort.empty() && out.sort != "price" && out.sort != "throughput" &&
      out.sort != "latency") {
    fields.Wrong("sort", "must be \"price\", \"throughput\" or \"latency\"");
  }
}

void ReadNumber(Fields& fields, std::string_view name, std::optional<double>& out) {
  std::optional<float> number;
  if (fields.Number(name, 0, std::numeric_limits<float>::max(), number) && number.has_value()) {
    out = *number;
  }
}

// Left out, the operator's setting counts.
void ReadWish(Fields& fields, std::string_view name, std::optional<bool>& out) {
  bool wish = false;
  if (fields.Find(name) != nullptr) {
    fields.Flag(name, wish);
    out = wish;
  }
}

void ReadPreferences(const json::object& object, const std::string& text, Fields& outer,
                     ProviderPreferences& out) {
  Fields fields(object, "provider.");
  constexpr size_t kListMax = 64;
  ReadStrings(fields, "order", kListMax, out.order);
  ReadStrings(fields, "only", kListMax, out.only);
  ReadStrings(fields, "ignore", kListMax, out.ignore);
  ReadStrings(fields, "quantizations", kListMax, out.quantizations);
  fields.Flag("allow_fallbacks", out.allow_fallbacks);
  fields.Flag("require_parameters", out.require_parameters);
  fields.Flag("zdr", out.zero_retention);
  std::string collection;
  if (fields.Text("data_collection", collection)) {
    out.deny_data_collection = collection == "deny";
    if (collection != "deny" && collection != "allow") {
      fields.Wrong("data_collection", "must be \"allow\" or \"deny\"");
    }
  }
  ReadSort(fields, out);
  if (const json::value* price = fields.Find("max_price"); price != nullptr) {
    ReadMaxPrice(*price, text, fields, out);
  }
  ReadWish(fields, "continuation", out.continuation);
  if (const json::value* hedge = fields.Find("hedge"); hedge != nullptr && hedge->is_number()) {
    fields.Integer("hedge", 1, limits::kRequestDeadlineMs, out.hedge_after_ms);
    out.hedge = true;
  } else {
    ReadWish(fields, "hedge", out.hedge);
  }
  ReadNumber(fields, "preferred_max_latency", out.latency_max_s);
  ReadNumber(fields, "preferred_min_throughput", out.throughput_min);
  out.ignored = fields.Unknown();
  outer.Adopt(fields.status());
}

constexpr std::string_view kSpace = " \t\r\n";

// Where letters are written as \u0061, the same text with letters: names may be written so.
std::string WithPlainLetters(std::string_view json) {
  std::string plain;
  plain.reserve(json.size());
  for (size_t at = 0; at < json.size(); ++at) {
    if (json[at] != '\\' || at + 1 == json.size()) {
      plain += json[at];
      continue;
    }
    unsigned code = 0;
    const std::string_view digits = json.substr(at + 2, 4);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    const bool is_unit = json[at + 1] == 'u' && digits.size() == 4 &&
                         read.ptr == digits.data() + digits.size() && read.ec == std::errc();
    const bool is_name = code == '_' || (code >= 'a' && code <= 'z');
    if (is_unit && is_name) {
      plain += static_cast<char>(code);
      at += 5;
    } else {
      plain += json.substr(at, 2);  // an escaped backslash escapes nothing
      ++at;
    }
  }
  return plain;
}

// How many parts of `messages` have this type: it stands as a value, `"type":"image_url"`. (As a
// name it may come with null: some clients write every field of their class.) Inside of a string
// it would have a backslash before its last quote.
int64_t CountParts(std::string_view messages, std::string_view type) {
  int64_t count = 0;
  for (size_t at = messages.find(type); at != std::string_view::npos;
       at = messages.find(type, at + 1)) {
    const size_t begin = at - 1;
    const size_t end = at + type.size();
    if (at < 2 || messages[begin] != '"' || end >= messages.size() || messages[end] != '"') {
      continue;
    }
    const size_t colon = messages.find_last_not_of(kSpace, begin - 1);
    const size_t name_end = colon == std::string_view::npos || messages[colon] != ':'
                                ? std::string_view::npos
                                : messages.substr(0, colon).find_last_not_of(kSpace);
    if (name_end != std::string_view::npos &&
        messages.substr(0, name_end + 1).ends_with("\"type\"")) {
      ++count;
    }
  }
  return count;
}

// What a provider bills of these is in no field of the request.
constexpr std::array<std::string_view, 6> kUnboundedParts = {
    "video_url", "input_video", "audio_url", "input_audio", "file", "input_file"};

void ReadParts(std::string_view messages, OpenAiFacts& facts) {
  std::string plain;
  if (messages.find("\\u00") != std::string_view::npos) {
    plain = WithPlainLetters(messages);
    messages = plain;
  }
  facts.images = CountParts(messages, "image_url") + CountParts(messages, "input_image");
  facts.has_images = facts.images > 0;
  for (const std::string_view type : kUnboundedParts) {
    if (facts.billed_apart.empty() && CountParts(messages, type) > 0) {
      facts.billed_apart = type;
    }
  }
}

// Whether the value that begins at `value` belongs to a name that holds pictures, sound or files.
bool IsMediaValue(std::string_view messages, size_t value) {
  const std::string_view before = messages.substr(0, value);
  const size_t colon = before.find_last_not_of(kSpace);
  if (colon == std::string_view::npos || before[colon] != ':') {
    return false;
  }
  const size_t name_end = before.substr(0, colon).find_last_not_of(kSpace);
  const std::string_view name = before.substr(0, name_end + 1);  // npos + 1: nothing
  return name.ends_with("\"url\"") || name.ends_with("\"image_url\"") ||
         name.ends_with("\"file_data\"");
}

// Of pictures and sound inside of the messages, which are no text: a picture of 5 MB is some
// thousand tokens, and none of base64. Text that looks like one is text: whoever begins his prompt
// with "data:" has not written a shorter one.
size_t DataUrlBytes(std::string_view messages) {
  constexpr std::string_view kBegin = "\"data:";
  size_t bytes = 0;
  size_t at = messages.find(kBegin);
  while (at != std::string_view::npos) {
    const size_t end = std::min(messages.find('"', at + 1), messages.size());
    if (IsMediaValue(messages, at)) {
      bytes += end - at - 1;
    }
    at = messages.find(kBegin, end);
  }
  return bytes;
}

// A completion may have many prompts, each of them text or token ids.
int64_t CountPrompts(std::string_view prompt) {
  const size_t first = prompt.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || prompt[first] != '[') {
    return 1;
  }
  const Result<json::value> list = ParseJson(prompt);
  if (!list.has_value() || !list->is_array() ||
      std::ranges::all_of(list->get_array(),
                          [](const json::value& one) { return one.is_number(); })) {
    return 1;
  }
  return static_cast<int64_t>(list->get_array().size());
}

bool IsNonEmptyArray(const json::value* value) {
  return value != nullptr && value->is_array() && !value->get_array().empty();
}

bool WantsSchema(const json::value* format) {
  if (format == nullptr || !format->is_object()) {
    return false;
  }
  const json::value* type = format->get_object().if_contains("type");
  return type != nullptr && type->is_string() && type->get_string() != "text";
}

bool IsAsked(const json::value* value) {
  return value != nullptr && !(value->is_bool() && !value->get_bool());
}

// The fields that are read here as an object of their own; the long ones are measured only.
Result<json::object> Short(const JsonText& request) {
  json::object out;
  for (const std::string_view name : request.names()) {
    if (name == "messages" || name == "prompt" || name == "input") {
      continue;
    }
    constexpr std::array<std::string_view, 17> kRead = {"model",
                                                        "models",
                                                        "stream",
                                                        "stream_options",
                                                        "tools",
                                                        "functions",
                                                        "max_tokens",
                                                        "n",
                                                        "provider",
                                                        "response_format",
                                                        "logprobs",
                                                        "max_completion_tokens",
                                                        "best_of",
                                                        "service_tier",
                                                        "web_search_options",
                                                        "plugins",
                                                        "modalities"};
    if (std::find(kRead.begin(), kRead.end(), name) != kRead.end()) {
      TW_ASSIGN_OR_RETURN(json::value value, ParseJson(request.Raw(name)));
      out.emplace(name, std::move(value));
    }
  }
  return out;
}

// Tools of the client's own are functions; the provider runs, and bills, every other kind.
std::string BilledApart(Fields& fields) {
  if (const json::value* tools = fields.Find("tools"); tools != nullptr && tools->is_array()) {
    for (const json::value& tool : tools->get_array()) {
      const json::value* type = tool.is_object() ? tool.get_object().if_contains("type") : nullptr;
      if (type != nullptr && *type != "function") {
        return "tools";
      }
    }
  }
  for (const char* name : {"web_search_options", "plugins"}) {
    if (fields.Find(name) != nullptr) {
      return name;
    }
  }
  if (const json::value* kinds = fields.Find("modalities");
      kinds != nullptr && *kinds != json::value(json::array{"text"})) {
    return "modalities";  // sound and pictures have prices of their own
  }
  const json::value* tier = fields.Find("service_tier");
  const bool is_usual =
      tier == nullptr || *tier == "auto" || *tier == "default" || *tier == "standard";
  return is_usual ? "" : "service_tier";
}

}  // namespace

Result<OpenAiFacts> ReadOpenAiFacts(const JsonText& request) {
  TW_ASSIGN_OR_RETURN(const json::object object, Short(request));
  Fields fields(object);
  OpenAiFacts facts;
  ReadStrings(fields, "models", limits::kFallbackModelsMax, facts.models);
  if (!fields.Text("model", facts.model)) {
    if (fields.Find("model") == nullptr && !facts.models.empty()) {
      facts.model = facts.models.front();
      facts.models.erase(facts.models.begin());
    } else {
      fields.Wrong("model", "is required: a string, as GET /v1/models lists them");
    }
  } else if (facts.model.empty() || facts.model.size() > limits::kModelStringBytesMax) {
    fields.Wrong("model", fmt::format("must have 1 to {} bytes", limits::kModelStringBytesMax));
  }
  fields.Flag("stream", facts.stream);
  if (const json::value* options = fields.Find("stream_options");
      options != nullptr && options->is_object()) {
    Fields inner(options->get_object(), "stream_options.");
    inner.Flag("include_usage", facts.include_usage);
    fields.Adopt(inner.status());
  }
  facts.has_tools =
      IsNonEmptyArray(fields.Find("tools")) || IsNonEmptyArray(fields.Find("functions"));
  facts.has_schema = WantsSchema(fields.Find("response_format"));
  facts.has_logprobs = IsAsked(fields.Find("logprobs"));
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"}) {
    std::optional<int64_t> tokens;
    if (fields.Integer(name, 0, std::numeric_limits<int64_t>::max(), tokens) && tokens) {
      facts.max_tokens = std::min(*tokens, facts.max_tokens.value_or(*tokens));
      facts.largest_max_tokens = std::max(*tokens, facts.largest_max_tokens.value_or(0));
    }
  }
  std::optional<int64_t> n;
  fields.Integer("n", 1, limits::kChoicesMax, n);
  facts.n = n.value_or(1);
  std::optional<int64_t> best_of;
  fields.Integer("best_of", 1, limits::kChoicesMax, best_of);
  facts.prompts = std::max(
      {int64_t{1}, CountPrompts(request.Raw("prompt")), CountPrompts(request.Raw("input"))});
  facts.answers = std::max(facts.n, best_of.value_or(1)) * facts.prompts;
  if (const json::value* provider = fields.Find("provider"); provider != nullptr) {
    if (provider->is_object()) {
      ReadPreferences(provider->get_object(), std::string(request.Raw("provider")), fields,
                      facts.provider);
    } else {
      fields.Wrong("provider", "must be an object of preferences");
    }
  }
  TW_RETURN_IF_ERROR(fields.status());
  facts.billed_apart = BilledApart(fields);
  ReadParts(request.Raw("messages"), facts);
  facts.input_bytes =
      static_cast<int64_t>(request.Raw("messages").size() - DataUrlBytes(request.Raw("messages")) +
                           request.Raw("prompt").size() + request.Raw("input").size());
  return facts;
}

}  // namespace tradewind::dialects
