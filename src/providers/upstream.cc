#include "providers/upstream.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/text.h"

namespace tradewind::providers {
namespace {

using Stage = UpstreamFailure::Stage;

// Takes the body out of the order.
http::UpstreamRequest HttpRequest(const Upstream& upstream, UpstreamOrder& order) {
  http::UpstreamRequest request;
  request.url = upstream.base;
  request.target = upstream.quirks->Path(order.endpoint);
  request.headers.Set("Content-Type", "application/json");
  request.headers.Set("Accept", order.is_stream ? "text/event-stream" : "application/json");
  if (!order.api_key.empty()) {
    request.headers.Set("Authorization", "Bearer " + order.api_key);
  }
  request.headers.Set("x-request-id", order.request_id);
  request.body = std::move(order.body);
  request.allow_private = upstream.allow_private;
  request.deadlines = order.deadlines;
  return request;
}

// The media type without its parameters; case does not count (RFC 9110, 8.3.1).
bool HasType(const http::Headers& headers, std::string_view wanted) {
  const std::string_view field = headers.Find("Content-Type").value_or(std::string_view());
  const std::string_view type = field.substr(0, field.find(';'));
  return AsciiLower(type.substr(0, type.find_last_not_of(" \t") + 1)) == wanted;
}

// Seconds; the form with a date is rare and is left alone.
std::optional<int64_t> RetryAfterMs(const http::Headers& headers) {
  const auto text = headers.Find("Retry-After");
  int64_t seconds = 0;
  if (!text.has_value() ||
      std::from_chars(text->data(), text->data() + text->size(), seconds).ec != std::errc() ||
      seconds < 0) {
    return std::nullopt;
  }
  return std::min<int64_t>(seconds, 86'400) * 1000;
}

dialects::WireKind KindOf(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kChat:
      return dialects::WireKind::kChat;
    case Endpoint::kCompletions:
      return dialects::WireKind::kCompletion;
    case Endpoint::kEmbeddings:
      return dialects::WireKind::kEmbeddings;
  }
  return dialects::WireKind::kChat;
}

}  // namespace

UpstreamExchange::UpstreamExchange(http::UpstreamClient& client, const Upstream& upstream,
                                   UpstreamOrder order)
    : upstream_(upstream),
      order_(std::move(order)),
      call_(client.Start(HttpRequest(upstream_, order_))) {}

void UpstreamExchange::Cancel() {
  call_->Cancel();
}

// The connection failed, or the answer stopped before its end.
UpstreamFailure UpstreamExchange::Lost(const Error& error) const {
  UpstreamFailure failure;
  failure.is_timeout = error.code == ErrorCode::kDeadlineExceeded;
  if (error.code == ErrorCode::kCancelled) {
    failure.stage = Stage::kCancelled;
  } else if (has_head_) {
    failure.stage = Stage::kCut;
  } else if (call_->reached() == http::Reached::kNotSent) {
    failure.stage = Stage::kConnect;
  } else {
    failure.stage = Stage::kNoHead;
  }
  failure.error = {failure.is_timeout ? ErrorCode::kDeadlineExceeded : ErrorCode::kUpstreamFailed,
                   fmt::format("{}: {}", upstream_.slug, error.message)};
  return failure;
}

UpstreamFailure UpstreamExchange::Garbage(std::string what) const {
  UpstreamFailure failure;
  failure.stage = Stage::kGarbage;
  failure.error = {
      ErrorCode::kUpstreamFailed,
      fmt::format("{} answered with something else than was asked for: {}.", upstream_.slug, what)};
  return failure;
}

Task<UpstreamFailure> UpstreamExchange::Refused() {
  UpstreamFailure failure;
  failure.stage = Stage::kStatus;
  failure.status = call_->status();
  failure.retry_after_ms = RetryAfterMs(call_->headers());
  const auto body = co_await http::ReadBody(*call_, limits::kUpstreamErrorBytesMax);
  if (!body.has_value() && body.error().code == ErrorCode::kCancelled) {
    co_return Lost(body.error());
  }
  failure.wire = dialects::ReadWireError(failure.status, body.value_or(std::string()));
  failure.refusal = RefusalOf(*upstream_.quirks, failure.status, failure.wire);
  failure.error = {ErrorCode::kUpstreamFailed,
                   fmt::format("{} answered with status {}: {}", upstream_.slug, failure.status,
                               failure.wire.message)};
  co_return failure;
}

Task<UpstreamResult<void>> UpstreamExchange::Open() {
  if (const Status head = co_await call_->AwaitHead(); !head.has_value()) {
    co_return std::unexpected(Lost(head.error()));
  }
  has_head_ = true;
  const http::Headers& headers = call_->headers();
  if (const auto id = headers.Find(upstream_.quirks->request_id_header); id.has_value()) {
    upstream_request_id_ = *id;
  }
  const int status = call_->status();
  if (status >= 300 && status < 400) {
    co_return std::unexpected(
        Garbage(fmt::format("a redirect ({}), which is never followed", status)));
  }
  if (status != 200 && status != 201) {
    co_return std::unexpected(co_await Refused());
  }
  if (order_.is_stream && !HasType(headers, "text/event-stream")) {
    co_return std::unexpected(Garbage("no event stream"));
  }
  if (!order_.is_stream && !HasType(headers, "application/json")) {
    co_return std::unexpected(Garbage("no JSON"));
  }
  co_return UpstreamResult<void>();
}

Result<WireEvent> UpstreamExchange::Read(const http::SseEvent& event) {
  TW_ASSIGN_OR_RETURN(dialects::WireChunk chunk, dialects::ReadWireChunk(event.data));
  has_choices_ |= chunk.has_choices;
  has_finish_ |= !chunk.finish_reason.empty();
  WireEvent out;
  out.data = chunk.rewritten.has_value() ? std::move(*chunk.rewritten) : event.data;
  chunk.rewritten.reset();
  out.chunk = std::move(chunk);
  return out;
}

Task<UpstreamResult<WireEvent>> UpstreamExchange::Next() {
  while (events_.empty()) {
    const Result<std::string_view> bytes = co_await call_->Read();
    if (!bytes.has_value()) {
      co_return std::unexpected(Lost(bytes.error()));
    }
    if (bytes->empty()) {
      if (!has_choices_) {
        co_return std::unexpected(Garbage("a stream without an answer"));
      }
      if (!has_finish_) {
        co_return std::unexpected(
            Lost({ErrorCode::kUnavailable, "the stream ended before the answer did"}));
      }
      WireEvent end;
      end.done = true;
      co_return end;
    }
    std::vector<http::SseEvent> arrived;
    if (const Status parsed = parser_.Push(*bytes, arrived); !parsed.has_value()) {
      co_return std::unexpected(Garbage(parsed.error().message));
    }
    std::move(arrived.begin(), arrived.end(), std::back_inserter(events_));
  }
  const http::SseEvent event = std::move(events_.front());
  events_.pop_front();
  if (event.data.starts_with("[DONE]")) {
    if (!has_choices_) {
      co_return std::unexpected(Garbage("a stream without an answer"));
    }
    WireEvent end;
    end.done = true;
    co_return end;
  }
  Result<WireEvent> read = Read(event);
  if (!read.has_value()) {
    co_return std::unexpected(Garbage(read.error().message));
  }
  if (read->chunk.error.has_value()) {
    UpstreamFailure failure;
    failure.stage = Stage::kErrorEvent;
    failure.wire = dialects::ReadWireError(0, event.data);
    failure.error = {ErrorCode::kUpstreamFailed,
                     fmt::format("{} gave up: {}", upstream_.slug, *read->chunk.error)};
    co_return std::unexpected(std::move(failure));
  }
  co_return std::move(*read);
}

Task<UpstreamResult<dialects::WireWhole>> UpstreamExchange::Whole() {
  Result<std::string> body = co_await http::ReadBody(*call_, limits::kClientBodyBytesMax);
  if (!body.has_value()) {
    co_return std::unexpected(Lost(body.error()));
  }
  auto whole = dialects::ReadWireWhole(std::move(*body), KindOf(order_.endpoint));
  if (!whole.has_value()) {
    co_return std::unexpected(Garbage(whole.error().message));
  }
  co_return std::move(*whole);
}

}  // namespace tradewind::providers
