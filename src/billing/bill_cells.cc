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

void BillCells::Put(BillLine line, Series& series) {
  series.longest_s = std::max(series.longest_s, line.end_s - line.start_s);
  const auto behind = std::ranges::upper_bound(
      series.cells, line.start_s, {}, [&](size_t cell) { return differences_[cell].line.start_s; });
  series.cells.insert(behind, differences_.size());
  differences_.emplace_back().line = std::move(line);
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

void BillCells::AddUnnamed(std::vector<Series*>& series, const std::string& name) {
  BillLine missing;
  missing.provider = differences_.front().line.provider;
  missing.is_invoice = differences_.front().line.is_invoice;
  missing.model = name;
  missing.cost = 0;
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

std::vector<Difference> BillCells::Take() {
  for (Difference& difference : differences_) {
    difference.kind = Compare(difference.line, difference.local);
  }
  JudgeBoundaries(differences_);
  std::ranges::sort(differences_.begin() + static_cast<std::ptrdiff_t>(lines_), differences_.end(),
                    {}, [](const Difference& one) {
                      return std::tie(one.line.start_s, one.line.end_s, one.line.model);
                    });
  return std::move(differences_);
}

}  // namespace tradewind::billing
