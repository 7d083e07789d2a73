// AVX2 with FMA and F16C: the path of most laptops and servers.
#include "engine/kernels/attention_functions.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/packed_functions.h"
#include "engine/kernels/simd_avx2.h"
#include "engine/kernels/vector_functions.h"

namespace tradewind::engine {

const Kernels* Avx2Kernels() {
  static constexpr Kernels kernels{
      .name = "avx2",
      .dequantizer = Dequantizer<Avx2>,
      .dot_tile = DotTile<Avx2>,
      .quantize = Quantize<Avx2>,
      .dot_strip = SelectDotStrip<Avx2>,
      .open_panel = SelectOpenPanel<Avx2>,
      .dot_panel = DotPanel<Avx2>,
      .open_byte_panel = SelectOpenBytePanel<Avx2>,
      .dot_byte_panel = DotBytePanel<Avx2>,
      .narrow_to_bytes = NarrowToBytes<Avx2>,
      .rms_norm = RmsNorm<Avx2>,
      .silu_multiply = SiluMultiply<Avx2>,
      .add = Add<Avx2>,
      .attend_f16 = Attend<Avx2, PlainBlock<Avx2, uint16_t>>,
      .attend_f32 = Attend<Avx2, PlainBlock<Avx2, float>>,
      .merge_attention = MergeAttention<Avx2>,
      .finish_attention = FinishAttention<Avx2>,
      .to_half = ToHalf<Avx2>,
  };
  __builtin_cpu_init();
  const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                         __builtin_cpu_supports("f16c");
  return supported ? &kernels : nullptr;
}

}  // namespace tradewind::engine
