// Bills as the usage and cost interfaces of providers give them.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "billing/remote_bill.h"

namespace tradewind::console_api {

// A page of OpenAI's organization/usage or organization/costs, or of Anthropic's usage_report or
// cost_report: {"data":[{start, end, "results":[...]}]}. Results of one model and time are added up.
// Errors: kInvalidArgument (param file): it is none, or has more pages, so that a part would pass
// for all.
Result<std::vector<billing::BillLine>> ReadUsageJson(std::string_view text,
                                                     std::string_view provider, bool is_invoice);

}  // namespace tradewind::console_api
