// The tiny requests of a probe, and what their answers show. They cost what any request costs:
// about 600 tokens in all for a chat model. So they stand in the ledger as any, charged to nobody.
#pragma once

#include "base/clock.h"
#include "base/task.h"
#include "billing/meter.h"
#include "catalog/mapping.h"
#include "http/upstream.h"
#include "routing/market.h"
#include "routing/probe_checks.h"

namespace tradewind::gateway {

// What is asked, and where. On an event loop; everything must outlive the tasks.
struct Probe {
  http::UpstreamClient& client;
  const routing::MarketPlace& place;
  const catalog::Mapping& mapping;
  const Clock& clock;
  billing::Meter* meter = nullptr;  // null: nothing is counted
  ledger::RequestId receipt = {};   // of all its requests
};

// The first request: does it answer, in form and in time?
Task<routing::ProbeSeen> SeeFirst(const Probe& probe);

// Of a chat model that answered: does it call a tool, and follow a schema?
Task<void> SeeFurther(const Probe& probe, routing::ProbeSeen& seen);

}  // namespace tradewind::gateway
