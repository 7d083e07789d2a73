// The market of a running server: built at the start, again when the config is read again, and when
// a stored key changes.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "catalog/local_models.h"
#include "cli/settings.h"
#include "gateway/prober.h"
#include "gateway/usage_api.h"
#include "identity/provider_secrets.h"
#include "routing/market.h"

namespace tradewind::cli {

// Thread-safe. What it refers to must outlive it.
class LiveMarket {
 public:
  LiveMarket(Settings settings, std::filesystem::path home,
             std::shared_ptr<const catalog::LocalModels> models, identity::ProviderSecrets& secrets)
      : settings_(std::move(settings)),
        home_(std::move(home)),
        models_(std::move(models)),
        secrets_(secrets) {}
  ~LiveMarket() { secrets_.OnChange(nullptr); }
  LiveMarket(const LiveMarket&) = delete;
  LiveMarket& operator=(const LiveMarket&) = delete;

  // Config, catalogue, prices and keys as they are now; warnings go to the log. Errors: those of
  // LoadMarket.
  Result<std::shared_ptr<const routing::Market>> Build() const;

  // From now on stored keys count for `market` as soon as they change. Call once.
  void Serve(routing::Marketplace& market, gateway::Prober& prober);
  // Usage interfaces that are asked unasked, their keys read anew; one without its key is left out,
  // which is told once.
  std::vector<gateway::UsageSource> UsageSources();
  // The config and prices anew, for requests to come; what it warns of, and prices that are lost by
  // it, go to the log. Errors: those of Settings::Reload and Build; then nothing changes.
  Result<Settings> Reload();

 private:
  void KeyChanged(identity::OwnerKind kind, std::string_view owner_id, std::string_view provider);

  mutable std::mutex mutex_;  // of settings_, and one rebuild at a time
  Settings settings_;
  const std::filesystem::path home_;
  const std::shared_ptr<const catalog::LocalModels> models_;
  identity::ProviderSecrets& secrets_;
  routing::Marketplace* market_ = nullptr;
  gateway::Prober* prober_ = nullptr;
  std::set<std::string> told_;  // troubles with usage interfaces
};

// Of models of [[providers]] that had a price before and have none now, one line each.
std::vector<std::string> LostPrices(const catalog::Catalog& before, const catalog::Catalog& now);

}  // namespace tradewind::cli
