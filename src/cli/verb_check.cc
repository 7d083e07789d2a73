// providers check: keys, health and probes of the running server's providers.
#include <algorithm>
#include <chrono>
#include <thread>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/clock.h"
#include "cli/admin_link.h"
#include "cli/json_output.h"
#include "cli/market.h"
#include "cli/reply_fields.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "http/query.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using reply::Text;

constexpr auto kProbePatience = std::chrono::minutes(10);  // one model at a time, each up to 3 min
constexpr auto kProbePause = std::chrono::milliseconds(100);

std::unexpected<Error> NotThere(const std::string& name) {
  return Fail(ErrorCode::kNotFound,
              fmt::format("there is no provider \"{}\"; `tradewind providers` lists them",
                          WithoutControls(name.substr(0, 80))),
              "NAME");
}

std::optional<double> Number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_number() ? std::optional(value->to_number<double>())
                                                : std::nullopt;
}

// The array of objects under this name; what is no object is left out.
std::vector<const json::object*> Objects(const json::object& object, std::string_view name) {
  std::vector<const json::object*> out;
  const json::value* value = object.if_contains(name);
  if (value != nullptr && value->is_array()) {
    for (const json::value& item : value->get_array()) {
      if (item.is_object()) {
        out.push_back(&item.get_object());
      }
    }
  }
  return out;
}

Result<json::object> State(const Endpoint& endpoint, const std::string& name) {
  TW_ASSIGN_OR_RETURN(
      const Reply reply,
      Get(endpoint, "/tw/v1/providers" + (name.empty() ? "" : "?name=" + http::EncodeQuery(name))));
  boost::system::error_code failed;
  json::value root = json::parse(reply.body, failed);
  if (failed || !root.is_object()) {
    return Fail(ErrorCode::kInternal,
                fmt::format("{} does not answer as a Tradewind server of this version would",
                            endpoint.Url()));
  }
  return std::move(root.get_object());
}

// Asks for probes and waits until all have ended.
Status ProbeNow(const Settings& settings, const Endpoint& endpoint, const std::string& name) {
  json::object body;
  if (!name.empty()) {
    body["provider"] = name;
  }
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));  // probing is the operator's
  TW_ASSIGN_OR_RETURN(const std::string reply,
                      link.Send("POST", "/tw/v1/probes", json::serialize(body)));
  boost::system::error_code failed;
  const json::value answer = json::parse(reply, failed);
  const auto too_soon =
      failed || !answer.is_object() ? std::nullopt : Number(answer.get_object(), "too_soon");
  if (too_soon.value_or(0) > 0) {
    fmt::print(stderr, "{:.0f} models were well less than a minute ago and are not probed again\n",
               *too_soon);
  }
  const auto deadline = SystemClock().Now() + kProbePatience;
  while (SystemClock().Now() < deadline) {
    TW_ASSIGN_OR_RETURN(const json::object state, State(endpoint, name));
    bool is_waiting = false;
    for (const json::object* provider : Objects(state, "providers")) {
      for (const json::object* model : Objects(*provider, "models")) {
        const json::value* asked = model->if_contains("probe_is_asked");
        is_waiting |= asked != nullptr && asked->is_bool() && asked->get_bool();
      }
    }
    if (!is_waiting) {
      return {};
    }
    std::this_thread::sleep_for(kProbePause);
  }
  return Fail(ErrorCode::kDeadlineExceeded,
              "the probes take long and go on; look again with `tradewind providers check`");
}

std::string Ago(double ms) {
  constexpr double kMinute = 60'000, kHour = 60 * kMinute;
  return ms < kMinute ? fmt::format("{:.0f} s ago", ms / 1000)
         : ms < kHour ? fmt::format("{:.0f} min ago", ms / kMinute)
                      : fmt::format("{:.0f} h ago", ms / kHour);
}

std::string ProbeText(const json::object& model) {
  const json::value* probe = model.if_contains("probe");
  if (probe == nullptr || !probe->is_object()) {
    return "never";
  }
  const json::object& note = probe->get_object();
  std::string text = fmt::format("{}, {}", Text(note, "end") == "well" ? "well" : "not well",
                                 Ago(Number(note, "ago_ms").value_or(0)));
  if (const std::string words = Text(note, "words"); !words.empty()) {
    text += ": " + words;
  }
  for (const json::object* check : Objects(note, "checks")) {
    const std::string words = Text(*check, "words");
    if (!words.empty() && words != Text(note, "words")) {
      text += fmt::format("; {}: {}", Text(*check, "name"), words);
    }
  }
  return text;
}

std::vector<std::string> Row(const json::object& provider, const json::object& model) {
  const auto ttft = Number(model, "first_token_latency_ms");
  const auto speed = Number(model, "tokens_per_second");
  const std::string health = Text(model, "health_words");
  return {Text(provider, "name"),
          "ok",
          Text(model, "id"),
          Text(model, "status"),
          ttft ? fmt::format("{:.2f} s", *ttft / 1000) : "-",
          speed ? fmt::format("{:.0f}", *speed) : "-",
          health.empty() ? "ready" : health,
          ProbeText(model)};
}

void PrintTable(const json::object& state, const Settings& settings) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "KEY", "MODEL", "STATUS", "TTFT", "TOK/S", "HEALTH", "LAST PROBE"}};
  for (const json::object* provider : Objects(state, "providers")) {
    const auto models = Objects(*provider, "models");
    for (const json::object* model : models) {
      rows.push_back(Row(*provider, *model));
    }
    if (models.empty()) {
      const std::string off = Text(*provider, "off_because");
      rows.push_back({Text(*provider, "name"), off.empty() ? "ok" : "off", "-", "-", "-", "-", "-",
                      off.empty() ? "no models" : off});
    }
  }
  for (auto& row : rows) {
    std::ranges::transform(row, row.begin(),
                           [](const auto& cell) { return WithoutControls(cell); });
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
}

// Whether the last probe of each model ended well; one that was never probed says nothing.
bool AllWell(const json::object& state) {
  for (const json::object* provider : Objects(state, "providers")) {
    for (const json::object* model : Objects(*provider, "models")) {
      const json::value* probe = model->if_contains("probe");
      if (probe != nullptr && probe->is_object() && Text(probe->get_object(), "end") != "well") {
        return false;
      }
    }
  }
  return true;
}

// Without a server only the keys can be looked at; in the same form.
Result<json::object> KeysAlone(const Settings& settings, const std::string& name) {
  TW_ASSIGN_OR_RETURN(const Market market, OpenMarket(settings));
  json::array providers;
  for (const catalog::Provider& provider : market.catalog->providers()) {
    if (provider.slug == catalog::kLocalSlug || (!name.empty() && provider.slug != name)) {
      continue;
    }
    providers.push_back(json::object{
        {"name", provider.slug},
        {"kind", provider.kind},
        {"has_key", provider.off.empty()},
        {"off_because", provider.off.empty() ? json::value(nullptr) : json::value(provider.off)},
        {"models", json::array()}});
  }
  return json::object{{"schema", "tradewind.providers_state/v1"},
                      {"probes", ProbeRuleName(settings.market().route.probes)},
                      {"probes_asked", 0},
                      {"providers", std::move(providers)}};
}

}  // namespace

Result<ExitCode> CheckProviders(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool probe, settings.Switch("probe"));
  const std::string name = settings.Words(1).empty() ? "" : settings.Words(1).front();
  TW_ASSIGN_OR_RETURN(const auto endpoint, FindEndpoint(settings));
  if (!endpoint) {
    if (probe) {
      return Fail(ErrorCode::kUnavailable,
                  "a running server probes; start one with `tradewind serve`");
    }
    fmt::print(stderr, "no server runs: only the keys are looked at\n");
  } else if (probe) {
    TW_RETURN_IF_ERROR(ProbeNow(settings, *endpoint, name));
  }
  TW_ASSIGN_OR_RETURN(const json::object state,
                      endpoint ? State(*endpoint, name) : KeysAlone(settings, name));
  if (!name.empty() && Objects(state, "providers").empty()) {
    return NotThere(name);
  }
  if (as_json) {
    Print(json::serialize(state) + "\n");
  } else {
    PrintTable(state, settings);
  }
  return probe && !AllWell(state) ? ExitCode::kUpstreamFailed : ExitCode::kDone;
}

}  // namespace tradewind::cli
