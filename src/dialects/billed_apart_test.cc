#include "dialects/billed_apart.h"

#include <gtest/gtest.h>

#include "dialects/message_parts.h"

namespace tradewind::dialects {
namespace {

std::string Apart(const std::string& fields) {
  return FieldBilledApart(JsonText::Parse("{" + fields + "}").value());
}

TEST(FieldBilledApart, NamesWhatBeatsTheBoundsOfARequest) {
  EXPECT_EQ(Apart(R"("prediction":{"type":"content","content":"a"})"), "prediction");
  EXPECT_EQ(Apart(R"("model":"m","extra_body":{"max_tokens":100000,"n":8})"), "extra_body");
  EXPECT_EQ(Apart(R"("images":["https://a.example/b.png"])"), "images");
  EXPECT_EQ(Apart(R"("preset":"p")"), "preset");
  EXPECT_EQ(Apart(R"("fallbacks":["dear"])"), "fallbacks");
  EXPECT_EQ(Apart(R"("additional_drop_params":["max_tokens"])"), "additional_drop_params");
  EXPECT_EQ(Apart(R"("num_return_sequences":8)"), "num_return_sequences");
  EXPECT_EQ(Apart(R"("num_retries":3)"), "num_retries");
  EXPECT_EQ(Apart(R"("speed" : "fast")"), "speed");
  EXPECT_EQ(Apart(R"("web_search":true)"), "web_search");
}

TEST(FieldBilledApart, ReadsNamesAsServersDo) {
  EXPECT_EQ(Apart(R"("Extra_Body":{"n":8})"), "extra_body");
  EXPECT_EQ(Apart(R"("\u0069mages":["a"])"), "images");
  EXPECT_EQ(Apart(R"("fallbac\u212As":["dear"])"), "fallbacks");
  EXPECT_EQ(Apart(R"("maxOutputTokens":100000)"), "maxoutputtokens");
}

TEST(FieldBilledApart, LeavesWhatSaysNothingAndWhatIsBounded) {
  for (const char* nothing : {"null", "false", "0", "[]", "{}", R"("")"}) {
    EXPECT_EQ(Apart(R"("images":)" + std::string(nothing)), "") << nothing;
  }
  EXPECT_EQ(Apart(R"("model":"m","messages":[{"content":"prediction"}],"temperature":1,"seed":2,
                     "stop":["images"],"logit_bias":{"speed":1},"metadata":{"route":"a"},"user":"u",
                     "documents":[{"text":"a"}],"echo":true,"suffix":"a","top_k":1,"store":true,
                     "reasoning_effort":"low","transforms":["middle-out"],"tools":[],)"
                  R"("audio":{"voice":"alloy"},"provider":{},"models":["m"])"),
            "");
}

TEST(FieldBilledApart, NamesATemplateAmongItsArguments) {
  EXPECT_EQ(Apart(R"("chat_template_kwargs":{"enable_thinking":false})"), "");
  EXPECT_EQ(Apart(R"("chat_template_kwargs":{"chat\u005ftemplate":"{% for %}"})"),
            "chat_template_kwargs");
  EXPECT_EQ(Apart(R"("chat_template_kwargs":"chat_template")"), "");
}

TEST(FieldBilledApart, NamesMediaBesideTheContentOfAMessage) {
  const auto apart = [](const std::string& fields) {
    return ReadParts(R"([{"role":"user","content":"a"},{"role":"user",)" + fields + "}]").unbounded;
  };
  EXPECT_EQ(apart(R"("content":"x","images":["https://a.example/b.png"])"), "images");
  EXPECT_EQ(apart(R"("images": {"url":"a"},"content":"x")"), "images");
  EXPECT_EQ(apart(R"("Images":"https://a.example/b.png")"), "images");
  EXPECT_EQ(apart(R"("content":"x","files":[{"id":"a"}])"), "files");
  EXPECT_EQ(apart(R"("content":"x","images":[ ],"files":null,"videos":{},"audios":"")"), "");
  EXPECT_EQ(apart(R"("content":"images","tool_calls":[{"images":["a"]}],"name":"files")"), "");
}

TEST(FieldBilledApart, NamesHowManyTilesAPictureIsCutInto) {
  EXPECT_EQ(ReadParts(R"([{"content":[{"type":"image_url",
                         "image_url":{"url":"a","max_dynamic_patch":4000}}]}])")
                .unbounded,
            "max_dynamic_patch");
}

}  // namespace
}  // namespace tradewind::dialects
