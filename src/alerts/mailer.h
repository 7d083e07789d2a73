// Runs an operator's command with a message on its stdin: no shell, and nothing of this process's
// environment but where programs are found.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"

namespace tradewind::alerts {

// One run. Destroyed before its end, the command is killed, and what it started.
class CommandRun {
 public:
  // `argv` has a program and its arguments; `message` is at most 32 KiB. Errors: kIo with what the
  // system says, kInvalidArgument.
  static Result<CommandRun> Start(const std::vector<std::string>& argv, const std::string& message);
  CommandRun(CommandRun&& other) noexcept;
  CommandRun& operator=(CommandRun&&) = delete;
  ~CommandRun();

  // Without waiting: nullopt while it runs; then whether its exit code was 0.
  std::optional<Status> Poll();

 private:
  explicit CommandRun(pid_t pid) : pid_(pid) {}
  pid_t pid_;
};

}  // namespace tradewind::alerts
