// What a config that is read again takes away.
#include "cli/live_market.h"

#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace tradewind::cli {
namespace {

// A site with one model; `input` "": without a price.
std::shared_ptr<const catalog::Catalog> CatalogAt(const std::string& input,
                                                  const std::string& model = "org/model") {
  catalog::CatalogSources sources;
  catalog::Mapping mapping;
  mapping.hf_model = model;
  mapping.provider = "site-a";
  mapping.provider_model = model;
  mapping.prices.output = Decimal::Parse("3").value();
  mapping.prices.origin = "config.toml line 7";
  mapping.source = catalog::Source::kConfig;
  if (!input.empty()) {
    mapping.prices.input = Decimal::Parse(input).value();
  }
  catalog::ProviderConfig& provider = sources.configured.emplace_back();
  provider.name = "site-a";
  provider.kind = "openai";
  provider.base_url = "https://site.example/v1";
  provider.models = {mapping};
  return catalog::Catalog::Build(std::move(sources));
}

TEST(LiveMarket, TellsOfAModelThatHadAPriceAndHasNone) {
  const auto lost = LostPrices(*CatalogAt("1"), *CatalogAt(""));
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_TRUE(lost[0].starts_with("org/model at site-a had a price")) << lost[0];
}

TEST(LiveMarket, TellsNothingOfPricesThatChangeOrGoWithTheirModel) {
  EXPECT_TRUE(LostPrices(*CatalogAt("1"), *CatalogAt("0")).empty()) << "free is a price";
  EXPECT_TRUE(LostPrices(*CatalogAt(""), *CatalogAt("")).empty()) << "it had none";
  EXPECT_TRUE(LostPrices(*CatalogAt("1"), *CatalogAt("", "org/other")).empty());
}

}  // namespace
}  // namespace tradewind::cli
