// One loaded model and the thread that runs it: admits sequences, batches them, runs prefill and
// decode steps, streams tokens. Knows neither HTTP nor money nor chat dialects.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/cache/kv_type.h"
#include "engine/kernels/activation_type.h"
#include "engine/prompt/chat_template.h"
#include "engine/sampler/sampler.h"
#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

struct EngineOptions {
  int context = 8192;  // positions per sequence; clamped to what the model was trained for
  int slots = 8;       // sequences that share each pass over the weights
  int queue = 64;      // sequences that may wait for a slot; beyond it Submit says kTooManyRequests
  int threads = 0;     // 0 = the CPUs this process may use (affinity and cgroup)
  KvType kv_type = KvType::kF16;
  ActivationType activations = ActivationType::kMixed;
  // Memory for keys and values, of running sequences and of those that ended and may be gone on
  // from. 0 = slots x context, at most a quarter of the memory there is, at least one context.
  int64_t kv_bytes = 0;
  bool prefix_cache = true;  // sequences go on from equal beginnings instead of evaluating again
  std::string kernels = {};  // "" = the best this CPU has; "scalar", "avx2", "avx512" force one
};

// What `show` and `ps` print of a model; constant after load.
struct ModelInfo {
  std::string architecture, name, license,
      quantization;  // quantization: the type most weight bytes have ("Q4_1")
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  int layers = 0, model_dim = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn_dim = 0, vocab_size = 0;
  int context_trained = 0;  // positions the file says the model was trained for
  int context = 0;          // positions a sequence may use here
  bool has_chat_template = false;
  std::string kv_type;  // "f16"
  int64_t kv_bytes_per_token = 0;
  std::string kernels;      // "avx512"
  std::string activations;  // "mixed"
  int threads = 0;
  int slots = 0;
};

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kError };

struct GenerateRequest {
  std::vector<TokenId> prompt;  // at least one id; BOS included if wanted
  int max_tokens = -1;          // -1 = up to the context; 0 = only evaluate the prompt
  SamplingParams sampling;
  std::vector<std::string> stop;  // the output ends before the first of these; never emitted
  int top_logprobs = -1;  // -1 = no log-probabilities; 0 = of the chosen tokens; n = and the n best
  bool prompt_logprobs = false;  // log-probability of each prompt token given those before it
  bool ignore_end = false;       // go on after an end-of-turn token
  // Evaluated beginnings are shared within a scope only: how fast an answer begins, and
  // cached_tokens, tell whether somebody in the scope has sent the same beginning before.
  std::string cache_scope;
};

struct LogprobEntry {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // empty for the first prompt token, which nothing precedes
  bool has_value = true;          // false for the first prompt token
};

// A piece of a generation, in order. `text` is complete UTF-8; text that could still become a stop
// string is held back.
struct GenerateEvent {
  std::string text;
  std::vector<TokenId>
      tokens;  // tokens sampled since the event before (an end token is not among them)
  std::vector<LogprobEntry> logprobs;  // one per token when asked for
  std::vector<LogprobEntry>
      prompt_logprobs;  // once, in the first event, when asked for: one per prompt token
  std::optional<FinishReason> finish;  // set in the last event only
  std::string error;                   // with kError: what happened
};

struct GenerateStats {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt: those that did not have to be evaluated
  int output_tokens = 0;  // sampled tokens, the end token and a stop string's tokens included
  double queue_ms = 0, prefill_ms = 0,
         decode_ms = 0;  // waiting; admission to first token; first token to last
};

// A running or waiting sequence. Owned by the consumer; destroying it cancels. One consumer thread;
// the engine's thread fills the queue, whose bound is kEventsQueuedMax: when it is full the engine
// leaves this sequence out of its steps.
class Generation {
 public:
  virtual ~Generation() = default;
  // The next event if one is ready. After the event with `finish` set there are none.
  virtual std::optional<GenerateEvent> TryNext() = 0;
  // `on_ready` is called, from the engine's thread, each time the queue turns from empty to
  // non-empty; and at once if it is not empty now. It must not block, throw, or call back into the
  // Generation. Replaces the one before; {} removes it, and when SetOnReady returns, the old
  // callback is not running and will not run again.
  virtual void SetOnReady(std::function<void()> on_ready) = 0;
  // Blocks until an event is ready: for tests and tools that have no event loop.
  virtual GenerateEvent Next() = 0;
  // The slot is free at the next token. Idempotent.
  virtual void Cancel() = 0;
  virtual GenerateStats stats() const = 0;  // final after the last event
};

struct EngineStats {
  int slots = 0, slots_used = 0, queued = 0;
  // Prompt tokens that were evaluated, tokens that were sampled.
  uint64_t prompt_tokens_total = 0, output_tokens_total = 0, steps_total = 0, sequences_total = 0;
  uint64_t cancelled_total = 0, refused_total = 0;
  uint64_t cached_tokens_total = 0;  // prompt tokens that did not have to be evaluated
  uint64_t requeued_total = 0;       // times a running sequence had to wait for memory again
  int64_t kv_bytes = 0;              // of running sequences
  int64_t kv_bytes_idle = 0;         // of ended ones, until memory is needed
  int64_t kv_bytes_max = 0;
  double decode_tokens_per_s = 0;  // over the last second of work; 0 when idle
};

// What one position costs in the KV cache of a model of this shape.
int64_t KvBytesPerToken(int64_t layers, int64_t kv_heads, int64_t head_dim, KvType type);

class Engine {
 public:
  virtual ~Engine() = default;

  // Errors: kNotFound, kCorruptFile, kUnsupported (architecture, tensor type, kernels not on this
  // CPU), kResourceExhausted, kInvalidArgument (options).
  static Result<std::unique_ptr<Engine>> Load(const std::filesystem::path& path,
                                              const EngineOptions& options);

  // Queues sequences, all or none: the choices of one request go in together. Any thread.
  // Errors: kContextTooLong (prompt and max_tokens do not fit; says both numbers), kTooManyRequests
  // (with retry_after_ms), kInvalidArgument (empty prompt, token id out of range), kUnavailable
  // (draining).
  virtual Result<std::vector<std::unique_ptr<Generation>>> Submit(
      std::vector<GenerateRequest> requests) = 0;

  // Stops admitting; running and queued sequences go on. The destructor cancels what is left and
  // joins.
  virtual void Drain() = 0;

  virtual const ModelInfo& info() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const ChatTemplate& chat_template() const = 0;
  virtual EngineStats stats() const = 0;
};

}  // namespace tradewind::engine
