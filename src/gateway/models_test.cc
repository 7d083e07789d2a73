// What clients learn about models and who serves them, over real connections.
#include <string>

#include <gtest/gtest.h>

#include "base/ids.h"
#include "catalog/catalog.h"
#include "dialects/json_reader.h"
#include "gateway/gateway.h"
#include "gateway/test_support.h"
#include "http/test_support.h"
#include "providers/test_support.h"

namespace tradewind::gateway {
namespace {

using catalog::Mapping;
using providers::testing::FakeModels;
using providers::testing::FakeOptions;
using providers::testing::FakeWorld;

Mapping Row(std::string model, std::string provider_model, std::string_view input = "") {
  Mapping mapping;
  mapping.hf_model = std::move(model);
  mapping.provider_model = std::move(provider_model);
  if (!input.empty()) {
    mapping.prices.input = mapping.prices.output = Decimal::Parse(input).value();
  }
  return mapping;
}

catalog::ProviderConfig Config(std::string name, std::vector<Mapping> models) {
  catalog::ProviderConfig config;
  config.name = config.kind = std::move(name);
  config.base_url = "https://a.example/v1";
  config.models = std::move(models);
  return config;
}

class ModelsTest : public ::testing::Test {
 protected:
  ModelsTest() {
    Mapping vision = Row("Org/Vision", "v-1", "0.0000001");
    vision.input_modalities = {"text", "image"};
    vision.context_length = 8192;
    vision.created = 1700000000;
    Mapping staging = Row("org/staging", "s");
    staging.status = catalog::MappingStatus::kStaging;
    Mapping failing = Row("org/failing", "f");
    failing.status = catalog::MappingStatus::kError;
    Mapping embed = Row("org/embed", "e", "1");
    embed.task = "feature-extraction";
    sources_.configured = {
        Config("together", {vision, staging, failing, Row("org-m", "m-remote", "0.2")}),
        Config("groq", {Row("org/vision", "v-2"), embed}),
        Config("cerebras", {Row("org/off", "o", "1"), Row("Org/Vision", "v-3", "1")}),
        Config("site-a", {Row("org/vision", "v-4", "0"), Row("org/site", "s")})};
    sources_.configured[3].kind = "openai";
    sources_.why_off = [](const catalog::Provider& provider) {
      return provider.slug == "cerebras" ? "no key: set CEREBRAS_API_KEY" : "";
    };
    local_ = std::make_unique<providers::LocalProvider>(files_.models, FakeOptions(world_),
                                                        MakeLoader(world_));
    GatewayOptions options;
    market_ = std::make_unique<routing::Marketplace>(MarketOf(std::move(sources_)), nullptr,
                                                     SystemClock(), SystemRandom());
    gateway_ = std::make_unique<Gateway>(options, *local_, *market_, metrics_, nullptr);
    http::ServerOptions server;
    server.port = 0;
    server_ = http::Server::Start(
                  server, [this](http::Exchange& exchange) { return gateway_->Handle(exchange); },
                  [this](const Error& error) { return gateway_->OnProtocolError(error); })
                  .value();
  }

  http::Response Get(const std::string& target) {
    http::ClientRequest request;
    request.port = server_->port();
    request.method = "GET";
    request.target = target;
    auto response = http::Fetch(request);
    EXPECT_TRUE(response.has_value()) << response.error().message;
    return response.value_or(http::Response{});
  }
  boost::json::value Json(const std::string& target) {
    const http::Response response = Get(target);
    EXPECT_EQ(response.status, 200) << target << response.body;
    return dialects::ParseJson(response.body).value();
  }
  static std::vector<std::string> Ids(const boost::json::value& list) {
    std::vector<std::string> out;
    for (const auto& model : list.as_array()) {
      out.emplace_back(model.at("id").as_string());
    }
    return out;
  }

  FakeWorld world_;
  FakeModels files_{{"org-m", "other"}};
  catalog::CatalogSources sources_;
  telemetry::Registry metrics_;
  std::unique_ptr<providers::LocalProvider> local_;
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
};

using Texts = std::vector<std::string>;

TEST_F(ModelsTest, TheModelsOfThisDeviceComeFirstAndTheRestFollowsById) {
  const auto list = Json("/v1/models");
  EXPECT_EQ(Ids(list.at("data")),
            (Texts{"org-m", "other", "org/embed", "org/failing", "org/site", "Org/Vision"}))
      << "no staging rows, and no provider that is off";
  const auto& both = list.at("data").at(0);
  EXPECT_EQ(both.at("providers").at(0).at("provider").as_string(), "local");
  EXPECT_EQ(both.at("providers").at(1).at("provider").as_string(), "together");
  EXPECT_EQ(both.at("providers").at(1).at("pricing").at("input").as_double(), 0.2);
}

TEST_F(ModelsTest, OneModelHasItsProvidersInOrderWithExactPrices) {
  const http::Response response = Get("/v1/models/org/vision");
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.body.find(R"("pricing":{"input":0.0000001,"output":0.0000001})"),
            std::string::npos)
      << response.body;
  const auto model = dialects::ParseJson(response.body).value();
  EXPECT_EQ(model.at("id").as_string(), "Org/Vision");
  EXPECT_EQ(model.at("owned_by").as_string(), "Org");
  EXPECT_EQ(model.at("created").as_int64(), 1700000000);
  EXPECT_EQ(model.at("architecture").at("input_modalities").as_array().size(), 2u);
  const auto& providers = model.at("providers").as_array();
  ASSERT_EQ(providers.size(), 3u);
  EXPECT_EQ(providers[0].at("context_length").as_int64(), 8192);
  EXPECT_EQ(providers[1].at("provider").as_string(), "groq");
  EXPECT_FALSE(providers[1].as_object().contains("pricing")) << "unknown is never zero";
  EXPECT_TRUE(providers[2].at("is_free").as_bool());
}

TEST_F(ModelsTest, AModelNobodyCanServeSaysWhoWasConsidered) {
  const http::Response off = Get("/v1/models/org/off");
  EXPECT_EQ(off.status, 404);
  EXPECT_NE(off.body.find("cerebras: no key: set CEREBRAS_API_KEY"), std::string::npos) << off.body;
  EXPECT_EQ(Get("/v1/models/org/nothing").status, 404);
}

TEST_F(ModelsTest, TheHubsMappingNamesOnlySlugsThatItsClientsKnow) {
  const auto model = Json("/api/models/org/vision?expand%5B%5D=inferenceProviderMapping");
  const auto& mapping = model.at("inferenceProviderMapping").as_object();
  ASSERT_EQ(mapping.size(), 2u);
  EXPECT_EQ(mapping.begin()->key(), "together") << "the first key is the one clients take";
  EXPECT_EQ(mapping.at("together").at("providerId").as_string(), "v-1");
  EXPECT_EQ(mapping.at("groq").at("status").as_string(), "live");
  EXPECT_EQ(Json("/api/models/org/vision?expand=inferenceProviderMapping"), model);
  EXPECT_EQ(Json("/api/models/org/embed").at("pipeline_tag").as_string(), "feature-extraction");
  const http::Response missing = Get("/api/models/org/nothing");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.headers.Find("X-Error-Code"), "RepoNotFound");
}

TEST_F(ModelsTest, TheHubsListIsFilteredByProviderTaskAndText) {
  EXPECT_EQ(Ids(Json("/api/models?inference_provider=all")),
            (Texts{"org-m", "org/embed", "Org/Vision"}));
  EXPECT_EQ(Ids(Json("/api/models?inference_provider=groq")), (Texts{"org/embed", "Org/Vision"}));
  EXPECT_EQ(Ids(Json("/api/models?inference_provider=groq,together")),
            (Texts{"org-m", "org/embed", "Org/Vision"}));
  EXPECT_EQ(Ids(Json("/api/models?inference_provider=groq&inference_provider=together&search=VIS")),
            Texts{"Org/Vision"});
  EXPECT_EQ(Ids(Json("/api/models?inference=warm&pipeline_tag=feature-extraction")),
            Texts{"org/embed"});
  EXPECT_EQ(Ids(Json("/api/models?inference_provider=cerebras")), Texts{});
  const auto list = Json("/api/models?search=vision&expand[]=inferenceProviderMapping");
  EXPECT_EQ(list.at(0).at("inferenceProviderMapping").as_array().size(), 2u);
}

TEST_F(ModelsTest, TheHubsListIsReadPageByPage) {
  Texts ids;
  std::string target = "/api/models?limit=2&search=org";
  for (int page = 0; page < 10 && !target.empty(); ++page) {
    const http::Response response = Get(target);
    EXPECT_EQ(response.headers.Find("X-Total-Count"), "5");
    for (const std::string& id : Ids(dialects::ParseJson(response.body).value())) {
      ids.push_back(id);
    }
    const std::string link(response.headers.Find("Link").value_or(""));
    const size_t path = link.find("/api/models");
    target = link.empty() ? "" : link.substr(path, link.find('>') - path);
    EXPECT_TRUE(link.empty() || link.starts_with("<http://127.0.0.1:")) << link;
    EXPECT_TRUE(link.empty() || link.ends_with(">; rel=\"next\"")) << link;
  }
  EXPECT_EQ(ids, (Texts{"org-m", "org/embed", "org/failing", "org/site", "Org/Vision"}));
  for (const char* odd : {"%", "%4", "%zz", "a%5", "=", "&&=&", "search=%", "search=%C3"}) {
    EXPECT_EQ(Get(std::string("/api/models?") + odd).status, 200) << odd;
  }
  for (const char* wrong : {"0", "-1", "x", "1x", "99999999999999999999"}) {
    EXPECT_EQ(Get(std::string("/api/models?limit=") + wrong).status, 400) << wrong;
  }
}

TEST_F(ModelsTest, APartnersModelsAreGroupedByTask) {
  const auto all = Json("/api/partners/together/models");
  EXPECT_EQ(all.at("conversational").as_object().size(), 4u);
  const auto live = Json("/api/partners/together/models?status=live");
  EXPECT_EQ(live.at("conversational").as_object().size(), 2u);
  EXPECT_EQ(live.at("conversational").at("Org/Vision").at("providerId").as_string(), "v-1");
  EXPECT_EQ(Get("/api/partners/nobody/models").status, 404);
  EXPECT_EQ(Get("/api/partners/together").status, 404);
  EXPECT_EQ(Get("/api/partners/together/models?status=up").status, 400);
}

TEST_F(ModelsTest, WhatTrafficAndProbesSayStandsBesideWhatTheCatalogueSays) {
  const auto at_together = [&] {
    return Json("/v1/models/org/vision").at("providers").at(0).as_object();
  };
  EXPECT_FALSE(at_together().contains("first_token_latency_ms")) << "never measured is not zero";
  routing::RouteHealth& route = market_->health.Route("together", "v-1");
  auto attempt = route.Begin("", false);
  attempt->Answered(250);
  attempt->Succeeded({.output_tokens = 100, .generation_ms = 2'000});
  EXPECT_DOUBLE_EQ(at_together().at("first_token_latency_ms").to_number<double>(), 250);
  EXPECT_DOUBLE_EQ(at_together().at("throughput").to_number<double>(), 50);
  EXPECT_EQ(at_together().at("status").as_string(), "live");

  for (int i = 0; i < 3; ++i) {
    route.Begin("", true)->Failed(routing::FailureKind::kConnect);
  }
  EXPECT_EQ(at_together().at("status").as_string(), "error") << "its circuit is open";
}

TEST_F(ModelsTest, AProbeThatFailedMakesAMappingAnError) {
  const std::vector<routing::ProbeMapping> kept = {{.target = {"together", "v-1"}, .version = 1}};
  market_->probes.Keep(kept);
  routing::ProbeResult result;
  result.end = routing::ProbeEnd::kFailed;
  result.status = routing::RouteStatus::kError;
  result.supports_tools = routing::Known::kNo;
  market_->probes.Note(kept[0].target, 1, result, SystemClock());
  const auto entry = Json("/v1/models/org/vision").at("providers").at(0);
  EXPECT_EQ(entry.at("status").as_string(), "error");
  EXPECT_FALSE(entry.at("supports_tools").as_bool());

  const auto mapping = Json("/api/models/org/vision?expand[]=inferenceProviderMapping")
                           .at("inferenceProviderMapping")
                           .as_object();
  EXPECT_EQ(mapping.at("together").at("status").as_string(), "error");
  EXPECT_EQ(mapping.begin()->key(), "groq") << "clients take the first key: one that answers";
  EXPECT_EQ(Ids(Json("/api/models?inference_provider=together")), (Texts{"org-m"}));
  EXPECT_EQ(
      Json("/api/partners/together/models?status=live").at("conversational").as_object().size(),
      1u);
  EXPECT_TRUE(Json("/api/partners/together/models?status=error")
                  .at("conversational")
                  .as_object()
                  .contains("Org/Vision"));
}

TEST_F(ModelsTest, MetricsHaveAGaugeForEachRouteThatSomethingIsKnownOf) {
  EXPECT_EQ(Get("/metrics").body.find("tradewind_route_"), std::string::npos);
  auto attempt = market_->health.Route("groq", "v-2").Begin("", false);
  attempt->Answered(500);
  attempt->Succeeded({.output_tokens = 100, .generation_ms = 1'000});
  const std::string text = Get("/metrics").body;
  const auto has = [&text](const std::string& line) {
    return text.find(line) != std::string::npos;
  };
  EXPECT_TRUE(has("tradewind_route_circuit{provider=\"groq\",model=\"v-2\"} 0\n")) << text;
  EXPECT_TRUE(has("tradewind_route_ttft_seconds{provider=\"groq\",model=\"v-2\"} 0.5\n")) << text;
  EXPECT_TRUE(has("tradewind_route_tokens_per_second{provider=\"groq\",model=\"v-2\"} 100\n"))
      << text;
}

}  // namespace
}  // namespace tradewind::gateway
