// A home's catalogue as `serve`, `search` and `providers` see it, and where keys come from.
#include "cli/market.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"
#include "cli/market_config.h"
#include "pricing/price_file.h"
#include "testing/temp_dir.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;
using Variables = std::map<std::string, std::string>;

class MarketTest : public ::testing::Test {
 protected:
  Market Load(std::string_view toml = "", Variables variables = {},
              const StoredKeyReader& stored = {}) {
    const fs::path file = home_.path() / "config.toml";
    EXPECT_TRUE(WriteFileAtomic(file, toml).has_value());
    auto arguments = ParseArguments({"serve", "--config", file.string()});
    EXPECT_TRUE(arguments.has_value());
    auto settings =
        Settings::Load(*arguments, [variables = std::move(variables)](const std::string& name) {
          const auto found = variables.find(name);
          return found == variables.end() ? std::nullopt : std::optional(found->second);
        });
    EXPECT_TRUE(settings.has_value()) << settings.error().message;
    Result<Market> market = LoadMarket(*settings, home_.path(), nullptr, stored);
    EXPECT_TRUE(market.has_value()) << market.error().message;
    return std::move(*market);
  }
  std::string KeyFile(const std::string& text, int mode = 0600) {
    EXPECT_TRUE(WriteFileAtomic(home_.path() / "key", text, mode).has_value());
    return "[[providers]]\nname = 'groq'\napi_key_file = 'key'\n";
  }

  testing::TempDir home_;
};

TEST_F(MarketTest, WithoutKeysTheKnownProvidersAreOffWithoutNoise) {
  const Market market = Load();
  EXPECT_TRUE(market.warnings.empty()) << market.warnings[0];
  EXPECT_EQ(market.catalog->FindProvider("local")->off, "");
  EXPECT_EQ(market.catalog->FindProvider("groq")->off,
            "no key: the variable GROQ_API_KEY is not set");
  EXPECT_TRUE(market.keys.empty());
}

TEST_F(MarketTest, AKeyInTheEnvironmentTurnsAProviderOn) {
  const Market market = Load("", {{"GROQ_API_KEY", "gsk-1"}, {"HF_TOKEN", "hf_x"}});
  EXPECT_EQ(market.catalog->FindProvider("groq")->off, "");
  EXPECT_EQ(market.keys.at("groq").secret, "gsk-1");
  EXPECT_EQ(market.keys.at("groq").from, "environment GROQ_API_KEY");
  EXPECT_FALSE(market.keys.contains("huggingface"))
      << "a token for downloads pays for nothing unless somebody says so";
}

TEST_F(MarketTest, AStoredKeyTurnsAProviderOnWhereConfigAndEnvironmentHaveNone) {
  const StoredKeyReader stored = [](std::string_view slug) {
    return slug == "groq" || slug == "together" || slug == "mine"
               ? std::optional<std::string>("stored")
               : std::nullopt;
  };
  const Market market =
      Load("[[providers]]\nname = 'mine'\nkind = 'openai'\nbase_url = 'https://a.example/v1'\n",
           {{"GROQ_API_KEY", "gsk-1"}}, stored);
  EXPECT_EQ(market.keys.at("groq").secret, "gsk-1") << "the environment comes first";
  EXPECT_EQ(market.keys.at("together").secret, "stored");
  EXPECT_EQ(market.keys.at("together").from, "login");
  EXPECT_EQ(market.catalog->FindProvider("together")->off, "");
  EXPECT_EQ(market.keys.at("mine").secret, "stored") << "one that needs none gets it all the same";
  const auto routes = BuildRoutes(market, {});
  EXPECT_TRUE(routes->has_usable_provider());
  EXPECT_TRUE(routes->Find("together")->has_key());
  EXPECT_NE(market.catalog->FindProvider("cerebras")->off, "");
}

TEST_F(MarketTest, AConfiguredProviderWithoutItsKeyIsOffWithAWarningAndTheRestWorks) {
  const Market market = Load(
      "[[providers]]\nname='a'\nkind='openai'\nbase_url='https://a'\napi_key_env='A_KEY'\n"
      "models=[{id='x/y'}]\n[[providers]]\nname='b'\nkind='openai'\nbase_url='https://b'\n"
      "models=[{id='x/y'}]\n");
  ASSERT_EQ(market.warnings.size(), 1u);
  EXPECT_NE(market.warnings[0].find("the provider a is off: no key: the variable A_KEY is not set"),
            std::string::npos);
  EXPECT_NE(market.warnings[0].find("config.toml line 1"), std::string::npos);
  EXPECT_EQ(market.catalog->FindProvider("b")->off, "");
  EXPECT_EQ(market.catalog->Find("x/y")->mappings.size(), 2u);
}

TEST_F(MarketTest, AKeyFileIsReadAnewByEachLoad) {
  const std::string toml = KeyFile("one\n");
  EXPECT_EQ(Load(toml).keys.at("groq").secret, "one");
  KeyFile("two  \r\n");
  const Market market = Load(toml);
  EXPECT_EQ(market.keys.at("groq").secret, "two");
  EXPECT_EQ(market.keys.at("groq").from, "file " + (home_.path() / "key").string());
  EXPECT_TRUE(market.warnings.empty());
}

TEST_F(MarketTest, AKeyFileThatOthersMayReadIsPointedOut) {
  const Market market = Load(KeyFile("one\n", 0644));
  ASSERT_EQ(market.warnings.size(), 1u);
  EXPECT_NE(market.warnings[0].find("chmod 600"), std::string::npos);
}

TEST_F(MarketTest, AKeyFileThatHoldsNoKeyTurnsTheProviderOffAndIsNotRepeated) {
  for (const std::string& text : {std::string(), std::string("two words"), std::string("sec\nret"),
                                  std::string("s\x01"), std::string(5000, 'k')}) {
    const Market market = Load(KeyFile(text));
    EXPECT_FALSE(market.keys.contains("groq")) << text;
    ASSERT_EQ(market.warnings.size(), 1u) << text;
    EXPECT_EQ(market.warnings[0].find("sec"), std::string::npos);
    EXPECT_NE(market.catalog->FindProvider("groq")->off.find("no key: "), std::string::npos);
  }
  fs::remove(home_.path() / "key");
  EXPECT_FALSE(Load("[[providers]]\nname='groq'\napi_key_file='key'\n").keys.contains("groq"));
}

TEST_F(MarketTest, ImportedPricesCountAndADamagedFileLetsNobodyGoOnWithoutThem) {
  catalog::PriceRow row;
  row.provider = "groq";
  row.provider_model = "openai/gpt-oss-20b";
  row.prices.input = row.prices.output = Decimal::Parse("7").value();
  ASSERT_TRUE(pricing::SavePrices(home_.path(), {row}).has_value());
  EXPECT_EQ(Load().catalog->Find("openai/gpt-oss-20b")->At("groq")->prices.input,
            Decimal::Parse("7").value());
  ASSERT_TRUE(WriteFileAtomic(pricing::PriceFilePath(home_.path()), "{").has_value());
  const auto arguments = ParseArguments({"serve"});
  const auto settings =
      Settings::Load(*arguments, [](const std::string&) { return std::optional<std::string>(); });
  ASSERT_TRUE(settings.has_value()) << settings.error().message;
  EXPECT_EQ(LoadMarket(*settings, home_.path(), nullptr).error().code, ErrorCode::kCorruptFile);
}

}  // namespace
}  // namespace tradewind::cli
