// An alert: something about money that its owners should know before the invoice tells them; and
// the tables in HOME/ledger.db that keep it until they do.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ledger/money.h"
#include "storage/database.h"

namespace tradewind::alerts {

enum class Kind : uint8_t {
  kBudget,    // a share of a budget is used
  kVelocity,  // spending so fast that the day's budget would not last
  kUnusual,   // more than is usual at this time of the week
  kNewSku,    // a provider, model, price or dearer tier that was never paid for before
  kForecast,  // the period will probably end above its budget
  kOverrun,   // a provider billed more than was held
  kBill,      // a provider's bill says otherwise than what was recorded here
  kBarred,    // hard budgets use a provider's model no more by a key: it was billed beyond its hold
  kUsage,     // a provider counts more tokens than a request's bounds or its answer's bytes allow
  kDisk,      // too little room is left on the journal's disk
  kRecount,   // a provider counts more tokens than the texts of its answers have
  kPowerCut,  // records of a hard budget's requests are gone, and may have cost something
  kLedger,    // the ledger has stopped, or its database cannot be written
};
std::string_view KindName(Kind kind);  // "budget", "velocity", "unusual", "new_sku", ...

// Ways on which alerts go out.
enum class Channel : uint8_t { kWebhook, kCommand };
inline constexpr int kChannels = 2;
std::string_view ChannelName(Channel channel);

enum class Delivery : uint8_t {
  kPending,
  kDelivered,
  kGaveUp,     // too many tries failed
  kNotWanted,  // nothing was configured when it was raised
};
std::string_view DeliveryName(Delivery delivery);  // "pending", "delivered", "gave_up", "none"

struct Sent {
  Delivery state = Delivery::kNotWanted;
  int64_t tries = 0;
  int64_t next_ns = 0;  // not before
};

struct Alert {
  int64_t id = 0;     // 1, 2, 3 ... in the order in which they were raised; 0: it is kept nowhere
  std::string dedup;  // what it is about, once and for all: a second one is not raised
  Kind kind = Kind::kBudget;
  std::string scope;   // "key:key_2f...", "org:...", "provider:SLUG", "model:ORG/NAME"
  std::string org_id;  // "" when it is of no organisation alone
  int64_t raised_ns = 0;
  ledger::NanoUsd amount = 0;
  std::string text;             // one sentence for people
  int64_t acknowledged_ns = 0;  // by the operator, for everybody; 0: not yet
  std::string acknowledged_by;
  int64_t org_acknowledged_ns = 0;  // by its organisation, for itself; 0: not yet
  std::string org_acknowledged_by;
  std::array<Sent, kChannels> sent = {};
  std::string trouble;  // why the last delivery failed
};

// Makes the tables that are missing. Errors of all: those of storage::Database.
Status PrepareTables(storage::Database& database);

// False: there is one with the same `dedup` already, and nothing changes.
Result<bool> Raise(storage::Database& database, const Alert& alert);

struct AlertFilter {
  bool open_only = false;                  // the operator, or `org_id`, has not acknowledged them
  std::optional<std::string> org_id = {};  // alerts of this one, as it sees them
  int64_t before_id = 0;                   // 0: from the newest on
  int64_t limit = 100;
};
// Newest first.
Result<std::vector<Alert>> ListAlerts(storage::Database& database, const AlertFilter& filter);
// Those raised after the one with this id, oldest first; at most a thousand.
Result<std::vector<Alert>> AlertsAfter(storage::Database& database, int64_t id);
Result<bool> HasAlertSince(storage::Database& database, Kind kind, std::string_view scope,
                           int64_t since_ns);
// Those of a kind, or of a kind and scope, that nobody has acknowledged, oldest first.
Result<std::vector<Alert>> OpenAlerts(storage::Database& database, Kind kind,
                                      std::string_view scope = {});
Result<bool> HasOpenAlert(storage::Database& database, Kind kind, std::string_view scope);
// kNotFound: there is none.
Result<Alert> FindAlert(storage::Database& database, int64_t id);
Result<std::optional<Alert>> NewestAlert(storage::Database& database, Kind kind,
                                         std::string_view scope);

// One that was acknowledged stays as it was. The operator's counts for everybody ...
Status Acknowledge(storage::Database& database, int64_t id, std::string_view by, int64_t now_ns);
// ... an organisation's for itself alone: what the operator is told and guards stays open.
Status AcknowledgeForOrg(storage::Database& database, int64_t id, std::string_view by,
                         int64_t now_ns);
// What the scope of a velocity alert had spent in those five minutes when the operator acknowledged
// it; 0: he has not.
Result<ledger::NanoUsd> SpentWhenAcknowledged(storage::Database& database, int64_t id);

// Those whose next try on this channel is due, oldest first.
Result<std::vector<Alert>> DueAlerts(storage::Database& database, Channel channel, int64_t now_ns,
                                     int64_t limit);
Status NoteDelivery(storage::Database& database, int64_t id, Channel channel, const Sent& sent,
                    std::string_view trouble);

// Scopes with a velocity alert since then that the operator has not acknowledged.
Result<std::vector<std::string>> ScopesTooFast(storage::Database& database, int64_t since_ns);

}  // namespace tradewind::alerts
