// How client verbs reach a server: the one they are told of, the one that holds the home, or a
// private one they start.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/chat_client.h"
#include "cli/home.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace tradewind::cli {

// --host/--port or their environment twins, when somebody set one of them; config and built-in
// values do not count here. With TRADEWIND_TOKEN; where the server of the home listens there, as
// EndpointOf has it. Errors: kInvalidArgument (port).
Result<std::optional<Endpoint>> NamedEndpoint(const Settings& settings);

// Whether `named` comes of variables that only say where `serve` is to listen: an address of this
// device, where nobody listens now, and no token for it. Waits for the network.
bool IsWhereServeWouldListen(const Endpoint& named, const Settings& settings);

// With TRADEWIND_TOKEN, or else the admin token of the server's home when this user may read it.
Endpoint EndpointOf(const ServerRecord& record, const Settings& settings);

// HOME/admin-token; "" when it is not there or not ours to read.
std::string AdminTokenOf(const std::filesystem::path& home);

// The server to ask about what runs: the named one, else the one that holds the home; nullopt: none
// does. Errors: those of NamedEndpoint and HomeFolder.
Result<std::optional<Endpoint>> FindEndpoint(const Settings& settings);

struct PrivateServer {
  std::filesystem::path home;  // of its own: PrivateHome(home, model_file, ...)
  std::filesystem::path model_file;
  std::string keep = "30m";  // idle time after which it exits
  std::string context = "8192";
};

// Starts `serve` for one model file in the background, detached from this terminal, and returns
// when it accepts connections (the model still loads). Uses one that runs already. Errors:
// kUnavailable with the last line of its log.
Result<Endpoint> StartPrivateServer(const PrivateServer& server, const Settings& settings);

// The idle time after which the private server of this home exits, as it was started; "" when that
// is not known.
std::string KeepOf(const std::filesystem::path& private_home);

// Waits until /readyz says 200, showing progress. `home` is set for a private server, whose death
// ends the wait. Errors: kCancelled when `stop` turns true, kUnavailable (gone, with the last line
// of its log), kDeadlineExceeded.
Status WaitUntilReady(const Endpoint& endpoint,
                      const std::optional<std::filesystem::path>& private_home,
                      const std::atomic<bool>& stop, Progress::Style style);

// Ids of /v1/models. Errors: those of Get, kInternal when the answer is not what it should be.
Result<std::vector<std::string>> ServedModels(const Endpoint& endpoint);

}  // namespace tradewind::cli
