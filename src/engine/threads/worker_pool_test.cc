#include "engine/threads/worker_pool.h"

#include <chrono>
#include <ctime>
#include <numeric>
#include <sched.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "engine/threads/cpus.h"

namespace tradewind::engine {
namespace {

TEST(WorkerPool, CoversEachIndexExactlyOnceInGrainsForAnySize) {
  for (const int threads : {1, 2, 5}) {
    WorkerPool pool(threads);
    for (const int64_t n : {0, 1, 7, 64, 1000}) {
      for (const int64_t grain : {1, 8, 100}) {
        std::vector<std::atomic<int>> touched(static_cast<size_t>(n));
        pool.ParallelFor(n, grain, [&](int64_t begin, int64_t end, int worker) {
          ASSERT_LT(worker, pool.threads());
          ASSERT_TRUE(begin % grain == 0 && (end % grain == 0 || end == n));
          for (int64_t i = begin; i < end; ++i) {
            touched[static_cast<size_t>(i)]++;
          }
        });
        for (const auto& count : touched) {
          ASSERT_EQ(count.load(), 1);
        }
      }
    }
  }
}

TEST(WorkerPool, WritesOfARegionAreSeenAfterIt) {
  WorkerPool pool(4);
  std::vector<int64_t> values(4096);
  int64_t sum = 0;
  for (int round = 0; round < 500; ++round) {
    pool.ParallelFor(4096, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        values[static_cast<size_t>(i)] += i;
      }
    });
    sum = std::accumulate(values.begin(), values.end(), int64_t{0});
  }
  EXPECT_EQ(sum, int64_t{500} * 4095 * 4096 / 2);
}

TEST(WorkerPool, SleepsBetweenRegions) {
  WorkerPool pool(3);
  std::atomic<int64_t> total{0};
  const auto add = [&](int64_t begin, int64_t end, int) { total += end - begin; };
  for (int i = 0; i < 3; ++i) {
    pool.ParallelFor(100, 1, add);
    // Long past the spinning phase: the next region must wake sleepers.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(total.load(), 300);
  const std::clock_t before = std::clock();  // CPU time of all threads of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double cpu_ms = 1000.0 * static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(cpu_ms, 100.0);  // a spinning helper would have used 600
}

std::vector<int> CpusOfThisThread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(::sched_getaffinity(0, sizeof(set), &set), 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

// Runs regions until the helper of a pool of two has taken part, and says where each may run.
std::vector<std::vector<int>> CpusOfWorkers(WorkerPool& pool) {
  std::vector<std::vector<int>> cpus(2);
  for (int tries = 0; tries < 10000 && (cpus[0].empty() || cpus[1].empty()); ++tries) {
    pool.ParallelFor(8, 1, [&](int64_t, int64_t, int worker) {
      cpus[static_cast<size_t>(worker)] = CpusOfThisThread();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the other one comes
    });
  }
  return cpus;
}

TEST(WorkerPool, PinsEachWorkerToACpuOfItsOwnTheCallersToo) {
  const std::vector<int> allowed = CpusOfThisThread();
  if (allowed.size() < 2) {
    GTEST_SKIP() << "there is one CPU";
  }
  std::thread([&] {  // its affinity ends with it
    WorkerPool floating(2, {});
    floating.PinCaller();
    EXPECT_EQ(CpusOfWorkers(floating), (std::vector{allowed, allowed}));
    WorkerPool pinned(2, {allowed[0], allowed[1]});
    pinned.PinCaller();
    EXPECT_EQ(CpusOfWorkers(pinned), (std::vector<std::vector<int>>{{allowed[0]}, {allowed[1]}}));
  })
      .join();
}

TEST(Cpus, AtLeastOneIsAllowed) {
  EXPECT_GE(AllowedCpus(), 1);
}

TEST(Cpus, ArePinnedOnlyWhenTheyWereSetApartForUs) {
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  EXPECT_TRUE(CpusToPin(static_cast<int>(online)).empty());  // nothing was set apart
  std::thread([&] {  // a mask of its own, which ends with the thread
    cpu_set_t set;
    CPU_ZERO(&set);
    ASSERT_EQ(::sched_getaffinity(0, sizeof(set), &set), 0);
    int first = 0;
    while (!CPU_ISSET(first, &set)) {
      ++first;
    }
    ASSERT_TRUE(PinThisThread(first));
    EXPECT_EQ(CpusToPin(1), online > 1 ? std::vector<int>{first} : std::vector<int>{});
    EXPECT_TRUE(CpusToPin(2).empty());  // more threads than CPUs
  })
      .join();
}

}  // namespace
}  // namespace tradewind::engine
