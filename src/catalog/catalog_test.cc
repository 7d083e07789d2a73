// What the catalogue says of who serves which model, from all its sources together.
#include "catalog/catalog.h"

#include <fstream>

#include <gtest/gtest.h>

#include "catalog/known_providers.h"
#include "testing/temp_dir.h"

namespace tradewind::catalog {
namespace {

Decimal Usd(std::string_view text) {
  return Decimal::Parse(text).value();
}

Mapping Row(std::string provider, std::string hf_model, std::string provider_model,
            std::string_view input = "", std::string_view output = "") {
  Mapping mapping;
  mapping.provider = std::move(provider);
  mapping.hf_model = std::move(hf_model);
  mapping.provider_model = std::move(provider_model);
  if (!input.empty()) {
    mapping.prices.input = Usd(input);
    mapping.prices.output = Usd(output);
  }
  return mapping;
}

ProviderConfig Config(std::string name, std::string kind, std::vector<Mapping> models = {}) {
  ProviderConfig config;
  config.name = std::move(name);
  config.kind = std::move(kind);
  config.base_url = "https://" + config.name + ".example/v1";
  config.origin = "test.toml: " + config.name;
  config.models = std::move(models);
  return config;
}

PriceRow Price(std::string provider, std::string model, std::string_view input) {
  PriceRow row;
  row.provider = std::move(provider);
  row.provider_model = std::move(model);
  row.prices.input = row.prices.output = Usd(input);
  return row;
}

std::vector<std::string> Providers(const Model* model) {
  std::vector<std::string> out;
  for (const Mapping& mapping : model == nullptr ? std::vector<Mapping>() : model->mappings) {
    out.push_back(mapping.provider);
  }
  return out;
}

using Slugs = std::vector<std::string>;

CatalogSources WithStarter() {
  CatalogSources sources;
  for (const char* slug : {"fireworks-ai", "together", "cerebras", "groq", "huggingface"}) {
    Provider provider;
    provider.slug = provider.kind = slug;
    provider.base_url = std::string("https://known.example/") + slug;
    provider.api_key_env = std::string("KEY_OF_") + slug;
    sources.known.push_back(provider);
  }
  sources.starter = Starter();
  return sources;
}

TEST(Starter, TheEmbeddedCatalogueHoldsTogether) {
  const auto parsed = ParseStarter(StarterJson());
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_GE(parsed->mappings.size(), 40u);
  for (const Mapping& mapping : parsed->mappings) {
    EXPECT_EQ(mapping.prices.empty(), mapping.provider == "huggingface") << mapping.hf_model;
    EXPECT_EQ(mapping.prices.empty(), mapping.prices.as_of.empty()) << mapping.hf_model;
    if (mapping.prices.input) {
      EXPECT_LT(*mapping.prices.input, Usd("50")) << mapping.hf_model << ": a wrong unit?";
      EXPECT_GT(*mapping.prices.input, Usd("0.001")) << mapping.hf_model;
    }
    if (mapping.provider == "fireworks-ai" && mapping.task == "conversational") {
      EXPECT_TRUE(mapping.provider_model.starts_with("accounts/fireworks/models/"));
    }
  }
  const auto catalog = Catalog::Build(WithStarter());
  EXPECT_TRUE(catalog->conflicts().empty()) << catalog->conflicts()[0];
  EXPECT_EQ(catalog->Find("openai/gpt-oss-120b")->At("cerebras")->prices.output, Usd("0.75"));
  EXPECT_EQ(catalog->Find("openai/gpt-oss-120b")->Created(), 1754352000);
}

TEST(Starter, DamagedDataIsRefusedByRow) {
  const auto wrong = [](std::string_view mapping) {
    return ParseStarter(std::string(R"({"mappings":[)") + std::string(mapping) + "]}")
        .error()
        .message;
  };
  const std::string row = R"("provider":"groq","hf_model":"a/b","provider_model":"b")";
  EXPECT_NE(wrong("{" + row + R"(,"input":0.1})").find("mappings[0].input"), std::string::npos);
  EXPECT_NE(wrong("{" + row + R"(,"input":"1"})").find("mappings[0].as_of"), std::string::npos);
  EXPECT_NE(wrong("{" + row + R"(,"status":"up"})").find("status"), std::string::npos);
  EXPECT_NE(wrong("{" + row + R"(,"context_length":-1})").find("context"), std::string::npos);
  EXPECT_NE(wrong(R"({"provider":"groq"})").find("hf_model"), std::string::npos);
  EXPECT_NE(wrong("3").find("object"), std::string::npos);
  EXPECT_FALSE(ParseStarter("{").has_value());
  EXPECT_FALSE(ParseStarter(R"({"mappings":{}})").has_value());
}

TEST(Catalog, ListsTheModelsOfThisDeviceBesideTheOthersAndFirst) {
  const testing::TempDir folder;
  std::ofstream(folder.path() / "gpt-oss-20b.gguf") << "GGUF\3\0\0\0 rest";
  auto local = std::make_shared<LocalModels>(LocalModels::Scan(std::array{folder.path()}));
  ASSERT_EQ(local->models().size(), 1u);
  CatalogSources sources = WithStarter();
  sources.local = local;
  const auto catalog = Catalog::Build(sources);
  EXPECT_EQ(catalog->providers()[0].slug, "local");
  EXPECT_EQ(catalog->providers()[0].data_policy, DataPolicy::kNoRetention);
  const Model* model = catalog->Find(local->models()[0].id);
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(Providers(model), Slugs{"local"});
  EXPECT_TRUE(model->mappings[0].prices.is_free());
}

TEST(Catalog, TheConfigCountsBeforeTheStarterCatalogueWithItsWholeRow) {
  CatalogSources sources = WithStarter();
  sources.configured = {
      Config("groq", "groq", {Row("groq", "openai/gpt-oss-20b", "mine")}),
      Config("site-a", "openai", {Row("site-a", "OpenAI/GPT-OSS-20B", "x", "0.01", "0.02")})};
  const auto catalog = Catalog::Build(sources);
  EXPECT_TRUE(catalog->conflicts().empty());
  const Model* model = catalog->Find("openai/gpt-oss-20b");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->At("groq")->provider_model, "mine");
  EXPECT_FALSE(model->At("groq")->prices.is_priced()) << "an omitted price is unknown";
  EXPECT_EQ(model->At("site-a")->prices.output, Usd("0.02"));
  EXPECT_EQ(Providers(model), (Slugs{"groq", "site-a", "fireworks-ai", "together", "huggingface"}))
      << "in the order of the config, then of the starter catalogue";
  EXPECT_EQ(catalog->FindProvider("groq")->base_url, "https://groq.example/v1");
  EXPECT_EQ(catalog->FindProvider("groq")->api_key_env, "KEY_OF_groq") << "kept when not said";
  EXPECT_EQ(catalog->FindByProviderModel("site-a", "x"), model->At("site-a"));
  EXPECT_EQ(catalog->FindByProviderModel("site-a", "y"), nullptr);
  EXPECT_EQ(catalog->FindByProviderModel("groq", "openai/gpt-oss-20b"), nullptr);
}

TEST(Catalog, AServerOfOnesOwnNeedsAKeyOnlyWhenSomebodySaysWhereItIs) {
  CatalogSources sources = WithStarter();
  ProviderConfig keyed = Config("keyed", "openai");
  keyed.api_key_env = "K";
  ProviderConfig team = Config("team", "together");
  team.base_url.clear();
  sources.configured = {Config("open", "openai"), keyed, team};
  const auto catalog = Catalog::Build(sources);
  EXPECT_FALSE(catalog->FindProvider("open")->needs_key);
  EXPECT_TRUE(catalog->FindProvider("keyed")->needs_key);
  EXPECT_TRUE(catalog->FindProvider("team")->needs_key);
  EXPECT_EQ(catalog->FindProvider("team")->base_url, "https://known.example/together")
      << "the address of its kind";
  EXPECT_EQ(catalog->FindProvider("team")->api_key_env, "") << "but not the other account's key";
}

TEST(Catalog, ImportedPricesReplaceThoseOfTheStarterCatalogueOnly) {
  CatalogSources sources = WithStarter();
  sources.configured = {Config("site-a", "openai", {Row("site-a", "a/b", "m", "1", "1")})};
  sources.imported = {Price("groq", "openai/gpt-oss-20b", "9"), Price("site-a", "m", "9")};
  const auto catalog = Catalog::Build(sources);
  EXPECT_EQ(catalog->Find("openai/gpt-oss-20b")->At("groq")->prices.input, Usd("9"));
  EXPECT_EQ(catalog->Find("openai/gpt-oss-20b")->At("together")->prices.input, Usd("0.05"));
  EXPECT_EQ(catalog->Find("a/b")->At("site-a")->prices.input, Usd("1"));
}

TEST(Catalog, AnImportedRowWithAHubIdCanBeNamedButIsNotListed) {
  CatalogSources sources = WithStarter();
  sources.imported = {Price("together", "new-org/new-model", "2"), Price("groq", "plain", "3"),
                      Price("nobody", "x/y", "4")};
  const auto catalog = Catalog::Build(sources);
  const Model* model = catalog->Find("new-org/new-model");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->At("together")->status, MappingStatus::kStaging);
  EXPECT_FALSE(model->is_listed());
  EXPECT_FALSE(catalog->Resolve("new-model").has_value()) << "bare names find listed models only";
  EXPECT_EQ(catalog->Find("plain"), nullptr);
  EXPECT_EQ(catalog->Find("x/y"), nullptr);
  EXPECT_EQ(catalog->FindPrice("groq", "plain")->prices.input, Usd("3"));
  EXPECT_EQ(catalog->FindPrice("groq", "other"), nullptr);
}

TEST(Catalog, TheOrderOfTheConfigRules) {
  CatalogSources sources = WithStarter();
  sources.order = {"groq", "nobody", "together"};
  const auto catalog = Catalog::Build(sources);
  EXPECT_EQ(catalog->slugs(),
            (Slugs{"groq", "together", "local", "fireworks-ai", "cerebras", "huggingface"}));
  EXPECT_EQ(Providers(catalog->Find("openai/gpt-oss-120b")),
            (Slugs{"groq", "together", "fireworks-ai", "cerebras", "huggingface"}));
  ASSERT_EQ(catalog->conflicts().size(), 1u);
  EXPECT_NE(catalog->conflicts()[0].find("\"nobody\""), std::string::npos);
}

TEST(Catalog, DuplicatesAreReportedAndTheFirstCounts) {
  CatalogSources sources;
  sources.configured = {Config("a", "openai", {Row("a", "x/y", "one"), Row("a", "X/Y", "two")}),
                        Config("a", "openai", {Row("a", "x/z", "three")})};
  const auto catalog = Catalog::Build(sources);
  EXPECT_EQ(catalog->conflicts().size(), 2u);
  EXPECT_EQ(catalog->Find("x/y")->mappings.size(), 1u);
  EXPECT_EQ(catalog->Find("x/y")->At("a")->provider_model, "one");
  EXPECT_EQ(catalog->Find("x/z"), nullptr);
}

TEST(Catalog, BareNamesCountWhenOneModelAloneHasThem) {
  CatalogSources sources;
  sources.configured = {Config(
      "a", "openai", {Row("a", "x/one", "1"), Row("a", "y/two", "2"), Row("a", "z/two", "3")})};
  const auto catalog = Catalog::Build(sources);
  EXPECT_EQ(catalog->Resolve("ONE").value()->id, "x/one");
  EXPECT_EQ(catalog->Resolve("X/One").value()->id, "x/one");
  EXPECT_NE(catalog->Resolve("two").error().message.find("y/two or z/two"), std::string::npos);
  EXPECT_EQ(catalog->Resolve("three").error().code, ErrorCode::kModelNotSupported);
}

std::string Explain(const Catalog& catalog, std::string_view text) {
  const auto ref = ParseModelRef(text, RefSource::kWire, catalog.slugs());
  const Error error = ref ? ExplainUnsupported(catalog, *ref) : ref.error();
  EXPECT_EQ(error.code, ErrorCode::kModelNotSupported);
  EXPECT_EQ(error.param, "model");
  return error.message;
}

TEST(Catalog, ARefusalNamesWhoWasConsideredAndWhy) {
  CatalogSources sources = WithStarter();
  sources.configured = {Config("site-a", "openai", {Row("site-a", "a/b", "m")})};
  sources.configured[0].models[0].status = MappingStatus::kError;
  const auto catalog = Catalog::Build(sources);
  EXPECT_EQ(Explain(*catalog, "a/b"),
            "The model \"a/b\" has no route here. Considered: site-a: its last check failed.");
  EXPECT_EQ(
      Explain(*catalog, "a/b:groq"),
      "The model \"a/b\" has no route here. Considered: groq: does not serve a/b; site-a: its "
      "last check failed.");
  EXPECT_EQ(Explain(*catalog, "a/b:nebius"),
            "The provider \"nebius\" is not configured; there are local, site-a, fireworks-ai, "
            "together, cerebras, groq, huggingface. [[providers]] in the config adds one.");
  EXPECT_EQ(
      Explain(*catalog, "a/b:8b-q4"),
      "\"8b-q4\" is neither a provider (local, site-a, fireworks-ai, together, cerebras, groq, "
      "huggingface), nor a policy (cheapest, fastest, preferred, private), nor a tag of a model "
      "on this device.");
  EXPECT_NE(Explain(*catalog, "no/such").find("No provider serves"), std::string::npos);
}

TEST(Catalog, ModelStringsKnowTheSlugsOfTheConfig) {
  const Slugs slugs = {"local", "site-a"};
  const auto known = ParseModelRef("a/b:Site-A", RefSource::kWire, slugs).value();
  EXPECT_EQ(known.place, Place::kProvider);
  EXPECT_EQ(known.suffix, "site-a");
  EXPECT_EQ(ParseModelRef("a/b:site-a", RefSource::kWire)->tag, "site-a") << "else it is a tag";
  EXPECT_EQ(ParseModelRef("a/b@site-a", RefSource::kCommandLine, slugs)->suffix, "site-a");
  EXPECT_EQ(ParseModelRef("a/b@site-a", RefSource::kWire, slugs)->model, "a/b@site-a");
  EXPECT_NE(
      ParseModelRef("a/b@site-b", RefSource::kCommandLine, slugs).error().message.find("site-a"),
      std::string::npos);
}

TEST(KnownProviders, SlugTextIsWhatMayStandAfterTheColon) {
  for (const std::string_view slug : KnownSlugs()) {
    EXPECT_TRUE(IsSlugText(slug)) << slug;
    EXPECT_FALSE(IsPolicy(slug)) << slug;
  }
  for (const char* wrong : {"", "-a", "a-", "A", "a b", "a/b", "a:b", "\xC3\xA4"}) {
    EXPECT_FALSE(IsSlugText(wrong)) << wrong;
  }
  EXPECT_FALSE(IsSlugText(std::string(65, 'a')));
}

}  // namespace
}  // namespace tradewind::catalog
