// Who listens on a TCP port, as far as this user may see.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tradewind::cli {

// "nginx (pid 812)", from /proc; nullopt when nobody listens or the process belongs to somebody
// else.
std::optional<std::string> FindPortHolder(uint16_t port);

}  // namespace tradewind::cli
