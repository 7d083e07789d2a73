// One connection to an upstream, plain or TLS; on one event loop for its whole life. Knows no HTTP.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "http/address_policy.h"
#include "http/event_loop.h"
#include "http/http.h"
#include "http/tls_client.h"

namespace tradewind::http {

class UpstreamConnection {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  enum class Got {
    kBytes,
    kNothingYet,
    kEnd,    // the upstream ended the stream in order
    kReset,  // cut: a reset, or TLS that ended without saying so
  };
  struct ReadOutcome {
    Got got = Got::kReset;
    size_t bytes = 0;
  };
  enum class Sent {
    kAll,
    kAnswered,  // the upstream answers, or closed, before it took everything
    kBroken,
  };

  static std::shared_ptr<UpstreamConnection> Create(EventLoop& loop);
  virtual ~UpstreamConnection() = default;

  // One task at a time. Errors of all: kUnavailable, kDeadlineExceeded, kCancelled (Close was
  // called meanwhile).
  virtual Task<Status> Connect(const IpAddress& address, uint16_t port, Deadline deadline) = 0;
  virtual Task<Status> StartTls(std::shared_ptr<TlsClient> tls, const std::string& host,
                                const std::string& authority, Deadline deadline) = 0;
  // Both in one piece where possible. `progress_ms` bounds each wait for room, `deadline` all.
  virtual Task<Result<Sent>> Send(std::string_view head, std::string_view body, int64_t progress_ms,
                                  Deadline deadline) = 0;
  virtual Task<Status> AwaitReadable(Deadline deadline) = 0;

  // Never waits.
  virtual ReadOutcome Read(char* bytes, size_t size) = 0;
  // True when neither bytes nor an end have arrived: an unused connection is good only then.
  virtual bool IsQuiet() = 0;
  // Before a message is sent: what NothingAcknowledged is about. That says true only when the
  // peer's TCP has acknowledged no byte of it. Together with an end that the peer sent (kEnd) it
  // proves that the peer closed before the message arrived.
  virtual void BeginMessage() = 0;
  virtual bool NothingAcknowledged() = 0;

  virtual bool is_tls() const = 0;
  virtual bool tls_session_was_reused() const = 0;
  virtual void SayGoodbye() = 0;  // before closing a connection in order
  virtual void Close() = 0;       // idempotent; ends the task that waits
  virtual bool is_closed() const = 0;
};

}  // namespace tradewind::http
