// The life of a request: authenticate (Dispatch has done it) → parse the dialect → plan the route →
// hold the worst-case cost → open an upstream → relay and meter the stream → settle. Opening and
// relaying are one attempt; until the first byte has gone to the client, a failed one may be
// followed by another (routing/attempts.h).
//
// Early exits. "Hold" is what becomes of the money set aside, once there is a ledger.
//
//   row                      what the client sees                    hold    outcome in the log
//   -----------------------  --------------------------------------  ------  ----------------------
//   no good token            401, 403 naming the scope, 415          none    unauthenticated,
//                            (admission.h)                                   permission_denied ...
//   not on the allow-list    403 with param model                    none    permission_denied
//   bad request              400 with param, 413                     none    invalid_argument ...
//   over a limit of the key  429: whose limit, which, Retry-After    none    too_many_requests
//   no candidate             400 model_not_supported: who was        none    model_not_supported
//                            considered, and why each does not serve
//   refused here             400: context, template; 429, 503 with   void    context_too_long,
//                            Retry-After; 500, 507: loading                  too_many_requests ...
//   refused by the provider  its 4xx, in our envelope; its 401, 402  void    upstream_failed
//                            and 403 are ours to solve: 502
//   provider not reached     the next route; 502 when none is left   void    upstream_failed
//   provider fails before    the next route; then 502, 503, 504,     void or upstream_failed,
//   the 1st byte: 5xx, 429,  or its 429 with Retry-After             in      deadline_exceeded
//   stall, cut, garbage,                                             doubt
//   wrong type, empty 200
//   broken line in a stream  nothing: such lines are no events       -       -
//   malformed event, error   data: {"error":...}, then the end       settle  upstream_failed
//   event, cut or stall      without [DONE]
//   after the 1st byte
//   failed here after it     the same                                settle  internal ...
//   client left              nothing; the upstream is closed, the    settle  cancelled
//                            engine stops at the next token, what
//                            was used is counted
//   slow reader              the stream pauses; it is cut after      settle  deadline_exceeded
//                            kWriteDeadlineMs without progress
//   deadline                 504, or as failed after 1st byte        settle  deadline_exceeded
//   shutdown                 503 for new ones; running ones finish   settle  unavailable
#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/ids.h"
#include "dialects/json_writer.h"
#include "gateway/gateway.h"
#include "routing/attempts.h"

namespace tradewind::gateway {
namespace {

using providers::Endpoint;
using routing::FailureKind;

constexpr size_t kBodyBytesParsedOnLoopMax = 256 << 10;

// A large body is parsed on a worker: some milliseconds of an event loop.
Task<Result<Order>> Parse(Endpoint endpoint, const std::string& body,
                          providers::WorkerPool& workers) {
  if (body.size() <= kBodyBytesParsedOnLoopMax) {
    co_return ReadOrder(endpoint, body);
  }
  std::function<Result<Order>()> job = [endpoint, own = body]() mutable {
    return ReadOrder(endpoint, std::move(own));
  };
  co_return co_await workers.Run(std::move(job));
}

std::string_view TaskOf(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kChat:
      return "conversational";
    case Endpoint::kCompletions:
      return "text-generation";
    case Endpoint::kEmbeddings:
      return "feature-extraction";
  }
  return "conversational";
}

// Waits without blocking the thread; a client that leaves ends the wait. False: it left.
Task<bool> Pause(http::Exchange& exchange, const Clock& clock, int64_t ms) {
  const auto wakeup = http::Wakeup::Create();
  exchange.OnClientLeft([wakeup] { wakeup->Notify(); });
  if (ms > 0) {
    static_cast<void>(co_await wakeup->Wait(clock.Now() + std::chrono::milliseconds(ms)));
  }
  co_return !exchange.client_left();
}

void Report(const Answered& answered, std::chrono::steady_clock::time_point started,
            routing::Attempt attempt) {
  if (answered.first_token_at.has_value()) {
    attempt.Answered(MsBetween(started, *answered.first_token_at));
  }
  if (answered.failed_before_first_byte.has_value() ||
      answered.failed_after_first_byte.has_value()) {
    attempt.Failed(answered.kind, answered.retry_after_ms);
    return;
  }
  routing::Measured measured;
  if (answered.usage.has_value() && answered.first_token_at.has_value() &&
      answered.last_token_at.has_value()) {
    measured.output_tokens = answered.usage->output_tokens;
    measured.generation_ms = MsBetween(*answered.first_token_at, *answered.last_token_at);
  }
  attempt.Succeeded(measured);
}

void Settle(const Answered& answered, Call& call, telemetry::Registry& metrics) {
  telemetry::AccessRecord& record = call.record;
  if (answered.first_token_at.has_value()) {
    record.ttft_ms = MsBetween(call.started, *answered.first_token_at);
  }
  if (answered.failed_after_first_byte.has_value()) {
    record.outcome = ErrorCodeName(answered.failed_after_first_byte->code);
  } else if (answered.failed_before_first_byte.has_value()) {
    record.outcome = ErrorCodeName(answered.failed_before_first_byte->code);
  } else if (!answered.finish_reason.empty()) {
    record.outcome = answered.finish_reason;
  }
  const telemetry::Labels labels = {{"model", record.model}, {"provider", record.provider}};
  if (answered.usage.has_value()) {
    record.input_tokens = answered.usage->input_tokens;
    record.cached_tokens = answered.usage->cached_tokens;
    record.output_tokens = answered.usage->output_tokens;
    const auto count = [&](const char* name, const char* help, int64_t tokens) {
      metrics.GetCounter(name, help, labels).Increment(static_cast<uint64_t>(tokens));
    };
    count("tradewind_input_tokens_total", "Prompt tokens of answered requests.",
          answered.usage->input_tokens);
    count("tradewind_cached_tokens_total", "Prompt tokens that did not have to be evaluated.",
          answered.usage->cached_tokens);
    count("tradewind_output_tokens_total", "Tokens sampled, delivered or not.",
          answered.usage->output_tokens);
  }
  if (record.ttft_ms.has_value()) {
    metrics
        .GetHistogram("tradewind_ttft_seconds", "From the request to the first token.",
                      telemetry::SecondsBuckets(), labels)
        .Observe(*record.ttft_ms / 1000);
  }
}

// Nothing when it is not known: then the estimate stays.
std::optional<int64_t> TokensUsed(const Answered& answered) {
  if (answered.usage.has_value()) {
    return answered.usage->input_tokens + answered.usage->output_tokens;
  }
  return answered.failed_before_first_byte.has_value() ? std::optional<int64_t>(0) : std::nullopt;
}

// The provider's own refusal, when the request is at fault: its status and words in our envelope.
http::Response ProviderRefusal(const Answered& answered) {
  const dialects::WireError& said = answered.upstream_error;
  dialects::JsonWriter json;
  json.BeginObject().Key("error").BeginObject().Field("message", said.message);
  json.Field("type", said.type.empty() ? std::string("invalid_request_error") : said.type);
  const auto text_or_null = [&json](std::string_view name, const std::string& text) {
    json.Key(name);
    text.empty() ? json.Null() : json.Value(text);
  };
  text_or_null("param", said.param);
  text_or_null("code", said.code);
  json.EndObject().EndObject();
  http::Response response;
  response.status = answered.upstream_status;
  response.headers.Set("Content-Type", "application/json");
  response.body = json.Take();
  return response;
}

// What the client is told of a failure that is the provider's. Its 401, 402 and 403 are about our
// account there: the client's own token is fine.
Error ErrorForClient(const Answered& answered) {
  Error error = *answered.failed_before_first_byte;
  switch (answered.kind) {
    case FailureKind::kRateLimited:
    case FailureKind::kOverloaded:
      if (error.code == ErrorCode::kUpstreamFailed) {
        error.code = ErrorCode::kTooManyRequests;
        error.retry_after_ms = answered.retry_after_ms.value_or(1000);
      }
      break;
    case FailureKind::kKeyRejected:
      error.message =
          "The provider refused the key that is stored for it; the operator has to "
          "renew it (tradewind providers).";
      break;
    case FailureKind::kNoFunds:
      error.message =
          "The account at the provider has no credit left; the operator has to renew it.";
      break;
    default:
      break;
  }
  return error;
}

bool IsProviderRefusal(const Answered& answered) {
  return answered.upstream_status >= 400 && answered.upstream_status < 500 &&
         (answered.kind == FailureKind::kClientError || answered.kind == FailureKind::kNotCapable ||
          answered.kind == FailureKind::kModelUnknown);
}

}  // namespace

void SetStreamHeaders(http::Headers& headers) {
  headers.Set("Content-Type", "text/event-stream");
  headers.Set("Cache-Control", "no-cache");
  headers.Set("X-Accel-Buffering", "no");
}

http::Headers AnswerHeaders(const Call& call, const std::string& inference_id,
                            std::string_view provider, std::string_view model,
                            const std::vector<std::string>& ignored) {
  http::Headers headers = call.cors;
  headers.Set("x-request-id", call.request_id);
  headers.Set("Inference-Id", inference_id);
  headers.Set("x-inference-provider", std::string(provider));
  headers.Set("x-tradewind-route", fmt::format("{}/{}", provider, HeaderSafe(model)));
  if (!ignored.empty()) {
    std::vector<std::string> safe;
    std::ranges::transform(ignored, std::back_inserter(safe), HeaderSafe);
    headers.Set("x-tradewind-ignored", fmt::format("{}", fmt::join(safe, ", ")));
  }
  return headers;
}

Task<void> Gateway::Chat(Call& call) {
  return Infer(call, Endpoint::kChat);
}
Task<void> Gateway::Complete(Call& call) {
  return Infer(call, Endpoint::kCompletions);
}
Task<void> Gateway::Embed(Call& call) {
  return Infer(call, Endpoint::kEmbeddings);
}

Result<routing::Plan> Gateway::PlanRoutes(const Call& call, const Order& order) {
  routing::PlanRequest request;
  request.models.push_back(order.facts.model);
  request.models.insert(request.models.end(), order.facts.models.begin(), order.facts.models.end());
  request.task = TaskOf(order.endpoint);
  TW_ASSIGN_OR_RETURN(request.needs, NeedsOf(order));
  Permit(call, request);
  const std::shared_ptr<const routing::Market> market = market_.board.Get();
  Result<routing::Plan> plan = routing::MakePlan(market, market_.health, request, &market_.probes);
  if (!plan.has_value() && call.caller != nullptr) {
    TW_RETURN_IF_ERROR(
        BlameTheToken(*call.caller, routing::ExplainPlan(market, market_.health, request)));
  }
  return plan;
}

// One try at one route, and what it teaches about it.
Task<Answered> Gateway::Attempt(Call& call, const Order& order, const routing::PlannedRoute& route,
                                const http::UpstreamDeadlines& deadlines) {
  call.record.model = route.mapping->hf_model;
  call.record.provider = route.slug();
  ++call.record.attempts;
  Answered answered;
  if (route.is_local()) {
    answered = co_await AnswerHere(call, order, route.mapping->provider_model);
  } else {
    answered = co_await AnswerFromUpstream(call, order, route, deadlines);
  }
  if (call.exchange.client_left()) {
    answered.kind = FailureKind::kClientLeft;
  }
  metrics_
      .GetCounter("tradewind_attempts_total", "Attempts at answering, by provider and outcome.",
                  {{"provider", route.slug()},
                   {"outcome", answered.failed_before_first_byte || answered.failed_after_first_byte
                                   ? routing::FailureKindName(answered.kind)
                                   : "answered"}})
      .Increment();
  co_return answered;
}

Task<void> Gateway::GiveUp(Call& call, const Answered& answered) {
  if (call.exchange.client_left()) {
    co_return;
  }
  if (IsProviderRefusal(answered)) {
    co_return co_await Respond(call, ProviderRefusal(answered));
  }
  co_await Refuse(call, ErrorForClient(answered));
}

Task<void> Gateway::Infer(Call& call, Endpoint endpoint) {
  // Parse
  const Result<Order> order = co_await Parse(endpoint, call.request().body, local_.workers());
  if (!order.has_value()) {
    co_return co_await Refuse(call, order.error());
  }

  // Under the limits of whose key it is
  Result<routing::RateLease> rate = AcquireRate(call, *order);
  if (!rate.has_value()) {
    co_return co_await Refuse(call, rate.error());
  }

  // Plan the route
  const Result<routing::Plan> plan = PlanRoutes(call, *order);
  if (!plan.has_value()) {
    rate->Settle(0);
    co_return co_await Refuse(call, plan.error());
  }

  // Hold the worst-case cost: comes with the ledger.
  // Open, relay and meter: as many attempts as it takes before the first byte
  const auto deadline = call.started + std::chrono::milliseconds(options_.times.deadline_ms);
  const std::vector<routing::PlannedRoute>& routes = plan->routes;
  routing::AttemptOptions attempt_options;
  attempt_options.first_byte_ms = options_.times.first_byte_ms;
  for (const routing::PlannedRoute& route : routes) {
    market_.retries.CountRequest(route.slug());
  }
  routing::Attempts attempts(attempt_options, routes.size(), deadline, market_.retries,
                             SystemRandom());
  Answered answered;
  while (true) {
    const routing::PlannedRoute& route = routes[attempts.route()];
    const std::string key_ref = KeyFor(call, route).ref;
    auto attempt = route.health->Begin(key_ref, route.last_resort || routes.size() == 1);
    if (!attempt.has_value()) {
      if (attempts.Skip()) {
        continue;
      }
      attempt = route.health->Begin(key_ref, true);  // the last one: better than nothing
    }
    const auto started = clock_.Now();
    http::UpstreamDeadlines deadlines;
    deadlines.first_byte_ms = std::max<int64_t>(
        1, static_cast<int64_t>(MsBetween(started, attempts.FirstByteBy(started))));
    deadlines.idle_ms = options_.times.stall_ms;
    deadlines.overall = deadline;
    answered = co_await Attempt(call, *order, route, deadlines);
    Report(answered, started, std::move(*attempt));
    if (!answered.failed_before_first_byte.has_value()) {
      break;
    }
    const size_t next = std::min(attempts.route() + 1, routes.size() - 1);
    const routing::Attempts::Decision decision =
        attempts.Next({answered.kind, answered.reached, false, false, answered.retry_after_ms},
                      routes[next].slug(), clock_.Now());
    if (decision.step == routing::Step::kGiveUp ||
        !co_await Pause(call.exchange, clock_, decision.wait_ms)) {
      co_await GiveUp(call, answered);
      break;
    }
  }

  // Settle
  if (const auto tokens = TokensUsed(answered); tokens.has_value()) {
    rate->Settle(*tokens);
  }
  Settle(answered, call, metrics_);
}

}  // namespace tradewind::gateway
