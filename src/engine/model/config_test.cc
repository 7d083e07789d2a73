#include "engine/model/config.h"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "engine/model/rope.h"
#include "engine/model/weights.h"
#include "testing/gguf_builder.h"

namespace tradewind::engine {
namespace {

using testing::GgufBuilder;

GgufBuilder Ministral3Keys() {
  GgufBuilder b;
  const std::string a = "mistral3.";
  b.Set("general.architecture", "mistral3");
  b.Set(a + "block_count", uint32_t{26}).Set(a + "context_length", uint32_t{262144});
  b.Set(a + "embedding_length", uint32_t{3072}).Set(a + "feed_forward_length", uint32_t{9216});
  b.Set(a + "attention.head_count", uint32_t{32}).Set(a + "attention.head_count_kv", uint32_t{8});
  b.Set(a + "attention.key_length", uint32_t{128}).Set(a + "attention.value_length", uint32_t{128});
  b.Set(a + "attention.layer_norm_rms_epsilon", 1e-5f).Set(a + "attention.temperature_scale", 0.1f);
  b.Set(a + "rope.dimension_count", uint32_t{128}).Set(a + "rope.freq_base", 1e6f);
  b.Set(a + "rope.scaling.type", "yarn").Set(a + "rope.scaling.factor", 16.0f);
  b.Set(a + "rope.scaling.original_context_length", uint32_t{16384});
  return b;
}

Result<ModelConfig> ConfigOf(GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  auto file = GgufFile::Parse(AsBytes(bytes), "model.gguf");
  EXPECT_TRUE(file) << file.error().message;
  return ModelConfig::FromGguf(*file);
}

TEST(ModelConfig, ReadsMinistral3AsTheOfficialFileSpellsIt) {
  GgufBuilder b = Ministral3Keys();
  b.Set("mistral3.rope.scaling.yarn_beta_fast", 32.0f)
      .Set("mistral3.rope.scaling.yarn_beta_slow", 1.0f);
  b.Set("mistral3.rope.scaling.yarn_log_multiplier", 1.0f);
  const auto config = ConfigOf(b);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->rope.scaling, RopeScaling::kYarn);
  EXPECT_DOUBLE_EQ(config->rope.attention_factor, 1.0);  // not 1.277
  EXPECT_EQ(config->query_scale_length, 16384);
  EXPECT_NEAR(config->query_scale_beta, 0.1, 1e-7);
  EXPECT_EQ(config->sliding_window, 0);
}

TEST(ModelConfig, ReadsTheSpellingOfOllamaToo) {
  GgufBuilder b = Ministral3Keys();
  b.Set("mistral3.rope.scaling.beta_fast", 32.0f).Set("mistral3.rope.scaling.beta_slow", 1.0f);
  b.Set("mistral3.rope.scaling.mscale", 1.0f).Set("mistral3.rope.scaling.mscale_all_dim", 1.0f);
  EXPECT_DOUBLE_EQ(ConfigOf(b)->rope.attention_factor, 1.0);
}

TEST(ModelConfig, WithoutTheMscalePairYarnMultipliesCosAndSin) {
  GgufBuilder b = Ministral3Keys();
  EXPECT_NEAR(ConfigOf(b)->rope.attention_factor, 0.1 * std::log(16.0) + 1.0, 1e-12);
}

TEST(ModelConfig, AYarnMscalePairMultipliesCosAndSinByItsRatio) {
  GgufBuilder b = Ministral3Keys();
  b.Set("mistral3.rope.scaling.yarn_log_multiplier", 0.5f);
  const double log = 0.1 * std::log(16.0);
  EXPECT_NEAR(ConfigOf(b)->rope.attention_factor, (log + 1) / (0.5 * log + 1), 1e-9);
  b.Set("mistral3.rope.scaling.mscale", 2.0f);
  EXPECT_NEAR(ConfigOf(b)->rope.attention_factor, (2 * log + 1) / (0.5 * log + 1), 1e-9);
  b.Set("mistral3.rope.scaling.attn_factor", 0.5f);
  EXPECT_NEAR(ConfigOf(b)->rope.attention_factor, 0.5 * (2 * log + 1) / (0.5 * log + 1), 1e-9);
}

// The keys that a llama needs, and no others.
GgufBuilder LlamaKeys() {
  GgufBuilder b;
  b.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{2});
  b.Set("llama.context_length", uint32_t{512}).Set("llama.embedding_length", uint32_t{64});
  b.Set("llama.feed_forward_length", uint32_t{96}).Set("llama.attention.head_count", uint32_t{4});
  return b;
}

TEST(ModelConfig, FillsInWhatALlamaNeedNotSay) {
  GgufBuilder b = LlamaKeys();
  const ModelConfig c = ConfigOf(b).value();
  EXPECT_EQ(c.kv_heads, 4);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.sliding_window, 0);
  EXPECT_FLOAT_EQ(c.attention_scale, 0.25f);
  EXPECT_FLOAT_EQ(c.rms_eps, 1e-5f);
  EXPECT_EQ(c.rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(c.rope.theta, 10000);
  EXPECT_EQ(c.rope.dims, 16);
  EXPECT_EQ(c.query_scale_beta, 0);
}

TEST(ModelConfig, ReadsTheRarerKeys) {
  GgufBuilder b = LlamaKeys();
  b.Set("llama.attention.scale", 0.5f).Set("llama.attention.sliding_window", uint32_t{128});
  b.Set("llama.attention.temperature_scale", 0.25f);
  b.Set("llama.attention.temperature_length", uint32_t{100});
  const ModelConfig c = ConfigOf(b).value();
  EXPECT_EQ(c.attention_scale, 0.5f);
  EXPECT_EQ(c.sliding_window, 128);
  EXPECT_EQ(c.query_scale_beta, 0.25);
  EXPECT_EQ(c.query_scale_length, 100);
}

TEST(ModelConfig, TakesHeadCountsPerLayerWhereTheyAgree) {
  GgufBuilder same = LlamaKeys();
  same.Set("llama.attention.head_count_kv", std::vector<int32_t>{2, 2});
  EXPECT_EQ(ConfigOf(same)->kv_heads, 2);
  const auto refusal = [](auto values) {
    GgufBuilder b = LlamaKeys();
    b.Set("llama.attention.head_count_kv", std::move(values));
    const auto config = ConfigOf(b);
    EXPECT_FALSE(config);
    EXPECT_NE(config.error().message.find("llama.attention.head_count_kv"), std::string::npos);
    return config.error().code;
  };
  EXPECT_EQ(refusal(std::vector<int32_t>{2, 4}), ErrorCode::kUnsupported);
  EXPECT_EQ(refusal(std::vector<int32_t>{0, 0}), ErrorCode::kCorruptFile);
  EXPECT_EQ(refusal(std::vector<int32_t>{}), ErrorCode::kCorruptFile);
  EXPECT_EQ(refusal(std::vector<std::string>{"2", "2"}), ErrorCode::kCorruptFile);
}

TEST(ModelConfig, ScalesLinearlyByEitherKey) {
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    GgufBuilder untyped = LlamaKeys();
    untyped.Set(key, 4.0f);
    EXPECT_EQ(ConfigOf(untyped)->rope.scaling, RopeScaling::kLinear) << key;
    EXPECT_EQ(ConfigOf(untyped)->rope.factor, 4) << key;
    untyped.Set("llama.rope.scaling.type", "none");
    EXPECT_EQ(ConfigOf(untyped)->rope.scaling, RopeScaling::kNone) << key;
  }
  const Rope plain({.theta = 100, .dims = 4}, {});
  const Rope linear({.scaling = RopeScaling::kLinear, .theta = 100, .dims = 4, .factor = 4}, {});
  EXPECT_FLOAT_EQ(linear.frequencies()[0], plain.frequencies()[0] / 4);
  EXPECT_FLOAT_EQ(linear.frequencies()[1], plain.frequencies()[1] / 4);
}

TEST(ModelConfig, DivisorsOfFrequenciesComeOnTopOfAnyScaling) {
  for (const char* type : {"none", "linear", "yarn"}) {
    GgufBuilder b = LlamaKeys();
    b.Set("llama.rope.scaling.type", type).Set("llama.rope.scaling.factor", 4.0f);
    EXPECT_FALSE(ConfigOf(b)->rope.has_divisors);
    b.TensorF32("rope_freqs.weight", {8}, std::vector<float>(8, 1.0f));
    RopeConfig c = ConfigOf(b)->rope;
    EXPECT_TRUE(c.has_divisors);
    const std::vector<float> divisors = {1, 1, 2, 2, 3, 4, 8, 8};
    const Rope divided(c, divisors);
    c.has_divisors = false;
    const Rope whole(c, {});
    for (size_t i = 0; i < divisors.size(); ++i) {
      EXPECT_FLOAT_EQ(divided.frequencies()[i], whole.frequencies()[i] / divisors[i]) << type;
    }
  }
}

TEST(Rope, YarnFrequenciesOfMinistral3EqualThePublishedTable) {
  RopeConfig c{.scaling = RopeScaling::kYarn,
               .theta = 1e6,
               .dims = 128,
               .factor = 16,
               .original_context = 16384};
  const Rope rope(c, {});
  ASSERT_EQ(rope.pairs(), 64);
  const std::pair<int, double> table[] = {{0, 1},
                                          {1, 0.805842188},
                                          {20, 0.0133352143},
                                          {21, 0.0101534637},
                                          {28, 0.00132517942},
                                          {36, 4.96113533e-05},
                                          {37, 2.12388021e-05},
                                          {63, 7.755861e-08}};
  for (const auto& [pair, frequency] : table) {
    EXPECT_NEAR(rope.frequencies()[static_cast<size_t>(pair)], frequency, 1e-6 * frequency) << pair;
  }
}

TEST(ModelConfig, NamesTheKeyThatIsMissingOrOutOfRange) {
  const std::pair<std::string, std::function<void(GgufBuilder&)>> cases[] = {
      {"general.architecture is missing", [](GgufBuilder&) {}},
      {"architecture 'gemma' is not supported",
       [](GgufBuilder& b) { b.Set("general.architecture", "gemma"); }},
      {"llama.block_count is missing",
       [](GgufBuilder& b) { b.Set("general.architecture", "llama"); }},
      {"llama.block_count is 0",
       [](GgufBuilder& b) {
         b.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{0});
       }},
      {"llama.block_count is -5",
       [](GgufBuilder& b) {
         b.Set("general.architecture", "llama").Set("llama.block_count", int32_t{-5});
       }},
      {"llama.block_count is missing or not an integer",
       [](GgufBuilder& b) {
         b.Set("general.architecture", "llama").Set("llama.block_count", "many");
       }},
  };
  for (const auto& [message, fill] : cases) {
    GgufBuilder b;
    fill(b);
    const auto config = ConfigOf(b);
    ASSERT_FALSE(config);
    EXPECT_NE(config.error().message.find(message), std::string::npos) << config.error().message;
  }
}

TEST(ModelConfig, RefusesWhatItWouldComputeWrongly) {
  const std::pair<std::string, std::function<void(GgufBuilder&)>> cases[] = {
      {"mixture-of-experts", [](GgufBuilder& b) { b.Set("mistral3.expert_count", uint32_t{8}); }},
      {"rope scaling 'longrope'",
       [](GgufBuilder& b) { b.Set("mistral3.rope.scaling.type", "longrope"); }},
  };
  for (const auto& [message, change] : cases) {
    GgufBuilder b;
    b.Set("general.architecture", "mistral3");
    for (const auto& [key, value] :
         std::initializer_list<std::pair<const char*, uint32_t>>{{"block_count", 2},
                                                                 {"context_length", 64},
                                                                 {"embedding_length", 64},
                                                                 {"feed_forward_length", 64},
                                                                 {"attention.head_count", 4}}) {
      b.Set(std::string("mistral3.") + key, value);
    }
    change(b);
    const auto config = ConfigOf(b);
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(config.error().message.find(message), std::string::npos) << config.error().message;
  }
}

TEST(Weights, NameTheTensorThatIsMissingOrMisshapen) {
  GgufBuilder b;
  b.Set("general.architecture", "llama")
      .Set("llama.block_count", uint32_t{1})
      .Set("llama.context_length", uint32_t{64});
  b.Set("llama.embedding_length", uint32_t{8}).Set("llama.feed_forward_length", uint32_t{8});
  b.Set("llama.attention.head_count", uint32_t{2});
  b.TensorF32("token_embd.weight", {8, 4}, std::vector<float>(32));
  b.TensorF32("blk.0.attn_norm.weight", {8}, std::vector<float>(8));
  b.TensorF32("blk.0.attn_q.weight", {8, 7}, std::vector<float>(56));
  const std::string bytes = b.Build();
  const auto file = GgufFile::Parse(AsBytes(bytes), "model.gguf").value();
  auto config = ModelConfig::FromGguf(file).value();
  const auto weights = Weights::FromGguf(file, config);
  ASSERT_FALSE(weights);
  EXPECT_EQ(weights.error().message,
            "model.gguf: tensor blk.0.attn_q.weight has shape [8, 7], expected [8, 8]");
}

}  // namespace
}  // namespace tradewind::engine
