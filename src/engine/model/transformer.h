// Life of a token: embed -> layers {norm, attention, add, norm, feed-forward, add} -> final norm ->
// logits. Letters: T tokens in this step, D model dim, L layers, H query heads, K KV heads, C head
// dim, F FFN dim, V vocabulary. Source: Touvron et al. 2023 (Llama), Ainslie et al. 2023 (grouped
// queries), Jiang et al. 2023 (Mistral 7B).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/matmul.h"
#include "engine/model/attention.h"
#include "engine/model/batch.h"
#include "engine/model/config.h"
#include "engine/model/rope.h"
#include "engine/model/weights.h"

namespace tradewind::engine {

// Buffers of a step, reused for every step. One per thread that calls Forward.
struct Activations {
  std::vector<float> x;            // [T, D]   residual stream
  std::vector<float> normed;       // [T, D]
  std::vector<float> q;            // [T, H*C]
  std::vector<float> k, v;         // [T, K*C]
  std::vector<float> heads_out;    // [T, H*C]
  std::vector<float> gated;        // [T, F]   silu(gate) * up
  std::vector<float> cos, sin;     // [T, C/2]
  std::vector<float> query_scale;  // [T]
  std::vector<float> logits;       // [rows that want them, V], in the order of the batch
  std::vector<BatchRow> wanted;    // those rows: of x, q and heads_out what the last layer leaves
};

// Immutable but for the scratch inside; one Forward at a time.
class Transformer {
 public:
  // `config` and `weights` must outlive it.
  Transformer(const ModelConfig& config, const Weights& weights, const Kernels& kernels,
              WorkerPool& pool, ActivationType activations);

  // Runs one step: appends K and V of every row to its cache and leaves the logits of those that
  // want them in a.logits.
  void Forward(std::span<const BatchRow> batch, Activations& a);

  const ModelConfig& config() const { return config_; }

 private:
  void Embed(std::span<const BatchRow> batch, Activations& a);
  void Norm(std::span<const float> x, std::span<const float> weight, int64_t tokens,
            std::span<float> out);
  void Project(int64_t layer, int64_t tokens, Activations& a);
  // Moves the rows that want logits together and plans their attention; how many they are.
  int64_t KeepWanted(std::span<const BatchRow> batch, Activations& a);
  void Attend(int64_t layer, int64_t tokens, Activations& a);
  void FeedForward(int64_t layer, int64_t tokens, Activations& a);
  void Logits(int64_t rows, Activations& a);

  const ModelConfig& config_;
  const Weights& weights_;
  const Kernels& kernels_;
  WorkerPool& pool_;
  MatMul matmul_;
  Rope rope_;
  Attention attention_;
};

}  // namespace tradewind::engine
