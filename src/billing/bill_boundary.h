// Differences of a bill that come from requests near the ends of its cells: the provider counts a
// request by another clock, or when it ended, so that it may stand in the cell next to ours.
#pragma once

#include <span>

#include "billing/remote_bill.h"

namespace tradewind::billing {

// Makes differences kBoundary that requests moving across ends of cells explain. What moves out of
// a cell has to come into the one that touches it, of the same model, so adjacent cells are judged
// together: cost, input and output tokens each, as far as the lines tell them. Across one end moves
// no more than was recorded within kEdgeS of it; what moves across an end that no other cell
// touches is not known any better. Cost and tokens have to move together. `differences` are of one
// provider, classified by Compare, in any order.
void JudgeBoundaries(std::span<Difference> differences);

// A provider's month as one sum: what its lines are off by, each within its tolerance, adds up.
struct BillSum {
  // Of all lines that tell a cost.
  ledger::NanoUsd billed = 0, recorded = 0;
  // Of the explained ones, without what may have moved across ends that no other cell touches.
  ledger::NanoUsd apart = 0;

  bool IsWithinTolerance() const;
};
BillSum SumUp(std::span<const Difference> differences);  // after JudgeBoundaries

}  // namespace tradewind::billing
