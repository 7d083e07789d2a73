#include "pricing/cost_parts.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "testing/property.h"

namespace tradewind::pricing {
namespace {

catalog::Prices Priced(const std::string& input, const std::string& cached,
                       const std::string& write, const std::string& output) {
  catalog::Prices prices;
  prices.input = Decimal::Parse(input).value();
  prices.output = Decimal::Parse(output).value();
  if (!cached.empty()) {
    prices.cached_input = Decimal::Parse(cached).value();
  }
  if (!write.empty()) {
    prices.cache_write = Decimal::Parse(write).value();
  }
  return prices;
}

TEST(CostParts, SayWhatEachKindOfTokenCost) {
  const auto parts = CostPartsNanoUsd(Priced("1", "0.1", "1.25", "2"), {100, 40, 7, 20});
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->input, 40'000);
  EXPECT_EQ(parts->cached, 4'000);
  EXPECT_EQ(parts->cache_write, 25'000);
  EXPECT_EQ(parts->output, 14'000);
}

TEST(CostParts, GiveWhatRoundingUpAddedToWhoLostMost) {
  // 0.4 + 0.7 nano-USD: the whole is 2, and the larger rest takes the first of both.
  const auto parts = CostPartsNanoUsd(Priced("0.0004", "", "", "0.0007"), {1, 0, 1});
  EXPECT_EQ(parts->total(), 2);
  EXPECT_EQ(parts->input, 1);
  EXPECT_EQ(parts->output, 1);
  const auto less = CostPartsNanoUsd(Priced("0.0001", "", "", "0.0007"), {1, 0, 1});
  EXPECT_EQ(less->total(), 1);
  EXPECT_EQ(less->output, 1);
}

TEST(CostParts, AddUpToTheCostWhateverThePrices) {
  testing::ForEachCase(20'000, [](uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto number = [&] {
      const int places = static_cast<int>(random() % 16);
      return std::to_string(random() % 100'000) + "e-" + std::to_string(places);
    };
    const auto prices = Priced(number(), random() % 2 == 0 ? number() : "",
                               random() % 2 == 0 ? number() : "", number());
    const int64_t cached = static_cast<int64_t>(random() % 1000);
    const int64_t write = static_cast<int64_t>(random() % 1000);
    const int64_t input = cached + write + static_cast<int64_t>(random() % 100'000);
    const TokenCounts counts{input, cached, static_cast<int64_t>(random() % 10'000), write};
    const auto parts = CostPartsNanoUsd(prices, counts);
    ASSERT_TRUE(parts.has_value());
    ASSERT_EQ(parts->total(), CostNanoUsd(prices, counts).value());
    ASSERT_GE(std::min({parts->input, parts->cached, parts->cache_write, parts->output}), 0);
  });
}

TEST(CostParts, RefuseWhatHasNoCost) {
  EXPECT_FALSE(CostPartsNanoUsd({}, {1, 0, 1}).has_value());
  EXPECT_FALSE(CostPartsNanoUsd(Priced("1", "", "", "1"), {1, 2, 1}).has_value());
}

}  // namespace
}  // namespace tradewind::pricing
