// One request to an upstream that speaks OpenAI's wire format, and its answer as it comes in:
// chunks with their own bytes, each read for what the router must know.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
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
  PrefixForm prefix = PrefixForm::kNone;
  BoundName bound_name = BoundName::kAsSaid;
  bool may_be_any_server = false;
  std::string api_key_header = {};  // the key stands there, alone; "" = as its kind wants it
  std::string id_header = {};       // instead of its kind's; "" = that one
  bool keeps_own_ids = false;       // attempts' ids are sent along
  bool bills_on = false;            // the whole answer, also when its reader leaves
  bool bills_refusals = false;      // 4xx of what was asked: what it had read
  std::vector<std::string> harmless_fields = {};  // in lower case: they cost nothing
  bool price_varies = false;                      // from request to request, up to the catalogue's
};

// As its kind does; a server at an address of OpenAI or of Azure OpenAI as these do.
BoundName BoundNameAt(const Quirks& quirks, const http::Url& base);
bool MayBeAnyServer(const Quirks& quirks, const http::Url& base);

// Puts a key where the upstream looks for it; an empty one nowhere.
void Authorize(const Upstream& upstream, std::string_view api_key, http::Headers& headers);

// Which endpoint stands at the provider's own path ("v1/chat/completions", as the provider's own
// clients ask for it), whatever address the config gives; nothing for other paths.
std::optional<Endpoint> EndpointAt(const Upstream& upstream, std::string_view own_path);
// Those paths, to name them in errors.
std::vector<std::string> OwnPaths(const Upstream& upstream);

struct UpstreamOrder {
  Endpoint endpoint = Endpoint::kChat;
  std::string body;  // as PrepareRequest made it
  bool is_stream = false;
  int64_t choices = 1;     // that were asked for
  std::string api_key;     // "" = none is sent
  std::string request_id;  // ours, so that both sides' logs can be joined
  http::UpstreamDeadlines deadlines;
  // Of a stream: until then there must be something that a reader would see. Comments and chunks
  // that only name a role keep a connection alive; they are no beginning of an answer.
  std::chrono::steady_clock::time_point visible_by = std::chrono::steady_clock::time_point::max();
  int64_t answer_bytes_max = limits::kAnswerBytesMax;  // of one that is no stream
  std::string query = {};                              // without '?'; "" = none
  // What we call this attempt, for a provider that keeps it with its bill; "" = it is not sent.
  std::string attempt_id = {};
};

// How an exchange with an upstream failed: facts, from which routing decides what comes next. The
// upstream's own words are in it without the key that it was sent.
struct UpstreamFailure {
  enum class Stage {
    kConnect,     // nothing was sent that could have been acted on
    kNoHead,      // sent, but no answer began: no head, or nothing to see after it
    kStatus,      // it answered with an error status, or said one in an answer's place
    kRedirect,    // it answered 3xx
    kGarbage,     // it answered 2xx with something that is no answer
    kErrorEvent,  // the stream said that it failed
    kOtherForm,   // it answered all of it, in a form that was not asked for
    kCut,         // the answer ended before its end
    kCancelled,   // Cancel was called
  };
  Stage stage = Stage::kConnect;
  http::Reached reached = http::Reached::kHead;
  bool is_timeout = false;                // of kConnect, kNoHead, kCut: it was silent for too long
  bool is_deadline = false;               // and that was the request's own end
  bool is_page = false;                   // of kGarbage: it was a web page
  int status = 0;                         // of kStatus
  bool may_be_billed = false;             // of kStatus: the provider bills what it refuses
  Refusal refusal = Refusal::kByStatus;   // of kStatus
  dialects::WireError wire;               // what it said, and what that used
  std::optional<int64_t> retry_after_ms;  // of kStatus
  Error error;  // for the log; the client gets it when no other route answers
};
template <class T>
using UpstreamResult = std::expected<T, UpstreamFailure>;

struct WireEvent {
  std::string data;           // the bytes of the chunk, or what replaces them
  dialects::WireChunk chunk;  // what it says
  // The end; `data` is empty, and the chunk says nothing but a finish reason that never came.
  bool done = false;
  int64_t choices_ended = 0;  // by then, if none of those that have begun is open

  // A reader would see it: text, a tool call, or the end.
  bool is_visible() const { return done || chunk.has_content || !chunk.finish_reason.empty(); }
};

// Lives on the event-loop thread that made it. Destroying it cancels.
class UpstreamExchange {
 public:
  UpstreamExchange(http::UpstreamClient& client, const Upstream& upstream, UpstreamOrder order);

  // Sends the request and waits for the head of an answer that is what was asked for. What comes
  // under another type is read whole: an answer to a stream's request is its only events. So is,
  // in Next, a whole answer that has the type of a stream, or none.
  Task<UpstreamResult<void>> Open();
  // Of a stream: the next event. A stream is complete when it says [DONE] after there was something
  // to see: some upstreams give no finish reason. It is too when it ends without [DONE] after every
  // choice that it began has a finish reason, and as many are there as were asked for. It is
  // garbage when it goes on after limits::kUpstreamUnseenBytesMax of events without anything to
  // see.
  Task<UpstreamResult<WireEvent>> Next();
  // Waits until there is something that a reader would see: an event of a stream, or the whole
  // answer. Next and Whole give all of it.
  Task<UpstreamResult<void>> AwaitVisible();
  // After the end of a stream: reads what is left of the body, so that the connection can be kept.
  // Within limits::kUpstreamEndMs; what takes longer costs the connection.
  Task<void> ReadRest();
  // Next will not have to wait: its event has arrived.
  bool has_next() const { return !ready_.empty() || read_ < events_.size(); }
  // Of an answer that is no stream.
  Task<UpstreamResult<dialects::WireWhole>> Whole();
  // Same thread; idempotent. A pending task ends with kCancelled.
  void Cancel();

  // Of a stream whose reader has left: what comes until then is read, and nothing later.
  void ReadBy(std::chrono::steady_clock::time_point by) { call_->ReadBy(by); }

  // What names the request in the provider's books; empty when it gave nothing.
  const std::string& upstream_request_id() const { return upstream_request_id_; }
  http::Reached reached() const { return call_->reached(); }

 private:
  bool IsLate(std::chrono::steady_clock::time_point now) const {
    return !is_visible_ && now >= order_.visible_by;
  }
  UpstreamFailure Lost(const Error& error) const;
  Task<UpstreamFailure> Refused();
  UpstreamFailure Garbage(std::string what,
                          UpstreamFailure::Stage stage = UpstreamFailure::Stage::kGarbage) const;
  UpstreamFailure GaveUp(std::string_view body, std::string_view message) const;
  Task<UpstreamResult<void>> ReadOther(std::string begin);
  UpstreamResult<void> TakeAnswer(dialects::WireWhole whole);
  UpstreamResult<void> TakeEvents(std::string_view body);
  UpstreamFailure WithoutKey(UpstreamFailure failure) const;
  Result<WireEvent> Read(const http::SseEvent& event);
  Task<UpstreamResult<WireEvent>> ReadNext();
  UpstreamResult<WireEvent> End(bool is_said);

  const Upstream& upstream_;
  UpstreamOrder order_;  // without its body once the head is here
  std::unique_ptr<http::UpstreamCall> call_;
  bool has_head_ = false;
  std::string upstream_request_id_;
  http::SseParser parser_;
  std::vector<http::SseEvent> events_;        // that arrived together; no memory once all are read
  size_t read_ = 0;                           // of events_
  bool has_begun_ = false;                    // of a stream: its first byte is here
  std::list<WireEvent> ready_;                // read by AwaitVisible, before the rest of events_
  std::optional<dialects::WireWhole> whole_;  // likewise
  dialects::WireChoices choices_;
  bool is_visible_ = false;  // there was something that a reader would see
  bool has_calls_ = false;   // of tools
  size_t unseen_bytes_ = 0;  // of events until then
};

}  // namespace tradewind::providers
