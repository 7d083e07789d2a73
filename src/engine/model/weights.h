// The tensors of a model as views into its file, with every name and shape checked once.
#pragma once

#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "engine/format/gguf.h"
#include "engine/kernels/matmul.h"
#include "engine/model/config.h"

namespace tradewind::engine {

// Shapes are [outputs, inputs]. Norm weights are f32 vectors, copied: a few kilobytes, aligned.
struct LayerWeights {
  std::vector<float> attention_norm;  // [D]
  Weight q;                           // [H*C, D]
  Weight k, v;                        // [K*C, D]
  Weight o;                           // [D, H*C]
  std::vector<float> ffn_norm;        // [D]
  Weight gate, up;                    // [F, D]
  Weight down;                        // [D, F]
};

struct Weights {
  Weight embedding;                  // [V, D]
  std::vector<LayerWeights> layers;  // [L]
  std::vector<float> final_norm;     // [D]
  Weight head;                       // [V, D]; the embedding itself when tied
  std::vector<float> rope_divisors;  // [C/2], of Llama 3 files; empty elsewhere
  bool tied = false;

  // `file` must outlive the result. Sets config.vocab_size from the embedding.
  // Errors: kCorruptFile (a tensor is missing or has the wrong shape: both shapes are named),
  // kUnsupported (a tensor that we would have to use but do not: biases, fused projections, an
  // element type that is no weight).
  static Result<Weights> FromGguf(const GgufFile& file, ModelConfig& config);

  // Repacks every matrix whose type has a packed layout, with all workers, and gives up the pages
  // of the file behind it. Weights of other types, and those with a factor for the whole tensor,
  // stay as they are. Errors: kResourceExhausted.
  Status Pack(const GgufFile& file, WorkerPool& pool);

  PageBuffer packed;  // what Weight::packed points into
};

}  // namespace tradewind::engine
