// The limits of the caller's key, and of the organisation that pays.
#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

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

routing::RateLimits LimitsOf(const identity::KeyLimits& stored) {
  return {stored.requests_per_minute, stored.tokens_per_minute, stored.concurrency};
}

}  // namespace

Result<routing::RateLease> Gateway::AcquireRate(const Call& call, const Order& order) {
  if (call.caller == nullptr) {
    return routing::RateLease();
  }
  const identity::Principal& caller = *call.caller;
  // The organisation that pays: the one that the caller named, or his key's.
  const bool is_named = call.bill_to.has_value();
  const std::array<routing::RateSubject, 2> all = {{
      {"key", caller.key_id, caller.key_name, LimitsOf(caller.limits)},
      {"org", is_named ? call.bill_to->org_id : caller.org_id,
       is_named ? call.bill_to->org : caller.org,
       LimitsOf(is_named ? call.bill_to->limits : caller.org_limits)},
  }};
  std::vector<routing::RateSubject> limited;
  std::ranges::copy_if(all, std::back_inserter(limited),
                       [](const routing::RateSubject& one) { return one.limits.any(); });
  if (limited.empty()) {
    return routing::RateLease();
  }
  auto lease = limiter_.Acquire(limited, TokensEstimate(order));
  if (!lease.has_value()) {
    metrics_
        .GetCounter("tradewind_rate_limited_total",
                    "Requests over a limit, by whose it was: key, org.",
                    {{"kind", lease.error().subject_kind}})
        .Increment();
    return Fail(lease.error().ToError());
  }
  return std::move(*lease);
}

}  // namespace tradewind::gateway
