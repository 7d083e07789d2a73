// Hugging Face's router: itself a marketplace, reached with a Hugging Face token. What stands
// behind it decides where usage is, so it is asked for; of the names of a bound its own clients
// write max_tokens. Many have HF_TOKEN for downloads: it pays
// only where the config says so.
#include "providers/kinds.h"

namespace tradewind::providers {
namespace {

// Its own 403 has no code: the token lacks the permission to call providers.
Refusal Classify(int status, const dialects::WireError& error) {
  return status == 403 && error.message.starts_with("This authentication method does not have")
             ? Refusal::kKey
             : Refusal::kByStatus;
}

}  // namespace

constinit const Quirks kHuggingFace = {
    .kind = "huggingface",
    .name = "Hugging Face Inference Providers",
    .base_url = "https://router.huggingface.co/v1",
    .completions_path = "",
    .embeddings_path = "",
    .request_id_header = "inference-id",
    .usage_needs_asking = true,
    .bound_name = BoundName::kMaxTokens,
    .may_be_any_server = true,
    .classify = Classify,
};

}  // namespace tradewind::providers
