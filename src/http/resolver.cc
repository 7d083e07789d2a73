#include "http/resolver.h"

#include <algorithm>
#include <cstring>
#include <netdb.h>
#include <resolv.h>
#include <utility>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace tradewind::http {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Result<Addresses> ResolveBySystem(const std::string& host) {
  // A name server that does not answer may hold the end of the program no longer than this.
  constexpr int kSecondsPerTry = 2;
  constexpr int kTries = 2;
  thread_local const bool is_set_up = ::res_init() == 0;
  if (is_set_up) {
    _res.retrans = std::min(_res.retrans, kSecondsPerTry);
    _res.retry = std::min(_res.retry, kTries);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  int failure = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (failure == EAI_NONAME || failure == EAI_ADDRFAMILY || failure == EAI_BADFLAGS) {
    hints.ai_flags = 0;  // a machine with only a loopback interface has no address "configured"
    failure = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  }
  if (failure != 0) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("cannot find the address of {}: {}", host, ::gai_strerror(failure)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  Addresses addresses;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    IpAddress address;
    if (at->ai_family == AF_INET) {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(at->ai_addr);
      std::memcpy(address.bytes.data(), &v4->sin_addr, 4);
    } else if (at->ai_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(at->ai_addr);
      address.is_v6 = true;
      std::memcpy(address.bytes.data(), &v6->sin6_addr, 16);
    } else {
      continue;
    }
    if (std::ranges::find(addresses, address) == addresses.end()) {
      addresses.push_back(address);
    }
  }
  if (addresses.empty()) {
    return Fail(ErrorCode::kUnavailable, fmt::format("{} has no address", host));
  }
  return addresses;
}

Resolver::Resolver(ResolveFunction resolve, milliseconds ttl)
    : resolve_(std::move(resolve)), ttl_(ttl) {}

Resolver::~Resolver() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

// The lookup of `host`, which is begun if there is none; `wakeup` is notified at its end.
Result<std::shared_ptr<Resolver::Lookup>> Resolver::Find(const std::string& host,
                                                         const std::shared_ptr<Wakeup>& wakeup) {
  const std::lock_guard lock(mutex_);
  auto& slot = lookups_[host];
  if (slot == nullptr || (slot->done && steady_clock::now() >= slot->expires)) {
    if (queue_.size() >= limits::kResolverQueueMax) {
      lookups_.erase(host);
      return Fail(ErrorCode::kTooManyRequests, "too many names are being looked up");
    }
    slot = std::make_shared<Lookup>();
    slot->host = host;
    queue_.push_back(slot);
    while (threads_.size() < limits::kResolverThreads) {
      threads_.emplace_back([this] { Work(); });
    }
    changed_.notify_one();
  }
  const std::shared_ptr<Lookup> lookup = slot;  // Forget may remove the slot
  if (!lookup->done) {
    lookup->waiting.push_back(wakeup);
  }
  Forget();
  return lookup;
}

void Resolver::Forget() {
  if (lookups_.size() > limits::kResolvedNamesMax) {
    const auto now = steady_clock::now();
    std::erase_if(lookups_, [now](const auto& entry) {
      return entry.second->done && now >= entry.second->expires;
    });
  }
  if (lookups_.size() > limits::kResolvedNamesMax) {
    std::erase_if(lookups_, [](const auto& entry) { return entry.second->done; });
  }
}

Task<Result<Addresses>> Resolver::Resolve(std::string host, std::shared_ptr<Wakeup> wakeup,
                                          steady_clock::time_point deadline,
                                          const bool& cancelled) {
  if (const auto literal = ParseIpAddress(host)) {
    co_return Addresses{*literal};
  }
  TW_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Lookup> lookup, Find(host, wakeup));
  while (true) {
    if (cancelled) {
      co_return Fail(ErrorCode::kCancelled, "the caller cancelled the request");
    }
    {
      const std::lock_guard lock(mutex_);
      if (lookup->done) {
        co_return lookup->result;
      }
    }
    if (!co_await wakeup->Wait(deadline)) {
      co_return Fail(ErrorCode::kDeadlineExceeded,
                     fmt::format("the address of {} was not found in time", host));
    }
  }
}

void Resolver::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) {
      return;
    }
    const std::shared_ptr<Lookup> lookup = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    Result<Addresses> result = resolve_(lookup->host);
    lock.lock();
    lookup->result = std::move(result);
    lookup->done = true;
    lookup->expires = steady_clock::now() +
                      (lookup->result.has_value() ? ttl_ : milliseconds(limits::kNotResolvedTtlMs));
    for (const auto& wakeup : std::exchange(lookup->waiting, {})) {
      wakeup->Notify();
    }
  }
}

}  // namespace tradewind::http
