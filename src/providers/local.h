// The engines on this device as a Provider.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "base/task.h"
#include "catalog/local_models.h"
#include "chat/chat.h"
#include "providers/model_pool.h"
#include "providers/prompts.h"
#include "providers/provider.h"
#include "providers/worker_pool.h"

namespace tradewind::providers {

struct LocalOptions {
  engine::EngineOptions engine;
  int loaded_max = 1;  // models in memory at once
};

struct StreamPlan;

// All tasks run on event-loop threads, which must end before this is destroyed; the rest on any
// thread.
class LocalProvider final : public Provider {
 public:
  LocalProvider(std::shared_ptr<const catalog::LocalModels> models, const LocalOptions& options,
                EngineLoader loader);

  std::string_view slug() const override { return "local"; }
  // Errors of both: those of ModelPool::Acquire, of preparing prompts (prompts.h) and of
  // Engine::Submit, plus kContextTooLong for any of the prompts, kInvalidArgument for an id of
  // logit_bias outside the vocabulary or more log-probabilities than kLogprobEntriesMax, and
  // kTooManyRequests when all requests together hold kLogprobEntriesInFlightMax.
  Task<Result<std::unique_ptr<ChatStream>>> Chat(const chat::ChatRequest& request) override;
  Task<Result<std::unique_ptr<ChatStream>>> Complete(
      const chat::CompletionRequest& request) override;

  struct Tokens {
    std::vector<int64_t> ids;
    std::vector<std::string> texts;  // of each id, invalid UTF-8 replaced
    int64_t context = 0;
  };
  // Ids as Chat or Complete would evaluate them. Errors: as those.
  Task<Result<Tokens>> TokenizeChat(std::string id, const chat::ChatRequest& request);
  Task<Result<Tokens>> TokenizeText(std::string id, std::string text, bool add_special_tokens);
  Task<Result<std::string>> Detokenize(std::string id, std::vector<int64_t> ids);

  ModelPool& pool() { return pool_; }
  WorkerPool& workers() { return workers_; }
  void Drain() { pool_.Drain(); }

 private:
  // Takes the plan's share of log-probability entries; `field` is what the dialect calls them.
  Status HoldLogprobs(const chat::Generation& generation, int64_t context, std::string_view field,
                      StreamPlan& plan);

  Budget logprobs_;
  WorkerPool workers_;
  ModelPool pool_;
};

}  // namespace tradewind::providers
