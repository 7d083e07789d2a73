// alerts: what people should know of money, and that they know it.
#include "cli/verb_alerts.h"

#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cli/admin_link.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "dialects/json_reader.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Array;
using reply::Dollars;
using reply::Number;
using reply::Text;

std::vector<std::string> AlertRow(const json::object& alert) {
  const std::string by = Text(alert, "acknowledged_by");
  const std::string org_by = Text(alert, "org_acknowledged_by");
  const std::string state = !by.empty()       ? "seen by " + by
                            : !org_by.empty() ? fmt::format("open (its org: seen by {})", org_by)
                                              : "open";
  return {std::to_string(Number(alert, "id")), Text(alert, "raised_at"), Text(alert, "kind"), state,
          Text(alert, "text")};
}

void PrintAnswer(const json::object& answer, const Settings& settings) {
  std::vector<std::vector<std::string>> rows;
  if (answer.contains("forecasts")) {
    rows.push_back({"SCOPE", "PERIOD", "BUDGET", "SPENT", "EXPECTED", "FROM", "TO"});
    for (const json::value& entry : Array(answer, "forecasts")) {
      if (const json::object* one = entry.if_object()) {
        rows.push_back({Text(*one, "scope"), Text(*one, "period"), Dollars(*one, "budget_nanousd"),
                        Dollars(*one, "spent_nanousd"), Dollars(*one, "expected_nanousd"),
                        Dollars(*one, "low_nanousd"), Dollars(*one, "high_nanousd")});
      }
    }
  } else {
    rows.push_back({"ID", "RAISED", "KIND", "STATE", "WHAT"});
    const json::array one = {answer};
    for (const json::value& entry : answer.contains("alerts") ? Array(answer, "alerts") : one) {
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
                                : fmt::format("`alerts {}` takes no id", action),
                "ID");
  }
  if (action == "ls") {
    query = all ? "" : "open=true";
  } else if (action == "ack") {
    method = "POST";
    path += "/" + id + "/acknowledge";
  } else {
    path = "/tw/v1/forecasts";
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
