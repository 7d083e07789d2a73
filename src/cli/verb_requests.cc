// requests: those behind a number, page by page.
#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "billing/csv.h"
#include "cli/admin_link.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "dialects/json_reader.h"
#include "http/query.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Array;
using reply::Dollars;
using reply::Number;
using reply::Text;

constexpr size_t kPageRows = 1000;

// Each in its own way, as they come: there may be millions.
enum class Form : uint8_t { kTable, kJson, kCsv };

constexpr std::array<std::string_view, 21> kCsvFields = {"admitted",
                                                         "ended",
                                                         "receipt",
                                                         "attempt",
                                                         "org",
                                                         "project",
                                                         "key",
                                                         "user",
                                                         "model",
                                                         "provider",
                                                         "state",
                                                         "input_tokens",
                                                         "cached_tokens",
                                                         "output_tokens",
                                                         "reasoning_tokens",
                                                         "cost_nanousd",
                                                         "charge_nanousd",
                                                         "price_version",
                                                         "usage_source",
                                                         "correction",
                                                         "reason"};
constexpr std::array<std::string_view, 3> kLineFields = {"line_quantity", "line_cost_nanousd",
                                                         "line_charge_nanousd"};

std::string CsvCell(const json::object& row, std::string_view name) {
  const json::value* value = row.if_contains(name);
  if (value == nullptr || value->is_null()) {
    return "";
  }
  const std::string text = value->is_string() ? Text(row, name) : std::to_string(Number(row, name));
  const bool is_negative = text.starts_with('-') && text.size() > 1 &&
                           text.find_first_not_of("0123456789", 1) == std::string::npos;
  return is_negative ? text : billing::CsvText(text);
}

std::vector<std::string> TableRow(const json::object& row) {
  const std::string ended = Text(row, "ended"), reason = Text(row, "reason");
  return {ended.empty() ? Text(row, "admitted") : ended,
          Text(row, "receipt"),
          std::to_string(Number(row, "attempt")),
          Text(row, "provider"),
          Text(row, "model"),
          Text(row, "state"),
          std::to_string(Number(row, "input_tokens")),
          std::to_string(Number(row, "output_tokens")),
          Dollars(row, "cost_nanousd"),
          Dollars(row, "charge_nanousd"),
          Text(row, "usage_source"),
          reason.empty() ? "-" : reason};
}

class Output {
 public:
  Output(Form form, bool has_line) : form_(form) {
    if (form == Form::kJson) {
      Print(R"({"schema":"tradewind.requests/v1","requests":[)");
    }
    if (form == Form::kCsv) {
      fields_.assign(kCsvFields.begin(), kCsvFields.end());
      if (has_line) {
        fields_.insert(fields_.end(), kLineFields.begin(), kLineFields.end());
      }
      Print(fmt::format("{}\r\n", fmt::join(fields_, ",")));
    }
  }

  void Add(const json::object& row) {
    ++count_;
    switch (form_) {
      case Form::kTable:
        rows_.push_back(TableRow(row));
        return;
      case Form::kJson:
        Print((count_ > 1 ? "," : "") + json::serialize(row));
        return;
      case Form::kCsv:
        std::string line;
        for (const std::string_view field : fields_) {
          line += (field == fields_.front() ? "" : ",") + CsvCell(row, field);
        }
        Print(line + "\r\n");
    }
  }

  void End(const std::string& next, const std::string& set_aside, bool in_color) {
    if (form_ == Form::kJson) {
      const auto value = [](const std::string& text) {
        return text.empty() ? "null" : json::serialize(json::string(text));
      };
      Print(fmt::format(R"(],"next":{},"set_aside_until":{}}})", value(next), value(set_aside)) +
            "\n");
    }
    if (form_ == Form::kTable) {
      Print(FormatTable(rows_, in_color));
      if (!next.empty()) {
        Print(fmt::format("there may be more: add --after {}, or --limit all\n", next));
      } else if (!set_aside.empty()) {
        Print(fmt::format("what ended before {} was set aside into HOME/archive\n", set_aside));
      }
    }
  }

  size_t count() const { return count_; }

 private:
  const Form form_;
  std::vector<std::string_view> fields_;
  std::vector<std::vector<std::string>> rows_ = {{"TIME", "RECEIPT", "ATTEMPT", "PROVIDER", "MODEL",
                                                  "STATE", "IN", "OUT", "COST", "CHARGE", "USAGE",
                                                  "REASON"}};
  size_t count_ = 0;
};

Result<size_t> LimitOf(const Settings& settings) {
  const std::string text = settings.Text("limit");
  if (text == "all") {
    return SIZE_MAX;
  }
  size_t limit = 0;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data(), end, limit).ptr != end || limit == 0) {
    return Fail(ErrorCode::kInvalidArgument, "--limit is a number from 1 on, or all", "limit");
  }
  return limit;
}

std::string QueryOf(const Settings& settings) {
  std::string query;
  for (const auto& [flag, name] :
       {std::pair("org", "org"), std::pair("project", "project"), std::pair("key", "key"),
        std::pair("user", "user"), std::pair("for-model", "model"),
        std::pair("provider", "provider"), std::pair("state", "state"),
        std::pair("source", "usage_source"), std::pair("by", "by"), std::pair("period", "period"),
        std::pair("from", "from"), std::pair("to", "to"), std::pair("line", "line")}) {
    const auto value = settings.Find(flag);
    // The variables of these are those of new keys and budgets.
    constexpr std::array<std::string_view, 4> kOthers = {"org", "project", "user", "period"};
    const bool is_meant = value.has_value() && (std::ranges::find(kOthers, flag) == kOthers.end() ||
                                                value->origin == std::string("--") + flag);
    if (is_meant && !value->text.empty()) {
      query += fmt::format("{}={}&", name, http::EncodeQuery(value->text));
    }
  }
  return query;
}

}  // namespace

Result<ExitCode> RunRequests(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool as_csv, settings.Switch("csv"));
  if (as_json && as_csv) {
    return Fail(ErrorCode::kInvalidArgument, "--json or --csv, not both", "csv");
  }
  TW_ASSIGN_OR_RETURN(const size_t limit, LimitOf(settings));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  const std::string query = QueryOf(settings);
  std::string next = settings.Text("after"), set_aside;
  std::optional<Output> output;  // begins when the first page was answered
  do {
    const size_t left = limit - (output.has_value() ? output->count() : 0);
    TW_ASSIGN_OR_RETURN(
        const std::string answer,
        link.Send("GET", "/tw/v1/requests", "",
                  fmt::format("{}limit={}{}", query, std::min(left, kPageRows),
                              next.empty() ? "" : "&after=" + http::EncodeQuery(next))));
    TW_ASSIGN_OR_RETURN(const json::object page, dialects::ParseJsonObject(answer));
    if (!output.has_value()) {
      output.emplace(as_json  ? Form::kJson
                     : as_csv ? Form::kCsv
                              : Form::kTable,
                     !settings.Text("line").empty());
    }
    for (const json::value& entry : Array(page, "requests")) {
      if (entry.is_object()) {
        output->Add(entry.get_object());
      }
    }
    next = Text(page, "next");
    set_aside = Text(page, "set_aside_until");
  } while (!next.empty() && output->count() < limit);
  output->End(next, set_aside, UseColor(stdout, settings.environment()));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
