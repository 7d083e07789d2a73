// Decides alerts from what is settled: off the path of requests, and in the transactions that
// record it, so that a kill repeats none and loses none. A refusal is in no record: where a kill
// comes before the next look, the next one is told of.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "alerts/alert.h"
#include "alerts/forecast.h"
#include "base/result.h"
#include "billing/barred.h"
#include "billing/recorder.h"
#include "ledger/ledger.h"
#include "storage/database.h"

namespace tradewind::alerts {

struct Policy {
  // Spent within ten minutes by a key or organisation that is not known for three days yet; 0: no
  // such bound.
  ledger::NanoUsd velocity = 5'000'000'000;
  bool throttle = false;  // paid requests of a key or organisation that is too fast are refused
  std::array<bool, kChannels> wants = {};  // on which channels alerts go out
};

// So long after the alert, unless the operator acknowledges it.
inline constexpr int64_t kThrottleNs = int64_t{3600} * 1'000'000'000;
// Whether its scope's paid requests are refused now, where speeders are throttled at all.
bool Throttles(const Alert& alert, int64_t now_ns);

struct Seen {
  std::vector<Alert> raised;                 // since the last look, oldest first
  std::vector<std::string> throttled;        // scopes that are too fast now
  std::vector<billing::BarredRoute> barred;  // what hard budgets do not use now
  uint64_t applied_seq = 0;                  // all records up to this one were seen
};

// What a budget's period will probably have cost at its end.
struct BudgetForecast {
  ledger::BudgetState budget;
  Forecast forecast;
};

// Of the books themselves, as they are now; nullopt: all is well with them. Kept or not: what is
// broken may be what keeps alerts.
std::optional<Alert> LedgerAlert(ledger::Ledger& ledger, int64_t now_ns);

// Opened and Ended are the recorder's; Look is for one other thread. Must outlive the recorder.
class Watch final : public billing::RecordWatcher {
 public:
  // Whose "key:ID" or "org:ID" a scope is: how it is called, and of which organisation; "" = that is
  // not known. Asked in the recorder's transactions; null: it is known of none.
  struct Owner {
    std::string name, org_id;
  };
  using OwnerOf = std::function<Owner(std::string_view scope)>;
  explicit Watch(const Policy& policy, OwnerOf owner_of = nullptr)
      : policy_(policy), owner_of_(std::move(owner_of)) {}

  Status Opened(storage::Database& database) override;
  Status Ended(storage::Database& database, std::span<const billing::AttemptRow> rows) override;
  Status Compared(storage::Database& database, const std::string& provider,
                  const billing::BillPeriod& period, std::span<const billing::Difference> found,
                  int64_t now_ns) override;

  // An answer of a provider, whose text is known: its tokens as the provider counts them, and as
  // the model's own tokenizer does. Any thread.
  void Counted(const std::string& provider, const std::string& model, int64_t told,
               int64_t counted);

  // Looks at budgets, speeds, seasons and forecasts as they are now, by the ledger's time, and
  // keeps what it raises. To be called about once a second. Errors: those of the recorder; what
  // was to be raised comes with the next call then.
  Result<Seen> Look(billing::Recorder& recorder, ledger::Ledger& ledger);

 private:
  using Route = std::pair<std::string, std::string>;  // provider, model

  Status Put(storage::Database& database, Alert alert);
  // Unless one of this kind and scope was raised within a day.
  Status PutDaily(storage::Database& database, Alert alert, int64_t now_ns);
  // Unless one of this kind and scope is open.
  Status PutOnce(storage::Database& database, Alert alert);
  Status LookAtBudgets(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns);
  Status TellOfCut(storage::Database& database, const std::string& budget,
                   const ledger::Notice& notice, int64_t now_ns);
  Status LookAtLedger(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns);
  Status LookAtDisk(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns);
  Status LookAtSpeeds(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns,
                      const std::set<std::string>& series);
  Status LookAtSeasons(storage::Database& database, int64_t now_ns);
  // Routes that were told of, to be forgotten when that is committed.
  Result<std::vector<Route>> LookAtCounts(storage::Database& database, int64_t now_ns);
  Status LookAtForecasts(storage::Database& database, ledger::Ledger& ledger, int64_t now_ns);
  Result<Seen> SeeAll(storage::Database& database, int64_t now_ns);

  struct Drift {
    double ratio = 0;  // of what is told to what is counted: a mean that forgets
    int64_t answers = 0;
  };

  const Policy policy_;
  const OwnerOf owner_of_;
  // Under the recorder's lock:
  int64_t now_ns_ = 0;             // of what was seen last: never goes back
  std::mutex mutex_;               // guards what follows; taken after the recorder's
  int64_t told_id_ = 0;            // of the last alert that a look has returned
  std::set<std::string> touched_;  // series that spent since the last look
  std::map<Route, Drift> drifts_;  // since the start
  // Of Look alone:
  std::vector<ledger::Notice> notices_;  // of the ledger, not kept yet
  int64_t hour_ = 0, day_ = 0;           // when forecasts were looked at, and old things forgotten
};

// Of all budgets that begin anew, and whose scope spent for long enough to say anything. Errors:
// those of storage::Database.
Result<std::vector<BudgetForecast>> ForecastBudgets(storage::Database& database,
                                                    ledger::Ledger& ledger, int64_t now_ns);

}  // namespace tradewind::alerts
