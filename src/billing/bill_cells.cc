#include "billing/bill_cells.h"

#include <algorithm>
#include <tuple>

#include "billing/bill_boundary.h"

namespace tradewind::billing {
namespace {

bool IsCostEstimated(const BilledUse& use) {
  return use.source == UsageSource::kMetered || use.source == UsageSource::kBound;
}

// Of a cost that was named later, nobody may have said the tokens, or a half of them.
bool AreTokensEstimated(const BilledUse& use) {
  const bool has_all = use.input_tokens > 0 && use.output_tokens > 0;
  const bool is_named = use.source == UsageSource::kBilled || use.source == UsageSource::kOperator;
  return IsCostEstimated(use) || (is_named && !has_all);
}

void AddTo(LocalCell& local, const BilledUse& use, const BillLine& cell) {
  const bool is_inside = cell.start_s <= use.at_s && use.at_s < cell.end_s;
  if (use.is_doubtful) {
    local.in_doubt += is_inside ? 1 : 0;
    return;
  }
  for (const auto& [end_s, edges] :
       {std::pair(cell.start_s, &local.at_start), std::pair(cell.end_s, &local.at_end)}) {
    if (end_s - kEdgeS <= use.at_s && use.at_s < end_s + kEdgeS) {
      (use.at_s < end_s ? edges->before : edges->after)
          .Add(use.input_tokens, use.output_tokens, use.cost, AreTokensEstimated(use));
    }
  }
  if (!is_inside) {
    return;
  }
  if (++local.requests == 1) {
    local.hf_model = use.model;
    local.provider_model = use.provider_model;
  }
  local.has_many_models |=
      use.model != local.hf_model || use.provider_model != local.provider_model;
  local.unpriced += use.is_priced ? 0 : 1;
  local.input_tokens += use.input_tokens;
  local.cached_tokens += use.cached_tokens;
  local.output_tokens += use.output_tokens;
  local.cost += use.cost;
  if (AreTokensEstimated(use)) {
    ++local.estimated.requests;
    local.estimated.input_tokens += use.input_tokens;
    local.estimated.output_tokens += use.output_tokens;
    local.estimated.cost += IsCostEstimated(use) ? use.cost : 0;
  }
  local.price_version = std::max(local.price_version, use.price_version);
}

}  // namespace

BillCells::BillCells(std::vector<BillLine> lines) : lines_(lines.size()) {
  for (BillLine& line : lines) {
    from_s_ = std::min(from_s_, line.start_s - kEdgeS);
    to_s_ = std::max(to_s_, line.end_s + kEdgeS);
    times_.emplace_back(line.start_s, line.end_s);
    Series& series = series_[line.model];
    Put(std::move(line), series);
  }
  std::ranges::sort(
      times_, {}, [](const auto& time) { return std::pair(time.second - time.first, time.first); });
  const auto again = std::ranges::unique(times_);
  times_.erase(again.begin(), again.end());
}

BillCells::BillCells(std::vector<BillLine> lines, const BillPeriod& month)
    : BillCells(std::move(lines)) {
  std::vector<std::pair<int64_t, int64_t>> covered = times_;
  covered.emplace_back(month.to_s, month.to_s);
  std::ranges::sort(covered);
  int64_t from_s = month.from_s;
  for (const auto& [start_s, end_s] : covered) {
    if (from_s < start_s) {
      gaps_.emplace(from_s, start_s);
    }
    from_s = std::max(from_s, end_s);
  }
  times_.insert(times_.end(), gaps_.begin(), gaps_.end());
  from_s_ = std::min(from_s_, month.from_s);
  to_s_ = std::max(to_s_, month.to_s);
  // Lines of all models together are followed by such ones, so that they touch each other.
  if (const auto together = series_.find(std::string_view()); together != series_.end()) {
    for (const auto& [start_s, end_s] : gaps_) {
      BillLine missing = LineOfNothing("");
      missing.start_s = start_s;
      missing.end_s = end_s;
      Put(std::move(missing), together->second);
    }
  }
}

void BillCells::Put(BillLine line, Series& series) {
  series.longest_s = std::max(series.longest_s, line.end_s - line.start_s);
  const auto behind = std::ranges::upper_bound(
      series.cells, line.start_s, {}, [&](size_t cell) { return differences_[cell].line.start_s; });
  series.cells.insert(behind, differences_.size());
  Difference& difference = differences_.emplace_back();
  difference.is_uncovered = gaps_.contains({line.start_s, line.end_s});
  difference.line = std::move(line);
}

void BillCells::ForEachIn(const Series& series, int64_t from_s, int64_t to_s, auto take) const {
  const auto start_of = [&](size_t cell) { return differences_[cell].line.start_s; };
  for (auto cell = std::ranges::upper_bound(series.cells, from_s - series.longest_s, {}, start_of);
       cell != series.cells.end() && start_of(*cell) < to_s; ++cell) {
    if (differences_[*cell].line.end_s > from_s) {
      take(*cell);
    }
  }
}

const std::vector<BillCells::Series*>& BillCells::SeriesOf(std::string_view provider_model,
                                                           std::string_view model) {
  auto of_provider = by_model_.find(provider_model);
  if (of_provider == by_model_.end()) {
    of_provider = by_model_.try_emplace(std::string(provider_model)).first;
  }
  if (const auto known = of_provider->second.find(model); known != of_provider->second.end()) {
    return known->second;
  }
  std::vector<Series*>& found = of_provider->second[std::string(model)];
  for (const std::string_view one : {provider_model, model, std::string_view()}) {
    const auto series = series_.find(one);
    if (series != series_.end() && std::ranges::find(found, &series->second) == found.end()) {
      found.push_back(&series->second);
    }
  }
  const bool is_called_by_hub = !series_.contains(provider_model) && series_.contains(model);
  AddUnnamed(found, std::string(is_called_by_hub ? model : provider_model));
  return found;
}

BillLine BillCells::LineOfNothing(std::string name) const {
  BillLine line;
  line.provider = differences_.front().line.provider;
  line.is_invoice = differences_.front().line.is_invoice;
  line.model = std::move(name);
  line.cost = 0;
  return line;
}

void BillCells::AddUnnamed(std::vector<Series*>& series, const std::string& name) {
  BillLine missing = LineOfNothing(name);
  Series& unnamed = unnamed_[name];
  series.push_back(&unnamed);
  for (const auto& [start_s, end_s] : times_) {
    std::vector<std::pair<int64_t, int64_t>> named = {{end_s, end_s}};
    for (const Series* one : series) {
      ForEachIn(*one, start_s, end_s, [&](size_t cell) {
        named.emplace_back(differences_[cell].line.start_s, differences_[cell].line.end_s);
      });
    }
    std::ranges::sort(named);
    missing.start_s = start_s;
    for (const auto& [from_s, to_s] : named) {
      missing.end_s = from_s;
      if (missing.start_s < missing.end_s) {
        Put(missing, unnamed);
      }
      missing.start_s = std::max(missing.start_s, to_s);
    }
  }
}

void BillCells::Add(const BilledUse& use) {
  if (use.at_s < from_s_ || use.at_s >= to_s_) {
    return;
  }
  for (const Series* series : SeriesOf(use.provider_model, use.model)) {
    ForEachIn(*series, use.at_s - kEdgeS, use.at_s + kEdgeS + 1,
              [&](size_t cell) { AddTo(differences_[cell].local, use, differences_[cell].line); });
  }
}

// Where the bill says nothing at all, nothing says either that what was estimated cost less, or
// that what has no price cost nothing.
void BillCells::JudgeUncovered() {
  for (Difference& difference : differences_) {
    if (difference.is_uncovered && difference.local.unpriced > 0) {
      difference.kind = DifferenceClass::kMissingRemote;
    }
  }
  std::erase_if(differences_, [](const Difference& one) {
    return one.is_uncovered && one.local.requests == 0 && one.local.in_doubt == 0;
  });
}

std::vector<Difference> BillCells::Take() {
  for (Difference& difference : differences_) {
    if (difference.is_uncovered) {
      difference.local.estimated = {};
    }
    difference.kind = Compare(difference.line, difference.local);
  }
  JudgeBoundaries(differences_);
  JudgeUncovered();
  std::ranges::sort(differences_.begin() + static_cast<std::ptrdiff_t>(lines_), differences_.end(),
                    {}, [](const Difference& one) {
                      return std::tie(one.line.start_s, one.line.end_s, one.line.model);
                    });
  return std::move(differences_);
}

}  // namespace tradewind::billing
