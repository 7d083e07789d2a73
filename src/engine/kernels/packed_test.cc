#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

#include <gtest/gtest.h>

#include "engine/kernels/activation_type.h"
#include "engine/kernels/test_support.h"

namespace tradewind::engine {
namespace {

constexpr TensorType kPackedTypes[] = {TensorType::kQ4_0, TensorType::kQ4_1,   TensorType::kQ5_0,
                                       TensorType::kQ5_1, TensorType::kQ8_0,   TensorType::kQ2_K,
                                       TensorType::kQ3_K, TensorType::kQ4_K,   TensorType::kQ5_K,
                                       TensorType::kQ6_K, TensorType::kIQ4_NL, TensorType::kIQ4_XS};

constexpr ActivationType kActivationTypes[] = {ActivationType::kI16, ActivationType::kMixed,
                                               ActivationType::kI8};

// Activations as the kernels take them, with the stride that the batch has.
struct Quantized {
  int64_t k, padded;
  std::vector<int16_t> q;
  std::vector<float> scales, scaled_sums;
  std::vector<int32_t> sums;
  // Tiles, where there are byte panels.
  int64_t width = 0;
  std::vector<int8_t> low;
  std::vector<PackedBlock> blocks;
  std::vector<PackedOutliers> outliers;
  std::vector<int32_t> first;
  int64_t outlier_quads = 0;

  Quantized(const Kernels& kernels, const std::vector<float>& x, int64_t columns,
            ActivationType type)
      : k(static_cast<int64_t>(x.size()) / columns), padded((k + 63) / 64 * 64) {
    q.resize(columns * padded);
    scales.resize(columns * padded / 32);
    scaled_sums.resize(columns * padded / 32);
    sums.resize(columns * padded / 16);
    for (int64_t c = 0; c < columns; ++c) {
      const float* const row = x.data() + c * k;
      int16_t* const of_row = q.data() + c * padded;
      float* const scale = scales.data() + c * padded / 32;
      int32_t* const sum = sums.data() + c * padded / 16;
      if (type == ActivationType::kMixed) {
        kernels.quantize_mixed(row, k, of_row, scale, sum);
      } else {
        kernels.quantize(row, k, type == ActivationType::kI8 ? 127.0f : 32767.0f, of_row, scale,
                         sum);
      }
    }
    for (size_t i = 0; i < scales.size(); ++i) {
      scaled_sums[i] = scales[i] * static_cast<float>(sums[2 * i] + sums[2 * i + 1]);
    }
    if (type != ActivationType::kI16 && kernels.tile_width > 0) {
      FillTiles(kernels, columns);
    }
  }
  void FillTiles(const Kernels& kernels, int64_t columns) {
    width = kernels.tile_width;
    const int64_t stride = padded / 32;
    const int64_t tiles = (columns + width - 1) / width;
    low.assign(tiles * width * padded, 0);
    blocks.assign(tiles * width * stride, {});
    outliers.assign(tiles * width * stride * kOutliersMax, {});
    first.assign(tiles * (stride + 1), 0);
    std::vector<int8_t> high(columns * padded);
    std::vector<uint8_t> masks(columns * stride);
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t at = c / width * width * stride + c % width;
      kernels.split_bytes(q.data() + c * padded, padded, width, low.data() + at * 32,
                          high.data() + c * padded, masks.data() + c * stride);
      for (int64_t i = 0; i < stride; ++i) {
        const int32_t* const sum = sums.data() + (c * stride + i) * 2;
        blocks[at + i * width] = {scales[c * stride + i], scaled_sums[c * stride + i],
                                  sum[0] + sum[1], sum[0]};
      }
    }
    for (int64_t tile = 0; tile < tiles; ++tile) {
      int32_t entries = 0;
      for (int64_t i = 0; i < stride; ++i) {
        first[tile * (stride + 1) + i] = entries;
        for (int64_t c = tile * width; c < std::min(columns, (tile + 1) * width); ++c) {
          // Each row of each block has a place here, used or not.
          const auto place = static_cast<int32_t>(1 + i * width + c % width) * 16;
          bool any = false;
          for (int32_t quad = 0; quad < 8; ++quad) {
            if ((masks[c * stride + i] >> quad & 1) != 0) {
              PackedOutliers& entry = outliers[tile * width * stride * kOutliersMax + entries++];
              std::memcpy(entry.high, high.data() + c * padded + i * 32 + quad * 4, 4);
              entry.codes = (static_cast<int32_t>(i) * 8 + quad) * 64;
              entry.from = any ? place : 0;
              entry.into = place;
              blocks[(tile * stride + i) * width + c % width].correction = place;
              any = true;
              ++outlier_quads;
            }
          }
        }
      }
      first[tile * (stride + 1) + stride] = entries;
    }
  }
  PackedTiles tiles() const {
    return {width, padded / 32, low.data(), blocks.data(), outliers.data(), first.data()};
  }
  PackedInput input() const {
    return {.q = q.data(),
            .q_stride = padded,
            .scales = scales.data(),
            .scaled_sums = scaled_sums.data(),
            .scales_stride = padded / 32,
            .sums = sums.data(),
            .sums_stride = padded / 16};
  }
};

class PackedTest : public ::testing::TestWithParam<std::tuple<const Kernels*, TensorType>> {
 protected:
  std::vector<float> Normal(int64_t n, float scale = 1.0f) {
    std::normal_distribution<float> distribution(0.0f, scale);
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) {
      v = distribution(random_);
    }
    return values;
  }
  int64_t Draw(int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random_);
  }
  std::vector<std::byte> Pack(const std::vector<std::byte>& rows, int64_t n_rows, int64_t k) {
    std::vector<std::byte> strip(PackedStripBytes(layout_, k));
    PackStrip(type_, rows.data(), static_cast<int64_t>(RowBytes(type_, k).value()), n_rows, k,
              strip.data());
    return strip;
  }
  // The panel way: opened up in chunks, as matmul.cc does.
  std::vector<float> DotByPanels(const std::vector<std::byte>& strip, const Quantized& x,
                                 int64_t columns, bool as_bytes) {
    const int64_t k = x.k;
    const int64_t tiles = as_bytes ? (columns + x.width - 1) / x.width : 0;
    // Filled with what must not be seen.
    std::vector<float> totals(std::max(columns, tiles * x.width) * kStripRows, 1e30f);
    std::vector<int16_t> codes(kPanelColumnsMax * kStripRows);
    std::vector<uint8_t> bytes(kPanelColumnsMax * kStripRows);
    std::vector<float> scales(kPanelColumnsMax), mins(kPanelColumnsMax);
    std::vector<int32_t> corrections(PackedTiles::CorrectionsMax(x.width, x.padded / 32));
    PackedPanel panel{.codes = codes.data(),
                      .bytes = bytes.data(),
                      .scales = scales.data(),
                      .mins = mins.data(),
                      .corrections = corrections.data(),
                      .group = layout_.group,
                      .has_min = layout_.has_min(),
                      .zero = layout_.zero,
                      .bits = layout_.bits};
    for (int64_t at = 0; at < k; at += kPanelColumnsMax) {
      // Units are whole: a panel may end in the padding of the last one.
      panel.first = at == 0;
      panel.k =
          (std::min(kPanelColumnsMax, k - at) + layout_.unit - 1) / layout_.unit * layout_.unit;
      const std::byte* const units = strip.data() + at / layout_.unit * layout_.unit_bytes();
      if (as_bytes) {
        kernels_.open_byte_panel(type_)(units, panel);
        kernels_.dot_byte_panel(panel, x.tiles().From(at), tiles, totals.data());
      } else {
        kernels_.open_panel(type_)(units, panel);
        kernels_.dot_panel(panel, x.input().From(at), columns, totals.data());
      }
    }
    return totals;
  }

  const Kernels& kernels_ = *std::get<0>(GetParam());
  const TensorType type_ = std::get<1>(GetParam());
  const PackedLayout& layout_ = *FindPackedLayout(type_);
  std::mt19937 random_{20261125};
};

INSTANTIATE_TEST_SUITE_P(Every, PackedTest,
                         ::testing::Combine(::testing::ValuesIn(AttainableKernels()),
                                            ::testing::ValuesIn(kPackedTypes)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)->name) + "_" +
                                  std::string(TraitsOf(std::get<1>(info.param)).name);
                         });

TEST_P(PackedTest, EqualsTheFilesOwnValuesTimesTheRoundedActivations) {
  const int64_t block = TraitsOf(type_).block_elements;
  for (int round = 0; round < 12; ++round) {
    const int64_t k = block * Draw(1, 2048 / block / 2);
    const int64_t rows = Draw(1, kStripRows);
    const int64_t columns = Draw(1, 14);
    const auto blocks = RandomBlocks(type_, rows, k, random_);
    const Quantized x(kernels_, Normal(columns * k), columns, kActivationTypes[round % 3]);
    const auto strip = Pack(blocks, rows, k);
    std::vector<float> out(columns * kStripRows);
    kernels_.dot_strip(type_)(strip.data(), k, x.input(), columns, out.data(), kStripRows);
    std::vector<float> row(k);
    for (int64_t r = 0; r < kStripRows; ++r) {
      if (r < rows) {
        ScalarDequantizer(type_)(blocks.data() + r * (k / block) * TraitsOf(type_).block_bytes,
                                 row);
      } else {
        std::ranges::fill(row, 0.0f);  // the strip is filled up with zeros
      }
      for (int64_t c = 0; c < columns; ++c) {
        double sum = 0;
        double size = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double term = static_cast<double>(row[i]) * x.q[c * x.padded + i] *
                              x.scales[(c * x.padded + i) / 32];
          sum += term;
          size += std::fabs(term);
        }
        // A minimum is as large as the codes it offsets: both count.
        ASSERT_NEAR(out[c * kStripRows + r], sum, 2e-5 * size + 1e-12) << "row " << r;
      }
    }
  }
}

TEST_P(PackedTest, OneColumnABatchAndPanelsEqualTheOracleBitForBit) {
  const int64_t block = TraitsOf(type_).block_elements;
  for (int round = 0; round < 8; ++round) {
    const int64_t k = block * Draw(1, 2304 / block);
    const int64_t columns = Draw(1, 29);
    const auto strip = Pack(RandomBlocks(type_, kStripRows, k, random_), kStripRows, k);
    const Quantized x(kernels_, Normal(columns * k, round % 2 == 0 ? 1.0f : 1e-6f), columns,
                      ActivationType::kI16);
    std::vector<float> want(columns * kStripRows), batch(want), single(want);
    ScalarKernels().dot_strip(type_)(strip.data(), k, x.input(), columns, want.data(), kStripRows);
    kernels_.dot_strip(type_)(strip.data(), k, x.input(), columns, batch.data(), kStripRows);
    for (int64_t c = 0; c < columns; ++c) {
      kernels_.dot_strip(type_)(strip.data(), k, x.input().Columns(c), 1,
                                single.data() + c * kStripRows, kStripRows);
    }
    const auto panels = DotByPanels(strip, x, columns, false);
    for (size_t i = 0; i < want.size(); ++i) {
      const auto bits = std::bit_cast<uint32_t>(want[i] + 0.0f);  // the sign of a zero is free
      ASSERT_EQ(std::bit_cast<uint32_t>(batch[i] + 0.0f), bits) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(single[i] + 0.0f), bits) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(panels[i] + 0.0f), bits) << i;
    }
  }
}

TEST_P(PackedTest, BytePanelsEqualTheOracleBitForBitWhereThereAreAny) {
  if (kernels_.open_byte_panel(type_) == nullptr) {
    GTEST_SKIP() << "codes of this type take the pair panel here";
  }
  const int64_t block = TraitsOf(type_).block_elements;
  int64_t outlier_quads = 0;
  for (int round = 0; round < 12; ++round) {
    const int64_t k = block * Draw(1, 2304 / block);
    const int64_t columns = Draw(1, 29);
    const auto strip = Pack(RandomBlocks(type_, kStripRows, k, random_), kStripRows, k);
    std::vector<float> values = Normal(columns * k);
    for (int64_t i = 0; i < columns * k; i += Draw(1, 1 + round * 20)) {
      values[i] *= std::exp2(static_cast<float>(Draw(0, 20)));  // outliers, few and many
    }
    const bool mixed = layout_.group == 32 && round % 4 != 0;
    const Quantized x(kernels_, values, columns,
                      mixed ? ActivationType::kMixed : ActivationType::kI8);
    outlier_quads += x.outlier_quads;
    std::vector<float> want(columns * kStripRows);
    ScalarKernels().dot_strip(type_)(strip.data(), k, x.input(), columns, want.data(), kStripRows);
    const auto panels = DotByPanels(strip, x, columns, true);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(panels[i] + 0.0f), std::bit_cast<uint32_t>(want[i] + 0.0f));
    }
  }
  EXPECT_EQ(outlier_quads > 0, layout_.group == 32);
}

TEST_P(PackedTest, TheLargestCodesAndActivationsDoNotOverflow) {
  const int64_t k = 256;
  std::vector<std::byte> rows(RowBytes(type_, k).value() * kStripRows, std::byte{0xFF});
  // Scales of one, all other bits set.
  const TensorTypeTraits& traits = TraitsOf(type_);
  const int64_t at = type_ == TensorType::kQ6_K   ? 208
                     : type_ == TensorType::kQ3_K ? 108
                     : type_ == TensorType::kQ2_K ? 80
                                                  : 0;
  const uint16_t one = 0x3C00;
  for (size_t b = 0; b < rows.size(); b += traits.block_bytes) {
    std::memcpy(rows.data() + b + at, &one, 2);
    if (layout_.has_min()) {
      std::memcpy(rows.data() + b + at + 2, &one, 2);
    }
  }
  const auto strip = Pack(rows, kStripRows, k);
  for (const float sign : {1.0f, -1.0f}) {
    const Quantized x(kernels_, std::vector<float>(9 * k, sign), 9, ActivationType::kI16);
    float out[kStripRows];
    kernels_.dot_strip(type_)(strip.data(), k, x.input(), 1, out, kStripRows);
    ASSERT_EQ(DotByPanels(strip, x, 9, false)[8 * kStripRows], out[0]);
    if (kernels_.open_byte_panel(type_) != nullptr) {
      Quantized bytes(kernels_, std::vector<float>(9 * k, sign), 9, ActivationType::kI8);
      for (const bool outliers : {false, true}) {
        std::ranges::fill(bytes.q, static_cast<int16_t>(sign > 0 ? 127 : -127));
        for (size_t i = 0; outliers && layout_.group == 32 && i < bytes.q.size(); i += 8) {
          bytes.q[i] = static_cast<int16_t>(sign > 0 ? 32639 : -32639);  // kOutliersMax of 32
        }
        for (size_t i = 0; i < bytes.sums.size(); ++i) {
          bytes.sums[i] = std::accumulate(bytes.q.begin() + static_cast<long>(16 * i),
                                          bytes.q.begin() + static_cast<long>(16 * i) + 16, 0);
        }
        std::ranges::fill(bytes.scaled_sums,
                          bytes.scales[0] * static_cast<float>(bytes.sums[0] + bytes.sums[1]));
        bytes.FillTiles(kernels_, 9);
        float of_bytes[kStripRows];
        ScalarKernels().dot_strip(type_)(strip.data(), k, bytes.input(), 1, of_bytes, kStripRows);
        ASSERT_EQ(DotByPanels(strip, bytes, 9, true)[8 * kStripRows], of_bytes[0]);
      }
    }
    std::vector<float> row(k);
    ScalarDequantizer(type_)(rows.data(), row);
    double sum = 0;
    for (const float v : row) {
      sum += static_cast<double>(v) * sign;
    }
    ASSERT_NEAR(out[0], sum, 1e-4 * std::fabs(sum) + 1e-3);
  }
}

TEST_P(PackedTest, AnActivationThatIsNotFinitePoisonsItsColumnAlone) {
  const int64_t k = 512;
  const int64_t columns = 7;
  const auto strip = Pack(RandomBlocks(type_, kStripRows, k, random_), kStripRows, k);
  for (const float odd :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> values = Normal(columns * k);
    const Quantized clean(kernels_, values, columns, ActivationType::kI16);
    values[3 * k + 77] = odd;
    const Quantized x(kernels_, values, columns, ActivationType::kI16);
    std::vector<float> want(columns * kStripRows), out(want);
    kernels_.dot_strip(type_)(strip.data(), k, clean.input(), columns, want.data(), kStripRows);
    kernels_.dot_strip(type_)(strip.data(), k, x.input(), columns, out.data(), kStripRows);
    const auto panels = DotByPanels(strip, x, columns, false);
    for (int64_t i = 0; i < columns * kStripRows; ++i) {
      if (i / kStripRows == 3) {
        ASSERT_TRUE(std::isnan(out[i]) && std::isnan(panels[i]));
      } else {
        ASSERT_EQ(out[i], want[i]);
        ASSERT_EQ(panels[i], want[i]);
      }
    }
  }
}

TEST_P(PackedTest, ScalesThatAreNotFiniteCarryAsInTheOracle) {
  const int64_t k = 512;
  const TensorTypeTraits& traits = TraitsOf(type_);
  std::vector<std::byte> rows(RowBytes(type_, k).value() * kStripRows);
  int64_t odd = 0;
  for (int round = 0; round < 20; ++round) {
    for (std::byte& byte : rows) {  // any bytes are blocks; one f16 in 32 is infinite or NaN
      byte = static_cast<std::byte>(random_());
    }
    ASSERT_EQ(rows.size() % traits.block_bytes, 0u);
    const auto strip = Pack(rows, kStripRows, k);
    const Quantized x(kernels_, Normal(3 * k), 3, ActivationType::kI16);
    std::vector<float> want(3 * kStripRows), out(want);
    ScalarKernels().dot_strip(type_)(strip.data(), k, x.input(), 3, want.data(), kStripRows);
    kernels_.dot_strip(type_)(strip.data(), k, x.input(), 3, out.data(), kStripRows);
    const auto panels = DotByPanels(strip, x, 3, false);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(std::isnan(out[i]), std::isnan(want[i]));
      ASSERT_EQ(std::isnan(panels[i]), std::isnan(want[i]));
      odd += std::isfinite(want[i]) ? 0 : 1;
      if (!std::isnan(want[i])) {
        ASSERT_EQ(out[i], want[i]);
        ASSERT_EQ(panels[i], want[i]);
      }
    }
  }
  EXPECT_GT(odd, 0);
}

class QuantizeTest : public ::testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels_ = *GetParam();
  std::mt19937 random_{7};
};

INSTANTIATE_TEST_SUITE_P(Every, QuantizeTest, ::testing::ValuesIn(AttainableKernels()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST_P(QuantizeTest, RoundsEachBlockAgainstItsLargestValueAsTheOracleDoes) {
  std::uniform_real_distribution<float> exponent(-40.0f, 40.0f);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 500; ++round) {
    const float q_max = round % 2 == 0 ? 32767.0f : 127.0f;
    std::vector<float> x(96);
    const float size = std::exp2(exponent(random_));
    for (float& v : x) {
      v = normal(random_) * size;
    }
    x[round % 96] *= 1000.0f;  // an outlier
    std::vector<int16_t> q(96), want_q(96);
    std::vector<float> scales(3), want_scales(3);
    std::vector<int32_t> sums(6), want_sums(6);
    kernels_.quantize(x.data(), 96, q_max, q.data(), scales.data(), sums.data());
    ScalarKernels().quantize(x.data(), 96, q_max, want_q.data(), want_scales.data(),
                             want_sums.data());
    ASSERT_EQ(q, want_q);
    ASSERT_EQ(scales, want_scales);
    ASSERT_EQ(sums, want_sums);
    for (int i = 0; i < 96; ++i) {
      const double scale = scales[i / 32];
      ASSERT_NEAR(q[i] * scale, x[i], 0.5001 * scale + 2e-7 * std::fabs(x[i]));
    }
  }
}

TEST_P(QuantizeTest, OutliersDoNotWidenTheStepsOfTheOthers) {
  std::vector<float> x(96, 1.0f);  // the mean magnitude becomes 3.6
  x[5] = -50.0f;
  x[40] = 200.0f;
  x[70] = 1.5f;
  std::vector<int16_t> q(96);
  std::vector<float> scales(3);
  std::vector<int32_t> sums(6);
  kernels_.quantize_mixed(x.data(), 96, q.data(), scales.data(), sums.data());
  EXPECT_EQ(scales, (std::vector<float>{1.0f / 127, 1.0f / 127, 1.5f / 127}));
  EXPECT_EQ(q[0], 127);
  EXPECT_EQ(q[5], -50 * 127);
  EXPECT_EQ(q[40], 200 * 127);
  EXPECT_EQ(q[70], 127);
  EXPECT_EQ(sums[0], 15 * 127 - 50 * 127);
  x[40] = 1000.0f;  // what q cannot hold beside steps for the others
  kernels_.quantize_mixed(x.data(), 96, q.data(), scales.data(), sums.data());
  EXPECT_EQ(q[40], 127 * 256);
  EXPECT_EQ(scales[1], 1000.0f / (127 * 256));
  EXPECT_EQ(q[41], 33);
}

TEST_P(QuantizeTest, MixedRoundingEqualsTheOracleAndKeepsToItsSteps) {
  std::array<int64_t, kOutliersMax + 2> seen{};  // blocks by their outliers
  std::uniform_real_distribution<float> exponent(-40.0f, 40.0f);
  std::normal_distribution<float> normal;
  constexpr int64_t kColumns = 320;
  for (int round = 0; round < 300; ++round) {
    std::vector<float> x(kColumns);
    const float size = std::exp2(exponent(random_));
    for (float& v : x) {
      v = normal(random_) * size;
    }
    for (int i = 0; i < round % 40; ++i) {
      x[random_() % kColumns] *= std::exp2(static_cast<float>(random_() % (round % 20 + 1)));
    }
    std::vector<int16_t> q(kColumns), want_q(q);
    std::vector<float> scales(kColumns / 32), want_scales(scales);
    std::vector<int32_t> sums(kColumns / 16), want_sums(sums);
    kernels_.quantize_mixed(x.data(), kColumns, q.data(), scales.data(), sums.data());
    ScalarKernels().quantize_mixed(x.data(), kColumns, want_q.data(), want_scales.data(),
                                   want_sums.data());
    ASSERT_EQ(q, want_q);
    ASSERT_EQ(scales, want_scales);
    ASSERT_EQ(sums, want_sums);
    for (int64_t block = 0; block < kColumns; block += 32) {
      int outliers = 0;
      for (int64_t i = block; i < block + 32; ++i) {
        const double scale = scales[block / 32];
        ASSERT_NEAR(q[i] * scale, x[i], 0.5001 * scale + 2e-7 * std::fabs(x[i]));
        outliers += std::abs(q[i]) > 127 ? 1 : 0;
      }
      ASSERT_LE(outliers, kOutliersMax);
      ++seen[outliers];
    }
  }
  for (int outliers = 0; outliers <= kOutliersMax; ++outliers) {
    EXPECT_GT(seen[outliers], 0) << outliers;
  }
}

TEST_P(QuantizeTest, MixedRoundingPoisonsOnlyBlocksThatAreNotFinite) {
  for (const float odd :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(64, 1.0f);
    x[5] = odd;
    int16_t q[64];
    float scales[2];
    int32_t sums[4];
    kernels_.quantize_mixed(x.data(), 64, q, scales, sums);
    EXPECT_TRUE(std::isnan(scales[0]));
    EXPECT_EQ(scales[1], 1.0f / 127.0f);
    EXPECT_EQ(q[40], 127);
  }
  for (const float size : {0.0f, 1e-42f, 1e-31f, std::numeric_limits<float>::max()}) {
    std::vector<float> x(64, size);  // the sum of the largest has no f32
    int16_t q[64];
    float scales[2];
    int32_t sums[4];
    kernels_.quantize_mixed(x.data(), 64, q, scales, sums);
    EXPECT_TRUE(std::isfinite(scales[0]));
    EXPECT_EQ(q[0], size < 1.0f ? 0 : 127);
  }
  for (const float rest : {0.0f, 1e-42f, 1e-31f}) {  // an outlier among nothing
    std::vector<float> x(64, rest);
    x[9] = 1.0f;
    int16_t q[64];
    float scales[2];
    int32_t sums[4];
    kernels_.quantize_mixed(x.data(), 64, q, scales, sums);
    EXPECT_EQ(scales[0], 1.0f / (127 * 256));
    EXPECT_EQ(q[9], 127 * 256);
    EXPECT_EQ(q[8], 0);
  }
}

TEST_P(QuantizeTest, PlanesMakeUpTheNumbersAndMasksNameTheQuadsWithHighBytes) {
  constexpr int64_t kBlocks = 21;
  constexpr int64_t kWidth = 4;
  std::vector<int16_t> q(kBlocks * 32);
  for (size_t i = 0; i < q.size(); ++i) {
    const int limit = i / 32 % 3 == 0 ? 32639 : i / 32 % 3 == 1 ? 129 : 127;
    q[i] = static_cast<int16_t>(std::uniform_int_distribution<int>(-limit, limit)(random_));
  }
  q[2 * 32 + 7] = -128;  // fits the low byte
  q[5 * 32 + 31] = 128;  // does not
  for (int64_t place = 0; place < kWidth; ++place) {
    std::vector<int8_t> low(q.size() * kWidth, 77), want_low(low);
    std::vector<int8_t> high(q.size()), want_high(high);
    std::vector<uint8_t> masks(kBlocks), want_masks(masks);
    const auto n = static_cast<int64_t>(q.size());
    kernels_.split_bytes(q.data(), n, kWidth, low.data() + place * 32, high.data(), masks.data());
    ScalarKernels().split_bytes(q.data(), n, kWidth, want_low.data() + place * 32, want_high.data(),
                                want_masks.data());
    EXPECT_EQ(low, want_low);  // the other rows of the tile too, which are left alone
    EXPECT_EQ(high, want_high);
    EXPECT_EQ(masks, want_masks);
    constexpr int kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = (i / 32 * kWidth + place) * 32 + i % 32;
      ASSERT_EQ(256 * high[i] + low[at], q[i / 8 * 8 + kOrder[i % 8]]);
      ASSERT_TRUE(high[i] == 0 || (masks[i / 32] >> i % 32 / 4 & 1) == 1);
    }
    EXPECT_EQ(masks[2], 0);
    EXPECT_EQ(masks[5], 0x80);
  }
}

TEST_P(QuantizeTest, ZeroesTinyBlocksAndPoisonsThoseThatAreNotFinite) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  int16_t q[32];
  float scale;
  int32_t sums[2];
  for (const float tiny : {0.0f, -0.0f, 1e-42f, 1e-31f}) {
    std::vector<float> x(32, tiny);
    kernels_.quantize(x.data(), 32, 32767, q, &scale, sums);
    EXPECT_EQ(scale, 0.0f);
    EXPECT_TRUE(std::ranges::all_of(q, [](int16_t v) { return v == 0; }));
  }
  for (const float odd : {kInf, -kInf, kNan}) {
    for (const int at : {0, 7, 8, 15, 16, 31}) {
      std::vector<float> x(32, 1.0f);
      x[at] = odd;
      kernels_.quantize(x.data(), 32, 32767, q, &scale, sums);
      EXPECT_TRUE(std::isnan(scale));
    }
  }
  std::vector<float> huge(32, std::numeric_limits<float>::max());
  kernels_.quantize(huge.data(), 32, 32767, q, &scale, sums);
  EXPECT_TRUE(std::isfinite(scale));
  EXPECT_EQ(q[0], 32767);
}

}  // namespace
}  // namespace tradewind::engine
