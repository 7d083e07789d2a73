// Versions of prices as people read them; the ledger numbers and keeps them, in texts that it does
// not read.
#pragma once

#include <cstdint>
#include <string>

#include "billing/purchase.h"
#include "catalog/mapping.h"
#include "ledger/record.h"

namespace tradewind::billing {

struct PriceVersion {
  uint32_t version = 0;
  std::string provider, model, provider_model;
  catalog::Prices prices;
  std::string source;                      // where it came from: "config.toml line 7"
  int64_t from_ns = 0, to_ns = INT64_MAX;  // when requests were held at it
  std::string hash;                        // of what is priced and its terms

  bool operator==(const PriceVersion& other) const {
    return version == other.version && hash == other.hash;
  }
};

// What the purchase is priced at. Requires prices.is_priced(). Its terms are input, cached input,
// cache write and output by their places, and whatever else is priced by its name behind them:
// "reasoning=3", "request=0.005", "200000>input=2", "flex:200000>input=1". So terms of the first four alone are the text
// that they always were.
ledger::PriceSpec SpecOf(const Purchase& purchase, const catalog::Prices& prices);
PriceVersion VersionOf(uint32_t version, const ledger::PriceSpec& spec);

}  // namespace tradewind::billing
