#include "engine/sequence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::engine {

void EventQueue::Push(GenerateEvent event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  if (events_.size() == 1 && on_ready_) {
    on_ready_();
  }
  ready_.notify_one();
}

bool EventQueue::full() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(events_.size()) >= limits::kEventsQueuedMax;
}

void EventQueue::SetStats(const GenerateStats& stats) {
  const std::lock_guard lock(mutex_);
  stats_ = stats;
}

std::optional<GenerateEvent> EventQueue::TryPop() {
  std::unique_lock lock(mutex_);
  if (events_.empty()) {
    return std::nullopt;
  }
  const bool was_full = static_cast<int>(events_.size()) >= limits::kEventsQueuedMax;
  GenerateEvent event = std::move(events_.front());
  events_.pop_front();
  lock.unlock();
  if (was_full) {
    on_space_();
  }
  return event;
}

GenerateEvent EventQueue::Pop() {
  for (;;) {
    if (auto event = TryPop()) {
      return std::move(*event);
    }
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return !events_.empty(); });
  }
}

void EventQueue::SetOnReady(std::function<void()> on_ready) {
  const std::lock_guard lock(mutex_);
  on_ready_ = std::move(on_ready);
  if (on_ready_ && !events_.empty()) {
    on_ready_();
  }
}

void EventQueue::Cancel() {
  if (!cancelled_.exchange(true)) {
    on_space_();
  }
}

GenerateStats EventQueue::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

Sequence::Sequence(GenerateRequest request, const Tokenizer& tokenizer,
                   std::shared_ptr<EventQueue> queue, std::chrono::steady_clock::time_point now)
    : request_(std::move(request)),
      tokenizer_(tokenizer),
      queue_(std::move(queue)),
      sampler_(request_.sampling, request_.prompt),
      detokenizer_(tokenizer),
      stop_(request_.stop),
      tokens_(request_.prompt),
      prompt_size_(static_cast<int64_t>(tokens_.size())),
      submitted_(now),
      admitted_(now),
      first_token_(now) {
  stats_.prompt_tokens = static_cast<int>(prompt_size_);
}

int64_t Sequence::reusable() const {
  const auto known = static_cast<int64_t>(tokens_.size()) - 1;
  if (request_.prompt_logprobs && prompt_scored_ < prompt_size_) {
    return std::clamp<int64_t>(prompt_scored_ - 1, 0, known);
  }
  return known;
}

void Sequence::Admit(std::chrono::steady_clock::time_point now) {
  if (!std::exchange(admitted_once_, true)) {
    admitted_ = now;
    stats_.queue_ms = MsBetween(submitted_, now);
  }
}

void Sequence::Begin(std::unique_ptr<KvSequence> cache, int64_t positions) {
  cache_ = std::move(cache);
  evaluated_ = positions;
  if (!put_back_) {  // afterwards it also finds what it evaluated itself
    stats_.cached_tokens = static_cast<int>(positions);
  }
}

void Sequence::DropCache() {
  cache_.reset();
  evaluated_ = 0;
}

void Sequence::PutBack() {
  DropCache();
  put_back_ = true;
}

void Sequence::TakePromptLogits(int64_t position, std::span<const float> logits) {
  if (prompt_scored_ == 0) {
    LogprobEntry first;  // nothing precedes the first token
    first.chosen.id = tokens_.front();
    first.has_value = false;
    prompt_logprobs_.push_back(std::move(first));
  }
  prompt_scored_ = position + 2;
  LogprobEntry entry;
  entry.chosen = LogprobOf(logits, tokens_[static_cast<size_t>(position) + 1]);
  if (request_.top_logprobs > 0) {
    entry.top = TopLogprobs(logits, request_.top_logprobs);
  }
  prompt_logprobs_.push_back(std::move(entry));
}

bool Sequence::TakeLogits(std::span<float> logits, int64_t context,
                          std::chrono::steady_clock::time_point now) {
  TW_CHECK(!finished_);
  if (request_.prompt_logprobs && prompt_size_ == 1 && prompt_scored_ == 0) {
    prompt_logprobs_.push_back({{tokens_.front(), 0}, {}, false});
    prompt_scored_ = 1;
  }
  if (stats_.output_tokens == 0) {
    first_token_ = now;
    stats_.prefill_ms = MsBetween(admitted_, now);
  }
  if (request_.max_tokens == 0) {
    FinishWith(FinishReason::kLength, {}, now);
    return false;
  }
  std::optional<LogprobEntry> logprob;
  if (request_.top_logprobs > 0) {
    logprob.emplace();
    logprob->top = TopLogprobs(logits, request_.top_logprobs);
  }
  std::vector<float>
      raw;  // Sample uses the logits as scratch, and the token is only known afterwards
  if (request_.top_logprobs >= 0) {
    raw.assign(logits.begin(), logits.end());
  }
  const TokenId token = sampler_.Sample(logits);
  tokens_.push_back(token);
  ++stats_.output_tokens;
  if (request_.top_logprobs >= 0) {
    if (!logprob) {
      logprob.emplace();
    }
    logprob->chosen = LogprobOf(raw, token);
  }
  if (tokenizer_.IsEnd(token) && !request_.ignore_end) {
    FinishWith(FinishReason::kStop, {}, now);
    return true;
  }
  held_tokens_.push_back({token, std::move(logprob), text_sampled_});
  std::string text = detokenizer_.Push(token);
  text_sampled_ += text.size();
  std::string ready = stop_.Push(text);
  if (stop_.stopped()) {
    text_sampled_ = text_emitted_ + ready.size();  // what follows is never sent, nor are its tokens
    Emit(std::move(ready), std::nullopt);
    FinishWith(FinishReason::kStop, {}, now);
    return true;
  }
  if (!ready.empty()) {
    Emit(std::move(ready), std::nullopt);
  }
  if (stats_.output_tokens == request_.max_tokens ||
      static_cast<int64_t>(tokens_.size()) >= context) {
    FinishWith(FinishReason::kLength, {}, now);
  }
  return true;
}

void Sequence::FinishWith(FinishReason reason, std::string error,
                          std::chrono::steady_clock::time_point now) {
  TW_CHECK(!finished_);
  failed_ = reason == FinishReason::kError;
  stats_.decode_ms = stats_.output_tokens > 0 ? MsBetween(first_token_, now) : 0;
  queue_->SetStats(stats_);
  std::string rest;
  if (!stop_.stopped()) {
    const std::string flushed = detokenizer_.Flush();
    text_sampled_ += flushed.size();
    rest = stop_.Push(flushed);
    rest += stop_.Flush();
  }
  Emit(std::move(rest), reason, std::move(error));
  finished_ = true;  // not before its last event is out: that may fail for want of memory
}

void Sequence::Emit(std::string text, std::optional<FinishReason> finish, std::string error) {
  GenerateEvent event;
  text_emitted_ += text.size();
  event.text = std::move(text);
  event.finish = finish;
  event.error = std::move(error);
  event.prompt_logprobs = std::exchange(prompt_logprobs_, {});
  ReleaseTokens(event, finish.has_value() && !stop_.stopped());
  queue_->SetStats(stats_);
  queue_->Push(std::move(event));
}

// Tokens go out with the event that carries the beginning of their text; after a stop string the
// rest stay behind.
void Sequence::ReleaseTokens(GenerateEvent& event, bool all) {
  while (!held_tokens_.empty() && (all || held_tokens_.front().text_begin < text_emitted_)) {
    HeldToken& token = held_tokens_.front();
    event.tokens.push_back(token.id);
    if (token.logprob) {
      event.logprobs.push_back(std::move(*token.logprob));
    }
    held_tokens_.pop_front();
  }
}

}  // namespace tradewind::engine
