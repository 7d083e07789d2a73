// The cells of a provider's bill of a month, and what was recorded of each: fed with its attempts
// once, in any order, whatever the number of lines.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "billing/bill_period.h"
#include "billing/purchase.h"
#include "billing/remote_bill.h"

namespace tradewind::billing {

// An attempt that the server's own account pays, as far as a bill can know it.
struct BilledUse {
  std::string_view model, provider_model;
  bool is_doubtful = false, is_priced = false;
  UsageSource source = UsageSource::kProvider;
  int64_t at_s = 0;  // when it was admitted
  int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;
  ledger::NanoUsd cost = 0;
  uint32_t price_version = 0;
};

class BillCells {
 public:
  explicit BillCells(std::vector<BillLine> lines);  // not empty, of one provider
  // The same of all of their month: what is used when no line is of any model is not billed.
  BillCells(std::vector<BillLine> lines, const BillPeriod& month);

  // Attempts that count are admitted in [from_s, to_s).
  int64_t from_s() const { return from_s_; }
  int64_t to_s() const { return to_s_; }

  void Add(const BilledUse& use);

  // Classified; behind the lines a line of nothing for each model that was used, for all of the
  // time that the bill covers and no line of the model does.
  std::vector<Difference> Take();

 private:
  // The cells of one name for a model, by their start.
  struct Series {
    std::vector<size_t> cells;
    int64_t longest_s = 0;
  };

  void Put(BillLine line, Series& series);
  // Calls `take` with the cells that have something of [from_s, to_s).
  void ForEachIn(const Series& series, int64_t from_s, int64_t to_s, auto take) const;
  const std::vector<Series*>& SeriesOf(std::string_view provider_model, std::string_view model);
  void AddUnnamed(std::vector<Series*>& series, const std::string& name);
  BillLine LineOfNothing(std::string name) const;
  void JudgeUncovered();

  std::vector<Difference> differences_;
  size_t lines_ = 0;
  int64_t from_s_ = INT64_MAX, to_s_ = 0;
  std::vector<std::pair<int64_t, int64_t>> times_;  // that lines cover, the shortest first
  std::set<std::pair<int64_t, int64_t>> gaps_;      // of the month, likewise in times_
  std::map<std::string, Series, std::less<>> series_;
  std::map<std::string, Series> unnamed_;  // what the bill does not say of them
  // Of the provider's name for a model and the Hub's.
  std::map<std::string, std::map<std::string, std::vector<Series*>, std::less<>>, std::less<>>
      by_model_;
};

}  // namespace tradewind::billing
