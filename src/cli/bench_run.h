// One measured repetition of `bench`: sequences through an engine, and how fast they went.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"

namespace tradewind::cli {

struct BenchPlan {
  int64_t prompt_tokens = 0, output_tokens = 0, concurrency = 1;
};

// "512x1x1,64x64x8": prompt tokens x output tokens x sequences, each from 1 to the given bounds.
// Errors: kInvalidArgument (param "plan").
Result<std::vector<BenchPlan>> ParseBenchPlans(std::string_view text, int64_t tokens_max,
                                               int64_t concurrency_max);

// One repetition, or the median of several.
struct BenchFigures {
  double prefill_per_s = 0;   // prompt tokens of all sequences until the last has its first token
  double first_token_ms = 0;  // mean over the sequences
  double decode_per_s = 0;    // tokens of all sequences together, while all of them decode
  double total_per_s = 0;     // output tokens over the wall time
  double wall_ms = 0;
};

// Random prompts of ordinary tokens, others each time: no prefix can be reused. Greedy, past the
// end token. Errors: those of Engine::Submit; kInternal when a sequence fails.
Result<BenchFigures> RunBenchPlan(engine::Engine& engine, const BenchPlan& plan,
                                  std::mt19937_64& random);

// Field by field; `all` is not empty.
BenchFigures MedianOf(const std::vector<BenchFigures>& all);

}  // namespace tradewind::cli
