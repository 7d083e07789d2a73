// Calls to an upstream that answers as it should, and as it should not.
#include "http/upstream.h"

#include <gtest/gtest.h>

#include "http/upstream_test_support.h"

namespace tradewind::http {
namespace {

using testing::CallOutcome;
using testing::CodeOf;
using testing::Eventually;
using testing::RequestTo;
using testing::TestCaller;
using testing::TestSocket;
using testing::TestUpstream;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
constexpr std::string_view kChunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

// One call on a connection of its own, whose upstream says `answer` and does what `end` says.
enum class End { kStaysOpen, kCloses, kResets };
CallOutcome Answered(std::string_view answer, End end, UpstreamRequest request = RequestTo(0)) {
  TestUpstream upstream;
  TestCaller caller;
  request.url.port = upstream.port();
  auto outcome = caller.Begin(std::move(request));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("\r\n\r\n{}");
  peer.Send(answer);
  if (end == End::kCloses) {
    peer.ShutdownWrite();
  } else if (end == End::kResets) {
    EXPECT_TRUE(Eventually([&] { return peer.AllIsAcknowledged(); }));
    peer.Reset();
  }
  return outcome.get();
}

// --- What is sent

TEST(Upstream, SendsOneHeadWithOurFramingAndTheCallersFields) {
  TestUpstream upstream;
  TestCaller caller;
  UpstreamRequest request = RequestTo(upstream.port(), R"({"a":1})");
  request.headers.Add("Authorization", "Bearer k");
  request.headers.Add("Content-Type", "application/json");
  request.headers.Add("Content-Length", "99");
  request.headers.Add("Transfer-Encoding", "chunked");
  request.headers.Add("Host", "elsewhere");
  request.headers.Add("Accept-Encoding", "br");
  auto outcome = caller.Begin(request);
  TestSocket peer = upstream.Accept();
  EXPECT_EQ(
      peer.ReadUntil(R"({"a":1})"),
      "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(upstream.port()) +
          "\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
          "User-Agent: tradewind/" TW_VERSION
          "\r\nAccept-Encoding: identity\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
  peer.Send(kOk);
  EXPECT_EQ(outcome.get().body, "hello");
}

TEST(Upstream, RefusesFieldsThatCouldBreakOutOfTheirLine) {
  TestCaller caller;
  UpstreamRequest request = RequestTo(1);
  request.headers.Add("X", "a\r\nY: b");
  EXPECT_EQ(CodeOf(caller.Call(request).answered), ErrorCode::kInvalidArgument);
  request = RequestTo(1);
  request.target = "/a b";
  EXPECT_EQ(CodeOf(caller.Call(request).answered), ErrorCode::kInvalidArgument);
}

TEST(Upstream, TakesABigBodyWhole) {
  TestUpstream upstream;
  TestCaller caller;
  const std::string body(5'000'000, 'b');
  auto outcome = caller.Begin(RequestTo(upstream.port(), body));
  TestSocket peer = upstream.Accept();
  EXPECT_TRUE(peer.ReadUntil("\r\n\r\n").contains("Content-Length: 5000000\r\n"));
  EXPECT_EQ(peer.ReadExactly(body.size()), body);
  peer.Send(kOk);
  EXPECT_EQ(outcome.get().body, "hello");
}

TEST(Upstream, SeesARefusalThatComesBeforeItsBodyIsRead) {
  TestUpstream upstream;
  TestCaller caller;
  const std::string body(50'000'000, 'b');
  auto outcome = caller.Begin(RequestTo(upstream.port(), body));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("\r\n\r\n");
  peer.Send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
  const CallOutcome got = outcome.get();
  EXPECT_EQ(got.status, 413);
  EXPECT_EQ(got.body, "big");
  EXPECT_EQ(caller.client().stats().connections_idle, 0) << "its body is only half sent";
}

// --- What comes back

TEST(Upstream, GivesBodiesOfAllFramings) {
  EXPECT_EQ(Answered(kOk, End::kStaysOpen).body, "hello");
  const std::string chunked =
      std::string(kChunked) + "3\r\nhel\r\n2;ext=\"x\"\r\nlo\r\n0\r\nTrailer: t\r\n\r\n";
  EXPECT_EQ(Answered(chunked, End::kStaysOpen).body, "hello");
  EXPECT_EQ(Answered("HTTP/1.1 200 OK\r\n\r\nhello", End::kCloses).body, "hello");
  EXPECT_EQ(Answered("HTTP/1.0 200 OK\r\n\r\nhello", End::kCloses).body, "hello");
  EXPECT_EQ(Answered("HTTP/1.1 204 No Content\r\n\r\n", End::kStaysOpen).body, "");
  EXPECT_EQ(Answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", End::kStaysOpen).body, "");
  EXPECT_EQ(Answered("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", End::kStaysOpen).body, "x");
}

TEST(Upstream, ReadsWhatTricklesInByteByByte) {
  TestUpstream upstream;
  TestCaller caller;
  auto outcome = caller.Begin(RequestTo(upstream.port()));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  for (const char byte : std::string(kChunked) + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n") {
    peer.Send({&byte, 1});
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  EXPECT_EQ(outcome.get().body, "hello world");
}

TEST(Upstream, PassesOverInterimResponses) {
  const std::string answer =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  const CallOutcome got = Answered(answer + std::string(kOk), End::kStaysOpen);
  EXPECT_EQ(got.status, 200);
  EXPECT_FALSE(got.headers.Find("Link").has_value());
  EXPECT_EQ(got.body, "hello");
  std::string endless;
  for (int i = 0; i <= limits::kInterimResponsesMax; ++i) {
    endless += "HTTP/1.1 100 Continue\r\n\r\n";
  }
  EXPECT_EQ(CodeOf(Answered(endless, End::kStaysOpen).answered), ErrorCode::kIo);
}

TEST(Upstream, NeverFollowsARedirect) {
  TestUpstream elsewhere;
  const std::string answer =
      "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:" +
      std::to_string(elsewhere.port()) + "/\r\n\r\n";
  const CallOutcome got = Answered(answer, End::kStaysOpen);
  EXPECT_EQ(got.status, 302);
  EXPECT_TRUE(got.headers.Find("location").has_value());
  EXPECT_FALSE(elsewhere.HasCallerWithin(50));
}

TEST(Upstream, TakesALargeHeadButNotAHugeOne) {
  const auto with_head_of = [](size_t bytes) {
    return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: " + std::string(bytes, 'x') +
           "\r\n\r\nhello";
  };
  EXPECT_EQ(Answered(with_head_of(30'000), End::kStaysOpen).body, "hello");
  EXPECT_EQ(CodeOf(Answered(with_head_of(limits::kHeaderBytesMax), End::kStaysOpen).answered),
            ErrorCode::kPayloadTooLarge);
  std::string many = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n";
  for (int i = 0; i < limits::kUpstreamHeaderFieldsMax; ++i) {
    many += "a: b\r\n";
  }
  EXPECT_EQ(CodeOf(Answered(many + "\r\nhello", End::kStaysOpen).answered),
            ErrorCode::kPayloadTooLarge);
}

// --- What is cut, or is no answer

TEST(Upstream, TakesATruncatedBodyForNoAnswer) {
  CallOutcome got = Answered("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", End::kCloses);
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(CodeOf(got.body), ErrorCode::kUnavailable);
  EXPECT_TRUE(got.body.error().message.contains("5 bytes into")) << got.body.error().message;
  EXPECT_EQ(got.reached, Reached::kHead);
  for (const std::string_view part : {"", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"}) {
    got = Answered(std::string(kChunked) + std::string(part), End::kCloses);
    EXPECT_EQ(CodeOf(got.body), ErrorCode::kUnavailable) << part;
  }
}

TEST(Upstream, TakesAResetForACutEvenWhereTheCloseEndsTheBody) {
  const CallOutcome got = Answered("HTTP/1.1 200 OK\r\n\r\nhello", End::kResets);
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(CodeOf(got.body), ErrorCode::kUnavailable);
}

TEST(Upstream, SaysThatARequestWithoutAnAnswerMayHaveBeenDone) {
  for (const End end : {End::kCloses, End::kResets}) {
    const CallOutcome got = Answered("", end);
    EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
    EXPECT_EQ(got.reached, Reached::kSent);
  }
  EXPECT_EQ(Answered("HTTP/1.1 200 OK\r\nConte", End::kCloses).reached, Reached::kSent);
}

TEST(Upstream, RefusesWhatIsNotHttpAtOnce) {
  for (const std::string_view answer :
       {"SSH-2.0-x", "\x15\x03\x01", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n"}) {
    EXPECT_EQ(CodeOf(Answered(answer, End::kStaysOpen).answered), ErrorCode::kIo) << answer;
  }
  EXPECT_EQ(CodeOf(Answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                            End::kStaysOpen)
                       .answered),
            ErrorCode::kUnsupported);
  for (const std::string_view part :
       {"xyz\r\n", "-5\r\n", "\r\n", "5\r\nhelloX\r\n", "FFFFFFFFFFFFFFFFF\r\n"}) {
    const CallOutcome got = Answered(std::string(kChunked) + std::string(part), End::kStaysOpen);
    EXPECT_EQ(CodeOf(got.body), ErrorCode::kIo) << part;
  }
}

// --- Deadlines

TEST(Upstream, GivesUpWhereNothingComes) {
  UpstreamRequest request = RequestTo(0);
  request.deadlines.first_byte_ms = 50;
  CallOutcome got = Answered("", End::kStaysOpen, request);
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(got.reached, Reached::kSent);
  got = Answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2", End::kStaysOpen, request);
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kDeadlineExceeded);

  request = RequestTo(0);
  request.deadlines.idle_ms = 50;
  got = Answered(std::string(kChunked) + "5\r\nhello\r\n", End::kStaysOpen, request);
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(CodeOf(got.body), ErrorCode::kDeadlineExceeded);

  request = RequestTo(0);
  request.deadlines.overall = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  EXPECT_EQ(CodeOf(Answered("", End::kStaysOpen, request).answered), ErrorCode::kDeadlineExceeded);
}

TEST(Upstream, GivesUpWhereNobodyTakesTheRequest) {
  TestUpstream upstream;
  TestCaller caller;
  const std::string body(50'000'000, 'b');
  UpstreamRequest request = RequestTo(upstream.port(), body);
  request.deadlines.first_byte_ms = 100;
  const CallOutcome got = caller.Call(request);
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(got.reached, Reached::kNotSent);
}

TEST(Upstream, ThatRefusesConnectionsWasNotReached) {
  TestUpstream upstream;
  const uint16_t port = upstream.port();
  upstream.Close();
  TestCaller caller;
  const CallOutcome got = caller.Call(RequestTo(port));
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
  EXPECT_EQ(got.reached, Reached::kNotSent);
  EXPECT_EQ(caller.client().stats().connections_in_use, 0);
}

// --- Back-pressure

TEST(Upstream, IsReadNoFasterThanItsReaderAsks) {
  TestUpstream upstream;
  TestCaller caller;
  std::promise<void> go_on;
  auto got = caller.loop().Run<size_t>([&]() -> Task<size_t> {
    const auto call = caller.client().Start(RequestTo(upstream.port()));
    EXPECT_TRUE((co_await call->AwaitHead()).has_value());
    const auto bytes = co_await call->Read();
    go_on.get_future().wait();  // a reader that takes its time; nobody else is on this loop
    co_return bytes.has_value() ? bytes->size() : 0;
  });
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send("HTTP/1.1 200 OK\r\n\r\n");
  constexpr size_t kKernelBuffersMax = 64 << 20;
  EXPECT_LT(peer.SendUntilItBlocks(kKernelBuffersMax), kKernelBuffersMax);
  go_on.set_value();
  const size_t bytes = got.get();
  EXPECT_GT(bytes, 0u);
  EXPECT_LE(bytes, static_cast<size_t>(limits::kUpstreamBufferBytes));
}

}  // namespace
}  // namespace tradewind::http
