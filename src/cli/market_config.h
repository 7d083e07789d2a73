// [[providers]], [route] and [server] cors_origins of the config files → catalog::MarketConfig.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/provider_config.h"
#include "cli/settings.h"

namespace tradewind::cli {

// Reads one file after the other, the strongest first: what an earlier one said stays. A provider
// counts as one value, by its name.
class MarketReader {
 public:
  // Unknown fields, and keys that stand in the file itself, become warnings. Errors:
  // kInvalidArgument with file, line, field and the next step; no value that could be a key is ever
  // repeated.
  Status Read(std::string_view toml, const std::string& file, std::vector<std::string>& warnings);

  const catalog::MarketConfig& config() const { return config_; }
  // For `config get`: "route.default", "server.cors_origins", "providers.site-a.base_url" with their
  // origins.
  const ConfigValues& values() const { return values_; }

 private:
  catalog::MarketConfig config_;
  ConfigValues values_;
};

// An absolute http or https URL without user, query and fragment; the slash at its end is dropped.
// Errors: kInvalidArgument, a clause that follows the name of a field ("must be ...").
Result<std::string> ParseBaseUrl(std::string_view text, bool allow_http);

}  // namespace tradewind::cli
