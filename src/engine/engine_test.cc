// Admission, batching, streaming and endings, on a tiny random model with a byte-level vocabulary.
#include "engine/engine.h"

#include <algorithm>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "base/utf8.h"
#include "engine/test_engine.h"

namespace tradewind::engine {
namespace {

TEST_F(EngineTest, TheSameSeedGivesTheSameAnswerAloneOrAmongMany) {
  auto engine = Load();
  std::vector<Answer> alone;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    alone.push_back(Run(*engine, Request({1, 2, static_cast<TokenId>(seed)}, 40, seed)));
  }
  std::vector<GenerateRequest> requests;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    requests.push_back(Request({1, 2, static_cast<TokenId>(seed)}, 40, seed));
  }
  auto together = engine->Submit(std::move(requests));
  ASSERT_TRUE(together);
  for (size_t i = 0; i < 6; ++i) {
    const Answer answer = Collect(*(*together)[i]);
    EXPECT_EQ(answer.tokens, alone[i].tokens);
    EXPECT_EQ(answer.text, alone[i].text);
    EXPECT_EQ(answer.finish, FinishReason::kLength);
  }
}

TEST_F(EngineTest, TextIsCompleteUtf8AndEqualsTheTokens) {
  auto engine = Load();
  auto generation = Start(*engine, Request({5}, 200, 3));
  std::vector<TokenId> tokens;
  std::string text;
  for (;;) {
    const GenerateEvent event = generation->Next();
    EXPECT_TRUE(IsValidUtf8(event.text));
    text += event.text;
    tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
    if (event.finish) {
      break;
    }
  }
  EXPECT_EQ(tokens.size(), 200u);
  EXPECT_EQ(text, ReplaceInvalidUtf8(engine->tokenizer().Decode(tokens)));
}

TEST_F(EngineTest, AStopStringEndsTheTextBeforeIt) {
  auto engine = Load();
  const Answer whole = Run(*engine, Request({7, 8}, 60, 5));
  ASSERT_GT(whole.text.size(), 20u);
  // A stop string of two whole characters out of the middle of what it says.
  size_t at = whole.text.size() / 2;
  while ((static_cast<unsigned char>(whole.text[at]) & 0xC0) == 0x80) {
    ++at;
  }
  size_t end = at + 1;
  while (end < whole.text.size() && (static_cast<unsigned char>(whole.text[end]) & 0xC0) == 0x80) {
    ++end;
  }
  const std::string stop = whole.text.substr(at, end - at);
  GenerateRequest request = Request({7, 8}, 60, 5);
  request.stop = {stop};
  const Answer stopped = Run(*engine, request);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_LE(stopped.tokens.size(), whole.tokens.size());
  EXPECT_TRUE(std::equal(stopped.tokens.begin(), stopped.tokens.end(), whole.tokens.begin()));
}

TEST_F(EngineTest, AnEndTokenEndsTheAnswerAndIsNotPartOfIt) {
  auto engine = Load();
  GenerateRequest request = Request({1}, 50);
  request.ignore_end = false;
  request.sampling.logit_bias = {{kEnd, 100.0f}};
  auto generation = Start(*engine, request);
  const Answer answer = Collect(*generation);
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.text, "");
  EXPECT_TRUE(answer.tokens.empty());
  EXPECT_EQ(generation->stats().output_tokens, 1);
}

TEST_F(EngineTest, PromptLogprobsEqualThoseOfDecodingTheSameTokens) {
  auto engine = Load();
  const std::vector<TokenId> ids = [] {
    std::vector<TokenId> v;
    for (int i = 0; i < 150; ++i) {  // longer than one step's logit rows
      v.push_back(static_cast<TokenId>((i * 37) % 256));
    }
    return v;
  }();
  GenerateRequest request = Request(ids, 0);
  request.prompt_logprobs = true;
  request.top_logprobs = 3;
  const Answer answer = Run(*engine, request);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  ASSERT_EQ(answer.prompt_logprobs.size(), ids.size());
  EXPECT_FALSE(answer.prompt_logprobs[0].has_value);
  for (size_t i = 1; i < ids.size(); i += 29) {
    GenerateRequest one = Request({ids.begin(), ids.begin() + static_cast<long>(i)}, 1);
    one.top_logprobs = 0;
    one.sampling.logit_bias = {
        {ids[i], 100.0f}};  // forces the token; its log-probability is of the raw logits
    const Answer forced = Run(*engine, one);
    ASSERT_EQ(forced.tokens, std::vector<TokenId>{ids[i]});
    EXPECT_EQ(forced.logprobs[0].chosen.logprob, answer.prompt_logprobs[i].chosen.logprob);
    EXPECT_EQ(answer.prompt_logprobs[i].top.size(), 3u);
  }
}

TEST_F(EngineTest, RefusesWhatDoesNotFitTheContextAndSaysBothNumbers) {
  auto engine = Load();
  EXPECT_EQ(engine->info().context, 256);
  const auto too_long = engine->Submit({Request(std::vector<TokenId>(200, 1), 100)});
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, ErrorCode::kContextTooLong);
  EXPECT_NE(too_long.error().message.find("256"), std::string::npos);
  EXPECT_NE(too_long.error().message.find("200"), std::string::npos);
  EXPECT_EQ(engine->Submit({Request(std::vector<TokenId>(256, 1), -1)}).error().code,
            ErrorCode::kContextTooLong);
  EXPECT_EQ(engine->Submit({Request({}, 1)}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(engine->Submit({Request({kVocab}, 1)}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(engine->Submit({Request({-1}, 1)}).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(EngineTest, WithoutABoundAnAnswerEndsWhereTheContextDoes) {
  auto engine = Load();
  const Answer answer = Run(*engine, Request(std::vector<TokenId>(200, 1), -1));
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  EXPECT_EQ(answer.tokens.size(), 56u);
}

TEST_F(EngineTest, ManyMoreThanTheSlotsAllFinishAndTheQueueIsBounded) {
  EngineOptions options;
  options.slots = 3;
  options.queue = 5;
  auto engine = Load(options);
  std::vector<std::unique_ptr<Generation>> running;
  int refused = 0;
  for (int i = 0; i < 40; ++i) {
    auto generations =
        engine->Submit({Request({static_cast<TokenId>(i)}, 150, static_cast<uint64_t>(i))});
    if (generations) {
      running.push_back(std::move((*generations)[0]));
    } else {
      EXPECT_EQ(generations.error().code, ErrorCode::kTooManyRequests);
      EXPECT_GT(generations.error().retry_after_ms.value_or(0), 0);
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GE(running.size(), 8u);
  for (auto& generation : running) {
    EXPECT_EQ(Collect(*generation).tokens.size(), 150u);
  }
  EXPECT_EQ(engine->stats().refused_total, static_cast<uint64_t>(refused));
}

TEST_F(EngineTest, TheChoicesOfOneRequestGoInTogetherOrNotAtAll) {
  EngineOptions options;
  options.slots = 1;
  options.queue = 2;
  auto engine = Load(options);
  std::vector<GenerateRequest> four(4, Request({1}, 5));
  EXPECT_EQ(engine->Submit(four).error().code, ErrorCode::kTooManyRequests);
  EXPECT_EQ(engine->stats().sequences_total, 0u);
}

TEST_F(EngineTest, ACancelledSequenceFreesItsSlotForTheNext) {
  EngineOptions options;
  options.slots = 1;
  auto engine = Load(options);
  auto first = Start(*engine, Request({1}, 250));
  auto second = Start(*engine, Request({2}, 3));
  first->Next();  // it runs
  first->Cancel();
  EXPECT_EQ(Collect(*second).tokens.size(), 3u);
  EXPECT_EQ(Collect(*first).finish, FinishReason::kCancelled);
  EXPECT_EQ(engine->stats().cancelled_total, 1u);
}

TEST_F(EngineTest, DroppingTheHandleCancels) {
  EngineOptions options;
  options.slots = 1;
  auto engine = Load(options);
  Start(*engine, Request({1}, 250)).reset();
  EXPECT_EQ(Run(*engine, Request({2}, 3)).tokens.size(), 3u);
}

TEST_F(EngineTest, ASlowConsumerPausesItsOwnSequenceOnly) {
  EngineOptions options;
  options.slots = 2;
  auto engine = Load(options);
  auto slow = Start(*engine, Request({1}, 240));
  for (int i = 0; i < 5; ++i) {  // others finish though nobody reads the first
    EXPECT_EQ(Run(*engine, Request({2}, 200, static_cast<uint64_t>(i))).tokens.size(), 200u);
  }
  EXPECT_LT(slow->stats().output_tokens, 240);
  EXPECT_EQ(Collect(*slow).tokens.size(), 240u);
}

TEST_F(EngineTest, OnReadyIsCalledForWhatWaitsAndWhatComes) {
  auto engine = Load();
  auto generation = Start(*engine, Request({1}, 30));
  std::mutex mutex;
  std::condition_variable condition;
  int calls = 0;
  generation->SetOnReady([&] {
    const std::lock_guard lock(mutex);
    ++calls;
    condition.notify_one();
  });
  size_t tokens = 0;
  for (bool done = false; !done;) {
    {
      std::unique_lock lock(mutex);
      condition.wait(lock, [&] { return calls > 0; });
      calls = 0;
    }
    while (auto event = generation->TryNext()) {
      tokens += event->tokens.size();
      done = done || event->finish.has_value();
    }
  }
  EXPECT_EQ(tokens, 30u);
  generation->SetOnReady({});
}

TEST_F(EngineTest, DrainRefusesNewWorkAndFinishesTheOld) {
  auto engine = Load();
  auto running = Start(*engine, Request({1}, 100));
  engine->Drain();
  EXPECT_EQ(engine->Submit({Request({1}, 1)}).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(Collect(*running).tokens.size(), 100u);
}

TEST_F(EngineTest, AnEngineThatGoesAwayEndsItsSequences) {
  auto engine = Load();
  auto generation = Start(*engine, Request({1}, 250));
  engine.reset();
  EXPECT_EQ(Collect(*generation).finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, SubmittingAndCancellingFromManyThreadsLosesNothing) {
  EngineOptions options;
  options.slots = 4;
  options.queue = 200;
  auto engine = Load(options);
  std::atomic<int> finished{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        auto generation =
            Start(*engine, Request({static_cast<TokenId>(t)}, 20, static_cast<uint64_t>(i)));
        if (i % 3 == 0) {
          generation->Cancel();
        }
        Collect(*generation);
        ++finished;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(finished.load(), 80);
}

TEST(EngineLoad, SaysWhatIsWrongWithAFileOrAnOption) {
  const testing::TempDir dir;
  const auto path = dir.path() / "m.gguf";
  EXPECT_EQ(Engine::Load(path, {}).error().code, ErrorCode::kNotFound);
  std::ofstream(path, std::ios::binary) << TinyModel().substr(0, 3000);
  const auto truncated = Engine::Load(path, {});
  ASSERT_FALSE(truncated);
  EXPECT_EQ(truncated.error().code, ErrorCode::kCorruptFile);
  EXPECT_NE(truncated.error().message.find("m.gguf"), std::string::npos);
  std::ofstream(path, std::ios::binary) << TinyModel();
  EngineOptions options;
  options.slots = 0;
  const auto no_slots = Engine::Load(path, options);
  ASSERT_FALSE(no_slots);
  EXPECT_EQ(no_slots.error().param, "slots");
}

}  // namespace
}  // namespace tradewind::engine
