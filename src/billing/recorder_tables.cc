// The tables of ledger.db, step by step; a published step never changes.
#include <array>
#include <span>
#include <string_view>

#include "billing/recorder_parts.h"

namespace tradewind::billing {
namespace {

// One row for each attempt; sums by quarters of an hour.
constexpr std::string_view kAttempts = R"(
CREATE TABLE applied (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT;
INSERT INTO applied VALUES (1, 0);
CREATE TABLE attempts (
  request BLOB NOT NULL, attempt INTEGER NOT NULL,
  org TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL, user TEXT NOT NULL,
  model TEXT NOT NULL, provider TEXT NOT NULL, provider_model TEXT NOT NULL,
  own_key INTEGER NOT NULL, priced INTEGER NOT NULL,
  state INTEGER NOT NULL, admitted_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL,
  held INTEGER NOT NULL, cost INTEGER NOT NULL, charge INTEGER NOT NULL,
  price_version INTEGER NOT NULL,
  input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL,
  reasoning INTEGER NOT NULL, source TEXT NOT NULL, finish TEXT NOT NULL,
  upstream_id TEXT NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (request, attempt)) STRICT, WITHOUT ROWID;
CREATE INDEX open_attempts ON attempts (state) WHERE state < 3;
CREATE TABLE sums (
  slot INTEGER NOT NULL, org TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
  provider TEXT NOT NULL,
  settled INTEGER NOT NULL, voided INTEGER NOT NULL, unpriced INTEGER NOT NULL,
  cost INTEGER NOT NULL, charge INTEGER NOT NULL,
  input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL,
  PRIMARY KEY (key, slot, org, model, provider)) STRICT, WITHOUT ROWID;
)";

// Versions of prices, what was settled by the hour and kind of token, sums by the day.
constexpr std::string_view kBills = R"(
ALTER TABLE attempts ADD COLUMN cache_write INTEGER;
CREATE TABLE prices (
  version INTEGER PRIMARY KEY, item TEXT NOT NULL, terms TEXT NOT NULL, source TEXT NOT NULL,
  since_ns INTEGER NOT NULL, until_ns INTEGER NOT NULL) STRICT;
CREATE TABLE meters (
  hour INTEGER NOT NULL, org TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,
  model TEXT NOT NULL, provider TEXT NOT NULL, provider_model TEXT NOT NULL,
  own_key INTEGER NOT NULL, version INTEGER NOT NULL, kind INTEGER NOT NULL,
  quantity INTEGER NOT NULL, cost INTEGER NOT NULL, charge INTEGER NOT NULL,
  PRIMARY KEY (hour, org, project, key, model, provider, provider_model, own_key, version, kind))
  STRICT, WITHOUT ROWID;
CREATE TABLE day_meters (
  hour INTEGER NOT NULL, org TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,
  model TEXT NOT NULL, provider TEXT NOT NULL, provider_model TEXT NOT NULL,
  own_key INTEGER NOT NULL, version INTEGER NOT NULL, kind INTEGER NOT NULL,
  quantity INTEGER NOT NULL, cost INTEGER NOT NULL, charge INTEGER NOT NULL,
  PRIMARY KEY (hour, org, project, key, model, provider, provider_model, own_key, version, kind))
  STRICT, WITHOUT ROWID;
INSERT INTO meters
  SELECT ended_ns / 3600000000000, org, project, key, model, provider, provider_model, own_key,
         price_version, 0, count(*), sum(cost), sum(charge)
  FROM attempts WHERE state = 3 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
INSERT INTO meters
  SELECT ended_ns / 3600000000000, org, project, key, model, provider, provider_model, own_key,
         price_version, kind, sum(CASE kind WHEN 1 THEN input - cached WHEN 2 THEN cached
         ELSE output END) AS tokens, 0, 0
  FROM attempts, (SELECT 1 AS kind UNION ALL SELECT 2 UNION ALL SELECT 4)
  WHERE state = 3 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 HAVING tokens > 0;
INSERT INTO day_meters
  SELECT hour / 24 * 24, org, project, key, model, provider, provider_model, own_key, version, kind,
         sum(quantity), sum(cost), sum(charge)
  FROM meters GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
CREATE TABLE day_sums (
  day INTEGER NOT NULL, org TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
  provider TEXT NOT NULL,
  settled INTEGER NOT NULL, voided INTEGER NOT NULL, unpriced INTEGER NOT NULL,
  cost INTEGER NOT NULL, charge INTEGER NOT NULL,
  input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL,
  PRIMARY KEY (key, day, org, model, provider)) STRICT, WITHOUT ROWID;
INSERT INTO day_sums
  SELECT slot / 96, org, key, model, provider, sum(settled), sum(voided), sum(unpriced), sum(cost),
         sum(charge), sum(input), sum(cached), sum(output)
  FROM sums GROUP BY 1, 2, 3, 4, 5;
CREATE INDEX sums_by_slot ON sums (slot);
)";

// Thoughts as a column of their own, money that moved without a request, what providers bill.
constexpr std::string_view kProviderBills = R"(
ALTER TABLE sums ADD COLUMN reasoning INTEGER NOT NULL DEFAULT 0;
INSERT INTO sums SELECT admitted_ns / 900000000000, org, key, model, provider,
  0, 0, 0, 0, 0, 0, 0, 0, sum(reasoning)
  FROM attempts WHERE state = 3 AND reasoning > 0 GROUP BY 1, 2, 3, 4, 5
  ON CONFLICT DO UPDATE SET reasoning = excluded.reasoning;
ALTER TABLE day_sums ADD COLUMN reasoning INTEGER NOT NULL DEFAULT 0;
INSERT INTO day_sums
  SELECT slot / 96, org, key, model, provider, 0, 0, 0, 0, 0, 0, 0, 0, sum(reasoning)
  FROM sums WHERE reasoning > 0 GROUP BY 1, 2, 3, 4, 5
  ON CONFLICT DO UPDATE SET reasoning = excluded.reasoning;
CREATE TABLE transfers (
  seq INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL,
  debit INTEGER NOT NULL, credit INTEGER NOT NULL, amount INTEGER NOT NULL,
  text TEXT NOT NULL) STRICT;
CREATE TABLE bill_lines (
  provider TEXT NOT NULL, is_invoice INTEGER NOT NULL,
  start INTEGER NOT NULL, end INTEGER NOT NULL, model TEXT NOT NULL,
  requests INTEGER, input INTEGER, cached INTEGER, output INTEGER, cost INTEGER,
  PRIMARY KEY (provider, is_invoice, start, end, model)) STRICT, WITHOUT ROWID;
)";

// Sound and pictures: none, where nobody counted them. `kind` of meters is a kind and 256 times the
// tier of the price, so that rows of before are of none.
constexpr std::string_view kUnits = R"(
ALTER TABLE attempts ADD COLUMN audio_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN audio_output INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN images INTEGER NOT NULL DEFAULT 0;
)";

// An id that a provider uses again says nothing of what either request cost.
constexpr std::string_view kUpstreamIds = R"(
CREATE INDEX attempts_by_upstream_id ON attempts (upstream_id) WHERE upstream_id <> '';
)";

// Credits by their numbers in the ledger, and what they paid, by attempt and by the hour.
constexpr std::string_view kCredits = R"(
CREATE TABLE credits (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, amount INTEGER NOT NULL,
  granted_ns INTEGER NOT NULL, expires_s INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
CREATE TABLE attempt_credits (
  request BLOB NOT NULL, attempt INTEGER NOT NULL, credit INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (request, attempt, credit)) STRICT, WITHOUT ROWID;
CREATE TABLE credit_uses (
  hour INTEGER NOT NULL, org TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,
  credit INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (hour, org, project, key, credit)) STRICT, WITHOUT ROWID;
)";

// Few providers can be asked, and each of their ids costs a page of an index: of all ids it was
// most of what is written. Of those of before the last two days nobody asks any more.
constexpr std::string_view kAskableIds = R"(
DROP INDEX attempts_by_upstream_id;
ALTER TABLE attempts ADD COLUMN askable INTEGER NOT NULL DEFAULT 0;
UPDATE attempts SET askable = 1 WHERE upstream_id <> '' AND
  admitted_ns > (SELECT max(admitted_ns) FROM attempts) - 172800000000000;
CREATE INDEX askable_attempts ON attempts (upstream_id) WHERE askable = 1;
)";

// Of what was written to a cache: to be kept for an hour.
constexpr std::string_view kLongCache = R"(
ALTER TABLE attempts ADD COLUMN cache_write_1h INTEGER NOT NULL DEFAULT 0;
)";

// What providers alone can count, beside what was billed. Hours of before have none: a bill that
// was shown or invoiced stays what it was, byte for byte.
constexpr std::string_view kUnverifiable = R"(
ALTER TABLE attempts ADD COLUMN unverifiable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meters ADD COLUMN unverifiable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE day_meters ADD COLUMN unverifiable INTEGER NOT NULL DEFAULT 0;
)";

// Whose prices an attempt's cost has, where it was served at another than the usual one. `kind` of
// meters has 65,536 times its number among those of the price, so that rows of before are of none.
constexpr std::string_view kServiceTiers = R"(
ALTER TABLE attempts ADD COLUMN service_tier TEXT NOT NULL DEFAULT '';
)";

// The requests behind a number: ended attempts in the order in which statements count them, of a
// key, of an organisation and of all. Each index grows at its end, or at one end for each owner.
constexpr std::string_view kRequests = R"(
CREATE INDEX attempts_by_key ON attempts (key, ended_ns, request, attempt) WHERE state >= 3;
CREATE INDEX attempts_by_org ON attempts (org, ended_ns, request, attempt) WHERE state >= 3;
CREATE INDEX attempts_by_end ON attempts (ended_ns, request, attempt) WHERE state >= 3;
)";

// What was settled and put right later: the windows of budgets that an attempt counts in, and rows
// beside the attempts.
constexpr std::string_view kCorrections = R"(
ALTER TABLE attempts ADD COLUMN budgets TEXT NOT NULL DEFAULT '';
CREATE TABLE corrections (
  request BLOB NOT NULL, attempt INTEGER NOT NULL, number INTEGER NOT NULL,
  time_ns INTEGER NOT NULL, admitted_ns INTEGER NOT NULL,
  cost_before INTEGER NOT NULL, charge_before INTEGER NOT NULL,
  cost INTEGER NOT NULL, charge INTEGER NOT NULL, credits TEXT NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (request, attempt, number)) STRICT, WITHOUT ROWID;
CREATE INDEX corrections_by_time ON corrections (time_ns);
)";

// Attempts whose rows are in files only, and what statements count of them, by the day.
constexpr std::string_view kSetAside = R"(
CREATE TABLE set_aside (
  file TEXT PRIMARY KEY, day INTEGER NOT NULL, attempts INTEGER NOT NULL, at_s INTEGER NOT NULL,
  first_request BLOB NOT NULL, last_request BLOB NOT NULL,
  from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE set_aside_meters (
  hour INTEGER NOT NULL, org TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,
  model TEXT NOT NULL, provider TEXT NOT NULL, provider_model TEXT NOT NULL,
  own_key INTEGER NOT NULL, version INTEGER NOT NULL, kind INTEGER NOT NULL,
  quantity INTEGER NOT NULL, cost INTEGER NOT NULL, charge INTEGER NOT NULL,
  unverifiable INTEGER NOT NULL,
  PRIMARY KEY (hour, org, project, key, model, provider, provider_model, own_key, version, kind))
  STRICT, WITHOUT ROWID;
CREATE TABLE set_aside_credits (
  hour INTEGER NOT NULL, org TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,
  credit INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (hour, org, project, key, credit)) STRICT, WITHOUT ROWID;
)";

// A cost that a correction named is known: it is not counted as missing.
constexpr std::string_view kCorrectedCosts = R"(
INSERT INTO sums (slot, org, key, model, provider, settled, voided, unpriced, cost, charge, input,
                  cached, output)
  SELECT a.admitted_ns / 900000000000, org, key, model, provider, 0, 0, -count(*), 0, 0, 0, 0, 0
  FROM corrections c JOIN attempts a ON a.request = c.request AND a.attempt = c.attempt
  WHERE number = 1 AND priced = 0 GROUP BY 1, 2, 3, 4, 5
  ON CONFLICT DO UPDATE SET unpriced = unpriced + excluded.unpriced;
INSERT INTO day_sums (day, org, key, model, provider, settled, voided, unpriced, cost, charge,
                      input, cached, output)
  SELECT a.admitted_ns / 86400000000000, org, key, model, provider, 0, 0, -count(*), 0, 0, 0, 0, 0
  FROM corrections c JOIN attempts a ON a.request = c.request AND a.attempt = c.attempt
  WHERE number = 1 AND priced = 0 GROUP BY 1, 2, 3, 4, 5
  ON CONFLICT DO UPDATE SET unpriced = unpriced + excluded.unpriced;
)";

// What callers' own provider keys paid of a cost. Of attempts that are in files alone the day of
// their end is known, which is about that of the admission.
constexpr std::string_view kOwnKeyCosts = R"(
ALTER TABLE sums ADD COLUMN own_key_cost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE day_sums ADD COLUMN own_key_cost INTEGER NOT NULL DEFAULT 0;
INSERT INTO sums
  SELECT slot, org, key, model, provider, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(paid) FROM (
    SELECT admitted_ns / 900000000000 AS slot, org, key, model, provider, cost AS paid
    FROM attempts WHERE own_key = 1 AND state = 3
    UNION ALL
    SELECT a.admitted_ns / 900000000000, org, key, model, provider, c.cost - c.cost_before
    FROM corrections c JOIN attempts a ON a.request = c.request AND a.attempt = c.attempt
    WHERE own_key = 1
    UNION ALL
    SELECT hour * 4, org, key, model, provider, cost FROM set_aside_meters WHERE own_key = 1)
  GROUP BY 1, 2, 3, 4, 5 HAVING sum(paid) <> 0
  ON CONFLICT DO UPDATE SET own_key_cost = excluded.own_key_cost;
INSERT INTO day_sums
  SELECT slot / 96, org, key, model, provider, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(own_key_cost)
  FROM sums WHERE own_key_cost <> 0 GROUP BY 1, 2, 3, 4, 5
  ON CONFLICT DO UPDATE SET own_key_cost = excluded.own_key_cost;
)";

constexpr std::array<storage::Migration, 15> kSteps = {{{"attempts", kAttempts},
                                                        {"bills", kBills},
                                                        {"provider_bills", kProviderBills},
                                                        {"units", kUnits},
                                                        {"upstream_ids", kUpstreamIds},
                                                        {"credits", kCredits},
                                                        {"askable_ids", kAskableIds},
                                                        {"long_cache", kLongCache},
                                                        {"unverifiable", kUnverifiable},
                                                        {"service_tiers", kServiceTiers},
                                                        {"requests", kRequests},
                                                        {"corrections", kCorrections},
                                                        {"set_aside", kSetAside},
                                                        {"corrected_costs", kCorrectedCosts},
                                                        {"own_key_costs", kOwnKeyCosts}}};

}  // namespace

std::span<const storage::Migration> RecorderTables() {
  return kSteps;
}

}  // namespace tradewind::billing
