#include "engine/engine.h"

#include <algorithm>
#include <deque>
#include <list>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "engine/loaded_model.h"
#include "engine/sequence.h"
#include "engine/threads/cpus.h"

namespace tradewind::engine {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

// While sequences decode, a prompt beside them is read in pieces this small, so that no step is
// long for them.
constexpr int64_t kPrefillChunkBesideDecodes = 64;

// The consumer's end: cancels when it goes away.
class GenerationHandle final : public Generation {
 public:
  explicit GenerationHandle(std::shared_ptr<EventQueue> queue) : queue_(std::move(queue)) {}
  ~GenerationHandle() override {
    queue_->SetOnReady({});
    queue_->Cancel();
  }
  std::optional<GenerateEvent> TryNext() override { return queue_->TryPop(); }
  void SetOnReady(std::function<void()> on_ready) override {
    queue_->SetOnReady(std::move(on_ready));
  }
  GenerateEvent Next() override { return queue_->Pop(); }
  void Cancel() override { queue_->Cancel(); }
  GenerateStats stats() const override { return queue_->stats(); }

 private:
  std::shared_ptr<EventQueue> queue_;
};

// Wakes the engine's thread. Shared with the queues, which may outlive the engine.
class WorkSignal {
 public:
  void Raise() {
    {
      const std::lock_guard lock(mutex_);
      raised_ = true;
    }
    condition_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return raised_; });
    raised_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool raised_ = false;
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<LoadedModel> model, const EngineOptions& options)
      : model_(std::move(model)),
        options_(options),
        kv_pool_(model_->kv_shape(), options.slots * BlocksFor(model_->info().context)),
        thread_([this] { Run(); }) {}

  ~EngineImpl() override {
    stopping_.store(true);
    signal_->Raise();
    thread_.join();
  }

  Result<std::vector<std::unique_ptr<Generation>>> Submit(
      std::vector<GenerateRequest> requests) override;
  void Drain() override { draining_.store(true); }
  const ModelInfo& info() const override { return model_->info(); }
  const Tokenizer& tokenizer() const override { return model_->tokenizer(); }
  const ChatTemplate& chat_template() const override { return model_->chat_template(); }
  EngineStats stats() const override;

 private:
  // What a row of the step stands for, beside its BatchRow.
  struct RowOwner {
    Sequence* sequence;
    bool is_last;  // the next token is sampled from its logits; otherwise they are a prompt
                   // position's
  };

  static int64_t BlocksFor(int64_t positions) {
    return (positions + limits::kKvBlockPositions - 1) / limits::kKvBlockPositions;
  }

  Status Validate(const GenerateRequest& request) const;

  // --- the engine's thread
  void Run();
  void AdmitFromQueue();
  void EndCancelled();
  void PlanStep();
  void PlanSequence(Sequence& sequence, int64_t tokens_max);
  bool RunForward();
  void TakeResults(int64_t vocab, TimePoint now);
  void RemoveFinished();
  void CountDecoded(int64_t tokens, TimePoint now);
  void PublishUse();
  void EndAll(TimePoint now);

  std::unique_ptr<LoadedModel> model_;
  const EngineOptions options_;
  std::shared_ptr<WorkSignal> signal_ = std::make_shared<WorkSignal>();
  std::atomic<bool> stopping_{false};
  std::atomic<bool> draining_{false};

  mutable std::mutex mutex_;
  std::deque<std::unique_ptr<Sequence>> waiting_;  // guarded by mutex_
  EngineStats stats_;                              // guarded by mutex_

  // The engine's thread only.
  KvBlockPool kv_pool_;
  std::list<std::unique_ptr<Sequence>>
      active_;  // at most options_.slots; the front is served first
  std::vector<BatchRow> batch_;
  std::vector<RowOwner> owners_;  // one per row of batch_
  int64_t logit_rows_ = 0;
  Activations activations_;
  int64_t decoded_in_window_ = 0;
  TimePoint window_start_{};

  std::thread thread_;  // last: starts when everything above stands
};

Status EngineImpl::Validate(const GenerateRequest& request) const {
  const ModelInfo& info = model_->info();
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0) {
    return Fail(ErrorCode::kInvalidArgument, "the prompt is empty; send at least one token",
                "prompt");
  }
  for (const TokenId id : request.prompt) {
    if (!model_->tokenizer().IsValid(id)) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("token id {} is outside the vocabulary of {}", id,
                              model_->tokenizer().vocab_size()),
                  "prompt");
    }
  }
  const int64_t output = request.max_tokens < 0 ? 1 : request.max_tokens;
  if (prompt + output > info.context) {
    return Fail(ErrorCode::kContextTooLong,
                fmt::format("this model's context is {} tokens, but the prompt has {} and {} are "
                            "asked for; shorten the "
                            "prompt, lower max_tokens, or start the server with a larger --ctx",
                            info.context, prompt,
                            request.max_tokens < 0 ? "more" : fmt::format("{} more", output)),
                "messages");
  }
  return {};
}

Result<std::vector<std::unique_ptr<Generation>>> EngineImpl::Submit(
    std::vector<GenerateRequest> requests) {
  for (const GenerateRequest& request : requests) {
    TW_RETURN_IF_ERROR(Validate(request));
  }
  if (draining_.load() || stopping_.load()) {
    return Fail(ErrorCode::kUnavailable,
                "the engine is shutting down; try again after the restart");
  }
  const TimePoint now = std::chrono::steady_clock::now();
  std::vector<std::unique_ptr<Generation>> handles;
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (GenerateRequest& request : requests) {
    auto queue = std::make_shared<EventQueue>([signal = signal_] { signal->Raise(); });
    handles.push_back(std::make_unique<GenerationHandle>(queue));
    sequences.push_back(
        std::make_unique<Sequence>(std::move(request), model_->tokenizer(), std::move(queue), now));
  }
  {
    const std::lock_guard lock(mutex_);
    const auto room = static_cast<size_t>(options_.queue + options_.slots - stats_.slots_used);
    if (waiting_.size() + sequences.size() > room) {
      ++stats_.refused_total;
      // A slot frees up about once per answer; without a forecast, a second is what clients'
      // back-off starts from.
      Error error{
          ErrorCode::kTooManyRequests,
          fmt::format("{} sequences run and {} wait, which is all this server takes; retry later",
                      stats_.slots_used, waiting_.size())};
      error.retry_after_ms = 1000;
      return Fail(std::move(error));
    }
    stats_.sequences_total += sequences.size();
    std::ranges::move(sequences, std::back_inserter(waiting_));
    stats_.queued = static_cast<int>(waiting_.size());
  }
  signal_->Raise();
  return handles;
}

EngineStats EngineImpl::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.slots = options_.slots;
  stats.kv_bytes_max = kv_pool_.bytes_max();
  return stats;
}

// The step loop. Every pass over the weights serves all sequences that can move.
void EngineImpl::Run() {
  while (!stopping_.load()) {
    EndCancelled();
    AdmitFromQueue();
    PlanStep();
    PublishUse();
    if (batch_.empty()) {  // nothing to do, or all consumers are slow
      signal_->Wait();
      continue;
    }
    if (!RunForward()) {
      continue;
    }
    TakeResults(model_->transformer().config().vocab_size, std::chrono::steady_clock::now());
    RemoveFinished();
  }
  EndAll(std::chrono::steady_clock::now());
}

// False when memory is short: then nobody could go on, so all running sequences end and say why.
bool EngineImpl::RunForward() {
  try {
    model_->transformer().Forward(batch_, activations_);
    return true;
  } catch (const std::bad_alloc&) {
    for (const auto& sequence : active_) {
      sequence->FinishWith(FinishReason::kError, "out of memory for a step; lower --slots or --ctx",
                           std::chrono::steady_clock::now());
    }
    RemoveFinished();
    return false;
  }
}

void EngineImpl::EndCancelled() {
  const TimePoint now = std::chrono::steady_clock::now();
  uint64_t cancelled = 0;
  const auto end = [&](auto& sequences) {
    std::erase_if(sequences, [&](const std::unique_ptr<Sequence>& sequence) {
      if (!sequence->queue().cancelled()) {
        return false;
      }
      sequence->FinishWith(FinishReason::kCancelled, {}, now);
      ++cancelled;
      return true;
    });
  };
  end(active_);
  const std::lock_guard lock(mutex_);
  end(waiting_);
  stats_.cancelled_total += cancelled;
}

void EngineImpl::AdmitFromQueue() {
  const TimePoint now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  while (!waiting_.empty() && static_cast<int>(active_.size()) < options_.slots) {
    waiting_.front()->Admit(kv_pool_, now);
    active_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  stats_.slots_used = static_cast<int>(active_.size());
}

// Decodes first: one row each. Then prompts, in turn, with what is left of the step.
void EngineImpl::PlanStep() {
  batch_.clear();
  owners_.clear();
  logit_rows_ = 0;
  for (const auto& sequence : active_) {
    if (!sequence->prefilling() && !sequence->paused()) {
      PlanSequence(*sequence, 1);
    }
  }
  int64_t left = batch_.empty() ? limits::kBatchTokensMax : kPrefillChunkBesideDecodes;
  for (const auto& sequence : active_) {
    if (sequence->prefilling() && left > 0) {
      const auto before = static_cast<int64_t>(batch_.size());
      PlanSequence(*sequence, left);
      left -= static_cast<int64_t>(batch_.size()) - before;
    }
  }
  // Whoever got the front of the prefill budget stands behind the others next time.
  const auto first =
      std::ranges::find_if(active_, [](const auto& sequence) { return sequence->prefilling(); });
  if (first != active_.end()) {
    active_.splice(active_.end(), active_, first);
  }
}

void EngineImpl::PlanSequence(Sequence& sequence, int64_t tokens_max) {
  int64_t count = sequence.prefilling() ? std::min(tokens_max, sequence.prompt_left()) : 1;
  const bool every_row = sequence.prefilling() && sequence.request().prompt_logprobs;
  count = std::min(count, every_row ? limits::kLogitRowsMax - logit_rows_ : count);
  const bool reaches_end = !sequence.prefilling() || count == sequence.prompt_left();
  if (count <= 0 || (reaches_end && logit_rows_ == limits::kLogitRowsMax)) {
    return;
  }
  if (!sequence.cache().Reserve(sequence.evaluated() + count)) {
    sequence.FinishWith(FinishReason::kError,
                        "out of memory for the KV cache; lower --slots or --ctx",
                        std::chrono::steady_clock::now());
    signal_->Raise();  // its slot is free: do not sleep on those who wait for one
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t position = sequence.evaluated() + i;
    const bool is_last = reaches_end && i == count - 1;
    const bool wants_logits = is_last || every_row;
    batch_.push_back({sequence.TokenAt(position), position, &sequence.cache(), wants_logits});
    owners_.push_back({&sequence, is_last});
    logit_rows_ += wants_logits ? 1 : 0;
  }
}

void EngineImpl::TakeResults(int64_t vocab, TimePoint now) {
  int64_t decoded = 0;
  int64_t logit_row = 0;
  uint64_t prompt_rows = 0;
  // Padded rows of the embedding are no tokens: nothing may be sampled beyond the tokenizer's
  // vocabulary.
  const auto tokens = static_cast<size_t>(model_->tokenizer().vocab_size());
  for (size_t row = 0; row < batch_.size(); ++row) {
    Sequence& sequence = *owners_[row].sequence;
    prompt_rows += sequence.prefilling() ? 1 : 0;
    sequence.Advance(1);
    if (!batch_[row].wants_logits) {
      continue;
    }
    const std::span<float> logits(activations_.logits.data() + logit_row++ * vocab, tokens);
    if (owners_[row].is_last) {
      decoded += sequence.TakeLogits(logits, model_->info().context, now) ? 1 : 0;
    } else {
      sequence.TakePromptLogits(batch_[row].position, logits);
    }
  }
  CountDecoded(decoded, now);
  const std::lock_guard lock(mutex_);
  ++stats_.steps_total;
  stats_.output_tokens_total += static_cast<uint64_t>(decoded);
  stats_.prompt_tokens_total += prompt_rows;
}

void EngineImpl::RemoveFinished() {
  std::erase_if(active_, [](const auto& sequence) { return sequence->finished(); });
}

void EngineImpl::CountDecoded(int64_t tokens, TimePoint now) {
  decoded_in_window_ += tokens;
  const double window_ms = MsBetween(window_start_, now);
  if (window_ms >= 1000.0) {
    const std::lock_guard lock(mutex_);
    stats_.decode_tokens_per_s = static_cast<double>(decoded_in_window_) * 1000.0 / window_ms;
    decoded_in_window_ = 0;
    window_start_ = now;
  }
}

void EngineImpl::PublishUse() {
  RemoveFinished();
  const std::lock_guard lock(mutex_);
  stats_.slots_used = static_cast<int>(active_.size());
  stats_.queued = static_cast<int>(waiting_.size());
  stats_.kv_bytes = kv_pool_.bytes_used();
  if (batch_.empty()) {
    stats_.decode_tokens_per_s = 0;
    decoded_in_window_ = 0;
    window_start_ = std::chrono::steady_clock::now();
  }
}

void EngineImpl::EndAll(TimePoint now) {
  const std::lock_guard lock(mutex_);
  for (const auto& sequence : active_) {
    sequence->FinishWith(FinishReason::kCancelled, {}, now);
  }
  for (const auto& sequence : waiting_) {
    sequence->FinishWith(FinishReason::kCancelled, {}, now);
  }
  active_.clear();
  waiting_.clear();
}

Status ValidateOptions(const EngineOptions& options) {
  const auto check = [](const char* name, int value, int min, int max) -> Status {
    if (value < min || value > max) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is {}, but must be from {} to {}", name, value, min, max), name);
    }
    return {};
  };
  TW_RETURN_IF_ERROR(check("context", options.context, 1, 1 << 30));
  TW_RETURN_IF_ERROR(check("slots", options.slots, 1, limits::kSlotsMax));
  TW_RETURN_IF_ERROR(check("queue", options.queue, 0, limits::kQueuedSequencesMax));
  return check("threads", options.threads, 0, limits::kThreadsMax);
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Load(const std::filesystem::path& path,
                                             const EngineOptions& options) {
  TW_RETURN_IF_ERROR(ValidateOptions(options));
  EngineOptions filled = options;
  if (filled.threads == 0) {
    filled.threads = std::min(AllowedCpus(), limits::kThreadsMax);
  }
  TW_ASSIGN_OR_RETURN(auto model, LoadedModel::Load(path, filled));
  return std::make_unique<EngineImpl>(std::move(model), filled);
}

}  // namespace tradewind::engine
