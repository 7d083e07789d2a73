#include "gateway/prober.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "gateway/probe_requests.h"
#include "routing/probe_checks.h"
#include "telemetry/log.h"

namespace tradewind::gateway {

using catalog::ProbeRule;
using routing::ProbeEnd;
using routing::ProbeSeen;
using routing::ProbeTarget;
using routing::WatchedMapping;

Prober::Prober(routing::Marketplace& market, telemetry::Registry& metrics, billing::Meter* meter,
               const Clock& clock, Random& random, int64_t ask_pause_ms)
    : market_(market),
      metrics_(metrics),
      meter_(meter),
      clock_(clock),
      ask_pause_ms_(ask_pause_ms),
      schedule_(random),
      loop_(http::EventLoop::Start()) {
  loop_->Spawn([this] { return Run(); });
}

void Prober::Stop() {
  loop_->Stop();
}

Prober::~Prober() {
  Stop();
  loop_->Destroy();  // suspended probes, whose calls end with them
}

void Prober::MarketChanged() {
  std::shared_ptr<const routing::Market> market = market_.board.Get();
  Watch watched;
  std::vector<routing::ProbeMapping> mappings;
  for (WatchedMapping& one : routing::WatchedMappings(*market)) {
    mappings.push_back(one.probe);
    watched.emplace(one.probe.target, std::move(one));
  }
  for (const ProbeTarget& changed : market_.probes.Keep(mappings)) {
    market_.health.Route(changed.provider, changed.model).Reset();
  }
  loop_->Post([this, market = std::move(market), watched = std::move(watched)]() mutable {
    Adopt(std::move(market), std::move(watched));
  });
}

Prober::Asked Prober::Ask(std::string_view provider) {
  const std::shared_ptr<const routing::Market> market = market_.board.Get();
  const auto now = clock_.Now();
  Asked out;
  {
    const std::lock_guard lock(mutex_);
    for (const WatchedMapping& one : routing::WatchedMappings(*market)) {
      const ProbeTarget& target = one.probe.target;
      if (!provider.empty() && target.provider != provider) {
        continue;
      }
      const auto note = market_.probes.Find(target.provider, target.model);
      if (note.has_value() && note->last.end == ProbeEnd::kWell &&
          MsBetween(note->steady_at, now) < static_cast<double>(ask_pause_ms_)) {
        ++out.too_soon;
        continue;
      }
      asked_.insert(target);
      ++out.count;
    }
  }
  loop_->Post([this] { Sync(); });
  return out;
}

bool Prober::is_asked(const ProbeTarget& target) const {
  const std::lock_guard lock(mutex_);
  return asked_.contains(target);
}

size_t Prober::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_.size();
}

void Prober::Adopt(std::shared_ptr<const routing::Market> market, Watch watched) {
  watched_ = std::move(watched);
  snapshot_ = std::move(market);
  {  // what is not there any more will not be probed
    const std::lock_guard lock(mutex_);
    std::erase_if(asked_, [&](const ProbeTarget& target) { return !watched_.contains(target); });
  }
  Sync();
}

bool Prober::IsDueUnasked(const WatchedMapping& watched) const {
  const catalog::Mapping& mapping = *watched.mapping;
  // Rows of price maps are many, and nobody has said that they are meant to be used.
  const bool is_meant = mapping.status != catalog::MappingStatus::kStaging ||
                        mapping.source == catalog::Source::kConfig;
  const ProbeRule rule = snapshot_->route().probes;
  const auto note = market_.probes.Find(mapping.provider, mapping.provider_model);
  if (rule != ProbeRule::kOff && note.has_value() && note->last.end == ProbeEnd::kFailed) {
    return true;  // whoever asked for that probe: nothing but another one ends its verdict
  }
  switch (rule) {
    case ProbeRule::kOff:
      return false;
    case ProbeRule::kFree:
      return is_meant && mapping.prices.is_free();
    case ProbeRule::kAll:
      return is_meant;
  }
  return false;
}

void Prober::Sync() {
  const auto now = clock_.Now();
  std::vector<routing::ProbeMapping> mappings;
  std::set<ProbeTarget> asked;
  {
    const std::lock_guard lock(mutex_);
    asked = asked_;
  }
  for (const auto& [target, watched] : watched_) {
    if (!asked.contains(target) && !IsDueUnasked(watched)) {
      continue;
    }
    routing::ProbeMapping probe = watched.probe;
    if (const auto note = market_.probes.Find(target.provider, target.model); note.has_value()) {
      probe.last_ago_ms = static_cast<int64_t>(MsBetween(note->steady_at, now));
      probe.last_end = note->last.end;
    }
    mappings.push_back(std::move(probe));
  }
  const size_t left_out = schedule_.Sync(mappings, now);
  if (left_out > 0) {
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("{} more mappings than can be watched are not probed", left_out));
  }
  for (const ProbeTarget& target : asked) {
    if (!schedule_.Ask(target, now) && watched_.contains(target)) {  // one of those left out
      const std::lock_guard lock(mutex_);
      asked_.erase(target);
    }
  }
  Ring();
}

void Prober::Ring() {
  if (wakeup_ != nullptr) {
    wakeup_->Notify();
  }
}

Task<void> Prober::Run() {
  constexpr auto kPauseMin = std::chrono::milliseconds(10);
  constexpr auto kPauseMax = std::chrono::hours(1);
  wakeup_ = http::Wakeup::Create();
  while (true) {
    const auto now = clock_.Now();
    for (ProbeTarget& target : schedule_.TakeDue(now)) {
      loop_->Spawn([this, target = std::move(target)] { return Look(target); });
    }
    const auto next = schedule_.NextDue().value_or(now + kPauseMax);
    static_cast<void>(co_await wakeup_->Wait(
        std::clamp<std::chrono::steady_clock::time_point>(next, now + kPauseMin, now + kPauseMax)));
  }
}

Task<void> Prober::Look(ProbeTarget target) {
  const auto found = watched_.find(target);
  if (found == watched_.end() || market_.upstreams == nullptr) {
    schedule_.Done(target, ProbeEnd::kNothingLearned, clock_.Now());
    co_return;
  }
  const WatchedMapping watched = found->second;
  const std::shared_ptr<const routing::Market> keep = snapshot_;  // what it points into
  const Probe probe{*market_.upstreams,
                    *watched.place,
                    *watched.mapping,
                    clock_,
                    meter_,
                    ledger::RequestId::Make(clock_.UnixMs())};
  auto attempt = market_.health.Route(target.provider, target.model).Begin("", true);
  ProbeSeen seen = co_await SeeFirst(probe);
  if (attempt.has_value() && seen.not_asked.empty()) {
    if (seen.ttft_ms.has_value() && seen.task != routing::ProbedTask::kOther) {
      attempt->Answered(*seen.ttft_ms);
    }
    if (seen.failure.has_value() || !seen.format_ok) {
      attempt->Failed(seen.failure.value_or(routing::FailureKind::kGarbage));
    } else {
      attempt->Succeeded({seen.output_tokens, seen.generation_ms});
    }
  }
  if (seen.format_ok) {
    co_await SeeFurther(probe, seen);
  }
  Finish(target, watched.probe.version, seen);
}

void Prober::Finish(const ProbeTarget& target, uint64_t version, const ProbeSeen& seen) {
  const routing::ProbeResult result = routing::EvaluateProbe(seen);
  const ProbeEnd end = result.end;
  const std::string_view name = end == ProbeEnd::kWell     ? "well"
                                : end == ProbeEnd::kFailed ? "failed"
                                                           : "nothing_learned";
  metrics_
      .GetCounter("tradewind_probes_total", "Probes of mappings, by provider and how they ended.",
                  {{"provider", target.provider}, {"end", std::string(name)}})
      .Increment();
  if (end != ProbeEnd::kWell) {
    std::string words = result.words;  // a provider's own: one line of it
    std::ranges::replace_if(
        words, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("a probe of {} at {}: {}", target.model, target.provider, words));
  }
  market_.probes.Note(target, version, result, clock_);
  schedule_.Done(target, end, clock_.Now());
  {
    const std::lock_guard lock(mutex_);
    asked_.erase(target);
  }
  Sync();  // what was probed only because somebody asked is not watched any more
}

}  // namespace tradewind::gateway
