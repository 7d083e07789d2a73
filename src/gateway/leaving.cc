#include "gateway/leaving.h"

#include <chrono>
#include <utility>

#include "base/limits.h"

namespace tradewind::gateway {

bool ReadOnSlots::TryTake() {
  if (taken_.fetch_add(1) >= limits::kReadOnMax) {
    --taken_;
    return false;
  }
  return true;
}

std::shared_ptr<LeavingClient> LeavingClient::Watch(
    http::Exchange& exchange, std::shared_ptr<providers::UpstreamExchange> upstream,
    ReadOnSlots* slots, const Clock& clock) {
  std::shared_ptr<LeavingClient> watch(new LeavingClient(std::move(upstream), slots, clock));
  exchange.OnClientLeft([weak = std::weak_ptr(watch)] {
    if (const auto alive = weak.lock()) {
      alive->Left();
    }
  });
  return watch;
}

LeavingClient::~LeavingClient() {
  if (has_slot_) {
    slots_->Give();
    ended_->Notify();
  }
}

void LeavingClient::Left() {
  const bool was_sent = upstream_->reached() != http::Reached::kNotSent;
  if (slots_ == nullptr || !was_sent || !slots_->TryTake()) {
    upstream_->Cancel();
    return;
  }
  has_slot_ = true;
  ended_ = http::Wakeup::Create();
  const auto by = clock_.Now() + std::chrono::milliseconds(limits::kReadOnMs);
  // It refers to nothing that could end before it: the attempt's end wakes it.
  http::RunBeside([weak = std::weak_ptr(upstream_), ended = ended_, by]() -> Task<void> {
    const bool has_ended = co_await ended->Wait(by);
    if (const auto alive = weak.lock(); alive != nullptr && !has_ended) {
      alive->Cancel();
    }
  });
}

}  // namespace tradewind::gateway
