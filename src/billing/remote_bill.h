// What providers say they bill for a time (usage interfaces, invoices), against what was recorded
// here: cells of a provider, a model and a time, and the class of each difference.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/mapping.h"
#include "ledger/money.h"

namespace tradewind::billing {

// The most of a kind of token that a line may tell: what differs by a thousandth can be worked out.
inline constexpr int64_t kBillCountMax = 1'000'000'000'000'000;

// One line of a provider's bill: what it counted of a model in [start, end).
struct BillLine {
  std::string provider;  // slug
  std::string model;     // as the provider calls it, or the Hub's id; "" = all together
  int64_t start_s = 0, end_s = 0;
  std::optional<int64_t> requests, input_tokens, cached_tokens, output_tokens;
  std::optional<ledger::NanoUsd> cost;
  bool is_invoice =
      false;  // an invoice counts before what a usage interface says of the same month

  bool operator==(const BillLine&) const = default;
};

// Settled attempts within kEdgeS of an end of a cell, on one side of it.
inline constexpr int64_t kEdgeS = 300;
struct EdgeUse {
  int64_t requests = 0, input_tokens = 0, output_tokens = 0;
  ledger::NanoUsd cost = 0;
  // Nano-USD per million tokens of the cheapest and the dearest of them that has tokens, and the
  // cost of those without.
  int64_t least_rate = INT64_MAX, most_rate = 0;
  ledger::NanoUsd tokenless_cost = 0;

  // Estimated tokens have no rate.
  void Add(int64_t input, int64_t output, ledger::NanoUsd of_request, bool is_estimated = false);
};
struct BoundaryUse {
  EdgeUse before, after;
};

// Of what was recorded: requests whose tokens nobody said, or not all. These are likely ones, and
// the cost is the most that it can be; of the cost that the provider named it is none of these.
struct EstimatedUse {
  int64_t requests = 0, input_tokens = 0, output_tokens = 0;
  ledger::NanoUsd cost = 0;
};

// What was recorded here of the same cell: settled attempts that the server's own account paid.
struct LocalCell {
  int64_t requests = 0, unpriced = 0, in_doubt = 0;
  int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;
  ledger::NanoUsd cost = 0;
  EstimatedUse estimated;
  BoundaryUse at_start, at_end;  // of these, and of those just outside
  // Of the settled ones inside: the Hub's id and the provider's.
  std::string hf_model, provider_model;
  bool has_many_models = false;
  uint32_t price_version = 0;             // the newest of them; 0: none had a price
  std::optional<catalog::Prices> prices;  // that version, of differences of the class kPrice
};

enum class DifferenceClass {
  kNone,           // equal, or within the tolerance
  kRounding,       // a nano-dollar a request, and half a cent
  kEstimated,      // nobody said all tokens of some requests, and these may be what it is
  kBoundary,       // what was near the ends of the cell may stand in the next one
  kMissingLocal,   // the provider bills what is not known here
  kMissingRemote,  // what was recorded here is not on its bill
  kUnits,          // the tokens differ
  kPrice,          // the tokens are equal, their cost is not
};
std::string_view DifferenceClassName(DifferenceClass difference);  // "missing_local", ...
inline bool IsExplained(DifferenceClass difference) {
  return difference <= DifferenceClass::kBoundary;
}

// Tolerances: 0.1 % of units, and of cost the larger of 0.5 % and $0.01. By the cell alone: never
// kBoundary.
DifferenceClass Compare(const BillLine& line, const LocalCell& local);
ledger::NanoUsd CostTolerance(ledger::NanoUsd remote, ledger::NanoUsd local);
// Whatever the tokens were that nobody said.
bool AreUnitsApart(const BillLine& line, const LocalCell& local);

struct Difference {
  BillLine line;  // of a cell that only this server knows: its costs are 0
  LocalCell local;
  DifferenceClass kind = DifferenceClass::kNone;
  bool is_uncovered = false;  // no line of the bill, of whatever model, is of this time
  ledger::NanoUsd amount() const { return line.cost.value_or(local.cost) - local.cost; }
  // Without what estimated requests may have cost less than was recorded.
  ledger::NanoUsd certain_amount() const {
    return std::max(amount(), std::min<ledger::NanoUsd>(0, amount() + local.estimated.cost));
  }
};

// A bill as CSV (RFC 4180) with a line of names. Known, in any order and case: `start` or `date`,
// `end`, `model`, `requests`, `input_tokens`, `cached_tokens`, `output_tokens`, and one of
// `cost_usd` and `cost_nanousd`. Times are dates or RFC 3339; without `end` a date is a day, and
// another time an hour. Amounts are exact, rounded up to the nano-dollar. Other columns are left
// alone. Errors: kInvalidArgument naming line and column.
Result<std::vector<BillLine>> ReadBillCsv(std::string_view text, std::string_view provider,
                                          bool is_invoice);

// The same as text that ReadBillCsv reads.
std::string WriteBillCsv(std::span<const BillLine> lines);

// "2026-11-26" or "2026-11-26T10:00:00Z" as Unix seconds.
std::optional<int64_t> ReadBillTime(std::string_view text);
// A decimal number of USD, also negative: of credit notes. nullopt: none, or beyond $1,000,000.
std::optional<ledger::NanoUsd> ReadBillUsd(std::string_view text);

}  // namespace tradewind::billing
