// Shared by the kernel tests: every table that can run here, and valid random blocks of any type.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine {

// avx512_shape_for_test.cc; nullptr without AVX2.
#if defined(__x86_64__)
const Kernels* Avx512ShapeKernels();
#else
inline const Kernels* Avx512ShapeKernels() {
  return nullptr;
}
#endif

// Every table that this CPU can run; the oracle itself is among them, so that the checks are
// checked too.
inline std::vector<const Kernels*> AttainableKernels() {
  std::vector<const Kernels*> all = {&ScalarKernels()};
  for (const Kernels* kernels : {Avx2Kernels(), Avx512ShapeKernels(), Avx512Kernels()}) {
    if (kernels != nullptr) {
      all.push_back(kernels);
    }
  }
  return all;
}

// Random bytes are valid blocks but for their f16 scales, which may be infinite or NaN: such blocks
// are drawn again.
inline std::vector<std::byte> RandomBlocks(TensorType type, int64_t rows, int64_t cols,
                                           std::mt19937& random) {
  const TensorTypeTraits& traits = TraitsOf(type);
  const int64_t blocks = rows * cols / traits.block_elements;
  std::vector<std::byte> bytes(static_cast<size_t>(blocks * traits.block_bytes));
  std::vector<float> values(traits.block_elements);
  for (int64_t i = 0; i < blocks; ++i) {
    std::byte* const block = bytes.data() + i * traits.block_bytes;
    do {
      for (uint32_t j = 0; j < traits.block_bytes; ++j) {
        block[j] = static_cast<std::byte>(random());
      }
      ScalarDequantizer(type)(block, values);
    } while (!std::ranges::all_of(values, [](float v) { return std::fabs(v) < 1e6f; }));
  }
  return bytes;
}

}  // namespace tradewind::engine
