// prices rerate: what was settled, at another price.
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "billing/usd.h"
#include "cli/admin_link.h"
#include "cli/json_output.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "cli/verb_bill.h"
#include "cli/verbs.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Array;
using reply::Number;
using reply::Text;

struct Sums {
  int64_t attempts = 0, cost_before = 0, cost = 0, charge_before = 0, charge = 0;
};

struct Total {
  std::map<std::string, Sums> by_org;
  int64_t price_version = 0, right = 0, not_by_tokens = 0, named = 0, closed = 0;
  std::vector<std::string> too_many;
  std::string price_source;     // "": of named prices
  std::string set_aside_until;  // "": nothing of the time was
};

int64_t Nano(const json::object& object, std::string_view name) {
  const std::string text = Text(object, name);
  int64_t amount = 0;
  std::from_chars(text.data(), text.data() + text.size(), amount);
  return amount;
}

void Add(const json::object& answer, Total& total) {
  for (const json::value& entry : Array(answer, "corrections")) {
    if (entry.is_object()) {
      const json::object& one = entry.get_object();
      Sums& sums = total.by_org[Text(one, "org")];
      ++sums.attempts;
      sums.cost_before += Nano(one, "cost_before_nanousd");
      sums.cost += Nano(one, "cost_nanousd");
      sums.charge_before += Nano(one, "charge_before_nanousd");
      sums.charge += Nano(one, "charge_nanousd");
    }
  }
  total.price_version = Number(answer, "price_version");
  total.price_source = Text(answer, "price_source");
  total.right += Number(answer, "right");
  total.not_by_tokens += Number(answer, "not_by_tokens");
  total.named += Number(answer, "named");
  total.closed += Number(answer, "closed");
  for (const json::value& receipt : Array(answer, "too_many_accounts")) {
    if (receipt.is_string()) {
      total.too_many.emplace_back(receipt.get_string());
    }
  }
  total.set_aside_until = Text(answer, "set_aside_until");
}

std::string JsonOf(const Total& total, bool applies) {
  auto out = BeginJson("rerating");
  out.Field("applied", applies).Field("price_version", total.price_version);
  out.Field("price_source", total.price_source).Key("organisations").BeginArray();
  for (const auto& [org, sums] : total.by_org) {
    out.BeginObject().Field("org", org).Field("attempts", sums.attempts);
    out.Field("cost_before_nanousd", std::to_string(sums.cost_before));
    out.Field("cost_nanousd", std::to_string(sums.cost));
    out.Field("charge_before_nanousd", std::to_string(sums.charge_before));
    out.Field("charge_nanousd", std::to_string(sums.charge)).EndObject();
  }
  out.EndArray().Field("right", total.right).Field("not_by_tokens", total.not_by_tokens);
  out.Field("named", total.named).Field("closed", total.closed);
  out.Key("too_many_accounts").BeginArray();
  for (const std::string& receipt : total.too_many) {
    out.Value(receipt);
  }
  out.EndArray().Field("set_aside_until", total.set_aside_until);
  return EndJson(out);
}

void PrintTotal(const Total& total, bool applies, const Settings& settings) {
  std::vector<std::vector<std::string>> rows = {
      {"ORG", "ATTEMPTS", "COST", "NEW COST", "CHARGE", "NEW CHARGE"}};
  for (const auto& [org, sums] : total.by_org) {
    rows.push_back({WithoutControls(org), std::to_string(sums.attempts),
                    billing::FormatUsd(sums.cost_before), billing::FormatUsd(sums.cost),
                    billing::FormatUsd(sums.charge_before), billing::FormatUsd(sums.charge)});
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  if (!total.price_source.empty()) {
    Print(fmt::format("by the price that is in force: {}\n", WithoutControls(total.price_source)));
  }
  Print(
      fmt::format("{} are right already; the cost of {} is not what their price makes of their "
                  "tokens, the amounts of {} were named by somebody, and the provider's month of "
                  "{} is closed: they stay\n",
                  total.right, total.not_by_tokens, total.named, total.closed));
  for (const std::string& receipt : total.too_many) {
    Print(
        fmt::format("{0} stays too: it would change more budgets and credits than one correction "
                    "may; lower its charge in steps with `receipt adjust {0} --charge USD`\n",
                    WithoutControls(receipt)));
  }
  if (!total.set_aside_until.empty()) {
    Print(fmt::format("what ended before {} is in files alone, and stays as it was\n",
                      total.set_aside_until));
  }
  Print(applies ? "corrected\n"
                : "nothing was changed: with --apply --reason TEXT they are corrected\n");
}

void PrintAttempts(const json::object& answer) {
  for (const json::value& entry : Array(answer, "corrections")) {
    if (entry.is_object()) {
      const json::object& one = entry.get_object();
      Print(fmt::format(
          "{}  cost {} to {}  charge {} to {}\n", Text(one, "receipt"),
          reply::Dollars(one, "cost_before_nanousd"), reply::Dollars(one, "cost_nanousd"),
          reply::Dollars(one, "charge_before_nanousd"), reply::Dollars(one, "charge_nanousd")));
    }
  }
}

}  // namespace

Result<ExitCode> RunRerate(const Settings& settings) {
  if (settings.Words(1).size() != 1) {
    return Fail(ErrorCode::kInvalidArgument,
                "name one model: `prices rerate org/name --provider SLUG`", "WHAT");
  }
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool applies, settings.Switch("apply"));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  Total total;
  for (std::string after;;) {
    dialects::JsonWriter body;
    body.BeginObject().Field("model", settings.Words(1).front()).Field("apply", applies);
    for (const auto& [flag, field] :
         {std::pair("provider", "provider"), std::pair("from", "from"), std::pair("to", "to"),
          std::pair("input-usd-per-mtok", "input_usd_per_mtok"),
          std::pair("cached-input-usd-per-mtok", "cached_input_usd_per_mtok"),
          std::pair("output-usd-per-mtok", "output_usd_per_mtok"), std::pair("reason", "reason")}) {
      if (const std::string text = settings.Text(flag); !text.empty()) {
        body.Field(field, text);
      }
    }
    if (!after.empty()) {
      body.Field("after", after);
    }
    body.EndObject();
    TW_ASSIGN_OR_RETURN(const std::string answer,
                        link.Send("POST", "/tw/v1/corrections/rerate", body.Take()));
    TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
    Add(object, total);
    if (!as_json) {
      PrintAttempts(object);
    }
    after = Text(object, "next");
    if (after.empty()) {
      break;
    }
  }
  if (as_json) {
    Print(JsonOf(total, applies));
  } else {
    PrintTotal(total, applies, settings);
  }
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
