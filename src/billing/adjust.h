// Corrections of what was settled: of one attempt by the amounts that somebody names, or of many by
// another price.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "billing/correction.h"
#include "billing/price_version.h"
#include "billing/recorder.h"
#include "catalog/mapping.h"
#include "ledger/ledger.h"

namespace tradewind::billing {

inline constexpr size_t kCorrectionReasonBytesMax = 1024;
// By how much may be corrected in a day of UTC, up and down.
inline constexpr ledger::NanoUsd kAdjustDailyDefault = 1'000'000'000'000;

struct AdjustWord {
  // The new totals. Without a charge it is as it was, and at most the cost; without a cost that
  // stays.
  std::optional<ledger::NanoUsd> cost, charge;
  std::string reason, actor;
};

struct RerateOrder {
  std::string model, provider;
  int64_t from_ns = 0, to_ns = INT64_MAX;  // by admission
  std::optional<catalog::Prices> prices;   // nullopt: those that are in force
  // What is in force, of this model at this provider: the catalogue's. Of what it does not have,
  // the version that a request was held at last.
  std::vector<catalog::Mapping> now;
  ledger::HoldId after;  // of an earlier answer, to go on
  bool applies = false;  // otherwise it is only told
  std::string reason, actor;
};

struct Rerating {
  std::vector<Correction> corrections;  // made, or that would be
  // 0: of named prices, or of those that nothing was held at yet while it is only told.
  uint32_t price_version = 0;
  std::string price_source;  // "config.toml line 7"; "" of named ones
  // Left as they are: it is right already; its cost is not what its price makes of its tokens, or
  // nobody knows them; somebody named its amounts.
  // Or the provider's month is closed, or no more may be corrected today.
  int64_t right = 0, not_by_tokens = 0, named = 0, closed = 0;
  // Left too: each would change more budgets and credits than one correction may.
  std::vector<ledger::HoldId> too_many;
  std::optional<ledger::HoldId> next;  // behind this one there is more
  // Of the time that was asked for, what ended before it was set aside and stays as it was.
  std::optional<int64_t> set_aside_until_ns;
};

// Thread-safe: one correction is decided at a time. What it refers to must outlive it.
class Adjuster {
 public:
  Adjuster(ledger::Ledger& ledger, Recorder& recorder,
           ledger::NanoUsd daily_max = kAdjustDailyDefault)
      : ledger_(ledger), recorder_(recorder), daily_max_(daily_max) {}

  // `attempt` 0: the only one of the request that was settled. The same totals again change
  // nothing. Errors: kNotFound; kInvalidArgument (receipt, cost, charge, reason);
  // kResourceExhausted: more than may be corrected in a day; those of ledger::Ledger::Adjust.
  Status Adjust(ledger::HoldId id, const AdjustWord& word);

  // Of the next few thousand attempts. Whoever was killed half-way begins again: what is right
  // already stays. Errors: kInvalidArgument (model, prices), and those of Adjust.
  Result<Rerating> Rerate(const RerateOrder& order);

 private:
  struct Standing;  // an attempt with its corrections
  Result<std::vector<Standing>> StandingOf(std::vector<AttemptRow> rows);
  Result<ledger::NanoUsd> CorrectedToday();
  std::unexpected<Error> BeyondDay(ledger::NanoUsd made) const;
  Status PostAll(std::span<const Standing* const> corrected, Rerating& result);
  // Into the journal, or only as far as to know whether it can.
  enum class Posting : bool { kTried, kMade };
  Status Post(const Standing& standing, const Correction& correction, Posting posting);
  // Of each of the provider's models one, the newest last.
  Result<std::vector<PriceVersion>> InForce(const RerateOrder& order,
                                            std::span<const PriceVersion> versions);
  // Nullopt: it stays as it is, and is counted.
  std::optional<Correction> Rerated(const Standing& standing, const RerateOrder& order,
                                    std::span<const PriceVersion> versions,
                                    std::span<const PriceVersion> in_force, Rerating& result);
  // The provider's month of an admission: what it is owed of it is final.
  Result<bool> IsClosed(const std::string& provider, int64_t admitted_ns);

  std::mutex mutex_;
  ledger::Ledger& ledger_;
  Recorder& recorder_;
  const ledger::NanoUsd daily_max_;
};

}  // namespace tradewind::billing
