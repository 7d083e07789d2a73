// Keys and values of the tokens seen so far, in blocks of kKvBlockPositions positions, so that
// memory grows with use and a sequence that ends gives everything back at once.
//
// Layout of a block, for each layer, for each KV head: keys [C, P], then values [P, C padded to a
// multiple of 16], with P = kKvBlockPositions; elements are f16 or f32. Keys of a dim lie side by
// side, so that attention computes the scores of neighbouring positions in the lanes of a vector;
// a head's block is streamed through from one end to the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/cache/kv_type.h"

namespace tradewind::engine {

struct KvShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  KvType type = KvType::kF16;

  int64_t element_bytes() const { return type == KvType::kF16 ? 2 : 4; }
  int64_t keys_bytes() const;    // of one head of one layer in one block
  int64_t values_bytes() const;  // likewise
  // Where they begin in a block.
  int64_t keys_offset(int64_t layer, int64_t kv_head) const {
    return (layer * kv_heads + kv_head) * (keys_bytes() + values_bytes());
  }
  int64_t values_offset(int64_t layer, int64_t kv_head) const {
    return keys_offset(layer, kv_head) + keys_bytes();
  }
  int64_t block_bytes() const;
  int64_t bytes_per_token() const;  // what one position costs
};

// Blocks of one shape, recycled. Used by the engine's thread only. Must outlive the sequences that
// hold its blocks.
class KvBlockPool {
 public:
  KvBlockPool(KvShape shape, int64_t blocks_max) : shape_(shape), blocks_max_(blocks_max) {}

  const KvShape& shape() const { return shape_; }
  int64_t bytes_used() const { return used_ * shape_.block_bytes(); }
  int64_t bytes_max() const { return blocks_max_ * shape_.block_bytes(); }

 private:
  friend class KvSequence;
  struct Free {
    void operator()(std::byte* data) const;
  };
  using Block = std::unique_ptr<std::byte, Free>;
  Block Take();  // nullptr when all are in use or memory is short
  void Give(Block block);

  KvShape shape_;
  int64_t blocks_max_;
  int64_t used_ = 0;
  std::vector<Block> free_;
};

// The cache of one sequence. Positions are appended at the end; attention reads any of them.
class KvSequence {
 public:
  explicit KvSequence(KvBlockPool& pool) : pool_(&pool) {}
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;
  ~KvSequence();

  // Makes room for positions below `length`. False when the pool is exhausted: nothing is lost, try
  // later.
  [[nodiscard]] bool Reserve(int64_t length);

  KvType type() const { return pool_->shape().type; }
  const KvShape& shape() const { return pool_->shape(); }
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  // Where the blocks lie, that of position 0 first. Valid until the next Reserve.
  const std::byte* const* block_data() const { return data_.data(); }
  // One KV head of one layer in one block.
  std::byte* Keys(int64_t block, int64_t layer, int64_t kv_head);
  std::byte* Values(int64_t block, int64_t layer, int64_t kv_head);

 private:
  KvBlockPool* pool_;
  std::vector<KvBlockPool::Block> blocks_;
  std::vector<const std::byte*> data_;
};

}  // namespace tradewind::engine
