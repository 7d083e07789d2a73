#include "providers/local.h"

#include <set>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "providers/test_support.h"

namespace tradewind::providers {
namespace {

using engine::FinishReason;
using testing::ChatOf;
using testing::Collected;
using testing::CompletionOf;
using testing::Eventually;
using testing::FakeSequence;
using testing::FinishEvent;
using testing::kEnd;
using testing::LocalProviderTest;
using testing::RunTask;
using testing::TextEvent;

TEST_F(LocalProviderTest, TurnsAChatIntoOneSequenceAndBack) {
  chat::ChatRequest request = ChatOf("hi");
  request.sampling.temperature = 0.5f;
  request.sampling.top_k = 3;
  request.sampling.seed = 7;
  request.stop = {"x"};
  request.max_tokens = 20;
  const Collected out = Chat(request);
  ASSERT_FALSE(out.error.has_value()) << out.error->message;
  EXPECT_EQ(out.texts.at(0), "ok");
  const chat::ChatEvent& last = out.events.back();
  EXPECT_TRUE(last.done);
  EXPECT_EQ(last.finish, chat::FinishReason::kStop);
  EXPECT_EQ(last.usage.output_tokens, 2);
  const auto seen = world_.Seen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(last.usage.input_tokens, static_cast<int64_t>(seen[0]->request.prompt.size()));
  EXPECT_EQ(seen[0]->request.sampling.temperature, 0.5f);
  EXPECT_EQ(seen[0]->request.sampling.top_k, 3);
  EXPECT_EQ(seen[0]->request.sampling.top_p, 1.0f);
  EXPECT_EQ(seen[0]->request.sampling.seed, 7u);
  EXPECT_EQ(seen[0]->request.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(seen[0]->request.max_tokens, 20);
}

TEST_F(LocalProviderTest, LeavesMaxTokensToTheContextWhenAbsent) {
  ASSERT_FALSE(Chat(ChatOf("hi")).error.has_value());
  EXPECT_EQ(world_.Seen().at(0)->request.max_tokens, -1);
}

TEST_F(LocalProviderTest, GivesEachChoiceOfAPromptItsOwnSeed) {
  chat::CompletionRequest request = CompletionOf({"a", "b"});
  request.n = 3;
  request.sampling.seed = 10;
  const Collected out = Complete(request);
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.texts.size(), 6u);
  std::vector<uint64_t> seeds;
  std::string prompts;
  for (const auto& sequence : world_.Seen()) {
    seeds.push_back(*sequence->request.sampling.seed);
    prompts += static_cast<char>(sequence->request.prompt.at(0));
  }
  EXPECT_EQ(seeds, (std::vector<uint64_t>{10, 11, 12, 10, 11, 12}));
  EXPECT_EQ(prompts, "aaabbb");
  EXPECT_EQ(out.events.back().usage.input_tokens, 2);  // each prompt once, not once per choice
  EXPECT_EQ(out.events.back().usage.output_tokens, 12);
}

TEST_F(LocalProviderTest, CountsAsCachedWhatNoChoiceOfAPromptEvaluated) {
  chat::CompletionRequest request = CompletionOf({"abcdef", "ghijkl"});
  request.n = 2;
  const int cached[] = {3, 5, 0, 5};
  std::atomic<int> started = 0;
  world_.play = [&](FakeSequence& sequence) {
    sequence.SetCached(cached[started++]);
    testing::FakeWorld().play(sequence);
  };
  const Collected out = Complete(request);
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.events.back().usage.cached_tokens, 3 + 0);
}

TEST_F(LocalProviderTest, RunsALargeRequestAFewSequencesAtATime) {
  world_.slots = 2;
  chat::CompletionRequest request = CompletionOf({"a"});
  request.n = 100;
  std::atomic<int> running = 0, most = 0;
  world_.play = [&](FakeSequence& sequence) {
    most = std::max(most.load(), ++running);
    sequence.Push(TextEvent("z"));
    sequence.Push(FinishEvent(FinishReason::kStop));
    --running;
  };
  const Collected out = Complete(request);
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.texts.size(), 100u);
  EXPECT_EQ(
      std::count_if(out.events.begin(), out.events.end(), [](const auto& e) { return e.done; }), 1);
}

TEST_F(LocalProviderTest, WaitsForItsTurnWhenTheQueueFillsUpInBetween) {
  world_.slots = 1;
  std::atomic<int> submits = 0;
  world_.refuse = [&]() -> std::optional<Error> {
    const int number = ++submits;
    return number == 2 || number == 3
               ? std::optional<Error>({ErrorCode::kTooManyRequests, "full", "", 10})
               : std::nullopt;
  };
  chat::CompletionRequest request = CompletionOf({"a", "b"});
  const Collected out = Complete(request);
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.texts.size(), 2u);
  EXPECT_EQ(submits, 4);
}

TEST_F(LocalProviderTest, RefusesBeforeTheFirstByteWhenTheQueueIsFull) {
  world_.refuse = []() -> std::optional<Error> {
    return Error{ErrorCode::kTooManyRequests, "full", "", 1500};
  };
  const Collected out = Chat(ChatOf("hi"));
  ASSERT_TRUE(out.error.has_value());
  EXPECT_EQ(out.error->code, ErrorCode::kTooManyRequests);
  EXPECT_EQ(out.error->retry_after_ms, 1500);
}

TEST_F(LocalProviderTest, NamesThePromptThatDoesNotFitTheContext) {
  world_.context = 10;
  const Collected long_prompt = Complete(CompletionOf({"a", std::string(11, 'b')}));
  ASSERT_TRUE(long_prompt.error.has_value());
  EXPECT_EQ(long_prompt.error->code, ErrorCode::kContextTooLong);
  EXPECT_EQ(long_prompt.error->param, "prompt[0]");  // 1 + 16 tokens are too many as well
  chat::CompletionRequest request = CompletionOf({"a", std::string(10, 'b')});
  request.max_tokens = 1;
  EXPECT_EQ(Complete(request).error->param, "prompt[1]");
  request.max_tokens = 0;
  EXPECT_FALSE(Complete(request).error.has_value());
  request.max_tokens = INT64_MAX;
  EXPECT_EQ(Complete(request).error->code, ErrorCode::kContextTooLong);
  EXPECT_EQ(Chat(ChatOf("long enough")).error->param, "messages");
}

TEST_F(LocalProviderTest, ChecksLogitBiasAgainstTheVocabulary) {
  chat::ChatRequest request = ChatOf("hi");
  request.sampling.logit_bias = {{259, 1.0f}};
  const Collected out = Chat(request);
  ASSERT_TRUE(out.error.has_value());
  EXPECT_EQ(out.error->param, "logit_bias");
  request.sampling.logit_bias = {{258, -100.0f}};
  EXPECT_FALSE(Chat(request).error.has_value());
}

TEST_F(LocalProviderTest, EchoesThePromptWithItsLogprobs) {
  world_.play = [](FakeSequence& sequence) {
    engine::GenerateEvent event = TextEvent("!");
    event.prompt_logprobs.push_back({{'h', 0}, {}, false});
    event.prompt_logprobs.push_back({{'i', -1.5f}, {{'o', -0.5f}}, true});
    event.logprobs.push_back({{0xE2, -2.0f}, {{'!', -0.25f}}, true});
    sequence.Push(std::move(event));
    sequence.Push(FinishEvent(FinishReason::kLength));
  };
  chat::CompletionRequest request = CompletionOf({"hi"});
  request.echo = true;
  request.top_logprobs = 1;
  const Collected out = Complete(request);
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.texts.at(0), "hi!");
  const chat::ChatEvent& first = out.events.front();
  ASSERT_EQ(first.prompt_logprobs.size(), 2u);
  EXPECT_FALSE(first.prompt_logprobs[0].has_value);
  EXPECT_EQ(first.prompt_logprobs[1].token, "i");
  EXPECT_EQ(first.prompt_logprobs[1].logprob, -1.5);
  EXPECT_EQ(first.prompt_logprobs[1].top.at(0).token, "o");
  EXPECT_EQ(first.logprobs.at(0).token, "\xEF\xBF\xBD");
  EXPECT_EQ(first.logprobs.at(0).bytes, "\xE2");
  EXPECT_TRUE(world_.Seen().at(0)->request.prompt_logprobs);
  EXPECT_EQ(world_.Seen().at(0)->request.top_logprobs, 1);
}

TEST_F(LocalProviderTest, KeepsTheOneTokenThatAHarnessDropsEvenWhenItEndsTheTurn) {
  world_.play = [](FakeSequence& sequence) {
    EXPECT_TRUE(sequence.request.ignore_end);
    engine::GenerateEvent event = FinishEvent(FinishReason::kLength);
    event.tokens = {kEnd};
    event.logprobs.push_back({{kEnd, -0.5f}, {}, true});
    sequence.Push(std::move(event));
  };
  chat::CompletionRequest request = CompletionOf({"hi"});
  request.echo = true;
  request.top_logprobs = 1;
  request.max_tokens = 1;
  const Collected out = Complete(request);
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.events.back().logprobs.size(), 1u);
  EXPECT_EQ(out.events.back().finish, chat::FinishReason::kStop);
  EXPECT_TRUE(out.events.back().logprobs[0].bytes.empty());
}

TEST_F(LocalProviderTest, PassesTheEnginesFailureOn) {
  world_.play = [](FakeSequence& sequence) {
    sequence.Push(TextEvent("par"));
    sequence.Push(FinishEvent(FinishReason::kError, "no memory"));
  };
  const Collected out = Chat(ChatOf("hi"));
  ASSERT_TRUE(out.error.has_value());
  EXPECT_EQ(out.error->code, ErrorCode::kInternal);
  EXPECT_NE(out.error->message.find("no memory"), std::string::npos);
  EXPECT_EQ(out.texts.at(0), "par");
}

TEST_F(LocalProviderTest, EndsSoonAfterCancelAndCountsWhatWasUsed) {
  world_.play = [](FakeSequence& sequence) { sequence.Push(TextEvent("abc")); };
  RunTask([&]() -> Task<void> {
    auto stream = co_await Provider().Chat(ChatOf("hi"));
    EXPECT_TRUE(stream.has_value());
    EXPECT_TRUE((co_await (*stream)->Next()).has_value());
    (*stream)->Cancel();
    const auto after = co_await (*stream)->Next();
    EXPECT_FALSE(after.has_value());
    EXPECT_EQ(after.error().code, ErrorCode::kCancelled);
    EXPECT_EQ((*stream)->usage().output_tokens, 3);
    EXPECT_GT((*stream)->usage().input_tokens, 0);
  });
  EXPECT_TRUE(world_.Seen().at(0)->cancelled());
}

TEST_F(LocalProviderTest, WakesFromAnotherThreadAndMergesSequences) {
  world_.play = [](FakeSequence&) {};
  chat::CompletionRequest request = CompletionOf({"a"});
  request.n = 2;
  std::thread feeder([&] {
    EXPECT_TRUE(Eventually([&] { return world_.Seen().size() == 2; }));
    const auto sequences = world_.Seen();
    for (int i = 0; i < 20; ++i) {
      sequences[i % 2]->Push(TextEvent(std::to_string(i % 2)));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    sequences[1]->SetTimes(5, 10, 100);
    sequences[0]->SetTimes(1, 20, 50);
    sequences[1]->Push(FinishEvent(FinishReason::kStop));
    sequences[0]->Push(FinishEvent(FinishReason::kLength));
  });
  const Collected out = Complete(request);
  feeder.join();
  ASSERT_FALSE(out.error.has_value());
  EXPECT_EQ(out.texts.at(0), std::string(10, '0'));
  EXPECT_EQ(out.texts.at(1), std::string(10, '1'));
  const chat::Receipt& receipt = out.events.back().receipt;
  EXPECT_GE(receipt.queue_ms, 1);
  EXPECT_GE(receipt.prefill_ms + receipt.decode_ms, 100);
  EXPECT_EQ(receipt.cost_nanousd, 0);
}

TEST_F(LocalProviderTest, StopsTheEngineWhenTheStreamIsDropped) {
  world_.play = [](FakeSequence&) {};
  RunTask([&]() -> Task<void> {
    auto stream = co_await Provider().Chat(ChatOf("hi"));
    EXPECT_TRUE(stream.has_value());
    EXPECT_EQ(Provider().pool().loaded().at(0).users, 1);
    stream->reset();
  });
  // The worker that prepared the prompt may hold its lease a moment longer.
  EXPECT_TRUE(Eventually([&] { return Provider().pool().loaded().at(0).users == 0; }));
  EXPECT_TRUE(world_.Seen().at(0)->cancelled());
}

TEST_F(LocalProviderTest, NamesTheBuildThatAnswers) {
  RunTask([&]() -> Task<void> {
    auto one = co_await Provider().Chat(ChatOf("hi"));
    auto two = co_await Provider().Chat(ChatOf("ho"));
    EXPECT_TRUE((*one)->fingerprint().starts_with("fp_"));
    EXPECT_EQ((*one)->fingerprint(), (*two)->fingerprint());
  });
}

TEST_F(LocalProviderTest, NamesAnotherBuildWhereItRoundsOtherwise) {
  std::set<std::string> fingerprints;
  for (const auto& [activations, kv_type] :
       {std::pair("i16", "f16"), std::pair("i8", "f16"), std::pair("i16", "q8_0")}) {
    world_.activations = activations;
    world_.kv_type = kv_type;
    provider_.reset();  // as after a restart
    RunTask([&]() -> Task<void> {
      fingerprints.emplace((*co_await Provider().Chat(ChatOf("hi")))->fingerprint());
    });
  }
  EXPECT_EQ(fingerprints.size(), 3u);
}

TEST_F(LocalProviderTest, SharesBeginningsWithinTheCallersScopeOnly) {
  chat::ChatRequest chat = ChatOf("hi");
  chat.cache_scope = "org_1";
  ASSERT_FALSE(Chat(chat).error.has_value());
  chat::CompletionRequest completion = CompletionOf({"hi"});
  completion.cache_scope = "org_2";
  ASSERT_FALSE(Complete(completion).error.has_value());
  EXPECT_EQ(world_.Seen().at(0)->request.cache_scope, "org_1");
  EXPECT_EQ(world_.Seen().at(1)->request.cache_scope, "org_2");
}

TEST_F(LocalProviderTest, TokenizesAsItWouldEvaluate) {
  RunTask([&]() -> Task<void> {
    const auto text = co_await Provider().TokenizeText("m", "a<|im_end|>", true);
    EXPECT_EQ(text->ids, (std::vector<int64_t>{'a', kEnd}));
    EXPECT_EQ(text->texts, (std::vector<std::string>{"a", "<|im_end|>"}));
    EXPECT_EQ(text->context, 256);
    const auto chat = co_await Provider().TokenizeChat("m", ChatOf("<|im_end|>"));
    EXPECT_EQ(std::count(chat->ids.begin(), chat->ids.end(), kEnd), 1);
    EXPECT_EQ(*co_await Provider().Detokenize("m", {'a', kEnd}), "a<|im_end|>");
    EXPECT_EQ((co_await Provider().Detokenize("m", {1000})).error().param, "tokens[0]");
  });
}

}  // namespace
}  // namespace tradewind::providers
