#include "providers/local.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "providers/local_stream.h"

namespace tradewind::providers {
namespace {

Status CheckContext(const PreparedPrompt& prompt, const std::optional<int64_t>& max_tokens,
                    const engine::ModelInfo& info, const std::string& path) {
  const auto have = static_cast<int64_t>(prompt.ids.size());
  const int64_t wanted = max_tokens.value_or(1);
  if (have <= info.context && wanted <= info.context - have) {
    return {};
  }
  return Fail(
      ErrorCode::kContextTooLong,
      fmt::format(
          "The prompt has {} tokens and {}, but the context of this model is {} tokens here; "
          "shorten the prompt{}.",
          have,
          max_tokens.has_value() ? fmt::format("max_tokens is {}", *max_tokens)
                                 : std::string("at least 1 must be left for the answer"),
          info.context, max_tokens.has_value() ? " or lower max_tokens" : ""),
      path);
}

Result<engine::SamplingParams> Sampling(const chat::Sampling& from,
                                        const engine::Tokenizer& tokenizer) {
  engine::SamplingParams out;
  out.temperature = from.temperature.value_or(out.temperature);
  out.top_k = from.top_k.value_or(out.top_k);
  out.top_p = from.top_p.value_or(out.top_p);
  out.min_p = from.min_p.value_or(out.min_p);
  out.typical_p = from.typical_p.value_or(out.typical_p);
  out.repetition_penalty = from.repetition_penalty.value_or(out.repetition_penalty);
  out.frequency_penalty = from.frequency_penalty.value_or(out.frequency_penalty);
  out.presence_penalty = from.presence_penalty.value_or(out.presence_penalty);
  out.seed = from.seed;
  for (const auto& [id, bias] : from.logit_bias) {
    if (id < 0 || id >= tokenizer.vocab_size()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("`logit_bias` names the token {}, outside the model's {} tokens.", id,
                              tokenizer.vocab_size()),
                  "logit_bias");
    }
    out.logit_bias.emplace_back(static_cast<engine::TokenId>(id), bias);
  }
  return out;
}

Result<StreamPlan> MakePlan(const chat::Generation& generation, const engine::Engine& engine,
                            const engine::EngineOptions& options) {
  StreamPlan plan;
  plan.n = generation.n;
  plan.deadline = generation.deadline;
  TW_ASSIGN_OR_RETURN(plan.request.sampling, Sampling(generation.sampling, engine.tokenizer()));
  plan.request.max_tokens = static_cast<int>(
      std::min<int64_t>(generation.max_tokens.value_or(-1), engine.info().context));
  plan.request.stop = generation.stop;
  plan.request.top_logprobs = generation.top_logprobs;
  plan.request.ignore_end = generation.ignore_end;
  plan.request.cache_scope = generation.cache_scope;
  // Never more than an idle engine's queue takes, or a large request could never be admitted.
  plan.in_flight_max = std::max(1, std::min(engine.info().slots, options.queue));
  return plan;
}

// Entries that can be in memory at once: all of the prompts, which come before the first byte, and
// those of the answer unless it is streamed. CheckContext has bounded each sequence.
int64_t LogprobEntries(const StreamPlan& plan, const chat::Generation& generation,
                       int64_t context) {
  int64_t tokens = 0;
  for (const PreparedPrompt& prompt : plan.prompts) {
    const auto have = static_cast<int64_t>(prompt.ids.size());
    tokens += plan.request.prompt_logprobs ? have : 0;
    tokens += generation.stream ? 0 : generation.max_tokens.value_or(context - have);
  }
  return tokens * plan.n * (1 + plan.request.top_logprobs);
}

// What a caller can do about too many of them.
std::string FewerLogprobs(const StreamPlan& plan, const chat::Generation& generation,
                          std::string_view field) {
  std::vector<std::string> ways;
  if (plan.prompts.size() > 1) {
    ways.emplace_back("send fewer prompts per request");
  }
  if (plan.request.top_logprobs > 0) {
    ways.push_back(fmt::format("lower `{}`", field));
  }
  if (plan.n > 1) {
    ways.emplace_back("lower `n`");
  }
  if (!generation.stream && generation.max_tokens.value_or(2) > 1) {
    ways.emplace_back(generation.max_tokens.has_value() ? "lower `max_tokens`"
                                                        : "set `max_tokens`");
  }
  if (ways.empty()) {
    ways.emplace_back("shorten the prompt");
  }
  return fmt::format("{}", fmt::join(ways, ", or "));
}

using Prompts = std::vector<PreparedPrompt>;

Result<Prompts> PreparePrompts(const engine::Engine& engine,
                               const chat::CompletionRequest& request) {
  Prompts out;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string path = request.prompts.size() == 1 ? "prompt" : fmt::format("prompt[{}]", i);
    TW_ASSIGN_OR_RETURN(PreparedPrompt prompt, PrepareCompletion(engine, request.prompts[i], path));
    if (prompt.ids.empty()) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("`{}` is empty, and this model has no token for the start of a text.", path),
          path);
    }
    TW_RETURN_IF_ERROR(CheckContext(prompt, request.max_tokens, engine.info(), path));
    out.push_back(std::move(prompt));
  }
  return out;
}

LocalProvider::Tokens Describe(const engine::Engine& engine,
                               const std::vector<engine::TokenId>& ids) {
  LocalProvider::Tokens out;
  out.context = engine.info().context;
  for (const engine::TokenId id : ids) {
    out.ids.push_back(id);
    out.texts.push_back(ReplaceInvalidUtf8(engine.tokenizer().TokenBytes(id)));
  }
  return out;
}

}  // namespace

LocalProvider::LocalProvider(std::shared_ptr<const catalog::LocalModels> models,
                             const LocalOptions& options, EngineLoader loader)
    : logprobs_(limits::kLogprobEntriesInFlightMax),
      pool_(std::move(models), options.engine, options.loaded_max, std::move(loader)) {}

Status LocalProvider::HoldLogprobs(const chat::Generation& generation, int64_t context,
                                   std::string_view field, StreamPlan& plan) {
  if (plan.request.top_logprobs < 0) {
    return {};
  }
  const int64_t entries = LogprobEntries(plan, generation, context);
  if (entries > limits::kLogprobEntriesMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`{}` asks for up to {} log-probabilities, alternatives included, but "
                            "a request may have {}; {}.",
                            field, entries, limits::kLogprobEntriesMax,
                            FewerLogprobs(plan, generation, field)),
                std::string(field));
  }
  plan.logprobs = BudgetShare(logprobs_);
  if (!plan.logprobs.GrowTo(entries)) {
    return Fail(Error{ErrorCode::kTooManyRequests,
                      fmt::format("Other requests hold so many log-probabilities that the {} of "
                                  "this one find no room; try again soon.",
                                  entries),
                      std::string(field), 1000});
  }
  return {};
}

Task<Result<std::unique_ptr<ChatStream>>> LocalProvider::Chat(const chat::ChatRequest& request) {
  TW_CO_ASSIGN_OR_RETURN(const ModelPool::Lease lease,
                         co_await pool_.Acquire(request.model, request.deadline));
  TW_CO_ASSIGN_OR_RETURN(StreamPlan plan, MakePlan(request, lease.engine(), pool_.options()));
  // The job has its own copy: it may run on after this coroutine is gone.
  std::function<Result<PreparedPrompt>()> job = [lease, messages = request.messages,
                                                 kwargs = request.template_kwargs_json,
                                                 generate = request.add_generation_prompt] {
    return PrepareChat(lease.engine(), messages, kwargs, generate);
  };
  TW_CO_ASSIGN_OR_RETURN(PreparedPrompt prompt,
                         co_await workers_.Run(std::move(job), request.deadline));
  TW_CO_RETURN_IF_ERROR(
      CheckContext(prompt, request.max_tokens, lease.engine().info(), "messages"));
  plan.prompts.push_back(std::move(prompt));
  TW_CO_RETURN_IF_ERROR(HoldLogprobs(request, lease.engine().info().context,
                                     request.top_logprobs > 0 ? "top_logprobs" : "logprobs", plan));
  co_return LocalStream::Open(lease, std::move(plan));
}

Task<Result<std::unique_ptr<ChatStream>>> LocalProvider::Complete(
    const chat::CompletionRequest& request) {
  TW_CO_ASSIGN_OR_RETURN(const ModelPool::Lease lease,
                         co_await pool_.Acquire(request.model, request.deadline));
  TW_CO_ASSIGN_OR_RETURN(StreamPlan plan, MakePlan(request, lease.engine(), pool_.options()));
  plan.echo = request.echo;
  plan.request.prompt_logprobs = request.echo && request.top_logprobs >= 0;
  // Harnesses that score a prompt ask for one more token and drop the last entry of the lists; when
  // that token ends the turn, the engine leaves it out, and they would drop a token of the prompt
  // instead.
  plan.keep_end_token = plan.request.prompt_logprobs && request.max_tokens == 1;
  plan.request.ignore_end = plan.request.ignore_end || plan.keep_end_token;
  std::function<Result<Prompts>()> job = [lease, request] {
    return PreparePrompts(lease.engine(), request);
  };
  TW_CO_ASSIGN_OR_RETURN(plan.prompts, co_await workers_.Run(std::move(job), request.deadline));
  TW_CO_RETURN_IF_ERROR(HoldLogprobs(request, lease.engine().info().context, "logprobs", plan));
  co_return LocalStream::Open(lease, std::move(plan));
}

Task<Result<LocalProvider::Tokens>> LocalProvider::TokenizeChat(std::string id,
                                                                const chat::ChatRequest& request) {
  TW_CO_ASSIGN_OR_RETURN(const ModelPool::Lease lease, co_await pool_.Acquire(std::move(id)));
  std::function<Result<Tokens>()> job =
      [lease, messages = request.messages, kwargs = request.template_kwargs_json,
       generate = request.add_generation_prompt]() -> Result<Tokens> {
    TW_ASSIGN_OR_RETURN(const PreparedPrompt prompt,
                        PrepareChat(lease.engine(), messages, kwargs, generate));
    return Describe(lease.engine(), prompt.ids);
  };
  co_return co_await workers_.Run(std::move(job));
}

Task<Result<LocalProvider::Tokens>> LocalProvider::TokenizeText(std::string id, std::string text,
                                                                bool add_special_tokens) {
  TW_CO_ASSIGN_OR_RETURN(const ModelPool::Lease lease, co_await pool_.Acquire(std::move(id)));
  std::function<Result<Tokens>()> job = [lease, text = std::move(text),
                                         add_special_tokens]() -> Result<Tokens> {
    TW_ASSIGN_OR_RETURN(
        const PreparedPrompt prompt,
        PrepareCompletion(lease.engine(), {text, {}, false}, "prompt", add_special_tokens));
    return Describe(lease.engine(), prompt.ids);
  };
  co_return co_await workers_.Run(std::move(job));
}

Task<Result<std::string>> LocalProvider::Detokenize(std::string id, std::vector<int64_t> ids) {
  TW_CO_ASSIGN_OR_RETURN(const ModelPool::Lease lease, co_await pool_.Acquire(std::move(id)));
  std::function<Result<std::string>()> job = [lease,
                                              ids = std::move(ids)]() -> Result<std::string> {
    TW_ASSIGN_OR_RETURN(PreparedPrompt prompt,
                        PrepareCompletion(lease.engine(), {"", ids, true}, "tokens"));
    return std::move(prompt.text);
  };
  co_return co_await workers_.Run(std::move(job));
}

}  // namespace tradewind::providers
