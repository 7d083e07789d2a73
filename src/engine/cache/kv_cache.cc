#include "engine/cache/kv_cache.h"

#include <new>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::engine {

int64_t KvShape::head_bytes() const {
  return limits::kKvBlockPositions * head_dim * element_bytes();
}
int64_t KvShape::block_bytes() const {
  return layers * 2 * kv_heads * head_bytes();
}
int64_t KvShape::bytes_per_token() const {
  return block_bytes() / limits::kKvBlockPositions;
}

KvBlockPool::Block KvBlockPool::Take() {
  if (used_ == blocks_max_) {
    return nullptr;
  }
  Block block;
  if (free_.empty()) {
    // Untouched pages cost nothing; every position is written before attention reads it.
    block.reset(new (std::nothrow) std::byte[static_cast<size_t>(shape_.block_bytes())]);
  } else {
    block = std::move(free_.back());
    free_.pop_back();
  }
  used_ += block != nullptr ? 1 : 0;
  return block;
}

void KvBlockPool::Give(Block block) {
  free_.push_back(std::move(block));
  --used_;
}

KvSequence::~KvSequence() {
  for (auto& block : blocks_) {
    pool_->Give(std::move(block));
  }
}

bool KvSequence::Reserve(int64_t length) {
  while (blocks() * limits::kKvBlockPositions < length) {
    KvBlockPool::Block block = pool_->Take();
    if (block == nullptr) {
      return false;
    }
    blocks_.push_back(std::move(block));
  }
  return true;
}

std::byte* KvSequence::At(int64_t block, int64_t layer, int64_t part, int64_t kv_head) {
  const KvShape& shape = pool_->shape();
  TW_DCHECK(block < blocks() && layer < shape.layers && kv_head < shape.kv_heads);
  const int64_t index = (layer * 2 + part) * shape.kv_heads + kv_head;
  return blocks_[static_cast<size_t>(block)].get() + index * shape.head_bytes();
}

std::byte* KvSequence::Keys(int64_t block, int64_t layer, int64_t kv_head) {
  return At(block, layer, 0, kv_head);
}
std::byte* KvSequence::Values(int64_t block, int64_t layer, int64_t kv_head) {
  return At(block, layer, 1, kv_head);
}

}  // namespace tradewind::engine
