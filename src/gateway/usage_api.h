// Asks providers' usage interfaces what a whole account used and cost, day by day and page by page.
// Sources: OpenAI's API reference, organization/usage/completions and organization/costs;
// Anthropic's Admin API, usage_report/messages and cost_report.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "billing/remote_bill.h"
#include "catalog/provider_config.h"
#include "http/upstream.h"
#include "http/url.h"

namespace tradewind::gateway {

// A provider that can be asked.
struct UsageSource {
  std::string provider;  // slug
  catalog::UsageApi api = catalog::UsageApi::kOpenAi;
  http::Url url;    // what stands before /organization/usage
  std::string key;  // an organisation's own, not that of requests
  bool allow_private = false;
  std::chrono::milliseconds every{0};  // 0: when somebody asks for it
};

// Whole days of UTC: both are multiples of a day.
struct UsageDays {
  int64_t from_s = 0, to_s = 0;
};

// Providers count late: a day is looked at unasked when it has been over for so long.
inline constexpr int64_t kUsageLateS = 3 * 3600;
inline constexpr int kUsagePagesMax = 64;  // of one report: 31 days of a page make five years
inline constexpr int64_t kUsageWaitMaxMs = 60'000;  // a longer Retry-After is for another time
inline constexpr int kUsageTriesMax = 3;            // of one page

// What is looked at unasked at a time: the days that are over for kUsageLateS, of their month.
// Three days into a month the one before is still among them, as what came late stands at its end.
UsageDays UsageDaysAt(int64_t now_s);

// All lines of the days, or none: those of one day with their tokens by model, and their cost as
// the provider tells it (by model, or of all together); of a day without any, one that costs
// nothing. On an event loop; `client` outlives it. A page that is cut, refused for a moment (429
// with a Retry-After up to kUsageWaitMaxMs, 5xx) or late is asked for again, kUsageTriesMax times
// in all. Errors, each with the next step: kUnauthenticated and kPermissionDenied (the key),
// kTooManyRequests, kUpstreamFailed (another status; what it says is no report, or contradicts
// itself: a day twice, times that nobody asked for, pages without an end), and those of the call.
Task<Result<std::vector<billing::BillLine>>> FetchUsage(http::UpstreamClient& client,
                                                        UsageSource source, UsageDays days,
                                                        const Clock& clock);

}  // namespace tradewind::gateway
