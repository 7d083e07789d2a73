// Hugging Face's router: itself a marketplace, reached with a Hugging Face token. What stands
// behind it decides where usage is, so it is asked for.
#include "providers/quirks.h"

namespace tradewind::providers {

constinit const Quirks kHuggingFace = {
    .kind = "huggingface",
    .name = "Hugging Face Inference Providers",
    .base_url = "https://router.huggingface.co/v1",
    .completions_path = "",
    .embeddings_path = "",
    .request_id_header = "inference-id",
    .usage_needs_asking = true,
};

}  // namespace tradewind::providers
