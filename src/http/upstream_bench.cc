// One round trip over a kept connection on loopback: wall time, and the CPU time of the caller's
// event loop (its thread alone). The other side is a thread that answers with prepared bytes.
#include <ctime>
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

}  // namespace
}  // namespace tradewind::http
