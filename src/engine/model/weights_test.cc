// Tensors of a file: which are used, which are refused, and the factor that some of them carry.
#include "engine/model/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "engine/model/test_model.h"
#include "engine/quant/quantize.h"
#include "testing/gguf_builder.h"

namespace tradewind::engine {
namespace {

using testing::GgufBuilder;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// One layer, every dimension 64, a tied head; matrices of `type`, seeded by their order.
GgufBuilder OneLayer(TensorType type = TensorType::kF32) {
  GgufBuilder b;
  b.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{1});
  b.Set("llama.context_length", uint32_t{64}).Set("llama.embedding_length", uint32_t{64});
  b.Set("llama.feed_forward_length", uint32_t{64}).Set("llama.attention.head_count", uint32_t{2});
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, 0.125f);
  for (const char* name :
       {"token_embd", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.attn_output",
        "blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
    std::vector<float> values(64 * 64);
    std::ranges::generate(values, [&] { return normal(random); });
    std::string bytes(64 * *RowBytes(type, 64), '\0');
    if (type == TensorType::kNVFP4) {  // bytes with scales of a sane size
      std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
      for (size_t block = 0; block < bytes.size(); block += 36) {
        std::fill_n(bytes.begin() + static_cast<long>(block), 4, '\x20');
      }
    } else {
      EXPECT_TRUE(QuantizeRow(type, values, std::as_writable_bytes(std::span(bytes))));
    }
    b.Tensor(std::string(name) + ".weight", type, {64, 64}, bytes);
  }
  for (const char* name :
       {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"}) {
    b.TensorF32(name, {64}, std::vector<float>(64, 1.0f));
  }
  return b;
}

Error Refusal(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  const auto file = GgufFile::Parse(AsBytes(bytes), "model.gguf").value();
  auto config = ModelConfig::FromGguf(file).value();
  const auto weights = Weights::FromGguf(file, config);
  EXPECT_FALSE(weights);
  return weights ? Error{} : weights.error();
}

TEST(Weights, RefuseTensorsThatTheyWouldLeaveOut) {
  for (const char* part : {"attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias",
                           "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias", "attn_qkv.weight",
                           "attn_q_norm.weight", "attn_k_norm.weight", "ffn_gate_inp.weight"}) {
    const std::string name = std::string("blk.0.") + part;
    GgufBuilder b = OneLayer();
    const Error error = Refusal(b.TensorF32(name, {64}, std::vector<float>(64)));
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << name;
    EXPECT_EQ(error.message,
              "model.gguf: tensor " + name + " is part of the model but not supported");
  }
}

TEST(Weights, RefuseAFactorThatIsNotOneFiniteNumber) {
  const auto refused = [](auto add) {
    GgufBuilder b = OneLayer();
    add(b);
    const Error error = Refusal(b);
    return error.code == ErrorCode::kCorruptFile &&
           error.message == "model.gguf: tensor blk.0.attn_q.scale is not one F32 number";
  };
  const std::string name = "blk.0.attn_q.scale";
  EXPECT_TRUE(refused([&](GgufBuilder& b) { b.TensorF32(name, {2}, {1, 1}); }));
  EXPECT_TRUE(refused([&](GgufBuilder& b) { b.TensorF32(name, {1}, {kNan}); }));
  EXPECT_TRUE(refused([&](GgufBuilder& b) { b.TensorF32(name, {1}, {kInf}); }));
  EXPECT_TRUE(refused(
      [&](GgufBuilder& b) { b.Tensor(name, TensorType::kF16, {1}, std::string(2, '\0')); }));
  EXPECT_TRUE(refused(
      [&](GgufBuilder& b) { b.Tensor(name, TensorType::kI32, {1}, std::string(4, '\0')); }));
}

TEST(Weights, RefuseDivisorsOfFrequenciesThatAreNotPositiveNumbers) {
  for (const float odd : {0.0f, -1.0f, kNan}) {
    std::vector<float> divisors(16, 1.0f);
    divisors[7] = odd;
    GgufBuilder b = OneLayer();
    EXPECT_NE(Refusal(b.TensorF32("rope_freqs.weight", {16}, divisors)).message.find("rope_freqs"),
              std::string::npos);
  }
  GgufBuilder b = OneLayer();
  EXPECT_NE(Refusal(b.TensorF32("rope_freqs.weight", {15}, std::vector<float>(15, 1.0f)))
                .message.find("[15]"),
            std::string::npos);
}

struct Setting {
  TensorType type;
  ActivationType activations;
};

class ScaledWeights : public ::testing::TestWithParam<Setting> {};
INSTANTIATE_TEST_SUITE_P(Types, ScaledWeights,
                         ::testing::Values(Setting{TensorType::kF32, ActivationType::kF32},
                                           Setting{TensorType::kNVFP4, ActivationType::kI16},
                                           Setting{TensorType::kQ4_0, ActivationType::kF32},
                                           Setting{TensorType::kQ4_0, ActivationType::kI16},
                                           Setting{TensorType::kQ8_0, ActivationType::kI16},
                                           Setting{TensorType::kQ8_0, ActivationType::kI8}),
                         [](const auto& info) {
                           return std::string(TraitsOf(info.param.type).name) + "_" +
                                  std::string(Name(info.param.activations));
                         });

double LargestDifference(const std::vector<std::vector<float>>& a,
                         const std::vector<std::vector<float>>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t v = 0; v < a[i].size(); ++v) {
      worst = std::max(worst, std::fabs(static_cast<double>(a[i][v]) - b[i][v]));
    }
  }
  return worst;
}

// The output of the feed-forward part by 0.5: the same as its last factor by 0.5, in every setting.
TEST_P(ScaledWeights, MultiplyTheirProductInEverySetting) {
  const std::vector<TokenId> ids = {1, 2, 3, 40, 50, 60, 7, 8};
  const auto logits = [&](const GgufBuilder& builder, ActivationType activations) {
    return TestModel(builder.Build(), {}, 1, KvType::kF32, nullptr, activations).Logits(ids);
  };
  const auto [type, activations] = GetParam();
  GgufBuilder scaled = OneLayer(type);
  scaled.TensorF32("blk.0.ffn_down.scale", {1}, {0.5f});
  scaled.TensorF32("blk.0.attn_q.scale", {1}, {-1.5f});
  const auto want = logits(scaled, ActivationType::kF32);
  EXPECT_LT(LargestDifference(logits(scaled, activations), want),
            activations == ActivationType::kI8 ? 0.05 : 1e-3);
  // Scaling is seen at all; so is that of a tied head, by which the embedding is scaled too.
  EXPECT_GT(LargestDifference(logits(OneLayer(type), activations), want), 0.06);
  GgufBuilder tied = OneLayer(type);
  tied.TensorF32("token_embd.scale", {1}, {0.5f});
  EXPECT_LT(LargestDifference(logits(tied, activations), logits(tied, ActivationType::kF32)),
            activations == ActivationType::kI8 ? 0.05 : 1e-3);
}

}  // namespace
}  // namespace tradewind::engine
