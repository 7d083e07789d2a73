#include "dialects/openai_chat.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "base/limits.h"

namespace tradewind::dialects {
namespace {

std::string With(const std::string& fields) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
         (fields.empty() ? "" : "," + fields) + "}";
}

TEST(ParseOpenAiChat, LeavesWhatIsAbsentToTheDefaults) {
  const auto parsed = ParseOpenAiChat(With(""));
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  const chat::ChatRequest& request = parsed->request;
  EXPECT_EQ(request.model, "m");
  ASSERT_EQ(request.messages.size(), 1u);
  EXPECT_EQ(request.messages[0].content.at(0).text, "hi");
  EXPECT_FALSE(request.sampling.temperature.has_value());
  EXPECT_FALSE(request.max_tokens.has_value());
  EXPECT_EQ(request.n, 1);
  EXPECT_EQ(request.top_logprobs, -1);
  EXPECT_FALSE(request.stream);
  EXPECT_TRUE(request.add_generation_prompt);
}

TEST(ParseOpenAiChat, ReadsEveryFieldItHonours) {
  const auto parsed = ParseOpenAiChat(With(
      R"("temperature":0,"top_p":0.5,"top_k":-1,"min_p":0.1,"typical_p":1,"repetition_penalty":1.2,
         "frequency_penalty":-2,"presence_penalty":2,"seed":-1,"n":3,"stop":["a","b"],
         "logit_bias":{"7":-100,"3":1.5},"max_completion_tokens":9,"logprobs":true,"top_logprobs":20,
         "stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,
         "chat_template_kwargs":{"a":1},"reasoning_effort":"low","add_generation_prompt":false)"));
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  const chat::ChatRequest& request = parsed->request;
  EXPECT_EQ(request.sampling.temperature, 0.0f);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.seed, UINT64_MAX);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.sampling.logit_bias,
            (std::vector<std::pair<int64_t, float>>{{3, 1.5f}, {7, -100.0f}}));
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_EQ(request.top_logprobs, 20);
  EXPECT_TRUE(request.include_usage);
  EXPECT_TRUE(request.ignore_end);
  EXPECT_EQ(request.template_kwargs_json, R"({"a":1,"reasoning_effort":"low"})");
  EXPECT_FALSE(request.add_generation_prompt);
  EXPECT_TRUE(parsed->ignored.empty());
}

TEST(ParseOpenAiChat, ReadsMessagesOfEveryRole) {
  const auto parsed = ParseOpenAiChat(R"({"model":"m","messages":[
    {"role":"developer","content":"d","name":"x"},
    {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}}]},
    {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"c","content":"1"},
    {"role":"assistant","content":null,"tool_calls":null}]})");
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  const auto& messages = parsed->request.messages;
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0].role, "developer");
  EXPECT_EQ(messages[0].name, "x");
  ASSERT_EQ(messages[1].content.size(), 2u);
  EXPECT_EQ(messages[1].content[1].kind, chat::ContentPart::Kind::kImageUrl);
  EXPECT_EQ(messages[1].content[1].text, "u");
  EXPECT_TRUE(messages[2].content.empty());
  EXPECT_NE(messages[2].tool_calls_json.find("\"f\""), std::string::npos);
  EXPECT_EQ(messages[3].tool_call_id, "c");
  EXPECT_TRUE(messages[4].tool_calls_json.empty());
}

struct Wrong {
  std::string body;
  std::string param;
  ErrorCode code = ErrorCode::kInvalidArgument;
};

TEST(ParseOpenAiChat, NamesTheFieldThatIsWrong) {
  const auto message = [](const std::string& json) {
    return R"({"model":"m","messages":[{"role":"user","content":"x"},)" + json + "]}";
  };
  const Wrong table[] = {
      {R"({"messages":[{"role":"user","content":"x"}]})", "model"},
      {R"({"model":"","messages":[{"role":"user","content":"x"}]})", "model"},
      {R"({"model":7,"messages":[{"role":"user","content":"x"}]})", "model"},
      {R"({"model":"m"})", "messages"},
      {R"({"model":"m","messages":[]})", "messages"},
      {R"({"model":"m","messages":"x"})", "messages"},
      {message("3"), "messages[1]"},
      {message(R"({"content":"x"})"), "messages[1].role"},
      {message(R"({"role":"wizard","content":"x"})"), "messages[1].role"},
      {message(R"({"role":"user"})"), "messages[1].content"},
      {message(R"({"role":"user","content":7})"), "messages[1].content"},
      {message(R"({"role":"user","content":[7]})"), "messages[1].content[0]"},
      {message(R"({"role":"user","content":[{"type":"text"}]})"), "messages[1].content[0].text"},
      {message(R"({"role":"tool","content":"x"})"), "messages[1].tool_call_id"},
      {message(R"({"role":"assistant","tool_calls":[{}]})"),
       "messages[1].tool_calls[0].function.name"},
      {With(R"("temperature":2.1)"), "temperature"},
      {With(R"("temperature":"1")"), "temperature"},
      {With(R"("top_p":0)"), "top_p"},
      {With(R"("top_p":1.01)"), "top_p"},
      {With(R"("presence_penalty":-2.5)"), "presence_penalty"},
      {With(R"("frequency_penalty":3)"), "frequency_penalty"},
      {With(R"("n":0)"), "n"},
      {With(R"("n":129)"), "n"},
      {With(R"("n":1.5)"), "n"},
      {With(R"("top_k":-2)"), "top_k"},
      {With(R"("seed":"x")"), "seed"},
      {With(R"("stop":"")"), "stop"},
      {With(R"("stop":["a",3])"), "stop[1]"},
      {With(
           R"("stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])"),
       "stop"},
      {With(R"("logit_bias":[1])"), "logit_bias"},
      {With(R"("logit_bias":{"x":1})"), "logit_bias"},
      {With(R"("logit_bias":{"-1":1})"), "logit_bias"},
      {With(R"("logit_bias":{"5":101})"), "logit_bias.5"},
      {With(R"("max_tokens":0)"), "max_tokens"},
      {With(R"("max_tokens":5,"max_completion_tokens":6)"), "max_tokens"},
      {With(R"("top_logprobs":3)"), "top_logprobs"},
      {With(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs"},
      {With(R"("logprobs":1)"), "logprobs"},
      {With(R"("stream":"yes")"), "stream"},
      {With(R"("stream_options":{"include_usage":true})"), "stream_options"},
      {With(R"("stream":true,"stream_options":{"include_usage":1})"),
       "stream_options.include_usage"},
      {With(R"("tool_choice":"required")"), "tool_choice"},
      {With(R"("chat_template_kwargs":"x")"), "chat_template_kwargs"},
      {With(R"("response_format":"text")"), "response_format"},
  };
  for (const Wrong& wrong : table) {
    const auto parsed = ParseOpenAiChat(wrong.body);
    ASSERT_FALSE(parsed.has_value()) << wrong.body;
    EXPECT_EQ(parsed.error().code, wrong.code) << wrong.body;
    EXPECT_EQ(parsed.error().param, wrong.param) << wrong.body;
    EXPECT_NE(parsed.error().message.find("`" + wrong.param + "`"), std::string::npos);
  }
}

TEST(ParseOpenAiChat, RefusesWhatWouldChangeTheAnswer) {
  const std::pair<const char*, const char*> table[] = {
      {R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools"},
      {R"("tools":[{}],"tool_choice":"auto")", "tools"},
      {R"("functions":[{}])", "functions"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("response_format":{"type":"json_schema","json_schema":{}})", "response_format"},
      {R"("modalities":["text","audio"])", "modalities"},
      {R"("audio":{"voice":"x"})", "audio"},
      {R"("prediction":{"type":"content","content":"x"})", "prediction"},
      {R"("web_search_options":{"a":1})", "web_search_options"},
      {R"("verbosity":"low")", "verbosity"},
      {R"("min_tokens":5)", "min_tokens"},
      {R"("guided_json":{})", "guided_json"},
      {R"("skip_special_tokens":false)", "skip_special_tokens"},
      {R"("echo":true)", "echo"},
      {R"("continue_final_message":true)", "continue_final_message"},
  };
  for (const auto& [fields, param] : table) {
    const auto parsed = ParseOpenAiChat(With(fields));
    ASSERT_FALSE(parsed.has_value()) << fields;
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported) << fields;
    EXPECT_EQ(parsed.error().param, param);
  }
  const auto part = ParseOpenAiChat(
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"input_audio"}]}]})");
  ASSERT_FALSE(part.has_value());
  EXPECT_EQ(part.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(part.error().param, "messages[0].content[0].type");
}

TEST(ParseOpenAiChat, AcceptsTheFieldsThatAskForNothing) {
  const auto parsed = ParseOpenAiChat(With(
      R"("tools":[],"functions":null,"tool_choice":"auto","response_format":{"type":"text"},
         "modalities":["text"],"audio":null,"prediction":null,"verbosity":"medium","min_tokens":0,
         "user":"u","metadata":{},"store":true,"service_tier":"auto","parallel_tool_calls":false,
         "seed":null,"stop":[],"logprobs":false,"top_logprobs":0,"skip_special_tokens":true)"));
  EXPECT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_TRUE(ParseOpenAiChat(With(R"("tools":[{}],"tool_choice":"none")")).has_value());
}

TEST(ParseOpenAiChat, ListsUnknownFieldsThatAreSafeInAHeader) {
  const auto parsed = ParseOpenAiChat(With(R"("frobnicate":1,"a\r\nb":2,"x y":3,"ok-1.2":4)"));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->ignored, (std::vector<std::string>{"frobnicate", "ok-1.2"}));
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

const AnswerHead kHead{"chatcmpl-1", 1700000000, "org/m", "fp_1"};
const char* kChunk =
    R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"org/m",)"
    R"("system_fingerprint":"fp_1","choices":[)";

chat::ChatEvent Text(const std::string& text, int choice = 0) {
  chat::ChatEvent event;
  event.choice = choice;
  event.text = text;
  return event;
}

chat::ChatEvent Done(chat::FinishReason reason, int choice = 0) {
  chat::ChatEvent event;
  event.choice = choice;
  event.finish = reason;
  event.done = true;
  event.usage = {9, 3, 0};
  event.receipt = {0, 1.5, 2, 100};
  return event;
}

TEST(OpenAiChatWriter, StreamsTheExactBytes) {
  const auto writer = MakeOpenAiChatWriter(kHead, chat::ChatRequest());
  std::string out;
  Stream(*writer, Text("Hel\"lo\n"), out);
  Stream(*writer, Done(chat::FinishReason::kStop), out);
  const std::string head = std::string("data: ") + kChunk;
  EXPECT_EQ(
      out,
      head +
          R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})" +
          "\n\n" + head +
          R"({"index":0,"delta":{"content":"Hel\"lo\n"},"logprobs":null,"finish_reason":null}]})" +
          "\n\n" + head + R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]})" +
          "\n\n" +
          R"(: tradewind {"cost_nanousd":"0","queue_ms":1.5,"prefill_ms":2,"decode_ms":100,"output_tokens_per_s":20})" +
          "\n\ndata: [DONE]\n\n");
}

TEST(OpenAiChatWriter, PutsUsageAndReceiptIntoTheChunkThatWasAskedFor) {
  chat::ChatRequest request;
  request.include_usage = true;
  const auto writer = MakeOpenAiChatWriter(kHead, request);
  std::string out;
  Stream(*writer, Done(chat::FinishReason::kLength), out);
  EXPECT_NE(out.find(R"("finish_reason":"length"}],"usage":null})"), std::string::npos) << out;
  const std::string last =
      std::string("data: ") + kChunk +
      R"(],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,)"
      R"("prompt_tokens_details":{"cached_tokens":0}},"tradewind":{)";
  EXPECT_NE(out.find(last), std::string::npos) << out;
  EXPECT_EQ(out.find("\n: "), std::string::npos);
  EXPECT_TRUE(out.ends_with("data: [DONE]\n\n"));
}

TEST(OpenAiChatWriter, OpensEachChoiceWithItsRole) {
  chat::ChatRequest request;
  request.n = 2;
  const auto writer = MakeOpenAiChatWriter(kHead, request);
  std::string out;
  Stream(*writer, Text("a", 1), out);
  Stream(*writer, Text("b", 0), out);
  Stream(*writer, Text("c", 1), out);
  size_t roles = 0;
  for (size_t at = out.find("\"role\""); at != std::string::npos;
       at = out.find("\"role\"", at + 1)) {
    ++roles;
  }
  EXPECT_EQ(roles, 2u);
}

chat::TokenLogprob Token(const std::string& bytes, double logprob) {
  chat::TokenLogprob token;
  token.token = bytes;
  token.bytes = bytes;
  token.logprob = logprob;
  return token;
}

TEST(OpenAiChatWriter, WritesLogprobsOfTokens) {
  chat::ChatRequest request;
  request.top_logprobs = 1;
  const auto writer = MakeOpenAiChatWriter(kHead, request);
  chat::ChatEvent event = Text("hi");
  event.logprobs.push_back(Token("hi", -0.25));
  event.logprobs[0].top.push_back(Token("ho", -INFINITY));
  const std::string logprobs =
      R"("logprobs":{"content":[{"token":"hi","logprob":-0.25,"bytes":[104,105],"top_logprobs":)"
      R"([{"token":"ho","logprob":-9999,"bytes":[104,111]}]}],"refusal":null})";
  std::string out;
  Stream(*writer, event, out);
  EXPECT_NE(out.find(logprobs), std::string::npos) << out;

  const auto whole = MakeOpenAiChatWriter(kHead, request);
  whole->Add(event);
  whole->Add(Done(chat::FinishReason::kStop));
  const std::string body = whole->Whole();
  EXPECT_NE(body.find(logprobs), std::string::npos) << body;
}

TEST(OpenAiChatWriter, WritesOneObjectWithTheReceipt) {
  chat::ChatRequest request;
  request.n = 2;
  const auto writer = MakeOpenAiChatWriter(kHead, request);
  writer->Add(Text("a"));
  writer->Add(Text("x", 1));
  chat::ChatEvent end = Text("b");
  end.finish = chat::FinishReason::kLength;
  writer->Add(end);
  writer->Add(Done(chat::FinishReason::kStop, 1));
  EXPECT_EQ(
      writer->Whole(),
      R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"org/m","system_fingerprint":"fp_1",)"
      R"("choices":[{"index":0,"message":{"role":"assistant","content":"ab","refusal":null},"logprobs":null,"finish_reason":"length"},)"
      R"({"index":1,"message":{"role":"assistant","content":"x","refusal":null},"logprobs":null,"finish_reason":"stop"}],)"
      R"("usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0}},)"
      R"("tradewind":{"cost_nanousd":"0","queue_ms":1.5,"prefill_ms":2,"decode_ms":100,"output_tokens_per_s":10}})");
}

}  // namespace
}  // namespace tradewind::dialects
