// Tiny random models against logits of llama.cpp and transformers: every stored logit within 1e-4
// in the float path.
#include <cmath>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/model/test_model.h"
#include "testing/data.h"
#include "testing/gguf_builder.h"
#include "testing/npy.h"

namespace tradewind::engine {
namespace {

using testing::ParseNpy;
using testing::ReadReference;

constexpr double kTolerance = 1e-4;

std::vector<TokenId> Ids(const boost::json::value& array) {
  std::vector<TokenId> ids;
  for (const auto& id : array.as_array()) {
    ids.push_back(id.to_number<TokenId>());
  }
  return ids;
}

// Compares [n, V] with a flat array and says how far off the worst is.
void ExpectLogits(const std::vector<std::vector<float>>& got, std::span<const float> want,
                  double tolerance) {
  ASSERT_FALSE(got.empty());
  ASSERT_EQ(want.size(), got.size() * got[0].size());
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    worst = std::max(
        worst, std::fabs(static_cast<double>(got[i / got[0].size()][i % got[0].size()]) - want[i]));
  }
  EXPECT_LT(worst, tolerance);
}

class SyntheticModel : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Tiny, SyntheticModel,
                         ::testing::Values("tiny-mistral3-f32", "tiny-llama-f32"),
                         [](const auto& info) {
                           return info.param == "tiny-llama-f32" ? "Llama" : "Mistral3";
                         });

TEST_P(SyntheticModel, EqualsLlamaCpp) {
  TW_NEED_REFERENCE("vectors/synthetic/" + GetParam() + ".gguf");
  const auto reference =
      boost::json::parse(ReadReference("vectors/synthetic/" + GetParam() + ".logits.json"));
  TestModel model(ReadReference("vectors/synthetic/" + GetParam() + ".gguf"));
  const auto got = model.Logits(Ids(reference.at("tokens")));
  ASSERT_FALSE(reference.at("logits").as_object().empty());
  for (const auto& [position, values] : reference.at("logits").as_object()) {
    std::vector<float> want;
    for (const auto& value : values.as_array()) {
      want.push_back(value.to_number<float>());
    }
    ExpectLogits({got.at(std::stoul(std::string(position)))}, want, kTolerance);
  }
}

struct GoldenCase {
  std::string file;    // golden/ministral3/gguf/FILE.gguf
  std::string folder;  // golden/ministral3/FOLDER: inputs.json, logits_N.npy
  std::string name;
};

class GoldenModel : public ::testing::TestWithParam<GoldenCase> {
 protected:
  std::string Path(const std::string& file) const {
    return "golden/ministral3/" + GetParam().folder + "/" + file;
  }
  std::string Gguf() const {
    return ReadReference("golden/ministral3/gguf/" + GetParam().file + ".gguf");
  }
};
INSTANTIATE_TEST_SUITE_P(
    Ministral3, GoldenModel,
    // The BF16 file holds the same values as the F32 one: with float activations it gives the same
    // logits.
    ::testing::Values(GoldenCase{"text-tied-f32", "text-tied", "TextTied"},
                      GoldenCase{"text-untied-f32", "text-untied", "TextUntied"},
                      GoldenCase{"text-untied-bf16", "text-untied", "TextUntiedBf16"},
                      GoldenCase{"llama3-rope-f32", "llama3-rope", "Llama3Rope"}),
    [](const auto& info) { return info.param.name; });

TEST_P(GoldenModel, EveryLogitEqualsTransformers) {
  TW_NEED_REFERENCE(Path("inputs.json"));
  TestModel model(Gguf());
  const auto inputs = boost::json::parse(ReadReference(Path("inputs.json")));
  size_t index = 0;
  for (const auto& sequence : inputs.at("sequences").as_array()) {
    const auto want =
        ParseNpy<float>(ReadReference(Path("logits_" + std::to_string(index++) + ".npy")), "<f4");
    ExpectLogits(model.Logits(Ids(sequence)), want, kTolerance);
  }
  EXPECT_GT(index, 0u);
}

TEST_P(GoldenModel, GreedyTokensEqualTransformers) {
  TW_NEED_REFERENCE(Path("inputs.json"));
  TestModel model(Gguf());
  const auto inputs = boost::json::parse(ReadReference(Path("inputs.json")));
  const auto after = inputs.at("greedy_after_sequence").to_number<size_t>();
  const auto want = Ids(inputs.at("greedy").at("ids"));
  EXPECT_EQ(model.Greedy(Ids(inputs.at("sequences").as_array().at(after)), want.size()), want);
}

TEST_P(GoldenModel, LastLogitsEqualLlamaCpp) {
  TW_NEED_REFERENCE(Path("inputs.json"));
  if (GetParam().file == "text-untied-bf16") {
    GTEST_SKIP() << "llama.cpp rounds activations to BF16 for BF16 weights; no logits of it are "
                    "stored for this file";
  }
  TestModel model(Gguf());
  const auto inputs = boost::json::parse(ReadReference(Path("inputs.json")));
  for (size_t i = 0; i < inputs.at("sequences").as_array().size(); ++i) {
    const std::string npy = "golden/ministral3/gguf/" + GetParam().file + ".llamacpp_logits_" +
                            std::to_string(i) + ".npy";
    const auto got = model.Logits(Ids(inputs.at("sequences").as_array()[i]));
    ExpectLogits({got.back()}, ParseNpy<float>(ReadReference(npy), "<f4"), kTolerance);
  }
}

TEST_P(GoldenModel, AnF16CacheStaysWithinItsStatedNoise) {
  TW_NEED_REFERENCE(Path("inputs.json"));
  TestModel model(Gguf(), {}, 2, KvType::kF16);
  const auto inputs = boost::json::parse(ReadReference(Path("inputs.json")));
  for (size_t i = 0; i < inputs.at("sequences").as_array().size(); ++i) {
    const auto want =
        ParseNpy<float>(ReadReference(Path("logits_" + std::to_string(i) + ".npy")), "<f4");
    ExpectLogits(model.Logits(Ids(inputs.at("sequences").as_array()[i])), want, 3e-2);
  }
}

TEST_P(GoldenModel, EveryKernelTableEqualsTransformers) {
  TW_NEED_REFERENCE(Path("inputs.json"));
  const auto inputs = boost::json::parse(ReadReference(Path("inputs.json")));
  const auto ids = Ids(
      inputs.at("sequences").as_array().at(inputs.at("greedy_after_sequence").to_number<size_t>()));
  const auto want = ParseNpy<float>(
      ReadReference(Path("logits_" +
                         std::to_string(inputs.at("greedy_after_sequence").to_number<int>()) +
                         ".npy")),
      "<f4");
  for (const Kernels* kernels : {&ScalarKernels(), Avx2Kernels(), Avx512Kernels()}) {
    if (kernels != nullptr) {
      TestModel model(Gguf(), {}, 1, KvType::kF32, kernels);
      ExpectLogits(model.Logits(ids), want, kTolerance);
    }
  }
}

// The same weights with other rope settings, as the config_NAME.json files have them.
struct RopeCase {
  const char* name;
  void (*change)(ModelConfig&);
};

TEST(GoldenRope, OtherScalingsEqualTransformers) {
  const std::string folder = "golden/ministral3/text-tied/";
  TW_NEED_REFERENCE(folder + "logits_linear.npy");
  const double yarn = 0.1 * std::log(4.0) + 1.0;
  const double half = 0.1 * 0.5 * std::log(4.0) + 1.0;
  const auto inputs = boost::json::parse(ReadReference(folder + "inputs.json"));
  const auto ids = Ids(inputs.at("sequences").as_array().at(1));
  const auto check = [&](const std::string& name, const std::function<void(ModelConfig&)>& change) {
    TestModel model(ReadReference("golden/ministral3/gguf/text-tied-f32.gguf"), change);
    ExpectLogits(model.Logits(ids),
                 ParseNpy<float>(ReadReference(folder + "logits_" + name + ".npy"), "<f4"),
                 kTolerance);
  };
  check("yarn_no_mscale", [&](ModelConfig& c) { c.rope.attention_factor = yarn; });
  check("yarn_attention_factor", [&](ModelConfig& c) { c.rope.attention_factor = 0.9; });
  check("yarn_mscale_pair", [&](ModelConfig& c) { c.rope.attention_factor = yarn / half; });
  check("linear", [&](ModelConfig& c) {
    c.rope.scaling = RopeScaling::kLinear;
    c.rope.attention_factor = 1.0;
  });
}

// Weights as HF has them (half-split pairs), with a sliding window: put into a GGUF container as
// they are.
TEST(GoldenSlidingWindow, HalfSplitPairsAndTheWindowEqualTransformers) {
  const std::string folder = "golden/ministral3/mistral-swa/";
  TW_NEED_REFERENCE(folder + "model.safetensors");
  const std::string bytes = ReadReference(folder + "model.safetensors");
  const auto tensors = testing::ParseSafeTensors(bytes);
  testing::GgufBuilder builder;
  builder.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{2});
  builder.Set("llama.embedding_length", uint32_t{64})
      .Set("llama.feed_forward_length", uint32_t{128});
  builder.Set("llama.attention.head_count", uint32_t{4})
      .Set("llama.attention.head_count_kv", uint32_t{2});
  builder.Set("llama.attention.key_length", uint32_t{16})
      .Set("llama.attention.value_length", uint32_t{16});
  builder.Set("llama.context_length", uint32_t{256})
      .Set("llama.attention.sliding_window", uint32_t{16});
  builder.Set("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .Set("llama.rope.freq_base", 10000.0f);
  const auto add = [&](const std::string& name, const std::string& from) {
    const testing::SafeTensor& tensor = tensors.at(from);
    ASSERT_EQ(tensor.dtype, "BF16");
    std::vector<uint64_t> dims(tensor.shape.rbegin(), tensor.shape.rend());
    builder.Tensor(name, TensorType::kBF16, dims, std::string(tensor.data));
  };
  add("token_embd.weight", "model.embed_tokens.weight");
  add("output.weight", "lm_head.weight");
  add("output_norm.weight", "model.norm.weight");
  const std::pair<const char*, const char*> parts[] = {
      {"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},   {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"},
      {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  for (const int layer : {0, 1}) {
    for (const auto& [ours, theirs] : parts) {
      add("blk." + std::to_string(layer) + "." + ours + ".weight",
          "model.layers." + std::to_string(layer) + "." + theirs + ".weight");
    }
  }
  TestModel model(builder.Build(),
                  [](ModelConfig& c) { c.rope.pairing = RopePairing::kHalfSplit; });
  EXPECT_EQ(model.config().sliding_window, 16);
  const auto inputs = boost::json::parse(ReadReference(folder + "inputs.json"));
  const auto ids = Ids(inputs.at("sequences").as_array().at(0));
  const auto want = ParseNpy<float>(ReadReference(folder + "logits_0.npy"), "<f4");
  ExpectLogits(model.Logits(ids), want, kTolerance);
  EXPECT_EQ(model.Greedy(ids, 24), Ids(inputs.at("greedy").at("ids")));
}

}  // namespace
}  // namespace tradewind::engine
