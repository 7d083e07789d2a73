#include "engine/cache/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <new>

#include <sys/mman.h>

#include "base/check.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kCacheLine = 64;
constexpr int64_t kHugePage = 2 << 20;
// Blocks are allocated some at a time, so that large pages hold them: reading a long context then
// misses the TLB 500 times less. What is not touched costs nothing.
constexpr int64_t kSlabBytes = 4 * kHugePage;

int64_t RoundUp(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

int64_t KvShape::scale_bytes() const {
  return type == KvType::kQ8_0 ? limits::kKvBlockPositions * (RoundUp(head_dim, 32) / 32) * 2 : 0;
}
int64_t KvShape::keys_bytes() const {
  return RoundUp(limits::kKvBlockPositions * head_dim * element_bytes() + scale_bytes(),
                 kCacheLine);
}
int64_t KvShape::values_bytes() const {
  return RoundUp(
      limits::kKvBlockPositions * RoundUp(head_dim, 16) * element_bytes() + scale_bytes(),
      kCacheLine);
}
int64_t KvShape::block_bytes() const {
  return layers * kv_heads * (keys_bytes() + values_bytes());
}
int64_t KvShape::bytes_per_token() const {
  return block_bytes() / limits::kKvBlockPositions;
}

struct KvBlockRef::Block {
  std::byte* data = nullptr;
  KvBlockPool* pool = nullptr;
  int shares = 0;
  bool cached = false;
};

KvBlockRef::KvBlockRef(const KvBlockRef& other) : block_(other.block_) {
  if (block_ != nullptr) {
    block_->pool->idle_ -= block_->cached && block_->shares == 1 ? 1 : 0;
    ++block_->shares;
  }
}

KvBlockRef::~KvBlockRef() {
  if (block_ == nullptr) {
    return;
  }
  KvBlockPool& pool = *block_->pool;
  --block_->shares;
  if (block_->shares == 0) {
    TW_CHECK(!block_->cached);
    pool.free_.push_back(block_);
    --pool.used_;
  } else if (block_->shares == 1 && block_->cached) {
    ++pool.idle_;
  }
}

std::byte* KvBlockRef::data() const {
  return block_->data;
}
bool KvBlockRef::is_shared() const {
  return block_->shares > 1;
}

void KvBlockRef::SetCached(bool cached) {
  TW_CHECK(block_->cached != cached);
  block_->cached = cached;
  if (block_->shares == 1) {
    block_->pool->idle_ += cached ? 1 : -1;
  }
}

struct KvBlockPool::Slab {
  struct Free {
    std::align_val_t alignment;
    void operator()(std::byte* data) const { ::operator delete(data, alignment); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  Memory memory;
  std::vector<KvBlockRef::Block> blocks;
};

KvBlockPool::KvBlockPool(KvShape shape, int64_t blocks_max)
    : shape_(shape), blocks_max_(blocks_max) {}

KvBlockPool::~KvBlockPool() {
  TW_CHECK(used_ == 0);
}

bool KvBlockPool::Grow() {
  const int64_t each = shape_.block_bytes();
  const int64_t count = std::clamp<int64_t>(kSlabBytes / each, 1, blocks_max_ - made_);
  const bool is_large = count * each >= kHugePage;
  const int64_t alignment = is_large ? kHugePage : kCacheLine;
  const auto bytes = static_cast<size_t>(RoundUp(count * each, alignment));
  auto* const memory = static_cast<std::byte*>(
      ::operator new(bytes, static_cast<std::align_val_t>(alignment), std::nothrow));
  if (memory == nullptr) {
    return false;
  }
#if defined(MADV_HUGEPAGE)
  if (is_large) {  // a wish: without it everything works, a little slower
    static_cast<void>(::madvise(memory, bytes, MADV_HUGEPAGE));
  }
#endif
  Slab::Memory owned(memory, {static_cast<std::align_val_t>(alignment)});
  auto slab = std::make_unique<Slab>();
  slab->memory = std::move(owned);
  slab->blocks.resize(static_cast<size_t>(count));
  slabs_.reserve(slabs_.size() + 1);
  free_.reserve(static_cast<size_t>(made_ + count));  // giving back must not fail
  made_ += count;
  for (int64_t i = count - 1; i >= 0; --i) {
    KvBlockRef::Block& block = slab->blocks[static_cast<size_t>(i)];
    block.data = memory + i * each;
    block.pool = this;
    free_.push_back(&block);
  }
  slabs_.push_back(std::move(slab));
  return true;
}

KvBlockRef KvBlockPool::Take() {
  if (used_ == blocks_max_ || (free_.empty() && !Grow())) {
    return {};
  }
  KvBlockRef::Block* const block = free_.back();
  free_.pop_back();
  block->shares = 1;
  ++used_;
  return KvBlockRef(block);
}

void KvSequence::Append(KvBlockRef block) {
  data_.push_back(block.data());
  blocks_.push_back(std::move(block));
}

int64_t KvSequence::BeginWith(std::span<const KvBlockRef> blocks, int64_t positions) {
  TW_CHECK(blocks_.empty() && KvBlocksFor(positions) <= static_cast<int64_t>(blocks.size()));
  const auto whole = static_cast<size_t>(positions / limits::kKvBlockPositions);
  for (const KvBlockRef& block : blocks.first(whole)) {
    Append(block);
  }
  if (positions % limits::kKvBlockPositions == 0) {
    return positions;
  }
  KvBlockRef copy = pool_->Take();
  if (!copy) {
    return static_cast<int64_t>(whole) * limits::kKvBlockPositions;
  }
  std::memcpy(copy.data(), blocks[whole].data(), static_cast<size_t>(shape().block_bytes()));
  Append(std::move(copy));
  return positions;
}

bool KvSequence::Reserve(int64_t length) {
  while (static_cast<int64_t>(blocks_.size()) < KvBlocksFor(length)) {
    KvBlockRef block = pool_->Take();
    if (!block) {
      return false;
    }
    Append(std::move(block));
  }
  return true;
}

const std::byte* KvSequence::Keys(int64_t block, int64_t layer, int64_t kv_head) const {
  return data_[static_cast<size_t>(block)] + shape().keys_offset(layer, kv_head);
}
const std::byte* KvSequence::Values(int64_t block, int64_t layer, int64_t kv_head) const {
  return data_[static_cast<size_t>(block)] + shape().values_offset(layer, kv_head);
}
std::byte* KvSequence::MutableKeys(int64_t block, int64_t layer, int64_t kv_head) {
  const KvBlockRef& ref = blocks_[static_cast<size_t>(block)];
  TW_DCHECK(!ref.is_shared());
  return ref.data() + shape().keys_offset(layer, kv_head);
}
std::byte* KvSequence::MutableValues(int64_t block, int64_t layer, int64_t kv_head) {
  const KvBlockRef& ref = blocks_[static_cast<size_t>(block)];
  TW_DCHECK(!ref.is_shared());
  return ref.data() + shape().values_offset(layer, kv_head);
}

}  // namespace tradewind::engine
