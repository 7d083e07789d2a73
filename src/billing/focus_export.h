// A month of FOCUS rows in pieces, so that one of millions takes no more memory than a small one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "billing/export_sums.h"
#include "billing/focus.h"
#include "billing/meters.h"
#include "billing/recorder.h"

namespace tradewind::billing {

struct FocusPieces {
  size_t bytes = size_t{1} << 20;  // of a piece, at least, but for the last one
  int64_t rows = 2'000;            // that are read at once, at most, where an hour has fewer
};

// One thread at a time. The recorder must outlive it.
class FocusExport {
 public:
  // `sums` of `filter`, which is by hours, as Recorder::BeginExport has them.
  FocusExport(Recorder& recorder, MeterFilter filter, ExportSums sums,
              std::unique_ptr<FocusWriter> writer, std::vector<FocusCharge> charges,
              FocusPieces pieces = {});

  // The next piece; empty: that was the last. A file without its end is none. Errors: those of the
  // recorder; kUnavailable: the rows do not add up to the sums.
  Result<std::string> Next();
  bool is_done() const { return is_done_; }

 private:
  Status Step();
  Status AddMeters(size_t part);
  Status AddCredits(size_t part);
  MeterFilter PartOf(size_t part) const;

  Recorder& recorder_;
  const MeterFilter filter_;
  ExportSums sums_;
  const std::unique_ptr<FocusWriter> writer_;
  const std::vector<FocusCharge> charges_;
  const FocusPieces pieces_;
  std::vector<std::pair<int64_t, int64_t>> parts_;  // hours [from, to) that never change
  size_t step_ = 0;
  bool is_done_ = false;
  MeterSum left_;  // of the sums: what is in no row yet
  ledger::NanoUsd credits_left_ = 0;
};

}  // namespace tradewind::billing
