#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "engine/quant/dequantize.h"
#include "engine/quant/quantize.h"

namespace tradewind::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value of a half by its definition: fraction times a power of two.
double HalfByDefinition(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 0x3FF;
  const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    return fraction == 0 ? sign * HUGE_VAL : NAN;
  }
  return sign *
         (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

TEST(HalfTest, EveryPatternHasTheValueOfItsDefinition) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const double expected = HalfByDefinition(half);
    const float actual = HalfToFloat(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual)) << bits;
    } else {
      EXPECT_EQ(static_cast<double>(actual), expected) << bits;
    }
    EXPECT_EQ(std::signbit(actual), bits >= 0x8000) << bits;
  }
}

TEST(HalfTest, EveryPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bool is_nan = (bits & 0x7C00) == 0x7C00 && (bits & 0x3FF) != 0;
    const uint32_t expected = is_nan ? bits | 0x0200 : bits;  // NaNs become quiet
    EXPECT_EQ(FloatToHalf(HalfToFloat(static_cast<uint16_t>(bits))), expected) << bits;
  }
}

TEST(HalfTest, RoundsToTheNearestAndTiesToEven) {
  // Between each pair of neighbours: just below the middle, the middle, just above.
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = HalfToFloat(static_cast<uint16_t>(bits));
    const float high = HalfToFloat(static_cast<uint16_t>(bits + 1));
    const float middle = low + (high - low) / 2;  // exact: binary32 has 13 more bits
    EXPECT_EQ(FloatToHalf(std::nextafterf(middle, low)), bits);
    EXPECT_EQ(FloatToHalf(middle), bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(FloatToHalf(std::nextafterf(middle, high)), bits + 1);
    EXPECT_EQ(FloatToHalf(-middle), 0x8000 | (bits % 2 == 0 ? bits : bits + 1));
  }
}

TEST(HalfTest, OverflowBecomesInfinity) {
  EXPECT_EQ(FloatToHalf(65504.0f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(std::nextafterf(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(1e30f), 0x7C00);
  EXPECT_EQ(FloatToHalf(-kInfinity), 0xFC00);
  EXPECT_EQ(FloatToHalf(1e-30f), 0);
}

TEST(Bfloat16Test, EveryPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bool is_nan = (bits & 0x7F80) == 0x7F80 && (bits & 0x7F) != 0;
    const uint32_t expected = is_nan ? bits | 0x0040 : bits;
    EXPECT_EQ(FloatToBfloat16(Bfloat16ToFloat(static_cast<uint16_t>(bits))), expected) << bits;
  }
}

TEST(Bfloat16Test, RoundsToTheNearestAndTiesToEven) {
  const auto round = [](uint32_t bits) { return FloatToBfloat16(std::bit_cast<float>(bits)); };
  EXPECT_EQ(round(0x3F807FFF), 0x3F80);
  EXPECT_EQ(round(0x3F808000), 0x3F80);
  EXPECT_EQ(round(0x3F808001), 0x3F81);
  EXPECT_EQ(round(0x3F818000), 0x3F82);
  EXPECT_EQ(round(0x7F7FFFFF), 0x7F80);  // the largest float rounds to infinity
}

}  // namespace
}  // namespace tradewind::engine
