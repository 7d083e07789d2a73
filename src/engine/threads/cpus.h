// How many CPUs this process may really use.
#pragma once

namespace tradewind::engine {

// The smaller of the affinity mask and the cgroup v2 (or v1) CPU quota, rounded up; at least 1.
int AllowedCpus();

}  // namespace tradewind::engine
