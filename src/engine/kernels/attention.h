// What the attention functions of the kernel table work on: one KV head's keys and values of a
// sequence, in blocks of P = kKvBlockPositions positions, and the query rows that share them.
//
// Softmax is online (Milakov and Gimelshein 2018; Dao et al. 2022): a part of the context leaves
// (largest score, sum of exponentials, weighted sum of values) behind, and parts join in order of
// their positions. So memory does not grow with the context, and a row's result depends on its own
// position and on where its parts begin and end: neither on the other rows of the task nor on who
// computes it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limits.h"
#include "engine/kernels/inline.h"

namespace tradewind::engine {

inline constexpr int64_t kAttentionLanes = 16;

// A row of values takes this many floats or elements: whole vectors. What stands beyond C is
// arbitrary.
TW_INLINE constexpr int64_t PaddedHeadDim(int64_t head_dim) {
  return (head_dim + kAttentionLanes - 1) / kAttentionLanes * kAttentionLanes;
}

// Results of `rows` x `group` query rows over a part of the context; row i * group + g is query
// head g of row i. A row that saw nothing has largest = -inf, sum = 0, out = 0.
struct AttentionPart {
  float* largest;  // [rows * group]
  float* sum;      // [rows * group]  of e^(score - largest)
  float* out;      // [rows * group, padded C]  sum of e^(score - largest) * value
};

struct AttentionTask {
  // Block b of the sequence begins at blocks[b]; the head's keys stand keys_offset bytes after it:
  // [C, P], a position to a lane. Values stand at values_offset: [P, padded C]. For q8_0 the f16
  // scales follow: after the keys [C / 32 rounded up, P], after the values [P, C / 32 rounded up].
  // Elements of a position that was not written yet are arbitrary.
  const std::byte* const* blocks;
  int64_t keys_offset;
  int64_t values_offset;
  // The part: positions [begin, end); begin is a multiple of P.
  int64_t begin;
  int64_t end;
  // Row i stands at first_position + i and sees the positions up to its own, `window` of them at
  // most.
  int64_t first_position;
  int64_t rows;
  int64_t window;
  // Query head g of row i is q[i * q_stride + g * head_dim]; scores are scale * (query . key).
  const float* q;
  int64_t q_stride;
  int64_t group;
  int64_t head_dim;
  float scale;
  float* scratch;  // AttentionScratchFloats, of one worker
};

inline constexpr int64_t kQ8Group = 32;  // values that share a scale

constexpr int64_t Q8Groups(int64_t head_dim) {
  return (head_dim + kQ8Group - 1) / kQ8Group;
}

constexpr int64_t AttentionScratchFloats(int64_t head_dim, int64_t query_rows) {
  return query_rows * head_dim +                                            // queries, interleaved
         limits::kKvBlockPositions * (head_dim + PaddedHeadDim(head_dim) +  // a block as f32
                                      2 * Q8Groups(head_dim));              // its scales
}

}  // namespace tradewind::engine
