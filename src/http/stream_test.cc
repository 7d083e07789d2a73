// Streams, handlers that misbehave, clients that leave, slow readers.
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "http/test_support.h"

namespace tradewind::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::Echo;
using testing::Eventually;
using testing::LeaveProbe;
using testing::Patience;
using testing::StartServer;
using testing::TestOptions;
using testing::TestSocket;
using testing::TextResponse;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

// --- Streams ------------------------------------------------------------------------------------

Task<void> StreamThreeParts(Exchange& exchange) {
  Headers headers;
  headers.Set("Content-Type", "text/event-stream");
  EXPECT_TRUE((co_await exchange.StartStream(200, headers)).has_value());
  EXPECT_TRUE((co_await exchange.Write("one")).has_value());
  EXPECT_TRUE((co_await exchange.Write("")).has_value());
  EXPECT_TRUE((co_await exchange.Write("sixteen bytes!!!")).has_value());
  EXPECT_TRUE((co_await exchange.Finish()).has_value());
}

TEST(HttpStream, IsChunkedAndTheConnectionStays) {
  const auto server = StartServer(StreamThreeParts);
  TestSocket client(server->port());
  for (int i = 0; i < 3; ++i) {
    client.Send(kGet);
    const std::string head = client.ReadUntil("\r\n\r\n");
    EXPECT_TRUE(head.contains("Transfer-Encoding: chunked\r\n")) << head;
    EXPECT_TRUE(head.contains("Content-Type: text/event-stream\r\n")) << head;
    EXPECT_EQ(client.ReadUntil("\r\n0\r\n\r\n"), "3\r\none\r\n10\r\nsixteen bytes!!!\r\n0\r\n\r\n");
  }
}

TEST(HttpStream, Http10ReadsToTheEndOfTheConnection) {
  const auto server = StartServer(StreamThreeParts);
  TestSocket client(server->port());
  client.Send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string response = client.ReadAll();
  EXPECT_TRUE(response.ends_with("\r\n\r\nonesixteen bytes!!!")) << response;
  EXPECT_TRUE(response.contains("Connection: close\r\n")) << response;
  EXPECT_FALSE(response.contains("Transfer-Encoding")) << response;
  EXPECT_FALSE(client.was_reset());
}

TEST(HttpStream, HeadGetsTheHeadOnly) {
  const auto server = StartServer(StreamThreeParts);
  TestSocket client(server->port());
  client.Send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
  client.ReadUntil("\r\n\r\n");
  client.Send(kGet);
  EXPECT_TRUE(client.ReadUntil("\r\n\r\n").starts_with("HTTP/1.1 200 OK"));
  client.ReadUntil("0\r\n\r\n");  // its handler writes to someone who reads
}

TEST(HttpStream, BytesArriveWhileTheHandlerWaitsForMore) {
  std::shared_ptr<Wakeup> wakeup;
  std::atomic<bool> waiting{false};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    wakeup = Wakeup::Create();
    EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
    EXPECT_TRUE((co_await exchange.Write("first")).has_value());
    waiting = true;
    EXPECT_TRUE(co_await wakeup->Wait(Patience()));
    EXPECT_TRUE((co_await exchange.Write("second")).has_value());
    EXPECT_TRUE((co_await exchange.Finish()).has_value());
  });
  TestSocket client(server->port());
  client.Send(kGet);
  EXPECT_TRUE(client.ReadUntil("first\r\n").ends_with("5\r\nfirst\r\n"));
  ASSERT_TRUE(Eventually([&] { return waiting.load(); }));
  EXPECT_TRUE(client.IsSilentFor(20));
  wakeup->Notify();
  EXPECT_EQ(client.ReadUntil("0\r\n\r\n"), "6\r\nsecond\r\n0\r\n\r\n");
}

TEST(HttpStream, ThatIsNotFinishedHasNoLastChunk) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
    EXPECT_TRUE((co_await exchange.Write("part")).has_value());
    throw std::runtime_error("in the middle");
  });
  TestSocket client(server->port());
  client.Send(kGet);
  EXPECT_TRUE(client.ReadAll().ends_with("\r\n\r\n4\r\npart\r\n"));
}

TEST(HttpStream, ThatIsNotFinishedIsResetForHttp10) {
  std::atomic<bool> go{false};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
    const auto wakeup = Wakeup::Create();
    while (!go) {
      co_await wakeup->Wait(steady_clock::now() + milliseconds(2));
    }
  });
  TestSocket client(server->port());
  client.Send("GET / HTTP/1.0\r\n\r\n");
  client.ReadUntil("\r\n\r\n");
  go = true;
  client.ReadAll();
  EXPECT_TRUE(client.was_reset());
}

// --- Handlers that misbehave

TEST(HttpHandler, ThatThrowsOrStaysSilentGives500AndKeepsTheConnection) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    if (exchange.request().path == "/throw") {
      throw std::runtime_error("secret");
    }
    co_return;
  });
  TestSocket client(server->port());
  for (const std::string path : {"/throw", "/silent", "/throw"}) {
    client.Send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
    const std::string response = client.ReadResponse();
    EXPECT_TRUE(response.starts_with("HTTP/1.1 500 ")) << response;
    EXPECT_FALSE(response.contains("secret")) << response;
  }
}

TEST(HttpHandler, CannotBreakOutOfAHeader) {
  const std::vector<std::pair<std::string, std::string>> bad = {{"X", "a\r\nSet-Cookie: b"},
                                                                {"X", "a\nb"},
                                                                {"X", std::string("a\0b", 3)},
                                                                {"X\r\nY", "a"},
                                                                {"X Y", "a"},
                                                                {"", "a"},
                                                                {"X:", "a"},
                                                                {"X",
                                                                 "a\x7F"
                                                                 "b"}};
  std::atomic<size_t> index{0};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    Response response = TextResponse(200, "never");
    response.headers.Add(bad[index].first, bad[index].second);
    const Status status = co_await exchange.Respond(response);
    EXPECT_FALSE(status.has_value());
    Headers headers;
    headers.Add(bad[index].first, bad[index].second);
    EXPECT_FALSE((co_await exchange.StartStream(200, headers)).has_value());
  });
  TestSocket client(server->port());
  for (; index < bad.size(); ++index) {
    client.Send(kGet);
    EXPECT_TRUE(client.ReadResponse().starts_with("HTTP/1.1 500 ")) << index;
  }
}

TEST(HttpHandler, CannotFrameTheMessage) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    Response response = TextResponse(200, "abc");
    response.headers.Set("content-length", "100");
    response.headers.Set("Transfer-Encoding", "chunked");
    response.headers.Set("Connection", "upgrade");
    EXPECT_TRUE((co_await exchange.Respond(response)).has_value());
    EXPECT_EQ(exchange.status(), 200);
    EXPECT_GT(exchange.bytes_sent(), 3);
  });
  TestSocket client(server->port());
  client.Send(kGet);
  const std::string response = client.ReadResponse();
  EXPECT_TRUE(response.contains("Content-Length: 3\r\n")) << response;
  EXPECT_FALSE(response.contains("100")) << response;
  EXPECT_FALSE(response.contains("chunked")) << response;
  EXPECT_FALSE(response.contains("upgrade")) << response;
}

TEST(HttpHandler, AStatusWithoutABodyHasNone) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    EXPECT_TRUE((co_await exchange.Respond(TextResponse(204, "no"))).has_value());
  });
  TestSocket client(server->port());
  client.Send(kGet);
  EXPECT_FALSE(client.ReadUntil("\r\n\r\n").contains("Content-Length"));
  client.Send(kGet);
  EXPECT_TRUE(client.ReadUntil("\r\n\r\n").starts_with("HTTP/1.1 204 No Content\r\n"));
}

// --- Clients that leave

TEST(HttpClientLeaves, AndTheWaitingHandlerIsWoken) {
  LeaveProbe probe;
  const auto server = StartServer(probe.handler());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return probe.waiting.load(); }));
  client.Close();
  probe.ExpectLeft();
  EXPECT_TRUE(Eventually([&] { return server->connections() == 0; }));
}

TEST(HttpClientLeaves, ByAReset) {
  LeaveProbe probe;
  const auto server = StartServer(probe.handler());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return probe.waiting.load(); }));
  client.Reset();
  probe.ExpectLeft();
}

TEST(HttpClientLeaves, ByClosingItsSideOnly) {
  LeaveProbe probe;
  const auto server = StartServer(probe.handler());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return probe.waiting.load(); }));
  client.ShutdownWrite();
  probe.ExpectLeft();
}

TEST(HttpClientLeaves, BehindAPipelinedRequest) {
  LeaveProbe probe;
  const auto server = StartServer(probe.handler());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return probe.waiting.load(); }));
  client.Send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(probe.left_calls, 0) << "a pipelined request is no departure";
  client.Close();
  probe.ExpectLeft();
}

TEST(HttpClientLeaves, BytesThatArriveDuringAnExchangeBelongToTheNext) {
  std::atomic<bool> go{false};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    const auto wakeup = Wakeup::Create();
    while (!go) {
      co_await wakeup->Wait(steady_clock::now() + milliseconds(2));
    }
    EXPECT_FALSE(exchange.client_left());
    co_await Echo(exchange);
  });
  TestSocket client(server->port());
  client.Send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(milliseconds(20));
  client.Send("POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab");
  std::this_thread::sleep_for(milliseconds(20));
  go = true;
  EXPECT_TRUE(client.ReadResponse().ends_with("GET /1? "));
  client.Send("cd");
  EXPECT_TRUE(client.ReadResponse().ends_with("POST /2? abcd"));
}

TEST(HttpClientLeaves, HalfClosedClientsStillGetAnAnswerThatNeedsNoWaiting) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  client.Send(kGet);
  client.ShutdownWrite();
  EXPECT_TRUE(client.ReadAll().ends_with("GET /? "));
}

// --- Slow readers

TEST(HttpSlowReader, PausesItsWriterAndThenGetsEverything) {
  constexpr int kPieces = 400;
  const std::string piece(64 << 10, 'x');
  std::atomic<int> written{0};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
    for (int i = 0; i < kPieces; ++i) {
      EXPECT_TRUE((co_await exchange.Write(piece)).has_value());
      ++written;
    }
    EXPECT_TRUE((co_await exchange.Finish()).has_value());
  });
  TestSocket client(server->port(), 64 << 10);
  client.Send(kGet);
  // The writer stands still once the kernel's buffers are full.
  int before = -1;
  ASSERT_TRUE(Eventually([&] {
    const int now = written;
    const bool still = now == before && now > 0;
    before = now;
    std::this_thread::sleep_for(milliseconds(100));
    return still;
  }));
  EXPECT_LT(written, kPieces / 2);
  EXPECT_GT(client.ReadUntil("\r\n0\r\n\r\n").size(), kPieces * piece.size());
  EXPECT_EQ(written, kPieces);
}

TEST(HttpSlowReader, IsCutAfterTheWriteDeadline) {
  ServerOptions options = TestOptions();
  options.write_deadline_ms = 100;
  std::atomic<int> error{-1};
  std::atomic<bool> left{false};
  const auto server = StartServer(
      [&](Exchange& exchange) -> Task<void> {
        exchange.OnClientLeft([&left] { left = true; });
        Status status = co_await exchange.StartStream(200, Headers());
        const std::string piece(64 << 10, 'x');
        while (status.has_value()) {
          status = co_await exchange.Write(piece);
        }
        error = static_cast<int>(status.error().code);
      },
      options);
  TestSocket client(server->port(), 64 << 10);
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return error >= 0; }));
  EXPECT_EQ(error, static_cast<int>(ErrorCode::kDeadlineExceeded));
  EXPECT_TRUE(left);
  EXPECT_TRUE(Eventually([&] { return server->connections() == 0; }));
}

}  // namespace
}  // namespace tradewind::http
