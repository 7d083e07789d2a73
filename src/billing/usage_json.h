// Bills as the usage and cost interfaces of providers give them: pages of {"data":[{start, end,
// "results":[...]}]}. Sources: OpenAI's organization/usage and organization/costs, Anthropic's
// usage_report and cost_report.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "billing/remote_bill.h"

namespace tradewind::billing {

struct UsagePage {
  std::vector<BillLine> lines;  // by time and model; results of one model and time are added up
  std::vector<std::pair<int64_t, int64_t>> times;  // [start, end) of its entries, empty ones too
  bool has_more = false;
  std::string next_page;  // what asks for the next one; "" = it does not say
};

// One page of several. Errors: kInvalidArgument (param file), naming the field: it is none; a count
// is negative, no whole number or beyond kBillCountMax; an amount is none of USD.
Result<UsagePage> ReadUsagePage(std::string_view text, std::string_view provider, bool is_invoice);

// A page that is all there is. Errors: those of ReadUsagePage; it has more pages, so that a part
// would pass for all.
Result<std::vector<BillLine>> ReadUsageJson(std::string_view text, std::string_view provider,
                                            bool is_invoice);

}  // namespace tradewind::billing
