#include "billing/focus_columns.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "billing/ascii.h"
#include "billing/statement.h"
#include "dialects/json_writer.h"

namespace tradewind::billing {
namespace {

using Cell = FocusCell;
using Column = FocusColumn;
using Row = FocusRow;
using Wide = FocusNumber;

constexpr int64_t kHourS = 3600;
constexpr int kNanoPlaces = 9;

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
  return Number(FocusUsd(amount));
}
Cell Whole(int64_t count) {
  return Number(Wide{count} * PowerOfTen(kParquetScale));
}

// Price times quantity; nothing when the price does not explain the cost.
std::optional<Wide> ListCostOf(const Row& row) {
  Wide product = 0;
  if (!row.unit_price.has_value() ||
      __builtin_mul_overflow(*row.unit_price, row.sum.quantity, &product)) {
    return std::nullopt;
  }
  return product;
}

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
// Without a price of the list, the list has what was billed for it.
Cell ListCost(const Row& row) {
  const std::optional<Wide> cost = ListCostOf(row);
  return cost.has_value() ? Number(*cost) : Nano(row.sum.charge);
}
Cell ListUnitPrice(const Row& row) {
  return row.unit_price.has_value() ? Number(*row.unit_price) : Cell();
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

}  // namespace

FocusNumber FocusUsd(ledger::NanoUsd amount) {
  return FocusNumber{amount} * PowerOfTen(kParquetScale - kNanoPlaces);
}

std::optional<FocusNumber> UsdForOne(const std::optional<Decimal>& price, MeterKind kind) {
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

// Texts of the specification are ASCII. Names are for people; what is no name stays what it is.
FocusCell CellOf(const FocusColumn& column, const FocusRow& row) {
  Cell cell = row.charge == nullptr ? column.value(row) : CellOfCharge(column, row);
  if (!IsAscii(cell.text) && !column.name.starts_with("x_")) {
    const bool is_for_people = column.name.ends_with("Name") || column.name == "ChargeDescription";
    cell.text = is_for_people ? AsciiFolded(cell.text) : AsciiEscaped(cell.text);
  }
  return cell;
}

std::vector<const FocusColumn*> FocusColumnsOf(FocusVersion version) {
  std::vector<const FocusColumn*> columns;
  for (const FocusColumn& column : kColumns) {
    if (column.first <= version && version <= column.last) {
      columns.push_back(&column);
    }
  }
  return columns;
}

}  // namespace tradewind::billing
