// A provider's bill as CSV, from arbitrary bytes: no crash; what is read is read again as it was;
// and what was recorded falls into its cells once.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/result.h"
#include "billing/bill_cells.h"
#include "billing/remote_bill.h"

using namespace tradewind;
using namespace tradewind::billing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<std::vector<BillLine>> lines = ReadBillCsv(text, "site-a", true);
  if (!lines.has_value()) {
    TW_CHECK(lines.error().code == ErrorCode::kInvalidArgument);
    return 0;
  }
  const auto again = ReadBillCsv(WriteBillCsv(*lines), "site-a", true);
  TW_CHECK(again.has_value() && *again == *lines);
  if (lines->empty()) {
    return 0;
  }
  BillCells cells(*lines);
  TW_CHECK(cells.from_s() < cells.to_s());
  for (const int64_t at_s : {cells.from_s(), lines->back().start_s, cells.to_s() - 1}) {
    for (const std::string_view model :
         {std::string_view(lines->back().model), std::string_view("m")}) {
      cells.Add({.model = "org/model",
                 .provider_model = model,
                 .is_priced = true,
                 .at_s = at_s,
                 .input_tokens = 5,
                 .output_tokens = 7,
                 .cost = 11});
    }
  }
  const std::vector<Difference> found = cells.Take();
  int64_t unmatched = 0;
  for (const Difference& one : found) {
    TW_CHECK(!DifferenceClassName(one.kind).empty());
    static_cast<void>(one.certain_amount());
    unmatched += one.kind == DifferenceClass::kMissingRemote ? one.local.requests : 0;
  }
  TW_CHECK(found.size() >= lines->size() && unmatched <= 6);
  return 0;
}
