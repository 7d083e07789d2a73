#include "billing/focus.h"

#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "billing/csv.h"
#include "billing/focus_charges.h"
#include "billing/focus_columns.h"
#include "billing/parquet_writer.h"

namespace tradewind::billing {
namespace {

// "0.0000035", "12.0", "-1.5": no exponent, and always a point: who guesses types guesses decimals.
std::string Plain(FocusNumber number) {
  const bool is_negative = number < 0;
  auto magnitude = static_cast<unsigned __int128>(is_negative ? -number : number);
  std::string digits;
  for (; magnitude > 0; magnitude /= 10) {
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(magnitude % 10)));
  }
  constexpr size_t kPlaces = kParquetScale;
  if (digits.size() <= kPlaces) {
    digits.insert(0, kPlaces + 1 - digits.size(), '0');
  }
  const std::string text = digits.substr(0, digits.size() - kPlaces);
  std::string behind = digits.substr(digits.size() - kPlaces);
  behind.erase(behind.find_last_not_of('0') + 1);
  return (is_negative ? "-" : "") + text + "." + (behind.empty() ? "0" : behind);
}

std::string CsvOf(const FocusCell& cell) {
  switch (cell.kind) {
    case FocusCell::Kind::kNull:
      return {};
    case FocusCell::Kind::kText:
      return CsvText(cell.text);
    case FocusCell::Kind::kNumber:
      return Plain(cell.number);
    case FocusCell::Kind::kTime:
      return UtcTime(cell.time_s);
  }
  return {};
}

void Put(const FocusCell& cell, ParquetWriter& writer) {
  constexpr int64_t kMicros = 1'000'000;
  switch (cell.kind) {
    case FocusCell::Kind::kNull:
      return writer.AddNull();
    case FocusCell::Kind::kText:
      return writer.AddText(cell.text);
    case FocusCell::Kind::kNumber:
      return writer.AddDecimal(cell.number);
    case FocusCell::Kind::kTime:
      return writer.AddTime(cell.time_s * kMicros);
  }
}

}  // namespace

const std::string& BillNames::Of(const std::map<std::string, std::string>& names,
                                 const std::string& id) {
  const auto found = names.find(id);
  return found == names.end() ? id : found->second;
}

const std::string& BillNames::IssuerOf(const std::string& document) const {
  const auto found = issuers.find(document);
  return found == issuers.end() ? issuer : found->second;
}

const std::string& BillNames::ProjectOf(const MeterKey& key) const {
  const auto found = projects_of_keys.find(key.key_id);
  return found == projects_of_keys.end() || key.project_id.empty() ? key.project_id : found->second;
}

Result<FocusVersion> ParseFocusVersion(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, FocusVersion>, 3> kVersions = {
      {{"1.2", FocusVersion::k12}, {"1.3", FocusVersion::k13}, {"1.4", FocusVersion::k14}}};
  for (const auto& [name, version] : kVersions) {
    if (text == name) {
      return version;
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("FOCUS \"{}\" is not written here: 1.2, 1.3 or 1.4.", text.substr(0, 16)),
              "version");
}

// What the bytes of a file are made of; columns are those of its version.
struct FocusWriter::Table {
  std::vector<const FocusColumn*> columns;
  std::unique_ptr<ParquetWriter> parquet;  // null: CSV
  std::string ready;
};

FocusWriter::FocusWriter(FocusFormat format, FocusOrder order, std::vector<PriceVersion> prices,
                         BillNames names)
    : order_(std::move(order)),
      prices_(std::move(prices)),
      names_(std::move(names)),
      table_(std::make_unique<Table>()) {
  for (const PriceVersion& version : prices_) {
    by_version_[version.version] = &version.prices;
  }
  table_->columns = FocusColumnsOf(order_.version);
  if (format == FocusFormat::kParquet) {
    std::vector<ParquetColumn> schema;
    for (const FocusColumn* column : table_->columns) {
      schema.push_back({std::string(column->name), column->type});
    }
    table_->parquet = std::make_unique<ParquetWriter>(std::move(schema));
    return;
  }
  for (const FocusColumn* column : table_->columns) {
    table_->ready += fmt::format("{}{}", table_->ready.empty() ? "" : ",", column->name);
  }
  table_->ready += "\r\n";
}

FocusWriter::~FocusWriter() = default;

void FocusWriter::Add(const FocusRow& row) {
  bool is_first = true;
  for (const FocusColumn* column : table_->columns) {
    const FocusCell cell = CellOf(*column, row);
    if (table_->parquet != nullptr) {
      Put(cell, *table_->parquet);
    } else {
      table_->ready += (is_first ? "" : ",") + CsvOf(cell);
    }
    is_first = false;
  }
  if (table_->parquet == nullptr) {
    table_->ready += "\r\n";
  } else if (std::string group = table_->parquet->Take(); table_->ready.empty()) {
    table_->ready = std::move(group);  // of megabytes
  } else {
    table_->ready += group;
  }
}

void FocusWriter::Add(const Meters& meters) {
  for (const auto& [key, sum] : meters) {
    FocusRow row{.order = order_, .names = names_, .key = key, .sum = sum};
    if (const auto found = by_version_.find(key.price_version); found != by_version_.end()) {
      const std::optional<Decimal> price = PriceOf(*found->second, key);
      row.unit_price = UsdForOne(price, key.kind);
      row.usd_per_mtok =
          price.has_value() && IsOfTokens(key.kind) ? price->ToString() : std::string();
      row.above = AboveOf(*found->second, key);
      row.service_tier = found->second->ServiceName(key.service);
    }
    if (row.is_requests() && sum.cost == 0 && sum.charge == 0 && !IsUnpriced(key, sum)) {
      row.unit_price = 0;  // a request costs nothing but its tokens
    }
    Add(row);
  }
}

void FocusWriter::Add(const CreditUses& credits) {
  for (const auto& [use, amount] : credits) {
    MeterKey key;
    key.hour = use.hour;
    key.org_id = use.org_id;
    key.project_id = use.project_id;
    key.key_id = use.key_id;
    const FocusCharge charge = ChargeOf(use, amount, names_);
    const MeterSum sum{0, 0, charge.billed};
    Add(FocusRow{.order = order_, .names = names_, .key = key, .sum = sum, .charge = &charge});
  }
}

void FocusWriter::Add(const std::vector<FocusCharge>& charges) {
  for (const FocusCharge& charge : charges) {
    const bool is_bought = charge.category == "Purchase";
    MeterKey key;
    key.org_id = charge.org_id;
    const MeterSum sum{is_bought ? 1 : 0, 0, charge.billed};
    FocusRow row{.order = order_, .names = names_, .key = key, .sum = sum, .charge = &charge};
    if (is_bought) {
      row.unit_price = FocusUsd(charge.billed);
    }
    Add(row);
  }
}

void FocusWriter::Finish() {
  if (table_->parquet != nullptr) {
    table_->ready += table_->parquet->Finish();
  }
}

size_t FocusWriter::ready_bytes() const {
  return table_->ready.size();
}

std::string FocusWriter::Take() {
  return std::exchange(table_->ready, {});
}

std::string FocusFile(FocusFormat format, const FocusOrder& order, const Meters& meters,
                      const std::vector<PriceVersion>& prices, const BillNames& names,
                      const CreditUses& credits, const std::vector<FocusCharge>& charges) {
  FocusWriter writer(format, order, prices, names);
  writer.Add(meters);
  writer.Add(credits);
  writer.Add(charges);
  writer.Finish();
  return writer.Take();
}

}  // namespace tradewind::billing
