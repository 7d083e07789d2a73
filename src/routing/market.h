// Catalogue, addresses and keys as one snapshot that requests are routed with: immutable; a reload
// of the config hangs up another, and running requests keep the one they began with.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/provider_config.h"
#include "providers/upstream.h"
#include "routing/attempts.h"
#include "routing/health.h"
#include "routing/probe_book.h"

namespace tradewind::routing {

// A provider as requests reach it.
struct MarketPlace {
  const catalog::Provider* provider = nullptr;
  std::optional<providers::Upstream> upstream;  // none for this device
  std::string api_key;                          // the operator's; "" = none
  std::optional<http::Url> billing;             // where it says what requests cost
  bool is_local() const { return !upstream.has_value(); }
  bool has_key() const { return !provider->needs_key || !api_key.empty(); }
};

class Market {
 public:
  // The operator's key for a provider, read anew, wherever it is kept; nullopt when there is none.
  using KeyReader = std::function<std::optional<std::string>(const catalog::Provider&)>;

  // Never fails: a provider whose address or kind cannot be used is left out, with a warning.
  static std::shared_ptr<const Market> Build(std::shared_ptr<const catalog::Catalog> catalog,
                                             catalog::RouteConfig route, const KeyReader& keys);

  const catalog::Catalog& catalog() const { return *catalog_; }
  std::shared_ptr<const catalog::Catalog> shared_catalog() const { return catalog_; }
  const catalog::RouteConfig& route() const { return route_; }
  const MarketPlace* Find(std::string_view slug) const;
  // One beside this device that could answer: the operator configured it, or it has a key. (Callers
  // may bring keys of their own.)
  bool has_usable_provider() const;
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  std::shared_ptr<const catalog::Catalog> catalog_;
  catalog::RouteConfig route_;
  std::map<std::string, MarketPlace, std::less<>> places_;
  std::vector<std::string> warnings_;
};

// Where the current one hangs. Thread-safe.
class MarketBoard {
 public:
  explicit MarketBoard(std::shared_ptr<const Market> first) : current_(std::move(first)) {}
  std::shared_ptr<const Market> Get() const {
    const std::lock_guard lock(mutex_);
    return current_;
  }
  void Set(std::shared_ptr<const Market> next) {
    const std::lock_guard lock(mutex_);
    current_ = std::move(next);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Market> current_;
};

// The state that requests share while markets come and go. Thread-safe; what it refers to must
// outlive it.
struct Marketplace {
  Marketplace(std::shared_ptr<const Market> first, http::UpstreamClient* client, const Clock& clock,
              Random& random)
      : board(std::move(first)), upstreams(client), health(clock, random), retries(clock) {}

  // Hangs up another market. Of operator's keys that it replaces, or sends in another header, no
  // refusal counts any more.
  void Adopt(std::shared_ptr<const Market> next);

  MarketBoard board;
  http::UpstreamClient* const upstreams;  // null when there is only this device
  HealthBook health;
  RetryBudget retries;
  ProbeBook probes;
};

}  // namespace tradewind::routing
