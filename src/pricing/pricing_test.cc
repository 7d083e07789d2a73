// The public price maps, in samples of their own shapes, and the file that keeps what was imported.
#include <filesystem>
#include <random>

#include <gtest/gtest.h>

#include "base/file.h"
#include "catalog/starter.h"
#include "pricing/cost.h"
#include "pricing/json_leaves.h"
#include "pricing/price_file.h"
#include "pricing/price_map.h"
#include "testing/data.h"
#include "testing/temp_dir.h"

namespace tradewind::pricing {
namespace {

using catalog::PriceRow;

std::string Sample(const std::string& name) {
  const auto text = ReadFile(std::filesystem::path(TW_SOURCE_DIR) / "tests/data/prices" / name);
  EXPECT_TRUE(text.has_value()) << name;
  return text.value_or("");
}

PriceImport Parse(std::string_view json, std::string_view name = "groq.json",
                  MapFormat format = MapFormat::kAuto) {
  auto got = ParsePriceMap(json, name, format, "2026-08-21");
  EXPECT_TRUE(got.has_value()) << got.error().message;
  return got ? std::move(*got) : PriceImport();
}

const PriceRow* Find(const PriceImport& got, std::string_view model) {
  for (const PriceRow& row : got.rows) {
    if (row.provider_model == model) {
      return &row;
    }
  }
  return nullptr;
}

std::string Show(const std::optional<Decimal>& price) {
  return price ? price->ToString() : "unknown";
}

std::string Reason(const std::vector<RowNote>& notes, std::string_view key) {
  for (const RowNote& note : notes) {
    if (note.key == key) {
      return note.reason;
    }
  }
  return "none";
}

TEST(PriceMap, PortkeyRowsAreCentsPerToken) {
  const PriceImport got = Parse(Sample("portkey/together-ai.json"), "x/together-ai.json");
  EXPECT_EQ(got.format, MapFormat::kPortkey);
  const PriceRow* row = Find(got, "org/plain");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->provider, "together");
  EXPECT_EQ(Show(row->prices.input), "0.15");
  EXPECT_EQ(Show(row->prices.output), "0.6");
  EXPECT_EQ(Show(row->prices.cached_input), "0.015");
  EXPECT_EQ(Show(row->prices.cache_write), "unknown");
  EXPECT_EQ(row->prices.as_of, "2026-08-21");
  EXPECT_EQ(row->prices.origin, "portkey together-ai.json");
  EXPECT_EQ(Show(Find(got, "org/exponent")->prices.input), "0.008");
  EXPECT_EQ(Show(Find(got, "org/long")->prices.input), "0.9500000000000001")
      << "what the map says, to its last digit";
  EXPECT_EQ(Show(Find(got, "org/gratis:free")->prices.input), "0");
}

TEST(PriceMap, PortkeyRowsThatCannotBePricedSayWhy) {
  const PriceImport got = Parse(Sample("portkey/together-ai.json"), "together-ai.json");
  EXPECT_EQ(got.seen, got.rows.size() + got.unpriced.size());
  const std::pair<const char*, const char*> kReasons[] = {
      {"default", "describes the map"},
      {"org/image", "billed by tokens, but by image"},
      {"org/video", "billed by tokens, but by video_seconds"},
      {"org/half", "no price for response_token"},
      {"org/none", "no price: neither request_token nor response_token"},
      {"org/zero", "also writes for unknown"},
      {"org/unit", "1200 USD per million tokens: a wrong unit?"},
      {"org/negative", "below 0"},
      {"org/euro", "prices in EUR"},
      {"org/tiers", "depends on the length of the prompt"},
      {"org/two", "two different prices"},
      {"org/region", "depends on the region"},
      {"org/tiers-open", "no price for prompts above 272000 tokens"},
      {"org/tiers-half", "above 272000 tokens there is none for cached_input"},
      {"org/tiers-region", "depends on the region"},
      {"org/pictures", "tokens of pictures have a price of their own"},
      {"org/cached-sound", "cached tokens of sound have a price of their own"},
      {"org/flag", "not a number"},
      {"org/digits", "not a number that can be kept exactly"},
  };
  EXPECT_EQ(got.unpriced.size(), std::size(kReasons));
  for (const auto& [key, reason] : kReasons) {
    EXPECT_NE(Reason(got.unpriced, key).find(reason), std::string::npos)
        << key << ": " << Reason(got.unpriced, key);
  }
  EXPECT_NE(Reason(got.remarks, "org/extras").find("web_search"), std::string::npos);
  EXPECT_EQ(Reason(got.remarks, "org/extras").find("audio"), std::string::npos) << "it is used";
  EXPECT_EQ(Reason(got.remarks, "org/plain"), "none");
}

TEST(PriceMap, PortkeyRowsHaveThoughtSoundAndTiers) {
  const PriceImport got = Parse(Sample("portkey/together-ai.json"), "together-ai.json");
  EXPECT_EQ(Show(Find(got, "org/reasoning")->prices.reasoning), "1");
  EXPECT_EQ(Show(Find(got, "org/extras")->prices.reasoning), "unknown") << "0 says nothing";
  EXPECT_EQ(Show(Find(got, "org/extras")->prices.audio_input), "10");
  const PriceRow* row = Find(got, "org/tiers-mapped");
  ASSERT_NE(row, nullptr) << Reason(got.unpriced, "org/tiers-mapped");
  ASSERT_EQ(row->prices.tiers.size(), 1U);
  EXPECT_EQ(row->prices.tiers[0].above, 272'000);
  EXPECT_EQ(Show(row->prices.tiers[0].input), "0.3");
  EXPECT_EQ(Show(row->prices.tiers[0].output), "0.9");
  EXPECT_EQ(Show(row->prices.tiers[0].cached_input), "0.03");
  // 272,000 x 150 + 10 x 600; and 172,001 x 300 + 100,000 x 30 + 10 x 900 nano-USD.
  EXPECT_EQ(CostNanoUsd(row->prices, {272'000, 0, 10}), 40'800'000 + 6'000);
  EXPECT_EQ(CostNanoUsd(row->prices, {272'001, 100'000, 10}), 51'600'300 + 3'000'000 + 9'000);
  EXPECT_NE(Find(got, "org/pictures-alike"), nullptr) << "no price of their own";
}

TEST(PriceMap, FireworksNamesGetTheirAccount) {
  const PriceImport got = Parse(
      R"({"a":{"pricing_config":{"pay_as_you_go":{"request_token":{"price":1e-5},"response_token":{"price":2e-5}}}},
          "fireworks-ai/b":{"pricing_config":{"pay_as_you_go":{"request_token":{"price":1e-5},"response_token":{"price":2e-5}}}},
          "nomic-ai/c":{"pricing_config":{"pay_as_you_go":{"request_token":{"price":1e-5},"response_token":{"price":2e-5}}}},
          "b":{"pricing_config":{"pay_as_you_go":{"request_token":{"price":9e-5},"response_token":{"price":9e-5}}}}})",
      "fireworks-ai.json");
  EXPECT_NE(Find(got, "accounts/fireworks/models/a"), nullptr);
  EXPECT_NE(Find(got, "nomic-ai/c"), nullptr);
  EXPECT_EQ(Show(Find(got, "accounts/fireworks/models/b")->prices.input), "0.1");
  EXPECT_NE(Reason(got.unpriced, "b").find("listed already"), std::string::npos);
}

TEST(PriceMap, LiteLlmRowsAreUsdPerTokenOfAllProviders) {
  const PriceImport got = Parse(Sample("litellm.json"));
  EXPECT_EQ(got.format, MapFormat::kLiteLlm);
  const PriceRow* row = Find(got, "accounts/fireworks/models/x");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->provider, "fireworks-ai");
  EXPECT_EQ(row->task, "conversational");
  EXPECT_EQ(Show(row->prices.input), "0.15");
  EXPECT_EQ(Show(row->prices.output), "0.6");
  EXPECT_EQ(Show(row->prices.cached_input), "0.0375");
  EXPECT_EQ(Show(row->prices.cache_write), "0.1875");
  EXPECT_EQ(row->context_length, 131072);
  EXPECT_EQ(row->max_output, 8192);
  EXPECT_EQ(row->supports_tools, true);
  EXPECT_EQ(row->supports_structured_output, false);
  EXPECT_EQ(Find(got, "org/y")->provider, "together");
  EXPECT_EQ(Find(got, "embed-1")->task, "feature-extraction");
  EXPECT_EQ(Show(Find(got, "embed-1")->prices.output), "0") << "embeddings have no output tokens";
  ASSERT_NE(Find(got, "same-tier"), nullptr);
  EXPECT_TRUE(Find(got, "same-tier")->prices.tiers.empty())
      << "a tier of the same price is no tier";
}

TEST(PriceMap, LiteLlmRowsThatCannotBePricedSayWhy) {
  const PriceImport got = Parse(Sample("litellm.json"));
  EXPECT_EQ(got.seen, got.rows.size() + got.unpriced.size());
  const std::pair<const char*, const char*> kReasons[] = {
      {"sample_spec", "describes the map"},
      {"tiered", "depends on the length of the prompt"},
      {"range-gap", "in ranges that do not follow each other"},
      {"dear-request", "50 USD for each: a wrong unit?"},
      {"citing", "tokens of citations"},
      {"picture-tokens", "tokens of pictures have a price of their own"},
      {"hearer-of-old", "cached tokens of sound have a price of their own"},
      {"image", "mode image_generation is not billed by tokens"},
      {"nobody", "names no provider"},
      {"nickname", "another name for same-tier"},
      {"modeless", "no mode"},
      {"free-or-unknown", "also writes for unknown"},
      {"per-second", "billed by tokens, but by input_cost_per_second"},
  };
  EXPECT_EQ(got.unpriced.size(), std::size(kReasons));
  for (const auto& [key, reason] : kReasons) {
    EXPECT_NE(Reason(got.unpriced, key).find(reason), std::string::npos)
        << key << ": " << Reason(got.unpriced, key);
  }
}

TEST(PriceMap, LiteLlmRowsHaveThoughtRequestsPicturesSoundAndTiers) {
  const PriceImport got = Parse(Sample("litellm.json"));
  EXPECT_EQ(Show(Find(got, "thinker")->prices.reasoning), "0.9");
  EXPECT_EQ(Show(Find(got, "per-request")->prices.request), "0.005");
  EXPECT_EQ(Show(Find(got, "seer")->prices.image), "0.0011");
  EXPECT_EQ(Show(Find(got, "hearer")->prices.audio_input), "40");
  EXPECT_EQ(Show(Find(got, "hearer")->prices.audio_output), "80");
  EXPECT_EQ(Show(Find(got, "tier-list")->prices.output), "0.4") << "one range is no tier";
  const catalog::Prices& longer = Find(got, "long-prompts")->prices;
  ASSERT_EQ(longer.tiers.size(), 1U);
  EXPECT_EQ(longer.tiers[0].above, 200'000);
  // 200,000 tokens: 3,000 nano-USD each. One more: 100,000 fresh at 6,000, 100,000 cached at 600,
  // one written at 7,500, and 1,000 of output at 22,500.
  EXPECT_EQ(CostNanoUsd(longer, {200'000, 0, 1000, 0}), 600'000'000 + 15'000'000);
  EXPECT_EQ(CostNanoUsd(longer, {200'001, 100'000, 1000, 1}),
            600'000'000 + 60'000'000 + 7'500 + 22'500'000);
  EXPECT_NE(Reason(got.remarks, "long-prompts").find("above_1hr"), std::string::npos);
  EXPECT_NE(Reason(got.remarks, "long-prompts").find("service tier priority"), std::string::npos)
      << "of which only one price is said";
  EXPECT_TRUE(longer.service_tiers.empty());
  const catalog::Prices& ranges = Find(got, "ranges")->prices;
  ASSERT_EQ(ranges.tiers.size(), 1U);
  EXPECT_EQ(ranges.tiers[0].above, 32'000);
  TokenCounts used{32'000, 0, 100};
  used.reasoning = 60;
  EXPECT_EQ(CostNanoUsd(ranges, used), 32'000 * 400 + 40 * 1'200 + 60 * 4'000);
  used.input = 32'001;
  EXPECT_EQ(CostNanoUsd(ranges, used), 32'001 * 1'200 + 40 * 3'600 + 60 * 12'000);
}

TEST(PriceMap, BothMapsHavePricesOfWritesThatAreKeptForAnHour) {
  const PriceImport lite = Parse(Sample("litellm.json"));
  const catalog::Prices& tiered = Find(lite, "long-cache")->prices;
  EXPECT_EQ(Show(tiered.cache_write), "3.75");
  EXPECT_EQ(Show(tiered.cache_write_1h), "6");
  ASSERT_EQ(tiered.tiers.size(), 1U);
  EXPECT_EQ(Show(tiered.tiers[0].cache_write_1h), "12");
  EXPECT_EQ(Reason(lite.remarks, "long-cache").find("above_1hr"), std::string::npos);
  const PriceRow* part = Find(lite, "long-prompts");
  ASSERT_NE(part, nullptr) << "a row whose tiers do not say it keeps its other prices";
  EXPECT_EQ(Show(part->prices.cache_write_1h), "unknown");
  EXPECT_EQ(Show(part->prices.tiers[0].cache_write_1h), "unknown");

  const auto portkey = [](const std::string& hour) {
    return Parse(
        R"({"a":{"pricing_config":{"pay_as_you_go":{"request_token":{"price":0.0003},"response_token":
            {"price":0.0015},"cache_write_input_token":{"price":0.000375},"additional_units":
            {"cache_write_1h":{"price":)" +
            hour + R"(},"web_search":{"price":1}}}}}})",
        "anthropic.json");
  };
  const PriceImport rows = portkey("0.0006");
  EXPECT_EQ(Show(Find(rows, "a")->prices.cache_write), "3.75");
  EXPECT_EQ(Show(Find(rows, "a")->prices.cache_write_1h), "6");
  EXPECT_EQ(Reason(rows.remarks, "a").find("cache_write_1h"), std::string::npos);
  EXPECT_NE(Reason(rows.remarks, "a").find("web_search"), std::string::npos);
  const PriceImport zero = portkey("0");
  EXPECT_EQ(Show(Find(zero, "a")->prices.cache_write_1h), "unknown") << "0 is no price of it";
}

TEST(PriceMap, APriceOfNoUnitIsNoUnit) {
  const PriceImport got = Parse(R"({"a":{"pricing_config":{"pay_as_you_go":{"price":3,
      "request_token":{"price":0.0003},"response_token":{"price":0.0015}}},
      "custom_pricing":{"regions":{"default":{"execution_modes":{"standard":{"pricing_config":
      {"pay_as_you_go":{"price":9}}}}}}}}})",
                                "x.json");
  EXPECT_EQ(Show(Find(got, "a")->prices.input), "3");
}

TEST(PriceMap, WhatIsNoMapIsRefused) {
  const auto refused = [](std::string_view json) {
    return ParsePriceMap(json, "x.json", MapFormat::kAuto, "").error().code;
  };
  EXPECT_EQ(refused(""), ErrorCode::kCorruptFile);
  EXPECT_EQ(refused("[]"), ErrorCode::kCorruptFile);
  EXPECT_EQ(refused("{\"a\":{\"b\":1}"), ErrorCode::kCorruptFile);
  EXPECT_EQ(refused("{\"a\":{\"b\":1}} x"), ErrorCode::kCorruptFile);
  EXPECT_EQ(refused("{\"a\":\"\xFF\"}"), ErrorCode::kCorruptFile);
  EXPECT_EQ(refused("{}"), ErrorCode::kUnsupported);
  EXPECT_EQ(refused("{\"a\":{\"price\":1}}"), ErrorCode::kUnsupported);
  std::string deep = "{\"a\":";
  for (int i = 0; i < 200; ++i) {
    deep += "{\"a\":";
  }
  EXPECT_EQ(refused(deep + "1" + std::string(201, '}')), ErrorCode::kCorruptFile);
}

TEST(PriceMap, DamagedMapsNeverGiveMoreThanTheyHold) {
  const std::string map = Sample("portkey/together-ai.json");
  const size_t rows = Parse(map, "together-ai.json").rows.size();
  std::mt19937_64 random(5);
  int read = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = map;
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % damaged.size();
      random() % 2 == 0 ? static_cast<void>(damaged[at] = static_cast<char>(random()))
                        : static_cast<void>(damaged.erase(at, random() % 40));
    }
    const auto got = ParsePriceMap(damaged, "x.json", MapFormat::kPortkey, "");
    if (got) {
      ++read;
      EXPECT_LE(got->rows.size(), rows + 3);
      for (const PriceRow& row : got->rows) {
        ASSERT_TRUE(row.prices.is_priced());
        ASSERT_FALSE(row.prices.input->is_negative());
      }
    }
  }
  EXPECT_GT(read, 20) << "damage in names and spaces leaves a map";
}

TEST(PriceMap, EveryRowOfThePublicMapsIsPricedOrNamed) {
  const std::filesystem::path folder = testing::SharedDir() / "prices/pricing";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no ../shared/prices";
  }
  size_t maps = 0, rows = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto text = ReadFile(entry.path());
    ASSERT_TRUE(text.has_value());
    const PriceImport got = Parse(*text, entry.path().string());
    ++maps;
    rows += got.rows.size();
    size_t members = 0;
    ASSERT_TRUE(ForEachMember(*text, [&](const std::string&, const Leaves&) -> Status {
                  ++members;
                  return {};
                }).has_value());
    EXPECT_EQ(got.rows.size() + got.unpriced.size(), members) << entry.path();
    for (const RowNote& note : got.unpriced) {
      EXPECT_FALSE(note.reason.empty()) << note.key;
    }
  }
  EXPECT_EQ(maps, 14u);
  EXPECT_GT(rows, 1000u);
  const auto together = ReadFile(folder / "together-ai.json");
  const PriceImport got = Parse(*together, "together-ai.json");
  EXPECT_EQ(Show(Find(got, "openai/gpt-oss-120b")->prices.output), "0.6");
  EXPECT_NE(Reason(got.unpriced, "MiniMaxAI/MiniMax-M2.5").find("wrong unit"), std::string::npos);
}

TEST(PriceMap, RowsOfThePublicMapsHaveTheirUnits) {
  const std::filesystem::path folder = testing::SharedDir() / "prices/pricing";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no ../shared/prices";
  }
  const auto router = ReadFile(folder / "openrouter.json");
  const auto openai = ReadFile(folder / "openai.json");
  ASSERT_TRUE(router.has_value() && openai.has_value());
  const PriceImport routed = Parse(*router, "openrouter.json");
  const PriceRow* research = Find(routed, "perplexity/sonar-deep-research");
  ASSERT_NE(research, nullptr);
  EXPECT_EQ(Show(research->prices.output), "8");
  EXPECT_EQ(Show(research->prices.reasoning), "3");
  const PriceRow* flash = Find(routed, "google/gemini-2.5-flash");
  ASSERT_NE(flash, nullptr);
  EXPECT_EQ(Show(flash->prices.audio_input), "1");
  EXPECT_EQ(Show(flash->prices.reasoning), "unknown") << "as output";
  const PriceImport direct = Parse(*openai, "openai.json");
  EXPECT_EQ(Show(Find(direct, "gpt-4o-audio-preview")->prices.audio_output), "200");
  EXPECT_NE(Reason(direct.unpriced, "gpt-4o-transcribe").find("wrong unit"), std::string::npos);
  EXPECT_NE(Reason(direct.unpriced, "gpt-5.4").find("depends on the region"), std::string::npos);
  EXPECT_NE(Reason(direct.unpriced, "gpt-realtime-1.5").find("tokens of pictures"),
            std::string::npos);
  EXPECT_NE(Reason(direct.unpriced, "gpt-realtime-mini-2025-10-06").find("cached tokens of sound"),
            std::string::npos);
}

TEST(PriceMap, TheStarterCatalogueSaysWhatThePublicMapsSay) {
  const std::filesystem::path folder = testing::SharedDir() / "prices/pricing";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no ../shared/prices";
  }
  std::map<std::pair<std::string, std::string>, catalog::Prices> priced;
  for (const char* name : {"fireworks-ai.json", "together-ai.json", "cerebras.json", "groq.json"}) {
    const auto text = ReadFile(folder / name);
    ASSERT_TRUE(text.has_value()) << name;
    for (const PriceRow& row : Parse(*text, name).rows) {
      priced[{row.provider, row.provider_model}] = row.prices;
    }
  }
  size_t compared = 0;
  for (const catalog::Mapping& mapping : catalog::Starter().mappings) {
    const auto row = priced.find({mapping.provider, mapping.provider_model});
    if (row == priced.end()) {
      continue;
    }
    ++compared;
    EXPECT_EQ(mapping.prices.input, row->second.input) << mapping.provider_model;
    EXPECT_EQ(mapping.prices.output, row->second.output) << mapping.provider_model;
    EXPECT_EQ(mapping.prices.cached_input, row->second.cached_input) << mapping.provider_model;
  }
  EXPECT_GE(compared, 40u);
}

PriceRow Row(std::string model, std::string_view input, std::string origin) {
  PriceRow row;
  row.provider = "groq";
  row.provider_model = std::move(model);
  row.prices.input = Decimal::Parse(input).value();
  row.prices.output = Decimal();
  row.prices.origin = std::move(origin);
  return row;
}

TEST(PriceFile, WhatIsSavedIsReadBackExactly) {
  const testing::TempDir home;
  EXPECT_TRUE(LoadPrices(home.path())->empty()) << "no file, no rows";
  PriceRow row = Row("a\"b\xC3\xA9", "0.9500000000000001", "portkey x.json");
  row.task = "conversational";
  row.context_length = 5;
  row.supports_tools = false;
  row.prices.as_of = "2026-08-21";
  ASSERT_TRUE(SavePrices(home.path(), {row, Row("b", "1", "y")}).has_value());
  const auto rows = LoadPrices(home.path());
  ASSERT_TRUE(rows.has_value()) << rows.error().message;
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].provider_model, row.provider_model);
  EXPECT_EQ((*rows)[0].prices.input, row.prices.input);
  EXPECT_TRUE((*rows)[0].prices.output->is_zero());
  EXPECT_FALSE((*rows)[0].prices.cached_input.has_value());
  EXPECT_EQ((*rows)[0].context_length, 5);
  EXPECT_EQ((*rows)[0].supports_tools, false);
  EXPECT_EQ((*rows)[0].supports_structured_output, std::nullopt);
  EXPECT_EQ((*rows)[0].task, "conversational");
  EXPECT_EQ((*rows)[0].prices.as_of, "2026-08-21");
  EXPECT_EQ((*rows)[0].prices.origin, "portkey x.json");
}

TEST(PriceFile, EveryUnitAndTierIsReadBack) {
  const testing::TempDir home;
  const PriceImport got = Parse(Sample("litellm.json"));
  ASSERT_TRUE(SavePrices(home.path(), got.rows).has_value());
  const auto rows = LoadPrices(home.path());
  ASSERT_TRUE(rows.has_value()) << rows.error().message;
  ASSERT_EQ(rows->size(), got.rows.size());
  for (size_t i = 0; i < rows->size(); ++i) {
    const catalog::Prices &mine = got.rows[i].prices, &read = (*rows)[i].prices;
    EXPECT_EQ(static_cast<const catalog::TokenPrices&>(read), mine) << (*rows)[i].provider_model;
    EXPECT_EQ(read.request, mine.request);
    EXPECT_EQ(read.image, mine.image);
    EXPECT_EQ(read.tiers, mine.tiers);
  }
}

TEST(PriceFile, DamageIsNamedWithTheNextStep) {
  const testing::TempDir home;
  for (
      const char* text :
      {"", "{", "[]", "{}", R"({"schema":"other","rows":[]})",
       R"({"schema":"tradewind.prices/v1"})", R"({"schema":"tradewind.prices/v1","rows":[3]})",
       R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a"}]})",
       R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a","model":"b","input":0.1}]})",
       R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a","model":"b","input":"-1"}]})",
       R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a","model":"b","tiers":3}]})",
       R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a","model":"b","input":"1","output":"1","tiers":[{"above":5,"input":"2"}]}]})",
       R"({"schema":"tradewind.prices/v1","rows":[{"provider":"a","model":"b","max_output":0}]})"}) {
    ASSERT_TRUE(WriteFileAtomic(PriceFilePath(home.path()), text).has_value());
    const auto rows = LoadPrices(home.path());
    ASSERT_FALSE(rows.has_value()) << text;
    EXPECT_EQ(rows.error().code, ErrorCode::kCorruptFile);
    EXPECT_NE(rows.error().message.find("prices.json"), std::string::npos);
    EXPECT_NE(rows.error().message.find("import the price maps again"), std::string::npos);
  }
}

TEST(PriceFile, ANewerMapLeavesNoPriceThatItNoLongerHas) {
  const auto merged = MergePrices({Row("a", "1", "x"), Row("b", "1", "x"), Row("c", "1", "y")},
                                  {Row("a", "2", "x"), Row("c", "2", "x")});
  ASSERT_EQ(merged.size(), 2u);
  EXPECT_EQ(merged[0].provider_model, "a");
  EXPECT_EQ(Show(merged[0].prices.input), "2");
  EXPECT_EQ(merged[1].provider_model, "c");
  EXPECT_EQ(Show(merged[1].prices.input), "2");
  EXPECT_EQ(MergePrices({Row("a", "1", "")}, {}).size(), 1u);
}

}  // namespace
}  // namespace tradewind::pricing
