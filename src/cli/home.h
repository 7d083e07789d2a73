// The data folder: where it is, who holds it, and how other processes find the server that holds
// it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "cli/settings.h"

namespace tradewind::cli {

// $VARIABLE, or $HOME/fallback; nullopt when neither is an absolute path.
std::optional<std::filesystem::path> XdgFolder(const Environment& environment,
                                               const std::string& variable,
                                               const std::string& fallback);

// --home, TRADEWIND_HOME, or the XDG data folder's "tradewind". Not created. Errors:
// kInvalidArgument when there is none.
Result<std::filesystem::path> HomeFolder(const Settings& settings);

// --models-dir, TRADEWIND_MODELS, local.models_dir, or HOME/models.
Result<std::filesystem::path> ModelsFolder(const Settings& settings);

// Creates the folder and its parents; a new one gets mode 0700. Errors: kIo, kResourceExhausted.
Status EnsurePrivateFolder(const std::filesystem::path& folder);

// Whether what belongs together is there together: a start would make what is missing anew, keys
// and numbers of invoices among it. Errors: kCorruptFile naming the file that is missing.
Status CheckWhole(const std::filesystem::path& home);

// What a server says about itself in HOME/server.json.
struct ServerRecord {
  std::string host;
  uint16_t port = 0;
  pid_t pid = 0;
  std::string version;
  // Upgrades that came to nothing since the server started, and why the last one did.
  int64_t failed_upgrades = 0;
  std::string upgrade_error = {};
  std::filesystem::path home = {};  // where the record was found; not in the file

  std::string Url() const;  // "http://127.0.0.1:8737", "http://[::1]:8737"
};

// An exclusive flock on HOME/lock, held while this lives; the system drops it when the process
// ends, however it ends.
class HomeLock {
 public:
  // Errors: kAddressInUse when another process holds it (names its pid and address when known),
  // kIo.
  static Result<HomeLock> Take(const std::filesystem::path& home);
  // The lock of a process that started this one and passed its open file on; closed here in any
  // case. Both hold it then: it is free when both have let go. Errors: kInvalidArgument when it is
  // not the lock of `home`, kIo.
  static Result<HomeLock> Adopt(const std::filesystem::path& home, int descriptor);
  HomeLock(HomeLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  HomeLock& operator=(HomeLock&&) = delete;
  HomeLock(const HomeLock&) = delete;
  ~HomeLock();

  int descriptor() const { return descriptor_; }

 private:
  explicit HomeLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

Status WriteServerRecord(const std::filesystem::path& home, const ServerRecord& record);
void RemoveServerRecord(const std::filesystem::path& home);

// Whether a process holds the lock now.
bool IsLockHeld(const std::filesystem::path& home);

// The server that holds this home now. A record left behind by a process that died does not count:
// its pid must be alive and the lock must be held.
std::optional<ServerRecord> FindServer(const std::filesystem::path& home);

// Servers that `run` started live in HOME/private/<name>, each a home of its own, so that none
// stands in the way of `serve`. This is the folder for a model file served with `settings`: whoever
// asks with others gets another server, not one that ignores them.
std::filesystem::path PrivateHome(const std::filesystem::path& home,
                                  const std::filesystem::path& model_file,
                                  std::string_view settings);

// Every running server of this home: its own first, then the private ones.
std::vector<ServerRecord> FindServers(const std::filesystem::path& home);

}  // namespace tradewind::cli
