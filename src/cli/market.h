// The catalogue of this home: models on this device, config, imported prices and the starter
// catalogue, with the keys that the environment and key files hold.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "cli/settings.h"
#include "cli/stored_keys.h"
#include "gateway/usage_api.h"
#include "routing/market.h"

namespace tradewind::cli {

struct ProviderKey {
  std::string secret;  // never printed, logged or sent to anybody but the provider
  std::string from;    // "environment GROQ_API_KEY", "file /etc/tradewind/groq.key", "login"
};

struct Market {
  std::shared_ptr<const catalog::Catalog> catalog;
  std::map<std::string, ProviderKey> keys;  // by slug, of providers that have one
  std::vector<std::string> warnings;
};

// Reads HOME/prices.json and every key anew: call it again to reload. Never touches the network.
// `local` may be null. The operator's key for a provider is the one that config or environment
// lead to, else the one in `stored` (may be null). Errors: those of pricing::LoadPrices: without
// imported prices budgets would be kept by others.
Result<Market> LoadMarket(const Settings& settings, const std::filesystem::path& home,
                          std::shared_ptr<const catalog::LocalModels> local,
                          const StoredKeyReader& stored = {});

// As requests are routed with.
std::shared_ptr<const routing::Market> BuildRoutes(const Market& market,
                                                   const catalog::RouteConfig& route);

// The key that api_key_env or api_key_file of the provider leads to. Errors: kUnauthenticated with
// the next step, never with any part of the key.
Result<ProviderKey> ReadProviderKey(const catalog::Provider& provider,
                                    const Environment& environment);

// The key in `file`, or in the variable `env`, as above.
Result<ProviderKey> ReadKeyAt(const std::string& env, const std::string& file,
                              const Environment& environment);

// The provider as its usage interface is asked. Errors: kNotFound when it has none;
// kUnauthenticated when its key is not there; each with the next step.
Result<gateway::UsageSource> UsageSourceOf(const catalog::ProviderConfig& provider,
                                           const Environment& environment);

// The catalogue as a server started now would see it, its warnings on stderr. The verb needs the
// flag --secret-key-file. Errors: those of HomeFolder and ScanModels.
Result<Market> OpenMarket(const Settings& settings);

}  // namespace tradewind::cli
