#include "dialects/json_reader.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

#include <boost/json/parse.hpp>
#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

// An upper bound of the number of values, from the punctuation outside strings: a body of
// "[[],[],..." would otherwise grow tenfold in memory before anything looks at it.
int64_t CountValues(std::string_view text) {
  int64_t count = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == '[' || c == '{') {
      ++count;
    }
  }
  return count;
}

std::string_view KindName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "unknown";
}

}  // namespace

Result<json::value> ParseJson(std::string_view text) {
  if (text.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "The body is empty; send a JSON object.");
  }
  if (CountValues(text) > limits::kJsonValuesMax) {
    return Fail(ErrorCode::kPayloadTooLarge,
                fmt::format("The body has more than {} JSON values.", limits::kJsonValuesMax));
  }
  json::parse_options options;
  options.max_depth = limits::kJsonDepthMax;
  try {
    json::error_code error;
    json::value value = json::parse({text.data(), text.size()}, error, {}, options);
    if (error) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("The body is not valid JSON: {}.", error.message()));
    }
    return value;
  } catch (const std::exception&) {
    return Fail(ErrorCode::kPayloadTooLarge, "The body is too large to parse as JSON.");
  }
}

Result<json::object> ParseJsonObject(std::string_view text) {
  TW_ASSIGN_OR_RETURN(json::value value, ParseJson(text));
  if (!value.is_object()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The body must be a JSON object, not {}.", KindName(value)));
  }
  return std::move(value.get_object());
}

std::optional<int64_t> AsInteger(const json::value& value) {
  if (value.is_int64()) {
    return value.get_int64();
  }
  if (value.is_double()) {
    const double number = value.get_double();
    if (std::trunc(number) == number && std::abs(number) <= 9007199254740992.0) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

Fields::Fields(const json::object& object, std::string path)
    : object_(object), path_(std::move(path)) {}

const json::value* Fields::Find(std::string_view name) {
  known_.push_back(name);
  const json::value* value = object_.if_contains({name.data(), name.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool Fields::Flag(std::string_view name, bool& out) {
  const json::value* value = Find(name);
  if (value == nullptr) {
    return false;
  }
  if (!value->is_bool()) {
    Wrong(name, fmt::format("must be true or false, not {}", KindName(*value)));
    return false;
  }
  out = value->get_bool();
  return true;
}

bool Fields::Text(std::string_view name, std::string& out) {
  const json::value* value = Find(name);
  if (value == nullptr) {
    return false;
  }
  if (!value->is_string()) {
    Wrong(name, fmt::format("must be a string, not {}", KindName(*value)));
    return false;
  }
  out.assign(value->get_string().data(), value->get_string().size());
  return true;
}

bool Fields::Integer(std::string_view name, int64_t min, int64_t max, std::optional<int64_t>& out) {
  const json::value* value = Find(name);
  if (value == nullptr) {
    return false;
  }
  const std::optional<int64_t> number = AsInteger(*value);
  if (!number.has_value() || *number < min || *number > max) {
    Wrong(name, max == std::numeric_limits<int64_t>::max()
                    ? fmt::format("must be an integer of at least {}", min)
                    : fmt::format("must be an integer from {} to {}", min, max));
    return false;
  }
  out = number;
  return true;
}

bool Fields::Number(std::string_view name, double min, double max, std::optional<float>& out,
                    bool above_min) {
  const json::value* value = Find(name);
  if (value == nullptr) {
    return false;
  }
  double number = std::numeric_limits<double>::quiet_NaN();
  if (value->is_number()) {
    number = value->to_number<double>();
  }
  // Compared as a float too: 1e-60 must not slip through "above 0" and become 0.
  const float narrow = std::isfinite(number) ? static_cast<float>(number) : 0;
  const bool in_range = number >= min && number <= max && !(above_min && narrow <= min);
  if (!in_range) {
    Wrong(name, above_min ? fmt::format("must be a number above {} and at most {}", min, max)
                          : fmt::format("must be a number from {} to {}", min, max));
    return false;
  }
  out = narrow;
  return true;
}

void Fields::Wrong(std::string_view name, std::string message) {
  if (!error_.has_value()) {
    const std::string path = Path(name);
    error_ = Error{ErrorCode::kInvalidArgument, fmt::format("`{}` {}.", path, message), path, {}};
  }
}

void Fields::Refuse(std::string_view name, std::string message) {
  if (!error_.has_value()) {
    const std::string path = Path(name);
    error_ = Error{ErrorCode::kUnsupported, fmt::format("`{}` {}.", path, message), path, {}};
  }
}

void Fields::Adopt(Status status) {
  if (!error_.has_value() && !status.has_value()) {
    error_ = std::move(status).error();
  }
}

Status Fields::status() const {
  if (error_.has_value()) {
    return Fail(*error_);
  }
  return {};
}

std::vector<std::string> Fields::Unknown() const {
  std::vector<std::string> names;
  for (const auto& member : object_) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::ranges::find(known_, name) == known_.end()) {
      names.emplace_back(name);
    }
  }
  return names;
}

}  // namespace tradewind::dialects
