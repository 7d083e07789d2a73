#include "billing/bill_boundary.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace tradewind::billing {
namespace {

using Wide = __int128;
using Run = std::span<Difference* const>;

// What moves across an end of a cell to what is behind it; negative: to what is before it.
struct Range {
  Wide low = 0, high = 0;

  bool is_empty() const { return low > high; }
  Range Within(const Range& room) const {
    return {std::max(low, room.low), std::min(high, room.high)};
  }
};

// One thing that lines tell and that was recorded.
struct Quantity {
  std::optional<int64_t> BillLine::* billed;
  int64_t LocalCell::* recorded;
  int64_t EdgeUse::* edge;
  int64_t EstimatedUse::* estimated;
};
constexpr std::array<Quantity, 3> kQuantities = {
    {{&BillLine::cost, &LocalCell::cost, &EdgeUse::cost, &EstimatedUse::cost},
     {&BillLine::input_tokens, &LocalCell::input_tokens, &EdgeUse::input_tokens,
      &EstimatedUse::input_tokens},
     {&BillLine::output_tokens, &LocalCell::output_tokens, &EdgeUse::output_tokens,
      &EstimatedUse::output_tokens}}};

Range RoomAt(const BoundaryUse& end, const Quantity& quantity) {
  return {-Wide{end.after.*quantity.edge}, Wide{end.before.*quantity.edge}};
}

// By how much the cell has too much, with what is tolerated; nullopt: its line does not tell.
std::optional<Range> ExcessOf(const Difference& difference, const Quantity& quantity) {
  const std::optional<int64_t>& billed = difference.line.*quantity.billed;
  if (!billed.has_value()) {
    return std::nullopt;
  }
  const int64_t recorded = difference.local.*quantity.recorded;
  const Wide tolerance = quantity.billed == &BillLine::cost
                             ? CostTolerance(*billed, recorded) + difference.local.requests
                             : std::max(*billed, recorded) / 1000;
  const Wide excess = Wide{*billed} - recorded;
  // Estimated requests may have cost less, and may have had any tokens.
  constexpr Wide kAnyTokens = Wide{1} << 80;
  const EstimatedUse& estimated = difference.local.estimated;
  const bool is_open = estimated.requests > 0 && quantity.billed != &BillLine::cost;
  return Range{excess - tolerance - (is_open ? kAnyTokens : 0),
               excess + tolerance + estimated.*quantity.estimated};
}

// Calls `take` with the first and the last of the fewest cells that cannot be explained together:
// what they have too much in all, or too little, is more than was near their two ends.
void FindContradictions(Run run, const Quantity& quantity, auto take) {
  Range into = RoomAt(run.front()->local.at_start, quantity);
  for (size_t at = 0; at < run.size(); ++at) {
    const Range room = RoomAt(run[at]->local.at_end, quantity);
    const auto excess = ExcessOf(*run[at], quantity);
    const Range out = excess.has_value()
                          ? Range{into.low - excess->high, into.high - excess->low}.Within(room)
                          : room;
    into = out.is_empty() ? room : out;
    if (!out.is_empty()) {
      continue;
    }
    size_t first = at + 1;
    for (Range back = room; first > 0 && !back.is_empty(); --first) {
      const Range before = RoomAt(run[first - 1]->local.at_start, quantity);
      const auto more = ExcessOf(*run[first - 1], quantity);
      back = more.has_value() ? Range{back.low + more->low, back.high + more->high}.Within(before)
                              : before;
    }
    take(first, at);
  }
}

// Whether the tokens that moved, by the rates of the requests near the ends, cost what moved. A
// price that is another one is no matter of ends.
bool IsInProportion(const Difference& difference) {
  const BillLine& line = difference.line;
  const LocalCell& local = difference.local;
  const bool tells_units = line.input_tokens.has_value() || line.output_tokens.has_value();
  if (tells_units && !AreUnitsApart(line, local)) {
    return false;
  }
  if (!line.cost.has_value() || !line.input_tokens.has_value() || !line.output_tokens.has_value()) {
    return true;
  }
  Wide least = INT64_MAX, most = 0, tokens = 0, tokenless = 0;
  for (const EdgeUse* edge :
       {&local.at_start.before, &local.at_start.after, &local.at_end.before, &local.at_end.after}) {
    least = std::min<Wide>(least, edge->least_rate);
    most = std::max<Wide>(most, edge->most_rate);
    tokens += Wide{edge->input_tokens} + edge->output_tokens;
    tokenless += edge->tokenless_cost;
  }
  if (most == 0) {
    return true;  // there are no tokens near its ends, and that has been looked at
  }
  // Each request is off the middle rate by at most half of what lies between the rates.
  constexpr Wide kMillion = 1'000'000;
  const Wide moved_tokens =
      Wide{*line.input_tokens} - local.input_tokens + *line.output_tokens - local.output_tokens;
  const Wide off = Wide{*line.cost - local.cost} * 2 * kMillion - (least + most) * moved_tokens;
  const Wide tolerance = CostTolerance(*line.cost, local.cost) + local.requests + tokenless;
  return (off < 0 ? -off : off) <= (most - least) * tokens + tolerance * 2 * kMillion;
}

void JudgeRun(Run run) {
  const auto differs = [](const Difference* one) { return !IsExplained(one->kind); };
  if (std::ranges::none_of(run, differs)) {
    return;
  }
  std::vector<bool> is_contradicted(run.size());
  for (const Quantity& quantity : kQuantities) {
    FindContradictions(run, quantity, [&](size_t first, size_t last) {
      std::fill(is_contradicted.begin() + static_cast<std::ptrdiff_t>(first),
                is_contradicted.begin() + static_cast<std::ptrdiff_t>(last) + 1, true);
    });
  }
  for (size_t at = 0; at < run.size(); ++at) {
    if (differs(run[at]) && !is_contradicted[at] && IsInProportion(*run[at])) {
      run[at]->kind = DifferenceClass::kBoundary;
    }
  }
}

// Calls `take` with the cells of each model that touch each other.
void ForEachRun(auto differences, auto take) {
  std::ranges::sort(differences, {}, [](const Difference* one) {
    return std::tie(one->line.model, one->line.start_s, one->line.end_s);
  });
  for (size_t first = 0, end = 0; first < differences.size(); first = end) {
    for (end = first + 1; end < differences.size(); ++end) {
      const BillLine &before = differences[end - 1]->line, &line = differences[end]->line;
      if (before.model != line.model || before.end_s != line.start_s) {
        break;
      }
    }
    take(std::span(differences).subspan(first, end - first));
  }
}

}  // namespace

void JudgeBoundaries(std::span<Difference> differences) {
  std::vector<Difference*> all;
  for (Difference& difference : differences) {
    all.push_back(&difference);
  }
  ForEachRun(std::move(all), [](std::span<Difference*> run) { JudgeRun(run); });
}

bool BillSum::IsWithinTolerance() const {
  return std::abs(apart) <= CostTolerance(billed, recorded);
}

BillSum SumUp(std::span<const Difference> differences) {
  BillSum sum;
  std::vector<const Difference*> all;
  for (const Difference& difference : differences) {
    if (difference.line.cost.has_value()) {
      all.push_back(&difference);
      sum.billed += *difference.line.cost;
      sum.recorded += difference.local.cost;
    }
  }
  ForEachRun(std::move(all), [&](std::span<const Difference*> run) {
    ledger::NanoUsd apart = 0;
    bool has_boundary = false;
    for (const Difference* one : run) {
      apart += IsExplained(one->kind) ? one->certain_amount() : 0;
      has_boundary |= one->kind == DifferenceClass::kBoundary;
    }
    if (has_boundary) {
      const BoundaryUse &start = run.front()->local.at_start, &end = run.back()->local.at_end;
      apart -= std::clamp(apart, -start.after.cost - end.before.cost,
                          start.before.cost + end.after.cost);
    }
    sum.apart += apart;
  });
  return sum;
}

}  // namespace tradewind::billing
