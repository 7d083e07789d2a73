// The life of a request: authenticate (Dispatch has done it) → parse the dialect → plan the route →
// hold the worst-case cost → open an upstream → relay and meter the stream → settle. Opening and
// relaying are one attempt, and may be followed by another (try_routes.cc).
//
// Early exits. "Hold" is what becomes of the money set aside (billing/ending.h): where it says
// settle, it is settled when the provider told the final usage, and in doubt when it did not. Each
// row has a test that names it: tests/binary/test_early_exits.py reads this table.
//
//   row                      what the client sees                    hold    outcome in the log
//   -----------------------  --------------------------------------  ------  ----------------------
//   no good token            401, 403 naming the scope, 415          none    unauthenticated,
//                            (admission.h)                                   permission_denied ...
//   not on the allow-list    403 with param model                    none    permission_denied
//   bad request              400 with param, 413                     none    invalid_argument ...
//   asked before under an    its answer again; 409 while it runs,    none    replayed,
//    Idempotency-Key         or when it was cut; 422: another one            idempotency_refused
//   over a limit of the key  429: whose limit, which, Retry-After    none    too_many_requests
//    or its organisation
//   no candidate             400 model_not_supported: who was        none    model_not_supported
//                            considered, and why each does not serve
//   provider's own path: no  404 naming its paths; 400               none    not_found,
//    such, or no such pair   model_not_supported                             model_not_supported
//   no room in a budget      the next route; 402 when none is left:  none    payment_required
//                            whose budget, what is left, what fits
//   no room, but the key     the model on this device answers, where void    as its answer's
//    asks for this device    it can: x-tradewind-degraded: budget
//   nothing can be recorded  507 (disk, journal) or 429 (too many    none    resource_exhausted,
//                            are open), both with Retry-After                too_many_requests
//   another process has      503 with Retry-After and Connection:    none    unavailable
//    taken over              close
//   refused here             400: context, template; 429, 503 with   void    context_too_long,
//                            Retry-After; 500, 507: loading                  too_many_requests ...
//   refused by the provider  its 4xx, in our envelope; its 401, 402  void    upstream_failed
//                            and 403 about the key are not, nor a
//                            redirect: the next route; then 502
//   provider not reached     the next route; 502 when none is left   void    upstream_failed
//   provider answers 5xx or  the next route; then 502, or 429 with   void or upstream_failed
//    429                     Retry-After for its 429 or 503          in
//                                                                    doubt
//   stall before the 1st     the next route; 504 when none is left   in      deadline_exceeded
//    byte                                                            doubt
//   cut before the 1st byte  the next route; then 502                in      upstream_failed
//                                                                    doubt
//   empty 200                the next route; then 502                in      upstream_failed
//                                                                    doubt
//   stream of a wrong type   the next route; then 502                in      upstream_failed
//                                                                    doubt
//   garbage instead of an    the next route; then 502                in      upstream_failed
//    answer                                                          doubt
//   web page with 200        the next route; then 502                void or upstream_failed
//                                                                    in
//                                                                    doubt
//   error with 200           as with the status that it names, or    void or upstream_failed
//                            502, in the provider's words            in
//                                                                    doubt
//   answer in another form   a whole one goes on as a stream; a      settle  upstream_failed
//                            stream where none was asked for: 502
//   broken line in a stream  nothing: such lines are no events       -       -
//   stall after the 1st byte data: {"error":...}, then the end       settle  deadline_exceeded
//                            without [DONE] and without any finish
//                            reason; where it is wanted and can be,
//                            the rest from another route
//   cut after the 1st byte   the same                                settle  upstream_failed
//   malformed event          the same                                settle  upstream_failed
//   error event              the same, in the provider's words       settle  upstream_failed
//   slow to begin            where it is wanted, the next route       in      as the winner's
//                            beside it; the first to begin answers    doubt
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
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/ids.h"
#include "dialects/json_writer.h"
#include "gateway/gateway.h"
#include "gateway/upstream_failure.h"

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
  const auto count = [&](const char* name, const char* help, int64_t tokens) {
    metrics.GetCounter(name, help, labels).Increment(static_cast<uint64_t>(tokens));
  };
  if (answered.usage.has_value() && !answered.usage->lacks_input) {
    record.input_tokens = answered.usage->input_tokens;
    record.cached_tokens = answered.usage->cached_tokens;
    count("tradewind_input_tokens_total", "Prompt tokens of answered requests.",
          answered.usage->input_tokens);
    count("tradewind_cached_tokens_total", "Prompt tokens that did not have to be evaluated.",
          answered.usage->cached_tokens);
  }
  if (answered.usage.has_value() && !answered.usage->lacks_output) {
    record.output_tokens = answered.usage->output_tokens;
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

// Nothing when it is not known: then the estimate stays. What failed has used no tokens only if
// surely none of its attempts did any work: a client that leaves early is charged all the same.
std::optional<int64_t> TokensUsed(const Answered& answered) {
  if (answered.usage.has_value() && answered.usage->is_whole()) {
    return answered.usage->input_tokens + answered.usage->output_tokens;
  }
  return answered.failed_before_first_byte.has_value() && !answered.may_be_billed
             ? std::optional<int64_t>(0)
             : std::nullopt;
}

// What the client may do about it, where routes were not asked for what they may cost.
void TellTooDear(const Answered& answered, std::string& message) {
  TellNotRetried(answered, message);
  constexpr size_t kNamedMax = 5;
  const std::vector<std::string>& all = answered.too_dear;
  if (all.empty()) {
    return;
  }
  const std::span named(all.data(), std::min(all.size(), kNamedMax));
  message += fmt::format(
      "{} Not asked, as failover to it may cost too much more than the first: {}{}; "
      "`\"provider\": {{\"dear_failover\": true}}` allows it.",
      message.ends_with('.') ? "" : ".", fmt::join(named, ", "),
      all.size() > kNamedMax ? fmt::format(" and {} more", all.size() - kNamedMax) : "");
}

// The provider's own refusal, when the request is at fault: its status and words in our envelope.
http::Response ProviderRefusal(const Answered& answered) {
  const dialects::WireError& said = *answered.upstream_error;
  dialects::JsonWriter json;
  std::string message = said.message;
  TellTooDear(answered, message);
  json.BeginObject().Key("error").BeginObject().Field("message", message);
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

// What the client is told of a failure that is the provider's. A refused key or an empty account is
// about our account there: the client's own token is fine.
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
    case FailureKind::kNoFunds:
      error.message = AccountWords(answered.kind, answered.key_owner);
      break;
    default:
      break;
  }
  TellTooDear(answered, error.message);
  return error;
}

bool IsProviderRefusal(const Answered& answered) {
  return answered.upstream_error.has_value() && answered.upstream_status >= 400 &&
         answered.upstream_status < 500 &&
         (answered.kind == FailureKind::kClientError || answered.kind == FailureKind::kNotCapable ||
          answered.kind == FailureKind::kModelUnknown);
}

}  // namespace

void TellNotRetried(const Answered& answered, std::string& message) {
  if (answered.not_retried.has_value()) {
    message += fmt::format("{} It was not tried again: {}", message.ends_with('.') ? "" : ".",
                           *answered.not_retried);
  }
}

void SetStreamHeaders(http::Headers& headers) {
  headers.Set("Content-Type", "text/event-stream");
  headers.Set("Cache-Control", "no-cache");
  headers.Set("X-Accel-Buffering", "no");
}

std::string RouteName(std::string_view provider, std::string_view model) {
  return fmt::format("{}/{}", provider, HeaderSafe(model));
}

http::Headers AnswerHeaders(const Call& call, const std::string& inference_id,
                            std::string_view provider, std::string_view model,
                            const std::vector<std::string>& ignored) {
  http::Headers headers = call.cors;
  headers.Set("x-request-id", call.request_id);
  headers.Set("Inference-Id", inference_id);
  headers.Set("x-tradewind-receipt", call.receipt.ToString());
  headers.Set("x-inference-provider", std::string(provider));
  headers.Set("x-tradewind-route", RouteName(provider, model));
  if (!call.record.degraded.empty()) {
    headers.Set("x-tradewind-degraded", call.record.degraded);
  }
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
  if (call.own_path_of.empty()) {
    request.models.push_back(order.facts.model);
    request.models.insert(request.models.end(), order.facts.models.begin(),
                          order.facts.models.end());
  } else {
    TW_ASSIGN_OR_RETURN(request.named, NamedMappingOf(call, order));
  }
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
  if (const auto key = call.request().headers.Find("Idempotency-Key"); key.has_value()) {
    co_return co_await FulfilOnce(call, *order, std::string(*key));
  }
  co_await Fulfil(call, *order);
}

Task<void> Gateway::Fulfil(Call& call, const Order& order) {
  // Under the limits of whose key it is
  Result<routing::RateLease> rate = AcquireRate(call, order);
  if (!rate.has_value()) {
    co_return co_await Refuse(call, rate.error());
  }

  // Plan the route
  const Result<routing::Plan> plan = PlanRoutes(call, order);
  if (!plan.has_value()) {
    rate->Settle(0);
    co_return co_await Refuse(call, plan.error());
  }

  // Hold the worst-case cost, open, relay and meter, settle: as many attempts as it takes
  Answered answered = co_await TryRoutes(call, order, *plan);
  answered = co_await AnswerHereInstead(call, order, std::move(answered));
  if (answered.failed_before_first_byte.has_value()) {
    co_await GiveUp(call, answered);
  }

  // Settle
  if (const auto tokens = TokensUsed(answered); tokens.has_value()) {
    rate->Settle(*tokens);
  }
  Settle(answered, call, metrics_);
}

}  // namespace tradewind::gateway
