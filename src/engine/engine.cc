#include "engine/engine.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "engine/loaded_model.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/threads/cpus.h"

namespace tradewind::engine {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

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
        scheduler_(model_->kv_shape(), {options.slots, model_->info().context,
                                        model_->kv_blocks_max(), options.prefix_cache}),
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
  Status Validate(const GenerateRequest& request) const;

  // --- the engine's thread
  void Run();
  bool RunStep();
  void TakeArrivals();
  void EnqueueArrivals();
  void TakeResults(Step& step, int64_t vocab, TimePoint now);
  void CountDecoded(int64_t tokens, TimePoint now);
  void PublishUse(bool is_idle);
  void EndAll(TimePoint now);

  std::unique_ptr<LoadedModel> model_;
  const EngineOptions options_;
  std::shared_ptr<WorkSignal> signal_ = std::make_shared<WorkSignal>();
  std::atomic<bool> stopping_{false};
  std::atomic<bool> draining_{false};

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Sequence>> arrivals_;  // guarded by mutex_
  EngineStats stats_;                                // guarded by mutex_

  // The engine's thread only.
  Scheduler scheduler_;
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
    if (static_cast<size_t>(stats_.queued) + sequences.size() > room) {
      ++stats_.refused_total;
      // A slot frees up about once per answer; without a forecast, a second is what clients'
      // back-off starts from.
      Error error{
          ErrorCode::kTooManyRequests,
          fmt::format("{} sequences run and {} wait, which is all this server takes; retry later",
                      stats_.slots_used, stats_.queued)};
      error.retry_after_ms = 1000;
      return Fail(std::move(error));
    }
    stats_.sequences_total += sequences.size();
    stats_.queued += static_cast<int>(sequences.size());
    std::ranges::move(sequences, std::back_inserter(arrivals_));
  }
  signal_->Raise();
  return handles;
}

EngineStats EngineImpl::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.slots = options_.slots;
  stats.kv_bytes_max = model_->kv_blocks_max() * model_->kv_shape().block_bytes();
  return stats;
}

// The step loop. Every pass over the weights serves all sequences that can move.
void EngineImpl::Run() {
  model_->PinEngineThread();
  while (!stopping_.load()) {
    bool is_idle = false;
    try {
      is_idle = !RunStep();
    } catch (const std::bad_alloc&) {  // nobody could go on, so all end and say why
      activations_ = {};               // what they say last takes memory, too
      scheduler_.FailRunning("out of memory for a step; lower --slots or --ctx",
                             std::chrono::steady_clock::now());
    }
    if (is_idle) {
      signal_->Wait();
    }
  }
  EndAll(std::chrono::steady_clock::now());
}

// False when there is nothing to do, or all consumers are slow. Throws std::bad_alloc.
bool EngineImpl::RunStep() {
  TakeArrivals();
  scheduler_.Admit(std::chrono::steady_clock::now());
  Step& step = scheduler_.Plan(std::chrono::steady_clock::now());
  PublishUse(step.rows.empty());
  if (step.rows.empty()) {
    return step.freed;
  }
  model_->transformer().Forward(step.rows, activations_);
  TakeResults(step, model_->transformer().config().vocab_size, std::chrono::steady_clock::now());
  scheduler_.RemoveFinished();
  return true;
}

void EngineImpl::TakeArrivals() {
  EnqueueArrivals();
  const int64_t cancelled = scheduler_.EndCancelled(std::chrono::steady_clock::now());
  const std::lock_guard lock(mutex_);
  stats_.cancelled_total += static_cast<uint64_t>(cancelled);
}

// When memory is short, those that could not be taken stay for the next time.
void EngineImpl::EnqueueArrivals() {
  const std::lock_guard lock(mutex_);
  for (auto& sequence : arrivals_) {
    if (sequence != nullptr) {
      scheduler_.Enqueue(std::move(sequence));
    }
  }
  arrivals_.clear();
}

void EngineImpl::TakeResults(Step& step, int64_t vocab, TimePoint now) {
  int64_t decoded = 0;
  int64_t logit_row = 0;
  uint64_t prompt_rows = 0;
  // Padded rows of the embedding are no tokens: nothing may be sampled beyond the tokenizer's
  // vocabulary.
  const auto tokens = static_cast<size_t>(model_->tokenizer().vocab_size());
  for (size_t i = 0; i < step.rows.size(); ++i) {
    const BatchRow& row = step.rows[i];
    Sequence& sequence = *step.owners[i].sequence;
    prompt_rows += sequence.in_prompt(row.position) ? 1 : 0;
    sequence.Advance(1);
    if (!row.wants_logits) {
      continue;
    }
    const std::span<float> logits(activations_.logits.data() + logit_row++ * vocab, tokens);
    if (step.owners[i].is_last) {
      decoded += sequence.TakeLogits(logits, model_->info().context, now) ? 1 : 0;
    } else {
      sequence.TakePromptLogits(row.position, logits);
    }
  }
  CountDecoded(decoded, now);
  const std::lock_guard lock(mutex_);
  ++stats_.steps_total;
  stats_.output_tokens_total += static_cast<uint64_t>(decoded);
  stats_.prompt_tokens_total += prompt_rows;
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

void EngineImpl::PublishUse(bool is_idle) {
  const KvBlockPool& pool = scheduler_.pool();
  const int64_t block_bytes = pool.shape().block_bytes();
  const std::lock_guard lock(mutex_);
  stats_.slots_used = static_cast<int>(scheduler_.running());
  stats_.queued = static_cast<int>(scheduler_.waiting()) + static_cast<int>(arrivals_.size());
  stats_.kv_bytes = (pool.blocks_used() - pool.blocks_idle()) * block_bytes;
  stats_.kv_bytes_idle = pool.blocks_idle() * block_bytes;
  stats_.cached_tokens_total = scheduler_.cached_tokens_total();
  stats_.requeued_total = scheduler_.requeued_total();
  if (is_idle) {
    stats_.decode_tokens_per_s = 0;
    decoded_in_window_ = 0;
    window_start_ = std::chrono::steady_clock::now();
  }
}

void EngineImpl::EndAll(TimePoint now) {
  EnqueueArrivals();
  scheduler_.CancelAll(now);
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
