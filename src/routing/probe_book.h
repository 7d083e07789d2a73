// Which mappings are to be probed, and what the last probe of each found, for as long as the
// mapping stays as it is. Ranking, /v1/models and people read it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "catalog/mapping.h"
#include "routing/probe_checks.h"
#include "routing/probe_schedule.h"

namespace tradewind::routing {

class Market;
struct MarketPlace;

// What probes say of a mapping over what the catalogue says. A probe that learned nothing leaves it
// as the one before it did.
struct ProbeVerdict {
  std::optional<RouteStatus> status = {};  // live or error; nothing: not known yet
  std::string words = {};                  // why it is error
  Known supports_tools = Known::kUnknown;
  Known supports_structured_output = Known::kUnknown;
};

struct ProbeNote {
  ProbeVerdict verdict;
  ProbeResult last;
  std::chrono::system_clock::time_point at{};  // of the last one
  TimePoint steady_at{};
};

// Thread-safe.
class ProbeBook {
 public:
  // From now on notes are of these mappings, in these versions (at most limits::kProbesMax): what
  // is noted of others is forgotten. Returns those that are new here in this version, but none the
  // first time: then there was nothing to change.
  std::vector<ProbeTarget> Keep(std::span<const ProbeMapping> mappings);
  // Ignored when the mapping is not kept in this version any more.
  void Note(const ProbeTarget& target, uint64_t version, ProbeResult result, const Clock& clock);

  std::optional<ProbeVerdict> VerdictOf(std::string_view provider, std::string_view model) const;
  std::optional<ProbeNote> Find(std::string_view provider, std::string_view model) const;

 private:
  struct Entry {
    uint64_t version = 0;
    std::optional<ProbeNote> note = {};
  };
  struct Less {
    using is_transparent = void;
    using Pair = std::pair<std::string_view, std::string_view>;
    static Pair View(const ProbeTarget& target) { return {target.provider, target.model}; }
    static const Pair& View(const Pair& pair) { return pair; }
    bool operator()(const auto& a, const auto& b) const { return View(a) < View(b); }
  };

  mutable std::shared_mutex mutex_;
  std::map<ProbeTarget, Entry, Less> entries_;
  bool is_first_ = true;
  std::atomic<bool> has_notes_{false};  // routing asks at every request, mostly for nothing
};

// The mappings of a market that could be probed: of providers with an address and, where they need
// one, the operator's key, for tasks that probes can check. One per target.
struct WatchedMapping {
  ProbeMapping probe;
  const catalog::Mapping* mapping = nullptr;
  const MarketPlace* place = nullptr;
};
std::vector<WatchedMapping> WatchedMappings(const Market& market);

}  // namespace tradewind::routing
