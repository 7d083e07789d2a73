// Sequences that begin alike: what is evaluated once, what is said, and what memory bounds.
#include <algorithm>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/test_engine.h"

namespace tradewind::engine {
namespace {

class PrefixReuseTest : public EngineTest {
 protected:
  static std::vector<TokenId> Ids(size_t n, uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::vector<TokenId> ids(n);
    std::ranges::generate(ids, [&] { return static_cast<TokenId>(random() % 256); });
    return ids;
  }
  static std::vector<TokenId> Join(std::vector<TokenId> a, const std::vector<TokenId>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }
  static GenerateRequest WithLogprobs(GenerateRequest request) {
    request.top_logprobs = 2;
    return request;
  }
  static void ExpectSame(const Answer& got, const Answer& want) {
    EXPECT_EQ(got.tokens, want.tokens);
    EXPECT_EQ(got.text, want.text);
    EXPECT_EQ(got.finish, want.finish);
    ASSERT_EQ(got.logprobs.size(), want.logprobs.size());
    for (size_t i = 0; i < got.logprobs.size(); ++i) {
      ASSERT_EQ(got.logprobs[i].chosen.logprob, want.logprobs[i].chosen.logprob) << i;
      ASSERT_EQ(got.logprobs[i].top[1].logprob, want.logprobs[i].top[1].logprob) << i;
    }
    ASSERT_EQ(got.prompt_logprobs.size(), want.prompt_logprobs.size());
    for (size_t i = 0; i < got.prompt_logprobs.size(); ++i) {
      ASSERT_EQ(got.prompt_logprobs[i].chosen.logprob, want.prompt_logprobs[i].chosen.logprob);
    }
  }
};

TEST_F(PrefixReuseTest, ASecondMessageEvaluatesItsNewTokensOnly) {
  auto engine = Load();
  const auto first = Ids(100);
  const Answer answer = Run(*engine, Request(first, 30));
  EXPECT_EQ(answer.stats.cached_tokens, 0);
  const auto second = Join(Join(first, answer.tokens), Ids(10, 2));
  const uint64_t evaluated = engine->stats().prompt_tokens_total;
  const Answer next = Run(*engine, Request(second, 5));
  // The last token that was sampled has no keys and values yet.
  EXPECT_EQ(next.stats.cached_tokens, 129);
  EXPECT_EQ(engine->stats().prompt_tokens_total - evaluated, 11u);
  EXPECT_EQ(engine->stats().cached_tokens_total, 129u);
}

TEST_F(PrefixReuseTest, TheSamePromptAgainEvaluatesItsLastTokenOnly) {
  auto engine = Load();
  const auto prompt = Ids(96);
  Run(*engine, Request(prompt, 3));
  EXPECT_EQ(Run(*engine, Request(prompt, 3)).stats.cached_tokens, 95);
}

TEST_F(PrefixReuseTest, AnswersAreTheSameBitsWithAndWithoutReuse) {
  for (const KvType type : {KvType::kF16, KvType::kF32, KvType::kQ8_0}) {
    EngineOptions options;
    options.kv_type = type;
    auto reusing = Load(options);
    options.prefix_cache = false;
    auto plain = Load(options);
    std::mt19937 random(5);
    std::vector<std::vector<TokenId>> conversations = {Ids(40)};
    for (uint64_t turn = 0; turn < 25; ++turn) {
      // Goes on from some conversation, at any place in it.
      const auto& from = conversations[random() % conversations.size()];
      const auto keep = static_cast<long>(random() % from.size());
      const auto prompt = Join({from.begin(), from.begin() + keep},
                               Ids(1 + random() % 50, static_cast<uint32_t>(turn)));
      if (prompt.size() > 200) {
        continue;
      }
      const auto request = WithLogprobs(Request(prompt, 20, turn));
      const Answer got = Run(*reusing, request);
      ExpectSame(got, Run(*plain, request));
      conversations.push_back(Join(prompt, got.tokens));
    }
    EXPECT_GT(reusing->stats().cached_tokens_total, 400u);
    EXPECT_EQ(plain->stats().cached_tokens_total, 0u);
    EXPECT_EQ(plain->stats().kv_bytes_idle, 0);
  }
}

TEST_F(PrefixReuseTest, TheChoicesOfARequestEvaluateItsPromptOnce) {
  auto engine = Load();
  const auto prompt = Ids(200);
  std::vector<GenerateRequest> requests;
  for (uint64_t choice = 0; choice < 5; ++choice) {
    requests.push_back(WithLogprobs(Request(prompt, 20, choice)));
  }
  auto generations = engine->Submit(requests);
  ASSERT_TRUE(generations);
  std::vector<Answer> answers;
  for (auto& generation : *generations) {
    answers.push_back(Collect(*generation));
  }
  EXPECT_EQ(engine->stats().prompt_tokens_total, 200u + 4);
  EXPECT_EQ(answers[0].stats.cached_tokens, 0);
  EngineOptions options;
  options.prefix_cache = false;
  auto plain = Load(options);
  for (uint64_t choice = 0; choice < 5; ++choice) {
    ExpectSame(answers[choice], Run(*plain, requests[choice]));
    EXPECT_TRUE(choice == 0 || answers[choice].stats.cached_tokens == 199);
  }
}

TEST_F(PrefixReuseTest, ChoicesGoOnWhenTheOneThatEvaluatesTheirPromptIsCancelled) {
  auto engine = Load();
  auto generations = engine->Submit(std::vector<GenerateRequest>(4, Request(Ids(250), 3)));
  ASSERT_TRUE(generations);
  (*generations)[0]->Cancel();
  (*generations)[1]->Cancel();
  EXPECT_EQ(Collect(*(*generations)[2]).tokens.size(), 3u);
  EXPECT_EQ(Collect(*(*generations)[3]).tokens.size(), 3u);
}

TEST_F(PrefixReuseTest, ScopesShareNothing) {
  auto engine = Load();
  GenerateRequest request = Request(Ids(100), 3);
  request.cache_scope = "alice";
  Run(*engine, request);
  request.cache_scope = "bob";
  EXPECT_EQ(Run(*engine, request).stats.cached_tokens, 0);
  request.cache_scope = "alice";
  EXPECT_EQ(Run(*engine, request).stats.cached_tokens, 99);
  std::vector<GenerateRequest> together(2, Request(Ids(100, 9), 3));
  together[0].cache_scope = "alice";
  together[1].cache_scope = "bob";
  auto generations = engine->Submit(together);
  EXPECT_EQ(Collect(*(*generations)[0]).stats.cached_tokens, 0);
  EXPECT_EQ(Collect(*(*generations)[1]).stats.cached_tokens, 0);
}

TEST_F(PrefixReuseTest, ARequestForPromptLogprobsEvaluatesEveryToken) {
  auto engine = Load();
  const auto prompt = Ids(120);
  Run(*engine, Request(prompt, 3));
  GenerateRequest request = WithLogprobs(Request(prompt, 3));
  request.prompt_logprobs = true;
  const Answer got = Run(*engine, request);
  EXPECT_EQ(got.stats.cached_tokens, 0);
  EXPECT_EQ(got.prompt_logprobs.size(), 120u);
  EXPECT_EQ(Run(*engine, Request(prompt, 3)).stats.cached_tokens, 119);
}

// Memory for one context and a half; eight sequences that want most of one each.
TEST_F(PrefixReuseTest, WhenMemoryIsShortSequencesTakeTurnsAndSayTheSame) {
  EngineOptions options;
  options.slots = 8;
  auto roomy = Load(options);
  const int64_t block_bytes = roomy->info().kv_bytes_per_token * 32;
  options.kv_bytes = 12 * block_bytes;
  for (const bool prefix_cache : {true, false}) {
    options.prefix_cache = prefix_cache;
    auto tight = Load(options);
    std::vector<GenerateRequest> requests;
    for (uint32_t i = 0; i < 8; ++i) {
      requests.push_back(WithLogprobs(Request(Ids(30 + 10 * i, i), 150, i)));
      requests.back().prompt_logprobs = i % 2 == 0;
    }
    auto running = tight->Submit(requests);
    ASSERT_TRUE(running);
    EXPECT_EQ(tight->stats().kv_bytes_max, options.kv_bytes);
    for (size_t i = 0; i < requests.size(); ++i) {
      ExpectSame(Collect(*(*running)[i]), Run(*roomy, requests[i]));
      const EngineStats stats = tight->stats();
      EXPECT_LE(stats.kv_bytes + stats.kv_bytes_idle, stats.kv_bytes_max);
    }
    EXPECT_GT(tight->stats().requeued_total, 0u);
    EXPECT_EQ(roomy->stats().requeued_total, 0u);
  }
}

TEST_F(PrefixReuseTest, EndedSequencesMakeRoomForRunningOnes) {
  EngineOptions options;
  options.slots = 1;
  const int64_t block_bytes = Load()->info().kv_bytes_per_token * 32;
  options.kv_bytes = 8 * block_bytes;
  auto engine = Load(options);
  for (uint32_t i = 0; i < 12; ++i) {
    const Answer answer = Run(*engine, Request(Ids(100 + 10 * i, i), -1, i));
    EXPECT_EQ(answer.finish, FinishReason::kLength);
    EXPECT_EQ(answer.tokens.size(), 256 - (100 + 10 * i));
  }
  EXPECT_EQ(engine->stats().requeued_total, 0u);
}

TEST_F(PrefixReuseTest, LessMemoryThanOneContextIsRefusedAtLoad) {
  const auto path = dir_.path() / "tiny.gguf";
  std::ofstream(path, std::ios::binary) << TinyModel();
  EngineOptions options;
  options.kv_bytes = 1000;
  const auto engine = Engine::Load(path, options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(engine.error().param, "kv-memory");
}

}  // namespace
}  // namespace tradewind::engine
