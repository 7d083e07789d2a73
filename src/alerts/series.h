// What keys, organisations, models and providers spent in each five minutes, and which of their
// goods were paid for before: tables in HOME/ledger.db. Errors of all: those of storage::Database.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "alerts/season.h"
#include "base/result.h"
#include "ledger/money.h"
#include "storage/database.h"

namespace tradewind::alerts {

// Of an organisation are watched at a time. Organisations, models and providers are not bounded by
// this: they are as many as operators make, and keys as many as a tenant likes.
inline constexpr int64_t kKeySeriesMax = 20'000;

struct Series {
  std::string name;             // "key:key_2f...", "org:...", "model:ORG/NAME", "provider:SLUG"
  std::string org_id;           // "": of no organisation alone
  int64_t first = 0, last = 0;  // buckets in which something was spent
  int64_t evaluated = 0;        // the last bucket that the season was compared with
  int64_t armed_from = 0;       // no alarm in earlier buckets
  SeasonState state;
};

// Adds to a bucket. True: its series is new.
Result<bool> AddCost(storage::Database& database, std::string_view series, std::string_view org_id,
                     int64_t bucket, ledger::NanoUsd cost);
// Drops those keys of an organisation beyond kKeySeriesMax that spent nothing for the longest.
Status DropOldKeys(storage::Database& database, std::string_view org_id);
Result<std::optional<Series>> FindSeries(storage::Database& database, std::string_view name);
// Whose organisation a budget's scope is of, as far as its name or what it spent says so; or "".
Result<std::string> OrgOf(storage::Database& database, std::string_view scope);
// The names of those that spent in `bucket` or later.
Result<std::vector<std::string>> SeriesSince(storage::Database& database, int64_t bucket);
Result<std::optional<int64_t>> LastSpending(storage::Database& database);  // of all; a bucket
// Those that have something to be evaluated in a bucket up to `closed`.
Result<std::vector<Series>> SeriesToEvaluate(storage::Database& database, int64_t closed);
Status SaveEvaluation(storage::Database& database, const Series& series);

// Of [from, to).
Result<ledger::NanoUsd> CostBetween(storage::Database& database, std::string_view series,
                                    int64_t from, int64_t to);
// One number for each bucket of [from, to), zeros too.
Result<std::vector<ledger::NanoUsd>> CostsBetween(storage::Database& database,
                                                  std::string_view series, int64_t from,
                                                  int64_t to);
// The first bucket behind `bucket` in which something was spent; nullopt: none.
Result<std::optional<int64_t>> NextSpending(storage::Database& database, std::string_view series,
                                            int64_t bucket);

struct Sku {
  std::string org_id, provider, model;
  uint32_t price_version = 0;
  auto operator<=>(const Sku&) const = default;
};
// True: it was not paid for before.
Result<bool> AddSku(storage::Database& database, const Sku& sku);

// One that costs more than the usual one, whatever the version of the price.
struct SkuTier {
  std::string org_id, provider, model, tier;
  auto operator<=>(const SkuTier&) const = default;
};
Result<bool> AddTier(storage::Database& database, const SkuTier& tier);  // likewise

// Drops buckets before `bucket`, and series that spent nothing since.
Status ForgetCosts(storage::Database& database, int64_t bucket);

}  // namespace tradewind::alerts
