// The instructions are written out, since a compiler would lift the products of unchanging operands
// out of the loop. Source of the operand forms: Intel's Software Developer's Manual, volume 2.
#include <immintrin.h>

#include "engine/probe/loops.h"

namespace tradewind::engine::internal {
namespace {

constexpr int kSums = 12;  // latency 4 x 2 a cycle = 8 at least; 16 registers

uint64_t Read(const std::byte* data, size_t bytes) {
  __m256i sum[4] = {};
  for (size_t i = 0; i < bytes; i += sizeof(sum)) {
    for (size_t j = 0; j < 4; ++j) {
      const auto* at = reinterpret_cast<const __m256i*>(data + i + j * sizeof(__m256i));
      sum[j] = _mm256_add_epi64(sum[j], _mm256_loadu_si256(at));
    }
  }
  const __m256i all =
      _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  alignas(32) uint64_t parts[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), all);
  return parts[0] + parts[1] + parts[2] + parts[3];
}

// Every sum has a register of its own: without the unrolling they would lie in memory.
template <class Register, class Step>
inline void Repeat(const Step& step) {
  Register sums[kSums] = {};
  for (int i = 0; i < kLoopSteps; ++i) {
#pragma GCC unroll 32
    for (Register& sum : sums) {
      step(sum);
    }
  }
}

void F32() {
  const __m256 a = _mm256_setzero_ps();
  Repeat<__m256>([a](__m256& sum) { asm volatile("vfmadd231ps %1, %1, %0" : "+x"(sum) : "x"(a)); });
}

void Int16() {
  const __m256i a = _mm256_setzero_si256();
  Repeat<__m256i>([a](__m256i& sum) {
    __m256i product;
    asm volatile("vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(a));
  });
}

void Int8() {
  const __m256i a = _mm256_setzero_si256();
  Repeat<__m256i>([a](__m256i& sum) {
    __m256i product;
    asm volatile("vpmaddubsw %2, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(a));
  });
}

}  // namespace

const ProbeLoops* Avx2Loops() {
  static constexpr double kRuns = double{kLoopSteps} * kSums;
  static constexpr ProbeLoops loops{
      .read = Read,
      .f32 = {F32, kRuns * 8, "vfmadd231ps ymm"},
      .int16 = {Int16, kRuns * 16, "vpmaddwd ymm"},
      .int8 = {Int8, kRuns * 32, "vpmaddubsw ymm"},
  };
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &loops : nullptr;
}

}  // namespace tradewind::engine::internal
