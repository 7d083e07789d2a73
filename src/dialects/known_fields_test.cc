#include "dialects/known_fields.h"

#include <gtest/gtest.h>

#include "dialects/openai_facts.h"

namespace tradewind::dialects {
namespace {

std::vector<std::string> Unknown(const std::string& fields) {
  return UnknownFields(JsonText::Parse("{" + fields + "}").value());
}

TEST(UnknownFields, AreThoseThatNobodyHereHasReadAbout) {
  EXPECT_EQ(Unknown(R"("model":"m","turbo_mode":true,"messages":[],"Agent":{"id":1})"),
            (std::vector<std::string>{"turbo_mode", "agent"}));
  EXPECT_EQ(Unknown(R"("safe_prompt":true)"), std::vector<std::string>{"safe_prompt"});
  EXPECT_EQ(Unknown(R"("session_params":{"id":"a"})"), std::vector<std::string>{"session_params"});
}

TEST(UnknownFields, LeaveOutWhatSaysNothing) {
  EXPECT_TRUE(Unknown(R"("a":null,"b":false,"c":0,"d":[],"e":{},"f":"")").empty());
}

TEST(UnknownFields, LeaveOutWhatIsBilledApart) {
  EXPECT_TRUE(Unknown(R"("prediction":{"content":"a"},"Extra_Body":{"n":8})").empty());
}

// What the packages of OpenAI send, and what users of vLLM, SGLang, llama.cpp and the
// providers add to it.
TEST(UnknownFields, AreNoneOfARequestAsClientsSendIt) {
  EXPECT_EQ(Unknown(R"("model":"m","messages":[],"frequency_penalty":1,"logit_bias":{"1":1},
        "logprobs":true,"top_logprobs":2,"max_completion_tokens":5,"metadata":{"a":"b"},"n":1,
        "modalities":["text"],"parallel_tool_calls":true,"presence_penalty":1,
        "prompt_cache_key":"a","reasoning_effort":"low","response_format":{"type":"text"},
        "safety_identifier":"a","seed":1,"service_tier":"auto","stop":["a"],"store":true,
        "stream":true,"stream_options":{"include_usage":true},"temperature":1,"tool_choice":"auto",
        "tools":[{}],"top_p":1,"user":"u","verbosity":"low")"),
            std::vector<std::string>());
  EXPECT_EQ(Unknown(R"("prompt":"a","suffix":"b","echo":true,"best_of":2,"input":["a"],
        "encoding_format":"float","dimensions":8)"),
            std::vector<std::string>());
  EXPECT_EQ(Unknown(R"("top_k":1,"min_p":0.1,"repetition_penalty":1.1,"ignore_eos":true,
        "chat_template_kwargs":{"enable_thinking":true},"guided_json":{"a":1},"regex":"a",
        "thinking":{"type":"enabled"},"reasoning":{"effort":"low"},"mirostat":2,"grammar":"a",
        "transforms":["middle-out"],"random_seed":1,"cache_prompt":true,
        "context_length_exceeded_behavior":"truncate","documents":[{"text":"a"}])"),
            std::vector<std::string>());
}

TEST(UnknownFields, AreInTheFactsOfARequest) {
  const auto facts =
      ReadOpenAiFacts(JsonText::Parse(R"({"model":"m","messages":[],"turbo":1})").value());
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->unknown_fields, std::vector<std::string>{"turbo"});
  EXPECT_EQ(facts->billed_apart, "");
}

}  // namespace
}  // namespace tradewind::dialects
