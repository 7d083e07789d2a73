// The shape of every --json answer: {"schema":"tradewind.<thing>/v1",...}; what is missing is null.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dialects/json_writer.h"

namespace tradewind::cli {

inline dialects::JsonWriter BeginJson(std::string_view thing) {
  dialects::JsonWriter json;
  json.BeginObject().Field("schema", "tradewind." + std::string(thing) + "/v1");
  return json;
}

inline std::string EndJson(dialects::JsonWriter& json) {
  json.EndObject();
  return json.Take() + "\n";
}

template <class T>
void FieldOrNull(dialects::JsonWriter& json, std::string_view name, const std::optional<T>& value) {
  json.Key(name);
  if (value) {
    json.Value(*value);
  } else {
    json.Null();
  }
}

inline void TextOrNull(dialects::JsonWriter& json, std::string_view name, const std::string& text) {
  FieldOrNull(json, name, text.empty() ? std::nullopt : std::optional<std::string>(text));
}

}  // namespace tradewind::cli
