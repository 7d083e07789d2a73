// AVX2 with FMA and F16C: the path of most laptops and servers.
#include "engine/kernels/simd_avx2.h"
#include "engine/kernels/table.h"

namespace tradewind::engine {

const Kernels* Avx2Kernels() {
  static constexpr Kernels kernels = MakeTable<Avx2>("avx2");
  __builtin_cpu_init();
  const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                         __builtin_cpu_supports("f16c");
  return supported ? &kernels : nullptr;
}

}  // namespace tradewind::engine
