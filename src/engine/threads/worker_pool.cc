#include "engine/threads/worker_pool.h"

#include <algorithm>
#include <system_error>

#include "base/check.h"

namespace tradewind::engine {
namespace {

// About 20 microseconds: longer than the serial work between two regions, far shorter than a
// scheduler tick.
constexpr int kSpins = 2000;
// Chunks per worker: enough to even out a disturbed core, few enough that the shared counter stays
// cold.
constexpr int64_t kChunksPerWorker = 4;

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

WorkerPool::WorkerPool(int threads) {
  TW_CHECK(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) {
    try {
      helpers_.emplace_back([this, worker] { HelperLoop(worker); });
    } catch (const std::system_error&) {
      break;  // a process limit: run with those we have
    }
  }
}

WorkerPool::~WorkerPool() {
  stopping_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& helper : helpers_) {
    helper.join();
  }
}

int64_t WorkerPool::ChunkSize(int64_t n, int64_t grain) const {
  const int64_t chunks = threads() * kChunksPerWorker;
  const int64_t even = (n + chunks - 1) / chunks;
  return (even + grain - 1) / grain * grain;
}

void WorkerPool::Run(const Region& region) {
  region_ = &region;
  next_.store(0, std::memory_order_relaxed);
  running_.store(static_cast<int>(helpers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  Work(region, 0);
  // The helpers are in their last chunk: wait by spinning, but let others run if the cores are
  // oversubscribed.
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      CpuRelax();
    } else {
      std::this_thread::yield();
    }
  }
}

void WorkerPool::Work(const Region& region, int worker) {
  for (;;) {
    const int64_t begin = next_.fetch_add(region.chunk, std::memory_order_relaxed);
    if (begin >= region.n) {
      return;
    }
    region.call(region.context, begin, std::min(begin + region.chunk, region.n), worker);
  }
}

void WorkerPool::HelperLoop(int worker) {
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; epoch_.load(std::memory_order_acquire) == seen; ++spins) {
      if (spins < kSpins) {
        CpuRelax();
      } else {
        epoch_.wait(seen, std::memory_order_acquire);
      }
    }
    ++seen;
    if (stopping_.load(std::memory_order_relaxed)) {
      return;
    }
    Work(*region_, worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace tradewind::engine
