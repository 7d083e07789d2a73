#include "engine/sampler/sampler.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <numeric>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/sampler/softmax.h"
#include "testing/data.h"

namespace tradewind::engine {
namespace {

namespace json = boost::json;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Floats(const json::value& array) {
  std::vector<float> out;
  for (const json::value& value : array.as_array()) {
    out.push_back(value.is_null() ? -kInf : value.to_number<float>());
  }
  return out;
}

std::vector<float> RandomLogits(size_t n, uint64_t seed, float deviation) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    logit = normal(random);
  }
  return logits;
}

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = json::parse(testing::ReadReference("golden/ministral3/sampler/sampler.json"));
    for (const json::value& id : root_.at("history").as_array()) {
      history_.push_back(id.to_number<TokenId>());
    }
  }

  float Parameter(const std::string& stage, const std::string& name) const {
    const json::value* value = root_.at("parameters").at(stage).as_object().if_contains(name);
    return value == nullptr ? 0.0f : value->to_number<float>();
  }

  // False for a stage that the API does not offer.
  bool Apply(const std::string& stage, std::vector<float>& z) const {
    if (stage.starts_with("temperature")) {
      ApplyTemperature(z, Parameter(stage, "temperature"));
    } else if (stage.starts_with("top_k")) {
      ApplyTopK(z, static_cast<int>(Parameter(stage, "top_k")));
    } else if (stage == "top_p") {
      ApplyTopP(z, Parameter(stage, "top_p"));
    } else if (stage == "min_p") {
      ApplyMinP(z, Parameter(stage, "min_p"));
    } else if (stage == "typical_p") {
      ApplyTypicalP(z, Parameter(stage, "typical_p"));
    } else if (stage == "repetition_penalty") {
      ApplyRepetitionPenalty(z, history_, Parameter(stage, stage));
    } else if (stage.starts_with("frequency") || stage.starts_with("presence")) {
      ApplyFrequencyPresence(z, history_, Parameter(stage, "frequency_penalty"),
                             Parameter(stage, "presence_penalty"));
    } else if (stage == "logit_bias") {
      std::vector<std::pair<TokenId, float>> bias;
      for (const auto& [id, addend] :
           root_.at("parameters").at(stage).at("logit_bias").as_object()) {
        bias.emplace_back(std::stoi(std::string(id)), addend.to_number<float>());
      }
      ApplyLogitBias(z, bias);
    } else {
      return false;
    }
    return true;
  }

  static std::vector<double> Probabilities(const std::vector<float>& z) {
    const double largest = *std::ranges::max_element(z);
    std::vector<double> p;
    for (const float value : z) {
      p.push_back(std::exp(value - largest));
    }
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) {
      value /= sum;
    }
    return p;
  }

  // How often each token is the next one after history_, over samplers of as many seeds as draws.
  std::vector<double> Frequencies(SamplingParams params, const std::vector<float>& logits,
                                  bool history_is_prompt) const {
    std::vector<double> counts(logits.size());
    std::vector<float> scratch(logits.size());
    for (uint64_t i = 0; i < kDraws; ++i) {
      params.seed = (i + 1) * 0x9E3779B97F4A7C15u;
      Sampler sampler(params, history_is_prompt ? history_ : std::vector<TokenId>());
      for (const TokenId id : history_is_prompt ? std::vector<TokenId>() : history_) {
        std::ranges::fill(scratch, -kInf);
        scratch[static_cast<size_t>(id)] = 0;  // whatever the settings, only this can be drawn
        sampler.Sample(scratch);
      }
      scratch = logits;
      counts[static_cast<size_t>(sampler.Sample(scratch))] += 1.0 / kDraws;
    }
    return counts;
  }

  // Within five standard deviations; what has no probability is never drawn.
  static void ExpectDistribution(const std::vector<double>& got, const std::vector<double>& want,
                                 const std::string& what) {
    for (size_t i = 0; i < want.size(); ++i) {
      const double noise = 5 * std::sqrt(want[i] * (1 - want[i]) / kDraws) + 1.0 / kDraws;
      ASSERT_NEAR(got[i], want[i], want[i] == 0 ? 0 : noise) << what << ": token " << i;
    }
  }

  static constexpr int kDraws = 2500;
  json::value root_;
  std::vector<TokenId> history_;
};

TEST_F(Golden, EveryStageAndChainOfTransformersIsReproduced) {
  std::map<std::string, int> left_out;
  int compared = 0;
  for (const json::value& item : root_.at("cases").as_array()) {
    const std::string vector(item.at("vector").as_string());
    std::vector<float> z = Floats(root_.at("logits").at(vector));
    std::vector<float> expected = Floats(item.at("out"));
    std::string chain, missing;
    for (const json::value& stage : item.at("stages").as_array()) {
      const std::string name(stage.as_string());
      chain += (chain.empty() ? "" : " > ") + name;
      if (!Apply(name, z)) {
        missing = name;
      }
    }
    if (missing == "epsilon_cutoff" && chain != missing) {
      // The chain ends in a cutoff we do not offer: undo it by comparing only what it kept.
      for (size_t i = 0; i < z.size(); ++i) {
        z[i] = expected[i] == -kInf ? -kInf : z[i];
      }
    } else if (!missing.empty()) {
      ++left_out[missing];
      continue;
    }
    if (vector == "ties") {  // which of several equal border values is kept is not defined
      std::sort(z.begin(), z.end());
      std::sort(expected.begin(), expected.end());
    }
    for (size_t i = 0; i < z.size(); ++i) {
      if (expected[i] == -kInf) {
        ASSERT_EQ(z[i], -kInf) << vector << ": " << chain << " at " << i;
      } else {
        ASSERT_NEAR(z[i], expected[i], 1e-5 * std::max(1.0f, std::abs(expected[i])))
            << vector << ": " << chain << " at " << i;
      }
    }
    ++compared;
  }
  for (const auto& [stage, count] : left_out) {
    std::cout << "left out: " << count << " cases of " << stage
              << ", which the API does not offer\n";
  }
  EXPECT_EQ(compared, 96);
}

// The chains again, but drawn from: a stage out of its place leaves another distribution.
TEST_F(Golden, DrawsFollowTheChainsInTheOrderOfTheApi) {
  const std::pair<std::string, SamplingParams> chains[] = {
      {"temperature > top_k > top_p > min_p",
       {.temperature = Parameter("temperature", "temperature"),
        .top_k = static_cast<int>(Parameter("top_k", "top_k")),
        .top_p = Parameter("top_p", "top_p"),
        .min_p = Parameter("min_p", "min_p")}},
      {"repetition_penalty > temperature_high > top_p",
       {.temperature = Parameter("temperature_high", "temperature"),
        .top_p = Parameter("top_p", "top_p"),
        .repetition_penalty = Parameter("repetition_penalty", "repetition_penalty")}}};
  int compared = 0;
  for (const json::value& item : root_.at("cases").as_array()) {
    std::string name;
    for (const json::value& stage : item.at("stages").as_array()) {
      name += (name.empty() ? "" : " > ") + std::string(stage.as_string());
    }
    const std::string vector(item.at("vector").as_string());
    const auto* chain =
        std::ranges::find(chains, name, &std::pair<std::string, SamplingParams>::first);
    if (chain == std::end(chains) || vector == "ties") {  // which of ties is kept is not defined
      continue;
    }
    ExpectDistribution(Frequencies(chain->second, Floats(root_.at("logits").at(vector)), true),
                       Probabilities(Floats(item.at("out"))), vector + ": " + name);
    ++compared;
  }
  EXPECT_EQ(compared, 2 * 5);
}

// The third chain without the bias that leaves one token: penalties over the generated text come
// before temperature, the filter last.
TEST_F(Golden, DrawsFollowBiasAndPenaltiesOfTheGeneratedText) {
  const std::string both = "frequency_and_presence";
  const SamplingParams params{.temperature = Parameter("temperature_high", "temperature"),
                              .top_k = static_cast<int>(Parameter("top_k", "top_k")),
                              .frequency_penalty = Parameter(both, "frequency_penalty"),
                              .presence_penalty = Parameter(both, "presence_penalty"),
                              .logit_bias = {{3, 2.0f}, {17, -5.0f}, {100, 0.5f}, {61, -100.0f}}};
  for (const char* vector : {"normal", "flat"}) {
    const std::vector<float> logits = Floats(root_.at("logits").at(vector));
    std::vector<float> want = logits;
    ApplyLogitBias(want, params.logit_bias);
    for (const char* stage : {"frequency_and_presence", "temperature_high", "top_k"}) {
      ASSERT_TRUE(Apply(stage, want));
    }
    ExpectDistribution(Frequencies(params, logits, false), Probabilities(want), vector);
  }
}

std::vector<float> Log(std::initializer_list<float> p) {
  std::vector<float> logits;
  for (const float value : p) {
    logits.push_back(std::log(value));
  }
  return logits;
}

std::vector<float> Softmax(std::vector<float> z) {
  float sum = 0;
  for (float& value : z) {
    value = std::exp(value);
    sum += value;
  }
  for (float& value : z) {
    value /= sum;
  }
  return z;
}

TEST(Stages, TheFourTokenChecksHold) {
  auto z = Log({0.1f, 0.2f, 0.3f, 0.4f});
  ApplyMinP(z, 0.26f);
  EXPECT_NEAR(Softmax(z)[1], 0.2 / 0.9, 1e-6);
  EXPECT_EQ(Softmax(z)[0], 0);
  z = Log({0.1f, 0.2f, 0.3f, 0.4f});
  ApplyTopP(z, 0.6999f);
  EXPECT_NEAR(Softmax(z)[3], 0.571429, 1e-6);
  EXPECT_NEAR(Softmax(z)[2], 0.428571, 1e-6);
  EXPECT_EQ(Softmax(z)[1], 0);
  ApplyTopK(z, 1);
  EXPECT_EQ(Softmax(z), (std::vector<float>{0, 0, 0, 1}));
}

// The obvious twin: sort everything.
std::vector<float> SlowTopP(std::vector<float> z, double p) {
  std::vector<size_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return z[a] != z[b] ? z[a] > z[b] : a < b; });
  double total = 0, sum = 0;
  for (const float value : z) {
    total += std::exp(static_cast<double>(value - z[order[0]]));
  }
  for (const size_t i : order) {
    const bool keep = sum < p * total;
    sum += std::exp(static_cast<double>(z[i] - z[order[0]]));
    if (!keep) {
      z[i] = -kInf;
    }
  }
  return z;
}

TEST(Stages, SelectionWithoutSortingAgreesWithSorting) {
  for (const float deviation : {0.01f, 1.0f, 3.0f, 8.0f}) {
    for (const size_t n : {size_t{1}, size_t{7}, size_t{1000}, size_t{50000}}) {
      const auto logits = RandomLogits(n, n, deviation);
      for (const float p : {0.0f, 0.1f, 0.5f, 0.9f, 0.999f}) {
        auto fast = logits;
        ApplyTopP(fast, p);
        auto slow = SlowTopP(logits, p == 0 ? 1e-9 : p);
        // A sum that ends within rounding of p may put the border one entry aside.
        const auto count = [](const std::vector<float>& z) {
          return std::count_if(z.begin(), z.end(), [](float v) { return v > -kInf; });
        };
        EXPECT_LE(std::abs(count(fast) - count(slow)), 1 + n / 5000)
            << n << " " << p << " " << deviation;
        EXPECT_EQ(fast[std::max_element(logits.begin(), logits.end()) - logits.begin()],
                  *std::max_element(logits.begin(), logits.end()));
      }
      auto top = logits;
      ApplyTopK(top, 5);
      auto sorted = logits;
      std::sort(sorted.rbegin(), sorted.rend());
      for (size_t i = 0; i < n; ++i) {
        EXPECT_EQ(top[i] > -kInf, logits[i] >= sorted[std::min(n, size_t{5}) - 1]);
      }
    }
  }
}

TEST(Softmax, ThePolynomialIsExp) {
  for (float x = 0; x > -86.9f; x -= 0.00137f) {
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(sampler::ExpNegative(x) / exact, 1.0, 2.5e-7) << x;
  }
  EXPECT_EQ(sampler::ExpNegative(0), 1.0f);
  EXPECT_EQ(sampler::ExpNegative(-200), 0.0f);
  EXPECT_EQ(sampler::ExpNegative(-kInf), 0.0f);
  EXPECT_EQ(sampler::ExpNegative(kNan), 0.0f);
}

TEST(Softmax, MaximumIsTheLowestPositionAndIgnoresNan) {
  auto logits = RandomLogits(5000, 3, 1);
  logits[100] = kNan;
  logits[4000] = logits[2500] = 50;
  EXPECT_EQ(sampler::FindMaximum(logits).position, 2500u);
  EXPECT_EQ(sampler::FindMaximum(logits).value, 50);
  const std::vector<float> nothing(20, kNan);
  EXPECT_EQ(sampler::FindMaximum(nothing).position, 0u);
}

TEST(Sampler, TemperatureZeroTakesTheLowestIdOfTheLargest) {
  Sampler greedy({.temperature = 0}, {});
  std::vector<float> logits = {1, 3, 2, 3};
  EXPECT_EQ(greedy.Sample(logits), 1);
}

TEST(Sampler, DrawsFollowTheDistribution) {
  constexpr int kDraws = 40000;
  const std::vector<SamplingParams> plans = {
      {.seed = 5}, {.top_k = 4, .seed = 6}, {.typical_p = 0.9999f, .seed = 7}};
  for (const SamplingParams& params : plans) {
    Sampler drawing(params, {});
    std::vector<int> counts(4);
    for (int i = 0; i < kDraws; ++i) {
      auto logits = Log({0.1f, 0.2f, 0.3f, 0.4f});
      ++counts[drawing.Sample(logits)];
    }
    for (int i = 0; i < 4; ++i) {
      EXPECT_NEAR(counts[i] / double{kDraws}, (i + 1) * 0.1, 0.012);
    }
  }
}

TEST(Sampler, TheSameSeedGivesTheSameTokensAndAnotherDoesNot) {
  const auto draw = [](uint64_t seed) {
    Sampler drawing({.temperature = 1.2f, .top_p = 0.98f, .min_p = 0.001f, .seed = seed}, {});
    std::vector<TokenId> out;
    for (int i = 0; i < 50; ++i) {
      auto logits = RandomLogits(3000, i, 2);
      out.push_back(drawing.Sample(logits));
    }
    return out;
  };
  EXPECT_EQ(draw(11), draw(11));
  EXPECT_NE(draw(11), draw(12));
}

TEST(Sampler, ASeedMeansTheseTokensOnEveryPlatform) {
  Sampler drawing({.seed = 42}, {});
  std::vector<TokenId> out;
  for (int i = 0; i < 8; ++i) {
    std::vector<float> logits(10, 0.0f);
    out.push_back(drawing.Sample(logits));
  }
  std::mt19937_64 reference(42);  // its sequence is fixed by the C++ standard
  for (const TokenId id : out) {
    EXPECT_EQ(id, static_cast<TokenId>(static_cast<double>(reference() >> 11) * 0x1.0p-53 * 10));
  }
}

TEST(Sampler, PenaltiesLookAtWhatTheirDefinitionSays) {
  const std::vector<TokenId> prompt = {0, 0};
  Sampler repetition({.temperature = 0, .repetition_penalty = 2}, prompt);
  std::vector<float> logits = {3, 2, 1};
  EXPECT_EQ(repetition.Sample(logits), 1);  // the prompt's token counts, once
  Sampler frequency({.temperature = 0, .frequency_penalty = 2}, prompt);
  logits = {3, 2, 1};
  EXPECT_EQ(frequency.Sample(logits), 0);  // the prompt does not count
  logits = {3, 2, 1};
  EXPECT_EQ(frequency.Sample(logits), 1);  // the output does
}

TEST(Sampler, LogitBiasBansAndForces) {
  Sampler biased({.temperature = 0, .logit_bias = {{0, -100}, {2, 100}, {99, 5}}}, {});
  std::vector<float> logits = {3, 2, 1};
  EXPECT_EQ(biased.Sample(logits), 2);
}

TEST(Sampler, NoRowOfLogitsCanBreakIt) {
  const std::vector<std::vector<float>> rows = {{kNan, kNan, kNan},    {-kInf, -kInf},
                                                {kInf, kInf, 1},       {kNan, 1, -kInf},
                                                {-3e38f, 3e38f, kNan}, {0}};
  const std::vector<SamplingParams> plans = {
      {},
      {.temperature = 0},
      {.temperature = 1e-45f},
      {.temperature = 1e30f},
      {.top_k = 1000000},
      {.top_p = 0},
      {.top_p = kNan},
      {.min_p = 1},
      {.min_p = 5},
      {.typical_p = 0},
      {.repetition_penalty = 0},
      {.temperature = kNan, .frequency_penalty = kInf},
      {.temperature = 0.1f, .top_k = 2, .top_p = 0.1f, .min_p = 0.9f, .typical_p = 0.1f}};
  const std::vector<TokenId> prompt = {0, -1, 1 << 30};
  for (const auto& row : rows) {
    for (const SamplingParams& params : plans) {
      Sampler drawing(params, prompt);
      for (int i = 0; i < 5; ++i) {
        auto logits = row;
        const TokenId id = drawing.Sample(logits);
        ASSERT_GE(id, 0);
        ASSERT_LT(id, static_cast<TokenId>(row.size()));
      }
    }
  }
  Sampler drawing({.seed = 1}, {});
  for (int i = 0; i < 20; ++i) {
    std::vector<float> logits = {kNan, 1, -kInf, kNan};
    EXPECT_EQ(drawing.Sample(logits), 1);
  }
}

TEST(Logprobs, AreOfTheRawLogitsAndSortedWithLowestIdFirst) {
  const auto logits = Log({0.1f, 0.3f, 0.3f, 0.25f, 0.05f});
  EXPECT_NEAR(LogprobOf(logits, 3).logprob, std::log(0.25), 1e-6);
  const auto top = TopLogprobs(logits, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_EQ(top[2].id, 3);
  EXPECT_NEAR(top[0].logprob, std::log(0.3), 1e-6);
  EXPECT_EQ(TopLogprobs(logits, 99).size(), 5u);
  EXPECT_TRUE(TopLogprobs(logits, 0).empty());
  EXPECT_EQ(TopLogprobs(logits, 1).size(), 1u);
  const std::vector<float> nothing = {kNan, -kInf};
  EXPECT_EQ(LogprobOf(nothing, 0).logprob, -kInf);
  EXPECT_TRUE(TopLogprobs(nothing, 2).empty());
}

}  // namespace
}  // namespace tradewind::engine
