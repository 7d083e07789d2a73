#include "engine/threads/worker_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "engine/threads/cpus.h"

namespace tradewind::engine {
namespace {

// 20 to 100 microseconds, by how long the CPU's pause is: longer than the serial work between two
// regions, far shorter than a scheduler tick.
constexpr int kSpins = 2000;
// A worker that asks gets its even share of what is left, divided by this: large chunks first, and
// small ones at the end, so that all are done at about the same time.
constexpr int64_t kShareDivisor = 2;

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInside = kOpen - 1;

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

WorkerPool::WorkerPool(int threads) : WorkerPool(threads, CpusToPin(threads)) {}

WorkerPool::WorkerPool(int threads, std::vector<int> cpus) : cpus_(std::move(cpus)) {
  TW_CHECK(threads >= 1 && (cpus_.empty() || static_cast<int>(cpus_.size()) == threads));
  for (int worker = 1; worker < threads; ++worker) {
    const int cpu = cpus_.empty() ? -1 : cpus_[static_cast<size_t>(worker)];
    try {
      helpers_.emplace_back([this, worker, cpu] {
        if (cpu >= 0) {
          PinThisThread(cpu);
        }
        HelperLoop(worker);
      });
    } catch (const std::system_error&) {
      break;  // a process limit: run with those we have
    }
  }
}

void WorkerPool::PinCaller() {
  if (!cpus_.empty()) {
    PinThisThread(cpus_[0]);
  }
}

WorkerPool::~WorkerPool() {
  stopping_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& helper : helpers_) {
    helper.join();
  }
}

void WorkerPool::Run(const Region& region) {
  region_ = region;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t number = (door_.load(std::memory_order_relaxed) >> 32) + 1;
  door_.store(number << 32 | kOpen);
  epoch_.store(static_cast<uint32_t>(number));
  // Sequentially consistent with the sleeper's count: either it is seen here, or it sees the epoch.
  if (sleepers_.load() != 0) {
    epoch_.notify_all();
  }
  Work(0);
  door_.fetch_and(~kOpen, std::memory_order_acq_rel);
  // Those inside are in their last chunk: wait by spinning, but let others run if the cores are
  // oversubscribed.
  for (int spins = 0; (door_.load(std::memory_order_acquire) & kInside) != 0; ++spins) {
    if (spins < kSpins) {
      CpuRelax();
    } else {
      std::this_thread::yield();
    }
  }
}

void WorkerPool::Work(int worker) {
  const int64_t divisor = kShareDivisor * threads();
  for (int64_t begin = next_.load(std::memory_order_relaxed); begin < region_.n;) {
    const int64_t even = (region_.n - begin) / divisor;
    const int64_t chunk = std::max(even / region_.grain, int64_t{1}) * region_.grain;
    if (next_.compare_exchange_weak(begin, begin + chunk, std::memory_order_relaxed)) {
      region_.call(region_.context, begin, std::min(begin + chunk, region_.n), worker);
      begin = next_.load(std::memory_order_relaxed);
    }
  }
}

// Goes into the open region unless it is the one already `seen`.
bool WorkerPool::Enter(uint32_t& seen) {
  uint64_t door = door_.load(std::memory_order_relaxed);
  while ((door & kOpen) != 0 && static_cast<uint32_t>(door >> 32) != seen) {
    if (door_.compare_exchange_weak(door, door + 1, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      seen = static_cast<uint32_t>(door >> 32);
      return true;
    }
  }
  return false;
}

void WorkerPool::HelperLoop(int worker) {
  uint32_t seen = 0;   // the last region worked in
  uint32_t epoch = 0;  // the last one noticed
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (Enter(seen)) {
      Work(worker);
      door_.fetch_sub(1, std::memory_order_release);
      epoch = seen;
    }
    int spins = 0;
    while (epoch_.load(std::memory_order_acquire) == epoch && spins < kSpins) {
      CpuRelax();
      ++spins;
    }
    if (spins == kSpins) {
      sleepers_.fetch_add(1);
      epoch_.wait(epoch);
      sleepers_.fetch_sub(1);
    }
    epoch = epoch_.load(std::memory_order_acquire);
  }
}

}  // namespace tradewind::engine
