// serve: configuration → parts → run → drain.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "catalog/catalog.h"
#include "catalog/local_models.h"
#include "catalog/model_ref.h"
#include "cli/engine_settings.h"
#include "cli/home.h"
#include "cli/market.h"
#include "cli/port_holder.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "engine/threads/cpus.h"
#include "gateway/gateway.h"
#include "http/server.h"
#include "providers/local.h"
#include "telemetry/access_log.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

struct ServeConfig {
  http::ServerOptions listen;
  fs::path home;
  providers::LocalOptions local;
  std::string access_log;  // a file, "-" = stderr, "none"
  std::chrono::milliseconds idle_exit{0};
  std::shared_ptr<catalog::LocalModels> models;
  std::string model;            // the default model's id; "" = there is none
  bool model_is_named = false;  // somebody asked for it: then serving without it is an error
};

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

Status ChooseModel(const Settings& settings, ServeConfig& config) {
  for (const std::string& warning : config.models->warnings()) {
    telemetry::Log(telemetry::Level::kWarn, WithoutControls(warning));
  }
  const std::string reference = settings.Text("model");
  if (reference.empty()) {
    const catalog::LocalModel* usual = config.models->Find(catalog::kDefaultModelId);
    for (const catalog::LocalModel& model : config.models->models()) {
      usual = usual == nullptr && !model.error ? &model : usual;
    }
    config.model = usual == nullptr || usual->error ? "" : usual->id;
    return {};
  }
  config.model_is_named = true;
  TW_ASSIGN_OR_RETURN(const catalog::ModelRef ref,
                      catalog::ParseModelRef(reference, catalog::RefSource::kCommandLine));
  if (ref.is_path) {
    auto id = config.models->Add(ref.model);
    if (!id) {
      return Fail(WithNextStep(id.error(), "name a GGUF file with --model"));
    }
    config.model = std::move(*id);
    return {};
  }
  const auto model = config.models->Resolve(reference, catalog::RefSource::kCommandLine);
  if (!model) {
    return Fail(ErrorCode::kModelNotSupported,
                fmt::format("no model \"{}\" on this device; `tradewind ls` lists those that are "
                            "there, and a path to a GGUF file works too",
                            reference),
                "model");
  }
  config.model = (*model)->id;
  return {};
}

Result<ServeConfig> ReadConfig(const Settings& settings) {
  constexpr int64_t kLoadedMax = 16;
  constexpr int kCpusForTwoLoops = 8;  // fewer belong to the engine
  ServeConfig config;
  config.listen.host = settings.Text("host");
  if (!IsLoopback(config.listen.host)) {
    return Fail(ErrorCode::kPermissionDenied,
                fmt::format("listening on {} would let others use this server, and this version "
                            "has no tokens to tell them apart; "
                            "listen on 127.0.0.1 and put a proxy with authentication in front",
                            config.listen.host),
                "host");
  }
  TW_ASSIGN_OR_RETURN(const auto port, settings.Integer("port", 0, 65535));
  config.listen.port = static_cast<uint16_t>(*port);
  config.listen.threads = engine::AllowedCpus() >= kCpusForTwoLoops ? 2 : 1;
  TW_ASSIGN_OR_RETURN(config.home, HomeFolder(settings));
  TW_ASSIGN_OR_RETURN(config.local.engine, ReadEngineOptions(settings));
  TW_ASSIGN_OR_RETURN(const auto loaded, settings.Integer("loaded", 1, kLoadedMax));
  config.local.loaded_max = static_cast<int>(*loaded);
  TW_ASSIGN_OR_RETURN(config.idle_exit, settings.Duration("idle-exit"));
  config.access_log = settings.Text("access-log");
  TW_ASSIGN_OR_RETURN(const fs::path folder, ModelsFolder(settings));
  std::error_code ignored;
  config.models = std::make_shared<catalog::LocalModels>(
      fs::exists(folder, ignored) ? catalog::LocalModels::Scan(std::array{folder})
                                  : catalog::LocalModels());
  TW_RETURN_IF_ERROR(ChooseModel(settings, config));
  if (config.model.empty()) {
    telemetry::Log(
        telemetry::Level::kWarn,
        fmt::format(
            "no model to serve: put a GGUF file into {}, or name one with --model, and start again",
            folder.string()));
  }
  return config;
}

// Everything that runs, in the order in which it may refer to what stands before; the listener ends
// first.
struct Parts {
  telemetry::Registry metrics;
  std::shared_ptr<catalog::CatalogBoard> catalog;
  std::unique_ptr<telemetry::AccessLog> access_log;
  std::unique_ptr<providers::LocalProvider> local;
  std::unique_ptr<gateway::Gateway> gateway;
  std::unique_ptr<http::Server> server;
};

Status StartParts(const Settings& settings, const ServeConfig& config, Parts& parts) {
  const Market market = LoadMarket(settings, config.home, config.models);
  for (const std::string& warning : market.warnings) {
    telemetry::Log(telemetry::Level::kWarn, WithoutControls(warning));
  }
  parts.catalog = std::make_shared<catalog::CatalogBoard>(market.catalog);
  if (config.access_log != "none") {
    TW_ASSIGN_OR_RETURN(parts.access_log, telemetry::AccessLog::Open(
                                              config.access_log == "-" ? "" : config.access_log));
  }
  parts.local =
      std::make_unique<providers::LocalProvider>(config.models, config.local, engine::Engine::Load);
  gateway::GatewayOptions options;
  options.default_model = config.model;
  options.idle_exit = config.idle_exit;
  options.catalog = parts.catalog;
  parts.gateway = std::make_unique<gateway::Gateway>(options, *parts.local, parts.metrics,
                                                     parts.access_log.get());
  gateway::Gateway& gateway = *parts.gateway;
  auto server = http::Server::Start(
      config.listen, [&gateway](http::Exchange& exchange) { return gateway.Handle(exchange); },
      [&gateway](const Error& error) { return gateway.OnProtocolError(error); });
  if (!server && server.error().code == ErrorCode::kAddressInUse) {
    const auto holder = FindPortHolder(config.listen.port);
    return Fail(ErrorCode::kAddressInUse,
                fmt::format("port {} is taken{}; choose another with --port, or 0 for a free one",
                            config.listen.port,
                            holder ? fmt::format(" by {}", WithoutControls(*holder)) : ""));
  }
  if (!server) {
    return Fail(server.error());
  }
  parts.server = std::move(*server);
  return {};
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

// The signal that came within `patience`, or 0.
int AwaitSignal(std::chrono::milliseconds patience) {
  const sigset_t signals = StopSignals();
  const timespec time{static_cast<time_t>(patience.count() / 1000),
                      static_cast<long>(patience.count() % 1000) * 1'000'000};
  const int signal = ::sigtimedwait(&signals, nullptr, &time);
  return signal > 0 ? signal : 0;
}

void Announce(const ServeConfig& config, const ServerRecord& record, double load_ms) {
  telemetry::Log(telemetry::Level::kInfo,
                 fmt::format("{} is ready after {:.1f}s", config.model, load_ms / 1000));
  if (IsTerminal(stderr)) {
    fmt::print(
        stderr,
        "try: curl {}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        "       -d "
        "'{{\"model\":\"{}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n",
        record.Url(), config.model);
  }
}

// Runs until a signal (returned), until it has been idle for long enough (0), or until the named
// model fails to load.
Result<int> RunUntilStopped(const ServeConfig& config, const ServerRecord& record, Parts& parts) {
  constexpr auto kTick = std::chrono::milliseconds(100);
  const auto started = SystemClock().Now();
  auto loaded = started;  // the time that loading took is not idle time
  bool is_loading = !config.model.empty();
  if (is_loading) {
    TW_RETURN_IF_ERROR(parts.local->pool().Preload(config.model));
  }
  while (true) {
    const int signal =
        AwaitSignal(is_loading || config.idle_exit.count() > 0 ? kTick : 100 * kTick);
    if (signal != 0) {
      return signal;
    }
    if (is_loading && parts.local->pool().was_loaded(config.model)) {
      is_loading = false;
      loaded = SystemClock().Now();
      Announce(config, record, MsBetween(started, loaded));
    } else if (const auto failed =
                   is_loading ? parts.local->pool().load_error(config.model) : std::nullopt) {
      is_loading = false;
      if (config.model_is_named) {
        return Fail(WithNextStep(
            *failed, "name another model with --model, or look at it with `tradewind show`"));
      }
      telemetry::Log(telemetry::Level::kError, WithoutControls(failed->message));
    }
    const bool busy = is_loading || parts.gateway->in_flight() > 0;
    if (config.idle_exit.count() > 0 && !busy &&
        SystemClock().Now() - std::max(loaded, parts.gateway->last_active()) >= config.idle_exit) {
      telemetry::Log(telemetry::Level::kInfo, "idle for long enough; exiting");
      return 0;
    }
  }
}

ExitCode CutBy(int signal) {
  return signal == SIGINT ? ExitCode::kInterrupted : ExitCode::kTerminated;
}

// Lets running answers finish; a second signal ends the process at once.
ExitCode Drain(const ServeConfig& config, Parts& parts, int signal) {
  telemetry::Log(telemetry::Level::kInfo,
                 "stopping: running answers may finish; once more stops at once");
  parts.gateway->Drain();
  std::atomic<bool> is_done{false};
  bool finished = false;
  std::thread drain([&] {
    finished = parts.server->Drain(limits::kDrainDeadlineMs);
    is_done.store(true);
  });
  while (!is_done.load()) {
    if (const int second = AwaitSignal(std::chrono::milliseconds(20)); second != 0) {
      RemoveServerRecord(config.home);
      std::_Exit(
          static_cast<int>(CutBy(second)));  // threads and sockets are the system's to clear away
    }
  }
  drain.join();
  return finished || signal == 0 ? ExitCode::kDone : CutBy(signal);
}

}  // namespace

Result<ExitCode> RunServe(const Settings& settings) {
  const sigset_t signals = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals,
                    nullptr);  // before any thread starts: only AwaitSignal sees them
  ::signal(SIGPIPE, SIG_IGN);
  TW_ASSIGN_OR_RETURN(const ServeConfig config, ReadConfig(settings));
  TW_RETURN_IF_ERROR(EnsurePrivateFolder(config.home));
  TW_ASSIGN_OR_RETURN(const HomeLock lock, HomeLock::Take(config.home));
  Parts parts;
  TW_RETURN_IF_ERROR(StartParts(settings, config, parts));
  const ServerRecord record{config.listen.host, parts.server->port(), ::getpid(), TW_VERSION};
  if (const Status written = WriteServerRecord(config.home, record); !written) {
    return Fail(WithNextStep(written.error(),
                             "free some space, or choose another data folder with --home"));
  }
  Print(fmt::format("listening on {}\n", record.Url()));
  TW_RETURN_IF_ERROR(OutputStatus());
  const Result<int> stopped = RunUntilStopped(config, record, parts);
  if (!stopped) {
    RemoveServerRecord(config.home);
    return Fail(stopped.error());
  }
  const ExitCode code = Drain(config, parts, *stopped);
  RemoveServerRecord(config.home);
  return code;
}

}  // namespace tradewind::cli
