#include <set>

#include <fmt/format.h>

#include "cli/settings.h"
#include "cli/toml_reader.h"

namespace tradewind::cli {
namespace {

const std::set<std::string_view>& KnownKeys() {
  static const std::set<std::string_view> keys = [] {
    std::set<std::string_view> out;
    for (const Command& command : Commands()) {
      for (const Flag& flag : command.flags) {
        if (!flag.config.empty()) {
          out.insert(flag.config);
        }
      }
    }
    return out;
  }();
  return keys;
}

std::optional<std::string> ScalarText(const toml::node& node) {
  if (const auto* text = node.as_string()) {
    return text->get();
  }
  if (const auto* integer = node.as_integer()) {
    return std::to_string(integer->get());
  }
  if (const auto* number = node.as_floating_point()) {
    return fmt::format("{}", number->get());
  }
  if (const auto* flag = node.as_boolean()) {
    return flag->get() ? "true" : "false";
  }
  return std::nullopt;
}

}  // namespace

Result<ConfigValues> ParseConfig(std::string_view toml, const std::string& file,
                                 std::vector<std::string>& unknown) {
  TW_ASSIGN_OR_RETURN(const toml::table root, ParseToml(toml, file));
  ConfigValues out;
  for (const auto& [section, node] : root) {
    if (section == "providers" || section == "route" || section == "alerts") {
      continue;  // MarketReader's, ReadAlertsConfig's
    }
    const toml::table* table = node.as_table();
    if (table == nullptr || (section != "server" && section != "local" && section != "billing")) {
      unknown.push_back(fmt::format("{}: [{}] is not known to this version",
                                    TomlPlace(file, node.source()), section.str()));
      continue;
    }
    for (const auto& [name, value] : *table) {
      const std::string key = fmt::format("{}.{}", section.str(), name.str());
      const std::string place = TomlPlace(file, value.source());
      if (key == "server.cors_origins") {
        continue;  // likewise
      }
      if (!KnownKeys().contains(key)) {
        unknown.push_back(fmt::format("{}: {} is not known to this version", place, key));
        continue;
      }
      const auto text = ScalarText(value);
      if (!text) {
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("{}: {} must be one value, not a table or list", place, key), key);
      }
      out[key] = {*text, place};
    }
  }
  return out;
}

}  // namespace tradewind::cli
