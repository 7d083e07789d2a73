// A KV block of one head as the attention functions read it, whatever its element type. Key: 16
// positions of a dim; Value: 16 dims of a position; both as f32, exactly. The prefetches run ahead
// by one block, spread over the work on this one.
//
// Only for the files of the instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/attention.h"
#include "engine/kernels/vector_functions.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kBlock = limits::kKvBlockPositions;
static_assert(kBlock == 2 * kLanes, "a block's scores are two vectors");

struct BlockPlace {
  const std::byte* keys;
  const std::byte* values;
  const std::byte* next_keys;
  const std::byte* next_values;
};

template <class S, class T>
struct PlainBlock {  // T: float, or uint16_t for f16
  using Element = T;

  PlainBlock(const BlockPlace& place, int64_t head_dim, float*)
      : keys(reinterpret_cast<const T*>(place.keys)),
        values(reinterpret_cast<const T*>(place.values)),
        next_keys(place.next_keys),
        next_values(place.next_values),
        stride(PaddedHeadDim(head_dim)) {}

  typename S::F Key(int64_t c, int64_t first) const { return S::Load(keys + c * kBlock + first); }
  typename S::F Value(int64_t s, int64_t c) const { return S::Load(values + s * stride + c); }
  void PrefetchKey(int64_t c) const {
    constexpr int64_t kRow = kBlock * static_cast<int64_t>(sizeof(T));
    for (int64_t line = 0; line < kRow; line += 64) {
      __builtin_prefetch(next_keys + c * kRow + line);
    }
  }
  void PrefetchValue(int64_t s, int64_t c) const {
    __builtin_prefetch(next_values + (s * stride + c) * static_cast<int64_t>(sizeof(T)));
  }

  const T* keys;
  const T* values;
  const std::byte* next_keys;
  const std::byte* next_values;
  int64_t stride;
};

// Codes of a byte with an f16 scale for 32 dims: the scales are opened at once.
template <class S>
struct Q8Block {
  using Element = int8_t;

  // `scratch` holds the scales: 2 * P * groups.
  Q8Block(const BlockPlace& place, int64_t head_dim, float* scratch)
      : keys(place.keys),
        values(place.values),
        next_keys(place.next_keys),
        next_values(place.next_values),
        stride(PaddedHeadDim(head_dim)),
        groups(Q8Groups(head_dim)),
        key_scales(scratch),
        value_scales(scratch + kBlock * groups) {
    const auto* const of_keys = reinterpret_cast<const uint16_t*>(keys + kBlock * head_dim);
    const auto* const of_values = reinterpret_cast<const uint16_t*>(values + kBlock * stride);
    for (int64_t i = 0; i < kBlock * groups; i += kLanes) {
      S::Store(scratch + i, S::Load(of_keys + i));
      S::Store(scratch + kBlock * groups + i, S::Load(of_values + i));
    }
  }

  typename S::F Key(int64_t c, int64_t first) const {
    const auto codes = S::ToFloat(S::BytesSigned(keys + c * kBlock + first));
    return S::Mul(codes, S::Load(key_scales + c / kQ8Group * kBlock + first));
  }
  typename S::F Value(int64_t s, int64_t c) const {
    const auto codes = S::ToFloat(S::BytesSigned(values + s * stride + c));
    return S::Mul(codes, S::Set(value_scales[s * groups + c / kQ8Group]));
  }
  void PrefetchKey(int64_t c) const { __builtin_prefetch(next_keys + c * kBlock); }
  void PrefetchValue(int64_t s, int64_t c) const {
    __builtin_prefetch(next_values + s * stride + c);
  }

  const std::byte* keys;
  const std::byte* values;
  const std::byte* next_keys;
  const std::byte* next_values;
  int64_t stride;
  int64_t groups;
  const float* key_scales;
  const float* value_scales;
};

// A block that was converted, or that nobody reads ahead of.
template <class S>
struct OpenBlock {
  typename S::F Key(int64_t c, int64_t first) const { return S::Load(keys + c * kBlock + first); }
  typename S::F Value(int64_t s, int64_t c) const { return S::Load(values + s * stride + c); }
  void PrefetchKey(int64_t) const {}
  void PrefetchValue(int64_t, int64_t) const {}

  const float* keys;
  const float* values;
  int64_t stride;
};

template <class S, class Block>
OpenBlock<S> Open(const Block& block, int64_t head_dim, float* scratch) {
  if constexpr (requires { requires sizeof(typename Block::Element) == sizeof(float); }) {
    return {block.keys, block.values, block.stride};
  } else {
    float* const keys = scratch;
    float* const values = scratch + head_dim * kBlock;
    const int64_t stride = PaddedHeadDim(head_dim);
    for (int64_t c = 0; c < head_dim; ++c) {
      S::Store(keys + c * kBlock, block.Key(c, 0));
      S::Store(keys + c * kBlock + kLanes, block.Key(c, kLanes));
      block.PrefetchKey(c);
    }
    for (int64_t s = 0; s < kBlock; ++s) {
      for (int64_t c = 0; c < stride; c += kLanes) {
        S::Store(values + s * stride + c, block.Value(s, c));
        block.PrefetchValue(s, c);
      }
    }
    return {keys, values, stride};
  }
}

}  // namespace
}  // namespace tradewind::engine
