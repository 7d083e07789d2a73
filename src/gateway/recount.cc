// Which answers of providers are counted once more here: those whose text is all that is billed.
#include "gateway/gateway.h"
#include "gateway/pass.h"
#include "gateway/recounter.h"

namespace tradewind::gateway {

bool Gateway::Recounts(const Call& call, const Order& order, const routing::PlannedRoute& route,
                       const ClientStream& stream) const {
  const dialects::OpenAiFacts& facts = order.facts;
  const bool is_text = order.endpoint == providers::Endpoint::kChat ||
                       order.endpoint == providers::Endpoint::kCompletions;
  return options_.recounter != nullptr && is_text && call.own_path_of.empty() &&
         !stream.head_is_out && facts.answers == 1 && !facts.wants_sound &&
         facts.billed_apart.empty() && options_.recounter->has(route.mapping->hf_model);
}

void Gateway::Recount(const Order& order, const routing::PlannedRoute& route, const Passed& passed,
                      std::string text, bool is_body) const {
  const bool has_ended = !passed.failed_before_first_byte.has_value() &&
                         !passed.failed_after_first_byte.has_value() &&
                         !passed.client_failed.has_value() &&
                         (passed.finish_reason == "stop" || passed.finish_reason == "length");
  if (!has_ended || !passed.usage.has_value() || passed.usage->lacks_output || passed.has_other) {
    return;
  }
  // Thoughts that were asked for may be billed without being told apart.
  const chat::Usage& usage = *passed.usage;
  const bool may_think = order.facts.may_think || route.mapping->prices.reasoning.has_value();
  if (may_think && usage.reasoning_tokens == 0) {
    return;
  }
  options_.recounter->Count({route.slug(), route.mapping->hf_model, std::move(text), is_body,
                             usage.output_tokens - usage.reasoning_tokens});
}

}  // namespace tradewind::gateway
