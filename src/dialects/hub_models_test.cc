#include "dialects/hub_models.h"

#include <gtest/gtest.h>

#include "dialects/openai_models.h"

namespace tradewind::dialects {
namespace {

HubModel Sample() {
  return {"org/m",
          "text-generation",
          {{"together", "Org/M-Turbo", "live", "conversational", false},
           {"groq", "m", "error", "conversational", true}}};
}

TEST(HubModels, AModelsMappingIsAnObjectInOrderOfPreference) {
  EXPECT_EQ(FormatHubModel(Sample(), {.mapping = true}),
            R"({"_id":")" + HubId("org/m") +
                R"(","id":"org/m","inferenceProviderMapping":{)"
                R"("together":{"status":"live","providerId":"Org/M-Turbo","task":"conversational",)"
                R"("isModelAuthor":false},)"
                R"("groq":{"status":"error","providerId":"m","task":"conversational",)"
                R"("isModelAuthor":true}}})");
}

TEST(HubModels, AListHasTheMappingAsAnArray) {
  const HubModel model = Sample();
  EXPECT_EQ(FormatHubModelList(std::span(&model, 1), {.mapping = true, .inference = true}),
            R"([{"_id":")" + HubId("org/m") +
                R"(","id":"org/m","inference":"warm","inferenceProviderMapping":[)"
                R"({"provider":"together","status":"live","providerId":"Org/M-Turbo",)"
                R"("task":"conversational","isModelAuthor":false},)"
                R"({"provider":"groq","status":"error","providerId":"m","task":"conversational",)"
                R"("isModelAuthor":true}]}])");
}

TEST(HubModels, AModelNobodyServesIsNotWarm) {
  HubModel model = Sample();
  model.mappings.erase(model.mappings.begin());
  EXPECT_EQ(FormatHubModel(model, {.inference = true}).find("warm"), std::string::npos);
  EXPECT_NE(FormatHubModel(model, {}).find(R"("pipeline_tag":"text-generation")"),
            std::string::npos);
}

TEST(HubModels, PartnersAreGroupedByTask) {
  const HubModel model = Sample();
  const std::string text = FormatPartnerModels(std::span(&model, 1), "groq");
  EXPECT_TRUE(text.starts_with(R"({"conversational":{"org/m":{"_id":")")) << text;
  EXPECT_TRUE(text.ends_with(R"(","providerId":"m","status":"error"}}})")) << text;
  EXPECT_EQ(FormatPartnerModels(std::span(&model, 1), "cerebras"), "{}");
}

TEST(HubModels, IdsHaveTheShapeOfTheHubs) {
  EXPECT_EQ(HubId("a").size(), 24u);
  EXPECT_EQ(HubId("a"), HubId("a"));
  EXPECT_NE(HubId("a"), HubId("b"));
}

TEST(OpenAiModels, ProvidersHaveExactPricesAndLeaveOutWhatIsNotKnown) {
  ModelEntry entry;
  entry.id = "org/m";
  entry.owned_by = "org";
  entry.is_local = false;
  entry.input_modalities = {"text", "image"};
  entry.providers.resize(2);
  entry.providers[0].provider = "together";
  entry.providers[0].status = "live";
  entry.providers[0].context_length = 131072;
  entry.providers[0].input = "0.9500000000000001";
  entry.providers[0].output = "0.6";
  entry.providers[0].supports_tools = true;
  entry.providers[0].throughput = 212.5;
  entry.providers[1].provider = "groq";
  entry.providers[1].status = "error";
  entry.providers[1].input = "1";  // half a price is none
  EXPECT_EQ(FormatModel(entry),
            R"({"id":"org/m","object":"model","created":0,"owned_by":"org","max_model_len":null,)"
            R"("architecture":{"input_modalities":["text","image"],"output_modalities":["text"]},)"
            R"("providers":[{"provider":"together","status":"live","context_length":131072,)"
            R"("pricing":{"input":0.9500000000000001,"output":0.6},"is_free":false,)"
            R"("supports_tools":true,"throughput":212.5,"is_model_author":false},)"
            R"({"provider":"groq","status":"error","is_model_author":false}]})");
}

}  // namespace
}  // namespace tradewind::dialects
