#include "dialects/wire_answer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace tradewind::dialects {
namespace {

TEST(WireChunk, ReadsContentEndAndUsage) {
  const auto content = ReadWireChunk(R"({"choices":[{"index":0,"delta":{"content":"Hel"}}]})");
  ASSERT_TRUE(content.has_value());
  EXPECT_TRUE(content->has_content && content->has_choices);
  EXPECT_FALSE(content->usage.has_value());
  EXPECT_FALSE(content->rewritten.has_value());

  // Fireworks, Together, Cerebras: usage in the chunk that ends.
  const auto end = ReadWireChunk(
      R"({"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}}})");
  EXPECT_EQ(end->finish_reason, "stop");
  EXPECT_FALSE(end->has_content);
  EXPECT_EQ(end->usage->input_tokens, 9);
  EXPECT_EQ(end->usage->cached_tokens, 4);

  const auto alone =
      ReadWireChunk(R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}})");
  EXPECT_FALSE(alone->has_choices);
  EXPECT_EQ(alone->usage->output_tokens, 2);
}

TEST(WireChunk, ReadsWhatWasWrittenToACacheInBothSpellings) {
  const auto written = [](const char* chunk) {
    return ReadWireChunk(chunk)->usage->cache_write_tokens;
  };
  EXPECT_EQ(
      written(
          R"({"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cache_write_tokens":5}}})"),
      5);
  EXPECT_EQ(
      written(
          R"({"usage":{"prompt_tokens":9,"completion_tokens":1,"cache_creation_input_tokens":0}})"),
      0);
  EXPECT_EQ(written(R"({"usage":{"prompt_tokens":9,"completion_tokens":1}})"), std::nullopt)
      << "not told is not zero";
}

TEST(WireChunk, ReadsForHowLongItWasWrittenToACache) {
  const auto read = [](const std::string& fields) {
    return *ReadWireChunk(R"({"usage":{"completion_tokens":1,"prompt_tokens":90,)" + fields + "}}")
                ->usage;
  };
  const std::string parts = R"({"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30})";
  for (const std::string& fields :
       {R"("cache_creation_input_tokens":50,"cache_creation":)" + parts,
        R"("cache_creation":)" + parts,
        R"("prompt_tokens_details":{"cache_creation_tokens":50,"cache_creation_token_details":)" +
            parts + "}"}) {
    EXPECT_EQ(read(fields).cache_write_tokens, 50) << fields;
    EXPECT_EQ(read(fields).cache_write_1h_tokens, 30) << fields;
  }
  EXPECT_EQ(read(R"("cache_creation_input_tokens":50)").cache_write_1h_tokens, std::nullopt);
  EXPECT_EQ(read(R"("cache_creation":{"ephemeral_1h_input_tokens":-1})").cache_write_tokens,
            std::nullopt);
  EXPECT_EQ(read(R"("cache_creation":null,"cache_creation_input_tokens":50)").cache_write_tokens,
            50);
}

TEST(WireChunk, ReadsThoughtAndSoundAsPartsOfTheWhole) {
  const auto usage = ReadWireChunk(
      R"({"usage":{"prompt_tokens":90,"completion_tokens":40,"total_tokens":130,"prompt_tokens_details":{"audio_tokens":50},"completion_tokens_details":{"reasoning_tokens":10,"audio_tokens":20}}})");
  EXPECT_EQ(usage->usage->output_tokens, 40);
  EXPECT_EQ(usage->usage->reasoning_tokens, 10);
  EXPECT_EQ(usage->usage->audio_input_tokens, 50);
  EXPECT_EQ(usage->usage->audio_output_tokens, 20);
  const auto beside = ReadWireChunk(
      R"({"usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":94}}})");
  EXPECT_EQ(beside->usage->output_tokens, 103) << "thought beside the completion is output too";
  const auto huge = ReadWireChunk(
      R"({"usage":{"prompt_tokens":9223372036854775807,"completion_tokens":9223372036854775807,"total_tokens":1,"completion_tokens_details":{"reasoning_tokens":9}}})");
  EXPECT_EQ(huge->usage->output_tokens, 9223372036854775807);
}

TEST(WireAnswer, ACostInDollarsIsRoundedUpToNanoDollarsDigitByDigit) {
  const auto told = [](const std::string& cost) {
    const std::string usage = R"({"usage":{"prompt_tokens":9,"completion_tokens":2,"cost":)" + cost;
    return ReadWireChunk(usage + R"(,"cost_details":{"upstream_inference_cost":7}}})")
        ->usage->cost_nanousd;
  };
  EXPECT_EQ(told("0"), 0);
  EXPECT_EQ(told("0.000123457"), 123'457);
  EXPECT_EQ(told("0.1"), 100'000'000);
  EXPECT_EQ(told("4.7e-7"), 470);
  EXPECT_EQ(told("0.00000012300001"), 124);
  EXPECT_EQ(told("1e-12"), 1);
  EXPECT_EQ(told("12"), 12'000'000'000);
  EXPECT_EQ(told("1e6"), 1'000'000'000'000'000);
  for (const char* none : {"null", "-0.1", "\"0.1\"", "1e7", "1e300", "{}", "true"}) {
    EXPECT_EQ(told(none), std::nullopt) << none;
  }
  EXPECT_EQ(
      ReadWireChunk(R"({"usage":{"prompt_tokens":9,"completion_tokens":2}})")->usage->cost_nanousd,
      std::nullopt);
}

TEST(WireAnswer, ACostThatIsAFeeHasWhatIsPaidToOthersBesideIt) {
  const auto cost = [](const char* rest) {
    return ReadWireChunk(
               fmt::format(R"({{"usage":{{"prompt_tokens":9,"completion_tokens":2,{}}}}})", rest))
        ->usage->cost_nanousd;
  };
  EXPECT_EQ(
      cost(R"("cost":0.00005,"is_byok":true,"cost_details":{"upstream_inference_cost":0.001})"),
      1'050'000);
  EXPECT_EQ(
      cost(R"("cost":0.00005,"is_byok":false,"cost_details":{"upstream_inference_cost":0.001})"),
      50'000);
  EXPECT_EQ(cost(R"("cost":0.00005,"is_byok":true)"), std::nullopt) << "nobody knows the rest";
}

TEST(WireChunk, ReadsTheNamesThatAUsageHasElsewhere) {
  const auto used = [](const char* chunk) { return *ReadWireChunk(chunk)->usage; };
  const chat::Usage responses = used(
      R"({"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15,"input_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":3}}})");
  EXPECT_EQ(responses.input_tokens, 10);
  EXPECT_EQ(responses.cached_tokens, 4);
  EXPECT_EQ(responses.output_tokens, 5);
  EXPECT_EQ(responses.reasoning_tokens, 3);
  EXPECT_TRUE(responses.is_whole());
  const chat::Usage messages = used(
      R"({"usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":100,"cache_creation_input_tokens":20}})");
  EXPECT_EQ(messages.input_tokens, 130) << "the others stand beside it";
  EXPECT_EQ(messages.cached_tokens, 100);
  EXPECT_EQ(messages.cache_write_tokens, 20);
  EXPECT_EQ(used(R"({"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":2}}})").input_tokens,
            7);
}

TEST(WireChunk, CountsWhatTheModelWroteAndNotItsJson) {
  const auto written = [](const char* delta) {
    return ReadWireChunk(fmt::format(R"({{"choices":[{{"index":0,"delta":{}}}]}})", delta))
        ->written_bytes;
  };
  EXPECT_EQ(written(R"({"role":"assistant","content":""})"), 0);
  EXPECT_EQ(written(R"({"content":"hello"})"), 5);
  EXPECT_EQ(written(R"({"reasoning":"abc","reasoning_details":)"
                    R"([{"type":"reasoning.text","text":"abc","format":"x-v1","index":0}]})"),
            3)
      << "the same thoughts twice";
  EXPECT_EQ(written(R"({"content":"x","reasoning_content":"abc"})"), 4);
  EXPECT_EQ(written(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]})"), 7);
  EXPECT_EQ(written(R"({"tool_calls":[{"index":0,"id":"call_1","type":"function",)"
                    R"("function":{"name":"get","arguments":""}}]})"),
            3 + 32)
      << "and what frames a call";
  EXPECT_EQ(written(R"({"tool_calls":[{"index":0,"function":{"arguments":{"id":"abc"}}}]})"), 12)
      << "all of it is the model's";
  EXPECT_EQ(written(R"({"something":{"new":{}}})"), 1) << "whatever it is, it is not nothing";
}

TEST(WireWhole, CountsWhatTheModelWroteOfAllChoices) {
  const auto whole = ReadWireWhole(
      R"({"choices":[{"message":{"role":"assistant","content":"hi","annotations":[{"url":"u"}]},)"
      R"("logprobs":{"content":[{"token":"hi","bytes":[104,105]}]}},{"text":"you"}]})",
      WireKind::kChat);
  EXPECT_EQ(whole->written_bytes, 5);
  const auto vectors =
      ReadWireWhole(R"({"data":[{"index":0,"embedding":[0.25,0.5]}]})", WireKind::kEmbeddings);
  EXPECT_EQ(vectors->written_bytes, 0);
}

TEST(WireChunk, KnowsZeroFromUnknown) {
  EXPECT_FALSE(ReadWireChunk(R"({"choices":[],"usage":null})")->usage.has_value());
  EXPECT_FALSE(ReadWireChunk(R"({"choices":[],"usage":{}})")->usage.has_value());
  EXPECT_FALSE(ReadWireChunk(R"({"choices":[],"usage":{"prompt_tokens":-1}})")->usage.has_value());
  const auto zero =
      ReadWireChunk(R"({"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}})");
  ASSERT_TRUE(zero->usage.has_value());
  EXPECT_EQ(zero->usage->output_tokens, 0);
}

TEST(WireChunk, CountsReasoningToolCallsAndPlainTextAsContent) {
  for (const char* chunk : {R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})",
                            R"({"choices":[{"delta":{"reasoning":"hm"}}]})",
                            R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})",
                            R"({"choices":[{"text":"a"}]})"}) {
    EXPECT_TRUE(ReadWireChunk(chunk)->has_content) << chunk;
  }
  EXPECT_FALSE(ReadWireChunk(
                   R"({"choices":[{"delta":{"role":"assistant","content":"","tool_calls":null}}]})")
                   ->has_content);
}

TEST(WireChunk, TellsTextFromOtherContentAndReadsItOnce) {
  // Together writes the text twice.
  const auto text =
      ReadWireChunk(R"({"choices":[{"text":"a\u00e9","delta":{"content":"a\u00e9"}}]})");
  EXPECT_EQ(text->text, "a\xc3\xa9");
  EXPECT_TRUE(text->has_content && !text->has_other);
  EXPECT_EQ(ReadWireChunk(R"({"choices":[{"text":"b"}]})")->text, "b");
  for (const char* chunk : {R"({"choices":[{"delta":{"content":"x","reasoning":"hm"}}]})",
                            R"({"choices":[{"delta":{"refusal":"no"}}]})",
                            R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})",
                            R"({"choices":[{"delta":{"function_call":{"name":"f"}}}]})",
                            R"({"choices":[{"delta":{"content":[{"type":"thinking"}]}}]})",
                            R"({"choices":[{"delta":{"audio":{"data":"AAA="}}}]})",
                            R"({"choices":[{"delta":{"role":"assistant","thinking":"hm"}}]})"}) {
    EXPECT_TRUE(ReadWireChunk(chunk)->has_other && ReadWireChunk(chunk)->has_content) << chunk;
  }
  EXPECT_FALSE(
      ReadWireChunk(
          R"({"choices":[{"delta":{"content":null,"tool_calls":[],"audio":{},"token_id":7}}]})")
          ->has_content);
}

TEST(WireChunk, SeesErrorsInEveryEnvelope) {
  EXPECT_EQ(ReadWireChunk(R"({"error":{"message":"over"},"status_code":429})")->error, "over");
  EXPECT_EQ(ReadWireChunk(R"({"error":"over"})")->error, "over");
  EXPECT_EQ(ReadWireChunk(R"({"message":"over","type":"x","code":"y"})")->error, "over");
  EXPECT_EQ(ReadWireChunk(R"({"object":"error","message":"over","code":400})")->error, "over");
  EXPECT_EQ(ReadWireChunk(R"({"object":"error","message":"over"})")->error, "over");
  EXPECT_FALSE(ReadWireChunk(R"({"message":"hello"})")->error.has_value());
  EXPECT_FALSE(ReadWireChunk(R"({"message":"m","code":1,"choices":[{"delta":{"content":"a"}}]})")
                   ->error.has_value());
}

TEST(WireChunk, AnErrorThatSaysNothingBesideAnAnswerIsNone) {
  for (const char* nothing : {R"("")", "{}", "[]", "false", "0", "null"}) {
    const std::string error = R"("error":)" + std::string(nothing);
    const auto chunk = ReadWireChunk(R"({"choices":[{"delta":{"content":"a"}}],)" + error + "}");
    EXPECT_FALSE(chunk->error.has_value()) << nothing;
    EXPECT_EQ(chunk->rewritten, R"({"choices":[{"delta":{"content":"a"}}]})") << nothing;
    const auto last = ReadWireChunk("{" + error + R"(,"choices":[],"usage":{"prompt_tokens":5}})");
    EXPECT_FALSE(last->error.has_value()) << nothing;
    const auto whole = ReadWireWhole(
        R"({"choices":[{"message":{"content":"a"}}],"usage":null,)" + error + "}", WireKind::kChat);
    ASSERT_FALSE(whole->error.has_value()) << nothing;
    EXPECT_EQ(whole->body, R"({"choices":[{"message":{"content":"a"}}],"usage":null})");
    EXPECT_FALSE(
        ReadWireWhole(R"({"data":[{"embedding":[1]}],)" + error + "}", WireKind::kEmbeddings)
            ->error.has_value());
  }
  for (const char* error : {R"("over")", "true", R"({"code":1})", "1"}) {
    EXPECT_TRUE(ReadWireChunk(R"({"choices":[{"delta":{}}],"error":)" + std::string(error) + "}")
                    ->error.has_value())
        << error;
  }
  EXPECT_TRUE(ReadWireChunk(R"({"error":{}})")->error.has_value()) << "beside nothing";
}

TEST(WireChunk, RewritesOnlyWhatClientsStumbleOver) {
  const auto null_error =
      ReadWireChunk(R"({"id":"1","error":null,"choices":[{"delta":{"content":"a"}}]})");
  EXPECT_EQ(null_error->rewritten, R"({"id":"1","choices":[{"delta":{"content":"a"}}]})");
  EXPECT_FALSE(null_error->error.has_value());
  const auto eos = ReadWireChunk(
      R"({"choices":[{"delta":{"content":"\"finish_reason\":\"eos\""},"finish_reason":"eos"}]})");
  EXPECT_EQ(
      eos->rewritten,
      R"({"choices":[{"delta":{"content":"\"finish_reason\":\"eos\""},"finish_reason":"stop"}]})");
  EXPECT_EQ(eos->finish_reason, "stop");
  const auto spaced =
      ReadWireChunk("{\"choices\":[{\"delta\":{},\"finish_reason\" :\n \"eos_token\"}]}");
  EXPECT_EQ(spaced->rewritten, "{\"choices\":[{\"delta\":{},\"finish_reason\" :\n \"stop\"}]}");
  EXPECT_EQ(spaced->finish_reason, "stop");
}

TEST(WireChunk, RefusesWhatIsNoObject) {
  for (const char* bad : {"", "{", "[1]", "{\"choices\":[{\"delta\":{\"content\":\"x", "<html>"}) {
    EXPECT_FALSE(ReadWireChunk(bad).has_value()) << bad;
  }
}

TEST(WireChunk, TakesSeedsLargerThanADouble) {
  EXPECT_TRUE(
      ReadWireChunk(R"({"choices":[{"seed":17178206563155208000,"delta":{"content":"a"}}]})")
          .has_value());
}

TEST(WithField, AddsToTheEnd) {
  EXPECT_EQ(WithField("{\"a\":1}", "b", "{}"), "{\"a\":1,\"b\":{}}");
  EXPECT_EQ(WithField("{ } ", "b", "2"), "{ \"b\":2} ");
}

TEST(WireWhole, PassesByteForByteWhatClientsCanRead) {
  const std::string body =
      "{\n  \"id\": \"x\",\n  \"choices\": [ {\"message\": {\"content\": \"a\"}, "
      "\"finish_reason\": \"stop\"} ],\n"
      "  \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 1}\n}";
  const auto whole = ReadWireWhole(body, WireKind::kChat);
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(whole->body, body);
  EXPECT_EQ(whole->usage->input_tokens, 3);
  EXPECT_EQ(whole->finish_reason, "stop");
}

TEST(WireWhole, SaysItsServiceTier) {
  const auto tier = [](const std::string& fields, const std::string& in_usage = "") {
    const std::string json = R"({"choices":[{"message":{"content":"a"}}],)" + fields +
                             R"("usage":{"prompt_tokens":1,"completion_tokens":2)" + in_usage +
                             "}}";
    const std::string of_chunk = ReadWireChunk(json)->usage->service_tier;
    EXPECT_EQ(ReadWireWhole(json, WireKind::kChat)->usage->service_tier, of_chunk) << json;
    return of_chunk;
  };
  EXPECT_EQ(tier(""), "");
  EXPECT_EQ(tier(R"("service_tier":null,)"), "");
  EXPECT_EQ(tier(R"("service_tier":"auto",)"), "") << "which is what was asked";
  EXPECT_EQ(tier(R"("service_tier":"default",)"), "default");
  EXPECT_EQ(tier(R"("service_tier":"flex",)"), "flex");
  EXPECT_EQ(tier("", R"(,"service_tier":"priority")"), "priority");
  EXPECT_EQ(tier(R"("service_tier":"auto",)", R"(,"service_tier":"priority")"), "priority");
  EXPECT_EQ(tier(R"("service_tier":")" + std::string(1'000, 'x') + "\",").size(), 64U);
  EXPECT_EQ(ReadWireChunk(R"({"choices":[],"service_tier":"flex"})")->service_tier, "flex");
}

TEST(WireWhole, GivesAMissingUsageAsUnknown) {
  const auto whole =
      ReadWireWhole(R"({"choices":[{"message":{"content":"a"}}],"error":null})", WireKind::kChat);
  EXPECT_EQ(whole->body, R"({"choices":[{"message":{"content":"a"}}],"usage":null})");
  EXPECT_FALSE(whole->usage.has_value());
}

TEST(WireWhole, RefusesA200ThatIsNoAnswer) {
  for (const char* bad : {"", "<html></html>", "{}", R"({"choices":[]})", "null"}) {
    EXPECT_FALSE(ReadWireWhole(bad, WireKind::kChat).has_value()) << bad;
  }
  EXPECT_FALSE(ReadWireWhole(R"({"choices":[{}]})", WireKind::kEmbeddings).has_value());
  EXPECT_TRUE(ReadWireWhole(R"({"data":[{"embedding":[1]}]})", WireKind::kEmbeddings).has_value());
}

TEST(WireWhole, GivesAnErrorInA200AsOne) {
  const auto whole = ReadWireWhole(R"({"error":{"message":"no"}})", WireKind::kChat);
  EXPECT_EQ(whole->error, "no");
  EXPECT_EQ(whole->body, R"({"error":{"message":"no"}})");
}

std::optional<chat::Usage> UsageOf(const std::string& usage, WireKind kind = WireKind::kChat) {
  const std::string list = kind == WireKind::kEmbeddings ? R"("data":[{}])" : R"("choices":[{}])";
  return ReadWireWhole("{" + list + ",\"usage\":{" + usage + "}}", kind)->usage;
}

TEST(WireWhole, ReadsTheHalfOfAUsageThatWasSaid) {
  for (
      const char* half :
      {R"("prompt_tokens":10)", R"("prompt_tokens":10,"completion_tokens":null)",
       R"("prompt_tokens":10,"completion_tokens":-5)",
       R"("prompt_tokens":10,"completion_tokens":12.7)",
       R"("prompt_tokens":10,"total_tokens":9,"completion_tokens_details":{"reasoning_tokens":3})"}) {
    const auto usage = UsageOf(half);
    ASSERT_TRUE(usage.has_value()) << half;
    EXPECT_FALSE(usage->lacks_input) << half;
    EXPECT_TRUE(usage->lacks_output) << half;
    EXPECT_EQ(usage->input_tokens, 10) << half;
    EXPECT_EQ(usage->output_tokens + usage->reasoning_tokens, 0) << half;
  }
  const auto output =
      UsageOf(R"("completion_tokens":20,"prompt_tokens":null,"cached_tokens":4,"cost":0.000000007,)"
              R"("completion_tokens_details":{"reasoning_tokens":3})");
  EXPECT_TRUE(output->lacks_input);
  EXPECT_FALSE(output->is_whole());
  EXPECT_EQ(output->output_tokens, 20);
  EXPECT_EQ(output->reasoning_tokens, 3);
  EXPECT_EQ(output->cached_tokens, 0) << "of what nobody knows";
  EXPECT_EQ(output->cost_nanousd, 7);
}

TEST(WireWhole, ReadsACostWithoutTokens) {
  const auto usage = UsageOf(R"("cost":0.000000007)");
  EXPECT_EQ(usage->cost_nanousd, 7);
  EXPECT_TRUE(usage->lacks_input && usage->lacks_output);
}

TEST(WireWhole, TakesAUsageThatSaysNeitherHalfForNone) {
  for (const char* none : {R"("total_tokens":9)", R"("completion_tokens":"20")"}) {
    EXPECT_FALSE(UsageOf(none).has_value()) << none;
  }
  EXPECT_FALSE(UsageOf(R"("total_tokens":-9)", WireKind::kEmbeddings).has_value());
}

TEST(WireWhole, ReadsTheOtherHalfFromTheTotal) {
  const auto output = UsageOf(R"("prompt_tokens":10,"completion_tokens":null,"total_tokens":30)");
  EXPECT_EQ(output->input_tokens, 10);
  EXPECT_EQ(output->output_tokens, 20);
  EXPECT_EQ(UsageOf(R"("completion_tokens":20,"total_tokens":30)")->input_tokens, 10);
  const auto none = UsageOf(R"("prompt_tokens":10,"total_tokens":10)", WireKind::kEmbeddings);
  EXPECT_EQ(none->input_tokens, 10);
  EXPECT_EQ(none->output_tokens, 0);
}

TEST(WireWhole, TakesWhatTheTotalAloneTellsForThoughts) {
  const auto hidden =
      UsageOf(R"("prompt_tokens":20,"completion_tokens":198,"total_tokens":623)").value();
  EXPECT_EQ(hidden.input_tokens, 20);
  EXPECT_EQ(hidden.output_tokens, 603);
  EXPECT_EQ(hidden.reasoning_tokens, 405);
  const auto read = [](const std::string& total, const std::string& thoughts) {
    return UsageOf(R"("prompt_tokens":20,"completion_tokens":30,"total_tokens":)" + total +
                   R"(,"completion_tokens_details":{"reasoning_tokens":)" + thoughts + "}")
        .value();
  };
  EXPECT_EQ(read("60", "0").output_tokens, 40) << "whatever the details say";
  EXPECT_EQ(read("60", "0").reasoning_tokens, 10);
  EXPECT_EQ(read("60", "10").output_tokens, 40) << "told, and beside the completion";
  EXPECT_EQ(read("60", "10").reasoning_tokens, 10);
  EXPECT_EQ(read("60", "5").output_tokens, 40) << "some in the completion, and others beside it";
  EXPECT_EQ(read("60", "5").reasoning_tokens, 15);
  EXPECT_EQ(read("90", "35").output_tokens, 70) << "more than the completion has";
  EXPECT_EQ(read("90", "35").reasoning_tokens, 40);
  EXPECT_EQ(read("50", "10").output_tokens, 30) << "no more than its parts";
  EXPECT_EQ(read("49", "10").output_tokens, 30);
  EXPECT_EQ(read("9223372036854775807", "1").output_tokens, 9223372036854775787);
}

TEST(WireWhole, TakesMoreThoughtsThanTheCompletionHasForBesideIt) {
  const auto read = [](const std::string& completion, const std::string& rest) {
    return UsageOf(R"("prompt_tokens":20,"completion_tokens":)" + completion + "," + rest).value();
  };
  const std::string details = R"("completion_tokens_details":{"reasoning_tokens":1000})";
  for (const std::string& rest :
       {details, R"("total_tokens":50,)" + details, R"("total_tokens":1050,)" + details,
        std::string(R"("total_tokens":50,"reasoning_tokens":1000)")}) {
    EXPECT_EQ(read("30", rest).output_tokens, 1030) << rest;
    EXPECT_EQ(read("30", rest).reasoning_tokens, 1000) << rest;
  }
  EXPECT_EQ(read("0", details).output_tokens, 1000);
  EXPECT_EQ(read("1000", details).output_tokens, 1000) << "all of it may be thoughts";
  EXPECT_EQ(read("999", R"("total_tokens":1019,)" + details).output_tokens, 999)
      << "another tokenizer counts a few more";
  EXPECT_EQ(read("5", R"("reasoning_tokens":9223372036854775807)").output_tokens, INT64_MAX);
}

TEST(WireWhole, TakesAPromptOfNothingForNoneThatWasSaid) {
  const auto read = [](const std::string& usage) {
    return UsageOf(R"("prompt_tokens":0,)" + usage).value();
  };
  EXPECT_TRUE(read(R"("completion_tokens":5,"total_tokens":5)").lacks_input);
  EXPECT_TRUE(read(R"("completion_tokens":5)").lacks_input);
  EXPECT_FALSE(read(R"("completion_tokens":0,"total_tokens":0)").lacks_input) << "zero is a value";
  EXPECT_EQ(
      read(R"("completion_tokens":5,"prompt_tokens_details":{"cached_tokens":90})").input_tokens,
      90);
  const auto cached =
      UsageOf(R"("input_tokens":0,"output_tokens":5,"cache_read_input_tokens":90)").value();
  EXPECT_FALSE(cached.lacks_input);
}

TEST(WireWhole, TakesWhatTheTotalHasOfACacheBesideThePromptForInput) {
  const auto read = [](const std::string& prompt, const std::string& total,
                       const std::string& thoughts = "0") {
    return UsageOf(R"("prompt_tokens":)" + prompt + R"(,"completion_tokens":5,"total_tokens":)" +
                   total + R"(,"prompt_tokens_details":{"cached_tokens":100},)" +
                   R"("cache_creation_input_tokens":20,)" +
                   R"("completion_tokens_details":{"reasoning_tokens":)" + thoughts + "}")
        .value();
  };
  EXPECT_EQ(read("50", "175").input_tokens, 170);
  EXPECT_EQ(read("50", "175").output_tokens, 5);
  EXPECT_EQ(read("50", "178", "3").input_tokens, 170) << "and thoughts beside the completion";
  EXPECT_EQ(read("50", "178", "3").output_tokens, 8);
  EXPECT_EQ(read("50", "185").input_tokens, 170) << "more than the prompt, so beside it";
  EXPECT_EQ(read("50", "185").output_tokens, 15);
  EXPECT_EQ(read("500", "625").input_tokens, 620);
  EXPECT_EQ(read("500", "505").input_tokens, 500) << "in the prompt";
  EXPECT_EQ(read("500", "650").input_tokens, 500) << "in the prompt, as far as anybody can see";
  EXPECT_EQ(read("500", "650").output_tokens, 150);
}

TEST(WireWhole, TakesMoreOfACacheThanThePromptHasForBesideIt) {
  const auto read = [](const std::string& prompt, const std::string& cached) {
    return UsageOf(R"("prompt_tokens":)" + prompt + R"(,"completion_tokens":5,)" +
                   R"("prompt_tokens_details":{"cached_tokens":)" + cached + "}")
        .value();
  };
  EXPECT_EQ(read("50", "1000").input_tokens, 1050);
  EXPECT_EQ(read("50", "1000").cached_tokens, 1000);
  EXPECT_EQ(read("50", "50").input_tokens, 50);
  EXPECT_EQ(read("50", "9223372036854775807").input_tokens, INT64_MAX);
}

TEST(WireWhole, TakesWhatTheTotalOfEmbeddingsHasMoreForInput) {
  const auto usage = UsageOf(R"("prompt_tokens":10,"total_tokens":30)", WireKind::kEmbeddings);
  EXPECT_EQ(usage->input_tokens, 30);
  EXPECT_EQ(usage->output_tokens + usage->reasoning_tokens, 0);
}

TEST(WireChoices, HaveEndedWhenEachThatBeganHas) {
  WireChoices choices;
  const auto read = [&choices](const char* text) {
    return ReadWireChunk(text, &choices).has_value();
  };
  EXPECT_TRUE(read(R"({"choices":[],"usage":null})"));
  EXPECT_FALSE(choices.have_begun());
  EXPECT_FALSE(choices.have_ended());
  EXPECT_TRUE(read(R"({"choices":[{"index":2,"delta":{"content":"a"}}]})"));
  EXPECT_TRUE(read(R"({"choices":[{"index":2,"delta":{},"finish_reason":"stop"}]})"));
  EXPECT_TRUE(choices.have_ended());
  EXPECT_TRUE(read(R"({"choices":[{"index":0,"text":"b","finish_reason":null}]})"));
  EXPECT_FALSE(choices.have_ended());
  EXPECT_TRUE(read(R"({"choices":[{"text":"c","finish_reason":"eos"},{"text":"d"}]})"))
      << "without an index: 0 and 1";
  EXPECT_FALSE(choices.have_ended());
  EXPECT_TRUE(read(R"({"choices":[{"index":1,"delta":{},"finish_reason":"length"}]})"));
  EXPECT_TRUE(choices.have_ended());
  EXPECT_TRUE(read(R"({"choices":[{"index":1,"delta":{}}]})")) << "what has ended stays so";
  EXPECT_TRUE(choices.have_ended());
  EXPECT_FALSE(read(R"({"choices":[{"index":-1}]})"));
  EXPECT_FALSE(read(R"({"choices":[{"index":65536}]})"));
}

TEST(WireChoices, HaveEndedWhenTheStreamSaysSo) {
  WireChoices choices;
  EXPECT_FALSE(choices.EndAll());
  EXPECT_FALSE(choices.have_ended()) << "none has begun";
  EXPECT_TRUE(choices.Note(0, true));
  EXPECT_FALSE(choices.EndAll()) << "none was open";
  EXPECT_TRUE(choices.Note(2, false));
  EXPECT_TRUE(choices.EndAll());
  EXPECT_TRUE(choices.have_ended());
  EXPECT_EQ(choices.ended(), 2) << "not the one that was never there";
}

TEST(WireChoices, CountThoseThatHaveEndedWhileNoneIsOpen) {
  WireChoices choices;
  EXPECT_EQ(choices.ended(), 0);
  choices.Note(1, true);
  EXPECT_EQ(choices.ended(), 1);
  choices.Note(0, false);
  EXPECT_EQ(choices.ended(), 0) << "one is open";
  choices.Note(0, true);
  EXPECT_EQ(choices.ended(), 2);
}

TEST(WireChunks, SayAWholeAnswerInAStreamsForm) {
  const auto chunks = ChunksOf(
      R"({"id":"c","object":"chat.completion","model":"m","choices":[{"message":{"role":"assistant",)"
      R"("content":"hi","tool_calls":[{"id":"t","function":{"name":"f"}}]},"finish_reason":null},)"
      R"({"index":7,"message":{"content":"ho"},"finish_reason":"length"}],"usage":{"prompt_tokens":1}})");
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(
      chunks[0],
      R"({"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{)"
      R"("role":"assistant","content":"hi","tool_calls":[{"index":0,"id":"t","function":{"name":"f"}}]},)"
      R"("finish_reason":"tool_calls"},{"index":7,"delta":{"content":"ho"},"finish_reason":"length"}]})");
  EXPECT_EQ(
      chunks[1],
      R"({"choices":[],"id":"c","object":"chat.completion.chunk","model":"m","usage":{"prompt_tokens":1}})");
}

TEST(WireChunks, SayNoUsageWhereThereIsNone) {
  EXPECT_EQ(
      ChunksOf(R"({"choices":[{"index":0,"text":"a"}],"usage":null})"),
      std::vector<std::string>{R"({"choices":[{"index":0,"text":"a","finish_reason":"stop"}]})"});
  EXPECT_TRUE(ChunksOf("[]").empty());
}

TEST(WireError, IsReadWhereItComesWithTheStatusOfAnAnswer) {
  const auto said = [](const char* body) {
    const auto whole = ReadWireWhole(body, WireKind::kChat);
    const WireError error = ReadWireError(0, body);
    return (whole.has_value() ? whole->error.value_or("an answer") : "garbage") + ", " +
           error.message + ", " + error.code;
  };
  EXPECT_EQ(said(R"({"choices":null,"base_resp":{"status_code":1002,"status_msg":"slowly"}})"),
            "slowly, slowly, 1002");
  EXPECT_EQ(said(R"({"error_code":18,"error_msg":"limit"})"), "limit, limit, 18");
  EXPECT_EQ(said(R"({"detail":"none"})"), "none, none, ");
  EXPECT_EQ(said(R"({"detail":[{"msg":"none"}]})"), R"([{"msg":"none"}], [{"msg":"none"}], )");
  EXPECT_EQ(said(R"({"message":"none"})"), "none, none, ");
  constexpr const char* kAnswers =
      R"({"choices":[{"message":{"content":"a"}}],"base_resp":{"status_code":0,"status_msg":"ok"}})";
  EXPECT_EQ(ReadWireWhole(kAnswers, WireKind::kChat)->error, std::nullopt);
  EXPECT_FALSE(
      ReadWireWhole(R"({"base_resp":{"status_code":0,"status_msg":"ok"}})", WireKind::kChat)
          .has_value());
  EXPECT_EQ(ReadWireError(0, "no JSON").message, "no JSON");
}

TEST(WireError, IsNoneWhereItsCodeIsNothing) {
  constexpr const char* kVectors =
      R"({"code":0,"message":"Success","data":[{"index":0,"embedding":[0.1]}],"usage":{"prompt_tokens":5}})";
  const auto whole = ReadWireWhole(kVectors, WireKind::kEmbeddings);
  EXPECT_EQ(whole->error, std::nullopt);
  EXPECT_EQ(whole->usage->input_tokens, 5);
  EXPECT_EQ(ReadWireChunk(R"({"code":0,"message":"Success","choices":[],"usage":null})")->error,
            std::nullopt);
  for (const char* error : {R"({"code":7,"message":"no"})", R"({"code":"0a","message":"no"})",
                            R"({"code":0,"type":"server_error","message":"no"})",
                            R"({"code":0,"object":"error","message":"no"})",
                            R"({"code":0,"error_code":18,"error_msg":"no"})",
                            R"({"code":0,"base_resp":{"status_code":1002,"status_msg":"no"}})",
                            R"({"error":{"code":0,"message":"no"}})"}) {
    EXPECT_EQ(ReadWireChunk(error)->error, "no") << error;
  }
}

TEST(WireError, ReadsAUsageBesideIt) {
  const WireError error = ReadWireError(
      400, R"({"error":{"message":"no"},"usage":{"prompt_tokens":9,"completion_tokens":0}})");
  EXPECT_EQ(error.message, "no");
  ASSERT_TRUE(error.usage.has_value());
  EXPECT_EQ(error.usage->input_tokens, 9);
  EXPECT_FALSE(ReadWireError(400, R"({"error":{"message":"no"}})").usage.has_value());
}

TEST(WireError, ReadsEveryProvidersEnvelope) {
  const WireError openai = ReadWireError(
      404,
      R"({"error":{"message":"Model not found","param":"model","code":"NOT_FOUND","type":"error"}})");
  EXPECT_EQ(openai.message, "Model not found");
  EXPECT_EQ(openai.code, "NOT_FOUND");
  EXPECT_EQ(ReadWireError(429, R"({"error":"Too Many Requests","message":"slow down"})").message,
            "slow down");
  EXPECT_EQ(ReadWireError(429, R"({"error":"Too Many Requests"})").message, "Too Many Requests");
  EXPECT_EQ(ReadWireError(
                400, R"({"message":"body.store: unsupported","type":"t","param":"p","code":"c"})")
                .param,
            "p");
  EXPECT_EQ(ReadWireError(422, R"({"detail":[{"loc":["body"]}]})").message,
            R"([{"loc":["body"]}])");
  EXPECT_EQ(ReadWireError(400, R"({"object":"error","message":"m","code":40303})").code, "40303");
  EXPECT_EQ(ReadWireError(502, "<html>").message, "The provider answered with status 502.");
}

}  // namespace
}  // namespace tradewind::dialects
