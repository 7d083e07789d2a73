// `route explain` from the question to the answer, and what probes change in it.
#include "routing/question.h"

#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "catalog/catalog.h"
#include "routing/market.h"
#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

namespace json = boost::json;

catalog::Mapping Row(std::string provider, const char* price) {
  catalog::Mapping mapping;
  mapping.provider = std::move(provider);
  mapping.hf_model = "org/model";
  mapping.provider_model = "m";
  mapping.source = catalog::Source::kConfig;
  if (price != nullptr) {
    mapping.prices.input = mapping.prices.output = Decimal::Parse(price).value();
  }
  return mapping;
}

class QuestionTest : public testing::Test {
 protected:
  QuestionTest() {
    Add("site-a", "0.50", catalog::DataPolicy::kUnknown);
    Add("site-b", "0.10", catalog::DataPolicy::kRetention);
    Add("site-c", nullptr, catalog::DataPolicy::kNoRetention);
  }
  void Add(std::string name, const char* price, catalog::DataPolicy policy) {
    catalog::ProviderConfig config;
    config.name = std::move(name);
    config.kind = "openai";
    config.base_url = "https://a.example/v1";
    config.data_policy = policy;
    config.models = {Row(config.name, price)};
    configured_.push_back(std::move(config));
  }
  std::shared_ptr<const Market> BuildMarket() {
    catalog::CatalogSources sources;
    sources.configured = configured_;
    return Market::Build(catalog::Catalog::Build(std::move(sources)), route_,
                         [](const catalog::Provider&) { return std::optional<std::string>("k"); });
  }
  json::object Ask(Question question) {
    const auto request = ReadQuestion(question);
    EXPECT_TRUE(request.has_value()) << request.error().message;
    auto explained = Explain(BuildMarket(), health_, request.value(), &probes_);
    EXPECT_TRUE(explained.has_value()) << explained.error().message;
    return explained->json;
  }
  static std::string Chosen(const json::object& answer) {
    const json::value& chosen = answer.at("chosen");
    return chosen.is_null() ? "nobody" : std::string(chosen.at("provider").as_string());
  }
  static std::string Code(const json::object& answer, std::string_view provider) {
    for (const json::value& route : answer.at("routes").as_array()) {
      if (route.at("provider").as_string() == provider) {
        return route.at("code").is_null() ? std::string(route.at("decision").as_string())
                                          : std::string(route.at("code").as_string());
      }
    }
    return "not there";
  }
  // A probe of site-b's mapping that ended so.
  void Note(ProbeResult result) {
    const auto market = BuildMarket();
    std::vector<ProbeMapping> kept;
    for (const WatchedMapping& watched : WatchedMappings(*market)) {
      kept.push_back(watched.probe);
    }
    probes_.Keep(kept);
    for (const ProbeMapping& mapping : kept) {
      if (mapping.target.provider == "site-b") {
        probes_.Note(mapping.target, mapping.version, result, clock_);
      }
    }
  }

  std::vector<catalog::ProviderConfig> configured_;
  catalog::RouteConfig route_;
  FakeClock clock_;
  SeededRandom random_{1};
  HealthBook health_{clock_, random_};
  ProbeBook probes_;
};

TEST_F(QuestionTest, TheCheapestRouteIsChosenAndAnUnpricedOneIsNotFree) {
  const json::object answer = Ask({.model = "org/model:cheapest"});
  EXPECT_EQ(Chosen(answer), "site-b");
  EXPECT_EQ(Code(answer, "site-c"), "next");
  EXPECT_EQ(Code(Ask({.model = "org/model:cheapest", .max_price = "0.20"}), "site-c"), "unpriced");
  EXPECT_EQ(Code(Ask({.model = "org/model:cheapest", .max_price = "0.20"}), "site-a"),
            "too_expensive");
}

TEST_F(QuestionTest, PrivateReachesThoseAloneThatPromiseToKeepNothing) {
  const json::object answer = Ask({.model = "org/model:private"});
  EXPECT_EQ(Chosen(answer), "site-c");
  EXPECT_EQ(Code(answer, "site-a"), "retains_data") << "unknown is no promise";
  EXPECT_EQ(Code(answer, "site-b"), "retains_data");
}

TEST_F(QuestionTest, TheConfigsDataPolicyHoldsForEveryModelString) {
  route_.data_policy = catalog::DataRule::kNoRetention;
  EXPECT_EQ(Chosen(Ask({.model = "org/model:cheapest"})), "site-c");
  EXPECT_EQ(Chosen(Ask({.model = "org/model:site-b"})), "nobody") << "naming it does not help";
  route_.data_policy = catalog::DataRule::kLocalOnly;
  EXPECT_EQ(Chosen(Ask({.model = "org/model:site-c"})), "nobody");
}

TEST_F(QuestionTest, AModelForAnotherTaskIsExplainedForThatTask) {
  for (catalog::ProviderConfig& config : configured_) {
    config.models.front().task = "feature-extraction";
  }
  const json::object answer = Ask({.model = "org/model:cheapest"});
  EXPECT_EQ(Chosen(answer), "site-b");
  EXPECT_EQ(answer.at("task").as_string(), "feature-extraction");
  EXPECT_EQ(Chosen(Ask({.model = "org/model:cheapest", .task = "feature-extraction"})), "site-b");
  const auto request = ReadQuestion({.model = "org/model", .task = "conversational"}).value();
  const auto refused = Explain(BuildMarket(), health_, request, &probes_);
  ASSERT_FALSE(refused.has_value()) << "an empty table says nothing";
  EXPECT_EQ(refused.error().code, ErrorCode::kModelNotSupported);
}

TEST_F(QuestionTest, AWrongQuestionNamesItsField) {
  const auto field = [](Question question) {
    const auto request = ReadQuestion(question);
    return request.has_value() ? "" : request.error().param;
  };
  EXPECT_EQ(field({}), "model");
  EXPECT_EQ(field({.model = "m", .need = "tools,wings"}), "need");
  EXPECT_EQ(field({.model = "m", .max_price = "cheap"}), "max_price");
  EXPECT_EQ(field({.model = "m", .max_price = "-1"}), "max_price");
  EXPECT_EQ(field({.model = "m", .task = "flying"}), "task");
  EXPECT_EQ(field({.model = "m", .need = "tools,json,tools", .max_price = "0"}), "");
  EXPECT_TRUE(ReadQuestion({.model = "m", .need = "tools,audio"})->needs.has_sound);
}

TEST_F(QuestionTest, ARouteWhoseProbeFailedIsTheLastResortAndSaysWhy) {
  Note({.end = ProbeEnd::kFailed, .status = RouteStatus::kError, .words = "server error: 500"});
  const auto request = ReadQuestion({.model = "org/model:cheapest"}).value();
  const auto explained = Explain(BuildMarket(), health_, request, &probes_).value();
  EXPECT_EQ(Chosen(explained.json), "site-a");
  EXPECT_EQ(Code(explained.json, "site-b"), "last_resort");
  EXPECT_NE(explained.text.find("last resort (3rd): server error: 500"), std::string::npos)
      << explained.text;

  Note({.end = ProbeEnd::kNothingLearned, .words = "rate limited"});
  EXPECT_EQ(Code(Ask({.model = "org/model:cheapest"}), "site-b"), "last_resort")
      << "a probe that could not look changes nothing";
  Note({.end = ProbeEnd::kWell, .status = RouteStatus::kLive});
  EXPECT_EQ(Chosen(Ask({.model = "org/model:cheapest"})), "site-b");
}

TEST_F(QuestionTest, WhatAProbeFoundOutAboutToolsCountsUnlessTheConfigSaysOtherwise) {
  const Question with_tools = {.model = "org/model:cheapest", .need = "tools"};
  EXPECT_EQ(Code(Ask(with_tools), "site-b"), "chosen") << "not known is not denied";
  Note({.end = ProbeEnd::kWell, .status = RouteStatus::kLive, .supports_tools = Known::kNo});
  EXPECT_EQ(Code(Ask(with_tools), "site-b"), "capability_missing");
  configured_[1].models[0].supports_tools = true;
  EXPECT_EQ(Code(Ask(with_tools), "site-b"), "chosen") << "the operator wrote it himself";
}

TEST_F(QuestionTest, AMappingThatChangesLosesWhatWasKnownOfIt) {
  Note({.end = ProbeEnd::kFailed, .status = RouteStatus::kError, .words = "gone"});
  ASSERT_TRUE(probes_.VerdictOf("site-b", "m").has_value());
  const auto market = BuildMarket();
  std::vector<ProbeMapping> kept;
  for (const WatchedMapping& watched : WatchedMappings(*market)) {
    kept.push_back(watched.probe);
  }
  EXPECT_TRUE(probes_.Keep(kept).empty()) << "the same mappings: nothing changed";
  EXPECT_TRUE(probes_.VerdictOf("site-b", "m").has_value());
  for (ProbeMapping& mapping : kept) {
    mapping.version += mapping.target.provider == "site-b" ? 1 : 0;
  }
  EXPECT_EQ(probes_.Keep(kept), (std::vector<ProbeTarget>{{"site-b", "m"}}));
  EXPECT_FALSE(probes_.VerdictOf("site-b", "m").has_value());
  const ProbeTarget target{"site-b", "m"};
  probes_.Note(target, 12345, {.status = RouteStatus::kError}, clock_);
  EXPECT_FALSE(probes_.VerdictOf("site-b", "m").has_value())
      << "a late result of an earlier version is no news of this one";
}

}  // namespace
}  // namespace tradewind::routing
