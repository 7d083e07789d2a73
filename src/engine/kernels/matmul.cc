#include "engine/kernels/matmul.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace tradewind::engine {
namespace {

// Up to here the packed weights are multiplied straight from memory. Beyond it they are opened up
// into a panel first, which then serves all columns from L1: opening costs as much as 11 columns
// gain by it (AVX2, Q4_0). Bytes are opened at the price of one column.
constexpr int64_t kDirectColumnsMax = 8;
constexpr int64_t kBytesDirectColumnsMax = 3;
// Up to here the rate at which weights come from memory matters.
constexpr int64_t kFewColumns = 32;
// Strips that share a stretch of the activations while it is in L2: 256 tokens x 512 columns of
// int16 are 256 KiB.
constexpr int64_t kStripsTogether = 4;
// Columns per pass over dequantised rows, so that they stay in L1.
constexpr int64_t kPlainColumns = 8;
// Rows of activations are quick to quantise; a parallel region costs about a microsecond.
constexpr int64_t kQuantizeGrainRows = 4;
constexpr int64_t kTileWidthMax = 8;  // of every instruction set

void Grow(auto& buffer, int64_t size) {
  buffer.resize(std::max(buffer.size(), static_cast<size_t>(size)));
}

constexpr int64_t RoundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Whether mixed activations are of use to a type. Not a question of the instruction set: all of
// them give the same results.
bool TakesMixed(TensorType type) {
  const PackedLayout& layout = *FindPackedLayout(type);
  return layout.bits <= 5 && layout.group == 32 && !layout.levels;
}

// Nearly always all sixteen, and then without a call.
void CopyRows(const float* from, int64_t rows, float* to) {
  if (rows == kStripRows) {
    std::memcpy(to, from, kStripRows * sizeof(float));
  } else {
    std::copy(from, from + rows, to);
  }
}

// Visits what lies of strips [begin, end) in `weight`: (totals of the first token, row, rows,
// token). A strip has `totals_rows` rows of totals, of which the first `tokens` are wanted.
template <class Visit>
void ForEachStripRow(const Weight& weight, int64_t begin, int64_t end, int64_t tokens,
                     int64_t totals_rows, const float* totals, const Visit& visit) {
  for (int64_t t = 0; t < tokens; ++t) {  // outermost: a token's strips are neighbours in memory
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t row = strip * kStripRows;
      visit(totals + ((strip - begin) * totals_rows + t) * kStripRows, row,
            std::min(kStripRows, weight.rows - row), t);
    }
  }
}

}  // namespace

MatMul::MatMul(const Kernels& kernels, WorkerPool& pool, ActivationType activations)
    : kernels_(kernels), pool_(pool), activations_(activations) {
  scratch_.resize(static_cast<size_t>(pool.threads()));
}

int64_t MatMul::WorkerBytes(int64_t cols, int64_t tokens) {
  const int64_t padded = RoundUp(cols, 64);
  const int64_t totals = 2 * kStripsTogether * RoundUp(tokens, kTileWidthMax) * kStripRows;
  const int64_t corrections = PackedTiles::CorrectionsMax(kTileWidthMax, padded / 32);
  return 4 * (kStripRows * cols + totals + 2 * kBytePanelColumnsMax + corrections) +
         (2 * kPanelColumnsMax + kBytePanelColumnsMax) * kStripRows +
         kTileWidthMax * (padded + padded / 32);
}

int64_t MatMul::SharedBytes(int64_t cols, int64_t tokens) {
  const int64_t padded = RoundUp(cols, 64);
  const int64_t rows = RoundUp(tokens, kTileWidthMax);
  const int64_t of_block = 32 + static_cast<int64_t>(sizeof(PackedBlock)) +
                           kOutliersMax * static_cast<int64_t>(sizeof(PackedOutliers));
  return tokens * (2 * padded + 2 * 4 * padded / 32 + 4 * padded / 16) +
         rows * padded / 32 * of_block + rows * 4 * (padded / 32 + 1);
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
        ForEachStripRow(*output.weight, s, stop, input.tokens, totals_rows_, totals,
                        [&](const float* from, int64_t row, int64_t rows, int64_t t) {
                          CopyRows(from, rows, output.out + t * output.out_stride + row);
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
      ForEachStripRow(weight, s, stop, input.tokens, totals_rows_, totals,
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
      kernels_.silu_multiply(gates, ups, (stop - s) * totals_rows_ * kStripRows);
      ForEachStripRow(gate, s, stop, input.tokens, totals_rows_, gates,
                      [&](const float* from, int64_t row, int64_t rows, int64_t t) {
                        CopyRows(from, rows, out + t * out_stride + row);
                      });
    }
  });
}

// Buffers grow here, because a helper thread must not run out of memory.
void MatMul::Prepare(std::span<const Weight* const> weights, const MatMulInput& input) {
  bool any_packed = false;
  bool any_plain = false;
  bool any_mixed = false;
  for (const Weight* weight : weights) {
    TW_CHECK(weight->cols == input.k);
    (weight->packed != nullptr ? any_packed : any_plain) = true;
    any_mixed = any_mixed || (weight->packed != nullptr && TakesMixed(weight->type));
  }
  fine_ = input.fine || !any_mixed;
  const bool as_bytes = std::ranges::any_of(
      weights, [&](const Weight* weight) { return TakesBytePanel(*weight, input.tokens); });
  totals_rows_ = as_bytes ? RoundUp(input.tokens, kernels_.tile_width) : input.tokens;
  for (Scratch& scratch : scratch_) {
    for (auto& totals : scratch.totals) {
      Grow(totals, kStripsTogether * totals_rows_ * kStripRows);
    }
    if (any_plain) {
      Grow(scratch.rows, kStripRows * input.k);
    }
    Grow(scratch.codes, kPanelColumnsMax * kStripRows);
    Grow(scratch.bytes, kBytePanelColumnsMax * kStripRows);
    Grow(scratch.scales, kBytePanelColumnsMax);
    Grow(scratch.mins, kBytePanelColumnsMax);
  }
  if (any_packed) {
    PrepareInput(input, as_bytes);
  }
}

bool MatMul::TakesBytePanel(const Weight& weight, int64_t tokens) const {
  return tokens > kBytesDirectColumnsMax && weight.packed != nullptr &&
         (activations_ == ActivationType::kI8 ||
          (activations_ == ActivationType::kMixed && !fine_ && TakesMixed(weight.type))) &&
         kernels_.open_byte_panel(weight.type) != nullptr;
}

void MatMul::PrepareInput(const MatMulInput& input, bool as_bytes) {
  const int64_t padded = RoundUp(input.k, 64);
  Grow(q_, input.tokens * padded);
  Grow(scales_, input.tokens * padded / 32);
  Grow(scaled_sums_, input.tokens * padded / 32);
  Grow(sums_, input.tokens * padded / 16);
  packed_input_ = {.q = q_.data(),
                   .q_stride = padded,
                   .scales = scales_.data(),
                   .scaled_sums = scaled_sums_.data(),
                   .scales_stride = padded / 32,
                   .sums = sums_.data(),
                   .sums_stride = padded / 16};
  tiles_ = {};
  if (as_bytes) {
    PrepareTiles(padded);
  }
  // A tile is one worker's.
  const int64_t grain = std::max(kQuantizeGrainRows, tiles_.width);
  pool_.ParallelFor(input.tokens, grain, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t t = begin; t < end; ++t) {
      QuantizeRow(input, t);
    }
    for (int64_t t = begin; as_bytes && t < end; t += tiles_.width) {
      FillTile(t / tiles_.width, std::min(tiles_.width, end - t),
               scratch_[static_cast<size_t>(worker)]);
    }
  });
}

void MatMul::PrepareTiles(int64_t padded) {
  const int64_t width = kernels_.tile_width;
  const int64_t stride = padded / 32;
  const int64_t blocks = totals_rows_ * stride;
  Grow(low_, blocks * 32);
  Grow(blocks_, blocks);
  Grow(outliers_, blocks * kOutliersMax);
  Grow(first_, totals_rows_ / width * (stride + 1));
  tiles_ = {.width = width,
            .stride = stride,
            .low = low_.data(),
            .blocks = blocks_.data(),
            .outliers = outliers_.data(),
            .first = first_.data()};
  for (Scratch& scratch : scratch_) {
    Grow(scratch.corrections, PackedTiles::CorrectionsMax(width, stride));
    Grow(scratch.high, width * padded);
    Grow(scratch.masks, width * stride);
  }
}

void MatMul::QuantizeRow(const MatMulInput& input, int64_t token) {
  const int64_t padded = packed_input_.q_stride;
  const float* const x = input.x + token * input.stride;
  int16_t* const q = q_.data() + token * padded;
  float* const scales = scales_.data() + token * padded / 32;
  int32_t* const sums = sums_.data() + token * padded / 16;
  if (activations_ == ActivationType::kMixed && !fine_) {
    kernels_.quantize_mixed(x, input.k, q, scales, sums);
  } else {
    const float q_max = activations_ == ActivationType::kI8 ? 127.0f : 32767.0f;
    kernels_.quantize(x, input.k, q_max, q, scales, sums);
  }
  std::fill(q + input.k, q + padded, int16_t{0});
  std::fill(scales + input.k / 32, scales + padded / 32, 0.0f);
  std::fill(sums + input.k / 16, sums + padded / 16, 0);
  float* const scaled_sums = scaled_sums_.data() + token * padded / 32;
  for (int64_t i = 0; i < padded / 32; ++i) {
    scaled_sums[i] = scales[i] * static_cast<float>(sums[2 * i] + sums[2 * i + 1]);
  }
}

// The rows of a tile as bytes; the rows that are missing become zeros.
void MatMul::FillTile(int64_t tile, int64_t rows, Scratch& scratch) {
  const auto [width, stride] = std::pair(tiles_.width, tiles_.stride);
  const int64_t start = tile * width * stride;
  for (int64_t r = 0; r < width; ++r) {
    int8_t* const low = low_.data() + (start + r) * 32;
    PackedBlock* const blocks = blocks_.data() + start + r;
    if (r < rows) {
      const int64_t row = tile * width + r;
      kernels_.split_bytes(q_.data() + row * stride * 32, stride * 32, width, low,
                           scratch.high.data() + r * stride * 32,
                           scratch.masks.data() + r * stride);
      for (int64_t i = 0; i < stride; ++i) {
        const int64_t at = row * stride + i;
        const int32_t* const sums = sums_.data() + 2 * at;
        blocks[i * width] = {scales_[static_cast<size_t>(at)],
                             scaled_sums_[static_cast<size_t>(at)], sums[0] + sums[1], sums[0]};
      }
    } else {
      for (int64_t i = 0; i < stride; ++i) {
        std::fill_n(low + i * width * 32, 32, int8_t{0});
        blocks[i * width] = {};
      }
    }
  }
  GatherOutliers(tile, rows, scratch);
}

// Lists the high bytes of a tile that are not 0, block by block.
void MatMul::GatherOutliers(int64_t tile, int64_t rows, const Scratch& scratch) {
  const auto [width, stride] = std::pair(tiles_.width, tiles_.stride);
  int32_t* const first = first_.data() + tile * (stride + 1);
  PackedOutliers* const list = outliers_.data() + tile * width * stride * kOutliersMax;
  PackedOutliers* next = list;
  int32_t correction = 0;  // of the last block that has one
  for (int64_t i = 0; i < stride; ++i) {
    first[i] = static_cast<int32_t>(next - list);
    for (int64_t r = 0; r < rows; ++r) {
      unsigned mask = scratch.masks[static_cast<size_t>(r * stride + i)];
      if (mask == 0) {
        continue;
      }
      correction += kStripRows;
      blocks_[static_cast<size_t>((tile * stride + i) * width + r)].correction = correction;
      for (int32_t from = 0; mask != 0; mask &= mask - 1, from = correction) {
        const int quad = std::countr_zero(mask);
        *next = {
            .codes = static_cast<int32_t>((8 * i + quad) * 64), .from = from, .into = correction};
        std::memcpy(next->high, scratch.high.data() + (r * stride + i) * 32 + 4 * quad,
                    sizeof(next->high));
        ++next;
      }
    }
  }
  first[stride] = static_cast<int32_t>(next - list);
}

void MatMul::Multiply(const Weight& weight, int64_t begin, int64_t end, const MatMulInput& input,
                      Scratch& scratch, float* totals) const {
  if (weight.packed != nullptr) {
    MultiplyPacked(weight, begin, end, input, scratch, totals);
    return;
  }
  for (int64_t strip = begin; strip < end; ++strip) {
    MultiplyPlain(weight, strip, input, scratch,
                  totals + (strip - begin) * totals_rows_ * kStripRows);
  }
}

void MatMul::MultiplyPacked(const Weight& weight, int64_t begin, int64_t end,
                            const MatMulInput& input, Scratch& scratch, float* totals) const {
  const int64_t per_strip = totals_rows_ * kStripRows;
  const bool bytes = TakesBytePanel(weight, input.tokens);
  if (!bytes && input.tokens <= kDirectColumnsMax) {
    const auto dot = kernels_.dot_strip(weight.type);
    for (int64_t strip = begin; strip < end; ++strip) {
      dot(weight.packed + strip * weight.strip_bytes, input.k, packed_input_, input.tokens,
          totals + (strip - begin) * per_strip, kStripRows);
    }
    return;
  }
  const PackedLayout& layout = *FindPackedLayout(weight.type);
  const auto open =
      bytes ? kernels_.open_byte_panel(weight.type) : kernels_.open_panel(weight.type);
  PackedPanel panel{.codes = scratch.codes.data(),
                    .bytes = scratch.bytes.data(),
                    .scales = scratch.scales.data(),
                    .mins = scratch.mins.data(),
                    .corrections = scratch.corrections.data(),
                    .group = layout.group,
                    .has_min = layout.has_min(),
                    .zero = layout.zero,
                    .bits = layout.bits};
  // Panels of about equal width: the start of one costs the same whatever its width is.
  const int64_t width_max =
      (bytes ? kBytePanelColumnsMax : kPanelColumnsMax) / layout.unit * layout.unit;
  const int64_t panels = (input.k + width_max - 1) / width_max;
  const int64_t width = RoundUp((input.k + panels - 1) / panels, layout.unit);
  const auto multiply = [&](int64_t strip, int64_t k) {
    panel.k = std::min(width, RoundUp(input.k - k, layout.unit));
    panel.first = k == 0;
    open(weight.packed + strip * weight.strip_bytes + k / layout.unit * layout.unit_bytes(), panel);
    float* const of_strip = totals + (strip - begin) * per_strip;
    if (bytes) {
      kernels_.dot_byte_panel(panel, tiles_.From(k), totals_rows_ / tiles_.width, of_strip);
    } else {
      kernels_.dot_panel(panel, packed_input_.From(k), input.tokens, of_strip);
    }
  };
  // A stretch of many rows of activations serves all strips while it is near. Few rows stay near
  // anyway, and there the weights count: each strip is one stream from memory.
  const int64_t together = input.tokens > kFewColumns ? end - begin : 1;
  for (int64_t first = begin; first < end; first += together) {
    for (int64_t k = 0; k < input.k; k += width) {
      for (int64_t strip = first; strip < first + together; ++strip) {
        multiply(strip, k);
      }
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
