// One row of 131,072 logits, as a large vocabulary gives them: a few likely tokens above a broad
// floor.
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "engine/sampler/sampler.h"

namespace tradewind::engine {
namespace {

void Run(benchmark::State& state, SamplingParams params) {
  params.seed = 1;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> source(131072);
  for (float& logit : source) {
    logit = normal(random);
  }
  Sampler sampler(params, {});
  std::vector<float> logits(source.size());
  for (auto _ : state) {
    logits = source;
    benchmark::DoNotOptimize(sampler.Sample(logits));
  }
}

BENCHMARK_CAPTURE(Run, greedy, SamplingParams{.temperature = 0});
BENCHMARK_CAPTURE(Run, softmax, SamplingParams{.temperature = 0.8f});
BENCHMARK_CAPTURE(Run, top_k_40, SamplingParams{.top_k = 40});
BENCHMARK_CAPTURE(Run, top_p_095, SamplingParams{.top_p = 0.95f});
BENCHMARK_CAPTURE(Run, top_p_flat, SamplingParams{.temperature = 10, .top_p = 0.95f});
BENCHMARK_CAPTURE(Run, min_p_005, SamplingParams{.min_p = 0.05f});
BENCHMARK_CAPTURE(Run, typical_095, SamplingParams{.typical_p = 0.95f});

}  // namespace
}  // namespace tradewind::engine
