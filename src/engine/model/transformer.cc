#include "engine/model/transformer.h"

#include <algorithm>
#include <cmath>

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
      rope_(config.rope, weights.rope_divisors),
      attention_(config, kernels, pool) {}

void Transformer::Forward(std::span<const BatchRow> batch, Activations& a) {
  int64_t tokens = Size(batch);
  attention_.Plan(batch);
  Embed(batch, a);  // [T] -> x [T, D]
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
    Norm(a.x, w.attention_norm, tokens, a.normed);  // [T, D]
    Project(layer, tokens, a);                      // normed -> q, and k and v into the caches
    if (layer == config_.layers - 1) {
      tokens = KeepWanted(batch, a);  // nobody reads what the last layer makes of the others
      if (tokens == 0) {
        break;
      }
    }
    Attend(layer, tokens, a);                 // x += attention(q)
    Norm(a.x, w.ffn_norm, tokens, a.normed);  // [T, D]
    FeedForward(layer, tokens, a);            // x += feed-forward(normed)
  }
  Logits(tokens, a);  // x -> final norm -> logits [., V]
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
  TW_CHECK(Size(x) >= tokens * dim && Size(out) >= tokens * dim && Size(weight) == dim);
  pool_.ParallelFor(tokens, kNormGrainRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      kernels_.rms_norm(x.data() + t * dim, weight.data(), config_.rms_eps, dim,
                        out.data() + t * dim);
    }
  });
}

void Transformer::Project(int64_t layer, int64_t tokens, Activations& a) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t q_dim = config_.heads * config_.head_dim;
  const int64_t kv_dim = config_.kv_heads * config_.head_dim;

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
      attention_.Store(
          layer, t, k,
          std::span<const float>(a.v.data() + t * kv_dim, static_cast<size_t>(kv_dim)));
    }
  });
}

int64_t Transformer::KeepWanted(std::span<const BatchRow> batch, Activations& a) {
  a.wanted.clear();
  const auto keep = [&](std::vector<float>& rows, size_t from, int64_t columns) {
    const auto row = [&](size_t index) {
      return rows.begin() + static_cast<int64_t>(index) * columns;
    };
    std::copy_n(row(from), columns, row(a.wanted.size()));
  };
  for (size_t t = 0; t < batch.size(); ++t) {
    if (batch[t].wants_logits) {
      if (t != a.wanted.size()) {
        keep(a.x, t, config_.model_dim);
        keep(a.q, t, config_.heads * config_.head_dim);
      }
      a.wanted.push_back(batch[t]);
    }
  }
  if (a.wanted.size() != batch.size()) {
    attention_.Plan(a.wanted);
  }
  return Size(a.wanted);
}

void Transformer::Attend(int64_t layer, int64_t tokens, Activations& a) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t q_dim = config_.heads * config_.head_dim;
  attention_.Run(layer, a.q.data(), a.heads_out.data());
  matmul_.RunAdd({&w.o, a.x.data(), config_.model_dim}, {a.heads_out.data(), q_dim, q_dim, tokens});
}

void Transformer::FeedForward(int64_t layer, int64_t tokens, Activations& a) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t ffn = config_.ffn_dim;
  matmul_.RunGated(w.gate, w.up, a.gated.data(), ffn,
                   {a.normed.data(), config_.model_dim, config_.model_dim, tokens});
  matmul_.RunAdd({&w.down, a.x.data(), config_.model_dim}, {a.gated.data(), ffn, ffn, tokens});
}

void Transformer::Logits(int64_t rows, Activations& a) {
  const int64_t dim = config_.model_dim;
  TW_CHECK(rows <= limits::kLogitRowsMax);
  Shape(a.logits, rows, config_.vocab_size);
  if (rows == 0) {
    return;
  }
  Norm(a.x, weights_.final_norm, rows, a.normed);
  const MatMulOutput output[] = {{&weights_.head, a.logits.data(), config_.vocab_size}};
  // The head has few rows in prefill, so that its exactness costs nothing.
  matmul_.Run(output,
              {.x = a.normed.data(), .stride = dim, .k = dim, .tokens = rows, .fine = true});
}

}  // namespace tradewind::engine
