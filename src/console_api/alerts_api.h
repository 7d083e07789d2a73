// /tw/v1/alerts and /tw/v1/forecasts: docs/operating/alerts.md.
#pragma once

#include <string_view>

#include "alerts/watch.h"
#include "base/result.h"
#include "billing/recorder.h"
#include "http/http.h"
#include "identity/principal.h"
#include "identity/store.h"
#include "ledger/ledger.h"

namespace tradewind::console_api {

// For alerts::Watch, which knows no identities. `store` must outlive what it is given to.
alerts::Watch::OwnerOf OwnersIn(identity::Store& store);

// Thread-safe; calls wait for the disk. What it refers to must outlive it.
class AlertsApi {
 public:
  // `throttles`: as alerts::Policy.
  AlertsApi(ledger::Ledger& ledger, billing::Recorder& recorder, identity::Store& store,
            bool throttles = false)
      : ledger_(ledger), recorder_(recorder), store_(store), throttles_(throttles) {}

  // Whether this is the API of a path.
  static bool Has(std::string_view path);

  // The admin token sees and acknowledges everything; a key with the scope manage sees what is of
  // its organisation, and acknowledges it for that alone. Errors: kNotFound, kMethodNotAllowed,
  // kPermissionDenied, kInvalidArgument.
  Result<http::Response> Answer(const http::Request& request, const identity::Principal& caller);

 private:
  Result<http::Response> AnswerList(const http::Request& request,
                                    const identity::Principal& caller);
  Result<http::Response> AnswerAcknowledge(std::string_view id, const identity::Principal& caller);
  Result<http::Response> AnswerForecasts(const identity::Principal& caller);

  ledger::Ledger& ledger_;
  billing::Recorder& recorder_;
  identity::Store& store_;
  const bool throttles_;
};

}  // namespace tradewind::console_api
