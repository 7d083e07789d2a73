// Many connections, addresses, wakeups, and the end of a server.
#include <fcntl.h>

#include <gtest/gtest.h>

#include "http/open_files.h"
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

// --- Many connections

TEST(HttpManyConnections, TwoHundredStreamAtOnceOnTwoLoops) {
  ServerOptions options = TestOptions();
  options.threads = 2;
  std::atomic<int> streaming{0};
  const auto server = StartServer(
      [&](Exchange& exchange) -> Task<void> {
        EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
        ++streaming;
        const auto wakeup = Wakeup::Create();
        while (streaming < 200) {
          co_await wakeup->Wait(steady_clock::now() + milliseconds(5));
        }
        EXPECT_TRUE((co_await exchange.Write(exchange.request().path)).has_value());
        EXPECT_TRUE((co_await exchange.Finish()).has_value());
      },
      options);
  std::vector<std::unique_ptr<TestSocket>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<TestSocket>(server->port()));
    clients.back()->Send("GET /" + std::to_string(1000 + i) + " HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(clients[i]
                    ->ReadUntil("\r\n0\r\n\r\n")
                    .ends_with("5\r\n/" + std::to_string(1000 + i) + "\r\n0\r\n\r\n"));
  }
  EXPECT_EQ(server->connections(), 200);
}

TEST(HttpManyConnections, BeyondTheBoundWaitForAPlace) {
  ServerOptions options = TestOptions();
  options.connections_max = 2;
  const auto server = StartServer(Echo, options);
  auto first = std::make_unique<TestSocket>(server->port());
  TestSocket second(server->port());
  first->Send(kGet);
  first->ReadResponse();
  second.Send(kGet);
  second.ReadResponse();
  TestSocket third(server->port());
  third.Send(kGet);
  EXPECT_TRUE(third.IsSilentFor(100));
  EXPECT_EQ(server->connections(), 2);
  first.reset();
  EXPECT_TRUE(third.ReadResponse().starts_with("HTTP/1.1 200 "));
}

TEST(HttpManyConnections, AreNoMoreThanHalfOfTheFilesThatMayBeOpen) {
  EXPECT_EQ(ConnectionsFor(8192, 1 << 20), 8192);
  EXPECT_EQ(ConnectionsFor(8192, 1024), (1024 - limits::kFilesReserved) / 2);
  EXPECT_EQ(ConnectionsFor(2, 1024), 2);
  EXPECT_GT(ConnectionsFor(8192, 0), 0);
  EXPECT_GE(RaiseOpenFilesMax(), 64);
}

// --- The address

TEST(HttpServerAddress, ThatIsTakenIsNamed) {
  for (const int threads : {1, 2}) {
    ServerOptions options = TestOptions();
    options.threads = threads;
    const auto server = StartServer(Echo, options);
    options.port = server->port();
    const auto second = Server::Start(options, Echo, testing::OnError);
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, ErrorCode::kAddressInUse);
    EXPECT_TRUE(second.error().message.contains("127.0.0.1:" + std::to_string(server->port())))
        << second.error().message;
  }
}

TEST(HttpServerAddress, IsFreeAgainAfterTheServer) {
  ServerOptions options = TestOptions();
  {
    const auto server = StartServer(Echo, options);
    options.port = server->port();
    TestSocket client(options.port);
    client.Send(kGet);
    client.ReadResponse();
  }
  EXPECT_NE(StartServer(Echo, options), nullptr);
}

TEST(HttpServerAddress, MayBeIpv6OrLocalhostButNoOtherName) {
  ServerOptions options = TestOptions();
  for (const std::string host : {"localhost", "0.0.0.0", "::1", "[::1]", "::"}) {
    options.host = host;
    const auto server = Server::Start(options, Echo, testing::OnError);
    if (!server.has_value() && host.contains(':')) {
      GTEST_SKIP() << "this machine has no IPv6: " << server.error().message;
    }
    ASSERT_TRUE(server.has_value()) << server.error().message;
    EXPECT_NE((*server)->port(), 0);
  }
  for (const std::string host : {"", "example.org", "300.1.1.1", "192.0.2.1"}) {
    options.host = host;
    const auto server = Server::Start(options, Echo, testing::OnError);
    ASSERT_FALSE(server.has_value()) << host;
    EXPECT_EQ(server.error().code, ErrorCode::kInvalidArgument) << server.error().message;
  }
}

TEST(HttpServerAddress, LoopbackPeersAreKnownAlsoOnADualStackSocket) {
  ServerOptions options = TestOptions();
  const Handler handler = [](Exchange& exchange) -> Task<void> {
    const bool loopback = exchange.request().peer_is_loopback;
    static_cast<void>(co_await exchange.Respond(TextResponse(200, loopback ? "near" : "far")));
  };
  for (const std::string host : {"127.0.0.1", "::"}) {
    options.host = host;
    const auto server = Server::Start(options, handler, testing::OnError);
    if (!server.has_value()) {
      GTEST_SKIP() << "this machine has no IPv6: " << server.error().message;
    }
    TestSocket client((*server)->port());
    client.Send(kGet);
    EXPECT_TRUE(client.ReadResponse().ends_with("near"));
  }
}

// --- Wakeups

TEST(HttpWakeup, NoNotifyIsLostUnderContention) {
  constexpr int kRounds = 2000;
  std::atomic<int> produced{0};
  std::atomic<int> consumed{0};
  std::atomic<bool> timed_out{false};
  std::jthread producer;
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    const auto wakeup = Wakeup::Create();
    producer = std::jthread([&, wakeup] {
      for (int i = 0; i < kRounds; ++i) {
        ++produced;
        wakeup->Notify();
        if (i % 7 == 0) {
          std::this_thread::yield();
        }
      }
    });
    while (consumed < kRounds && !timed_out) {
      timed_out = !co_await wakeup->Wait(Patience());
      consumed = produced.load();
    }
    co_await Echo(exchange);
  });
  TestSocket client(server->port());
  client.Send(kGet);
  EXPECT_TRUE(client.ReadResponse().ends_with("GET /? "));
  EXPECT_FALSE(timed_out);
}

TEST(HttpWakeup, TellsADeadlineFromANotify) {
  const auto server = StartServer([](Exchange& exchange) -> Task<void> {
    const auto wakeup = Wakeup::Create();
    EXPECT_FALSE(co_await wakeup->Wait(steady_clock::now() + milliseconds(10)));
    EXPECT_FALSE(co_await wakeup->Wait(steady_clock::time_point::min()));
    wakeup->Notify();
    wakeup->Notify();
    EXPECT_TRUE(co_await wakeup->Wait(steady_clock::time_point::max())) << "kept for the next wait";
    EXPECT_FALSE(co_await wakeup->Wait(steady_clock::now() + milliseconds(10))) << "but once only";
    co_await Echo(exchange);
  });
  TestSocket client(server->port());
  client.Send(kGet);
  EXPECT_TRUE(client.ReadResponse().ends_with("GET /? "));
}

TEST(HttpWakeup, MayOutliveTheServer) {
  std::shared_ptr<Wakeup> wakeup;
  std::atomic<bool> waiting{false};
  auto held = std::make_shared<int>(1);
  auto server = StartServer([&, held](Exchange&) -> Task<void> {
    const auto frame_holds = held;
    wakeup = Wakeup::Create();
    waiting = true;
    co_await wakeup->Wait(Patience());
    ADD_FAILURE() << "was notified after the server's end";
  });
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return waiting.load(); }));
  server.reset();
  EXPECT_EQ(held.use_count(), 1) << "a suspended handler's frame was not destroyed";
  wakeup->Notify();
}

TEST(HttpWakeup, MayBeNotifiedWhileTheServerEnds) {
  for (int round = 0; round < 20; ++round) {
    std::shared_ptr<Wakeup> wakeup;
    std::atomic<bool> waiting{false};
    auto server = StartServer([&](Exchange&) -> Task<void> {
      wakeup = Wakeup::Create();
      waiting = true;
      while (true) {
        co_await wakeup->Wait(Patience());
      }
    });
    TestSocket client(server->port());
    client.Send(kGet);
    ASSERT_TRUE(Eventually([&] { return waiting.load(); }));
    std::atomic<bool> stop{false};
    const std::jthread notifier([&] {
      while (!stop) {
        wakeup->Notify();
      }
    });
    server.reset();
    stop = true;
  }
}

// --- Draining

TEST(HttpDrain, LetsARunningStreamFinishAndClosesTheIdle) {
  std::shared_ptr<Wakeup> wakeup;
  std::atomic<bool> waiting{false};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    wakeup = Wakeup::Create();
    EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
    waiting = true;
    EXPECT_TRUE(co_await wakeup->Wait(Patience()));
    EXPECT_TRUE((co_await exchange.Write("end")).has_value());
    EXPECT_TRUE((co_await exchange.Finish()).has_value());
  });
  TestSocket idle(server->port());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return waiting.load() && server->connections() == 2; }));
  std::optional<bool> drained;
  std::jthread drain([&] { drained = server->Drain(testing::kPatienceMs); });
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_TRUE(Eventually([&] { return server->connections() == 1; }));
  wakeup->Notify();
  EXPECT_TRUE(client.ReadAll().ends_with("3\r\nend\r\n0\r\n\r\n"));
  drain.join();
  EXPECT_TRUE(drained.value());
  EXPECT_EQ(server->connections(), 0);
}

TEST(HttpDrain, AnswersWithConnectionClose) {
  std::atomic<bool> go{false};
  std::atomic<bool> waiting{false};
  const auto server = StartServer([&](Exchange& exchange) -> Task<void> {
    const auto wakeup = Wakeup::Create();
    waiting = true;
    while (!go) {
      co_await wakeup->Wait(steady_clock::now() + milliseconds(2));
    }
    co_await Echo(exchange);
  });
  TestSocket idle(server->port());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return waiting.load(); }));
  std::jthread drain([&] { EXPECT_TRUE(server->Drain(testing::kPatienceMs)); });
  EXPECT_EQ(idle.ReadAll(), "");
  go = true;
  EXPECT_TRUE(client.ReadAll().contains("Connection: close\r\n"));
}

TEST(HttpDrain, CutsWhatIsLeftAtTheDeadline) {
  LeaveProbe probe;
  const auto server = StartServer(probe.handler());
  TestSocket client(server->port());
  client.Send(kGet);
  ASSERT_TRUE(Eventually([&] { return probe.waiting.load(); }));
  EXPECT_FALSE(server->Drain(50));
  probe.ExpectLeft();
  EXPECT_EQ(server->connections(), 0);
  EXPECT_FALSE(client.ReadAll().ends_with("0\r\n\r\n"));
}

TEST(HttpDrain, OfAnIdleServerIsImmediateAndMayBeRepeated) {
  const auto server = StartServer(Echo);
  EXPECT_TRUE(server->Drain(testing::kPatienceMs));
  EXPECT_TRUE(server->Drain(testing::kPatienceMs));
}

TEST(HttpDrain, AnswersWhatComesOnIdleConnectionsDuringTheGrace) {
  const auto server = StartServer(Echo);
  TestSocket client(server->port());
  ASSERT_TRUE(Eventually([&] { return server->connections() == 1; }));
  std::jthread drain(
      [&] { EXPECT_TRUE(server->Drain(testing::kPatienceMs, testing::kPatienceMs)); });
  // The socket is gone once nobody can connect any more.
  ASSERT_TRUE(Eventually([&] { return ::fcntl(server->listener(), F_GETFD) < 0; }));
  client.Send(kGet);
  EXPECT_TRUE(client.ReadAll().contains("Connection: close\r\n"));
}

TEST(HttpListener, GoesFromOneServerToAnotherWithoutARefusal) {
  auto old_server = StartServer(Echo);
  ServerOptions options = TestOptions();
  options.listener = ::dup(old_server->listener());
  EXPECT_EQ(AddressOfListener(options.listener)->port, old_server->port());
  EXPECT_EQ(AddressOfListener(options.listener)->host, "127.0.0.1");
  auto second = StartServer(Echo, options);
  EXPECT_EQ(second->port(), old_server->port());
  EXPECT_TRUE(old_server->Drain(testing::kPatienceMs));
  for (int i = 0; i < 20; ++i) {
    TestSocket client(second->port());
    client.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(client.ReadAll().starts_with("HTTP/1.1 200 "));
  }
  old_server.reset();
  TestSocket client(second->port());
  client.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.ReadAll().starts_with("HTTP/1.1 200 "));
}

TEST(HttpListener, MustBeATcpSocketThatListens) {
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int unconnected = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  for (const int bad : {file, unconnected, 987654}) {
    EXPECT_EQ(AddressOfListener(bad).error().code, ErrorCode::kInvalidArgument);
    ServerOptions options = TestOptions();
    options.listener = bad;
    const auto refused =
        Server::Start(options, Echo, [](const Error&) { return Response(); });  // closes it
    ASSERT_FALSE(refused.has_value());
  }
  EXPECT_LT(::fcntl(file, F_GETFD), 0);
}

TEST(HttpServerEnd, DestroysSuspendedHandlersOfAllLoops) {
  auto held = std::make_shared<int>(1);
  std::atomic<int> waiting{0};
  ServerOptions options = TestOptions();
  options.threads = 3;
  auto server = StartServer(
      [&, held](Exchange& exchange) -> Task<void> {
        const auto frame_holds = held;
        const auto wakeup = Wakeup::Create();
        exchange.OnClientLeft([wakeup, held] { wakeup->Notify(); });
        EXPECT_TRUE((co_await exchange.StartStream(200, Headers())).has_value());
        ++waiting;
        co_await wakeup->Wait(Patience());
      },
      options);
  std::vector<std::unique_ptr<TestSocket>> clients;
  for (int i = 0; i < 30; ++i) {
    clients.push_back(std::make_unique<TestSocket>(server->port()));
    clients.back()->Send(kGet);
  }
  ASSERT_TRUE(Eventually([&] { return waiting == 30; }));
  server.reset();
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace tradewind::http
