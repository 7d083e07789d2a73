// What a model would take in memory is known, and refused, before it is taken.
#include "engine/loaded_model.h"

#include <cmath>

#include <gtest/gtest.h>

#include "engine/test_engine.h"

namespace tradewind::engine {
namespace {

struct Shape {
  uint32_t model_dim = 2, heads = 1, head_dim = 2, ffn_dim = 2;
};

// A model with as many tokens as TinyModel, and one layer of zeros.
std::string ZeroModel(const Shape& shape) {
  testing::GgufBuilder b;
  b.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{1});
  b.Set("llama.context_length", uint32_t{INT32_MAX});
  b.Set("llama.embedding_length", shape.model_dim);
  b.Set("llama.feed_forward_length", shape.ffn_dim);
  b.Set("llama.attention.head_count", shape.heads);
  b.Set("llama.attention.key_length", shape.head_dim);
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(ByteCharacter(byte));
  }
  b.Set("tokenizer.ggml.model", "gpt2").Set("tokenizer.ggml.pre", "gpt-2");
  b.Set("tokenizer.ggml.tokens", tokens);
  b.Set("tokenizer.ggml.merges", std::vector<std::string>{});
  const auto add = [&](const std::string& name, uint64_t rows, uint64_t cols) {
    b.Tensor(name, TensorType::kF16, {cols, rows}, std::string(2 * rows * cols, '\0'));
  };
  const uint64_t dim = shape.model_dim, heads = uint64_t{shape.heads} * shape.head_dim;
  add("token_embd.weight", 256, dim);
  add("output_norm.weight", 1, dim);
  add("blk.0.attn_norm.weight", 1, dim);
  add("blk.0.ffn_norm.weight", 1, dim);
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    add(name, heads, dim);
  }
  add("blk.0.attn_output.weight", dim, heads);
  add("blk.0.ffn_gate.weight", shape.ffn_dim, dim);
  add("blk.0.ffn_up.weight", shape.ffn_dim, dim);
  add("blk.0.ffn_down.weight", dim, shape.ffn_dim);
  return b.Build();
}

class LoadedModelTest : public ::testing::Test {
 protected:
  Status Load(const Shape& shape, const EngineOptions& options) {
    const auto path = dir_.path() / "zero.gguf";
    testing::GgufBuilder::WriteFile(path, ZeroModel(shape));
    const auto model = LoadedModel::Load(path, options);
    return model ? Status() : Fail(model.error());
  }
  static bool Says(const Status& status, ErrorCode code, const std::string& words) {
    return !status && status.error().code == code &&
           status.error().message.find(words) != std::string::npos &&
           status.error().message.find("zero.gguf: ") != std::string::npos;
  }
  testing::TempDir dir_;
};

TEST_F(LoadedModelTest, TheSmallestShapesLoad) {
  const Status loaded = Load({}, {.context = 64, .threads = 1});
  EXPECT_TRUE(loaded) << loaded.error().message;
}

TEST_F(LoadedModelTest, RefusesAStepThatWouldTakeMoreThanAnyModelDoes) {
  const Shape wide{.ffn_dim = 1 << 20};
  EXPECT_TRUE(Says(Load(wide, {.context = 64, .threads = 250}), ErrorCode::kResourceExhausted,
                   "lower --threads"));
}

TEST_F(LoadedModelTest, RefusesAContextWhoseKeysAndValuesNoMachineHolds) {
  const Shape many_heads{.heads = 64, .head_dim = 64};
  EXPECT_TRUE(Says(Load(many_heads, {.context = 1 << 30, .threads = 1}),
                   ErrorCode::kResourceExhausted, "lower --ctx"));
}

TEST_F(LoadedModelTest, TakesTheBlocksThatItMayUseButNeverTooFewForOneContext) {
  const auto path = dir_.path() / "zero.gguf";
  testing::GgufBuilder::WriteFile(path, ZeroModel({}));
  const auto load = [&](EngineOptions options) {
    options.threads = 1;
    auto model = LoadedModel::Load(path, options);
    EXPECT_TRUE(model) << model.error().message;
    return model ? std::move(*model) : nullptr;
  };
  const auto at_most = load({.context = 320, .slots = 3});
  ASSERT_NE(at_most, nullptr);
  EXPECT_EQ(at_most->kv_blocks_max(), 30);  // all slots at their longest
  const int64_t bytes = 20 * at_most->kv_shape().block_bytes();
  const auto bounded = load({.context = 320, .slots = 3, .kv_bytes = bytes});
  ASSERT_NE(bounded, nullptr);
  EXPECT_EQ(bounded->kv_blocks_max(), 20);
  // A quarter of this machine's memory is less than all these contexts: one fits always.
  const auto huge = load({.context = 1 << 28, .slots = 256});
  ASSERT_NE(huge, nullptr);
  EXPECT_GE(huge->kv_blocks_max(), (1 << 28) / 32);
  EXPECT_LE(huge->kv_blocks_max(), int64_t{256} * ((1 << 28) / 32));
}

TEST_F(LoadedModelTest, RefusesMoreTokensThanTheEmbeddingHasRows) {
  const auto path = dir_.path() / "tiny.gguf";
  std::string bytes = ZeroModel({});
  // The embedding's second dimension: 256 rows become 255.
  const size_t at = bytes.find("token_embd.weight") + 17 + 4 + 8;
  bytes[at] = static_cast<char>(0xFF);
  bytes[at + 1] = 0;
  testing::GgufBuilder::WriteFile(path, bytes);
  const auto model = LoadedModel::Load(path, {.context = 64, .threads = 1});
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::kCorruptFile);
  EXPECT_NE(model.error().message.find("256 tokens but token_embd.weight 255 rows"),
            std::string::npos)
      << model.error().message;
}

}  // namespace
}  // namespace tradewind::engine
