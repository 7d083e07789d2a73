// When each mapping is to be probed: at once when it is new or changed, every 6 hours while it is
// well, every hour after a failure; a little off the hour, so that probes spread. Only times: who
// probes, and how, is wired elsewhere.
//
//   schedule.Sync(mappings);                       // at start and on every new catalogue
//   for (auto& target : schedule.TakeDue(now))     // when NextDue() has come
//     ... probe it ...
//     schedule.Done(target, ProbeEnd::kWell, now);
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "routing/window.h"

namespace tradewind::routing {

enum class ProbeEnd {
  kWell,
  kFailed,
  kNothingLearned,  // rate limit, our key, shutdown: asked again as after a failure
};

struct ProbeTarget {
  std::string provider;
  std::string model;  // the provider's id
  auto operator<=>(const ProbeTarget&) const = default;
};

struct ProbeMapping {
  ProbeTarget target;
  // Anything that differs when the mapping does (status, id, address, key): a change is probed at
  // once.
  uint64_t version = 0;
  // What is remembered of an earlier run, so that a restart does not probe (and pay for)
  // everything: how long ago the last probe of this very version was, and how it ended.
  std::optional<int64_t> last_ago_ms = {};
  ProbeEnd last_end = ProbeEnd::kWell;
};

// A mapping that was well so lately is not probed again because somebody asks.
inline constexpr int64_t kProbeAskPauseMs = 60'000;

struct ProbeScheduleOptions {
  int64_t well_ms = 6 * 3'600'000;
  int64_t failed_ms = 3'600'000;
  double jitter = 0.1;        // an interval lasts 1 +- jitter times its length
  int running_max = 4;        // at a time, in all
  int per_provider_max = 1;   // and of one provider
  int64_t lost_ms = 300'000;  // one that has not ended by then counts as failed
};

// Not thread-safe: one thread probes.
class ProbeSchedule {
 public:
  // `random` must outlive it.
  explicit ProbeSchedule(Random& random, ProbeScheduleOptions options = {})
      : random_(random), options_(options) {}

  // From now on exactly these mappings (at most limits::kProbesMax; further ones are left out and
  // counted in the result). Known ones keep their times, changed ones are due at once, also while
  // an older probe of them still runs: it is then repeated after that.
  size_t Sync(std::span<const ProbeMapping> mappings, TimePoint now);
  // A user asks for a probe now. False when it is not under watch.
  bool Ask(const ProbeTarget& target, TimePoint now);

  // Those that are due and have room to run, the longest due first; they run until Done.
  std::vector<ProbeTarget> TakeDue(TimePoint now);
  // A target that was dropped meanwhile is ignored.
  void Done(const ProbeTarget& target, ProbeEnd end, TimePoint now);

  // When TakeDue may have something, which is not before the end of a running one while there is no
  // room; nothing when there is nothing to wait for but a Done.
  std::optional<TimePoint> NextDue() const;
  size_t size() const { return entries_.size(); }
  size_t running() const { return running_.size(); }

 private:
  struct Entry {
    uint64_t version = 0;
    TimePoint due{};
    bool again = false;  // changed while its probe runs
  };
  TimePoint After(ProbeEnd end, TimePoint from);
  void GiveUpLost(TimePoint now);
  bool HasRoom(const ProbeTarget& target) const;

  Random& random_;
  const ProbeScheduleOptions options_;
  std::map<ProbeTarget, Entry> entries_;
  std::map<ProbeTarget, TimePoint> running_;  // since when; also dropped ones, until they end
};

}  // namespace tradewind::routing
