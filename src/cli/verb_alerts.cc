// alerts: what people should know of money, and that they know it.
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "billing/usd.h"
#include "cli/admin_link.h"
#include "cli/terminal.h"
#include "cli/verb_alerts.h"
#include "dialects/json_reader.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;

std::string Text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

int64_t Number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? 0 : dialects::AsInteger(*value).value_or(0);
}

std::string Dollars(const json::object& object, std::string_view name) {
  const std::string digits = Text(object, name);
  int64_t amount = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), amount);
  return billing::FormatUsd(amount);
}

std::vector<std::string> AlertRow(const json::object& alert) {
  const std::string by = Text(alert, "acknowledged_by");
  return {std::to_string(Number(alert, "id")), Text(alert, "raised_at"), Text(alert, "kind"),
          by.empty() ? "open" : WithoutControls("seen by " + by),
          WithoutControls(Text(alert, "text"))};
}

void PrintAnswer(const json::object& answer, const Settings& settings) {
  std::vector<std::vector<std::string>> rows;
  if (const json::value* forecasts = answer.if_contains("forecasts"); forecasts != nullptr) {
    rows.push_back({"SCOPE", "PERIOD", "BUDGET", "SPENT", "EXPECTED", "FROM", "TO"});
    for (const json::value& entry : forecasts->as_array()) {
      const json::object& one = entry.as_object();
      rows.push_back({WithoutControls(Text(one, "scope")), Text(one, "period"),
                      Dollars(one, "budget_nanousd"), Dollars(one, "spent_nanousd"),
                      Dollars(one, "expected_nanousd"), Dollars(one, "low_nanousd"),
                      Dollars(one, "high_nanousd")});
    }
  } else {
    rows.push_back({"ID", "RAISED", "KIND", "STATE", "WHAT"});
    const json::value* alerts = answer.if_contains("alerts");
    const json::array one = {answer};
    for (const json::value& entry :
         alerts != nullptr && alerts->is_array() ? alerts->get_array() : one) {
      if (const json::object* alert = entry.if_object()) {
        rows.push_back(AlertRow(*alert));
      }
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
}

}  // namespace

Result<ExitCode> RunAlerts(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool all, settings.Switch("all"));
  const std::string action = settings.Words(0).empty() ? "ls" : settings.Words(0).front();
  const std::string id = settings.Words(1).empty() ? "" : settings.Words(1).front();
  std::string method = "GET", path = "/tw/v1/alerts", query;
  if ((action == "ack") == id.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                action == "ack" ? "say which: `tradewind alerts ack ID`"
                                : fmt::format("`alerts {}` takes no id", action.substr(0, 80)),
                "ID");
  }
  if (action == "ls") {
    query = all ? "" : "open=true";
  } else if (action == "ack") {
    method = "POST";
    path += "/" + id + "/acknowledge";
  } else if (action == "forecast") {
    path = "/tw/v1/forecasts";
  } else {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("alerts does not know \"{}\"; use ls, ack or forecast", action.substr(0, 80)),
        "ACTION");
  }
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  TW_ASSIGN_OR_RETURN(const std::string answer, link.Send(method, path, {}, query));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  PrintAnswer(object, settings);
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
