// What one event loop keeps for its upstream calls: unused connections and spare buffers. All on
// the loop's thread, but for the counters.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/limits.h"
#include "http/event_loop.h"
#include "http/upstream.h"
#include "http/upstream_connection.h"

namespace tradewind::http {

// Written by one loop, read by whoever asks.
struct UpstreamCounters {
  std::atomic<int64_t> opened{0};
  std::atomic<int64_t> reused{0};
  std::atomic<int64_t> in_use{0};
  std::atomic<int64_t> idle{0};
  std::atomic<int64_t> retries{0};

  static void Add(std::atomic<int64_t>& counter, int64_t by) {
    counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
};

using UpstreamBuffer = std::array<char, limits::kUpstreamBufferBytes>;

class UpstreamPool : public EventLoop::Attachment {
 public:
  static std::shared_ptr<UpstreamPool> Create(EventLoop& loop, const UpstreamOptions& options,
                                              std::shared_ptr<UpstreamCounters> counters);

  // The one used last among those of `key` that are still good; null if there is none.
  virtual std::shared_ptr<UpstreamConnection> Take(std::string_view key) = 0;
  // For a later call with the same key; closed if there are too many. `keep_ms` < 0: as long as the
  // options say.
  virtual void Put(std::string_view key, std::shared_ptr<UpstreamConnection> connection,
                   int64_t keep_ms) = 0;
  virtual void Close() = 0;  // the unused connections, and those that are put from now on

  virtual std::unique_ptr<UpstreamBuffer> TakeBuffer() = 0;
  virtual void PutBuffer(std::unique_ptr<UpstreamBuffer> buffer) = 0;

  virtual UpstreamCounters& counters() = 0;
};

}  // namespace tradewind::http
