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

  const GenerateRequest& request() const { return request_; }
  // The prompt and what was sampled after it.
  std::span<const TokenId> tokens() const { return tokens_; }
  int64_t evaluated() const { return evaluated_; }  // positions whose K and V are in the cache
  int64_t left() const { return static_cast<int64_t>(tokens_.size()) - evaluated_; }
  // One token, just sampled, is left; otherwise the prompt is, or what must be evaluated again.
  bool decoding() const { return left() == 1 && stats_.output_tokens > 0; }
  bool in_prompt(int64_t position) const { return position < prompt_size_; }
  // Its log-probabilities were asked for and have not been taken yet.
  bool wants_prompt_logits(int64_t position) const {
    return request_.prompt_logprobs && position + 1 < prompt_size_ &&
           position + 1 >= prompt_scored_;
  }
  // Positions that need not be evaluated if their K and V are known: the last one always must, for
  // its logits.
  int64_t reusable() const;

  EventQueue& queue() { return *queue_; }
  bool paused() const { return queue_->full(); }
  bool finished() const { return finished_; }
  bool failed() const { return failed_; }
  int cached_tokens() const { return stats_.cached_tokens; }

  // Gives the sequence its slot, the first time or again.
  void Admit(std::chrono::steady_clock::time_point now);
  // A cache that holds the first `positions` positions.
  void Begin(std::unique_ptr<KvSequence> cache, int64_t positions);
  KvSequence& cache() { return *cache_; }
  const KvSequence* cache_or_null() const { return cache_.get(); }
  // Back to where nothing is evaluated: to begin elsewhere, or to wait for a slot again.
  void DropCache();
  void PutBack();

  // The next `count` positions have been evaluated.
  void Advance(int64_t count) { evaluated_ += count; }
  // Logits [V] of a prompt position that wants them, in ascending order.
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
  std::vector<TokenId> tokens_;
  const int64_t prompt_size_;
  std::unique_ptr<KvSequence> cache_;
  int64_t evaluated_ = 0;
  bool finished_ = false;
  bool failed_ = false;
  bool admitted_once_ = false;
  bool put_back_ = false;

  std::vector<LogprobEntry> prompt_logprobs_;  // not sent yet
  int64_t prompt_scored_ = 0;                  // prompt tokens that have an entry, sent or not
  std::deque<HeldToken> held_tokens_;          // sampled, their text not emitted yet
  size_t text_sampled_ = 0;                    // bytes of output so far, held back ones included
  size_t text_emitted_ = 0;

  GenerateStats stats_;
  std::chrono::steady_clock::time_point submitted_, admitted_, first_token_;
};

}  // namespace tradewind::engine
