// What a model file says about its shape and its arithmetic.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "engine/format/gguf.h"

namespace tradewind::engine {

// Which two values of a head form a rotated pair. Key: the architecture of the file
// (docs/internals/transformer.md).
enum class RopePairing : uint8_t {
  kAdjacent,   // (2i, 2i+1): GGUF architectures llama and mistral3, whose Q and K rows are permuted
               // for it
  kHalfSplit,  // (i, i + C/2): HF weights as they are
};

enum class RopeScaling : uint8_t { kNone, kLinear, kYarn };

struct RopeConfig {
  RopePairing pairing = RopePairing::kAdjacent;
  RopeScaling scaling = RopeScaling::kNone;
  double theta = 10000.0;
  int64_t dims = 0;              // leading values of a head that rotate; the rest pass through
  double factor = 1.0;           // linear and yarn
  int64_t original_context = 0;  // yarn: L0
  double beta_fast = 32.0, beta_slow = 1.0;
  double extrapolation = 1.0;     // yarn_ext_factor: 0 turns the ramp off (linear everywhere)
  bool has_divisors = false;      // rope_freqs.weight divides the frequencies, whatever the scaling
  double attention_factor = 1.0;  // multiplies cos and sin; yarn's mscale ratio is folded in
};

// Constant after load.
struct ModelConfig {
  std::string architecture;  // "llama", "mistral3"
  int64_t layers = 0;        // L
  int64_t model_dim = 0;     // D
  int64_t heads = 0;         // H
  int64_t kv_heads = 0;      // K, divides H
  int64_t head_dim = 0;      // C; H * C need not equal D
  int64_t ffn_dim = 0;       // F
  int64_t vocab_size = 0;    // V
  int64_t context_trained = 0;
  int64_t sliding_window = 0;  // keys a query sees, itself included; 0 = all before it
  float rms_eps = 1e-5f;
  float attention_scale = 0;  // 1 / sqrt(C) unless the file says otherwise
  RopeConfig rope;
  // Queries, after rotation, times 1 + beta * ln(1 + floor(position / length)); beta 0 = off.
  double query_scale_beta = 0;
  int64_t query_scale_length = 0;

  // Errors: kUnsupported (an architecture or feature that we would compute wrongly: named),
  // kCorruptFile (a key is missing, of the wrong type or out of range: named).
  static Result<ModelConfig> FromGguf(const GgufFile& file);
};

}  // namespace tradewind::engine
