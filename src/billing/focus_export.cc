#include "billing/focus_export.h"

#include <tuple>
#include <utility>

namespace tradewind::billing {

FocusExport::FocusExport(Recorder& recorder, MeterFilter filter, ExportSums sums,
                         std::unique_ptr<FocusWriter> writer, std::vector<FocusCharge> charges,
                         FocusPieces pieces)
    : recorder_(recorder),
      filter_(std::move(filter)),
      sums_(std::move(sums)),
      writer_(std::move(writer)),
      charges_(std::move(charges)),
      pieces_(pieces) {
  int64_t rows = 0;
  for (const auto& [hour, count] : sums_.rows) {
    if (parts_.empty() || rows + count > pieces_.rows) {
      parts_.emplace_back(hour, hour);
      rows = 0;
    }
    parts_.back().second = hour + 1;
    rows += count;
  }
  for (const auto& [key, sum] : std::exchange(sums_.by_day, {})) {
    left_ += sum;
  }
  for (const auto& [use, amount] : std::exchange(sums_.credits, {})) {
    credits_left_ += amount;
  }
}

Result<std::string> FocusExport::Next() {
  while (!is_done_ && writer_->ready_bytes() < pieces_.bytes) {
    TW_RETURN_IF_ERROR(Step());
  }
  return writer_->Take();
}

// The parts of one table and what is the last of it, then the other table; then the end.
Status FocusExport::Step() {
  const size_t step = step_++, steps_of_a_table = parts_.size() + 1;
  if (step < steps_of_a_table) {
    return AddMeters(step);
  }
  if (step < 2 * steps_of_a_table) {
    return AddCredits(step - steps_of_a_table);
  }
  if (left_ != MeterSum() || credits_left_ != 0) {
    return Fail(ErrorCode::kUnavailable,
                "What is exported changed meanwhile, and its rows do not add up; ask again.");
  }
  writer_->Add(charges_);
  writer_->Finish();
  is_done_ = true;
  return {};
}

MeterFilter FocusExport::PartOf(size_t part) const {
  MeterFilter filter = filter_;
  std::tie(filter.from_hour, filter.to_hour) = parts_[part];
  return filter;
}

Status FocusExport::AddMeters(size_t part) {
  Meters meters;
  if (part < parts_.size()) {
    TW_RETURN_IF_ERROR(recorder_.AddMeters(PartOf(part), meters));
  } else {
    meters = std::exchange(sums_.last_meters, {});
  }
  for (const auto& [key, sum] : meters) {
    left_ += {-sum.quantity, -sum.cost, -sum.charge, -sum.unverifiable};
  }
  writer_->Add(meters);
  return {};
}

Status FocusExport::AddCredits(size_t part) {
  CreditUses credits;
  if (part < parts_.size()) {
    TW_RETURN_IF_ERROR(recorder_.AddCreditUses(PartOf(part), credits));
  } else {
    credits = std::exchange(sums_.last_credits, {});
  }
  for (const auto& [use, amount] : credits) {
    credits_left_ -= amount;
  }
  writer_->Add(credits);
  return {};
}

}  // namespace tradewind::billing
