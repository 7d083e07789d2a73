#include <cmath>

#include <gtest/gtest.h>

#include "cli/bench_limits.h"
#include "cli/bench_run.h"
#include "testing/gguf_builder.h"
#include "testing/temp_dir.h"

namespace tradewind::cli {
namespace {

// What a plan's text means, or "" when it is refused.
std::string Plans(std::string_view text) {
  std::string out;
  const auto plans = ParseBenchPlans(text, 1000, 8);
  if (!plans) {
    return plans.error().param;
  }
  for (const BenchPlan& plan : *plans) {
    out += std::to_string(plan.prompt_tokens) + " " + std::to_string(plan.output_tokens) + " " +
           std::to_string(plan.concurrency) + ";";
  }
  return out;
}

TEST(BenchPlans, AreReadAndTheirBoundsHeld) {
  EXPECT_EQ(Plans(""), "");
  EXPECT_EQ(Plans("512x1x1"), "512 1 1;");
  EXPECT_EQ(Plans("512x1x1,64x64x8"), "512 1 1;64 64 8;");
  for (const char* wrong :
       {"512", "512x1", "512x1x1x1", "x1x1", "512x1x", "512x1x1,,1x1x1", "0x1x1", "1x0x1", "1x1x0",
        "1001x1x1", "1x1x9", "-1x1x1", "1 x1x1", "ax1x1"}) {
    EXPECT_EQ(Plans(wrong), "plan") << wrong;
  }
}

TEST(BenchFigures, OfSeveralRepetitionsAreMediansFieldByField) {
  BenchFigures a, b, c;
  a.decode_per_s = 1, b.decode_per_s = 5, c.decode_per_s = 2;
  a.wall_ms = 30, b.wall_ms = 10, c.wall_ms = 20;
  const BenchFigures median = MedianOf({a, b, c});
  EXPECT_EQ(median.decode_per_s, 2);
  EXPECT_EQ(median.wall_ms, 20);
  EXPECT_EQ(MedianOf({a, b}).decode_per_s, 3);
}

// A model of one layer whose tensors are counted by hand.
ModelWork Work(bool tied) {
  const testing::TempDir dir;
  const auto path = dir.path() / "m.gguf";
  testing::GgufBuilder b;
  b.Set("general.architecture", "llama");
  b.TensorF32("token_embd.weight", {8, 10}, std::vector<float>(80));
  b.TensorF32("blk.0.attn_norm.weight", {8}, std::vector<float>(8));
  b.TensorF32("blk.0.attn_q.weight", {8, 4}, std::vector<float>(32));
  if (!tied) {
    b.TensorF32("output.weight", {8, 10}, std::vector<float>(80));
  }
  testing::GgufBuilder::WriteFile(path, b.Build());
  engine::ModelInfo info;
  info.layers = 3, info.heads = 5, info.head_dim = 7;
  return ReadModelWork(path, info).value();
}

TEST(ModelWork, CountsMatricesTheHeadOnceAndAttentionByPosition) {
  for (const bool tied : {true, false}) {
    const ModelWork work = Work(tied);
    EXPECT_EQ(work.matrix_macs, 32);
    EXPECT_EQ(work.head_macs, 80);
    EXPECT_EQ(work.step_bytes, 4 * (32 + 80));
    EXPECT_EQ(work.position_macs, 2 * 3 * 5 * 7);
    // Three tokens see 1 + 2 + 3 positions; only the last needs logits.
    EXPECT_EQ(work.PrefillMacs(3), 3 * 32 + 80 + 6 * 210);
  }
}

TEST(Achieved, ReadsTheWeightsOnceForAllSequences) {
  ModelWork work;
  work.step_bytes = 2e9;
  work.matrix_macs = 3e9;
  BenchFigures figures;
  figures.decode_per_s = 80;
  figures.prefill_per_s = 100;
  const Achieved achieved = AchievedBy(figures, {50, 10, 8}, work);
  EXPECT_DOUBLE_EQ(achieved.decode_gb_per_s, 20);
  EXPECT_DOUBLE_EQ(achieved.prefill_gmac_per_s, 300);
}

TEST(ResidentBytes, GrowWithWhatIsTouched) {
  const int64_t before = ResidentBytes();
  ASSERT_GT(before, 0);
  std::vector<char> touched(64 << 20, 1);
  EXPECT_GT(ResidentBytes(), before + (32 << 20)) << touched.back();
}

}  // namespace
}  // namespace tradewind::cli
