#include "http/upstream_pool.h"

#include <algorithm>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace tradewind::http {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class LoopPool final : public UpstreamPool, public std::enable_shared_from_this<LoopPool> {
 public:
  LoopPool(EventLoop& loop, const UpstreamOptions& options,
           std::shared_ptr<UpstreamCounters> counters)
      : idle_per_host_max_(options.idle_per_host_max),
        idle_max_(options.idle_max),
        keep_ms_(options.idle_keep_ms),
        counters_(std::move(counters)),
        sweep_timer_(loop.context()) {}
  ~LoopPool() override { CloseIdle(); }

  std::shared_ptr<UpstreamConnection> Take(std::string_view key) override;
  void Put(std::string_view key, std::shared_ptr<UpstreamConnection> connection,
           int64_t keep_ms) override;
  void Close() override {
    closed_ = true;
    sweep_timer_.cancel();
    CloseIdle();
  }
  std::unique_ptr<UpstreamBuffer> TakeBuffer() override;
  void PutBuffer(std::unique_ptr<UpstreamBuffer> buffer) override;
  UpstreamCounters& counters() override { return *counters_; }

 private:
  struct Idle {
    std::shared_ptr<UpstreamConnection> connection;
    steady_clock::time_point until;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  void CloseIdle();
  void End(Idle& idle);
  void Sweep();
  void SweepLater();

  const int64_t idle_per_host_max_;
  const int64_t idle_max_;
  const int64_t keep_ms_;
  const std::shared_ptr<UpstreamCounters> counters_;
  std::unordered_map<std::string, std::vector<Idle>, Hash, std::equal_to<>> idle_;
  int64_t idle_count_ = 0;
  asio::steady_timer sweep_timer_;
  bool sweeping_ = false;
  bool closed_ = false;
  std::vector<std::unique_ptr<UpstreamBuffer>> buffers_;
};

std::shared_ptr<UpstreamConnection> LoopPool::Take(std::string_view key) {
  const auto at = idle_.find(key);
  if (at == idle_.end()) {
    return nullptr;
  }
  const auto now = steady_clock::now();
  std::vector<Idle>& of_host = at->second;
  while (!of_host.empty()) {
    Idle idle = std::move(of_host.back());
    of_host.pop_back();
    --idle_count_;
    UpstreamCounters::Add(counters_->idle, -1);
    if (now < idle.until && idle.connection->IsQuiet()) {
      return std::move(idle.connection);
    }
    End(idle);
  }
  return nullptr;
}

void LoopPool::Put(std::string_view key, std::shared_ptr<UpstreamConnection> connection,
                   int64_t keep_ms) {
  keep_ms = keep_ms < 0 ? keep_ms_ : std::min(keep_ms, keep_ms_);
  Idle idle{std::move(connection), steady_clock::now() + milliseconds(keep_ms)};
  if (closed_ || keep_ms == 0 || idle_count_ >= idle_max_) {
    End(idle);
    return;
  }
  auto at = idle_.find(key);
  if (at == idle_.end()) {
    at = idle_.emplace(key, std::vector<Idle>()).first;
  }
  if (static_cast<int64_t>(at->second.size()) >= idle_per_host_max_) {
    End(idle);
    return;
  }
  at->second.push_back(std::move(idle));
  ++idle_count_;
  UpstreamCounters::Add(counters_->idle, 1);
  SweepLater();
}

void LoopPool::End(Idle& idle) {
  idle.connection->SayGoodbye();
  idle.connection->Close();
}

void LoopPool::CloseIdle() {
  for (auto& [key, of_host] : std::exchange(idle_, {})) {
    for (Idle& idle : of_host) {
      End(idle);
    }
  }
  UpstreamCounters::Add(counters_->idle, -std::exchange(idle_count_, 0));
}

// Closes what nobody used for too long, and what upstreams have closed meanwhile.
void LoopPool::Sweep() {
  const auto now = steady_clock::now();
  for (auto& [key, of_host] : idle_) {
    const auto ended = std::erase_if(of_host, [&](Idle& idle) {
      const bool is_over = now >= idle.until || !idle.connection->IsQuiet();
      if (is_over) {
        End(idle);
      }
      return is_over;
    });
    idle_count_ -= static_cast<int64_t>(ended);
    UpstreamCounters::Add(counters_->idle, -static_cast<int64_t>(ended));
  }
  std::erase_if(idle_, [](const auto& entry) { return entry.second.empty(); });
}

void LoopPool::SweepLater() {
  if (std::exchange(sweeping_, true)) {
    return;
  }
  sweep_timer_.expires_after(milliseconds(limits::kUpstreamSweepMs));
  sweep_timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || self == nullptr) {
      return;
    }
    self->Sweep();
    self->sweeping_ = false;
    if (self->idle_count_ > 0) {
      self->SweepLater();
    }
  });
}

std::unique_ptr<UpstreamBuffer> LoopPool::TakeBuffer() {
  if (buffers_.empty()) {
    return std::make_unique_for_overwrite<UpstreamBuffer>();
  }
  auto buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void LoopPool::PutBuffer(std::unique_ptr<UpstreamBuffer> buffer) {
  if (static_cast<int64_t>(buffers_.size()) < limits::kUpstreamSpareBuffersMax) {
    buffers_.push_back(std::move(buffer));
  }
}

}  // namespace

std::shared_ptr<UpstreamPool> UpstreamPool::Create(EventLoop& loop, const UpstreamOptions& options,
                                                   std::shared_ptr<UpstreamCounters> counters) {
  return std::make_shared<LoopPool>(loop, options, std::move(counters));
}

}  // namespace tradewind::http
