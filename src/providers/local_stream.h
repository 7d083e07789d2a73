// The sequences of one request on one engine, merged into one stream of events.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "chat/chat.h"
#include "engine/engine.h"
#include "http/http.h"
#include "providers/model_pool.h"
#include "providers/prompts.h"
#include "providers/provider.h"

namespace tradewind::providers {

// What all sequences of a request share.
struct StreamPlan {
  std::vector<PreparedPrompt> prompts;  // choice c belongs to prompt c / n
  int n = 1;
  bool echo = false;
  bool keep_end_token =
      false;  // its log-probability is part of the answer; see LocalProvider::Complete
  engine::GenerateRequest
      request;            // without the prompt; `sampling.seed` of choice k of a prompt is seed + k
  int in_flight_max = 1;  // sequences at once: a large request waits for itself, not others for it
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  BudgetShare logprobs;  // entries that this request may hold until its answer is out
};

class LocalStream final : public ChatStream {
 public:
  // Submits the first sequences. On an event-loop thread. Errors: those of Engine::Submit.
  static Result<std::unique_ptr<ChatStream>> Open(ModelPool::Lease lease, StreamPlan plan);
  ~LocalStream() override;

  Task<Result<chat::ChatEvent>> Next() override;
  void Cancel() override;
  chat::Usage usage() const override;
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Sequence {
    int choice = 0;
    bool started = false;     // its first event went out
    double submitted_ms = 0;  // after opened_
    std::unique_ptr<engine::Generation> generation;
  };

  LocalStream(ModelPool::Lease lease, StreamPlan plan);
  int total() const { return static_cast<int>(plan_.prompts.size()) * plan_.n; }
  bool has_more() const { return next_choice_ < total(); }
  bool may_submit() const {
    return has_more() && static_cast<int>(running_.size()) < plan_.in_flight_max;
  }
  Status Submit(int count);
  Status Refill();
  // One event of a sequence that has one, the sequences taking turns; nullopt when none has.
  Result<std::optional<chat::ChatEvent>> Poll();
  Result<chat::ChatEvent> Convert(Sequence& sequence, engine::GenerateEvent event);
  void MatchText(const PreparedPrompt& prompt, std::vector<chat::TokenLogprob>& tokens) const;
  void Finish(Sequence& sequence);
  void CountCached(const Sequence& sequence, std::vector<int64_t>& cached_tokens) const;
  chat::TokenLogprob Describe(const engine::TokenLogprob& token, bool in_prompt) const;
  chat::TokenLogprob Describe(const engine::LogprobEntry& entry, bool in_prompt) const;
  chat::Receipt MakeReceipt() const;

  ModelPool::Lease lease_;  // first: what follows refers to its engine
  StreamPlan plan_;
  std::string fingerprint_;
  std::shared_ptr<http::Wakeup> wakeup_;
  TimePoint opened_;
  TimePoint retry_at_{};  // not before, after the queue was full
  std::vector<Sequence> running_;
  size_t turn_ = 0;
  int next_choice_ = 0;
  bool cancelled_ = false;
  int64_t output_tokens_done_ = 0;
  // Of each prompt: what none of its choices had to evaluate; -1 = none has begun.
  std::vector<int64_t> cached_tokens_;
  // Of finished sequences, after opened_: for the receipt.
  double queue_ms_ = -1, first_token_ms_ = -1, last_token_ms_ = 0;
};

}  // namespace tradewind::providers
