// The attempts of one request on their way; of try_routes.cc and hedge.cc.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/gateway.h"
#include "gateway/pass.h"
#include "routing/attempts.h"

namespace tradewind::gateway {

// What the attempts of one request may cost together: at most twice what the first of them that may
// be billed was held for. The first failover alone may be as dear as any that is planned: else a
// timeout of the cheapest would be the end of most requests. Where the request names it, it may be
// dearer still, but no further one may follow.
struct AtStake {
  ledger::NanoUsd first = 0;  // held
  ledger::NanoUsd sum = 0;    // of those that run or may be billed

  // What is left for one more; nullopt: as much as it takes. `is_named`: PlannedRoute's.
  std::optional<ledger::NanoUsd> room(bool is_named) const {
    if (sum <= 0 || (sum <= first && is_named)) {
      return std::nullopt;
    }
    return sum <= first ? routing::kDearTimes * first
                        : std::max<ledger::NanoUsd>(0, 2 * first - sum);
  }
  void Begin(ledger::NanoUsd held) {
    first = sum > 0 ? first : held;
    sum += held;
  }
  void End(ledger::NanoUsd held, ledger::NanoUsd may_cost) { sum += may_cost - held; }
};

// One of them.
struct Begun {
  const routing::PlannedRoute* route = nullptr;
  UpstreamKey key;          // whose it is decides who pays: one lookup for both
  routing::Attempt lesson;  // what the route learns from it
  std::chrono::steady_clock::time_point started;
  billing::Metered money = {};  // held for it
  ledger::NanoUsd held = 0;     // so much, also when it has ended
  bool is_beside = false;       // another one that has not failed: a hedge
};

// What they share.
struct Tries {
  Call& call;
  const Order& order;
  const routing::Plan& plan;
  std::chrono::steady_clock::time_point deadline;  // of the request
  const RouteTimes& times;
  routing::Attempts attempts;
  ClientStream stream = {};
  const routing::PlannedRoute* began = nullptr;  // whose stream the client has
  bool may_be_billed = false;                    // one of those that failed
  uint16_t attempt = 0;                          // of the ledger: each has a hold of its own
  AtStake at_stake = {};
  // The caller's own account at a provider was to pay, and that refused it: the server's does not
  // pay instead, where nobody named a route of its.
  bool own_key_refused = false;
  std::optional<ledger::Refusal> refused = {};  // the first attempt for which a budget had no room
  std::vector<std::string> too_dear = {};  // routes that were passed over for what they may cost

  AttemptTerms TermsOf(Begun& begun) const;  // which must outlive them
  // Whether the usage of this one says what the request costs: no earlier one may be billed too.
  bool KnowsCost(const Begun& begun) const;
  bool WasMute(const Answered& answered, const Begun& begun) const;
  // Tells the route how it went.
  void Teach(const Answered& answered, Begun& begun) const;
};

// What all attempts there have in common; the mapping outlives its Metered.
billing::Offer OfferOf(const catalog::Mapping& mapping, const routing::MarketPlace& place,
                       billing::Purchase buyer);

// True: this record survives a power cut (0: there is none), so the request behind it may go out.
Task<bool> AwaitDurable(billing::Meter& meter, uint64_t seq,
                        std::chrono::steady_clock::time_point deadline);

// What the ledger is told of the end; it points into `answered`.
billing::Ended EndedOf(const Answered& answered);

// What an attempt has come to that was begun, and that nothing was sent of.
Answered NotSent();

inline constexpr std::string_view kHedgeLost = "hedge_lost";

// The attempt has ended: so does its hold (billing/ending.h). `has_lost`: it was stopped because
// the one beside it was faster.
void EndMoney(Tries& tries, const Answered& answered, Begun& begun, bool has_lost = false);

}  // namespace tradewind::gateway
