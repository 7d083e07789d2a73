// What lies between the ids and the logits of the tiny reference models: rotation, query scale and
// the residual stream after every layer, against transformers.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/model/test_model.h"
#include "testing/data.h"
#include "testing/npy.h"

namespace tradewind::engine {
namespace {

using testing::ReadReference;

std::vector<float> Values(const testing::SafeTensor& tensor) {
  EXPECT_EQ(tensor.dtype, "F32");
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// The largest difference, as a share of the largest of `want`.
double Off(std::span<const float> got, std::span<const float> want) {
  EXPECT_EQ(got.size(), want.size());
  double worst = 0, largest = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want[i]));
    largest = std::max(largest, std::fabs(static_cast<double>(want[i])));
  }
  return worst / largest;
}

std::vector<TokenId> Sequence(const boost::json::value& inputs, size_t index) {
  std::vector<TokenId> ids;
  for (const auto& id : inputs.at("sequences").as_array().at(index).as_array()) {
    ids.push_back(id.to_number<TokenId>());
  }
  return ids;
}

// All of `ids` in one step, by the first `layers` layers of the model. What the last of them makes
// of the rows is there with logits only.
Activations Evaluate(const std::string& file, const std::vector<TokenId>& ids, int64_t layers,
                     bool wants_logits) {
  TestModel model(ReadReference("golden/ministral3/gguf/" + file + "-f32.gguf"),
                  [layers](ModelConfig& c) { c.layers = layers; });
  KvSequence cache(model.kv_pool());
  EXPECT_TRUE(cache.Reserve(static_cast<int64_t>(ids.size())));
  std::vector<BatchRow> batch;
  for (size_t i = 0; i < ids.size(); ++i) {
    batch.push_back({ids[i], static_cast<int64_t>(i), &cache, wants_logits});
  }
  Activations activations;
  model.transformer().Forward(batch, activations);
  return activations;
}

class GoldenLayers : public ::testing::TestWithParam<const char*> {
 protected:
  static std::string Read(const std::string& file) {
    return ReadReference(std::string("golden/ministral3/") + GetParam() + "/" + file);
  }
};
INSTANTIATE_TEST_SUITE_P(Ministral3, GoldenLayers,
                         ::testing::Values("text-tied", "text-untied", "llama3-rope"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(GoldenLayers, RotateAndScaleEveryPositionAsTransformersDoes) {
  TW_NEED_REFERENCE(std::string("golden/ministral3/") + GetParam() + "/rope.safetensors");
  const std::string bytes = Read("rope.safetensors");
  const auto want = testing::ParseSafeTensors(bytes);
  const std::vector<float> frequencies = Values(want.at("inv_freq"));
  const std::vector<float> cos = Values(want.at("cos")), sin = Values(want.at("sin"));
  const auto positions = static_cast<size_t>(want.at("cos").shape.at(0));
  const Activations got = Evaluate(GetParam(), std::vector<TokenId>(positions, 5), 1, false);
  const size_t pairs = frequencies.size();
  ASSERT_EQ(got.cos.size(), positions * pairs);
  for (size_t p = 0; p < positions; ++p) {
    for (size_t i = 0; i < pairs; ++i) {  // both halves of the stored rows are equal
      ASSERT_NEAR(got.cos[p * pairs + i], cos[p * 2 * pairs + i], 2e-5) << p << " " << i;
      ASSERT_NEAR(got.sin[p * pairs + i], sin[p * 2 * pairs + i], 2e-5) << p << " " << i;
      if (p == 1) {  // small angles: the sine is the frequency, near enough to tell them apart
        ASSERT_NEAR(std::atan2(got.sin[p * pairs + i], got.cos[p * pairs + i]), frequencies[i],
                    1e-6 * frequencies[i] + 1e-9);
      }
    }
    const auto scale = want.find("query_scale");
    ASSERT_NEAR(got.query_scale[p], scale == want.end() ? 1.0f : Values(scale->second)[p], 1e-6);
  }
}

TEST_P(GoldenLayers, EndWhereThoseOfTransformersEnd) {
  TW_NEED_REFERENCE(std::string("golden/ministral3/") + GetParam() + "/intermediate.safetensors");
  const auto inputs = boost::json::parse(Read("inputs.json"));
  const auto ids = Sequence(inputs, inputs.at("intermediate_of_sequence").to_number<size_t>());
  const std::string bytes = Read("intermediate.safetensors");
  const auto want = testing::ParseSafeTensors(bytes);
  int64_t layers = 0;
  for (; want.contains("layer" + std::to_string(layers) + ".out"); ++layers) {
    const std::string layer = "layer" + std::to_string(layers) + ".";
    const Activations got = Evaluate(GetParam(), ids, layers + 1, true);
    EXPECT_LT(Off(got.v, Values(want.at(layer + "v"))), 1e-5) << layer;
    EXPECT_LT(Off(got.heads_out, Values(want.at(layer + "attn_heads"))), 1e-5) << layer;
    EXPECT_LT(Off(got.x, Values(want.at(layer + "out"))), 1e-5) << layer;
  }
  EXPECT_GE(layers, 2);
}

// The one set whose weights are not a GGUF file: its frequencies by the config alone.
TEST(GoldenRope, PlainFrequenciesEqualThoseOfTransformers) {
  TW_NEED_REFERENCE("golden/ministral3/mistral-swa/rope.safetensors");
  const std::string bytes = ReadReference("golden/ministral3/mistral-swa/rope.safetensors");
  const auto want = Values(testing::ParseSafeTensors(bytes).at("inv_freq"));
  const Rope rope({.theta = 10000, .dims = 16}, {});
  EXPECT_LT(Off(rope.frequencies(), want), 1e-6);
}

}  // namespace
}  // namespace tradewind::engine
