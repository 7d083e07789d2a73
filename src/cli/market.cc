#include "cli/market.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "base/limits.h"
#include "catalog/starter.h"
#include "cli/home.h"
#include "cli/model_file.h"
#include "cli/terminal.h"
#include "pricing/price_file.h"
#include "providers/kinds.h"

namespace tradewind::cli {
namespace {

std::unexpected<Error> NoKey(std::string why) {
  return Fail(ErrorCode::kUnauthenticated, std::move(why), "api_key");
}

// What a header may carry: one line of printable ASCII.
bool IsKeyText(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte < 0x7f;
  });
}

Result<ProviderKey> ReadKeyFile(const std::string& path) {
  auto text = ReadFile(path, limits::kApiKeyBytesMax);
  if (!text) {
    return NoKey(fmt::format("no key: {} cannot be read: {}", path, text.error().message));
  }
  const size_t end = text->find_last_not_of(" \t\r\n");
  text->resize(end == std::string::npos ? 0 : end + 1);
  if (!IsKeyText(*text)) {
    return NoKey(fmt::format("no key: {} must hold the key alone, on one line", path));
  }
  return ProviderKey{std::move(*text), "file " + path};
}

bool OthersMayRead(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  return !error && (status.permissions() & (fs::perms::group_read | fs::perms::others_read)) !=
                       fs::perms::none;
}

}  // namespace

Result<ProviderKey> ReadKeyAt(const std::string& env, const std::string& file,
                              const Environment& environment) {
  if (env.empty()) {
    return ReadKeyFile(file);
  }
  auto text = environment(env);
  if (!text) {
    return NoKey(fmt::format("no key: the variable {} is not set", env));
  }
  if (!IsKeyText(*text)) {
    return NoKey(fmt::format("no key: the variable {} must hold the key alone, on one line", env));
  }
  return ProviderKey{std::move(*text), "environment " + env};
}

Result<ProviderKey> ReadProviderKey(const catalog::Provider& provider,
                                    const Environment& environment) {
  if (provider.api_key_env.empty() && provider.api_key_file.empty()) {
    return NoKey(
        fmt::format("no key: name one with api_key_env or api_key_file under [[providers]]"));
  }
  return ReadKeyAt(provider.api_key_env, provider.api_key_file, environment);
}

Result<gateway::UsageSource> UsageSourceOf(const catalog::ProviderConfig& provider,
                                           const Environment& environment) {
  const catalog::UsageTerms& usage = provider.usage;
  if (!usage.api.has_value()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: {} has no usage_api; write usage_api = \"openai\" and "
                            "usage_api_key_env, or import its bill as a file",
                            provider.origin, provider.name),
                "usage_api");
  }
  auto key = ReadKeyAt(usage.key_env, usage.key_file, environment);
  if (!key.has_value()) {
    return Fail(ErrorCode::kUnauthenticated,
                fmt::format("{}: the usage API of {} cannot be asked: {}", provider.origin,
                            provider.name, key.error().message),
                "usage_api_key_env");
  }
  gateway::UsageSource source;
  source.provider = provider.name;
  source.api = *usage.api;
  TW_ASSIGN_OR_RETURN(source.url, http::ParseUrl(usage.url));
  source.key = std::move(key->secret);
  source.allow_private = provider.allow_private;
  source.every = usage.every;
  return source;
}

Result<Market> LoadMarket(const Settings& settings, const std::filesystem::path& home,
                          std::shared_ptr<const catalog::LocalModels> local,
                          const StoredKeyReader& stored) {
  Market out;
  catalog::CatalogSources sources;
  sources.local = std::move(local);
  sources.configured = settings.market().providers;
  sources.order = settings.market().route.order;
  sources.known = providers::KnownProviders();
  sources.starter = catalog::Starter();
  TW_ASSIGN_OR_RETURN(sources.imported, pricing::LoadPrices(home));
  sources.why_off = [&](const catalog::Provider& provider) -> std::string {
    auto key = ReadProviderKey(provider, settings.environment());
    if (!key && stored) {
      if (auto text = stored(provider.slug)) {
        key = ProviderKey{std::move(*text), "login"};
      }
    }
    if (!key && !provider.needs_key) {
      return "";
    }
    if (!key) {
      if (provider.source == catalog::Source::kConfig) {  // others were never asked for
        out.warnings.push_back(fmt::format("{}: the provider {} is off: {}", provider.origin,
                                           provider.slug, key.error().message));
      }
      return key.error().message;
    }
    if (key->from != "login" && !provider.api_key_file.empty() &&
        OthersMayRead(provider.api_key_file)) {
      out.warnings.push_back(
          fmt::format("{} can be read by other users; chmod 600 it", provider.api_key_file));
    }
    out.keys.insert_or_assign(provider.slug, std::move(*key));
    return "";
  };
  out.catalog = catalog::Catalog::Build(std::move(sources));
  const auto& conflicts = out.catalog->conflicts();
  out.warnings.insert(out.warnings.end(), conflicts.begin(), conflicts.end());
  return out;
}

std::shared_ptr<const routing::Market> BuildRoutes(const Market& market,
                                                   const catalog::RouteConfig& route) {
  return routing::Market::Build(market.catalog, route, [&](const catalog::Provider& provider) {
    const auto found = market.keys.find(provider.slug);
    return found == market.keys.end() ? std::nullopt : std::optional(found->second.secret);
  });
}

Result<Market> OpenMarket(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::filesystem::path home, HomeFolder(settings));
  TW_ASSIGN_OR_RETURN(catalog::LocalModels local, ScanModels(settings));
  std::vector<std::string> warnings;
  const auto stored = FindStoredKeys(settings, home, warnings);
  const StoredKeyReader reader = [&](std::string_view slug) {
    const auto found = stored.find(slug);
    return found == stored.end() ? std::nullopt : std::optional(found->second);
  };
  TW_ASSIGN_OR_RETURN(
      Market market,
      LoadMarket(settings, home, std::make_shared<catalog::LocalModels>(std::move(local)), reader));
  market.warnings.insert(market.warnings.end(), warnings.begin(), warnings.end());
  for (const std::string& warning : market.warnings) {
    fmt::print(stderr, "tradewind: warning: {}\n", WithoutControls(warning));
  }
  return market;
}

}  // namespace tradewind::cli
