// The columns of FOCUS, and what a row says in each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "billing/focus.h"
#include "billing/meters.h"
#include "billing/parquet_writer.h"

namespace tradewind::billing {

using FocusNumber = __int128;  // of kParquetScale places

// A cell: nothing, a text, a number, or Unix seconds.
struct FocusCell {
  enum class Kind : uint8_t { kNull, kText, kNumber, kTime } kind = Kind::kNull;
  std::string text = {};
  FocusNumber number = 0;
  int64_t time_s = 0;
};

FocusNumber FocusUsd(ledger::NanoUsd amount);

// USD for one of what a line counts; nothing when it has more places, or is no price.
std::optional<FocusNumber> UsdForOne(const std::optional<Decimal>& price, MeterKind kind);

struct FocusRow {
  const FocusOrder& order;
  const BillNames& names;
  const MeterKey& key;
  const MeterSum& sum;
  std::optional<FocusNumber> unit_price = {};  // USD
  std::string usd_per_mtok = {};
  int64_t above = 0;                    // input tokens: the tier of the price
  std::string service_tier = {};        // whose price it is; "" = the usual one
  const FocusCharge* charge = nullptr;  // of what is no use: `sum` has its amount

  bool is_requests() const { return charge == nullptr && key.kind == MeterKind::kRequests; }
};

struct FocusColumn {
  std::string_view name;
  ParquetType type;
  FocusVersion first, last;
  FocusCell (*value)(const FocusRow&);
};

std::vector<const FocusColumn*> FocusColumnsOf(FocusVersion version);

FocusCell CellOf(const FocusColumn& column, const FocusRow& row);

}  // namespace tradewind::billing
