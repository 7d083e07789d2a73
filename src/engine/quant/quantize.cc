#include "engine/quant/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "base/bytes.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine {
namespace {

constexpr int kBlock = 32;
constexpr uint16_t kHalfInfinity = 0x7C00;

// Stores a scale or offset; false when it is not finite as a half.
bool StoreHalf(uint8_t* out, float value) {
  const uint16_t half = FloatToHalf(value);
  StoreLe(out, half);
  return (half & 0x7FFF) < kHalfInfinity;
}

// floor(value / d + offset), kept within 0..max. A zero d means that all values are alike.
int Level(float value, float d, float offset, int max) {
  if (d == 0.0f) {
    return 0;
  }
  return static_cast<int>(
      std::clamp(std::floor(value / d + offset), 0.0f, static_cast<float>(max)));
}

bool QuantizeBlockQ8_0(const float* x, uint8_t* out) {
  float largest = 0.0f;
  for (int j = 0; j < kBlock; ++j) {
    largest = std::max(largest, std::fabs(x[j]));
  }
  const float d = largest / 127.0f;
  for (int j = 0; j < kBlock; ++j) {
    const float q = d == 0.0f ? 0.0f : std::clamp(std::round(x[j] / d), -127.0f, 127.0f);
    out[2 + j] = static_cast<uint8_t>(static_cast<int8_t>(q));
  }
  return StoreHalf(out, d);
}

// Packs levels of four bits, two to a byte (j and j + 16), and their fifth bits into a word.
uint32_t PackNibbles(const int* q, uint8_t* qs) {
  uint32_t fifth = 0;
  for (int j = 0; j < kBlock / 2; ++j) {
    qs[j] = static_cast<uint8_t>((q[j] & 15) | (q[j + 16] & 15) << 4);
  }
  for (int j = 0; j < kBlock; ++j) {
    fifth |= static_cast<uint32_t>(q[j] >> 4) << j;
  }
  return fifth;
}

// Q4_0 and Q5_0: the value of largest magnitude sits on the lowest level, -half * d.
bool QuantizeBlockSigned(const float* x, int half, uint8_t* out) {
  float extreme = 0.0f;
  for (int j = 0; j < kBlock; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) {
      extreme = x[j];
    }
  }
  const float d = extreme / -static_cast<float>(half);
  int q[kBlock];
  for (int j = 0; j < kBlock; ++j) {
    q[j] = d == 0.0f ? half : Level(x[j], d, static_cast<float>(half) + 0.5f, 2 * half - 1);
  }
  const uint32_t fifth = PackNibbles(q, out + (half == 16 ? 6 : 2));
  if (half == 16) {
    StoreLe(out + 2, fifth);
  }
  return StoreHalf(out, d);
}

// Q4_1 and Q5_1: levels 0..top between the smallest and the largest value.
bool QuantizeBlockWithMin(const float* x, int top, uint8_t* out) {
  const auto [min, max] = std::minmax_element(x, x + kBlock);
  const float d = (*max - *min) / static_cast<float>(top);
  if (!std::isfinite(d)) {
    return false;
  }
  int q[kBlock];
  for (int j = 0; j < kBlock; ++j) {
    q[j] = Level(x[j] - *min, d, 0.5f, top);
  }
  const uint32_t fifth = PackNibbles(q, out + (top == 31 ? 8 : 4));
  if (top == 31) {
    StoreLe(out + 4, fifth);
  }
  const bool d_fits = StoreHalf(out, d);
  return StoreHalf(out + 2, *min) && d_fits;
}

bool QuantizeBlock(TensorType type, const float* x, uint8_t* out) {
  switch (type) {
    case TensorType::kQ4_0:
      return QuantizeBlockSigned(x, 8, out);
    case TensorType::kQ5_0:
      return QuantizeBlockSigned(x, 16, out);
    case TensorType::kQ4_1:
      return QuantizeBlockWithMin(x, 15, out);
    case TensorType::kQ5_1:
      return QuantizeBlockWithMin(x, 31, out);
    default:
      return QuantizeBlockQ8_0(x, out);
  }
}

Status QuantizeBlocks(TensorType type, std::span<const float> row, uint8_t* out) {
  const size_t block_bytes = TraitsOf(type).block_bytes;
  for (size_t i = 0; i < row.size() / kBlock; ++i) {
    const auto block = row.subspan(i * kBlock, kBlock);
    // Checked first: a conversion of NaN to an integer has no defined result.
    const bool finite = std::ranges::all_of(block, [](float x) { return std::isfinite(x); });
    if (!finite || !QuantizeBlock(type, block.data(), out + i * block_bytes)) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("values {}..{} of the row do not fit {}: not finite or too large",
                              i * kBlock, (i + 1) * kBlock - 1, TraitsOf(type).name));
    }
  }
  return {};
}

}  // namespace

uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
    return static_cast<uint16_t>(bits >> 16 | 0x0040u);
  }
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

Status QuantizeRow(TensorType type, std::span<const float> row, std::span<std::byte> out) {
  const auto bytes = RowBytes(type, row.size());
  if (!bytes || *bytes != out.size()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a row of {} values does not make {} bytes of {}", row.size(),
                            out.size(), TraitsOf(type).name));
  }
  auto* bytes_out = reinterpret_cast<uint8_t*>(out.data());
  switch (type) {
    case TensorType::kF32:
      if (!row.empty()) {
        std::memcpy(bytes_out, row.data(), row.size_bytes());
      }
      return {};
    case TensorType::kF16:
    case TensorType::kBF16:
      for (size_t i = 0; i < row.size(); ++i) {
        StoreLe(bytes_out + 2 * i,
                type == TensorType::kF16 ? FloatToHalf(row[i]) : FloatToBfloat16(row[i]));
      }
      return {};
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
    case TensorType::kQ5_0:
    case TensorType::kQ5_1:
    case TensorType::kQ8_0:
      return QuantizeBlocks(type, row, bytes_out);
    default:
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("cannot quantise to {}", TraitsOf(type).name));
  }
}

}  // namespace tradewind::engine
