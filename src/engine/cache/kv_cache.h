// Keys and values of the tokens seen so far, in blocks of kKvBlockPositions positions, so that
// memory grows with use, sequences with the same beginning share it, and one that ends gives back
// at once what it alone held.
//
// Layout of a block, for each layer, for each KV head: keys [C, P], then values [P, C padded to a
// multiple of 16], with P = kKvBlockPositions; elements are f16, f32 or bytes, and then their f16
// scales follow: after the keys [C / 32 rounded up, P], after the values [P, C / 32 rounded up].
// Keys of a dim lie side by side, so that attention computes the scores of neighbouring positions
// in the lanes of a vector; a head's block is streamed through from one end to the other.
//
// All of this is used by the engine's thread only, but for reading and writing the elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "engine/cache/kv_type.h"

namespace tradewind::engine {

struct KvShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  KvType type = KvType::kF16;

  int64_t element_bytes() const { return type == KvType::kQ8_0 ? 1 : type == KvType::kF16 ? 2 : 4; }
  int64_t scale_bytes() const;   // of all keys, or of all values, of one head of one layer
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

constexpr int64_t KvBlocksFor(int64_t positions) {
  return (positions + limits::kKvBlockPositions - 1) / limits::kKvBlockPositions;
}

class KvBlockPool;

// A share in a block; the last one gives it back to its pool.
class KvBlockRef {
 public:
  KvBlockRef() = default;
  KvBlockRef(const KvBlockRef& other);
  KvBlockRef(KvBlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  KvBlockRef& operator=(KvBlockRef other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~KvBlockRef();

  explicit operator bool() const { return block_ != nullptr; }
  std::byte* data() const;
  bool is_shared() const;

  // The prefix cache holds a share in this block: while it is the only one, the block is idle.
  void SetCached(bool cached);

 private:
  friend class KvBlockPool;
  struct Block;
  explicit KvBlockRef(Block* block) : block_(block) {}

  Block* block_ = nullptr;
};

// Blocks of one shape, recycled. Must outlive every share in its blocks.
class KvBlockPool {
 public:
  KvBlockPool(KvShape shape, int64_t blocks_max);
  KvBlockPool(const KvBlockPool&) = delete;
  KvBlockPool& operator=(const KvBlockPool&) = delete;
  ~KvBlockPool();

  // Empty when all blocks are in use or memory is short. The elements are arbitrary.
  KvBlockRef Take();

  const KvShape& shape() const { return shape_; }
  int64_t blocks_max() const { return blocks_max_; }
  int64_t blocks_used() const { return used_; }  // idle ones among them
  int64_t blocks_idle() const { return idle_; }  // held by the prefix cache alone
  // Blocks that can be had, idle ones among them.
  int64_t blocks_available() const { return blocks_max_ - used_ + idle_; }

 private:
  friend class KvBlockRef;
  struct Slab;
  bool Grow();

  const KvShape shape_;
  const int64_t blocks_max_;
  int64_t used_ = 0;
  int64_t idle_ = 0;
  int64_t made_ = 0;  // blocks in slabs, free or not
  std::vector<std::unique_ptr<Slab>> slabs_;
  std::vector<KvBlockRef::Block*> free_;
};

// The cache of one sequence. Positions are appended at the end; attention reads any of them.
class KvSequence {
 public:
  explicit KvSequence(KvBlockPool& pool) : pool_(&pool) {}
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  // Of an empty sequence: begins with the first `positions` positions of `blocks`. Whole blocks are
  // shared; one that is used in part is copied, and left out if the pool has no block for it.
  // Returns how many positions it begins with.
  int64_t BeginWith(std::span<const KvBlockRef> blocks, int64_t positions);

  // Makes room for positions below `length`. False when the pool is exhausted: nothing is lost, try
  // later.
  [[nodiscard]] bool Reserve(int64_t length);

  KvType type() const { return pool_->shape().type; }
  const KvShape& shape() const { return pool_->shape(); }
  std::span<const KvBlockRef> blocks() const { return blocks_; }
  // Where the blocks lie, that of position 0 first. Valid until the next Reserve or BeginWith.
  const std::byte* const* block_data() const { return data_.data(); }
  // One KV head of one layer in one block.
  const std::byte* Keys(int64_t block, int64_t layer, int64_t kv_head) const;
  const std::byte* Values(int64_t block, int64_t layer, int64_t kv_head) const;
  // To write to; the block must not be shared.
  std::byte* MutableKeys(int64_t block, int64_t layer, int64_t kv_head);
  std::byte* MutableValues(int64_t block, int64_t layer, int64_t kv_head);

 private:
  void Append(KvBlockRef block);

  KvBlockPool* pool_;
  std::vector<KvBlockRef> blocks_;
  std::vector<const std::byte*> data_;
};

}  // namespace tradewind::engine
