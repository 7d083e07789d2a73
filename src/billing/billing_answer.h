// Answers of providers that are asked what single requests cost: docs/formats/billing-protocol.md.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "billing/reconcile.h"

namespace tradewind::billing {

// The costs in an answer. Integers of nano-USD; a fraction is rounded up; -1 for what is negative,
// no number or beyond what a request can cost: the provider knows the request, and is asked again.
// Errors: kInvalidArgument: no such object.
Result<std::vector<BilledCost>> ReadBillingAnswer(std::string_view body);

}  // namespace tradewind::billing
