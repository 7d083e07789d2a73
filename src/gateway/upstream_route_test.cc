// The early exits of chat.cc where a provider answers, over real connections to providers that say
// what the test says, byte by byte.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "gateway/test_upstream_routes.h"

namespace tradewind::gateway {
namespace {

using namespace testing;

// --- What an attempt may take

TEST_F(UpstreamRouteTest, AnAnswerThatIsNoStreamHasTheRequestsWholeTime) {
  times_.first_byte_ms = 50;
  Start({"site-a", "site-b"});
  TestSocket client = Ask();
  TestSocket provider = Take(a_);
  EXPECT_FALSE(b_.HasCallerWithin(300)) << "paid for twice";
  provider.Send(WholeAnswer("late"));
  const std::string answer = client.ReadResponse();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("late"), std::string::npos) << answer;
  EXPECT_EQ(Health().window_faults, 0);
}

TEST_F(UpstreamRouteTest, AWholeAnswerIsReadNoFurtherThanItCanBe) {
  Start({"site-a"});
  TestSocket client = Ask(R"("max_tokens":10)");
  Take(a_).Send(WholeAnswer(std::string(15 << 20, 'x')));
  EXPECT_TRUE(client.ReadResponse().starts_with("HTTP/1.1 200")) << "a few pictures";
  Ask(client, R"("max_tokens":10)");
  for (int tries = 0; tries < 2; ++tries) {  // the second, as no other route is left
    Take(a_).Send(WholeAnswer(std::string(17 << 20, 'x')));
  }
  const std::string answer = client.ReadResponse();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 502")) << answer.substr(0, 1000);
  const std::string bound = fmt::format("larger than {} bytes", (16 << 20) + 640);
  EXPECT_NE(answer.find("site-a: the upstream's answer is " + bound), std::string::npos) << answer;
  EXPECT_EQ(Logged(1).outcome, "upstream_failed");
}

TEST_F(UpstreamRouteTest, AProviderThatTakesRequestsAndNeverAnswersIsLeft) {
  times_.whole_answer_ms = 300;
  Start({"site-a", "site-b"});
  for (int i = 0; i < 3; ++i) {
    TestSocket client = Ask();
    const TestSocket mute = Take(a_);
    TestSocket next = Take(b_);
    next.Send(WholeAnswer("from b"));
    const std::string answer = client.ReadResponse();
    EXPECT_NE(answer.find("from b"), std::string::npos) << answer;
  }
  EXPECT_EQ(Health().last_failure, routing::FailureKind::kFirstByteTimeout);
  EXPECT_EQ(Health().circuit, routing::Circuit::kOpen);
  TestSocket client = Ask();
  TestSocket first = Take(b_);
  first.Send(WholeAnswer("at once"));
  EXPECT_NE(client.ReadResponse().find("at once"), std::string::npos);
}

TEST_F(UpstreamRouteTest, TheOnlyRouteMayBeSilentUntilTheDeadline) {
  times_.whole_answer_ms = 50;
  Start({"site-a"});
  TestSocket client = Ask();
  TestSocket provider = Take(a_);
  EXPECT_FALSE(a_.HasCallerWithin(300)) << "paid for twice";
  provider.Send(WholeAnswer("late"));
  EXPECT_NE(client.ReadResponse().find("late"), std::string::npos);
  EXPECT_EQ(Health().window_faults, 0);
}

TEST_F(UpstreamRouteTest, KeepAlivesAreNoFirstByte) {
  times_.first_byte_ms = 2'000;  // site-b has no more, on a busy machine too
  Start({"site-a", "site-b"});
  TestSocket client = Ask(kStream);
  TestSocket slow = Take(a_);
  slow.Send(kStreamHead + Role());
  for (int i = 0; i < 1000 && !b_.HasCallerWithin(20); ++i) {
    slow.Send(Chunk(": ping\n\n") + Role());
  }
  TestSocket next = Take(b_);
  next.Send(kStreamHead + Text("from b") + End() + Event("[DONE]") + kLastChunk);
  const std::string answer = ReadStream(client);
  EXPECT_NE(answer.find("x-inference-provider: site-b"), std::string::npos) << answer;
  EXPECT_NE(answer.find("from b"), std::string::npos) << answer;
  EXPECT_EQ(Health().last_failure, routing::FailureKind::kFirstByteTimeout);
}

TEST_F(UpstreamRouteTest, ASlowStreamIsNoLateFirstByte) {
  times_.first_byte_ms = 1'500;
  Start({"site-a", "site-b"});
  TestSocket client = Ask(kStream);
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Text("one"));
  EXPECT_FALSE(b_.HasCallerWithin(2'500));
  provider.Send(Text("two") + End() + Event("[DONE]") + kLastChunk);
  EXPECT_NE(ReadStream(client).find("[DONE]"), std::string::npos);
}

TEST_F(UpstreamRouteTest, RowDeadlineIsAFaultOfARouteThatHadTheTime) {
  times_.deadline_ms = 1'000;
  Start({"site-a"});
  for (const char* fields : {kStream, R"("stream":false)"}) {
    TestSocket client = Ask(fields);
    const TestSocket silent = Take(a_);
    const std::string answer = client.ReadResponse();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 504")) << answer;
  }
  EXPECT_EQ(Logged().outcome, "deadline_exceeded");
  EXPECT_EQ(Logged(1).attempts, 1);
  EXPECT_EQ(Health().window_faults, 2) << "or it would be asked for ever";
}

TEST_F(UpstreamRouteTest, RowDeadlineIsNoFaultOfARouteThatHadLittleTime) {
  times_.deadline_ms = 3'000;
  Start({"site-a", "site-b"});
  TestSocket client = Ask();
  TestSocket slow = Take(a_);
  EXPECT_FALSE(b_.HasCallerWithin(1'800));
  slow.Send(Whole(500, "{}"));
  const TestSocket late = Take(b_);
  const std::string answer = client.ReadResponse();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 504")) << answer;
  EXPECT_EQ(Health("site-a").window_faults, 1);
  EXPECT_EQ(Health("site-b").window_faults, 0);
}

TEST_F(UpstreamRouteTest, RowDeadlineAfterTheFirstByte) {
  times_.deadline_ms = 1'500;
  Start({"site-a"});
  TestSocket client = Ask(kStream);
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Text("begun"));
  const std::string answer = ReadStream(client);
  EXPECT_NE(answer.find("begun"), std::string::npos) << answer;
  EXPECT_NE(answer.find("data: {\"error\":"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("[DONE]"), std::string::npos) << answer;
  EXPECT_EQ(Logged().outcome, "deadline_exceeded");
  EXPECT_EQ(Health().window_faults, 0);
}

TEST_F(UpstreamRouteTest, RowDeadlineHoldsForTheModelOnThisDevice) {
  times_.deadline_ms = 1'000;
  world_.play = [](FakeSequence& sequence) { sequence.Push(TextEvent("begun")); };
  Start({"site-a"});
  TestSocket whole = Ask("", "org-m");
  const std::string refused = whole.ReadResponse();
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 504")) << refused;
  TestSocket stream = Ask(kStream, "org-m");
  const std::string answer = ReadStream(stream);
  EXPECT_NE(answer.find("begun"), std::string::npos) << answer;
  EXPECT_NE(answer.find("data: {\"error\":"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("[DONE]"), std::string::npos) << answer;
  EXPECT_EQ(Logged(1).outcome, "deadline_exceeded");
  for (const auto& sequence : world_.Seen()) {
    EXPECT_TRUE(Eventually([&] { return sequence->cancelled(); }));
  }
  EXPECT_EQ(Health("local", "org-m").window_faults, 0);
}

TEST_F(UpstreamRouteTest, TheFirstTokenCountsWhenItComesAndNotAtTheEnd) {
  world_.play = [](FakeSequence& sequence) { sequence.Push(TextEvent("begun")); };
  Start({"site-a"});
  TestSocket client = Ask(kStream);
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Role());
  EXPECT_FALSE(Health().ttft_ms.has_value());
  provider.Send(Text("begun"));
  EXPECT_TRUE(Eventually([&] { return Health().ttft_ms.has_value(); }));
  const TestSocket here = Ask(kStream, "org-m");
  EXPECT_TRUE(Eventually([&] { return Health("local", "org-m").ttft_ms.has_value(); }));
}

// --- What an answer is said to have used

std::string WithUsage(int choice, const char* delta, const char* finish, int tokens) {
  return Event(fmt::format(
      R"({{"choices":[{{"index":{},"delta":{},"finish_reason":{}}}],"usage":{{"prompt_tokens":3,)"
      R"("completion_tokens":{}}}}})",
      choice, delta, finish, tokens));
}

// Each choice's own may be the same, or grow, and never fall; the sum so far grows with what comes.
TEST_F(UpstreamRouteTest, OfSeveralChoicesWithAUsageEachNobodyHasSaidTheWhole) {
  Start({"site-a"});
  const auto ends = [](int first, int second) {
    return WithUsage(0, R"({"content":"a"})", R"("length")", first) +
           WithUsage(1, R"({"content":"b"})", R"("length")", second);
  };
  const std::string all_along =
      WithUsage(0, R"({"content":"a"})", "null", 1) + WithUsage(1, R"({"content":"b"})", "null", 2);
  const std::string whole =
      Event(R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":100}})");
  using Tokens = std::optional<int64_t>;
  size_t asked = 0;
  for (const auto& [said, tokens] : {std::pair(ends(50, 50), Tokens()),
                                     {ends(3, 5), Tokens()},
                                     {ends(50, 50) + whole, Tokens(100)},
                                     {all_along + ends(3, 4), Tokens(4)},
                                     {all_along + ends(3, 3), Tokens()}}) {
    TestSocket client = Ask(R"("stream":true,"n":2)");
    TestSocket provider = Take(a_);
    provider.Send(kStreamHead + said + Event("[DONE]") + kLastChunk);
    EXPECT_NE(ReadStream(client).find("[DONE]"), std::string::npos);
    EXPECT_EQ(Logged(asked++).output_tokens, tokens) << said;
    provider.Close();
  }
}

TEST_F(UpstreamRouteTest, TheReceiptStandsWhereTheLastChoiceEnds) {
  Start({"site-a"});
  TestSocket client = Ask(R"("stream":true,"n":2,"stream_options":{"include_usage":true})");
  TestSocket provider = Take(a_);
  const auto choice = [](int index, const char* delta, const char* finish) {
    return Event(fmt::format(R"({{"choices":[{{"index":{},"delta":{},"finish_reason":{}}}]}})",
                             index, delta, finish));
  };
  provider.Send(kStreamHead + choice(0, R"({"content":"a"})", R"("stop")") +
                choice(1, R"({"content":"b"})", "null") + WithUsage(1, "{}", R"("stop")", 50) +
                Event("[DONE]") + kLastChunk);
  const std::string answer = ReadStream(client);
  const size_t receipt = answer.find("\"tradewind\":");
  ASSERT_NE(receipt, std::string::npos) << answer;
  EXPECT_EQ(answer.find("\"tradewind\":", receipt + 1), std::string::npos) << answer;
  EXPECT_GT(receipt, answer.find("\"completion_tokens\":50")) << answer;
  EXPECT_EQ(answer.find(": tradewind"), std::string::npos) << answer;
  EXPECT_EQ(Logged().output_tokens, 50);
}

TEST_F(UpstreamRouteTest, OfSeveralPromptsTheReceiptWaitsForTheLastOne) {
  Start({"site-a"});
  TestSocket client(server_->port());
  const std::string body = R"({"model":"org/model","prompt":["a","b"],"stream":true,)"
                           R"("stream_options":{"include_usage":true}})";
  EXPECT_TRUE(client.Send(
      fmt::format("POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n"
                  "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                  token_, body.size(), body)));
  TestSocket provider = a_.Accept();
  ASSERT_TRUE(provider.ReadResponse().starts_with("POST /v1/completions"));
  const auto ended = [](int choice, int tokens) {
    return Event(fmt::format(R"({{"choices":[{{"index":{},"text":"c","finish_reason":"stop"}}],)"
                             R"("usage":{{"prompt_tokens":3,"completion_tokens":{}}}}})",
                             choice, tokens));
  };
  provider.Send(kStreamHead + ended(0, 1) + ended(1, 50) + Event("[DONE]") + kLastChunk);
  const std::string answer = ReadStream(client);
  const size_t receipt = answer.find("\"tradewind\":");
  ASSERT_NE(receipt, std::string::npos) << answer;
  EXPECT_EQ(answer.find("\"tradewind\":", receipt + 1), std::string::npos) << answer;
  EXPECT_GT(receipt, answer.find("\"completion_tokens\":50")) << answer;
}

TEST_F(UpstreamRouteTest, AnotherUsageAfterTheReceiptHasAReceiptOfItsOwn) {
  Start({"site-a"});
  const auto usage = [](int tokens) {
    return Event(fmt::format(
        R"({{"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":{}}}}})", tokens));
  };
  TestSocket client = Ask(R"("stream":true,"stream_options":{"include_usage":true})");
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Text("a") + End() + usage(1) + usage(9) + Event("[DONE]") +
                kLastChunk);
  const std::string answer = ReadStream(client);
  EXPECT_LT(answer.find("\"tradewind\":"), answer.find("\"completion_tokens\":9")) << answer;
  EXPECT_NE(answer.find(": tradewind"), std::string::npos) << answer;
  EXPECT_EQ(Logged().output_tokens, 9);
}

// --- What an attempt may have cost

TEST_F(UpstreamRouteTest, WhoLeavesEarlyHasUsedHisTokensAllTheSame) {
  Start({"site-a"}, 150);
  TestSocket client = Ask(R"("stream":true,"max_tokens":100)");
  const TestSocket provider = Take(a_);
  client.Close();
  Logged();
  TestSocket again = Ask(R"("stream":true,"max_tokens":100)");
  const std::string refused = again.ReadResponse();
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 429")) << refused;
}

TEST_F(UpstreamRouteTest, WhatWasNeverSentUsesNoTokens) {
  Start({"site-a"}, 150);
  a_.Close();
  for (int i = 0; i < 3; ++i) {
    TestSocket client = Ask(R"("max_tokens":100)");
    const std::string answer = client.ReadResponse();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 502")) << answer;
  }
}

TEST_F(UpstreamRouteTest, WhatTheProviderRefusedUsesNoTokens) {
  Start({"site-a"}, 150);
  for (int i = 0; i < 3; ++i) {
    TestSocket client = Ask(R"("max_tokens":100)");
    TestSocket provider = Take(a_);
    provider.Send(Whole(400, R"({"error":{"message":"no such role"}})"));
    const std::string answer = client.ReadResponse();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << answer;
  }
}

TEST_F(UpstreamRouteTest, RowClientLeft) {
  Start({"site-a"});
  for (size_t i = 0; i < 2; ++i) {  // before the first byte, and after it
    TestSocket client = Ask(kStream);
    TestSocket provider = Take(a_);
    if (i == 1) {
      provider.Send(kStreamHead + Text("begun"));
      EXPECT_NE(client.ReadUntil("begun").find("HTTP/1.1 200"), std::string::npos);
    }
    client.Close();
    EXPECT_EQ(provider.ReadAll(), "") << "the upstream is closed";
    EXPECT_EQ(Logged(i).outcome, "cancelled");
  }
  EXPECT_EQ(Health().window_faults, 0);
}

// --- What is no answer

TEST_F(UpstreamRouteTest, AStreamThatShowsNothingIsGivenUpBeforeItFillsTheMemory) {
  Start({"site-a", "site-b"});
  TestSocket client = Ask(kStream);
  TestSocket endless = Take(a_);
  endless.Send(kStreamHead);
  std::string chunks;
  for (int i = 0; i < 1000; ++i) {
    chunks += Role();
  }
  const auto bytes_max = int64_t{64} << 20;
  int64_t sent = 0;
  while (sent < bytes_max && endless.Send(chunks)) {
    sent += static_cast<int64_t>(chunks.size());
  }
  EXPECT_LT(sent, bytes_max);
  TestSocket next = Take(b_);
  next.Send(kStreamHead + Text("from b") + End() + Event("[DONE]") + kLastChunk);
  EXPECT_NE(ReadStream(client).find("from b"), std::string::npos);
  EXPECT_EQ(Health().last_failure, routing::FailureKind::kGarbage);
}

TEST_F(UpstreamRouteTest, AStreamIsCompleteWhenEveryChoiceIs) {
  Start({"site-a"});
  const std::string first_alone = kStreamHead + Text("a", 0) + Text("b", 1) + End(0);
  struct Case {
    std::string stream;
    bool is_complete;
  };
  for (const Case& one : std::vector<Case>{
           {first_alone + kLastChunk, false},
           {first_alone + Event("[DONE]") + kLastChunk, true},
           {first_alone + End(1) + kLastChunk, true},
           {first_alone + End(1) + Event("[DONE]") + kLastChunk, true},
           {kStreamHead + Text("a") + kLastChunk, false},
           {kStreamHead + Text("a") + Event("[DONE]") + kLastChunk, true},
           {kStreamHead + Text("a") + End() + Role() + Event("[DONE]") + kLastChunk, true},
       }) {
    TestSocket client = Ask(kStream);
    TestSocket provider = Take(a_);
    provider.Send(one.stream);
    const std::string answer = ReadStream(client);
    EXPECT_EQ(answer.find("[DONE]") != std::string::npos, one.is_complete) << answer;
    EXPECT_EQ(answer.find("data: {\"error\":") == std::string::npos, one.is_complete) << answer;
    provider.Close();
  }
}

TEST_F(UpstreamRouteTest, AUsageIsComparedWithTheBytesThatCameWhateverFormTheyHave) {
  ledger_ = ledger::Ledger::Open(disk_, SystemClock(), {.background = false}).value();
  meter_ = std::make_unique<billing::Meter>(*ledger_);
  Start({"site-a"});
  const auto delta = [](const std::string& fields) {
    return Event(R"({"choices":[{"index":0,"delta":{)" + fields + "}}]}");
  };
  const auto used = [](const std::string& rest) {
    return Event(R"({"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":)" + rest + "}}");
  };
  const std::string parts = delta(R"("content":[{"type":"text","text":"hi"}])");
  const std::string calls = delta(R"("tool_calls":[{"index":0,"function":{"arguments":"hi"}}])");
  const std::string named = delta(R"("tool_calls":[{"index":0,"id":"call_1","type":"function",)"
                                  R"("function":{"name":"f","arguments":"x"}}])");
  int64_t beyond = 0;
  for (const auto& [said, is_beyond] : std::vector<std::pair<std::string, bool>>{
           {Text("hi") + End() + used("66"), false},
           {Text("hi") + End() + used("67"), true},
           {Text("hi") + End() + used(R"(67,"completion_tokens_details":{"reasoning_tokens":1})"),
            false},
           {parts + End() + used("66"), false},
           {parts + End() + used("67"), true},
           {calls + End() + used("66"), false},
           {calls + End() + used("67"), true},
           {named + End() + used("98"), false},
           {named + End() + used("99"), true},
           {End() + used("100"), false},
       }) {
    TestSocket client = Ask(kStream);
    TestSocket provider = Take(a_);
    provider.Send(kStreamHead + said + Event("[DONE]") + kLastChunk);
    EXPECT_NE(ReadStream(client).find("[DONE]"), std::string::npos);
    beyond += is_beyond ? 1 : 0;
    EXPECT_EQ(meter_->beyond_bounds(), beyond) << said;
    provider.Close();
  }
}

TEST_F(UpstreamRouteTest, ARefusalOfAProviderThatBillsThemCostsWhatItMayHaveRead) {
  ledger_ = ledger::Ledger::Open(disk_, SystemClock(), {.background = false}).value();
  meter_ = std::make_unique<billing::Meter>(*ledger_);
  bills_refusals_ = true;
  Start({"site-a"});
  for (const auto& statuses : std::vector<std::vector<int>>{{400}, {408, 408}, {404}}) {
    TestSocket client = Ask("");
    for (const int status : statuses) {  // 408 is tried again
      TestSocket provider = Take(a_);
      provider.Send(Whole(status, R"({"error":{"message":"filtered"}})"));
      provider.Close();
    }
    EXPECT_FALSE(client.ReadResponse().empty());
  }
  std::vector<ledger::Record> ends;
  ledger::JournalReader reader(disk_, 1);
  while (auto record = reader.Next().value_or(std::nullopt)) {
    if (record->type == ledger::RecordType::kSettle || record->type == ledger::RecordType::kVoid) {
      ends.push_back(std::move(*record));
    }
  }
  ASSERT_EQ(ends.size(), 4U);
  for (const ledger::Record& end : std::span(ends).first(3)) {
    EXPECT_EQ(end.type, ledger::RecordType::kSettle);
    EXPECT_EQ(end.charge, 0);
  }
  EXPECT_EQ(ends.back().type, ledger::RecordType::kVoid) << "before any work";
}

TEST_F(UpstreamRouteTest, ARefusalThatIsBilledCostsTheOperatorAndChargesNobody) {
  ledger_ = ledger::Ledger::Open(disk_, SystemClock(), {.background = false}).value();
  meter_ = std::make_unique<billing::Meter>(*ledger_);
  Start({"site-a"});
  TestSocket client = Ask("");
  TestSocket provider = Take(a_);
  provider.Send(Whole(400, R"({"error":{"message":"filtered","code":"content_filter"},)"
                           R"("usage":{"prompt_tokens":9,"completion_tokens":0}})"));
  EXPECT_TRUE(client.ReadResponse().starts_with("HTTP/1.1 400"));
  ledger::JournalReader reader(disk_, 1);
  std::optional<ledger::Record> settled;
  while (auto record = reader.Next().value_or(std::nullopt)) {
    if (record->type == ledger::RecordType::kSettle) {
      settled = std::move(*record);
    }
  }
  ASSERT_TRUE(settled.has_value());
  EXPECT_EQ(billing::DecodeOutcome(settled->text).input_tokens, 9);
  EXPECT_EQ(settled->charge, 0);
}

// So that a power cut takes no bound with it; one that is strict, so that it takes no record.
TEST_F(UpstreamRouteTest, NothingGoesOutBeforeItsMoneyIsOnTheDisk) {
  ledger_ = ledger::Ledger::Open(disk_, SystemClock(), {.background = false}).value();
  meter_ = std::make_unique<billing::Meter>(*ledger_);
  prices_.input = prices_.output = Decimal::Parse("1").value();
  ASSERT_TRUE(ledger_->Define({.name = "org:org_default", .limit = 1'000'000'000}).has_value());
  Start({"site-a"});
  const auto ask = [&](bool waits, bool is_flushed = true) {
    TestSocket client = Ask(R"("max_tokens":10)");
    if (waits) {
      EXPECT_TRUE(Eventually([&] { return ledger_->open_holds() == 1; }));
      EXPECT_FALSE(a_.HasCallerWithin(100)) << "it is not on the disk";
      disk_.syncs_left = is_flushed ? -1 : 0;
      for (int i = 0; i < (is_flushed ? 1 : 2); ++i) {  // another segment takes over once
        EXPECT_EQ(ledger_->WaitDurable().has_value(), is_flushed);
      }
      disk_.syncs_left = -1;
    }
    if (is_flushed) {
      TestSocket provider = Take(a_);
      provider.Send(WholeAnswer("hello"));
    }
    return client.ReadResponse();
  };
  EXPECT_NE(ask(true).find("hello"), std::string::npos) << "the first of its budget";
  EXPECT_NE(ask(false).find("hello"), std::string::npos) << "within what is leased";
  ASSERT_TRUE(store_->PutOrg("default", {.is_strict = true}, {}).has_value());
  EXPECT_NE(ask(true).find("hello"), std::string::npos);
  const std::string refused = ask(true, false);
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 507 ")) << refused;
  EXPECT_NE(refused.find("could not be kept on the disk"), std::string::npos) << refused;
  EXPECT_FALSE(a_.HasCallerWithin(0));
  EXPECT_EQ(ledger_->open_holds(), 0U) << "what was not sent is void";
}

TEST_F(UpstreamRouteTest, WhatAProviderSaysOfOurKeyReachesNobody) {
  Start({"site-a"});
  const std::string echo = fmt::format(
      R"({{"error":{{"message":"bad: Bearer {0}","type":"{0}","param":"{0}","code":"{0}"}}}})",
      kProviderKey);
  for (const std::string& said : {Whole(400, echo), Whole(500, echo), Whole(200, echo),
                                  kStreamHead + Text("begun") + Event(echo) + kLastChunk}) {
    const bool is_stream = said.starts_with(kStreamHead);
    TestSocket client = Ask(is_stream ? kStream : "");
    TestSocket provider = Take(a_);
    provider.Send(said);
    if (said == Whole(500, echo) || said == Whole(200, echo)) {
      TestSocket once_more = Take(a_);  // there is no other route
      once_more.Send(said);
    }
    const std::string answer = is_stream ? ReadStream(client) : client.ReadResponse();
    EXPECT_NE(answer.find("\"error\":"), std::string::npos) << answer;
    EXPECT_EQ(answer.find(kProviderKey), std::string::npos) << answer;
  }
}

TEST_F(UpstreamRouteTest, AKeyInAHeaderOfItsOwnReachesTheProviderAndNobodyElse) {
  api_key_header_ = "x-api-key";
  Start({"site-a"});
  const std::string refusal = fmt::format(
      R"({{"error":{{"message":"x-api-key {0} is not valid","code":"{0}"}}}})", kProviderKey);
  for (const std::string& said : {WholeAnswer("hello"), Whole(401, refusal)}) {
    TestSocket client = Ask();
    TestSocket provider = a_.Accept();
    const std::string asked = provider.ReadResponse();
    EXPECT_NE(asked.find(fmt::format("\r\nx-api-key: {}\r\n", kProviderKey)), std::string::npos)
        << asked;
    EXPECT_EQ(asked.find("Authorization"), std::string::npos) << asked;
    EXPECT_EQ(asked.find("Bearer"), std::string::npos) << asked;
    provider.Send(said);
    const std::string answer = client.ReadResponse();
    EXPECT_NE(answer.find(said == Whole(401, refusal) ? "\"error\"" : "hello"), std::string::npos)
        << answer;
    EXPECT_EQ(answer.find(kProviderKey), std::string::npos) << answer;
  }
  for (size_t n = 0; n < 2; ++n) {
    const std::string line = telemetry::FormatAccessRecord(Logged(n), {});
    EXPECT_NE(line.find("site-a"), std::string::npos);
    EXPECT_EQ(line.find(kProviderKey), std::string::npos) << line;
  }
  EXPECT_EQ(metrics_.Text().find(kProviderKey), std::string::npos);
}

// --- Connections to providers

TEST_F(UpstreamRouteTest, AStreamGivesItsConnectionBack) {
  Start({"site-a"});
  const std::string answer = kStreamHead + Text("one") + End() + Event("[DONE]");
  std::optional<TestSocket> provider;
  // What ends the body comes after the client has its end, and may come too late on a busy machine.
  for (size_t i = 0; i < 20 && upstreams_->stats().connections_idle == 0; ++i) {
    TestSocket client = Ask(kStream);
    provider = Take(a_);
    provider->Send(answer);
    EXPECT_NE(client.ReadUntil("[DONE]").find("one"), std::string::npos);
    provider->Send(kLastChunk);
    EXPECT_EQ(Logged(i).outcome, "stop");
  }
  TestSocket client = Ask(kStream);
  EXPECT_TRUE(provider->ReadResponse().starts_with("POST ")) << "on the same connection";
  provider->Send(answer + kLastChunk);
  EXPECT_NE(ReadStream(client).find("[DONE]"), std::string::npos);
}

TEST_F(UpstreamRouteTest, AProviderThatNeverEndsItsStreamHoldsNobodyUp) {
  Start({"site-a"});
  TestSocket client = Ask(kStream);
  TestSocket provider = Take(a_);
  provider.Send(kStreamHead + Text("one") + End() + Event("[DONE]"));
  EXPECT_NE(ReadStream(client).find("[DONE]"), std::string::npos);
  Ask(client, kStream);
  TestSocket other = Take(a_);
  other.Send(kStreamHead + Text("two") + End() + Event("[DONE]") + kLastChunk);
  EXPECT_NE(ReadStream(client).find("two"), std::string::npos);
  EXPECT_EQ(provider.ReadAll(), "") << "closed";
}

}  // namespace
}  // namespace tradewind::gateway
