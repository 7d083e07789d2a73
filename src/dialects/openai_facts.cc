#include "dialects/openai_facts.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "base/text.h"
#include "dialects/billed_apart.h"
#include "dialects/json_reader.h"
#include "dialects/known_fields.h"
#include "dialects/message_parts.h"
#include "dialects/picture_marks.h"
#include "dialects/repeated.h"
#include "dialects/rewritten.h"
#include "dialects/thinking_tokens.h"

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

// OpenRouter's: a number, or one for each of some percentiles. What is measured here is a median,
// so that counts, else the first.
void ReadPreferred(Fields& fields, std::string_view name, std::optional<double>& out) {
  const json::value* value = fields.Find(name);
  if (value == nullptr || !value->is_object()) {
    ReadNumber(fields, name, out);
    return;
  }
  Fields inner(value->get_object(), fmt::format("provider.{}.", name));
  for (const std::string_view percentile : {"p50", "p75", "p90", "p99"}) {
    std::optional<double> number;
    ReadNumber(inner, percentile, number);
    out = out.has_value() ? out : number;
  }
  fields.Adopt(inner.status());
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
  ReadWish(fields, "dear_failover", out.dear_failover);
  ReadWish(fields, "continuation", out.continuation);
  if (const json::value* hedge = fields.Find("hedge"); hedge != nullptr && hedge->is_number()) {
    fields.Integer("hedge", 1, limits::kRequestDeadlineMs, out.hedge_after_ms);
    out.hedge = true;
  } else {
    ReadWish(fields, "hedge", out.hedge);
  }
  ReadPreferred(fields, "preferred_max_latency", out.latency_max_s);
  ReadPreferred(fields, "preferred_min_throughput", out.throughput_min);
  out.ignored = fields.Unknown();
  outer.Adopt(fields.status());
}

// A completion may have many prompts, each of them text or token ids; embeddings have many inputs.
// What is more than text in them is bounded by nothing.
Status ReadPrompts(const JsonText& request, const char* name, OpenAiFacts& facts) {
  const std::string_view raw = request.Raw(name);
  if (raw.empty() || raw.starts_with('"')) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const json::value value, ParseJson(raw));
  const json::array* list = value.if_array();
  if (list == nullptr) {
    if (value.is_object()) {
      facts.billed_apart = name;
    }
    return {};
  }
  if (!std::ranges::all_of(*list, [](const json::value& one) { return one.is_number(); })) {
    facts.prompts = std::max(facts.prompts, static_cast<int64_t>(list->size()));
  }
  if (std::ranges::any_of(*list, [](const json::value& one) { return one.is_object(); })) {
    facts.billed_apart = name;
  }
  return {};
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

constexpr std::array<std::string_view, 29> kShort = {"model",
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
                                                     "n_cmpl",
                                                     "n_predict",
                                                     "max_length",
                                                     "max_new_tokens",
                                                     "max_output_tokens",
                                                     "max_tokens_to_sample",
                                                     "max_gen_len",
                                                     "num_predict",
                                                     "service_tier",
                                                     "web_search_options",
                                                     "plugins",
                                                     "modalities",
                                                     "search_parameters",
                                                     "enable_search",
                                                     "chat_template",
                                                     "mm_processor_kwargs"};
constexpr std::array<std::string_view, 3> kLong = {"messages", "prompt", "input"};

// Beside the messages, what a template may write into the prompt.
constexpr std::array<std::string_view, 2> kTools = {"tools", "functions"};
constexpr std::array<std::string_view, 4> kTemplateJson = {
    "response_format", "documents", "chat_template_kwargs", "chat_template_args"};

MessagesGrowth GrowthOf(const JsonText& request) {
  MessagesGrowth growth;
  int64_t tools_bytes = 0;
  for (const std::string_view name : request.names()) {
    const std::string folded = CaseFolded(name);
    if (std::ranges::find(kTools, folded) != kTools.end()) {
      const int64_t added = RewrittenToolsGrowth(request.Raw(name));
      growth.written += added;
      growth.resolved += ResolvedToolsGrowth(request.Raw(name));
      tools_bytes += added + static_cast<int64_t>(request.Raw(name).size());
    } else if (std::ranges::find(kTemplateJson, folded) != kTemplateJson.end()) {
      growth.written += RewrittenGrowth(request.Raw(name));
    }
  }
  const MessagesGrowth of_messages = RepeatedGrowth(request.Raw("messages"), tools_bytes);
  return {growth.written + of_messages.written, growth.resolved + of_messages.resolved};
}

// Fields by which providers are told to think, and whether to show it.
constexpr std::array<std::string_view, 9> kThinking = {
    "reasoning",       "reasoning_effort", "reasoning_format",     "include_reasoning", "thinking",
    "enable_thinking", "thinking_budget",  "chat_template_kwargs", "chat_template_args"};

bool IsRead(std::string_view name) {
  return std::ranges::find(kShort, name) != kShort.end() ||
         std::ranges::find(kLong, name) != kLong.end();
}

// The fields that are read here as an object of their own; the long ones are measured only. Servers
// written in Go take `MAX_TOKENS` for `max_tokens`: two readers must not see two requests.
Result<json::object> Short(const JsonText& request) {
  json::object out;
  for (const std::string_view name : request.names()) {
    if (std::ranges::find(kShort, name) != kShort.end()) {
      TW_ASSIGN_OR_RETURN(json::value value, ParseJson(request.Raw(name)));
      out.emplace(name, std::move(value));
    } else if (const std::string folded = CaseFolded(name); folded != name && IsRead(folded)) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("A name of the body means `{}`: write it so, in lower case.", folded),
                  folded);
    }
  }
  return out;
}

bool IsTextOr(const json::value& kinds, std::string_view other) {
  return kinds.is_array() && !kinds.get_array().empty() &&
         std::ranges::all_of(kinds.get_array(), [&](const json::value& kind) {
           return kind == "text" || kind == json::string_view(other.data(), other.size());
         });
}

// Tools of the client's own are functions; the provider runs, and bills, every other kind.
// With or without a type; what has neither that nor a function is a tool of the provider's by its
// name alone ({"google_search":{}}).
bool IsClientsFunction(const json::value& tool) {
  const json::object* object = tool.if_object();
  if (object == nullptr || std::ranges::any_of(*object, [](const auto& member) {
        return member.key() != "type" && CaseFolded(member.key()) == "type";
      })) {
    return false;  // some read `Type` as `type`
  }
  const json::value* type = object->if_contains("type");
  if (type != nullptr && *type == "custom") {  // its arguments are free text
    const json::value* custom = object->if_contains("custom");
    return custom != nullptr && custom->is_object();
  }
  return type != nullptr ? *type == "function" : object->contains("function");
}

// What may stand in any other field, too.
void ReadBesideMessages(const JsonText& request, OpenAiFacts& facts) {
  PictureMarks marks;
  for (const std::string_view name : request.names()) {
    if (name != "messages") {
      const std::string_view raw = request.Raw(name);
      marks.Read(raw);
      facts.wants_cache = facts.wants_cache || WantsCache(name, raw);
      facts.wants_long_cache = facts.wants_long_cache || WantsLongCache(name, raw);
    }
  }
  facts.named_pictures += marks.count();
}

// What a route may have prices of; anything else is no name of one.
bool IsServiceTier(const json::value& value) {
  constexpr size_t kBytesMax = 64;
  return value.is_string() && value.get_string().size() <= kBytesMax;
}

// Who asks for a search with `{}` has one as the provider thinks best (OpenAI, xAI).
constexpr std::array<std::string_view, 2> kSearches = {"web_search_options", "search_parameters"};

std::string BilledApart(Fields& fields) {
  if (const json::value* tools = fields.Find("tools"); tools != nullptr && tools->is_array()) {
    for (const json::value& tool : tools->get_array()) {
      if (!IsClientsFunction(tool)) {
        return "tools";
      }
    }
  }
  for (const std::string_view name : kReadAsBilledApart) {
    const json::value* value = fields.Find(name);
    if (value != nullptr &&
        (!SaysNothing(json::serialize(*value)) ||
         (value->is_object() && std::ranges::find(kSearches, name) != kSearches.end()))) {
      return std::string(name);
    }
  }
  if (const json::value* kinds = fields.Find("modalities");
      kinds != nullptr && !IsTextOr(*kinds, "audio")) {
    return "modalities";  // pictures have prices of their own, and no bound
  }
  const json::value* tier = fields.Find("service_tier");
  return tier == nullptr || IsServiceTier(*tier) ? "" : "service_tier";
}

}  // namespace

std::optional<int64_t> OtherBound(const JsonText& request, std::string_view name) {
  if (!request.Has(name)) {
    return std::nullopt;
  }
  const Result<json::value> value = ParseJson(request.Raw(name));
  const auto tokens = value.has_value() ? AsInteger(*value) : std::nullopt;
  return tokens.has_value() && *tokens > 0 ? tokens : std::nullopt;
}

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
  facts.may_think =
      std::ranges::any_of(kThinking, [&](std::string_view name) { return request.Has(name); });
  facts.thinking_tokens = ThinkingTokens(request);
  facts.has_logprobs = IsAsked(fields.Find("logprobs"));
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"}) {
    std::optional<int64_t> tokens;
    if (fields.Integer(name, 0, std::numeric_limits<int64_t>::max(), tokens) && tokens) {
      facts.max_tokens = std::min(*tokens, facts.max_tokens.value_or(*tokens));
      facts.largest_max_tokens = std::max(*tokens, facts.largest_max_tokens.value_or(0));
    }
  }
  for (const std::string_view name : kOtherBounds) {
    if (const auto tokens = OtherBound(request, name); tokens.has_value()) {
      facts.largest_max_tokens = std::max(*tokens, facts.largest_max_tokens.value_or(0));
    }
  }
  std::optional<int64_t> n;
  fields.Integer("n", 1, limits::kChoicesMax, n);
  facts.n = n.value_or(1);
  std::optional<int64_t> best_of;
  fields.Integer("best_of", 1, limits::kChoicesMax, best_of);
  std::optional<int64_t> n_cmpl;
  fields.Integer("n_cmpl", 1, limits::kChoicesMax, n_cmpl);
  TW_RETURN_IF_ERROR(ReadPrompts(request, "prompt", facts));
  TW_RETURN_IF_ERROR(ReadPrompts(request, "input", facts));
  facts.answers = std::max({facts.n, best_of.value_or(1), n_cmpl.value_or(1)}) * facts.prompts;
  if (const json::value* provider = fields.Find("provider"); provider != nullptr) {
    if (provider->is_object()) {
      ReadPreferences(provider->get_object(), std::string(request.Raw("provider")), fields,
                      facts.provider);
    } else {
      fields.Wrong("provider", "must be an object of preferences");
    }
  }
  const std::string_view messages = request.Raw("messages");
  MessageParts parts = ReadParts(messages);
  if (!parts.ambiguous.empty()) {
    fields.Wrong(parts.ambiguous, "is there more than once; leave one, in lower case");
  }
  TW_RETURN_IF_ERROR(fields.status());
  facts.images = parts.images;
  facts.has_images = parts.images > 0;
  facts.picture_bytes = static_cast<int64_t>(parts.picture_bytes);
  const MessagesGrowth growth = GrowthOf(request);
  facts.rewritten_growth = parts.rewritten_growth + growth.written;
  facts.resolved_growth = growth.resolved;
  facts.sounds = parts.sounds;
  facts.named_pictures = parts.named_pictures;
  facts.wants_cache = parts.wants_cache;
  facts.wants_long_cache = parts.wants_long_cache;
  ReadBesideMessages(request, facts);
  const json::value* kinds = fields.Find("modalities");
  if (const json::value* tier = fields.Find("service_tier");
      tier != nullptr && IsServiceTier(*tier)) {
    facts.service_tier = Text(tier->get_string());
  }
  facts.wants_sound = kinds != nullptr && !IsTextOr(*kinds, "text");
  for (std::string apart :
       {BilledApart(fields), std::move(parts.unbounded), FieldBilledApart(request)}) {
    if (facts.billed_apart.empty()) {
      facts.billed_apart = std::move(apart);
    }
  }
  facts.unknown_fields = UnknownFields(request);
  facts.input_bytes =
      static_cast<int64_t>(messages.size() - parts.data_url_bytes + request.Raw("prompt").size() +
                           request.Raw("input").size());
  return facts;
}

}  // namespace tradewind::dialects
