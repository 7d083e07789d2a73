// What a token's logits may and may not depend on.
#include "engine/model/transformer.h"

#include <random>

#include <gtest/gtest.h>

#include "engine/model/test_model.h"
#include "engine/quant/quantize.h"
#include "testing/gguf_builder.h"

namespace tradewind::engine {
namespace {

// A small random llama with weights of `type`: three layers, grouped heads, a head dimension that
// is not D / H.
std::string RandomModel(TensorType type, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.12f);
  testing::GgufBuilder builder;
  builder.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{3});
  builder.Set("llama.embedding_length", uint32_t{96})
      .Set("llama.feed_forward_length", uint32_t{160});
  builder.Set("llama.attention.head_count", uint32_t{6})
      .Set("llama.attention.head_count_kv", uint32_t{2});
  builder.Set("llama.attention.key_length", uint32_t{32})
      .Set("llama.attention.value_length", uint32_t{32});
  builder.Set("llama.context_length", uint32_t{512})
      .Set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  const auto add = [&](const std::string& name, uint64_t rows, uint64_t cols) {
    std::vector<float> values(rows * cols);
    for (float& v : values) {
      v = normal(random);
    }
    std::string bytes(rows * *RowBytes(type, cols), '\0');
    EXPECT_TRUE(QuantizeRow(type, values, std::as_writable_bytes(std::span(bytes))));
    builder.Tensor(name, type, {cols, rows}, bytes);
  };
  const auto norm = [&](const std::string& name) {
    builder.TensorF32(name, {96}, std::vector<float>(96, 1.0f));
  };
  add("token_embd.weight", 200, 96);
  norm("output_norm.weight");
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    norm(prefix + "attn_norm.weight");
    norm(prefix + "ffn_norm.weight");
    add(prefix + "attn_q.weight", 192, 96);
    add(prefix + "attn_k.weight", 64, 96);
    add(prefix + "attn_v.weight", 64, 96);
    add(prefix + "attn_output.weight", 96, 192);
    add(prefix + "ffn_gate.weight", 160, 96);
    add(prefix + "ffn_up.weight", 160, 96);
    add(prefix + "ffn_down.weight", 96, 160);
  }
  return builder.Build();
}

std::vector<TokenId> RandomIds(size_t n, uint32_t seed = 3) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(n);
  for (TokenId& id : ids) {
    id = static_cast<TokenId>(random() % 200);
  }
  return ids;
}

using Setting = std::tuple<TensorType, ActivationType>;

class TransformerTest : public ::testing::TestWithParam<Setting> {
 protected:
  static TestModel Model(int threads = 2, KvType kv = KvType::kF32) {
    return TestModel(RandomModel(std::get<0>(GetParam())), {}, threads, kv, nullptr,
                     std::get<1>(GetParam()));
  }
};
INSTANTIATE_TEST_SUITE_P(Types, TransformerTest,
                         ::testing::Values(Setting{TensorType::kF32, ActivationType::kF32},
                                           Setting{TensorType::kF16, ActivationType::kF32},
                                           Setting{TensorType::kQ4_0, ActivationType::kF32},
                                           Setting{TensorType::kQ8_0, ActivationType::kF32},
                                           Setting{TensorType::kQ4_0, ActivationType::kI16},
                                           Setting{TensorType::kQ4_1, ActivationType::kI16},
                                           Setting{TensorType::kQ5_0, ActivationType::kI16},
                                           Setting{TensorType::kQ5_1, ActivationType::kI16},
                                           Setting{TensorType::kQ8_0, ActivationType::kI16},
                                           Setting{TensorType::kQ4_0, ActivationType::kMixed},
                                           Setting{TensorType::kQ4_1, ActivationType::kMixed},
                                           Setting{TensorType::kQ5_0, ActivationType::kMixed},
                                           Setting{TensorType::kQ8_0, ActivationType::kMixed},
                                           Setting{TensorType::kQ4_1, ActivationType::kI8}),
                         [](const auto& info) {
                           return std::string(TraitsOf(std::get<0>(info.param)).name) + "_" +
                                  std::string(Name(std::get<1>(info.param)));
                         });

TEST_P(TransformerTest, PrefillInOneBatchEqualsTokenByTokenBitForBit) {
  TestModel model = Model();
  const auto ids = RandomIds(100);
  const auto one_by_one = model.Logits(ids, 1);
  for (const int64_t chunk : {2, 7, 33, 64}) {
    EXPECT_EQ(model.Logits(ids, chunk), one_by_one) << "chunk " << chunk;
  }
}

TEST_P(TransformerTest, ThreadsDoNotChangeAResult) {
  const auto ids = RandomIds(70);
  const auto single = Model(1).Logits(ids);
  EXPECT_EQ(Model(2).Logits(ids), single);
  EXPECT_EQ(Model(5).Logits(ids), single);
}

TEST_P(TransformerTest, ASequenceInABatchOfManyEqualsItselfAlone) {
  for (const KvType kv : {KvType::kF16, KvType::kF32, KvType::kQ8_0}) {
    TestModel model = Model(2, kv);
    constexpr size_t kSequences = 5;
    std::vector<std::vector<TokenId>> ids;
    std::vector<std::unique_ptr<KvSequence>> caches;
    for (size_t s = 0; s < kSequences; ++s) {
      ids.push_back(RandomIds(30 + 3 * s, static_cast<uint32_t>(s)));
      caches.push_back(std::make_unique<KvSequence>(model.kv_pool()));
      ASSERT_TRUE(caches.back()->Reserve(100));
    }
    std::vector<std::vector<std::vector<float>>> together(kSequences);
    Activations activations;
    for (size_t position = 0; position < 42; ++position) {  // all sequences move one token a step
      std::vector<BatchRow> batch;
      std::vector<size_t> owners;
      for (size_t s = 0; s < kSequences; ++s) {
        if (position < ids[s].size()) {
          batch.push_back(
              {ids[s][position], static_cast<int64_t>(position), caches[s].get(), true});
          owners.push_back(s);
        }
      }
      model.transformer().Forward(batch, activations);
      for (size_t row = 0; row < owners.size(); ++row) {
        const float* logits = activations.logits.data() + row * 200;
        together[owners[row]].emplace_back(logits, logits + 200);
      }
    }
    for (size_t s = 0; s < kSequences; ++s) {
      EXPECT_EQ(together[s], model.Logits(ids[s])) << "sequence " << s;
    }
  }
}

// The settings' own differences, in logits whose standard deviation is about 1: what rounding
// activations to 16 bits changes is noise of the last digits, to 8 bits it is not.
TEST(Transformer, SixteenBitActivationsStayNearFloatsAndEightBitOnesInTheirNoise) {
  for (const TensorType type : {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0}) {
    const auto ids = RandomIds(60);
    const auto logits = [&](ActivationType activations) {
      return TestModel(RandomModel(type), {}, 2, KvType::kF32, nullptr, activations).Logits(ids);
    };
    const auto exact = logits(ActivationType::kF32);
    const auto largest_difference = [&](const std::vector<std::vector<float>>& other) {
      float worst = 0;
      for (size_t i = 0; i < exact.size(); ++i) {
        for (size_t v = 0; v < exact[i].size(); ++v) {
          worst = std::max(worst, std::fabs(exact[i][v] - other[i][v]));
        }
      }
      return worst;
    };
    const float of_16 = largest_difference(logits(ActivationType::kI16));
    const float of_8 = largest_difference(logits(ActivationType::kI8));
    EXPECT_LT(of_16, 1e-3f);
    EXPECT_LT(of_8, 0.25f);
    EXPECT_GT(of_8, 20 * of_16);
  }
}

// The last layer works for the rows that want logits only: in steps with none, one, some and all.
TEST_P(TransformerTest, RowsWithoutLogitsLeaveTheOthersAlone) {
  constexpr size_t kTokens = 60;
  const auto ids = RandomIds(kTokens);
  for (const KvType kv : {KvType::kF16, KvType::kF32, KvType::kQ8_0}) {
    TestModel model = Model(2, kv);
    const auto all = model.Logits(ids);
    KvSequence cache(model.kv_pool());
    ASSERT_TRUE(cache.Reserve(kTokens));
    Activations activations;
    size_t position = 0;
    const auto step = [&](size_t rows, const std::vector<size_t>& wanted) {
      std::vector<BatchRow> batch;
      for (size_t i = position; i < position + rows; ++i) {
        batch.push_back(
            {ids[i], static_cast<int64_t>(i), &cache, std::ranges::count(wanted, i) > 0});
      }
      position += rows;
      model.transformer().Forward(batch, activations);
      ASSERT_EQ(activations.logits.size(), wanted.size() * 200);
      for (size_t row = 0; row < wanted.size(); ++row) {
        const std::vector<float>& want = all[wanted[row]];
        EXPECT_TRUE(std::equal(want.begin(), want.end(), activations.logits.data() + row * 200))
            << "position " << wanted[row];
      }
    };
    step(20, {});
    step(15, {34});
    step(1, {});
    step(20, {36, 37, 38, 43, 50, 54});
    step(2, {56, 57});
    step(2, {58});
  }
}

// Two sequences in a step, of which one wants nothing.
TEST(Transformer, APromptThatWantsNoLogitsLeavesADecodeBesideItAlone) {
  TestModel model(RandomModel(TensorType::kF32));
  const auto prompt = RandomIds(20, 1), other = RandomIds(20, 2);
  KvSequence of_prompt(model.kv_pool()), of_other(model.kv_pool());
  ASSERT_TRUE(of_prompt.Reserve(20) && of_other.Reserve(20));
  Activations activations;
  std::vector<BatchRow> batch;
  for (size_t i = 0; i < 19; ++i) {
    batch.push_back({other[i], static_cast<int64_t>(i), &of_other, false});
  }
  model.transformer().Forward(batch, activations);
  EXPECT_TRUE(activations.logits.empty());
  batch.clear();
  for (size_t i = 0; i < 20; ++i) {
    batch.push_back({prompt[i], static_cast<int64_t>(i), &of_prompt, false});
  }
  batch.push_back({other[19], 19, &of_other, true});
  model.transformer().Forward(batch, activations);
  EXPECT_EQ(activations.logits, model.Logits(other)[19]);
}

TEST(Transformer, ASlidingWindowForgetsWhatLeftItInEveryLayer) {
  // One layer sees W keys; after L layers a token can depend on at most L * (W - 1) positions
  // before it.
  TestModel model(RandomModel(TensorType::kF32), [](ModelConfig& c) { c.sliding_window = 4; });
  auto ids = RandomIds(40);
  const auto before = model.Logits(ids);
  ids[0] = (ids[0] + 1) % 200;
  const auto after = model.Logits(ids);
  EXPECT_NE(before[9], after[9]);    // 3 * 3 positions away: still within reach
  EXPECT_EQ(before[10], after[10]);  // one further: out of reach
}

TEST(Transformer, QueriesAreScaledFromTheFirstStepOnAndNotBefore) {
  TestModel model(RandomModel(TensorType::kF32), [](ModelConfig& c) {
    c.query_scale_beta = 0.1;
    c.query_scale_length = 16;
  });
  const auto ids = RandomIds(40);
  const auto scaled = model.Logits(ids);
  const auto plain = TestModel(RandomModel(TensorType::kF32)).Logits(ids);
  EXPECT_EQ(scaled[15], plain[15]);  // 1 + 0.1 ln(1 + 0) = 1
  EXPECT_NE(scaled[16], plain[16]);  // the first position past a step
}

}  // namespace
}  // namespace tradewind::engine
