// Our own nouns for a conversation with a model: what dialects/ parse wire formats into, and what
// providers/ answer with.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tradewind::chat {

struct ContentPart {
  enum class Kind { kText, kImageUrl } kind = Kind::kText;
  std::string text;  // the text, or the URL
};

struct Message {
  std::string role;                  // "system", "developer", "user", "assistant", "tool"
  std::vector<ContentPart> content;  // empty when there is none (an assistant's pure tool call)
  std::string name;                  // optional
  std::string tool_call_id;          // of a tool result
  std::string tool_calls_json;       // an assistant's calls as a JSON array, or empty
};

// Sampling as every dialect has it. Absent = the API's default (OpenAI's: temperature 1, top_p 1,
// no top_k).
struct Sampling {
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty, frequency_penalty,
      presence_penalty;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
  std::vector<std::pair<int64_t, float>> logit_bias;
};

// What chat and plain completions share.
struct Generation {
  std::string model;  // as the caller wrote it
  Sampling sampling;
  std::optional<int64_t> max_tokens;
  std::vector<std::string> stop;
  int n = 1;
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
  int top_logprobs = -1;       // -1 = none
  bool ignore_end = false;     // ignore_eos, as vLLM and llama.cpp have it: for benchmarks
  // Who may notice each other: a model on this device shares evaluated beginnings within it only.
  std::string cache_scope;
  // Whoever answers is done by then, or fails with kDeadlineExceeded.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

struct ChatRequest : Generation {
  std::vector<Message> messages;
  std::string template_kwargs_json;  // chat_template_kwargs, or empty
  bool add_generation_prompt = true;
};

// /v1/completions: each prompt is text or ids; the choices of prompt p are p*n .. p*n + n-1.
struct CompletionRequest : Generation {
  struct Prompt {
    std::string text;
    std::vector<int64_t> ids;  // used when `is_ids`
    bool is_ids = false;
  };
  std::vector<Prompt> prompts;
  bool echo = false;
};

enum class FinishReason { kStop, kLength, kError };

struct TokenLogprob {
  std::string token;  // text as UTF-8; invalid parts are U+FFFD
  std::string bytes;  // what it adds to the text, exactly; empty for a sampled special token
  int64_t id = 0;
  double logprob = 0;
  bool has_value = true;          // false for the first prompt token of an echo
  std::vector<TokenLogprob> top;  // alternatives, best first
};

struct Usage {
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  int64_t cached_tokens = 0;     // of the input: not evaluated again
  int64_t reasoning_tokens = 0;  // of the output: thought, not said
  // Of the input: written to a provider's cache, which may cost extra; nullopt: it did not say.
  std::optional<int64_t> cache_write_tokens = {};
  // Of those: to be kept for an hour, which may cost more again; nullopt: it did not say.
  std::optional<int64_t> cache_write_1h_tokens = {};
  int64_t audio_input_tokens = 0, audio_output_tokens = 0;  // of the input and of the output: sound
  std::string service_tier = {};  // that the provider says it was served at; "": it did not say
  std::optional<int64_t> cost_nanousd = {};  // all of it, where the provider says so, rounded up
  // Half of it was said: of this one nobody knows anything, and its counts are 0 here.
  bool lacks_input = false, lacks_output = false;

  bool is_whole() const { return !lacks_input && !lacks_output; }
};

// What the answer cost and how fast it was: the receipt.
struct Receipt {
  int64_t cost_nanousd = 0;
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;
};

// One step of an answer, for one choice; the last one of the whole answer has `done`, usage and
// receipt.
struct ChatEvent {
  int choice = 0;
  std::string text;                    // with `echo` the prompt's text comes first
  std::vector<TokenLogprob> logprobs;  // of the tokens sampled since the choice's event before
  std::vector<TokenLogprob> prompt_logprobs;  // with `echo`: once per choice, in its first event
  std::optional<FinishReason> finish;
  bool done = false;
  Usage usage;
  Receipt receipt;
};

}  // namespace tradewind::chat
