// orgs: ls, set, add, remove.
#include <boost/json.hpp>
#include <fmt/format.h>

#include "cli/admin_link.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Text;

constexpr std::string_view kPath = "/tw/v1/orgs";

std::string NumberOrDash(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_int64() ? std::to_string(value->get_int64()) : "-";
}

bool IsOn(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

// "ada (admin), bob (member)"
std::string Members(const json::object& org) {
  std::string out;
  const json::value* members = org.if_contains("members");
  for (const json::value& member :
       members != nullptr && members->is_array() ? members->get_array() : json::array()) {
    if (const json::object* one = member.if_object()) {
      out +=
          fmt::format("{}{} ({})", out.empty() ? "" : ", ", Text(*one, "user"), Text(*one, "role"));
    }
  }
  return out;
}

void PrintTable(const json::object& answer, const Settings& settings) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "ID", "RPM", "TPM", "PARALLEL", "OUTPUT", "STRICT", "MEMBERS"}};
  const json::value* orgs = answer.if_contains("orgs");
  const json::array one = {answer};
  for (const json::value& entry : orgs != nullptr && orgs->is_array() ? orgs->get_array() : one) {
    if (const json::object* org = entry.if_object()) {
      rows.push_back({Text(*org, "name"), Text(*org, "id"), NumberOrDash(*org, "rpm"),
                      NumberOrDash(*org, "tpm"), NumberOrDash(*org, "concurrency"),
                      NumberOrDash(*org, "max_output"), IsOn(*org, "strict") ? "yes" : "no",
                      Members(*org)});
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
}

// What was not given stays; 0 takes a limit away.
Result<std::string> ChangeBody(const Settings& settings) {
  dialects::JsonWriter body;
  body.BeginObject();
  for (const auto& [flag, field] :
       {std::pair("rpm", "rpm"), std::pair("tpm", "tpm"), std::pair("parallel", "concurrency"),
        std::pair("max-output", "max_output")}) {
    TW_ASSIGN_OR_RETURN(const auto number, settings.Integer(flag, 0, INT64_MAX));
    if (number) {
      body.Key(field);
      *number == 0 ? body.Null() : body.Value(*number);
    }
  }
  if (settings.Find("strict").has_value()) {
    TW_ASSIGN_OR_RETURN(const bool strict, settings.Switch("strict"));
    body.Field("strict", strict);
  }
  body.EndObject();
  return body.Take();
}

struct Errand {
  std::string method, path{kPath}, body;
};

Result<Errand> ReadErrand(const Settings& settings) {
  const std::string action = settings.Words(0).front();
  const std::string org = settings.Words(1).empty() ? "" : settings.Words(1).front();
  const std::string user = settings.Text("user");
  if (org.empty() == (action != "ls")) {
    return Fail(ErrorCode::kInvalidArgument,
                org.empty()
                    ? fmt::format("say which organisation: `tradewind orgs {} NAME`", action)
                    : fmt::format("\"{}\" is not expected here. See `tradewind help orgs`",
                                  org.substr(0, 80)),
                "ORG");
  }
  const bool is_about_user = action == "add" || action == "remove";
  if (is_about_user && user.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("say who: `tradewind orgs {} {} --user NAME`", action, org), "user");
  }
  Errand errand;
  errand.method = action == "ls" ? "GET" : action == "remove" ? "DELETE" : "PUT";
  errand.path += org.empty() ? "" : "/" + org;
  errand.path += is_about_user ? "/members/" + user : "";
  if (action == "set") {
    TW_ASSIGN_OR_RETURN(errand.body, ChangeBody(settings));
  } else if (action == "add") {
    dialects::JsonWriter body;
    body.BeginObject().Field("role", settings.Text("role")).EndObject();
    errand.body = body.Take();
  }
  return errand;
}

}  // namespace

Result<ExitCode> RunOrgs(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const Errand errand, ReadErrand(settings));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings, AdminLink::Home::kMade));
  TW_ASSIGN_OR_RETURN(const std::string answer, link.Send(errand.method, errand.path, errand.body));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  PrintTable(object, settings);
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
