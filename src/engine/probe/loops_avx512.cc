// As loops_avx2.cc, with registers of 512 bits and the dot products of VNNI where the CPU has them.
#include <immintrin.h>

#include "engine/probe/loops.h"

namespace tradewind::engine::internal {
namespace {

constexpr int kSums = 24;  // of 32 registers

uint64_t Read(const std::byte* data, size_t bytes) {
  __m512i sum[4] = {};
  for (size_t i = 0; i < bytes; i += sizeof(sum)) {
    for (size_t j = 0; j < 4; ++j) {
      sum[j] = _mm512_add_epi64(sum[j], _mm512_loadu_si512(data + i + j * sizeof(__m512i)));
    }
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(
      _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]))));
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
  const __m512 a = _mm512_setzero_ps();
  Repeat<__m512>([a](__m512& sum) { asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sum) : "v"(a)); });
}

void Int16() {
  const __m512i a = _mm512_setzero_si512();
  Repeat<__m512i>([a](__m512i& sum) {
    __m512i product;
    asm volatile("vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sum), "=&v"(product) : "v"(a));
  });
}

void Int8() {
  const __m512i a = _mm512_setzero_si512();
  Repeat<__m512i>([a](__m512i& sum) {
    __m512i product;
    asm volatile("vpmaddubsw %2, %2, %1\n\tvpaddw %1, %0, %0" : "+v"(sum), "=&v"(product) : "v"(a));
  });
}

void VnniInt16() {
  const __m512i a = _mm512_setzero_si512();
  Repeat<__m512i>([a](__m512i& sum) { asm volatile("vpdpwssd %1, %1, %0" : "+v"(sum) : "v"(a)); });
}

void VnniInt8() {
  const __m512i a = _mm512_setzero_si512();
  Repeat<__m512i>([a](__m512i& sum) { asm volatile("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(a)); });
}

}  // namespace

const ProbeLoops* Avx512Loops() {
  static constexpr double kRuns = double{kLoopSteps} * kSums;
  static constexpr ProbeLoops plain{
      .read = Read,
      .f32 = {F32, kRuns * 16, "vfmadd231ps zmm"},
      .int16 = {Int16, kRuns * 32, "vpmaddwd zmm"},
      .int8 = {Int8, kRuns * 64, "vpmaddubsw zmm"},
  };
  static constexpr ProbeLoops vnni{
      .read = Read,
      .f32 = plain.f32,
      .int16 = {VnniInt16, kRuns * 32, "vpdpwssd zmm"},
      .int8 = {VnniInt8, kRuns * 64, "vpdpbusd zmm"},
  };
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")) {
    return nullptr;
  }
  return __builtin_cpu_supports("avx512vnni") ? &vnni : &plain;
}

}  // namespace tradewind::engine::internal
