// A fixed set of threads that run one parallel region at a time: the engine's thread plus N-1
// helpers.
//
// Between regions helpers spin for a moment (a decode step has some 150 regions, microseconds
// apart) and then sleep in the kernel: an idle engine uses no CPU. A region never waits for a
// helper that has not come: on a machine whose cores are taken by others, the caller does the work
// alone at the speed of one thread, instead of waiting for a helper to be scheduled.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace tradewind::engine {

class WorkerPool {
 public:
  // `threads` >= 1 counts the caller: WorkerPool(1) starts none. If the system refuses a thread,
  // fewer run. When the CPUs are ours alone (CpusToPin), each helper is pinned to one of its own.
  explicit WorkerPool(int threads);
  // With the CPUs to pin to: [threads], the caller's first; empty: nobody is pinned.
  WorkerPool(int threads, std::vector<int> cpus);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();  // joins

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  // Pins the calling thread, if helpers are pinned, to the CPU that was left for it: beside a
  // pinned helper, which cannot move away, both would run at half speed. For the one thread that
  // calls from now on.
  void PinCaller();

  // Calls body(begin, end, worker) over disjoint ranges that cover [0, n), each a multiple of
  // `grain` long but the last; worker < threads() names the scratch to use. Ranges are handed out
  // as workers ask, so a slow core delays nobody; which worker gets which range must not change the
  // result. `body` must not throw. Returns when all are done. One caller at a time, not nested.
  template <class Body>
  void ParallelFor(int64_t n, int64_t grain, const Body& body) {
    if (n <= grain || helpers_.empty()) {
      if (n > 0) {
        body(int64_t{0}, n, 0);
      }
      return;
    }
    Run({[](const void* context, int64_t begin, int64_t end, int worker) {
           (*static_cast<const Body*>(context))(begin, end, worker);
         },
         &body, n, grain});
  }

 private:
  struct Region {
    void (*call)(const void* context, int64_t begin, int64_t end, int worker) = nullptr;
    const void* context = nullptr;
    int64_t n = 0;
    int64_t grain = 1;
  };

  void Run(const Region& region);
  void Work(int worker);
  void HelperLoop(int worker);
  bool Enter(uint32_t& seen);

  const std::vector<int> cpus_;
  std::vector<std::thread> helpers_;
  // The running region. Written while no helper is inside, read only by those inside.
  Region region_;
  // How many helpers are inside (low 31 bits), whether the door is open (bit 31), and the number of
  // the region (upper half): a helper that comes late finds the door closed.
  alignas(64) std::atomic<uint64_t> door_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // one more per region: what helpers sleep on
  alignas(64) std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<int64_t> next_{0};  // first index not handed out yet
  alignas(64) std::atomic<bool> stopping_{false};
};

}  // namespace tradewind::engine
