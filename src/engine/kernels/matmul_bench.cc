// Products of one worker: multiply-adds (items) and weight bytes per second, by CPU time.
#include <cstring>
#include <random>

#include <benchmark/benchmark.h>

#include "engine/kernels/matmul.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine {
namespace {

// Random bytes that are, as f16, small positive numbers: valid blocks of any type.
std::vector<std::byte> Blocks(int64_t bytes) {
  std::mt19937 random(1);
  std::vector<std::byte> blocks(static_cast<size_t>(bytes));
  for (auto& byte : blocks) {
    byte = static_cast<std::byte>(random() & 0x1F);
  }
  return blocks;
}

void Multiply(benchmark::State& state, TensorType type, ActivationType activations) {
  const int64_t rows = state.range(0);
  const int64_t k = state.range(1);
  const int64_t tokens = state.range(2);
  const auto row_bytes = static_cast<int64_t>(RowBytes(type, static_cast<uint64_t>(k)).value());
  const auto file = Blocks(rows * row_bytes);
  const PackedLayout& layout = *FindPackedLayout(type);
  Weight weight{type, rows, k, file.data(), row_bytes};
  weight.strip_bytes = PackedStripBytes(layout, k);
  std::vector<std::byte> packed(static_cast<size_t>(weight.strips() * weight.strip_bytes + 64));
  auto* const aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(packed.data()) + 63) / 64 * 64);
  for (int64_t s = 0; s < weight.strips(); ++s) {
    PackStrip(type, weight.row(s * kStripRows), row_bytes, kStripRows, k,
              aligned + s * weight.strip_bytes);
  }
  weight.packed = aligned;
  std::vector<float> x(static_cast<size_t>(tokens * k));
  std::mt19937 random(2);
  std::student_t_distribution<float> heavy_tailed(4.0f);  // as activations are
  for (float& v : x) {
    v = heavy_tailed(random);
  }
  std::vector<float> out(static_cast<size_t>(tokens * rows));
  WorkerPool pool(1);
  MatMul matmul(**SelectKernels(""), pool, activations);
  const MatMulOutput outputs[] = {{&weight, out.data(), rows}};
  for (auto _ : state) {
    matmul.Run(outputs, {x.data(), k, k, tokens});
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows * k * tokens);
  state.SetBytesProcessed(state.iterations() * weight.strips() * weight.strip_bytes);
}

void Shapes(benchmark::internal::Benchmark* bench) {
  for (const int64_t tokens : {1, 4, 8, 256}) {
    bench->Args({1536, 576, tokens});
    if (tokens != 256) {
      bench->Args({3072, 3072, tokens});
    }
  }
}

BENCHMARK_CAPTURE(Multiply, Q4_1, TensorType::kQ4_1, ActivationType::kI16)->Apply(Shapes);
BENCHMARK_CAPTURE(Multiply, Q4_1_i8, TensorType::kQ4_1, ActivationType::kI8)
    ->Args({1536, 576, 256});
BENCHMARK_CAPTURE(Multiply, Q4_1_mixed, TensorType::kQ4_1, ActivationType::kMixed)
    ->Args({1536, 576, 64})
    ->Args({1536, 576, 256})
    ->Args({576, 1536, 256});
BENCHMARK_CAPTURE(Multiply, Q4_0_mixed, TensorType::kQ4_0, ActivationType::kMixed)
    ->Args({32768, 3072, 8})
    ->Args({3072, 3072, 3})
    ->Args({3072, 3072, 4})
    ->Args({3072, 3072, 6})
    ->Args({3072, 3072, 8})
    ->Args({3072, 3072, 64});
BENCHMARK_CAPTURE(Multiply, Q4_K_mixed, TensorType::kQ4_K, ActivationType::kMixed)
    ->Args({3072, 3072, 8})
    ->Args({3072, 3072, 64});
BENCHMARK_CAPTURE(Multiply, Q8_0, TensorType::kQ8_0, ActivationType::kI16)->Apply(Shapes);
BENCHMARK_CAPTURE(Multiply, Q4_0, TensorType::kQ4_0, ActivationType::kI16)
    ->Args({3072, 3072, 1})
    ->Args({3072, 3072, 3})
    ->Args({3072, 3072, 4})
    ->Args({3072, 3072, 6})
    ->Args({3072, 3072, 8})
    ->Args({3072, 3072, 64});
BENCHMARK_CAPTURE(Multiply, Q4_K, TensorType::kQ4_K, ActivationType::kI16)
    ->Args({3072, 3072, 1})
    ->Args({3072, 3072, 8})
    ->Args({3072, 3072, 64});
BENCHMARK_CAPTURE(Multiply, Q6_K, TensorType::kQ6_K, ActivationType::kI16)
    ->Args({3072, 3072, 1})
    ->Args({3072, 3072, 8})
    ->Args({3072, 3072, 64});

}  // namespace
}  // namespace tradewind::engine
