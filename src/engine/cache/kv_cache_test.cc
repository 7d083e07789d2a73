#include "engine/cache/kv_cache.h"

#include <cstring>
#include <optional>

#include <gtest/gtest.h>

#include "base/limits.h"

namespace tradewind::engine {
namespace {

constexpr KvShape kShape{.layers = 3, .kv_heads = 2, .head_dim = 8, .type = KvType::kF16};

TEST(KvCache, CountsBytesAsTheShapeSays) {
  EXPECT_EQ(kShape.bytes_per_token(), 3 * 2 * (8 + 16) * 2);  // values are padded to 16
  EXPECT_EQ(kShape.block_bytes(), kShape.bytes_per_token() * limits::kKvBlockPositions);
}

TEST(KvCache, GrowsByBlocksAndReturnsThemWhenTheSequenceEnds) {
  KvBlockPool pool(kShape, 4);
  {
    KvSequence sequence(pool);
    EXPECT_EQ(pool.bytes_used(), 0);
    ASSERT_TRUE(sequence.Reserve(1));
    ASSERT_TRUE(sequence.Reserve(limits::kKvBlockPositions));
    EXPECT_EQ(pool.bytes_used(), kShape.block_bytes());
    ASSERT_TRUE(sequence.Reserve(limits::kKvBlockPositions + 1));
    EXPECT_EQ(pool.bytes_used(), 2 * kShape.block_bytes());
  }
  EXPECT_EQ(pool.bytes_used(), 0);
}

TEST(KvCache, SaysNoWhenTheBoundIsReachedAndYesAgainLater) {
  KvBlockPool pool(kShape, 2);
  KvSequence first(pool);
  {
    KvSequence second(pool);
    ASSERT_TRUE(first.Reserve(1));
    ASSERT_TRUE(second.Reserve(1));
    EXPECT_FALSE(first.Reserve(limits::kKvBlockPositions + 1));
    EXPECT_EQ(first.blocks(), 1);
  }
  EXPECT_TRUE(first.Reserve(limits::kKvBlockPositions + 1));
}

TEST(KvCache, EveryHeadOfEveryLayerHasMemoryOfItsOwn) {
  KvBlockPool pool(kShape, 2);
  KvSequence sequence(pool);
  ASSERT_TRUE(sequence.Reserve(2 * limits::kKvBlockPositions));
  const auto each = [&](auto&& visit) {
    unsigned char tag = 1;
    for (int64_t block = 0; block < 2; ++block) {
      for (int64_t layer = 0; layer < kShape.layers; ++layer) {
        for (int64_t head = 0; head < kShape.kv_heads; ++head) {
          visit(sequence.Keys(block, layer, head), kShape.keys_bytes(), tag++);
          visit(sequence.Values(block, layer, head), kShape.values_bytes(), tag++);
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

}  // namespace
}  // namespace tradewind::engine
