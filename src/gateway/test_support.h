// For tests of the gateway: markets, and a log that can be read.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "routing/market.h"
#include "telemetry/access_log.h"

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

class MemoryLog final : public telemetry::AccessLog {
 public:
  void Write(const telemetry::AccessRecord& record) override {
    const std::lock_guard lock(mutex_);
    records_.push_back(record);
  }
  int64_t dropped() const override { return 0; }
  std::vector<telemetry::AccessRecord> records() const {
    const std::lock_guard lock(mutex_);
    return records_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<telemetry::AccessRecord> records_;
};

}  // namespace tradewind::gateway
