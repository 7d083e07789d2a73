#include "cli/reply_fields.h"

#include <charconv>

#include <boost/json/value.hpp>

#include "billing/usd.h"
#include "cli/terminal.h"
#include "dialects/json_reader.h"

namespace tradewind::cli::reply {

namespace json = boost::json;

std::string Text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? WithoutControls(value->get_string()) : "";
}

int64_t Number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? 0 : dialects::AsInteger(*value).value_or(0);
}

bool Flag(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::string Dollars(const json::object& object, std::string_view name) {
  const std::string digits = Text(object, name);
  int64_t amount = 0;
  const char* end = digits.data() + digits.size();
  const auto [read, error] = std::from_chars(digits.data(), end, amount);
  return digits.empty() || read != end || error != std::errc() ? "unknown"
                                                               : billing::FormatUsd(amount);
}

const json::object& Object(const json::object& parent, std::string_view name) {
  static const json::object kNone;
  const json::value* value = parent.if_contains(name);
  return value != nullptr && value->is_object() ? value->get_object() : kNone;
}

const json::array& Array(const json::object& parent, std::string_view name) {
  static const json::array kNone;
  const json::value* value = parent.if_contains(name);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

}  // namespace tradewind::cli::reply
