// Which prices a provider's own figures imply, where its bill costs more or less than the same
// tokens do here. Nothing changes a price by itself: an operator sets it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/decimal.h"
#include "billing/remote_bill.h"

namespace tradewind::billing {

struct PriceProposal {
  std::string model;  // as the bill calls it
  // USD per million tokens; nullopt: the lines have no such tokens. Without any, `none_because`.
  std::optional<Decimal> input, cached_input, output;
  int64_t lines = 0;         // of class `price`, each of which these prices explain
  int64_t confirmed_by = 0;  // how many of them more than it takes to find the prices
  bool is_exact = false;     // to the nano-dollar; else within what rounding leaves
  std::string none_because;  // "its lines do not tell their tokens", ...
  // What sets it, in the table [[providers]] of this provider: an entry of `models`. What the lines
  // do not tell stays as it was recorded here: fees, tiers, prices of other units.
  std::string config;
};

// One for each model with differences of the class `price`. Prices are proposed when every such
// line of the model agrees on them, once its fees are taken off, and no others would do as well;
// they are never guessed. Where the model has tiers or prices of units that lines do not tell, more
// lines than it takes have to agree.
std::vector<PriceProposal> ProposePrices(std::span<const Difference> differences);

}  // namespace tradewind::billing
