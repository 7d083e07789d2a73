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
  // An end that bars the route is about to be recorded; then, once it is, by this record of the
  // journal at the latest. It is barred in between, too.
  void Expect(const BarredRoute& route);
  void Settled(const BarredRoute& route, uint64_t seq);
  // The journal has such an end.
  void Read(const BarredRoute& route, uint64_t seq);
  // What alerts say that know all records up to this one, and nobody has acknowledged. What was
  // recorded later stays barred.
  void Set(std::span<const BarredRoute> told, uint64_t applied_seq);
  // The alert of what bars a purchase, 0 where it is still to come; nullopt: nothing does.
  std::optional<int64_t> Find(const Purchase& purchase);

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // as of BarredRoute
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
