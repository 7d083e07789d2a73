// Markets for tests of the gateway.
#pragma once

#include <memory>
#include <utility>

#include "catalog/catalog.h"
#include "routing/market.h"

namespace tradewind::gateway {

// Nobody has a key.
inline std::shared_ptr<const routing::Market> MarketOf(catalog::CatalogSources sources) {
  return routing::Market::Build(catalog::Catalog::Build(std::move(sources)), {},
                                [](const catalog::Provider&) { return std::nullopt; });
}

inline std::shared_ptr<const routing::Market> OnlyThisDevice(
    std::shared_ptr<const catalog::LocalModels> models) {
  catalog::CatalogSources sources;
  sources.local = std::move(models);
  return MarketOf(std::move(sources));
}

}  // namespace tradewind::gateway
