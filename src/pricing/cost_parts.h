// A cost taken apart again: what of it was which kind of token.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "catalog/mapping.h"
#include "pricing/cost.h"

namespace tradewind::pricing {

// The parts add up to the whole exactly.
struct CostParts {
  int64_t input = 0;  // neither read from a cache nor written to one, nor sound
  int64_t cached = 0, cache_write = 0, cache_write_1h = 0, output = 0;
  int64_t reasoning = 0, audio_input = 0, audio_output = 0, image = 0, request = 0;

  int64_t total() const {
    return input + cached + cache_write + cache_write_1h + output + reasoning + audio_input +
           audio_output + image + request;
  }
};

// CostNanoUsd in parts: each part exact and rounded down, and what the whole has more than these
// goes to those that lost most by it (the largest remainder; the earlier of two that are equal).
// Errors: those of CostNanoUsd.
Result<CostParts> CostPartsNanoUsd(const catalog::Prices& prices, const TokenCounts& counts);

}  // namespace tradewind::pricing
