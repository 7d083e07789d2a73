// reconcile: providers' bills against what was recorded here.
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/file.h"
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

// What would set the prices that the bill implies.
void PrintPrices(const json::object& provider) {
  const json::value* prices = provider.if_contains("prices");
  for (const json::value& entry :
       prices != nullptr && prices->is_array() ? prices->get_array() : json::array()) {
    const json::object* price = entry.if_object();
    if (price == nullptr) {
      continue;
    }
    const std::string model = WithoutControls(Text(*price, "model"));
    if (const std::string why = Text(*price, "none_because"); !why.empty()) {
      Print(fmt::format("no price of {} is proposed: {}\n", model, WithoutControls(why)));
      continue;
    }
    const json::value* exact = price->if_contains("exact");
    const bool is_exact = exact != nullptr && exact->is_bool() && exact->get_bool();
    Print(
        fmt::format("{} lines of {} say another price{}, {} of them more than it takes to find "
                    "it; to use it, write into the config under [[providers]] name = \"{}\":\n"
                    "  models = [{}]\n",
                    Number(*price, "lines"), model, is_exact ? "" : " (within their rounding)",
                    Number(*price, "confirmed_by"), WithoutControls(Text(provider, "provider")),
                    WithoutControls(Text(*price, "config"))));
  }
}

void PrintPeriod(const json::object& answer, const Settings& settings) {
  const json::array& providers = Array(answer, "providers");
  if (providers.empty()) {
    return Print(fmt::format("no bill of {} was imported\n", Text(answer, "period")));
  }
  for (const json::value& entry : providers) {
    if (!entry.is_object()) {
      continue;
    }
    const json::object& provider = entry.get_object();
    Print(
        fmt::format("{} {}: billed {}, recorded {}, in suspense {}, {} unexplained, {} in doubt; "
                    "{}\n",
                    Text(provider, "provider"), Text(answer, "period"),
                    Dollars(provider, "billed_nanousd"), Dollars(provider, "recorded_nanousd"),
                    Dollars(provider, "suspense_nanousd"), Number(provider, "unexplained"),
                    Number(provider, "in_doubt"), Flag(provider, "closed") ? "closed" : "open"));
    std::vector<std::vector<std::string>> rows = {
        {"FROM", "TO", "MODEL", "BILLED", "RECORDED", "DIFFERENCE", "CLASS"}};
    for (const json::value& line : Array(provider, "lines")) {
      if (const json::object* fields = line.if_object(); fields != nullptr) {
        rows.push_back({Text(*fields, "from"), Text(*fields, "to"), Text(*fields, "model"),
                        Dollars(Object(*fields, "billed"), "cost_nanousd"),
                        Dollars(Object(*fields, "recorded"), "cost_nanousd"),
                        Dollars(*fields, "difference_nanousd"), Text(*fields, "class")});
      }
    }
    Print(FormatTable(rows, UseColor(stdout, settings.environment())));
    PrintPrices(provider);
  }
}

Result<ExitCode> Run(const Settings& settings, std::string_view method, std::string_view path,
                     const std::string& body, const std::string& query) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  TW_ASSIGN_OR_RETURN(const std::string answer, link.Send(method, path, body, query));
  if (as_json) {
    Print(answer + "\n");
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(answer));
  PrintPeriod(object, settings);
  return ExitCode::kDone;
}

std::unexpected<Error> Wrong(std::string message, std::string param) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message), std::move(param));
}

}  // namespace

Result<ExitCode> RunReconcile(const Settings& settings) {
  constexpr size_t kBillBytesMax = 16 << 20;
  const std::string action = settings.Words(0).front();
  const std::string word = settings.Words(1).empty() ? "" : settings.Words(1).front();
  const std::string provider = settings.Text("provider");
  if (action == "status") {
    std::string query;
    for (const auto& [name, value] : {std::pair("period", word), std::pair("provider", provider)}) {
      if (!value.empty()) {
        query += fmt::format("{}{}={}", query.empty() ? "" : "&", name, http::EncodeQuery(value));
      }
    }
    return Run(settings, "GET", "/tw/v1/reconcile", "", query);
  }
  if (action != "import" && action != "close") {
    return Wrong(fmt::format("reconcile does not know \"{}\"; use import, status or close",
                             action.substr(0, 80)),
                 "ACTION");
  }
  if (provider.empty()) {
    return Wrong("say whose bill it is with --provider", "provider");
  }
  if (word.empty()) {
    return Wrong(
        action == "import" ? "name the file with the bill" : "name the month, like 2026-11",
        "WHAT");
  }
  dialects::JsonWriter body;
  body.BeginObject().Field("provider", provider);
  if (action == "import") {
    TW_ASSIGN_OR_RETURN(const std::string bill, ReadFile(word, kBillBytesMax));
    TW_ASSIGN_OR_RETURN(const bool is_invoice, settings.Switch("invoice"));
    body.Field("bill", bill).Field("invoice", is_invoice);
  } else {
    body.Field("period", word).Field("accept", settings.Text("accept"));
  }
  body.EndObject();
  return Run(settings, "POST", "/tw/v1/reconcile/" + action, body.Take(), "");
}

}  // namespace tradewind::cli
