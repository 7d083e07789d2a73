#include "engine/kernels/matmul.h"

#include <algorithm>

#include "base/check.h"

namespace tradewind::engine {
namespace {

// Up to here the packed weights are multiplied straight from memory. Beyond it they are opened up
// into a panel first, which then serves all columns from L1: opening costs as much as 11 columns
// gain by it (AVX2, Q4_0).
constexpr int64_t kDirectColumnsMax = 8;
// Strips that share a stretch of the activations while it is in L2: 256 tokens x 512 columns of
// int16 are 256 KiB.
constexpr int64_t kStripsTogether = 4;
// Columns per pass over dequantised rows, so that they stay in L1.
constexpr int64_t kPlainColumns = 8;
// Rows of activations are quick to quantise; a parallel region costs about a microsecond.
constexpr int64_t kQuantizeGrainRows = 4;

template <class T>
void Grow(std::vector<T>& buffer, int64_t size) {
  buffer.resize(std::max(buffer.size(), static_cast<size_t>(size)));
}

constexpr int64_t RoundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Visits what lies of strips [begin, end) in `weight`: (totals of the first token, row, rows,
// token).
template <class Visit>
void ForEachStripRow(const Weight& weight, int64_t begin, int64_t end, int64_t tokens,
                     const float* totals, const Visit& visit) {
  for (int64_t strip = begin; strip < end; ++strip) {
    const int64_t row = strip * kStripRows;
    const int64_t rows = std::min(kStripRows, weight.rows - row);
    for (int64_t t = 0; t < tokens; ++t) {
      visit(totals + ((strip - begin) * tokens + t) * kStripRows, row, rows, t);
    }
  }
}

}  // namespace

MatMul::MatMul(const Kernels& kernels, WorkerPool& pool, ActivationType activations)
    : kernels_(kernels), pool_(pool), activations_(activations) {
  scratch_.resize(static_cast<size_t>(pool.threads()));
}

int64_t MatMul::WorkerBytes(int64_t cols, int64_t tokens) {
  const int64_t totals = 2 * kStripsTogether * tokens * kStripRows;
  return 4 * (kStripRows * cols + totals + 2 * kPanelColumnsMax) +
         3 * kPanelColumnsMax * kStripRows;
}

int64_t MatMul::SharedBytes(int64_t cols, int64_t tokens) {
  const int64_t padded = RoundUp(cols, 64);
  return tokens * (3 * padded + 2 * 4 * padded / 32 + 4 * padded / 16);
}

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

void MatMul::Run(std::span<const MatMulOutput> outputs, const MatMulInput& input) {
  constexpr size_t kWeightsMax = 8;
  TW_CHECK(outputs.size() <= kWeightsMax);
  const Weight* weights[kWeightsMax];
  int64_t strips = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    weights[i] = outputs[i].weight;
    TW_CHECK(outputs[i].out_stride >= weights[i]->rows);
    strips += weights[i]->strips();
  }
  Prepare({weights, outputs.size()}, input);
  // The strips of all weights are numbered through, so that one region serves q, k and v together.
  pool_.ParallelFor(strips, 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch& scratch = scratch_[static_cast<size_t>(worker)];
    int64_t first = 0;
    for (const MatMulOutput& output : outputs) {
      const int64_t own = output.weight->strips();
      const int64_t to = std::min(end - first, own);
      for (int64_t s = std::max(begin - first, int64_t{0}); s < to; s += kStripsTogether) {
        const int64_t stop = std::min(s + kStripsTogether, to);
        float* const totals = scratch.totals[0].data();
        Multiply(*output.weight, s, stop, input, scratch, totals);
        ForEachStripRow(*output.weight, s, stop, input.tokens, totals,
                        [&](const float* from, int64_t row, int64_t rows, int64_t t) {
                          std::copy(from, from + rows, output.out + t * output.out_stride + row);
                        });
      }
      first += own;
    }
  });
}

void MatMul::RunAdd(const MatMulOutput& output, const MatMulInput& input) {
  const Weight& weight = *output.weight;
  TW_CHECK(output.out_stride >= weight.rows);
  Prepare({{output.weight}}, input);
  pool_.ParallelFor(weight.strips(), 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch& scratch = scratch_[static_cast<size_t>(worker)];
    for (int64_t s = begin; s < end; s += kStripsTogether) {
      const int64_t stop = std::min(s + kStripsTogether, end);
      float* const totals = scratch.totals[0].data();
      Multiply(weight, s, stop, input, scratch, totals);
      ForEachStripRow(weight, s, stop, input.tokens, totals,
                      [&](const float* from, int64_t row, int64_t rows, int64_t t) {
                        kernels_.add(output.out + t * output.out_stride + row, from, rows);
                      });
    }
  });
}

void MatMul::RunGated(const Weight& gate, const Weight& up, float* out, int64_t out_stride,
                      const MatMulInput& input) {
  TW_CHECK(gate.rows == up.rows && out_stride >= gate.rows);
  Prepare({{&gate, &up}}, input);
  pool_.ParallelFor(gate.strips(), 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch& scratch = scratch_[static_cast<size_t>(worker)];
    for (int64_t s = begin; s < end; s += kStripsTogether) {
      const int64_t stop = std::min(s + kStripsTogether, end);
      float* const gates = scratch.totals[0].data();
      float* const ups = scratch.totals[1].data();
      Multiply(gate, s, stop, input, scratch, gates);
      Multiply(up, s, stop, input, scratch, ups);
      kernels_.silu_multiply(gates, ups, (stop - s) * input.tokens * kStripRows);
      ForEachStripRow(gate, s, stop, input.tokens, gates,
                      [&](const float* from, int64_t row, int64_t rows, int64_t t) {
                        std::copy(from, from + rows, out + t * out_stride + row);
                      });
    }
  });
}

// Buffers grow here, because a helper thread must not run out of memory.
void MatMul::Prepare(std::span<const Weight* const> weights, const MatMulInput& input) {
  bool any_packed = false;
  bool any_plain = false;
  for (const Weight* weight : weights) {
    TW_CHECK(weight->cols == input.k);
    (weight->packed != nullptr ? any_packed : any_plain) = true;
  }
  for (Scratch& scratch : scratch_) {
    for (auto& totals : scratch.totals) {
      Grow(totals, kStripsTogether * input.tokens * kStripRows);
    }
    if (any_plain) {
      Grow(scratch.rows, kStripRows * input.k);
    }
    Grow(scratch.codes, kPanelColumnsMax * kStripRows);
    Grow(scratch.bytes, kPanelColumnsMax * kStripRows);
    Grow(scratch.scales, kPanelColumnsMax);
    Grow(scratch.mins, kPanelColumnsMax);
  }
  if (any_packed) {
    QuantizeInput(input);
  }
}

void MatMul::QuantizeInput(const MatMulInput& input) {
  const int64_t padded = RoundUp(input.k, 64);
  Grow(q_, input.tokens * padded);
  Grow(scales_, input.tokens * padded / 32);
  Grow(scaled_sums_, input.tokens * padded / 32);
  Grow(sums_, input.tokens * padded / 16);
  const bool as_bytes = activations_ == ActivationType::kI8 && input.tokens > kDirectColumnsMax &&
                        kernels_.narrow_to_bytes != nullptr;
  if (as_bytes) {
    Grow(bytes_, input.tokens * padded);
  }
  packed_input_ = {.q = q_.data(),
                   .q_stride = padded,
                   .bytes = as_bytes ? bytes_.data() : nullptr,
                   .scales = scales_.data(),
                   .scaled_sums = scaled_sums_.data(),
                   .scales_stride = padded / 32,
                   .sums = sums_.data(),
                   .sums_stride = padded / 16};
  const float q_max = activations_ == ActivationType::kI8 ? 127.0f : 32767.0f;
  pool_.ParallelFor(input.tokens, kQuantizeGrainRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      int16_t* const q = q_.data() + t * padded;
      float* const scales = scales_.data() + t * padded / 32;
      int32_t* const sums = sums_.data() + t * padded / 16;
      kernels_.quantize(input.x + t * input.stride, input.k, q_max, q, scales, sums);
      std::fill(q + input.k, q + padded, int16_t{0});
      if (as_bytes) {
        kernels_.narrow_to_bytes(q, padded, bytes_.data() + t * padded);
      }
      std::fill(scales + input.k / 32, scales + padded / 32, 0.0f);
      std::fill(sums + input.k / 16, sums + padded / 16, 0);
      float* const scaled_sums = scaled_sums_.data() + t * padded / 32;
      for (int64_t i = 0; i < padded / 32; ++i) {
        scaled_sums[i] = scales[i] * static_cast<float>(sums[2 * i] + sums[2 * i + 1]);
      }
    }
  });
}

void MatMul::Multiply(const Weight& weight, int64_t begin, int64_t end, const MatMulInput& input,
                      Scratch& scratch, float* totals) const {
  if (weight.packed != nullptr) {
    MultiplyPacked(weight, begin, end, input, scratch, totals);
    return;
  }
  for (int64_t strip = begin; strip < end; ++strip) {
    MultiplyPlain(weight, strip, input, scratch,
                  totals + (strip - begin) * input.tokens * kStripRows);
  }
}

void MatMul::MultiplyPacked(const Weight& weight, int64_t begin, int64_t end,
                            const MatMulInput& input, Scratch& scratch, float* totals) const {
  const int64_t per_strip = input.tokens * kStripRows;
  if (input.tokens <= kDirectColumnsMax) {
    const auto dot = kernels_.dot_strip(weight.type);
    for (int64_t strip = begin; strip < end; ++strip) {
      dot(weight.packed + strip * weight.strip_bytes, input.k, packed_input_, input.tokens,
          totals + (strip - begin) * per_strip, kStripRows);
    }
    return;
  }
  const PackedLayout& layout = *FindPackedLayout(weight.type);
  const auto open_bytes =
      packed_input_.bytes != nullptr ? kernels_.open_byte_panel(weight.type) : nullptr;
  const auto open = open_bytes != nullptr ? open_bytes : kernels_.open_panel(weight.type);
  const auto dot = open_bytes != nullptr ? kernels_.dot_byte_panel : kernels_.dot_panel;
  PackedPanel panel{.codes = scratch.codes.data(),
                    .bytes = scratch.bytes.data(),
                    .scales = scratch.scales.data(),
                    .mins = scratch.mins.data(),
                    .group = layout.group,
                    .has_min = layout.has_min(),
                    .zero = layout.zero,
                    .bits = layout.bits};
  std::fill(totals, totals + (end - begin) * per_strip, 0.0f);
  for (int64_t k = 0; k < input.k; k += kPanelColumnsMax) {
    panel.k = std::min(kPanelColumnsMax, RoundUp(input.k - k, layout.unit));
    for (int64_t strip = begin; strip < end; ++strip) {
      open(weight.packed + strip * weight.strip_bytes + k / layout.unit * layout.unit_bytes(),
           panel);
      dot(panel, packed_input_.From(k), input.tokens, totals + (strip - begin) * per_strip);
    }
  }
}

void MatMul::MultiplyPlain(const Weight& weight, int64_t strip, const MatMulInput& input,
                           Scratch& scratch, float* totals) const {
  const DequantizeFn dequantize = DequantizerFor(weight.type);
  const int64_t first = strip * kStripRows;
  const int64_t rows = std::min(kStripRows, weight.rows - first);
  float* const values = scratch.rows.data();
  for (int64_t r = 0; r < rows; ++r) {
    dequantize(weight.row(first + r), {values + r * input.k, static_cast<size_t>(input.k)});
  }
  if (weight.scale != 1.0f) {
    std::transform(values, values + rows * input.k, values,
                   [&](float v) { return v * weight.scale; });
  }
  for (int64_t t = 0; t < input.tokens; t += kPlainColumns) {
    kernels_.dot_tile(values, rows, input.x + t * input.stride, input.stride,
                      std::min(kPlainColumns, input.tokens - t), input.k, totals + t * kStripRows,
                      kStripRows);
  }
}

}  // namespace tradewind::engine
