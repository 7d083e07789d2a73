#include "make_model/make_model.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <numeric>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/file.h"
#include "engine/engine.h"
#include "engine/format/gguf.h"
#include "engine/quant/dequantize.h"
#include "make_model/vocabulary.h"
#include "testing/temp_dir.h"

namespace tradewind::make_model {
namespace {

using engine::TensorType;

ModelShape Preset(std::string_view name) {
  return FindPreset(name).value();
}
TypePlan Plan(std::string_view type, std::string_view head = "") {
  return FindTypePlan(type, head).value();
}
std::map<std::string, TensorType> TypesOf(const ModelShape& shape, const TypePlan& plan) {
  std::map<std::string, TensorType> types;
  for (const TensorSpec& tensor : PlanTensors(shape, plan)) {
    types[tensor.name] = tensor.type;
  }
  return types;
}
uint64_t TensorBytes(std::string_view preset, std::string_view type) {
  uint64_t bytes = 0;
  for (const TensorSpec& tensor : PlanTensors(Preset(preset), Plan(type))) {
    bytes += tensor.bytes();
  }
  return bytes;
}

class EveryType : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto bytes = MakeModel(Preset("tiny"), Plan(GetParam()), 7, path_);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(std::filesystem::file_size(path_), *bytes);
  }
  testing::TempDir dir_;
  const std::filesystem::path path_ = dir_.path() / "model.gguf";
};

TEST_P(EveryType, IsReadBackWithValuesOfTheRightSize) {
  const auto file = engine::GgufFile::Open(path_);
  ASSERT_TRUE(file) << file.error().message;
  const auto types = TypesOf(Preset("tiny"), Plan(GetParam()));
  ASSERT_EQ(file->tensors().size(), types.size());
  for (const engine::GgufTensor& tensor : file->tensors()) {
    EXPECT_EQ(tensor.type, types.at(std::string(tensor.name))) << tensor.name;
    std::vector<float> values(tensor.rows() * tensor.row_elements());
    engine::ScalarDequantizer(tensor.type)(tensor.data.data(), values);
    const double n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    const double rms =
        std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0) / n);
    if (tensor.dims.size() == 1) {
      EXPECT_EQ(mean, 1.0) << tensor.name;
      EXPECT_EQ(rms, 1.0) << tensor.name;
    } else {
      const double expected = 1.0 / std::sqrt(static_cast<double>(tensor.row_elements()));
      EXPECT_NEAR(rms / expected, 1.0, 0.1) << tensor.name;
      EXPECT_NEAR(mean / expected, 0.0, 0.05) << tensor.name;
    }
  }
}

// Log-probabilities of a prompt's tokens, then four more tokens.
std::vector<double> Logprobs(const std::filesystem::path& path, engine::EngineOptions options) {
  options.threads = 1;
  const auto model = engine::Engine::Load(path, options);
  EXPECT_TRUE(model) << model.error().message;
  engine::GenerateRequest request;
  request.prompt = (*model)->tokenizer().Encode("the quick brown fox jumps over the lazy dog");
  request.max_tokens = 4;
  request.ignore_end = true;
  request.prompt_logprobs = true;
  request.top_logprobs = 0;
  auto generations = (*model)->Submit({std::move(request)});
  EXPECT_TRUE(generations) << generations.error().message;
  std::vector<double> logprobs;
  size_t generated = 0;
  engine::GenerateEvent event;
  do {
    event = (*generations)[0]->Next();
    for (const auto& entry : event.prompt_logprobs) {
      if (entry.has_value) {
        logprobs.push_back(entry.chosen.logprob);
      }
    }
    generated += event.tokens.size();
  } while (!event.finish);
  EXPECT_EQ(*event.finish, engine::FinishReason::kLength) << event.error;
  EXPECT_EQ(generated, 4u);
  return logprobs;
}

TEST_P(EveryType, RunsInTheEngineAsTheSlowPathDoesWithoutExplodingOrVanishing) {
  const std::vector<double> got = Logprobs(path_, {});
  const double nll =
      -std::accumulate(got.begin(), got.end(), 0.0) / static_cast<double>(got.size());
  // Logits of variance 1 cost half a nat beside a uniform guess.
  EXPECT_NEAR(nll, std::log(1024.0) + 0.5, 1.0);
  const std::vector<double> near = Logprobs(path_, {.activations = engine::ActivationType::kI16});
  const std::vector<double> want =
      Logprobs(path_, {.activations = engine::ActivationType::kF32, .kernels = "scalar"});
  ASSERT_EQ(got.size(), want.size());
  ASSERT_EQ(near.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(near[i], want[i], 0.01) << "token " << i + 1;
    EXPECT_NEAR(got[i], want[i], 0.2) << "token " << i + 1;
  }
}

TEST(TypePlan, ThereIsOneForEveryTypeThatWeightsMayHave) {
  int types = 0;
  for (const engine::TensorTypeTraits& traits : engine::AllTensorTypes()) {
    const bool in_memory_only =
        traits.type == TensorType::kQ8_1 || traits.type == TensorType::kQ8_K;
    if (engine::ScalarDequantizer(traits.type) != nullptr && !in_memory_only) {
      const auto plan = FindTypePlan(traits.name, "");
      ASSERT_TRUE(plan) << traits.name;
      EXPECT_EQ(plan->base, traits.type);
      ++types;
    }
  }
  EXPECT_EQ(types, 28);
}

INSTANTIATE_TEST_SUITE_P(Types, EveryType,
                         ::testing::Values("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                           "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
                                           "IQ4_XS", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S",
                                           "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
                                           "Q1_0", "Q2_0", "Q4_K_M", "Q5_K_M"),
                         [](const auto& type) { return std::string(type.param); });

TEST(Shape, OfMinistral3HasTheSizesOfThePublishedFiles) {
  EXPECT_EQ(TensorBytes("ministral-3-3b", "Q4_0"), 2'033'184'768u);
  EXPECT_EQ(TensorBytes("ministral-3-3b", "Q4_K_M"), 2'138'615'808u);
  EXPECT_EQ(TensorBytes("ministral-3-3b", "Q5_K_M"), 2'465'771'520u);
  EXPECT_EQ(TensorBytes("ministral-3-3b", "Q6_K"), 2'813'374'464u);
  EXPECT_EQ(TensorBytes("ministral-3-3b", "Q8_0"), 3'643'797'504u);
  EXPECT_EQ(TensorBytes("ministral-3-3b", "BF16"), 6'858'338'304u);
}

TEST(Shape, OfAMixIsFinerInTheLayersThatLlamaQuantizeChooses) {
  const auto types = TypesOf(Preset("ministral-3-3b"), Plan("Q4_K_M"));
  std::vector<int> finer;
  for (int layer = 0; layer < 26; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer);
    EXPECT_EQ(types.at(prefix + ".attn_v.weight"), types.at(prefix + ".ffn_down.weight"));
    EXPECT_EQ(types.at(prefix + ".attn_q.weight"), TensorType::kQ4_K);
    if (types.at(prefix + ".attn_v.weight") == TensorType::kQ6_K) {
      finer.push_back(layer);
    }
  }
  EXPECT_EQ(finer, (std::vector<int>{0, 1, 2, 5, 8, 11, 14, 17, 20, 22, 23, 24, 25}));
  EXPECT_EQ(types.at("token_embd.weight"), TensorType::kQ6_K);
}

TEST(Shape, TakesAnotherTypeWhereRowsAreNotWholeBlocks) {
  ModelShape smol = Preset("smollm2-135m");  // 576 columns, and 1536 in ffn_down
  auto types = TypesOf(smol, Plan("Q4_K_M"));
  EXPECT_EQ(types.at("blk.3.attn_q.weight"), TensorType::kQ5_0);
  EXPECT_EQ(types.at("blk.0.attn_v.weight"), TensorType::kQ8_0);
  EXPECT_EQ(types.at("blk.0.ffn_down.weight"), TensorType::kQ6_K);
  EXPECT_EQ(types.at("token_embd.weight"), TensorType::kQ8_0);
  smol.model_dim = 40;
  types = TypesOf(smol, Plan("Q4_0"));
  EXPECT_EQ(types.at("blk.3.attn_q.weight"), TensorType::kF16);
}

TEST(Shape, KeepsTheHeadApartOnRequest) {
  ModelShape shape = Preset("tiny");
  shape.tied = false;
  const auto types = TypesOf(shape, Plan("Q4_0", "F16"));
  EXPECT_EQ(types.at("output.weight"), TensorType::kF16);
  EXPECT_EQ(types.at("token_embd.weight"), TensorType::kQ4_0);
}

TEST(Shape, RefusesWhatDoesNotFitAndNamesTheFlag) {
  const auto flag_of = [](auto change) {
    ModelShape shape = Preset("tiny");
    change(shape);
    const Status status = CheckShape(shape);
    return status ? "" : status.error().param;
  };
  EXPECT_EQ(flag_of([](ModelShape&) {}), "");
  EXPECT_EQ(flag_of([](ModelShape& s) { s.layers = 0; }), "--layers");
  EXPECT_EQ(flag_of([](ModelShape& s) { s.kv_heads = 3; }), "--kv-heads");
  EXPECT_EQ(flag_of([](ModelShape& s) { s.head_dim = 7; }), "--head-dim");
  EXPECT_EQ(flag_of([](ModelShape& s) { s.vocab = 1 << 30; }), "--vocab");
  EXPECT_EQ(FindTypePlan("Q4", "").error().param, "--type");
  EXPECT_EQ(FindTypePlan("Q4_0", "Q4_K_M").error().param, "--head-type");
}

TEST(Vocabulary, OfTekkensSizeHasItsShape) {
  const MadeUpVocabulary vocabulary = MakeVocabulary(131072);
  EXPECT_EQ(vocabulary.tokens.size(), 131072u);
  EXPECT_EQ(vocabulary.types.size(), 131072u);
  EXPECT_EQ(vocabulary.tokens[999], "<SPECIAL_999>");
  EXPECT_EQ(vocabulary.types[999], 3);
  EXPECT_EQ(vocabulary.tokens[1097], "a");
  EXPECT_EQ(vocabulary.types[1000], 1);
  EXPECT_NEAR(static_cast<double>(vocabulary.merges.size()), 269443, 20000);
  auto tokens = vocabulary.tokens;
  std::sort(tokens.begin(), tokens.end());
  EXPECT_EQ(std::adjacent_find(tokens.begin(), tokens.end()), tokens.end());
}

TEST(Vocabulary, EncodesTextByItsMergesAndSpecialTokensByName) {
  const testing::TempDir dir;
  ModelShape shape = Preset("tiny");
  shape.vocab = 131072;
  shape.model_dim = 32;
  ASSERT_TRUE(MakeModel(shape, Plan("Q4_0"), 1, dir.path() / "m.gguf"));
  engine::EngineOptions options;
  options.threads = 1;
  const auto model = engine::Engine::Load(dir.path() / "m.gguf", options);
  ASSERT_TRUE(model) << model.error().message;
  const engine::Tokenizer& tokenizer = (*model)->tokenizer();
  const std::string text = "abc the cat, naïve 42\n";
  const auto ids = tokenizer.Encode(text);
  EXPECT_EQ(tokenizer.Decode(ids), text);
  EXPECT_EQ(tokenizer.TokenBytes(ids[0]), "abc");
  EXPECT_EQ(tokenizer.TokenBytes(ids[1]), " the");
  EXPECT_EQ(tokenizer.EncodeWithSpecial("<s>[INST]</s>"), (std::vector<engine::TokenId>{1, 3, 2}));
  EXPECT_TRUE(tokenizer.IsEnd(2));
}

TEST(MakeModel, GivesTheSameBytesForTheSameSeed) {
  const testing::TempDir dir;
  const auto make = [&](const char* name, uint64_t seed) {
    EXPECT_TRUE(MakeModel(Preset("tiny"), Plan("Q4_K_M"), seed, dir.path() / name));
    return ReadFile(dir.path() / name).value();
  };
  const std::string first = make("a", 3);
  EXPECT_EQ(first, make("b", 3));
  EXPECT_NE(first, make("c", 4));
}

TEST(MakeModel, SaysThatTheDiskIsFullAndLeavesNothing) {
  const testing::TempDir dir;
  // A limit of this process on a file's size acts as a full disk does. Without the handler the
  // kernel would end us.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 100'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto result = MakeModel(Preset("tiny"), Plan("F32"), 1, dir.path() / "m.gguf");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(result.error().message.find("MB"), std::string::npos) << result.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_EQ(MakeModel(Preset("tiny"), Plan("F32"), 1, dir.path() / "no" / "m.gguf").error().code,
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace tradewind::make_model
