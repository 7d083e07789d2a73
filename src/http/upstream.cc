#include "http/upstream.h"

#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "http/event_loop.h"
#include "http/upstream_call.h"
#include "http/upstream_pool.h"

namespace tradewind::http {
namespace {

class PooledClient final : public UpstreamClient {
 public:
  explicit PooledClient(UpstreamOptions options)
      : shared_(std::make_shared<UpstreamShared>(std::move(options))) {}
  ~PooledClient() override { Shutdown(); }

  std::unique_ptr<UpstreamCall> Start(UpstreamRequest request) override {
    EventLoop* loop = EventLoop::Current();
    TW_CHECK(loop != nullptr);
    return MakeUpstreamCall(shared_, PoolOf(*loop), *loop, std::move(request));
  }

  UpstreamStats stats() const override;
  void Shutdown() override;

 private:
  struct OfLoop {
    std::weak_ptr<EventLoop> loop;
    std::weak_ptr<UpstreamPool> pool;
    std::shared_ptr<UpstreamCounters> counters;
  };

  std::shared_ptr<UpstreamPool> PoolOf(EventLoop& loop);

  static inline std::atomic<uint64_t> next_id_{1};
  const uint64_t id_ = next_id_++;
  const std::shared_ptr<UpstreamShared> shared_;
  mutable std::mutex mutex_;  // guards loops_; taken once for each loop
  std::vector<OfLoop> loops_;
};

std::shared_ptr<UpstreamPool> PooledClient::PoolOf(EventLoop& loop) {
  if (auto known = loop.FindAttachment(id_)) {
    return std::static_pointer_cast<UpstreamPool>(std::move(known));
  }
  auto counters = std::make_shared<UpstreamCounters>();
  auto pool = UpstreamPool::Create(loop, shared_->options, counters);
  loop.Attach(id_, pool);
  const std::lock_guard lock(mutex_);
  loops_.push_back({loop.weak_from_this(), pool, std::move(counters)});
  return pool;
}

UpstreamStats PooledClient::stats() const {
  const std::lock_guard lock(mutex_);
  UpstreamStats stats;
  for (const OfLoop& of_loop : loops_) {
    const UpstreamCounters& counters = *of_loop.counters;
    stats.connections_opened += counters.opened.load(std::memory_order_relaxed);
    stats.connections_reused += counters.reused.load(std::memory_order_relaxed);
    stats.connections_in_use += counters.in_use.load(std::memory_order_relaxed);
    stats.connections_idle += counters.idle.load(std::memory_order_relaxed);
    stats.retries += counters.retries.load(std::memory_order_relaxed);
  }
  return stats;
}

void PooledClient::Shutdown() {
  shared_->shut_down = true;
  const std::lock_guard lock(mutex_);
  for (const OfLoop& of_loop : loops_) {
    if (const auto loop = of_loop.loop.lock()) {
      loop->Post([weak = of_loop.pool] {
        if (const auto pool = weak.lock()) {
          pool->Close();
        }
      });
    }
  }
}

}  // namespace

Result<std::shared_ptr<TlsClient>> UpstreamShared::Tls() {
  const std::lock_guard lock(mutex_);
  if (tls_ == nullptr) {
    TW_ASSIGN_OR_RETURN(tls_, TlsClient::Create(options.ca_file));
  }
  return tls_;
}

std::unique_ptr<UpstreamClient> UpstreamClient::Create(UpstreamOptions options) {
  return std::make_unique<PooledClient>(std::move(options));
}

Task<Result<std::string>> ReadBody(UpstreamCall& call, int64_t bytes_max) {
  std::string body;
  while (true) {
    TW_CO_ASSIGN_OR_RETURN(const std::string_view bytes, co_await call.Read());
    if (bytes.empty()) {
      co_return body;
    }
    if (static_cast<int64_t>(body.size() + bytes.size()) > bytes_max) {
      co_return Fail(ErrorCode::kPayloadTooLarge,
                     fmt::format("the upstream's answer is larger than {} bytes", bytes_max));
    }
    body.append(bytes);
  }
}

}  // namespace tradewind::http
