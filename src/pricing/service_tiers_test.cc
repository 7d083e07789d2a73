// Prices of service tiers: by hand, from a map, and in the file. That no hold is less than a cost:
// units_test.cc.
#include <algorithm>
#include <string>
#include <tuple>

#include <gtest/gtest.h>

#include "base/file.h"
#include "pricing/cost.h"
#include "pricing/cost_parts.h"
#include "pricing/price_file.h"
#include "pricing/price_map.h"
#include "testing/temp_dir.h"

namespace tradewind::pricing {
namespace {

using catalog::Prices;

Decimal Usd(const std::string& text) {
  return Decimal::Parse(text).value();
}

Prices Tiered() {
  Prices prices;
  prices.input = Usd("3");
  prices.output = Usd("15");
  prices.cached_input = Usd("0.3");
  prices.tiers.push_back({prices, 200'000});
  prices.tiers[0].input = Usd("6");
  prices.tiers[0].output = Usd("22.5");
  return prices;
}

Prices WithServices() {
  Prices prices = Tiered();
  prices.reasoning = Usd("15.5");
  prices.tiers[0].reasoning = Usd("30");
  for (const auto& [name, input, output] :
       {std::tuple("flex", "1.5", "7.5"), std::tuple("priority", "5.25", "26.25")}) {
    catalog::ServiceTier& service = prices.AddService(name);
    static_cast<catalog::TieredPrices&>(service) = prices;
    service.input = Usd(input);
    service.output = service.reasoning = Usd(output);
    service.tiers[0].input = Usd("9.000000001");
  }
  return prices;
}

TEST(ServiceTiers, HaveTheirOwnPricesOfEveryUnitAndTier) {
  const Prices prices = WithServices();
  TokenCounts used{1'000, 100, 50};
  used.reasoning = 20;
  EXPECT_EQ(CostNanoUsd(prices, used), 900 * 3'000 + 100 * 300 + 30 * 15'000 + 20 * 15'500);
  used.service = prices.ServiceOf("flex");
  EXPECT_EQ(CostNanoUsd(prices, used), 900 * 1'500 + 100 * 300 + 50 * 7'500) << "thought too";
  used.service = prices.ServiceOf("priority");
  EXPECT_EQ(CostNanoUsd(prices, used), 900 * 5'250 + 100 * 300 + 50 * 26'250);
  EXPECT_EQ(CostPartsNanoUsd(prices, used)->reasoning, 20 * 26'250);
  EXPECT_EQ(CostNanoUsd(prices, {200'001, 0, 0, {}, 0, 0, 0, 0, 0, 1, used.service}),
            200'001 * int64_t{9'000} + 1)
      << "and a longer prompt";
  EXPECT_EQ(prices.ServiceOf("scale"), 0U);
  EXPECT_EQ(prices.ServiceOf(""), 0U);
}

TEST(ServiceTiers, TheOneAskedForIsHeldWhereItIsDearerThanTheUsualOne) {
  const Prices prices = WithServices();
  UsageBounds bounds{1'000, 50, 1};
  const int64_t usual = 1'000 * 3'000 + 50 * 15'500;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), usual);
  bounds.service = prices.ServiceOf("flex");
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), usual) << "it may be served as any other";
  EXPECT_EQ(AffordableOutput(prices, bounds, usual), 50);
  bounds.service = prices.ServiceOf("priority");
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 1'000 * 5'250 + 50 * 26'250);
  EXPECT_EQ(*prices.Dearest(200'001, bounds.service).output, Usd("30")) << "of a longer prompt";
  EXPECT_EQ(*prices.Dearest(200'000, bounds.service).output, Usd("26.25"));
}

TEST(ServiceTiers, SayAllPricesInTheTiersThatThereAre) {
  const auto refused = [](auto change) {
    Prices prices = WithServices();
    change(prices, prices.service_tiers[0]);
    const Status sound = prices.CheckService(prices.service_tiers[0]);
    return sound.has_value() ? "none" : sound.error().message;
  };
  const auto says = [](const std::string& text, const char* words) {
    EXPECT_NE(text.find(words), std::string::npos) << text;
  };
  EXPECT_EQ(refused([](Prices&, auto&) {}), "none");
  says(refused([](Prices&, auto& flex) { flex.cached_input.reset(); }), "cached_input");
  says(refused([](Prices&, auto& flex) { flex.audio_input = Usd("1"); }), "audio_input");
  says(refused([](Prices&, auto& flex) { flex.tiers[0].output.reset(); }), "200000");
  says(refused([](Prices&, auto& flex) { flex.tiers[0].above = 7; }), "in no other");
  says(refused([](Prices&, auto& flex) { flex.tiers.clear(); }), "each of the tiers");
  for (const char* name : {"", "default", "auto", "on_demand", "Flex", "a b", "a=b", "a>b", "a:b",
                           "seventeen-letters"}) {
    says(refused([&](Prices&, auto& flex) { flex.name = name; }), "name");
  }
  says(refused([](Prices& prices, auto&) {
         for (const char* name : {"a", "b", "c"}) {
           prices.AddService(name);
         }
         prices.service_tiers[0] =
             *std::ranges::find(prices.service_tiers, "flex", &catalog::ServiceTier::name);
       }),
       "too many");
}

TEST(PriceMap, LiteLlmRowsHaveServiceTiers) {
  const auto row = [](const std::string& more) {
    return ParsePriceMap(
               R"({"a":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-6,
        "output_cost_per_token":6e-06,"cache_read_input_token_cost":1e-07,
        "input_cost_per_token_batches":5e-7,"input_cost_per_token_flex":5e-07,
        "output_cost_per_token_flex":3e-06,"cache_read_input_token_cost_flex":5e-08)" +
                   more + "}}",
               "map.json", MapFormat::kAuto, "")
        .value();
  };
  const PriceImport got = row("");
  const catalog::Prices& prices = got.rows.at(0).prices;
  ASSERT_EQ(prices.service_tiers.size(), 1U);
  EXPECT_EQ(prices.service_tiers[0].name, "flex");
  EXPECT_EQ(prices.service_tiers[0].input->ToString(), "0.5");
  EXPECT_EQ(prices.service_tiers[0].output->ToString(), "3");
  EXPECT_EQ(prices.service_tiers[0].cached_input->ToString(), "0.05");
  EXPECT_TRUE(got.remarks.empty());

  const std::string longer =
      R"(,"input_cost_per_token_above_272k_tokens":2e-06,"output_cost_per_token_above_272k_tokens":9e-06,
         "cache_read_input_token_cost_above_272k_tokens":2e-07)";
  const PriceImport part = row(longer);
  EXPECT_TRUE(part.rows.at(0).prices.service_tiers.empty()) << "nobody says what long prompts cost";
  EXPECT_EQ(part.rows.at(0).prices.tiers.size(), 1U);
  EXPECT_NE(part.remarks.at(0).reason.find("service tier flex"), std::string::npos);
  const PriceImport all = row(longer +
                              R"(,"input_cost_per_token_above_272k_tokens_flex":1e-06,
         "output_cost_per_token_above_272k_tokens_flex":4.5e-06,
         "cache_read_input_token_cost_above_272k_tokens_flex":1e-07)");
  ASSERT_EQ(all.rows.at(0).prices.service_tiers.size(), 1U);
  EXPECT_EQ(all.rows.at(0).prices.service_tiers[0].tiers[0].output->ToString(), "4.5");
  const PriceImport zero =
      row(R"(,"input_cost_per_token_priority":0,"output_cost_per_token_priority":0,
         "cache_read_input_token_cost_priority":0)");
  EXPECT_EQ(zero.rows.at(0).prices.ServiceOf("priority"), 0U) << "0 is no price of it";
  EXPECT_EQ(zero.rows.at(0).prices.service_tiers.size(), 1U);
}

TEST(ServiceTiers, AreReadBackFromTheFileWhole) {
  const testing::TempDir home;
  catalog::PriceRow row;
  row.provider = "a";
  row.provider_model = "b";
  row.prices = WithServices();
  ASSERT_TRUE(SavePrices(home.path(), {row}).has_value());
  const auto rows = LoadPrices(home.path());
  ASSERT_TRUE(rows.has_value()) << rows.error().message;
  EXPECT_EQ(rows->at(0).prices.service_tiers, row.prices.service_tiers);
  EXPECT_EQ(rows->at(0).prices.tiers, row.prices.tiers);
  for (const char* services : {"3", R"({"flex":3})", R"({"flex":{"input":"1"}})",
                               R"({"default":{"input":"1","output":"1"}})"}) {
    const std::string text =
        R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a","model":"b","input":"1","output":"1","service_tiers":)";
    ASSERT_TRUE(WriteFileAtomic(PriceFilePath(home.path()), text + services + "}]}").has_value());
    EXPECT_EQ(LoadPrices(home.path()).error().code, ErrorCode::kCorruptFile) << services;
  }
}

}  // namespace
}  // namespace tradewind::pricing
