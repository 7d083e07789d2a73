// Lines of a provider's bills that count the same requests: whoever adds them up owes them twice.
#pragma once

#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "billing/remote_bill.h"

namespace tradewind::billing {

using ModelNames = std::set<std::pair<std::string, std::string>>;  // the provider's, the Hub's

struct Overlap {
  BillLine line, other;
};

// What of `all` counts requests that `lines`, which are among them, count too: of the same model,
// by either of its names, in times that overlap; or of all models together, where both lines tell a
// cost. A line of the same cell is itself. All are of one provider, and invoices or none.
std::vector<Overlap> FindOverlaps(std::span<const BillLine> lines, std::span<const BillLine> all,
                                  const ModelNames& names);

// "model-x from 2026-11-26T00:00:00Z to 2026-11-27T00:00:00Z"
std::string CellName(const BillLine& line);

}  // namespace tradewind::billing
