// Any server that speaks OpenAI's format at a configured address: vLLM, llama-server, Ollama.
#include "providers/kinds.h"

namespace tradewind::providers {

constinit const Quirks kOpenAiCompatible = {
    .kind = "openai",
    .name = "OpenAI-compatible",
    .base_url = "",
    .usage_needs_asking = true,
    .bound_name = BoundName::kUnclear,
    .may_be_any_server = true,
};

}  // namespace tradewind::providers
