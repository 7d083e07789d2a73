#include "provider_sim/provider.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace provider_sim {
namespace {

namespace json = boost::json;
using Headers = std::vector<std::pair<std::string, Template>>;

json::object ReadFile(const std::filesystem::path& folder, std::string_view slug) {
  const std::filesystem::path path = folder / (std::string(slug) + ".json");
  std::ifstream in(path);
  if (!in) {
    throw std::runtime_error("no data file " + path.string());
  }
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) {
    throw std::runtime_error(path.string() + " is not a JSON object: " + error.message());
  }
  json::object object = std::move(value.get_object());
  if (const json::value* const base = object.if_contains("extends")) {
    json::object merged = ReadFile(folder, std::string_view(base->as_string()));
    for (auto& [key, member] : object) {
      merged[key] = std::move(member);
    }
    return merged;
  }
  return object;
}

std::string Text(const json::object& object, std::string_view key, std::string_view fallback = "") {
  const json::value* const value = object.if_contains(key);
  return std::string(value == nullptr ? fallback : std::string_view(value->as_string()));
}

int64_t Whole(const json::object& object, std::string_view key, int64_t fallback) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr ? fallback : value->as_int64();
}

bool Flag(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value != nullptr && value->as_bool();
}

const json::object& Part(const json::object& object, std::string_view key) {
  static const json::object none;
  const json::value* const value = object.if_contains(key);
  return value == nullptr ? none : value->as_object();
}

std::vector<std::string> Words(const json::object& object, std::string_view key) {
  std::vector<std::string> words;
  if (const json::value* const value = object.if_contains(key)) {
    for (const json::value& word : value->as_array()) {
      words.emplace_back(std::string_view(word.as_string()));
    }
  }
  return words;
}

Template Shape(const json::object& object, std::string_view key, Style style) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr || value->is_null() ? Template() : Template(*value, style);
}

Headers ReadHeaders(const json::object& object, std::string_view key) {
  Headers headers;
  for (const auto& [name, value] : Part(object, key)) {
    headers.emplace_back(name, Template::OfText(std::string_view(value.as_string())));
  }
  return headers;
}

Style StyleOf(const std::string& name) {
  return name == "pretty" ? Style::kPretty : name == "spaced" ? Style::kSpaced : Style::kCompact;
}

UsageAt UsageAtOf(const std::string& name) {
  if (name == "finish") {
    return UsageAt::kFinish;
  }
  if (name == "chunk") {
    return UsageAt::kChunk;
  }
  if (name == "cumulative") {
    return UsageAt::kCumulative;
  }
  if (name == "asked") {
    return UsageAt::kAsked;
  }
  throw std::runtime_error("usage_at is finish, chunk, cumulative or asked, not " + name);
}

ReplyShapes ReadShapes(const json::object& object, Style style, Style stream_style) {
  const json::object& stream = Part(object, "stream");
  return {Shape(object, "reply", style),
          Shape(object, "choice", style == Style::kPretty ? Style::kCompact : style),
          {Shape(stream, "role", stream_style), Shape(stream, "delta", stream_style),
           Shape(stream, "reasoning", stream_style), Shape(stream, "tool", stream_style),
           Shape(stream, "finish", stream_style), Shape(stream, "usage", stream_style)}};
}

ErrorShape ReadError(std::string_view name, const json::object& object, Style style) {
  ErrorShape error;
  const bool numbered = name.size() == 3 && name[0] >= '1' && name[0] <= '9';
  error.status =
      static_cast<int>(Whole(object, "status", numbered ? std::stoi(std::string(name)) : 400));
  error.message = Template::OfText(Text(object, "message", "${message}"));
  const auto fragment = [&](std::string_view key) {
    const json::value* const value = object.if_contains(key);
    return value == nullptr ? std::string() : json::serialize(*value);
  };
  error.type = fragment("type");
  error.code = fragment("code");
  error.param = fragment("param");
  error.content_type = Text(object, "content_type");
  if (const json::value* const body = object.if_contains("body")) {
    error.body = body->is_string() ? Template::OfText(std::string_view(body->get_string()))
                                   : Template(*body, style);
  }
  error.headers = ReadHeaders(object, "headers");
  return error;
}

FieldRule ReadRule(const json::object& object) {
  FieldRule rule;
  rule.types = Text(object, "type");
  if (const json::value* const min = object.if_contains("min")) {
    rule.min = min->to_number<double>();
  }
  if (const json::value* const max = object.if_contains("max")) {
    rule.max = max->to_number<double>();
  }
  rule.non_empty = Flag(object, "non_empty");
  rule.refused = Text(object, "refused");
  return rule;
}

void ReadPrices(const json::object& object, Model& model) {
  model.input_price = Whole(object, "input_nanousd_per_mtok", 0);
  model.cached_price = Whole(object, "cached_nanousd_per_mtok", model.input_price);
  model.output_price = Whole(object, "output_nanousd_per_mtok", 0);
  model.reasoning_price = Whole(object, "reasoning_nanousd_per_mtok", model.output_price);
  model.above = static_cast<uint64_t>(Whole(object, "above", 0));
  model.above_input_price = Whole(object, "above_input_nanousd_per_mtok", model.input_price);
  model.above_cached_price =
      Whole(object, "above_cached_nanousd_per_mtok", model.above_input_price);
  model.above_output_price = Whole(object, "above_output_nanousd_per_mtok", model.output_price);
  model.above_reasoning_price =
      Whole(object, "above_reasoning_nanousd_per_mtok", model.above_output_price);
  model.request_price = Whole(object, "request_nanousd", 0);
  model.image_price = Whole(object, "image_nanousd", 0);
  model.cache_write_price = Whole(object, "cache_write_nanousd_per_mtok", model.input_price);
  model.cache_write_1h_price =
      Whole(object, "cache_write_1h_nanousd_per_mtok", model.cache_write_price);
}

void ReadPool(const json::object& object, Model& model) {
  const json::value* const pool = object.if_contains("pool");
  for (const json::value& row : pool == nullptr ? json::array() : pool->as_array()) {
    auto member = std::make_shared<Model>(model);
    member->pool.clear();
    ReadPrices(row.as_object(), *member);
    member->served_by = Text(row.as_object(), "provider");
    model.pool.push_back(std::move(member));
  }
}

std::unique_ptr<Model> ReadModel(const json::object& object, const std::string& owner) {
  auto model = std::make_unique<Model>();
  model->id = Text(object, "id");
  model->reply_model = JsonString(Text(object, "reply_model", model->id));
  model->task = Text(object, "task", "chat");
  model->owned_by = JsonString(Text(object, "owned_by", owner));
  model->context = std::to_string(Whole(object, "context", 131072));
  model->created = std::to_string(Whole(object, "created", 1735689600));
  ReadPrices(object, *model);
  model->default_reasoning_tokens = Whole(object, "reasoning_tokens", 0);
  model->think_in_content = Flag(object, "think_in_content");
  model->dims = Whole(object, "dims", 8);
  if (const json::value* const providers = object.if_contains("providers")) {
    model->providers = json::serialize(*providers);
    for (const json::value& row : providers->as_array()) {
      if (Text(row.as_object(), "status") == "live") {
        model->suffixes.push_back(Text(row.as_object(), "provider"));
      }
    }
    model->served_by = model->suffixes.empty() ? "" : model->suffixes.front();
  }
  ReadPool(object, *model);
  return model;
}

void ReadStream(const json::object& file, Provider& provider) {
  const json::object& stream = Part(file, "stream");
  provider.usage_at = UsageAtOf(Text(stream, "usage_at", "finish"));
  provider.null_usage_when_asked = Flag(stream, "null_usage_when_asked");
  provider.done = !Flag(stream, "no_done");
  provider.tokens_per_event = std::max<int64_t>(Whole(stream, "tokens_per_event", 1), 1);
  provider.whole_tool_calls = Flag(stream, "whole_tool_calls");
  provider.stream_error = Shape(file, "stream_error", Style::kCompact);
}

void ReadShapesOf(const json::object& file, Provider& provider) {
  const Style style = StyleOf(Text(file, "json_style"));
  const Style stream_style = StyleOf(Text(Part(file, "stream"), "style"));
  provider.chat = ReadShapes(Part(file, "chat"), style, stream_style);
  provider.completions = ReadShapes(Part(file, "completions"), style, stream_style);
  provider.usage = Shape(file, "usage", Style::kCompact);
  provider.embeddings = Shape(file, "embeddings", style);
  provider.embedding = Shape(file, "embedding", Style::kCompact);
  provider.models = Shape(file, "models_reply", style);
  provider.model_entry = Shape(file, "model_entry", Style::kCompact);
  provider.error_body = Shape(file, "error_body", style);
  for (const auto& [name, error] : Part(file, "errors")) {
    provider.errors.emplace(name, ReadError(name, error.as_object(), style));
  }
  ReadStream(file, provider);
}

void ReadProvider(const json::object& file, Provider& provider) {
  const json::object& paths = Part(file, "paths");
  for (size_t i = 0; i < kEndpointNames.size(); ++i) {
    if (const json::value* const path = paths.if_contains(kEndpointNames[i])) {
      provider.paths[static_cast<Endpoint>(i)] = std::string_view(path->as_string());
    }
  }
  provider.id = Template::OfText(Text(file, "id", "chatcmpl-${hex32}"));
  provider.client_id_header = Text(file, "client_id_header", "");
  provider.billing_id = Template::OfText(Text(file, "billing_id", "${uuid}"));
  const json::object& headers = Part(file, "headers");
  provider.all_headers = ReadHeaders(headers, "all");
  provider.json_headers = ReadHeaders(headers, "json");
  provider.stream_headers = ReadHeaders(headers, "stream");
  provider.error_headers = ReadHeaders(headers, "error");
  provider.chunked_json = !Flag(file, "content_length");
  ReadShapesOf(file, provider);
  for (const auto& [name, rule] : Part(file, "fields")) {
    provider.fields.emplace(name, ReadRule(rule.as_object()));
  }
  provider.allowed_fields = Words(file, "allowed_fields");
  provider.allowed_message_fields = Words(file, "allowed_message_fields");
  provider.schema_needs_name = Flag(file, "schema_needs_name");
  provider.model_suffixes = Flag(file, "model_suffixes");
  provider.accept_any_model = Flag(file, "accept_any_model");
  provider.together_logprobs = Text(file, "logprobs") == "together";
  provider.tool_call_index = Flag(file, "tool_call_index");
  provider.default_max_tokens = Whole(file, "default_max_tokens", provider.default_max_tokens);
  provider.output_bound = Text(file, "output_bound");
  provider.abort_bill = Text(file, "abort_bill", "generated");
  for (const json::value& model : file.at("models").as_array()) {
    provider.model_list.push_back(
        ReadModel(model.as_object(), Text(file, "owned_by", provider.name)));
  }
}

}  // namespace

int64_t CostNanoUsd(const Model& model, const Used& used) {
  constexpr __int128 kTokensPerPrice = 1'000'000;
  const bool is_above = model.above > 0 && used.prompt > model.above;
  const auto times = [](uint64_t count, int64_t price) {
    return static_cast<__int128>(count) * price;
  };
  __int128 cost = times(used.prompt - used.cached - used.written - used.written_1h,
                        is_above ? model.above_input_price : model.input_price);
  cost += times(used.written, model.cache_write_price);
  cost += times(used.written_1h, model.cache_write_1h_price);
  cost += times(used.cached, is_above ? model.above_cached_price : model.cached_price);
  cost += times(used.completion - used.reasoning,
                is_above ? model.above_output_price : model.output_price);
  cost += times(used.reasoning, is_above ? model.above_reasoning_price : model.reasoning_price);
  cost += (model.request_price + times(used.images, model.image_price)) * kTokensPerPrice;
  return static_cast<int64_t>((cost + kTokensPerPrice - 1) / kTokensPerPrice);
}

void SetPrices(const json::object& prices, Model& model) {
  for (const auto& [name, value] : prices) {
    if (name != "above" && name != "service_tiers" && name.find("nanousd") == name.npos) {
      throw std::runtime_error("no price is called " + std::string(name));
    }
  }
  ReadPrices(prices, model);
  model.pool.clear();
  model.service_tiers.clear();
  std::map<std::string, std::shared_ptr<const Model>, std::less<>> tiers;
  for (const auto& [name, tier] : Part(prices, "service_tiers")) {
    auto at_tier = std::make_shared<Model>(model);
    SetPrices(tier.as_object(), *at_tier);
    tiers.emplace(name, std::move(at_tier));
  }
  model.service_tiers = std::move(tiers);
}

const Model* Provider::FindModel(std::string_view model_id) const {
  for (const auto& model : model_list) {
    if (model->id == model_id) {
      return model.get();
    }
  }
  return nullptr;
}

const ErrorShape& Provider::Error(std::string_view which) const {
  const auto found = errors.find(which);
  return found != errors.end() ? found->second : errors.at("500");
}

std::unique_ptr<Provider> LoadProvider(const std::filesystem::path& folder, std::string_view slug,
                                       std::string_view name) {
  auto provider = std::make_unique<Provider>();
  provider->name = name;
  try {
    ReadProvider(ReadFile(folder, slug), *provider);
    if (!provider->errors.contains("500") || provider->model_list.empty()) {
      throw std::runtime_error("errors.500 and at least one model are needed");
    }
  } catch (const std::exception& error) {
    throw std::runtime_error("provider " + std::string(slug) + ": " + error.what());
  }
  return provider;
}

}  // namespace provider_sim
