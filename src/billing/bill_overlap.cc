#include "billing/bill_overlap.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "billing/bill_period.h"

namespace tradewind::billing {
namespace {

// Lines by their start.
class ByTime {
 public:
  void Add(const BillLine& line) {
    lines_.push_back(&line);
    longest_s_ = std::max(longest_s_, line.end_s - line.start_s);
  }
  void Sort() { std::ranges::sort(lines_, {}, &BillLine::start_s); }
  void ForEachBeside(const BillLine& line, auto take) const {
    for (auto other =
             std::ranges::upper_bound(lines_, line.start_s - longest_s_, {}, &BillLine::start_s);
         other != lines_.end() && (*other)->start_s < line.end_s; ++other) {
      if ((*other)->end_s > line.start_s) {
        take(**other);
      }
    }
  }

 private:
  std::vector<const BillLine*> lines_;
  int64_t longest_s_ = 0;
};

auto CellOf(const BillLine& line) {
  return std::tie(line.start_s, line.end_s, line.model);
}

}  // namespace

std::vector<Overlap> FindOverlaps(std::span<const BillLine> lines, std::span<const BillLine> all,
                                  const ModelNames& names) {
  std::map<std::string, ByTime> by_model;
  ByTime with_cost;  // of one model each
  for (const BillLine& line : all) {
    by_model[line.model].Add(line);
    if (!line.model.empty() && line.cost.has_value()) {
      with_cost.Add(line);
    }
  }
  for (auto& [model, of_model] : by_model) {
    of_model.Sort();
  }
  with_cost.Sort();
  std::multimap<std::string, std::string> other_names;
  for (const auto& [provider_model, model] : names) {
    if (provider_model != model) {
      other_names.emplace(provider_model, model);
      other_names.emplace(model, provider_model);
    }
  }
  std::vector<Overlap> overlaps;
  for (const BillLine& line : lines) {
    const auto take = [&](const BillLine& other) {
      if (CellOf(line) != CellOf(other)) {
        overlaps.push_back({line, other});
      }
    };
    const auto take_cost = [&](const BillLine& other) {
      if (other.cost.has_value()) {
        take(other);
      }
    };
    by_model[line.model].ForEachBeside(line, take);
    const auto [first, last] = other_names.equal_range(line.model);
    std::for_each(first, last,
                  [&](const auto& name) { by_model[name.second].ForEachBeside(line, take); });
    if (line.cost.has_value()) {
      (line.model.empty() ? with_cost : by_model[""]).ForEachBeside(line, take_cost);
    }
  }
  return overlaps;
}

std::string CellName(const BillLine& line) {
  return fmt::format("{} from {} to {}", line.model.empty() ? "all models" : line.model,
                     UtcTime(line.start_s), UtcTime(line.end_s));
}

}  // namespace tradewind::billing
