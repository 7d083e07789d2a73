// What the simulator remembers: each request it saw (a ring), its own bill per provider, model and
// key, and what each billing id cost. All of it is bounded, and safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

namespace provider_sim {

inline constexpr size_t kLogEntriesMax = 4096;
inline constexpr size_t kLogBytesMax = 64 << 20;
inline constexpr size_t kLogBodyBytesMax = 64 << 10;
inline constexpr size_t kBillRowsMax = 10'000;
inline constexpr size_t kBillingIdsMax = 200'000;

struct Charge {
  uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  int64_t cost_nanousd = 0;
};

// What a model of a provider cost on a day of UTC.
struct DayUse {
  int64_t day_s = 0;  // its first second
  std::string model;
  uint64_t requests = 0;
  Charge sum;
};

struct LogEntry {
  uint64_t number = 0;
  int64_t begin_ms = 0, end_ms = 0;  // Unix time; end 0: still running
  std::string method, path, body, provider, endpoint, model, key_sha256, billing_id;
  std::vector<std::pair<std::string, std::string>> headers;  // without Authorization
  int status = 0;
  std::string
      outcome;  // "ok", "refused", "fault", "cut", "stalled", "error_event", "client_closed"
  uint64_t body_bytes = 0, bytes_sent = 0, events_sent = 0, tokens_sent = 0;
  bool client_closed = false;
  Charge charge;
};

class Books {
 public:
  explicit Books(bool keep_log) : keep_log_(keep_log) {}

  bool keeps_log() const { return keep_log_; }
  // Takes the entry into the ring; it may still be changed through Update.
  void Log(const std::shared_ptr<LogEntry>& entry);
  template <class F>
  void Update(F&& change) {
    const std::lock_guard lock(mutex_);
    change();
  }
  void Bill(const std::string& provider, const std::string& model, const std::string& key,
            const std::vector<std::string>& ids, const Charge& charge);

  // `since`: numbers above it; at most `limit` of the newest.
  boost::json::value LogJson(uint64_t since, size_t limit, std::string_view provider) const;
  boost::json::value BillJson() const;
  // In the order of days; `from_s` and `to_s` are whole days.
  std::vector<DayUse> Days(const std::string& provider, int64_t from_s, int64_t to_s) const;
  std::optional<int64_t> CostOf(const std::string& billing_id) const;
  void Reset();

 private:
  struct Row {
    uint64_t requests = 0;
    Charge sum;
  };

  const bool keep_log_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<LogEntry>> log_;
  size_t log_bytes_ = 0;
  uint64_t dropped_ = 0;
  std::map<std::tuple<std::string, std::string, std::string>, Row> bill_;
  std::map<std::tuple<std::string, int64_t, std::string>, Row> days_;  // provider, day, model
  std::unordered_map<std::string, int64_t> costs_;
  std::deque<std::string> cost_order_;
};

// Lower-case hex.
std::string Sha256(std::string_view text);

}  // namespace provider_sim
