// The tiny requests of a probe, and what their answers show. They cost what any request costs:
// about 600 tokens in all for a chat model.
#pragma once

#include "base/clock.h"
#include "base/task.h"
#include "catalog/mapping.h"
#include "http/upstream.h"
#include "routing/market.h"
#include "routing/probe_checks.h"

namespace tradewind::gateway {

// The first request: does it answer, in form and in time? On an event loop; everything must outlive
// the task.
Task<routing::ProbeSeen> SeeFirst(http::UpstreamClient& client, const routing::MarketPlace& place,
                                  const catalog::Mapping& mapping, const Clock& clock);

// Of a chat model that answered: does it call a tool, and follow a schema?
Task<void> SeeFurther(http::UpstreamClient& client, const routing::MarketPlace& place,
                      const catalog::Mapping& mapping, const Clock& clock,
                      routing::ProbeSeen& seen);

}  // namespace tradewind::gateway
