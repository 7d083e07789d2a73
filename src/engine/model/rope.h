// Rotary position embedding: frequencies once per model, angles once per step, rotation per head.
// Source: Su et al. 2021 (RoPE); Peng et al. 2023 (YaRN, section 3.2); Llama 3 divisors as GGUF's
// rope_freqs.weight.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/config.h"

namespace tradewind::engine {

class Rope {
 public:
  // divisors: [dims/2] when config.has_divisors, else empty.
  Rope(const RopeConfig& config, std::span<const float> divisors);

  // cos and sin of every pair at `position`, times the attention factor. The angle is the f32
  // product of position and frequency, as the reference implementations have it; its cosine is
  // taken in f64. cos, sin: [dims/2]
  void Angles(int64_t position, std::span<float> cos, std::span<float> sin) const;

  // Rotates the first `dims` values of each of `heads` heads in place. x: [heads, head_dim]
  void Rotate(std::span<float> x, int64_t head_dim, std::span<const float> cos,
              std::span<const float> sin) const;

  int64_t pairs() const { return static_cast<int64_t>(frequencies_.size()); }
  std::span<const float> frequencies() const { return frequencies_; }  // radians per position

 private:
  RopePairing pairing_;
  float attention_factor_;
  std::vector<float> frequencies_;  // [dims/2]
};

}  // namespace tradewind::engine
