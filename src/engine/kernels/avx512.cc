// AVX-512 with VNNI (Ice Lake, Zen 4 and later). Older AVX-512 has no fused integer dot product and
// runs the AVX2 path.
#include "engine/kernels/simd_avx512.h"
#include "engine/kernels/table.h"

namespace tradewind::engine {

const Kernels* Avx512Kernels() {
  static constexpr Kernels kernels = MakeTable<Avx512>("avx512");
  __builtin_cpu_init();
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("f16c") &&
                         __builtin_cpu_supports("fma");
  return supported ? &kernels : nullptr;
}

}  // namespace tradewind::engine
