// Logits -> token. The API's order: logit_bias and penalties over the generated text, then
// temperature, then the filters top_k, typical, top_p, min_p, then one draw. Temperature 0 is
// argmax, lowest id on ties. Definitions: docs/internals/sampling.md; checked against golden
// vectors of transformers' processors.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

struct SamplingParams {
  float temperature = 1.0f;  // 0 = argmax
  int top_k = 0;             // 0 = off
  float top_p = 1.0f;        // 1 = off; keeps the crossing token
  float min_p = 0.0f;        // 0 = off
  float typical_p = 1.0f;    // 1 = off
  // 1 = off; over the prompt and the generated text, as transformers has it.
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;  // OpenAI: over the generated text only
  float presence_penalty = 0.0f;
  // Added before sampling; ids are valid, each once.
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  std::optional<uint64_t> seed = {};  // absent = random
};

// One token and its natural-log probability under softmax(raw logits): before bias, penalties,
// temperature, filters.
struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0;
};

// The single stages, in place on logits [V]; -infinity = removed. Public for their tests. Ids
// outside [0, V) are skipped.
void ApplyTemperature(std::span<float> logits, float temperature);  // temperature > 0
void ApplyTopK(std::span<float> logits, int k);    // keeps every entry equal to the k-th
void ApplyTopP(std::span<float> logits, float p);  // lowest id first on ties
void ApplyMinP(std::span<float> logits, float p);
void ApplyTypicalP(std::span<float> logits, float p);  // keeps ties of the border
void ApplyRepetitionPenalty(std::span<float> logits, std::span<const TokenId> history,
                            float penalty);
void ApplyFrequencyPresence(std::span<float> logits, std::span<const TokenId> generated,
                            float frequency, float presence);
void ApplyLogitBias(std::span<float> logits, std::span<const std::pair<TokenId, float>> bias);

// A token that may still be drawn. weight = exp(logit - max over the vocabulary).
struct Candidate {
  float logit = 0;
  float weight = 0;
  TokenId id = 0;
};

// One per sequence; not thread-safe. The same seed, parameters, build and logits give the same
// tokens.
class Sampler {
 public:
  Sampler(SamplingParams params, std::span<const TokenId> prompt);

  // Picks the next token and remembers it for the penalties. `logits` [V], V >= 1, is used as
  // scratch: contents are lost. NaN counts as -infinity. Without a finite maximum (all -infinity,
  // or a +infinity) the choice is the argmax.
  TokenId Sample(std::span<float> logits);

  const SamplingParams& params() const { return params_; }

 private:
  void ApplyPenalties(std::span<float> logits) const;
  TokenId Draw(std::span<float> logits);  // logits <= 0, the largest is 0
  void Remember(TokenId id);

  SamplingParams params_;
  std::vector<TokenId> seen_;  // distinct ids of prompt and output, for the repetition penalty
  std::unordered_map<TokenId, int>
      counts_;                         // per id: times generated; ids of the prompt alone have 0
  std::vector<Candidate> candidates_;  // scratch, ascending by id
  std::mt19937_64 random_;
};

// Log-probabilities of raw logits [V]: of `id`, and of the `top` most likely (descending; lowest id
// first on ties).
TokenLogprob LogprobOf(std::span<const float> logits, TokenId id);
std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, int top);

}  // namespace tradewind::engine
