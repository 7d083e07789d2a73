// Routes that were billed more than could be held for them: who asks them no more, until somebody
// has acknowledged it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <tuple>

#include "billing/purchase.h"
#include "ledger/money.h"

namespace tradewind::billing {

// A provider's model, and whose account there pays: what one is billed binds nobody who pays by
// another.
struct BarredRoute {
  std::string org_id;  // whose own key pays; "" = the server's
  std::string provider, model;
  int64_t alert_id = 0;  // that is acknowledged to have it used again

  bool operator==(const BarredRoute&) const = default;
};

// The route that an end bars; nullopt: none.
std::optional<BarredRoute> BarredBy(const Purchase& purchase, const Outcome& outcome,
                                    ledger::NanoUsd cost, ledger::NanoUsd held);

// Thread-safe.
class Bars {
 public:
  bool any() const { return any_; }
  // What hard budgets do not use until the next call.
  void Set(std::span<const BarredRoute> routes);
  // The alert of what bars a purchase; nullopt: nothing does.
  std::optional<int64_t> Find(const Purchase& purchase);

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // as of BarredRoute

  std::atomic<bool> any_{false};
  std::mutex mutex_;  // guards what follows
  std::map<Key, int64_t, std::less<>> alerts_;
};

}  // namespace tradewind::billing
