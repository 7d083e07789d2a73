// For tests only: a raw TCP client, so that tests can send what no HTTP library would, and small
// servers for it.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <poll.h>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/fd.h"
#include "http/server.h"

namespace tradewind::http::testing {

inline constexpr int kPatienceMs =
    20'000;  // a machine under sanitizers and load; never the expected time

class TestSocket {
 public:
  explicit TestSocket(uint16_t port, int receive_buffer = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }

  explicit TestSocket(Fd accepted) : fd_(std::move(accepted)) {}

  // False when the peer has reset the connection.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // Everything until `text` has been seen (or the connection ends); what follows it stays for the
  // next call.
  std::string ReadUntil(std::string_view text) {
    while (true) {
      const size_t at = pending_.find(text);
      if (at != std::string::npos) {
        std::string out = pending_.substr(0, at + text.size());
        pending_.erase(0, at + text.size());
        return out;
      }
      if (!ReadSome()) {
        return std::exchange(pending_, "");
      }
    }
  }

  std::string ReadExactly(size_t bytes) {
    while (pending_.size() < bytes && ReadSome()) {
    }
    std::string out = pending_.substr(0, bytes);
    pending_.erase(0, out.size());
    return out;
  }

  // Everything to the end of the connection.
  std::string ReadAll() {
    while (ReadSome()) {
    }
    return std::exchange(pending_, "");
  }

  // Head and body of one response that has a Content-Length.
  std::string ReadResponse() {
    std::string head = ReadUntil("\r\n\r\n");
    const size_t at = head.find("Content-Length: ");
    return at == std::string::npos ? head : head + ReadExactly(std::stoul(head.substr(at + 16)));
  }

  // How much the connection takes (at most `bytes_max`) while nobody reads it.
  size_t SendUntilItBlocks(size_t bytes_max) {
    const std::string bytes(64 << 10, 'x');
    size_t sent = 0;
    while (sent < bytes_max) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      pollfd entry{fd_.get(), POLLOUT, 0};
      if (n < 0 && ::poll(&entry, 1, 200) <= 0) {
        break;
      }
      sent += n > 0 ? static_cast<size_t>(n) : 0;
    }
    return sent;
  }
  bool AllIsAcknowledged() const {
    int unsent = 0;
    return ::ioctl(fd_.get(), SIOCOUTQ, &unsent) == 0 && unsent == 0;
  }

  void ShutdownWrite() { ::shutdown(fd_.get(), SHUT_WR); }
  void Reset() {
    const linger on{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &on, sizeof(on));
    fd_ = Fd();
  }
  void Close() { fd_ = Fd(); }
  bool was_reset() const { return was_reset_; }

  // True when nothing arrives, not even the end, for `ms`.
  bool IsSilentFor(int ms) {
    pollfd entry{fd_.get(), POLLIN, 0};
    return pending_.empty() && ::poll(&entry, 1, ms) == 0;
  }

 private:
  bool ReadSome() {
    pollfd entry{fd_.get(), POLLIN, 0};
    if (::poll(&entry, 1, kPatienceMs) <= 0) {
      ADD_FAILURE() << "the server sent nothing in time; so far: " << pending_.substr(0, 200);
      return false;
    }
    char bytes[16384];
    const ssize_t n = ::recv(fd_.get(), bytes, sizeof(bytes), 0);
    was_reset_ = was_reset_ || (n < 0 && errno == ECONNRESET);
    if (n > 0) {
      pending_.append(bytes, static_cast<size_t>(n));
    }
    return n > 0;
  }

  Fd fd_;
  std::string pending_;
  bool was_reset_ = false;
};

// Waits for something that another thread brings about.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

inline Response TextResponse(int status, std::string body) {
  Response response;
  response.status = status;
  response.headers.Set("Content-Type", "text/plain");
  response.body = std::move(body);
  return response;
}

inline Response OnError(const Error& error) {
  Response response = TextResponse(error.code == ErrorCode::kPayloadTooLarge ? 413 : 500,
                                   std::string(ErrorCodeName(error.code)) + ": " + error.message);
  if (error.retry_after_ms.has_value()) {
    response.headers.Set("Retry-After", std::to_string(*error.retry_after_ms));
  }
  return response;
}

// "METHOD path?query body", so that tests see what the handler saw.
inline Task<void> Echo(Exchange& exchange) {
  const Request& request = exchange.request();
  std::string body = request.method + " " + request.path + "?" + request.query + " " + request.body;
  static_cast<void>(co_await exchange.Respond(TextResponse(200, std::move(body))));
}

inline ServerOptions TestOptions() {
  ServerOptions options;
  options.port = 0;
  options.linger_ms = 500;
  return options;
}

inline std::unique_ptr<Server> StartServer(Handler handler, ServerOptions options = TestOptions()) {
  auto server = Server::Start(options, std::move(handler), OnError);
  EXPECT_TRUE(server.has_value()) << server.error().message;
  return std::move(server).value();
}

inline std::chrono::steady_clock::time_point Patience() {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
}

// Streams one part, then waits for the client to leave, and records what happened.
struct LeaveProbe {
  std::atomic<bool> waiting{false};
  std::atomic<int> left_calls{0};
  std::atomic<bool> woken{false};
  std::atomic<bool> late_call{false};
  std::atomic<int> write_error{-1};
  std::atomic<bool> done{false};

  Task<void> Handle(Exchange& exchange) {
    const auto wakeup = Wakeup::Create();
    exchange.OnClientLeft([this, wakeup] {
      ++left_calls;
      wakeup->Notify();
    });
    EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
    EXPECT_FALSE(exchange.client_left());
    waiting = true;
    woken = co_await wakeup->Wait(Patience());
    EXPECT_TRUE(exchange.client_left());
    const Status status = co_await exchange.Write("for nobody");
    write_error = status.has_value() ? -2 : static_cast<int>(status.error().code);
    exchange.OnClientLeft([this] { late_call = true; });
    done = true;
  }

  Handler handler() {
    return [this](Exchange& exchange) { return Handle(exchange); };
  }

  void ExpectLeft() {
    ASSERT_TRUE(Eventually([this] { return done.load(); }));
    EXPECT_EQ(left_calls, 1);
    EXPECT_TRUE(woken);
    EXPECT_TRUE(late_call) << "a callback set too late must be called at once";
    EXPECT_EQ(write_error, static_cast<int>(ErrorCode::kCancelled));
  }
};

}  // namespace tradewind::http::testing
