#include "routing/explain.h"

#include <algorithm>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace tradewind::routing {
namespace {

namespace json = boost::json;

RouteFacts Route(std::string provider, int64_t input_cents, int64_t output_cents) {
  RouteFacts route;
  route.provider = std::move(provider);
  route.model = "mistralai/Ministral-3-3B-Instruct-2512";
  route.provider_model = "ministral-3b";
  route.price = Price{input_cents * 10'000'000, output_cents * 10'000'000, 0};
  return route;
}

// The sample of the reference: this device, two providers, and one that fails.
std::vector<RouteFacts> Sample() {
  RouteFacts local = Route("local", 0, 26);
  local.is_local = true;
  local.price_is_energy = true;
  local.quantization = "q4";
  local.context_length = 8'192;
  local.health.ttft_ms = 6'800;
  local.health.tokens_per_second = 9.8;
  local[Capability::kTools] = Known::kYes;
  RouteFacts a = Route("prov-a", 10, 10);
  a.quantization = "fp8";
  a.context_length = 131'072;
  a.health.ttft_ms = 410;
  a.health.tokens_per_second = 142;
  a[Capability::kTools] = Known::kYes;
  RouteFacts b = Route("prov-b", 4, 4);
  b.context_length = 128'000;
  b.health.ttft_ms = 620;
  b.health.tokens_per_second = 88;
  b[Capability::kTools] = Known::kNo;
  RouteFacts c = Route("prov-c", 0, 0);
  c.price.reset();
  c.health.availability = Availability::kHeld;
  c.health.circuit = Circuit::kOpen;
  c.health.reason = HoldReason::kFaultsInARow;
  c.health.faults_in_a_row = 3;
  c.health.last_failure = FailureKind::kConnect;
  c.health.held_for_ms = 4'000;
  return {local, a, b, c};
}

RouteNeeds Cheapest() {
  return {.policy = Policy::kCheapest, .capabilities = {Capability::kTools}, .input_tokens = 100};
}

TEST(Explain, ShowsTheTableOfRoutesWithEachDecision) {
  const std::vector<RouteFacts> facts = Sample();
  const RouteNeeds needs = Cheapest();
  const std::string text = ExplainText(ExplainRows(facts, needs, Rank(facts, needs)));
  EXPECT_EQ(
      text,
      "PLACE   STATUS  IN/OUT $/M        TTFT    TOK/S  CTX   QUANT  TOOLS  DECISION\n"
      "prov-a  live    0.10/0.10         0.41 s  142    128k  fp8    yes    CHOSEN: cheapest for "
      "this request\n"
      "local   ready   energy 0.00/0.26  6.80 s  9.8    8k    q4     yes    2nd\n"
      "prov-c  open    -                 -       -      -     ?      ?      last resort (3rd): 3 "
      "failures in a row (no connection), next try in 4 s\n"
      "prov-b  live    0.04/0.04         0.62 s  88     128k  ?      no     excluded: no support "
      "for tools\n");
}

TEST(Explain, SaysWhyTheFirstIsFirstUnderEachPolicy) {
  const std::vector<RouteFacts> facts = Sample();
  const auto decision = [&](const RouteNeeds& needs) {
    return ExplainRows(facts, needs, Rank(facts, needs)).front().decision;
  };
  EXPECT_EQ(decision({.policy = Policy::kPreferred}), "CHOSEN: first in the preferred order");
  EXPECT_EQ(decision({.policy = Policy::kFastest}), "CHOSEN: fastest, about 4.0 s expected");
  EXPECT_EQ(decision({.policy = Policy::kPrivate}), "CHOSEN: first of those that keep no data");
  EXPECT_EQ(decision({.policy = Policy::kLocal}), "CHOSEN: this device");
  EXPECT_EQ(decision({.policy = Policy::kPinned, .pinned = "prov-b"}),
            "CHOSEN: named by the request");
  EXPECT_EQ(decision({.policy = Policy::kPinned, .pinned = "prov-c"}),
            "CHOSEN as the last resort: 3 failures in a row (no connection), next try in 4 s");
  EXPECT_EQ(decision({.order = {"prov-b"}}), "CHOSEN: by provider.order");
  EXPECT_EQ(decision({.sort = SortBy::kPrice}), "CHOSEN: lowest price for this request");
  EXPECT_EQ(decision({.sort = SortBy::kThroughput}), "CHOSEN: highest throughput");
  EXPECT_EQ(decision({.sort = SortBy::kLatency}), "CHOSEN: lowest latency");
}

TEST(Explain, DoesNotClaimWhatNobodyMeasuredOrPriced) {
  std::vector<RouteFacts> facts = {Route("a", 0, 0)};
  facts[0].price.reset();
  const auto decision = [&](const RouteNeeds& needs) {
    return ExplainRows(facts, needs, Rank(facts, needs)).front().decision;
  };
  EXPECT_EQ(decision({.policy = Policy::kFastest}), "CHOSEN: fastest; none is measured yet");
  EXPECT_EQ(decision({.policy = Policy::kCheapest}), "CHOSEN: no route has a price");
}

TEST(Explain, NamesEachStatusAndPrice) {
  const auto row = [](const RouteFacts& route) {
    const std::vector facts = {route};
    return ExplainRows(facts, {}, Rank(facts, {})).front();
  };
  RouteFacts route = Route("a", 0, 0);
  EXPECT_EQ(row(route).prices, "free");
  route.price->request_nanousd = 5'000'000;
  EXPECT_EQ(row(route).prices, "0.00/0.00+0.005");
  route.status = RouteStatus::kError;
  route.status_words = "server error:\n500";
  EXPECT_EQ(row(route).status, "error");
  EXPECT_EQ(row(route).decision, "CHOSEN as the last resort: server error: 500") << "one line";
  route.status = RouteStatus::kStaging;
  EXPECT_EQ(row(route).status, "staging");
  EXPECT_EQ(row(route).kind, DecisionKind::kExcluded);
  const std::vector<std::pair<HoldReason, std::string>> reasons = {
      {HoldReason::kKey, "key"},
      {HoldReason::kThrottled, "paused"},
      {HoldReason::kTrialsBusy, "trial"},
      {HoldReason::kErrorRate, "open"}};
  for (const auto& [reason, status] : reasons) {
    route.health.reason = reason;
    EXPECT_EQ(row(route).status, status);
  }
}

TEST(Explain, NamesTheModelWhenThereAreSeveral) {
  std::vector<RouteFacts> facts = {Route("a", 1, 1), Route("b", 1, 1)};
  facts[1].model = "org/fallback";
  facts[1].model_rank = 1;
  const auto rows = ExplainRows(facts, {}, Rank(facts, {}));
  EXPECT_EQ(rows[0].place, "mistralai/Ministral-3-3B-Instruct-2512:a");
  EXPECT_EQ(rows[1].place, "org/fallback:b");
}

TEST(Explain, GivesScriptsTheSameAsJson) {
  const std::vector<RouteFacts> facts = Sample();
  const RouteNeeds needs = Cheapest();
  const json::object object = ExplainJson("m:cheapest", facts, needs, Rank(facts, needs));
  EXPECT_EQ(object.at("schema").as_string(), "tradewind.route_explain/v1");
  EXPECT_EQ(object.at("model").as_string(), "m:cheapest");
  EXPECT_EQ(object.at("policy").as_string(), "cheapest");
  EXPECT_EQ(json::serialize(object.at("needs")), R"(["tools"])");
  EXPECT_EQ(object.at("chosen").at("provider").as_string(), "prov-a");
  const json::array& routes = object.at("routes").as_array();
  ASSERT_EQ(routes.size(), 4u);
  EXPECT_EQ(routes[0].at("decision").as_string(), "chosen");
  EXPECT_EQ(routes[0].at("place").as_int64(), 1);
  EXPECT_EQ(routes[0].at("input_usd_per_mtok").as_string(), "0.10") << "exact, as text";
  EXPECT_EQ(routes[0].at("first_token_latency_ms").as_double(), 410);
  EXPECT_TRUE(routes[0].at("supports_tools").as_bool());
  EXPECT_EQ(routes[2].at("decision").as_string(), "last_resort");
  EXPECT_EQ(routes[2].at("held_for_ms").as_int64(), 4'000);
  EXPECT_TRUE(routes[2].at("input_usd_per_mtok").is_null()) << "unpriced is null, never 0";
  EXPECT_TRUE(routes[2].at("tokens_per_second").is_null());
  EXPECT_TRUE(routes[2].at("supports_tools").is_null());
  EXPECT_EQ(routes[3].at("decision").as_string(), "excluded");
  EXPECT_TRUE(routes[3].at("place").is_null());
  EXPECT_EQ(routes[3].at("code").as_string(), "capability_missing");
  EXPECT_EQ(routes[3].at("reason").as_string(), "no support for tools");
}

TEST(Explain, SaysInOneSentenceWhyNobodyCanServe) {
  std::vector<RouteFacts> facts = Sample();
  RouteNeeds needs{.capabilities = {Capability::kAudioInput}, .require_parameters = true};
  const Ranking ranking = Rank(facts, needs);
  ASSERT_TRUE(ranking.candidates.empty());
  EXPECT_TRUE(ExplainJson("m", facts, needs, ranking).at("chosen").is_null());
  EXPECT_EQ(WhyNoCandidate(facts, ranking, 2),
            "local: support for audio input is not known, and require_parameters is set; "
            "prov-a: support for audio input is not known, and require_parameters is set; and 2 "
            "more");
  EXPECT_EQ(WhyNoCandidate({}, {}), "");
}

}  // namespace
}  // namespace tradewind::routing
