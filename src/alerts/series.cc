#include "alerts/series.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace tradewind::alerts {
namespace {

// The database has no doubles.
constexpr double kMilli = 1000;

constexpr std::string_view kSelect =
    "SELECT series, org, first, last, evaluated, score, high, excess, armed_from FROM "
    "alert_series ";

Series SeriesOf(const storage::Statement& row) {
  Series series;
  series.name = row.Text(0);
  series.org_id = row.Text(1);
  series.first = row.Integer(2);
  series.last = row.Integer(3);
  series.evaluated = row.Integer(4);
  series.state.score = static_cast<double>(row.Integer(5)) / kMilli;
  series.state.high_runs = row.Integer(6);
  series.state.excess_usd = static_cast<double>(row.Integer(7)) / kMilli;
  series.armed_from = row.Integer(8);
  return series;
}

}  // namespace

Result<bool> AddCost(storage::Database& database, std::string_view series, std::string_view org_id,
                     int64_t bucket, ledger::NanoUsd cost) {
  TW_RETURN_IF_ERROR(database.Run(
      "UPDATE alert_series SET last = max(last, ?2), first = min(first, ?2) WHERE series = ?1",
      series, bucket));
  const bool is_new = database.changes() == 0;
  if (is_new) {
    TW_RETURN_IF_ERROR(
        database.Run("INSERT INTO alert_series VALUES (?1, ?2, ?3, ?3, ?3 - 1, 0, 0, 0, 0)", series,
                     org_id, bucket));
  }
  TW_RETURN_IF_ERROR(
      database.Run("INSERT INTO alert_buckets VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET "
                   "cost = cost + ?3",
                   series, bucket, int64_t{cost}));
  return is_new;
}

Status DropOldKeys(storage::Database& database, std::string_view org_id) {
  constexpr std::string_view kOld =
      "(SELECT series FROM alert_series WHERE org = ?1 AND series GLOB 'key:*' "
      "ORDER BY last DESC, first DESC LIMIT -1 OFFSET ?2)";
  // The series last: they say which buckets are old.
  for (const char* table : {"alert_buckets", "alert_series"}) {
    TW_RETURN_IF_ERROR(database.Run(fmt::format("DELETE FROM {} WHERE series IN {}", table, kOld),
                                    org_id, kKeySeriesMax));
  }
  return {};
}

Result<std::optional<Series>> FindSeries(storage::Database& database, std::string_view name) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(std::string(kSelect) + "WHERE series = ?1"));
  query.Bind(1, name);
  TW_ASSIGN_OR_RETURN(bool has_row, query.Next());
  // Series are spelled as the catalogue does; a budget need not be.
  if (!has_row && std::ranges::any_of(name, [](char c) { return c >= 'A' && c <= 'Z'; })) {
    TW_ASSIGN_OR_RETURN(
        query, database.Prepare(std::string(kSelect) + "WHERE series = ?1 COLLATE NOCASE LIMIT 1"));
    query.Bind(1, name);
    TW_ASSIGN_OR_RETURN(has_row, query.Next());
  }
  return has_row ? std::optional(SeriesOf(query)) : std::nullopt;
}

Result<std::string> OrgOf(storage::Database& database, std::string_view scope) {
  const std::string owner(scope.substr(0, scope.find('/')));
  constexpr std::string_view kOrg = "org:";
  if (owner.starts_with(kOrg)) {
    return owner.substr(kOrg.size());
  }
  TW_ASSIGN_OR_RETURN(const std::optional<Series> series, FindSeries(database, owner));
  return series.has_value() ? series->org_id : "";
}

Result<std::vector<std::string>> SeriesSince(storage::Database& database, int64_t bucket) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT series FROM alert_series WHERE last >= ?1"));
  query.Bind(1, bucket);
  return storage::ReadAll(std::move(query),
                          [](const storage::Statement& row) { return std::string(row.Text(0)); });
}

Result<std::optional<int64_t>> LastSpending(storage::Database& database) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT max(last) FROM alert_series"));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.OptionalInteger(0) : std::nullopt;
}

Result<std::vector<Series>> SeriesToEvaluate(storage::Database& database, int64_t closed) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(std::string(kSelect) +
                                       "WHERE evaluated < ?1 AND (last > evaluated OR score > 0)"));
  query.Bind(1, closed);
  return storage::ReadAll(std::move(query), SeriesOf);
}

Status SaveEvaluation(storage::Database& database, const Series& series) {
  return database.Run(
      "UPDATE alert_series SET evaluated = ?2, score = ?3, high = ?4, excess = ?5, armed_from = ?6 "
      "WHERE series = ?1",
      std::string_view(series.name), series.evaluated,
      static_cast<int64_t>(std::llround(series.state.score * kMilli)), series.state.high_runs,
      static_cast<int64_t>(std::llround(series.state.excess_usd * kMilli)), series.armed_from);
}

Result<ledger::NanoUsd> CostBetween(storage::Database& database, std::string_view series,
                                    int64_t from, int64_t to) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT sum(cost) FROM alert_buckets WHERE series = ?1 AND "
                                       "bucket >= ?2 AND bucket < ?3"));
  query.Bind(1, series).Bind(2, from).Bind(3, to);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

Result<std::vector<ledger::NanoUsd>> CostsBetween(storage::Database& database,
                                                  std::string_view series, int64_t from,
                                                  int64_t to) {
  std::vector<ledger::NanoUsd> costs(to > from ? static_cast<size_t>(to - from) : 0, 0);
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT bucket, cost FROM alert_buckets WHERE series = ?1 "
                                       "AND bucket >= ?2 AND bucket < ?3"));
  query.Bind(1, series).Bind(2, from).Bind(3, to);
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return costs;
    }
    costs[static_cast<size_t>(query.Integer(0) - from)] = query.Integer(1);
  }
}

Result<std::optional<int64_t>> NextSpending(storage::Database& database, std::string_view series,
                                            int64_t bucket) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT bucket FROM alert_buckets WHERE series = ?1 AND "
                                       "bucket > ?2 ORDER BY bucket LIMIT 1"));
  query.Bind(1, series).Bind(2, bucket);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? std::optional(query.Integer(0)) : std::nullopt;
}

Result<bool> AddSku(storage::Database& database, const Sku& sku) {
  TW_RETURN_IF_ERROR(database.Run("INSERT OR IGNORE INTO alert_skus VALUES (?1, ?2, ?3, ?4)",
                                  std::string_view(sku.org_id), std::string_view(sku.provider),
                                  std::string_view(sku.model), int64_t{sku.price_version}));
  return database.changes() == 1;
}

Result<bool> AddTier(storage::Database& database, const SkuTier& tier) {
  TW_RETURN_IF_ERROR(database.Run("INSERT OR IGNORE INTO alert_tiers VALUES (?1, ?2, ?3, ?4)",
                                  std::string_view(tier.org_id), std::string_view(tier.provider),
                                  std::string_view(tier.model), std::string_view(tier.tier)));
  return database.changes() == 1;
}

Status ForgetCosts(storage::Database& database, int64_t bucket) {
  TW_RETURN_IF_ERROR(database.Run("DELETE FROM alert_buckets WHERE bucket < ?1", bucket));
  return database.Run("DELETE FROM alert_series WHERE last < ?1", bucket);
}

}  // namespace tradewind::alerts
