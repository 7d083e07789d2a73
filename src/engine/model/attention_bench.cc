// Attention alone, of the default model's shape (3 KV heads of 64, groups of 3) and of a 3B model's
// (8 of 128, groups of 4): a prompt's last step of 256 rows, and one row at the end of a long
// context. GMAC/s counts scores and values; GB/s what is read of the cache.
#include <random>

#include <benchmark/benchmark.h>

#include "engine/model/attention.h"

namespace tradewind::engine {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim;
};
constexpr Shape kShapes[] = {{9, 3, 64}, {32, 8, 128}};

void Run(benchmark::State& state, int64_t rows) {
  const Shape& shape = kShapes[state.range(0)];
  const int64_t positions = state.range(1);
  const int threads = static_cast<int>(state.range(2));
  const auto type = static_cast<KvType>(state.range(3));
  ModelConfig config;
  config.layers = 4;  // more than the last cache holds, as in a model
  config.heads = shape.heads;
  config.kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.attention_scale = 0.1f;
  KvBlockPool pool({config.layers, shape.kv_heads, shape.head_dim, type}, 1 << 20);
  KvSequence cache(pool);
  if (!cache.Reserve(positions)) {
    return state.SkipWithError("out of memory");
  }
  WorkerPool workers(threads);
  Attention attention(config, **SelectKernels(""), workers);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> kv(static_cast<size_t>(shape.kv_heads * shape.head_dim));
  for (int64_t p = 0; p < positions; ++p) {
    for (float& value : kv) {
      value = normal(random);
    }
    const BatchRow row{0, p, &cache, false};
    attention.Plan({&row, 1});
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      attention.Store(layer, 0, kv, kv);
    }
  }
  std::vector<BatchRow> batch;
  for (int64_t p = positions - rows; p < positions; ++p) {
    batch.push_back({0, p, &cache, false});
  }
  std::vector<float> q(static_cast<size_t>(rows * shape.heads * shape.head_dim), 0.1f);
  std::vector<float> out(q.size());
  attention.Plan(batch);
  int64_t layers = 0;
  for (auto _ : state) {
    attention.Run(layers++ % config.layers, q.data(), out.data());
    benchmark::DoNotOptimize(out.data());
  }
  double macs = 0;
  for (const BatchRow& row : batch) {
    macs += 2.0 * static_cast<double>((row.position + 1) * shape.heads * shape.head_dim);
  }
  const double bytes = static_cast<double>(pool.shape().bytes_per_token() / config.layers) *
                       static_cast<double>(positions);
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GMAC/s"] = benchmark::Counter(macs / 1e9, rate);
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, rate);
}

void Prefill(benchmark::State& state) {
  Run(state, 256);
}
void Decode(benchmark::State& state) {
  Run(state, 1);
}

constexpr auto kF16 = static_cast<int64_t>(KvType::kF16);
constexpr auto kQ8 = static_cast<int64_t>(KvType::kQ8_0);

void Arguments(benchmark::internal::Benchmark* bench, int64_t positions) {
  bench->ArgNames({"shape", "positions", "threads", "type"})->UseRealTime();
  for (const int64_t shape : {0, 1}) {
    for (const int64_t threads : {1, 2}) {
      for (const int64_t type : {kF16, kQ8}) {
        bench->Args({shape, positions, threads, type});
      }
    }
  }
}
BENCHMARK(Prefill)->Apply([](auto* bench) { Arguments(bench, 512); });
BENCHMARK(Decode)->Apply([](auto* bench) { Arguments(bench, 4096); });

}  // namespace
}  // namespace tradewind::engine
