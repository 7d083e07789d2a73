#include "gateway/prompt_bounds.h"

#include <limits>

#include "dialects/normalised.h"

namespace tradewind::gateway {
namespace {

// The most that a provider is known to bill for one picture: of OpenAI's gpt-4o-mini it is 2,833
// tokens and 5,667 for each of 8 tiles (2048x768), 48,169. Qwen makes up to 16,384 of one.
constexpr int64_t kImageTokensMax = 49'152;

// The most that a model which text-generation-inference serves makes of a picture (Qwen2-VL).
constexpr int64_t kNamedPictureTokensMax = 16'384;

// Before each further text of one request a template, or a prefix of some embeddings.
constexpr int64_t kPromptTokens = 64;

}  // namespace

int64_t Times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

// A vocabulary of bytes makes at most one token of each.
int64_t TokensMax(std::string_view text) {
  return static_cast<int64_t>(text.size()) + dialects::NormalisedGrowth(text);
}

// JSON is longer than what it says, where a template does not write it anew. What is to follow the
// answer (`suffix`) is input of each prompt, and what some put before what is embedded (`prompt`)
// of each input.
int64_t PromptTokensMax(const Order& order, std::string_view body) {
  const dialects::OpenAiFacts& facts = order.facts;
  const std::string_view prefix =
      order.text.Has("input") ? order.text.Raw("prompt") : std::string_view();
  const int64_t around = kPromptTokens + TokensMax(order.text.Raw("suffix")) + TokensMax(prefix);
  return kTemplateTokens + TokensMax(body) + facts.images * kImageTokensMax +
         facts.rewritten_growth + Times(facts.prompts - 1, around);
}

int64_t NamedPictureTokensMax(const Order& order) {
  return order.endpoint == providers::Endpoint::kEmbeddings
             ? 0
             : order.facts.named_pictures * kNamedPictureTokensMax;
}

}  // namespace tradewind::gateway
