// The listener: HTTP/1.1 with keep-alive on N event-loop threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/limits.h"
#include "http/http.h"

namespace tradewind::http {

struct ServerOptions {
  std::string host =
      "127.0.0.1";       // an IPv4 or IPv6 address ("::" takes both families) or "localhost"
  uint16_t port = 8737;  // 0 = pick a free one
  int threads = 1;       // event loops; one of them accepts and deals the connections out in turn
  // A TCP socket that listens already, instead of host and port; the server's from Start on,
  // whether that succeeds or not. -1 = open one.
  int listener = -1;

  // Bounds, here so that tests can lower them.
  int64_t header_bytes_max = limits::kHeaderBytesMax;  // beyond it 431
  int64_t body_bytes_max = limits::kBodyBytesMax;      // beyond it 413
  // Of all bodies together, but for the uncounted first part of each; beyond it 503.
  int64_t body_bytes_in_flight_max = limits::kBodyBytesInFlightMax;
  int64_t body_bytes_uncounted = limits::kBodyBytesUncounted;
  // Beyond it clients wait in the backlog. Lowered where the process may not open enough files.
  int64_t connections_max = limits::kConnectionsMax;
  int64_t read_head_deadline_ms =
      limits::kReadHeadDeadlineMs;  // from the first byte; 408. Also the idle time
  int64_t read_body_deadline_ms = limits::kReadBodyDeadlineMs;  // from the end of the head; 408
  int64_t write_deadline_ms =
      limits::kWriteDeadlineMs;           // without any progress; the connection is cut
  int64_t linger_ms = limits::kLingerMs;  // reading on after a refusal, so that it arrives
};

struct ListenerAddress {
  std::string host;  // "127.0.0.1", "::"
  uint16_t port = 0;
};

// Where a socket that another process has opened listens. Errors: kInvalidArgument when it is not a
// TCP socket that listens.
Result<ListenerAddress> AddressOfListener(int listener);

class Server {
 public:
  // Binds and starts to accept. Errors: kAddressInUse (names the port), kInvalidArgument (host),
  // kIo. `on_error` turns an error of the protocol itself (bad head, body too large, no room for
  // it, deadline) into a response: so that one table decides the body of every error. The status
  // of these is the protocol's (400, 408, 413, 431, 501, 503) whatever it gives; for a handler
  // that threw or did not answer (kInternal) its own status holds. Called on the event loops. A
  // response with `Connection: close` closes its connection. The handler, and what it refers to,
  // must outlive the server.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, Handler handler,
                                               std::function<Response(const Error&)> on_error);
  // Stops at once and joins. Handlers that are still suspended are destroyed where they wait, on
  // this thread: only their destructors run.
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;
  virtual int64_t connections() const = 0;
  // For handing it to another process; the server's own, and closed by Drain.
  virtual int listener() const = 0;
  // Whether to accept: otherwise clients that connect wait in the socket's queue, where another
  // process that has the socket may take them. Any thread; a connection that is just being accepted
  // still is.
  virtual void SetAccepting(bool accepts) = 0;
  // Stops accepting, closes idle connections, lets running exchanges finish (answering Connection:
  // close), cuts what is left after `deadline_ms`. Blocks; returns false when it had to cut. Not
  // from an event-loop thread. With `idle_grace_ms` idle connections are closed only after that
  // time, and a request that arrives on one before is still answered: where another process serves
  // on at the same address, no client then meets a closed connection that it was about to use.
  virtual bool Drain(int64_t deadline_ms, int64_t idle_grace_ms = 0) = 0;
};

}  // namespace tradewind::http
