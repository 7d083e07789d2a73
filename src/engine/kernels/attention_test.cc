// Attention kernels against softmax as its definition reads, in doubles, over the whole context.
#include "engine/kernels/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/kernels/test_support.h"

namespace tradewind::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kBlock = limits::kKvBlockPositions;
constexpr int64_t kNoWindow = int64_t{1} << 40;

enum class Element { kF32, kF16 };

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

  float Stored(float value) const {
    return element == Element::kF16 ? HalfToFloat(FloatToHalf(value)) : value;
  }

  void Write() {
    const int64_t bytes = element == Element::kF16 ? 2 : 4;
    const int64_t block_bytes = kBlock * (head_dim + padded) * bytes;
    const int64_t count = (positions + kBlock - 1) / kBlock;
    storage.assign(static_cast<size_t>(count * block_bytes), std::byte{0xFF});
    blocks.clear();
    for (int64_t b = 0; b < count; ++b) {
      blocks.push_back(storage.data() + b * block_bytes);
    }
    const auto put = [&](int64_t block, int64_t index, float value) {
      std::byte* const at = storage.data() + block * block_bytes + index * bytes;
      const uint16_t half = FloatToHalf(value);
      std::memcpy(at, element == Element::kF16 ? static_cast<const void*>(&half) : &value,
                  static_cast<size_t>(bytes));
    };
    for (int64_t p = 0; p < positions; ++p) {
      for (int64_t c = 0; c < head_dim; ++c) {
        put(p / kBlock, c * kBlock + p % kBlock, keys[p * head_dim + c]);
        put(p / kBlock, head_dim * kBlock + p % kBlock * padded + c, values[p * head_dim + c]);
      }
    }
  }

  AttentionTask Task(int64_t row, int64_t count, int64_t begin, int64_t end) {
    const int64_t bytes = element == Element::kF16 ? 2 : 4;
    scratch.assign(static_cast<size_t>(AttentionScratchFloats(head_dim, count * group)), kNan);
    return {.blocks = blocks.data(),
            .keys_offset = 0,
            .values_offset = head_dim * kBlock * bytes,
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
  std::vector<float> keys, values;  // [positions, C]
  std::vector<float> q;             // [rows, group, C]
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
    (c.element == Element::kF16 ? kernels.attend_f16 : kernels.attend_f32)(task, part.view());
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
        score +=
            static_cast<double>(c.q[r * c.head_dim + i]) * c.Stored(c.keys[p * c.head_dim + i]);
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
        out[r * c.head_dim + i] += scores[p - begin] / sum * c.Stored(c.values[p * c.head_dim + i]);
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
    Case c = RandomCase(round % 2 == 0 ? Element::kF32 : Element::kF16);
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

TEST_P(AttentionTest, AnF16CacheIsAnF32CacheOfTheRoundedValuesBitForBit) {
  for (int round = 0; round < 30; ++round) {
    Case half = RandomCase(Element::kF16);
    Case whole = half;
    whole.element = Element::kF32;
    for (auto* values : {&whole.keys, &whole.values}) {
      std::ranges::transform(*values, values->begin(), [&](float v) { return half.Stored(v); });
    }
    whole.Write();
    ASSERT_EQ(Attend(kernels_, half, 0, half.rows), Attend(kernels_, whole, 0, whole.rows));
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
  if (Avx2Kernels() == nullptr) {
    GTEST_SKIP() << "this CPU has no AVX2";
  }
  const Kernels& wider = Avx512Kernels() != nullptr ? *Avx512Kernels() : *Avx512ShapeKernels();
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    Case c(20 + round * 7, 1 + round % 20, 1 + round % 9, 8 + round * 3, random,
           round % 2 == 0 ? Element::kF32 : Element::kF16);
    c.Write();
    ASSERT_EQ(Attend(*Avx2Kernels(), c, 0, c.rows, {32, 96}),
              Attend(wider, c, 0, c.rows, {32, 96}));
  }
}

}  // namespace
}  // namespace tradewind::engine
