#include "catalog/starter.h"

#include <chrono>

#include <boost/json.hpp>
#include <fmt/format.h>

// The file goes into the binary as it is; CMake names its path.
__asm__(
    ".section .rodata\n"
    ".global tw_starter_json_begin\n"
    "tw_starter_json_begin:\n"
    ".incbin \"" TW_STARTER_JSON
    "\"\n"
    ".global tw_starter_json_end\n"
    "tw_starter_json_end:\n"
    ".byte 0\n"
    ".previous\n");
extern "C" const char tw_starter_json_begin[];
extern "C" const char tw_starter_json_end[];

namespace tradewind::catalog {
namespace {

namespace json = boost::json;

// Reads the fields of one row; the first wrong one is remembered.
class Row {
 public:
  Row(const json::value& value, std::string name) : name_(std::move(name)) {
    object_ = value.if_object();
    if (object_ == nullptr) {
      Wrong("", "is not an object");
    }
  }

  std::string Text(std::string_view key, bool required = false) {
    const json::value* value = Find(key);
    if (value != nullptr && value->is_string()) {
      return std::string(value->as_string());
    }
    if (value != nullptr || required) {
      Wrong(key, "must be a string");
    }
    return "";
  }
  void Price(std::string_view key, std::optional<Decimal>& out) {
    const std::string text = Text(key);
    if (text.empty()) {
      return;
    }
    const auto price = Decimal::Parse(text);
    if (!price || price->is_negative()) {
      return Wrong(key, "must be a price as text");
    }
    out = *price;
  }
  void Count(std::string_view key, std::optional<int64_t>& out) {
    const json::value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_int64() || value->as_int64() <= 0) {
      return Wrong(key, "must be a whole number above 0");
    }
    out = value->as_int64();
  }
  void Flag(std::string_view key, std::optional<bool>& out) {
    const json::value* value = Find(key);
    if (value == nullptr) {
      return;
    }
    if (!value->is_bool()) {
      return Wrong(key, "must be true or false");
    }
    out = value->as_bool();
  }
  std::vector<std::string> Texts(std::string_view key) {
    std::vector<std::string> out;
    const json::value* value = Find(key);
    const json::array* list = value == nullptr ? nullptr : value->if_array();
    if (value != nullptr && list == nullptr) {
      Wrong(key, "must be a list");
    }
    for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
      if (!(*list)[i].is_string()) {
        Wrong(key, "must be a list of strings");
        break;
      }
      out.emplace_back((*list)[i].as_string());
    }
    return out;
  }
  void Wrong(std::string_view key, std::string_view why) {
    if (!error_) {
      error_ = Error{ErrorCode::kCorruptFile,
                     fmt::format("the starter catalogue: {}.{} {}", name_, key, why),
                     std::string(key),
                     {}};
    }
  }
  Status status() const { return error_ ? Status(std::unexpected(*error_)) : Status(); }

 private:
  const json::value* Find(std::string_view key) const {
    const json::value* value = object_ == nullptr ? nullptr : object_->if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  const json::object* object_ = nullptr;
  std::string name_;
  std::optional<Error> error_;
};

// "2025-08-05" → Unix seconds at midnight UTC; 0 when it is no date.
int64_t UnixDay(std::string_view text) {
  int parts[3] = {0, 0, 0};
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') {
    return 0;
  }
  for (size_t i = 0, part = 0; i < text.size(); ++i) {
    if (text[i] == '-') {
      ++part;
    } else if (text[i] >= '0' && text[i] <= '9') {
      parts[part] = parts[part] * 10 + (text[i] - '0');
    } else {
      return 0;
    }
  }
  const std::chrono::year_month_day day{std::chrono::year(parts[0]),
                                        std::chrono::month(static_cast<unsigned>(parts[1])),
                                        std::chrono::day(static_cast<unsigned>(parts[2]))};
  return day.ok() ? std::chrono::sys_seconds(std::chrono::sys_days(day)).time_since_epoch().count()
                  : 0;
}

Result<Mapping> ReadMapping(const json::value& value, size_t index) {
  Row row(value, fmt::format("mappings[{}]", index));
  Mapping mapping;
  mapping.provider = row.Text("provider", true);
  mapping.hf_model = row.Text("hf_model", true);
  mapping.provider_model = row.Text("provider_model", true);
  if (const std::string task = row.Text("task"); !task.empty()) {
    mapping.task = task;
  }
  if (const std::string text = row.Text("status"); !text.empty()) {
    const auto status = ParseMappingStatus(text);
    status ? static_cast<void>(mapping.status = *status)
           : row.Wrong("status", "must be staging, live or error");
  }
  for (const TokenPriceField& field : kTokenPriceFields) {
    row.Price(field.name, mapping.prices.*field.price);
  }
  mapping.prices.as_of = row.Text("as_of");
  mapping.prices.origin = row.Text("source");
  if (!mapping.prices.empty() && UnixDay(mapping.prices.as_of) == 0) {
    row.Wrong("as_of", "must be the date of the prices");
  }
  row.Count("context_length", mapping.context_length);
  row.Count("max_output", mapping.max_output);
  row.Flag("supports_tools", mapping.supports_tools);
  row.Flag("supports_structured_output", mapping.supports_structured_output);
  mapping.quantization = row.Text("quantization");
  mapping.input_modalities = row.Texts("input_modalities");
  mapping.licence = row.Text("licence");
  mapping.created = UnixDay(row.Text("created"));
  mapping.source = Source::kStarter;
  if (mapping.hf_model.find('/') == std::string::npos || mapping.provider_model.empty()) {
    row.Wrong("hf_model", "must be org/name");
  }
  TW_RETURN_IF_ERROR(row.status());
  return mapping;
}

}  // namespace

std::string_view StarterJson() {
  return {tw_starter_json_begin, static_cast<size_t>(tw_starter_json_end - tw_starter_json_begin)};
}

Result<StarterCatalogue> ParseStarter(std::string_view text) {
  boost::system::error_code error;
  const json::value root = json::parse(text, error);
  const json::object* object = error ? nullptr : root.if_object();
  const json::value* mappings = object == nullptr ? nullptr : object->if_contains("mappings");
  if (mappings == nullptr || !mappings->is_array()) {
    return Fail(ErrorCode::kCorruptFile,
                "the starter catalogue must be an object with the list mappings");
  }
  StarterCatalogue out;
  for (size_t i = 0; i < mappings->as_array().size(); ++i) {
    TW_ASSIGN_OR_RETURN(Mapping mapping, ReadMapping(mappings->as_array()[i], i));
    out.mappings.push_back(std::move(mapping));
  }
  return out;
}

const StarterCatalogue& Starter() {
  static const StarterCatalogue catalogue =
      ParseStarter(StarterJson()).value_or(StarterCatalogue{});
  return catalogue;
}

}  // namespace tradewind::catalog
