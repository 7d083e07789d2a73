// AVX-512 with VNNI (Ice Lake, Zen 4 and later). Older AVX-512 has no fused integer dot product and
// runs the AVX2 path.
#include "engine/kernels/attention_functions.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/packed_functions.h"
#include "engine/kernels/simd_avx512.h"
#include "engine/kernels/vector_functions.h"

namespace tradewind::engine {

const Kernels* Avx512Kernels() {
  static constexpr Kernels kernels{
      .name = "avx512",
      .dequantizer = Dequantizer<Avx512>,
      .dot_tile = DotTile<Avx512>,
      .quantize = Quantize<Avx512>,
      .dot_strip = SelectDotStrip<Avx512>,
      .open_panel = SelectOpenPanel<Avx512>,
      .dot_panel = DotPanel<Avx512>,
      .open_byte_panel = SelectOpenBytePanel<Avx512>,
      .dot_byte_panel = DotBytePanel<Avx512>,
      .narrow_to_bytes = NarrowToBytes<Avx512>,
      .rms_norm = RmsNorm<Avx512>,
      .silu_multiply = SiluMultiply<Avx512>,
      .add = Add<Avx512>,
      .attend_f16 = Attend<Avx512, PlainBlock<Avx512, uint16_t>>,
      .attend_f32 = Attend<Avx512, PlainBlock<Avx512, float>>,
      .merge_attention = MergeAttention<Avx512>,
      .finish_attention = FinishAttention<Avx512>,
      .to_half = ToHalf<Avx512>,
  };
  __builtin_cpu_init();
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("f16c") &&
                         __builtin_cpu_supports("fma");
  return supported ? &kernels : nullptr;
}

}  // namespace tradewind::engine
