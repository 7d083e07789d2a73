#include "cli/live_market.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cli/market.h"
#include "cli/terminal.h"
#include "telemetry/log.h"

namespace tradewind::cli {
namespace {

void LogAll(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) {
    telemetry::Log(telemetry::Level::kWarn, WithoutControls(warning));
  }
}

}  // namespace

std::vector<std::string> LostPrices(const catalog::Catalog& before, const catalog::Catalog& now) {
  std::vector<std::string> lost;
  for (const catalog::Model& model : before.models()) {
    for (const catalog::Mapping& had : model.mappings) {
      const catalog::Mapping* has = now.FindByProviderModel(had.provider, had.provider_model);
      if (had.source == catalog::Source::kConfig && had.prices.is_priced() && has != nullptr &&
          !has->prices.is_priced()) {
        lost.push_back(
            fmt::format("{} at {} had a price ({}) and has none now: what it costs is not known, "
                        "is in no sum, and counts in no soft budget",
                        model.id, had.provider, had.prices.origin));
      }
    }
  }
  return lost;
}

Result<std::shared_ptr<const routing::Market>> LiveMarket::Build() const {
  const StoredKeyReader stored = [this](std::string_view slug) -> std::optional<std::string> {
    const auto found = secrets_.Find("", "", slug);
    return found.has_value() ? std::optional(std::string(found->secret->Reveal())) : std::nullopt;
  };
  TW_ASSIGN_OR_RETURN(const Market market, LoadMarket(settings_, home_, models_, stored));
  auto built = BuildRoutes(market, settings_.market().route);
  LogAll(market.warnings);
  LogAll(built->warnings());
  return built;
}

void LiveMarket::Serve(routing::Marketplace& market, gateway::Prober& prober) {
  market_ = &market;
  prober_ = &prober;
  secrets_.OnChange([this](identity::OwnerKind kind, std::string_view owner_id,
                           std::string_view provider) { KeyChanged(kind, owner_id, provider); });
}

Result<Settings> LiveMarket::Reload() {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(Settings fresh, settings_.Reload());
  Settings before = std::exchange(settings_, fresh);
  auto built = Build();
  if (!built.has_value()) {
    settings_ = std::move(before);
    return Fail(built.error());
  }
  LogAll(fresh.warnings());
  LogAll(LostPrices(*market_->board.Get()->shared_catalog(), *(*built)->shared_catalog()));
  market_->Adopt(std::move(*built));
  prober_->MarketChanged();
  return fresh;
}

std::vector<gateway::UsageSource> LiveMarket::UsageSources() {
  const std::lock_guard lock(mutex_);
  std::vector<gateway::UsageSource> sources;
  for (const catalog::ProviderConfig& provider : settings_.market().providers) {
    if (!provider.usage.api.has_value() || provider.usage.every.count() == 0) {
      continue;
    }
    auto source = UsageSourceOf(provider, settings_.environment());
    if (source.has_value()) {
      sources.push_back(std::move(*source));
    } else if (told_.insert(source.error().message).second) {
      telemetry::Log(telemetry::Level::kWarn, WithoutControls(source.error().message));
    }
  }
  return sources;
}

void LiveMarket::KeyChanged(identity::OwnerKind kind, std::string_view owner_id,
                            std::string_view provider) {
  if (kind != identity::OwnerKind::kServer) {
    market_->health.KeyChanged(provider, identity::OwnerRef(kind, owner_id));
    return;
  }
  const std::lock_guard lock(mutex_);
  auto built = Build();
  if (!built.has_value()) {
    telemetry::Log(telemetry::Level::kError,
                   fmt::format("the key of {} was changed and does not count yet: {}", provider,
                               built.error().message));
    return;
  }
  market_->Adopt(std::move(*built));
  prober_->MarketChanged();
}

}  // namespace tradewind::cli
