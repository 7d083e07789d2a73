// Usage x price -> nano-USD. Exact: products in 128 bits, rounded up once per request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "catalog/mapping.h"

namespace tradewind::pricing {

// What a request used. Whatever has no price of its own is charged as what it is part of.
struct TokenCounts {
  int64_t input = 0;
  int64_t cached = 0;  // of the input
  int64_t output = 0;
  // Of the input, beside `cached`: written to the provider's cache; nullopt: it did not say.
  std::optional<int64_t> cache_write = {};
  int64_t cache_write_1h = 0;  // of `cache_write`: kept for an hour
  int64_t reasoning = 0;       // of the output: thought, not said
  int64_t audio_input = 0;     // of the input, cached or not
  int64_t audio_output = 0;    // of the output, beside `reasoning`
  int64_t images = 0;          // pictures in the request
  int64_t requests = 1;
  size_t service = 0;  // the service tier that it was served at: catalog::Prices::ServiceOf
};

// Every token at the prices of the service tier and of the tier that the whole input falls into.
// Errors: kInvalidArgument
// with param "price" (unpriced, which is not zero; negative), "usage" (a negative count, parts that
// are more than their whole, writes that have a price of their own and are not counted),
// kResourceExhausted (beyond 64 bits of nano-USD).
Result<int64_t> CostNanoUsd(const catalog::Prices& prices, const TokenCounts& counts);

// Some of it was written to the provider's cache, and the route has no price of that: CostNanoUsd
// takes it for other input, which most providers bill for less.
bool HasUnpricedWrites(const catalog::Prices& prices, const TokenCounts& counts);

// Of the service tier `asked` for and the usual one: where such a usage costs more, which is where
// it was served as far as nobody says.
size_t DearerService(const catalog::Prices& prices, TokenCounts counts, size_t asked);

// What no usage of a request goes beyond.
struct UsageBounds {
  int64_t input_max = 0;
  int64_t output_max = 0;  // the cap of each choice
  int64_t choices = 1;
  int64_t images = 0;
  bool may_have_audio_input = false, may_have_audio_output = false;
  bool may_write_cache_1h = false;
  // The service tier that was asked for: a provider serves it there, or at the usual one.
  size_t service = 0;
  catalog::CapTrust cap_trust = {};              // how far answers stay within their cap
  std::optional<int64_t> model_output_max = {};  // beyond which none is, whatever its cap is
};

// The most that a request can cost: in the dearest tier that its input can reach, at the usual
// service tier or at the one asked for, its whole input
// at the dearest of its prices (fresh, read from a cache, written to one for as long as it may be,
// sound), and every one of its answers, as long as it may get, at the dearest of theirs; pictures
// and the request itself as often as there are choices. At least CostNanoUsd of every usage within
// these bounds. Errors: as above.
Result<int64_t> WorstCaseNanoUsd(const catalog::Prices& prices, const UsageBounds& bounds);

// The longest answers, at most `bounds.output_max` tokens each, whose worst case stays within
// `budget`; 0 when not even the input does.
int64_t AffordableOutput(const catalog::Prices& prices, const UsageBounds& bounds,
                         int64_t budget_nanousd);

}  // namespace tradewind::pricing
