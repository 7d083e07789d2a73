// The life of a request: authenticate (Dispatch has done it) → parse the dialect → plan the route →
// hold the worst-case cost → open an upstream → relay and meter the stream → settle.
//
// Early exits. "Hold" is what becomes of the money set aside; on this device an answer costs 0, so
// nothing is ever held.
//
//   row                      what the client sees                    hold    outcome in the log
//   -----------------------  --------------------------------------  ------  ----------------------
//   foreign caller           401, 403, 415 (admission.h)             none    permission_denied ...
//   bad request              400 with param, 413                     none    invalid_argument ...
//   no candidate             400 model_not_supported                 none    model_not_supported
//   refused                  400: context, template; 429, 503 with   void    context_too_long,
//                            Retry-After; 500, 507: loading                  too_many_requests ...
//   failed before 1st byte   500, 503, 504                           void    internal ...
//   failed after 1st byte    data: {"error":...}, then the end       settle  internal ...
//                            without [DONE]
//   client left              nothing; the engine stops at the next   settle  cancelled
//                            token, what was used is counted
//   slow reader              the stream pauses; it is cut after      settle  deadline_exceeded
//                            kWriteDeadlineMs without progress
//   deadline                 504, or as failed after 1st byte        settle  deadline_exceeded
//   shutdown                 503 for new ones; running ones finish   settle  unavailable
#include <functional>
#include <memory>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "base/ids.h"
#include "dialects/openai_chat.h"
#include "dialects/openai_completions.h"
#include "gateway/gateway.h"
#include "gateway/relay.h"

namespace tradewind::gateway {
namespace {

struct ParsedCall {
  std::variant<chat::ChatRequest, chat::CompletionRequest> request;
  std::vector<std::string> ignored;

  chat::Generation& generation() {
    return std::visit([](auto& any) -> chat::Generation& { return any; }, request);
  }
};

Result<ParsedCall> ParseBody(InferenceDialect dialect, std::string_view body) {
  if (dialect == InferenceDialect::kOpenAiChat) {
    TW_ASSIGN_OR_RETURN(auto parsed, dialects::ParseOpenAiChat(body));
    return ParsedCall{std::move(parsed.request), std::move(parsed.ignored)};
  }
  TW_ASSIGN_OR_RETURN(auto parsed, dialects::ParseOpenAiCompletion(body));
  return ParsedCall{std::move(parsed.request), std::move(parsed.ignored)};
}

// A body larger than this is parsed on a worker: some milliseconds of an event loop.
constexpr size_t kBodyBytesParsedOnLoopMax = 256 << 10;

Task<Result<ParsedCall>> Parse(InferenceDialect dialect, const std::string& body,
                               providers::WorkerPool& workers) {
  if (body.size() <= kBodyBytesParsedOnLoopMax) {
    co_return ParseBody(dialect, body);
  }
  std::function<Result<ParsedCall>()> job = [dialect, body] { return ParseBody(dialect, body); };
  co_return co_await workers.Run(std::move(job));
}

// The candidates of a model string; for now at most this device.
Result<std::string> Plan(const catalog::LocalModels& models, const std::string& model) {
  TW_ASSIGN_OR_RETURN(const catalog::LocalModel* found,
                      models.Resolve(model, catalog::RefSource::kWire));
  return found->id;
}

Task<Result<std::unique_ptr<providers::ChatStream>>> Open(providers::Provider& provider,
                                                          const ParsedCall& parsed) {
  if (const auto* chat = std::get_if<chat::ChatRequest>(&parsed.request)) {
    co_return co_await provider.Chat(*chat);
  }
  co_return co_await provider.Complete(std::get<chat::CompletionRequest>(parsed.request));
}

std::unique_ptr<dialects::AnswerWriter> MakeWriter(dialects::AnswerHead head,
                                                   const ParsedCall& parsed) {
  if (const auto* chat = std::get_if<chat::ChatRequest>(&parsed.request)) {
    return dialects::MakeOpenAiChatWriter(std::move(head), *chat);
  }
  return dialects::MakeOpenAiCompletionWriter(std::move(head),
                                              std::get<chat::CompletionRequest>(parsed.request));
}

http::Headers AnswerHeaders(const Call& call, const ParsedCall& parsed,
                            const std::string& inference_id, std::string_view provider,
                            const std::string& model) {
  http::Headers headers;
  headers.Set("x-request-id", call.request_id);
  headers.Set("Inference-Id", inference_id);
  headers.Set("x-inference-provider", std::string(provider));
  headers.Set("x-tradewind-route", fmt::format("{}/{}", provider, HeaderSafe(model)));
  if (!parsed.ignored.empty()) {
    headers.Set("x-tradewind-ignored", fmt::format("{}", fmt::join(parsed.ignored, ", ")));
  }
  return headers;
}

void Settle(const Relayed& relayed, Call& call, telemetry::Registry& metrics) {
  telemetry::AccessRecord& record = call.record;
  if (relayed.first_token_at.has_value()) {
    record.ttft_ms = MsBetween(call.started, *relayed.first_token_at);
  }
  record.input_tokens = relayed.usage.input_tokens;
  record.cached_tokens = relayed.usage.cached_tokens;
  record.output_tokens = relayed.usage.output_tokens;
  if (relayed.failed_after_first_byte.has_value()) {
    record.outcome = ErrorCodeName(relayed.failed_after_first_byte->code);
  } else if (relayed.failed_before_first_byte.has_value()) {
    record.outcome = ErrorCodeName(relayed.failed_before_first_byte->code);
  } else if (relayed.finish.has_value()) {
    record.outcome = dialects::FinishReasonName(*relayed.finish);
  }
  const telemetry::Labels model = {{"model", record.model}};
  metrics.GetCounter("tradewind_input_tokens_total", "Prompt tokens of answered requests.", model)
      .Increment(static_cast<uint64_t>(relayed.usage.input_tokens));
  metrics
      .GetCounter("tradewind_cached_tokens_total",
                  "Prompt tokens that did not have to be evaluated.", model)
      .Increment(static_cast<uint64_t>(relayed.usage.cached_tokens));
  metrics.GetCounter("tradewind_output_tokens_total", "Tokens sampled, delivered or not.", model)
      .Increment(static_cast<uint64_t>(relayed.usage.output_tokens));
  if (record.ttft_ms.has_value()) {
    metrics
        .GetHistogram("tradewind_ttft_seconds", "From the request to the first token.",
                      telemetry::SecondsBuckets(), model)
        .Observe(*record.ttft_ms / 1000);
  }
}

}  // namespace

Task<void> Gateway::Chat(Call& call) {
  co_await Infer(call, InferenceDialect::kOpenAiChat);
}
Task<void> Gateway::Complete(Call& call) {
  co_await Infer(call, InferenceDialect::kOpenAiCompletions);
}

Task<void> Gateway::Infer(Call& call, InferenceDialect dialect) {
  // Parse
  Result<ParsedCall> parsed = co_await Parse(dialect, call.request().body, local_.workers());
  if (!parsed.has_value()) {
    co_return co_await Refuse(call, std::move(parsed).error());
  }

  // Plan
  chat::Generation& generation = parsed->generation();
  const Result<std::string> model = Plan(local_.pool().models(), generation.model);
  if (!model.has_value()) {
    co_return co_await Refuse(call, model.error());
  }
  generation.model = *model;
  call.record.model = *model;

  // Hold: this device bills nothing.
  // Open
  providers::Provider& provider = local_;
  auto opened = co_await Open(provider, *parsed);
  if (!opened.has_value()) {
    co_return co_await Refuse(call, std::move(opened).error());
  }
  const std::shared_ptr<providers::ChatStream> stream = std::move(*opened);

  // Relay and meter
  const std::string id =
      RandomId(dialect == InferenceDialect::kOpenAiChat ? "chatcmpl-" : "cmpl-", 24);
  const std::shared_ptr<dialects::AnswerWriter> writer =
      MakeWriter({id, clock_.UnixSeconds(), *model, stream->fingerprint()}, *parsed);
  http::Headers headers = AnswerHeaders(call, *parsed, id, provider.slug(), *model);
  Relayed relayed;
  if (generation.stream) {
    headers.Set("Content-Type", "text/event-stream");
    headers.Set("Cache-Control", "no-cache");
    headers.Set("X-Accel-Buffering", "no");
    relayed = co_await RelayStream(call.exchange, stream, *writer, std::move(headers), clock_);
  } else {
    RelayedWhole whole =
        co_await RelayWhole(call.exchange, stream, writer, local_.workers(), clock_);
    if (!whole.failed_before_first_byte.has_value()) {
      headers.Set("Content-Type", "application/json");
      headers.Set("x-tradewind-cost-nanousd", "0");
      co_await Respond(call, {200, std::move(headers), std::move(whole.body)});
    }
    relayed = std::move(whole);
  }
  if (relayed.failed_before_first_byte.has_value() && !call.exchange.client_left()) {
    co_await Refuse(call, *relayed.failed_before_first_byte);
  }

  // Settle
  Settle(relayed, call, metrics_);
}

}  // namespace tradewind::gateway
