// Groq. Usage stands in the chunk that ends a stream, and again in `x_groq`.
#include <array>

#include "providers/kinds.h"

namespace tradewind::providers {
namespace {

// What it documents as refused with 400.
constexpr std::array<std::string_view, 2> kRefusedFields = {"logit_bias", "store"};

Refusal Classify(int status, const dialects::WireError& error) {
  if (status == 498) {  // its flex tier is full
    return Refusal::kOverloaded;
  }
  // The model wrote a tool call that cannot be read.
  return status == 400 && error.code == "tool_use_failed" ? Refusal::kNotHere : Refusal::kByStatus;
}

}  // namespace

constinit const Quirks kGroq = {
    .kind = "groq",
    .name = "Groq",
    .base_url = "https://api.groq.com/openai/v1",
    .api_key_env = "GROQ_API_KEY",
    .completions_path = "",
    .embeddings_path = "",
    .prefix = PrefixForm::kLastMessage,
    .bills_on = true,
    .refused_fields = kRefusedFields,
    .classify = Classify,
};

}  // namespace tradewind::providers
