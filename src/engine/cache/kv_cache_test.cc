#include "engine/cache/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include <gtest/gtest.h>

namespace tradewind::engine {
namespace {

constexpr KvShape kShape{.layers = 3, .kv_heads = 2, .head_dim = 8, .type = KvType::kF16};
constexpr int64_t kBlock = limits::kKvBlockPositions;

void Fill(KvSequence& sequence, int64_t block, unsigned char tag) {
  std::memset(sequence.MutableKeys(block, 0, 0), tag, static_cast<size_t>(kShape.block_bytes()));
}
unsigned char TagOf(const KvSequence& sequence, int64_t block) {
  return static_cast<unsigned char>(*sequence.Keys(block, 0, 0));
}

TEST(KvCache, CountsBytesAsTheShapeSays) {
  EXPECT_EQ(kShape.bytes_per_token(), 3 * 2 * (8 + 16) * 2);  // values are padded to 16
  EXPECT_EQ(kShape.block_bytes(), kShape.bytes_per_token() * kBlock);
  const KvShape bytes{.layers = 3, .kv_heads = 2, .head_dim = 64, .type = KvType::kQ8_0};
  EXPECT_EQ(bytes.bytes_per_token(), 3 * 2 * 2 * (64 + 2 * 2));  // a scale of 2 bytes for 32
}

TEST(KvCache, GrowsByBlocksAndReturnsThemWhenTheSequenceEnds) {
  KvBlockPool pool(kShape, 4);
  {
    KvSequence sequence(pool);
    EXPECT_EQ(pool.blocks_used(), 0);
    ASSERT_TRUE(sequence.Reserve(1));
    ASSERT_TRUE(sequence.Reserve(kBlock));
    EXPECT_EQ(pool.blocks_used(), 1);
    ASSERT_TRUE(sequence.Reserve(kBlock + 1));
    EXPECT_EQ(pool.blocks_used(), 2);
  }
  EXPECT_EQ(pool.blocks_used(), 0);
  EXPECT_EQ(pool.blocks_available(), 4);
}

TEST(KvCache, SaysNoWhenTheBoundIsReachedAndYesAgainLater) {
  KvBlockPool pool(kShape, 2);
  KvSequence first(pool);
  {
    KvSequence second(pool);
    ASSERT_TRUE(first.Reserve(1));
    ASSERT_TRUE(second.Reserve(1));
    EXPECT_FALSE(first.Reserve(kBlock + 1));
    EXPECT_EQ(first.blocks().size(), 1u);
  }
  EXPECT_TRUE(first.Reserve(kBlock + 1));
}

TEST(KvCache, EveryHeadOfEveryLayerHasMemoryOfItsOwn) {
  KvBlockPool pool(kShape, 2);
  KvSequence sequence(pool);
  ASSERT_TRUE(sequence.Reserve(2 * kBlock));
  const auto each = [&](auto&& visit) {
    unsigned char tag = 1;
    for (int64_t block = 0; block < 2; ++block) {
      for (int64_t layer = 0; layer < kShape.layers; ++layer) {
        for (int64_t head = 0; head < kShape.kv_heads; ++head) {
          visit(sequence.MutableKeys(block, layer, head), kShape.keys_bytes(), tag++);
          visit(sequence.MutableValues(block, layer, head), kShape.values_bytes(), tag++);
        }
      }
    }
  };
  each([&](std::byte* p, int64_t bytes, unsigned char tag) {
    std::memset(p, tag, static_cast<size_t>(bytes));
  });
  each([&](std::byte* p, int64_t bytes, unsigned char tag) {
    for (int64_t i = 0; i < bytes; ++i) {
      ASSERT_EQ(p[i], static_cast<std::byte>(tag));
    }
  });
}

TEST(KvCache, KeysAndValuesBeginAtCacheLines) {
  for (const int64_t head_dim : {2, 7, 64, 100}) {
    KvBlockPool pool({3, 5, head_dim, KvType::kF16}, 40);
    KvSequence sequence(pool);
    ASSERT_TRUE(sequence.Reserve(40 * kBlock));
    for (int64_t block = 0; block < 40; ++block) {
      for (int64_t head = 0; head < 5; ++head) {
        ASSERT_EQ(reinterpret_cast<uintptr_t>(sequence.Keys(block, 1, head)) % 64, 0u);
        ASSERT_EQ(reinterpret_cast<uintptr_t>(sequence.Values(block, 2, head)) % 64, 0u);
      }
    }
  }
}

TEST(KvCache, ASequenceThatBeginsWithAnothersBlocksSharesTheWholeOnesAndCopiesTheLast) {
  KvBlockPool pool(kShape, 10);
  std::optional<KvSequence> first(std::in_place, pool);
  ASSERT_TRUE(first->Reserve(3 * kBlock));
  for (int64_t block = 0; block < 3; ++block) {
    Fill(*first, block, static_cast<unsigned char>(block + 1));
  }
  KvSequence second(pool);
  EXPECT_EQ(second.BeginWith(first->blocks(), 2 * kBlock + 5), 2 * kBlock + 5);
  EXPECT_EQ(pool.blocks_used(), 4);
  Fill(second, 2, 99);
  EXPECT_EQ(TagOf(*first, 2), 3);
  EXPECT_EQ(TagOf(second, 0), 1);
  first.reset();  // what it shared stays
  EXPECT_EQ(pool.blocks_used(), 3);
  EXPECT_EQ(TagOf(second, 1), 2);
}

TEST(KvCache, WithoutABlockForTheCopyASequenceBeginsWithTheWholeOnes) {
  KvBlockPool pool(kShape, 2);
  KvSequence first(pool);
  ASSERT_TRUE(first.Reserve(2 * kBlock));
  KvSequence second(pool);
  EXPECT_EQ(second.BeginWith(first.blocks(), kBlock + 5), kBlock);
  EXPECT_EQ(second.blocks().size(), 1u);
}

TEST(KvCache, ACachedBlockIsIdleWhileNobodyElseHoldsIt) {
  KvBlockPool pool(kShape, 3);
  KvBlockRef cached = pool.Take();
  cached.SetCached(true);
  EXPECT_EQ(pool.blocks_idle(), 1);
  EXPECT_EQ(pool.blocks_available(), 3);
  {
    const KvBlockRef user = cached;
    EXPECT_EQ(pool.blocks_idle(), 0);
    EXPECT_EQ(pool.blocks_available(), 2);
  }
  EXPECT_EQ(pool.blocks_idle(), 1);
  cached.SetCached(false);
  EXPECT_EQ(pool.blocks_idle(), 0);
  EXPECT_EQ(pool.blocks_used(), 1);
}

}  // namespace
}  // namespace tradewind::engine
