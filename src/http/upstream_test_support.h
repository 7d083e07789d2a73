// For tests only: an upstream that does what the test says, and an event loop to call it from.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "http/event_loop.h"
#include "http/test_support.h"
#include "http/upstream.h"

namespace tradewind::http::testing {

// A listener whose connections the test accepts and speaks for, byte by byte.
class TestUpstream {
 public:
  explicit TestUpstream(int backlog = 64)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_.get(), generic, size), 0);
    EXPECT_EQ(::listen(listener_.get(), backlog), 0);
    EXPECT_EQ(::getsockname(listener_.get(), generic, &size), 0);
    port_ = ntohs(address.sin_port);
  }

  uint16_t port() const { return port_; }
  Fd AcceptFd() {
    pollfd entry{listener_.get(), POLLIN, 0};
    if (::poll(&entry, 1, kPatienceMs) <= 0) {
      ADD_FAILURE() << "nobody connected in time";
      return Fd();
    }
    return Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  TestSocket Accept() { return TestSocket(AcceptFd()); }
  bool HasCallerWithin(int ms) {
    pollfd entry{listener_.get(), POLLIN, 0};
    return ::poll(&entry, 1, ms) > 0;
  }
  void Close() { listener_ = Fd(); }

 private:
  Fd listener_;
  uint16_t port_ = 0;
};

// A loop whose tasks' results the test's thread waits for.
class TestLoop {
 public:
  ~TestLoop() { End(); }

  template <class T, class Begin>
  std::future<T> Run(Begin begin) {
    auto promise = std::make_shared<std::promise<T>>();
    auto future = promise->get_future();
    loop_->Spawn([promise, begin = std::move(begin)]() mutable -> Task<void> {
      promise->set_value(co_await begin());
    });
    return future;
  }
  void Post(std::move_only_function<void()> task) { loop_->Post(std::move(task)); }
  // Destroys what waits, as the end of a server does.
  void End() {
    loop_->Stop();
    loop_->Destroy();
  }

 private:
  std::shared_ptr<EventLoop> loop_ = EventLoop::Start();
};

// How a call went, whatever its outcome.
struct CallOutcome {
  Status answered;
  int status = 0;
  Headers headers;
  Result<std::string> body;
  Reached reached = Reached::kNotSent;
  bool used_kept_connection = false;
};

inline UpstreamRequest RequestTo(uint16_t port, std::string_view body = "{}") {
  UpstreamRequest request;
  request.url = Url{"http", "127.0.0.1", port, "/v1"};
  request.target = "/chat/completions";
  request.body = body;
  request.allow_private = true;
  return request;
}

// Reads to the end; `current`, if given, is the call while it runs.
inline Task<CallOutcome> MakeCall(UpstreamClient& client, UpstreamRequest request,
                                  UpstreamCall** current = nullptr) {
  const auto call = client.Start(std::move(request));
  if (current != nullptr) {
    *current = call.get();
  }
  CallOutcome outcome;
  outcome.answered = co_await call->AwaitHead();
  if (outcome.answered.has_value()) {
    outcome.status = call->status();
    outcome.headers = call->headers();
    outcome.body = co_await ReadBody(*call, 64 << 20);
  } else {
    outcome.body = Fail(outcome.answered.error());
  }
  outcome.reached = call->reached();
  outcome.used_kept_connection = call->used_kept_connection();
  if (current != nullptr) {
    *current = nullptr;
  }
  co_return outcome;
}

// A client on a loop of its own.
class TestCaller {
 public:
  explicit TestCaller(UpstreamOptions options = {})
      : client_(UpstreamClient::Create(std::move(options))) {}

  std::future<CallOutcome> Begin(UpstreamRequest request) {
    return loop_.Run<CallOutcome>(
        [this, request = std::move(request)] { return MakeCall(*client_, request, &current_); });
  }
  CallOutcome Call(UpstreamRequest request) { return Begin(std::move(request)).get(); }
  // The call that was begun last.
  void Cancel() {
    loop_.Post([this] {
      if (current_ != nullptr) {
        current_->Cancel();
      }
    });
  }
  UpstreamClient& client() { return *client_; }
  TestLoop& loop() { return loop_; }

 private:
  std::unique_ptr<UpstreamClient> client_;
  UpstreamCall* current_ = nullptr;  // on the loop's thread
  TestLoop loop_;
};

inline ErrorCode CodeOf(const auto& result) {
  return result.has_value() ? ErrorCode::kInternal : result.error().code;
}

}  // namespace tradewind::http::testing
