#include "routing/probe_schedule.h"

#include <algorithm>
#include <cmath>

#include "base/limits.h"

namespace tradewind::routing {

using std::chrono::milliseconds;

TimePoint ProbeSchedule::After(ProbeEnd end, TimePoint from) {
  const int64_t interval_ms = end == ProbeEnd::kWell ? options_.well_ms : options_.failed_ms;
  const double unit = static_cast<double>(random_.Next64() >> 11) * 0x1.0p-53;  // [0, 1)
  const double factor = 1 + options_.jitter * (2 * unit - 1);
  return from + milliseconds(std::llround(static_cast<double>(interval_ms) * factor));
}

size_t ProbeSchedule::Sync(std::span<const ProbeMapping> mappings, TimePoint now) {
  std::map<ProbeTarget, Entry> next;
  size_t left_out = 0;
  for (const ProbeMapping& mapping : mappings) {
    if (next.size() >= limits::kProbesMax && !next.contains(mapping.target)) {
      ++left_out;
      continue;
    }
    Entry entry{.version = mapping.version, .due = now};
    const auto known = entries_.find(mapping.target);
    if (known != entries_.end() && known->second.version == mapping.version) {
      entry = known->second;
    } else if (known != entries_.end() || running_.contains(mapping.target)) {
      entry.again = running_.contains(mapping.target);
    } else if (mapping.last_ago_ms.has_value()) {
      const int64_t ago_ms = std::clamp<int64_t>(*mapping.last_ago_ms, 0, options_.well_ms * 2);
      entry.due = std::max(now, After(mapping.last_end, now - milliseconds(ago_ms)));
    }
    next.insert_or_assign(mapping.target, entry);
  }
  entries_ = std::move(next);
  return left_out;
}

bool ProbeSchedule::Ask(const ProbeTarget& target, TimePoint now) {
  const auto found = entries_.find(target);
  if (found == entries_.end()) {
    return false;
  }
  found->second.due = std::min(found->second.due, now);
  return true;
}

void ProbeSchedule::GiveUpLost(TimePoint now) {
  std::vector<ProbeTarget> lost;
  for (const auto& [target, since] : running_) {
    if (now - since >= milliseconds(options_.lost_ms)) {
      lost.push_back(target);
    }
  }
  for (const ProbeTarget& target : lost) {
    Done(target, ProbeEnd::kFailed, now);
  }
}

bool ProbeSchedule::HasRoom(const ProbeTarget& target) const {
  return std::ssize(running_) < options_.running_max && !running_.contains(target) &&
         std::ranges::count_if(
             running_, [&](const auto& item) { return item.first.provider == target.provider; }) <
             options_.per_provider_max;
}

std::vector<ProbeTarget> ProbeSchedule::TakeDue(TimePoint now) {
  GiveUpLost(now);
  std::vector<std::pair<TimePoint, const ProbeTarget*>> due;
  for (const auto& [target, entry] : entries_) {
    if (entry.due <= now) {
      due.emplace_back(entry.due, &target);
    }
  }
  std::ranges::sort(due, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : *a.second < *b.second;
  });
  std::vector<ProbeTarget> taken;
  for (const auto& [at, target] : due) {
    if (HasRoom(*target)) {
      running_.emplace(*target, now);
      taken.push_back(*target);
    }
  }
  return taken;
}

void ProbeSchedule::Done(const ProbeTarget& target, ProbeEnd end, TimePoint now) {
  if (running_.erase(target) == 0) {
    return;
  }
  const auto found = entries_.find(target);
  if (found == entries_.end()) {
    return;
  }
  Entry& entry = found->second;
  entry.due = std::exchange(entry.again, false) ? now : After(end, now);
}

std::optional<TimePoint> ProbeSchedule::NextDue() const {
  std::optional<TimePoint> next;
  const auto consider = [&](TimePoint at) { next = next.has_value() ? std::min(*next, at) : at; };
  for (const auto& [target, entry] : entries_) {
    if (HasRoom(target)) {
      consider(entry.due);
    }
  }
  for (const auto& [target, since] : running_) {
    consider(since + milliseconds(options_.lost_ms));
  }
  return next;
}

}  // namespace tradewind::routing
