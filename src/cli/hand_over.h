// An upgrade in place, both sides: a running server starts its successor, which inherits the
// listening socket, the lock of the data folder and one end of a pair of sockets. Over that pair:
//
//   successor   "loaded"        config read, model in memory; nothing in the data folder touched
//   predecessor "home"          its database is closed: the folder is the successor's
//   successor   "serving"       accepts, and server.json says so; the predecessor drains
//   successor   "failed TEXT"   instead of any of these; so does its end without a word
//
// Until "serving" the predecessor can take everything back: it ends the successor, and goes on. A
// successor whose predecessor has died goes on too, with what it has inherited.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

#include "base/clock.h"
#include "base/result.h"

namespace tradewind::cli {

// --- The old process

class Successor {
 public:
  enum class News { kNone, kLoaded, kServing, kFailed };

  // Starts this program anew: the same words, the file that its name leads to now, the environment
  // of this process. Errors: kIo, kNotFound (no such file any more).
  static Result<Successor> Start(int listener, int lock, const Clock& clock = SystemClock());
  Successor(Successor&& other) noexcept;
  Successor& operator=(Successor&&) = delete;
  ~Successor();  // ends it, unless it serves

  // What has happened since the last call; does not wait. After kFailed its process is gone.
  News Poll();
  // After kLoaded: the data folder is its own.
  void GiveHome();
  const std::string& error() const { return error_; }  // after kFailed
  pid_t pid() const { return pid_; }

 private:
  Successor(pid_t pid, int control, const Clock& clock);
  News FailWith(std::string why);
  std::string HowItEnded();  // "" while it runs
  void End();

  pid_t pid_;  // -1: none is left to end
  int control_;
  const Clock* clock_;
  std::chrono::steady_clock::time_point deadline_;
  bool has_home_ = false;
  std::string error_;
};

// --- The new process

class Predecessor {
 public:
  // Absent when no server started this process as its successor.
  static std::optional<Predecessor> Find();

  // Open files, which whoever uses them closes.
  int listener() const { return listener_; }
  int lock() const { return lock_; }

  bool is_gone() const;  // it has died
  // Says that everything is loaded, and waits until the data folder is free. Errors:
  // kDeadlineExceeded.
  Status AwaitHome() const;
  void SayServing() const;  // the last word

 private:
  Predecessor(int listener, int lock, int control)
      : listener_(listener), lock_(lock), control_(control) {}

  int listener_, lock_;
  int control_;  // open to the end of the process: TellPredecessor finds it by its number
};

// The socket that a service manager has opened for this process: sd_listen_fds(3). Errors:
// kInvalidArgument for more than one.
Result<std::optional<int>> ListenerFromManager();

// Tells who started this process as a successor why it ends; does nothing otherwise.
void TellPredecessor(std::string_view why);

// "READY=1", "MAINPID=123": to the service manager, if one wants to hear: sd_notify(3).
void NotifyManager(const std::string& state);

// --- For tests

// Of the words a process was started with: the file to start. `path` is $PATH, `running` the file
// that runs now. Errors: kNotFound.
Result<std::string> ProgramFile(std::string_view word, std::string_view path,
                                const std::string& running);

}  // namespace tradewind::cli
