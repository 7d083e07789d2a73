#include "routing/probe_book.h"

#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "routing/market.h"

namespace tradewind::routing {
namespace {

bool CanBeProbed(const catalog::Mapping& mapping) {
  return mapping.task == "conversational" || mapping.task == "text-generation" ||
         mapping.task == "feature-extraction";
}

// Differs when the mapping, the address, the key or its place does; never stored or shown.
uint64_t VersionOf(const catalog::Mapping& mapping, const MarketPlace& place) {
  const catalog::Provider& provider = *place.provider;
  return std::hash<std::string>()(
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", mapping.hf_model, mapping.provider_model,
                  mapping.task, MappingStatusName(mapping.status), provider.kind, provider.base_url,
                  provider.api_key_header, place.api_key));
}

}  // namespace

std::vector<ProbeTarget> ProbeBook::Keep(std::span<const ProbeMapping> mappings) {
  const std::lock_guard lock(mutex_);
  std::map<ProbeTarget, Entry, Less> next;
  std::vector<ProbeTarget> changed;
  bool has_notes = false;
  for (const ProbeMapping& mapping : mappings) {
    if (next.size() >= limits::kProbesMax) {
      break;
    }
    const auto known = entries_.find(mapping.target);
    if (known != entries_.end() && known->second.version == mapping.version) {
      has_notes |= known->second.note.has_value();
      next.insert_or_assign(mapping.target, std::move(known->second));
      continue;
    }
    next.insert_or_assign(mapping.target, Entry{mapping.version, {}});
    if (!is_first_) {
      changed.push_back(mapping.target);
    }
  }
  entries_ = std::move(next);
  is_first_ = false;
  has_notes_ = has_notes;
  return changed;
}

void ProbeBook::Note(const ProbeTarget& target, uint64_t version, ProbeResult result,
                     const Clock& clock) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(target);
  if (found == entries_.end() || found->second.version != version) {
    return;
  }
  if (!found->second.note.has_value()) {
    found->second.note.emplace();
  }
  ProbeNote& note = *found->second.note;
  if (result.status.has_value()) {
    note.verdict.status = result.status;
    note.verdict.words = result.words;
  }
  const auto adopt = [](Known seen, Known& known) {
    known = seen == Known::kUnknown ? known : seen;
  };
  adopt(result.supports_tools, note.verdict.supports_tools);
  adopt(result.supports_structured_output, note.verdict.supports_structured_output);
  note.last = std::move(result);
  note.at = clock.WallNow();
  note.steady_at = clock.Now();
  has_notes_ = true;
}

std::optional<ProbeVerdict> ProbeBook::VerdictOf(std::string_view provider,
                                                 std::string_view model) const {
  if (!has_notes_) {
    return std::nullopt;
  }
  const std::shared_lock lock(mutex_);
  const auto found = entries_.find(Less::Pair(provider, model));
  return found == entries_.end() || !found->second.note.has_value()
             ? std::nullopt
             : std::optional(found->second.note->verdict);
}

std::optional<ProbeNote> ProbeBook::Find(std::string_view provider, std::string_view model) const {
  const std::shared_lock lock(mutex_);
  const auto found = entries_.find(Less::Pair(provider, model));
  return found == entries_.end() ? std::nullopt : found->second.note;
}

std::vector<WatchedMapping> WatchedMappings(const Market& market) {
  std::vector<WatchedMapping> out;
  std::set<ProbeTarget> seen;
  for (const catalog::Model& model : market.catalog().models()) {
    for (const catalog::Mapping& mapping : model.mappings) {
      const MarketPlace* place = market.Find(mapping.provider);
      if (place == nullptr || place->is_local() || !place->has_key() || !CanBeProbed(mapping)) {
        continue;
      }
      ProbeMapping probe{.target = {mapping.provider, mapping.provider_model},
                         .version = VersionOf(mapping, *place)};
      if (seen.insert(probe.target).second) {
        out.push_back({std::move(probe), &mapping, place});
      }
    }
  }
  return out;
}

}  // namespace tradewind::routing
