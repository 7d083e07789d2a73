#include "engine/cache/kv_cache.h"

#include <new>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kCacheLine = 64;

int64_t Aligned(int64_t bytes) {
  return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}

}  // namespace

int64_t KvShape::keys_bytes() const {
  return Aligned(limits::kKvBlockPositions * head_dim * element_bytes());
}
int64_t KvShape::values_bytes() const {
  return Aligned(limits::kKvBlockPositions * ((head_dim + 15) / 16 * 16) * element_bytes());
}
int64_t KvShape::block_bytes() const {
  return layers * kv_heads * (keys_bytes() + values_bytes());
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
    block.reset(static_cast<std::byte*>(::operator new(
        static_cast<size_t>(shape_.block_bytes()), std::align_val_t(kCacheLine), std::nothrow)));
  } else {
    block = std::move(free_.back());
    free_.pop_back();
  }
  used_ += block != nullptr ? 1 : 0;
  return block;
}

void KvBlockPool::Free::operator()(std::byte* data) const {
  ::operator delete(data, std::align_val_t(kCacheLine));
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
    data_.push_back(block.get());
    blocks_.push_back(std::move(block));
  }
  return true;
}

std::byte* KvSequence::Keys(int64_t block, int64_t layer, int64_t kv_head) {
  TW_DCHECK(block < blocks() && layer < shape().layers && kv_head < shape().kv_heads);
  return blocks_[static_cast<size_t>(block)].get() + shape().keys_offset(layer, kv_head);
}
std::byte* KvSequence::Values(int64_t block, int64_t layer, int64_t kv_head) {
  TW_DCHECK(block < blocks() && layer < shape().layers && kv_head < shape().kv_heads);
  return blocks_[static_cast<size_t>(block)].get() + shape().values_offset(layer, kv_head);
}

}  // namespace tradewind::engine
