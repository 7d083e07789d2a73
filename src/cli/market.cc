#include "cli/market.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/file.h"
#include "base/limits.h"
#include "catalog/starter.h"
#include "telemetry/log.h"

namespace tradewind::cli {
namespace {

Result<std::string> CheckedKey(std::string key, const std::string& origin) {
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r' || key.back() == ' ')) {
    key.pop_back();
  }
  const bool is_plain =
      std::all_of(key.begin(), key.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (key.empty() || key.size() > limits::kApiKeyBytesMax || !is_plain) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} holds no key: one line of visible characters is expected", origin));
  }
  return key;
}

}  // namespace

Result<std::optional<std::string>> ReadProviderKey(const catalog::Provider& provider,
                                                   const Environment& environment) {
  if (!provider.api_key_env.empty()) {
    if (auto key = environment(provider.api_key_env); key.has_value()) {
      TW_ASSIGN_OR_RETURN(std::string checked, CheckedKey(std::move(*key), provider.api_key_env));
      return checked;
    }
  }
  if (!provider.api_key_file.empty()) {
    TW_ASSIGN_OR_RETURN(std::string text,
                        ReadFile(provider.api_key_file, 2 * limits::kApiKeyBytesMax));
    TW_ASSIGN_OR_RETURN(std::string checked, CheckedKey(std::move(text), provider.api_key_file));
    return checked;
  }
  return std::optional<std::string>();
}

std::shared_ptr<const routing::Market> BuildMarket(
    const Settings& settings, std::shared_ptr<const catalog::LocalModels> local,
    const StoredKeys& stored) {
  catalog::CatalogSources sources;
  sources.local = std::move(local);
  sources.configured = settings.market().providers;
  sources.starter = catalog::Starter();
  sources.order = settings.market().route.order;
  const auto catalog = catalog::Catalog::Build(std::move(sources));
  for (const std::string& conflict : catalog->conflicts()) {
    telemetry::Log(telemetry::Level::kWarn, conflict);
  }
  const auto read = [&](const catalog::Provider& provider) -> std::optional<std::string> {
    Result<std::optional<std::string>> key = ReadProviderKey(provider, settings.environment());
    if (!key.has_value()) {
      telemetry::Log(telemetry::Level::kWarn,
                     fmt::format("the provider {} is off: {}", provider.slug, key.error().message));
      return std::nullopt;
    }
    if (!key->has_value() && stored) {
      if (std::string kept = stored(provider.slug); !kept.empty()) {
        return kept;
      }
    }
    if (!key->has_value() && provider.needs_key && provider.source == catalog::Source::kConfig) {
      telemetry::Log(
          telemetry::Level::kWarn,
          fmt::format(
              "the provider {} is off: no key for it; set {}, or run `tradewind login "
              "--provider {}`",
              provider.slug,
              provider.api_key_env.empty() ? std::string("api_key_env") : provider.api_key_env,
              provider.slug));
    }
    return std::move(*key);
  };
  auto market = routing::Market::Build(catalog, settings.market().route, read);
  for (const std::string& warning : market->warnings()) {
    telemetry::Log(telemetry::Level::kWarn, warning);
  }
  return market;
}

}  // namespace tradewind::cli
