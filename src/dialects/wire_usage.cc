#include "dialects/wire_usage.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "base/decimal.h"

namespace tradewind::dialects {
namespace {

namespace dom = simdjson::dom;

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

// Under OpenAI's name, or the one that it has in others' APIs, which proxies let through.
std::optional<int64_t> Count(const dom::element& object, std::string_view name,
                             std::string_view other) {
  const std::optional<int64_t> count = Count(object, name);
  return count.has_value() ? count : Count(object, other);
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

// In nano-dollars, rounded up. It is the text of a double, so the shortest text of that double is
// the same number.
std::optional<int64_t> Usd(const dom::element& holder, std::string_view name) {
  constexpr int64_t kNanoUsdMax = 1'000'000'000'000'000;
  double usd = 0;
  if (holder[name].get(usd) != simdjson::SUCCESS) {
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

// What the answer cost, as OpenRouter has it. What that paid to others is in it, unless it was
// asked with a key of ours at these: then it is a fee, and they send a bill of their own.
std::optional<int64_t> ToldCost(const dom::element& usage) {
  const std::optional<int64_t> cost = Usd(usage, "cost");
  bool is_fee = false;
  if (!cost.has_value() || usage["is_byok"].get(is_fee) != simdjson::SUCCESS || !is_fee) {
    return cost;
  }
  dom::element details;
  std::optional<int64_t> theirs;
  if (usage["cost_details"].get(details) == simdjson::SUCCESS) {
    theirs = Usd(details, "upstream_inference_cost");
  }
  return theirs.has_value() ? std::optional(*cost + *theirs) : std::nullopt;
}

// What is left of the total when the other part is `known`.
std::optional<int64_t> Rest(std::optional<int64_t> total, std::optional<int64_t> known) {
  const bool is_told = total.has_value() && known.has_value() && *total >= *known;
  return is_told ? std::optional(*total - *known) : std::nullopt;
}

bool Details(const dom::element& usage, std::string_view name, std::string_view other,
             dom::element& out) {
  return usage[name].get(out) == simdjson::SUCCESS || usage[other].get(out) == simdjson::SUCCESS;
}

void ReadInputParts(const dom::element& usage, chat::Usage& out) {
  dom::element details;
  if (Details(usage, "prompt_tokens_details", "input_tokens_details", details)) {
    out.cached_tokens = Count(details, "cached_tokens").value_or(0);
    out.audio_input_tokens = Count(details, "audio_tokens").value_or(0);
  }
  ReadCacheWrites(usage, out);
  if (out.cached_tokens == 0) {
    out.cached_tokens = Count(usage, "cached_tokens").value_or(0);  // Together
  }
  // Anthropic's words: its `input_tokens` are without what was read from a cache or written to it.
  const auto read = Count(usage, "cache_read_input_tokens");
  if (Count(usage, "prompt_tokens").has_value() || !Count(usage, "input_tokens").has_value() ||
      (!read.has_value() && !Count(usage, "cache_creation_input_tokens").has_value())) {
    return;
  }
  out.cached_tokens = read.value_or(0);
  for (const int64_t beside : {out.cached_tokens, out.cache_write_tokens.value_or(0)}) {
    if (__builtin_add_overflow(out.input_tokens, beside, &out.input_tokens)) {
      out.input_tokens = INT64_MAX;
    }
  }
}

// Many more thoughts than the completion has stand beside it, whatever the total says (Perplexity's
// deep research). A few more are a count by another tokenizer.
void ReadOutputParts(const dom::element& usage, chat::Usage& out) {
  out.reasoning_tokens = Count(usage, "reasoning_tokens").value_or(0);
  dom::element details;
  if (Details(usage, "completion_tokens_details", "output_tokens_details", details)) {
    out.reasoning_tokens = Count(details, "reasoning_tokens").value_or(out.reasoning_tokens);
    out.audio_output_tokens = Count(details, "audio_tokens").value_or(0);
  }
  constexpr int64_t kApartMin = 64;
  const int64_t apart = std::max(kApartMin, out.output_tokens / 4);
  if (out.reasoning_tokens - out.output_tokens > apart &&
      __builtin_add_overflow(out.output_tokens, out.reasoning_tokens, &out.output_tokens)) {
    out.output_tokens = INT64_MAX;
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

}  // namespace

std::optional<chat::Usage> ReadUsage(const simdjson::dom::element& holder, bool has_output) {
  dom::element usage;
  if ((holder["usage"].get(usage) != simdjson::SUCCESS || !usage.is_object()) &&
      (holder["x_groq"]["usage"].get(usage) != simdjson::SUCCESS || !usage.is_object())) {
    return std::nullopt;
  }
  auto input = Count(usage, "prompt_tokens", "input_tokens");
  auto output = has_output ? Count(usage, "completion_tokens", "output_tokens") : 0;
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
  // Something was asked, where there is an answer: adapters of other APIs say so where they do not
  // know. (Nothing of both is a value.)
  out.lacks_input = out.lacks_input || (out.input_tokens == 0 && out.output_tokens > 0);
  return out;
}

}  // namespace tradewind::dialects
