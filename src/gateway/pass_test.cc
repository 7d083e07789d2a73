// A provider's stream on its way to the client: what is learnt of it, and what ends it.
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/decimal.h"
#include "gateway/test_upstream_routes.h"

namespace tradewind::gateway {
namespace {

using namespace testing;

class PassTest : public UpstreamRouteTest {
 protected:
  PassTest() {
    ledger_ = ledger::Ledger::Open(disk_, SystemClock(), {.background = false}).value();
    meter_ = std::make_unique<billing::Meter>(*ledger_);
  }
  static std::string Used(const std::string& usage) {
    return Event(R"({"choices":[],"usage":{)" + usage + "}}");
  }
  // The log's line of the next request, which site-a answers so.
  telemetry::AccessRecord Answer(const std::string& said) {
    TestSocket client = Ask(R"("stream":true,"stream_options":{"include_usage":true})");
    TestSocket provider = Take(a_);
    provider.Send(kStreamHead + said + Event("[DONE]") + kLastChunk);
    seen_ = ReadStream(client);
    EXPECT_NE(seen_.find("[DONE]"), std::string::npos);
    return Logged(answered_++);
  }

  std::string seen_;  // by the client
  size_t answered_ = 0;
};

TEST_F(PassTest, HalfAUsageIsTakenAsFarAsItGoes) {
  Start({"site-a"});
  const auto input = Answer(Text("hi") + End() + Used(R"("prompt_tokens":7)"));
  EXPECT_EQ(input.input_tokens, 7);
  EXPECT_EQ(input.output_tokens, std::nullopt);
  EXPECT_NE(seen_.find(R"("cost_nanousd":null)"), std::string::npos) << seen_;
  const auto output = Answer(Text("hi") + End() + Used(R"("completion_tokens":9)"));
  EXPECT_EQ(output.input_tokens, std::nullopt);
  EXPECT_EQ(output.output_tokens, 9);
}

TEST_F(PassTest, AStreamWithoutAFinishReasonEndsWithDone) {
  Start({"site-a"});
  const std::string used = R"(,"usage":{"prompt_tokens":7,"completion_tokens":9}})";
  const std::string call =
      R"({"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}})";
  struct Case {
    std::string said, finish;
  };
  for (const Case& one : {
           Case{Text("hi") + Event(R"({"choices":[{"index":0,"delta":{"content":""}}])" + used),
                "stop"},
           Case{Text("hi") + Event(R"({"choices":[])" + used), "stop"},
           Case{Event(R"({"choices":[)" + call + "]}") + Event(R"({"choices":[])" + used),
                "tool_calls"},
       }) {
    const auto line = Answer(one.said);
    EXPECT_EQ(line.outcome, one.finish) << one.said;
    EXPECT_EQ(line.input_tokens, 7) << one.said;
    EXPECT_EQ(line.output_tokens, 9) << one.said;
    EXPECT_EQ(seen_.find("error"), std::string::npos) << seen_;
    EXPECT_EQ(seen_.find("finish_reason"), std::string::npos) << "nothing is put in: " << seen_;
  }
}

TEST_F(PassTest, AStreamThatHasSaidNothingIsNoAnswerThoughItSaysDone) {
  Start({"site-a", "site-b"});
  TestSocket client = Ask(R"("stream":true)");
  Take(a_).Send(kStreamHead + Role() + Event("[DONE]") + kLastChunk);
  TestSocket next = Take(b_);
  next.Send(kStreamHead + Text("from b") + End() + Event("[DONE]") + kLastChunk);
  EXPECT_NE(ReadStream(client).find("from b"), std::string::npos);
}

TEST_F(PassTest, HalfAUsageTakesNothingFromAWholeOne) {
  Start({"site-a"});
  const std::string whole = R"("prompt_tokens":7,"completion_tokens":9)";
  for (const char* half : {R"("prompt_tokens":6)", R"("completion_tokens":3)", R"("cost":0.1)"}) {
    const auto line = Answer(Text("hi") + End() + Used(whole) + Used(half));
    EXPECT_EQ(line.input_tokens, 7) << half;
    EXPECT_EQ(line.output_tokens, 9) << half;
  }
}

TEST_F(PassTest, ThePromptIsTheMostThatWasSaidOfIt) {
  Start({"site-a"});
  const std::string whole = R"("prompt_tokens":7,"completion_tokens":9)";
  const std::string begun = R"("prompt_tokens":20000,"completion_tokens":1)";
  for (const std::string& last :
       {whole, std::string(R"("prompt_tokens":0,"completion_tokens":9,"total_tokens":9)"),
        std::string(R"("completion_tokens":9)")}) {
    for (const auto& first : {begun, std::string(R"("prompt_tokens":20000)")}) {
      for (const std::string& said : {Used(first) + Text("hi") + End() + Used(last),
                                      Text("hi") + End() + Used(first) + Used(last)}) {
        const auto line = Answer(said);
        EXPECT_EQ(line.input_tokens, 20000) << said;
        EXPECT_EQ(line.output_tokens, 9) << said;
      }
    }
  }
}

TEST_F(PassTest, APromptOfNothingWasNotSaid) {
  Start({"site-a"});
  const std::string end = R"("prompt_tokens":0,"completion_tokens":9)";
  const std::string zero = Used(R"("prompt_tokens":0,"completion_tokens":0)");
  for (const std::string& said : {zero + Text("hi") + End(), Text("hi") + End() + zero}) {
    const auto line = Answer(said + Used(end));
    EXPECT_EQ(line.input_tokens, std::nullopt);
    EXPECT_EQ(line.output_tokens, 9);
    EXPECT_NE(seen_.find(R"("cost_nanousd":null)"), std::string::npos) << seen_;
  }
}

TEST_F(PassTest, WhatWasSaidOfTheAnswerBeforeThereWasMoreIsNoHalfOfIt) {
  Start({"site-a"});
  const auto line = Answer(Used(R"("prompt_tokens":7,"completion_tokens":1)") + Text("hi") + End() +
                           Used(R"("prompt_tokens":7)"));
  EXPECT_EQ(line.input_tokens, 7);
  EXPECT_EQ(line.output_tokens, std::nullopt);
}

TEST_F(PassTest, APromptThatOneChoiceSaysIsNotThatOfAll) {
  Start({"site-a"});
  const auto one = [](int choice, const std::string& usage) {
    return Event(fmt::format(
        R"({{"choices":[{{"index":{},"delta":{{}},"finish_reason":"stop"}}],"usage":{{{}}}}})",
        choice, usage));
  };
  TestSocket client = Ask(R"("stream":true,"n":2)");
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Text("a", 0) + Text("b", 1) +
                one(0, R"("prompt_tokens":7,"completion_tokens":5)") +
                one(1, R"("prompt_tokens":7,"completion_tokens":6)") +
                Used(R"("completion_tokens":11)") + Event("[DONE]") + kLastChunk);
  ReadStream(client);
  EXPECT_EQ(Logged().input_tokens, std::nullopt);
}

TEST_F(PassTest, HalfAUsageWithMoreOfTheAnswerEndsAnEarlierWholeOne) {
  Start({"site-a"});
  const std::string first = Used(R"("prompt_tokens":10,"completion_tokens":0,"total_tokens":10)");
  const std::string more = Event(R"({"choices":[{"index":0,"delta":{"content":"more"}}],)"
                                 R"("usage":{"completion_tokens":150}})");
  const auto line = Answer(first + more + End());
  EXPECT_NE(line.output_tokens, 0) << "which was said before there was any";
  EXPECT_NE(seen_.find(R"("cost_nanousd":null)"), std::string::npos) << seen_;
}

TEST_F(PassTest, RowSlowReaderOfAProvider) {
  server_options_.write_deadline_ms = 200;
  prices_.input = prices_.output = Decimal::Parse("1").value();
  Start({"site-a"});
  const TestSocket reader = [&] {
    TestSocket client(server_->port(), 4096);
    Ask(client, kStream);
    return client;
  }();
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead);
  const std::string piece = Text(std::string(16 << 10, 'x'));
  size_t sent = 0;
  while (provider.Send(piece)) {  // it waits where nobody reads
    ASSERT_LT(++sent, 10'000U) << "the upstream is closed";
  }
  const telemetry::AccessRecord line = Logged();
  EXPECT_EQ(line.outcome, "deadline_exceeded");
  const auto doubts = ledger_->HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U);
  EXPECT_GT(doubts[0].second.metered_charge, 16 << 10) << "he is charged for what he was sent";
}

class OtherFormTest : public UpstreamRouteTest {};

TEST_F(OtherFormTest, AnErrorThatComesAsAnAnswerIsWhatItSays) {
  Start({"site-a"});
  for (const char* fields : {"", kStream}) {
    for (const auto& [code, status] : {std::pair("400", "400"), std::pair("\"404\"", "404")}) {
      TestSocket client = Ask(fields);
      Take(a_).Send(Whole(200, fmt::format(R"({{"error":{{"message":"hot","code":{}}}}})", code)));
      const std::string answer = client.ReadResponse();
      EXPECT_TRUE(answer.starts_with(fmt::format("HTTP/1.1 {}", status))) << answer;
      EXPECT_NE(answer.find("hot"), std::string::npos) << answer;
    }
  }
}

TEST_F(OtherFormTest, AStreamInsteadOfAWholeAnswerIsAskedOnce) {
  Start({"site-a", "site-b"});
  TestSocket client = Ask();
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Text("hi") + End() + Event("[DONE]") + kLastChunk);
  EXPECT_TRUE(client.ReadResponse().starts_with("HTTP/1.1 502"));
  EXPECT_EQ(Logged().attempts, 1);
  EXPECT_EQ(Health().last_failure, routing::FailureKind::kOtherForm);
}

TEST_F(OtherFormTest, AStreamThatIsNoAnswerToAWholeRequestIsGarbage) {
  Start({"site-a", "site-b"});
  TestSocket client = Ask();
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Event("[DONE]") + kLastChunk);
  TestSocket next = Take(b_);
  next.Send(WholeAnswer("from b"));
  EXPECT_NE(client.ReadResponse().find("from b"), std::string::npos);
  EXPECT_EQ(Health().last_failure, routing::FailureKind::kGarbage);
}

TEST_F(OtherFormTest, AWholeAnswerToAStreamsRequestGoesOnAsAStream) {
  Start({"site-a", "site-b"});
  TestSocket client = Ask(kStream);
  Take(a_).Send(WholeAnswer("from a"));
  const std::string answer = ReadStream(client);
  EXPECT_NE(answer.find(R"("delta":{"role":"assistant","content":"from a"})"), std::string::npos);
  EXPECT_NE(answer.find("[DONE]"), std::string::npos);
  EXPECT_EQ(Logged().output_tokens, 3);
}

TEST_F(OtherFormTest, AWholeAnswerIsOneWhateverItsTypeIs) {
  Start({"site-a", "site-b"});
  const std::string json = "Content-Type: application/json\r\n";
  size_t asked = 0;
  for (const char* type : {"Content-Type: text/event-stream\r\n", "Content-Type: a/b+json\r\n",
                           "Content-Type: application/octet-stream\r\n", ""}) {
    for (const char* fields : {kStream, R"("stream":false)"}) {
      TestSocket client = Ask(fields);
      std::string answer = WholeAnswer("from a");
      answer.replace(answer.find(json), json.size(), type);
      TestSocket provider = Take(a_);
      const size_t half = answer.find("from a");
      provider.Send(answer.substr(0, half));
      provider.Send(answer.substr(half));
      const std::string seen = fields == kStream ? ReadStream(client) : client.ReadResponse();
      EXPECT_NE(seen.find(R"("content":"from a")"), std::string::npos) << type << seen;
      EXPECT_EQ(seen.find("[DONE]") != std::string::npos, fields == kStream) << type << seen;
      const auto line = Logged(asked++);
      EXPECT_EQ(line.output_tokens, 3) << type;
      EXPECT_EQ(line.attempts, 1) << type;
    }
  }
}

TEST_F(OtherFormTest, AnErrorWithTheTypeOfAStreamHasTheStatusThatItSays) {
  Start({"site-a"});
  TestSocket client = Ask(kStream);
  std::string error = Whole(200, "\n {\"error\":{\"message\":\"slowly\",\"code\":429}}");
  error.replace(error.find("application/json"), 16, "text/event-stream");
  for (int tries = 0; tries < 2; ++tries) {  // the second, as no other route is left
    Take(a_).Send(error);
  }
  const std::string answer = client.ReadResponse();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 429")) << answer;
  EXPECT_NE(answer.find("slowly"), std::string::npos) << answer;
}

TEST_F(OtherFormTest, AStreamWithoutATypeIsOne) {
  Start({"site-a"});
  TestSocket client = Ask(kStream);
  TestSocket provider = Take(a_);
  provider.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + Text("now"));
  EXPECT_NE(client.ReadUntil("now").find("now"), std::string::npos) << "as it comes";
  provider.Send(End() + Event("[DONE]") + kLastChunk);
  EXPECT_NE(ReadStream(client).find("[DONE]"), std::string::npos);
}

TEST_F(OtherFormTest, AnEventWithoutDataSaysNothing) {
  Start({"site-a"});
  TestSocket client = Ask(kStream);
  Take(a_).Send(kStreamHead + Event("") + Text("hi") + Chunk("data:\n\n") + Event(" ") + End() +
                Event("[DONE]") + kLastChunk);
  const std::string answer = ReadStream(client);
  EXPECT_NE(answer.find("[DONE]"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("data: \n"), std::string::npos) << answer;
  EXPECT_EQ(Logged().attempts, 1);
}

// The beginning of an answer by site-a, which breaks off, and how it goes on at site-b.
class ContinuationTest : public UpstreamRouteTest {
 protected:
  std::string GoOn(const std::string& begun, const std::string& rest) {
    TestSocket client = Ask(R"("stream":true,"provider":{"continuation":true})");
    TestSocket first = Take(a_);
    first.Send(kStreamHead + Text(begun));
    EXPECT_NE(client.ReadUntil(begun).find(begun), std::string::npos);
    first.Close();
    TestSocket second = Take(b_);
    second.Send(kStreamHead + Text(rest) + End() + Event("[DONE]") + kLastChunk);
    return ReadStream(client);
  }
};

TEST_F(ContinuationTest, AnAnswerThatBeginsAnewIsNotShown) {
  Start({"site-a", "site-b"});
  const std::string seen = GoOn("sixteen bytes...", "sixteen bytes... and more");
  EXPECT_EQ(seen.find("and more"), std::string::npos) << seen;
  EXPECT_NE(seen.find("anew"), std::string::npos) << seen;
}

TEST_F(ContinuationTest, WhatFewBytesBeginWithMayComeAgain) {
  Start({"site-a", "site-b"});
  for (const auto& [begun, rest] : {std::pair(" ", " and more"), std::pair("ha", "ha, and more"),
                                    std::pair("fifteen bytes..", "fifteen bytes.. and more")}) {
    const std::string seen = GoOn(begun, rest);
    EXPECT_NE(seen.find("and more"), std::string::npos) << seen;
    EXPECT_NE(seen.find("[DONE]"), std::string::npos) << seen;
  }
}

}  // namespace
}  // namespace tradewind::gateway
