#include "billing/ending.h"

namespace tradewind::billing {

Ending EndingOf(const Ended& ended) {
  if (!ended.was_sent) {
    return Ending::kVoid;
  }
  if (ended.usage.has_value() && (ended.usage->is_whole() || ended.cost_is_told)) {
    return Ending::kSettle;
  }
  if (ended.surely_unbilled) {
    return Ending::kVoid;
  }
  if (ended.is_complete) {
    return ended.can_be_asked ? Ending::kDoubtMetered : Ending::kMetered;
  }
  if (ended.delivered_bytes > 0) {
    return Ending::kDoubtMetered;
  }
  return ended.likely_billed || ended.usage.has_value() ? Ending::kDoubtHeld : Ending::kDoubtVoid;
}

namespace {
constexpr int64_t kTokensOnTheirWay = 64;
}

int64_t TextTokens(int64_t bytes) {
  constexpr int64_t kBytesPerToken = 3;
  return (bytes + kBytesPerToken - 1) / kBytesPerToken;
}

int64_t MostTokens(int64_t delivered_bytes, int64_t answers) {
  int64_t most = 0;
  return __builtin_mul_overflow(answers, kTokensOnTheirWay, &most) ||
                 __builtin_add_overflow(most, delivered_bytes, &most)
             ? INT64_MAX
             : most;
}

}  // namespace tradewind::billing
