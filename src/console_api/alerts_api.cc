#include "console_api/alerts_api.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "alerts/alert.h"
#include "alerts/message.h"
#include "alerts/series.h"
#include "alerts/watch.h"
#include "console_api/bodies.h"
#include "console_api/sight.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::console_api {
namespace {

using alerts::Alert;
using dialects::JsonWriter;

constexpr std::string_view kAlerts = "/tw/v1/alerts";
constexpr std::string_view kForecasts = "/tw/v1/forecasts";
constexpr int64_t kPageDefault = 100, kPageMax = 1000;

// Of a field that is not there: `otherwise`.
Result<int64_t> NumberOf(std::string_view text, std::string_view name, int64_t otherwise) {
  if (text.empty()) {
    return otherwise;
  }
  int64_t number = 0;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data(), end, number).ptr != end || number < 1) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}` is a number from 1 on.", name),
                std::string(name));
  }
  return number;
}

// Statistics become money only where people look at them.
std::string NanoUsdOf(double usd) {
  return std::to_string(std::llround(usd * 1e9));
}

// As who asks sees it: to an organisation its own acknowledgement is one.
std::string JsonFor(const identity::Principal& caller, Alert alert) {
  if (!caller.is_admin_token && alert.org_acknowledged_ns != 0) {
    alert.acknowledged_ns = alert.org_acknowledged_ns;
    alert.acknowledged_by = alert.org_acknowledged_by;
  }
  return alerts::JsonOf(alert, alerts::Detail::kDeliveries);
}

}  // namespace

alerts::Watch::OwnerOf OwnersIn(identity::Store& store) {
  return [&store](std::string_view scope) {
    identity::Store::Label label = OwnerOfScope(store, scope);
    return alerts::Watch::Owner{std::move(label.name), std::move(label.org_id)};
  };
}

bool AlertsApi::Has(std::string_view path) {
  return path == kAlerts || path.starts_with(std::string(kAlerts) + "/") || path == kForecasts;
}

Result<http::Response> AlertsApi::Answer(const http::Request& request,
                                         const identity::Principal& caller) {
  if (!caller.is_admin_token && !caller.scopes.Has(identity::Scope::kManage)) {
    return Fail(ErrorCode::kPermissionDenied, "Alerts need a token with the scope `manage`.");
  }
  constexpr std::string_view kAcknowledge = "/acknowledge";
  std::string_view path = request.path;
  if (path == kAlerts || path == kForecasts) {
    if (request.method != "GET") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET.");
    }
    return path == kAlerts ? AnswerList(request, caller) : AnswerForecasts(caller);
  }
  path.remove_prefix(kAlerts.size() + 1);
  if (!path.ends_with(kAcknowledge)) {
    return Fail(ErrorCode::kNotFound, "There is no such path; alerts have /acknowledge.");
  }
  if (request.method != "POST") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes POST.");
  }
  path.remove_suffix(kAcknowledge.size());
  return AnswerAcknowledge(path, caller);
}

Result<http::Response> AlertsApi::AnswerList(const http::Request& request,
                                             const identity::Principal& caller) {
  constexpr std::array<std::string_view, 3> kFields = {"open", "before", "limit"};
  const http::Query query = http::ParseQuery(request.query);
  TW_RETURN_IF_ERROR(CheckFields(query, kFields));
  alerts::AlertFilter filter;
  filter.open_only = http::First(query, "open") == "true";
  if (!caller.is_admin_token) {
    filter.org_id = caller.org_id;
  }
  TW_ASSIGN_OR_RETURN(filter.before_id, NumberOf(http::First(query, "before"), "before", 0));
  TW_ASSIGN_OR_RETURN(filter.limit, NumberOf(http::First(query, "limit"), "limit", kPageDefault));
  filter.limit = std::min(filter.limit, kPageMax);
  TW_RETURN_IF_ERROR(recorder_.CatchUp());
  std::vector<Alert> found;
  TW_RETURN_IF_ERROR(recorder_.Change([&](storage::Database& database) -> Status {
    TW_ASSIGN_OR_RETURN(found, alerts::ListAlerts(database, filter));
    return {};
  }));
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.alerts/v1").Key("alerts").BeginArray();
  for (const Alert& alert : found) {
    json.Raw(JsonFor(caller, alert));
  }
  return JsonResponse(json.EndArray().EndObject().Take());
}

Result<http::Response> AlertsApi::AnswerAcknowledge(std::string_view text,
                                                    const identity::Principal& caller) {
  TW_ASSIGN_OR_RETURN(const int64_t id, NumberOf(text.substr(0, 32), "id", 0));
  TW_RETURN_IF_ERROR(recorder_.CatchUp());  // what was spent before it is not spent after it
  Alert alert;
  const Status done = recorder_.Change([&](storage::Database& database) -> Status {
    TW_ASSIGN_OR_RETURN(alert, alerts::FindAlert(database, id));
    if (!caller.is_admin_token && alert.org_id != caller.org_id) {
      return Fail(ErrorCode::kNotFound, fmt::format("There is no alert {}.", id), "id");
    }
    if (!caller.is_admin_token && throttles_ && alerts::Throttles(alert, ledger_.TimeNs())) {
      return Fail(
          ErrorCode::kPermissionDenied,
          fmt::format("Alert {0} has the paid requests of {1} refused until {2}. Only this "
                      "server's operator can end that sooner: ask for `tradewind alerts "
                      "ack {0}`, or acknowledge it later.",
                      id, alert.scope, alerts::TimeText(alert.raised_ns + alerts::kThrottleNs)),
          "id");
    }
    TW_RETURN_IF_ERROR(
        caller.is_admin_token
            ? alerts::Acknowledge(database, id, "admin", ledger_.TimeNs())
            : alerts::AcknowledgeForOrg(database, id, caller.key_name, ledger_.TimeNs()));
    TW_ASSIGN_OR_RETURN(alert, alerts::FindAlert(database, id));
    return {};
  });
  TW_RETURN_IF_ERROR(done);
  return JsonResponse(JsonFor(caller, std::move(alert)));
}

Result<http::Response> AlertsApi::AnswerForecasts(const identity::Principal& caller) {
  TW_RETURN_IF_ERROR(recorder_.CatchUp());
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.forecasts/v1").Key("forecasts").BeginArray();
  const Status done = recorder_.Change([&](storage::Database& database) -> Status {
    TW_ASSIGN_OR_RETURN(const std::vector<alerts::BudgetForecast> all,
                        alerts::ForecastBudgets(database, ledger_, ledger_.TimeNs()));
    for (const auto& [budget, forecast] : all) {
      const std::string org = OwnerOfScope(store_, budget.spec.name).org_id;
      if (!caller.is_admin_token && org != caller.org_id) {
        continue;
      }
      json.BeginObject().Field("scope", budget.spec.name);
      json.Field("period", ledger::PeriodName(budget.spec.period));
      json.Field("budget_nanousd", std::to_string(budget.spec.limit));
      json.Field("spent_nanousd", std::to_string(budget.account.debits));
      json.Field("expected_nanousd", NanoUsdOf(forecast.expected_usd));
      json.Field("low_nanousd", NanoUsdOf(forecast.low_usd));
      json.Field("high_nanousd", NanoUsdOf(forecast.high_usd));
      json.Field("chance_over", forecast.ChanceOver(static_cast<double>(budget.spec.limit) / 1e9));
      json.EndObject();
    }
    return {};
  });
  TW_RETURN_IF_ERROR(done);
  return JsonResponse(json.EndArray().EndObject().Take());
}

}  // namespace tradewind::console_api
