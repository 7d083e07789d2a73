#include "http/server.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "http/test_support.h"

namespace tradewind::http {
namespace {

using testing::Echo;
using testing::Eventually;
using testing::StartServer;
using testing::TestOptions;
using testing::TestSocket;
using testing::TextResponse;

std::string StatusLine(const std::string& response) {
  return response.substr(0, response.find("\r\n"));
}

// --- Reading requests

TEST(HttpServer, AnswersARequestWithDateAndLength) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  client.Send("GET /v1/models?a=b HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string response = client.ReadResponse();
  EXPECT_EQ(StatusLine(response), "HTTP/1.1 200 OK");
  EXPECT_TRUE(response.contains("\r\nDate: ")) << response;
  EXPECT_TRUE(response.contains("\r\nContent-Length: 19\r\n")) << response;
  EXPECT_FALSE(response.contains("Connection:")) << response;
  EXPECT_TRUE(response.ends_with("\r\n\r\nGET /v1/models?a=b ")) << response;
}

TEST(HttpServer, KeepsTheConnectionForFurtherRequests) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  for (int i = 0; i < 50; ++i) {
    client.Send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    EXPECT_TRUE(client.ReadResponse().ends_with("POST /p? ab"));
  }
  EXPECT_EQ(server->connections(), 1);
}

TEST(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  std::string requests;
  for (int i = 0; i < 100; ++i) {
    requests +=
        "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz";
  }
  client.Send(requests);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(client.ReadResponse().ends_with("POST /" + std::to_string(i) + "? xyz"));
  }
}

TEST(HttpServer, RequestMayArriveByteByByte) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  for (const char c :
       std::string("\r\nPOST /a%2Fb HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz")) {
    client.Send(std::string(1, c));
  }
  EXPECT_TRUE(client.ReadResponse().ends_with("POST /a/b? xyz"));
}

TEST(HttpServer, ChunkedBodyIsJoinedAndItsTrailersAreDropped) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    const bool trailer = exchange.request().headers.Find("Authorization").has_value();
    std::string body = exchange.request().body + (trailer ? " trailer" : "");
    static_cast<void>(co_await exchange.Respond(TextResponse(200, std::move(body))));
  });
  TestSocket client(server->port());
  client.Send(
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nAuthorization: t\r\n\r\n");
  EXPECT_TRUE(client.ReadResponse().ends_with("\r\n\r\nabcde"));
}

TEST(HttpServer, ExpectContinueGetsItsGoAheadBeforeTheBody) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("hi");
  EXPECT_TRUE(client.ReadResponse().ends_with("POST /? hi"));
}

TEST(HttpServer, ExpectContinueWithATooLargeBodyIsRefusedAtOnce) {
  ServerOptions options = TestOptions();
  options.body_bytes_max = 10;
  const auto server = StartServer(Echo, options);
  TestSocket client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(StatusLine(client.ReadResponse()), "HTTP/1.1 413 Content Too Large");
}

TEST(HttpServer, HeadGetsTheHeadOnly) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  client.Send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string head = client.ReadUntil("\r\n\r\n");
  EXPECT_TRUE(head.contains("Content-Length: 9\r\n")) << head;
  EXPECT_TRUE(client.ReadResponse().ends_with("GET /b? "));
}

TEST(HttpServer, Http10IsAnsweredAndClosed) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  client.Send("GET /a HTTP/1.0\r\n\r\n");
  const std::string response = client.ReadAll();
  EXPECT_TRUE(response.contains("Connection: close\r\n")) << response;
  EXPECT_TRUE(response.ends_with("GET /a? "));
}

TEST(HttpServer, Http10MayAskToKeepTheConnection) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_TRUE(client.ReadResponse().contains("Connection: keep-alive\r\n"));
  }
}

TEST(HttpServer, ConnectionCloseIsHonoured) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  client.Send("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.ReadAll().contains("Connection: close\r\n"));
  EXPECT_FALSE(client.was_reset());
}

TEST(HttpServer, AHandlerMayCloseTheConnection) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    Response response = TextResponse(200, "gone");
    response.headers.Set("Connection", "close");
    static_cast<void>(co_await exchange.Respond(std::move(response)));
  });
  TestSocket client(server->port());
  client.Send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(client.ReadAll().contains("Connection: close\r\n"));
  EXPECT_FALSE(client.was_reset());
}

TEST(HttpServer, WhoConnectsWhileItDoesNotAcceptWaitsForIt) {
  const auto server = StartServer(Echo);
  server->SetAccepting(false);
  TestSocket client(server->port());
  client.Send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(server->connections(), 0);
  server->SetAccepting(true);
  EXPECT_TRUE(client.ReadResponse().ends_with("GET /a? "));
}

// --- Refusals

struct RefusalCase {
  const char* name;
  std::string request;
  std::string status_line;
};

class HttpServerRefuses : public ::testing::TestWithParam<RefusalCase> {};

TEST_P(HttpServerRefuses, AndClosesWithoutAReset) {
  ServerOptions options = TestOptions();
  options.body_bytes_max = 1000;
  options.header_bytes_max = 2000;
  const auto server = StartServer(Echo, options);
  TestSocket client(server->port());
  client.Send(GetParam().request);
  const std::string response = client.ReadAll();
  EXPECT_EQ(StatusLine(response), GetParam().status_line);
  EXPECT_TRUE(response.contains("Connection: close\r\n")) << response;
  EXPECT_TRUE(response.contains("Content-Type: text/plain\r\n"))
      << "on_error makes the body: " << response;
  EXPECT_FALSE(client.was_reset());
}

const std::string kBad = "HTTP/1.1 400 Bad Request";
const std::string kHost = "Host: x\r\n";

INSTANTIATE_TEST_SUITE_P(
    Requests, HttpServerRefuses,
    ::testing::Values(
        RefusalCase{"noise", "\x16\x03\x01\x02 hello\r\n\r\n", kBad},
        RefusalCase{"http2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", kBad},
        RefusalCase{"no_host", "GET / HTTP/1.1\r\n\r\n", kBad},
        RefusalCase{"two_hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", kBad},
        RefusalCase{"bad_escape", "GET /%zz HTTP/1.1\r\n" + kHost + "\r\n", kBad},
        RefusalCase{"cut_escape", "GET /%2 HTTP/1.1\r\n" + kHost + "\r\n", kBad},
        RefusalCase{"null_in_path", "GET /a%00b HTTP/1.1\r\n" + kHost + "\r\n", kBad},
        RefusalCase{"relative_target", "GET models HTTP/1.1\r\n" + kHost + "\r\n", kBad},
        RefusalCase{"length_and_chunked",
                    "POST / HTTP/1.1\r\n" + kHost +
                        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    kBad},
        RefusalCase{"chunked_and_length",
                    "POST / HTTP/1.1\r\n" + kHost +
                        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
                    kBad},
        RefusalCase{
            "two_lengths",
            "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            kBad},
        RefusalCase{"negative_length", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: -1\r\n\r\n",
                    kBad},
        RefusalCase{"space_before_colon",
                    "POST / HTTP/1.1\r\n" + kHost + "Content-Length : 3\r\n\r\nabc", kBad},
        RefusalCase{"bad_chunk_size",
                    "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
                    kBad},
        RefusalCase{"chunked_http_1_0",
                    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", kBad},
        RefusalCase{"unknown_coding",
                    "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: gzip, chunked\r\n\r\n",
                    "HTTP/1.1 501 Not Implemented"},
        RefusalCase{
            "long_body",
            "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 1001\r\n\r\n" + std::string(1001, 'x'),
            "HTTP/1.1 413 Content Too Large"},
        RefusalCase{"huge_claim",
                    "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 18446744073709551615\r\n\r\n",
                    "HTTP/1.1 413 Content Too Large"},
        RefusalCase{"long_chunked_body",
                    "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" +
                        std::string(1001, 'x') + "\r\n0\r\n\r\n",
                    "HTTP/1.1 413 Content Too Large"},
        RefusalCase{"long_head",
                    "GET / HTTP/1.1\r\n" + kHost + "X: " + std::string(4000, 'x') + "\r\n\r\n",
                    "HTTP/1.1 431 Request Header Fields Too Large"},
        RefusalCase{"long_target",
                    "GET /" + std::string(4000, 'x') + " HTTP/1.1\r\n" + kHost + "\r\n",
                    "HTTP/1.1 431 Request Header Fields Too Large"},
        RefusalCase{"endless_head", "GET / HTTP/1.1\r\nX: " + std::string(2000, 'x'),
                    "HTTP/1.1 431 Request Header Fields Too Large"},
        RefusalCase{"endless_chunk_extension",
                    "POST / HTTP/1.1\r\n" + kHost +
                        "Transfer-Encoding: chunked\r\n\r\n1;x=" + std::string(4000, 'x'),
                    "HTTP/1.1 431 Request Header Fields Too Large"}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(HttpServer, ALongUploadIsReadOnSoThatItsRefusalArrives) {
  ServerOptions options = TestOptions();
  options.body_bytes_max = 1000;
  options.linger_ms = testing::kPatienceMs;
  const auto server = StartServer(Echo, options);
  TestSocket client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n");
  EXPECT_TRUE(client.Send(std::string(8'000'000, 'x')));
  client.ShutdownWrite();
  EXPECT_EQ(StatusLine(client.ReadAll()), "HTTP/1.1 413 Content Too Large");
}

// --- Deadlines

TEST(HttpServer, ATricklingHeadIsCutOff) {
  ServerOptions options = TestOptions();
  options.read_head_deadline_ms = 200;
  const auto server = StartServer(Echo, options);
  TestSocket client(server->port());
  client.Send("GET / HTTP/1.1\r\n");
  // A byte now and then must not push the deadline back.
  while (client.IsSilentFor(20) && client.Send("x")) {
  }
  EXPECT_EQ(StatusLine(client.ReadAll()), "HTTP/1.1 408 Request Timeout");
}

TEST(HttpServer, ATricklingBodyIsCutOff) {
  ServerOptions options = TestOptions();
  options.read_body_deadline_ms = 200;
  const auto server = StartServer(Echo, options);
  TestSocket client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  while (client.IsSilentFor(20) && client.Send("x")) {
  }
  EXPECT_EQ(StatusLine(client.ReadAll()), "HTTP/1.1 408 Request Timeout");
}

TEST(HttpServer, AnIdleConnectionIsClosedWithoutAWord) {
  ServerOptions options = TestOptions();
  options.read_head_deadline_ms = 100;
  const auto server = StartServer(Echo, options);
  TestSocket client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  client.ReadResponse();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(Eventually([&] { return server->connections() == 0; }));
}

}  // namespace
}  // namespace tradewind::http
