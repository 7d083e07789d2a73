// The bytes of all request bodies together are bounded; small requests always find room.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "http/server.h"
#include "http/test_support.h"

namespace tradewind::http {
namespace {

using testing::Eventually;
using testing::StartServer;
using testing::TestOptions;
using testing::TestSocket;

constexpr size_t kRoom = 400'000, kUncounted = 1000;

ServerOptions TightOptions() {
  ServerOptions options = TestOptions();
  options.body_bytes_max = 600'000;
  options.body_bytes_in_flight_max = kRoom;
  options.body_bytes_uncounted = kUncounted;
  return options;
}

std::string Head(size_t length, const std::string& more = "") {
  return "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(length) + "\r\n" +
         more + "\r\n";
}

// Answers 200 with the body's size.
Task<void> Measure(Exchange& exchange) {
  static_cast<void>(co_await exchange.Respond(
      testing::TextResponse(200, "size " + std::to_string(exchange.request().body.size()))));
}

void ExpectAnswered(TestSocket& client, size_t length) {
  EXPECT_TRUE(client.ReadResponse().ends_with("\r\n\r\nsize " + std::to_string(length)));
}
void ExpectNoRoom(TestSocket& client) {
  const std::string response = client.ReadAll();
  EXPECT_TRUE(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n")) << response;
  EXPECT_TRUE(response.contains("\r\nRetry-After: ")) << response;
  EXPECT_TRUE(response.contains("unavailable: ")) << "on_error makes the body: " << response;
  EXPECT_FALSE(client.was_reset());
}
// Whether a request of `length` finds room now.
bool FindsRoom(const Server& server, size_t length) {
  TestSocket client(server.port());
  client.Send(Head(length, "Expect: 100-continue\r\n"));
  return client.ReadUntil("\r\n").starts_with("HTTP/1.1 100 ");
}

TEST(HttpBodyBudget, LargeBodiesBeyondItAreToldToComeBackBeforeTheyAreSent) {
  const auto server = StartServer(Measure, TightOptions());
  TestSocket first(server->port());
  first.Send(Head(300'000) + std::string(250'000, 'x'));
  EXPECT_TRUE(Eventually([&] { return !FindsRoom(*server, 200'000); }));
  TestSocket second(server->port());
  second.Send(Head(200'000));
  ExpectNoRoom(second);
  EXPECT_TRUE(FindsRoom(*server, 100'000)) << "what fits beside it is taken";

  first.Send(std::string(50'000, 'x'));
  ExpectAnswered(first, 300'000);
  EXPECT_TRUE(Eventually([&] { return FindsRoom(*server, 200'000); }))
      << "an idle connection holds nothing";
}

TEST(HttpBodyBudget, SmallBodiesAreNeverRefusedForIt) {
  const auto server = StartServer(Measure, TightOptions());
  TestSocket large(server->port());
  large.Send(Head(kRoom + kUncounted) + std::string(kRoom + kUncounted - 1, 'x'));
  EXPECT_TRUE(Eventually([&] { return !FindsRoom(*server, kUncounted + 2); }));
  std::vector<std::unique_ptr<TestSocket>> small;
  for (int i = 0; i < 50; ++i) {
    small.push_back(std::make_unique<TestSocket>(server->port()));
    small.back()->Send(Head(kUncounted) + std::string(kUncounted, 'x'));
  }
  for (const auto& client : small) {
    ExpectAnswered(*client, kUncounted);
  }
  large.Send("x");
  ExpectAnswered(large, kRoom + kUncounted);
}

TEST(HttpBodyBudget, ABodyThatOutgrowsItIsRefusedOnTheWay) {
  const auto server = StartServer(Measure, TightOptions());
  TestSocket first(server->port());
  first.Send(Head(300'000) + std::string(299'999, 'x'));
  EXPECT_TRUE(Eventually([&] { return !FindsRoom(*server, 200'000); }));
  TestSocket chunked(server->port());  // announces nothing
  chunked.Send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n");
  chunked.Send(std::string(200'000, 'x') + "\r\n0\r\n\r\n");
  chunked.ShutdownWrite();
  ExpectNoRoom(chunked);
  first.Send("x");
  ExpectAnswered(first, 300'000);
}

TEST(HttpBodyBudget, WhatOnlyAnnouncesItselfHoldsNothing) {
  const auto server = StartServer(Measure, TightOptions());
  std::vector<std::unique_ptr<TestSocket>> idle;
  for (int i = 0; i < 10; ++i) {
    idle.push_back(std::make_unique<TestSocket>(server->port()));
    idle.back()->Send(Head(300'000, "Expect: 100-continue\r\n"));
    EXPECT_TRUE(idle.back()->ReadUntil("\r\n\r\n").starts_with("HTTP/1.1 100 "));
  }
  TestSocket client(server->port());
  client.Send(Head(300'000) + std::string(300'000, 'x'));
  ExpectAnswered(client, 300'000);
}

TEST(HttpBodyBudget, ABodyCountsUntilItsAnswerIsOut) {
  std::atomic<bool> release = false;
  const auto server = StartServer(
      [&](Exchange& exchange) -> Task<void> {
        const auto wakeup = Wakeup::Create();
        while (!release) {
          static_cast<void>(co_await wakeup->Wait(std::chrono::steady_clock::now() +
                                                  std::chrono::milliseconds(5)));
        }
        co_await Measure(exchange);
      },
      TightOptions());
  TestSocket client(server->port());
  client.Send(Head(300'000) + std::string(300'000, 'x'));
  EXPECT_TRUE(Eventually([&] { return !FindsRoom(*server, 200'000); }));
  release = true;
  ExpectAnswered(client, 300'000);
  EXPECT_TRUE(Eventually([&] { return FindsRoom(*server, 200'000); }));
}

TEST(HttpBodyBudget, ClientsThatVanishGiveTheirPartBack) {
  const auto server = StartServer(Measure, TightOptions());
  for (int i = 0; i < 5; ++i) {
    TestSocket client(server->port());
    client.Send(Head(300'000) + std::string(299'000, 'x'));
    EXPECT_TRUE(Eventually([&] { return !FindsRoom(*server, 300'000); }));
    i % 2 == 0 ? client.Reset() : client.Close();
    EXPECT_TRUE(Eventually([&] { return FindsRoom(*server, 300'000); }));
  }
}

}  // namespace
}  // namespace tradewind::http
