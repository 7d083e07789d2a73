#include "http/client.h"

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "http/test_support.h"

namespace tradewind::http {
namespace {

using testing::Echo;
using testing::StartServer;
using testing::TextResponse;

ClientRequest To(uint16_t port) {
  ClientRequest request;
  request.port = port;
  return request;
}

// A server that says `answer` to the first connection, whatever it asks, and then closes.
class CannedServer {
 public:
  explicit CannedServer(std::string answer, bool close = true)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_.get(), generic, size), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener_.get(), generic, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this, answer = std::move(answer), close] {
      Fd peer(::accept(listener_.get(), nullptr, nullptr));
      char bytes[4096];
      std::string request;
      while (!request.contains("\r\n\r\n")) {
        const ssize_t n = ::recv(peer.get(), bytes, sizeof(bytes), 0);
        if (n <= 0) {
          return;
        }
        request.append(bytes, static_cast<size_t>(n));
      }
      ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      while (!close && ::recv(peer.get(), bytes, sizeof(bytes), 0) > 0) {
      }
    });
  }
  uint16_t port() const { return port_; }

 private:
  Fd listener_;
  uint16_t port_ = 0;
  std::jthread thread_;
};

TEST(HttpClient, FetchesFromOurServer) {
  const auto server = StartServer(Echo);
  ClientRequest request = To(server->port());
  request.method = "POST";
  request.target = "/v1/x?y=z";
  request.body = std::string(300'000, 'b');
  const auto response = Fetch(request);
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->headers.Find("content-type"), "text/plain");
  EXPECT_EQ(response->body, "POST /v1/x?y=z " + request.body);
}

TEST(HttpClient, StreamsAsBytesArriveAndStopsWhenToldTo) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    Status status = co_await exchange.StartStream(200, Headers());
    while (status.has_value()) {
      status = co_await exchange.Write("tick ");
    }
  });
  std::string got;
  int status = 0;
  const auto response = FetchStream(
      To(server->port()),
      [&](std::string_view bytes) {
        EXPECT_EQ(status, 200) << "the head comes first";
        got.append(bytes);
        return got.size() < 50;
      },
      [&status](const Response& head) { status = head.status; });
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->body, "");
  EXPECT_TRUE(got.starts_with("tick tick "));
}

TEST(HttpClient, HeadHasNoBodyToWaitFor) {
  const auto server = StartServer(Echo);
  ClientRequest request = To(server->port());
  request.method = "HEAD";
  const auto response = Fetch(request);
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->body, "");
  EXPECT_EQ(response->headers.Find("Content-Length"), "8");
}

TEST(HttpClient, ReadsToTheEndWhereNoLengthIsGiven) {
  const CannedServer server("HTTP/1.0 404 Nope\r\nX: y\r\n\r\nall of it");
  const auto response = Fetch(To(server.port()));
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, "all of it");
}

TEST(HttpClient, InterimResponsesAreSkipped) {
  const CannedServer server(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const auto response = Fetch(To(server.port()));
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "ok");
  EXPECT_FALSE(response->headers.Find("A").has_value());
}

TEST(HttpClient, ACutAnswerIsAnError) {
  for (const std::string answer :
       {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"}) {
    const CannedServer server(answer);
    const auto response = Fetch(To(server.port()));
    ASSERT_FALSE(response.has_value()) << answer;
    EXPECT_EQ(response.error().code, ErrorCode::kIo) << response.error().message;
  }
}

TEST(HttpClient, NoiseAndEndlessHeadsAreErrors) {
  const CannedServer noise("SSH-2.0-OpenSSH_9\r\n\r\n");
  EXPECT_EQ(Fetch(To(noise.port())).error().code, ErrorCode::kIo);
  const CannedServer endless("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'));
  EXPECT_EQ(Fetch(To(endless.port())).error().code, ErrorCode::kPayloadTooLarge);
}

TEST(HttpClient, ASilentServerIsGivenUp) {
  const CannedServer server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", false);
  ClientRequest request = To(server.port());
  request.idle_timeout_ms = 50;
  const auto response = Fetch(request);
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, ErrorCode::kDeadlineExceeded);
}

TEST(HttpClient, ACallerCanStopAFetchThatWaits) {
  const CannedServer server("", false);
  std::atomic<bool> stop{false};
  ClientRequest request = To(server.port());
  request.stop = &stop;
  const std::jthread stopper([&stop] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.store(true);
  });
  const auto response = Fetch(request);
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, ErrorCode::kCancelled);
}

TEST(HttpClient, NobodyThereIsUnavailable) {
  uint16_t port = 0;
  {
    port = StartServer(Echo)->port();
  }
  const auto response = Fetch(To(port));
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(response.error().message.contains(":" + std::to_string(port)));
}

TEST(HttpClient, RefusesToSendWhatWouldBreakOutOfItsLine) {
  ClientRequest request = To(1);
  request.headers.Set("Authorization", "Bearer a\r\nX: y");
  EXPECT_EQ(Fetch(request).error().code, ErrorCode::kInvalidArgument);
  request = To(1);
  request.target = "/a b";
  EXPECT_EQ(Fetch(request).error().code, ErrorCode::kInvalidArgument);
  request = To(1);
  request.method = "GET /x";
  EXPECT_EQ(Fetch(request).error().code, ErrorCode::kInvalidArgument);
}

TEST(HttpClient, CallersCannotFrameTheMessage) {
  const auto server = StartServer(Echo);
  ClientRequest request = To(server->port());
  request.method = "POST";
  request.body = "abc";
  request.headers.Set("Content-Length", "2");
  request.headers.Set("Transfer-Encoding", "chunked");
  request.headers.Set("Host", "elsewhere");
  const auto response = Fetch(request);
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->body, "POST /? abc");
}

TEST(HttpClient, AnEarlyRefusalIsReadAlthoughTheBodyWasNotTaken) {
  ServerOptions options = testing::TestOptions();
  options.body_bytes_max = 100;
  const auto server = StartServer(Echo, options);
  ClientRequest request = To(server->port());
  request.method = "POST";
  request.body = std::string(1'000'000, 'x');
  const auto response = Fetch(request);
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->status, 413);
}

}  // namespace
}  // namespace tradewind::http
