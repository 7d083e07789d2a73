#include "providers/continuation.h"

#include <string>

#include <gtest/gtest.h>

#include "providers/kinds.h"

namespace tradewind::providers {
namespace {

Upstream Place(PrefixForm prefix, const Quirks& quirks = kOpenAiCompatible) {
  return {.slug = "s", .quirks = &quirks, .base = *http::ParseUrl("http://h/v1"), .prefix = prefix};
}

// "" when it cannot be done.
std::string Rest(Endpoint endpoint, const std::string& body, int64_t tokens = 3,
                 PrefixForm prefix = PrefixForm::kLastMessage) {
  auto text = dialects::JsonText::Parse(body);
  EXPECT_TRUE(text.has_value()) << body;
  return AskForTheRest(Place(prefix), endpoint, "so \"far", tokens, *text) ? text->Text() : "";
}

TEST(Continuation, PutsTheTextBehindTheMessages) {
  EXPECT_EQ(Rest(Endpoint::kChat, R"({"messages":[{"role":"user","content":"q"}],"max_tokens":9})"),
            R"({"messages":[{"role":"user","content":"q"},)"
            R"({"role":"assistant","content":"so \"far"}],"max_tokens":6})");
}

TEST(Continuation, LengthensAMessageThatTheClientBegan) {
  EXPECT_EQ(Rest(Endpoint::kChat, R"({"messages":[{"role":"assistant","content":"I am "}]})"),
            R"({"messages":[{"role":"assistant","content":"I am so \"far"}]})");
  EXPECT_EQ(Rest(Endpoint::kChat, R"({"messages":[{"role":"assistant","content":[]}]})"), "");
}

TEST(Continuation, TellsVllmThatTheLastMessageIsNotAtItsEnd) {
  const std::string rest = Rest(Endpoint::kChat, R"({"messages":[{"role":"user","content":"q"}]})",
                                3, PrefixForm::kFinalFlag);
  EXPECT_NE(rest.find(R"("continue_final_message":true,"add_generation_prompt":false)"),
            std::string::npos)
      << rest;
}

TEST(Continuation, LengthensAPromptThatIsOneString) {
  EXPECT_EQ(Rest(Endpoint::kCompletions, R"({"prompt":"q "})"), R"({"prompt":"q so \"far"})");
  for (const char* body : {R"({"prompt":["q"]})", R"({"prompt":[1]})", R"({})",
                           R"({"prompt":"q","echo":true})", R"({"prompt":"q","suffix":"s"})"}) {
    EXPECT_EQ(Rest(Endpoint::kCompletions, body), "") << body;
  }
}

TEST(Continuation, NeedsSomethingLeftOfEveryBound) {
  const std::string body =
      R"({"messages":[{"role":"user","content":"q"}],"max_completion_tokens":4})";
  EXPECT_NE(Rest(Endpoint::kChat, body, 3).find(R"("max_completion_tokens":1)"), std::string::npos);
  EXPECT_EQ(Rest(Endpoint::kChat, body, 4), "");
  const std::string other = R"({"messages":[{"role":"user","content":"q"}],"n_predict":)";
  EXPECT_NE(Rest(Endpoint::kChat, other + "4}", 3).find(R"("n_predict":1)"), std::string::npos);
  EXPECT_EQ(Rest(Endpoint::kChat, other + "4}", 4), "");
  EXPECT_NE(Rest(Endpoint::kChat, other + "-1}", 4).find(R"("n_predict":-1)"), std::string::npos);
}

TEST(Continuation, IsOnlyAskedWhereItIsKnownToWork) {
  EXPECT_TRUE(CanGoOn(Place(PrefixForm::kLastMessage), Endpoint::kChat, "m"));
  EXPECT_FALSE(CanGoOn(Place(PrefixForm::kNone), Endpoint::kChat, "m"));
  EXPECT_FALSE(CanGoOn(Place(PrefixForm::kLastMessage), Endpoint::kChat, "openai/GPT-OSS-120b"));
  EXPECT_TRUE(CanGoOn(Place(PrefixForm::kNone), Endpoint::kCompletions, "m"));
  EXPECT_FALSE(CanGoOn(Place(PrefixForm::kNone, kGroq), Endpoint::kCompletions, "m"));
  EXPECT_FALSE(CanGoOn(Place(PrefixForm::kLastMessage), Endpoint::kEmbeddings, "m"));
}

}  // namespace
}  // namespace tradewind::providers
