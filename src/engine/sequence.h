// A sequence inside the engine: what the engine's thread knows of it, and the queue through which
// its consumer hears.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/cache/kv_cache.h"
#include "engine/engine.h"
#include "engine/stop_matcher.h"
#include "engine/tokenizer/detokenizer.h"

namespace tradewind::engine {

// The hand-over between the engine's thread and one consumer. Bounded: the engine looks at full()
// before it runs a step.
class EventQueue {
 public:
  // `on_space` is called (any thread) when a full queue gets room or the consumer cancels: it wakes
  // the engine.
  explicit EventQueue(std::function<void()> on_space) : on_space_(std::move(on_space)) {}

  // --- the engine's thread
  void Push(GenerateEvent event);
  bool full() const;
  void SetStats(const GenerateStats& stats);

  // --- the consumer
  std::optional<GenerateEvent> TryPop();
  GenerateEvent Pop();  // blocks
  void SetOnReady(std::function<void()> on_ready);
  void Cancel();
  GenerateStats stats() const;

  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  const std::function<void()> on_space_;
  std::atomic<bool> cancelled_{false};
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<GenerateEvent> events_;  // guarded by mutex_, like all below
  std::function<void()> on_ready_;
  GenerateStats stats_;
};

// Engine's thread only, but for `queue`.
class Sequence {
 public:
  Sequence(GenerateRequest request, const Tokenizer& tokenizer, std::shared_ptr<EventQueue> queue,
           std::chrono::steady_clock::time_point now);

  // Gives the sequence its slot and its cache.
  void Admit(KvBlockPool& pool, std::chrono::steady_clock::time_point now);

  bool prefilling() const { return evaluated_ < static_cast<int64_t>(request_.prompt.size()); }
  int64_t prompt_left() const { return static_cast<int64_t>(request_.prompt.size()) - evaluated_; }
  const GenerateRequest& request() const { return request_; }
  int64_t evaluated() const { return evaluated_; }  // positions whose K and V are in the cache
  TokenId TokenAt(int64_t position) const;          // of the prompt, or the token sampled last
  KvSequence& cache() { return *cache_; }
  EventQueue& queue() { return *queue_; }
  bool paused() const { return queue_->full(); }
  bool finished() const { return finished_; }

  // The next `count` positions have been evaluated.
  void Advance(int64_t count) { evaluated_ += count; }
  // Logits [V] of a prompt position, when prompt log-probabilities were asked for.
  void TakePromptLogits(int64_t position, std::span<const float> logits);
  // Logits [V] after the last evaluated position: samples (the span becomes scratch), emits, and
  // ends the sequence when it is at its end. `context`: positions it may use. True: it sampled.
  bool TakeLogits(std::span<float> logits, int64_t context,
                  std::chrono::steady_clock::time_point now);
  void FinishWith(FinishReason reason, std::string error,
                  std::chrono::steady_clock::time_point now);

 private:
  struct HeldToken {
    TokenId id;
    std::optional<LogprobEntry> logprob;
    size_t text_begin;  // offset in the whole output at which its text begins
  };
  void Emit(std::string text, std::optional<FinishReason> finish, std::string error = {});
  void ReleaseTokens(GenerateEvent& event, bool all);

  GenerateRequest request_;
  const Tokenizer& tokenizer_;
  std::shared_ptr<EventQueue> queue_;
  Sampler sampler_;
  Detokenizer detokenizer_;
  StopMatcher stop_;
  std::unique_ptr<KvSequence> cache_;
  int64_t evaluated_ = 0;
  TokenId last_token_ = 0;
  bool finished_ = false;

  std::vector<LogprobEntry> prompt_logprobs_;  // not sent yet
  std::deque<HeldToken> held_tokens_;          // sampled, their text not emitted yet
  size_t text_sampled_ = 0;                    // bytes of output so far, held back ones included
  size_t text_emitted_ = 0;

  GenerateStats stats_;
  std::chrono::steady_clock::time_point submitted_, admitted_, first_token_;
};

}  // namespace tradewind::engine
