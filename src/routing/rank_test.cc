#include "routing/rank.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "routing/test_support.h"

namespace tradewind::routing {
namespace {

Price Usd(double input, double output) {
  return {std::llround(input * 1e9), std::llround(output * 1e9), 0};
}

RouteFacts Route(std::string provider, std::optional<Price> price = {}) {
  RouteFacts route;
  route.provider = std::move(provider);
  route.model = "org/model";
  route.provider_model = "model-x";
  route.price = price;
  return route;
}

RouteFacts Local() {
  RouteFacts route = Route("local", Price{});
  route.is_local = true;
  route.key_present = false;
  return route;
}

RouteFacts Measured(std::string provider, double ttft_ms, double tokens_per_second) {
  RouteFacts route = Route(std::move(provider));
  route.health.ttft_ms = ttft_ms;
  route.health.tokens_per_second = tokens_per_second;
  return route;
}

std::vector<std::string> Order(const std::vector<RouteFacts>& facts, const RouteNeeds& needs) {
  std::vector<std::string> names;
  for (const Candidate& candidate : Rank(facts, needs).candidates) {
    names.push_back(facts[candidate.index].provider);
  }
  return names;
}

using Names = std::vector<std::string>;

// The only route is left out, for this reason.
void ExpectLeftOut(const RouteFacts& route, const RouteNeeds& needs, Exclusion code,
                   std::string_view reason) {
  const Ranking ranking = Rank(std::vector{route}, needs);
  ASSERT_EQ(ranking.left_out.size(), 1u) << reason;
  EXPECT_TRUE(ranking.candidates.empty());
  EXPECT_EQ(ExclusionName(ranking.left_out[0].code), ExclusionName(code));
  EXPECT_EQ(ranking.left_out[0].reason, reason);
}

// --- Policies ---

TEST(RankPolicy, PreferredTakesTheUsersOrderWithLocalFirst) {
  const std::vector facts = {Route("c", Usd(1, 1)), Route("a", Usd(9, 9)), Route("b", Usd(5, 5)),
                             Local(), Route("unpriced")};
  RouteNeeds needs{.user_order = {"b", "a"}};
  EXPECT_EQ(Order(facts, needs), (Names{"local", "b", "a", "c", "unpriced"}));
  needs.user_order = {"b", "local"};
  EXPECT_EQ(Order(facts, needs), (Names{"b", "local", "c", "a", "unpriced"}))
      << "a user who places local is obeyed; the rest comes cheapest first";
}

TEST(RankPolicy, CheapestWeighsPricesByWhatTheRequestReadsAndWrites) {
  const std::vector facts = {Route("cheap-in", Usd(0.1, 3)), Route("cheap-out", Usd(1, 0.2))};
  RouteNeeds needs{.policy = Policy::kCheapest};
  needs.input_tokens = 100'000;
  EXPECT_EQ(Order(facts, needs).front(), "cheap-in");
  needs.input_tokens = 20;
  EXPECT_EQ(Order(facts, needs).front(), "cheap-out");
  needs.input_tokens = 500;
  needs.max_tokens = 1;
  EXPECT_EQ(Order(facts, needs).front(), "cheap-in") << "one token to write";
}

TEST(RankPolicy, CheapestCountsAFeePerRequest) {
  RouteFacts with_fee = Route("fee", Usd(0, 0));
  with_fee.price->request_nanousd = 1'000'000;
  const std::vector facts = {with_fee, Route("plain", Usd(1, 1))};
  RouteNeeds needs{.policy = Policy::kCheapest, .input_tokens = 10, .max_tokens = 10};
  EXPECT_EQ(Order(facts, needs).front(), "plain");
  needs.input_tokens = 10'000;
  EXPECT_EQ(Order(facts, needs).front(), "fee");
}

TEST(RankPolicy, UnpricedNeverCountsAsFree) {
  const std::vector facts = {Route("unpriced"), Route("dear", Usd(900, 900)),
                             Route("free", Price{})};
  EXPECT_EQ(Order(facts, {.policy = Policy::kCheapest}), (Names{"free", "dear", "unpriced"}));
  EXPECT_EQ(Order(facts, {.sort = SortBy::kPrice}), (Names{"free", "dear", "unpriced"}));
}

TEST(RankPolicy, CheapestTellsApartWhatADoubleCannot) {
  RouteFacts one = Route("z", Price{123'456'789'012'345'678, 0, 0});
  RouteFacts other = Route("a", Price{123'456'789'012'345'679, 0, 0});
  RouteNeeds needs{.policy = Policy::kCheapest, .input_tokens = 1'000'000'000};
  EXPECT_EQ(Order({other, one}, needs).front(), "z");
}

TEST(RankPolicy, FastestIsTheShortestExpectedTimeOfThisRequest) {
  const std::vector facts = {Measured("slow-start", 2'000, 1'000), Measured("slow-flow", 50, 40),
                             Route("unmeasured")};
  RouteNeeds needs{.policy = Policy::kFastest};
  EXPECT_EQ(Order(facts, needs), (Names{"slow-start", "slow-flow", "unmeasured"}));
  needs.max_tokens = 10;
  EXPECT_EQ(Order(facts, needs).front(), "slow-flow");
}

TEST(RankPolicy, PrivateKeepsToLocalAndNoRetention) {
  RouteFacts keeps_none = Route("zdr", Usd(1, 1));
  keeps_none.data_policy = DataPolicy::kNoRetention;
  RouteFacts no_training = Route("stores", Usd(0.1, 0.1));
  no_training.data_policy = DataPolicy::kNoTraining;
  const std::vector facts = {keeps_none, no_training, Route("unknown"), Local()};
  EXPECT_EQ(Order(facts, {.policy = Policy::kPrivate}), (Names{"local", "zdr"}));
  EXPECT_EQ(Order(facts, {.policy = Policy::kCheapest, .keep_private = true}),
            (Names{"local", "zdr"}));
  EXPECT_EQ(Order(facts, {.policy = Policy::kCheapest, .zero_data_retention = true}),
            (Names{"local", "zdr"}));
  EXPECT_EQ(Order(facts, {.policy = Policy::kCheapest, .deny_data_collection = true}),
            (Names{"local", "stores", "zdr"}));
}

TEST(RankPolicy, ASlugIsExactlyThisOneEvenWhenItRests) {
  std::vector facts = {Route("a"), Route("b")};
  const RouteNeeds needs{.policy = Policy::kPinned, .pinned = "b"};
  EXPECT_EQ(Order(facts, needs), Names{"b"});
  facts[1].health.availability = Availability::kHeld;
  const Ranking ranking = Rank(facts, needs);
  ASSERT_EQ(ranking.candidates.size(), 1u);
  EXPECT_TRUE(ranking.candidates[0].last_resort);
  EXPECT_EQ(Order(facts, {.policy = Policy::kPinned, .pinned = "nobody"}), Names{});
}

TEST(RankPolicy, LocalIsThisDeviceAlone) {
  const std::vector facts = {Route("a"), Local()};
  EXPECT_EQ(Order(facts, {.policy = Policy::kLocal}), Names{"local"});
  EXPECT_EQ(Order(facts, {.policy = Policy::kFastest, .local_only = true}), Names{"local"});
}

TEST(RankPolicy, NamesAreReadAndSlugsAreNot) {
  for (const Policy policy : {Policy::kFastest, Policy::kCheapest, Policy::kPreferred,
                              Policy::kPrivate, Policy::kLocal}) {
    EXPECT_EQ(PolicyNamed(PolicyName(policy)), policy);
  }
  EXPECT_FALSE(PolicyNamed("pinned").has_value());
  EXPECT_FALSE(PolicyNamed("together").has_value());
  EXPECT_EQ(CapabilityNamed("json"), Capability::kStructuredOutput);
  EXPECT_FALSE(CapabilityNamed("structured output").has_value());
}

// --- Order before the policy ---

TEST(RankOrder, WhatRestsIsTheLastResortInTheOrderOfTheRest) {
  std::vector facts = {Route("key", Usd(1, 1)), Route("open", Usd(2, 2)), Route("error", Usd(3, 3)),
                       Route("trial", Usd(4, 4)), Route("ready", Usd(5, 5))};
  facts[0].health.availability = Availability::kKeyHeld;
  facts[1].health.availability = Availability::kHeld;
  facts[2].status = RouteStatus::kError;
  facts[3].health.availability = Availability::kTrial;
  const RouteNeeds needs{.policy = Policy::kCheapest};
  EXPECT_EQ(Order(facts, needs), (Names{"trial", "ready", "open", "error", "key"}));
  const Ranking ranking = Rank(facts, needs);
  EXPECT_FALSE(ranking.candidates[1].last_resort);
  EXPECT_TRUE(ranking.candidates[2].last_resort);
  EXPECT_TRUE(ranking.left_out.empty()) << "nothing is left out for its health";
}

TEST(RankOrder, TheAskedModelComesBeforeItsFallbacks) {
  std::vector facts = {Route("a", Usd(9, 9)), Route("b", Usd(1, 1)), Route("c", Usd(5, 5))};
  facts[1].model_rank = 2;
  facts[2].model_rank = 1;
  RouteNeeds needs{.policy = Policy::kCheapest};
  EXPECT_EQ(Order(facts, needs), (Names{"a", "c", "b"}));
  needs.across_models = true;
  EXPECT_EQ(Order(facts, needs), (Names{"b", "c", "a"}));
  needs.across_models = false;
  facts[0].health.availability = Availability::kHeld;
  EXPECT_EQ(Order(facts, needs), (Names{"c", "b", "a"})) << "a resting route yields to a fallback";
}

TEST(RankOrder, ProviderOrderComesBeforeThePolicy) {
  const std::vector facts = {Route("a", Usd(1, 1)), Route("b", Usd(2, 2)), Route("c", Usd(3, 3))};
  RouteNeeds needs{.policy = Policy::kCheapest, .order = {"c", "b"}};
  EXPECT_EQ(Order(facts, needs), (Names{"c", "b", "a"}));
  needs.allow_fallbacks = false;
  EXPECT_EQ(Order(facts, needs), (Names{"c", "b"}));
  needs.order.clear();
  EXPECT_EQ(Order(facts, needs), Names{"a"});
  const Ranking ranking = Rank(facts, needs);
  ASSERT_EQ(ranking.left_out.size(), 2u);
  EXPECT_EQ(ranking.left_out[0].code, Exclusion::kNoFallbacks);
  EXPECT_EQ(ranking.left_out[0].reason, "fallbacks are off, and another route is better");
}

TEST(RankOrder, AKnownCapabilityComesBeforeAnUnknownOne) {
  std::vector facts = {Route("unknown", Usd(1, 1)), Route("yes", Usd(2, 2)),
                       Route("no", Usd(0, 0))};
  facts[1][Capability::kTools] = Known::kYes;
  facts[2][Capability::kTools] = Known::kNo;
  RouteNeeds needs{.policy = Policy::kCheapest, .capabilities = {Capability::kTools}};
  EXPECT_EQ(Order(facts, needs), (Names{"yes", "unknown"}));
  needs.require_parameters = true;
  EXPECT_EQ(Order(facts, needs), Names{"yes"});
  needs = {.policy = Policy::kPreferred,
           .user_order = {"unknown", "yes"},
           .capabilities = {Capability::kTools}};
  EXPECT_EQ(Order(facts, needs), (Names{"unknown", "yes"})) << "the user's order is the user's";
}

TEST(RankOrder, PreferencesOrderAndDoNotExclude) {
  const std::vector facts = {Measured("late", 900, 500), Measured("slow", 100, 10),
                             Measured("good", 200, 100), Route("unmeasured", Usd(0, 0))};
  const RouteNeeds needs{.policy = Policy::kCheapest,
                         .preferred_max_latency_ms = 500,
                         .preferred_min_tokens_per_second = 50};
  EXPECT_EQ(Order(facts, needs), (Names{"good", "unmeasured", "late", "slow"}));
}

TEST(RankOrder, SortReplacesTheMeasure) {
  const std::vector facts = {Measured("early", 10, 20), Measured("quick", 500, 900),
                             Measured("middle", 100, 100)};
  EXPECT_EQ(Order(facts, {.sort = SortBy::kLatency}), (Names{"early", "middle", "quick"}));
  EXPECT_EQ(Order(facts, {.user_order = {"middle"}, .sort = SortBy::kThroughput}),
            (Names{"quick", "middle", "early"}));
}

// --- Reasons ---

TEST(RankReason, SaysWhatTheTokenMayNotUse) {
  ExpectLeftOut(Route("a"), {.allowed_models = {{"org/other"}}}, Exclusion::kModelNotAllowed,
                "the token may not use the model org/model");
  ExpectLeftOut(Route("a"), {.allowed_models = {{"other/*"}}}, Exclusion::kModelNotAllowed,
                "the token may not use the model org/model");
  EXPECT_EQ(Order({Route("a")}, {.allowed_models = Names{"other/*", "org/*"}}), Names{"a"});
  ExpectLeftOut(Route("a"), {.allowed_providers = {{"b"}}}, Exclusion::kProviderNotAllowed,
                "the token may not use this provider");
  ExpectLeftOut(Route("a"), {.allowed_providers = Names{}}, Exclusion::kProviderNotAllowed,
                "the token may not use this provider");
}

TEST(RankReason, SaysWhatTheRequestRulesOut) {
  ExpectLeftOut(Route("a"), {.policy = Policy::kPinned, .pinned = "b"}, Exclusion::kNotPinned,
                "the request names b and no other");
  ExpectLeftOut(Route("a"), {.policy = Policy::kLocal}, Exclusion::kNotLocal,
                "only this device is asked for");
  ExpectLeftOut(Route("a"), {.only = {"b"}}, Exclusion::kNotInOnly, "not among provider.only");
  ExpectLeftOut(Route("a"), {.ignore = {"a"}}, Exclusion::kIgnored, "in provider.ignore");
  RouteFacts fp4 = Route("a");
  fp4.quantization = "fp4";
  ExpectLeftOut(fp4, {.quantizations = {"fp8", "bf16"}}, Exclusion::kQuantization,
                "quantization fp4 is not among fp8, bf16");
  ExpectLeftOut(Route("a"), {.quantizations = {"fp8"}}, Exclusion::kQuantization,
                "quantization unknown is not among fp8");
}

TEST(RankReason, SaysWhatIsMissingOnOurSide) {
  RouteFacts off = Route("a");
  off.enabled = false;
  ExpectLeftOut(off, {}, Exclusion::kDisabled, "the provider is switched off");
  RouteFacts no_key = Route("a");
  no_key.key_present = false;
  ExpectLeftOut(no_key, {}, Exclusion::kNoKey, "no key for it: tradewind login --provider a");
  RouteFacts staging = Route("a");
  staging.status = RouteStatus::kStaging;
  ExpectLeftOut(staging, {}, Exclusion::kStaging, "not released yet (staging)");
  EXPECT_EQ(Order({staging}, {.see_staging = true}), Names{"a"});
}

TEST(RankReason, SaysWhatTheRouteCannotDo) {
  RouteFacts route = Route("a");
  route[Capability::kVision] = Known::kNo;
  ExpectLeftOut(route, {.capabilities = {Capability::kVision}}, Exclusion::kCapabilityMissing,
                "no support for images");
  ExpectLeftOut(Route("a"), {.capabilities = {Capability::kLogprobs}, .require_parameters = true},
                Exclusion::kCapabilityUnknown,
                "support for logprobs is not known, and require_parameters is set");
  route.context_length = 8'192;
  ExpectLeftOut(route, {.input_tokens = 8'000, .max_tokens = 193}, Exclusion::kContextTooSmall,
                "about 8000 prompt tokens and 193 to write do not fit its context of 8192");
  EXPECT_EQ(Order({route}, {.input_tokens = 8'000, .max_tokens = 192}), Names{"a"});
  ExpectLeftOut(route, {.input_tokens = INT64_MAX, .max_tokens = INT64_MAX},
                Exclusion::kContextTooSmall,
                "about 9223372036854775807 prompt tokens and 9223372036854775807 to write do not "
                "fit its context of 8192");
  EXPECT_EQ(Order({route}, {.input_tokens = 800'000, .prompts = 100}), Names{"a"})
      << "each has a context of its own";
  ExpectLeftOut(route, {.input_tokens = 900'000, .prompts = 100}, Exclusion::kContextTooSmall,
                "about 9000 prompt tokens and 1 to write do not fit its context of 8192");
  route.max_output_tokens = 100;
  ExpectLeftOut(route, {.max_tokens = 101}, Exclusion::kOutputTooSmall,
                "max_tokens 101 is over its 100");
}

TEST(RankReason, SaysWhatIsTooDear) {
  const RouteNeeds needs{.max_price = {.input_nanousd_per_mtok = 100'000'000,
                                       .output_nanousd_per_mtok = 300'000'000,
                                       .request_nanousd = 0}};
  ExpectLeftOut(Route("a", Usd(0.2, 0.1)), needs, Exclusion::kTooExpensive,
                "0.20 USD per million input tokens is over the cap of 0.10");
  ExpectLeftOut(Route("a", Usd(0.1, 0.546875)), needs, Exclusion::kTooExpensive,
                "0.546875 USD per million output tokens is over the cap of 0.30");
  RouteFacts fee = Route("a", Price{0, 0, 1});
  ExpectLeftOut(fee, needs, Exclusion::kTooExpensive,
                "0.000000001 USD per request is over the cap of 0.00");
  ExpectLeftOut(Route("a"), needs, Exclusion::kUnpriced,
                "its price is not known, and there is a price cap");
  EXPECT_EQ(Order({Route("a", Usd(0.1, 0.3))}, needs), Names{"a"}) << "the cap itself is in";
}

TEST(RankReason, SaysWhichFailoverIsTooDear) {
  std::vector facts = {Route("a", Usd(1, 1)), Route("b", Usd(3, 3)), Route("c", Usd(3.01, 3.01)),
                       Route("unpriced"), Local()};
  RouteNeeds needs{.user_order = {"local", "a", "b", "c"}, .dear_times = kDearTimes};
  EXPECT_EQ(Order(facts, needs), (Names{"local", "a", "b", "unpriced"}))
      << "what costs nothing is no measure, and what is not known is not known to be dear";
  const Ranking ranking = Rank(facts, needs);
  ASSERT_EQ(ranking.left_out.size(), 1U);
  EXPECT_EQ(ExclusionName(ranking.left_out[0].code), "dear_failover");
  EXPECT_NE(ranking.left_out[0].reason.find("3 times"), std::string::npos);
  needs.dear_times = 0;
  EXPECT_EQ(Order(facts, needs), (Names{"local", "a", "b", "c", "unpriced"})) << "who wants it";
  needs.dear_times = kDearTimes;
  needs.user_order = {"c", "a", "b"};
  EXPECT_EQ(Order(facts, needs), (Names{"local", "c", "a", "b", "unpriced"}))
      << "from the dear to the cheap";
}

TEST(RankReason, WhatTheRequestNamesMayBeDear) {
  std::vector facts = {Route("a", Usd(1, 1)), Route("b", Usd(9, 9)), Route("c", Usd(90, 90))};
  RouteNeeds needs{.order = {"a", "c"}, .dear_times = kDearTimes};
  EXPECT_EQ(Order(facts, needs), (Names{"a", "c"})) << "a provider of its order";
  EXPECT_TRUE(IsNamed(facts[2], needs));
  EXPECT_FALSE(IsNamed(facts[1], needs));
  needs.dear_failover = false;
  EXPECT_EQ(Order(facts, needs), Names{"a"}) << "who forbids it means all";
  needs = {.dear_times = kDearTimes};
  facts[1].model_rank = facts[2].model_rank = 1;
  facts[1].model = facts[2].model = "org/fallback";
  EXPECT_EQ(Order(facts, needs), (Names{"a", "b"}))
      << "a model of its list, but not the dear one of its routes";
  EXPECT_TRUE(IsNamed(facts[1], needs));
  needs.dear_failover = false;
  EXPECT_EQ(Order(facts, needs), Names{"a"});
}

TEST(RankReason, ARouteThatRestsStillSaysWhatIsDear) {
  std::vector facts = {Route("a", Usd(1, 1)), Route("b", Usd(9, 9))};
  RouteNeeds needs{.user_order = {"a", "b"}, .dear_times = kDearTimes};
  facts[0].health.availability = Availability::kHeld;
  EXPECT_EQ(Order(facts, needs), Names{"a"}) << "a weekend of outages is no opt-in";
  facts[0].health.availability = Availability::kKeyHeld;
  EXPECT_EQ(Order(facts, needs), (Names{"b", "a"})) << "one that refuses our key is no alternative";
  facts[0].health.availability = Availability::kReady;
  facts[0].status = RouteStatus::kError;
  EXPECT_EQ(Order(facts, needs), (Names{"b", "a"})) << "nor is one that is known to be broken";
}

TEST(RankReason, SaysWhatHappensToData) {
  RouteFacts trains = Route("a");
  trains.data_policy = DataPolicy::kMayTrain;
  ExpectLeftOut(trains, {.policy = Policy::kPrivate}, Exclusion::kRetainsData, "it keeps data");
  ExpectLeftOut(Route("a"), {.policy = Policy::kPrivate}, Exclusion::kRetainsData,
                "it is not known to keep no data");
  ExpectLeftOut(trains, {.deny_data_collection = true}, Exclusion::kCollectsData,
                "it may train on data");
  ExpectLeftOut(Route("a"), {.deny_data_collection = true}, Exclusion::kCollectsData,
                "it is not known to collect no data");
}

TEST(Rank, TakesNumbersNobodyShouldSend) {
  RouteFacts odd = Measured("odd", std::nan(""), 0);
  RouteFacts odder = Measured("odder", -1, -5);
  const std::vector facts = {odd, odder, Measured("plain", 10, 10)};
  const RouteNeeds needs{.policy = Policy::kFastest, .input_tokens = -7, .max_tokens = INT64_MIN};
  EXPECT_EQ(Order(facts, needs), (Names{"plain", "odd", "odder"}));
  EXPECT_EQ(Order(facts, {.sort = SortBy::kLatency}), (Names{"odder", "plain", "odd"}));
  EXPECT_TRUE(Rank({}, needs).candidates.empty());
  EXPECT_EQ(UsdText(INT64_MIN), "-9223372036.854775808");
}

// --- Against a slow, obvious oracle ---

struct World {
  std::vector<RouteFacts> facts;
  RouteNeeds needs;
};

constexpr std::array<std::string_view, 6> kSlugs = {"a", "b", "c", "d", "e", "local"};

std::vector<std::string> SomeSlugs(SeededRandom& random, int percent) {
  std::vector<std::string> slugs;
  for (const std::string_view slug : kSlugs) {
    if (random.Chance(percent)) {
      slugs.emplace_back(slug);
    }
  }
  for (size_t i = slugs.size(); i > 1; --i) {
    std::swap(slugs[i - 1], slugs[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
  }
  return slugs;
}

RouteFacts SomeRoute(SeededRandom& random) {
  RouteFacts route = Route(std::string(random.Pick<std::string_view>(kSlugs)));
  route.is_local = route.provider == "local";
  route.model_rank = static_cast<int>(random.Below(2));
  route.model = route.model_rank == 0 ? "org/model" : "org/fallback";
  route.provider_model = std::string(1, static_cast<char>('m' + random.Below(3)));
  for (Known& known : route.capabilities) {
    known = static_cast<Known>(random.Below(3));
  }
  if (random.Chance(70)) {
    route.context_length = 1'000 << random.Below(5);
  }
  if (random.Chance(30)) {
    route.max_output_tokens = 100 << random.Below(4);
  }
  if (random.Chance(75)) {
    route.price = Price{random.Below(5) * 100, random.Below(5) * 100, random.Below(2)};
  }
  route.data_policy = static_cast<DataPolicy>(random.Below(4));
  route.quantization = random.Chance(30) ? "" : random.Chance(50) ? "fp8" : "bf16";
  route.status = random.Chance(80) ? RouteStatus::kLive : static_cast<RouteStatus>(random.Below(3));
  route.enabled = random.Chance(93);
  route.key_present = random.Chance(90);
  route.health.availability =
      random.Chance(70) ? Availability::kReady : static_cast<Availability>(random.Below(4));
  if (random.Chance(80)) {
    route.health.ttft_ms = static_cast<double>(100 * random.Below(5));
  }
  if (random.Chance(80)) {
    route.health.tokens_per_second = static_cast<double>(50 * random.Below(5));
  }
  return route;
}

RouteNeeds SomeNeeds(SeededRandom& random) {
  RouteNeeds needs;
  needs.policy = static_cast<Policy>(random.Below(6));
  needs.pinned = std::string(random.Pick<std::string_view>(kSlugs));
  needs.user_order = SomeSlugs(random, 40);
  for (int c = 0; c < kCapabilities; ++c) {
    if (random.Chance(15)) {
      needs.capabilities.push_back(static_cast<Capability>(c));
    }
  }
  needs.input_tokens = random.Below(3'000);
  if (random.Chance(50)) {
    needs.max_tokens = random.Below(900);
  }
  needs.only = random.Chance(15) ? SomeSlugs(random, 60) : Names{};
  needs.ignore = random.Chance(20) ? SomeSlugs(random, 25) : Names{};
  needs.order = random.Chance(25) ? SomeSlugs(random, 40) : Names{};
  needs.allow_fallbacks = random.Chance(80);
  needs.require_parameters = random.Chance(15);
  needs.deny_data_collection = random.Chance(10);
  needs.zero_data_retention = random.Chance(10);
  needs.quantizations = random.Chance(10) ? Names{"fp8", "unknown"} : Names{};
  needs.sort = random.Chance(70) ? SortBy::kPolicy : static_cast<SortBy>(random.Below(4));
  needs.across_models = random.Chance(30);
  if (random.Chance(20)) {
    needs.max_price = {random.Below(400), std::nullopt, 0};
  }
  if (random.Chance(20)) {
    needs.preferred_max_latency_ms = static_cast<double>(random.Below(400));
  }
  if (random.Chance(20)) {
    needs.preferred_min_tokens_per_second = static_cast<double>(random.Below(200));
  }
  if (random.Chance(10)) {
    needs.allowed_providers = SomeSlugs(random, 70);
  }
  if (random.Chance(10)) {
    needs.allowed_models = Names{"org/model"};
  }
  needs.keep_private = random.Chance(5);
  needs.local_only = random.Chance(5);
  needs.see_staging = random.Chance(30);
  return needs;
}

World SomeWorld(uint64_t seed) {
  SeededRandom random(seed);
  World world;
  for (int64_t i = random.Below(9); i >= 0; --i) {
    world.facts.push_back(SomeRoute(random));
  }
  world.needs = SomeNeeds(random);
  return world;
}

bool In(const Names& list, const std::string& word) {
  return std::count(list.begin(), list.end(), word) > 0;
}

// Could it serve, said once more in the simplest words.
bool MayServe(const RouteFacts& r, const RouteNeeds& n) {
  bool ok = r.enabled;
  ok = ok && (!n.allowed_models || In(*n.allowed_models, r.model));
  ok = ok && (!n.allowed_providers || In(*n.allowed_providers, r.provider));
  if (n.policy == Policy::kPinned) {
    ok = ok && r.provider == n.pinned;
  }
  if (n.policy == Policy::kLocal || n.local_only) {
    ok = ok && r.is_local;
  }
  ok = ok && (n.only.empty() || In(n.only, r.provider)) && !In(n.ignore, r.provider);
  ok = ok && (r.key_present || r.is_local);
  ok = ok && (r.status != RouteStatus::kStaging || n.see_staging);
  if (!r.is_local && (n.policy == Policy::kPrivate || n.keep_private || n.zero_data_retention)) {
    ok = ok && r.data_policy == DataPolicy::kNoRetention;
  }
  if (!r.is_local && n.deny_data_collection) {
    ok = ok && static_cast<int>(r.data_policy) >= static_cast<int>(DataPolicy::kNoTraining);
  }
  if (!n.quantizations.empty()) {
    ok = ok && In(n.quantizations, r.quantization.empty() ? "unknown" : r.quantization);
  }
  for (const Capability c : n.capabilities) {
    ok = ok && r[c] != Known::kNo && (r[c] == Known::kYes || !n.require_parameters);
  }
  const int64_t writes = n.max_tokens.value_or(1);
  ok = ok && (!r.context_length || n.input_tokens + writes <= *r.context_length);
  ok = ok && (!r.max_output_tokens || writes <= *r.max_output_tokens);
  const MaxPrice& cap = n.max_price;
  if (cap.input_nanousd_per_mtok || cap.output_nanousd_per_mtok || cap.request_nanousd) {
    ok = ok && r.price.has_value();
    ok = ok && (!cap.input_nanousd_per_mtok ||
                r.price->input_nanousd_per_mtok <= *cap.input_nanousd_per_mtok);
    ok = ok && (!cap.request_nanousd || r.price->request_nanousd <= *cap.request_nanousd);
  }
  return ok;
}

// Less than zero: `a` goes first. One comparison after the other, as the header lists them.
int Compare(const RouteFacts& a, const RouteFacts& b, const RouteNeeds& n) {
  const auto by = [](auto left, auto right) { return left < right ? -1 : right < left ? 1 : 0; };
  const auto rest = [](const RouteFacts& r) {
    const Availability availability = r.health.availability;
    return availability == Availability::kKeyHeld                                   ? 2
           : availability == Availability::kHeld || r.status == RouteStatus::kError ? 1
                                                                                    : 0;
  };
  if (const int c = by(rest(a), rest(b)); c != 0) {
    return c;
  }
  if (const int c = by(a.model_rank, b.model_rank); c != 0 && !n.across_models) {
    return c;
  }
  const auto place = [&](const RouteFacts& r) {
    const bool users = n.order.empty() && n.sort == SortBy::kPolicy &&
                       (n.policy == Policy::kPreferred || n.policy == Policy::kPrivate);
    Names list = users ? n.user_order : n.order;
    if (users && !In(list, "local")) {
      list.insert(list.begin(), "local");
    }
    return std::find(list.begin(), list.end(), r.provider) - list.begin();
  };
  if (const int c = by(place(a), place(b)); c != 0) {
    return c;
  }
  const auto unsure = [&](const RouteFacts& r) {
    return std::any_of(n.capabilities.begin(), n.capabilities.end(),
                       [&](Capability c) { return r[c] == Known::kUnknown; });
  };
  if (const int c = by(unsure(a), unsure(b)); c != 0) {
    return c;
  }
  const auto misses = [&](const RouteFacts& r) {
    int worst = 0;
    if (n.preferred_max_latency_ms) {
      worst = !r.health.ttft_ms ? 1 : *r.health.ttft_ms > *n.preferred_max_latency_ms ? 2 : 0;
    }
    if (n.preferred_min_tokens_per_second) {
      const auto& speed = r.health.tokens_per_second;
      worst = std::max(worst, !speed ? 1 : *speed < *n.preferred_min_tokens_per_second ? 2 : 0);
    }
    return worst;
  };
  if (const int c = by(misses(a), misses(b)); c != 0) {
    return c;
  }
  const double writes = static_cast<double>(std::min<int64_t>(n.max_tokens.value_or(512), 512));
  const auto measure = [&](const RouteFacts& r) {
    const double ttft_ms = r.health.ttft_ms.value_or(1'000);
    const double speed = r.health.tokens_per_second.value_or(0);
    if (n.sort == SortBy::kThroughput) {
      return r.health.tokens_per_second ? -speed : HUGE_VAL;
    }
    if (n.sort == SortBy::kLatency) {
      return r.health.ttft_ms ? ttft_ms : HUGE_VAL;
    }
    if (n.sort == SortBy::kPolicy && n.policy == Policy::kFastest) {
      return speed > 0 ? ttft_ms + writes * 1'000 / speed : HUGE_VAL;
    }
    return 0.0;
  };
  if (const int c = by(measure(a), measure(b)); c != 0) {
    return c;
  }
  const auto cost = [&](const RouteFacts& r) {
    return r.price ? static_cast<double>(n.input_tokens * r.price->input_nanousd_per_mtok +
                                         r.price->request_nanousd * 1'000'000) +
                         writes * static_cast<double>(r.price->output_nanousd_per_mtok)
                   : HUGE_VAL;
  };
  if (const int c = by(cost(a), cost(b)); c != 0) {
    return c;
  }
  if (const int c = by(a.provider, b.provider); c != 0) {
    return c;
  }
  if (const int c = by(a.provider_model, b.provider_model); c != 0) {
    return c;
  }
  return by(a.model, b.model);
}

// The best of what is left, again and again.
std::vector<size_t> SlowRank(const World& world) {
  std::vector<size_t> left;
  for (size_t i = 0; i < world.facts.size(); ++i) {
    if (MayServe(world.facts[i], world.needs)) {
      left.push_back(i);
    }
  }
  std::vector<size_t> order;
  while (!left.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < left.size(); ++i) {
      best = Compare(world.facts[left[i]], world.facts[left[best]], world.needs) < 0 ? i : best;
    }
    order.push_back(left[best]);
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(best));
  }
  if (!world.needs.allow_fallbacks && !order.empty()) {
    if (world.needs.order.empty()) {
      order.resize(1);
    } else {
      std::erase_if(order,
                    [&](size_t i) { return !In(world.needs.order, world.facts[i].provider); });
    }
  }
  return order;
}

TEST(RankProperty, AgreesWithTheSlowOracle) {
  size_t with_several = 0;
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    const World world = SomeWorld(seed);
    const Ranking ranking = Rank(world.facts, world.needs);
    std::vector<size_t> order;
    for (const Candidate& candidate : ranking.candidates) {
      order.push_back(candidate.index);
    }
    ASSERT_EQ(order, SlowRank(world)) << "seed " << seed;
    ASSERT_EQ(order.size() + ranking.left_out.size(), world.facts.size());
    with_several += order.size() > 2 ? 1 : 0;
  }
  EXPECT_GT(with_several, 500u) << "the worlds must leave something to order";
}

TEST(RankProperty, DoesNotDependOnTheOrderOfTheFacts) {
  for (uint64_t seed = 0; seed < 3'000; ++seed) {
    World world = SomeWorld(seed);
    const auto named = [&] {
      std::vector<std::string> names;
      for (const Candidate& candidate : Rank(world.facts, world.needs).candidates) {
        const RouteFacts& route = world.facts[candidate.index];
        names.push_back(route.provider + "/" + route.provider_model + "/" + route.model);
      }
      return names;
    };
    const auto before = named();
    std::ranges::reverse(world.facts);
    ASSERT_EQ(named(), before) << "seed " << seed;
  }
}

TEST(RankProperty, HealthOrdersAndNeverExcludes) {
  for (uint64_t seed = 0; seed < 3'000; ++seed) {
    World world = SomeWorld(seed);
    world.needs.allow_fallbacks = true;
    const size_t before = Rank(world.facts, world.needs).candidates.size();
    for (RouteFacts& route : world.facts) {
      route.health.availability = Availability::kKeyHeld;
      route.status = route.status == RouteStatus::kStaging ? route.status : RouteStatus::kError;
    }
    const Ranking ranking = Rank(world.facts, world.needs);
    ASSERT_EQ(ranking.candidates.size(), before);
    for (const Candidate& candidate : ranking.candidates) {
      ASSERT_TRUE(candidate.last_resort);
    }
    for (const LeftOut& out : ranking.left_out) {
      ASSERT_FALSE(out.reason.empty());
    }
  }
}

}  // namespace
}  // namespace tradewind::routing
