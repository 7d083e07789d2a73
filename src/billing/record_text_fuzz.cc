// The texts of purchases and outcomes in the ledger's records, from arbitrary bytes: no crash; what
// is read is read again as it was; and the lines of a bill add up to what the attempt cost.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/decimal.h"
#include "billing/meters.h"
#include "billing/purchase.h"
#include "billing/recorder.h"
#include "catalog/mapping.h"

using namespace tradewind;
using namespace tradewind::billing;

namespace {

catalog::Prices AllPrices() {
  catalog::Prices prices;
  prices.input = Decimal::Parse("0.15").value();
  prices.cached_input = Decimal::Parse("0.075").value();
  prices.output = Decimal::Parse("0.6").value();
  prices.reasoning = Decimal::Parse("0.9").value();
  prices.audio_input = Decimal::Parse("1.5").value();
  prices.request = Decimal::Parse("0.001").value();
  prices.image = Decimal::Parse("0.002").value();
  return prices;
}

}  // namespace

// Two lines: a purchase, and an outcome.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const catalog::Prices prices = AllPrices();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  AttemptRow row;
  row.purchase = DecodePurchase(text.substr(0, end));
  TW_CHECK(DecodePurchase(Encode(row.purchase)) == row.purchase);
  row.outcome = DecodeOutcome(end == text.npos ? text : text.substr(end + 1));
  TW_CHECK(DecodeOutcome(Encode(row.outcome)) == row.outcome);
  row.state = AttemptState::kSettled;
  row.admitted_ns = row.ended_ns = 1'764'072'000'000'000'000;
  row.cost = row.charge = 123'456;
  for (const catalog::Prices* known : {&prices, static_cast<const catalog::Prices*>(nullptr)}) {
    row.price_version = known == nullptr ? 0 : 1;
    Meters meters;
    AddToMeters(row, known, meters);
    MeterSum all;
    for (const auto& [key, sum] : meters) {
      all.cost += sum.cost;
      all.charge += sum.charge;
    }
    TW_CHECK(all.cost == row.cost && all.charge == row.charge);
  }
  return 0;
}
