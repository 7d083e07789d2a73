// The limits of the caller's key.
#include <algorithm>
#include <span>
#include <utility>

#include "gateway/gateway.h"

namespace tradewind::gateway {
namespace {

constexpr int64_t kBytesPerToken = 4;  // English prose; what was used corrects it afterwards

// As much as the request may use, where it says so.
int64_t TokensEstimate(const Order& order) {
  const int64_t prompt = order.facts.input_bytes / kBytesPerToken;
  if (order.endpoint == providers::Endpoint::kEmbeddings) {
    return prompt;
  }
  constexpr int64_t kOutputMax = int64_t{1} << 32;  // nonsense beyond; keeps the product small
  constexpr int64_t kChoicesMax = 128;
  const int64_t output =
      std::clamp<int64_t>(order.facts.max_tokens.value_or(routing::kOutputTokensExpected), 0,
                          kOutputMax) *
      std::clamp<int64_t>(order.facts.n, 1, kChoicesMax);
  return prompt + output;
}

}  // namespace

Result<routing::RateLease> Gateway::AcquireRate(const Call& call, const Order& order) {
  if (call.caller == nullptr) {
    return routing::RateLease();
  }
  const identity::Principal& caller = *call.caller;
  const routing::RateLimits limits{caller.limits.requests_per_minute,
                                   caller.limits.tokens_per_minute, caller.limits.concurrency};
  if (!limits.any()) {
    return routing::RateLease();
  }
  const routing::RateSubject key{"key", caller.key_id, caller.key_name, limits};
  auto lease = limiter_.Acquire(std::span(&key, 1), TokensEstimate(order));
  if (!lease.has_value()) {
    metrics_
        .GetCounter("tradewind_rate_limited_total", "Requests over a limit of their key, by kind.",
                    {{"kind", lease.error().subject_kind}})
        .Increment();
    return Fail(lease.error().ToError());
  }
  return std::move(*lease);
}

}  // namespace tradewind::gateway
