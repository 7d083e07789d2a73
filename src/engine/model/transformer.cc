#include "engine/model/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::engine {
namespace {

int64_t Size(const auto& container) {
  return static_cast<int64_t>(container.size());
}

// A buffer that holds exactly [rows, columns]; capacity is kept from step to step.
void Shape(std::vector<float>& buffer, int64_t rows, int64_t columns) {
  buffer.resize(static_cast<size_t>(rows * columns));
}

// Rows of one sequence are few and cheap to norm; a region costs about a microsecond, so do not
// split below this.
constexpr int64_t kNormGrainRows = 8;

}  // namespace

Transformer::Transformer(const ModelConfig& config, const Weights& weights, const Kernels& kernels,
                         WorkerPool& pool, ActivationType activations)
    : config_(config),
      weights_(weights),
      kernels_(kernels),
      pool_(pool),
      matmul_(kernels, pool, activations),
      rope_(config.rope, weights.rope_divisors) {}

void Transformer::Forward(std::span<const BatchRow> batch, Activations& a) {
  const int64_t tokens = Size(batch);
  Embed(batch, a);  // [T] -> x [T, D]
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
    Norm(a.x, w.attention_norm, tokens, a.normed);  // [T, D]
    Attention(layer, batch, a);                     // x += attention(normed)
    Norm(a.x, w.ffn_norm, tokens, a.normed);        // [T, D]
    FeedForward(layer, tokens, a);                  // x += feed-forward(normed)
  }
  Logits(batch, a);  // x -> final norm -> logits [., V]
}

void Transformer::Embed(std::span<const BatchRow> batch, Activations& a) {
  const int64_t tokens = Size(batch);
  Shape(a.x, tokens, config_.model_dim);
  Shape(a.normed, tokens, config_.model_dim);
  Shape(a.q, tokens, config_.heads * config_.head_dim);
  Shape(a.heads_out, tokens, config_.heads * config_.head_dim);
  Shape(a.k, tokens, config_.kv_heads * config_.head_dim);
  Shape(a.v, tokens, config_.kv_heads * config_.head_dim);
  Shape(a.gated, tokens, config_.ffn_dim);
  Shape(a.cos, tokens, rope_.pairs());
  Shape(a.sin, tokens, rope_.pairs());
  a.query_scale.resize(batch.size());
  int64_t positions = 0;
  for (const BatchRow& row : batch) {
    positions = std::max(positions, row.position + 1);
  }
  a.scores.resize(static_cast<size_t>(pool_.threads()));
  for (auto& scores : a.scores) {  // here, because a helper thread must not run out of memory
    const int64_t needed = config_.heads / config_.kv_heads * positions;
    scores.resize(std::max(scores.size(), static_cast<size_t>(needed)));
  }
  const auto dim = static_cast<size_t>(config_.model_dim);
  const auto pairs = static_cast<size_t>(rope_.pairs());
  for (size_t t = 0; t < batch.size(); ++t) {
    TW_CHECK(batch[t].token >= 0 && batch[t].token < config_.vocab_size);
    matmul_.Row(weights_.embedding, batch[t].token, std::span(a.x).subspan(t * dim, dim));
    rope_.Angles(batch[t].position, std::span(a.cos).subspan(t * pairs, pairs),
                 std::span(a.sin).subspan(t * pairs, pairs));
    a.query_scale[t] = 1.0f;
    if (config_.query_scale_beta > 0) {
      const double steps = static_cast<double>(batch[t].position / config_.query_scale_length);
      a.query_scale[t] = static_cast<float>(1.0 + config_.query_scale_beta * std::log1p(steps));
    }
  }
}

void Transformer::Norm(std::span<const float> x, std::span<const float> weight, int64_t tokens,
                       std::span<float> out) {
  const int64_t dim = config_.model_dim;
  TW_CHECK(Size(x) == tokens * dim && Size(out) == tokens * dim && Size(weight) == dim);
  pool_.ParallelFor(tokens, kNormGrainRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      kernels_.rms_norm(x.data() + t * dim, weight.data(), config_.rms_eps, dim,
                        out.data() + t * dim);
    }
  });
}

void Transformer::Attention(int64_t layer, std::span<const BatchRow> batch, Activations& a) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t tokens = Size(batch);
  const int64_t q_dim = config_.heads * config_.head_dim;
  const int64_t kv_dim = config_.kv_heads * config_.head_dim;
  const int64_t group = config_.heads / config_.kv_heads;  // query heads that share a KV head

  const MatMulOutput projections[] = {
      {&w.q, a.q.data(), q_dim}, {&w.k, a.k.data(), kv_dim}, {&w.v, a.v.data(), kv_dim}};
  matmul_.Run(projections, {a.normed.data(), config_.model_dim, config_.model_dim, tokens});

  const auto pairs = static_cast<size_t>(rope_.pairs());
  pool_.ParallelFor(tokens, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const auto cos = std::span<const float>(a.cos).subspan(static_cast<size_t>(t) * pairs, pairs);
      const auto sin = std::span<const float>(a.sin).subspan(static_cast<size_t>(t) * pairs, pairs);
      const std::span<float> q(a.q.data() + t * q_dim, static_cast<size_t>(q_dim));
      const std::span<float> k(a.k.data() + t * kv_dim, static_cast<size_t>(kv_dim));
      rope_.Rotate(q, config_.head_dim, cos, sin);
      rope_.Rotate(k, config_.head_dim, cos, sin);
      if (const float scale = a.query_scale[static_cast<size_t>(t)]; scale != 1.0f) {
        std::ranges::transform(q, q.begin(), [scale](float value) { return value * scale; });
      }
      StoreKeysAndValues(
          layer, batch[static_cast<size_t>(t)], k,
          std::span<const float>(a.v.data() + t * kv_dim, static_cast<size_t>(kv_dim)));
    }
  });

  // Every (token, KV head) is a task of its own: a decode step has K of them per sequence.
  pool_.ParallelFor(tokens * config_.kv_heads, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t t = task / config_.kv_heads;
      const int64_t kv_head = task % config_.kv_heads;
      const int64_t offset = t * q_dim + kv_head * group * config_.head_dim;
      AttendHead(layer, batch[static_cast<size_t>(t)], kv_head, a.q.data() + offset,
                 a.heads_out.data() + offset, a.scores[static_cast<size_t>(worker)]);
    }
  });

  matmul_.RunAdd({&w.o, a.x.data(), config_.model_dim}, {a.heads_out.data(), q_dim, q_dim, tokens});
}

void Transformer::StoreKeysAndValues(int64_t layer, const BatchRow& row, std::span<const float> k,
                                     std::span<const float> v) {
  const int64_t dim = config_.head_dim;
  const int64_t block = row.position / limits::kKvBlockPositions;
  const int64_t offset = row.position % limits::kKvBlockPositions * dim;
  TW_CHECK(block < row.cache->blocks());
  const bool half = row.cache->type() == KvType::kF16;
  for (int64_t head = 0; head < config_.kv_heads; ++head) {
    std::byte* const keys = row.cache->Keys(block, layer, head);
    std::byte* const values = row.cache->Values(block, layer, head);
    if (half) {
      kernels_.to_half(k.data() + head * dim, dim, reinterpret_cast<uint16_t*>(keys) + offset);
      kernels_.to_half(v.data() + head * dim, dim, reinterpret_cast<uint16_t*>(values) + offset);
    } else {
      std::memcpy(reinterpret_cast<float*>(keys) + offset, k.data() + head * dim,
                  static_cast<size_t>(dim) * 4);
      std::memcpy(reinterpret_cast<float*>(values) + offset, v.data() + head * dim,
                  static_cast<size_t>(dim) * 4);
    }
  }
}

// q, out: [H/K, C], the query heads of one KV head. Keys at positions <= row.position, and inside
// the sliding window.
void Transformer::AttendHead(int64_t layer, const BatchRow& row, int64_t kv_head, const float* q,
                             float* out, std::vector<float>& scores) {
  constexpr int64_t kPositions = limits::kKvBlockPositions;
  const int64_t dim = config_.head_dim;
  const int64_t group = config_.heads / config_.kv_heads;
  const int64_t end = row.position + 1;
  const int64_t first =
      config_.sliding_window > 0 ? std::max(int64_t{0}, end - config_.sliding_window) : 0;
  const int64_t count = end - first;
  const bool half = row.cache->type() == KvType::kF16;
  TW_DCHECK(Size(scores) >= group * count);

  // Walks the blocks that hold positions [first, end); `visit` gets where they lie and the index of
  // the first one.
  const auto for_each_block = [&](const auto& visit) {
    for (int64_t position = first; position < end;) {
      const int64_t block = position / kPositions;
      const int64_t inside = position % kPositions;
      const int64_t positions = std::min(kPositions - inside, end - position);
      visit(block, inside * dim, positions, position - first);
      position += positions;
    }
  };

  for_each_block([&](int64_t block, int64_t offset, int64_t positions, int64_t s) {
    const std::byte* const keys = row.cache->Keys(block, layer, kv_head);
    if (half) {
      kernels_.scores_f16(q, group, dim, reinterpret_cast<const uint16_t*>(keys) + offset,
                          positions, config_.attention_scale, scores.data() + s, count);
    } else {
      kernels_.scores_f32(q, group, dim, reinterpret_cast<const float*>(keys) + offset, positions,
                          config_.attention_scale, scores.data() + s, count);
    }
  });
  for (int64_t g = 0; g < group; ++g) {
    kernels_.softmax(scores.data() + g * count, count);
  }
  std::fill(out, out + group * dim, 0.0f);
  for_each_block([&](int64_t block, int64_t offset, int64_t positions, int64_t s) {
    const std::byte* const values = row.cache->Values(block, layer, kv_head);
    if (half) {
      kernels_.mix_f16(scores.data() + s, count, group, dim,
                       reinterpret_cast<const uint16_t*>(values) + offset, positions, out);
    } else {
      kernels_.mix_f32(scores.data() + s, count, group, dim,
                       reinterpret_cast<const float*>(values) + offset, positions, out);
    }
  });
}

void Transformer::FeedForward(int64_t layer, int64_t tokens, Activations& a) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t ffn = config_.ffn_dim;
  matmul_.RunGated(w.gate, w.up, a.gated.data(), ffn,
                   {a.normed.data(), config_.model_dim, config_.model_dim, tokens});
  matmul_.RunAdd({&w.down, a.x.data(), config_.model_dim}, {a.gated.data(), ffn, ffn, tokens});
}

void Transformer::Logits(std::span<const BatchRow> batch, Activations& a) {
  const int64_t dim = config_.model_dim;
  int64_t rows = 0;
  for (size_t t = 0; t < batch.size(); ++t) {
    if (batch[t].wants_logits) {  // gather, so that the head multiplies wanted rows only
      kernels_.rms_norm(a.x.data() + static_cast<int64_t>(t) * dim, weights_.final_norm.data(),
                        config_.rms_eps, dim, a.normed.data() + rows * dim);
      ++rows;
    }
  }
  TW_CHECK(rows <= limits::kLogitRowsMax);
  Shape(a.logits, rows, config_.vocab_size);
  if (rows > 0) {
    const MatMulOutput output[] = {{&weights_.head, a.logits.data(), config_.vocab_size}};
    matmul_.Run(output, {a.normed.data(), dim, dim, rows});
  }
}

}  // namespace tradewind::engine
