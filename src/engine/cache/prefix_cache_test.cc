#include "engine/cache/prefix_cache.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace tradewind::engine {
namespace {

constexpr int64_t kBlock = limits::kKvBlockPositions;
constexpr KvShape kShape{.layers = 1, .kv_heads = 1, .head_dim = 2, .type = KvType::kF32};

class PrefixCacheTest : public ::testing::Test {
 protected:
  static std::vector<int32_t> Ids(int64_t n, int32_t first = 0) {
    std::vector<int32_t> ids(static_cast<size_t>(n));
    std::iota(ids.begin(), ids.end(), first);
    return ids;
  }

  // A sequence that evaluated `ids`, from its beginning or after what is known, and ended.
  void Put(const std::vector<int32_t>& ids, std::string_view scope = "") {
    KvSequence sequence(pool_);
    const auto known = cache_.Find(scope, ids);
    sequence.BeginWith(known.blocks, known.positions);
    ASSERT_TRUE(sequence.Reserve(static_cast<int64_t>(ids.size())));
    cache_.Insert(scope, ids, sequence.blocks());
  }
  int64_t Known(const std::vector<int32_t>& ids, std::string_view scope = "") {
    return cache_.Find(scope, ids).positions;
  }

  KvBlockPool pool_{kShape, 1000};
  PrefixCache cache_;
};

TEST_F(PrefixCacheTest, FindsTheLongestCommonBeginningAlsoInsideABlock) {
  Put(Ids(100));
  EXPECT_EQ(Known(Ids(100)), 100);
  EXPECT_EQ(Known(Ids(250)), 100);
  EXPECT_EQ(Known(Ids(70)), 70);
  auto ids = Ids(100);
  ids[40] = -1;
  EXPECT_EQ(Known(ids), 40);
  ids[0] = -1;
  EXPECT_EQ(Known(ids), 0);
  EXPECT_EQ(Known({}), 0);
}

TEST_F(PrefixCacheTest, ConversationsShareTheirBeginningOnce) {
  Put(Ids(2 * kBlock));
  auto other = Ids(4 * kBlock);
  Put(other);
  for (size_t i = 2 * kBlock; i < other.size(); ++i) {
    other[i] += 1000;
  }
  Put(other);
  EXPECT_EQ(cache_.blocks(), 2 + 2 + 2);
  EXPECT_EQ(pool_.blocks_used(), 6);
  EXPECT_EQ(Known(other), 4 * kBlock);
  EXPECT_EQ(Known(Ids(4 * kBlock)), 4 * kBlock);
}

TEST_F(PrefixCacheTest, APartlyFilledBlockIsReplacedByOneThatGoesOnFromIt) {
  Put(Ids(kBlock + 10));
  Put(Ids(kBlock + 5));  // known
  EXPECT_EQ(cache_.blocks(), 2);
  Put(Ids(3 * kBlock));
  EXPECT_EQ(cache_.blocks(), 3);
  EXPECT_EQ(pool_.blocks_used(), 3);
  EXPECT_EQ(Known(Ids(3 * kBlock)), 3 * kBlock);
}

TEST_F(PrefixCacheTest, ScopesSeeNothingOfEachOther) {
  Put(Ids(64), "a");
  EXPECT_EQ(Known(Ids(64), "a"), 64);
  EXPECT_EQ(Known(Ids(64), "b"), 0);
  EXPECT_EQ(Known(Ids(64), ""), 0);
}

TEST_F(PrefixCacheTest, WhatWasUsedLeastRecentlyGoesFirstFromTheEndOfItsSequence) {
  Put(Ids(3 * kBlock));
  Put(Ids(2 * kBlock, 5000));
  EXPECT_EQ(Known(Ids(3 * kBlock)), 3 * kBlock);  // now used more recently than the other
  const int64_t left_of_first[] = {3, 3, 2, 1, 0};
  const int64_t left_of_second[] = {1, 0, 0, 0, 0};
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(cache_.EvictOne());
    // Looked at from behind, so that looking does not change the order.
    ASSERT_EQ(cache_.blocks(), left_of_first[i] + left_of_second[i]);
    ASSERT_EQ(pool_.blocks_used(), cache_.blocks());
  }
  EXPECT_FALSE(cache_.EvictOne());
  EXPECT_EQ(Known(Ids(3 * kBlock)), 0);
}

TEST_F(PrefixCacheTest, AnEvictedEndLeavesTheBeginning) {
  Put(Ids(3 * kBlock));
  ASSERT_TRUE(cache_.EvictOne());
  EXPECT_EQ(Known(Ids(3 * kBlock)), 2 * kBlock);
}

TEST_F(PrefixCacheTest, BlocksThatARunningSequenceSharesAreNotLetGo) {
  Put(Ids(3 * kBlock));
  KvSequence running(pool_);
  running.BeginWith(cache_.Find("", Ids(2 * kBlock)).blocks, 2 * kBlock);
  EXPECT_EQ(pool_.blocks_idle(), 1);
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_FALSE(cache_.EvictOne());
  EXPECT_EQ(Known(Ids(3 * kBlock)), 2 * kBlock);
}

TEST_F(PrefixCacheTest, AnIdleBlockIsLetGoThoughWhatGoesOnFromItIsShared) {
  Put(Ids(kBlock));
  KvSequence running(pool_);  // has evaluated the same block itself, and a second one after it
  ASSERT_TRUE(running.Reserve(2 * kBlock));
  cache_.Insert("", Ids(2 * kBlock), running.blocks());
  ASSERT_EQ(pool_.blocks_idle(), 1);
  EXPECT_TRUE(cache_.EvictOne());
  EXPECT_EQ(pool_.blocks_idle(), 0);
  EXPECT_EQ(pool_.blocks_used(), 2);
  EXPECT_FALSE(cache_.EvictOne());
  cache_.Insert("", Ids(2 * kBlock), running.blocks());
  EXPECT_EQ(Known(Ids(2 * kBlock)), 2 * kBlock);
}

TEST_F(PrefixCacheTest, ALongSequenceIsTornDownWithoutRecursion) {
  KvBlockPool pool({1, 1, 1, KvType::kF16}, 40'000);
  PrefixCache cache;
  const auto ids = Ids(1'200'000);
  KvSequence sequence(pool);
  ASSERT_TRUE(sequence.Reserve(static_cast<int64_t>(ids.size())));
  cache.Insert("", ids, sequence.blocks());
  EXPECT_EQ(cache.blocks(), 37'500);
}

// Against a plain list of everything that was put in, with a bound that forces eviction.
TEST_F(PrefixCacheTest, NeverFindsWhatWasNotPutInAndFindsAllThatFits) {
  std::mt19937 random(3);
  std::vector<std::vector<int32_t>> all;
  for (int round = 0; round < 400; ++round) {
    std::vector<int32_t> ids;
    if (!all.empty() && random() % 2 == 0) {  // branches off from another
      const auto& from = all[random() % all.size()];
      ids.assign(from.begin(), from.begin() + static_cast<long>(random() % from.size()));
    }
    const size_t length = ids.size() + 1 + random() % 90;
    while (ids.size() < length) {
      ids.push_back(static_cast<int32_t>(random() % 3));
    }
    size_t longest = 0;
    for (const auto& known : all) {
      const auto common = std::ranges::mismatch(ids, known).in1 - ids.begin();
      longest = std::max(longest, static_cast<size_t>(common));
    }
    const auto found = static_cast<size_t>(Known(ids));
    ASSERT_LE(found, longest);
    if (round < 100) {  // nothing was evicted yet
      ASSERT_EQ(found, longest);
    }
    Put(ids);
    ASSERT_EQ(Known(ids), static_cast<int64_t>(ids.size()));
    all.push_back(ids);
    while (round >= 100 && cache_.blocks() > 60) {
      ASSERT_TRUE(cache_.EvictOne());
    }
    ASSERT_EQ(pool_.blocks_used(), cache_.blocks());
    ASSERT_EQ(pool_.blocks_idle(), cache_.blocks());
  }
}

}  // namespace
}  // namespace tradewind::engine
