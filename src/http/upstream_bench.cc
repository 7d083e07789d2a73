// One round trip over a kept connection on loopback: wall time, and the CPU time of the caller's
// event loop (its thread alone). The other side is a thread that answers with prepared bytes. And
// what a stream that waits holds of the heap, on either side.
#include <ctime>
#include <malloc.h>
#include <thread>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "http/upstream_test_support.h"

namespace tradewind::http {
namespace {

using testing::RequestTo;
using testing::TestCaller;
using testing::TestUpstream;

int64_t ThreadCpuNs() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Answers each request of one connection, told by the empty JSON object at its end.
void Answer(TestUpstream& upstream, const std::string& answer) {
  const Fd peer = upstream.AcceptFd();
  std::array<char, 4096> bytes;
  while (true) {
    const ssize_t n = ::recv(peer.get(), bytes.data(), bytes.size(), 0);
    if (n <= 0) {
      return;
    }
    ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
  }
}

struct Cost {
  int64_t cpu_ns = 0;
  int64_t bytes = 0;
};

Task<Cost> CallMany(UpstreamClient& client, uint16_t port, int64_t count) {
  Cost cost;
  const int64_t start = ThreadCpuNs();
  for (int64_t i = 0; i < count; ++i) {
    UpstreamRequest request = RequestTo(port);
    request.headers.Add("Authorization", "Bearer 0123456789abcdef0123456789abcdef");
    request.headers.Add("Content-Type", "application/json");
    const auto call = client.Start(std::move(request));
    TW_CHECK((co_await call->AwaitHead()).has_value());
    while (true) {
      const auto bytes = co_await call->Read();
      TW_CHECK(bytes.has_value());
      if (bytes->empty()) {
        break;
      }
      cost.bytes += static_cast<int64_t>(bytes->size());
    }
  }
  cost.cpu_ns = ThreadCpuNs() - start;
  co_return cost;
}

void RoundTrip(benchmark::State& state, const std::string& answer) {
  constexpr int64_t kPerIteration = 100;
  TestUpstream upstream;
  std::jthread peer([&] { Answer(upstream, answer); });
  TestCaller caller;
  Cost all;
  for (auto _ : state) {
    const Cost cost =
        caller.loop()
            .Run<Cost>([&] { return CallMany(caller.client(), upstream.port(), kPerIteration); })
            .get();
    all.cpu_ns += cost.cpu_ns;
    all.bytes += cost.bytes;
  }
  const auto calls = static_cast<double>(state.iterations() * kPerIteration);
  state.SetItemsProcessed(state.iterations() * kPerIteration);
  state.counters["loop_cpu_us_per_call"] = static_cast<double>(all.cpu_ns) / 1000 / calls;
  state.counters["body_bytes_per_call"] = static_cast<double>(all.bytes) / calls;
  caller.client().Shutdown();
}

std::string Fields() {
  std::string text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
  for (int i = 0; i < 10; ++i) {
    text += "x-ratelimit-limit-requests-" + std::to_string(i) + ": a value of some length\r\n";
  }
  return text;
}

void SmallAnswer(benchmark::State& state) {
  RoundTrip(state, Fields() + "Content-Length: 380\r\n\r\n" + std::string(380, 'x'));
}
BENCHMARK(SmallAnswer)->UseRealTime();

void AnswerInChunks(benchmark::State& state) {
  std::string answer = Fields() + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 200; ++i) {
    answer += "c8\r\n" + std::string(200, 'x') + "\r\n";
  }
  RoundTrip(state, answer + "0\r\n\r\n");
}
BENCHMARK(AnswerInChunks)->UseRealTime();

constexpr int kStreams = 200;

int64_t HeapBytes() {
  return static_cast<int64_t>(::mallinfo2().uordblks);
}

// Calls whose upstream has sent a part of the body and is silent now.
void WaitingCalls(benchmark::State& state) {
  for (auto _ : state) {
    TestUpstream upstream(kStreams);
    TestCaller caller;
    std::vector<Fd> peers(kStreams);
    std::vector<std::future<testing::CallOutcome>> calls;
    calls.reserve(kStreams);
    const int64_t before = HeapBytes();
    for (Fd& peer : peers) {
      calls.push_back(caller.Begin(RequestTo(upstream.port())));
      peer = upstream.AcceptFd();
      const std::string part = Fields() + "Content-Length: 999\r\n\r\n" + std::string(380, 'x');
      ::send(peer.get(), part.data(), part.size(), MSG_NOSIGNAL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    state.counters["heap_bytes_per_call"] =
        static_cast<double>(HeapBytes() - before) / static_cast<double>(kStreams);
    peers.clear();
    for (auto& call : calls) {
      static_cast<void>(call.get());
    }
  }
}
BENCHMARK(WaitingCalls)->Iterations(1);

// Requests whose handler has sent a part of its stream and waits for more.
void WaitingStreams(benchmark::State& state) {
  for (auto _ : state) {
    std::atomic<int> waiting{0};
    const auto server = testing::StartServer([&](Exchange& exchange) -> Task<void> {
      static_cast<void>(co_await exchange.StartStream(200, Headers()));
      static_cast<void>(co_await exchange.Write("data: {}\n\n"));
      const auto wakeup = Wakeup::Create();
      exchange.OnClientLeft([wakeup] { wakeup->Notify(); });
      ++waiting;
      co_await wakeup->Wait(testing::Patience());
    });
    std::vector<std::unique_ptr<testing::TestSocket>> clients(kStreams);
    const int64_t before = HeapBytes();
    for (auto& client : clients) {
      client = std::make_unique<testing::TestSocket>(server->port());
      client->Send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n" +
                   std::string(1500, 'b'));
    }
    TW_CHECK(testing::Eventually([&] { return waiting == kStreams; }));
    state.counters["heap_bytes_per_stream"] =
        static_cast<double>(HeapBytes() - before) / static_cast<double>(kStreams);
    clients.clear();
  }
}
BENCHMARK(WaitingStreams)->Iterations(1);

}  // namespace
}  // namespace tradewind::http
