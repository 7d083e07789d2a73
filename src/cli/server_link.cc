#include "cli/server_link.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <ifaddrs.h>
#include <memory>
#include <netdb.h>
#include <poll.h>
#include <spawn.h>
#include <thread>
#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/file.h"
#include "cli/terminal.h"
#include "identity/private_file.h"
#include "identity/store.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;

constexpr auto kStartDeadline =
    std::chrono::seconds(20);  // to accept connections; loading comes after
constexpr auto kReadyDeadline = std::chrono::minutes(30);  // a large file on a slow disk
constexpr auto kReadyPause = std::chrono::milliseconds(50);
constexpr size_t kLogBytesMax = 16 << 20;
constexpr size_t kKeepBytesMax = 64;

std::string LastLogLine(const fs::path& home) {
  std::string text = ReadFile(home / "serve.log", kLogBytesMax).value_or("");
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  const std::string line = text.substr(text.rfind('\n') + 1);
  return line.empty() ? fmt::format("see {}", (home / "serve.log").string())
                      : WithoutControls(line);
}

std::unexpected<Error> Gone(const fs::path& home) {
  return Fail(ErrorCode::kUnavailable,
              fmt::format("the private server ended: {}", LastLogLine(home)));
}

std::vector<std::string> ServeArguments(const PrivateServer& server, const Settings& settings) {
  std::vector<std::string> words = {"tradewind",    "serve",
                                    "--home",       server.home.string(),
                                    "--model",      server.model_file.string(),
                                    "--models-dir", server.home.string(),
                                    "--host",       "127.0.0.1",
                                    "--port",       "0",
                                    "--idle-exit",  server.keep,
                                    "--ctx",        server.context};
  if (const auto config = settings.Find("config"); config && !config->text.empty()) {
    words.insert(words.end(), {"--config", config->text});
  }
  return words;
}

// What stands in the way for good: loading ends by itself, these do not. "" otherwise.
std::string NotReadyReason(const Result<Reply>& reply) {
  boost::system::error_code failed;
  const boost::json::value root =
      reply ? boost::json::parse(reply->body, failed) : boost::json::value();
  const auto* object = failed ? nullptr : root.if_object();
  const auto text = [object](std::string_view name) {
    const auto* value = object == nullptr ? nullptr : object->if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string())
                                                  : std::string();
  };
  const std::string status = text("status");
  if (status == "failed" || status == "no_model") {
    return fmt::format("the server has no model to answer with: {}", text("detail"));
  }
  return status == "draining" ? "the server is shutting down; start it again with `tradewind serve`"
                              : "";
}

struct Child {
  pid_t pid = -1;
  int output = -1;  // read end of its stdout
};

Result<Child> Spawn(const std::vector<std::string>& words, const fs::path& log) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
    return Fail(ErrorCode::kIo,
                fmt::format("cannot start a server: {}; try again", std::strerror(errno)));
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID);  // Ctrl-C in this terminal is not for the server
  std::vector<char*> argv;
  for (const std::string& word : words) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  Child child;
  const int error =
      ::posix_spawn(&child.pid, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  if (error != 0) {
    ::close(pipe_ends[0]);
    return Fail(ErrorCode::kIo,
                fmt::format("cannot start a server: {}; try again", std::strerror(error)));
  }
  child.output = pipe_ends[0];
  return child;
}

bool IsAnyInterface(std::string_view host) {
  return host == "0.0.0.0" || host == "::";
}

// As the system writes it, without brackets: of two ways to write an address one. A name stays.
std::string Canonical(std::string host) {
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) {
    return host;
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> address(found, &::freeaddrinfo);
  char text[NI_MAXHOST];
  const int failed = ::getnameinfo(address->ai_addr, address->ai_addrlen, text, sizeof(text),
                                   nullptr, 0, NI_NUMERICHOST);
  return failed == 0 ? text : host;
}

// Whether a server may listen there: it is one of the addresses that this device has.
bool IsThisDevice(const std::string& host) {
  const bool is_loopback =
      host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
  if (host == "localhost" || IsAnyInterface(host) || is_loopback) {
    return true;
  }
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) {
    return false;
  }
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(found, &::freeifaddrs);
  for (const ifaddrs* one = found; one != nullptr; one = one->ifa_next) {
    const int family = one->ifa_addr == nullptr ? AF_UNSPEC : one->ifa_addr->sa_family;
    const socklen_t size = family == AF_INET    ? sizeof(sockaddr_in)
                           : family == AF_INET6 ? sizeof(sockaddr_in6)
                                                : 0;
    char text[NI_MAXHOST];
    if (size > 0 &&
        ::getnameinfo(one->ifa_addr, size, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0 &&
        host == text) {
      return true;
    }
  }
  return false;
}

// Whether who asks `host` is answered by a server that listens on `own`, by the same port. Of two
// addresses of this device each may have a server, and of the families of addresses, too.
bool Reaches(const std::string& host, const std::string& own) {
  const bool is_same_family = host.contains(':') == own.contains(':');
  return host == own || (host == "localhost" && own == "127.0.0.1") ||
         (IsAnyInterface(own) && is_same_family && IsThisDevice(host)) ||
         (host == "0.0.0.0" && own == "127.0.0.1") || (host == "::" && own == "::1");
}

bool IsFlag(const std::optional<Settings::Value>& value) {
  return value && value->origin.starts_with("--");
}

bool IsNamed(const std::optional<Settings::Value>& value) {
  return IsFlag(value) || (value && value->origin.starts_with("TRADEWIND_"));
}

// True once a whole line came; false at its end or past the deadline.
bool AwaitLine(int descriptor) {
  const auto deadline = Steady::now() + kStartDeadline;
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Steady::now()).count();
    pollfd entry{descriptor, POLLIN, 0};
    const int ready = left <= 0 ? 0 : ::poll(&entry, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) {
      continue;
    }
    char bytes[256];
    const ssize_t n = ready <= 0 ? 0 : ::read(descriptor, bytes, sizeof(bytes));
    if (n <= 0 || std::memchr(bytes, '\n', static_cast<size_t>(n)) != nullptr) {
      return n > 0;
    }
  }
}

}  // namespace

Result<std::optional<Endpoint>> NamedEndpoint(const Settings& settings) {
  if (!IsNamed(settings.Find("host")) && !IsNamed(settings.Find("port"))) {
    return std::nullopt;
  }
  // 0 of a variable is `serve`'s: it takes whatever port is free.
  const auto said = settings.Find("port");
  const std::string host = Canonical(settings.Text("host"));
  const auto token = settings.environment()("TRADEWIND_TOKEN");
  if (said && said->text == "0" && !IsFlag(said) && !IsFlag(settings.Find("host")) && !token &&
      IsThisDevice(host)) {
    return std::nullopt;
  }
  TW_ASSIGN_OR_RETURN(const auto port, settings.Integer("port", 1, 65535));
  const auto home = HomeFolder(settings);
  if (const auto own = home ? FindServer(*home) : std::nullopt;
      own && own->port == *port && Reaches(host, Canonical(own->host))) {
    return EndpointOf(*own, settings);
  }
  return Endpoint{host, static_cast<uint16_t>(*port), token.value_or("")};
}

bool IsWhereServeWouldListen(const Endpoint& named, const Settings& settings) {
  if (IsFlag(settings.Find("host")) || IsFlag(settings.Find("port")) || !named.token.empty() ||
      !IsThisDevice(named.host)) {
    return false;
  }
  const auto answer = Get(named, "/healthz");
  return !answer && answer.error().code == ErrorCode::kUnavailable;
}

Result<std::optional<Endpoint>> FindEndpoint(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(std::optional<Endpoint> endpoint, NamedEndpoint(settings));
  if (!endpoint || IsWhereServeWouldListen(*endpoint, settings)) {
    endpoint.reset();
    TW_ASSIGN_OR_RETURN(const fs::path home, HomeFolder(settings));
    if (const auto running = FindServer(home)) {
      endpoint = EndpointOf(*running, settings);
    }
  }
  return endpoint;
}

Endpoint EndpointOf(const ServerRecord& record, const Settings& settings) {
  // A server on every interface is reached by loopback.
  const std::string host = Canonical(record.host);
  return {IsAnyInterface(host) ? "127.0.0.1" : host, record.port,
          settings.environment()("TRADEWIND_TOKEN").value_or(AdminTokenOf(record.home))};
}

std::string AdminTokenOf(const fs::path& home) {
  const auto token = identity::ReadPrivateFile(home / identity::kAdminTokenFile);
  return token && *token ? std::string((*token)->Reveal()) : "";
}

Result<Endpoint> StartPrivateServer(const PrivateServer& server, const Settings& settings) {
  if (const auto running = FindServer(server.home)) {
    return EndpointOf(*running, settings);
  }
  TW_RETURN_IF_ERROR(EnsurePrivateFolder(server.home.parent_path().parent_path()));
  TW_RETURN_IF_ERROR(EnsurePrivateFolder(server.home.parent_path()));
  TW_RETURN_IF_ERROR(EnsurePrivateFolder(server.home));
  TW_RETURN_IF_ERROR(WriteFileAtomic(server.home / "keep", server.keep, 0600));
  TW_ASSIGN_OR_RETURN(const Child child,
                      Spawn(ServeArguments(server, settings), server.home / "serve.log"));
  const bool listens = AwaitLine(child.output);
  ::close(child.output);
  // Two that start at the same time: one gets the lock, both use it.
  const auto running = FindServer(server.home);
  if (!listens || !running) {
    if (running) {
      return EndpointOf(*running, settings);
    }
    return Gone(server.home);
  }
  return EndpointOf(*running, settings);
}

std::string KeepOf(const fs::path& private_home) {
  return WithoutControls(ReadFile(private_home / "keep", kKeepBytesMax).value_or(""));
}

Status WaitUntilReady(const Endpoint& endpoint, const std::optional<fs::path>& private_home,
                      const std::atomic<bool>& stop, Progress::Style style) {
  Progress progress(style);
  const auto begin = Steady::now();
  while (!stop.load()) {
    const auto reply = Get(endpoint, "/readyz");
    if (reply && reply->status == 200) {
      return {};
    }
    if (const std::string why = NotReadyReason(reply); !why.empty()) {
      return Fail(ErrorCode::kUnavailable, why);
    }
    if (private_home && !FindServer(*private_home)) {
      return Gone(*private_home);
    }
    if (!reply && !private_home) {
      return Fail(reply.error());
    }
    if (Steady::now() - begin > kReadyDeadline) {
      return Fail(ErrorCode::kDeadlineExceeded,
                  "the model is still loading; look at the server's log and try again");
    }
    if (Steady::now() - begin > 2 * kReadyPause) {
      progress.Show("loading the model");
    }
    std::this_thread::sleep_for(kReadyPause);
  }
  return Fail(ErrorCode::kCancelled, "interrupted");
}

Result<std::vector<std::string>> ServedModels(const Endpoint& endpoint) {
  TW_ASSIGN_OR_RETURN(const Reply reply, Get(endpoint, "/v1/models"));
  boost::system::error_code failed;
  const boost::json::value root = boost::json::parse(reply.body, failed);
  const auto* object = failed ? nullptr : root.if_object();
  const auto* data = object == nullptr ? nullptr : object->if_contains("data");
  if (data == nullptr || !data->is_array()) {
    return Fail(ErrorCode::kInternal,
                fmt::format("{} does not answer like a tradewind server; check --host and --port",
                            endpoint.Url()));
  }
  std::vector<std::string> ids;
  for (const auto& entry : data->get_array()) {
    const auto* model = entry.if_object();
    const auto* id = model == nullptr ? nullptr : model->if_contains("id");
    if (id != nullptr && id->is_string()) {
      ids.emplace_back(id->get_string());
    }
  }
  return ids;
}

}  // namespace tradewind::cli
