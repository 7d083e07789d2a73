// HTTP messages as the rest of the program sees them; no Asio, no Beast.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/task.h"

namespace tradewind::http {

// Header fields in order; names compare without case.
class Headers {
 public:
  void Set(std::string name, std::string value);  // replaces
  void Add(std::string name, std::string value);
  void Remove(std::string_view name);
  std::optional<std::string_view> Find(std::string_view name) const;  // the first
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct Request {
  std::string method;  // "GET"
  std::string path;    // percent-decoded, without the query: "/v1/models/a/b"
  std::string query;   // as received, without '?'
  Headers headers;
  std::string body;  // whole; bounded by kBodyBytesMax
  bool peer_is_loopback = false;
};

struct Response {
  int status = 200;
  Headers headers;  // Content-Length, Connection and Date are added
  std::string body;
  // Where there is one: what follows `body`, piece by piece, until one is empty. It waits for the
  // disk. An error ends an answer that is not whole.
  std::function<Result<std::string>()> more = {};
};

// `body` and all that follows it.
Result<std::string> WholeBody(Response response);

// One request and its response. Lives on its connection's event-loop thread; handlers await on that
// thread and must not block it. The handler answers exactly once: Respond, or StartStream +
// Write... + Finish. A handler that returns without answering gives 500; one that throws too.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;

  virtual Task<Status> Respond(Response response) = 0;

  // A body of unknown length (chunked). Write returns when the bytes are handed to the operating
  // system: a slow reader slows its writer. Errors of all three: kCancelled (the client left; it
  // stays so), kDeadlineExceeded (no progress for kWriteDeadlineMs). A stream that could not be
  // started is not written to.
  virtual Task<Status> StartStream(int status, Headers headers) = 0;
  virtual Task<Status> Write(std::string_view bytes) = 0;
  virtual Task<Status> Finish() = 0;

  // True once the client has closed its side or the connection broke. `on_left` is called once, on
  // this thread, when that happens (at once if it has): it wakes whoever waits for something else
  // meanwhile.
  virtual bool client_left() const = 0;
  virtual void OnClientLeft(std::function<void()> on_left) = 0;

  // What was answered so far, for the access log.
  virtual int status() const = 0;
  virtual int64_t bytes_sent() const = 0;
};

using Handler = std::function<Task<void>(Exchange&)>;

// Wakes a waiting coroutine from any thread. Made on an event-loop thread inside a handler; one
// waiter at a time.
class Wakeup {
 public:
  static std::shared_ptr<Wakeup> Create();  // must run on an event-loop thread (inside a handler)
  virtual ~Wakeup() = default;
  virtual void Notify() = 0;  // any thread; a Notify without a waiter is kept for the next Wait
  // True: notified. False: the deadline passed first.
  virtual Task<bool> Wait(std::chrono::steady_clock::time_point deadline) = 0;
};

// Begins a task beside the caller's, on its event loop (inside a handler). Whoever begins it waits
// for its end, with a Wakeup: what it uses must outlive it.
void RunBeside(std::move_only_function<Task<void>()> begin);

}  // namespace tradewind::http
