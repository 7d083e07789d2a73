// A public price map in each of its formats, from arbitrary bytes: no crash; every row is priced or
// named, and what is priced can be charged: never below nothing, and never beyond its worst case.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/result.h"
#include "catalog/mapping.h"
#include "pricing/cost.h"
#include "pricing/price_map.h"

using namespace tradewind;
using namespace tradewind::pricing;

namespace {

void Charge(const catalog::Prices& prices) {
  constexpr int64_t kInput = 300'000, kOutput = 1000;
  UsageBounds bounds;
  bounds.input_max = kInput;
  bounds.output_max = kOutput;
  const Result<int64_t> most = WorstCaseNanoUsd(prices, bounds);
  const Result<int64_t> cost = CostNanoUsd(prices, {kInput, 0, kOutput, 0});
  if (most.has_value() && cost.has_value()) {
    TW_CHECK(*cost >= 0 && *cost <= *most);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const MapFormat format : {MapFormat::kAuto, MapFormat::kPortkey, MapFormat::kLiteLlm}) {
    const Result<PriceImport> read = ParsePriceMap(text, "fireworks-ai.json", format, "2026-11-27");
    if (!read.has_value()) {
      continue;
    }
    TW_CHECK(read->seen == read->rows.size() + read->unpriced.size());
    for (const RowNote& note : read->unpriced) {
      TW_CHECK(!note.reason.empty());
    }
    for (const catalog::PriceRow& row : read->rows) {
      TW_CHECK(!row.provider.empty());
      Charge(row.prices);
    }
  }
  return 0;
}
