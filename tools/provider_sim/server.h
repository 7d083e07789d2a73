// Listens and carries the connections; the only part that knows sockets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "provider_sim/sim.h"

namespace provider_sim {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  int threads = 1;
  std::string tls_cert, tls_key;  // PEM files; both or none
};

// Prints "listening on http://HOST:PORT" on stdout, serves until SIGINT or SIGTERM. Throws what
// keeps it from listening.
void Serve(Sim& sim, const ServerOptions& options);

}  // namespace provider_sim
