#include "cli/settings.h"

#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "base/check.h"
#include "base/file.h"
#include "cli/home.h"
#include "cli/market_config.h"

namespace tradewind::cli {
namespace {

constexpr size_t kConfigBytesMax = 1 << 20;

std::unexpected<Error> WrongValue(std::string_view flag, const Settings::Value& value,
                                  std::string_view expected) {
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("--{} must be {}, not \"{}\" (from {})", flag, expected,
                          value.text.substr(0, 80), value.origin),
              std::string(flag));
}

template <class T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

bool HasChoice(std::string_view choices, std::string_view text) {
  while (!choices.empty()) {
    const size_t space = choices.find(' ');
    if (choices.substr(0, space) == text) {
      return true;
    }
    choices = space == choices.npos ? "" : choices.substr(space + 1);
  }
  return false;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
  };
}

ConfigFiles FindConfigFiles(const Arguments& arguments, const Environment& environment) {
  const auto flag = arguments.flags.find("config");
  if (flag != arguments.flags.end()) {
    return {{flag->second}, true};
  }
  if (const auto named = environment("TRADEWIND_CONFIG")) {
    return {{*named}, true};
  }
  ConfigFiles out;
  if (const auto folder = XdgFolder(environment, "XDG_CONFIG_HOME", ".config")) {
    out.paths.push_back(*folder / "tradewind" / "config.toml");
  }
  out.paths.push_back("/etc/tradewind/config.toml");
  return out;
}

Result<Settings> Settings::Load(Arguments arguments, Environment environment) {
  const ConfigFiles files = FindConfigFiles(arguments, environment);
  ConfigValues config;
  MarketReader market;
  std::vector<std::string> unknown;
  for (const auto& path : files.paths) {
    auto text = ReadFile(path, kConfigBytesMax);
    if (!text && text.error().code == ErrorCode::kNotFound && !files.is_explicit) {
      continue;
    }
    if (!text) {
      return Fail(text.error().code,
                  fmt::format("cannot read the config file: {}", text.error().message));
    }
    TW_ASSIGN_OR_RETURN(ConfigValues values, ParseConfig(*text, path.string(), unknown));
    config.merge(values);  // keeps what a stronger file said
    TW_RETURN_IF_ERROR(market.Read(*text, path.string(), unknown));
  }
  Settings settings(std::move(arguments), std::move(environment), std::move(config));
  settings.warnings_ = std::move(unknown);
  settings.market_ = market.config();
  settings.market_values_ = market.values();
  return settings;
}

std::optional<Settings::Value> Settings::Find(std::string_view name) const {
  const Flag* flag = FindFlag(command(), name);
  TW_CHECK(flag != nullptr);
  return Find(*flag);
}

std::optional<Settings::Value> Settings::Find(const Flag& flag) const {
  if (const auto given = arguments_.flags.find(flag.name); given != arguments_.flags.end()) {
    return Value{given->second, fmt::format("--{}", flag.name)};
  }
  const std::string variable = EnvironmentName(flag);
  if (auto value = environment_(variable)) {
    return Value{std::move(*value), variable};
  }
  if (const auto entry = config_.find(flag.config);
      !flag.config.empty() && entry != config_.end()) {
    return Value{entry->second.text, entry->second.origin};
  }
  if (!flag.built_in.empty()) {
    return Value{std::string(flag.built_in), "built-in", true};
  }
  return std::nullopt;
}

std::string Settings::Text(std::string_view flag) const {
  const auto value = Find(flag);
  return value ? value->text : "";
}

ConfigValue Settings::Configured(std::string_view key) const {
  const auto entry = config_.find(key);
  return entry == config_.end() ? ConfigValue() : entry->second;
}

Result<std::string> Settings::Choice(std::string_view name) const {
  const auto value = Find(name);
  const Flag* flag = FindFlag(command(), name);
  if (value && !HasChoice(flag->choices, value->text)) {
    return WrongValue(name, *value, fmt::format("one of {}", flag->choices));
  }
  return value ? value->text : "";
}

Result<bool> Settings::Switch(std::string_view flag) const {
  const auto value = Find(flag);
  if (!value || HasChoice("false 0 no off", value->text)) {
    return false;
  }
  if (HasChoice("true 1 yes on", value->text)) {
    return true;
  }
  return WrongValue(flag, *value, "true or false");
}

Result<std::optional<int64_t>> Settings::Integer(std::string_view flag, int64_t min,
                                                 int64_t max) const {
  const auto value = Find(flag);
  if (!value) {
    return std::nullopt;
  }
  const auto number = ParseNumber<int64_t>(value->text);
  if (!number || *number < min || *number > max) {
    return WrongValue(flag, *value, fmt::format("a whole number from {} to {}", min, max));
  }
  return number;
}

Result<std::optional<double>> Settings::Number(std::string_view flag, double min,
                                               double max) const {
  const auto value = Find(flag);
  if (!value) {
    return std::nullopt;
  }
  const auto number = ParseNumber<double>(value->text);
  if (!number || !(*number >= min && *number <= max)) {
    return WrongValue(flag, *value, fmt::format("a number from {} to {}", min, max));
  }
  return number;
}

Result<std::vector<int64_t>> Settings::Integers(std::string_view flag, int64_t min,
                                                int64_t max) const {
  constexpr size_t kListMax = 32;
  std::vector<int64_t> out;
  const auto value = Find(flag);
  std::string_view rest = value ? std::string_view(value->text) : std::string_view();
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const auto number = ParseNumber<int64_t>(rest.substr(0, comma));
    if (!number || *number < min || *number > max || out.size() == kListMax) {
      return WrongValue(flag, *value,
                        fmt::format("whole numbers from {} to {}, separated by commas", min, max));
    }
    out.push_back(*number);
    rest = comma == rest.npos ? "" : rest.substr(comma + 1);
  }
  return out;
}

Result<std::chrono::milliseconds> Settings::Duration(std::string_view flag) const {
  const auto value = Find(flag);
  if (!value) {
    return std::chrono::milliseconds(0);
  }
  auto duration = ParseDuration(value->text);
  return duration ? duration : WrongValue(flag, *value, "a time such as 30s, 5m, 1h or 7d, or 0");
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  constexpr int64_t kMax = int64_t{366} * 24 * 3600 * 1000;
  int64_t unit_ms = text == "0" ? 1 : 0;
  for (const auto& [suffix, ms] : std::initializer_list<std::pair<std::string_view, int64_t>>{
           {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}) {
    if (unit_ms == 0 && text.ends_with(suffix)) {
      unit_ms = ms;
      text.remove_suffix(suffix.size());
    }
  }
  const auto count = ParseNumber<int64_t>(text);
  if (unit_ms == 0 || !count || *count < 0 || *count > kMax / unit_ms) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is not a time such as 30s, 5m, 1h or 7d", text));
  }
  return std::chrono::milliseconds(*count * unit_ms);
}

}  // namespace tradewind::cli
