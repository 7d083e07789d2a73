// A provider as one of the routes: prepare the request in its form, open, pass its bytes on.
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "base/ids.h"
#include "dialects/json_writer.h"
#include "gateway/gateway.h"
#include "gateway/pass.h"
#include "gateway/upstream_failure.h"
#include "pricing/cost.h"
#include "providers/quirks.h"

namespace tradewind::gateway {
namespace {

using providers::UpstreamFailure;
using routing::FailureKind;

void SetFailure(UpstreamFailure failure, bool before_first_byte, Answered& answered) {
  answered.kind = KindOf(failure);
  answered.reached = ReachedOf(failure);
  answered.retry_after_ms = failure.retry_after_ms;
  answered.upstream_status = failure.status;
  answered.upstream_error = std::move(failure.wire);
  (before_first_byte ? answered.failed_before_first_byte : answered.failed_after_first_byte) =
      std::move(failure.error);
}

Answered FromPassed(Passed passed) {
  Answered answered;
  if (passed.failed_before_first_byte.has_value()) {
    SetFailure(std::move(*passed.failed_before_first_byte), true, answered);
  } else if (passed.failed_after_first_byte.has_value()) {
    SetFailure(std::move(*passed.failed_after_first_byte), false, answered);
  } else if (passed.client_failed.has_value()) {
    answered.kind = FailureKind::kClientLeft;
    answered.failed_after_first_byte = std::move(passed.client_failed);
  }
  answered.usage = passed.usage;
  answered.first_token_at = passed.first_token_at;
  answered.last_token_at = passed.last_token_at;
  answered.finish_reason = std::move(passed.finish_reason);
  return answered;
}

// Nothing when the route is unpriced or nobody told the usage: unknown is never zero.
std::optional<int64_t> CostOf(const catalog::Mapping& mapping,
                              const std::optional<chat::Usage>& usage) {
  if (!usage.has_value()) {
    return std::nullopt;
  }
  const Result<int64_t> cost = pricing::CostNanoUsd(
      mapping.prices,
      {usage->input_tokens, usage->cached_tokens, usage->output_tokens, usage->cache_write_tokens});
  return cost.has_value() ? std::optional(*cost) : std::nullopt;
}

std::string Receipt(const routing::PlannedRoute& route, const std::optional<chat::Usage>& usage) {
  dialects::JsonWriter json;
  json.BeginObject().Key("cost_nanousd");
  if (const auto cost = CostOf(*route.mapping, usage); cost.has_value()) {
    json.Value(std::to_string(*cost));
  } else {
    json.Null();
  }
  json.Field("provider", route.slug()).EndObject();
  return json.Take();
}

}  // namespace

Task<Answered> Gateway::AnswerFromUpstream(Call& call, const Order& order,
                                           const routing::PlannedRoute& route,
                                           const http::UpstreamDeadlines& deadlines) {
  const providers::Upstream& place = *route.place->upstream;
  dialects::JsonText text = order.text;
  const std::vector<std::string> dropped = providers::PrepareRequest(
      *place.quirks, order.endpoint, route.mapping->provider_model, order.facts.stream, text);
  const UpstreamKey key = KeyFor(call, route);
  const KeyOwner key_owner = key.key.empty()   ? KeyOwner::kNobody
                             : key.ref.empty() ? KeyOwner::kOperator
                                               : KeyOwner::kCaller;
  providers::UpstreamOrder sent{order.endpoint, text.Text(),     order.facts.stream,
                                key.key,        call.request_id, deadlines};
  const auto upstream =
      std::make_shared<providers::UpstreamExchange>(*market_.upstreams, place, std::move(sent));
  call.exchange.OnClientLeft([weak = std::weak_ptr(upstream)] {
    if (const auto alive = weak.lock()) {
      alive->Cancel();
    }
  });
  if (auto opened = co_await upstream->Open(); !opened.has_value()) {
    Answered answered;
    SetFailure(std::move(opened).error(), true, answered);
    answered.key_owner = key_owner;
    co_return answered;
  }
  const std::string id = upstream->upstream_request_id().empty()
                             ? RandomId("inf-", 24)
                             : HeaderSafe(upstream->upstream_request_id());
  http::Headers headers =
      AnswerHeaders(call, id, route.slug(), route.mapping->provider_model, dropped);
  if (order.facts.stream) {
    SetStreamHeaders(headers);
    const PassOptions options{order.facts.include_usage,
                              [&route](const auto& usage) { return Receipt(route, usage); }};
    Answered answered = FromPassed(
        co_await PassStream(call.exchange, upstream, std::move(headers), options, clock_));
    call.record.cost_nanousd = CostOf(*route.mapping, answered.usage);
    co_return answered;
  }
  PassedWhole whole = co_await PassWhole(upstream, clock_);
  if (!whole.failed_before_first_byte.has_value()) {
    call.record.cost_nanousd = CostOf(*route.mapping, whole.usage);
    headers.Set("Content-Type", "application/json");
    if (call.record.cost_nanousd.has_value()) {
      headers.Set("x-tradewind-cost-nanousd", std::to_string(*call.record.cost_nanousd));
    }
    co_await Respond(call, {200, std::move(headers), std::move(whole.body)});
  }
  co_return FromPassed(std::move(whole));
}

}  // namespace tradewind::gateway
