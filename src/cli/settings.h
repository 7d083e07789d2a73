// A verb's settings: flag > environment > config file > built-in, with the place each value came
// from.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/provider_config.h"
#include "cli/arguments.h"
#include "cli/command.h"

namespace tradewind::cli {

// Looks a variable up; nullopt when unset. An empty value counts as unset.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment ProcessEnvironment();

// One key of a config file, as the text a flag would have.
struct ConfigValue {
  std::string text;
  std::string origin;  // "/etc/tradewind/config.toml line 3"
};
using ConfigValues = std::map<std::string, ConfigValue, std::less<>>;  // by "server.port"

// Parses TOML; `file` is for messages. Only keys that some flag names are returned; `unknown` gets
// the others, except whole tables that this version does not read. Errors: kInvalidArgument with
// file and line (syntax, or a known key that is a table or array).
Result<ConfigValues> ParseConfig(std::string_view toml, const std::string& file,
                                 std::vector<std::string>& unknown);

// The files that count, strongest first: the one named by --config or TRADEWIND_CONFIG alone, else
// the user's and the system's.
struct ConfigFiles {
  std::vector<std::filesystem::path> paths;
  bool is_explicit = false;  // then it must exist
};
ConfigFiles FindConfigFiles(const Arguments& arguments, const Environment& environment);

class Settings {
 public:
  // Reads the config files. Errors: those of ParseConfig, kNotFound for an explicit file that is
  // not there.
  static Result<Settings> Load(Arguments arguments, Environment environment);
  // The same, now: with the config files as they have become.
  Result<Settings> Reload() const { return Load(arguments_, environment_); }

  Settings(Arguments arguments, Environment environment, ConfigValues config)
      : arguments_(std::move(arguments)),
        environment_(std::move(environment)),
        config_(std::move(config)) {}

  struct Value {
    std::string text;
    std::string origin;  // "--port", "TRADEWIND_PORT", "FILE line 3", "built-in"
    bool is_built_in = false;
  };
  // The value of a flag; nullopt when nobody says one. `flag` is a name of this verb (or of
  // `command`).
  std::optional<Value> Find(std::string_view flag) const;
  std::optional<Value> Find(const Flag& flag) const;

  // Errors of the readers: kInvalidArgument naming value and origin.
  std::string Text(std::string_view flag) const;            // "" when nobody says one
  Result<std::string> Choice(std::string_view flag) const;  // one of the flag's choices
  Result<bool> Switch(std::string_view flag) const;
  Result<std::optional<int64_t>> Integer(std::string_view flag, int64_t min, int64_t max) const;
  Result<std::optional<double>> Number(std::string_view flag, double min, double max) const;
  Result<std::vector<int64_t>> Integers(std::string_view flag, int64_t min,
                                        int64_t max) const;                 // "1,2,4"
  Result<std::chrono::milliseconds> Duration(std::string_view flag) const;  // "5m", "0"

  // What the config files say of a key, both "" when nothing: of a server's, for a verb that does
  // its work where none runs.
  ConfigValue Configured(std::string_view key) const;

  // Words of the i-th argument of the command.
  const std::vector<std::string>& Words(size_t argument) const {
    return arguments_.positional[argument];
  }
  const Command& command() const { return *arguments_.command; }
  const Environment& environment() const { return environment_; }
  // [[providers]], [route] and [server] cors_origins of the config files, and their values as
  // `config get` prints them.
  const catalog::MarketConfig& market() const { return market_; }
  const ConfigValues& market_values() const { return market_values_; }
  ConfigFiles config_files() const { return FindConfigFiles(arguments_, environment_); }
  const std::vector<std::string>& warnings() const {
    return warnings_;
  }  // unknown keys of config files

 private:
  Arguments arguments_;
  Environment environment_;
  ConfigValues config_;
  catalog::MarketConfig market_;
  ConfigValues market_values_;
  std::vector<std::string> warnings_;
};

Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

}  // namespace tradewind::cli
