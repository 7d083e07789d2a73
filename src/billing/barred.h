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

// A bill beyond so many times what was held is none that any bound has missed by: nobody asks
// there again, with or without a budget, and no more than that is posted. Of small holds, beyond
// so many times these.
inline constexpr int64_t kAbsurdTimes = 1000;
inline constexpr ledger::NanoUsd kAbsurdHeldMin = 1'000'000, kPostedHeldMin = 1'000'000'000;
ledger::NanoUsd PostedMax(ledger::NanoUsd held);  // of one attempt

// A provider's model, and whose account there pays: what one is billed binds nobody who pays by
// another.
struct BarredRoute {
  std::string org_id;  // whose own key pays; "" = the server's
  std::string provider, model;
  int64_t alert_id = 0;  // that is acknowledged to have it used again; 0: it is still to come
  bool for_all = false;  // not for those alone whom a hard budget or a prepaid credit bounds

  bool operator==(const BarredRoute&) const = default;
};

// Some of what it did has no price here, and nobody has named the cost.
bool IsOfUnknownCost(const Outcome& outcome);

// The route that an end bars; nullopt: none.
std::optional<BarredRoute> BarredBy(const Purchase& purchase, const Outcome& outcome,
                                    ledger::NanoUsd cost, ledger::NanoUsd held);

// Thread-safe.
class Bars {
 public:
  bool any() const { return any_; }
  // An end that bars the route is about to be recorded; then, once it is, by this record of the
  // journal at the latest. It is barred in between, too.
  void Expect(const BarredRoute& route);
  void Settled(const BarredRoute& route, uint64_t seq);
  // The journal has such an end.
  void Read(const BarredRoute& route, uint64_t seq);
  // What alerts say that know all records up to this one, and nobody has acknowledged. What was
  // recorded later stays barred.
  void Set(std::span<const BarredRoute> told, uint64_t applied_seq);
  // What bars a purchase; nullopt: nothing does.
  std::optional<BarredRoute> Find(const Purchase& purchase, bool is_bounded);

 private:
  // As of BarredRoute: for_all, org_id, provider, model.
  using Key = std::tuple<bool, std::string, std::string, std::string>;
  struct Bar {
    int64_t alert_id = 0;  // 0: there is none
    uint64_t seq = 0;      // of the last end that alerts do not know yet; 0: they do
    int expected = 0;
  };
  Bar& At(const BarredRoute& route);  // requires mutex_

  std::atomic<bool> any_{false};
  std::mutex mutex_;  // guards what follows
  std::map<Key, Bar, std::less<>> bars_;
};

}  // namespace tradewind::billing
