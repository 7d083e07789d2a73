// Matrix times activations for weights in any block format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "engine/kernels/activation_type.h"
#include "engine/kernels/kernels.h"
#include "engine/quant/types.h"
#include "engine/threads/worker_pool.h"

namespace tradewind::engine {

// A weight matrix: [rows, cols] row-major as it lies in the file, each row whole blocks. A view:
// the file and the packed copy outlive it.
struct Weight {
  TensorType type = TensorType::kF32;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs
  const std::byte* data = nullptr;
  int64_t row_bytes = 0;
  float scale = 1.0f;                 // NVFP4's tensor-level factor; 1 elsewhere
  const std::byte* packed = nullptr;  // strips of packed.h; nullptr: only the file's blocks
  int64_t strip_bytes = 0;

  const std::byte* row(int64_t r) const { return data + r * row_bytes; }
  int64_t strips() const { return (rows + kStripRows - 1) / kStripRows; }
};

// Memory that begins with a cache line: half of the vectors would lie across two lines otherwise.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  LineAllocator() = default;
  template <class U>
  explicit LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kLine); }
  bool operator==(const LineAllocator&) const = default;
};

template <class T>
using LineVector = std::vector<T, LineAllocator<T>>;

// The input of a product: T rows of k floats, `stride` apart.
struct MatMulInput {
  const float* x = nullptr;
  int64_t stride = 0;
  int64_t k = 0;
  int64_t tokens = 0;
  bool fine = false;  // with kMixed: all values as kI16 has them
};

// One product of a group that shares its input: out[t * out_stride + r] = weight[r] . x[t]
struct MatMulOutput {
  const Weight* weight = nullptr;
  float* out = nullptr;    // [T, out_stride]
  int64_t out_stride = 0;  // >= weight->rows
};

// Products of activations with weights. Weights are read once per call, whatever T is. A result
// depends neither on T's other rows nor on the number of workers. Every weight has cols == input.k.
class MatMul {
 public:
  MatMul(const Kernels& kernels, WorkerPool& pool, ActivationType activations);

  // The outputs of every weight of the group, in one parallel region.
  void Run(std::span<const MatMulOutput> outputs, const MatMulInput& input);
  // out += weight . x
  void RunAdd(const MatMulOutput& output, const MatMulInput& input);
  // out = silu(gate . x) * (up . x); gate and up have the same shape.
  void RunGated(const Weight& gate, const Weight& up, float* out, int64_t out_stride,
                const MatMulInput& input);

  // One row of `weight` as f32, from the file's blocks: the embedding lookup. out: [cols]
  void Row(const Weight& weight, int64_t row, std::span<float> out) const;

  // Bytes of scratch for products of this width and batch: of each worker, and of all together.
  static int64_t WorkerBytes(int64_t cols, int64_t tokens);
  static int64_t SharedBytes(int64_t cols, int64_t tokens);

 private:
  struct Scratch {
    std::vector<float> rows;    // 16 dequantised rows of a weight that is not packed
    LineVector<int16_t> codes;  // of a panel of pairs
    LineVector<uint8_t> bytes;  // of a panel of bytes
    LineVector<float> scales, mins;
    LineVector<int32_t> corrections;
    LineVector<float> totals[2];  // [strips together, totals_rows_, 16]; the second for `up`
    std::vector<int8_t> high;     // [tile width, k up to a multiple of 64]
    std::vector<uint8_t> masks;   // [tile width, that / 32]
  };

  void Prepare(std::span<const Weight* const> weights, const MatMulInput& input);
  bool TakesBytePanel(const Weight& weight, int64_t tokens) const;
  void PrepareInput(const MatMulInput& input, bool as_bytes);
  void PrepareTiles(int64_t padded);
  void QuantizeRow(const MatMulInput& input, int64_t token);
  void FillTile(int64_t tile, int64_t rows, Scratch& scratch);
  void GatherOutliers(int64_t tile, int64_t rows, const Scratch& scratch);
  // totals[(s * totals_rows_ + t) * 16 + lane] = rows of strips [begin, end) . x[t]
  void Multiply(const Weight& weight, int64_t begin, int64_t end, const MatMulInput& input,
                Scratch& scratch, float* totals) const;
  void MultiplyPacked(const Weight& weight, int64_t begin, int64_t end, const MatMulInput& input,
                      Scratch& scratch, float* totals) const;
  void MultiplyPlain(const Weight& weight, int64_t strip, const MatMulInput& input,
                     Scratch& scratch, float* totals) const;
  DequantizeFn DequantizerFor(TensorType type) const;

  const Kernels& kernels_;
  WorkerPool& pool_;
  const ActivationType activations_;
  std::vector<Scratch> scratch_;  // per worker

  // The input of the running call as integers, when a weight of it is packed.
  std::vector<int16_t> q_;                   // [T, k up to a multiple of 64]
  std::vector<float> scales_, scaled_sums_;  // [T, that / 32]
  std::vector<int32_t> sums_;                // [T, that / 16]
  PackedInput packed_input_;
  // The same in tiles, when a byte panel will be used.
  std::vector<int8_t> low_;
  std::vector<PackedBlock> blocks_;
  std::vector<PackedOutliers> outliers_;
  std::vector<int32_t> first_;
  PackedTiles tiles_;        // without a width when none will
  int64_t totals_rows_ = 0;  // T, or what fills tiles
  bool fine_ = false;        // with kMixed: the running call has all of it as kI16 has it
};

}  // namespace tradewind::engine
