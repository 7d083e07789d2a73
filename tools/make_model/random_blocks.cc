#include "make_model/random_blocks.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/quant/dequantize.h"
#include "engine/quant/quantize.h"

namespace tradewind::make_model {
namespace {

using enum engine::TensorType;
using engine::TensorType;

constexpr size_t kNormals = 4096;

bool IsFloat(TensorType type) {
  return type == kF32 || type == kF16 || type == kBF16;
}

// The middle of the levels 0..2^bits-1 of the types that store an offset beside the scale.
double MiddleLevel(TensorType type) {
  switch (type) {
    case kQ2_K:
      return 1.5;
    case kQ4_1:
    case kQ4_K:
      return 7.5;
    case kQ5_1:
    case kQ5_K:
      return 15.5;
    default:
      return 0;
  }
}

// Sums of twelve uniform numbers: normal enough, and the same on every machine. Mean 0, rms 1.
std::vector<float> NormalDraws(uint64_t seed) {
  RandomBits bits(seed);
  std::vector<float> draws(kNormals);
  double square = 0;
  for (size_t i = 0; i < kNormals; i += 2) {
    double sum = -6;
    for (int j = 0; j < 12; ++j) {
      sum += static_cast<double>(bits.Next() >> 11) * 0x1p-53;
    }
    draws[i] = static_cast<float>(sum);
    draws[i + 1] = static_cast<float>(-sum);
    square += 2 * sum * sum;
  }
  for (float& draw : draws) {
    draw = static_cast<float>(draw / std::sqrt(square / kNormals));
  }
  return draws;
}

// UE4M3 as docs/formats/gguf.md has it.
double TinyFloat(uint8_t code) {
  const int exponent = code >> 3;
  return exponent == 0 ? (code & 7) * 0x1p-9 : std::ldexp(1 + (code & 7) / 8.0, exponent - 7);
}

// `digits` base-3 digits as the fixed-point fraction that TQ1_0 keeps in a byte.
uint8_t TernaryByte(uint8_t random, int digits) {
  const int number = digits == 5 ? random % 243 : random % 81 * 3;
  return static_cast<uint8_t>((number * 256 + 242) / 243);
}

// Two bits each: those that are 3 become 1, which no quantising takes for 3.
uint8_t WithoutThrees(uint8_t levels) {
  const int threes = levels & (levels >> 1) & 0x55;
  return static_cast<uint8_t>(levels & ~(threes << 1));
}

// Eight pairs of six bits, scale and minimum alike, packed as Q4_K and Q5_K have them
// (docs/formats/gguf.md). The scales are the finer half, 32 to 63, as those of real blocks are.
void PackEqualPairs(uint8_t* s) {
  uint8_t pair[8];
  for (int j = 0; j < 8; ++j) {
    pair[j] = static_cast<uint8_t>(32 | (s[j] & 31));
  }
  for (int j = 0; j < 4; ++j) {
    s[j] = static_cast<uint8_t>(pair[j] | (pair[j + 4] >> 4) << 6);
    s[j + 4] = s[j];
    s[j + 8] = static_cast<uint8_t>((pair[j + 4] & 15) * 0x11);
  }
}

}  // namespace

void RandomBits::Fill(std::span<std::byte> out) {
  while (out.size() >= sizeof(uint64_t)) {
    StoreLe(out.data(), Next());
    out = out.subspan(sizeof(uint64_t));
  }
  if (!out.empty()) {
    const uint64_t last = Next();
    std::memcpy(out.data(), &last, out.size());
  }
}

RandomBlocks::RandomBlocks(TensorType type, double rms, uint64_t seed) : type_(type), bits_(seed) {
  if (IsFloat(type)) {
    for (const float draw : NormalDraws(seed)) {
      const float value = draw * static_cast<float>(rms);
      normals_.push_back(type == kF32   ? std::bit_cast<uint32_t>(value)
                         : type == kF16 ? engine::FloatToHalf(value)
                                        : engine::FloatToBfloat16(value));
    }
    return;
  }
  // Which scale gives that rms is measured, once, on blocks whose scales are about 1.
  constexpr size_t kSampleBlocks = 4096;
  SetScale(1);
  const engine::TensorTypeTraits& traits = engine::TraitsOf(type);
  std::vector<std::byte> blocks(kSampleBlocks * traits.block_bytes);
  std::vector<float> values(kSampleBlocks * traits.block_elements);
  bits_ = RandomBits(~seed);
  Fill(blocks);
  engine::ScalarDequantizer(type)(blocks.data(), values);
  double square = 0;
  for (const float value : values) {
    square += double{value} * value;
  }
  SetScale(rms / std::sqrt(square / static_cast<double>(values.size())));
  bits_ = RandomBits(seed);
}

// Scales differ from block to block by a factor of up to three.
void RandomBlocks::SetScale(double unit) {
  for (size_t i = 0; i < 256; ++i) {
    const double scale = unit * (0.5 + static_cast<double>(i & 127) / 127.0);
    scales_[i] = engine::FloatToHalf(static_cast<float>(scale));
    signed_scales_[i] = static_cast<uint16_t>(scales_[i] | (i & 128) << 8);
    // Q4_1 and Q5_1 add their offset, the K-quants subtract it.
    const double sign = type_ == kQ4_1 || type_ == kQ5_1 ? -1 : 1;
    offsets_[i] = engine::FloatToHalf(
        static_cast<float>(sign * MiddleLevel(type_) * engine::HalfToFloat(scales_[i])));
  }
  SetByteScales(unit);
}

// The scales of MXFP4, powers of two: two neighbours, mixed so that their mean square is unit^2.
// Those of NVFP4: the nearest to what other types get.
void RandomBlocks::SetByteScales(double unit) {
  const int low = static_cast<int>(std::floor(std::log2(unit)));
  const double share = (unit * unit / std::exp2(2 * low) - 1) / 3;  // of 2^(low + 1)
  for (int i = 0; i < 256; ++i) {
    exponents_[static_cast<size_t>(i)] =
        static_cast<uint8_t>(127 + low + (i < share * 256 ? 1 : 0));
    const double scale = unit * (0.5 + (i & 127) / 127.0);
    uint8_t nearest = 1;
    for (uint8_t code = 2; code < 0x7F; ++code) {
      if (std::abs(TinyFloat(code) - scale) < std::abs(TinyFloat(nearest) - scale)) {
        nearest = code;
      }
    }
    tiny_floats_[static_cast<size_t>(i)] = nearest;
  }
}

void RandomBlocks::Fill(std::span<std::byte> out) {
  bits_.Fill(out);
  auto* bytes = reinterpret_cast<uint8_t*>(out.data());
  const size_t block_bytes = engine::TraitsOf(type_).block_bytes;
  TW_CHECK(out.size() % block_bytes == 0);
  for (size_t i = 0; i < out.size(); i += block_bytes) {
    FinishBlock(bytes + i);
  }
}

// The block is random bytes: its levels stay as they are, its scales are picked by their own byte.
void RandomBlocks::FinishBlock(uint8_t* block) const {
  switch (type_) {
    case kF32:
      StoreLe(block, normals_[LoadLe<uint32_t>(block) % kNormals]);
      break;
    case kF16:
    case kBF16:
      StoreLe(block, static_cast<uint16_t>(normals_[LoadLe<uint16_t>(block) % kNormals]));
      break;
    case kQ4_0:
    case kQ5_0:
    case kIQ4_NL:
    case kIQ4_XS:
      StoreLe(block, signed_scales_[block[0]]);
      break;
    case kQ4_1:
    case kQ5_1:
      StoreLe(block + 2, offsets_[block[0]]);
      StoreLe(block, scales_[block[0]]);
      break;
    case kQ8_0:
      StoreLe(block, scales_[block[0]]);
      for (int i = 2; i < 34; ++i) {
        block[i] = static_cast<uint8_t>(block[i] + (block[i] == 0x80 ? 1 : 0));
      }
      break;
    case kQ2_K:
      for (int i = 0; i < 16; ++i) {
        block[i] = static_cast<uint8_t>((block[i] & 15) * 0x11);  // scale and minimum alike
      }
      StoreLe(block + 82, offsets_[block[80]]);
      StoreLe(block + 80, scales_[block[80]]);
      break;
    case kQ3_K:
      StoreLe(block + 108, signed_scales_[block[108]]);
      break;
    case kQ4_K:
    case kQ5_K:
      PackEqualPairs(block + 4);
      StoreLe(block + 2, offsets_[block[0]]);
      StoreLe(block, scales_[block[0]]);
      break;
    case kQ6_K:
      StoreLe(block + 208, signed_scales_[block[208]]);
      break;
    default:
      TW_CHECK(FinishRareBlock(block));
  }
}

// Types by codebooks, of few bits, and with scales of one byte. False for another type.
bool RandomBlocks::FinishRareBlock(uint8_t* block) const {
  switch (type_) {
    case kIQ1_S:
    case kIQ2_XXS:
    case kIQ2_XS:
    case kIQ2_S:
    case kIQ3_XXS:
    case kIQ3_S:
    case kQ1_0:
    case kQ2_0:
      StoreLe(block, signed_scales_[block[0]]);
      return true;
    case kIQ1_M:  // the f16 is spread over the top nibbles of four numbers
      for (int i = 0, scale = signed_scales_[block[0]]; i < 4; ++i) {
        uint8_t& top = block[49 + 2 * i];
        top = static_cast<uint8_t>((top & 15) | ((scale >> (4 * i)) & 15) << 4);
      }
      return true;
    case kTQ1_0:
      for (int i = 0; i < 52; ++i) {
        block[i] = TernaryByte(block[i], i < 48 ? 5 : 4);
      }
      StoreLe(block + 52, signed_scales_[block[52]]);
      return true;
    case kTQ2_0:
      for (int i = 0; i < 64; ++i) {
        block[i] = WithoutThrees(block[i]);
      }
      StoreLe(block + 64, signed_scales_[block[64]]);
      return true;
    case kMXFP4:
      block[0] = exponents_[block[0]];
      return true;
    case kNVFP4:
      for (int i = 0; i < 4; ++i) {
        block[i] = tiny_floats_[block[i]];
      }
      return true;
    default:
      return false;
  }
}

}  // namespace tradewind::make_model
