// The client side: requests to upstreams on the event loop of who asks, over kept connections.
// Source: RFC 9110, RFC 9112. No redirect is ever followed.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "http/http.h"
#include "http/resolver.h"
#include "http/url.h"

namespace tradewind::http {

struct UpstreamDeadlines {
  int64_t connect_ms = limits::kUpstreamConnectMs;  // name, connection and TLS together
  // From the whole request sent to the whole head; also without progress while it is being sent.
  int64_t first_byte_ms = limits::kUpstreamFirstByteMs;
  int64_t idle_ms = limits::kUpstreamIdleMs;  // between two arrivals of the body
  // Of everything together; the caller's own deadline.
  std::chrono::steady_clock::time_point overall = std::chrono::steady_clock::time_point::max();
};

struct UpstreamRequest {
  Url url;
  std::string method = "POST";
  std::string target;  // behind url.target_prefix: "/chat/completions", with a query if any
  // Host, Content-Length, Accept-Encoding and Connection are ours; User-Agent is added if missing.
  Headers headers;
  std::string_view body;  // must live until AwaitHead has returned
  // The host and port of `url` are an operator's own choice: they may be loopback or private, and
  // plain http. Never link-local or a metadata service.
  bool allow_private = false;
  UpstreamDeadlines deadlines;
};

// How far a request came, for failover and for the bill.
enum class Reached {
  kNotSent,  // the upstream cannot have got the whole request: nothing was done, nothing is owed
  kSent,     // it may have; what it did is unknown
  kHead,     // it answered
};

// One request and its answer, on the loop where it was started. One task at a time is awaited; the
// object must outlive it. Destroying it gives the connection back when the answer was read to its
// end, and closes it otherwise.
class UpstreamCall {
 public:
  virtual ~UpstreamCall() = default;

  // Sends the request and reads the head of the final response (1xx are skipped). Once. Errors:
  // kInvalidArgument (a field that HTTP does not allow), kPermissionDenied (the address policy),
  // kUnavailable (name, connection, TLS, cut), kIo (the answer is not HTTP), kPayloadTooLarge (its
  // head), kUnsupported (its coding), kDeadlineExceeded, kCancelled. A kept connection that turns
  // out closed is replaced by a new one, once, as long as the request cannot have been received.
  virtual Task<Status> AwaitHead() = 0;

  // After AwaitHead succeeded. Content-Encoding and Content-Length are gone if we decoded the body.
  virtual int status() const = 0;
  virtual const Headers& headers() const = 0;

  // The next bytes of the body, valid until the next call; empty = the complete end, and again if
  // called again. Reads no more than it gives. Errors: kUnavailable (cut: names how many bytes
  // came), kIo (framing or compression is broken), kPayloadTooLarge (inflates to far too much),
  // kDeadlineExceeded (stalled), kCancelled; after one it only repeats.
  virtual Task<Result<std::string_view>> Read() = 0;

  // From the next Read on: it fails with kDeadlineExceeded at `by` when nothing has arrived, until
  // another time is set; max() = the deadlines alone count. A time in the past lets it give what is
  // there already.
  virtual void ReadBy(std::chrono::steady_clock::time_point by) = 0;

  // Closes the connection at once; a pending task ends with kCancelled. Idempotent, also after the
  // end. This thread.
  virtual void Cancel() = 0;

  virtual Reached reached() const = 0;
  virtual bool used_kept_connection() const = 0;
  virtual int64_t body_bytes_received() const = 0;  // as sent by the upstream, without framing
};

struct UpstreamOptions {
  ResolveFunction resolve = ResolveBySystem;
  std::string ca_file;  // trusted beside the system's; SSL_CERT_FILE replaces the system's
  // Of one event loop.
  int64_t idle_per_host_max = limits::kUpstreamIdlePerHostMax;
  int64_t idle_max = limits::kUpstreamIdleConnectionsMax;
  // An unused connection is closed then, or a second before the time its Keep-Alive field names.
  int64_t idle_keep_ms = limits::kUpstreamKeepMs;
};

struct UpstreamStats {
  int64_t connections_opened = 0;
  int64_t connections_reused = 0;
  int64_t connections_in_use = 0;
  int64_t connections_idle = 0;
  int64_t retries = 0;  // of requests on kept connections that turned out closed
};

// Thread-safe; outlives its calls. Connections belong to the event loop that opened them.
class UpstreamClient {
 public:
  static std::unique_ptr<UpstreamClient> Create(UpstreamOptions options = {});
  virtual ~UpstreamClient() = default;

  // On an event loop. Does nothing yet: AwaitHead does.
  virtual std::unique_ptr<UpstreamCall> Start(UpstreamRequest request) = 0;
  virtual UpstreamStats stats() const = 0;
  // Closes unused connections, and lets no call begin any more (kUnavailable); running ones end by
  // themselves. Any thread.
  virtual void Shutdown() = 0;
};

// The whole body. Errors: those of Read; kPayloadTooLarge.
Task<Result<std::string>> ReadBody(UpstreamCall& call, int64_t bytes_max);

}  // namespace tradewind::http
