// upgrade: asks the running server to hand over to the installed program, and waits for what comes
// of it.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <signal.h>
#include <thread>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cli/hand_over.h"
#include "cli/home.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

// The record of the server that took over.
Result<ServerRecord> AwaitSuccessor(const fs::path& home, const ServerRecord& before) {
  constexpr auto kTick = std::chrono::milliseconds(50);
  const auto started = SystemClock().Now();
  while (MsBetween(started, SystemClock().Now()) <
         static_cast<double>(limits::kUpgradeLoadMs + limits::kUpgradeTakeOverMs)) {
    const auto now = FindServer(home);
    if (now && now->pid != before.pid) {
      return *now;
    }
    if (now && now->failed_upgrades > before.failed_upgrades) {
      return Fail(ErrorCode::kUnavailable,
                  fmt::format("the upgrade failed, and process {} serves on: {}", before.pid,
                              now->upgrade_error));
    }
    // A server that dies meanwhile leaves the lock to its successor, if that has come so far.
    if (!now && !IsLockHeld(home)) {
      return Fail(ErrorCode::kUnavailable,
                  fmt::format("process {} ended, and no other took over; start one with `tradewind "
                              "serve`",
                              before.pid));
    }
    std::this_thread::sleep_for(kTick);
  }
  return Fail(ErrorCode::kDeadlineExceeded,
              "the upgrade neither came to an end nor failed; the server's stderr may say more");
}

}  // namespace

Result<ExitCode> RunUpgrade(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const fs::path home, HomeFolder(settings));
  const auto before = FindServer(home);
  if (!before) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("no server runs with the data folder {}; start one with `tradewind "
                            "serve`, or name its folder with --home",
                            home.string()));
  }
  if (::kill(before->pid, SIGUSR2) != 0) {
    return Fail(errno == EPERM ? ErrorCode::kPermissionDenied : ErrorCode::kUnavailable,
                fmt::format("cannot signal process {}: {}; run this as the user who started it",
                            before->pid, std::strerror(errno)));
  }
  TW_ASSIGN_OR_RETURN(const ServerRecord after, AwaitSuccessor(home, *before));
  if (as_json) {
    auto out = BeginJson("upgrade");
    out.Field("address", after.Url()).Field("pid", after.pid).Field("version", after.version);
    out.Field("old_pid", before->pid).Field("old_version", before->version);
    Print(EndJson(out));
    return ExitCode::kDone;
  }
  Print(
      fmt::format("process {} (version {}) serves on {}; process {} (version {}) ends when its "
                  "running answers have\n",
                  after.pid, after.version, after.Url(), before->pid, before->version));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
