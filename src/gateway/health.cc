// /healthz (the process answers), /readyz (a request would be served), /metrics, and the state of
// the engines.
#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "dialects/json_writer.h"
#include "gateway/gateway.h"

namespace tradewind::gateway {
namespace {

std::string StatusJson(std::string_view status, const std::string& detail = "") {
  dialects::JsonWriter json;
  json.BeginObject().Field("status", status);
  if (!detail.empty()) {
    json.Field("detail", detail);
  }
  json.EndObject();
  return json.Take();
}

std::string_view WordsOf(ledger::Trouble::Kind kind) {
  using Kind = ledger::Trouble::Kind;
  switch (kind) {
    case Kind::kNone:
      break;
    case Kind::kStopped:
      return "the ledger has stopped: paid requests are refused (see the log)";
    case Kind::kBehind:
      return "ledger.db is behind: paid requests will be refused (see the log)";
    case Kind::kFull:
      return "an account is full: what requests cost stays in doubt (see alerts)";
    case Kind::kClock:
      return "the clock of this machine has jumped: how requests are dated is wrong (see alerts)";
  }
  return "";
}

void WriteEngine(const providers::LoadedModel& model, dialects::JsonWriter& json) {
  json.BeginObject().Field("id", model.id).Field("architecture", model.info.architecture);
  json.Field("quantization", model.info.quantization).Field("parameters", model.info.parameters);
  json.Field("file_bytes", model.info.file_bytes).Field("context", model.info.context);
  json.Field("activations", model.info.activations);
  json.Field("kernels", model.info.kernels).Field("threads", model.info.threads);
  json.Field("kv_type", model.info.kv_type);
  json.Field("users", model.users).Field("slots", model.stats.slots);
  json.Field("slots_used", model.stats.slots_used).Field("queued", model.stats.queued);
  json.Field("kv_bytes", model.stats.kv_bytes).Field("kv_bytes_max", model.stats.kv_bytes_max);
  json.Field("kv_bytes_idle", model.stats.kv_bytes_idle);
  json.Field("prompt_tokens_total", model.stats.prompt_tokens_total);
  json.Field("cached_tokens_total", model.stats.cached_tokens_total);
  json.Field("requeued_total", model.stats.requeued_total);
  json.Field("output_tokens_total", model.stats.output_tokens_total);
  json.Field("decode_tokens_per_s", model.stats.decode_tokens_per_s).EndObject();
}

}  // namespace

Task<void> Gateway::Health(Call& call) {
  co_await RespondJson(call, StatusJson("ok"));
}

// What costs nothing is served all the same: the server is ready.
std::string Gateway::ReadyDetail() const {
  if (options_.meter == nullptr) {
    return "";
  }
  if (const ledger::Trouble trouble = options_.meter->trouble(); !trouble.why.empty()) {
    return std::string(WordsOf(trouble.kind));
  }
  return options_.meter->disk().low_because.empty()
             ? ""
             : "the disk is nearly full: paid requests are refused (tradewind doctor)";
}

Task<void> Gateway::Ready(Call& call) {
  const std::string& model = options_.default_model;
  if (draining_) {
    co_return co_await RespondJson(call, StatusJson("draining"), 503);
  }
  if (model.empty()) {  // this device has nothing to load: providers alone make it ready
    if (market_.board.Get()->has_usable_provider()) {
      co_return co_await RespondJson(call, StatusJson("ready", ReadyDetail()));
    }
    co_return co_await RespondJson(
        call,
        StatusJson("no_model", "put a GGUF file into the models folder, or configure a provider"),
        503);
  }
  if (local_.pool().was_loaded(model)) {
    co_return co_await RespondJson(call, StatusJson("ready", ReadyDetail()));
  }
  if (const auto error = local_.pool().load_error(model); error.has_value()) {
    co_return co_await RespondJson(call, StatusJson("failed", error->message), 503);
  }
  co_await RespondJson(call, StatusJson("loading", model), 503);
}

void Gateway::PublishEngines() {
  const auto loaded = local_.pool().loaded();
  for (const catalog::LocalModel& model : local_.pool().models().models()) {
    if (!local_.pool().was_loaded(model.id)) {
      continue;
    }
    engine::EngineStats stats;  // zeros, when it has been unloaded since
    bool is_loaded = false;
    for (const providers::LoadedModel& one : loaded) {
      if (one.id == model.id) {
        stats = one.stats;
        is_loaded = true;
      }
    }
    const auto set = [&](std::string_view name, std::string_view help, double value) {
      metrics_.GetGauge(name, help, {{"model", model.id}}).Set(value);
    };
    set("tradewind_model_loaded", "1 while the model is in memory.", is_loaded ? 1 : 0);
    set("tradewind_engine_slots", "Sequences that share a pass over the weights.", stats.slots);
    set("tradewind_engine_slots_used", "Sequences that run.", stats.slots_used);
    set("tradewind_engine_queued", "Sequences that wait for a slot.", stats.queued);
    set("tradewind_engine_kv_bytes", "Bytes of keys and values of sequences that run.",
        static_cast<double>(stats.kv_bytes));
    set("tradewind_engine_kv_idle_bytes",
        "Bytes kept of ended sequences, for those that begin alike.",
        static_cast<double>(stats.kv_bytes_idle));
    set("tradewind_engine_kv_bytes_max", "Bytes that keys and values may take.",
        static_cast<double>(stats.kv_bytes_max));
    set("tradewind_engine_decode_tokens_per_second", "Over the last second of work.",
        stats.decode_tokens_per_s);
  }
  metrics_.GetGauge("tradewind_requests_in_flight", "Requests being answered.")
      .Set(static_cast<double>(in_flight_.load()));
}

void Gateway::PublishMoney() {
  if (options_.meter == nullptr) {
    return;
  }
  const ledger::DiskState disk = options_.meter->disk();
  const auto set = [&](std::string_view name, std::string_view help, uint64_t value) {
    metrics_.GetGauge(name, help).Set(static_cast<double>(value));
  };
  set("tradewind_disk_free_bytes", "Free on the disk of the ledger's journal.",
      disk.room.free_bytes);
  set("tradewind_disk_low_water_bytes", "With less, paid requests are refused.",
      ledger::LowWaterOf(disk.room));
  set("tradewind_disk_low", "1 while paid requests are refused for want of room.",
      disk.low_because.empty() ? 0 : 1);
  const ledger::Trouble trouble = options_.meter->trouble();
  set("tradewind_ledger_stopped", "1 while the ledger admits no paid request.",
      trouble.kind == ledger::Trouble::Kind::kStopped ? 1 : 0);
  set("tradewind_ledger_behind", "1 while ledger.db cannot be written, or the ledger has stopped.",
      trouble.kind == ledger::Trouble::Kind::kStopped ||
              trouble.kind == ledger::Trouble::Kind::kBehind
          ? 1
          : 0);
  set("tradewind_usage_beyond_bounds",
      "Answers since the start for which a provider counted more tokens than their bounds allow, "
      "or "
      "than bytes came.",
      static_cast<uint64_t>(options_.meter->beyond_bounds()));
  set("tradewind_settled_nanousd", "Cost of the attempts that were settled since the start.",
      static_cast<uint64_t>(options_.meter->counts().settled));
  set("tradewind_settled_held_nanousd", "What was held for these.",
      static_cast<uint64_t>(options_.meter->counts().held));
}

Task<void> Gateway::Metrics(Call& call) {
  PublishEngines();
  PublishMoney();
  PublishRoutes();
  http::Response response;
  response.headers.Set("Content-Type", std::string(telemetry::kMetricsContentType));
  response.body = metrics_.Text();
  co_await Respond(call, std::move(response));
}

std::optional<int64_t> Gateway::ExitsInMs() const {
  if (options_.idle_exit.count() == 0) {
    return std::nullopt;
  }
  const auto idle =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.Now() - last_active());
  // Whoever asks is one in flight himself.
  const bool busy = in_flight_.load() > 1;
  return busy ? options_.idle_exit.count()
              : std::max<int64_t>(0, (options_.idle_exit - idle).count());
}

Task<void> Gateway::Engine(Call& call) {
  dialects::JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.engine/v1").Key("exits_in_ms");
  const std::optional<int64_t> exits_in_ms = ExitsInMs();
  exits_in_ms.has_value() ? json.Value(*exits_in_ms) : json.Null();
  json.Key("models").BeginArray();
  for (const providers::LoadedModel& model : local_.pool().loaded()) {
    WriteEngine(model, json);
  }
  json.EndArray().EndObject();
  co_await RespondJson(call, json.Take());
}

}  // namespace tradewind::gateway
