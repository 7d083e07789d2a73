#include "engine/probe/probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

#include <sys/mman.h>

#include "engine/probe/loops.h"

namespace tradewind::engine {
namespace {

using internal::DotLoop;
using internal::ProbeLoops;
using Clock = std::chrono::steady_clock;

constexpr int kWindows = 5;
constexpr std::chrono::milliseconds kReadWindow{60}, kDotWindow{30};
constexpr size_t kReadPiece = 1 << 20;  // bytes between two looks at the clock

const ProbeLoops& Loops() {
  const ProbeLoops* const avx512 = internal::Avx512Loops();
  const ProbeLoops* const avx2 = internal::Avx2Loops();
  return avx512 != nullptr ? *avx512 : avx2 != nullptr ? *avx2 : internal::PlainLoops();
}

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// work(i) on every thread i at the same time; the sum of what they return. Where the system refuses
// a thread, fewer run.
double SumOnThreads(int threads, const std::function<double(int)>& work) {
  std::vector<double> results(static_cast<size_t>(threads));
  std::atomic<bool> go = false;
  std::vector<std::thread> helpers;
  const auto run = [&](int i) {
    go.wait(false);
    results[static_cast<size_t>(i)] = work(i);
  };
  try {
    for (int i = 1; i < threads; ++i) {
      helpers.emplace_back(run, i);
    }
  } catch (const std::system_error&) {  // those that started do the work
  }
  go.store(true);
  go.notify_all();
  run(0);
  for (std::thread& helper : helpers) {
    helper.join();
  }
  return std::accumulate(results.begin(), results.end(), 0.0);
}

// Memory of its own, resident from the start.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_(bytes) {
    void* const data =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data != MAP_FAILED) {
      data_ = static_cast<std::byte*>(data);
#if defined(MADV_HUGEPAGE)
      ::madvise(data, bytes, MADV_HUGEPAGE);  // a wish: small pages cost 3 %
#endif
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) {
      ::munmap(data_, bytes_);
    }
  }
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

// Eight times the last-level cache, so that what stays in it hardly counts; but no more than half
// of what is free.
size_t BufferBytes() {
  constexpr int64_t kMin = int64_t{64} << 20, kMax = int64_t{1} << 30;
  int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  const int64_t wanted = cache > 0 ? 8 * cache : kMax / 2;
  const int64_t free = ::sysconf(_SC_AVPHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
  return static_cast<size_t>(std::max(std::min({wanted, kMax, free / 2}), kMin));
}

// Bytes a second of one thread that reads its part again and again until the window closes.
double ReadRate(const ProbeLoops& loops, const std::byte* data, size_t bytes) {
  const auto begin = Clock::now();
  double total = 0;
  uint64_t seen = 0;
  while (Clock::now() - begin < kReadWindow) {
    for (size_t at = 0; at < bytes && Clock::now() - begin < kReadWindow; at += kReadPiece) {
      seen += loops.read(data + at, kReadPiece);
      total += kReadPiece;
    }
  }
  static std::atomic<uint64_t> sink;  // what nobody uses, a compiler may leave out
  sink.fetch_add(seen, std::memory_order_relaxed);
  return total / SecondsSince(begin);
}

std::optional<DotPeak> Peak(const DotLoop& loop, int threads) {
  if (loop.run == nullptr) {
    return std::nullopt;
  }
  double best = 0;
  for (int i = 0; i < kWindows; ++i) {
    best = std::max(best, SumOnThreads(threads, [&](int) {
                      const auto begin = Clock::now();
                      double macs = 0;
                      do {
                        loop.run();
                        macs += loop.macs;
                      } while (Clock::now() - begin < kDotWindow);
                      return macs / SecondsSince(begin);
                    }));
  }
  return DotPeak{best / 1e9, std::string(loop.mnemonic)};
}

uint64_t PlainRead(const std::byte* data, size_t bytes) {
  uint64_t sum[4] = {};
  for (size_t i = 0; i < bytes; i += sizeof(sum)) {
    uint64_t words[4];
    std::memcpy(words, data + i, sizeof(words));
    for (size_t j = 0; j < 4; ++j) {
      sum[j] += words[j];
    }
  }
  return sum[0] + sum[1] + sum[2] + sum[3];
}

}  // namespace

namespace internal {

const ProbeLoops& PlainLoops() {
  static constexpr ProbeLoops loops{.read = PlainRead, .f32 = {}, .int16 = {}, .int8 = {}};
  return loops;
}

#if !defined(__x86_64__)
const ProbeLoops* Avx2Loops() {
  return nullptr;
}
const ProbeLoops* Avx512Loops() {
  return nullptr;
}
#endif

}  // namespace internal

std::optional<double> ProbeReadBandwidth(int threads) {
  const ProbeLoops& loops = Loops();
  const size_t pieces = BufferBytes() / static_cast<size_t>(threads) / kReadPiece;
  const size_t part = std::max<size_t>(pieces, 1) * kReadPiece;
  const Buffer buffer(part * static_cast<size_t>(threads));
  if (buffer.data() == nullptr) {
    return std::nullopt;
  }
  const auto part_of = [&](int i) { return buffer.data() + part * static_cast<size_t>(i); };
  SumOnThreads(threads, [&](int i) {
    std::memset(part_of(i), 1, part);
    return 0.0;
  });
  std::vector<double> rates;
  for (int i = 0; i < kWindows; ++i) {
    rates.push_back(
        SumOnThreads(threads, [&](int thread) { return ReadRate(loops, part_of(thread), part); }));
  }
  std::ranges::nth_element(rates, rates.begin() + kWindows / 2);
  return rates[kWindows / 2] / 1e9;
}

DotPeaks ProbeDotPeaks(int threads) {
  const ProbeLoops& loops = Loops();
  return {Peak(loops.f32, threads), Peak(loops.int16, threads), Peak(loops.int8, threads)};
}

}  // namespace tradewind::engine
