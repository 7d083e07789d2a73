#include "providers/prompts.h"

#include <string>

#include <gtest/gtest.h>

#include "providers/test_support.h"

namespace tradewind::providers {
namespace {

using testing::kBos;
using testing::kEnd;
using testing::kStart;

chat::Message Say(const std::string& role, const std::string& text) {
  chat::Message message;
  message.role = role;
  message.content.push_back({chat::ContentPart::Kind::kText, text});
  return message;
}

TEST(TemplateMessages, AreWhatTemplatesExpect) {
  chat::Message parts = Say("user", "a");
  parts.content.push_back({chat::ContentPart::Kind::kText, "b"});
  parts.name = "eve";
  chat::Message call;
  call.role = "assistant";
  call.tool_calls_json =
      R"([{"id":"1","function":{"name":"f","arguments":"{\"x\":1}"}},{"function":{"name":"g","arguments":"not json"}}])";
  chat::Message result = Say("tool", "2");
  result.tool_call_id = "1";
  const auto json = TemplateMessages({Say("developer", "d"), parts, call, result});
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(
      *json,
      R"([{"role":"system","content":"d"},{"role":"user","content":"a\nb","name":"eve"},)"
      R"({"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"name":"f","arguments":{"x":1}}},)"
      R"({"function":{"name":"g","arguments":"not json"}}]},{"role":"tool","content":"2","tool_call_id":"1"}])");
}

TEST(TemplateMessages, NameTheImageThatATextModelCannotRead) {
  chat::Message message = Say("user", "look");
  message.content.push_back({chat::ContentPart::Kind::kImageUrl, "http://x"});
  const auto json = TemplateMessages({Say("user", "a"), message});
  ASSERT_FALSE(json.has_value());
  EXPECT_EQ(json.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(json.error().param, "messages[1].content[1]");
}

TEST(PrepareChat, FormsSpecialTokensFromTheTemplateOnly) {
  testing::FakeWorld world;
  testing::FakeEngine engine(world);
  const auto prompt = PrepareChat(engine, {Say("user", "<|im_end|>")}, "", true);
  ASSERT_TRUE(prompt.has_value()) << prompt.error().message;
  const auto& ids = prompt->ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kStart), 2);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kEnd), 1);
  EXPECT_EQ(ids[0], kStart);
  EXPECT_FALSE(prompt->bos_was_added);
}

TEST(PrepareChat, PassesTheTemplatesOwnRefusalOn) {
  testing::FakeWorld world;
  testing::FakeEngine engine(world);
  const auto prompt = PrepareChat(engine, {Say("tool", "x")}, "", true);
  ASSERT_FALSE(prompt.has_value());
  EXPECT_EQ(prompt.error().code, ErrorCode::kTemplateFailed);
  EXPECT_EQ(prompt.error().param, "messages");
  EXPECT_NE(prompt.error().message.find("no tools here"), std::string::npos);
}

TEST(PrepareCompletion, RecognisesSpecialTokensAndAddsBosOnce) {
  testing::FakeWorld world;
  world.add_bos = true;
  testing::FakeEngine engine(world);
  const auto plain = PrepareCompletion(engine, {"a<|im_end|>", {}, false}, "prompt");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->ids, (std::vector<engine::TokenId>{kBos, 'a', kEnd}));
  EXPECT_TRUE(plain->bos_was_added);
  EXPECT_EQ(plain->text, "a<|im_end|>");
  const auto has_one = PrepareCompletion(engine, {"<s>a", {}, false}, "prompt");
  EXPECT_EQ(has_one->ids, (std::vector<engine::TokenId>{kBos, 'a'}));
  const auto without = PrepareCompletion(engine, {"a", {}, false}, "prompt", false);
  EXPECT_EQ(without->ids, (std::vector<engine::TokenId>{'a'}));
}

TEST(PrepareCompletion, TakesIdsAsTheyAreAndChecksThem) {
  testing::FakeWorld world;
  world.add_bos = true;
  testing::FakeEngine engine(world);
  const auto ids = PrepareCompletion(engine, {"", {'h', 'i', kEnd}, true}, "prompt");
  ASSERT_TRUE(ids.has_value());
  EXPECT_EQ(ids->ids, (std::vector<engine::TokenId>{'h', 'i', kEnd}));
  EXPECT_EQ(ids->text, "hi<|im_end|>");
  for (const int64_t bad : {int64_t{259}, int64_t{-1}, INT64_MAX, int64_t{1} << 32}) {
    const auto refused = PrepareCompletion(engine, {"", {0, bad}, true}, "prompt[2]");
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_EQ(refused.error().param, "prompt[2][1]");
  }
}

TEST(PrepareCompletion, StartsAnEmptyPromptWithBos) {
  testing::FakeWorld world;
  testing::FakeEngine engine(world);
  const auto prompt = PrepareCompletion(engine, {"", {}, false}, "prompt");
  ASSERT_TRUE(prompt.has_value());
  EXPECT_EQ(prompt->ids, (std::vector<engine::TokenId>{kBos}));
}

}  // namespace
}  // namespace tradewind::providers
