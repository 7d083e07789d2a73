// Groq. Usage stands in the chunk that ends a stream, and again in `x_groq`.
#include "providers/quirks.h"

namespace tradewind::providers {
namespace {

// What it documents as refused with 400.
void Translate(Endpoint endpoint, dialects::JsonText& request) {
  if (endpoint == Endpoint::kChat) {
    for (const std::string_view name : {"logit_bias", "store"}) {
      request.Remove(name);
    }
  }
}

}  // namespace

constinit const Quirks kGroq = {
    .kind = "groq",
    .name = "Groq",
    .base_url = "https://api.groq.com/openai/v1",
    .completions_path = "",
    .embeddings_path = "",
    .prefix = PrefixForm::kLastMessage,
    .translate = Translate,
};

}  // namespace tradewind::providers
