// A small HTTP/1.1 client for verbs that talk to a running server. (Upstream pools come with the
// providers.)
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "http/http.h"

namespace tradewind::http {

struct ClientRequest {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  std::string method = "GET";
  std::string target = "/";
  Headers headers;  // Host, Connection and Content-Length are added
  std::string body;
  int64_t connect_timeout_ms = 5'000;
  int64_t idle_timeout_ms = 600'000;  // longest wait for the next byte
  // Turning true, from any thread or a signal handler, ends a waiting call within
  // kClientStopCheckMs.
  const std::atomic<bool>* stop = nullptr;
};

// Sends and reads the whole answer; blocks. Errors: kUnavailable (cannot connect),
// kDeadlineExceeded, kIo, kPayloadTooLarge, kCancelled (`stop`).
Result<Response> Fetch(const ClientRequest& request);

// The same, handing the body over as it arrives; `on_bytes` returns false to stop early (the
// connection is closed). `on_head`, if given, sees status and headers before the first byte of the
// body: an error's body is no event stream. The returned response has an empty body.
Result<Response> FetchStream(const ClientRequest& request,
                             const std::function<bool(std::string_view)>& on_bytes,
                             const std::function<void(const Response&)>& on_head = {});

}  // namespace tradewind::http
