// Asks providers what requests in doubt cost, and ends their holds (billing/reconcile.h): each
// provider with a billing address, again and again, in batches of ids. Protocol:
// docs/formats/billing-protocol.md. Beside it, those with a usage interface what all of it cost.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/task.h"
#include "billing/meter.h"
#include "billing/reconcile.h"
#include "gateway/usage_api.h"
#include "http/event_loop.h"
#include "http/http.h"
#include "routing/market.h"
#include "telemetry/metrics.h"

namespace tradewind::gateway {

struct ReconcilerOptions {
  std::chrono::milliseconds every{60'000};
  std::chrono::milliseconds give_up{1'800'000};  // an id that the provider would know is void then
  std::chrono::milliseconds deadline{86'400'000};  // what nobody could say is settled as metered
  // The caller's own key at a provider; null, nullopt: his requests are not asked about.
  std::function<std::optional<std::string>(std::string_view org_id, std::string_view user_id,
                                           std::string_view provider)>
      own_key;
  billing::Reconciliation::HasTwin has_twin;  // waits for the disk
  // Usage interfaces that are asked unasked, as the config has them now, and who takes what they
  // say of these days. Both may wait for the disk; empty: none is asked.
  std::function<std::vector<UsageSource>()> usage_sources;
  std::function<Status(const UsageSource&, const UsageDays&, std::vector<billing::BillLine>)>
      take_usage;
};

// Owns one event-loop thread; ends a running call when it is destroyed. What it refers to must
// outlive it.
class Reconciler {
 public:
  Reconciler(routing::Marketplace& market, ledger::Ledger& ledger, billing::Meter& meter,
             telemetry::Registry& metrics, ReconcilerOptions options,
             const Clock& clock = SystemClock());
  ~Reconciler();
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;

  // Asks nothing any more: another process has the ledger. Not from the loop's own thread.
  void Stop();

 private:
  Task<void> Run();
  Task<void> RunUsage();
  Task<Status> FetchAndTake(const UsageSource& source);
  Task<void> Round();
  Task<void> Ask(const routing::Market& market, const billing::BillingQuestion& question);
  std::optional<std::string> KeyFor(const routing::MarketPlace& place,
                                    const billing::BillingQuestion& question) const;
  void Tell(const std::string& provider, const billing::BillingOutcome& outcome);
  void Trouble(const std::string& provider, const std::string& what);
  void UsageTrouble(const std::string& provider, const std::string& what);

  routing::Marketplace& market_;
  ledger::Ledger& ledger_;
  billing::Meter& meter_;
  telemetry::Registry& metrics_;
  const ReconcilerOptions options_;
  const Clock& clock_;
  // On the loop's thread:
  billing::Reconciliation reconciliation_;
  std::map<std::string, std::string> troubles_;  // by provider: each is told once
  std::map<std::string, std::string> usage_troubles_;
  std::map<std::string, std::chrono::steady_clock::time_point> usage_due_;  // by provider
  std::shared_ptr<http::Wakeup> wakeup_, usage_wakeup_;

  std::shared_ptr<http::EventLoop> loop_;  // the last: its thread uses all of the above
};

}  // namespace tradewind::gateway
