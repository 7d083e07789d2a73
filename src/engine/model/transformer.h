// Life of a token: embed -> layers {norm, attention, add, norm, feed-forward, add} -> final norm ->
// logits. Letters: T tokens in this step, D model dim, L layers, H query heads, K KV heads, C head
// dim, F FFN dim, V vocabulary. Source: Touvron et al. 2023 (Llama), Ainslie et al. 2023 (grouped
// queries), Jiang et al. 2023 (Mistral 7B).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/cache/kv_cache.h"
#include "engine/kernels/matmul.h"
#include "engine/model/config.h"
#include "engine/model/rope.h"
#include "engine/model/weights.h"
#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

// One row of a step: a token at a position of a sequence. The rows of one sequence stand in
// ascending positions, without gaps, and the cache has room for them (KvSequence::Reserve) and
// holds every position before them.
struct BatchRow {
  TokenId token = 0;
  int64_t position = 0;
  KvSequence* cache = nullptr;
  bool wants_logits = false;
};

// Buffers of a step, reused for every step. One per thread that calls Forward.
struct Activations {
  std::vector<float> x;                    // [T, D]   residual stream
  std::vector<float> normed;               // [T, D]
  std::vector<float> q;                    // [T, H*C]
  std::vector<float> k, v;                 // [T, K*C]
  std::vector<float> heads_out;            // [T, H*C]
  std::vector<float> gated;                // [T, F]   silu(gate) * up
  std::vector<float> cos, sin;             // [T, C/2]
  std::vector<float> query_scale;          // [T]
  std::vector<float> logits;               // [rows that want them, V], in the order of the batch
  std::vector<std::vector<float>> scores;  // per worker: [H/K, positions]
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
  void Attention(int64_t layer, std::span<const BatchRow> batch, Activations& a);
  void StoreKeysAndValues(int64_t layer, const BatchRow& row, std::span<const float> k,
                          std::span<const float> v);
  void AttendHead(int64_t layer, const BatchRow& row, int64_t kv_head, const float* q, float* out,
                  std::vector<float>& scores);
  void FeedForward(int64_t layer, int64_t tokens, Activations& a);
  void Logits(std::span<const BatchRow> batch, Activations& a);

  const ModelConfig& config_;
  const Weights& weights_;
  const Kernels& kernels_;
  WorkerPool& pool_;
  MatMul matmul_;
  Rope rope_;
};

}  // namespace tradewind::engine
