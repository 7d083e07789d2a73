// Routes as people see them: which one a request would take, how each is doing, what its last probe
// found.
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "gateway/gateway.h"
#include "gateway/prober.h"
#include "http/query.h"
#include "routing/probe_book.h"
#include "routing/question.h"

namespace tradewind::gateway {
namespace {

using http::First;
using http::ParseQuery;
using http::Query;

using dialects::JsonWriter;
using routing::Circuit;
using routing::HealthSnapshot;
using routing::Known;
using routing::ProbeTarget;

std::string_view CircuitName(Circuit circuit) {
  switch (circuit) {
    case Circuit::kClosed:
      return "closed";
    case Circuit::kOpen:
      return "open";
    case Circuit::kHalfOpen:
      return "half_open";
  }
  return "closed";
}

template <class T>
void OrNull(JsonWriter& json, std::string_view name, const std::optional<T>& value) {
  json.Key(name);
  value.has_value() ? json.Value(*value) : json.Null();
}

void TextOrNull(JsonWriter& json, std::string_view name, const std::string& text) {
  OrNull(json, name, text.empty() ? std::nullopt : std::optional(text));
}

void WriteKnown(JsonWriter& json, std::string_view name, Known known) {
  OrNull(json, name, known == Known::kUnknown ? std::nullopt : std::optional(known == Known::kYes));
}

std::string_view EndName(routing::ProbeEnd end) {
  switch (end) {
    case routing::ProbeEnd::kWell:
      return "well";
    case routing::ProbeEnd::kFailed:
      return "failed";
    case routing::ProbeEnd::kNothingLearned:
      return "nothing_learned";
  }
  return "nothing_learned";
}

void WriteProbe(JsonWriter& json, const std::optional<routing::ProbeNote>& note,
                std::chrono::steady_clock::time_point now) {
  json.Key("probe");
  if (!note.has_value()) {
    json.Null();
    return;
  }
  const auto at = std::chrono::floor<std::chrono::seconds>(note->at);
  json.BeginObject().Field("at", fmt::format("{:%Y-%m-%dT%H:%M:%S}Z", fmt::gmtime(at)));
  json.Field("ago_ms", static_cast<int64_t>(MsBetween(note->steady_at, now)));
  json.Field("end", EndName(note->last.end));
  TextOrNull(json, "words", note->last.words);
  json.Key("checks").BeginArray();
  for (const routing::ProbeCheck& check : note->last.checks) {
    json.BeginObject().Field("name", check.name);
    WriteKnown(json, "passed", check.passed);
    TextOrNull(json, "words", check.words);
    json.EndObject();
  }
  json.EndArray().EndObject();
}

void WriteHealth(JsonWriter& json, const HealthSnapshot& health) {
  json.Field("circuit", CircuitName(health.circuit));
  json.Field("rests", health.availability == routing::Availability::kHeld ||
                          health.availability == routing::Availability::kKeyHeld);
  TextOrNull(json, "health_words", routing::HealthWords(health));
  json.Field("held_for_ms", health.held_for_ms);
  json.Field("window_ms", health.window_ms);
  json.Field("window_successes", health.window_successes);
  json.Field("window_faults", health.window_faults);
  OrNull(json, "first_token_latency_ms", health.ttft_ms);
  OrNull(json, "tokens_per_second", health.tokens_per_second);
}

}  // namespace

Task<void> Gateway::ExplainRoute(Call& call) {
  const Query query = ParseQuery(call.request().query);
  auto request = routing::ReadQuestion({.model = First(query, "model"),
                                        .need = First(query, "need"),
                                        .max_price = First(query, "max_price"),
                                        .task = First(query, "task")});
  if (!request.has_value()) {
    co_return co_await Refuse(call, request.error());
  }
  Permit(call, *request);             // as this caller would be served
  if (call.caller->is_admin_token) {  // asks no provider itself: as a key without allow-lists
    request->needs.allowed_models.reset();
    request->needs.allowed_providers.reset();
  }
  const auto explained =
      routing::Explain(market_.board.Get(), market_.health, *request, &market_.probes);
  if (!explained.has_value()) {
    co_return co_await Refuse(call, explained.error());
  }
  if (First(query, "format") == "text") {
    http::Response response;
    response.headers.Set("Content-Type", "text/plain; charset=utf-8");
    response.body = explained->text;
    co_return co_await Respond(call, std::move(response));
  }
  co_await RespondJson(call, boost::json::serialize(explained->json));
}

Task<void> Gateway::ShowProviders(Call& call) {
  const std::shared_ptr<const routing::Market> market = market_.board.Get();
  const auto now = clock_.Now();
  const std::string only = First(ParseQuery(call.request().query), "name");
  std::map<std::string_view, std::vector<routing::WatchedMapping>> watched;
  for (routing::WatchedMapping& one : routing::WatchedMappings(*market)) {
    watched[one.mapping->provider].push_back(std::move(one));
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.providers_state/v1");
  json.Field("probes", catalog::ProbeRuleName(market->route().probes));
  json.Field("probes_asked", options_.prober == nullptr ? size_t{0} : options_.prober->asked());
  json.Key("providers").BeginArray();
  for (const catalog::Provider& provider : market->catalog().providers()) {
    if (provider.slug == catalog::kLocalSlug || (!only.empty() && provider.slug != only)) {
      continue;
    }
    const routing::MarketPlace* place = market->Find(provider.slug);
    json.BeginObject().Field("name", provider.slug).Field("kind", provider.kind);
    json.Field("has_key", place != nullptr && place->has_key());
    TextOrNull(json, "off_because",
               place == nullptr ? "its address or kind cannot be used" : provider.off);
    json.Key("models").BeginArray();
    for (const routing::WatchedMapping& one : watched[provider.slug]) {
      const ProbeTarget& target = one.probe.target;
      const auto note = market_.probes.Find(target.provider, target.model);
      const bool is_probed_away = note.has_value() && note->verdict.status.has_value() &&
                                  one.mapping->status != catalog::MappingStatus::kStaging;
      json.BeginObject().Field("id", one.mapping->hf_model).Field("provider_id", target.model);
      json.Field("task", one.mapping->task);
      json.Field("status", !is_probed_away ? MappingStatusName(one.mapping->status)
                           : *note->verdict.status == routing::RouteStatus::kError
                               ? std::string_view("error")
                               : std::string_view("live"));
      WriteHealth(json, market_.health.Route(target.provider, target.model).Snapshot());
      json.Field("probe_is_asked", options_.prober != nullptr && options_.prober->is_asked(target));
      WriteProbe(json, note, now);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  co_await RespondJson(call, json.Take());
}

// {"provider":"site-a"}, or all of them without: 202 with how many were asked for. For the operator
// alone, as he pays: an organisation's managers have keys of their own.
Task<void> Gateway::AskProbes(Call& call) {
  if (!call.caller->is_admin_token) {
    co_return co_await Refuse(
        call, {ErrorCode::kPermissionDenied,
               "Probes cost the operator money: only the admin token may ask for them."});
  }
  std::string provider;
  const std::string& body = call.request().body;
  if (!body.empty()) {
    const auto object = dialects::ParseJsonObject(body);
    if (!object.has_value()) {
      co_return co_await Refuse(call, object.error());
    }
    dialects::Fields fields(*object);
    fields.Text("provider", provider);
    if (const Status status = fields.status(); !status.has_value()) {
      co_return co_await Refuse(call, status.error());
    }
  }
  const std::shared_ptr<const routing::Market> market = market_.board.Get();
  const routing::MarketPlace* place = provider.empty() ? nullptr : market->Find(provider);
  if (!provider.empty() && (place == nullptr || place->is_local())) {
    co_return co_await Refuse(call, {ErrorCode::kNotFound,
                                     fmt::format("There is no provider \"{}\" to be probed.",
                                                 HeaderSafe(provider.substr(0, 80))),
                                     "provider",
                                     {}});
  }
  const Prober::Asked asked =
      options_.prober == nullptr ? Prober::Asked{} : options_.prober->Ask(provider);
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.probes_asked/v1").Field("asked", asked.count);
  json.Field("too_soon", asked.too_soon).EndObject();
  co_await RespondJson(call, json.Take(), 202);
}

// Only routes that something is known of; beyond limits::kMetricSeriesMax they share a series.
void Gateway::PublishRoutes() {
  for (const routing::HealthBook::Row& row : market_.health.Rows()) {
    const HealthSnapshot& health = row.health;
    const bool is_known = health.ttft_ms.has_value() || health.last_failure.has_value() ||
                          health.window_successes + health.window_faults > 0;
    if (!is_known) {
      continue;
    }
    const telemetry::Labels labels = {{"provider", row.provider}, {"model", row.model}};
    const auto set = [&](std::string_view name, std::string_view help, double value) {
      metrics_.GetGauge(name, help, labels).Set(value);
    };
    set("tradewind_route_circuit", "0 closed, 1 half-open (trials), 2 open: the route rests.",
        health.circuit == Circuit::kClosed     ? 0
        : health.circuit == Circuit::kHalfOpen ? 1
                                               : 2);
    set("tradewind_route_window_faults", "Failures that count against the route, of late.",
        static_cast<double>(health.window_faults));
    if (health.ttft_ms.has_value()) {
      set("tradewind_route_ttft_seconds", "Time to the first token: a mean that forgets.",
          *health.ttft_ms / 1000);
    }
    if (health.tokens_per_second.has_value()) {
      set("tradewind_route_tokens_per_second", "Speed of one answer: a mean that forgets.",
          *health.tokens_per_second);
    }
  }
}

}  // namespace tradewind::gateway
