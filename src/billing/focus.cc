#include "billing/focus.h"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "billing/ascii.h"
#include "billing/csv.h"
#include "billing/focus_charges.h"
#include "billing/parquet_writer.h"
#include "dialects/json_writer.h"

namespace tradewind::billing {
namespace {

using Wide = __int128;

constexpr int64_t kHourS = 3600;
constexpr int kNanoPlaces = 9;

// A cell: nothing, a text, a number of kParquetScale places, or Unix seconds.
struct Cell {
  enum class Kind : uint8_t { kNull, kText, kNumber, kTime } kind = Kind::kNull;
  std::string text = {};
  Wide number = 0;
  int64_t time_s = 0;
};

Cell Text(std::string text) {  // an empty one is none: FOCUS has no empty texts
  return text.empty() ? Cell() : Cell{Cell::Kind::kText, std::move(text)};
}
Cell Number(Wide scaled) {
  return {Cell::Kind::kNumber, {}, scaled};
}
Cell Time(int64_t unix_s) {
  return {Cell::Kind::kTime, {}, 0, unix_s};
}

Wide PowerOfTen(int places) {
  Wide value = 1;
  for (int i = 0; i < places; ++i) {
    value *= 10;
  }
  return value;
}
Cell Nano(ledger::NanoUsd amount) {
  return Number(Wide{amount} * PowerOfTen(kParquetScale - kNanoPlaces));
}
Cell Whole(int64_t count) {
  return Number(Wide{count} * PowerOfTen(kParquetScale));
}

// USD for one of what the line counts; nothing when it has more places, or is no price.
std::optional<Wide> UsdForOne(const std::optional<Decimal>& price, MeterKind kind) {
  constexpr int kMillionPlaces = 6;
  if (!price.has_value()) {
    return std::nullopt;
  }
  const int places = price->exponent() - (IsOfTokens(kind) ? kMillionPlaces : 0) + kParquetScale;
  if (price->is_zero()) {
    return 0;
  }
  Wide value = price->digits();
  Wide product = 0;
  if (places < 0 || places > 2 * kParquetScale ||
      __builtin_mul_overflow(value, PowerOfTen(places), &product)) {
    return std::nullopt;
  }
  return product;
}

struct Row {
  const FocusOrder& order;
  const BillNames& names;
  const MeterKey& key;
  const MeterSum& sum;
  std::optional<Wide> unit_price;  // USD, kParquetScale places
  std::string usd_per_mtok;
  int64_t above = 0;                    // input tokens: the tier of the price
  std::string service_tier;             // whose price it is; "" = the usual one
  const FocusCharge* charge = nullptr;  // of what is no use: `sum` has its amount

  bool is_requests() const { return charge == nullptr && key.kind == MeterKind::kRequests; }
  // Price times quantity; nothing when the price does not explain the cost.
  std::optional<Wide> list_cost() const {
    Wide product = 0;
    if (!unit_price.has_value() || __builtin_mul_overflow(*unit_price, sum.quantity, &product)) {
      return std::nullopt;
    }
    return product;
  }
  // Without a price of the list, the list has what was billed for it.
  Cell ListOrBilled() const {
    const std::optional<Wide> cost = list_cost();
    return cost.has_value() ? Number(*cost) : Nano(sum.charge);
  }
  Cell UnitPrice() const { return unit_price.has_value() ? Number(*unit_price) : Cell(); }
};

std::string SkuPriceDetails(const Row& row) {
  dialects::JsonWriter json;
  json.BeginObject().Field("x_Model", row.key.model);
  json.Field("x_TokenType", MeterName(row.key.kind));
  if (!row.usd_per_mtok.empty()) {
    json.Field("x_UsdPerMillionTokens", row.usd_per_mtok);
  }
  if (row.above > 0) {
    json.Field("x_ContextTier", fmt::format("above {} input tokens", row.above));
  }
  if (!row.service_tier.empty()) {
    json.Field("x_ServiceTier", row.service_tier);
  }
  if (IsUnpriced(row.key, row.sum)) {
    json.Field("x_Unpriced", true);
  }
  json.EndObject();
  return json.Take();
}

std::string Description(const Row& row) {
  return fmt::format("{} of {} at {}{}", MeterName(row.key.kind), row.key.model, row.key.provider,
                     IsUnpriced(row.key, row.sum) ? ", without a price" : "");
}

std::string SkuPriceId(const Row& row) {
  std::string id = fmt::format("{}/{}", row.key.price_version, MeterName(row.key.kind));
  id += row.above > 0 ? fmt::format("/above-{}", row.above) : "";
  return row.service_tier.empty() ? id : id + "/" + row.service_tier;
}

std::string Account(const Row& row) {
  return row.key.org_id.empty() ? "anonymous" : row.key.org_id;
}

std::string InvoiceOf(const Row& row) {
  if (row.charge != nullptr) {
    return row.charge->invoice;
  }
  const auto found = row.names.invoices.find(row.key.org_id);
  return found == row.names.invoices.end() ? std::string() : found->second;
}

std::string DetailOf(const Row& row) {
  const std::string invoice = InvoiceOf(row);
  if (invoice.empty()) {
    return {};
  }
  if (row.charge != nullptr) {
    return invoice + "/" + row.charge->line;
  }
  MeterKey key = row.key;
  const Statement one = MakeStatement({}, {{key, row.sum}}, {});
  return invoice + "/" + one.lines.front().id;
}

struct Column {
  std::string_view name;
  ParquetType type;
  FocusVersion first, last;
  Cell (*value)(const Row&);
};

constexpr FocusVersion k12 = FocusVersion::k12, k13 = FocusVersion::k13, k14 = FocusVersion::k14;
constexpr ParquetType kText = ParquetType::kText, kNumber = ParquetType::kDecimal,
                      kTime = ParquetType::kTime;

Cell Null(const Row& /*row*/) {
  return {};
}
Cell Usd(const Row& /*row*/) {
  return Text("USD");
}
Cell Issuer(const Row& row) {
  return Text(row.names.IssuerOf(InvoiceOf(row)));
}
// Who ran the model; nobody did for what is no use.
Cell Host(const Row& row) {
  return row.charge == nullptr ? Text(row.key.provider) : Issuer(row);
}
// Who sold it: who is paid, which for a caller's own key is the provider.
Cell Seller(const Row& row) {
  return row.key.own_key ? Text(row.key.provider) : Issuer(row);
}
Cell Billed(const Row& row) {
  return Nano(row.sum.charge);
}
Cell Effective(const Row& row) {
  return row.charge == nullptr ? Billed(row) : Nano(row.charge->effective);
}
Cell ListCost(const Row& row) {
  return row.ListOrBilled();
}
Cell ListUnitPrice(const Row& row) {
  return row.UnitPrice();
}
Cell Quantity(const Row& row) {
  return Whole(row.sum.quantity);
}
Cell Unit(const Row& row) {
  return Text(std::string(MeterUnit(row.key.kind)));
}

// In the order of their names, as the specification lists them; ours behind them.
// clang-format off
const std::array kColumns = {
    Column{"AllocatedMethodDetails", kText, k13, k14, Null},
    Column{"AllocatedMethodId", kText, k13, k14, Null},
    Column{"AllocatedResourceId", kText, k13, k14, Null},
    Column{"AllocatedResourceName", kText, k13, k14, Null},
    Column{"AllocatedTags", kText, k13, k14, Null},
    Column{"AvailabilityZone", kText, k12, k14, Null},
    Column{"BilledCost", kNumber, k12, k14, Billed},
    Column{"BillingAccountId", kText, k12, k14, [](const Row& row) { return Text(Account(row)); }},
    Column{"BillingAccountName", kText, k12, k14, [](const Row& row) { return Text(row.key.org_id.empty() ? "anonymous" : BillNames::Of(row.names.orgs, row.key.org_id)); }},
    Column{"BillingAccountType", kText, k12, k14, [](const Row&) { return Text("Organization"); }},
    Column{"BillingCurrency", kText, k12, k14, Usd},
    Column{"BillingPeriodEnd", kTime, k12, k14, [](const Row& row) { return Time(row.order.billing_period.to_s); }},
    Column{"BillingPeriodStart", kTime, k12, k14, [](const Row& row) { return Time(row.order.billing_period.from_s); }},
    Column{"CapacityReservationId", kText, k12, k14, Null},
    Column{"CapacityReservationStatus", kText, k12, k14, Null},
    Column{"ChargeCategory", kText, k12, k14, [](const Row& row) { return Text(row.charge == nullptr ? "Usage" : row.charge->category); }},
    Column{"ChargeClass", kText, k12, k14, [](const Row& row) { return Text(row.charge != nullptr ? row.charge->charge_class : row.key.kind == MeterKind::kCorrections ? "Correction" : ""); }},
    Column{"ChargeDescription", kText, k12, k14, [](const Row& row) { return Text(row.charge == nullptr ? Description(row) : row.charge->description); }},
    Column{"ChargeFrequency", kText, k12, k14, [](const Row& row) { return Text(row.charge == nullptr ? "Usage-Based" : "One-Time"); }},
    Column{"ChargePeriodEnd", kTime, k12, k14, [](const Row& row) { return Time(row.charge == nullptr ? (row.key.hour + 1) * kHourS : row.charge->to_s); }},
    Column{"ChargePeriodStart", kTime, k12, k14, [](const Row& row) { return Time(row.charge == nullptr ? row.key.hour * kHourS : row.charge->from_s); }},
    Column{"CommitmentDiscountCategory", kText, k12, k14, Null},
    Column{"CommitmentDiscountId", kText, k12, k14, Null},
    Column{"CommitmentDiscountName", kText, k12, k14, Null},
    Column{"CommitmentDiscountQuantity", kNumber, k12, k14, Null},
    Column{"CommitmentDiscountStatus", kText, k12, k14, Null},
    Column{"CommitmentDiscountType", kText, k12, k14, Null},
    Column{"CommitmentDiscountUnit", kText, k12, k14, Null},
    Column{"ConsumedQuantity", kNumber, k12, k14, Quantity},
    Column{"ConsumedUnit", kText, k12, k14, Unit},
    Column{"ContractApplied", kText, k13, k14, Null},
    Column{"ContractedCost", kNumber, k12, k14, ListCost},
    Column{"ContractedUnitPrice", kNumber, k12, k14, ListUnitPrice},
    Column{"EffectiveCost", kNumber, k12, k14, Effective},
    Column{"HostProviderName", kText, k13, k14, Host},
    Column{"InvoiceDetailId", kText, k14, k14, [](const Row& row) { return Text(DetailOf(row)); }},
    Column{"InvoiceId", kText, k12, k14, [](const Row& row) { return Text(InvoiceOf(row)); }},
    Column{"InvoiceIssuerName", kText, k12, k14, Issuer},
    Column{"ListCost", kNumber, k12, k14, ListCost},
    Column{"ListUnitPrice", kNumber, k12, k14, ListUnitPrice},
    Column{"PricingCategory", kText, k12, k14, [](const Row&) { return Text("Standard"); }},
    Column{"PricingCurrency", kText, k12, k14, Usd},
    Column{"PricingCurrencyContractedUnitPrice", kNumber, k12, k14, ListUnitPrice},
    Column{"PricingCurrencyEffectiveCost", kNumber, k12, k14, Effective},
    Column{"PricingCurrencyListUnitPrice", kNumber, k12, k14, ListUnitPrice},
    Column{"PricingQuantity", kNumber, k12, k14, Quantity},
    Column{"PricingUnit", kText, k12, k14, Unit},
    Column{"ProviderName", kText, k12, k13, Seller},
    Column{"PublisherName", kText, k12, k13, Host},
    Column{"RegionId", kText, k12, k14, Null},
    Column{"RegionName", kText, k12, k14, Null},
    Column{"ResourceId", kText, k12, k14, [](const Row& row) { return Text(row.key.provider + "/" + row.key.provider_model); }},
    Column{"ResourceName", kText, k12, k14, [](const Row& row) { return Text(row.key.model); }},
    Column{"ResourceType", kText, k12, k14, [](const Row&) { return Text("Model"); }},
    Column{"ServiceCategory", kText, k12, k14, [](const Row&) { return Text("AI and Machine Learning"); }},
    Column{"ServiceName", kText, k12, k14, [](const Row&) { return Text("LLM inference"); }},
    Column{"ServiceProviderName", kText, k13, k14, Seller},
    Column{"ServiceSubcategory", kText, k12, k14, [](const Row&) { return Text("Generative AI"); }},
    Column{"SkuId", kText, k12, k14, [](const Row& row) { return Text(row.key.provider + "/" + row.key.model); }},
    Column{"SkuMeter", kText, k12, k14, [](const Row& row) { return Text(std::string(MeterName(row.key.kind))); }},
    Column{"SkuPriceDetails", kText, k12, k14, [](const Row& row) { return Text(SkuPriceDetails(row)); }},
    Column{"SkuPriceId", kText, k12, k14, [](const Row& row) { return Text(SkuPriceId(row)); }},
    Column{"SubAccountId", kText, k12, k14, [](const Row& row) { return Text(row.key.project_id); }},
    Column{"SubAccountName", kText, k12, k14, [](const Row& row) { return Text(row.names.ProjectOf(row.key)); }},
    Column{"SubAccountType", kText, k12, k14, [](const Row& row) { return Text(row.key.project_id.empty() ? "" : "Project"); }},
    Column{"Tags", kText, k12, k14, Null},
    Column{"x_CreditId", kText, k12, k14, [](const Row& row) { return Text(row.charge == nullptr ? "" : row.charge->credit); }},
    Column{"x_KeyId", kText, k12, k14, [](const Row& row) { return Text(row.key.key_id); }},
    Column{"x_KeyName", kText, k12, k14, [](const Row& row) { return Text(BillNames::Of(row.names.keys, row.key.key_id)); }},
    Column{"x_LedgerHash", kText, k12, k14, [](const Row& row) { return Text(row.order.ledger_hash); }},
    Column{"x_OwnKey", kText, k12, k14, [](const Row& row) { return Text(row.key.own_key ? "true" : "false"); }},
    Column{"x_PriceVersion", kNumber, k12, k14, [](const Row& row) { return Whole(row.key.price_version); }},
    Column{"x_ProviderCost", kNumber, k12, k14, [](const Row& row) { return IsUnpriced(row.key, row.sum) ? Cell() : Nano(row.sum.cost); }},
    Column{"x_RequestCount", kNumber, k12, k14, [](const Row& row) { return Whole(row.is_requests() ? row.sum.quantity : 0); }},
    Column{"x_UnverifiableTokens", kNumber, k12, k14, [](const Row& row) { return Whole(row.sum.unverifiable); }},
};
// clang-format on

constexpr std::array<std::string_view, 13> kOfUseAlone = {
    "ConsumedQuantity", "ConsumedUnit", "PricingCategory", "PricingQuantity", "PricingUnit",
    "ResourceId",       "ResourceName", "ResourceType",    "SkuId",           "SkuMeter",
    "SkuPriceDetails",  "SkuPriceId",   "x_PriceVersion"};

// Of those: a credit that was bought is one of what is sold, at its amount.
Cell CellOfPurchase(std::string_view column, const Row& row) {
  if (column == "PricingQuantity") {
    return Whole(1);
  }
  const std::array<std::pair<std::string_view, std::string>, 5> texts = {
      {{"PricingCategory", "Standard"},
       {"PricingUnit", "Credits"},
       {"SkuId", "credit"},
       {"SkuMeter", "credit"},
       {"SkuPriceId", "credit/" + row.charge->credit}}};
  const auto* found = std::ranges::find(texts, column, &decltype(texts)::value_type::first);
  return found == texts.end() ? Cell() : Text(found->second);
}

Cell CellOfCharge(const Column& column, const Row& row) {
  const std::string_view name = column.name;
  if (std::ranges::count(kOfUseAlone, name) > 0) {
    return row.charge->category == "Purchase" ? CellOfPurchase(name, row) : Cell();
  }
  return column.value(row);
}

// Texts of the specification are ASCII. Names are for people; what is no name stays what it is.
Cell CellOf(const Column& column, const Row& row) {
  Cell cell = row.charge == nullptr ? column.value(row) : CellOfCharge(column, row);
  if (!IsAscii(cell.text) && !column.name.starts_with("x_")) {
    const bool is_for_people = column.name.ends_with("Name") || column.name == "ChargeDescription";
    cell.text = is_for_people ? AsciiFolded(cell.text) : AsciiEscaped(cell.text);
  }
  return cell;
}

std::vector<const Column*> ColumnsOf(FocusVersion version) {
  std::vector<const Column*> columns;
  for (const Column& column : kColumns) {
    if (column.first <= version && version <= column.last) {
      columns.push_back(&column);
    }
  }
  return columns;
}

void ForEachRow(const FocusOrder& order, const Meters& meters,
                const std::vector<PriceVersion>& prices, const BillNames& names,
                const CreditUses& credits, const std::vector<FocusCharge>& charges,
                const std::function<void(const Row&)>& take) {
  std::map<uint32_t, const catalog::Prices*> by_version;
  for (const PriceVersion& version : prices) {
    by_version[version.version] = &version.prices;
  }
  for (const auto& [key, sum] : meters) {
    Row row{order, names, key, sum, std::nullopt, "", 0, ""};
    if (const auto found = by_version.find(key.price_version); found != by_version.end()) {
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
    take(row);
  }
  for (const auto& [use, amount] : credits) {
    MeterKey key;
    key.hour = use.hour;
    key.org_id = use.org_id;
    key.project_id = use.project_id;
    key.key_id = use.key_id;
    const FocusCharge charge = ChargeOf(use, amount, names);
    const MeterSum sum{0, 0, charge.billed};
    take({order, names, key, sum, std::nullopt, "", 0, "", &charge});
  }
  for (const FocusCharge& charge : charges) {
    MeterKey key;
    key.org_id = charge.org_id;
    const MeterSum sum{charge.category == "Purchase" ? 1 : 0, 0, charge.billed};
    Row row{order, names, key, sum, std::nullopt, "", 0, "", &charge};
    if (charge.category == "Purchase") {
      row.unit_price = Nano(charge.billed).number;
    }
    take(row);
  }
}

// "0.0000035", "12.0", "-1.5": no exponent, and always a point: who guesses types guesses decimals.
std::string Plain(Wide number) {
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

std::string CsvOf(const Cell& cell) {
  switch (cell.kind) {
    case Cell::Kind::kNull:
      return {};
    case Cell::Kind::kText:
      return CsvText(cell.text);
    case Cell::Kind::kNumber:
      return Plain(cell.number);
    case Cell::Kind::kTime:
      return UtcTime(cell.time_s);
  }
  return {};
}

void Put(const Cell& cell, ParquetWriter& writer) {
  constexpr int64_t kMicros = 1'000'000;
  switch (cell.kind) {
    case Cell::Kind::kNull:
      return writer.AddNull();
    case Cell::Kind::kText:
      return writer.AddText(cell.text);
    case Cell::Kind::kNumber:
      return writer.AddDecimal(cell.number);
    case Cell::Kind::kTime:
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
      {{"1.2", k12}, {"1.3", k13}, {"1.4", k14}}};
  for (const auto& [name, version] : kVersions) {
    if (text == name) {
      return version;
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("FOCUS \"{}\" is not written here: 1.2, 1.3 or 1.4.", text.substr(0, 16)),
              "version");
}

std::string FocusCsv(const FocusOrder& order, const Meters& meters,
                     const std::vector<PriceVersion>& prices, const BillNames& names,
                     const CreditUses& credits, const std::vector<FocusCharge>& charges) {
  const std::vector<const Column*> columns = ColumnsOf(order.version);
  std::string csv;
  for (const Column* column : columns) {
    csv += fmt::format("{}{}", csv.empty() ? "" : ",", column->name);
  }
  csv += "\r\n";
  ForEachRow(order, meters, prices, names, credits, charges, [&](const Row& row) {
    for (size_t i = 0; i < columns.size(); ++i) {
      csv += (i == 0 ? "" : ",") + CsvOf(CellOf(*columns[i], row));
    }
    csv += "\r\n";
  });
  return csv;
}

std::string FocusParquet(const FocusOrder& order, const Meters& meters,
                         const std::vector<PriceVersion>& prices, const BillNames& names,
                         const CreditUses& credits, const std::vector<FocusCharge>& charges) {
  const std::vector<const Column*> columns = ColumnsOf(order.version);
  std::vector<ParquetColumn> schema;
  for (const Column* column : columns) {
    schema.push_back({std::string(column->name), column->type});
  }
  ParquetWriter writer(std::move(schema));
  ForEachRow(order, meters, prices, names, credits, charges, [&](const Row& row) {
    for (const Column* column : columns) {
      Put(CellOf(*column, row), writer);
    }
  });
  return writer.Finish();
}

}  // namespace tradewind::billing
