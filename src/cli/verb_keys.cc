// keys: create, ls, rotate, revoke.
#include <algorithm>

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

constexpr std::string_view kPath = "/tw/v1/keys";

// "a,b", or `otherwise` for null: no list means all.
std::string Texts(const json::object& object, std::string_view name, std::string_view otherwise) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_array()) {
    return std::string(otherwise);
  }
  std::string out;
  for (const json::value& entry : value->get_array()) {
    out += out.empty() ? "" : ",";
    out += entry.is_string() ? std::string_view(entry.get_string()) : std::string_view();
  }
  return out;
}

Result<std::string> CreateBody(const Settings& settings) {
  if (settings.Text("name").empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "a key needs a name; say `tradewind keys create --name NAME`", "name");
  }
  dialects::JsonWriter body;
  body.BeginObject();
  for (const char* name :
       {"name", "org", "project", "user", "role", "scopes", "models", "providers", "expires",
        "budget", "period", "zone", "week-start", "of", "on-exhausted"}) {
    if (const auto value = settings.Find(name); value && !value->is_built_in) {
      std::string field = name;
      std::ranges::replace(field, '-', '_');
      body.Field(field, value->text);
    }
  }
  for (const auto& [flag, field] :
       {std::pair("rpm", "rpm"), std::pair("tpm", "tpm"), std::pair("parallel", "concurrency"),
        std::pair("max-output", "max_output"), std::pair("cycle-day", "cycle_day")}) {
    TW_ASSIGN_OR_RETURN(const auto number, settings.Integer(flag, 1, INT64_MAX));
    if (number) {
      body.Field(field, *number);
    }
  }
  body.EndObject();
  return body.Take();
}

// The token alone on stdout, so that a script can take it.
void PrintToken(const json::object& key) {
  Print(Text(key, "token") + "\n");
  fmt::print(stderr, "{} {}: this is the only time that its token is shown\n", Text(key, "id"),
             Text(key, "name"));
}

void PrintTable(const json::object& answer, const Settings& settings) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "ORG", "USER", "SCOPES", "MODELS",
                                                 "PROVIDERS", "STATE", "EXPIRES", "LAST USED"}};
  const json::value* keys = answer.if_contains("keys");
  for (const json::value& entry :
       keys != nullptr && keys->is_array() ? keys->get_array() : json::array()) {
    const json::object* key = entry.if_object();
    if (key == nullptr) {
      continue;
    }
    const auto time = [&](std::string_view name) {
      const std::string text = Text(*key, name);
      return text.empty() ? "-" : text;
    };
    rows.push_back({Text(*key, "name"), Text(*key, "id"), Text(*key, "org"), Text(*key, "user"),
                    Texts(*key, "scopes", ""), Texts(*key, "models", "all"),
                    Texts(*key, "providers", "all"), Text(*key, "state"), time("expires"),
                    time("last_used")});
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
}

Result<std::string> RotateBody(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::chrono::milliseconds grace, settings.Duration("grace"));
  dialects::JsonWriter body;
  body.BeginObject().Field("grace_s", grace.count() / 1000).EndObject();
  return body.Take();
}

struct Errand {
  std::string method, path{kPath}, body;
};

Result<Errand> ReadErrand(const Settings& settings) {
  const std::string action = settings.Words(0).front();
  const std::string key = settings.Words(1).empty() ? "" : settings.Words(1).front();
  const bool needs_key = action == "rotate" || action == "revoke";
  if (key.empty() == needs_key) {
    return Fail(ErrorCode::kInvalidArgument,
                needs_key ? fmt::format("say which key: `tradewind keys {} NAME-or-id`", action)
                          : fmt::format("\"{}\" is not expected here. See `tradewind help keys`",
                                        key.substr(0, 80)),
                "KEY");
  }
  Errand errand;
  if (action == "create") {
    errand.method = "POST";
    TW_ASSIGN_OR_RETURN(errand.body, CreateBody(settings));
  } else if (action == "ls") {
    errand.method = "GET";
  } else if (action == "rotate") {
    errand.method = "POST";
    errand.path += fmt::format("/{}/rotate", key);
    TW_ASSIGN_OR_RETURN(errand.body, RotateBody(settings));
  } else {
    errand.method = "DELETE";
    errand.path += fmt::format("/{}", key);
  }
  return errand;
}

}  // namespace

Result<ExitCode> RunKeys(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const Errand errand, ReadErrand(settings));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings, AdminLink::Home::kMade));
  TW_ASSIGN_OR_RETURN(const std::string answer, link.Send(errand.method, errand.path, errand.body));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  if (object.contains("token")) {
    PrintToken(object);
  } else if (object.contains("keys")) {
    PrintTable(object, settings);
  } else {
    fmt::print(stderr, "{} {} is {}\n", Text(object, "id"), Text(object, "name"),
               Text(object, "state"));
  }
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
