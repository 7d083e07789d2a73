#include "alerts/alert.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "alerts/season.h"

namespace tradewind::alerts {
namespace {

constexpr std::array<std::string_view, 13> kKindNames = {
    "budget", "velocity", "unusual", "new_sku", "forecast",  "overrun", "bill",
    "barred", "usage",    "disk",    "recount", "power_cut", "ledger"};
constexpr std::array<std::string_view, kChannels> kChannelNames = {"webhook", "command"};
constexpr std::array<std::string_view, 4> kDeliveryNames = {"pending", "delivered", "gave_up",
                                                            "none"};

constexpr std::string_view kColumns =
    "id, dedup, kind, scope, org, raised_ns, amount, text, acknowledged_ns, acknowledged_by, "
    "webhook, webhook_tries, webhook_ns, command, command_tries, command_ns, trouble, "
    "coalesce(org_ns, 0), coalesce(org_by, '')";
constexpr std::string_view kFrom = "FROM alerts LEFT JOIN alert_org_acknowledged ON alert = id";

Alert AlertOf(const storage::Statement& row) {
  Alert alert;
  alert.id = row.Integer(0);
  alert.dedup = row.Text(1);
  const auto* kind = std::ranges::find(kKindNames, row.Text(2));
  alert.kind =
      kind == kKindNames.end() ? Kind::kBudget : static_cast<Kind>(kind - kKindNames.begin());
  alert.scope = row.Text(3);
  alert.org_id = row.Text(4);
  alert.raised_ns = row.Integer(5);
  alert.amount = row.Integer(6);
  alert.text = row.Text(7);
  alert.acknowledged_ns = row.Integer(8);
  alert.acknowledged_by = row.Text(9);
  int column = 10;
  for (Sent& sent : alert.sent) {
    sent.state = static_cast<Delivery>(std::clamp<int64_t>(row.Integer(column++), 0, 3));
    sent.tries = row.Integer(column++);
    sent.next_ns = row.Integer(column++);
  }
  alert.trouble = row.Text(column++);
  alert.org_acknowledged_ns = row.Integer(column++);
  alert.org_acknowledged_by = row.Text(column);
  return alert;
}

}  // namespace

std::string_view KindName(Kind kind) {
  return kKindNames[static_cast<size_t>(kind)];
}

std::string_view ChannelName(Channel channel) {
  return kChannelNames[static_cast<size_t>(channel)];
}

std::string_view DeliveryName(Delivery delivery) {
  return kDeliveryNames[static_cast<size_t>(delivery)];
}

Status PrepareTables(storage::Database& database) {
  return database.Execute(R"(
CREATE TABLE IF NOT EXISTS alerts (
  id INTEGER PRIMARY KEY, dedup TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, scope TEXT NOT NULL,
  org TEXT NOT NULL, raised_ns INTEGER NOT NULL, amount INTEGER NOT NULL, text TEXT NOT NULL,
  acknowledged_ns INTEGER NOT NULL, acknowledged_by TEXT NOT NULL,
  webhook INTEGER NOT NULL, webhook_tries INTEGER NOT NULL, webhook_ns INTEGER NOT NULL,
  command INTEGER NOT NULL, command_tries INTEGER NOT NULL, command_ns INTEGER NOT NULL,
  trouble TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS alerts_to_send ON alerts (id) WHERE webhook = 0 OR command = 0;
CREATE INDEX IF NOT EXISTS alerts_of_a_kind ON alerts (kind, scope, raised_ns);
CREATE TABLE IF NOT EXISTS alert_repeats (
  alert INTEGER PRIMARY KEY, count INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS alert_org_acknowledged (
  alert INTEGER PRIMARY KEY, org_ns INTEGER NOT NULL, org_by TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS alert_spent_then (
  alert INTEGER PRIMARY KEY, cost INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS alert_buckets (
  series TEXT NOT NULL, bucket INTEGER NOT NULL, cost INTEGER NOT NULL,
  PRIMARY KEY (series, bucket)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_series (
  series TEXT PRIMARY KEY, org TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  evaluated INTEGER NOT NULL, score INTEGER NOT NULL, high INTEGER NOT NULL,
  excess INTEGER NOT NULL, armed_from INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alert_series_by_use ON alert_series (org, last, first);
CREATE TABLE IF NOT EXISTS alert_skus (
  org TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (org, provider, model, version)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_tiers (
  org TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, tier TEXT NOT NULL,
  PRIMARY KEY (org, provider, model, tier)) STRICT, WITHOUT ROWID;

-- Once: before there was this table, what callers' own keys paid was in the server's series, too.
CREATE TABLE IF NOT EXISTS alert_upgrades (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
DELETE FROM alert_buckets WHERE series IN (
  SELECT series FROM alert_series WHERE (series GLOB 'model:*' OR series GLOB 'provider:*')
  AND NOT EXISTS (SELECT 1 FROM alert_upgrades WHERE name = 'own_keys_apart'));
DELETE FROM alert_series WHERE (series GLOB 'model:*' OR series GLOB 'provider:*')
  AND NOT EXISTS (SELECT 1 FROM alert_upgrades WHERE name = 'own_keys_apart');
INSERT OR IGNORE INTO alert_upgrades VALUES ('own_keys_apart');
)");
}

Result<bool> Raise(storage::Database& database, const Alert& alert) {
  TW_RETURN_IF_ERROR(database.Run(
      "INSERT OR IGNORE INTO alerts (dedup, kind, scope, org, raised_ns, amount, text, "
      "acknowledged_ns, acknowledged_by, webhook, webhook_tries, webhook_ns, command, "
      "command_tries, command_ns, trouble) VALUES (?1,?2,?3,?4,?5,?6,?7,0,'',?8,0,0,?9,0,0,'')",
      std::string_view(alert.dedup), KindName(alert.kind), std::string_view(alert.scope),
      std::string_view(alert.org_id), alert.raised_ns, int64_t{alert.amount},
      std::string_view(alert.text), static_cast<int64_t>(alert.sent[0].state),
      static_cast<int64_t>(alert.sent[1].state)));
  return database.changes() == 1;
}

Result<std::vector<Alert>> ListAlerts(storage::Database& database, const AlertFilter& filter) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database.Prepare(
          fmt::format("SELECT {} {} WHERE (?1 = 0 OR (acknowledged_ns = 0 AND (?2 = 0 OR org_ns IS "
                      "NULL))) AND (?2 = 0 OR org = ?3) AND (?4 = 0 OR id < ?4) ORDER BY id DESC "
                      "LIMIT ?5",
                      kColumns, kFrom)));
  query.Bind(1, int64_t{filter.open_only});
  query.Bind(2, int64_t{filter.org_id.has_value()});
  query.Bind(3, std::string_view(filter.org_id.has_value() ? *filter.org_id : ""));
  query.Bind(4, filter.before_id).Bind(5, filter.limit);
  return storage::ReadAll(std::move(query), AlertOf);
}

Result<std::vector<Alert>> AlertsAfter(storage::Database& database, int64_t id) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(fmt::format(
                          "SELECT {} {} WHERE id > ?1 ORDER BY id LIMIT 1000", kColumns, kFrom)));
  query.Bind(1, id);
  return storage::ReadAll(std::move(query), AlertOf);
}

Result<bool> HasAlertSince(storage::Database& database, Kind kind, std::string_view scope,
                           int64_t since_ns) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT 1 FROM alerts WHERE kind = ?1 AND scope = ?2 AND "
                                       "raised_ns >= ?3 LIMIT 1"));
  query.Bind(1, KindName(kind)).Bind(2, scope).Bind(3, since_ns);
  return query.Next();
}

Result<std::vector<Alert>> OpenAlerts(storage::Database& database, Kind kind,
                                      std::string_view scope) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(fmt::format(
                          "SELECT {} {} WHERE kind = ?1 {} AND acknowledged_ns = 0 AND org_ns IS "
                          "NULL ORDER BY id",
                          kColumns, kFrom, scope.empty() ? "" : "AND scope = ?2")));
  query.Bind(1, KindName(kind));
  if (!scope.empty()) {
    query.Bind(2, scope);
  }
  return storage::ReadAll(std::move(query), AlertOf);
}

Result<bool> HasOpenAlert(storage::Database& database, Kind kind, std::string_view scope) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(fmt::format("SELECT 1 {} WHERE kind = ?1 AND scope = ?2 AND "
                                                   "acknowledged_ns = 0 AND org_ns IS NULL LIMIT 1",
                                                   kFrom)));
  query.Bind(1, KindName(kind)).Bind(2, scope);
  return query.Next();
}

Result<Alert> FindAlert(storage::Database& database, int64_t id) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(fmt::format("SELECT {} {} WHERE id = ?1", kColumns, kFrom)));
  query.Bind(1, id);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  if (!has_row) {
    return Fail(ErrorCode::kNotFound, fmt::format("There is no alert {}.", id), "id");
  }
  return AlertOf(query);
}

Result<std::optional<Alert>> NewestAlert(storage::Database& database, Kind kind,
                                         std::string_view scope) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare(fmt::format("SELECT {} {} WHERE kind = ?1 AND scope = ?2 "
                                                   "ORDER BY raised_ns DESC, id DESC LIMIT 1",
                                                   kColumns, kFrom)));
  query.Bind(1, KindName(kind)).Bind(2, scope);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? std::optional(AlertOf(query)) : std::nullopt;
}

Status Acknowledge(storage::Database& database, int64_t id, std::string_view by, int64_t now_ns) {
  constexpr int64_t kBucketNs = kBucketS * 1'000'000'000;
  TW_RETURN_IF_ERROR(database.Run(
      "INSERT OR IGNORE INTO alert_spent_then SELECT id, alert_buckets.cost FROM alerts JOIN "
      "alert_buckets ON series = scope AND bucket = ?2 WHERE id = ?1 AND kind = 'velocity' AND "
      "acknowledged_ns = 0",
      id, now_ns / kBucketNs));
  return database.Run(
      "UPDATE alerts SET acknowledged_ns = ?1, acknowledged_by = ?2 WHERE id = ?3 AND "
      "acknowledged_ns = 0",
      now_ns, by, id);
}

Status AcknowledgeForOrg(storage::Database& database, int64_t id, std::string_view by,
                         int64_t now_ns) {
  return database.Run(
      "INSERT OR IGNORE INTO alert_org_acknowledged SELECT id, ?1, ?2 FROM alerts WHERE id = ?3 "
      "AND "
      "acknowledged_ns = 0",
      now_ns, by, id);
}

Result<ledger::NanoUsd> SpentWhenAcknowledged(storage::Database& database, int64_t id) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT cost FROM alert_spent_then WHERE alert = ?1"));
  query.Bind(1, id);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

Result<std::vector<Alert>> DueAlerts(storage::Database& database, Channel channel, int64_t now_ns,
                                     int64_t limit) {
  const std::string_view name = ChannelName(channel);
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database.Prepare(fmt::format("SELECT {} {} WHERE (webhook = 0 OR command = 0) AND "
                                   "{} = 0 AND {}_ns <= ?1 ORDER BY id LIMIT ?2",
                                   kColumns, kFrom, name, name)));
  query.Bind(1, now_ns).Bind(2, limit);
  return storage::ReadAll(std::move(query), AlertOf);
}

Status NoteDelivery(storage::Database& database, int64_t id, Channel channel, const Sent& sent,
                    std::string_view trouble) {
  const std::string_view name = ChannelName(channel);
  return database.Run(
      fmt::format("UPDATE alerts SET {0} = ?1, {0}_tries = ?2, {0}_ns = ?3, trouble = ?4 "
                  "WHERE id = ?5",
                  name),
      static_cast<int64_t>(sent.state), sent.tries, sent.next_ns, trouble, id);
}

Result<std::vector<std::string>> ScopesTooFast(storage::Database& database, int64_t since_ns) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT DISTINCT scope FROM alerts WHERE kind = 'velocity' "
                                       "AND raised_ns >= ?1 AND acknowledged_ns = 0"));
  query.Bind(1, since_ns);
  return storage::ReadAll(std::move(query),
                          [](const storage::Statement& row) { return std::string(row.Text(0)); });
}

}  // namespace tradewind::alerts
