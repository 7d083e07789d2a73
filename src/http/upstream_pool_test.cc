// Connections that are kept, given up, cancelled and destroyed, in every state.
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

// The second of two calls, the first of which was answered by `answer` on a connection that is
// then used by `between`. Expects the second on a connection of its own if `is_fresh`.
void CallTwice(std::string_view answer, bool is_fresh,
               const std::function<void(TestSocket&)>& between = {}) {
  TestUpstream upstream;
  TestCaller caller;
  auto first = caller.Begin(RequestTo(upstream.port()));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send(answer);
  EXPECT_EQ(first.get().body, "hello");
  if (between) {
    between(peer);
  }
  auto second = caller.Begin(RequestTo(upstream.port()));
  if (is_fresh) {
    TestSocket other = upstream.Accept();
    other.ReadUntil("{}");
    other.Send(kOk);
  } else {
    peer.ReadUntil("{}");
    peer.Send(kOk);
  }
  const CallOutcome got = second.get();
  EXPECT_EQ(got.body, "hello") << answer;
  EXPECT_EQ(got.used_kept_connection, !is_fresh);
  const UpstreamStats stats = caller.client().stats();
  EXPECT_EQ(stats.connections_opened, is_fresh ? 2 : 1);
  EXPECT_EQ(stats.connections_reused, is_fresh ? 0 : 1);
  EXPECT_EQ(stats.connections_in_use, 0);
  EXPECT_EQ(stats.retries, 0);
}

// --- Keeping

TEST(UpstreamPool, KeepsAConnectionWhoseAnswerWasReadToItsEnd) {
  CallTwice(kOk, false);
  CallTwice("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false);
  CallTwice("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", false);
  CallTwice("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 5\r\n\r\nhello", false);
}

TEST(UpstreamPool, KeepsNoConnectionThatEndsOrHasMoreToSay) {
  CallTwice("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", true);
  CallTwice("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true);
  CallTwice("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 5\r\n\r\nhello", true);
  CallTwice("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more", true);
}

TEST(UpstreamPool, SeesThatAnUpstreamClosedBeforeItSendsAgain) {
  CallTwice(kOk, true, [](TestSocket& peer) { peer.Close(); });
  CallTwice(kOk, true, [](TestSocket& peer) { peer.Reset(); });
  CallTwice(kOk, true, [](TestSocket& peer) { peer.Send("HTTP/1.1 408 Late\r\n\r\n"); });
}

TEST(UpstreamPool, NeverRepeatsARequestThatMayHaveBeenDone) {
  for (const bool reset : {false, true}) {
    TestUpstream upstream;
    TestCaller caller;
    auto first = caller.Begin(RequestTo(upstream.port()));
    TestSocket peer = upstream.Accept();
    peer.ReadUntil("{}");
    peer.Send(kOk);
    EXPECT_EQ(first.get().body, "hello");
    auto second = caller.Begin(RequestTo(upstream.port()));
    peer.ReadUntil("{}");
    reset ? peer.Reset() : peer.Close();
    const CallOutcome got = second.get();
    EXPECT_TRUE(got.used_kept_connection);
    EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
    EXPECT_EQ(got.reached, Reached::kSent);
    EXPECT_FALSE(upstream.HasCallerWithin(50));
    EXPECT_EQ(caller.client().stats().retries, 0);
  }
}

TEST(UpstreamPool, RepeatsARequestThatAKeptConnectionCouldNotTakeWhole) {
  TestUpstream upstream;
  TestCaller caller;
  auto first = caller.Begin(RequestTo(upstream.port()));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send(kOk);
  EXPECT_EQ(first.get().body, "hello");
  const std::string body(50'000'000, 'b');
  auto second = caller.Begin(RequestTo(upstream.port(), body));
  peer.ReadUntil("\r\n\r\n");
  peer.Reset();
  TestSocket other = upstream.Accept();
  other.ReadUntil("\r\n\r\n");
  EXPECT_EQ(other.ReadExactly(body.size()), body);
  other.Send(kOk);
  const CallOutcome got = second.get();
  EXPECT_EQ(got.body, "hello");
  EXPECT_FALSE(got.used_kept_connection);
  EXPECT_EQ(caller.client().stats().retries, 1);
}

TEST(UpstreamPool, TakesTheConnectionThatWasUsedLastAndKeepsNoMoreThanItMay) {
  UpstreamOptions options;
  options.idle_per_host_max = 2;
  TestUpstream upstream;
  TestCaller caller(options);
  std::vector<std::future<CallOutcome>> calls;
  std::vector<TestSocket> peers;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(caller.Begin(RequestTo(upstream.port())));
    peers.push_back(upstream.Accept());
    peers.back().ReadUntil("{}");
  }
  EXPECT_EQ(caller.client().stats().connections_in_use, 3);
  for (int i = 0; i < 3; ++i) {
    peers[i].Send(kOk);
    EXPECT_EQ(calls[i].get().body, "hello");
  }
  EXPECT_EQ(caller.client().stats().connections_idle, 2);
  EXPECT_EQ(peers[2].ReadAll(), "") << "the third one is closed";
  auto next = caller.Begin(RequestTo(upstream.port()));
  peers[1].ReadUntil("{}");
  peers[1].Send(kOk);
  EXPECT_EQ(next.get().body, "hello");
}

TEST(UpstreamPool, ClosesWhatNobodyUses) {
  UpstreamOptions options;
  options.idle_keep_ms = 20;
  TestUpstream upstream;
  TestCaller caller(options);
  auto call = caller.Begin(RequestTo(upstream.port()));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send(kOk);
  EXPECT_EQ(call.get().body, "hello");
  EXPECT_EQ(peer.ReadAll(), "");
  EXPECT_TRUE(Eventually([&] { return caller.client().stats().connections_idle == 0; }));
}

TEST(UpstreamPool, ShutdownClosesUnusedConnectionsAndBeginsNoCall) {
  TestUpstream upstream;
  TestCaller caller;
  auto call = caller.Begin(RequestTo(upstream.port()));
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send(kOk);
  EXPECT_EQ(call.get().body, "hello");
  caller.client().Shutdown();
  EXPECT_EQ(peer.ReadAll(), "");
  const CallOutcome got = caller.Call(RequestTo(upstream.port()));
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
  EXPECT_EQ(got.reached, Reached::kNotSent);
}

// --- Ending early, in every state

// Brings a call into a state, which ends with `reached`; `peer` is its upstream's side, if there
// is one.
struct Vanishing {
  std::string name;
  std::function<UpstreamRequest(TestUpstream&)> request;
  std::function<std::optional<TestSocket>(TestUpstream&)> begin;
  Reached reached;
};

std::promise<void>* name_is_asked = nullptr;
std::shared_future<void> name_may_be_found;

Result<Addresses> ResolveWhenAllowed(const std::string&) {
  name_is_asked->set_value();
  name_may_be_found.wait();
  return Addresses{*ParseIpAddress("127.0.0.1")};
}

std::vector<Vanishing> States() {
  static const std::string big(50'000'000, 'b');
  const auto plain = [](TestUpstream& upstream) { return RequestTo(upstream.port()); };
  const auto after = [](std::string_view answer) {
    return [answer](TestUpstream& upstream) -> std::optional<TestSocket> {
      TestSocket peer = upstream.Accept();
      peer.ReadUntil("{}");
      peer.Send(answer);
      return peer;
    };
  };
  const auto by_tls = [](TestUpstream& upstream) {
    UpstreamRequest request = RequestTo(upstream.port());
    request.url.scheme = "https";
    return request;
  };
  const auto accept_only = [](TestUpstream& upstream) -> std::optional<TestSocket> {
    return upstream.Accept();
  };
  const auto with_big_body = [](TestUpstream& upstream) { return RequestTo(upstream.port(), big); };
  return {
      {"shaking hands", by_tls, accept_only, Reached::kNotSent},
      {"sending", with_big_body, accept_only, Reached::kNotSent},
      {"waiting for the head", plain, after(""), Reached::kSent},
      {"in the head", plain, after("HTTP/1.1 200 OK\r\nConte"), Reached::kSent},
      {"waiting for the body", plain, after("HTTP/1.1 200 OK\r\n\r\n"), Reached::kHead},
      {"in the body", plain, after("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
       Reached::kHead},
  };
}

TEST(UpstreamCancel, ClosesTheConnectionAtOnceInEveryState) {
  for (const Vanishing& state : States()) {
    SCOPED_TRACE(state.name);
    TestUpstream upstream;
    TestCaller caller;
    auto outcome = caller.Begin(state.request(upstream));
    auto peer = state.begin(upstream);
    EXPECT_EQ(outcome.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
    caller.Cancel();
    const CallOutcome got = outcome.get();
    EXPECT_EQ(CodeOf(got.body), ErrorCode::kCancelled);
    EXPECT_EQ(got.reached, state.reached);
    peer->ReadAll();  // ends only with the connection
    EXPECT_EQ(caller.client().stats().connections_in_use, 0);
    EXPECT_EQ(caller.client().stats().connections_idle, 0);
  }
}

TEST(UpstreamCancel, EndsALookUpAndAConnectionThatIsBeingMade) {
  std::promise<void> asked;
  std::promise<void> found;
  name_is_asked = &asked;
  name_may_be_found = found.get_future().share();
  UpstreamOptions options;
  options.resolve = ResolveWhenAllowed;
  TestUpstream upstream(0);
  TestSocket in_the_backlog(upstream.port());
  TestCaller caller(options);
  UpstreamRequest request = RequestTo(upstream.port());
  request.url.host = "slow.example";
  auto outcome = caller.Begin(request);
  asked.get_future().wait();
  caller.Cancel();
  EXPECT_EQ(CodeOf(outcome.get().answered), ErrorCode::kCancelled);
  found.set_value();
  // A full backlog answers nothing, so that the next one waits for its connection.
  auto connecting = caller.Begin(RequestTo(upstream.port()));
  EXPECT_TRUE(Eventually([&] { return caller.client().stats().connections_in_use == 1; }));
  caller.Cancel();
  EXPECT_EQ(CodeOf(connecting.get().answered), ErrorCode::kCancelled);
  EXPECT_EQ(caller.client().stats().connections_in_use, 0);
}

TEST(UpstreamCancel, IsNothingAfterTheEnd) {
  TestUpstream upstream;
  TestCaller caller;
  auto got = caller.loop().Run<bool>([&]() -> Task<bool> {
    const auto call = caller.client().Start(RequestTo(upstream.port()));
    EXPECT_TRUE((co_await call->AwaitHead()).has_value());
    EXPECT_EQ((co_await call->Read()).value_or("failed"), "hello");
    EXPECT_EQ((co_await call->Read()).value_or("failed"), "");
    EXPECT_EQ((co_await call->Read()).value_or("failed"), "");
    call->Cancel();
    call->Cancel();
    co_return true;
  });
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send(kOk);
  EXPECT_TRUE(got.get());
  EXPECT_EQ(caller.client().stats().connections_idle, 1);
}

TEST(UpstreamCall, ClosesWhenItIsDestroyedBeforeTheEnd) {
  TestUpstream upstream;
  TestCaller caller;
  auto got = caller.loop().Run<bool>([&]() -> Task<bool> {
    const auto call = caller.client().Start(RequestTo(upstream.port()));
    co_return (co_await call->AwaitHead()).has_value();
  });
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
  EXPECT_TRUE(got.get());
  peer.ReadAll();
  EXPECT_TRUE(Eventually([&] { return caller.client().stats().connections_in_use == 0; }));
}

// Under a leak checker: the end of a loop destroys calls where they wait.
TEST(UpstreamCall, EndsWithItsLoopInEveryState) {
  for (const Vanishing& state : States()) {
    SCOPED_TRACE(state.name);
    TestUpstream upstream;
    TestCaller caller;
    auto outcome = caller.Begin(state.request(upstream));
    auto peer = state.begin(upstream);
    EXPECT_EQ(outcome.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
    caller.loop().End();
    peer->ReadAll();
    EXPECT_THROW(outcome.get(), std::future_error) << "its promise is gone with it";
  }
}

// --- Where it may go

TEST(UpstreamGuard, WantsTlsAndPublicAddressesUnlessTheProviderIsAllowedMore) {
  TestUpstream upstream;
  TestCaller caller;
  UpstreamRequest request = RequestTo(upstream.port());
  request.allow_private = false;
  CallOutcome got = caller.Call(request);
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kPermissionDenied);
  request.url.scheme = "https";
  got = caller.Call(request);
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kPermissionDenied);
  EXPECT_EQ(got.reached, Reached::kNotSent);
  EXPECT_FALSE(upstream.HasCallerWithin(20));
  EXPECT_EQ(caller.client().stats().connections_opened, 0);
}

TEST(UpstreamGuard, ConnectsToTheCheckedAddressAndAsksForTheNameOnce) {
  TestUpstream upstream;
  std::atomic<int> asked{0};
  UpstreamOptions options;
  options.resolve = [&](const std::string& host) -> Result<Addresses> {
    EXPECT_EQ(host, "site.example");
    // A rebinding name server: good at first, then the metadata service.
    return Addresses{*ParseIpAddress(++asked == 1 ? "127.0.0.1" : "169.254.169.254")};
  };
  TestCaller caller(options);
  UpstreamRequest request = RequestTo(upstream.port());
  request.url.host = "site.example";
  for (int i = 0; i < 2; ++i) {
    auto call = caller.Begin(request);
    TestSocket peer = upstream.Accept();
    EXPECT_TRUE(peer.ReadUntil("{}").contains("\r\nHost: site.example:"));
    peer.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    EXPECT_EQ(call.get().body, "hello");
  }
  EXPECT_EQ(asked, 1);
}

TEST(UpstreamGuard, RefusesANameWithOneForbiddenAddressAmongMany) {
  TestUpstream upstream;
  for (const std::string_view forbidden :
       {"169.254.169.254", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0", "64:ff9b::7f00:1"}) {
    UpstreamOptions options;
    options.resolve = [&](const std::string&) -> Result<Addresses> {
      return Addresses{*ParseIpAddress("127.0.0.1"), *ParseIpAddress(forbidden)};
    };
    TestCaller caller(options);
    UpstreamRequest request = RequestTo(upstream.port());
    request.url.host = "site.example";
    const CallOutcome got = caller.Call(request);
    EXPECT_EQ(CodeOf(got.answered), ErrorCode::kPermissionDenied) << forbidden;
    EXPECT_FALSE(got.answered.error().message.contains(forbidden));
  }
  EXPECT_FALSE(upstream.HasCallerWithin(20));
}

TEST(UpstreamGuard, TriesTheNextAddressWhenOneRefuses) {
  TestUpstream upstream;
  UpstreamOptions options;
  options.resolve = [](const std::string&) -> Result<Addresses> {
    return Addresses{*ParseIpAddress("127.0.0.2"), *ParseIpAddress("127.0.0.1")};
  };
  TestCaller caller(options);
  UpstreamRequest request = RequestTo(upstream.port());
  request.url.host = "site.example";
  auto call = caller.Begin(request);
  TestSocket peer = upstream.Accept();
  peer.ReadUntil("{}");
  peer.Send(kOk);
  EXPECT_EQ(call.get().body, "hello");
}

TEST(UpstreamGuard, SaysThatANameHasNoAddressAndForgetsItSoon) {
  std::atomic<int> asked{0};
  UpstreamOptions options;
  options.resolve = [&](const std::string&) -> Result<Addresses> {
    ++asked;
    return Fail(ErrorCode::kUnavailable, "cannot find the address of gone.example");
  };
  TestCaller caller(options);
  UpstreamRequest request = RequestTo(1);
  request.url.host = "gone.example";
  const CallOutcome got = caller.Call(request);
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
  EXPECT_EQ(got.reached, Reached::kNotSent);
  EXPECT_TRUE(Eventually([&] {
    caller.Call(request);
    return asked >= 2;
  }));
}

}  // namespace
}  // namespace tradewind::http
