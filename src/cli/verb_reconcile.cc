// reconcile: providers' bills against what was recorded here.
#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/clock.h"
#include "base/file.h"
#include "billing/bill_period.h"
#include "billing/remote_bill.h"
#include "cli/admin_link.h"
#include "cli/market.h"
#include "cli/reply_fields.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "console_api/keys_json.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "gateway/usage_api.h"
#include "http/event_loop.h"
#include "http/query.h"
#include "http/upstream.h"

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

std::string HeadOf(const json::object& provider, const std::string& period) {
  std::string state = Flag(provider, "closed") ? "closed" : "open";
  if (Flag(provider, "invoices_alone")) {
    state += "; its lines of invoices count, and no others";
  }
  if (const std::string until = Text(provider, "set_aside_until"); !until.empty()) {
    return fmt::format(
        "{} {}: billed {}, in suspense {}; {}. Requests until {} were set aside into "
        "HOME/archive: the bill cannot be compared with them any more\n",
        Text(provider, "provider"), period, Dollars(provider, "billed_nanousd"),
        Dollars(provider, "suspense_nanousd"), state, until);
  }
  return fmt::format(
      "{} {}: billed {}, recorded {}, in suspense {}, {} unexplained, {} in doubt; {}\n",
      Text(provider, "provider"), period, Dollars(provider, "billed_nanousd"),
      Dollars(provider, "recorded_nanousd"), Dollars(provider, "suspense_nanousd"),
      Number(provider, "unexplained"), Number(provider, "in_doubt"), state);
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
    Print(HeadOf(provider, Text(answer, "period")));
    if (const json::value* sum = provider.if_contains("sum_explained");
        sum != nullptr && sum->is_bool() && !sum->get_bool()) {
      Print(fmt::format("its lines, each within its tolerance, are {} off in all\n",
                        Dollars(provider, "tolerated_nanousd")));
    }
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

// A flag that is a day of UTC, or how long ago that is; nullopt when nobody says it.
Result<std::optional<int64_t>> DayOf(const Settings& settings, const std::string& flag) {
  constexpr int64_t kDayS = 86'400;
  const std::string text = settings.Text(flag);
  if (text.empty()) {
    return std::nullopt;
  }
  if (const auto span_s = console_api::ReadSpan(text)) {
    const int64_t then_s = std::max<int64_t>(0, SystemClock().UnixSeconds() - *span_s);
    return then_s - then_s % kDayS;
  }
  const auto time = billing::ReadBillTime(text);
  if (!time.has_value() || *time % kDayS != 0) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("--{} is a day of UTC, like 2026-11-01, or how long ago it is, like 7d", flag),
        flag);
  }
  return time;
}

// The days of --from and --to; without them those of the month that are over.
Result<gateway::UsageDays> DaysOf(const Settings& settings) {
  constexpr int64_t kYearS = 366 * 86'400;
  TW_ASSIGN_OR_RETURN(const auto from_s, DayOf(settings, "from"));
  TW_ASSIGN_OR_RETURN(const auto to_s, DayOf(settings, "to"));
  gateway::UsageDays days = gateway::UsageDaysAt(SystemClock().UnixSeconds());
  days.to_s = to_s.value_or(days.to_s);
  days.from_s = from_s.value_or(billing::MonthOf(days.to_s - 1).from_s);
  if (days.from_s >= days.to_s || days.to_s - days.from_s > kYearS) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--from {} has to be before --to {}, by a year at most",
                            billing::UtcDate(days.from_s), billing::UtcDate(days.to_s)),
                "from");
  }
  return days;
}

// On a loop of its own, which ends with it.
Result<std::vector<billing::BillLine>> FetchHere(const gateway::UsageSource& source,
                                                 const gateway::UsageDays& days) {
  using Lines = Result<std::vector<billing::BillLine>>;
  const std::unique_ptr<http::UpstreamClient> client = http::UpstreamClient::Create();
  const std::shared_ptr<http::EventLoop> loop = http::EventLoop::Start();
  std::promise<Lines> done;
  loop->Spawn([&]() -> Task<void> {
    done.set_value(co_await gateway::FetchUsage(*client, source, days, SystemClock()));
  });
  Lines lines = done.get_future().get();
  loop->Stop();
  loop->Destroy();
  return lines;
}

// The body of an import: what the provider's usage interface says now.
Result<std::string> FetchBill(const Settings& settings, const std::string& slug) {
  const std::vector<catalog::ProviderConfig>& providers = settings.market().providers;
  const auto found = std::ranges::find(providers, slug, &catalog::ProviderConfig::name);
  if (found == providers.end()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("the config has no [[providers]] with name = \"{}\", whose usage_api "
                            "could be asked",
                            slug.substr(0, 80)),
                "provider");
  }
  TW_ASSIGN_OR_RETURN(const gateway::UsageSource source,
                      UsageSourceOf(*found, settings.environment()));
  TW_ASSIGN_OR_RETURN(const gateway::UsageDays days, DaysOf(settings));
  TW_ASSIGN_OR_RETURN(const std::vector<billing::BillLine> lines, FetchHere(source, days));
  dialects::JsonWriter body;
  body.BeginObject().Field("provider", slug).Field("bill", billing::WriteBillCsv(lines));
  body.Field("from", billing::UtcDate(days.from_s)).Field("to", billing::UtcDate(days.to_s));
  TW_ASSIGN_OR_RETURN(const bool takes_place, settings.Switch("replace"));
  body.Field("replace", takes_place);
  body.EndObject();
  return body.Take();
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
  if (action == "fetch") {
    const std::string& slug = word.empty() ? provider : word;
    if (slug.empty()) {
      return Wrong("say whose bill it is: reconcile fetch PROVIDER", "WHAT");
    }
    TW_ASSIGN_OR_RETURN(const std::string body, FetchBill(settings, slug));
    return Run(settings, "POST", "/tw/v1/reconcile/import", body, "");
  }
  if (action == "resolve") {
    return ResolveDoubt(settings);
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
    TW_ASSIGN_OR_RETURN(const bool takes_place, settings.Switch("replace"));
    body.Field("bill", bill).Field("invoice", is_invoice).Field("replace", takes_place);
  } else {
    const char* why = action == "close" ? "accept" : "reason";
    body.Field("period", word).Field(why, settings.Text(why));
  }
  body.EndObject();
  return Run(settings, "POST", "/tw/v1/reconcile/" + action, body.Take(), "");
}

}  // namespace tradewind::cli
