#include "cli/hand_over.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/limits.h"

namespace tradewind::cli {
namespace {

using std::chrono::milliseconds;

constexpr const char* kVariable = "TRADEWIND_HAND_OVER";  // "LISTENER:LOCK:CONTROL"
constexpr std::string_view kLoaded = "loaded", kHome = "home", kServing = "serving",
                           kFailed = "failed ";
constexpr size_t kMessageBytesMax = 2048;
constexpr size_t kCommandBytesMax = 1 << 20;
constexpr int kFirstManagerFile = 3;  // SD_LISTEN_FDS_START

std::unexpected<Error> SystemError(std::string_view what, int error) {
  return Fail(error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
              fmt::format("cannot {}: {}", what, std::strerror(error)));
}

void Send(int control, std::string_view message) {
  // Whoever has died needs no word, and an empty pair of sockets has room for a few.
  static_cast<void>(::send(control, message.data(), std::min(message.size(), kMessageBytesMax),
                           MSG_NOSIGNAL | MSG_DONTWAIT));
}

// A message; "" when the other side has gone; nullopt when there is none within `patience`.
std::optional<std::string> Receive(int control, milliseconds patience) {
  pollfd entry{control, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&entry, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) {
    return std::nullopt;
  }
  std::array<char, kMessageBytesMax> buffer{};
  const ssize_t n = ::recv(control, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    return std::nullopt;
  }
  return std::string(buffer.data(), n > 0 ? static_cast<size_t>(n) : 0);
}

// The words this process was started with.
Result<std::vector<std::string>> OwnWords() {
  TW_ASSIGN_OR_RETURN(const std::string text, ReadFile("/proc/self/cmdline", kCommandBytesMax));
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (words.empty()) {
    return Fail(ErrorCode::kIo, "cannot read the command line of this process");
  }
  return words;
}

std::string RunningFile() {
  std::array<char, 4096> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size());
  std::string file(path.data(), n > 0 ? static_cast<size_t>(n) : 0);
  constexpr std::string_view kReplaced = " (deleted)";
  if (file.ends_with(kReplaced)) {
    file.resize(file.size() - kReplaced.size());
  }
  return file;
}

// This process's environment, without what was meant for it alone.
std::vector<std::string> SuccessorEnvironment(int listener, int lock, int control) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    if (name != kVariable && name != "LISTEN_PID" && name != "LISTEN_FDS" &&
        name != "LISTEN_FDNAMES") {
      out.emplace_back(text);
    }
  }
  out.push_back(fmt::format("{}={}:{}:{}", kVariable, listener, lock, control));
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) {
    out.push_back(text.data());
  }
  out.push_back(nullptr);
  return out;
}

// posix_spawn rather than fork: the page tables of a large model are not copied, and no other
// thread's lock is in the way. Signals are let through again and handled as by default. `files`
// stay open in the new process under their numbers.
Result<pid_t> Spawn(const std::string& file, std::vector<std::string> words,
                    std::vector<std::string> environment, const std::array<int, 3>& files) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  for (const int number : files) {
    ::posix_spawn_file_actions_adddup2(&actions, number, number);  // clears FD_CLOEXEC
  }
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, file.c_str(), &actions, &attributes, Pointers(words).data(),
                                  Pointers(environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return SystemError(fmt::format("start {}", file), error);
  }
  return pid;
}

std::optional<std::array<int, 3>> InheritedFiles() {
  const char* text = std::getenv(kVariable);
  std::array<int, 3> files{};
  const char* end = text == nullptr ? nullptr : text + std::strlen(text);
  for (size_t i = 0; i < files.size(); ++i) {
    if (text == nullptr) {
      return std::nullopt;
    }
    const auto [rest, error] = std::from_chars(text, end, files[i]);
    if (error != std::errc() || files[i] <= STDERR_FILENO ||
        (i + 1 < files.size() ? *rest != ':' : rest != end)) {
      return std::nullopt;
    }
    text = rest + 1;
  }
  return files;
}

bool IsControl(int file) {
  int type = 0, domain = 0;
  socklen_t size = sizeof(type);
  return ::getsockopt(file, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
         ::getsockopt(file, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

}  // namespace

Result<std::string> ProgramFile(std::string_view word, std::string_view path,
                                const std::string& running) {
  if (word.find('/') != word.npos) {
    return std::string(word);  // a link in it may lead elsewhere by now: that is the point
  }
  while (!word.empty() && !path.empty()) {
    const size_t colon = path.find(':');
    const std::string file = fmt::format("{}/{}", path.substr(0, colon), word);
    if (::access(file.c_str(), X_OK) == 0) {
      return file;
    }
    path = colon == path.npos ? "" : path.substr(colon + 1);
  }
  if (running.empty() || ::access(running.c_str(), X_OK) != 0) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("the program {} is not there any more; put it back", running));
  }
  return running;
}

// --- The old process

Result<Successor> Successor::Start(int listener, int lock, const Clock& clock) {
  TW_ASSIGN_OR_RETURN(std::vector<std::string> words, OwnWords());
  const char* path = std::getenv("PATH");
  TW_ASSIGN_OR_RETURN(const std::string file,
                      ProgramFile(words[0], path == nullptr ? "" : path, RunningFile()));
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return SystemError("open a pair of sockets", errno);
  }
  auto environment = SuccessorEnvironment(listener, lock, pair[1]);
  const auto pid = Spawn(file, std::move(words), std::move(environment), {listener, lock, pair[1]});
  ::close(pair[1]);
  if (!pid) {
    ::close(pair[0]);
    return Fail(pid.error());
  }
  return Successor(*pid, pair[0], clock);
}

Successor::Successor(pid_t pid, int control, const Clock& clock)
    : pid_(pid),
      control_(control),
      clock_(&clock),
      deadline_(clock.Now() + milliseconds(limits::kUpgradeLoadMs)) {}

Successor::Successor(Successor&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      control_(std::exchange(other.control_, -1)),
      clock_(other.clock_),
      deadline_(other.deadline_),
      has_home_(other.has_home_),
      error_(std::move(other.error_)) {}

Successor::~Successor() {
  End();
}

// The process first, then the sockets: a successor that finds them closed goes on by itself.
void Successor::End() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  if (control_ >= 0) {
    ::close(control_);
    control_ = -1;
  }
}

std::string Successor::HowItEnded() {
  constexpr int kTries = 100;  // its sockets close a moment before it can be waited for
  int status = 0;
  for (int i = 0; i < kTries; ++i) {
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return WIFSIGNALED(status) ? fmt::format("signal {} ended it", WTERMSIG(status))
                                 : fmt::format("it ended with {}", WEXITSTATUS(status));
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
  return "";
}

Successor::News Successor::FailWith(std::string why) {
  error_ = std::move(why);
  End();
  return News::kFailed;
}

Successor::News Successor::Poll() {
  const auto message = Receive(control_, milliseconds(0));
  if (!message) {
    return clock_->Now() < deadline_ ? News::kNone
                                     : FailWith(has_home_ ? "it did not begin to serve in time"
                                                          : "it was not ready in time");
  }
  if (*message == kLoaded && !has_home_) {
    return News::kLoaded;
  }
  if (*message == kServing && has_home_) {
    pid_ = -1;  // it stands on its own feet
    End();
    return News::kServing;
  }
  if (message->starts_with(kFailed)) {
    return FailWith(message->substr(kFailed.size()));
  }
  if (!message->empty()) {
    return FailWith("it does not speak as this version does");
  }
  const std::string how = HowItEnded();
  return FailWith(how.empty() ? "it closed its end of the hand-over"
                              : how + " before it served; stderr may say why");
}

void Successor::GiveHome() {
  has_home_ = true;
  deadline_ = clock_->Now() + milliseconds(limits::kUpgradeTakeOverMs);
  Send(control_, kHome);
}

// --- The new process

std::optional<Predecessor> Predecessor::Find() {
  const auto files = InheritedFiles();
  if (!files || !IsControl((*files)[2])) {
    return std::nullopt;
  }
  for (const int file : *files) {
    ::fcntl(file, F_SETFD, FD_CLOEXEC);
  }
  return Predecessor((*files)[0], (*files)[1], (*files)[2]);
}

bool Predecessor::is_gone() const {
  char byte = 0;
  const ssize_t n = ::recv(control_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

Status Predecessor::AwaitHome() const {
  Send(control_, kLoaded);
  const auto answer = Receive(control_, milliseconds(limits::kUpgradeTakeOverMs));
  if (answer && (*answer == kHome || answer->empty())) {
    return {};
  }
  return Fail(ErrorCode::kDeadlineExceeded,
              "the running server did not give its data folder away; try the upgrade again");
}

void Predecessor::SayServing() const {
  Send(control_, kServing);
  ::shutdown(control_, SHUT_RDWR);
}

void TellPredecessor(std::string_view why) {
  if (const auto files = InheritedFiles(); files && IsControl((*files)[2])) {
    Send((*files)[2], fmt::format("{}{}", kFailed, why));
  }
}

Result<std::optional<int>> ListenerFromManager() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || pid != std::to_string(::getpid())) {
    return std::nullopt;
  }
  if (std::string_view(count) != "1") {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("the service manager passed {} sockets; one is what serve listens on, "
                            "so leave one ListenStream= in the socket unit",
                            std::string_view(count).substr(0, 20)));
  }
  return kFirstManagerFile;
}

void NotifyManager(const std::string& state) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t size = name == nullptr ? 0 : std::strlen(name);
  if (size < 2 || size >= sizeof(address.sun_path) || (*name != '/' && *name != '@')) {
    return;
  }
  std::memcpy(address.sun_path, name, size);
  if (*name == '@') {
    address.sun_path[0] = '\0';  // the abstract namespace
  }
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  static_cast<void>(::sendto(socket, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                             reinterpret_cast<const sockaddr*>(&address),
                             static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size)));
  if (socket >= 0) {
    ::close(socket);
  }
}

}  // namespace tradewind::cli
