#include "providers/upstream.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/text.h"
#include "providers/retry_after.h"

namespace tradewind::providers {
namespace {

using Stage = UpstreamFailure::Stage;

constexpr std::string_view kSpace = " \t\r\n";

// Its body stays in the order.
http::UpstreamRequest HttpRequest(const Upstream& upstream, const UpstreamOrder& order) {
  http::UpstreamRequest request;
  request.url = upstream.base;
  request.target = upstream.quirks->Path(order.endpoint);
  if (!order.query.empty()) {
    request.target += "?" + order.query;
  }
  request.headers.Set("Content-Type", "application/json");
  request.headers.Set("Accept", order.is_stream ? "text/event-stream" : "application/json");
  Authorize(upstream, order.api_key, request.headers);
  request.headers.Set("x-request-id", order.request_id);
  if (!order.attempt_id.empty()) {
    request.headers.Set("x-client-request-id", order.attempt_id);
  }
  request.body = order.body;
  request.allow_private = upstream.allow_private;
  request.deadlines = order.deadlines;
  return request;
}

// That is no space; '\0': there is none.
char FirstOf(std::string_view body) {
  const size_t first = body.find_first_not_of(kSpace);
  return first == std::string_view::npos ? '\0' : body[first];
}

// Some servers keep a connection alive by these. An error without words is one all the same.
bool IsEmpty(const http::SseEvent& event) {
  return event.event != "error" && FirstOf(event.data) == '\0';
}

// The media type without its parameters; case does not count (RFC 9110, 8.3.1).
bool HasType(const http::Headers& headers, std::string_view wanted) {
  const std::string_view field = headers.Find("Content-Type").value_or(std::string_view());
  const std::string_view type = field.substr(0, field.find(';'));
  return AsciiLower(type.substr(0, type.find_last_not_of(" \t") + 1)) == wanted;
}

// Whatever stands under these may be events.
bool HasTypeOfAnswers(const http::Headers& headers) {
  constexpr std::array<std::string_view, 5> kAnswers = {"text/event-stream", "application/json",
                                                        "text/json", "text/plain", "text/html"};
  return std::ranges::any_of(kAnswers,
                             [&headers](std::string_view type) { return HasType(headers, type); });
}

// A key that is shorter is none ("none", "EMPTY"), and a word of its own.
constexpr size_t kSecretBytesMin = 8;

void Hide(std::string_view secret, std::string& text) {
  constexpr std::string_view kInstead = "[key]";
  if (secret.size() < kSecretBytesMin) {
    return;
  }
  for (size_t at = text.find(secret); at != std::string::npos;
       at = text.find(secret, at + kInstead.size())) {
    text.replace(at, secret.size(), kInstead);
  }
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

constexpr std::array kEndpoints = {Endpoint::kChat, Endpoint::kCompletions, Endpoint::kEmbeddings};

// The provider's, not that of the address that the config puts in its place.
std::string OwnPath(const Upstream& upstream, Endpoint endpoint) {
  const std::string_view path = upstream.quirks->Path(endpoint);
  if (path.empty()) {
    return {};
  }
  const std::string_view base = upstream.quirks->base_url;
  std::string_view prefix = upstream.base.target_prefix;
  if (!base.empty()) {
    const std::string_view host = base.substr(base.find("://") + 3);
    prefix = host.substr(std::min(host.find('/'), host.size()));
  }
  return fmt::format("{}{}", prefix, path).substr(1);
}

// OpenAI's own and those of its regions; Azure's by resource, of which one kind serves other
// models at another path.
bool IsOpenAi(const http::Url& base) {
  const std::string host = "." + base.host;
  return host.ends_with(".api.openai.com") || host.find(".openai.azure.") != std::string::npos ||
         (base.target_prefix.starts_with("/openai") &&
          (host.ends_with(".cognitiveservices.azure.com") ||
           host.ends_with(".services.ai.azure.com")));
}

}  // namespace

BoundName BoundNameAt(const Quirks& quirks, const http::Url& base) {
  return quirks.bound_name == BoundName::kUnclear && IsOpenAi(base)
             ? BoundName::kMaxCompletionTokens
             : quirks.bound_name;
}

bool MayBeAnyServer(const Quirks& quirks, const http::Url& base) {
  return quirks.may_be_any_server && !IsOpenAi(base);
}

void Authorize(const Upstream& upstream, std::string_view api_key, http::Headers& headers) {
  if (api_key.empty()) {
    return;
  }
  if (upstream.api_key_header.empty()) {
    const Auth& auth = upstream.quirks->auth;
    headers.Set(std::string(auth.header), fmt::format("{}{}", auth.prefix, api_key));
  } else {
    headers.Set(upstream.api_key_header, std::string(api_key));
  }
}

std::optional<Endpoint> EndpointAt(const Upstream& upstream, std::string_view own_path) {
  for (const Endpoint endpoint : kEndpoints) {
    if (!own_path.empty() && OwnPath(upstream, endpoint) == own_path) {
      return endpoint;
    }
  }
  return std::nullopt;
}

std::vector<std::string> OwnPaths(const Upstream& upstream) {
  std::vector<std::string> paths;
  for (const Endpoint endpoint : kEndpoints) {
    if (std::string path = OwnPath(upstream, endpoint); !path.empty()) {
      paths.push_back(std::move(path));
    }
  }
  return paths;
}

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
  failure.reached = call_->reached();
  failure.is_timeout = error.code == ErrorCode::kDeadlineExceeded;
  const auto now = std::chrono::steady_clock::now();
  failure.is_deadline = failure.is_timeout && now >= order_.deadlines.overall;
  const bool has_begun = has_head_ && !(failure.is_timeout && IsLate(now));
  if (error.code == ErrorCode::kCancelled) {
    failure.stage = Stage::kCancelled;
  } else if (has_begun) {
    failure.stage = Stage::kCut;
  } else if (call_->reached() == http::Reached::kNotSent) {
    failure.stage = Stage::kConnect;
  } else {
    failure.stage = Stage::kNoHead;
  }
  const bool is_ours = failure.is_timeout || error.code == ErrorCode::kCancelled;
  failure.error = {is_ours ? error.code : ErrorCode::kUpstreamFailed,
                   fmt::format("{}: {}", upstream_.slug, error.message)};
  return failure;
}

UpstreamFailure UpstreamExchange::Garbage(std::string what, Stage stage) const {
  UpstreamFailure failure;
  failure.stage = stage;
  failure.error = {
      ErrorCode::kUpstreamFailed,
      fmt::format("{} answered with something else than was asked for: {}.", upstream_.slug, what)};
  return WithoutKey(std::move(failure));
}

// An error that came with the status of an answer.
UpstreamFailure UpstreamExchange::GaveUp(std::string_view body, std::string_view message) const {
  UpstreamFailure failure;
  failure.stage = Stage::kErrorEvent;
  failure.wire = dialects::ReadWireError(0, body);
  // Instead of an answer it is what it would be with its own status.
  failure.status = is_visible_ ? 0 : StatusOf(failure.wire);
  if (failure.status > 0) {
    failure.stage = Stage::kStatus;
    failure.may_be_billed = upstream_.bills_refusals;
    failure.retry_after_ms = RetryAfterMs(call_->headers(), std::chrono::system_clock::now());
    failure.refusal = RefusalOf(*upstream_.quirks, failure.status, failure.wire);
  }
  failure.error = {ErrorCode::kUpstreamFailed,
                   fmt::format("{} gave up: {}", upstream_.slug, message)};
  return WithoutKey(std::move(failure));
}

// Some providers repeat what they were sent, and their words go to clients and into logs.
UpstreamFailure UpstreamExchange::WithoutKey(UpstreamFailure failure) const {
  for (std::string* text : {&failure.wire.message, &failure.wire.type, &failure.wire.param,
                            &failure.wire.code, &failure.error.message}) {
    Hide(order_.api_key, *text);
  }
  return failure;
}

Task<UpstreamFailure> UpstreamExchange::Refused() {
  UpstreamFailure failure;
  failure.stage = Stage::kStatus;
  failure.status = call_->status();
  failure.may_be_billed = upstream_.bills_refusals;
  failure.retry_after_ms = RetryAfterMs(call_->headers(), std::chrono::system_clock::now());
  const auto body = co_await http::ReadBody(*call_, limits::kUpstreamErrorBytesMax);
  if (!body.has_value() && body.error().code == ErrorCode::kCancelled) {
    co_return Lost(body.error());
  }
  failure.wire = dialects::ReadWireError(failure.status, body.value_or(std::string()));
  failure.refusal = RefusalOf(*upstream_.quirks, failure.status, failure.wire);
  failure.error = {ErrorCode::kUpstreamFailed,
                   fmt::format("{} answered with status {}: {}", upstream_.slug, failure.status,
                               failure.wire.message)};
  co_return WithoutKey(std::move(failure));
}

Task<UpstreamResult<void>> UpstreamExchange::Open() {
  if (const Status head = co_await call_->AwaitHead(); !head.has_value()) {
    co_return std::unexpected(Lost(head.error()));
  }
  has_head_ = true;
  order_.body = std::string();  // no memory is kept for it while the answer streams
  call_->ReadBy(order_.visible_by);
  const http::Headers& headers = call_->headers();
  const std::string_view id_header = upstream_.id_header.empty()
                                         ? upstream_.quirks->request_id_header
                                         : std::string_view(upstream_.id_header);
  if (const auto id = headers.Find(id_header); id.has_value()) {
    upstream_request_id_ = *id;
    Hide(order_.api_key, upstream_request_id_);
  }
  const int status = call_->status();
  if (status >= 300 && status < 400) {
    co_return std::unexpected(
        Garbage(fmt::format("a redirect ({}), which is never followed", status), Stage::kRedirect));
  }
  if (status < 200 || status > 299) {
    co_return std::unexpected(co_await Refused());
  }
  const bool has_no_type = headers.Find("Content-Type").value_or("").empty();
  if (HasType(headers, order_.is_stream ? "text/event-stream" : "application/json") ||
      (order_.is_stream && has_no_type)) {
    co_return UpstreamResult<void>();
  }
  co_return co_await ReadOther("");
}

// What has another type than was asked for may be an answer all the same, which is billed.
// `begin`: of the body, that has been read.
Task<UpstreamResult<void>> UpstreamExchange::ReadOther(std::string begin) {
  Result<std::string> body = co_await http::ReadBody(*call_, order_.answer_bytes_max);
  if (!body.has_value() && body.error().code == ErrorCode::kPayloadTooLarge) {
    co_return std::unexpected(Garbage(body.error().message));
  }
  if (!body.has_value()) {
    co_return std::unexpected(Lost(body.error()));
  }
  body->insert(0, begin);
  const char first = FirstOf(*body);
  // Some servers give JSON this type. A page that says whose request it was stands for an answer.
  if (first == '<' && HasType(call_->headers(), "text/html") && upstream_request_id_.empty()) {
    UpstreamFailure failure = Garbage("a web page");
    failure.is_page = true;
    co_return std::unexpected(std::move(failure));
  }
  if (first != '{' && HasTypeOfAnswers(call_->headers())) {
    co_return TakeEvents(*body);
  }
  auto whole = dialects::ReadWireWhole(std::move(*body), KindOf(order_.endpoint));
  if (!whole.has_value()) {
    co_return std::unexpected(Garbage(order_.is_stream ? "no event stream" : "no JSON"));
  }
  co_return TakeAnswer(std::move(*whole));
}

UpstreamResult<void> UpstreamExchange::TakeAnswer(dialects::WireWhole whole) {
  if (whole.error.has_value()) {
    return std::unexpected(GaveUp(whole.body, *whole.error));
  }
  if (!order_.is_stream) {
    whole_ = std::move(whole);
    return {};
  }
  for (std::string& chunk : dialects::ChunksOf(whole.body)) {
    events_.push_back({.event = "", .data = std::move(chunk), .id = ""});
  }
  events_.push_back({.event = "", .data = "[DONE]", .id = ""});
  return {};
}

UpstreamResult<void> UpstreamExchange::TakeEvents(std::string_view body) {
  std::vector<http::SseEvent> events;
  const bool is_stream = parser_.Push(body, events).has_value();
  std::erase_if(events, IsEmpty);
  if (!is_stream || events.empty()) {
    return std::unexpected(Garbage(order_.is_stream ? "no event stream" : "no JSON"));
  }
  if (order_.is_stream) {
    events_ = std::move(events);
    return {};
  }
  // One answer of many events is not made here: what it used is settled, and it is asked once.
  UpstreamFailure failure = Garbage("a stream", Stage::kOtherForm);
  const auto is_end = [](const http::SseEvent& event) { return event.data.starts_with("[DONE]"); };
  const bool is_said = std::ranges::any_of(events, is_end);
  int64_t prompt = 0;  // the most that any event has said
  for (const http::SseEvent& event : events) {
    const Result<WireEvent> read = Read(event);
    if (!read.has_value()) {
      continue;  // [DONE]
    }
    if (read->chunk.error.has_value()) {
      return std::unexpected(GaveUp(event.data, *read->chunk.error));
    }
    if (read->chunk.usage.has_value() || read->chunk.has_content) {
      // Of several choices one that comes with a choice may be its own.
      const bool is_last =
          (is_said || choices_.have_ended()) && (order_.choices == 1 || !read->chunk.has_choices);
      failure.wire.usage = is_last ? read->chunk.usage : std::nullopt;
      prompt =
          std::max(prompt, read->chunk.usage.has_value() ? read->chunk.usage->input_tokens : 0);
    }
  }
  if (failure.wire.usage.has_value()) {
    failure.wire.usage->input_tokens = std::max(prompt, failure.wire.usage->input_tokens);
  }
  if (!choices_.have_begun()) {
    failure.stage = Stage::kGarbage;
  }
  return std::unexpected(std::move(failure));
}

Result<WireEvent> UpstreamExchange::Read(const http::SseEvent& event) {
  WireEvent out;
  if (event.event == "error") {
    out.chunk.error = dialects::ReadWireError(0, event.data).message;
    return out;
  }
  TW_ASSIGN_OR_RETURN(dialects::WireChunk chunk, dialects::ReadWireChunk(event.data, &choices_));
  if (!is_visible_ && (chunk.has_content || !chunk.finish_reason.empty())) {
    is_visible_ = true;
    call_->ReadBy(std::chrono::steady_clock::time_point::max());
  }
  out.data = chunk.rewritten.has_value() ? std::move(*chunk.rewritten) : event.data;
  chunk.rewritten.reset();
  out.choices_ended = choices_.ended();
  has_calls_ |= chunk.has_calls;
  out.chunk = std::move(chunk);
  return out;
}

// `is_said`: by [DONE], behind which what has begun has ended, though some never say why; otherwise
// the body is over, as it is too when something between has broken off between two choices.
UpstreamResult<WireEvent> UpstreamExchange::End(bool is_said) {
  if (!choices_.have_begun()) {
    return std::unexpected(Garbage("a stream without an answer"));
  }
  WireEvent end;
  if (is_said && is_visible_ && choices_.EndAll()) {
    end.chunk.finish_reason = has_calls_ ? "tool_calls" : "stop";
  }
  if (!choices_.have_ended() || (!is_said && choices_.ended() < order_.choices)) {
    return std::unexpected(
        Lost({ErrorCode::kUnavailable, "the stream ended before the answer did"}));
  }
  end.done = true;
  end.choices_ended = choices_.ended();
  return end;
}

Task<UpstreamResult<WireEvent>> UpstreamExchange::Next() {
  if (!ready_.empty()) {
    WireEvent event = std::move(ready_.front());
    ready_.pop_front();
    co_return event;
  }
  co_return co_await ReadNext();
}

Task<UpstreamResult<void>> UpstreamExchange::AwaitVisible() {
  if (!order_.is_stream) {
    UpstreamResult<dialects::WireWhole> whole = co_await Whole();
    if (!whole.has_value()) {
      co_return std::unexpected(std::move(whole).error());
    }
    whole_ = std::move(*whole);
    co_return UpstreamResult<void>();
  }
  do {
    UpstreamResult<WireEvent> event = co_await ReadNext();
    if (!event.has_value()) {
      co_return std::unexpected(std::move(event).error());
    }
    ready_.push_back(std::move(*event));
  } while (!ready_.back().is_visible());  // ReadNext bounds what nobody would see
  co_return UpstreamResult<void>();
}

Task<UpstreamResult<WireEvent>> UpstreamExchange::ReadNext() {
  while (read_ == events_.size()) {
    if (IsLate(std::chrono::steady_clock::now())) {
      co_return std::unexpected(
          Lost({ErrorCode::kDeadlineExceeded, "nothing but signs of life came in time"}));
    }
    const Result<std::string_view> bytes = co_await call_->Read();
    if (!bytes.has_value()) {
      co_return std::unexpected(Lost(bytes.error()));
    }
    if (bytes->empty()) {
      co_return End(false);
    }
    events_ = std::vector<http::SseEvent>();
    read_ = 0;
    const char first = has_begun_ ? '\0' : FirstOf(*bytes);
    has_begun_ |= first != '\0';
    if (first == '{') {  // no event begins so
      if (auto other = co_await ReadOther(std::string(*bytes)); !other.has_value()) {
        co_return std::unexpected(std::move(other).error());
      }
      continue;
    }
    if (const Status parsed = parser_.Push(*bytes, events_); !parsed.has_value()) {
      co_return std::unexpected(Garbage(parsed.error().message));
    }
    std::erase_if(events_, IsEmpty);
  }
  const http::SseEvent event = std::move(events_[read_]);
  if (++read_ == events_.size()) {
    events_ = std::vector<http::SseEvent>();
    read_ = 0;
  }
  if (event.data.starts_with("[DONE]")) {
    co_return End(true);
  }
  Result<WireEvent> read = Read(event);
  if (!read.has_value()) {
    co_return std::unexpected(Garbage(read.error().message));
  }
  if (read->chunk.error.has_value()) {
    co_return std::unexpected(GaveUp(event.data, *read->chunk.error));
  }
  if (!is_visible_) {
    // Whoever reads holds these back, so that another route can still answer. One may be large: it
    // may repeat the prompt's ids.
    if (unseen_bytes_ > limits::kUpstreamUnseenBytesMax) {
      co_return std::unexpected(
          Garbage(fmt::format("nothing to see in {} bytes of events", unseen_bytes_)));
    }
    unseen_bytes_ += read->data.size();
  }
  co_return std::move(*read);
}

Task<void> UpstreamExchange::ReadRest() {
  call_->ReadBy(std::chrono::steady_clock::now() +
                std::chrono::milliseconds(limits::kUpstreamEndMs));
  size_t bytes = 0;
  while (bytes <= limits::kUpstreamEndBytesMax) {
    const Result<std::string_view> rest = co_await call_->Read();
    if (!rest.has_value() || rest->empty()) {
      co_return;
    }
    bytes += rest->size();
  }
}

Task<UpstreamResult<dialects::WireWhole>> UpstreamExchange::Whole() {
  if (whole_.has_value()) {
    co_return std::move(*std::exchange(whole_, std::nullopt));
  }
  Result<std::string> body = co_await http::ReadBody(*call_, order_.answer_bytes_max);
  if (!body.has_value()) {
    co_return std::unexpected(Lost(body.error()));
  }
  auto whole = dialects::ReadWireWhole(std::move(*body), KindOf(order_.endpoint));
  if (!whole.has_value()) {
    co_return std::unexpected(Garbage(whole.error().message));
  }
  if (whole->error.has_value()) {
    co_return std::unexpected(GaveUp(whole->body, *whole->error));
  }
  co_return std::move(*whole);
}

}  // namespace tradewind::providers
