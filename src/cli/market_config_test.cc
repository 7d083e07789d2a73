// What operators write into the config file about providers and routes, right and wrong.
#include "cli/market_config.h"

#include <gtest/gtest.h>

namespace tradewind::cli {
namespace {

using catalog::DataPolicy;

struct Outcome {
  MarketReader reader;
  Status status;
  std::vector<std::string> warnings;

  const catalog::MarketConfig& config() const { return reader.config(); }
};

Outcome Read(std::string_view toml) {
  Outcome out;
  out.status = out.reader.Read(toml, "/etc/tw/test.toml", out.warnings);
  return out;
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

TEST(MarketConfig, ReadsTheFormOfTheDesign) {
  const Outcome out = Read(R"(
[server]
port = 1
cors_origins = ["https://app.example", "http://localhost:5173"]
[route]
default = "cheapest"
order = ["local", "site-a", "groq"]
fallback = "off"
data_policy = "no-retention"
[[providers]]
name = "site-a"
kind = "openai"
base_url = "http://127.0.0.1:9001/v1/"
api_key_env = "SITE_A_KEY"
allow_private = true
data_policy = "no-retention"
models = [{ id = "org/name", provider_id = "model-x", input_usd_per_mtok = "0.10", output_usd_per_mtok = "0.30", context = 8192 }]
[[providers]]
name = "groq"
api_key_file = "keys/groq"
api_key_header = "x-api-key"
)");
  ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
  EXPECT_TRUE(out.warnings.empty()) << out.warnings[0];
  ASSERT_EQ(out.config().providers.size(), 2u);
  const catalog::ProviderConfig& site = out.config().providers[0];
  EXPECT_EQ(site.name, "site-a");
  EXPECT_EQ(site.kind, "openai");
  EXPECT_EQ(site.base_url, "http://127.0.0.1:9001/v1");
  EXPECT_EQ(site.api_key_env, "SITE_A_KEY");
  EXPECT_TRUE(site.allow_private);
  EXPECT_EQ(site.data_policy, DataPolicy::kNoRetention);
  EXPECT_EQ(site.origin, "/etc/tw/test.toml line 10");
  ASSERT_EQ(site.models.size(), 1u);
  EXPECT_EQ(site.models[0].provider, "site-a");
  EXPECT_EQ(site.models[0].hf_model, "org/name");
  EXPECT_EQ(site.models[0].provider_model, "model-x");
  EXPECT_EQ(site.models[0].prices.input->ToString(), "0.1");
  EXPECT_EQ(site.models[0].prices.output->ToString(), "0.3");
  EXPECT_FALSE(site.models[0].prices.cached_input.has_value());
  EXPECT_EQ(site.models[0].context_length, 8192);
  EXPECT_EQ(out.config().providers[1].kind, "groq");
  EXPECT_EQ(out.config().providers[1].api_key_file, "/etc/tw/keys/groq")
      << "relative to the file that names it";
  EXPECT_EQ(out.config().providers[1].api_key_header, "x-api-key");
  EXPECT_EQ(site.api_key_header, "");
  EXPECT_EQ(out.config().route.default_policy, catalog::RoutePolicy::kCheapest);
  EXPECT_EQ(out.config().route.order, (std::vector<std::string>{"local", "site-a", "groq"}));
  EXPECT_EQ(out.config().route.fallback, catalog::Fallback::kOff);
  EXPECT_EQ(out.config().route.data_policy, catalog::DataRule::kNoRetention);
  EXPECT_EQ(out.config().cors_origins.size(), 2u);
}

TEST(MarketConfig, OmittedPricesAreUnknownAndZeroIsFree) {
  const Outcome out = Read(R"([[providers]]
name = "a"
kind = "openai"
base_url = "https://a.example"
models = [{ id = "m" }, { id = "n", input_usd_per_mtok = "0", output_usd_per_mtok = 0 }]
)");
  ASSERT_TRUE(out.status.has_value());
  const auto& models = out.config().providers[0].models;
  EXPECT_TRUE(models[0].prices.empty());
  EXPECT_FALSE(models[0].prices.is_free());
  EXPECT_TRUE(models[1].prices.is_free());
  EXPECT_EQ(models[0].provider_model, "m") << "the provider's name is the same unless said";
}

TEST(MarketConfig, AModelMayHavePricesOfEveryUnitAndOfTiers) {
  const Outcome out = Read(R"([[providers]]
name = "a"
kind = "openai"
base_url = "https://a.example"
models = [{ id = "m", input_usd_per_mtok = "1", output_usd_per_mtok = "2", reasoning_usd_per_mtok = "3", request_usd = "0.005", image_usd = "0.001", audio_input_usd_per_mtok = "40", audio_output_usd_per_mtok = "80", tiers = [{ above = 200000, input_usd_per_mtok = "2", output_usd_per_mtok = "4", reasoning_usd_per_mtok = "6", audio_input_usd_per_mtok = "40", audio_output_usd_per_mtok = "80" }] }]
)");
  ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
  EXPECT_TRUE(out.warnings.empty()) << out.warnings[0];
  const catalog::Prices& prices = out.config().providers[0].models[0].prices;
  EXPECT_EQ(prices.reasoning->ToString(), "3");
  EXPECT_EQ(prices.request->ToString(), "0.005");
  EXPECT_EQ(prices.image->ToString(), "0.001");
  EXPECT_EQ(prices.audio_output->ToString(), "80");
  ASSERT_EQ(prices.tiers.size(), 1U);
  EXPECT_EQ(prices.tiers[0].above, 200'000);
  EXPECT_EQ(prices.tiers[0].reasoning->ToString(), "6");
}

TEST(MarketConfig, AModelMayHavePricesOfServiceTiers) {
  const auto read = [](const std::string& flex) {
    return Read(R"([[providers]]
name = "a"
kind = "openai"
base_url = "https://a.example"
models = [{ id = "m", input_usd_per_mtok = "1", output_usd_per_mtok = "2", tiers = [{ above = 9, input_usd_per_mtok = "3", output_usd_per_mtok = "4" }], service_tiers = { priority = { input_usd_per_mtok = "5", output_usd_per_mtok = "6", tiers = [{ above = 9, input_usd_per_mtok = "7", output_usd_per_mtok = "8" }] }, flex = )" +
                flex + " } }]\n");
  };
  const std::string tiers =
      R"(tiers = [{ above = 9, input_usd_per_mtok = "1.5", output_usd_per_mtok = "2" }])";
  const Outcome out =
      read(R"({ input_usd_per_mtok = "0.5", output_usd_per_mtok = "1", )" + tiers + " }");
  ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
  EXPECT_TRUE(out.warnings.empty()) << out.warnings[0];
  const catalog::Prices& prices = out.config().providers[0].models[0].prices;
  ASSERT_EQ(prices.service_tiers.size(), 2U);
  EXPECT_EQ(prices.service_tiers[0].name, "flex");
  EXPECT_EQ(prices.service_tiers[0].input->ToString(), "0.5");
  EXPECT_EQ(prices.service_tiers[0].tiers[0].input->ToString(), "1.5");
  EXPECT_EQ(prices.service_tiers[1].tiers[0].output->ToString(), "8");
  for (const auto& [flex, words] :
       {std::pair(R"({ input_usd_per_mtok = "0.5", )" + tiers + " }", "none for output"),
        std::pair(std::string(R"({ input_usd_per_mtok = "1", output_usd_per_mtok = "1" })"),
                  "in each of the tiers"),
        std::pair(std::string("3"), "must be tables")}) {
    const Outcome wrong = read(flex);
    ASSERT_FALSE(wrong.status.has_value()) << flex;
    EXPECT_NE(wrong.status.error().message.find(words), std::string::npos)
        << wrong.status.error().message;
    EXPECT_EQ(wrong.status.error().param, "providers[0].models[0].service_tiers");
  }
}

TEST(MarketConfig, AModelMayBeOneThatThinksBeyondItsCap) {
  const auto read = [](const std::string& fields) {
    return Read(
        "[[providers]]\nname = 'a'\nkind = 'openai'\nbase_url = 'https://a.example'\n"
        "models = [{ id = 'm', " +
        fields + " }]\n");
  };
  for (const auto& [fields, factor, slack] :
       {std::tuple("max_output = 9", 1000, 0), std::tuple("cap_factor = '1.5'", 1500, 0),
        std::tuple("cap_factor = '1e3', cap_slack = 20", 1'000'000, 20),
        std::tuple("cap_factor = '1.001'", 1001, 0)}) {
    const Outcome out = read(fields);
    ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
    EXPECT_TRUE(out.warnings.empty()) << out.warnings[0];
    const catalog::CapTrust& trust = out.config().providers[0].models[0].cap_trust;
    EXPECT_EQ(trust.factor_permille, factor) << fields;
    EXPECT_EQ(trust.slack, slack) << fields;
  }
  for (const char* factor : {"0.999", "1.0001", "1000.1", "-2", "1e30", "much", ""}) {
    const Outcome out = read("cap_factor = '" + std::string(factor) + "'");
    ASSERT_FALSE(out.status.has_value()) << factor;
    EXPECT_NE(out.status.error().message.find("cap_factor must be"), std::string::npos)
        << out.status.error().message;
  }
  EXPECT_FALSE(read("cap_slack = -1").status.has_value());
}

TEST(MarketConfig, OfTwoFilesTheStrongerOneCounts) {
  MarketReader reader;
  std::vector<std::string> warnings;
  ASSERT_TRUE(reader
                  .Read("route.default = 'fastest'\n[[providers]]\nname='groq'\n"
                        "api_key_env='MINE'\n",
                        "user.toml", warnings)
                  .has_value());
  ASSERT_TRUE(reader
                  .Read("[route]\ndefault = 'cheapest'\nfallback = 'list'\n[[providers]]\n"
                        "name='groq'\napi_key_env='THEIRS'\n[[providers]]\nname='together'\n",
                        "system.toml", warnings)
                  .has_value());
  ASSERT_EQ(reader.config().providers.size(), 2u);
  EXPECT_EQ(reader.config().providers[0].api_key_env, "MINE");
  EXPECT_EQ(reader.config().providers[1].name, "together");
  EXPECT_EQ(reader.config().route.default_policy, catalog::RoutePolicy::kFastest);
  EXPECT_EQ(reader.config().route.fallback, catalog::Fallback::kList);
  EXPECT_EQ(reader.values().at("route.default").origin, "user.toml line 1");
  EXPECT_EQ(reader.values().at("route.fallback").origin, "system.toml line 3");
  EXPECT_EQ(reader.values().at("providers.groq.api_key_env").text, "MINE");
}

TEST(MarketConfig, UnknownFieldsWarnAndGoOn) {
  const Outcome out = Read(
      "[route]\nspeed = 'warp'\n[[providers]]\nname = 'groq'\ncolour = 'red'\n"
      "models = [{ id = 'a/b', shape = 1 }]\n");
  ASSERT_TRUE(out.status.has_value());
  ASSERT_EQ(out.warnings.size(), 3u);
  EXPECT_TRUE(Contains(out.warnings[0], "line 6: providers[0].models[0].shape is not known"));
  EXPECT_TRUE(Contains(out.warnings[1], "line 5: providers[0].colour is not known"));
  EXPECT_TRUE(Contains(out.warnings[2], "line 2: route.speed is not known"));
}

TEST(MarketConfig, AKeyInTheFileIsNeverReadNorRepeated) {
  const Outcome literal = Read("[[providers]]\nname = 'groq'\napi_key = 'gsk_secret'\n");
  ASSERT_TRUE(literal.status.has_value());
  ASSERT_EQ(literal.warnings.size(), 1u);
  EXPECT_TRUE(Contains(literal.warnings[0], "api_key_env"));
  EXPECT_FALSE(Contains(literal.warnings[0], "gsk_secret"));
  const Outcome misplaced = Read("[[providers]]\nname = 'groq'\napi_key_env = 'gsk-secret'\n");
  ASSERT_FALSE(misplaced.status.has_value());
  EXPECT_FALSE(Contains(misplaced.status.error().message, "gsk-secret"));
  const Outcome in_url = Read("[[providers]]\nname = 'groq'\nbase_url = 'https://me:pw@h/v1'\n");
  ASSERT_FALSE(in_url.status.has_value());
  EXPECT_FALSE(Contains(in_url.status.error().message, "pw"));
}

struct Bad {
  const char* toml;  // the fields of one [[providers]], or the whole file when it begins with '['
  const char* line;
  const char* field;
  const char* advice;
};

TEST(MarketConfig, EveryWrongFieldIsNamedWithItsLineAndTheNextStep) {
  const Bad kBad[] = {
      {"kind = 'openai'", "line 1", "providers[0].name", "a-z"},
      {"name = 'Site A'", "line 2", "providers[0].name", "a-z"},
      {"name = '-a'", "line 2", "providers[0].name", "a-z"},
      {"name = 7", "line 2", "providers[0].name", "quotes"},
      {"name = 'local'", "line 2", "providers[0].name", "choose another"},
      {"name = 'fastest'", "line 2", "providers[0].name", "choose another"},
      {"name = 'private'", "line 2", "providers[0].name", "choose another"},
      {"name = 'cerebras'\nkind = 'openai'\nbase_url = 'https://a'", "line 2", "providers[0].name",
       "choose another"},
      {"name = 'openai'\nkind = 'groq'", "line 2", "providers[0].name", "choose another"},
      {"name = 'a'", "line 1", "providers[0].kind", "openai"},
      {"name = 'a'\nkind = 'vllm'", "line 3", "providers[0].kind", "one of cerebras"},
      {"name = 'a'\nkind = 'openai'", "line 1", "providers[0].base_url", "http://127.0.0.1"},
      {"name = 'a'\nkind = 'openai'\nbase_url = 'ftp://a'", "line 4", "providers[0].base_url",
       "https://"},
      {"name = 'a'\nkind = 'openai'\nbase_url = 'a.example/v1'", "line 4", "providers[0].base_url",
       "https://"},
      {"name = 'a'\nkind = 'openai'\nbase_url = 'http://a/v1'", "line 4", "providers[0].base_url",
       "allow_private"},
      {"name = 'groq'\nallow_private = 'yes'", "line 3", "providers[0].allow_private",
       "true or false"},
      {"name = 'groq'\nbase_url = 'https://'", "line 3", "providers[0].base_url", "host"},
      {"name = 'groq'\nbase_url = 'https://:80'", "line 3", "providers[0].base_url", "host"},
      {"name = 'groq'\nbase_url = 'https://a:0'", "line 3", "providers[0].base_url", "65535"},
      {"name = 'groq'\nbase_url = 'https://a:70000'", "line 3", "providers[0].base_url", "65535"},
      {"name = 'groq'\nbase_url = 'https://a:'", "line 3", "providers[0].base_url", "65535"},
      {"name = 'groq'\nbase_url = 'https://[::1'", "line 3", "providers[0].base_url", "host"},
      {"name = 'groq'\nbase_url = 'https://a/v1?x=1'", "line 3", "providers[0].base_url", "?"},
      {"name = 'groq'\nbase_url = 'https://a b/v1'", "line 3", "providers[0].base_url", "spaces"},
      {"name = 'groq'\nbase_url = 'https://u@a/v1'", "line 3", "providers[0].base_url", "user"},
      {"name = 'groq'\napi_key_env = '1KEY'", "line 3", "providers[0].api_key_env", "SITE_A_KEY"},
      {"name = 'groq'\napi_key_env = ''", "line 3", "providers[0].api_key_env", "SITE_A_KEY"},
      {"name = 'groq'\napi_key_file = ''", "line 3", "providers[0].api_key_file", "path"},
      {"name = 'groq'\napi_key_file = 'x'\napi_key_env = 'X'", "line 3",
       "providers[0].api_key_file", "leave one out"},
      {"name = 'groq'\ndata_policy = 'zdr'", "line 3", "providers[0].data_policy", "no-retention"},
      {"name = 'groq'\napi_key_header = 'x key'", "line 3", "providers[0].api_key_header",
       "x-api-key"},
      {"name = 'groq'\napi_key_header = ''", "line 3", "providers[0].api_key_header", "x-api-key"},
      {"name = 'groq'\napi_key_header = 'Content-Type'", "line 3", "providers[0].api_key_header",
       "nothing else"},
      {"name = 'groq'\nmodels = 'all'", "line 3", "providers[0].models", "brackets"},
      {"name = 'groq'\nmodels = ['a/b']", "line 3", "providers[0].models[0]", "{ id ="},
      {"name = 'groq'\nmodels = [{}]", "line 3", "providers[0].models[0].id", "org/name"},
      {"name = 'groq'\nmodels = [{ id = 'a b' }]", "line 3", "providers[0].models[0].id",
       "org/name"},
      {"name = 'groq'\nmodels = [{ id = 'a:b' }]", "line 3", "providers[0].models[0].id", "colon"},
      {"name = 'groq'\nmodels = [{ id = 'a' }, { id = 'a' }]", "line 3",
       "providers[0].models[1].id", "leave one out"},
      {"name = 'groq'\nmodels = [{ id = 'a', provider_id = '' }]", "line 3",
       "providers[0].models[0].provider_id", "calls the model"},
      {"name = 'groq'\nmodels = [{ id = 'a', task = 'poetry' }]", "line 3",
       "providers[0].models[0].task", "conversational"},
      {"name = 'groq'\nmodels = [{ id = 'a', status = 'on' }]", "line 3",
       "providers[0].models[0].status", "live"},
      {"name = 'groq'\nmodels = [{ id = 'a', input_usd_per_mtok = 0.1 }]", "line 3",
       "providers[0].models[0].input_usd_per_mtok", "quotes"},
      {"name = 'groq'\nmodels = [{ id = 'a', tiers = 'high' }]", "line 3",
       "providers[0].models[0].tiers", "list"},
      {"name = 'groq'\nmodels = [{ id = 'a', tiers = [1] }]", "line 3",
       "providers[0].models[0].tiers", "must be tables"},
      {"name = 'groq'\nmodels = [{ id = 'a', tiers = [{ above = 0 }] }]", "line 3",
       "providers[0].models[0].tiers", "above 0"},
      {"name = 'groq'\nmodels = [{ id = 'a', input_usd_per_mtok = '1', output_usd_per_mtok = '1', "
       "tiers = [{ above = 5, input_usd_per_mtok = '2' }] }]",
       "line 3", "providers[0].models[0].tiers", "none for output"},
      {"name = 'groq'\nmodels = [{ id = 'a', input_usd_per_mtok = '$1' }]", "line 3",
       "providers[0].models[0].input_usd_per_mtok", "not known"},
      {"name = 'groq'\nmodels = [{ id = 'a', output_usd_per_mtok = '-1' }]", "line 3",
       "providers[0].models[0].output_usd_per_mtok", "below 0"},
      {"name = 'groq'\nmodels = [{ id = 'a', output_usd_per_mtok = 'nan' }]", "line 3",
       "providers[0].models[0].output_usd_per_mtok", "USD"},
      {"name = 'groq'\nmodels = [{ id = 'a', context = 0 }]", "line 3",
       "providers[0].models[0].context", "above 0"},
      {"name = 'groq'\nmodels = [{ id = 'a', context = '8k' }]", "line 3",
       "providers[0].models[0].context", "whole number"},
      {"name = 'groq'\nmodels = [{ id = 'a', tools = 1 }]", "line 3",
       "providers[0].models[0].tools", "true or false"},
      {"name = 'groq'\n[[providers]]\nname = 'groq'", "line 3", "providers[1].name", "choose"},
      {"[providers]\nname = 'groq'", "line 1", "providers", "[[providers]]"},
      {"[route]\ndefault = 'best'", "line 2", "route.default", "preferred, fastest"},
      {"[route]\nfallback = true", "line 2", "route.fallback", "quotes"},
      {"[route]\nfallback = 'any'", "line 2", "route.fallback", "off, same-model, list"},
      {"[route]\ndata_policy = 'private'", "line 2", "route.data_policy", "local-only"},
      {"[route]\nprobes = true", "line 2", "route.probes", "quotes"},
      {"[route]\nprobes = 'some'", "line 2", "route.probes", "off, free, all"},
      {"[route]\ncontinuation = 'yes'", "line 2", "route.continuation", "true or false"},
      {"[route]\nhedge_after_ms = 0", "line 2", "route.hedge_after_ms", "above 0"},
      {"name = 'groq'\nassistant_prefix = 'maybe'", "line 3", "providers[0].assistant_prefix",
       "no, message or vllm"},
      {"name = 'groq'\nbound_name = 'n_predict'", "line 3", "providers[0].bound_name",
       "max_tokens, max_completion_tokens or both"},
      {"[route]\norder = 'local'", "line 2", "route.order", "brackets"},
      {"[route]\norder = ['local', 'local']", "line 2", "route.order", "each once"},
      {"[route]\norder = [1]", "line 2", "route.order", "quotes"},
      {"[server]\ncors_origins = ['*']", "line 2", "server.cors_origins", "https://app.example"},
      {"[server]\ncors_origins = ['https://a/b']", "line 2", "server.cors_origins", "path"},
      {"[server]\ncors_origins = 'https://a'", "line 2", "server.cors_origins", "brackets"},
      {"[route\n", "line 1", "test.toml", "--config"},
  };
  for (const Bad& bad : kBad) {
    const std::string toml =
        bad.toml[0] == '[' ? bad.toml : "[[providers]]\n" + std::string(bad.toml);
    const Outcome out = Read(toml);
    ASSERT_FALSE(out.status.has_value()) << toml;
    const Error& error = out.status.error();
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << toml;
    EXPECT_TRUE(Contains(error.message, std::string("/etc/tw/test.toml ") + bad.line))
        << toml << "\n"
        << error.message;
    EXPECT_TRUE(Contains(error.message, bad.field)) << toml << "\n" << error.message;
    EXPECT_TRUE(Contains(error.message, bad.advice)) << toml << "\n" << error.message;
  }
}

TEST(MarketConfig, SaysWhereAProviderIsAskedWhatRequestsCost) {
  const Outcome out = Read(
      "[[providers]]\nname = 'groq'\nbilling_url = 'https://a.example/billing/'\n"
      "billing_id_header = 'x-id'\nbilling_own_ids = true\nbills_on = false\nprice_varies = "
      "true\nbills_refusals = true\n");
  ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
  EXPECT_TRUE(out.warnings.empty()) << out.warnings[0];
  const catalog::BillingTerms& billing = out.config().providers[0].billing;
  EXPECT_EQ(billing.url, "https://a.example/billing");
  EXPECT_EQ(billing.id_header, "x-id");
  EXPECT_TRUE(billing.own_ids);
  EXPECT_EQ(billing.bills_on, false);
  EXPECT_TRUE(billing.price_varies);
  EXPECT_TRUE(billing.bills_refusals);
  const std::string start = "[[providers]]\nname = 'groq'\n";
  for (const auto& [line, field] :
       {std::pair("billing_url = 'http://a/b'", "billing_url"),
        std::pair("billing_url = 'https://a/?k=1'", "billing_url"),
        std::pair("billing_own_ids = true", "billing_own_ids"),
        std::pair("billing_id_header = 'x-id'", "billing_id_header"),
        std::pair("billing_url = 'https://a/b'\nbilling_id_header = 'a b'", "billing_id_header")}) {
    const Outcome wrong = Read(start + line);
    ASSERT_FALSE(wrong.status.has_value()) << line;
    EXPECT_EQ(wrong.status.error().param, std::string("providers[0].") + field);
  }
}

TEST(MarketConfig, SaysWhichFieldsCostNothingAtAProvider) {
  const std::string start = "[[providers]]\nname = 'groq'\nharmless_fields = ";
  const Outcome out = Read(start + "['Trace_Tag', 'x']");
  ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
  EXPECT_EQ(out.config().providers[0].billing.harmless_fields,
            (std::vector<std::string>{"trace_tag", "x"}));
  for (const char* wrong : {"['']", "['images']", "['Extra_Body']", "['plugins']", "'x'"}) {
    const Outcome refused = Read(start + wrong);
    ASSERT_FALSE(refused.status.has_value()) << wrong;
    EXPECT_EQ(refused.status.error().param, "providers[0].harmless_fields") << wrong;
  }
}

TEST(MarketConfig, SaysHowAProvidersUsageApiIsAsked) {
  const std::string start = "[[providers]]\nname = 'groq'\n";
  const std::string url = "usage_api_url = 'https://a.example/v1/'\n";
  const Outcome out = Read(start + url +
                           "usage_api = 'anthropic'\nusage_api_key_file = 'admin.key'\n"
                           "usage_api_every = '24h'\n");
  ASSERT_TRUE(out.status.has_value()) << out.status.error().message;
  EXPECT_TRUE(out.warnings.empty()) << out.warnings[0];
  const catalog::UsageTerms& usage = out.config().providers[0].usage;
  EXPECT_EQ(usage.api, catalog::UsageApi::kAnthropic);
  EXPECT_EQ(usage.url, "https://a.example/v1");
  EXPECT_EQ(usage.key_file, "/etc/tw/admin.key");
  EXPECT_EQ(usage.every, std::chrono::hours(24));
  const Outcome own = Read(
      "[[providers]]\nname='a'\nkind='openai'\nbase_url='https://a/v1'\nusage_api='openai'\n"
      "usage_api_key_env='ADMIN'\n");
  ASSERT_TRUE(own.status.has_value()) << own.status.error().message;
  EXPECT_EQ(own.config().providers[0].usage.url, "https://a/v1") << "where its requests go";
  EXPECT_EQ(own.config().providers[0].usage.every.count(), 0) << "only when somebody asks";
  const std::string api = "usage_api = 'openai'\n", key = "usage_api_key_env = 'ADMIN'\n";
  for (const auto& [lines, field] :
       {std::pair(std::string("usage_api = 'together'"), "usage_api"),
        std::pair(api + url, "usage_api_key_env"),
        std::pair(api + url + key + "usage_api_key_file = 'x'", "usage_api_key_env"),
        std::pair(api + url + "usage_api_key_env = 'sk-admin-123'", "usage_api_key_env"),
        std::pair(api + key, "usage_api_url"),
        std::pair(api + key + "usage_api_url = 'http://a/v1'", "usage_api_url"),
        std::pair(api + url + key + "usage_api_every = 'daily'", "usage_api_every"),
        std::pair(api + url + key + "usage_api_every = '1ms'", "usage_api_every"),
        std::pair(url, "usage_api_url"), std::pair(key, "usage_api_key_env")}) {
    const Outcome wrong = Read(start + lines);
    ASSERT_FALSE(wrong.status.has_value()) << lines;
    EXPECT_EQ(wrong.status.error().param, std::string("providers[0].") + field) << lines;
    EXPECT_EQ(wrong.status.error().message.find("sk-admin"), std::string::npos);
  }
}

TEST(MarketConfig, AProviderWithoutModelsIsPointedOut) {
  const Outcome out = Read("[[providers]]\nname='a'\nkind='openai'\nbase_url='https://a'\n");
  ASSERT_TRUE(out.status.has_value());
  ASSERT_EQ(out.warnings.size(), 1u);
  EXPECT_TRUE(Contains(out.warnings[0], "a lists no models"));
}

TEST(MarketConfig, AddressesKeepTheirPathAndLoseTheirSlash) {
  EXPECT_EQ(ParseBaseUrl("https://a.example:8443/x/v1//", false).value(),
            "https://a.example:8443/x/v1");
  EXPECT_EQ(ParseBaseUrl("http://[::1]:80", true).value(), "http://[::1]:80");
  EXPECT_FALSE(ParseBaseUrl("HTTPS://a", true).has_value());
  EXPECT_FALSE(ParseBaseUrl("https://a\\@b", true).has_value());
}

}  // namespace
}  // namespace tradewind::cli
