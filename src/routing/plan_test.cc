// Model strings, `models` and the config's [route] -> the routes of a request, in their order.
#include "routing/plan.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "catalog/catalog.h"
#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

using Names = std::vector<std::string>;

class PlanTest : public testing::Test {
 protected:
  PlanTest() {
    Add("site-a", catalog::DataPolicy::kUnknown, {"org/a", "org/b"});
    Add("site-b", catalog::DataPolicy::kNoRetention, {"org/a", "org/c"});
  }
  void Add(std::string name, catalog::DataPolicy policy, const std::vector<std::string>& models) {
    catalog::ProviderConfig config;
    config.name = std::move(name);
    config.kind = "openai";
    config.base_url = "https://a.example/v1";
    config.data_policy = policy;
    for (const std::string& model : models) {
      catalog::Mapping mapping;
      mapping.provider = config.name;
      mapping.hf_model = model;
      mapping.provider_model = model.substr(4);
      mapping.source = catalog::Source::kConfig;
      config.models.push_back(std::move(mapping));
    }
    configured_.push_back(std::move(config));
  }
  Result<Plan> Make(Names models) {
    catalog::CatalogSources sources;
    sources.configured = configured_;
    auto market = Market::Build(catalog::Catalog::Build(std::move(sources)), route_,
                                [](const catalog::Provider&) { return std::optional("k"); });
    PlanRequest request;
    request.models = std::move(models);
    request.own_key_ref = own_key_ref_;
    request.needs.dear_failover = dear_failover_;
    request.needs.max_price = max_price_;
    request.needs.input_tokens_max = input_tokens_max_;
    request.needs.answers_each = answers_each_;
    request.needs.resolved_tokens_max = resolved_tokens_max_;
    request.needs.picture_tokens_max = picture_tokens_max_;
    request.needs.has_sound = has_sound_;
    request.needs.wants_sound = wants_sound_;
    return MakePlan(std::move(market), health_, request);
  }
  // "site-a/org/a" in order; or the one error.
  Names Routes(Names models) {
    const auto plan = Make(std::move(models));
    if (!plan.has_value()) {
      return {plan.error().message};
    }
    Names out;
    for (const PlannedRoute& route : plan->routes) {
      out.push_back(route.slug() + "/" + route.mapping->hf_model);
    }
    return out;
  }

  std::vector<catalog::ProviderConfig> configured_;
  catalog::RouteConfig route_;
  std::optional<bool> dear_failover_;
  MaxPrice max_price_;
  int64_t input_tokens_max_ = 1'000'000'000, resolved_tokens_max_ = 0, picture_tokens_max_ = 0;
  int64_t answers_each_ = 1;
  bool has_sound_ = false, wants_sound_ = false;
  std::function<std::optional<std::string>(std::string_view)> own_key_ref_;
  FakeClock clock_;
  SeededRandom random_{1};
  HealthBook health_{clock_, random_};
};

TEST_F(PlanTest, EachModelStringSpeaksForItself) {
  EXPECT_EQ(Routes({"org/b", "org/a:site-b"}), (Names{"site-a/org/b", "site-b/org/a"}))
      << "a pin of a fallback holds";
  EXPECT_EQ(Routes({"org/a:site-a", "org/a:site-b"}), (Names{"site-a/org/a", "site-b/org/a"}))
      << "a pin of the asked model does not hold for its fallbacks";
  EXPECT_EQ(Routes({"org/b", "org/a:private"}), (Names{"site-a/org/b", "site-b/org/a"}))
      << "a fallback that is to be private never reaches who may keep data";
  EXPECT_EQ(Routes({"org/b", "org/a:local"}), (Names{"site-a/org/b"}))
      << "nor does one that is to stay on this device";
}

TEST_F(PlanTest, PrivateOfTheAskedModelHoldsForItsFallbacks) {
  EXPECT_EQ(Routes({"org/c:private", "org/b", "org/a:cheapest"}),
            (Names{"site-b/org/c", "site-b/org/a"}));
}

TEST_F(PlanTest, ARouteIsPlannedOnceHoweverOftenItIsNamed) {
  EXPECT_EQ(Routes({"org/b", "org/b", "org/b:site-a", "org/b:fastest"}), (Names{"site-a/org/b"}));
  EXPECT_EQ(Routes({"org/a", "org/a:site-b"}), (Names{"site-a/org/a", "site-b/org/a"}));
}

TEST_F(PlanTest, AFallbackThatNobodyKnowsIsSkipped) {
  EXPECT_EQ(Routes({"org/b", "org/nowhere", "org/c"}), (Names{"site-a/org/b", "site-b/org/c"}));
  const auto unknown = Make({"org/nowhere", "org/b"});
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::kModelNotSupported) << "the asked one must be known";
  const std::string why = Routes({"org/b:site-b", "org/nowhere"}).front();
  EXPECT_NE(why.find("\"org/nowhere\" is not known"), std::string::npos) << why;
}

TEST_F(PlanTest, FallbackOffLeavesOneRouteAndOneTry) {
  EXPECT_EQ(Make({"org/a"})->second_tries(), SecondTries::kYes);
  route_.fallback = catalog::Fallback::kOff;
  EXPECT_EQ(Routes({"org/a", "org/b"}), (Names{"site-a/org/a"}));
  EXPECT_EQ(Make({"org/a"})->second_tries(), SecondTries::kOff);
}

TEST_F(PlanTest, FallbackSameModelLetsNoOtherModelAnswer) {
  route_.fallback = catalog::Fallback::kSameModel;
  EXPECT_EQ(Routes({"org/a:site-b", "org/b", "org/a:site-a"}),
            (Names{"site-b/org/a", "site-a/org/a"}));
  EXPECT_NE(Routes({"org/b:site-b", "org/c"}).front().find("[route] fallback"), std::string::npos);
}

TEST_F(PlanTest, DearFailoverIsOffUnlessSomebodyWantsIt) {
  for (auto& [site, usd] : {std::pair(&configured_[0], "1"), std::pair(&configured_[1], "9")}) {
    site->models[0].prices.input = site->models[0].prices.output = Decimal::Parse(usd).value();
  }
  route_.order = {"site-a", "site-b"};
  EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"});
  EXPECT_EQ(Make({"org/a"})->ranking.left_out.size(), 1U) << "and it is told";
  dear_failover_ = true;
  EXPECT_EQ(Routes({"org/a"}), (Names{"site-a/org/a", "site-b/org/a"})) << "the request does";
  route_.dear_failover = true;
  dear_failover_ = std::nullopt;
  EXPECT_EQ(Routes({"org/a"}), (Names{"site-a/org/a", "site-b/org/a"})) << "the config does";
  dear_failover_ = false;
  EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"}) << "the request has the last word";
}

TEST_F(PlanTest, ACallersOwnKeyIsJudgedByItsOwnHealth) {
  health_.Route("site-a", "a").Begin("", true)->Failed(FailureKind::kKeyRejected);
  EXPECT_EQ(Routes({"org/a"}), (Names{"site-b/org/a", "site-a/org/a"}))
      << "the operator's key was refused: the last resort";
  own_key_ref_ = [](std::string_view slug) {
    return slug == "site-a" ? std::optional<std::string>("org:1") : std::nullopt;
  };
  EXPECT_EQ(Routes({"org/a"}), (Names{"site-a/org/a", "site-b/org/a"}))
      << "that says nothing about the caller's own";
  health_.Route("site-a", "a").Begin("org:1", true)->Failed(FailureKind::kNoFunds);
  EXPECT_EQ(Routes({"org/a"}), (Names{"site-a/org/a", "site-b/org/a"}))
      << "others' account is not asked in its place";
  route_.fallback = catalog::Fallback::kOff;
  EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"});
  own_key_ref_ = [](std::string_view /*slug*/) { return std::optional<std::string>("org:1"); };
  EXPECT_EQ(Routes({"org/a"}), Names{"site-b/org/a"}) << "his own other account is";
}

TEST_F(PlanTest, ARouteIsAskedForWhereTheRequestNamesIt) {
  const auto asked_for = [&](std::vector<std::string> models) {
    std::vector<bool> out;
    for (const PlannedRoute& route : Make(std::move(models))->routes) {
      out.push_back(route.is_asked_for);
    }
    return out;
  };
  dear_failover_ = false;
  EXPECT_EQ(asked_for({"org/a"}), (std::vector{false, false}));
  EXPECT_EQ(asked_for({"org/a:site-b"}), std::vector{true});
  EXPECT_EQ(asked_for({"org/a:site-a", "org/a:site-b"}), (std::vector{true, true}));
}

TEST_F(PlanTest, AKeyThatTheOperatorReplacesIsTrustedAgain) {
  catalog::CatalogSources sources;
  sources.configured = configured_;
  const auto catalog = catalog::Catalog::Build(std::move(sources));
  const auto with_key = [&](std::string key) {
    return Market::Build(catalog, route_, [key](const catalog::Provider& provider) {
      return std::optional(provider.slug == "site-a" ? key : "other");
    });
  };
  Marketplace market(with_key("old"), nullptr, clock_, random_);
  const auto is_refused = [&](const char* site) {
    return market.health.Route(site, "a").Snapshot().availability == Availability::kKeyHeld;
  };
  for (const char* site : {"site-a", "site-b"}) {
    market.health.Route(site, "a").Begin("", true)->Failed(FailureKind::kKeyRejected);
  }
  market.Adopt(with_key("old"));
  EXPECT_TRUE(is_refused("site-a")) << "the same key is as bad as before";
  market.Adopt(with_key("new"));
  EXPECT_FALSE(is_refused("site-a"));
  EXPECT_TRUE(is_refused("site-b"));
  EXPECT_EQ(market.board.Get()->Find("site-a")->api_key, "new");
  configured_[1].api_key_header = "x-api-key";
  catalog::CatalogSources moved;
  moved.configured = configured_;
  market.Adopt(Market::Build(
      catalog::Catalog::Build(std::move(moved)), route_, [](const catalog::Provider& provider) {
        return std::optional<std::string>(provider.slug == "site-a" ? "new" : "other");
      }));
  EXPECT_FALSE(is_refused("site-b")) << "the same key in another header is another try";
  EXPECT_EQ(market.board.Get()->Find("site-b")->upstream->api_key_header, "x-api-key");
}

TEST_F(PlanTest, ACapIsOnEveryKindOfTokenThatTheRequestMayBeBilledFor) {
  const auto usd = [](const char* text) { return Decimal::Parse(text).value(); };
  configured_.resize(1);
  configured_[0].models.resize(1);
  catalog::Prices& prices = configured_[0].models[0].prices;
  prices.input = usd("1");
  prices.output = usd("2");
  prices.reasoning = usd("3");
  prices.audio_input = usd("40");
  prices.audio_output = usd("80");
  prices.cache_write = usd("1.25");
  constexpr int64_t kUsd = 1'000'000'000;
  const auto is_asked = [&](int64_t prompt_usd, int64_t completion_usd) {
    max_price_ = {prompt_usd * kUsd, completion_usd * kUsd, {}};
    return Routes({"org/a"}) == Names{"site-a/org/a"};
  };
  EXPECT_FALSE(is_asked(1, 2)) << "a thought costs 3";
  EXPECT_TRUE(is_asked(1, 3));
  has_sound_ = true;
  EXPECT_FALSE(is_asked(39, 3));
  EXPECT_TRUE(is_asked(40, 3));
  has_sound_ = false;
  wants_sound_ = true;
  EXPECT_FALSE(is_asked(1, 79));
  EXPECT_TRUE(is_asked(1, 80));
  prices.audio_output.reset();
  EXPECT_TRUE(is_asked(1, 3)) << "sound without a price of its own is output";
}

TEST_F(PlanTest, ACapIsOnTheDearestTierThatThePromptCanReach) {
  const auto usd = [](const char* text) { return Decimal::Parse(text).value(); };
  configured_.resize(1);
  configured_[0].models.resize(1);
  catalog::Prices& prices = configured_[0].models[0].prices;
  prices.input = usd("1");
  prices.output = usd("2");
  catalog::PriceTier& longer = prices.tiers.emplace_back();
  longer.above = 200'000;
  longer.input = usd("2");
  longer.output = usd("3");
  constexpr int64_t kUsd = 1'000'000'000;
  max_price_ = {kUsd, 2 * kUsd, {}};
  EXPECT_NE(Routes({"org/a"}), Names{"site-a/org/a"});
  input_tokens_max_ = 200'000;
  EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"});
  catalog::Mapping& mapping = configured_[0].models[0];
  for (int64_t* further : {&resolved_tokens_max_, &picture_tokens_max_}) {
    *further = 1;
    EXPECT_NE(Routes({"org/a"}), Names{"site-a/org/a"}) << "whatever stands behind its address";
    mapping.context_length = 200'000;
    EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"}) << "no prompt is that long";
    mapping.context_length = {};
    configured_[0].kind = "groq";
    EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"});
    configured_[0].kind = "openai";
    *further = 0;
  }
  mapping.context_length = 2500;
  answers_each_ = 80;
  EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"});
  answers_each_ = 81;
  EXPECT_NE(Routes({"org/a"}), Names{"site-a/org/a"}) << "its prompt may be billed for each";
  answers_each_ = 1;
  mapping.context_length = {};
  picture_tokens_max_ = 1;
  mapping.input_modalities = {"text"};
  EXPECT_EQ(Routes({"org/a"}), Names{"site-a/org/a"}) << "Markdown is text to it";
}

}  // namespace
}  // namespace tradewind::routing
