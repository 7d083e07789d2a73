// usage, budget, credit, receipt, reconcile resolve: what was spent, and what may be.
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cli/admin_link.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Array;
using reply::Dollars;
using reply::Flag;
using reply::Number;
using reply::Object;
using reply::Text;

struct Errand {
  std::string method = "GET", path, body, query;
};

// The answer printed as JSON, or handed to `print`.
Result<ExitCode> Run(const Settings& settings, const Errand& errand,
                     void (*print)(const json::object&, const Settings&)) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  TW_ASSIGN_OR_RETURN(const std::string answer,
                      link.Send(errand.method, errand.path, errand.body, errand.query));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  print(object, settings);
  return ExitCode::kDone;
}

// "month from 15"
std::string PeriodOf(const json::object& budget) {
  std::string period = Text(budget, "period");
  if (const std::string day = Text(budget, "week_start"); !day.empty() && day != "monday") {
    period += " from " + day;
  }
  if (const int64_t day = Number(budget, "cycle_day"); day > 1) {
    period += fmt::format(" from {}", day);
  }
  return period;
}

std::vector<std::string> BudgetHead() {
  return {"SCOPE", "NAME", "BUDGET", "SPENT", "HELD",  "IN DOUBT",
          "LEFT",  "MODE", "PERIOD", "OF",    "RESETS"};
}

std::vector<std::string> BudgetRow(const json::object& budget) {
  std::string resets = Text(budget, "resets_at");
  if (resets.empty()) {
    resets = Text(budget, "period").starts_with("rolling:") ? "nothing used" : "never";
  }
  const std::string name = Text(budget, "name");
  return {Text(budget, "scope"),
          name.empty() ? "-" : name,
          Dollars(budget, "budget_nanousd"),
          Dollars(budget, "spent_nanousd"),
          Dollars(budget, "held_nanousd"),
          Dollars(budget, "in_doubt_nanousd"),
          Dollars(budget, "available_nanousd"),
          Text(budget, "mode"),
          PeriodOf(budget),
          Text(budget, "of"),
          resets};
}

void PrintBudgets(const json::object& answer, const Settings& settings) {
  if (Flag(answer, "closed")) {
    const std::string name = Text(answer, "name");
    return Print(fmt::format("removed: {}{}\n", Text(answer, "scope"),
                             name.empty() ? "" : fmt::format(" ({})", name)));
  }
  std::vector<std::vector<std::string>> rows = {BudgetHead()};
  std::vector<json::object> budgets;
  if (answer.contains("scope")) {
    budgets.push_back(answer);
  }
  for (const json::value& entry : Array(answer, "budgets")) {
    if (entry.is_object()) {
      budgets.push_back(entry.get_object());
    }
  }
  for (const json::object& budget : budgets) {
    rows.push_back(BudgetRow(budget));
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  for (const json::object& budget : budgets) {
    const std::string unaccounted = Text(budget, "unaccounted_nanousd");
    if (!unaccounted.empty() && unaccounted != "0") {
      Print(fmt::format(
          "{}: {} more may have been spent by requests whose records a power cut "
          "took, and count as used; if the provider's bill says that they were not: "
          "tradewind budget release {}\n",
          Text(budget, "scope"), Dollars(budget, "unaccounted_nanousd"), Text(budget, "scope")));
    }
    if (budget.contains("spent_before_nanousd") && Text(budget, "spent_before_nanousd") != "0") {
      const std::string spent = Text(budget, "spent_before_nanousd");
      Print(fmt::format(
          "{} counts from now on: {} in this period before is not in it.\n", Text(budget, "scope"),
          spent.empty() ? "what was spent"
                        : "the " + Dollars(budget, "spent_before_nanousd") + " that was spent"));
    }
  }
}

void PrintUsage(const json::object& usage, const Settings& settings) {
  const json::object& requests = Object(usage, "requests");
  const std::string from = Text(usage, "from"), to = Text(usage, "to");
  if (!from.empty() || !to.empty()) {
    Print(fmt::format("admitted {}{}\n", from.empty() ? "" : " from " + from,
                      to.empty() ? "" : " before " + to));
  }
  Print(fmt::format("spent     {} in {} requests\n", Dollars(usage, "cost_nanousd"),
                    Number(requests, "settled")));
  if (const std::string own = Text(usage, "own_key_cost_nanousd"); !own.empty() && own != "0") {
    Print(fmt::format("own keys  {} of it, paid by callers' own provider keys\n",
                      Dollars(usage, "own_key_cost_nanousd")));
  }
  Print(fmt::format("held      {} by {} that run\n", Dollars(usage, "held_nanousd"),
                    Number(requests, "running")));
  Print(fmt::format("in doubt  {} by {} whose end is not known\n",
                    Dollars(usage, "in_doubt_nanousd"), Number(requests, "in_doubt")));
  if (const int64_t unpriced = Number(requests, "unpriced"); unpriced > 0) {
    Print(fmt::format("unpriced  {} requests, whose cost is not known and not in the sum\n",
                      unpriced));
  }
  Print(fmt::format("tokens    {} in ({} cached), {} out\n", Number(usage, "input_tokens"),
                    Number(usage, "cached_tokens"), Number(usage, "output_tokens")));
  if (const int64_t hidden = Number(usage, "unverifiable_tokens"); hidden > 0) {
    Print(fmt::format("thoughts  {} of them, as the provider counts: nobody else can\n", hidden));
  }
  if (const json::object& budget = Object(usage, "budget"); !budget.empty()) {
    Print(FormatTable({BudgetHead(), BudgetRow(budget)}, UseColor(stdout, settings.environment())));
  }
}

std::vector<std::string> CreditRow(const json::object& credit) {
  const std::string expires = Text(credit, "expires_at");
  return {WithoutControls(Text(credit, "id")),  WithoutControls(Text(credit, "org")),
          Dollars(credit, "amount_nanousd"),    Dollars(credit, "spent_nanousd"),
          Dollars(credit, "held_nanousd"),      Dollars(credit, "left_nanousd"),
          Dollars(credit, "expired_nanousd"),   expires.empty() ? "never" : expires,
          WithoutControls(Text(credit, "note"))};
}

// A list, one credit, or the terms of one organisation.
void PrintCredits(const json::object& answer, const Settings& settings) {
  if (answer.contains("terms")) {
    Print(fmt::format("{} is {}\n", Text(answer, "org"), Text(answer, "terms")));
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"CREDIT", "ORG", "AMOUNT", "SPENT", "HELD", "LEFT", "EXPIRED", "EXPIRES", "NOTE"}};
  if (answer.contains("id")) {
    rows.push_back(CreditRow(answer));
  }
  for (const json::value& entry : Array(answer, "credits")) {
    if (entry.is_object()) {
      rows.push_back(CreditRow(entry.get_object()));
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  if (const std::string next = Text(answer, "next"); !next.empty()) {
    Print(fmt::format("there are more: add --after {}\n", WithoutControls(next)));
  }
  for (const json::value& entry : Array(answer, "organisations")) {
    if (entry.is_object()) {
      const json::object& org = entry.get_object();
      Print(fmt::format("{} is {} and has {} left\n", WithoutControls(Text(org, "name")),
                        Text(org, "terms"), Dollars(org, "left_nanousd")));
    }
  }
}

void PrintReceipt(const json::object& receipt, const Settings& settings) {
  std::vector<std::vector<std::string>> rows = {
      {"ATTEMPT", "PROVIDER", "MODEL", "STATE", "IN", "OUT", "HELD", "COST", "FINISH"}};
  std::string corrections;
  for (const json::value& entry : Array(receipt, "attempts")) {
    if (!entry.is_object()) {
      continue;
    }
    const json::object& attempt = entry.get_object();
    const std::string finish = Text(attempt, "finish"), reason = Text(attempt, "reason");
    rows.push_back({std::to_string(Number(attempt, "attempt")), Text(attempt, "provider"),
                    Text(attempt, "model"), Text(attempt, "state"),
                    std::to_string(Number(attempt, "input_tokens")),
                    std::to_string(Number(attempt, "output_tokens")),
                    Dollars(attempt, "held_nanousd"), Dollars(attempt, "cost_nanousd"),
                    finish + (finish.empty() || reason.empty() ? "" : "; ") + reason});
    for (const json::value& made : Array(attempt, "corrections")) {
      if (made.is_object()) {
        const json::object& one = made.get_object();
        corrections += fmt::format("corrected {} by {}: attempt {} from {} to {}, charged {}; {}\n",
                                   Text(one, "made"), WithoutControls(Text(one, "by")),
                                   Number(attempt, "attempt"), Dollars(one, "cost_before_nanousd"),
                                   Dollars(one, "cost_nanousd"), Dollars(one, "charge_nanousd"),
                                   WithoutControls(Text(one, "reason")));
      }
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  Print(corrections);
  std::string more;
  for (const auto& [name, why] : {std::pair("held_nanousd", "is held by what runs"),
                                  std::pair("in_doubt_nanousd", "is in doubt")}) {
    if (const std::string amount = Text(receipt, name); !amount.empty() && amount != "0") {
      more += fmt::format("; up to {} more {}", Dollars(receipt, name), why);
    }
  }
  const std::string cost = Dollars(receipt, "cost_nanousd");
  Print(more.empty() ? fmt::format("{} together\n", cost)
                     : fmt::format("at least {}{}\n", cost, more));
}

}  // namespace

Result<ExitCode> RunUsage(const Settings& settings) {
  Errand errand;
  errand.path = "/tw/v1/usage";
  for (const auto& [flag, name] :
       {std::pair("org", "org"), std::pair("key", "key"), std::pair("for-model", "model"),
        std::pair("provider", "provider"), std::pair("from", "from"), std::pair("to", "to")}) {
    const auto value = settings.Find(flag);
    // The variable of the organisation is that of new keys.
    const bool is_meant = value.has_value() && (flag != std::string_view("org") ||
                                                value->origin == std::string_view("--org"));
    if (is_meant && !value->text.empty()) {
      errand.query += fmt::format("{}{}={}", errand.query.empty() ? "" : "&", name,
                                  http::EncodeQuery(value->text));
    }
  }
  return Run(settings, errand, PrintUsage);
}

Result<ExitCode> RunBudget(const Settings& settings) {
  const std::string action = settings.Words(0).front();
  const std::string scope = settings.Words(1).empty() ? "" : settings.Words(1).front();
  if ((action == "ls") != scope.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        action == "ls"
            ? "`budget ls` takes no scope"
            : "say whose budget: key:KEY, user:USER, project:PROJECT (or project:ORG/PROJECT), "
              "org:ORG, all, provider:SLUG, model:ORG/NAME or probes",
        "SCOPE");
  }
  Errand errand;
  errand.path = "/tw/v1/budgets" + (scope.empty() ? "" : "/" + scope);
  if (action == "rm") {
    errand.method = "DELETE";
  } else if (action == "set") {
    dialects::JsonWriter body;
    body.BeginObject();
    bool is_named = false;
    for (const auto& [flag, name] :
         {std::pair("usd", "budget"), std::pair("period", "period"), std::pair("zone", "zone"),
          std::pair("week-start", "week_start"), std::pair("of", "of"), std::pair("mode", "mode"),
          std::pair("warn", "warn")}) {
      if (const auto value = settings.Find(flag); value && !value->is_built_in) {
        body.Field(name, value->text);
        is_named = true;
      }
    }
    TW_ASSIGN_OR_RETURN(const auto cycle_day, settings.Integer("cycle-day", 1, 31));
    if (cycle_day.has_value()) {
      body.Field("cycle_day", *cycle_day);
      is_named = true;
    }
    if (!is_named) {
      return Fail(ErrorCode::kInvalidArgument, "say what is set, like --usd 5 or --mode soft",
                  "usd");
    }
    body.EndObject();
    errand.method = "PUT";
    errand.body = body.Take();
  } else if (action == "release") {
    errand.method = "POST";
    errand.body = R"({"release":"unaccounted"})";
  }
  return Run(settings, errand, PrintBudgets);
}

Result<ExitCode> RunCredit(const Settings& settings) {
  const std::string action = settings.Words(0).front();
  const auto word = [&](size_t at) {
    return settings.Words(at).empty() ? std::string() : settings.Words(at).front();
  };
  const std::string org = word(1);
  std::string usd = word(2);
  if (action != "ls" && org.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "say whose credit it is, like `credit grant acme 5`",
                "ORG");
  }
  if ((action == "grant") != !usd.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                action == "grant" ? "say how much is granted, like `credit grant acme 5`"
                                  : fmt::format("`credit {}` takes no amount", action),
                "USD");
  }
  Errand errand;
  errand.path = "/tw/v1/credits";
  dialects::JsonWriter body;
  body.BeginObject();
  if (action == "ls") {
    errand.query = org.empty() ? "" : "org=" + http::EncodeQuery(org);
    for (const char* name : {"limit", "after"}) {
      if (const std::string text = settings.Text(name); !text.empty()) {
        errand.query +=
            fmt::format("{}{}={}", errand.query.empty() ? "" : "&", name, http::EncodeQuery(text));
      }
    }
    return Run(settings, errand, PrintCredits);
  }
  if (action == "grant") {
    body.Field("org", org).Field("usd", usd);
    for (const char* name : {"note", "id"}) {
      if (const std::string text = settings.Text(name); !text.empty()) {
        body.Field(name, text);
      }
    }
    // Not from the variable, which is that of keys.
    if (const auto expires = settings.Find("expires");
        expires.has_value() && expires->origin == "--expires") {
      body.Field("expires", expires->text);
    }
    TW_ASSIGN_OR_RETURN(const bool promotional, settings.Switch("promotional"));
    body.Field("promotional", promotional);
    // Not from the variables, which are those of keys.
    for (const char* name : {"models", "providers"}) {
      if (const auto value = settings.Find(name);
          value.has_value() && value->origin == std::string("--") + name) {
        body.Field(name, value->text);
      }
    }
    TW_ASSIGN_OR_RETURN(const auto priority, settings.Integer("priority", 0, 100));
    if (priority.has_value()) {
      body.Field("priority", *priority);
    }
    errand.method = "POST";
  } else {
    body.Field("terms", action);
    errand.method = "PUT";
    errand.path += "/" + org;
  }
  body.EndObject();
  errand.body = body.Take();
  return Run(settings, errand, PrintCredits);
}

Result<ExitCode> RunReceipt(const Settings& settings) {
  Errand errand;
  const std::string word = settings.Words(0).front();
  const std::vector<std::string> more = settings.Words(1);
  if ((word == "adjust") == more.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                more.empty() ? "name the request: receipt adjust RECEIPT"
                             : fmt::format("receipt does not know \"{}\"; use `receipt ID` or "
                                           "`receipt adjust RECEIPT`",
                                           word.substr(0, 80)),
                "RECEIPT");
  }
  dialects::JsonWriter body;
  body.BeginObject();
  bool is_named = false;
  for (const char* name : {"cost", "charge", "reason"}) {
    if (const std::string text = settings.Text(name); !text.empty()) {
      is_named = true;
      body.Field(name, text);
    }
  }
  if (word == "adjust") {
    body.Field("receipt", more.front()).EndObject();
    errand.method = "POST";
    errand.path = "/tw/v1/corrections";
    errand.body = body.Take();
    return Run(settings, errand, PrintReceipt);
  }
  if (is_named) {
    return Fail(ErrorCode::kInvalidArgument,
                "--cost, --charge and --reason are of `receipt adjust RECEIPT`", "ID");
  }
  errand.path = "/v1/receipts/" + word;
  return Run(settings, errand, PrintReceipt);
}

Result<ExitCode> ResolveDoubt(const Settings& settings) {
  if (settings.Words(1).empty()) {
    return Fail(ErrorCode::kInvalidArgument, "name the request: reconcile resolve RECEIPT", "WHAT");
  }
  TW_ASSIGN_OR_RETURN(const bool is_void, settings.Switch("void"));
  dialects::JsonWriter body;
  body.BeginObject().Field("receipt", settings.Words(1).front()).Field("void", is_void);
  if (const std::string cost = settings.Text("cost"); !cost.empty()) {
    body.Field("cost", cost);
  }
  body.Field("reason", settings.Text("reason")).EndObject();
  Errand errand;
  errand.method = "POST";
  errand.path = "/tw/v1/reconcile/resolve";
  errand.body = body.Take();
  return Run(settings, errand, PrintReceipt);
}

}  // namespace tradewind::cli
