// The code that only AVX-512 runs (its tile sizes, byte sums of any length), over AVX2's lanes, so
// that machines without AVX-512 test it.
#include "engine/kernels/simd_avx2.h"
#include "engine/kernels/table.h"
#include "engine/kernels/test_support.h"

namespace tradewind::engine {
namespace {

struct Avx512Shape : Avx2 {
  static constexpr int kTileColumns = 12;
  static constexpr int kDirectColumns = 8;
  static constexpr int kFloatRows = 4;
  static constexpr int kFloatColumns = 4;
};

}  // namespace

const Kernels* Avx512ShapeKernels() {
  static constexpr Kernels kernels = MakeTable<Avx512Shape>("avx512_shape");
  return Avx2Kernels() != nullptr ? &kernels : nullptr;
}

}  // namespace tradewind::engine
