// The code that only AVX-512 runs (its tile sizes, byte sums of any length) over AVX2's lanes, so
// that machines without AVX-512 test it. The intrinsics of simd_avx512.h themselves are not run.
#include "engine/kernels/simd_avx2.h"
#include "engine/kernels/table.h"
#include "engine/kernels/test_support.h"

namespace tradewind::engine {
namespace {

struct Avx512Shape : Avx2 {
  static constexpr int kTileColumns = 12;
  static constexpr int kByteTileColumns = 8;
  static constexpr int kDirectColumns = 8;
  static constexpr int kFloatRows = 4;
  static constexpr int kFloatColumns = 4;
  static constexpr int kAttentionRows = 12;
  static constexpr int kAttentionSums = 24;

  // Four products of bytes per int32, as vpdpbusd has them: maddubs would saturate.
  static constexpr int ByteSteps(int) { return 8; }
  static I AddBytes(I sums, I codes, I x) {
    const I even = SetInt(0x00FF00FF);
    const I x_even = {_mm256_srai_epi16(_mm256_slli_epi16(x.a, 8), 8),
                      _mm256_srai_epi16(_mm256_slli_epi16(x.b, 8), 8)};
    const I x_odd = {_mm256_srai_epi16(x.a, 8), _mm256_srai_epi16(x.b, 8)};
    return MulAddPairs(MulAddPairs(sums, And(codes, even), x_even), WordShiftRight<8>(codes),
                       x_odd);
  }
  static I MulBytes(I codes, I x) { return AddBytes(SetInt(0), codes, x); }
  static I Widen(I sums) { return sums; }
  static I WidenTimes256(I sums) { return ShiftLeft<8>(sums); }
};

}  // namespace

const Kernels* Avx512ShapeKernels() {
  static constexpr Kernels kernels = MakeTable<Avx512Shape>("avx512_shape");
  return Avx2Kernels() != nullptr ? &kernels : nullptr;
}

}  // namespace tradewind::engine
