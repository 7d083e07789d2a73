// login, logout: providers' keys. whoami: whose token this is.
#include <cerrno>
#include <cstring>
#include <termios.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "cli/admin_link.h"
#include "cli/json_output.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "dialects/json_reader.h"
#include "identity/secret.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using identity::Secret;

// "/tw/v1/provider-keys/groq", with the owner behind it.
Result<std::string> KeyPath(const Settings& settings) {
  const std::string provider = settings.Text("provider");
  if (provider.empty() || provider.find('/') != provider.npos) {
    return Fail(ErrorCode::kInvalidArgument,
                "say which provider: --provider NAME, such as together or groq", "provider");
  }
  const std::string org = settings.Text("org"), user = settings.Text("user");
  if (!org.empty() && !user.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "a provider's key belongs to an organisation or to a user; give one of --org and "
                "--user",
                "org");
  }
  std::string path = fmt::format("/tw/v1/provider-keys/{}", provider);
  path += !org.empty() ? fmt::format("/org/{}", org) : "";
  path += !user.empty() ? fmt::format("/user/{}", user) : "";
  return path;
}

// Turns the terminal's echo off while it lives.
class SilentTerminal {
 public:
  SilentTerminal() : is_changed_(::tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    is_changed_ = is_changed_ && ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;
  ~SilentTerminal() {
    if (is_changed_) {
      ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
      fmt::print(stderr, "\n");
    }
  }

 private:
  termios before_{};
  bool is_changed_;
};

// One line from a terminal, everything otherwise; without the space around it.
Result<Secret> ReadSecret(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool from_stdin, settings.Switch("stdin"));
  const bool is_terminal = ::isatty(STDIN_FILENO) == 1;
  if (!from_stdin && !is_terminal) {
    return Fail(ErrorCode::kInvalidArgument,
                "there is no terminal to ask for the key; pipe it in with --stdin", "stdin");
  }
  std::optional<SilentTerminal> silent;
  if (is_terminal) {
    fmt::print(stderr, "key of {}: ", settings.Text("provider"));
    silent.emplace();
  }
  Secret buffer = Secret::OfSize(static_cast<size_t>(limits::kProviderKeyBytesMax) + 64);
  size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data() + size, buffer.size() - size);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return Fail(ErrorCode::kIo,
                  fmt::format("cannot read stdin: {}; try again", std::strerror(errno)));
    }
    size += static_cast<size_t>(n);
    if (n == 0 || is_terminal) {
      break;
    }
  }
  std::string_view text = buffer.Reveal().substr(0, size);
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) {
    return Fail(ErrorCode::kInvalidArgument, "stdin has no key; pipe it in with --stdin", "stdin");
  }
  text = text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
  return Secret(text);
}

std::string Text(const json::value& root, std::initializer_list<std::string_view> path) {
  const json::value* value = &root;
  for (const std::string_view name : path) {
    const json::object* object = value == nullptr ? nullptr : value->if_object();
    value = object == nullptr ? nullptr : object->if_contains(name);
  }
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

Result<Endpoint> EndpointToAsk(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const auto named, NamedEndpoint(settings));
  if (named) {
    return *named;
  }
  TW_ASSIGN_OR_RETURN(const std::filesystem::path home, HomeFolder(settings));
  if (const auto running = FindServer(home)) {
    return EndpointOf(*running, settings);
  }
  return Fail(ErrorCode::kUnavailable, "no server runs; start one with `tradewind serve`");
}

Result<ExitCode> Report(const Settings& settings, const std::string& answer,
                        const std::string& done) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  if (as_json) {
    Print(answer + "\n");
  } else {
    fmt::print(stderr, "{}\n", done);
  }
  return ExitCode::kDone;
}

}  // namespace

Result<ExitCode> RunLogin(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::string path, KeyPath(settings));
  TW_ASSIGN_OR_RETURN(const Secret secret, ReadSecret(settings));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings, AdminLink::Home::kMade));
  dialects::JsonWriter body;
  body.BeginObject().Field("key", secret.Reveal()).EndObject();
  std::string text = body.Take();
  const auto answer = link.Send("PUT", path, text);
  identity::WipeText(text);
  if (!answer) {
    return Fail(answer.error());
  }
  const auto object = dialects::ParseJsonObject(*answer);
  if (const std::string warning = object ? Text(*object, {"warning"}) : ""; !warning.empty()) {
    fmt::print(stderr, "warning: {}\n", WithoutControls(warning));
  }
  return Report(settings, *answer,
                fmt::format("stored the key of {}, fingerprint {}", settings.Text("provider"),
                            object ? Text(*object, {"fingerprint"}) : "unknown"));
}

Result<ExitCode> RunLogout(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::string path, KeyPath(settings));
  TW_ASSIGN_OR_RETURN(AdminLink link, AdminLink::Open(settings));
  TW_ASSIGN_OR_RETURN(const std::string answer, link.Send("DELETE", path));
  return Report(settings, answer, fmt::format("forgot the key of {}", settings.Text("provider")));
}

Result<ExitCode> RunWhoAmI(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const Endpoint endpoint, EndpointToAsk(settings));
  const auto reply = Get(endpoint, "/api/whoami-v2");
  if (!reply && reply.error().code == ErrorCode::kUnauthenticated) {
    return Fail(ErrorCode::kUnauthenticated,
                fmt::format("{} does not know this token; set TRADEWIND_TOKEN to one of its own",
                            endpoint.Url()));
  }
  if (!reply) {
    return Fail(reply.error());
  }
  TW_ASSIGN_OR_RETURN(const json::object answer, dialects::ParseJsonObject(reply->body));
  const json::value root(answer);
  const std::string user = Text(root, {"name"});
  const std::string key = Text(root, {"auth", "accessToken", "displayName"});
  const std::string expires = Text(root, {"auth", "accessToken", "expiresAt"});
  auto out = BeginJson("whoami");
  out.Field("user", user).Field("key", key).Field("server", endpoint.Url());
  TextOrNull(out, "expires", expires);
  out.Key("orgs").BeginArray();
  std::string orgs;
  if (const json::value* list = answer.if_contains("orgs"); list != nullptr && list->is_array()) {
    for (const json::value& org : list->get_array()) {
      const std::string name = Text(org, {"name"}), role = Text(org, {"roleInOrg"});
      out.BeginObject().Field("name", name).Field("role", role).EndObject();
      orgs += fmt::format("{}{} ({})", orgs.empty() ? "" : ", ", name, role);
    }
  }
  out.EndArray();
  Print(as_json ? EndJson(out)
                : fmt::format("user {}  key {}  orgs {}  server {}\n", WithoutControls(user),
                              WithoutControls(key), orgs.empty() ? "-" : WithoutControls(orgs),
                              endpoint.Url()));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
