// One accepted connection: reads requests, runs the handler, writes responses; on one event loop
// for its whole life.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "base/budget.h"
#include "http/event_loop.h"
#include "http/fd.h"
#include "http/http.h"
#include "http/server.h"

namespace tradewind::http {

// What all connections of a server share.
struct ServerShared {
  explicit ServerShared(const ServerOptions& from)
      : options(from), body_bytes(from.body_bytes_in_flight_max) {}

  const ServerOptions options;
  Budget body_bytes;  // of requests being read or answered
  Handler handler;
  std::function<Response(const Error&)> on_error;
  std::atomic<bool> draining{false};
  std::atomic<int64_t> idle_grace_ms{0};  // while draining; set before
  std::atomic<int64_t> exchanges_cut{0};  // running when their connection was cut

  std::mutex mutex;                 // guards `connections`
  std::condition_variable changed;  // when `connections` falls
  int64_t connections = 0;
};

// A place among the server's connections; given back when destroyed.
class ConnectionSlot {
 public:
  explicit ConnectionSlot(std::shared_ptr<ServerShared> shared) : shared_(std::move(shared)) {
    const std::lock_guard lock(shared_->mutex);
    ++shared_->connections;
  }
  ConnectionSlot(ConnectionSlot&&) noexcept = default;
  ConnectionSlot& operator=(ConnectionSlot&&) = delete;
  ~ConnectionSlot() {
    if (shared_ != nullptr) {
      const std::lock_guard lock(shared_->mutex);
      --shared_->connections;
      shared_->changed.notify_all();
    }
  }

 private:
  std::shared_ptr<ServerShared> shared_;
};

// Both are called on the connection's loop.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void OnDrain() = 0;  // closes when it waits for a request (after the grace, if there is
                               // one); what runs finishes and then closes
  virtual void Cut() = 0;      // breaks the connection; the handler sees that the client left
};

// On `loop`'s thread. The connection enters loop.connections() and keeps itself alive until it
// ends.
void StartConnection(EventLoop& loop, std::shared_ptr<ServerShared> shared, ConnectionSlot slot,
                     Fd socket, bool peer_is_loopback);

}  // namespace tradewind::http
