#include "alerts/mailer.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/wait.h>

namespace tradewind::alerts {
namespace {

constexpr size_t kMessageBytesMax = 32 << 10;  // a pipe takes twice that at once

std::unexpected<Error> Failed(std::string_view what, int system_error) {
  return Fail(ErrorCode::kIo, fmt::format("{}: {}", what, std::strerror(system_error)));
}

// Descriptors of the pipe, closed on every way out.
struct Pipe {
  int read = -1, write = -1;
  Pipe() = default;
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    for (const int end : {read, write}) {
      if (end >= 0) {
        ::close(end);
      }
    }
  }
};

struct SpawnSetup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

  explicit SpawnSetup(int input) {
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    for (const int output : {STDOUT_FILENO, STDERR_FILENO}) {
      posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0);
    }
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);  // a group of its own, killed as one
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

}  // namespace

Result<CommandRun> CommandRun::Start(const std::vector<std::string>& argv,
                                     const std::string& message) {
  if (argv.empty() || message.size() > kMessageBytesMax) {
    return Fail(ErrorCode::kInvalidArgument, "a command and a short message are needed");
  }
  Pipe pipe;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return Failed("a pipe", errno);
  }
  pipe.read = ends[0];
  pipe.write = ends[1];
  // Before there is a reader: a pipe is larger than the message.
  if (::write(pipe.write, message.data(), message.size()) != static_cast<ssize_t>(message.size())) {
    return Failed("writing to a pipe", errno);
  }
  std::vector<std::string> words = argv, variables;
  for (const char* name : {"PATH", "HOME", "USER", "LANG", "TZ"}) {
    if (const char* value = std::getenv(name); value != nullptr) {
      variables.push_back(fmt::format("{}={}", name, value));
    }
  }
  std::vector<char*> arguments, environment;
  for (auto& [from, to] : {std::pair(&words, &arguments), std::pair(&variables, &environment)}) {
    for (std::string& one : *from) {
      to->push_back(one.data());
    }
    to->push_back(nullptr);
  }
  const SpawnSetup setup(pipe.read);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, arguments[0], &setup.actions, &setup.attributes,
                                    arguments.data(), environment.data());
  if (failed != 0) {
    return Failed(argv[0], failed);
  }
  return CommandRun(pid);
}

CommandRun::CommandRun(CommandRun&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}

CommandRun::~CommandRun() {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

std::optional<Status> CommandRun::Poll() {
  int how = 0;
  const pid_t ended = ::waitpid(pid_, &how, WNOHANG);
  if (ended == 0) {
    return std::nullopt;
  }
  pid_ = -1;
  if (ended > 0 && WIFEXITED(how) && WEXITSTATUS(how) == 0) {
    return Status();
  }
  return Fail(ErrorCode::kIo, ended > 0 && WIFEXITED(how)
                                  ? fmt::format("the command ended with {}", WEXITSTATUS(how))
                                  : "the command was ended by a signal");
}

}  // namespace tradewind::alerts
