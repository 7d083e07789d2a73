#include "engine/kernels/matmul.h"

#include <algorithm>

#include "base/check.h"

namespace tradewind::engine {
namespace {

// Columns per pass over a panel, so that they stay in L1 (8 x 576 floats = 18 KiB, 8 x 1,536 = 48
// KiB).
constexpr int64_t kPanelColumns = 8;

}  // namespace

DequantizeFn MatMul::DequantizerFor(TensorType type) const {
  const DequantizeFn fast = kernels_.dequantizer(type);
  return fast != nullptr ? fast : ScalarDequantizer(type);
}

void MatMul::Row(const Weight& weight, int64_t row, std::span<float> out) const {
  TW_CHECK(row >= 0 && row < weight.rows && static_cast<int64_t>(out.size()) == weight.cols);
  DequantizerFor(weight.type)(weight.row(row), out);
  if (weight.scale != 1.0f) {
    std::ranges::transform(out, out.begin(), [&](float v) { return v * weight.scale; });
  }
}

void MatMul::Run(std::span<const MatMulOutput> outputs, const float* x, int64_t x_stride, int64_t k,
                 int64_t tokens) {
  int64_t rows = 0;
  for (const MatMulOutput& output : outputs) {
    TW_CHECK(output.weight->cols == k && output.out_stride >= output.weight->rows);
    rows += output.weight->rows;
  }
  for (auto& scratch : scratch_) {
    scratch.resize(std::max(scratch.size(), static_cast<size_t>(kPanelRows * k)));
  }
  // The rows of all weights of the group are numbered through, so that one region serves q, k and v
  // together.
  pool_.ParallelFor(rows, kPanelRows, [&](int64_t begin, int64_t end, int worker) {
    int64_t first = 0;
    for (const MatMulOutput& output : outputs) {
      const int64_t from = std::max(begin - first, int64_t{0});
      const int64_t to = std::min(end - first, output.weight->rows);
      if (from < to) {
        RunRows(output, from, to, x, x_stride, k, tokens, worker);
      }
      first += output.weight->rows;
    }
  });
}

void MatMul::RunRows(const MatMulOutput& output, int64_t begin, int64_t end, const float* x,
                     int64_t x_stride, int64_t k, int64_t tokens, int worker) {
  const Weight& weight = *output.weight;
  const DequantizeFn dequantize = DequantizerFor(weight.type);
  float* const panel = scratch_[static_cast<size_t>(worker)].data();
  // One column uses a row once: eight rows fill the tile and stay in L1, or close to it.
  const int64_t panel_rows = tokens == 1 ? kPanelRows / 2 : kPanelRows;
  for (int64_t row = begin; row < end; row += panel_rows) {
    const int64_t rows = std::min(panel_rows, end - row);
    for (int64_t r = 0; r < rows; ++r) {
      dequantize(weight.row(row + r), {panel + r * k, static_cast<size_t>(k)});
    }
    if (weight.scale != 1.0f) {
      std::transform(panel, panel + rows * k, panel, [&](float v) { return v * weight.scale; });
    }
    for (int64_t t = 0; t < tokens; t += kPanelColumns) {
      const int64_t columns = std::min(kPanelColumns, tokens - t);
      kernels_.dot_tile(panel, rows, x + t * x_stride, x_stride, columns, k,
                        output.out + t * output.out_stride + row, output.out_stride);
    }
  }
}

}  // namespace tradewind::engine
