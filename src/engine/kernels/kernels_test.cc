#include "engine/kernels/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/kernels/matmul.h"
#include "engine/kernels/test_support.h"

namespace tradewind::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class KernelsTest : public ::testing::TestWithParam<const Kernels*> {
 protected:
  std::vector<float> Normal(int64_t n, float scale = 1.0f) {
    std::normal_distribution<float> distribution(0.0f, scale);
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) {
      v = distribution(random_);
    }
    return values;
  }
  int64_t Size(int64_t max) { return std::uniform_int_distribution<int64_t>(1, max)(random_); }

  const Kernels& kernels_ = *GetParam();
  std::mt19937 random_{20260131};
};

INSTANTIATE_TEST_SUITE_P(Every, KernelsTest, ::testing::ValuesIn(AttainableKernels()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST_P(KernelsTest, DotTileEqualsADoubleSumOverRandomShapes) {
  for (int round = 0; round < 300; ++round) {
    const int64_t rows = Size(20);
    const int64_t cols = Size(9);
    const int64_t k = Size(300);
    const int64_t x_stride = k + Size(5);
    const int64_t out_stride = rows + Size(5);
    const auto w = Normal(rows * k);
    const auto x = Normal(cols * x_stride);
    std::vector<float> out(static_cast<size_t>(cols * out_stride), -7.0f);
    kernels_.dot_tile(w.data(), rows, x.data(), x_stride, cols, k, out.data(), out_stride);
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        double size = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double term = static_cast<double>(w[r * k + i]) * x[c * x_stride + i];
          sum += term;
          size += std::fabs(term);
        }
        ASSERT_NEAR(out[c * out_stride + r], sum, 1e-6 * size + 1e-12);
      }
      for (int64_t r = rows; r < out_stride; ++r) {
        ASSERT_EQ(out[c * out_stride + r], -7.0f) << "wrote past its rows";
      }
    }
  }
}

TEST_P(KernelsTest, DotTileOfOneColumnEqualsTheSameColumnInABatchBitForBit) {
  const int64_t k = 577;
  const auto w = Normal(16 * k);
  const auto x = Normal(11 * k);
  std::vector<float> batch(11 * 16);
  kernels_.dot_tile(w.data(), 16, x.data(), k, 11, k, batch.data(), 16);
  for (int64_t c = 0; c < 11; ++c) {
    std::vector<float> one(16);
    kernels_.dot_tile(w.data(), 16, x.data() + c * k, k, 1, k, one.data(), 16);
    for (int r = 0; r < 16; ++r) {
      ASSERT_EQ(std::bit_cast<uint32_t>(one[r]), std::bit_cast<uint32_t>(batch[c * 16 + r]));
      float single = 0;
      kernels_.dot_tile(w.data() + r * k, 1, x.data() + c * k, k, 1, k, &single, 1);
      ASSERT_EQ(std::bit_cast<uint32_t>(single), std::bit_cast<uint32_t>(one[r]));
    }
  }
}

TEST_P(KernelsTest, DotTileCarriesHostileValuesAsTheOracleDoes) {
  for (const float hostile : {kInf, -kInf, kNan, 1e38f, 1e-42f}) {
    for (const int64_t at : {0, 15, 16, 36}) {
      std::vector<float> w(37, 1.0f);
      std::vector<float> x(37, 1.0f);
      w[at] = hostile;
      float got = 0;
      float want = 0;
      kernels_.dot_tile(w.data(), 1, x.data(), 37, 1, 37, &got, 1);
      ScalarKernels().dot_tile(w.data(), 1, x.data(), 37, 1, 37, &want, 1);
      ASSERT_EQ(std::isnan(got), std::isnan(want));
      if (!std::isnan(want)) {
        ASSERT_FLOAT_EQ(got, want);
      }
    }
  }
}

TEST_P(KernelsTest, RmsNormAndAddAgreeWithTheOracle) {
  for (int round = 0; round < 200; ++round) {
    const int64_t n = Size(700);
    const auto x = Normal(n, round % 2 == 0 ? 1.0f : 1e-6f);
    const auto weight = Normal(n);
    std::vector<float> got(x.size());
    std::vector<float> want(x.size());
    kernels_.rms_norm(x.data(), weight.data(), 1e-5f, n, got.data());
    ScalarKernels().rms_norm(x.data(), weight.data(), 1e-5f, n, want.data());
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_NEAR(got[i], want[i], 4e-6f * std::fabs(want[i]) + 1e-12f);
    }
    std::vector<float> sum = x;
    kernels_.add(sum.data(), weight.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(sum[i], x[i] + weight[i]);
    }
  }
}

TEST_P(KernelsTest, SiluMultiplyAgreesWithTheOracleAlsoFarOut) {
  std::vector<float> gate = {0.0f,   -0.0f,  1.0f,   -1.0f,  20.0f,   -20.0f,  88.0f,
                             -88.0f, 89.0f,  -89.0f, 104.0f, -104.0f, 1000.0f, -1000.0f,
                             1e30f,  -1e30f, 1e-40f, kInf,   kNan};
  const auto more = Normal(2000, 8.0f);
  gate.insert(gate.end(), more.begin(), more.end());
  const auto n = static_cast<int64_t>(gate.size());
  const std::vector<float> up(gate.size(), 1.5f);
  std::vector<float> want = gate;
  ScalarKernels().silu_multiply(want.data(), up.data(), n);
  kernels_.silu_multiply(gate.data(), up.data(), n);
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(want[i])) {
      ASSERT_TRUE(std::isnan(gate[i]));
    } else if (std::isinf(want[i])) {
      ASSERT_EQ(gate[i], want[i]);
    } else {
      ASSERT_NEAR(gate[i], want[i], 1e-6f * std::fabs(want[i]) + 1e-30f) << i;
    }
  }
}

TEST_P(KernelsTest, ToHalfRoundsAsTheOracleDoes) {
  for (int round = 0; round < 100; ++round) {
    auto x = Normal(Size(70), round % 2 == 0 ? 1.0f : 1e-6f);
    x[0] = round % 3 == 0 ? kInf : round % 3 == 1 ? 65520.0f : -1e9f;
    std::vector<uint16_t> half(x.size());
    kernels_.to_half(x.data(), static_cast<int64_t>(x.size()), half.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(half[i], FloatToHalf(x[i]));
    }
  }
}

TEST_P(KernelsTest, DequantizersEqualTheOracleBitForBitOnRandomBlocks) {
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    const DequantizeFn fast = kernels_.dequantizer(traits.type);
    if (fast == nullptr) {
      continue;
    }
    const DequantizeFn oracle = ScalarDequantizer(traits.type);
    for (int round = 0; round < 200; ++round) {
      const int64_t blocks = traits.block_elements == 1 ? Size(67) : Size(5);
      std::vector<std::byte> bytes(static_cast<size_t>(blocks) * traits.block_bytes);
      for (auto& byte : bytes) {
        byte = static_cast<std::byte>(random_());
      }
      const size_t n = static_cast<size_t>(blocks) * traits.block_elements;
      std::vector<float> got(n), want(n);
      fast(bytes.data(), got);
      oracle(bytes.data(), want);
      for (size_t i = 0; i < n; ++i) {
        const bool both_nan = std::isnan(got[i]) && std::isnan(want[i]);
        ASSERT_TRUE(both_nan || std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(want[i]))
            << traits.name << " element " << i << ": " << got[i] << " instead of " << want[i];
      }
    }
  }
}

TEST_P(KernelsTest, MatMulEqualsDequantiseThenMultiplyForAnyThreadsAndAGroupOfWeights) {
  const int64_t k = 64;
  const auto a = Normal(37 * k);
  const auto b = Normal(5 * k);
  const auto x = Normal(9 * k);
  const Weight wa{TensorType::kF32, 37, k, reinterpret_cast<const std::byte*>(a.data()), k * 4};
  const Weight wb{
      TensorType::kF32, 5, k, reinterpret_cast<const std::byte*>(b.data()), k * 4, 0.5f};
  std::vector<float> first_a, first_b;
  for (const int threads : {1, 2, 4}) {
    WorkerPool pool(threads);
    MatMul matmul(kernels_, pool, ActivationType::kF32);
    std::vector<float> ya(9 * 40), yb(9 * 5);
    const MatMulOutput outputs[] = {{&wa, ya.data(), 40}, {&wb, yb.data(), 5}};
    matmul.Run(outputs, {x.data(), k, k, 9});
    for (int64_t t = 0; t < 9; ++t) {
      for (int64_t r = 0; r < 5; ++r) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i) {
          sum += 0.5 * b[r * k + i] * x[t * k + i];
        }
        ASSERT_NEAR(yb[t * 5 + r], sum, 1e-4);
      }
    }
    if (threads == 1) {
      first_a = ya;
      first_b = yb;
    }
    EXPECT_EQ(ya, first_a);
    EXPECT_EQ(yb, first_b);
  }
}

TEST(SelectKernels, NamesWhatIsAvailableWhenAskedForSomethingElse) {
  EXPECT_EQ(SelectKernels("scalar").value()->name, "scalar");
  const auto unknown = SelectKernels("mmx");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(unknown.error().message.find("scalar"), std::string::npos);
}

}  // namespace
}  // namespace tradewind::engine
