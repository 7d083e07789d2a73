// What the router has to know of a request that it does not answer itself: the few fields that
// choose a route, read from the text without understanding the rest.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dialects/json_text.h"

namespace tradewind::dialects {

// OpenRouter's `provider` object: what the caller prefers. Prices in USD per million tokens, as
// text, because they are never a double.
struct ProviderPreferences {
  std::vector<std::string> order, only, ignore, quantizations;
  bool allow_fallbacks = true;
  bool require_parameters = false;
  bool deny_data_collection = false;  // data_collection: "deny"
  bool zero_retention = false;        // zdr
  std::string sort;                   // "price", "throughput", "latency"; "" = the model's suffix
  bool across_models = false;         // sort.partition "none": all models' routes in one order
  std::string max_prompt_price, max_completion_price;  // "" = none
  std::string max_request_price;                       // USD for each request
  // Members that are not read: they play no part, and the caller is told.
  std::vector<std::string> ignored;
  std::optional<double> latency_max_s, throughput_min;
  // Ours. What follows a failure may cost many times what the first route would have.
  std::optional<bool> dear_failover;
  // A stream that is cut goes on at another route.
  std::optional<bool> continuation;
  // A second route is asked when the first is slow: after `hedge_after_ms`, or, without it, after
  // the time within which 95 of 100 of its answers begin.
  std::optional<bool> hedge;
  std::optional<int64_t> hedge_after_ms;
};

struct OpenAiFacts {
  std::string model;                // as the caller wrote it; without one, the first of `models`
  std::vector<std::string> models;  // `models`: fallbacks, tried in order after `model`
  bool stream = false;
  bool include_usage = false;
  bool has_tools = false;
  bool has_images = false;
  bool has_schema = false;  // response_format asks for JSON or more
  bool has_logprobs = false;
  std::optional<int64_t> max_tokens;          // the smallest of its names
  std::optional<int64_t> largest_max_tokens;  // which one counts is the upstream's to say
  int64_t n = 1;
  int64_t prompts = 1;  // texts in `prompt` or `input`: each has a context of its own
  // That the provider may bill: prompts x the largest of n, best_of and n_cmpl (llama.cpp's n).
  int64_t answers = 1;
  int64_t images = 0;         // at most so many in the messages
  int64_t picture_bytes = 0;  // of these that are data URLs: no text, and bounded by their number
  // By how many bytes its tools, their calls and its other JSON may be longer in the prompt.
  int64_t rewritten_growth = 0;
  int64_t resolved_growth = 0;  // and further where references in tools are resolved
  int64_t named_pictures = 0;  // in all of its text (picture_marks.h)
  int64_t sounds = 0;        // `input_audio` parts in them: their tokens have a price of their own
  bool wants_sound = false;  // `modalities`: so have those of an answer that is spoken
  bool wants_cache = false;  // prompts kept (cache_control), which may cost more
  bool wants_long_cache = false;  // prompts kept for longer than five minutes, which cost more
  std::string service_tier;       // as the request says; "" = it does not
  // A field that makes the provider bill more than tokens at the route's price: tools that it runs
  // itself, other media whose size is not in the request. "" = none.
  std::string billed_apart;
  std::vector<std::string> unknown_fields;  // known_fields.h
  bool may_think = false;                   // it asks for thoughts, which a reader may not be shown
  int64_t thinking_tokens = 0;              // so many; 0: it does not say
  int64_t input_bytes = 0;  // of messages, prompt or input, without data URLs: for estimates
  ProviderPreferences provider;
};

// Other names of the bound of an answer, which some servers obey before `max_tokens`, or a proxy
// hands on: llama.cpp's, KoboldCpp's, DeepInfra's, Gemini's, Anthropic's (old), Bedrock's Llama's
// and Ollama's. More than 0, or they bound nothing.
inline constexpr std::array<std::string_view, 7> kOtherBounds = {
    "n_predict",   "max_length", "max_new_tokens", "max_output_tokens", "max_tokens_to_sample",
    "max_gen_len", "num_predict"};
// nullopt: the field is not there, or bounds nothing.
std::optional<int64_t> OtherBound(const JsonText& request, std::string_view name);

// Errors: kInvalidArgument naming the field, for those fields that are read here; what is wrong
// elsewhere is the upstream's to refuse.
Result<OpenAiFacts> ReadOpenAiFacts(const JsonText& request);

}  // namespace tradewind::dialects
