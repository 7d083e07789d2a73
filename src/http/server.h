// The listener: HTTP/1.1 with keep-alive on N event-loop threads.
#pragma once

#include <memory>
#include <string>

#include "http/http.h"

namespace tradewind::http {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8737;       // 0 = pick a free one
  int threads = 1;            // event loops, each with its own SO_REUSEPORT socket when more than one
};

class Server {
 public:
  // Binds and starts to accept. Errors: kAddressInUse (names the port), kInvalidArgument (host), kIo.
  // `on_error` turns an error of the protocol itself (bad head, body too large, deadline) into a response: so that one
  // table decides the body of every error.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, Handler handler,
                                               std::function<Response(const Error&)> on_error);
  virtual ~Server() = default;               // stops at once and joins

  virtual uint16_t port() const = 0;
  virtual int64_t connections() const = 0;
  // Stops accepting, closes idle connections, lets running exchanges finish (answering Connection: close), cuts what is
  // left after `deadline_ms`. Blocks; returns false when it had to cut. Not from an event-loop thread.
  virtual bool Drain(int64_t deadline_ms) = 0;
};

}  // namespace tradewind::http
