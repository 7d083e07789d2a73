#include "alerts/watch.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "alerts/overruns.h"
#include "alerts/season.h"
#include "alerts/series.h"
#include "base/limits.h"
#include "billing/meter.h"
#include "billing/usd.h"
#include "catalog/mapping.h"

namespace tradewind::alerts {
namespace {

using billing::AttemptRow;
using billing::FormatUsd;
using ledger::BudgetState;
using ledger::NanoUsd;

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kBucketNs = kBucketS * kNanosPerSecond;
constexpr int64_t kHourNs = 3600 * kNanosPerSecond;
constexpr int64_t kDayS = 86'400;
constexpr int64_t kDayNs = kDayS * kNanosPerSecond;
constexpr int64_t kKeepBuckets = 5 * kBucketsPerWeek;

// A settle long after its request says when somebody was asked, not when the money was spent.
int64_t SpentNs(const AttemptRow& row) {
  constexpr int64_t kLateNs = limits::kRequestDeadlineMs * 1'000'000;
  return row.ended_ns - row.admitted_ns > kLateNs ? row.admitted_ns : row.ended_ns;
}

Alert NewSkuOf(const AttemptRow& row) {
  const billing::Purchase& bought = row.purchase;
  Alert alert;
  alert.kind = Kind::kNewSku;
  alert.dedup = fmt::format("new_sku:{}:{}:{}:{}", bought.org_id, bought.provider, bought.model,
                            row.price_version);
  alert.scope = billing::BudgetName("org", bought.org_id);
  alert.org_id = bought.org_id;
  alert.raised_ns = row.ended_ns;
  alert.amount = row.cost;
  alert.text =
      fmt::format("{} is paid for at {} for the first time{}.", bought.model, bought.provider,
                  row.price_version == 0 ? std::string()
                                         : fmt::format(" by price version {}", row.price_version));
  return alert;
}

Alert NewTierOf(const AttemptRow& row) {
  Alert alert = NewSkuOf(row);
  alert.dedup = fmt::format("new_tier:{}:{}:{}:{}", row.purchase.org_id, row.purchase.provider,
                            row.purchase.model, row.dearer_tier);
  alert.text = fmt::format(
      "{} is paid for {} at {} for the first time, which costs more than what is usual.",
      row.purchase.model, row.dearer_tier, row.purchase.provider);
  return alert;
}

// Whether the request was refused or answered by the model on this device is not known here.
std::string NoRoom(const std::string& budget, const ledger::Notice& notice) {
  const bool is_used_up = notice.amount + notice.held + notice.in_doubt >= notice.limit;
  return fmt::format(
      "The budget {} {} no room for a request that may cost {}: of {}, {} are spent, {} held by "
      "what runs, and {} by what is in doubt.",
      budget, is_used_up ? "is used up, and has" : "has", FormatUsd(notice.asked),
      FormatUsd(notice.limit), FormatUsd(notice.amount), FormatUsd(notice.held),
      FormatUsd(notice.in_doubt));
}

// Its organisation alone sees it, whomever it bills; and its name stands behind the id in the text.
void AddOwner(const Watch::OwnerOf& owner_of, Alert& alert) {
  std::string_view owner = alert.scope;
  if (owner.starts_with(kAllPart)) {
    owner.remove_prefix(kAllPart.size());
  }
  owner = owner.substr(0, owner.find('/'));
  const auto [name, org_id] = owner_of == nullptr ? Watch::Owner() : owner_of(owner);
  if (!org_id.empty()) {
    alert.org_id = org_id;
  }
  if (name.empty()) {
    return;
  }
  for (const std::string_view words :
       {std::string_view(alert.scope), owner, owner.substr(owner.find(':') + 1)}) {
    if (const size_t at = alert.text.find(words); at != std::string::npos) {
      alert.text.insert(at + words.size(), fmt::format(" ({})", name));
      return;
    }
  }
}

}  // namespace

std::optional<Alert> LedgerAlert(ledger::Ledger& ledger, int64_t now_ns) {
  using What = ledger::Trouble::Kind;
  const ledger::Trouble trouble = ledger.trouble();
  Alert alert;
  switch (trouble.kind) {
    case What::kNone:
      return std::nullopt;
    case What::kStopped:
      alert.scope = "ledger:stopped";
      alert.text =
          fmt::format("The ledger has stopped, and paid requests are refused: {}.", trouble.why);
      break;
    case What::kBehind:
      alert.scope = "ledger:behind";
      alert.text = fmt::format(
          "ledger.db is behind, and paid requests are refused once the journal is as large as it "
          "may get: {}.",
          trouble.why);
      break;
    case What::kFull:
      alert.scope = "ledger:full";
      alert.text = fmt::format("What a request cost cannot be posted, and it stays in doubt: {}.",
                               trouble.why);
      break;
    case What::kClock:
      alert.scope = "ledger:clock";
      alert.text =
          fmt::format("Requests are dated by another time than the clock's: {}.", trouble.why);
      break;
  }
  alert.kind = Kind::kLedger;
  alert.dedup = fmt::format("{}:{}", alert.scope, now_ns);
  alert.raised_ns = now_ns;
  return alert;
}

Status Watch::Put(storage::Database& database, Alert alert) {
  for (size_t channel = 0; channel < policy_.wants.size(); ++channel) {
    alert.sent[channel].state = policy_.wants[channel] ? Delivery::kPending : Delivery::kNotWanted;
  }
  AddOwner(owner_of_, alert);
  TW_RETURN_IF_ERROR(Raise(database, alert));
  return {};
}

Status Watch::Opened(storage::Database& database) {
  TW_RETURN_IF_ERROR(PrepareTables(database));
  TW_ASSIGN_OR_RETURN(const std::vector<Alert> newest, ListAlerts(database, {.limit = 1}));
  // What spent just before the start may be too fast, and nobody has looked yet.
  TW_ASSIGN_OR_RETURN(const std::optional<int64_t> last, LastSpending(database));
  TW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      SeriesSince(database, last.value_or(0) - 2));
  const std::lock_guard lock(mutex_);
  told_id_ = newest.empty() ? 0 : newest.front().id;
  touched_.insert(names.begin(), names.end());
  return {};
}

Status Watch::Ended(storage::Database& database, std::span<const AttemptRow> rows) {
  std::map<std::pair<std::string, int64_t>, NanoUsd> costs;
  std::map<std::string, std::string> orgs;
  std::map<Sku, const AttemptRow*> skus;
  std::map<SkuTier, const AttemptRow*> tiers;
  for (const AttemptRow& row : rows) {
    const billing::Purchase& bought = row.purchase;
    now_ns_ = std::max(now_ns_, row.ended_ns);
    if (row.state != billing::AttemptState::kSettled || bought.provider == catalog::kLocalSlug) {
      continue;
    }
    skus.try_emplace({bought.org_id, bought.provider, bought.model, row.price_version}, &row);
    if (!row.dearer_tier.empty()) {
      tiers.try_emplace({bought.org_id, bought.provider, bought.model, row.dearer_tier}, &row);
    }
    if (row.cost + row.outcome.unposted > row.held && bought.priced) {
      Alert overrun = OverrunOf(row);
      TW_ASSIGN_OR_RETURN(const bool is_counted, CountOverrun(database, overrun));
      TW_RETURN_IF_ERROR(is_counted ? Status() : Put(database, std::move(overrun)));
    }
    if (const auto barred = billing::BarredBy(bought, row.outcome, row.cost, row.held);
        barred.has_value()) {
      TW_RETURN_IF_ERROR(PutOnce(database, BarredOf(row, *barred)));
    }
    if (row.outcome.is_beyond ||
        (row.outcome.has_unpriced_writes && billing::IsOfUnknownCost(row.outcome))) {
      TW_RETURN_IF_ERROR(PutOnce(database, UsageOf(row)));
    }
    if (row.cost <= 0) {
      continue;
    }
    const std::string nobody;
    // The server's own budgets, and what leads to their ends, have no part in what callers' own
    // keys pay.
    for (const auto& [kind, id, org] : {std::tuple("key", &bought.key_id, &bought.org_id),
                                        std::tuple("org", &bought.org_id, &bought.org_id),
                                        std::tuple("model", &bought.model, &nobody),
                                        std::tuple("provider", &bought.provider, &nobody)}) {
      if (!id->empty() && (org != &nobody || !bought.own_key)) {
        const std::string series = billing::BudgetName(kind, *id);
        NanoUsd& sum = costs[{series, SpentNs(row) / kBucketNs}];
        sum += std::min(row.cost, ledger::kNanoUsdMax - sum);
        orgs[series] = *org;
      }
    }
  }
  for (const auto& [sku, row] : skus) {
    TW_ASSIGN_OR_RETURN(const bool is_new, AddSku(database, sku));
    if (is_new) {
      TW_RETURN_IF_ERROR(Put(database, NewSkuOf(*row)));
    }
  }
  for (const auto& [tier, row] : tiers) {
    TW_ASSIGN_OR_RETURN(const bool is_new, AddTier(database, tier));
    if (is_new) {
      TW_RETURN_IF_ERROR(Put(database, NewTierOf(*row)));
    }
  }
  std::set<std::string> grown;  // organisations with a key more
  for (const auto& [where, cost] : costs) {
    const auto& [series, bucket] = where;
    TW_ASSIGN_OR_RETURN(const bool is_new, AddCost(database, series, orgs[series], bucket, cost));
    if (is_new && series.starts_with("key:")) {
      grown.insert(orgs[series]);
    }
    const std::lock_guard lock(mutex_);
    touched_.insert(series);
  }
  for (const std::string& org : grown) {
    TW_RETURN_IF_ERROR(DropOldKeys(database, org));
  }
  return {};
}

Status Watch::PutOnce(storage::Database& database, Alert alert) {
  TW_ASSIGN_OR_RETURN(const bool is_open, HasOpenAlert(database, alert.kind, alert.scope));
  return is_open ? Status() : Put(database, std::move(alert));
}

Status Watch::PutDaily(storage::Database& database, Alert alert, int64_t now_ns) {
  TW_ASSIGN_OR_RETURN(const bool is_told,
                      HasAlertSince(database, alert.kind, alert.scope, now_ns - kDayNs));
  return is_told ? Status() : Put(database, std::move(alert));
}

Result<Seen> Watch::SeeAll(storage::Database& database, int64_t now_ns) {
  Seen seen;
  int64_t told_id = 0;
  {
    const std::lock_guard lock(mutex_);
    told_id = told_id_;
  }
  TW_ASSIGN_OR_RETURN(seen.raised, AlertsAfter(database, told_id));
  TW_ASSIGN_OR_RETURN(seen.barred, BarredNow(database));
  if (policy_.throttle) {
    TW_ASSIGN_OR_RETURN(seen.throttled, ScopesTooFast(database, now_ns - kThrottleNs));
  }
  return seen;
}

Result<Seen> Watch::Look(billing::Recorder& recorder, ledger::Ledger& ledger) {
  for (const ledger::Notice& notice : ledger.TakeNotices()) {
    notices_.push_back(notice);
  }
  std::set<std::string> touched;
  {
    const std::lock_guard lock(mutex_);
    touched = std::exchange(touched_, {});
  }
  Seen seen;
  std::vector<Route> told;
  int64_t now = ledger.TimeNs();
  const uint64_t applied_seq = recorder.applied_seq();
  const Status done = recorder.Change([&](storage::Database& database) -> Status {
    now = now_ns_ = std::max(now_ns_, now);
    TW_RETURN_IF_ERROR(LookAtBudgets(database, ledger, now));
    TW_RETURN_IF_ERROR(LookAtLedger(database, ledger, now));
    TW_RETURN_IF_ERROR(LookAtDisk(database, ledger, now));
    TW_RETURN_IF_ERROR(LookAtSpeeds(database, ledger, now, touched));
    TW_RETURN_IF_ERROR(LookAtSeasons(database, now));
    TW_ASSIGN_OR_RETURN(told, LookAtCounts(database, now));
    if (now / kHourNs != hour_) {
      TW_RETURN_IF_ERROR(LookAtForecasts(database, ledger, now));
    }
    if (now / kDayNs != day_) {
      TW_RETURN_IF_ERROR(ForgetCosts(database, now / kBucketNs - kKeepBuckets));
    }
    TW_ASSIGN_OR_RETURN(seen, SeeAll(database, now));
    return {};
  });
  if (!done.has_value()) {
    const std::lock_guard lock(mutex_);
    touched_.merge(touched);
    return Fail(done.error());
  }
  notices_.clear();
  {
    const std::lock_guard lock(mutex_);
    for (const Route& route : told) {
      drifts_.erase(route);  // as many answers again before another is told
    }
    if (!seen.raised.empty()) {
      told_id_ = seen.raised.back().id;
    }
  }
  hour_ = now / kHourNs;
  day_ = now / kDayNs;
  seen.applied_seq = applied_seq;
  return seen;
}

// Once a day while it is short.
Status Watch::LookAtDisk(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns) {
  const ledger::DiskState disk = ledger.disk();
  if (disk.low_because.empty()) {
    return {};
  }
  Alert alert;
  alert.kind = Kind::kDisk;
  alert.scope = "disk:" + disk.room.where;
  alert.dedup = fmt::format("disk:{}:{}", disk.room.where, now_ns);
  alert.raised_ns = now_ns;
  alert.text = fmt::format("Paid requests are refused: {}.", disk.low_because);
  return PutDaily(database, std::move(alert), now_ns);
}

Status Watch::LookAtLedger(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns) {
  std::optional<Alert> alert = LedgerAlert(ledger, now_ns);
  return alert.has_value() ? PutDaily(database, std::move(*alert), now_ns) : Status();
}

Status Watch::TellOfCut(storage::Database& database, const std::string& budget,
                        const ledger::Notice& notice, int64_t now_ns) {
  Alert alert;
  alert.kind = Kind::kPowerCut;
  alert.scope = budget;
  alert.dedup = fmt::format("power_cut:{}:{}", budget, notice.cut_at_ns);
  TW_ASSIGN_OR_RETURN(alert.org_id, OrgOf(database, budget));
  alert.raised_ns = now_ns;
  alert.amount = notice.amount;
  alert.text = fmt::format(
      "The power was cut, or this machine was started anew without warning: up to {} of {} may "
      "have "
      "been spent by requests whose records are gone, and counts as used. When the provider's bill "
      "says that it was not: tradewind budget release {}.",
      FormatUsd(notice.amount), budget, budget);
  return Put(database, std::move(alert));
}

Status Watch::LookAtBudgets(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns) {
  for (const ledger::Notice& notice : notices_) {
    const std::string name = ledger.BudgetName(notice.account);
    if (name.empty()) {
      continue;  // an overrun: Ended has seen it
    }
    if (notice.cut_at_ns > 0) {
      TW_RETURN_IF_ERROR(TellOfCut(database, name, notice, now_ns));
      continue;
    }
    Alert alert;
    alert.kind = Kind::kBudget;
    alert.scope = name;
    alert.dedup =
        fmt::format("budget:{}:{}:{}:{}", name, notice.window.window_start_s, notice.limit,
                    notice.asked > 0 ? "used up" : std::to_string(notice.percent));
    if (notice.lowered_at_ns > 0) {
      alert.dedup += fmt::format(":{}", notice.lowered_at_ns);
    }
    TW_ASSIGN_OR_RETURN(alert.org_id, OrgOf(database, name));
    alert.raised_ns = now_ns;
    alert.amount = notice.amount;
    alert.text = notice.asked > 0
                     ? NoRoom(name, notice)
                     : fmt::format("{} % of the budget {} are used: {} of {}.", notice.percent,
                                   name, FormatUsd(notice.amount), FormatUsd(notice.limit));
    TW_RETURN_IF_ERROR(Put(database, std::move(alert)));
  }
  return {};
}

}  // namespace tradewind::alerts
