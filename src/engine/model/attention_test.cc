// Attention over whole caches: the same bits however a step is composed and whoever works.
#include "engine/model/attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include <gtest/gtest.h>

namespace tradewind::engine {
namespace {

// One layer of 2 KV heads that 3 query heads share each, over a cache of random keys and values.
class Context {
 public:
  Context(int64_t positions, KvType type, int64_t window = 0, int64_t head_dim = 24)
      : positions_(positions), pool_({1, 2, head_dim, type}, 1000), cache_(pool_) {
    config_.layers = 1;
    config_.heads = 6;
    config_.kv_heads = 2;
    config_.head_dim = head_dim;
    config_.sliding_window = window;
    config_.attention_scale = 0.3f;
    EXPECT_TRUE(cache_.Reserve(positions));
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (auto* values : {&k_, &v_}) {
      values->resize(static_cast<size_t>(positions * 2 * head_dim));
      std::ranges::generate(*values, [&] { return normal(random); });
    }
    q_.resize(static_cast<size_t>(positions * 6 * head_dim));
    std::ranges::generate(q_, [&] { return normal(random); });
    WorkerPool pool(1);
    Attention attention(config_, **SelectKernels(""), pool);
    const auto batch = Rows(0, positions);
    attention.Plan(batch);
    const auto width = static_cast<size_t>(2 * head_dim);
    for (int64_t t = 0; t < positions; ++t) {
      attention.Store(0, t, std::span(k_).subspan(static_cast<size_t>(t) * width, width),
                      std::span(v_).subspan(static_cast<size_t>(t) * width, width));
    }
  }

  std::vector<BatchRow> Rows(int64_t first, int64_t count) {
    std::vector<BatchRow> batch;
    for (int64_t p = first; p < first + count; ++p) {
      batch.push_back({0, p, &cache_, false});
    }
    return batch;
  }

  // What the rows [first, first + count), in one step, see. [count, H * C]
  std::vector<float> Attend(int64_t first, int64_t count, int threads, const char* kernels = "") {
    WorkerPool pool(threads);
    Attention attention(config_, **SelectKernels(kernels), pool);
    const auto batch = Rows(first, count);
    attention.Plan(batch);
    const int64_t width = 6 * config_.head_dim;
    std::vector<float> out(static_cast<size_t>(count * width), NAN);
    attention.Run(0, q_.data() + first * width, out.data());
    return out;
  }

  int64_t positions_;
  ModelConfig config_;
  KvBlockPool pool_;
  KvSequence cache_;
  std::vector<float> k_, v_;  // [positions, K * C]
  std::vector<float> q_;      // [positions, H * C]
};

TEST(Attention, AgreesWithTheOracleWhereverTheContextIsCut) {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    for (const int64_t window : {0, 100, 700}) {
      Context context(1100, type, window);
      const auto got = context.Attend(1050, 50, 2);
      const auto want = context.Attend(1050, 50, 2, "scalar");
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], 2e-6);
      }
    }
  }
}

TEST(Attention, ARowIsTheSameBitsAloneAmongOthersAndForAnyNumberOfThreads) {
  for (const int64_t window : {0, 40, 600, 1024}) {
    Context context(1100, KvType::kF16, window);
    const auto all = context.Attend(0, 1100, 1);
    const size_t width = 6 * 24;
    for (const int64_t first : {0, 31, 500, 511, 512, 1023, 1024, 1090}) {
      for (const int64_t count : {1, 2, 7}) {
        for (const int threads : {1, 2, 5}) {
          const auto some = context.Attend(first, count, threads);
          ASSERT_TRUE(std::equal(some.begin(), some.end(),
                                 all.begin() + first * static_cast<int64_t>(width)))
              << "window " << window << ", " << count << " rows from " << first << ", " << threads
              << " threads";
        }
      }
    }
  }
}

TEST(Attention, PiecesGrowWithThePositionWithoutAChangeOfAnyRow) {
  Context context(8300, KvType::kF16);  // pieces double at 8192
  const auto all = context.Attend(8150, 150, 1);
  const size_t width = 6 * 24;
  for (const int64_t first : {8150, 8191, 8192, 8250}) {
    const auto some = context.Attend(first, 3, 4);
    ASSERT_TRUE(std::equal(some.begin(), some.end(),
                           all.begin() + (first - 8150) * static_cast<int64_t>(width)));
  }
}

TEST(Attention, SequencesOfAStepDoNotSeeEachOther) {
  Context first(300, KvType::kF16);
  Context second(700, KvType::kF16);
  WorkerPool pool(2);
  Attention attention(first.config_, **SelectKernels(""), pool);
  std::vector<BatchRow> batch = first.Rows(290, 2);
  const auto more = second.Rows(292, 3);  // positions go on, the sequence does not
  batch.insert(batch.end(), more.begin(), more.end());
  attention.Plan(batch);
  const size_t width = 6 * 24;
  std::vector<float> q(first.q_.begin() + 290 * 144, first.q_.begin() + 292 * 144);
  q.insert(q.end(), second.q_.begin() + 292 * 144, second.q_.begin() + 295 * 144);
  std::vector<float> out(5 * width);
  attention.Run(0, q.data(), out.data());
  const auto want_first = first.Attend(290, 2, 1);
  const auto want_second = second.Attend(292, 3, 1);
  EXPECT_TRUE(std::equal(want_first.begin(), want_first.end(), out.begin()));
  EXPECT_TRUE(std::equal(want_second.begin(), want_second.end(), out.begin() + 2 * 144));
}

TEST(Attention, AWorkerOfA3BModelNeedsNoMoreThanItsL2) {
  ModelConfig config;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  EXPECT_LT(Attention::WorkerFloats(config) * 4, 1 << 20);
}

}  // namespace
}  // namespace tradewind::engine
