// Random weights, written as blocks of a type directly: nothing is quantised, so it is as fast as
// the disk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/quant/types.h"

namespace tradewind::make_model {

// splitmix64 (Steele, Lea, Flood 2014): the same numbers everywhere for the same seed.
class RandomBits {
 public:
  explicit RandomBits(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  void Fill(std::span<std::byte> out);

 private:
  uint64_t state_;
};

// An endless row of valid blocks of one type: every level is as likely as any other, and the
// dequantised values have mean 0 and the given root mean square. F32, F16 and BF16 are normally
// distributed. What quantising never yields is left out (Q8_0 has no -128, TQ2_0 no 3).
// Types: all that weights may have.
class RandomBlocks {
 public:
  RandomBlocks(engine::TensorType type, double rms, uint64_t seed);

  // Fills `out`, which is whole blocks.
  void Fill(std::span<std::byte> out);

 private:
  void SetScale(double unit);
  void SetByteScales(double unit);
  void FinishBlock(uint8_t* block) const;
  bool FinishRareBlock(uint8_t* block) const;

  engine::TensorType type_;
  RandomBits bits_;
  // A block's scale is picked by a random byte. Its offset makes the mean of the block's values 0.
  std::array<uint16_t, 256> scales_{}, signed_scales_{}, offsets_{};  // f16
  std::array<uint8_t, 256> exponents_{}, tiny_floats_{};              // E8M0 and UE4M3
  std::vector<uint32_t> normals_;  // 4096 draws as bits of the type: for F32, F16 and BF16
};

}  // namespace tradewind::make_model
