// What follows when no budget has room for a request, and its key asked for that: the model on this
// device answers instead, and says so.
#include <utility>

#include "catalog/mapping.h"
#include "gateway/gateway.h"

namespace tradewind::gateway {

Result<routing::Plan> Gateway::PlanHere(const Call& call, const Order& order) {
  routing::PlanRequest request;
  request.models.push_back(options_.default_model + ":" + std::string(catalog::kLocalSlug));
  TW_ASSIGN_OR_RETURN(request.needs, NeedsOf(order));
  Permit(call, request);
  return routing::MakePlan(market_.board.Get(), market_.health, request, &market_.probes);
}

Task<Answered> Gateway::AnswerHereInstead(Call& call, const Order& order, Answered refused) {
  const bool is_wanted = call.caller != nullptr && call.caller->local_when_exhausted;
  if (!refused.out_of_budget || !is_wanted || options_.default_model.empty() ||
      !call.own_path_of.empty()) {
    co_return refused;
  }
  const Result<routing::Plan> plan = PlanHere(call, order);
  if (!plan.has_value()) {
    co_return refused;  // it cannot do what the request needs, or the key may not use it
  }
  telemetry::AccessRecord before = call.record;
  call.record.degraded = "budget";
  Answered answered = co_await TryRoutes(call, order, *plan);
  if (answered.failed_before_first_byte.has_value() && !call.exchange.client_left()) {
    before.receipt = std::move(call.record.receipt);
    call.record = std::move(before);
    co_return refused;  // too long for it, or too busy: as if it had not been tried
  }
  co_return answered;
}

}  // namespace tradewind::gateway
