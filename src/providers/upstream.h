// One request to an upstream that speaks OpenAI's wire format, and its answer as it comes in:
// chunks with their own bytes, each read for what the router must know.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "dialects/wire_answer.h"
#include "http/sse.h"
#include "http/upstream.h"
#include "providers/quirks.h"

namespace tradewind::providers {

// An upstream as it is configured.
struct Upstream {
  std::string slug;  // in model strings, headers and metrics
  const Quirks* quirks = nullptr;
  http::Url base;
  bool allow_private = false;  // the operator chose this host and port
};

struct UpstreamOrder {
  Endpoint endpoint = Endpoint::kChat;
  std::string body;  // as PrepareRequest made it
  bool is_stream = false;
  std::string api_key;     // "" = none is sent
  std::string request_id;  // ours, so that both sides' logs can be joined
  http::UpstreamDeadlines deadlines;
};

// How an exchange with an upstream failed: facts, from which routing decides what comes next.
struct UpstreamFailure {
  enum class Stage {
    kConnect,     // nothing was sent that could have been acted on
    kNoHead,      // sent, but no answer began
    kStatus,      // it answered with an error status
    kGarbage,     // it answered 2xx with something that is no answer
    kErrorEvent,  // the stream said that it failed
    kCut,         // the answer ended before its end
    kCancelled,   // Cancel was called
  };
  Stage stage = Stage::kConnect;
  bool is_timeout = false;                // of kConnect, kNoHead, kCut: it was silent for too long
  int status = 0;                         // of kStatus
  Refusal refusal = Refusal::kByStatus;   // of kStatus
  dialects::WireError wire;               // of kStatus and kErrorEvent: what it said
  std::optional<int64_t> retry_after_ms;  // of kStatus
  Error error;  // for the log; the client gets it when no other route answers
};
template <class T>
using UpstreamResult = std::expected<T, UpstreamFailure>;

struct WireEvent {
  std::string data;           // the bytes of the chunk, or what replaces them
  dialects::WireChunk chunk;  // what it says
  bool done = false;          // the end; `data` is empty
};

// Lives on the event-loop thread that made it. Destroying it cancels.
class UpstreamExchange {
 public:
  UpstreamExchange(http::UpstreamClient& client, const Upstream& upstream, UpstreamOrder order);

  // Sends the request and waits for the head of an answer that is what was asked for.
  Task<UpstreamResult<void>> Open();
  // Of a stream: the next event. A stream is complete when it says [DONE], or when it ends after
  // every choice that it began has a finish reason: some upstreams say no [DONE].
  Task<UpstreamResult<WireEvent>> Next();
  // Next will not have to wait: its event has arrived.
  bool has_next() const { return !events_.empty(); }
  // Of an answer that is no stream.
  Task<UpstreamResult<dialects::WireWhole>> Whole();
  // Same thread; idempotent. A pending task ends with kCancelled.
  void Cancel();

  // What names the request in the provider's books; empty when it gave nothing.
  const std::string& upstream_request_id() const { return upstream_request_id_; }
  http::Reached reached() const { return call_->reached(); }

 private:
  UpstreamFailure Lost(const Error& error) const;
  Task<UpstreamFailure> Refused();
  UpstreamFailure Garbage(std::string what) const;
  Result<WireEvent> Read(const http::SseEvent& event);

  const Upstream& upstream_;
  UpstreamOrder order_;  // its body has gone into call_
  std::unique_ptr<http::UpstreamCall> call_;
  bool has_head_ = false;
  std::string upstream_request_id_;
  http::SseParser parser_;
  std::deque<http::SseEvent> events_;
  bool has_choices_ = false;
  bool has_finish_ = false;
};

}  // namespace tradewind::providers
