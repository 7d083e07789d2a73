// doctor: what about this machine matters for serving models.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <fstream>
#include <thread>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "cli/bench_limits.h"
#include "cli/home.h"
#include "cli/json_output.h"
#include "cli/model_file.h"
#include "cli/port_holder.h"
#include "cli/reply_fields.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "engine/kernels/kernels.h"
#include "engine/probe/probe.h"
#include "engine/threads/cgroup.h"
#include "engine/threads/cpus.h"
#include "http/server.h"
#include "ledger/ledger.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

enum class Verdict { kOk, kWarning, kFailure };

struct Check {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string detail;  // ends with the next step unless the verdict is kOk
};

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    if (line.starts_with("model name")) {
      return line.substr(std::min(line.find(':') + 2, line.size()));
    }
  }
  return "unknown CPU";
}

Check CheckCpu() {
  const auto kernels = engine::SelectKernels("");
  const std::string name = kernels ? std::string((*kernels)->name) : "none";
  const std::string detail =
      fmt::format("{}; {} kernels; {}", CpuModel(), name, engine::CpuFeatures());
  if (name == "scalar" || name == "none") {
    return {"cpu", Verdict::kWarning,
            detail + ": answers will be slow; use a CPU with AVX2 or AVX-512"};
  }
  return {"cpu", Verdict::kOk, detail};
}

Check CheckCores() {
  const auto limit = engine::ReadCgroupLimits().cpus;
  return {"cores", Verdict::kOk,
          fmt::format("{} of {} may be used{}", engine::AllowedCpus(),
                      std::max(1u, std::thread::hardware_concurrency()),
                      limit ? fmt::format("; the cgroup allows the time of {:.3g}", *limit)
                            : std::string("; no cgroup limit"))};
}

Check CheckMemory() {
  constexpr int64_t kLow = int64_t{1} << 30;
  const auto total = MemoryTotalBytes(), available = MemoryAvailableBytes();
  if (!total || !available) {
    return {"memory", Verdict::kWarning, "/proc/meminfo cannot be read; check memory yourself"};
  }
  const auto limit = engine::ReadCgroupLimits().memory_bytes;
  std::string detail =
      fmt::format("{} available of {}", FormatBytes(*available), FormatBytes(*total));
  detail += limit && *limit < *total ? fmt::format("; the cgroup allows {}", FormatBytes(*limit))
                                     : "; no cgroup limit";
  if (std::min(*available, limit.value_or(*available)) < kLow) {
    return {"memory", Verdict::kWarning,
            detail + ": only small models will fit; close other programs or use a smaller --ctx"};
  }
  return {"memory", Verdict::kOk, detail};
}

Check CheckHome(const fs::path& home) {
  struct stat status{};
  if (::stat(home.c_str(), &status) != 0) {
    return errno == ENOENT
               ? Check{"home", Verdict::kOk, fmt::format("{} (made on first use)", home.string())}
               : Check{"home", Verdict::kFailure,
                       fmt::format("{}: {}; choose another with --home", home.string(),
                                   std::strerror(errno))};
  }
  if (!S_ISDIR(status.st_mode) || ::access(home.c_str(), R_OK | W_OK | X_OK) != 0) {
    return {"home", Verdict::kFailure,
            fmt::format("{} is no folder that can be written; choose another with --home",
                        home.string())};
  }
  if ((status.st_mode & 077) != 0) {
    return {"home", Verdict::kWarning,
            fmt::format("{} is open to others; `chmod 700 {}`", home.string(), home.string())};
  }
  return {"home", Verdict::kOk, home.string()};
}

Check CheckDisk(const fs::path& home) {
  constexpr int64_t kLow = 5'000'000'000, kNothing = 100'000'000;
  fs::path folder = home;
  struct statvfs volume{};
  while (::statvfs(folder.c_str(), &volume) != 0) {  // the nearest folder that is there
    if (!folder.has_relative_path()) {
      return {"disk", Verdict::kWarning,
              fmt::format("free space for {} cannot be told; check it yourself", home.string())};
    }
    folder = folder.parent_path();
  }
  const int64_t free =
      static_cast<int64_t>(volume.f_bavail) * static_cast<int64_t>(volume.f_frsize);
  const std::string detail = fmt::format("{} free at {}", FormatBytes(free), folder.string());
  const ledger::DiskRoom room{static_cast<uint64_t>(free), volume.f_blocks * volume.f_frsize, {}};
  if (const uint64_t mark = ledger::LowWaterOf(room); room.free_bytes < mark) {
    return {"disk", Verdict::kFailure,
            fmt::format("{}: less than {} are kept for the records of what runs, so paid requests "
                        "are refused; free some space",
                        detail, FormatBytes(static_cast<int64_t>(mark)))};
  }
  if (free < kLow) {
    return {"disk", free < kNothing ? Verdict::kFailure : Verdict::kWarning,
            detail + ": models may not fit; free some space or choose another folder with --home"};
  }
  return {"disk", Verdict::kOk, detail};
}

Result<Check> CheckModels(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const fs::path folder, ModelsFolder(settings));
  TW_ASSIGN_OR_RETURN(const catalog::LocalModels models, ScanModels(settings));
  const size_t count = models.models().size();
  if (!models.warnings().empty()) {
    return Check{"models", Verdict::kWarning,
                 fmt::format("{} in {}; {}; look at `tradewind ls`", count, folder.string(),
                             models.warnings()[0])};
  }
  if (count == 0) {
    return Check{"models", Verdict::kWarning,
                 fmt::format("none in {}; put a GGUF file there", folder.string())};
  }
  return Check{"models", Verdict::kOk, fmt::format("{} in {}", count, folder.string())};
}

Result<Check> CheckPort(const Settings& settings, const fs::path& home) {
  TW_ASSIGN_OR_RETURN(const auto port, settings.Integer("port", 0, 65535));
  const std::string host = settings.Text("host");
  if (const auto server = FindServer(home); server && server->port == *port) {
    return Check{"port", Verdict::kOk,
                 fmt::format("{} is served by tradewind (pid {})", *port, server->pid)};
  }
  http::ServerOptions options;
  options.host = host;
  options.port = static_cast<uint16_t>(*port);
  const auto server = http::Server::Start(
      options, [](http::Exchange&) -> Task<void> { co_return; },
      [](const Error&) { return http::Response(); });
  if (server) {
    return Check{"port", Verdict::kOk, fmt::format("{}:{} is free", host, *port)};
  }
  const auto holder = FindPortHolder(static_cast<uint16_t>(*port));
  return Check{
      "port", Verdict::kFailure,
      holder ? fmt::format("{} is taken by {}; stop it or choose another --port", *port, *holder)
             : server.error().message};
}

// What a running server says of the money that it keeps; nullopt: none runs, or not yet.
std::optional<Check> CheckLedger(const Settings& settings, const fs::path& home) {
  const auto server = FindServer(home);
  const auto reply = server ? Get(EndpointOf(*server, settings), "/readyz")
                            : Result<Reply>(Fail(ErrorCode::kNotFound, ""));
  if (!reply || reply->status != 200) {
    return std::nullopt;
  }
  boost::system::error_code error;
  const boost::json::value body = boost::json::parse(reply->body, error);
  const std::string detail = body.is_object() ? reply::Text(body.get_object(), "detail") : "";
  return detail.empty() ? Check{"ledger", Verdict::kOk, "paid requests are recorded"}
                        : Check{"ledger", Verdict::kFailure, detail};
}

// Intel's and AMD's counters by the kernel's powercap interface; since Linux 5.10 for root alone.
Check CheckEnergy() {
  std::error_code ignored;
  fs::path locked;
  for (const auto& zone : fs::directory_iterator("/sys/class/powercap", ignored)) {
    const fs::path counter = zone.path() / "energy_uj";
    if (!fs::exists(counter, ignored)) {
      continue;
    }
    if (::access(counter.c_str(), R_OK) == 0) {
      return {"energy", Verdict::kOk, fmt::format("measured by {}", counter.string())};
    }
    locked = counter;
  }
  if (locked.empty()) {
    return {"energy", Verdict::kOk, "unknown: this machine shows no counter"};
  }
  return {"energy", Verdict::kWarning,
          fmt::format("unknown: only root may read {}; `chmod a+r` it to measure energy",
                      locked.string())};
}

Check CheckClock() {
  constexpr std::time_t kEarliest = 1'735'689'600;  // 2025: before this program was made
  const std::time_t now = std::time(nullptr);
  std::tm broken_down{};
  ::gmtime_r(&now, &broken_down);
  char text[32] = "";
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &broken_down);
  if (now < kEarliest) {
    return {
        "clock", Verdict::kFailure,
        fmt::format("it says {}, which is past; set it, or certificates and budgets will be wrong",
                    text)};
  }
  return {"clock", Verdict::kOk, text};
}

// The facts behind the checks, for scripts.
void WriteMachine(dialects::JsonWriter& json) {
  const auto kernels = engine::SelectKernels("");
  const engine::CgroupLimits limits = engine::ReadCgroupLimits();
  json.Field("cpu", CpuModel())
      .Field("cpu_features", engine::CpuFeatures())
      .Field("kernels", kernels ? (*kernels)->name : std::string_view("none"))
      .Field("cpus_allowed", engine::AllowedCpus());
  FieldOrNull(json, "cgroup_cpus", limits.cpus);
  FieldOrNull(json, "cgroup_memory_bytes", limits.memory_bytes);
}

// What `bench` holds a model's speed against.
struct Measured {
  int threads = 0;
  std::optional<double> read_gb_per_s;
  engine::DotPeaks peaks;
};

Result<Measured> Measure(const Settings& settings) {
  Measured out;
  out.threads = engine::AllowedCpus();
  if (settings.Text("threads") != "auto") {
    TW_ASSIGN_OR_RETURN(const auto threads, settings.Integer("threads", 1, limits::kThreadsMax));
    out.threads = static_cast<int>(threads.value_or(out.threads));
  }
  out.read_gb_per_s = engine::ProbeReadBandwidth(out.threads);
  out.peaks = engine::ProbeDotPeaks(out.threads);
  return out;
}

void WriteMeasured(dialects::JsonWriter& json, const Measured& measured) {
  json.Key("measured").BeginObject().Field("threads", measured.threads);
  FieldOrNull(json, "read_gb_per_s", measured.read_gb_per_s);
  WritePeaks(json, measured.peaks);
  json.EndObject();
}

Check CheckMeasured(const Measured& measured) {
  std::string detail = fmt::format("{} threads", measured.threads);
  if (measured.read_gb_per_s) {
    detail += fmt::format("; read {:.1f} GB/s", *measured.read_gb_per_s);
  }
  for (const auto* peak : {&measured.peaks.f32, &measured.peaks.int16, &measured.peaks.int8}) {
    if (*peak) {
      detail += fmt::format("; {:.0f} GMAC/s by {}", (*peak)->gmac_per_s, (*peak)->instruction);
    }
  }
  return {"speed", Verdict::kOk, detail};
}

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kFailure:
      return "fail";
  }
  return "fail";
}

}  // namespace

Result<ExitCode> RunDoctor(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const fs::path home, HomeFolder(settings));
  TW_ASSIGN_OR_RETURN(Check models, CheckModels(settings));
  TW_ASSIGN_OR_RETURN(Check port, CheckPort(settings, home));
  TW_ASSIGN_OR_RETURN(const bool measure, settings.Switch("measure"));
  std::optional<Measured> measured;
  if (measure) {
    TW_ASSIGN_OR_RETURN(measured, Measure(settings));
  }
  std::vector<Check> checks = {CheckCpu(),      CheckCores(),    CheckMemory(),
                               CheckHome(home), CheckDisk(home), std::move(models),
                               std::move(port), CheckEnergy(),   CheckClock()};
  if (std::optional<Check> ledger = CheckLedger(settings, home); ledger) {
    checks.push_back(std::move(*ledger));
  }
  if (measured) {
    checks.push_back(CheckMeasured(*measured));
  }
  const bool healthy = std::none_of(checks.begin(), checks.end(),
                                    [](const Check& c) { return c.verdict == Verdict::kFailure; });
  auto json = BeginJson("doctor");
  json.Field("healthy", healthy);
  WriteMachine(json);
  if (measured) {
    WriteMeasured(json, *measured);
  }
  json.Key("checks").BeginArray();
  std::vector<std::vector<std::string>> rows;
  for (const Check& check : checks) {
    json.BeginObject()
        .Field("name", check.name)
        .Field("verdict", VerdictName(check.verdict))
        .Field("detail", check.detail)
        .EndObject();
    rows.push_back({std::string(VerdictName(check.verdict)), check.name, check.detail});
  }
  json.EndArray();
  Print(as_json ? EndJson(json) : FormatTable(rows, false));
  return healthy ? ExitCode::kDone : ExitCode::kInternal;
}

}  // namespace tradewind::cli
