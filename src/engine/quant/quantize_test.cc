#include "engine/quant/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/quant/dequantize.h"

namespace tradewind::engine {
namespace {

constexpr TensorType kBlockTypes[] = {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                      TensorType::kQ5_1, TensorType::kQ8_0};

std::vector<std::byte> Quantize(TensorType type, std::span<const float> row) {
  std::vector<std::byte> bytes(RowBytes(type, row.size()).value());
  EXPECT_TRUE(QuantizeRow(type, row, bytes).has_value());
  return bytes;
}

std::vector<float> RoundTrip(TensorType type, std::span<const float> row) {
  const std::vector<std::byte> bytes = Quantize(type, row);
  std::vector<float> values(row.size());
  ScalarDequantizer(type)(bytes.data(), values);
  return values;
}

std::vector<float> RandomRow(size_t n, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> row(n);
  for (float& x : row) {
    x = normal(random);
  }
  return row;
}

// The largest error a value of the block may have: half a step (a whole one for the value opposite
// to the extreme of Q4_0 and Q5_0, whose levels are not symmetric), and the rounding of the scale
// and offset to 11 bits.
float ErrorBound(TensorType type, std::span<const float> block) {
  const auto [min, max] = std::ranges::minmax(block);
  const float largest = std::max(std::fabs(min), std::fabs(max));
  const float of_halves = (largest + (max - min)) * 0x1p-11f;
  switch (type) {
    case TensorType::kQ8_0:
      return largest / 127 * 0.5f + of_halves;
    case TensorType::kQ4_0:
      return largest / 8 + of_halves;
    case TensorType::kQ5_0:
      return largest / 16 + of_halves;
    case TensorType::kQ4_1:
      return (max - min) / 15 * 0.5f + of_halves;
    default:
      return (max - min) / 31 * 0.5f + of_halves;
  }
}

TEST(QuantizeTest, DequantisedValuesStayWithinTheBoundOfTheirType) {
  for (const TensorType type : kBlockTypes) {
    for (const float scale : {1e-3f, 0.02f, 1.0f, 300.0f}) {
      SCOPED_TRACE(testing::Message() << TraitsOf(type).name << " scale " << scale);
      const std::vector<float> row = RandomRow(64 * 32, scale, 11);
      const std::vector<float> values = RoundTrip(type, row);
      for (size_t i = 0; i < row.size(); i += 32) {
        const float bound = ErrorBound(type, std::span(row).subspan(i, 32));
        for (size_t j = i; j < i + 32; ++j) {
          ASSERT_LE(std::fabs(values[j] - row[j]), bound) << j;
        }
      }
    }
  }
}

TEST(QuantizeTest, MoreBitsMeanASmallerError) {
  const std::vector<float> row = RandomRow(256 * 32, 0.02f, 3);
  const auto error = [&](TensorType type) {
    const std::vector<float> values = RoundTrip(type, row);
    double sum = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      sum += std::pow(values[i] - row[i], 2);
    }
    return std::sqrt(sum / static_cast<double>(row.size())) / 0.02;
  };
  EXPECT_LT(error(TensorType::kQ8_0), 0.01);
  EXPECT_LT(error(TensorType::kQ5_0), 0.06);
  EXPECT_LT(error(TensorType::kQ5_1), 0.05);
  EXPECT_LT(error(TensorType::kQ4_0), 0.12);
  EXPECT_LT(error(TensorType::kQ4_1), 0.10);
  EXPECT_GT(error(TensorType::kQ4_0), error(TensorType::kQ5_0));
  EXPECT_GT(error(TensorType::kQ5_0), error(TensorType::kQ8_0));
}

TEST(QuantizeTest, ValuesOnTheLevelsComeBackExactly) {
  std::vector<float> row(32);
  for (int j = 0; j < 32; ++j) {
    row[j] = 0.25f * static_cast<float>(j % 16 - 8);
  }
  EXPECT_EQ(RoundTrip(TensorType::kQ4_0, row), row);
  EXPECT_EQ(RoundTrip(TensorType::kQ4_1, row), row);
  for (int j = 0; j < 32; ++j) {
    row[j] = 0.25f * static_cast<float>(j - 16);
  }
  EXPECT_EQ(RoundTrip(TensorType::kQ5_0, row), row);
  EXPECT_EQ(RoundTrip(TensorType::kQ5_1, row), row);
  for (int j = 0; j < 32; ++j) {
    row[j] = 0.5f * static_cast<float>(127 - 4 * j);
  }
  EXPECT_EQ(RoundTrip(TensorType::kQ8_0, row), row);
}

TEST(QuantizeTest, ConstantRowsComeBack) {
  for (const TensorType type : kBlockTypes) {
    const std::vector<float> zeros(64, 0.0f);
    EXPECT_EQ(RoundTrip(type, zeros), zeros) << TraitsOf(type).name;
    for (const float value : RoundTrip(type, std::vector<float>(64, -0.75f))) {
      EXPECT_NEAR(value, -0.75f, 0.75f * 0x1p-11f) << TraitsOf(type).name;
    }
  }
}

TEST(QuantizeTest, VerySmallValuesGiveNoGarbage) {
  for (const TensorType type : kBlockTypes) {
    for (const float tiny : {1e-45f, 1e-42f, 1e-38f, 1e-7f}) {
      for (const float value : RoundTrip(type, RandomRow(32, tiny, 5))) {
        EXPECT_LE(std::fabs(value), std::max(16 * tiny, 2e-5f))
            << TraitsOf(type).name << " " << tiny;
      }
    }
  }
}

TEST(QuantizeTest, PlainFloatsAreRounded) {
  const std::vector<float> row = {1.0f, -2.5f, 1.0f + 0x1p-20f};
  EXPECT_EQ(RoundTrip(TensorType::kF32, row), row);
  EXPECT_EQ(RoundTrip(TensorType::kF16, row), (std::vector<float>{1.0f, -2.5f, 1.0f}));
  EXPECT_EQ(RoundTrip(TensorType::kBF16, row), (std::vector<float>{1.0f, -2.5f, 1.0f}));
}

TEST(QuantizeTest, RefusesWhatABlockCannotCarry) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(), 3e38f};
  for (const TensorType type : kBlockTypes) {
    for (const float value : bad) {
      std::vector<float> row(96, 1.0f);
      row[70] = value;
      row[71] = -1e38f;
      std::vector<std::byte> out(RowBytes(type, row.size()).value());
      const Status status = QuantizeRow(type, row, out);
      ASSERT_FALSE(status.has_value()) << TraitsOf(type).name << " " << value;
      EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
      EXPECT_NE(status.error().message.find("values 64..95"), std::string::npos);
    }
  }
}

TEST(QuantizeTest, RefusesOtherTypesAndOtherSizes) {
  const std::vector<float> row(256, 1.0f);
  std::vector<std::byte> out(144);
  EXPECT_EQ(QuantizeRow(TensorType::kQ4_K, row, out).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(QuantizeRow(TensorType::kQ4_1, row, out).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(QuantizeRow(TensorType::kQ4_0, std::span(row).first(31), std::span(out).first(18))
                .error()
                .code,
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace tradewind::engine
