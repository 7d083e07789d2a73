// The model on this device as one of the routes: parse strictly, open, relay.
#include <functional>
#include <memory>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/ids.h"
#include "dialects/openai_chat.h"
#include "dialects/openai_completions.h"
#include "gateway/gateway.h"
#include "gateway/relay.h"

namespace tradewind::gateway {
namespace {

using providers::Endpoint;
using routing::FailureKind;

struct ParsedCall {
  std::variant<chat::ChatRequest, chat::CompletionRequest> request;
  std::vector<std::string> ignored;

  chat::Generation& generation() {
    return std::visit([](auto& any) -> chat::Generation& { return any; }, request);
  }
};

Result<ParsedCall> ParseBody(Endpoint endpoint, std::string_view body) {
  if (endpoint == Endpoint::kChat) {
    TW_ASSIGN_OR_RETURN(auto parsed, dialects::ParseOpenAiChat(body));
    return ParsedCall{std::move(parsed.request), std::move(parsed.ignored)};
  }
  if (endpoint == Endpoint::kCompletions) {
    TW_ASSIGN_OR_RETURN(auto parsed, dialects::ParseOpenAiCompletion(body));
    return ParsedCall{std::move(parsed.request), std::move(parsed.ignored)};
  }
  return Fail(ErrorCode::kUnsupported, "The models on this device make no embeddings yet.",
              "model");
}

// A body larger than this is parsed on a worker: some milliseconds of an event loop.
constexpr size_t kBodyBytesParsedOnLoopMax = 256 << 10;

Task<Result<ParsedCall>> Parse(Endpoint endpoint, const std::string& body,
                               providers::WorkerPool& workers) {
  if (body.size() <= kBodyBytesParsedOnLoopMax) {
    co_return ParseBody(endpoint, body);
  }
  std::function<Result<ParsedCall>()> job = [endpoint, body] { return ParseBody(endpoint, body); };
  co_return co_await workers.Run(std::move(job));
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

// What a failure on this device says: whether another route could do better.
// `is_over`: the request's own time.
FailureKind KindOf(ErrorCode code, bool is_over) {
  switch (code) {
    case ErrorCode::kContextTooLong:
    case ErrorCode::kUnsupported:
      return FailureKind::kNotCapable;
    case ErrorCode::kTooManyRequests:
    case ErrorCode::kUnavailable:
    case ErrorCode::kResourceExhausted:
      return FailureKind::kOverloaded;
    case ErrorCode::kCancelled:
      return FailureKind::kClientLeft;
    case ErrorCode::kDeadlineExceeded:
      return is_over ? FailureKind::kDeadline : FailureKind::kFirstByteTimeout;
    case ErrorCode::kInternal:
    case ErrorCode::kIo:
    case ErrorCode::kCorruptFile:
      return FailureKind::kServerError;
    default:
      return FailureKind::kClientError;
  }
}

Answered FailedHere(Error error, bool is_over) {
  Answered answered;
  answered.kind = KindOf(error.code, is_over);
  answered.retry_after_ms = error.retry_after_ms;
  answered.failed_before_first_byte = std::move(error);
  return answered;
}

Answered FromRelayed(const Relayed& relayed, bool is_over) {
  Answered answered;
  answered.failed_before_first_byte = relayed.failed_before_first_byte;
  answered.failed_after_first_byte = relayed.failed_after_first_byte;
  if (const auto& failed = relayed.failed_before_first_byte.has_value()
                               ? relayed.failed_before_first_byte
                               : relayed.failed_after_first_byte) {
    answered.kind = KindOf(failed->code, is_over);
    answered.retry_after_ms = failed->retry_after_ms;
  }
  answered.usage = relayed.usage;
  answered.first_token_at = relayed.first_token_at;
  if (relayed.finish.has_value()) {
    answered.finish_reason = dialects::FinishReasonName(*relayed.finish);
  }
  return answered;
}

}  // namespace

Task<Answered> Gateway::AnswerHere(Call& call, const Order& order, const std::string& model,
                                   const AttemptTerms& terms) {
  const auto is_over = [&] { return clock_.Now() >= terms.deadlines.overall; };
  const std::string edited = order.is_edited ? order.text.Text() : std::string();
  Result<ParsedCall> parsed = co_await Parse(
      order.endpoint, order.is_edited ? edited : call.request().body, local_.workers());
  if (!parsed.has_value()) {
    co_return FailedHere(std::move(parsed).error(), is_over());
  }
  chat::Generation& generation = parsed->generation();
  generation.model = model;
  generation.deadline = terms.deadlines.overall;
  generation.cache_scope = call.caller == nullptr ? std::string() : call.caller->org_id;
  auto opened = co_await Open(local_, *parsed);
  if (!opened.has_value()) {
    co_return FailedHere(std::move(opened).error(), is_over());
  }
  const std::shared_ptr<providers::ChatStream> stream = std::move(*opened);

  const std::string id = RandomId(order.endpoint == Endpoint::kChat ? "chatcmpl-" : "cmpl-", 24);
  const std::shared_ptr<dialects::AnswerWriter> writer =
      MakeWriter({id, clock_.UnixSeconds(), model, stream->fingerprint(),
                  std::string(local_.slug()), RouteName(local_.slug(), model), terms.cost_is_known},
                 *parsed);
  for (const std::string& name : order.facts.provider.ignored) {
    parsed->ignored.push_back("provider." + name);
  }
  http::Headers headers = AnswerHeaders(call, id, local_.slug(), model, parsed->ignored);
  if (generation.stream) {
    SetStreamHeaders(headers);
    const Relayed relayed = co_await RelayStream(call.exchange, stream, *writer, std::move(headers),
                                                 clock_, terms.on_first_token);
    co_return FromRelayed(relayed, is_over());
  }
  RelayedWhole whole = co_await RelayWhole(call.exchange, stream, writer, local_.workers(), clock_,
                                           terms.on_first_token);
  if (!whole.failed_before_first_byte.has_value()) {
    headers.Set("Content-Type", "application/json");
    if (terms.cost_is_known) {
      headers.Set("x-tradewind-cost-nanousd", "0");
    }
    co_await Respond(call, {200, std::move(headers), std::move(whole.body)});
  }
  co_return FromRelayed(whole, is_over());
}

}  // namespace tradewind::gateway
