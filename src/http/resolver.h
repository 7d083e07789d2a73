// Names -> addresses, off the event loops, with a small cache.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/limits.h"
#include "http/address_policy.h"
#include "http/http.h"

namespace tradewind::http {

using Addresses = std::vector<IpAddress>;
// Blocks; called on the resolver's threads.
using ResolveFunction = std::function<Result<Addresses>(const std::string& host)>;

// getaddrinfo. Errors: kUnavailable.
Result<Addresses> ResolveBySystem(const std::string& host);

// Thread-safe. Its threads start with the first name that is not in the cache.
class Resolver {
 public:
  explicit Resolver(
      ResolveFunction resolve = ResolveBySystem,
      std::chrono::milliseconds ttl = std::chrono::milliseconds(limits::kResolvedTtlMs));
  ~Resolver();  // waits for lookups that run
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // On an event loop. An address as text is itself. `wakeup` is the caller's: whoever sets
  // `cancelled` notifies it. Errors: those of the function, kDeadlineExceeded, kCancelled,
  // kTooManyRequests (too many names are being looked up).
  Task<Result<Addresses>> Resolve(std::string host, std::shared_ptr<Wakeup> wakeup,
                                  std::chrono::steady_clock::time_point deadline,
                                  const bool& cancelled);

 private:
  struct Lookup {
    std::string host;
    bool done = false;
    Result<Addresses> result;
    std::chrono::steady_clock::time_point expires{};
    std::vector<std::shared_ptr<Wakeup>> waiting;
  };

  Result<std::shared_ptr<Lookup>> Find(const std::string& host,
                                       const std::shared_ptr<Wakeup>& wakeup);
  void Forget();
  void Work();

  const ResolveFunction resolve_;
  const std::chrono::milliseconds ttl_;
  std::mutex mutex_;  // guards all below, and every Lookup
  std::condition_variable changed_;
  std::unordered_map<std::string, std::shared_ptr<Lookup>> lookups_;
  std::deque<std::shared_ptr<Lookup>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tradewind::http
