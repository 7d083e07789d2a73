// serve: configuration → parts → run → drain, or hand over to a successor and drain. Whole because
// the order in which parts begin and end is read here, and nowhere else.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "alerts/service.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/limits.h"
#include "billing/invoice.h"
#include "catalog/local_models.h"
#include "catalog/model_ref.h"
#include "cli/admin_link.h"
#include "cli/alerts_config.h"
#include "cli/engine_settings.h"
#include "cli/hand_over.h"
#include "cli/home.h"
#include "cli/live_market.h"
#include "cli/model_file.h"
#include "cli/port_holder.h"
#include "cli/terminal.h"
#include "cli/upgrade.h"
#include "cli/verbs.h"
#include "console_api/alerts_api.h"
#include "console_api/bill_api.h"
#include "console_api/keys_api.h"
#include "console_api/money_api.h"
#include "engine/engine.h"
#include "engine/threads/cpus.h"
#include "gateway/gateway.h"
#include "gateway/prober.h"
#include "gateway/reconciler.h"
#include "gateway/recounter.h"
#include "http/server.h"
#include "http/upstream.h"
#include "identity/store.h"
#include "pricing/price_file.h"
#include "providers/local.h"
#include "routing/market.h"
#include "telemetry/access_log.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

struct ServeConfig {
  http::ServerOptions listen;
  fs::path home;
  identity::StoreOptions identity;
  providers::LocalOptions local;
  std::string access_log;  // a file, "-" = stderr, "none"
  std::chrono::milliseconds idle_exit{0};
  gateway::RouteTimes times;
  int64_t drain_ms = limits::kDrainDeadlineMs;
  gateway::ReconcilerOptions billing;
  std::chrono::days keep_requests{0};  // 0: forever
  std::shared_ptr<catalog::LocalModels> models;
  std::optional<Predecessor> predecessor;
  alerts::Config alerts;
  ledger::NanoUsd adjust_daily = billing::kAdjustDailyDefault;
  console_api::Issuer issuer;
  bool counts_nothing = false;  // to measure what counting costs
  std::string model;            // the default model's id; "" = there is none
  bool model_is_named = false;  // somebody asked for it: then serving without it is an error
};

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

// "100d" or "forever".
Result<std::chrono::days> KeepRequests(const Settings& settings) {
  constexpr int kDaysMax = 36'500;
  const std::string text = settings.Text("keep-requests");
  if (text == "forever") {
    return std::chrono::days(0);
  }
  int days = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, days);
  if (error != std::errc() || std::string_view(stopped, end) != "d" ||
      days < billing::kKeptAtLeast.count() || days > kDaysMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--keep-requests (billing.keep_requests) is \"{}\"; it is forever, or "
                            "days like 100d, at least {}d: providers' bills of a month come in "
                            "the next",
                            text.substr(0, 80), billing::kKeptAtLeast.count()),
                "keep-requests");
  }
  return std::chrono::days(days);
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

// A time that must be there: 0 would end every request at once.
Result<int64_t> Milliseconds(const Settings& settings, std::string_view flag) {
  TW_ASSIGN_OR_RETURN(const std::chrono::milliseconds time, settings.Duration(flag));
  if (time.count() <= 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--{} must be longer than 0, such as 30s", flag), std::string(flag));
  }
  return time.count();
}

// At the start: otherwise the first invoice would be refused, when the month is over.
Status CheckTax(const Settings& settings) {
  const ConfigValue tax = settings.Configured("billing.tax_percent");
  const auto percent = tax.text.empty() ? Decimal() : billing::ParseTaxPercent(tax.text);
  if (!percent.has_value()) {
    return Fail(percent.error().code, fmt::format("{}: {}", tax.origin, percent.error().message),
                "billing.tax_percent");
  }
  return {};
}

// A socket that was passed says where it listens, whatever the settings say: admission depends on
// the truth.
Status UsePassedListener(ServeConfig& config) {
  config.predecessor = Predecessor::Find();
  TW_ASSIGN_OR_RETURN(const std::optional<int> from_manager, ListenerFromManager());
  if (!config.predecessor && !from_manager) {
    return {};
  }
  const int listener = config.predecessor ? config.predecessor->listener() : *from_manager;
  TW_ASSIGN_OR_RETURN(const http::ListenerAddress address, http::AddressOfListener(listener));
  if (config.predecessor && config.listen.port != 0 && config.listen.port != address.port) {
    telemetry::Log(
        telemetry::Level::kWarn,
        fmt::format("an upgrade keeps its port: {}, not {}; stop the server and start it "
                    "anew to change that",
                    address.port, config.listen.port));
  }
  config.listen.listener = listener;
  config.listen.host = address.host;
  config.listen.port = address.port;
  return {};
}

Result<ServeConfig> ReadConfig(const Settings& settings) {
  constexpr int64_t kLoadedMax = 16;
  constexpr int kCpusForTwoLoops = 8;  // fewer belong to the engine
  constexpr int64_t kConnectionsMost = 65'536;
  ServeConfig config;
  config.listen.host = settings.Text("host");
  TW_ASSIGN_OR_RETURN(const auto port, settings.Integer("port", 0, 65535));
  config.listen.port = static_cast<uint16_t>(*port);
  TW_RETURN_IF_ERROR(UsePassedListener(config));
  config.listen.threads = engine::AllowedCpus() >= kCpusForTwoLoops ? 2 : 1;
  TW_ASSIGN_OR_RETURN(const auto connections, settings.Integer("connections", 1, kConnectionsMost));
  config.listen.connections_max = *connections;
  TW_ASSIGN_OR_RETURN(config.home, HomeFolder(settings));
  // Damaged, they stop a start before anything is changed: an older program may have to go on.
  TW_RETURN_IF_ERROR(pricing::LoadPrices(config.home));
  config.identity = IdentityOptions(config.home, settings);
  TW_ASSIGN_OR_RETURN(config.local.engine, ReadEngineOptions(settings));
  TW_ASSIGN_OR_RETURN(const auto loaded, settings.Integer("loaded", 1, kLoadedMax));
  config.local.loaded_max = static_cast<int>(*loaded);
  TW_ASSIGN_OR_RETURN(config.idle_exit, settings.Duration("idle-exit"));
  config.access_log = settings.Text("access-log");
  TW_ASSIGN_OR_RETURN(config.times.first_byte_ms, Milliseconds(settings, "first-byte"));
  TW_ASSIGN_OR_RETURN(config.times.whole_answer_ms, Milliseconds(settings, "whole-answer"));
  TW_ASSIGN_OR_RETURN(config.times.stall_ms, Milliseconds(settings, "stall"));
  TW_ASSIGN_OR_RETURN(config.times.deadline_ms, Milliseconds(settings, "deadline"));
  TW_ASSIGN_OR_RETURN(config.drain_ms, Milliseconds(settings, "drain"));
  for (const auto& [flag, time] : {std::pair("billing-every", &config.billing.every),
                                   std::pair("billing-give-up", &config.billing.give_up),
                                   std::pair("billing-deadline", &config.billing.deadline)}) {
    TW_ASSIGN_OR_RETURN(const int64_t ms, Milliseconds(settings, flag));
    *time = std::chrono::milliseconds(ms);
  }
  TW_ASSIGN_OR_RETURN(config.adjust_daily, AdjustDaily(settings));
  TW_RETURN_IF_ERROR(CheckTax(settings));
  config.issuer = IssuerOf(settings);
  TW_ASSIGN_OR_RETURN(config.keep_requests, KeepRequests(settings));
  config.counts_nothing = settings.environment()("TRADEWIND_BENCH_NO_LEDGER").has_value();
  if (config.counts_nothing) {
    telemetry::Log(
        telemetry::Level::kWarn,
        "TRADEWIND_BENCH_NO_LEDGER is set: no request is counted, and budgets are not kept");
  }
  TW_ASSIGN_OR_RETURN(const AlertsConfig alerts, LoadAlertsConfig(settings));
  TW_ASSIGN_OR_RETURN(config.alerts, MakeAlerts(alerts, settings.environment()));
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
  std::unique_ptr<telemetry::AccessLog> access_log;
  std::unique_ptr<identity::Store> identity;
  std::unique_ptr<alerts::Watch> watch;
  std::unique_ptr<billing::Books> books;
  std::unique_ptr<console_api::MoneyApi> money_api;
  std::unique_ptr<console_api::BillApi> bill_api;
  std::unique_ptr<console_api::AlertsApi> alerts_api;
  std::unique_ptr<console_api::KeysApi> keys_api;
  std::unique_ptr<providers::LocalProvider> local;
  std::unique_ptr<http::UpstreamClient> upstreams;
  std::unique_ptr<alerts::Service> alerts;
  std::unique_ptr<routing::Marketplace> market;
  std::unique_ptr<gateway::Prober> prober;
  std::unique_ptr<LiveMarket> live_market;
  std::unique_ptr<gateway::Reconciler> reconciler;  // asks live_market for usage interfaces
  std::unique_ptr<gateway::Recounter> recounter;
  std::unique_ptr<gateway::Gateway> gateway;
  std::unique_ptr<http::Server> server;
};

// What a killed process left is told, so that an operator knows why a budget has less left.
Status OpenBooks(const ServeConfig& config, Parts& parts) {
  parts.watch =
      std::make_unique<alerts::Watch>(config.alerts.policy, console_api::OwnersIn(*parts.identity));
  TW_ASSIGN_OR_RETURN(parts.books, billing::Books::Open(config.home, SystemClock(),
                                                        parts.watch.get(), config.keep_requests));
  if (config.counts_nothing && !parts.books->ledger().Budgets().empty()) {
    return Fail(ErrorCode::kUnsupported,
                "there are budgets, and with TRADEWIND_BENCH_NO_LEDGER nothing would keep them; "
                "unset it");
  }
  const ledger::Recovery& found = parts.books->ledger().recovery();
  if (found.in_doubt_cost > 0) {
    telemetry::Log(
        telemetry::Level::kWarn,
        fmt::format("the last process was ended while requests ran: {} had not been sent "
                    "and are void, {} are in doubt and stay held (tradewind usage)",
                    found.voided, found.in_doubt));
  }
  return {};
}

Status OpenIdentity(const ServeConfig& config, Parts& parts) {
  TW_RETURN_IF_ERROR(CheckWhole(config.home));
  TW_ASSIGN_OR_RETURN(parts.identity, identity::Store::Open(config.identity));
  TW_RETURN_IF_ERROR(OpenBooks(config, parts));
  parts.money_api = std::make_unique<console_api::MoneyApi>(
      parts.books->ledger(), parts.books->recorder(), *parts.identity, config.adjust_daily);
  parts.bill_api = std::make_unique<console_api::BillApi>(*parts.books, *parts.identity,
                                                          config.home, config.issuer);
  parts.alerts_api =
      std::make_unique<console_api::AlertsApi>(parts.books->ledger(), parts.books->recorder(),
                                               *parts.identity, config.alerts.policy.throttle);
  parts.keys_api = std::make_unique<console_api::KeysApi>(*parts.identity, parts.money_api.get());
  if (!IsLoopback(config.listen.host) && !parts.identity->has_live_key()) {
    return Fail(ErrorCode::kPermissionDenied,
                fmt::format("listening on {} needs a token to tell callers apart, and there is "
                            "none; create one with `tradewind keys create --name NAME`",
                            config.listen.host),
                "host");
  }
  return {};
}

void AdmitByTokens(const Settings& settings, const ServeConfig& config, const Parts& parts,
                   gateway::GatewayOptions& options) {
  options.admission.listener_is_loopback = IsLoopback(config.listen.host);
  options.admission.keys = &parts.identity->keys();
  options.admission.cors_origins = settings.market().cors_origins;
  options.provider_secrets = &parts.identity->provider_secrets();
  options.meter = config.counts_nothing ? nullptr : &parts.books->meter();
  options.replays = &parts.books->replays();
  options.console = [&keys = *parts.keys_api, &money = *parts.money_api, &bill = *parts.bill_api,
                     &alerts = *parts.alerts_api](const http::Request& request,
                                                  const identity::Principal& caller) {
    return console_api::AlertsApi::Has(request.path)  ? alerts.Answer(request, caller)
           : console_api::BillApi::Has(request.path)  ? bill.Answer(request, caller)
           : console_api::MoneyApi::Has(request.path) ? money.Answer(request, caller)
                                                      : keys.Answer(request, caller);
  };
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR2}) {
    sigaddset(&signals, signal);
  }
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

bool EndsTheServer(int signal) {
  return signal == SIGINT || signal == SIGTERM;
}

// A successor loads its model while the old server goes on, and only then takes the data folder.
Status LoadBeforeTakingOver(const ServeConfig& config, providers::ModelPool& pool) {
  if (!config.model.empty()) {
    TW_RETURN_IF_ERROR(pool.Preload(config.model));
  }
  while (!config.model.empty() && !pool.was_loaded(config.model) &&
         !config.predecessor->is_gone()) {
    if (const auto failed = pool.load_error(config.model)) {
      if (config.model_is_named) {
        return Fail(*failed);
      }
      break;  // as at any other start: it serves without
    }
    if (EndsTheServer(AwaitSignal(std::chrono::milliseconds(20)))) {
      return Fail(ErrorCode::kCancelled, "ended before it took over");
    }
  }
  return config.predecessor->AwaitHome();
}

void StartReconciler(const ServeConfig& config, Parts& parts) {
  gateway::ReconcilerOptions options = config.billing;
  options.own_key = [&secrets = parts.identity->provider_secrets()](
                        std::string_view org_id, std::string_view user_id,
                        std::string_view provider) -> std::optional<std::string> {
    const auto found = secrets.Find(org_id, user_id, provider);
    return found.has_value() && found->owner != identity::OwnerKind::kServer
               ? std::optional(std::string(found->secret->Reveal()))
               : std::nullopt;
  };
  options.has_twin = [&recorder = parts.books->recorder()](
                         std::string_view provider, std::string_view id, ledger::HoldId hold) {
    return recorder.HasTwin(provider, id, hold);
  };
  options.usage_sources = [&market = *parts.live_market] { return market.UsageSources(); };
  options.take_usage = [&money = *parts.money_api](const gateway::UsageSource& source,
                                                   const gateway::UsageDays& days,
                                                   std::vector<billing::BillLine> lines) {
    return money.TakeUsage(source.provider, days.from_s, days.to_s, std::move(lines));
  };
  parts.reconciler = std::make_unique<gateway::Reconciler>(*parts.market, parts.books->ledger(),
                                                           parts.books->meter(), parts.metrics,
                                                           std::move(options));
}

Status StartParts(const Settings& settings, const ServeConfig& config, Parts& parts) {
  parts.local =
      std::make_unique<providers::LocalProvider>(config.models, config.local, engine::Engine::Load);
  if (config.predecessor) {
    TW_RETURN_IF_ERROR(LoadBeforeTakingOver(config, parts.local->pool()));
  }
  TW_RETURN_IF_ERROR(OpenIdentity(config, parts));
  if (config.access_log != "none") {
    TW_ASSIGN_OR_RETURN(parts.access_log, telemetry::AccessLog::Open(
                                              config.access_log == "-" ? "" : config.access_log));
  }
  parts.upstreams = http::UpstreamClient::Create();
  parts.alerts = std::make_unique<alerts::Service>(config.alerts, *parts.watch, *parts.books,
                                                   *parts.upstreams);
  parts.live_market = std::make_unique<LiveMarket>(settings, config.home, config.models,
                                                   parts.identity->provider_secrets());
  TW_ASSIGN_OR_RETURN(auto routes, parts.live_market->Build());
  parts.market = std::make_unique<routing::Marketplace>(std::move(routes), parts.upstreams.get(),
                                                        SystemClock(), SystemRandom());
  parts.money_api->NamesFrom(
      [&market = *parts.market] { return market.board.Get()->shared_catalog(); });
  parts.prober = std::make_unique<gateway::Prober>(
      *parts.market, parts.metrics, config.counts_nothing ? nullptr : &parts.books->meter());
  parts.live_market->Serve(*parts.market, *parts.prober);
  StartReconciler(config, parts);
  parts.recounter = std::make_unique<gateway::Recounter>(
      config.models, LoadTokenCounter, [&watch = *parts.watch](const gateway::Recount& recount) {
        watch.Counted(recount.provider, recount.model, recount.told, recount.counted);
      });
  gateway::GatewayOptions options;
  options.recounter = parts.recounter.get();
  options.prober = parts.prober.get();
  options.default_model = config.model;
  options.idle_exit = config.idle_exit;
  options.times = config.times;
  AdmitByTokens(settings, config, parts, options);
  parts.gateway = std::make_unique<gateway::Gateway>(options, *parts.local, *parts.market,
                                                     parts.metrics, parts.access_log.get());
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
  parts.prober->MarketChanged();  // not before the port is ours: a probe may cost money
  return {};
}

void Announce(const ServeConfig& config, const ServerRecord& record, double load_ms) {
  telemetry::Log(telemetry::Level::kInfo,
                 fmt::format("{} is ready after {:.1f}s", config.model, load_ms / 1000));
  if (IsTerminal(stderr)) {
    fmt::print(stderr,
               "try: curl {}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
               "       -d "
               "'{{\"model\":\"{}\",\"max_tokens\":100,\"messages\":[{{\"role\":\"user\","
               "\"content\":\"Hello\"}}]}}'\n",
               record.Url(), config.model);
    fmt::print(stderr, "admin token: {}\n", (config.home / identity::kAdminTokenFile).string());
  }
}

// When keys were used last, now and then: requests do not wait for the disk.
void FlushLastUse(identity::Store& store, std::chrono::steady_clock::time_point& flushed) {
  const auto now = SystemClock().Now();
  if (MsBetween(flushed, now) < limits::kLastUseFlushMs) {
    return;
  }
  flushed = now;
  if (const Status written = store.FlushLastUse(); !written) {
    telemetry::Log(telemetry::Level::kWarn, written.error().message);
  }
}

// Providers, prices, keys, routes and CORS origins anew; running answers keep what they began with.
// A config that is wrong changes nothing.
void ReloadMarket(Parts& parts) {
  const Result<Settings> fresh = parts.live_market->Reload();
  if (!fresh.has_value()) {
    telemetry::Log(telemetry::Level::kError, fmt::format("the config stays as it was: {}",
                                                         WithoutControls(fresh.error().message)));
    return;
  }
  parts.gateway->SetCorsOrigins(fresh->market().cors_origins);
  telemetry::Log(telemetry::Level::kInfo, "the config was read again");
}

// Runs until a signal ends it (returned; SIGUSR2 when a successor has taken over), until it has
// been idle for long enough (0), or until the named model fails to load.
Result<int> RunUntilStopped(const ServeConfig& config, const ServerRecord& record,
                            const HomeLock& lock, Parts& parts) {
  constexpr auto kTick = std::chrono::milliseconds(100);
  const auto started = SystemClock().Now();
  auto loaded = started;  // the time that loading took is not idle time
  auto flushed = started;
  Upgrade upgrade(config.home, record, {parts.server->listener(), lock.descriptor()}, *parts.server,
                  *parts.identity, *parts.books);
  bool is_loading = !config.model.empty();
  if (is_loading) {
    TW_RETURN_IF_ERROR(parts.local->pool().Preload(config.model));
  }
  while (true) {
    const bool is_watching = is_loading || config.idle_exit.count() > 0;
    const int signal = AwaitSignal(upgrade.is_under_way() ? kTick / 5
                                   : is_watching          ? kTick
                                                          : 100 * kTick);
    if (signal == SIGHUP) {
      ReloadMarket(parts);
    } else if (signal == SIGUSR2) {
      upgrade.Begin();
    } else if (signal != 0) {
      return signal;
    }
    if (upgrade.Advance()) {
      return SIGUSR2;
    }
    FlushLastUse(*parts.identity, flushed);
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
    const bool busy = is_loading || upgrade.is_under_way() || parts.gateway->in_flight() > 0;
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

// Lets running answers finish; a second signal ends the process at once. With a successor, what
// comes on connections that are open is answered too, and the data folder is left alone.
ExitCode Drain(const ServeConfig& config, Parts& parts, int signal) {
  const bool handed_over = signal == SIGUSR2;
  int64_t deadline_ms = config.drain_ms;
  int64_t idle_grace_ms = 0;
  if (handed_over) {
    telemetry::Log(telemetry::Level::kInfo,
                   "upgrade: the new process serves; this one ends when "
                   "its running answers have");
    deadline_ms = std::max(limits::kUpgradeDrainMs, config.times.deadline_ms);
    idle_grace_ms = limits::kUpgradeIdleGraceMs;
  } else {
    telemetry::Log(telemetry::Level::kInfo,
                   "stopping: running answers may finish; once more stops at once");
    parts.gateway->Drain();
  }
  std::atomic<bool> is_done{false};
  bool finished = false;
  std::thread drain([&] {
    finished = parts.server->Drain(deadline_ms, idle_grace_ms);
    is_done.store(true);
  });
  while (!is_done.load()) {
    if (const int second = AwaitSignal(std::chrono::milliseconds(20)); EndsTheServer(second)) {
      if (!handed_over) {
        RemoveServerRecord(config.home);
      }
      std::_Exit(
          static_cast<int>(CutBy(second)));  // threads and sockets are the system's to clear away
    }
  }
  drain.join();
  return finished || signal == 0 || handed_over ? ExitCode::kDone : CutBy(signal);
}

}  // namespace

Result<ExitCode> RunServe(const Settings& settings) {
  const sigset_t signals = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals,
                    nullptr);  // before any thread starts: only AwaitSignal sees them
  ::signal(SIGPIPE, SIG_IGN);
  TW_ASSIGN_OR_RETURN(const ServeConfig config, ReadConfig(settings));
  TW_RETURN_IF_ERROR(EnsurePrivateFolder(config.home));
  TW_ASSIGN_OR_RETURN(HomeLock taken, config.predecessor
                                          ? HomeLock::Adopt(config.home, config.predecessor->lock())
                                          : HomeLock::Take(config.home));
  std::optional<HomeLock> lock(std::move(taken));
  Parts parts;
  TW_RETURN_IF_ERROR(StartParts(settings, config, parts));
  const ServerRecord record{
      .host = config.listen.host,
      .port = parts.server->port(),
      .pid = ::getpid(),
      .version = TW_VERSION,
  };
  if (const Status written = WriteServerRecord(config.home, record); !written) {
    return Fail(WithNextStep(written.error(),
                             "free some space, or choose another data folder with --home"));
  }
  if (config.predecessor) {
    config.predecessor->SayServing();
    telemetry::Log(telemetry::Level::kInfo,
                   fmt::format("upgrade: version {} serves on {}", TW_VERSION, record.Url()));
  } else {
    Print(fmt::format("listening on {}\n", record.Url()));
    TW_RETURN_IF_ERROR(OutputStatus());
  }
  NotifyManager(fmt::format("READY=1\nMAINPID={}", ::getpid()));
  const Result<int> stopped = RunUntilStopped(config, record, *lock, parts);
  if (!stopped) {
    RemoveServerRecord(config.home);
    return Fail(stopped.error());
  }
  if (*stopped == SIGUSR2) {
    lock.reset();          // the successor's alone from here on
    parts.prober->Stop();  // likewise: two that probe would pay twice
    parts.reconciler->Stop();
    return Drain(config, parts, *stopped);
  }
  const ExitCode code = Drain(config, parts, *stopped);
  RemoveServerRecord(config.home);
  return code;
}

}  // namespace tradewind::cli
