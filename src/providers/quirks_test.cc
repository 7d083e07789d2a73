// Requests as each kind of upstream wants them. Expectations come from the providers'
// documentation.
#include "providers/quirks.h"

#include <gtest/gtest.h>

#include "providers/upstream.h"

namespace tradewind::providers {
namespace {

dialects::JsonText Request(const std::string& body) {
  auto text = dialects::JsonText::Parse(body);
  EXPECT_TRUE(text.has_value()) << body;
  return std::move(*text);
}

std::string Prepared(const Quirks& quirks, const std::string& body, bool is_stream = false,
                     std::vector<std::string>* dropped = nullptr) {
  dialects::JsonText request = Request(body);
  auto names = PrepareRequest(quirks, Endpoint::kChat, "their/id", is_stream, request);
  if (dropped != nullptr) {
    *dropped = std::move(names);
  }
  return request.Text();
}

TEST(Quirks, AreFoundByTheirKindAndAllHaveOne) {
  for (const Quirks* quirks : AllQuirks()) {
    EXPECT_EQ(FindQuirks(quirks->kind), quirks);
    EXPECT_FALSE(quirks->Path(Endpoint::kChat).empty());
  }
  EXPECT_EQ(FindQuirks("nobody"), nullptr);
}

TEST(Quirks, LeaveARequestInTheProvidersOwnFormAsItIs) {
  const std::string body =
      R"({"model":"x", "tools":[],"response_format":{"type":"json_schema","schema":{}},"stream":true})";
  dialects::JsonText request = Request(body);
  PrepareOwnForm(kTogether, true, request);
  EXPECT_EQ(request.Text(), body);
  request = Request(R"({"provider":{"zdr":true},"model":"x","models":["y"],"stream":true})");
  PrepareOwnForm(kOpenAiCompatible, true, request);
  EXPECT_EQ(request.Text(),
            R"({"model":"x","stream":true,"stream_options":{"include_usage":true}})");
}

TEST(Upstream, KnowsTheProvidersOwnPathsWhateverTheAddressIs) {
  const Upstream moved{.slug = "fireworks-ai",
                       .quirks = &kFireworks,
                       .base = *http::ParseUrl("http://127.0.0.1:1/elsewhere")};
  EXPECT_EQ(EndpointAt(moved, "inference/v1/chat/completions"), Endpoint::kChat);
  EXPECT_EQ(EndpointAt(moved, "elsewhere/chat/completions"), std::nullopt);
  EXPECT_EQ(EndpointAt(moved, "inference/v1/models"), std::nullopt);
  EXPECT_EQ(EndpointAt(moved, ""), std::nullopt);
  const Upstream generic{.slug = "site-a",
                         .quirks = &kOpenAiCompatible,
                         .base = *http::ParseUrl("http://127.0.0.1:1/v1")};
  EXPECT_EQ(EndpointAt(generic, "v1/embeddings"), Endpoint::kEmbeddings);
  const Upstream groq{
      .slug = "groq", .quirks = &kGroq, .base = *http::ParseUrl("https://groq.example")};
  EXPECT_EQ(OwnPaths(groq), std::vector<std::string>{"openai/v1/chat/completions"});
}

TEST(Quirks, ChangeNothingButTheModelWhereNothingNeedsTranslating) {
  EXPECT_EQ(
      Prepared(kOpenAiCompatible,
               R"({"model":"o/m", "seed":18446744073709551615,"messages":[ ],"x_new":{"a":1.50}})"),
      R"({"model":"their/id", "seed":18446744073709551615,"messages":[ ],"x_new":{"a":1.50}})");
  const std::string same = R"( {"messages":[], "model":"their/id"} )";
  EXPECT_EQ(Prepared(kGroq, same), same);
}

TEST(Quirks, TakeOutWhatIsMeantForTheRouter) {
  EXPECT_EQ(
      Prepared(kGroq, R"({"model":"m","provider":{"sort":"price"},"models":["a"],"messages":[]})"),
      R"({"model":"their/id","messages":[]})");
}

TEST(Quirks, DropEmptyToolsAndGiveToolChoiceItsType) {
  EXPECT_EQ(Prepared(kGroq, R"({"model":"m","tools":[ ],"tool_choice":"auto"})"),
            R"({"model":"their/id"})");
  EXPECT_EQ(
      Prepared(kGroq, R"({"model":"m","tools":[{}],"tool_choice":{"function":{"name":"f"}}})"),
      R"({"model":"their/id","tools":[{}],"tool_choice":{"type":"function","function":{"name":"f"}}})");
  for (const char* choice :
       {"\"auto\"", "\"none\"", "\"required\"", R"({"type":"function","function":{"name":"f"}})"}) {
    const std::string body =
        std::string(R"({"model":"their/id","tools":[{}],"tool_choice":)") + choice + "}";
    EXPECT_EQ(Prepared(kGroq, body), body);
  }
}

TEST(Quirks, ReadEverySpellingOfAResponseFormat) {
  const std::string expected =
      R"("response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"},"strict":false}})";
  for (const char* spelling : {R"({"type":"json_object","value":{"type":"object"}})",
                               R"({"type":"json","value":{"type":"object"}})",
                               R"({"type":"json_object","schema":{"type":"object"}})",
                               R"({"type":"json_schema","schema":{"type":"object"}})"}) {
    EXPECT_EQ(
        Prepared(kGroq, std::string(R"({"model":"their/id","response_format":)") + spelling + "}"),
        R"({"model":"their/id",)" + expected + "}")
        << spelling;
  }
  for (
      const char* same :
      {R"({"type":"text"})", R"({"type":"json_object"})",
       R"({"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"type":"object"},"strict":true}})"}) {
    const std::string body = std::string(R"({"model":"their/id","response_format":)") + same + "}";
    EXPECT_EQ(Prepared(kGroq, body), body);
  }
}

TEST(Quirks, AskForUsageWhereStreamsKeepItToThemselves) {
  EXPECT_EQ(Prepared(kOpenAiCompatible, R"({"model":"m","stream":true})", true),
            R"({"model":"their/id","stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_EQ(Prepared(kOpenAiCompatible,
                     R"({"model":"m","stream_options":{"include_usage":false,"x":1}})", true),
            R"({"model":"their/id","stream_options":{"include_usage":true,"x":1}})");
  const std::string asked = R"({"model":"their/id","stream_options":{"include_usage": true}})";
  EXPECT_EQ(Prepared(kOpenAiCompatible, asked, true), asked);
  EXPECT_EQ(Prepared(kOpenAiCompatible, R"({"model":"their/id"})", false),
            R"({"model":"their/id"})");
  EXPECT_EQ(Prepared(kGroq, R"({"model":"their/id"})", true), R"({"model":"their/id"})");
}

TEST(Fireworks, RefusesTooLongPromptsInsteadOfCuttingThem) {
  EXPECT_EQ(Prepared(kFireworks, R"({"model":"m","max_completion_tokens":5})"),
            R"({"model":"their/id","max_tokens":5,"context_length_exceeded_behavior":"error"})");
  EXPECT_EQ(Prepared(kFireworks, R"({"model":"m","context_length_exceeded_behavior":"truncate"})"),
            R"({"model":"their/id","context_length_exceeded_behavior":"truncate"})");
}

TEST(Together, WantsASchemaWithoutItsEnvelopeAndACountOfLogprobs) {
  EXPECT_EQ(
      Prepared(
          kTogether,
          R"({"model":"m","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}})"),
      R"({"model":"their/id","response_format":{"type":"json_schema","schema":{"type":"object"}}})");
  EXPECT_EQ(Prepared(kTogether, R"({"model":"m","logprobs":true,"top_logprobs":3})"),
            R"({"model":"their/id","logprobs":3})");
  EXPECT_EQ(Prepared(kTogether, R"({"model":"m","logprobs":true})"),
            R"({"model":"their/id","logprobs":1})");
  EXPECT_EQ(Prepared(kTogether, R"({"model":"m","logprobs":false})"), R"({"model":"their/id"})");
}

TEST(Together, GetsDeveloperMessagesAsSystemOnes) {
  EXPECT_EQ(
      Prepared(kTogether,
               R"({"model":"m","messages":[{"role":"developer","content":"\"developer\""}]})"),
      R"({"model":"their/id","messages":[{"role":"system","content":"\"developer\""}]})");
}

TEST(Cerebras, GetsOnlyFieldsThatItKnows) {
  std::vector<std::string> dropped;
  EXPECT_EQ(
      Prepared(
          kCerebras,
          R"({"model":"m","store":true,"metadata":{},"max_tokens":7,"messages":[],"frequency_penalty":0.5,"user":"u"})",
          false, &dropped),
      R"({"model":"their/id","max_completion_tokens":7,"messages":[],"user":"u"})");
  EXPECT_EQ(dropped, (std::vector<std::string>{"store", "metadata", "frequency_penalty"}));
}

TEST(Cerebras, GetsEarlierThoughtsUnderItsOwnName) {
  EXPECT_EQ(
      Prepared(
          kCerebras,
          R"({"model":"m","messages":[{"role":"assistant","content":"a","reasoning_content":"hm"}]})"),
      R"({"model":"their/id","messages":[{"role":"assistant","content":"a","reasoning":"hm"}]})");
}

}  // namespace
}  // namespace tradewind::providers
