#include "pricing/json_leaves.h"

#include <simdjson.h>

#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::pricing {
namespace {

namespace od = simdjson::ondemand;

std::unexpected<Error> Corrupt(simdjson::error_code code) {
  return Fail(ErrorCode::kCorruptFile,
              fmt::format("not a price map: {}", simdjson::error_message(code)));
}

#define TW_JSON(variable, expression)                           \
  auto TW_CONCAT(got_, __LINE__) = (expression);                \
  if (TW_CONCAT(got_, __LINE__).error() != simdjson::SUCCESS) { \
    return Corrupt(TW_CONCAT(got_, __LINE__).error());          \
  }                                                             \
  variable = TW_CONCAT(got_, __LINE__).value_unsafe()

std::string Join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

Status Collect(od::value value, const std::string& path, int depth, Leaves& out) {
  if (depth > limits::kJsonDepthMax) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("not a price map: nested deeper than {}", limits::kJsonDepthMax));
  }
  TW_JSON(const od::json_type type, value.type());
  if (type == od::json_type::object) {
    TW_JSON(od::object object, value.get_object());
    for (auto item : object) {
      TW_JSON(od::field field, std::move(item));
      TW_JSON(const std::string_view key, field.unescaped_key());
      const std::string name = Join(path, key);
      TW_RETURN_IF_ERROR(Collect(field.value(), name, depth + 1, out));
    }
    return {};
  }
  if (type == od::json_type::array) {
    TW_JSON(od::array array, value.get_array());
    size_t index = 0;
    for (auto item : array) {
      TW_JSON(od::value element, std::move(item));
      TW_RETURN_IF_ERROR(Collect(element, Join(path, std::to_string(index++)), depth + 1, out));
    }
    return {};
  }
  Leaf leaf;
  if (type == od::json_type::string) {
    leaf.kind = Leaf::Kind::kText;
    TW_JSON(const std::string_view text, value.get_string());
    leaf.text = text;
  } else {
    leaf.kind = type == od::json_type::number ? Leaf::Kind::kNumber : Leaf::Kind::kOther;
    std::string_view token = value.raw_json_token();  // what is written, and the spaces behind it
    leaf.text = token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
  }
  out.insert_or_assign(path, std::move(leaf));
  return {};
}

}  // namespace

Status ForEachMember(std::string_view json,
                     const std::function<Status(const std::string& key, const Leaves&)>& row) {
  const simdjson::padded_string padded(json);
  od::parser parser;
  od::document document;
  if (const auto error = parser.iterate(padded).get(document); error != simdjson::SUCCESS) {
    return Corrupt(error);
  }
  TW_JSON(od::object object, document.get_object());
  for (auto item : object) {
    TW_JSON(od::field field, std::move(item));
    TW_JSON(const std::string_view unescaped, field.unescaped_key());
    const std::string key(unescaped);
    Leaves leaves;
    TW_RETURN_IF_ERROR(Collect(field.value(), "", 1, leaves));
    TW_RETURN_IF_ERROR(row(key, leaves));
  }
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
    return Fail(ErrorCode::kCorruptFile, "not a price map: there is more after its end");
  }
  return {};
}

}  // namespace tradewind::pricing
