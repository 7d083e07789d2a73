#include "billing/usage_json.h"

#include <string>

#include <gtest/gtest.h>

#include "billing/billing_answer.h"

namespace tradewind::billing {
namespace {

TEST(UsageJson, ReadsTokensByModelAndTime) {
  const auto lines = ReadUsageJson(
      R"({"object":"page","has_more":false,"data":[{"start_time":1795651200,"end_time":1795737600,)"
      R"("results":[{"input_tokens":1000,"output_tokens":500,"input_cached_tokens":800,)"
      R"("num_model_requests":5,"model":"m"},{"input_tokens":1,"output_tokens":2,"model":"m"},)"
      R"({"input_tokens":7,"model":null}]},)"
      R"({"start_time":1795737600,"end_time":1795824000,"results":[]}]})",
      "openai", false);
  ASSERT_TRUE(lines.has_value()) << lines.error().message;
  ASSERT_EQ(lines->size(), 2U);
  const BillLine& named = (*lines)[1];
  EXPECT_EQ(named.model, "m");
  EXPECT_EQ(named.start_s, 1'795'651'200);
  EXPECT_EQ(named.input_tokens, 1001);
  EXPECT_EQ(named.cached_tokens, 800);
  EXPECT_EQ(named.output_tokens, 502);
  EXPECT_EQ(named.requests, 5);
  EXPECT_EQ(named.cost, std::nullopt) << "not said";
  EXPECT_EQ(named.provider, "openai");
}

TEST(UsageJson, ReadsAmountsOfDollarsAndOfCents) {
  const auto dollars = ReadUsageJson(
      R"({"data":[{"start_time":1795651200,"end_time":1795737600,"results":[)"
      R"({"amount":{"value":0.06,"currency":"usd"}},{"amount":{"value":2,"currency":"usd"}},)"
      R"({"amount":{"value":"0.0000000001","currency":"usd"}}]}]})",
      "p", true);
  ASSERT_TRUE(dollars.has_value()) << dollars.error().message;
  EXPECT_EQ((*dollars)[0].cost, 2'060'000'001);
  EXPECT_TRUE((*dollars)[0].is_invoice);
  const auto cents = ReadUsageJson(
      R"({"data":[{"starting_at":"2026-11-26T00:00:00Z","ending_at":"2026-11-27T00:00:00Z",)"
      R"("results":[{"amount":"123.5","currency":"USD"}]}]})",
      "p", true);
  ASSERT_TRUE(cents.has_value()) << cents.error().message;
  EXPECT_EQ((*cents)[0].cost, 1'235'000'000);
  const auto many = ReadUsageJson(
      R"({"data":[{"starting_at":"2026-11-26T00:00:00Z","ending_at":"2026-11-27T00:00:00Z",)"
      R"("results":[{"amount":"2500000.5","currency":"USD"}]}]})",
      "p", true);
  ASSERT_TRUE(many.has_value()) << "a day of $25,000: " << many.error().message;
  EXPECT_EQ((*many)[0].cost, 25'000'005'000'000);
}

TEST(UsageJson, AddsUpTheInputWhereItsPartsStandBesideEachOther) {
  const auto lines = ReadUsageJson(
      R"({"data":[{"starting_at":"2026-11-26T00:00:00Z","ending_at":"2026-11-27T00:00:00Z",)"
      R"("results":[{"uncached_input_tokens":1500,"cache_read_input_tokens":200,)"
      R"("cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},)"
      R"("output_tokens":9,"model":"m"}]}]})",
      "p", false);
  ASSERT_TRUE(lines.has_value()) << lines.error().message;
  EXPECT_EQ((*lines)[0].input_tokens, 3200);
  EXPECT_EQ((*lines)[0].cached_tokens, 200);
}

TEST(UsageJson, SaysOfAPageWhichTimesItHasAndWhereItGoesOn) {
  const auto page = ReadUsagePage(
      R"({"has_more":true,"next_page":"p2","data":[{"start_time":86400,"end_time":172800,)"
      R"("results":[]},{"start_time":172800,"end_time":259200,"results":[{"input_tokens":1}]}]})",
      "p", false);
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_TRUE(page->has_more);
  EXPECT_EQ(page->next_page, "p2");
  EXPECT_EQ(page->times,
            (std::vector<std::pair<int64_t, int64_t>>{{86'400, 172'800}, {172'800, 259'200}}));
  EXPECT_EQ(page->lines.size(), 1U);
}

TEST(UsageJson, RefusesWhatItCannotRead) {
  for (const char* wrong :
       {"", "[]", "{}", R"({"data":{}})", R"({"data":[1]})", R"({"data":[],"has_more":true})",
        R"({"data":[{"start_time":5,"end_time":4,"results":[]}]})",
        R"({"data":[{"start_time":5,"end_time":7258118400,"results":[]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"uncached_input_tokens":1,)"
        R"("cache_creation":{"x":-1}}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[1]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"amount":true}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"input_tokens":-1}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"output_tokens":"7"}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"output_tokens":1e18}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"output_tokens":1e15},)"
        R"({"output_tokens":1}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[)"
        R"({"input_tokens":1,"input_cached_tokens":2}]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[)"
        R"({"amount":{"value":1,"currency":"eur"}}]}]})"}) {
    EXPECT_EQ(ReadUsageJson(wrong, "p", false).error().param, "file") << wrong;
  }
}

TEST(BillingAnswer, IsReadByTheRulesOfTheProtocol) {
  const auto costs = ReadBillingAnswer(
      R"({"requests":[{"requestId":"a","costNanoUsd":1340},{"requestId":"b","costNanoUsd":0},)"
      R"({"requestId":"up","costNanoUsd":12.01},{"requestId":"minus","costNanoUsd":-1},)"
      R"({"requestId":"text","costNanoUsd":"5"},{"requestId":"huge","costNanoUsd":1e300},)"
      R"({"requestId":"much","costNanoUsd":1000000000000001},{"requestId":7,"costNanoUsd":1},)"
      R"({"costNanoUsd":1},{"requestId":"none"},null,"x"],"more":1})");
  ASSERT_TRUE(costs.has_value()) << costs.error().message;
  ASSERT_EQ(costs->size(), 7U);
  EXPECT_EQ((*costs)[0].id, "a");
  EXPECT_EQ((*costs)[0].cost, 1340);
  EXPECT_EQ((*costs)[1].cost, 0);
  EXPECT_EQ((*costs)[2].cost, 13) << "rounded up";
  for (size_t i = 3; i < costs->size(); ++i) {
    EXPECT_EQ((*costs)[i].cost, -1) << (*costs)[i].id;
  }
  EXPECT_TRUE(ReadBillingAnswer(R"({"requests":null})")->empty());
  for (const char* wrong : {"", "[]", "{}", R"({"requests":{}})", R"({"requests":[)"}) {
    EXPECT_FALSE(ReadBillingAnswer(wrong).has_value()) << wrong;
  }
}

}  // namespace
}  // namespace tradewind::billing
