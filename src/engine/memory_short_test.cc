// An allocation that fails, wherever it is: sequences end and say why, and the engine goes on.
#include <cstdlib>
#include <map>
#include <new>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "engine/scheduler.h"
#include "engine/test_engine.h"
#include "engine/tokenizer/test_vocabularies.h"

// ThreadSanitizer brings its own operator new and allows no other.
#if !__has_feature(thread_sanitizer)

namespace {

// Allocations of this thread until one fails, once; below 0: none does.
thread_local int64_t allocations_left = -1;

}  // namespace

void* operator new(size_t size) {
  void* const p = allocations_left == 0 ? nullptr : std::malloc(size);
  allocations_left -= allocations_left >= 0 ? 1 : 0;
  if (p == nullptr) {
    throw std::bad_alloc();
  }
  return p;
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace tradewind::engine {
namespace {

constexpr int64_t kBlock = limits::kKvBlockPositions;
constexpr int64_t kContext = 6 * kBlock;
constexpr KvShape kShape{.layers = 1, .kv_heads = 1, .head_dim = 2, .type = KvType::kF32};

// Sequences that wait for each other's beginnings, are put back, cancelled, and end.
class ShortScheduler {
 public:
  explicit ShortScheduler(const Tokenizer& tokenizer) {
    const std::vector<TokenId> alike(40, 7);
    Add(tokenizer, std::vector<TokenId>(2 * kBlock, 65), 1000, false);
    Add(tokenizer, alike, 70, true);
    Add(tokenizer, alike, 3, false);
    Add(tokenizer, alike, 3, false);
    queues_.back()->Cancel();
  }

  // What the engine's loop does. False when an allocation failed.
  bool Step() {
    const auto now = std::chrono::steady_clock::now();
    try {
      for (auto& sequence : arrivals_) {
        if (sequence != nullptr) {
          scheduler_.Enqueue(std::move(sequence));
        }
      }
      arrivals_.clear();
      scheduler_.EndCancelled(now);
      scheduler_.Admit(now);
      const engine::Step& step = scheduler_.Plan(now);
      for (size_t i = 0; i < step.rows.size(); ++i) {
        Sequence& sequence = *step.owners[i].sequence;
        sequence.Advance(1);
        std::ranges::fill(logits_, 0.0f);
        logits_[65] = 1.0f;
        if (step.owners[i].is_last) {
          sequence.TakeLogits(logits_, kContext, now);
        } else if (step.rows[i].wants_logits) {
          sequence.TakePromptLogits(step.rows[i].position, logits_);
        }
      }
      scheduler_.RemoveFinished();
      return true;
    } catch (const std::bad_alloc&) {
      scheduler_.FailRunning("short", now);
      return false;
    }
  }
  bool done() const {
    return arrivals_.empty() && scheduler_.running() + scheduler_.waiting() == 0;
  }
  uint64_t requeued() const { return scheduler_.requeued_total(); }
  int64_t blocks_in_use() const {
    return scheduler_.pool().blocks_used() - scheduler_.pool().blocks_idle();
  }
  void Read() {
    for (auto& queue : queues_) {
      while (const auto event = queue->TryPop()) {
        ends_[queue.get()] += event->finish.has_value() ? 1 : 0;
      }
    }
  }
  // Each sequence has said once that it ended.
  bool all_ended_once() const {
    return std::ranges::all_of(queues_, [&](const auto& queue) {
      const auto ends = ends_.find(queue.get());
      return ends != ends_.end() && ends->second == 1;
    });
  }

 private:
  void Add(const Tokenizer& tokenizer, std::vector<TokenId> prompt, int max_tokens,
           bool prompt_logprobs) {
    GenerateRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.prompt_logprobs = prompt_logprobs;
    request.sampling.temperature = 0;
    queues_.push_back(std::make_shared<EventQueue>([] {}));
    arrivals_.push_back(std::make_unique<Sequence>(std::move(request), tokenizer, queues_.back(),
                                                   std::chrono::steady_clock::now()));
  }

  Scheduler scheduler_{kShape, SchedulerOptions{3, kContext, 8, true}};
  std::vector<std::shared_ptr<EventQueue>> queues_;
  std::map<const EventQueue*, int> ends_;
  std::vector<std::unique_ptr<Sequence>> arrivals_;
  std::vector<float> logits_ = std::vector<float>(256);
};

TEST(MemoryShort, WhicheverAllocationOfTheSchedulerFailsEverySequenceEndsOnce) {
  const auto tokenizer = testing::Load(testing::ByteVocabulary().ByteLevel());
  bool failed = true;
  uint64_t requeued = 0;
  for (int64_t n = 0; failed; ++n) {
    ShortScheduler scheduler(*tokenizer);
    failed = false;
    int64_t left = n;
    for (int steps = 0; !scheduler.done() && steps < 2000; ++steps) {
      allocations_left = left;
      failed = !scheduler.Step() || failed;
      left = std::exchange(allocations_left, -1);
      scheduler.Read();
    }
    ASSERT_TRUE(scheduler.all_ended_once()) << "allocation " << n;
    ASSERT_EQ(scheduler.blocks_in_use(), 0) << "allocation " << n;
    requeued = scheduler.requeued();
  }
  EXPECT_GT(requeued, 0u);  // the last round, in which nothing failed, went everywhere
}

class MemoryShortEngine : public EngineTest {};

TEST_F(MemoryShortEngine, WhicheverAllocationOfTheEnginesThreadFailsItGoesOn) {
  auto engine = Load();
  int errors = 0;
  for (int64_t n = 0; n < 100; ++n) {
    auto generation = Start(*engine, Request({1, 2, static_cast<TokenId>(n)}, 100));
    const auto consumer = std::this_thread::get_id();
    generation->SetOnReady([n, consumer, once = false]() mutable {
      if (!once && std::this_thread::get_id() != consumer) {
        once = true;
        allocations_left = n;
      }
    });
    // The one, or else the one after it, meets the allocation; nobody else does.
    int failed = 0;
    for (const Answer& answer :
         {Collect(*generation), Run(*engine, Request({9}, 30)), Run(*engine, Request({9}, 30))}) {
      failed += answer.finish == FinishReason::kError ? 1 : 0;
      EXPECT_EQ(answer.error.contains("out of memory"), answer.finish == FinishReason::kError);
    }
    EXPECT_LE(failed, 1) << "allocation " << n;
    errors += failed;
  }
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace tradewind::engine

#endif
