// /tw/v1/usage, /tw/v1/requests, /tw/v1/budgets, /tw/v1/credits, /v1/receipts and /v1/billing:
// docs/formats/money.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "billing/adjust.h"
#include "billing/recorder.h"
#include "console_api/catalog_names.h"
#include "dialects/json_reader.h"
#include "http/http.h"
#include "http/query.h"
#include "identity/principal.h"
#include "identity/store.h"
#include "ledger/ledger.h"

namespace tradewind::console_api {

// A budget as a request's fields say it.
struct BudgetFields {
  std::optional<std::string> budget;  // in USD
  std::string period, zone, week_start, mode, of;
  std::optional<int64_t> cycle_day;

  void Read(dialects::Fields& fields);  // all but `mode`: a key's is hard
};

// `spec` with what the fields name. Errors: kInvalidArgument naming the field.
Result<ledger::BudgetSpec> BudgetFromFields(const BudgetFields& fields, ledger::BudgetSpec spec);

// "RECEIPT", or "RECEIPT-ATTEMPT": without one, attempt 0. Errors: kInvalidArgument (param receipt).
Result<ledger::HoldId> ReadReceipt(std::string_view text);

// "50,80,100", or "none": the shares of a budget at which its owners are told. Errors:
// kInvalidArgument (param warn).
Result<std::array<uint8_t, 4>> ParseWarnShares(std::string_view text);

// Thread-safe; calls wait for the disk. What it refers to must outlive it.
class MoneyApi {
 public:
  MoneyApi(ledger::Ledger& ledger, billing::Recorder& recorder, identity::Store& store,
           ledger::NanoUsd adjust_daily = billing::kAdjustDailyDefault)
      : ledger_(ledger),
        recorder_(recorder),
        store_(store),
        adjuster_(ledger, recorder, adjust_daily) {}

  // What a new budget or credit may be of: models and providers of this catalogue; without one, all
  // names. Call before requests come.
  void NamesFrom(CatalogNow catalog) { catalog_ = std::move(catalog); }
  const CatalogNow& names() const { return catalog_; }

  // Whether this is the API of a path.
  static bool Has(std::string_view path);

  // The admin token sees and changes everything; a key with the scope manage its organisation;
  // every other one sees what it spent itself, and changes nothing. Errors: kNotFound,
  // kMethodNotAllowed, kPermissionDenied, kInvalidArgument.
  Result<http::Response> Answer(const http::Request& request, const identity::Principal& caller);

  // All that a provider's usage interface says of [from_s, to_s), whole days: compared and told as
  // an imported bill is. Of months that are closed nothing is taken.
  Status TakeUsage(const std::string& provider, int64_t from_s, int64_t to_s,
                   std::vector<billing::BillLine> lines);

  // What a new key may spend. Errors: those of ledger::Ledger::Define.
  Status DefineKeyBudget(std::string_view key_id, ledger::BudgetSpec budget);

 private:
  Result<http::Response> AnswerUsage(const http::Request& request,
                                     const identity::Principal& caller);
  Result<http::Response> AnswerBudgets(const http::Request& request, std::string_view rest,
                                       const identity::Principal& caller);
  Result<http::Response> AnswerReceipt(std::string_view id, const identity::Principal& caller);
  // requests_api.cc
  Result<http::Response> AnswerRequests(const http::Request& request,
                                        const identity::Principal& caller);
  Result<billing::AttemptFilter> ReadRequestFilter(const http::Query& query,
                                                   const identity::Principal& caller);
  // credits_api.cc
  Result<http::Response> AnswerCredits(const http::Request& request, std::string_view rest,
                                       const identity::Principal& caller);
  Result<http::Response> ListCredits(const http::Request& request,
                                     const identity::Principal& caller);
  struct CreditPage {
    ledger::AccountNumber after = 0;
    size_t limit = 0;
  };
  Result<CreditPage> ReadPage(const http::Request& request, const std::string& owner);
  Result<http::Response> GrantCredit(const http::Request& request);
  Result<http::Response> PutTerms(const http::Request& request, const std::string& org);
  // corrections_api.cc
  Result<http::Response> AnswerCorrections(const http::Request& request, std::string_view rest,
                                           const identity::Principal& caller);
  Result<http::Response> Rerate(std::string_view body);
  // billing_protocol_api.cc
  Result<http::Response> AnswerBilling(const http::Request& request,
                                       const identity::Principal& caller);

  // reconcile_api.cc
  Result<http::Response> AnswerReconcile(const http::Request& request, std::string_view rest,
                                         const identity::Principal& caller);
  Result<http::Response> AnswerPeriod(const std::string& provider,
                                      const billing::BillPeriod& period);
  using DifferencesOf = std::map<std::string, std::vector<billing::Difference>>;  // by provider
  using BillsOf = std::map<std::string, billing::ImportedBill>;                   // by provider
  // `set_aside`: of those that cannot be compared any more.
  Result<http::Response> AnswerWith(const billing::BillPeriod& period, const DifferencesOf& found,
                                    const BillsOf& set_aside = {});
  Result<http::Response> ImportBill(const http::Request& request);
  Result<std::string> BilledProvider(const std::string& name);
  // The months of a bill's lines. Errors: kInvalidArgument: one is closed; a line is of two.
  Result<std::vector<billing::BillPeriod>> OpenPeriods(const std::string& provider,
                                                       std::span<const billing::BillLine> lines);
  // Puts the lines of these months into the tables, and what follows into the books and alerts.
  // Returns what differs in the last month.
  Result<DifferencesOf> TakeLines(const std::string& provider,
                                  std::span<const billing::BillPeriod> periods,
                                  const std::function<Status()>& put);
  Result<http::Response> Resolve(const http::Request& request, const identity::Principal& caller);
  // close_api.cc
  Result<http::Response> ClosePeriod(const http::Request& request);
  Result<http::Response> ReopenPeriod(const http::Request& request);
  // What an import or a close moves to the account of what nothing explains yet.
  Status PostSuspense(const std::string& provider, const billing::BillPeriod& period,
                      const std::vector<billing::Difference>& differences);

  int64_t NowS() const;  // by the ledger's time, as the requests of a month are dated

  std::mutex defining_;     // a budget or credit is looked up and made by one at a time
  std::mutex reconciling_;  // one month is imported or closed at a time
  ledger::Ledger& ledger_;
  billing::Recorder& recorder_;
  identity::Store& store_;
  billing::Adjuster adjuster_;
  CatalogNow catalog_;  // may be null
};

}  // namespace tradewind::console_api
