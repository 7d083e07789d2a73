// The inner loops of the probes: one table per instruction set. Only for probe.cc and its test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tradewind::engine::internal {

// A dot-product loop does a fixed number of multiply-adds in registers: no memory, and enough
// independent sums that only the arithmetic units are the limit. nullptr: no such instruction.
struct DotLoop {
  void (*run)() = nullptr;
  double macs = 0;            // multiply-adds of one run
  std::string_view mnemonic;  // "vpdpbusd zmm"
};

struct ProbeLoops {
  // Loads all `bytes`, a multiple of 1024, and returns a value that depends on each.
  uint64_t (*read)(const std::byte* data, size_t bytes) = nullptr;
  DotLoop f32;    // fused multiply-add
  DotLoop int16;  // products of pairs, added to 32 bits
  DotLoop int8;   // unsigned by signed, products of neighbours added
};

inline constexpr int kLoopSteps = 10'000;  // a run takes microseconds

const ProbeLoops& PlainLoops();  // any CPU: only `read`
// nullptr when this build or this CPU does not have them.
const ProbeLoops* Avx2Loops();
const ProbeLoops* Avx512Loops();

}  // namespace tradewind::engine::internal
