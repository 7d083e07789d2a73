#include "console_api/usage_json.h"

#include <string>

#include <gtest/gtest.h>

namespace tradewind::console_api {
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
  const billing::BillLine& named = (*lines)[1];
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

TEST(UsageJson, RefusesWhatItCannotRead) {
  for (const char* wrong :
       {"", "[]", "{}", R"({"data":{}})", R"({"data":[1]})", R"({"data":[],"has_more":true})",
        R"({"data":[{"start_time":5,"end_time":4,"results":[]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[1]}]})",
        R"({"data":[{"start_time":5,"end_time":6,"results":[{"amount":true}]}]})"}) {
    EXPECT_EQ(ReadUsageJson(wrong, "p", false).error().param, "file") << wrong;
  }
}

}  // namespace
}  // namespace tradewind::console_api
