// What a provider's usage interface and its billing answer, from arbitrary bytes: no crash; counts
// and amounts are within their bounds, and a page that has more never passes for a bill.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/check.h"
#include "base/result.h"
#include "billing/billing_answer.h"
#include "billing/usage_json.h"
#include "ledger/money.h"

using namespace tradewind;
using namespace tradewind::billing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<UsagePage> page = ReadUsagePage(text, "site-a", false);
  if (page.has_value()) {
    for (const BillLine& line : page->lines) {
      TW_CHECK(line.start_s < line.end_s);
      for (const auto field : {&BillLine::requests, &BillLine::input_tokens,
                               &BillLine::cached_tokens, &BillLine::output_tokens}) {
        TW_CHECK((line.*field).value_or(0) >= 0 && (line.*field).value_or(0) <= kBillCountMax);
      }
      TW_CHECK(std::abs(line.cost.value_or(0)) <= kBillCountMax);
    }
  }
  const auto whole = ReadUsageJson(text, "site-a", false);
  TW_CHECK(whole.has_value() == (page.has_value() && !page->has_more));
  TW_CHECK(!whole.has_value() || *whole == page->lines);
  if (const auto costs = ReadBillingAnswer(text); costs.has_value()) {
    for (const BilledCost& one : *costs) {
      TW_CHECK(one.cost >= -1 && one.cost <= ledger::kAmountMax);
    }
  }
  return 0;
}
