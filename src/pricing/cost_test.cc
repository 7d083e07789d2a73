#include "pricing/cost.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "testing/property.h"

namespace tradewind::pricing {
namespace {

catalog::Prices Priced(const char* input, const char* output, const char* cached = nullptr) {
  catalog::Prices prices;
  prices.input = Decimal::Parse(input).value();
  prices.output = Decimal::Parse(output).value();
  if (cached != nullptr) {
    prices.cached_input = Decimal::Parse(cached).value();
  }
  return prices;
}

TEST(Cost, IsTheSumOfTokensTimesPrices) {
  // 1,000 tokens at $0.15 and 200 at $0.60 per million.
  EXPECT_EQ(CostNanoUsd(Priced("0.15", "0.6"), {1000, 0, 200}), 270'000);
  EXPECT_EQ(CostNanoUsd(Priced("0", "0"), {1000, 0, 200}), 0);
  EXPECT_EQ(CostNanoUsd(Priced("15", "75"), {0, 0, 0}), 0);
}

TEST(Cost, IsRoundedUpOnce) {
  // 0.0001 nano-USD a token: the parts are rounded together, not each.
  EXPECT_EQ(CostNanoUsd(Priced("0.0000001", "0.0000001"), {1, 0, 1}), 1);
  EXPECT_EQ(CostNanoUsd(Priced("0.0000001", "0.0000001"), {5000, 0, 5000}), 1);
  EXPECT_EQ(CostNanoUsd(Priced("0.0000001", "0.0000001"), {5000, 0, 5001}), 2);
}

TEST(Cost, ChargesCachedTokensOnce) {
  EXPECT_EQ(CostNanoUsd(Priced("1", "2", "0.1"), {1000, 900, 10}), 100'000 + 90'000 + 20'000);
  EXPECT_EQ(CostNanoUsd(Priced("1", "2"), {1000, 900, 10}), 1'000'000 + 20'000);
}

TEST(Cost, ChargesWhatWasWrittenToTheCacheAtItsPrice) {
  catalog::Prices prices = Priced("1", "2", "0.1");
  prices.cache_write = Decimal::Parse("1.25").value();
  EXPECT_EQ(CostNanoUsd(prices, {1000, 600, 10, 300}), 100'000 + 60'000 + 375'000 + 20'000);
  EXPECT_EQ(CostNanoUsd(prices, {1000, 0, 10, 0}), 1'000'000 + 20'000);
  const auto uncounted = CostNanoUsd(prices, {1000, 600, 10});
  ASSERT_FALSE(uncounted) << "some of the 400 may have cost more: the cost is not known";
  EXPECT_EQ(uncounted.error().param, "usage");
  EXPECT_EQ(CostNanoUsd(prices, {1000, 1000, 10}), 100'000 + 20'000) << "nothing can be written";
  EXPECT_FALSE(CostNanoUsd(prices, {1000, 600, 10, 401}));
  EXPECT_FALSE(CostNanoUsd(prices, {1000, 0, 10, -1}));
  EXPECT_EQ(CostNanoUsd(Priced("1", "2"), {1000, 0, 10, 300}), 1'000'000 + 20'000)
      << "without a price of their own they are input";
}

TEST(Cost, LeavesOutWhatWritesCostWhereTheyHaveNoPrice) {
  catalog::Prices prices = Priced("1", "2", "0.1");
  TokenCounts counts{1000, 100, 10, 500};
  EXPECT_TRUE(HasUnpricedWrites(prices, counts));
  EXPECT_FALSE(HasUnpricedWrites(prices, {1000, 100, 10, 0}));
  EXPECT_FALSE(HasUnpricedWrites(prices, {1000, 100, 10}));
  EXPECT_FALSE(HasUnpricedWrites(Priced("0", "0"), counts)) << "nothing costs anything there";
  prices.cache_write_1h = Decimal::Parse("2").value();
  EXPECT_TRUE(HasUnpricedWrites(prices, counts)) << "they were not kept for an hour";
  counts.cache_write_1h = 500;
  EXPECT_FALSE(HasUnpricedWrites(prices, counts));
  prices.cache_write_1h.reset();
  prices.cache_write = prices.input;
  EXPECT_FALSE(HasUnpricedWrites(prices, counts));
}

TEST(Cost, IsUnknownAndNotZeroWithoutAPrice) {
  catalog::Prices unpriced;
  EXPECT_EQ(CostNanoUsd(unpriced, {1, 0, 1}).error().param, "price");
  unpriced.input = Decimal::Parse("1").value();
  EXPECT_EQ(CostNanoUsd(unpriced, {1, 0, 0}).error().param, "price");
}

TEST(Cost, RefusesContradictionsAndOverflow) {
  const auto prices = Priced("1", "1");
  EXPECT_EQ(CostNanoUsd(prices, {-1, 0, 0}).error().param, "usage");
  EXPECT_EQ(CostNanoUsd(prices, {1, 2, 0}).error().param, "usage");
  EXPECT_EQ(CostNanoUsd(Priced("-1", "1"), {1, 0, 0}).error().param, "price");
  const auto huge = CostNanoUsd(Priced("1e30", "1e-30"), {INT64_MAX, 0, INT64_MAX});
  EXPECT_EQ(huge.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(CostNanoUsd(Priced("999999999999999999", "1"), {INT64_MAX, 0, 1}).error().code,
            ErrorCode::kResourceExhausted);
}

TEST(WorstCase, IsNeverLessThanAnyUsageWithinItsBounds) {
  testing::ForEachCase(20'000, [](uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
    };
    catalog::Prices prices;
    const auto price = [&] {
      return Decimal::Parse(std::to_string(below(30)) + "." + std::to_string(below(100000)))
          .value();
    };
    prices.input = price();
    prices.output = price();
    if (random() % 2 == 0) {
      prices.cached_input = price();
    }
    if (random() % 2 == 0) {
      prices.cache_write = price();
    }
    const int64_t input_max = below(10'000), output_max = below(10'000), choices = 1 + below(4);
    const int64_t bound = WorstCaseNanoUsd(prices, {input_max, output_max, choices}).value();
    const int64_t input = below(input_max + 1), output = below(output_max * choices + 1);
    const int64_t cached = below(input + 1), written = below(input - cached + 1);
    const int64_t cost = CostNanoUsd(prices, {input, cached, output, written}).value();
    ASSERT_LE(cost, bound);
  });
}

// Rounding up once keeps the order: more of anything never costs less, and never more than a
// nano-dollar beyond what it costs alone.
TEST(Cost, OfMoreIsNeverLess) {
  testing::ForEachCase(20'000, [](uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t bound) { return static_cast<int64_t>(random() % bound); };
    const auto price = [&] {
      return std::to_string(below(1'000'000)) + "e-" + std::to_string(below(9));
    };
    catalog::Prices prices = Priced(price().c_str(), price().c_str());
    const TokenCounts less{below(5000), 0, below(5000)};
    TokenCounts more = less;
    more.input += below(100);
    more.output += below(100);
    const int64_t both = CostNanoUsd(prices, more).value(), one = CostNanoUsd(prices, less).value();
    const TokenCounts rest{more.input - less.input, 0, more.output - less.output};
    const int64_t added = CostNanoUsd(prices, rest).value();
    ASSERT_GE(both, one);
    ASSERT_LE(both, one + added);
    ASSERT_GE(both, one + added - 1);
  });
}

TEST(WorstCase, HoldsForWritesThatAreCheaperThanFreshInputToo) {
  catalog::Prices prices = Priced("3", "15");
  prices.cache_write = Decimal::Parse("0").value();
  EXPECT_EQ(WorstCaseNanoUsd(prices, {100, 10, 1}), 300'000 + 150'000);
}

TEST(WorstCase, IsUnknownWithoutAPriceAndRefusesOverflow) {
  EXPECT_EQ(WorstCaseNanoUsd({}, {1, 1, 1}).error().param, "price");
  EXPECT_FALSE(WorstCaseNanoUsd(Priced("1", "1"), {1, INT64_MAX, 2}).has_value());
  EXPECT_FALSE(WorstCaseNanoUsd(Priced("1", "1"), {1, 1, 0}).has_value());
}

TEST(AffordableOutput, IsTheLongestThatFits) {
  const catalog::Prices prices = Priced("1", "2");
  EXPECT_EQ(AffordableOutput(prices, {100, 1000, 1}, 300'000), 100);
  EXPECT_EQ(AffordableOutput(prices, {100, 1000, 2}, 300'000), 50);
  EXPECT_EQ(AffordableOutput(prices, {100, 50, 1}, 300'000), 50);
  EXPECT_EQ(AffordableOutput(prices, {100, 1000, 1}, 99'999), 0);
  EXPECT_EQ(AffordableOutput(Priced("0", "0"), {100, 1000, 1}, 0), 1000);
}

TEST(WorstCase, IsOfAnswersAsFarBeyondTheirCapAsTheRouteMayGo) {
  const catalog::Prices prices = Priced("0", "2");
  UsageBounds bounds{0, 101, 3};
  bounds.cap_trust = {.factor_permille = 1500, .slack = 7};
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 3 * 2000 * (152 + 7)) << "151.5 is 152 tokens";
  EXPECT_EQ(AffordableOutput(prices, bounds, 3 * 2000 * 159), 101);
  EXPECT_EQ(AffordableOutput(prices, bounds, 3 * 2000 * 159 - 1), 100);
  EXPECT_EQ(AffordableOutput(prices, bounds, 3 * 2000 * 9), 1) << "two tokens, and seven";
  EXPECT_EQ(AffordableOutput(prices, bounds, 3 * 2000 * 9 - 1), 0);
  bounds.model_output_max = 120;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 3 * 2000 * (120 + 7)) << "thoughts are beside it";
  bounds.model_output_max = 50;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 3 * 2000 * (101 + 7)) << "never less than the cap";
  bounds.output_max = 0;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 0) << "no answer has no slack";
  bounds.output_max = INT64_MAX;
  bounds.model_output_max.reset();
  EXPECT_FALSE(WorstCaseNanoUsd(prices, bounds).has_value());
}

// Oracle: prices of at most six places are whole units of 1e-9 USD per thousand tokens.
TEST(Cost, EqualsWholeNumberArithmetic) {
  testing::ForEachCase(2000, [](uint64_t seed) {
    std::mt19937_64 random(seed);
    const int64_t input_price =
        static_cast<int64_t>(random() % 100'000'000);  // 1e-6 USD per million
    const int64_t output_price = static_cast<int64_t>(random() % 100'000'000);
    const auto text = [](int64_t micro) {
      const std::string rest = std::to_string(1'000'000 + micro % 1'000'000).substr(1);
      return std::to_string(micro / 1'000'000) + "." + rest;
    };
    const TokenCounts counts{static_cast<int64_t>(random() % 300'000), 0,
                             static_cast<int64_t>(random() % 300'000)};
    const int64_t thousandths = counts.input * input_price + counts.output * output_price;
    const auto cost =
        CostNanoUsd(Priced(text(input_price).c_str(), text(output_price).c_str()), counts);
    ASSERT_EQ(cost, (thousandths + 999) / 1000) << text(input_price) << " " << counts.input;
  });
}

}  // namespace
}  // namespace tradewind::pricing
