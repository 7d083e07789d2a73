#include <set>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "cli/settings.h"

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

std::string Place(const std::string& file, const toml::source_region& source) {
  return fmt::format("{} line {}", file, source.begin.line);
}

}  // namespace

Result<ConfigValues> ParseConfig(std::string_view toml, const std::string& file,
                                 std::vector<std::string>& unknown) {
  toml::table root;
  try {
    root = toml::parse(toml, file);
  } catch (const toml::parse_error& error) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}; correct the file or name another with --config",
                            Place(file, error.source()), error.description()));
  }
  ConfigValues out;
  for (const auto& [section, node] : root) {
    const toml::table* table = node.as_table();
    if (table == nullptr || (section != "server" && section != "local")) {
      unknown.push_back(fmt::format("{}: [{}] is not known to this version",
                                    Place(file, node.source()), section.str()));
      continue;
    }
    for (const auto& [name, value] : *table) {
      const std::string key = fmt::format("{}.{}", section.str(), name.str());
      const std::string place = Place(file, value.source());
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
