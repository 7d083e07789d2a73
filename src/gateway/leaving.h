// What becomes of an upstream whose reader has left. Most stop billing when their connection
// closes, and are cancelled. One that bills the whole answer anyway is read to its end without a
// reader, within bounds, so that what it bills is known.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "base/task.h"
#include "http/http.h"
#include "providers/upstream.h"

namespace tradewind::gateway {

// How many are read without a reader at a time, of all event loops. Outlives the attempts.
class ReadOnSlots {
 public:
  bool TryTake();
  void Give() { --taken_; }

 private:
  std::atomic<int> taken_{0};
};

// One attempt's. Lives on its event loop, as long as the attempt.
class LeavingClient {
 public:
  // From here on: when the client leaves, `upstream` is cancelled, or read on until
  // limits::kReadOnMs later. `slots` null: cancelled whoever it is.
  static std::shared_ptr<LeavingClient> Watch(http::Exchange& exchange,
                                              std::shared_ptr<providers::UpstreamExchange> upstream,
                                              ReadOnSlots* slots, const Clock& clock);
  ~LeavingClient();
  LeavingClient(const LeavingClient&) = delete;
  LeavingClient& operator=(const LeavingClient&) = delete;

  // It has left, and the upstream is read on.
  bool is_reading_on() const { return has_slot_; }

 private:
  LeavingClient(std::shared_ptr<providers::UpstreamExchange> upstream, ReadOnSlots* slots,
                const Clock& clock)
      : upstream_(std::move(upstream)), slots_(slots), clock_(clock) {}
  void Left();

  const std::shared_ptr<providers::UpstreamExchange> upstream_;
  ReadOnSlots* const slots_;
  const Clock& clock_;
  bool has_slot_ = false;
  std::shared_ptr<http::Wakeup> ended_;
};

}  // namespace tradewind::gateway
