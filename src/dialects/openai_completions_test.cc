#include "dialects/openai_completions.h"

#include <string>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "dialects/json_reader.h"

namespace tradewind::dialects {
namespace {

std::string Body(const std::string& prompt, const std::string& fields = "") {
  return R"({"model":"m","prompt":)" + prompt + (fields.empty() ? "" : "," + fields) + "}";
}

TEST(ParseOpenAiCompletion, ReadsThePromptInEveryForm) {
  const auto text = ParseOpenAiCompletion(Body(R"("hi")"));
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->request.prompts.at(0).text, "hi");
  EXPECT_EQ(text->request.max_tokens, kCompletionMaxTokensDefault);

  const auto texts = ParseOpenAiCompletion(Body(R"(["a","b"])"));
  ASSERT_TRUE(texts.has_value());
  EXPECT_EQ(texts->request.prompts.size(), 2u);

  const auto ids = ParseOpenAiCompletion(Body("[1,2,3]"));
  ASSERT_TRUE(ids.has_value());
  ASSERT_EQ(ids->request.prompts.size(), 1u);
  EXPECT_TRUE(ids->request.prompts[0].is_ids);
  EXPECT_EQ(ids->request.prompts[0].ids, (std::vector<int64_t>{1, 2, 3}));

  const auto lists = ParseOpenAiCompletion(Body(R"([[1,2],"x",[3]])"));
  ASSERT_TRUE(lists.has_value());
  EXPECT_EQ(lists->request.prompts.size(), 3u);
}

TEST(ParseOpenAiCompletion, TakesTheBodyThatLmEvaluationHarnessSends) {
  const auto parsed = ParseOpenAiCompletion(Body(
      "[[1,2],[3,4]]", R"("temperature":0,"max_tokens":1,"logprobs":1,"seed":1234,"echo":true)"));
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_TRUE(parsed->request.echo);
  EXPECT_EQ(parsed->request.top_logprobs, 1);
  EXPECT_EQ(parsed->request.max_tokens, 1);
  EXPECT_TRUE(ParseOpenAiCompletion(Body(R"("x")", R"("max_tokens":0,"echo":true)")).has_value());
}

TEST(ParseOpenAiCompletion, NamesTheFieldThatIsWrong) {
  const std::pair<std::string, const char*> table[] = {
      {R"({"model":"m"})", "prompt"},
      {Body("7"), "prompt"},
      {Body("[]"), "prompt"},
      {Body("[[]]"), "prompt[0]"},
      {Body("[1,-2]"), "prompt[1]"},
      {Body("[1,\"a\"]"), "prompt[1]"},
      {Body("[\"a\",1]"), "prompt[1]"},
      {Body("[[1],[2.5]]"), "prompt[1][0]"},
      {Body("[1,99999999999999999999]"), "prompt[1]"},
      {Body("\"x\"", R"("max_tokens":-1)"), "max_tokens"},
      {Body("\"x\"", R"("logprobs":true)"), "logprobs"},
      {Body("\"x\"", R"("logprobs":21)"), "logprobs"},
      {Body("\"x\"", R"("echo":1)"), "echo"},
      {Body("\"x\"", R"("n":2,"best_of":1)"), "best_of"},
  };
  for (const auto& [body, param] : table) {
    const auto parsed = ParseOpenAiCompletion(body);
    ASSERT_FALSE(parsed.has_value()) << body;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument) << body;
    EXPECT_EQ(parsed.error().param, param) << body;
  }
}

TEST(ParseOpenAiCompletion, RefusesWhatItCannotHonour) {
  for (const auto& [fields, param] :
       {std::pair{R"("best_of":3)", "best_of"}, std::pair{R"("suffix":"x")", "suffix"},
        std::pair{R"("response_format":{"type":"json_object"})", "response_format"}}) {
    const auto parsed = ParseOpenAiCompletion(Body("\"x\"", fields));
    ASSERT_FALSE(parsed.has_value()) << fields;
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(parsed.error().param, param);
  }
  EXPECT_TRUE(ParseOpenAiCompletion(Body("\"x\"", R"("suffix":"","n":2,"best_of":2)")).has_value());
}

TEST(ParseOpenAiCompletion, BoundsPromptsTimesN) {
  std::string prompts = "[\"x\"";
  for (int i = 1; i < 100; ++i) {
    prompts += ",\"x\"";
  }
  const auto parsed = ParseOpenAiCompletion(Body(prompts + "]", R"("n":128)"));
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().param, "n");
}

// --- Writing ---

// As the relay frames it.
void Stream(AnswerWriter& writer, const chat::ChatEvent& event, std::string& out) {
  std::vector<StreamPart> parts;
  writer.Stream(event, parts);
  for (const StreamPart& part : parts) {
    out += (part.kind == StreamPart::Kind::kData ? "data: " : ": ") + part.text + "\n\n";
  }
}

const AnswerHead kHead{"cmpl-1", 1700000000, "org/m", "fp_1"};

chat::TokenLogprob Token(const std::string& bytes, double logprob) {
  chat::TokenLogprob token;
  token.token = IsValidUtf8(bytes) ? bytes : "\xEF\xBF\xBD";
  token.bytes = bytes;
  token.logprob = logprob;
  return token;
}

chat::CompletionRequest Request(size_t prompts = 1) {
  chat::CompletionRequest request;
  request.prompts.resize(prompts);
  return request;
}

chat::ChatEvent Done(int choice = 0) {
  chat::ChatEvent event;
  event.choice = choice;
  event.finish = chat::FinishReason::kLength;
  event.done = true;
  event.usage = {2, 1, 0};
  return event;
}

TEST(OpenAiCompletionWriter, StreamsTheExactBytes) {
  const auto writer = MakeOpenAiCompletionWriter(kHead, Request());
  std::string out;
  chat::ChatEvent event;
  event.text = "ab";
  Stream(*writer, event, out);
  Stream(*writer, Done(), out);
  const std::string head =
      R"(data: {"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"org/m","system_fingerprint":"fp_1","choices":[)";
  EXPECT_EQ(
      out,
      head + R"({"index":0,"text":"ab","logprobs":null,"finish_reason":null}]})" + "\n\n" + head +
          R"({"index":0,"text":"","logprobs":null,"finish_reason":"length"}]})" + "\n\n" +
          R"(: tradewind {"cost_nanousd":"0","queue_ms":0,"prefill_ms":0,"decode_ms":0,"output_tokens_per_s":null})" +
          "\n\ndata: [DONE]\n\n");
}

TEST(OpenAiCompletionWriter, WritesEchoedLogprobsAsTheHarnessReadsThem) {
  chat::CompletionRequest request = Request();
  request.echo = true;
  request.top_logprobs = 1;
  const auto writer = MakeOpenAiCompletionWriter(kHead, request);
  chat::ChatEvent prompt;
  prompt.text = "h\xC3\xA9llo";
  prompt.prompt_logprobs = {Token("h\xC3\xA9", 0), Token("llo", -1)};
  prompt.prompt_logprobs[0].has_value = false;
  prompt.prompt_logprobs[1].top = {Token("LLO", -0.5)};
  writer->Add(prompt);
  chat::ChatEvent answer;
  answer.text = "!";
  answer.logprobs = {Token("!", -0.125)};
  answer.logprobs[0].top = {Token("!", -0.125)};
  writer->Add(answer);
  writer->Add(Done());
  const std::string body = writer->Whole();
  EXPECT_NE(body.find("\"choices\":[{\"index\":0,\"text\":\"h\xC3\xA9llo!\",\"logprobs\":{"
                      "\"tokens\":[\"h\xC3\xA9\","
                      "\"llo\",\"!\"],\"token_logprobs\":[null,-1,-0.125],\"top_logprobs\":[null,"
                      "{\"LLO\":-0.5,\"llo\":-1},{\"!\":-0.125}],\"text_offset\":[0,2,5]},"
                      "\"finish_reason\":\"length\"}]"),
            std::string::npos)
      << body;
}

TEST(OpenAiCompletionWriter, KeepsTokensApartThatAreNotWholeCharacters) {
  chat::CompletionRequest request = Request();
  request.top_logprobs = 2;
  const auto writer = MakeOpenAiCompletionWriter(kHead, request);
  chat::ChatEvent event;
  event.logprobs = {Token("\xE2\x80", -0.5)};
  event.logprobs[0].top = {Token("\xE2\x80", -0.5), Token("\xE2", -1), Token("\xE2", -3)};
  writer->Add(event);
  writer->Add(Done());
  const std::string body = writer->Whole();
  EXPECT_NE(body.find(R"("tokens":["bytes:\\xe2\\x80"])"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("top_logprobs":[{"bytes:\\xe2":-1,"bytes:\\xe2\\x80":-0.5}])"),
            std::string::npos)
      << body;
}

TEST(OpenAiCompletionWriter, GoesOnWithTextOffsetsFromChunkToChunk) {
  chat::CompletionRequest request = Request(2);
  request.top_logprobs = 0;
  const auto writer = MakeOpenAiCompletionWriter(kHead, request);
  std::string out;
  for (const int choice : {0, 1, 0}) {
    chat::ChatEvent event;
    event.choice = choice;
    event.text = "abc";
    event.logprobs = {Token("abc", -1)};
    Stream(*writer, event, out);
  }
  EXPECT_NE(
      out.find(
          R"({"index":1,"text":"abc","logprobs":{"tokens":["abc"],"token_logprobs":[-1],"top_logprobs":[{"abc":-1}],"text_offset":[0]})"),
      std::string::npos);
  EXPECT_NE(out.find(R"("text_offset":[3])"), std::string::npos);
}

TEST(OpenAiCompletionWriter, OrdersChoicesByIndexWhateverTheOrderOfEvents) {
  const auto writer = MakeOpenAiCompletionWriter(kHead, Request(3));
  for (const int choice : {2, 0, 1}) {
    chat::ChatEvent event;
    event.choice = choice;
    event.text = std::to_string(choice);
    writer->Add(event);
  }
  writer->Add(Done(2));
  const auto body = ParseJsonObject(writer->Whole());
  ASSERT_TRUE(body.has_value());
  const auto& choices = body->at("choices").as_array();
  ASSERT_EQ(choices.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(AsInteger(choices[i].at("index")), static_cast<int64_t>(i));
    EXPECT_EQ(choices[i].at("text").as_string(), std::to_string(i));
  }
}

}  // namespace
}  // namespace tradewind::dialects
