#include "billing/adjust.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "billing/bill_period.h"
#include "billing/usd.h"

namespace tradewind::billing {

using ledger::HoldId;
using ledger::NanoUsd;

namespace {

constexpr int64_t kRowsAtOnce = 2048;
constexpr int64_t kNanosPerSecond = 1'000'000'000, kDayNs = 86'400 * kNanosPerSecond;
// A request is admitted after it came, by its deadline at most.
constexpr int64_t kAdmittedWithinMs = 3'600'000;

NanoUsd AmountOf(const Correction& correction) {
  const auto magnitude = [](NanoUsd change) { return change < 0 ? -change : change; };
  return std::max(magnitude(correction.cost_change()), magnitude(correction.charge_change()));
}

Status CheckReason(const std::string& reason) {
  if (reason.empty() || reason.size() > kCorrectionReasonBytesMax) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "Say with `reason` (--reason TEXT) why, in at most {} bytes: the receipt keeps it.",
            kCorrectionReasonBytesMax),
        "reason");
  }
  return {};
}

bool IsKnown(UsageSource source) {
  return source == UsageSource::kProvider || source == UsageSource::kMetered;
}

}  // namespace

struct Adjuster::Standing {
  AttemptRow row;
  uint32_t corrections = 0;
  NanoUsd cost = 0, charge = 0;
  std::vector<CreditShare> paid;  // of the charge
  bool is_named = false;          // by somebody, the last time

  // To be filled with other totals.
  Correction Next() const {
    Correction next;
    next.id = row.id;
    next.number = corrections + 1;
    next.admitted_ns = row.admitted_ns;
    next.purchase = row.purchase;
    next.cost_before = next.cost = cost;
    next.charge_before = next.charge = charge;
    return next;
  }
};

// In the order of the rows.
Result<std::vector<Adjuster::Standing>> Adjuster::StandingOf(std::vector<AttemptRow> rows) {
  std::vector<Standing> standing;
  std::vector<ledger::RequestId> requests;
  for (AttemptRow& row : rows) {
    if (requests.empty() || requests.back() != row.id.request) {
      requests.push_back(row.id.request);
    }
    Standing& one = standing.emplace_back();
    one.cost = row.cost;
    one.charge = row.charge;
    one.paid = row.credits;
    one.row = std::move(row);
  }
  TW_RETURN_IF_ERROR(recorder_.ForEachCorrectionOf(requests, [&](const Correction& made) {
    const auto found = std::ranges::lower_bound(standing, made.id, {},
                                                [](const Standing& one) { return one.row.id; });
    if (found == standing.end() || found->row.id != made.id) {
      return;
    }
    found->corrections = made.number;
    found->cost = made.cost;
    found->charge = made.charge;
    found->is_named = !made.is_rerated;
    for (const CreditShare& back : made.credits) {
      const auto share = std::ranges::find(found->paid, back.credit, &CreditShare::credit);
      if (share != found->paid.end()) {
        share->amount -= back.amount;
      }
    }
  }));
  return standing;
}

Result<NanoUsd> Adjuster::CorrectedToday() {
  return recorder_.CorrectedSince(ledger_.TimeNs() / kDayNs * kDayNs);
}

std::unexpected<Error> Adjuster::BeyondDay(NanoUsd made) const {
  return Fail(ErrorCode::kResourceExhausted,
              fmt::format("{} may be corrected in a day of UTC, and {} were today: go on "
                          "tomorrow, or raise adjust_daily_usd in the config's [billing] and "
                          "start the server anew.",
                          FormatUsd(daily_max_), FormatUsd(made)),
              "adjust_daily_usd");
}

Status Adjuster::Post(const Standing& standing, const Correction& correction, Posting posting) {
  const Purchase& bought = correction.purchase;
  std::vector<ledger::Leg> paid;
  for (const CreditShare& share : standing.paid) {
    ledger::Leg leg;
    leg.account.number = share.credit;
    leg.dimension = ledger::Dimension::kCharge;
    leg.is_credit = true;
    leg.amount = share.amount;
    paid.push_back(leg);
  }
  const std::vector<ledger::Leg> budgets = BudgetsOf(standing.row.budgets);
  TW_ASSIGN_OR_RETURN(const ledger::AccountNumber payee,
                      ledger_.Payee((bought.own_key ? "callers:" : "provider:") + bought.provider));
  const ledger::Adjustment asked{.id = correction.id,
                                 .number = correction.number,
                                 .cost_before = correction.cost_before,
                                 .charge_before = correction.charge_before,
                                 .cost = correction.cost,
                                 .charge = correction.charge,
                                 .budgets = budgets,
                                 .paid = paid,
                                 .payee = payee,
                                 .admitted_ns = correction.admitted_ns,
                                 .text = Encode(correction)};
  return posting == Posting::kMade ? ledger_.Adjust(asked) : ledger_.CheckAdjust(asked);
}

Status Adjuster::Adjust(HoldId id, const AdjustWord& word) {
  TW_RETURN_IF_ERROR(CheckReason(word.reason));
  if (!word.cost.has_value() && !word.charge.has_value()) {
    return Fail(ErrorCode::kInvalidArgument,
                "Say what it did cost, or what is charged for it: `cost` or `charge`, in USD.",
                "cost");
  }
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(std::vector<AttemptRow> rows, recorder_.Find(id.request));
  std::erase_if(rows, [&](const AttemptRow& row) {
    return row.state != AttemptState::kSettled || (id.attempt != 0 && row.id != id);
  });
  if (rows.empty()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("Nothing of {0} was settled: it runs, is in doubt (`tradewind "
                            "reconcile resolve`), void, or not known here; `tradewind receipt {0}` "
                            "says which.",
                            id.request.ToString()));
  }
  if (rows.size() > 1) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} attempts of this request were settled; say which, like {}-{}.",
                            rows.size(), id.request.ToString(), rows.front().id.attempt),
                "receipt");
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Standing> standing, StandingOf(std::move(rows)));
  Correction next = standing.front().Next();
  next.cost = word.cost.value_or(next.cost);
  next.charge = word.charge.value_or(std::min(next.charge, next.cost));
  next.reason = word.reason;
  next.actor = word.actor;
  if (next.charge > next.charge_before) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} were charged for it: a charge that was settled never rises.",
                            FormatUsd(next.charge_before)),
                "charge");
  }
  if (next.cost == next.cost_before && next.charge == next.charge_before) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const bool is_closed, IsClosed(next.purchase.provider, next.admitted_ns));
  if (is_closed && next.cost != next.cost_before) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{0} of {1} is closed: what is owed for it is final. Correct the charge "
                    "alone, or open it with `tradewind reconcile reopen {0} --provider {1} "
                    "--reason TEXT`.",
                    MonthOf(next.admitted_ns / kNanosPerSecond).name, next.purchase.provider),
        "cost");
  }
  TW_ASSIGN_OR_RETURN(const NanoUsd made, CorrectedToday());
  if (__int128{made} + AmountOf(next) > daily_max_) {
    return BeyondDay(made);
  }
  TW_RETURN_IF_ERROR(Post(standing.front(), next, Posting::kMade));
  return ledger_.WaitDurable();
}

Result<bool> Adjuster::IsClosed(const std::string& provider, int64_t admitted_ns) {
  return recorder_.IsClosed(provider, MonthOf(admitted_ns / kNanosPerSecond));
}

// A price that the catalogue has and no request was held at becomes a version when the order is
// carried out, as it would with the next request.
Result<std::vector<PriceVersion>> Adjuster::InForce(const RerateOrder& order,
                                                    std::span<const PriceVersion> versions) {
  std::vector<PriceVersion> in_force;
  std::ranges::copy_if(versions, std::back_inserter(in_force), [&](const PriceVersion& version) {
    return version.provider == order.provider && version.to_ns == INT64_MAX;
  });
  for (const catalog::Mapping& mapping : order.now) {
    Purchase bought;
    bought.model = mapping.hf_model;
    bought.provider = mapping.provider;
    bought.provider_model = mapping.provider_model;
    const ledger::PriceSpec spec = SpecOf(bought, mapping.prices);
    PriceVersion version = VersionOf(0, spec);
    if (std::ranges::find(in_force, version.hash, &PriceVersion::hash) != in_force.end()) {
      continue;
    }
    if (order.applies) {
      TW_ASSIGN_OR_RETURN(version.version, ledger_.PriceVersion(spec));
    }
    std::erase_if(in_force, [&](const PriceVersion& other) {
      return other.provider_model == version.provider_model;
    });
    in_force.push_back(std::move(version));
  }
  return in_force;
}

namespace {

// Prices of input and output alone say nothing of what else an attempt cost.
bool IsOfTokensAlone(const catalog::Prices& held_at, const Outcome& outcome) {
  catalog::Prices plain;
  plain.input = held_at.input;
  plain.cached_input = held_at.cached_input;
  plain.output = held_at.output;
  return CostAt(plain, outcome) == CostAt(held_at, outcome);
}

}  // namespace

std::optional<Correction> Adjuster::Rerated(const Standing& standing, const RerateOrder& order,
                                            std::span<const PriceVersion> versions,
                                            std::span<const PriceVersion> in_force,
                                            Rerating& result) {
  const AttemptRow& row = standing.row;
  if (standing.is_named) {
    ++result.named;
    return std::nullopt;
  }
  const auto held_at = std::ranges::find(versions, row.price_version, &PriceVersion::version);
  const bool is_held = held_at != versions.end();
  const bool is_by_tokens = is_held ? CostAt(held_at->prices, row.outcome) == row.cost
                                    : !row.purchase.priced && row.cost == 0;
  const auto now =
      std::ranges::find(in_force, row.purchase.provider_model, &PriceVersion::provider_model);
  const bool is_told_apart = order.prices.has_value()
                                 ? !is_held || IsOfTokensAlone(held_at->prices, row.outcome)
                                 : now != in_force.end();
  const std::optional<int64_t> cost =
      !is_told_apart ? std::nullopt
                     : CostAt(order.prices.has_value() ? *order.prices : now->prices, row.outcome);
  // Writes to a cache that had no price are what is put right once they have one.
  const bool is_explained =
      row.reason.empty() || (row.reason == IncompleteReason(kUnpricedWritesName) &&
                             now != in_force.end() && now->prices.cache_write.has_value());
  if (!IsKnown(row.outcome.source) || !is_by_tokens || !is_explained || !cost.has_value()) {
    ++result.not_by_tokens;
    return std::nullopt;
  }
  Correction next = standing.Next();
  next.cost = *cost;
  next.charge = std::min(next.charge, *cost);
  if (next.cost == next.cost_before && next.charge == next.charge_before) {
    ++result.right;
    return std::nullopt;
  }
  next.is_rerated = true;
  next.price_version = order.prices.has_value() ? 0 : now->version;
  next.reason = order.reason;
  next.actor = order.actor;
  return next;
}

Result<Rerating> Adjuster::Rerate(const RerateOrder& order) {
  if (order.applies) {
    TW_RETURN_IF_ERROR(CheckReason(order.reason));
  }
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(const std::vector<PriceVersion> versions, recorder_.Prices(order.model));
  Rerating result;
  std::vector<PriceVersion> in_force;
  if (!order.prices.has_value()) {
    TW_ASSIGN_OR_RETURN(in_force, InForce(order, versions));
    if (in_force.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} has no price at {}: name one with `input_usd_per_mtok` and "
                              "`output_usd_per_mtok`.",
                              order.model.substr(0, 200), order.provider.substr(0, 80)),
                  "model");
    }
    result.price_version = in_force.back().version;
    result.price_source = in_force.back().source;
  }
  TW_ASSIGN_OR_RETURN(const int64_t set_aside_until_ns, recorder_.SetAsideUntil());
  if (set_aside_until_ns > order.from_ns) {
    result.set_aside_until_ns = set_aside_until_ns;
  }
  HoldId after = order.after;
  if (after == HoldId()) {
    const int64_t first_ms = order.from_ns / 1'000'000 - kAdmittedWithinMs;
    after.request.high = static_cast<uint64_t>(std::max<int64_t>(0, first_ms)) << 16;
  }
  TW_RETURN_IF_ERROR(recorder_.CatchUp());
  TW_ASSIGN_OR_RETURN(std::vector<AttemptRow> rows, recorder_.Page(after, kRowsAtOnce));
  if (static_cast<int64_t>(rows.size()) == kRowsAtOnce &&
      rows.back().id.request.unix_ms() <= order.to_ns / 1'000'000) {
    result.next = rows.back().id;
  }
  std::erase_if(rows, [&](const AttemptRow& row) {
    return row.state != AttemptState::kSettled || row.purchase.model != order.model ||
           row.purchase.provider != order.provider || row.admitted_ns < order.from_ns ||
           row.admitted_ns >= order.to_ns;
  });
  TW_ASSIGN_OR_RETURN(const std::vector<Standing> standing, StandingOf(std::move(rows)));
  std::map<std::string, bool> closed;  // months
  std::vector<const Standing*> corrected;
  for (const Standing& one : standing) {
    auto next = Rerated(one, order, versions, in_force, result);
    if (!next.has_value()) {
      continue;
    }
    const std::string month = MonthOf(next->admitted_ns / kNanosPerSecond).name;
    if (!closed.contains(month)) {
      TW_ASSIGN_OR_RETURN(closed[month], IsClosed(order.provider, next->admitted_ns));
    }
    if (closed.at(month)) {
      ++result.closed;
      continue;
    }
    const Status fits = Post(one, *next, Posting::kTried);
    if (!fits.has_value() && fits.error().param == ledger::kTooManyAccounts) {
      result.too_many.push_back(next->id);
      continue;
    }
    TW_RETURN_IF_ERROR(fits);
    result.corrections.push_back(std::move(*next));
    corrected.push_back(&one);
  }
  if (order.applies) {
    TW_RETURN_IF_ERROR(PostAll(corrected, result));
  }
  return result;
}

// As many as the day has room for; where it has none for the first, that is the answer.
Status Adjuster::PostAll(std::span<const Standing* const> corrected, Rerating& result) {
  const std::vector<Correction> all = std::exchange(result.corrections, {});
  TW_ASSIGN_OR_RETURN(const NanoUsd made, CorrectedToday());
  __int128 sum = made;
  for (size_t i = 0; i < all.size(); ++i) {
    sum += AmountOf(all[i]);
    if (sum > daily_max_ && i == 0) {
      return BeyondDay(made);
    }
    if (sum > daily_max_) {
      result.next = all[i - 1].id;
      break;
    }
    TW_RETURN_IF_ERROR(Post(*corrected[i], all[i], Posting::kMade));
    result.corrections.push_back(all[i]);
  }
  return result.corrections.empty() ? Status() : ledger_.WaitDurable();
}

}  // namespace tradewind::billing
