// What a step evaluates.
#pragma once

#include <cstdint>

#include "engine/cache/kv_cache.h"
#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

// One row of a step: a token at a position of a sequence. The rows of one sequence stand together
// in ascending positions, without gaps, and the cache has room for them (KvSequence::Reserve) and
// holds every position before them.
struct BatchRow {
  TokenId token = 0;
  int64_t position = 0;
  KvSequence* cache = nullptr;
  bool wants_logits = false;
};

}  // namespace tradewind::engine
