#include "alerts/watch.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

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

Alert OverrunOf(const AttemptRow& row) {
  const std::string id = row.id.request.ToString();
  Alert alert;
  alert.kind = Kind::kOverrun;
  alert.dedup = fmt::format("overrun:{}:{}", id, row.id.attempt);
  alert.scope = billing::BudgetName("provider", row.purchase.provider);
  alert.org_id = row.purchase.org_id;
  alert.raised_ns = row.ended_ns;
  alert.amount = row.cost - row.held;
  alert.text = fmt::format("{} billed {} for request {}, {} more than was held for it.",
                           row.purchase.provider, FormatUsd(row.cost), id, FormatUsd(alert.amount));
  return alert;
}

// A route's scope: of the provider and the model, as budgets name both.
constexpr std::string_view kModelPart = "/model:";

std::string RouteScope(const billing::Purchase& bought) {
  return fmt::format("{}{}{}", billing::BudgetName("provider", bought.provider), kModelPart,
                     bought.model);
}

// Served at a service tier that has no price here, and nobody has named the cost.
bool IsOfUnknownCost(const AttemptRow& row) {
  using billing::UsageSource;
  const bool is_named = row.outcome.is_told || row.outcome.source == UsageSource::kBilled ||
                        row.outcome.source == UsageSource::kOperator;
  return row.outcome.is_other_tier && row.purchase.priced && !is_named;
}

// What an attempt shows of its route.
Alert OfRoute(Kind kind, std::string_view name, const AttemptRow& row, ledger::NanoUsd amount) {
  Alert alert;
  alert.kind = kind;
  alert.dedup = fmt::format("{}:{}:{}", name, row.id.request.ToString(), row.id.attempt);
  alert.scope = RouteScope(row.purchase);
  alert.raised_ns = row.ended_ns;
  alert.amount = amount;
  return alert;
}

Alert UsageOf(const AttemptRow& row) {
  const std::string id = row.id.request.ToString();
  Alert alert = OfRoute(Kind::kUsage, "usage", row, row.cost);
  alert.text = fmt::format(
      "{} counts {} tokens of input and {} of output (thoughts: {}) for request {} of {}, which is "
      "more than its length, its bounds or the bytes of its answer allow. It is told once, until "
      "this is acknowledged.",
      row.purchase.provider, row.outcome.input_tokens, row.outcome.output_tokens,
      row.outcome.reasoning_tokens, id, row.purchase.model);
  return alert;
}

// What bounds the route bounds no bill: no hard budget can be kept on it.
Alert BarredOf(const AttemptRow& row) {
  const std::string id = row.id.request.ToString();
  Alert alert = OfRoute(Kind::kBarred, "barred", row, row.cost - row.held);
  if (row.cost <= row.held) {
    alert.text = fmt::format(
        "Hard budgets are not spent on {} at {} any more, until this is acknowledged: request {} "
        "was served at a service tier that has no price here, so nobody knows what it cost. Give "
        "the route the tier's prices (service_tiers), or have requests name \"default\".",
        row.purchase.model, row.purchase.provider, id);
    return alert;
  }
  alert.text = fmt::format(
      "Hard budgets are not spent on {} at {} any more, until this is acknowledged: {} were "
      "billed for request {}, and {} was the most that it could cost by its price and bounds.",
      row.purchase.model, row.purchase.provider, FormatUsd(row.cost), id, FormatUsd(row.held));
  return alert;
}

Result<std::vector<billing::BarredRoute>> BarredNow(storage::Database& database) {
  constexpr std::string_view kProviderPart = "provider:";
  TW_ASSIGN_OR_RETURN(const std::vector<Alert> open, OpenAlerts(database, Kind::kBarred));
  std::vector<billing::BarredRoute> routes;
  for (const Alert& alert : open) {
    const size_t end = alert.scope.find(kModelPart);  // slugs have no slashes
    if (alert.scope.starts_with(kProviderPart) && end != std::string::npos) {
      routes.push_back({alert.scope.substr(kProviderPart.size(), end - kProviderPart.size()),
                        alert.scope.substr(end + kModelPart.size()), alert.id});
    }
  }
  return routes;
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

std::string UsedUp(const std::string& budget, const ledger::Notice& notice) {
  return fmt::format(
      "The budget {} is used up: a request that may cost {} was refused. Of {}, {} are spent, {} "
      "held by what runs, and {} by what is in doubt.",
      budget, FormatUsd(notice.asked), FormatUsd(notice.limit), FormatUsd(notice.amount),
      FormatUsd(notice.held), FormatUsd(notice.in_doubt));
}

}  // namespace

std::optional<Alert> LedgerAlert(ledger::Ledger& ledger, int64_t now_ns) {
  const ledger::Trouble trouble = ledger.trouble();
  if (trouble.why.empty()) {
    return std::nullopt;
  }
  Alert alert;
  alert.kind = Kind::kLedger;
  alert.scope = trouble.is_stopped ? "ledger:stopped" : "ledger:behind";
  alert.dedup = fmt::format("{}:{}", alert.scope, now_ns);
  alert.raised_ns = now_ns;
  alert.text =
      trouble.is_stopped
          ? fmt::format("The ledger has stopped, and paid requests are refused: {}.", trouble.why)
          : fmt::format(
                "ledger.db is behind, and paid requests are refused once the "
                "journal is as large as it may get: {}.",
                trouble.why);
  return alert;
}

Status Watch::Put(storage::Database& database, Alert alert) {
  for (size_t channel = 0; channel < policy_.wants.size(); ++channel) {
    alert.sent[channel].state = policy_.wants[channel] ? Delivery::kPending : Delivery::kNotWanted;
  }
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
    if (row.cost > row.held && bought.priced) {
      TW_RETURN_IF_ERROR(Put(database, OverrunOf(row)));
      TW_RETURN_IF_ERROR(Bar(database, row));
    } else if (IsOfUnknownCost(row)) {
      TW_RETURN_IF_ERROR(Bar(database, row));
    }
    if (row.outcome.is_beyond) {
      TW_RETURN_IF_ERROR(PutOnce(database, UsageOf(row)));
    }
    if (row.cost <= 0) {
      continue;
    }
    const std::string nobody;
    for (const auto& [kind, id, org] : {std::tuple("key", &bought.key_id, &bought.org_id),
                                        std::tuple("org", &bought.org_id, &bought.org_id),
                                        std::tuple("model", &bought.model, &nobody),
                                        std::tuple("provider", &bought.provider, &nobody)}) {
      if (!id->empty()) {
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
  for (const auto& [where, cost] : costs) {
    const auto& [series, bucket] = where;
    TW_RETURN_IF_ERROR(AddCost(database, series, orgs[series], bucket, cost));
    const std::lock_guard lock(mutex_);
    touched_.insert(series);
  }
  return {};
}

// What no hard bound was held for says nothing about the route: anybody could bar it for all
// others, by a field that nobody here knows.
Status Watch::Bar(storage::Database& database, const AttemptRow& row) {
  if (row.purchase.open_ended) {
    return {};
  }
  return PutOnce(database, BarredOf(row));
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

Result<Seen> Watch::Look(billing::Recorder& recorder, ledger::Ledger& ledger, int64_t now_ns) {
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
  int64_t now = 0;
  const Status done = recorder.Change([&](storage::Database& database) -> Status {
    now = now_ns_ = std::max(now_ns_, now_ns);
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
                     ? UsedUp(name, notice)
                     : fmt::format("{} % of the budget {} are used: {} of {}.", notice.percent,
                                   name, FormatUsd(notice.amount), FormatUsd(notice.limit));
    TW_RETURN_IF_ERROR(Put(database, std::move(alert)));
  }
  return {};
}

}  // namespace tradewind::alerts
