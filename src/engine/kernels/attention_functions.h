// Attention over KV blocks (attention.h), written once over sixteen lanes (`S` is Avx2 or Avx512).
// Keys lie with positions side by side, so a score is a lane and needs no horizontal sum. A few
// query rows at a time stay in registers while a block streams past them: of one token the heads
// that share the KV head, in a prefill many rows, for which the block is converted to f32 once.
//
// Every score is one chain of fused steps over the head's dims in order, every output one over the
// positions in order, whatever the tile. Masked positions are left out, not multiplied by zero:
// what stands in them must not matter, be it NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/attention.h"
#include "engine/kernels/attention_blocks.h"
#include "engine/kernels/vector_functions.h"

namespace tradewind::engine {
namespace {

// --- Softmax of a block

// e^x for x <= 0, by the polynomial of Exp: results below the normal floats are 0. NaN stays NaN.
template <class S>
typename S::F ExpOfNegative(typename S::F x) {
  using F = typename S::F;
  const F smallest = S::Set(-87.3365f);   // e^x >= 2^-126 from here on
  const F clamped = S::Max(smallest, x);  // the second operand is returned when one is NaN
  const F n = S::Round(S::Mul(clamped, S::Set(1.44269504088896341f)));
  F r = S::Fnma(n, S::Set(0.693145751953125f), clamped);
  r = S::Fnma(n, S::Set(1.42860682030941723e-6f), r);
  F p = S::Set(1.0f / 720);
  p = S::Fma(p, r, S::Set(1.0f / 120));
  p = S::Fma(p, r, S::Set(1.0f / 24));
  p = S::Fma(p, r, S::Set(1.0f / 6));
  p = S::Fma(p, r, S::Set(0.5f));
  p = S::Fma(p, r, S::Set(1.0f));
  p = S::Fma(p, r, S::Set(1.0f));
  const F power = S::AsFloat(S::template ShiftLeft<23>(S::AddInt(S::ToInt(n), S::SetInt(127))));
  return S::IfGreater(smallest, x, S::Zero(), S::Mul(p, power));
}

// What a row sees of a block.
struct Visible {
  int64_t begin;
  int64_t end;
  bool all() const { return begin == 0 && end == kBlock; }
  bool none() const { return begin >= end; }
};

alignas(64) constexpr float kPositionInBlock[kBlock] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                        11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                        22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

template <class S>
typename S::F Mask(typename S::F scores, int64_t first, Visible seen) {
  const auto position = S::Load(kPositionInBlock + first);
  const auto hidden = S::Set(-__builtin_inff());
  const auto begin = S::Set(static_cast<float>(seen.begin));
  const auto last = S::Set(static_cast<float>(seen.end - 1));
  scores = S::IfGreater(begin, position, hidden, scores);
  return S::IfGreater(position, last, hidden, scores);
}

// scores [R, kBlock] become e^(score - largest), with what the rows have seen until here and in
// this block taken together; factors[r] is what the sums until here must be multiplied by.
template <class S, int R>
void SoftmaxTile(float* scores, const Visible* seen, bool all, float* largest, float* sums,
                 float* factors) {
  using F = typename S::F;
  for (int r = 0; r < R; ++r) {
    if (seen[r].none()) {
      factors[r] = 0;
      continue;
    }
    float* const row = scores + r * kBlock;
    F low = S::Load(row);
    F high = S::Load(row + kLanes);
    if (!all) {
      low = Mask<S>(low, 0, seen[r]);
      high = Mask<S>(high, kLanes, seen[r]);
      S::Store(row, low);
      S::Store(row + kLanes, high);
    }
    const float here = S::Largest(S::Max(low, high));
    const float before = largest[r];
    largest[r] = here > before ? here : before;
    factors[r] = largest[r] == before ? 0.0f : before - largest[r];  // -inf - -inf is no number
  }
  S::Store(factors, ExpOfNegative<S>(S::Load(factors)));
  for (int r = 0; r < R; ++r) {
    if (seen[r].none()) {
      continue;
    }
    float* const row = scores + r * kBlock;
    // While every score is -inf, e^(-inf - 0) = 0 is what each of them counts.
    const F top = S::Set(largest[r] == -__builtin_inff() ? 0.0f : largest[r]);
    const F low = ExpOfNegative<S>(S::Sub(S::Load(row), top));
    const F high = ExpOfNegative<S>(S::Sub(S::Load(row + kLanes), top));
    S::Store(row, low);
    S::Store(row + kLanes, high);
    sums[r] = sums[r] * factors[r] + S::Sum(S::Add(low, high));
  }
}

// --- Register tiles: R query rows against a block

// sum[r][v] += x[r * stride] * load(v)
template <class S, int R, int V, class Load>
inline __attribute__((always_inline)) void MultiplyAdd(const float* x, int64_t stride,
                                                       const Load& load,
                                                       typename S::F (&sum)[R][V]) {
  for (int v = 0; v < V; ++v) {
    const typename S::F element = load(v);
    if constexpr (S::kAttentionSums < 12) {
      // With few registers the sums and one element fill them all: the compiler must broadcast x
      // anew for each v, not keep it.
      asm("" : "+r"(x));
    }
    for (int r = 0; r < R; ++r) {
      sum[r][v] = S::Fma(S::Set(x[r * stride]), element, sum[r][v]);
    }
  }
}

// q: [C, R]. scores: [R, kBlock], of which V vectors from `first` on are written.
template <class S, int R, int V, class Block>
void ScoreTile(const Block& block, const float* q, int64_t head_dim, float scale, int64_t first,
               float* scores) {
  using F = typename S::F;
  F sum[R][V];
  for (auto& row : sum) {
    for (F& s : row) {
      s = S::Zero();
    }
  }
  for (int64_t c = 0; c < head_dim; ++c) {
    if (first == 0) {
      block.PrefetchKey(c);
    }
    MultiplyAdd<S, R, V>(
        q + c * R, 1, [&](int v) { return block.Key(c, first + v * kLanes); }, sum);
  }
  const F factor = S::Set(scale);
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      S::Store(scores + r * kBlock + first + v * kLanes, S::Mul(sum[r][v], factor));
    }
  }
}

// out[r, c..] = out[r, c..] * factors[r] + sum over the positions of `seen` of probs[r, s] * value,
// for V vectors of dims.
template <class S, int R, int V, class Block>
void MixColumns(const Block& block, const float* probs, Visible seen, const float* factors,
                int64_t c, float* out, int64_t stride) {
  using F = typename S::F;
  F sum[R][V];
  for (int r = 0; r < R; ++r) {
    const F factor = S::Set(factors[r]);
    for (int v = 0; v < V; ++v) {
      sum[r][v] = S::Mul(S::Load(out + r * stride + c + v * kLanes), factor);
    }
  }
  for (int64_t s = seen.begin; s < seen.end; ++s) {
    for (int v = 0; v < V; ++v) {
      block.PrefetchValue(s, c + v * kLanes);
    }
    MultiplyAdd<S, R, V>(
        probs + s, kBlock, [&](int v) { return block.Value(s, c + v * kLanes); }, sum);
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      S::Store(out + r * stride + c + v * kLanes, sum[r][v]);
    }
  }
}

// Vectors of a row that a tile of R rows holds in registers at once.
template <class S, int R>
constexpr int kTileVectors = 2 * R <= S::kAttentionSums ? 2 : 1;

template <class S, int R, class Block>
void MixTile(const Block& block, const float* probs, Visible seen, const float* factors, float* out,
             int64_t stride) {
  constexpr int kVectors = kTileVectors<S, R>;
  int64_t c = 0;
  for (; c + kVectors * kLanes <= stride; c += kVectors * kLanes) {
    MixColumns<S, R, kVectors>(block, probs, seen, factors, c, out, stride);
  }
  if (c < stride) {
    MixColumns<S, R, 1>(block, probs, seen, factors, c, out, stride);
  }
}

// Rows that see different positions: those that all of them see together, what is left row by row,
// each in order.
template <class S, int R, class Block>
void MixUnevenTile(const Block& block, const float* probs, const Visible* seen, float* factors,
                   float* out, int64_t stride) {
  Visible common = seen[0];
  for (int r = 1; r < R; ++r) {
    common.begin = common.begin > seen[r].begin ? common.begin : seen[r].begin;
    common.end = common.end < seen[r].end ? common.end : seen[r].end;
  }
  const auto mix_row = [&](int r, Visible range) {
    if (!range.none()) {
      MixTile<S, 1>(block, probs + r * kBlock, range, factors + r, out + r * stride, stride);
      factors[r] = 1.0f;  // applied
    }
  };
  if (common.none()) {
    for (int r = 0; r < R; ++r) {
      mix_row(r, seen[r]);
    }
    return;
  }
  for (int r = 0; r < R; ++r) {
    mix_row(r, {seen[r].begin, common.begin});
  }
  MixTile<S, R>(block, probs, common, factors, out, stride);
  for (int r = 0; r < R; ++r) {
    factors[r] = 1.0f;
    mix_row(r, {common.end, seen[r].end});
  }
}

// --- A task

// Which of a block's positions the query rows [row, row + n) see. True when all see all of them.
inline bool FindVisible(const AttentionTask& task, int64_t position, int64_t row, int n,
                        Visible* seen) {
  bool all = true;
  int64_t i = row / task.group;
  int64_t head = row % task.group;
  for (int r = 0; r < n; ++r) {
    const int64_t end = task.first_position + i + 1;
    const int64_t visible_end = end < task.end ? end : task.end;
    const int64_t begin = end - task.window - position;
    seen[r].begin = begin > 0 ? begin : 0;
    seen[r].end = visible_end - position < kBlock ? visible_end - position : kBlock;
    all = all && seen[r].all();
    if (++head == task.group) {
      head = 0;
      ++i;
    }
  }
  return all;
}

template <class S, int R, class Block>
void AttendTile(const AttentionTask& task, const Block& block, int64_t position, int64_t row,
                const AttentionPart& part) {
  const int64_t stride = PaddedHeadDim(task.head_dim);
  constexpr int kVectors = kTileVectors<S, R>;
  alignas(64) float scores[R * kBlock];
  for (int64_t first = 0; first < kBlock; first += kVectors * kLanes) {
    ScoreTile<S, R, kVectors>(block, task.scratch + row * task.head_dim, task.head_dim, task.scale,
                              first, scores);
  }
  Visible seen[R];
  const bool all = FindVisible(task, position, row, R, seen);
  alignas(64) float factors[kLanes] = {};
  SoftmaxTile<S, R>(scores, seen, all, part.largest + row, part.sum + row, factors);
  float* const out = part.out + row * stride;
  if (all) {
    MixTile<S, R>(block, scores, {0, kBlock}, factors, out, stride);
  } else {
    MixUnevenTile<S, R>(block, scores, seen, factors, out, stride);
  }
}

template <int R>
struct TileRows {
  static constexpr int value = R;
};

// Calls visit(TileRows<R>, first row) for tiles that cover `rows` query rows: the tallest first.
template <class S, class Visit>
void ForEachTile(int64_t rows, const Visit& visit) {
  int64_t row = 0;
  const auto tiles_of = [&](auto tile) {
    if constexpr (tile.value <= S::kAttentionRows) {
      for (; rows - row >= tile.value; row += tile.value) {
        visit(tile, row);
      }
    }
  };
  tiles_of(TileRows<12>());
  tiles_of(TileRows<8>());
  tiles_of(TileRows<6>());
  tiles_of(TileRows<4>());
  tiles_of(TileRows<3>());
  tiles_of(TileRows<2>());
  tiles_of(TileRows<1>());
}

// Queries [rows, C] -> for each tile [C, R], so that the queries of a dim stand side by side.
template <class S>
void InterleaveQueries(const AttentionTask& task) {
  ForEachTile<S>(task.rows * task.group, [&](auto tile, int64_t row) {
    float* const out = task.scratch + row * task.head_dim;
    for (int r = 0; r < tile.value; ++r) {
      const int64_t i = (row + r) / task.group;
      const int64_t head = (row + r) % task.group;
      const float* const query = task.q + i * task.q_stride + head * task.head_dim;
      for (int64_t c = 0; c < task.head_dim; ++c) {
        out[c * tile.value + r] = query[c];
      }
    }
  });
}

template <class S, class Block>
void AttendBlock(const AttentionTask& task, const Block& block, int64_t position,
                 const AttentionPart& part) {
  ForEachTile<S>(task.rows * task.group, [&](auto tile, int64_t row) {
    AttendTile<S, tile.value>(task, block, position, row, part);
  });
}

template <class S, class Block>
void Attend(const AttentionTask& task, const AttentionPart& part) {
  const int64_t rows = task.rows * task.group;
  const int64_t floats = rows * PaddedHeadDim(task.head_dim);
  for (int64_t r = 0; r < rows; ++r) {
    part.largest[r] = -__builtin_inff();
    part.sum[r] = 0;
  }
  for (int64_t i = 0; i < floats; i += kLanes) {
    S::Store(part.out + i, S::Zero());
  }
  InterleaveQueries<S>(task);
  float* const scales = task.scratch + rows * task.head_dim;
  float* const opened = scales + 2 * kBlock * Q8Groups(task.head_dim);
  for (int64_t position = task.begin; position < task.end; position += kBlock) {
    const int64_t index = position / kBlock;
    const std::byte* const base = task.blocks[index];
    const std::byte* const next = position + kBlock < task.end ? task.blocks[index + 1] : base;
    const Block block({base + task.keys_offset, base + task.values_offset, next + task.keys_offset,
                       next + task.values_offset},
                      task.head_dim, scales);
    if (rows <= S::kAttentionRows) {  // one tile or a few: each element is converted as it is used
      AttendBlock<S>(task, block, position, part);
    } else {
      AttendBlock<S>(task, Open<S>(block, task.head_dim, opened), position, part);
    }
  }
}

// --- Parts of a context

template <class S>
void MergeAttention(const AttentionPart& from, const AttentionPart& into, int64_t rows,
                    int64_t head_dim) {
  const int64_t stride = PaddedHeadDim(head_dim);
  for (int64_t r = 0; r < rows; ++r) {
    if (from.largest[r] == -__builtin_inff() && from.sum[r] == 0) {
      continue;  // saw nothing
    }
    if (into.largest[r] == -__builtin_inff() && into.sum[r] == 0) {
      into.largest[r] = from.largest[r];
      into.sum[r] = from.sum[r];
      for (int64_t c = 0; c < stride; c += kLanes) {
        S::Store(into.out + r * stride + c, S::Load(from.out + r * stride + c));
      }
      continue;
    }
    const bool from_is_larger = from.largest[r] > into.largest[r];
    const float largest = from_is_larger ? from.largest[r] : into.largest[r];
    alignas(64) float factors[kLanes] = {};
    factors[0] = from_is_larger ? into.largest[r] - largest : 0.0f;
    factors[1] = from_is_larger ? 0.0f : from.largest[r] - largest;
    S::Store(factors, ExpOfNegative<S>(S::Load(factors)));
    const auto keep = S::Set(factors[0]);
    const auto add = S::Set(factors[1]);
    into.largest[r] = largest;
    into.sum[r] = into.sum[r] * factors[0] + from.sum[r] * factors[1];
    for (int64_t c = 0; c < stride; c += kLanes) {
      float* const out = into.out + r * stride + c;
      S::Store(out, S::Fma(S::Load(from.out + r * stride + c), add, S::Mul(S::Load(out), keep)));
    }
  }
}

template <class S>
void FinishAttention(const AttentionPart& part, int64_t rows, int64_t group, int64_t head_dim,
                     float* out, int64_t out_stride) {
  const int64_t stride = PaddedHeadDim(head_dim);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t g = 0; g < group; ++g) {
      const int64_t r = i * group + g;
      const auto sum = S::Set(part.sum[r]);
      const float* const from = part.out + r * stride;
      float* const to = out + i * out_stride + g * head_dim;
      for (int64_t c = 0; c < head_dim; c += kLanes) {
        const auto value = S::Div(S::Load(from + c), sum);
        if (head_dim - c >= kLanes) {
          S::Store(to + c, value);
        } else {
          StoreTail<S>(to + c, head_dim - c, value);
        }
      }
    }
  }
}

// --- Elements of a byte

template <class S>
void QuantizeQ8(const float* x, int64_t n, int8_t* codes, uint16_t* scales) {
  using F = typename S::F;
  for (int64_t at = 0; at < n; at += kQ8Group, ++scales) {
    float group[kQ8Group] = {};
    const int64_t here = n - at < kQ8Group ? n - at : kQ8Group;
    for (int64_t i = 0; i < here; ++i) {
      group[i] = x[at + i];
    }
    const F low = S::Load(group);
    const F high = S::Load(group + kLanes);
    const float largest = S::Largest(S::Max(S::Abs(low), S::Abs(high)));
    // 0 times what is not finite is NaN, and so is the sum.
    const float nan = S::Sum(S::Add(S::Mul(low, S::Zero()), S::Mul(high, S::Zero())));
    uint16_t halves[kLanes];
    S::StoreHalf(halves, S::Set(largest / 127.0f + nan));
    *scales = halves[0];
    float opened[kLanes];
    S::Store(opened, S::Load(halves));
    const float scale = opened[0];
    const bool has_codes = scale > 0 && scale < __builtin_inff();
    const F inverse = S::Set(has_codes ? 1.0f / scale : 0.0f);
    const auto code = [&](F v) {
      const F scaled = has_codes ? S::Mul(v, inverse) : S::Zero();
      return S::ToInt(S::Max(S::Min(scaled, S::Set(127.0f)), S::Set(-127.0f)));
    };
    int16_t words[kQ8Group];
    S::StoreWords(words, code(low));
    S::StoreWords(words + kLanes, code(high));
    for (int64_t i = 0; i < here; ++i) {
      codes[at + i] = static_cast<int8_t>(words[i]);
    }
  }
}

}  // namespace
}  // namespace tradewind::engine
