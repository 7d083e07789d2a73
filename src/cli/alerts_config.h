// [alerts] of the config files → alerts::Config.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ledger/money.h"

namespace tradewind::alerts {
struct Config;  // alerts/service.h
struct Policy;  // alerts/watch.h
}  // namespace tradewind::alerts

namespace tradewind::cli {

class Settings;

// As the file says it. The webhook's secret stands elsewhere: in a variable or a file of its own.
struct AlertsConfig {
  std::string webhook;  // a whole URL; "" = none
  std::string secret_env, secret_file;
  bool allow_private = false;
  std::vector<std::string> command;  // a program and its arguments; empty = none
  ledger::NanoUsd velocity = 5'000'000'000;
  bool throttle = false;
  std::string origin;  // "FILE line 3"; "" = no file has the table
};

// Reads the table, unless an earlier, stronger file had one. Unknown fields become warnings.
// Errors: kInvalidArgument with file, line, field and the next step; no value that could be a
// secret is ever repeated.
Status ReadAlertsConfig(std::string_view toml, const std::string& file, AlertsConfig& config,
                        std::vector<std::string>& warnings);

// [alerts] of the config files that count for these settings; unknown fields go to the log. Errors:
// those of ReadAlertsConfig.
Result<AlertsConfig> LoadAlertsConfig(const Settings& settings);

// What decides alerts; needs no secret.
alerts::Policy PolicyOf(const AlertsConfig& config);

// With the secret read. Errors: kNotFound, kInvalidArgument: it is named, and not there.
Result<alerts::Config> MakeAlerts(
    const AlertsConfig& config,
    const std::function<std::optional<std::string>(const std::string&)>& environment);

}  // namespace tradewind::cli
