// Together AI. Usage stands in the chunk that ends a stream, unasked; replies carry retry-after
// even when all is well.
#include <string>

#include "dialects/json_writer.h"
#include "providers/kinds.h"
#include "providers/quirk_tools.h"

namespace tradewind::providers {
namespace {

// Its `logprobs` is a number of alternatives.
void TranslateLogprobs(dialects::JsonText& request) {
  const std::string_view wanted = request.Raw("logprobs");
  if (wanted == "true") {
    const std::string_view top = request.Raw("top_logprobs");
    request.Set("logprobs", top.empty() || top == "0" || top == "null" ? "1" : std::string(top));
  } else if (wanted == "false") {
    request.Remove("logprobs");
  }
  request.Remove("top_logprobs");
}

void Translate(Endpoint endpoint, dialects::JsonText& request) {
  if (endpoint != Endpoint::kChat) {
    return;
  }
  if (const auto schema = ReadSchema(request); schema.has_value()) {
    dialects::JsonWriter out;
    out.BeginObject().Field("type", "json_schema").Key("schema").Raw(schema->schema).EndObject();
    request.Set("response_format", out.Take());
  }
  TranslateLogprobs(request);
  UseSystemForDeveloper(request);
}

Refusal Classify(int, const dialects::WireError& error) {
  return error.type == "model_not_available" ? Refusal::kModel : Refusal::kByStatus;
}

}  // namespace

constinit const Quirks kTogether = {
    .kind = "together",
    .name = "Together AI",
    .base_url = "https://api.together.xyz/v1",
    .api_key_env = "TOGETHER_API_KEY",
    .prefix = PrefixForm::kLastMessage,
    .bound_name = BoundName::kMaxTokens,
    .translate = Translate,
    .classify = Classify,
};

}  // namespace tradewind::providers
