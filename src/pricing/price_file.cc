#include "pricing/price_file.h"

#include <algorithm>
#include <map>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/file.h"
#include "base/limits.h"

namespace tradewind::pricing {
namespace {

namespace json = boost::json;
using catalog::PriceRow;

constexpr std::string_view kSchema = "tradewind.prices/v1";

std::unexpected<Error> Corrupt(std::string what) {
  return Fail(ErrorCode::kCorruptFile,
              fmt::format("{}; delete the file and import the price maps again", what));
}

// False when a field is there and of another type.
bool ReadText(const json::object& row, std::string_view key, std::string& out) {
  const json::value* value = row.if_contains(key);
  if (value != nullptr && value->is_string()) {
    out = value->as_string();
  }
  return value == nullptr || value->is_string();
}

bool ReadPrice(const json::object& row, std::string_view key, std::optional<Decimal>& out) {
  std::string text;
  if (!ReadText(row, key, text)) {
    return false;
  }
  if (text.empty()) {
    return true;
  }
  const auto price = Decimal::Parse(text);
  if (!price || price->is_negative()) {
    return false;
  }
  out = *price;
  return true;
}

bool ReadCount(const json::object& row, std::string_view key, std::optional<int64_t>& out) {
  const json::value* value = row.if_contains(key);
  if (value == nullptr) {
    return true;
  }
  if (!value->is_int64() || value->as_int64() <= 0) {
    return false;
  }
  out = value->as_int64();
  return true;
}

bool ReadTokenPrices(const json::object& object, catalog::TokenPrices& prices) {
  return std::ranges::all_of(catalog::kTokenPriceFields, [&](const auto& field) {
    return ReadPrice(object, field.name, prices.*field.price);
  });
}

bool ReadTieredPrices(const json::object& object, catalog::TieredPrices& prices) {
  if (!ReadTokenPrices(object, prices)) {
    return false;
  }
  const json::value* tiers = object.if_contains("tiers");
  if (tiers == nullptr) {
    return true;
  }
  if (!tiers->is_array()) {
    return false;
  }
  for (const json::value& value : tiers->get_array()) {
    std::optional<int64_t> above;
    catalog::PriceTier tier;
    if (!value.is_object() || !ReadCount(value.get_object(), "above", above) ||
        !ReadTokenPrices(value.get_object(), tier)) {
      return false;
    }
    tier.above = above.value_or(0);
    prices.tiers.push_back(tier);
  }
  return true;
}

bool ReadPrices(const json::object& object, catalog::Prices& prices) {
  if (!ReadTieredPrices(object, prices) || !prices.CheckTiers().has_value() ||
      !ReadPrice(object, "request", prices.request) || !ReadPrice(object, "image", prices.image)) {
    return false;
  }
  const json::value* services = object.if_contains("service_tiers");
  if (services == nullptr) {
    return true;
  }
  return services->is_object() && std::ranges::all_of(services->get_object(), [&](const auto& one) {
           catalog::ServiceTier& service = prices.AddService(one.key());
           return one.value().is_object() && ReadTieredPrices(one.value().get_object(), service) &&
                  prices.CheckService(service).has_value();
         });
}

bool ReadFlag(const json::object& row, std::string_view key, std::optional<bool>& out) {
  const json::value* value = row.if_contains(key);
  if (value != nullptr && value->is_bool()) {
    out = value->as_bool();
  }
  return value == nullptr || value->is_bool();
}

bool ReadRow(const json::value& value, PriceRow& row) {
  const json::object* object = value.if_object();
  return object != nullptr && ReadText(*object, "provider", row.provider) &&
         ReadText(*object, "model", row.provider_model) && ReadText(*object, "task", row.task) &&
         ReadText(*object, "as_of", row.prices.as_of) &&
         ReadText(*object, "origin", row.prices.origin) && ReadPrices(*object, row.prices) &&
         ReadCount(*object, "context_length", row.context_length) &&
         ReadCount(*object, "max_output", row.max_output) &&
         ReadFlag(*object, "supports_tools", row.supports_tools) &&
         ReadFlag(*object, "supports_structured_output", row.supports_structured_output) &&
         !row.provider.empty() && !row.provider_model.empty();
}

void WriteTokenPrices(const catalog::TokenPrices& prices, json::object& out) {
  for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
    if ((prices.*field.price).has_value()) {
      out[field.name] = (prices.*field.price)->ToString();
    }
  }
}

void WriteTiers(const catalog::TieredPrices& prices, json::object& out) {
  if (prices.tiers.empty()) {
    return;
  }
  json::array& tiers = out["tiers"].emplace_array();
  for (const catalog::PriceTier& tier : prices.tiers) {
    json::object one;
    one["above"] = tier.above;
    WriteTokenPrices(tier, one);
    tiers.push_back(std::move(one));
  }
}

json::object WriteRow(const PriceRow& row) {
  json::object out;
  const auto text = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) {
      out[key] = value;
    }
  };
  const auto optional = [&](std::string_view key, const auto& value) {
    if (value) {
      out[key] = *value;
    }
  };
  text("provider", row.provider);
  text("model", row.provider_model);
  text("task", row.task);
  WriteTokenPrices(row.prices, out);
  text("request", row.prices.request ? row.prices.request->ToString() : "");
  text("image", row.prices.image ? row.prices.image->ToString() : "");
  WriteTiers(row.prices, out);
  json::object services;
  for (const catalog::ServiceTier& service : row.prices.service_tiers) {
    json::object& one = services[service.name].emplace_object();
    WriteTokenPrices(service, one);
    WriteTiers(service, one);
  }
  if (!services.empty()) {
    out["service_tiers"] = std::move(services);
  }
  optional("context_length", row.context_length);
  optional("max_output", row.max_output);
  optional("supports_tools", row.supports_tools);
  optional("supports_structured_output", row.supports_structured_output);
  text("as_of", row.prices.as_of);
  text("origin", row.prices.origin);
  return out;
}

}  // namespace

std::filesystem::path PriceFilePath(const std::filesystem::path& home) {
  return home / "prices.json";
}

Result<std::vector<PriceRow>> LoadPrices(const std::filesystem::path& home) {
  const std::filesystem::path path = PriceFilePath(home);
  const auto text = ReadFile(path, limits::kPriceMapBytesMax);
  if (!text && text.error().code == ErrorCode::kNotFound) {
    return std::vector<PriceRow>();
  }
  if (!text) {
    return Fail(text.error());
  }
  boost::system::error_code error;
  const json::value root = json::parse(*text, error);
  const json::object* object = error ? nullptr : root.if_object();
  const json::value* schema = object == nullptr ? nullptr : object->if_contains("schema");
  const json::value* rows = object == nullptr ? nullptr : object->if_contains("rows");
  if (schema == nullptr || !schema->is_string() || schema->as_string() != kSchema ||
      rows == nullptr || !rows->is_array()) {
    return Corrupt(fmt::format("{} is not a {} file", path.string(), kSchema));
  }
  if (rows->as_array().size() > limits::kPriceRowsMax) {
    return Corrupt(fmt::format("{} has more than {} rows", path.string(), limits::kPriceRowsMax));
  }
  std::vector<PriceRow> out;
  for (const json::value& value : rows->as_array()) {
    PriceRow row;
    if (!ReadRow(value, row)) {
      return Corrupt(fmt::format("{}: rows[{}] is damaged", path.string(), out.size()));
    }
    out.push_back(std::move(row));
  }
  return out;
}

Status SavePrices(const std::filesystem::path& home, const std::vector<PriceRow>& rows) {
  // One row a line, so that people can read and compare it.
  std::string text = fmt::format("{{\"schema\":\"{}\",\"rows\":[", kSchema);
  for (size_t i = 0; i < rows.size(); ++i) {
    text += i == 0 ? "\n" : ",\n";
    text += json::serialize(WriteRow(rows[i]));
  }
  text += "\n]}\n";
  return WriteFileAtomic(PriceFilePath(home), text);
}

std::vector<PriceRow> MergePrices(std::vector<PriceRow> old, const std::vector<PriceRow>& fresh) {
  std::map<std::pair<std::string, std::string>, PriceRow> merged;
  const std::string origin = fresh.empty() ? "" : fresh.front().prices.origin;
  for (PriceRow& row : old) {
    if (fresh.empty() || row.prices.origin != origin) {
      merged.insert_or_assign({row.provider, row.provider_model}, std::move(row));
    }
  }
  for (const PriceRow& row : fresh) {
    merged.insert_or_assign({row.provider, row.provider_model}, row);
  }
  std::vector<PriceRow> out;
  out.reserve(merged.size());
  for (auto& [key, row] : merged) {
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace tradewind::pricing
