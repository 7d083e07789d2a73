// Who runs and how a step's rows are shared, with a model that always says the same.
#include "engine/scheduler.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>

#include <gtest/gtest.h>

#include "engine/tokenizer/test_vocabularies.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kBlock = limits::kKvBlockPositions;
constexpr KvShape kShape{.layers = 1, .kv_heads = 1, .head_dim = 2, .type = KvType::kF32};

class SchedulerTest : public ::testing::Test {
 protected:
  void Start(int slots, int64_t context = 4096, int64_t blocks = 100'000) {
    scheduler_ =
        std::make_unique<Scheduler>(kShape, SchedulerOptions{slots, context, blocks, true});
    context_ = context;
  }

  static std::vector<TokenId> Ids(int64_t n, int64_t first = 0) {
    std::vector<TokenId> ids(static_cast<size_t>(n));
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<TokenId>((first + static_cast<int64_t>(i) * 7) % 251);
    }
    return ids;
  }

  // A name by which the test calls it.
  void Add(const std::string& name, std::vector<TokenId> prompt, int max_tokens = 1000,
           bool prompt_logprobs = false) {
    GenerateRequest request;
    request.prompt_logprobs = prompt_logprobs;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    auto queue = std::make_shared<EventQueue>([] {});
    auto sequence = std::make_unique<Sequence>(std::move(request), *tokenizer_, queue, Now());
    names_[sequence.get()] = name;
    queues_[name] = std::move(queue);
    scheduler_->Enqueue(std::move(sequence));
  }

  // One step: rows of each sequence. Its consumers read everything, unless they are `slow`.
  std::map<std::string, int64_t> Step(const std::string& slow = {}) {
    scheduler_->EndCancelled(Now());
    scheduler_->Admit(Now());
    engine::Step& step = scheduler_->Plan(Now());
    std::map<std::string, int64_t> rows;
    for (size_t i = 0; i < step.rows.size(); ++i) {
      Sequence& sequence = *step.owners[i].sequence;
      ++rows[names_.at(&sequence)];
      EXPECT_EQ(step.rows[i].position, sequence.evaluated());
      EXPECT_EQ(step.rows[i].token, sequence.tokens()[static_cast<size_t>(sequence.evaluated())]);
      EXPECT_LT(step.rows[i].position / kBlock,
                static_cast<int64_t>(sequence.cache().blocks().size()));
      sequence.Advance(1);
      std::vector<float> logits(256, 0.0f);
      if (step.rows[i].wants_logits && !step.owners[i].is_last) {
        sequence.TakePromptLogits(step.rows[i].position, logits);
      }
      if (step.owners[i].is_last) {
        logits[static_cast<size_t>(sequence.evaluated() % 200)] = 1.0f;
        sequence.TakeLogits(logits, context_, Now());
      }
    }
    scheduler_->RemoveFinished();
    for (auto& [name, queue] : queues_) {
      while (name != slow) {
        const auto event = queue->TryPop();
        if (!event) {
          break;
        }
        finished_[name] = finished_[name] || event->finish.has_value();
        errors_[name] += event->error;
      }
    }
    return rows;
  }

  static Scheduler::TimePoint Now() { return std::chrono::steady_clock::now(); }

  std::unique_ptr<Tokenizer> tokenizer_ = testing::Load(testing::ByteVocabulary().ByteLevel());
  std::unique_ptr<Scheduler> scheduler_;
  int64_t context_ = 0;
  std::map<const Sequence*, std::string> names_;
  std::map<std::string, std::shared_ptr<EventQueue>> queues_;
  std::map<std::string, bool> finished_;
  std::map<std::string, std::string> errors_;
};

TEST_F(SchedulerTest, APromptAloneFillsTheSteps) {
  Start(4);
  Add("a", Ids(600));
  EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"a", 256}}));
  EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"a", 256}}));
  EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"a", 88}}));
  EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"a", 1}}));
}

TEST_F(SchedulerTest, ALongPromptDelaysEveryTokenOfOthersByABoundedNumberOfRows) {
  Start(8);
  for (const char* name : {"a", "b", "c"}) {
    Add(name, Ids(5, name[0]));
  }
  Step();
  Add("long", Ids(2000));
  int steps = 0;
  for (int64_t evaluated = 0; evaluated < 2000; ++steps) {
    auto rows = Step();
    for (const char* name : {"a", "b", "c"}) {
      ASSERT_EQ(rows[name], 1) << "step " << steps;
    }
    ASSERT_LE(rows["long"], limits::kPrefillRowsBesideDecodes);
    evaluated += rows["long"];
  }
  EXPECT_EQ(steps,
            (2000 + limits::kPrefillRowsBesideDecodes - 1) / limits::kPrefillRowsBesideDecodes);
}

TEST_F(SchedulerTest, TwoPromptsShareTheRowsEvenly) {
  Start(4);
  Add("a", Ids(1000));
  Add("b", Ids(1000, 1));
  EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"a", 128}, {"b", 128}}));
  Add("c", Ids(1, 2));
  Step();
  EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"a", 32}, {"b", 32}, {"c", 1}}));
}

TEST_F(SchedulerTest, WhatAShortPromptDoesNotNeedGoesToTheLongOnesWhicheverCameFirst) {
  for (const bool short_first : {true, false}) {
    Start(4);
    Add(short_first ? "short" : "long", Ids(short_first ? 10 : 1000));
    Add(short_first ? "long" : "short", Ids(short_first ? 1000 : 10, 1));
    EXPECT_EQ(Step(), (std::map<std::string, int64_t>{{"short", 10}, {"long", 246}}));
  }
}

TEST_F(SchedulerTest, PromptsThatAreTooManyForAStepTakeTurns) {
  Start(16);
  Add("decodes", Ids(1));
  Step();
  std::map<std::string, int64_t> total;
  for (int i = 0; i < 10; ++i) {
    Add("p" + std::to_string(i), Ids(900, i));
  }
  for (int step = 0; step < 100; ++step) {
    auto rows = Step();
    ASSERT_EQ(rows["decodes"], 1);
    for (int i = 0; i < 10; ++i) {
      total["p" + std::to_string(i)] += rows["p" + std::to_string(i)];
    }
  }
  for (const auto& [name, rows] : total) {
    EXPECT_EQ(rows, 640) << name;  // 100 steps of 64 rows for 10
  }
}

TEST_F(SchedulerTest, ASequenceIsAdmittedWhenItsPromptHasRoomAndNobodyOvertakesIt) {
  Start(8, 10 * kBlock, 12);
  Add("first", Ids(6 * kBlock), 20);
  Step();
  Add("large", Ids(7 * kBlock, 1), 5);
  Add("small", Ids(3, 2), 5);
  while (!finished_["first"]) {
    const auto rows = Step();
    EXPECT_EQ(rows.size(), 1u);
    EXPECT_LE(scheduler_->pool().blocks_used(), 12);
  }
  const auto rows = Step();
  EXPECT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows.contains("large") && rows.contains("small"));
}

TEST_F(SchedulerTest, ASequenceThatDoesNotFitIsNotLookedUpInEveryStep) {
  Start(8, 10 * kBlock, 12);
  Add("first", Ids(6 * kBlock), 20);
  Step();
  Add("large", Ids(7 * kBlock, 1), 5);
  Step();
  const uint64_t tries = scheduler_->tries_total();
  while (!finished_["first"]) {
    ASSERT_FALSE(Step().empty());
  }
  EXPECT_EQ(scheduler_->tries_total(), tries);
  EXPECT_TRUE(Step().contains("large"));
}

TEST_F(SchedulerTest, ASequenceThatDoesNotFitBeginsWhenItsBeginningHasBeenEvaluated) {
  Start(4, 10 * kBlock, 13);
  Add("a", Ids(9 * kBlock), 20);
  Add("alike", Ids(9 * kBlock), 5);
  Step();
  EXPECT_EQ(scheduler_->running(), 1);  // two such prompts have no room beside each other
  Step();
  Step();
  EXPECT_EQ(scheduler_->running(), 2);
  EXPECT_FALSE(finished_["a"]);
}

TEST_F(SchedulerTest, WhenMemoryRunsDryTheYoungestWaitsAndTheOldestGetsOn) {
  Start(4, 8 * kBlock, 9);
  Add("old", Ids(2 * kBlock), 1000);
  Add("young", Ids(2 * kBlock, 1), 1000);
  int old_rows = 0;
  while (!finished_["old"]) {
    const auto rows = Step();
    ASSERT_TRUE(rows.contains("old"));
    ASSERT_LE(scheduler_->pool().blocks_used(), 9);
    ++old_rows;
  }
  EXPECT_EQ(old_rows, 1 + 6 * kBlock - 1);  // its prompt in one step, and a step for every token
  EXPECT_EQ(scheduler_->requeued_total(), 1u);
  while (!finished_["young"]) {
    ASSERT_FALSE(Step().empty());
  }
}

TEST_F(SchedulerTest, WhoWasPutBackKeepsItsPlaceBeforeThoseThatCameLater) {
  Start(4, 8 * kBlock, 9);
  Add("a", Ids(2 * kBlock), 1000);
  Add("b", Ids(2 * kBlock, 1), 1000);
  while (scheduler_->requeued_total() == 0) {
    Step();
  }
  Add("c", Ids(4, 2), 1000);
  while (!finished_["a"]) {
    ASSERT_FALSE(Step().contains("c"));
  }
  EXPECT_TRUE(Step().contains("b"));
}

// One that evaluates a known beginning again, for its log-probabilities, hands its own blocks on.
TEST_F(SchedulerTest, ASequenceAloneHasTheWholePoolThoughItsBeginningIsKnownTwice) {
  Start(4, 8 * kBlock, 8);
  Add("first", Ids(kBlock + 1), 1);
  while (!finished_["first"]) {
    ASSERT_FALSE(Step().empty());
  }
  Add("again", Ids(2 * kBlock + 1), 8, true);
  Step();
  Add("next", Ids(2 * kBlock + 2));
  while (!finished_["next"]) {
    ASSERT_FALSE(Step().empty());
  }
  EXPECT_TRUE(finished_["again"]);
  EXPECT_EQ(errors_["next"], "");
}

TEST_F(SchedulerTest, APromptThatIsJustBeingEvaluatedIsWaitedFor) {
  Start(4);
  Add("a", Ids(1000));
  auto alike = Ids(1000);
  alike.resize(600);
  alike.insert(alike.end(), 300, TokenId{250});
  Add("b", alike);
  for (int step = 0; step < 3; ++step) {
    EXPECT_FALSE(Step().contains("b"));
  }
  const auto rows = Step();  // a has passed position 600
  EXPECT_EQ(rows.at("a") + rows.at("b"), 256);
  Step();
  EXPECT_EQ(scheduler_->cached_tokens_total(), 600u);
}

TEST_F(SchedulerTest, AnotherPromptTakesOverWhenTheOneWaitedForIsCancelled) {
  Start(4);
  for (const char* name : {"a", "b", "c"}) {
    Add(name, Ids(1000), 1);
  }
  Step();
  queues_["a"]->Cancel();
  int64_t rows = 256;
  while (!finished_["b"] || !finished_["c"]) {
    for (const auto& [name, count] : Step()) {
      rows += count;
    }
  }
  EXPECT_EQ(rows, 1000 + 1);
}

TEST_F(SchedulerTest, AShortCommonBeginningIsNotWorthWaitingFor) {
  Start(4);
  Add("a", Ids(500));
  auto other = Ids(500);
  other[10] = 250;
  Add("b", other);
  EXPECT_EQ(Step().size(), 2u);
}

TEST_F(SchedulerTest, ASlowConsumerHoldsUpNobodyWhoWaitsForItsPrompt) {
  Start(4, 4096, 100'000);
  Add("slow", Ids(40));
  for (int i = 0; i < 200; ++i) {
    Step("slow");  // its queue fills up
  }
  Add("next", Ids(40), 3);
  for (int i = 0; i < 5; ++i) {
    Step("slow");
  }
  EXPECT_TRUE(finished_["next"]);
}

TEST_F(SchedulerTest, ASlowConsumerWhoseSequenceWasPutBackHoldsUpNobodyEither) {
  Start(4, 16 * kBlock, 16);
  Add("old", Ids(2 * kBlock));
  Add("slow", Ids(2 * kBlock, 1));
  while (!finished_["old"]) {
    ASSERT_FALSE(Step("slow").empty());
  }
  ASSERT_EQ(scheduler_->requeued_total(), 1u);
  ASSERT_TRUE(queues_["slow"]->full());
  Step("slow");  // it has its slot again, and must evaluate its prompt again once it is read
  ASSERT_EQ(scheduler_->running(), 1);
  Add("next", Ids(2 * kBlock, 1), 3);
  for (int i = 0; i < 5; ++i) {
    Step("slow");
  }
  EXPECT_TRUE(finished_["next"]);
}

}  // namespace
}  // namespace tradewind::engine
