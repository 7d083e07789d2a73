#include "gateway/order.h"

#include <utility>

#include <fmt/format.h>

#include "base/decimal.h"
#include "dialects/json_writer.h"
#include "gateway/prompt_bounds.h"
#include "routing/plan.h"

namespace tradewind::gateway {
namespace {

// A low estimate, as a route whose context it overflows is left out: four bytes a token is English
// prose; other text has more tokens to the byte.
constexpr int64_t kBytesPerTokenHigh = 8;

Result<std::optional<int64_t>> PriceCap(const std::string& text, const char* name) {
  if (text.empty()) {
    return std::optional<int64_t>();
  }
  const Result<Decimal> price = Decimal::Parse(text);
  const int64_t nanousd = price.has_value() ? routing::NanoUsdPerMtok(*price) : -1;
  if (nanousd < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`{}` must be a price in USD, such as \"0.50\".", name), name);
  }
  return std::optional(nanousd);
}

// Whether it was there. -1 is "without a bound" to some servers and clients, and refused by
// others: to all of them no bound at all is the same.
bool RemoveNoBound(dialects::JsonText& text) {
  bool removed = false;
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"}) {
    if (text.Raw(name) == "-1") {
      text.Remove(name);
      removed = true;
    }
  }
  return removed;
}

// Embeddings are never a stream, whatever a client puts into all that it sends.
bool RemoveStream(dialects::JsonText& text) {
  const bool removed = text.Has("stream") || text.Has("stream_options");
  text.Remove("stream");
  text.Remove("stream_options");
  return removed;
}

}  // namespace

Result<Order> ReadOrder(providers::Endpoint endpoint, std::string body) {
  TW_ASSIGN_OR_RETURN(dialects::JsonText text, dialects::JsonText::Parse(std::move(body)));
  const bool is_shorter =
      endpoint == providers::Endpoint::kEmbeddings ? RemoveStream(text) : RemoveNoBound(text);
  TW_ASSIGN_OR_RETURN(dialects::OpenAiFacts facts, dialects::ReadOpenAiFacts(text));
  const bool is_unnamed = text.Raw("model").empty() || text.Raw("model") == "null";
  if (is_unnamed) {
    dialects::JsonWriter named;
    named.Value(facts.model);
    text.Set("model", named.Take());
  }
  return Order{endpoint, std::move(text), std::move(facts), is_unnamed || is_shorter};
}

Result<routing::RouteNeeds> NeedsOf(const Order& order) {
  using routing::Capability;
  const dialects::OpenAiFacts& facts = order.facts;
  const dialects::ProviderPreferences& wanted = facts.provider;
  routing::RouteNeeds needs;
  const auto need = [&](bool is_needed, Capability capability) {
    if (is_needed) {
      needs.capabilities.push_back(capability);
    }
  };
  need(facts.has_tools, Capability::kTools);
  need(facts.has_schema, Capability::kStructuredOutput);
  need(facts.has_images, Capability::kVision);
  need(facts.has_logprobs, Capability::kLogprobs);
  needs.input_tokens = facts.input_bytes / kBytesPerTokenHigh;
  needs.prompts = facts.prompts;
  needs.answers_each = facts.answers / facts.prompts;
  const bool has_price_cap =
      !wanted.max_prompt_price.empty() || !wanted.max_completion_price.empty();
  if (has_price_cap && facts.sounds == 0) {
    needs.input_tokens_max = PromptTokensMax(order, order.text.Text());
    needs.resolved_tokens_max = facts.resolved_growth;
    needs.picture_tokens_max = NamedPictureTokensMax(order);
  }
  needs.max_tokens = facts.max_tokens;
  needs.has_sound = facts.sounds > 0;
  needs.service_tier = facts.service_tier;
  needs.wants_sound = facts.wants_sound;
  needs.only = wanted.only;
  needs.ignore = wanted.ignore;
  needs.order = wanted.order;
  needs.quantizations = wanted.quantizations;
  needs.allow_fallbacks = wanted.allow_fallbacks;
  needs.require_parameters = wanted.require_parameters;
  needs.deny_data_collection = wanted.deny_data_collection;
  needs.zero_data_retention = wanted.zero_retention;
  if (wanted.sort == "price") {
    needs.sort = routing::SortBy::kPrice;
  } else if (wanted.sort == "throughput") {
    needs.sort = routing::SortBy::kThroughput;
  } else if (wanted.sort == "latency") {
    needs.sort = routing::SortBy::kLatency;
  }
  TW_ASSIGN_OR_RETURN(needs.max_price.input_nanousd_per_mtok,
                      PriceCap(wanted.max_prompt_price, "provider.max_price.prompt"));
  TW_ASSIGN_OR_RETURN(needs.max_price.output_nanousd_per_mtok,
                      PriceCap(wanted.max_completion_price, "provider.max_price.completion"));
  TW_ASSIGN_OR_RETURN(needs.max_price.request_nanousd,
                      PriceCap(wanted.max_request_price, "provider.max_price.request"));
  needs.dear_failover = wanted.dear_failover;
  needs.across_models = wanted.across_models;
  if (wanted.latency_max_s.has_value()) {
    needs.preferred_max_latency_ms = *wanted.latency_max_s * 1000;
  }
  needs.preferred_min_tokens_per_second = wanted.throughput_min;
  return needs;
}

}  // namespace tradewind::gateway
