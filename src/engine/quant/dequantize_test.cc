#include "engine/quant/dequantize.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "engine/quant/iq_grids.h"
#include "testing/data.h"

namespace tradewind::engine {
namespace {

namespace json = boost::json;

constexpr char kBlocksFile[] = "vectors/synthetic/quant_blocks.json";

struct ReferenceBlock {
  TensorType type;
  std::string name;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

std::vector<std::byte> FromHex(std::string_view hex) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

std::vector<ReferenceBlock> ReadBlocks() {
  std::vector<ReferenceBlock> blocks;
  for (const json::value& entry : json::parse(testing::ReadReference(kBlocksFile)).as_array()) {
    ReferenceBlock block;
    block.type = static_cast<TensorType>(entry.at("id").to_number<uint32_t>());
    block.name = entry.at("type").as_string();
    block.bytes = FromHex(std::string(entry.at("bytes").as_string()));
    for (const json::value& value : entry.at("values").as_array()) {
      block.values.push_back(value.to_number<float>());
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

std::vector<float> Dequantize(TensorType type, std::span<const std::byte> bytes) {
  const TensorTypeTraits& traits = TraitsOf(type);
  std::vector<float> values(bytes.size() / traits.block_bytes * traits.block_elements);
  ScalarDequantizer(type)(bytes.data(), values);
  return values;
}

bool IsWeightType(TensorType type) {
  return ScalarDequantizer(type) != nullptr;
}

TEST(DequantizeTest, EqualsTheReferenceBlocksOfEveryTypeBitForBit) {
  TW_NEED_REFERENCE(kBlocksFile);
  std::set<TensorType> seen;
  for (const ReferenceBlock& block : ReadBlocks()) {
    SCOPED_TRACE(block.name);
    const TensorTypeTraits& traits = TraitsOf(block.type);
    ASSERT_EQ(block.bytes.size(), traits.block_bytes);
    ASSERT_EQ(block.values.size(), traits.block_elements);
    seen.insert(block.type);
    const std::vector<float> values = Dequantize(block.type, block.bytes);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(values[i], block.values[i]) << "element " << i;
    }
  }
  // The file has no plain floats, and the two types that exist in memory only are not in it.
  std::set<TensorType> expected;
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    if (traits.block_elements > 1) {
      expected.insert(traits.type);
    }
  }
  EXPECT_EQ(expected.erase(TensorType::kQ8_1), 1u);
  EXPECT_EQ(expected.erase(TensorType::kQ8_K), 1u);
  EXPECT_EQ(seen, expected);
}

TEST(DequantizeTest, BlocksOfARowAreIndependentAndMayLieAtAnyAddress) {
  std::mt19937 random(7);
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    if (!IsWeightType(traits.type)) {
      continue;
    }
    SCOPED_TRACE(traits.name);
    // Exact heap allocations, the first byte unused: an address sanitizer sees any access beyond a
    // block.
    std::vector<std::byte> row(1 + 3 * traits.block_bytes);
    for (std::byte& byte : row) {
      byte = static_cast<std::byte>(random());
    }
    const auto blocks = std::span(row).subspan(1);
    const std::vector<float> whole = Dequantize(traits.type, blocks);
    for (size_t i = 0; i < 3; ++i) {
      const auto block = blocks.subspan(i * traits.block_bytes, traits.block_bytes);
      const std::vector<float> alone = Dequantize(traits.type, block);
      EXPECT_EQ(
          std::memcmp(alone.data(), whole.data() + i * alone.size(), alone.size() * sizeof(float)),
          0);
    }
  }
}

TEST(DequantizeTest, TakesAnyBytesOfAnyType) {
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    for (const int fill : {0x00, 0x7F, 0x80, 0xFF}) {
      if (IsWeightType(traits.type)) {
        const std::vector<std::byte> block(traits.block_bytes, static_cast<std::byte>(fill));
        EXPECT_EQ(Dequantize(traits.type, block).size(), traits.block_elements) << traits.name;
      }
    }
  }
}

TEST(DequantizeTest, ReadsPlainFloats) {
  const std::vector<float> floats = {0.0f, -1.5f, 3.0e38f, 1e-40f};
  EXPECT_EQ(Dequantize(TensorType::kF32, std::as_bytes(std::span(floats))), floats);
  const std::vector<uint16_t> halves = {0x3C00, 0xC100, 0x0001};
  EXPECT_EQ(Dequantize(TensorType::kF16, std::as_bytes(std::span(halves))),
            (std::vector<float>{1.0f, -2.5f, 0x1p-24f}));
  const std::vector<uint16_t> bfloats = {0x3F80, 0xC020, 0x0001};
  EXPECT_EQ(Dequantize(TensorType::kBF16, std::as_bytes(std::span(bfloats))),
            (std::vector<float>{1.0f, -2.5f, 0x1p-133f}));
}

TEST(DequantizeTest, ReadsTheInMemoryTypes) {
  std::vector<std::byte> q8_1(36);
  StoreLe(q8_1.data(), uint16_t{0x3800});      // 0.5
  StoreLe(q8_1.data() + 2, uint16_t{0x7C00});  // the sum is not part of the values
  std::vector<std::byte> q8_k(292);
  StoreLe(q8_k.data(), -0.25f);
  for (int j = 0; j < 32; ++j) {
    q8_1[4 + j] = static_cast<std::byte>(j - 16);
  }
  for (int j = 0; j < 256; ++j) {
    q8_k[4 + j] = static_cast<std::byte>(j - 128);
  }
  const std::vector<float> from_q8_1 = Dequantize(TensorType::kQ8_1, q8_1);
  const std::vector<float> from_q8_k = Dequantize(TensorType::kQ8_K, q8_k);
  for (int j = 0; j < 32; ++j) {
    EXPECT_EQ(from_q8_1[j], 0.5f * static_cast<float>(j - 16));
  }
  for (int j = 0; j < 256; ++j) {
    EXPECT_EQ(from_q8_k[j], -0.25f * static_cast<float>(j - 128));
  }
}

TEST(DequantizeTest, HasAFunctionForWeightsOnly) {
  for (const auto type :
       {TensorType::kI8, TensorType::kI16, TensorType::kI32, TensorType::kI64, TensorType::kF64}) {
    EXPECT_EQ(ScalarDequantizer(type), nullptr);
  }
  EXPECT_EQ(
      std::ranges::count_if(AllTensorTypes(), [](const auto& t) { return IsWeightType(t.type); }),
      30);
}

TEST(IqGridTest, EqualsTheReferenceCodebooks) {
  constexpr char kGridsFile[] = "vectors/iq_grids.json";
  TW_NEED_REFERENCE(kGridsFile);
  const json::value file = json::parse(testing::ReadReference(kGridsFile));
  const std::pair<const char*, const IqGrid*> grids[] = {
      {"iq2xxs_grid", &Iq2XxsGrid()}, {"iq2xs_grid", &Iq2XsGrid()}, {"iq2s_grid", &Iq2SGrid()},
      {"iq3xxs_grid", &Iq3XxsGrid()}, {"iq3s_grid", &Iq3SGrid()},   {"iq1s_grid", &Iq1Grid()}};
  EXPECT_EQ(file.as_object().size(), std::size(grids));
  for (const auto& [name, grid] : grids) {
    const std::string hex(file.at(name).as_string());
    const size_t digits = grid->values == 4 ? 3 : 4;
    ASSERT_EQ(hex.size(), grid->packed.size() * digits) << name;
    for (size_t i = 0; i < grid->packed.size(); ++i) {
      EXPECT_EQ(grid->packed[i], std::stoi(hex.substr(i * digits, digits), nullptr, 16))
          << name << " " << i;
    }
  }
}

TEST(IqGridTest, EntriesAreDistinct) {
  for (const IqGrid* grid :
       {&Iq2XxsGrid(), &Iq2XsGrid(), &Iq2SGrid(), &Iq3XxsGrid(), &Iq3SGrid(), &Iq1Grid()}) {
    EXPECT_EQ(std::set<uint16_t>(grid->packed.begin(), grid->packed.end()).size(),
              grid->packed.size());
  }
}

TEST(TensorTypeTest, IdsThatTheFormatDoesNotHaveAreUnknown) {
  for (const uint32_t id : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 43u, 1000u, 0xFFFFFFFFu}) {
    EXPECT_EQ(FindTensorType(id), nullptr) << id;
  }
  EXPECT_EQ(AllTensorTypes().size(), 35u);
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    EXPECT_EQ(FindTensorType(static_cast<uint32_t>(traits.type)), &traits);
    EXPECT_EQ(&TraitsOf(traits.type), &traits);
  }
}

TEST(TensorTypeTest, RowsAreWholeBlocks) {
  EXPECT_EQ(RowBytes(TensorType::kQ4_K, 512), 288u);
  EXPECT_EQ(RowBytes(TensorType::kQ4_K, 0), 0u);
  EXPECT_EQ(RowBytes(TensorType::kQ4_K, 128), std::nullopt);
  EXPECT_EQ(RowBytes(TensorType::kF32, 3), 12u);
  EXPECT_EQ(RowBytes(TensorType::kF32, uint64_t{1} << 62), std::nullopt);
  EXPECT_EQ(RowBytes(TensorType::kQ8_0, ~uint64_t{31}), std::nullopt);
}

}  // namespace
}  // namespace tradewind::engine
