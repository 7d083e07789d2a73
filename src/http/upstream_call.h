// Inside of upstream.h: what a client's calls share, and the making of one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "http/resolver.h"
#include "http/tls_client.h"
#include "http/upstream.h"
#include "http/upstream_pool.h"

namespace tradewind::http {

class UpstreamShared {
 public:
  explicit UpstreamShared(UpstreamOptions from)
      : options(std::move(from)), resolver(options.resolve) {}

  // Reads the authorities at its first use. Errors: those of TlsClient::Create.
  Result<std::shared_ptr<TlsClient>> Tls();

  const UpstreamOptions options;
  Resolver resolver;
  std::atomic<bool> shut_down{false};

 private:
  std::mutex mutex_;
  std::shared_ptr<TlsClient> tls_;
};

std::unique_ptr<UpstreamCall> MakeUpstreamCall(std::shared_ptr<UpstreamShared> shared,
                                               std::shared_ptr<UpstreamPool> pool, EventLoop& loop,
                                               UpstreamRequest request);

}  // namespace tradewind::http
