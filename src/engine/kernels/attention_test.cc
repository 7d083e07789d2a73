// Attention kernels against softmax as its definition reads, in doubles, over the whole context.
#include "engine/kernels/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "engine/kernels/test_support.h"

namespace tradewind::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kBlock = limits::kKvBlockPositions;
constexpr int64_t kNoWindow = int64_t{1} << 40;

enum class Element { kF32, kF16, kQ8 };
constexpr Element kElements[] = {Element::kF32, Element::kF16, Element::kQ8};

// The cache of one KV head, and query rows that end it. Whatever was not written is NaN: the
// positions after the last one and what pads a row of values.
struct Case {
  Case(int64_t positions_in, int64_t rows_in, int64_t group_in, int64_t head_dim_in,
       std::mt19937& random, Element element_in = Element::kF32)
      : positions(positions_in),
        rows(rows_in),
        group(group_in),
        head_dim(head_dim_in),
        padded(PaddedHeadDim(head_dim_in)),
        element(element_in) {
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& out, int64_t n) {
      out.resize(static_cast<size_t>(n));
      std::ranges::generate(out, [&] { return normal(random); });
    };
    fill(keys, positions * head_dim);
    fill(values, positions * head_dim);
    fill(q, rows * group * head_dim);
    window = kNoWindow;
  }

  int64_t keys_bytes() const {
    return element == Element::kQ8 ? kBlock * (head_dim + 2 * Q8Groups(head_dim))
                                   : kBlock * head_dim * element_bytes();
  }
  int64_t values_bytes() const {
    return element == Element::kQ8 ? kBlock * (padded + 2 * Q8Groups(head_dim))
                                   : kBlock * padded * element_bytes();
  }
  int64_t element_bytes() const { return element == Element::kF16 ? 2 : 4; }

  void Write() {
    const int64_t block_bytes = keys_bytes() + values_bytes();
    const int64_t count = (positions + kBlock - 1) / kBlock;
    storage.assign(static_cast<size_t>(count * block_bytes), std::byte{0xFF});
    blocks.clear();
    for (int64_t b = 0; b < count; ++b) {
      blocks.push_back(storage.data() + b * block_bytes);
    }
    stored_keys = keys;
    stored_values = values;
    for (int64_t p = 0; p < positions; ++p) {
      std::byte* const block = storage.data() + p / kBlock * block_bytes;
      const auto row = [&](std::vector<float>& all) {
        return std::span(all).subspan(static_cast<size_t>(p * head_dim),
                                      static_cast<size_t>(head_dim));
      };
      WriteRow(row(stored_keys), block, p % kBlock, kBlock, 1, p % kBlock, kBlock);
      WriteRow(row(stored_values), block + keys_bytes(), p % kBlock * padded, 1, Q8Groups(head_dim),
               p % kBlock, 1);
    }
  }

  // Dim c goes to element first + c * step, and becomes what is stored. The scale of group g, for
  // q8, goes to first_scale * scales_before + g * scale_step.
  void WriteRow(std::span<float> row, std::byte* to, int64_t first, int64_t step,
                int64_t scales_before, int64_t first_scale, int64_t scale_step) const {
    if (element == Element::kQ8) {
      std::vector<int8_t> codes(row.size());
      std::vector<uint16_t> scales(static_cast<size_t>(Q8Groups(head_dim)));
      ScalarKernels().quantize_q8_0(row.data(), head_dim, codes.data(), scales.data());
      const int64_t width = step == 1 ? padded : head_dim;
      for (int64_t c = 0; c < head_dim; ++c) {
        const uint16_t half = scales[static_cast<size_t>(c / kQ8Group)];
        to[first + c * step] = static_cast<std::byte>(codes[static_cast<size_t>(c)]);
        std::memcpy(
            to + kBlock * width + 2 * (first_scale * scales_before + c / kQ8Group * scale_step),
            &half, 2);
        row[static_cast<size_t>(c)] =
            static_cast<float>(codes[static_cast<size_t>(c)]) * HalfToFloat(half);
      }
      return;
    }
    for (int64_t c = 0; c < head_dim; ++c) {
      float& value = row[static_cast<size_t>(c)];
      const uint16_t half = FloatToHalf(value);
      value = element == Element::kF16 ? HalfToFloat(half) : value;
      std::memcpy(to + (first + c * step) * element_bytes(),
                  element == Element::kF16 ? static_cast<const void*>(&half) : &value,
                  static_cast<size_t>(element_bytes()));
    }
  }

  AttentionTask Task(int64_t row, int64_t count, int64_t begin, int64_t end) {
    scratch.assign(static_cast<size_t>(AttentionScratchFloats(head_dim, count * group)), kNan);
    return {.blocks = blocks.data(),
            .keys_offset = 0,
            .values_offset = keys_bytes(),
            .begin = begin,
            .end = end,
            .first_position = positions - rows + row,
            .rows = count,
            .window = window,
            .q = q.data() + row * group * head_dim,
            .q_stride = group * head_dim,
            .group = group,
            .head_dim = head_dim,
            .scale = scale,
            .scratch = scratch.data()};
  }

  int64_t positions, rows, group, head_dim, padded;
  int64_t window = kNoWindow;
  float scale = 0.125f;
  Element element;
  std::vector<float> keys, values;                // [positions, C]
  std::vector<float> stored_keys, stored_values;  // what they are in the cache
  std::vector<float> q;                           // [rows, group, C]
  std::vector<std::byte> storage;
  std::vector<const std::byte*> blocks;
  std::vector<float> scratch;
};

struct Part {
  Part(int64_t query_rows, int64_t padded)
      : largest(static_cast<size_t>(query_rows), -kInf),
        sum(static_cast<size_t>(query_rows), 0.0f),
        out(static_cast<size_t>(query_rows * padded), 0.0f) {}
  AttentionPart view() { return {largest.data(), sum.data(), out.data()}; }
  std::vector<float> largest, sum, out;
};

// Rows [row, row + count) with the context cut where `cuts` says. [count, group, C]
std::vector<float> Attend(const Kernels& kernels, Case& c, int64_t row, int64_t count,
                          const std::vector<int64_t>& cuts = {}) {
  const int64_t query_rows = count * c.group;
  Part total(query_rows, c.padded);
  const int64_t end = c.positions - c.rows + row + count;
  int64_t begin = 0;
  for (size_t i = 0; i <= cuts.size() && begin < end; ++i) {
    const int64_t cut = i < cuts.size() ? std::min(cuts[i], end) : end;
    Part part(query_rows, c.padded);
    const AttentionTask task = c.Task(row, count, begin, cut);
    const auto attend = c.element == Element::kF16  ? kernels.attend_f16
                        : c.element == Element::kQ8 ? kernels.attend_q8_0
                                                    : kernels.attend_f32;
    attend(task, part.view());
    kernels.merge_attention(part.view(), total.view(), query_rows, c.head_dim);
    begin = cut;
  }
  std::vector<float> out(static_cast<size_t>(query_rows * c.head_dim));
  kernels.finish_attention(total.view(), count, c.group, c.head_dim, out.data(),
                           c.group * c.head_dim);
  return out;
}

// The definition, for all rows. [rows, group, C]
std::vector<double> Definition(const Case& c) {
  std::vector<double> out(static_cast<size_t>(c.rows * c.group * c.head_dim), 0.0);
  for (int64_t r = 0; r < c.rows * c.group; ++r) {
    const int64_t end = c.positions - c.rows + r / c.group + 1;
    const int64_t begin = std::max<int64_t>(0, end - c.window);
    std::vector<double> scores;
    for (int64_t p = begin; p < end; ++p) {
      double score = 0;
      for (int64_t i = 0; i < c.head_dim; ++i) {
        score += static_cast<double>(c.q[r * c.head_dim + i]) * c.stored_keys[p * c.head_dim + i];
      }
      scores.push_back(score * c.scale);
    }
    const double largest = *std::ranges::max_element(scores);
    double sum = 0;
    for (double& score : scores) {
      score = std::exp(score - largest);
      sum += score;
    }
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t i = 0; i < c.head_dim; ++i) {
        out[r * c.head_dim + i] += scores[p - begin] / sum * c.stored_values[p * c.head_dim + i];
      }
    }
  }
  return out;
}

class AttentionTest : public ::testing::TestWithParam<const Kernels*> {
 protected:
  int64_t Size(int64_t max) { return std::uniform_int_distribution<int64_t>(1, max)(random_); }
  Case RandomCase(Element element) {
    const int64_t rows = Size(33);
    const int64_t dims[] = {64, 128, Size(40), Size(150)};
    Case c(rows + Size(200) - 1, rows, Size(9), dims[random_() % 4], random_, element);
    if (random_() % 3 == 0) {
      c.window = Size(120);
    }
    c.Write();
    return c;
  }
  std::vector<int64_t> RandomCuts() {
    std::vector<int64_t> cuts;
    for (int64_t at = kBlock * Size(3); at < 256; at += kBlock * Size(3)) {
      cuts.push_back(at);
    }
    return cuts;
  }

  const Kernels& kernels_ = *GetParam();
  std::mt19937 random_{20260131};
};

INSTANTIATE_TEST_SUITE_P(Every, AttentionTest, ::testing::ValuesIn(AttainableKernels()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST_P(AttentionTest, IsSoftmaxOverWhatARowSeesForRandomShapesTypesWindowsAndCuts) {
  for (int round = 0; round < 60; ++round) {
    Case c = RandomCase(round % 2 == 0 ? Element::kF32 : Element::kF16);
    const auto got =
        Attend(kernels_, c, 0, c.rows, round % 3 == 0 ? RandomCuts() : std::vector<int64_t>());
    const auto want = Definition(c);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 3e-6) << "round " << round << " element " << i;
    }
  }
}

TEST_P(AttentionTest, StaysExactWhenScoresAreFarApart) {
  for (int round = 0; round < 40; ++round) {
    Case c = RandomCase(Element::kF32);
    c.scale = 8.0f;  // scores of some hundreds
    const auto got = Attend(kernels_, c, 0, c.rows, RandomCuts());
    const auto want = Definition(c);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 2e-3);  // a score of 500 is known to 3e-5
    }
  }
}

TEST_P(AttentionTest, ARowIsTheSameBitsAloneAndInAnyTile) {
  for (int round = 0; round < 60; ++round) {
    Case c = RandomCase(kElements[round % 3]);
    const auto cuts = RandomCuts();
    const auto all = Attend(kernels_, c, 0, c.rows, cuts);
    for (int64_t row = 0; row < c.rows;) {
      const int64_t count = std::min(c.rows - row, Size(4));
      const auto some = Attend(kernels_, c, row, count, cuts);
      ASSERT_EQ(std::memcmp(some.data(), all.data() + row * c.group * c.head_dim,
                            some.size() * sizeof(float)),
                0);
      row += count;
    }
  }
}

TEST_P(AttentionTest, ASmallerCacheIsAnF32CacheOfWhatItHoldsBitForBit) {
  for (int round = 0; round < 40; ++round) {
    Case small = RandomCase(round % 2 == 0 ? Element::kF16 : Element::kQ8);
    Case whole = small;
    whole.element = Element::kF32;
    whole.keys = small.stored_keys;
    whole.values = small.stored_values;
    whole.Write();
    ASSERT_EQ(Attend(kernels_, small, 0, small.rows), Attend(kernels_, whole, 0, whole.rows));
  }
}

TEST_P(AttentionTest, QuantizingToBytesAgreesWithTheOracleAlsoForHostileValues) {
  const float hostile[] = {kInf, -kInf, kNan, 3e38f, 1e7f, 1e-6f, 1e-9f, 1e-42f, 0.0f, -0.0f};
  for (int round = 0; round < 300; ++round) {
    const int64_t n = Size(150);
    std::normal_distribution<float> normal(0.0f, round % 2 == 0 ? 1.0f : 1e-5f);
    std::vector<float> x(static_cast<size_t>(n));
    std::ranges::generate(x, [&] { return normal(random_); });
    x[random_() % x.size()] = hostile[round % 10];
    const auto groups = static_cast<size_t>(Q8Groups(n));
    std::vector<int8_t> got(x.size()), want(x.size());
    std::vector<uint16_t> got_scales(groups), want_scales(groups);
    kernels_.quantize_q8_0(x.data(), n, got.data(), got_scales.data());
    ScalarKernels().quantize_q8_0(x.data(), n, want.data(), want_scales.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const float scale = HalfToFloat(got_scales[i / 32]);
      const float want_scale = HalfToFloat(want_scales[i / 32]);
      ASSERT_TRUE(scale == want_scale || (std::isnan(scale) && std::isnan(want_scale)));
      ASSERT_EQ(got[i], want[i]);
      const float value = static_cast<float>(got[i]) * scale;
      if (!std::isfinite(x[i])) {
        ASSERT_TRUE(std::isnan(value));
      } else if (std::isfinite(scale) && scale > 6.2e-5f) {
        ASSERT_LE(std::fabs(value - x[i]), 0.501f * scale);
      }
    }
  }
}

TEST_P(AttentionTest, WhatARowDoesNotSeeDoesNotMatterBeItNan) {
  for (int round = 0; round < 30; ++round) {
    Case c = RandomCase(Element::kF32);
    c.window = std::min<int64_t>(c.positions, Size(70));
    c.Write();
    const auto clean = Attend(kernels_, c, 0, c.rows);
    const int64_t seen_from = std::max<int64_t>(0, c.positions - c.rows + 1 - c.window);
    for (int64_t i = 0; i < seen_from * c.head_dim; ++i) {
      c.keys[i] = c.values[i] = i % 2 == 0 ? kNan : kInf;
    }
    for (int64_t i = (c.positions - c.rows + 1) * c.head_dim; i < c.positions * c.head_dim; ++i) {
      c.keys[i] = c.values[i] = kNan;  // what comes after the first row
    }
    c.Write();
    const auto first = Attend(kernels_, c, 0, c.rows);
    for (int64_t i = 0; i < c.group * c.head_dim; ++i) {
      ASSERT_EQ(first[i], clean[i]);
    }
  }
}

TEST_P(AttentionTest, CarriesHostileValuesAsTheOracleDoes) {
  const float hostile[] = {kInf, -kInf, kNan, 1e30f, -1e30f, 1e-42f, -0.0f};
  for (int round = 0; round < 84; ++round) {
    Case c = RandomCase(Element::kF32);
    const float value = hostile[round % 7];
    auto& into = round % 3 == 0 ? c.keys : round % 3 == 1 ? c.values : c.q;
    for (int64_t i = Size(3); i > 0; --i) {
      into[random_() % into.size()] = value;
    }
    c.Write();
    const auto got = Attend(kernels_, c, 0, c.rows);
    const auto want = Attend(ScalarKernels(), c, 0, c.rows);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(std::isfinite(got[i]), std::isfinite(want[i]))
          << value << ": " << got[i] << " instead of " << want[i];
      if (std::isfinite(want[i])) {
        ASSERT_NEAR(got[i], want[i], 3e-6 + 1e-5 * std::fabs(want[i])) << value;
      }
    }
  }
}

TEST_P(AttentionTest, AScoreOfMinusInfinityCountsNothing) {
  Case c(40, 1, 1, 16, random_);
  std::ranges::fill(c.q, 0.0f);
  c.q[0] = 1.0f;
  for (int64_t p = 0; p < 36; ++p) {  // the whole first block, and more
    c.keys[p * 16] = -kInf;
  }
  c.Write();
  const auto got = Attend(kernels_, c, 0, 1);
  const auto in_parts = Attend(kernels_, c, 0, 1, {kBlock});
  Case rest(4, 1, 1, 16, random_);
  rest.q = c.q;
  rest.keys.assign(c.keys.end() - 4 * 16, c.keys.end());
  rest.values.assign(c.values.end() - 4 * 16, c.values.end());
  rest.Write();
  const auto want = Definition(rest);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1e-6);
    ASSERT_NEAR(in_parts[i], want[i], 1e-6);
  }
}

TEST_P(AttentionTest, MergingIntoNothingCopiesAndMergingNothingChangesNothing) {
  Case c = RandomCase(Element::kF32);
  c.window = kNoWindow;
  const int64_t query_rows = c.rows * c.group;
  Part part(query_rows, c.padded);
  Part nothing(query_rows, c.padded);
  Part total(query_rows, c.padded);
  const AttentionTask task = c.Task(0, c.rows, 0, c.positions);
  kernels_.attend_f32(task, part.view());
  kernels_.merge_attention(part.view(), total.view(), query_rows, c.head_dim);
  kernels_.merge_attention(nothing.view(), total.view(), query_rows, c.head_dim);
  EXPECT_EQ(total.largest, part.largest);
  EXPECT_EQ(total.sum, part.sum);
  for (int64_t r = 0; r < query_rows; ++r) {
    for (int64_t i = r * c.padded; i < r * c.padded + c.head_dim; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(total.out[i]), std::bit_cast<uint32_t>(part.out[i]));
    }
  }
}

TEST(Attention, EveryInstructionSetComputesTheSameBits) {
  const auto all = AttainableKernels();
  if (all.size() < 3) {
    GTEST_SKIP() << "this CPU has no AVX2";
  }
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    Case c(20 + round * 7, 1 + round % 20, 1 + round % 9, 8 + round * 3, random,
           kElements[round % 3]);
    c.Write();
    const auto want = Attend(*all[1], c, 0, c.rows, {32, 96});
    for (const Kernels* kernels : all) {
      if (kernels != &ScalarKernels()) {
        ASSERT_EQ(Attend(*kernels, c, 0, c.rows, {32, 96}), want) << kernels->name;
      }
    }
  }
}

}  // namespace
}  // namespace tradewind::engine
