// Matrix times activations for weights in any block format.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/quant/types.h"
#include "engine/threads/worker_pool.h"

namespace tradewind::engine {

// Rows dequantised at a time: 16 rows of 9,216 floats are 576 KiB and stay in a 1 MiB L2; 16 rows
// of the default model's 1,536 are 96 KiB. Fewer would read the activations more often, more would
// spill.
inline constexpr int64_t kPanelRows = 16;

// A weight matrix as it lies in the file: [rows, cols] row-major, each row whole blocks. A view:
// the file outlives it.
struct Weight {
  TensorType type = TensorType::kF32;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs
  const std::byte* data = nullptr;
  int64_t row_bytes = 0;
  float scale = 1.0f;  // NVFP4's tensor-level factor; 1 elsewhere

  bool present() const { return data != nullptr; }
  const std::byte* row(int64_t r) const { return data + r * row_bytes; }
};

// One product of a group that shares its input: out[t * out_stride + r] = weight[r] . x[t]
struct MatMulOutput {
  const Weight* weight = nullptr;
  float* out = nullptr;    // [T, out_stride]
  int64_t out_stride = 0;  // >= weight->rows
};

// Multiplies f32 activations with weights dequantised on the fly, in f32: the exact path. Weights
// are read once per call, whatever T is. The result does not depend on T's other rows or on the
// number of workers.
class MatMul {
 public:
  MatMul(const Kernels& kernels, WorkerPool& pool) : kernels_(kernels), pool_(pool) {
    scratch_.resize(static_cast<size_t>(pool.threads()));
  }

  // x: [T, K] with rows x_stride apart; every weight has cols == k.
  void Run(std::span<const MatMulOutput> outputs, const float* x, int64_t x_stride, int64_t k,
           int64_t tokens);

  // One row of `weight` as f32: the embedding lookup. out: [cols]
  void Row(const Weight& weight, int64_t row, std::span<float> out) const;

 private:
  void RunRows(const MatMulOutput& output, int64_t begin, int64_t end, const float* x,
               int64_t x_stride, int64_t k, int64_t tokens, int worker);
  DequantizeFn DequantizerFor(TensorType type) const;

  const Kernels& kernels_;
  WorkerPool& pool_;
  std::vector<std::vector<float>> scratch_;  // per worker: dequantised rows, [kPanelRows, K]
};

}  // namespace tradewind::engine
