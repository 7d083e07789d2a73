// ps: the servers that run, and what they have loaded.
#include <boost/json.hpp>
#include <fmt/format.h>

#include "cli/json_output.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;

struct Loaded {
  std::string id, kv_type;
  std::optional<int64_t> file_bytes, kv_bytes, kv_bytes_idle, kv_bytes_max, context, slots,
      slots_used, queued;
  std::optional<double> decode_tokens_per_s;
};

struct RunningServer {
  Endpoint endpoint;
  std::optional<pid_t> pid;
  bool is_ready = false;
  std::optional<int64_t> exits_in_ms;  // if no work comes
  std::vector<Loaded> models;
  std::string error;
};

std::optional<int64_t> Integer(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_int64() ? std::optional(value->get_int64()) : std::nullopt;
}

void ReadState(std::string_view body, RunningServer& server) {
  boost::system::error_code failed;
  const json::value root = json::parse(body, failed);
  const json::object* object = failed ? nullptr : root.if_object();
  const json::value* models = object == nullptr ? nullptr : object->if_contains("models");
  if (models == nullptr || !models->is_array()) {
    return;
  }
  server.exits_in_ms = Integer(*object, "exits_in_ms");
  for (const json::value& entry : models->get_array()) {
    const json::object* model = entry.if_object();
    const json::value* id = model == nullptr ? nullptr : model->if_contains("id");
    if (id == nullptr || !id->is_string()) {
      continue;
    }
    Loaded loaded;
    loaded.id = std::string(id->get_string());
    loaded.file_bytes = Integer(*model, "file_bytes");
    if (const json::value* kv = model->if_contains("kv_type"); kv != nullptr && kv->is_string()) {
      loaded.kv_type = std::string(kv->get_string());
    }
    loaded.kv_bytes = Integer(*model, "kv_bytes");
    loaded.kv_bytes_idle = Integer(*model, "kv_bytes_idle");
    loaded.kv_bytes_max = Integer(*model, "kv_bytes_max");
    loaded.context = Integer(*model, "context");
    loaded.slots = Integer(*model, "slots");
    loaded.slots_used = Integer(*model, "slots_used");
    loaded.queued = Integer(*model, "queued");
    if (const json::value* rate = model->if_contains("decode_tokens_per_s");
        rate != nullptr && rate->is_number()) {
      loaded.decode_tokens_per_s = rate->to_number<double>();
    }
    server.models.push_back(std::move(loaded));
  }
}

RunningServer Inspect(const Endpoint& endpoint, std::optional<pid_t> pid) {
  RunningServer server{endpoint, pid, false, {}, {}, ""};
  const auto ready = Get(endpoint, "/readyz");
  server.is_ready = ready && ready->status == 200;
  const auto engine = Get(endpoint, "/tw/v1/engine");
  if (engine) {
    ReadState(engine->body, server);
  } else {
    server.error = engine.error().message;
  }
  return server;
}

Result<std::vector<RunningServer>> FindRunning(const Settings& settings) {
  std::vector<RunningServer> out;
  TW_ASSIGN_OR_RETURN(const auto named, NamedEndpoint(settings));
  if (named) {
    TW_RETURN_IF_ERROR(Get(*named, "/healthz"));
    out.push_back(Inspect(*named, std::nullopt));
    return out;
  }
  TW_ASSIGN_OR_RETURN(const std::filesystem::path home, HomeFolder(settings));
  for (const ServerRecord& record : FindServers(home)) {
    out.push_back(Inspect(EndpointOf(record, settings), record.pid));
  }
  return out;
}

std::string ToJson(const std::vector<RunningServer>& servers) {
  auto out = BeginJson("ps");
  out.Key("servers").BeginArray();
  for (const RunningServer& server : servers) {
    out.BeginObject().Field("address", server.endpoint.Url());
    FieldOrNull(out, "pid", server.pid);
    out.Field("ready", server.is_ready);
    FieldOrNull(out, "exits_in_ms", server.exits_in_ms);
    TextOrNull(out, "error", server.error);
    out.Key("models").BeginArray();
    for (const Loaded& model : server.models) {
      out.BeginObject().Field("id", model.id).Field("place", "local");
      FieldOrNull(out, "file_bytes", model.file_bytes);
      TextOrNull(out, "kv_type", model.kv_type);
      FieldOrNull(out, "kv_bytes", model.kv_bytes);
      FieldOrNull(out, "kv_bytes_idle", model.kv_bytes_idle);
      FieldOrNull(out, "kv_bytes_max", model.kv_bytes_max);
      FieldOrNull(out, "context", model.context);
      FieldOrNull(out, "slots", model.slots);
      FieldOrNull(out, "slots_used", model.slots_used);
      FieldOrNull(out, "queued", model.queued);
      FieldOrNull(out, "decode_tokens_per_s", model.decode_tokens_per_s);
      out.EndObject();
    }
    out.EndArray().EndObject();
  }
  out.EndArray();
  return EndJson(out);
}

std::string Or(const std::optional<int64_t>& value) {
  return value ? fmt::format("{}", *value) : "-";
}

std::string Keep(const RunningServer& server) {
  return server.exits_in_ms
             ? fmt::format("exits in {}",
                           FormatDuration(std::chrono::milliseconds(*server.exits_in_ms)))
             : "-";
}

std::vector<std::string> Row(const RunningServer& server, const Loaded& model) {
  const int64_t memory = model.file_bytes.value_or(0) + model.kv_bytes.value_or(0) +
                         model.kv_bytes_idle.value_or(0);  // in use, and kept
  const double rate = model.decode_tokens_per_s.value_or(0);
  return {model.id,
          "local",
          server.is_ready ? "ready" : "loading",
          memory > 0 ? FormatBytes(memory) : "-",
          Or(model.context),
          fmt::format("{}/{}", Or(model.slots_used), Or(model.slots)),
          rate > 0 ? fmt::format("{:.1f}", rate) : "-",
          Keep(server),
          server.endpoint.Url()};
}

}  // namespace

Result<ExitCode> RunProcesses(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool quiet, settings.Switch("quiet"));
  TW_ASSIGN_OR_RETURN(const std::vector<RunningServer> servers, FindRunning(settings));
  if (as_json) {
    Print(ToJson(servers));
    return ExitCode::kDone;
  }
  if (servers.empty()) {
    fmt::print(stderr, "no server runs; start one with `tradewind serve`\n");
    return ExitCode::kDone;
  }
  if (quiet) {
    for (const RunningServer& server : servers) {
      for (const Loaded& model : server.models) {
        Print(WithoutControls(model.id) + "\n");
      }
    }
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "PLACE", "STATE", "MEMORY", "CTX", "SLOTS", "TOK/S", "KEEP", "SERVER"}};
  for (const RunningServer& server : servers) {
    for (const Loaded& model : server.models) {
      rows.push_back(Row(server, model));
    }
    if (server.models.empty()) {
      const std::string state = !server.error.empty() ? server.error
                                : server.is_ready     ? "ready"
                                                      : "loading, or no model";
      rows.push_back(
          {"-", "local", state, "-", "-", "-", "-", Keep(server), server.endpoint.Url()});
    }
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
