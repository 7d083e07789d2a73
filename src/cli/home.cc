#include "cli/home.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <signal.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "dialects/json_writer.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;
constexpr size_t kRecordBytesMax = 4096;
constexpr int kPrivateHomesMax = 256;

std::unexpected<Error> SystemError(const std::string& what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Fail(full ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
              fmt::format("{}: {}; choose another folder with --home{}", what, std::strerror(error),
                          full ? " or free some space" : ""));
}

int OpenLock(const fs::path& home, int extra_flags) {
  return ::open((home / "lock").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | extra_flags, 0600);
}

std::optional<ServerRecord> ReadServerRecord(const fs::path& home) {
  const auto text = ReadFile(home / "server.json", kRecordBytesMax);
  boost::system::error_code failed;
  const boost::json::value root = text ? boost::json::parse(*text, failed) : boost::json::value();
  if (failed || !root.is_object()) {
    return std::nullopt;
  }
  const auto& object = root.get_object();
  const auto* host = object.if_contains("host");
  const auto* port = object.if_contains("port");
  const auto* pid = object.if_contains("pid");
  if (host == nullptr || !host->is_string() || port == nullptr || !port->is_int64() ||
      pid == nullptr || !pid->is_int64()) {
    return std::nullopt;
  }
  const int64_t port_number = port->get_int64(), pid_number = pid->get_int64();
  if (port_number < 1 || port_number > 65535 || pid_number < 1 || pid_number > INT32_MAX) {
    return std::nullopt;
  }
  const auto* failed_upgrades = object.if_contains("failed_upgrades");
  const auto text_of = [&](std::string_view name) {
    const auto* value = object.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  };
  return ServerRecord{
      .host = std::string(host->get_string()),
      .port = static_cast<uint16_t>(port_number),
      .pid = static_cast<pid_t>(pid_number),
      .version = text_of("version"),
      .failed_upgrades = failed_upgrades != nullptr && failed_upgrades->is_int64()
                             ? failed_upgrades->get_int64()
                             : 0,
      .upgrade_error = text_of("upgrade_error"),
      .home = home,
  };
}

}  // namespace

std::optional<fs::path> XdgFolder(const Environment& environment, const std::string& variable,
                                  const std::string& fallback) {
  if (const auto value = environment(variable); value && fs::path(*value).is_absolute()) {
    return fs::path(*value);
  }
  if (const auto home = environment("HOME"); home && fs::path(*home).is_absolute()) {
    return fs::path(*home) / fallback;
  }
  return std::nullopt;
}

Result<fs::path> HomeFolder(const Settings& settings) {
  if (const auto named = settings.Find("home"); named && !named->text.empty()) {
    std::error_code failed;
    fs::path path = fs::absolute(named->text, failed);
    return failed ? fs::path(named->text) : path;
  }
  if (const auto data = XdgFolder(settings.environment(), "XDG_DATA_HOME", ".local/share")) {
    return *data / "tradewind";
  }
  return Fail(ErrorCode::kInvalidArgument,
              "there is no home folder to keep data in; set TRADEWIND_HOME or --home");
}

Result<fs::path> ModelsFolder(const Settings& settings) {
  // Verbs without the flag follow the same variable and config key as serve.
  const Flag* flag = FindFlag(*FindCommand("serve"), "models-dir");
  if (const auto named = settings.Find(*flag); named && !named->text.empty()) {
    return fs::path(named->text);
  }
  TW_ASSIGN_OR_RETURN(const fs::path home, HomeFolder(settings));
  return home / "models";
}

Status EnsurePrivateFolder(const fs::path& folder) {
  std::error_code failed;
  if (fs::is_directory(folder, failed)) {
    return {};
  }
  if (folder.has_parent_path() && folder.parent_path() != folder) {
    fs::create_directories(folder.parent_path(), failed);
  }
  if (!failed && ::mkdir(folder.c_str(), 0700) == 0) {
    return {};
  }
  const int error = failed ? failed.value() : errno;
  if (error == EEXIST && fs::is_directory(folder, failed)) {
    return {};  // another process was quicker
  }
  return SystemError(fmt::format("cannot create the data folder {}", folder.string()), error);
}

// Made in the order identity.db, invoices.db, journal, ledger.db: so none is missing because a
// first start was broken off.
Status CheckWhole(const fs::path& home) {
  const auto lacks = [&](std::string_view name, std::string_view has, std::string_view way_out) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{} is missing, and {} is there: restore it from the backup that the "
                            "other files are of.{}",
                            (home / name).string(), has, way_out));
  };
  std::error_code error;
  const fs::directory_iterator segments(home / "journal", error);
  if (error && error != std::errc::no_such_file_or_directory) {
    return {};  // it is there, and who opens it says what is wrong with it
  }
  if (error || segments == fs::directory_iterator()) {
    return fs::exists(home / "ledger.db", error) ? Status(lacks("journal", "ledger.db", ""))
                                                 : Status();
  }
  for (const char* name : {"identity.db", "invoices.db"}) {
    if (!fs::exists(home / name, error)) {
      return lacks(name, "the journal",
                   " Where it is lost for good, or never was there, create an empty one: "
                   "docs/operating/backup.md says what that means.");
    }
  }
  return {};
}

std::string ServerRecord::Url() const {
  return host.find(':') == host.npos ? fmt::format("http://{}:{}", host, port)
                                     : fmt::format("http://[{}]:{}", host, port);
}

Result<HomeLock> HomeLock::Take(const fs::path& home) {
  HomeLock lock(OpenLock(home, O_CREAT));
  if (lock.descriptor_ < 0) {
    return SystemError(fmt::format("cannot open {}", (home / "lock").string()), errno);
  }
  // Others hold a shared lock for an instant while they ask whether a server runs: so a refusal is
  // not yet an answer.
  constexpr int kTries = 20;
  for (int i = 0; i < kTries; ++i) {
    if (::flock(lock.descriptor_, LOCK_EX | LOCK_NB) == 0) {
      return lock;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (errno != EWOULDBLOCK) {
    return SystemError(fmt::format("cannot lock {}", (home / "lock").string()), errno);
  }
  const auto holder = ReadServerRecord(home);
  const std::string who = holder ? fmt::format(" (pid {}, {})", holder->pid, holder->Url()) : "";
  return Fail(ErrorCode::kAddressInUse,
              fmt::format("another tradewind server{} already runs with the data folder {}; use "
                          "it, stop it with `kill {}`, "
                          "or give this one its own --home",
                          who, home.string(), holder ? std::to_string(holder->pid) : "PID"));
}

Result<HomeLock> HomeLock::Adopt(const fs::path& home, int descriptor) {
  HomeLock lock(descriptor);
  struct stat passed{}, own{};
  if (::fstat(descriptor, &passed) != 0 || ::stat((home / "lock").c_str(), &own) != 0 ||
      passed.st_dev != own.st_dev || passed.st_ino != own.st_ino) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("the data folder {} is not that of the server to take over from; stop "
                            "that and start anew to change the folder",
                            home.string()),
                "home");
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0 ||
      ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
    return SystemError(fmt::format("cannot take over the lock of {}", home.string()), errno);
  }
  return lock;
}

HomeLock::~HomeLock() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

Status WriteServerRecord(const fs::path& home, const ServerRecord& record) {
  dialects::JsonWriter json;
  json.BeginObject()
      .Field("schema", "tradewind.server/v1")
      .Field("address", record.Url())
      .Field("host", record.host)
      .Field("port", record.port)
      .Field("pid", record.pid)
      .Field("version", record.version);
  if (record.failed_upgrades > 0) {
    json.Field("failed_upgrades", record.failed_upgrades)
        .Field("upgrade_error", record.upgrade_error);
  }
  json.EndObject();
  return WriteFileAtomic(home / "server.json", json.Take() + "\n", 0600);
}

void RemoveServerRecord(const fs::path& home) {
  std::error_code ignored;
  fs::remove(home / "server.json", ignored);
}

bool IsLockHeld(const fs::path& home) {
  const int descriptor = OpenLock(home, 0);
  if (descriptor < 0) {
    return false;
  }
  const bool held = ::flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(descriptor);
  return held;
}

std::optional<ServerRecord> FindServer(const fs::path& home) {
  auto record = ReadServerRecord(home);
  if (!record || (::kill(record->pid, 0) != 0 && errno == ESRCH) || !IsLockHeld(home)) {
    return std::nullopt;
  }
  return record;
}

fs::path PrivateHome(const fs::path& home, const fs::path& model_file, std::string_view settings) {
  std::error_code failed;
  fs::path file = fs::canonical(model_file, failed);
  file = failed ? model_file : file;
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: names a folder, guards nothing
  for (const char c : file.string() + '\0' + std::string(settings)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return home / "private" / fmt::format("{:016x}", hash);
}

std::vector<ServerRecord> FindServers(const fs::path& home) {
  std::vector<ServerRecord> out;
  if (auto own = FindServer(home)) {
    out.push_back(std::move(*own));
  }
  std::error_code failed;
  int seen = 0;
  for (fs::directory_iterator it(home / "private", failed), end;
       !failed && it != end && seen < kPrivateHomesMax; it.increment(failed), ++seen) {
    if (auto record = FindServer(it->path())) {
      out.push_back(std::move(*record));
    }
  }
  return out;
}

}  // namespace tradewind::cli
