// Fireworks AI. Model ids are accounts/fireworks/models/NAME. Usage stands in the chunk that ends a
// stream, unasked.
#include "providers/kinds.h"
#include "providers/quirk_tools.h"

namespace tradewind::providers {
namespace {

void Translate(Endpoint endpoint, dialects::JsonText& request) {
  if (endpoint == Endpoint::kEmbeddings) {
    return;
  }
  // Its default cuts what does not fit; a prompt is refused here, never cut.
  if (!request.Has("context_length_exceeded_behavior")) {
    request.Set("context_length_exceeded_behavior", "\"error\"");
  }
  UseSystemForDeveloper(request);
}

Refusal Classify(int status, const dialects::WireError&) {
  return status == 412 ? Refusal::kKey : Refusal::kByStatus;  // the account is suspended
}

}  // namespace

constinit const Quirks kFireworks = {
    .kind = "fireworks-ai",
    .name = "Fireworks AI",
    .base_url = "https://api.fireworks.ai/inference/v1",
    .api_key_env = "FIREWORKS_API_KEY",
    .prefix = PrefixForm::kLastMessage,
    .bound_name = BoundName::kMaxTokens,
    .translate = Translate,
    .classify = Classify,
};

}  // namespace tradewind::providers
