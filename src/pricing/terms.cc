#include "pricing/terms.h"

#include <algorithm>

namespace tradewind::pricing {
namespace {

// USD per million tokens = 1,000 nano-USD per token.
constexpr int kNanoPerTokenExponent = 3;
constexpr int kNanoPerUsdExponent = 9;

std::unexpected<Error> Contradiction() {
  return Fail(ErrorCode::kInvalidArgument, "the usage contradicts itself", "usage");
}

Term PerToken(int64_t tokens, const Decimal& price) {
  return {tokens, price, price.exponent() + kNanoPerTokenExponent};
}

Term PerPiece(int64_t pieces, const std::optional<Decimal>& price) {
  const Decimal usd = price.value_or(Decimal());
  return {pieces, usd, usd.exponent() + kNanoPerUsdExponent};
}

// Writes cost extra only where they have another price than what they would be otherwise.
bool WritesCostExtra(const catalog::TokenPrices& prices) {
  return (prices.cache_write.has_value() && prices.cache_write != prices.input) ||
         (prices.cache_write_1h.has_value() && prices.cache_write_1h != prices.input);
}

Status SetInput(const catalog::TokenPrices& prices, const TokenCounts& counts, Terms& terms) {
  const int64_t written = counts.cache_write.value_or(0);
  if (counts.input < 0 || counts.cached < 0 || written < 0 || counts.cached > counts.input ||
      written > counts.input - counts.cached) {
    return Contradiction();
  }
  const int64_t for_an_hour = prices.cache_write_1h.has_value() ? counts.cache_write_1h : 0;
  if (for_an_hour < 0 || for_an_hour > written) {
    return Contradiction();
  }
  if (WritesCostExtra(prices) && !counts.cache_write.has_value() && counts.cached < counts.input) {
    return Fail(ErrorCode::kInvalidArgument,
                "tokens written to the cache have a price, and the usage does not count them",
                "usage");
  }
  int64_t fresh = counts.input - counts.cached - written, sound = 0;
  if (prices.audio_input.has_value()) {
    if (counts.audio_input < 0 || counts.audio_input > counts.input) {
      return Contradiction();
    }
    // Which of the cached ones are sound is not said: as few as can be.
    sound = std::min(counts.audio_input, fresh);
    fresh -= sound;
  }
  const auto at = [&](Unit unit) -> Term& { return terms[static_cast<size_t>(unit)]; };
  at(Unit::kInput) = PerToken(fresh, *prices.input);
  at(Unit::kCached) = PerToken(counts.cached, prices.cached_input.value_or(*prices.input));
  at(Unit::kCacheWrite) =
      PerToken(written - for_an_hour, prices.cache_write.value_or(*prices.input));
  at(Unit::kCacheWrite1h) = PerToken(for_an_hour, prices.cache_write_1h.value_or(Decimal()));
  at(Unit::kAudioInput) = PerToken(sound, prices.audio_input.value_or(Decimal()));
  return {};
}

Status SetOutput(const catalog::TokenPrices& prices, const TokenCounts& counts, Terms& terms) {
  if (counts.output < 0) {
    return Contradiction();
  }
  int64_t plain = counts.output;
  const auto take = [&](int64_t tokens, const std::optional<Decimal>& price, Unit unit) {
    const bool has_price = price.has_value();
    if (has_price && (tokens < 0 || tokens > plain)) {
      return false;
    }
    terms[static_cast<size_t>(unit)] = PerToken(has_price ? tokens : 0, price.value_or(Decimal()));
    plain -= has_price ? tokens : 0;
    return true;
  };
  if (!take(counts.reasoning, prices.reasoning, Unit::kReasoning) ||
      !take(counts.audio_output, prices.audio_output, Unit::kAudioOutput)) {
    return Contradiction();
  }
  terms[static_cast<size_t>(Unit::kOutput)] = PerToken(plain, *prices.output);
  return {};
}

}  // namespace

Result<Terms> TermsOf(const catalog::Prices& prices, const TokenCounts& counts) {
  const catalog::TokenPrices& tier =
      prices.OfService(counts.service).OfTier(prices.TierOf(counts.input));
  if (!prices.is_priced() || !tier.is_priced()) {
    return Fail(ErrorCode::kInvalidArgument, "the route has no price", "price");
  }
  if (counts.images < 0 || counts.requests < 0) {
    return Contradiction();
  }
  Terms terms;
  TW_RETURN_IF_ERROR(SetInput(tier, counts, terms));
  TW_RETURN_IF_ERROR(SetOutput(tier, counts, terms));
  terms[static_cast<size_t>(Unit::kImage)] = PerPiece(counts.images, prices.image);
  terms[static_cast<size_t>(Unit::kRequest)] = PerPiece(counts.requests, prices.request);
  if (std::ranges::any_of(terms, [](const Term& term) { return term.price.is_negative(); })) {
    return Fail(ErrorCode::kInvalidArgument, "a price is negative", "price");
  }
  return terms;
}

int LeastExponent(const Terms& terms) {
  int least = 0;
  for (const Term& term : terms) {
    least = term.is_zero() ? least : std::min(least, term.exponent);
  }
  return least;
}

}  // namespace tradewind::pricing
