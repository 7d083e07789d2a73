// How many CPUs this process may really use.
#pragma once

#include <vector>

namespace tradewind::engine {

// The smaller of the affinity mask and the cgroup v2 (or v1) CPU quota, rounded up; at least 1.
int AllowedCpus();

// The CPUs that `threads` threads may be pinned to, one each; empty when they should float. Pinning
// helps only who is alone: the affinity mask must leave us exactly `threads` CPUs of a machine that
// has more, which somebody set apart on purpose. Where all CPUs are ours to share with everybody,
// or a quota may stop us in the middle of a region, the scheduler knows better.
std::vector<int> CpusToPin(int threads);

// Pins the calling thread. False when the system refuses, which changes nothing but speed.
bool PinThisThread(int cpu);

}  // namespace tradewind::engine
