// The attempts of one request on their way; of try_routes.cc and hedge.cc.
#pragma once

#include <chrono>

#include "gateway/gateway.h"
#include "gateway/pass.h"
#include "routing/attempts.h"

namespace tradewind::gateway {

// One of them.
struct Begun {
  const routing::PlannedRoute* route = nullptr;
  UpstreamKey key;          // whose it is decides who pays: one lookup for both
  routing::Attempt lesson;  // what the route learns from it
  std::chrono::steady_clock::time_point started;
  billing::Metered money = {};  // held for it
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

  AttemptTerms TermsOf(Begun& begun) const;  // which must outlive them
  bool WasMute(const Answered& answered, const Begun& begun) const;
  // Tells the route how it went.
  void Teach(const Answered& answered, Begun& begun) const;
};

// The attempt has ended: so does its hold (billing/ending.h).
void EndMoney(const Answered& answered, Begun& begun);

}  // namespace tradewind::gateway
