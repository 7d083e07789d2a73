// Looks at mappings by itself: at once when one is new or changed, every 6 hours, hourly after a
// failure (routing/probe_schedule.h), and when somebody asks. What it finds goes into the health of
// the route and the market's ProbeBook.
//
// A probe is a paid request like any other, about 600 tokens for a chat model, and stands in the
// ledger. So by default only mappings that are priced at zero are probed unasked ([route] probes;
// docs/operating/providers.md).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/task.h"
#include "billing/meter.h"
#include "catalog/provider_config.h"
#include "http/event_loop.h"
#include "http/http.h"
#include "routing/market.h"
#include "routing/probe_schedule.h"
#include "telemetry/metrics.h"

namespace tradewind::gateway {

// Thread-safe. Owns one event-loop thread; ends running probes when it is destroyed. What it refers
// to must outlive it.
class Prober {
 public:
  // `meter` counts what probes cost; null: nothing does.
  Prober(routing::Marketplace& market, telemetry::Registry& metrics, billing::Meter* meter,
         const Clock& clock = SystemClock(), Random& random = SystemRandom(),
         int64_t ask_pause_ms = routing::kProbeAskPauseMs);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  // To be called once at the start and after each change of the market's board: what is known of
  // mappings that changed is forgotten, and they are probed at once.
  void MarketChanged();

  // Ends running probes and begins none any more: another process probes from now on. Not from the
  // loop's own thread; the rest may still be called, and does nothing.
  void Stop();

  struct Asked {
    size_t count = 0;
    size_t too_soon = 0;  // were well less than ask_pause_ms ago: what was found then still counts
    bool operator==(const Asked&) const = default;
  };
  // Probes these now, whatever they cost: all mappings of a provider, or of all with a key ("").
  Asked Ask(std::string_view provider);
  bool is_asked(const routing::ProbeTarget& target) const;  // and has not been probed since
  size_t asked() const;

 private:
  using Watch = std::map<routing::ProbeTarget, routing::WatchedMapping>;

  // On the loop's thread:
  Task<void> Run();
  void Adopt(std::shared_ptr<const routing::Market> market, Watch watched);
  void Sync();
  Task<void> Look(routing::ProbeTarget target);
  void Finish(const routing::ProbeTarget& target, uint64_t version, const routing::ProbeSeen& seen);
  bool IsDueUnasked(const routing::WatchedMapping& watched) const;
  void Ring();

  routing::Marketplace& market_;
  telemetry::Registry& metrics_;
  billing::Meter* const meter_;
  const Clock& clock_;
  const int64_t ask_pause_ms_;

  // On the loop's thread:
  routing::ProbeSchedule schedule_;
  std::shared_ptr<const routing::Market> snapshot_;  // what watched_ points into
  Watch watched_;
  std::shared_ptr<http::Wakeup> wakeup_;

  mutable std::mutex mutex_;
  std::set<routing::ProbeTarget> asked_;

  std::shared_ptr<http::EventLoop> loop_;  // the last: its thread uses all of the above
};

}  // namespace tradewind::gateway
