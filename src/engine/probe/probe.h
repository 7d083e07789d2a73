// The limits of this machine, measured: what a model's speed is held against.
#pragma once

#include <optional>
#include <string>

namespace tradewind::engine {

// Gigabytes (1e9) that `threads` threads together read from memory in a second: a buffer far larger
// than the last-level cache, in huge pages where the system gives them, one stream per thread.
// Median of several windows; takes about half a second and up to 1 GiB, given back at the end.
// nullopt when the memory is refused.
std::optional<double> ProbeReadBandwidth(int threads);

struct DotPeak {
  double gmac_per_s = 0;    // 1e9 multiply-adds a second, all threads together
  std::string instruction;  // "vpdpbusd zmm"
};

// The best of several windows, for what this CPU has; nullopt for what it has not. Takes about half
// a second.
struct DotPeaks {
  std::optional<DotPeak> f32, int16, int8;
};
DotPeaks ProbeDotPeaks(int threads);

}  // namespace tradewind::engine
