// Money set aside for one attempt, and its ends.
#include <algorithm>
#include <span>
#include <utility>

#include "base/check.h"
#include "ledger/ledger.h"

namespace tradewind::ledger {

Hold::Hold(Hold&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      id_(other.id_),
      cost_(other.cost_),
      charge_(other.charge_),
      goes_out_after_(other.goes_out_after_),
      is_strict_(other.is_strict_),
      payer_(std::move(other.payer_)),
      upstream_id_(std::move(other.upstream_id_)),
      sent_(other.sent_) {}

Hold& Hold::operator=(Hold&& other) noexcept {
  if (this != &other) {
    End();
    ledger_ = std::exchange(other.ledger_, nullptr);
    id_ = other.id_;
    cost_ = other.cost_;
    charge_ = other.charge_;
    goes_out_after_ = other.goes_out_after_;
    is_strict_ = other.is_strict_;
    payer_ = std::move(other.payer_);
    upstream_id_ = std::move(other.upstream_id_);
    sent_ = other.sent_;
  }
  return *this;
}

Hold::~Hold() {
  End();
}

void Hold::End() {
  if (ledger_ != nullptr) {
    // When even this cannot be written, the book keeps the hold and the next start finds it.
    static_cast<void>(sent_ ? DoubtUnended() : Void("nothing was sent"));
  }
  if (ledger_ != nullptr) {
    const std::lock_guard lock(ledger_->mutex_);
    ledger_->orphans_.insert(id_);
    Leave();
  }
}

void Hold::Leave() {
  ledger_->runs_here_.erase(id_);
  ledger_ = nullptr;
}

// How far it was nobody knows, where nobody metered it: all of it may have been billed, and nobody
// is charged for what he may not have got.
Status Hold::DoubtUnended() {
  if (cost_ > 0 && !ledger_->IsMetered(id_)) {
    TW_RETURN_IF_ERROR(Progress(cost_, 0));
  }
  return Doubt("nobody ended it");
}

Status Hold::Sent() {
  TW_CHECK(ledger_ != nullptr);
  const std::lock_guard lock(ledger_->mutex_);
  TW_RETURN_IF_ERROR(ledger_->CommitDecided(ledger_->book_.DecideStep(RecordType::kSent, id_, {})));
  sent_ = true;
  goes_out_after_ = is_strict_ ? ledger_->book_.seq() : goes_out_after_;
  return {};
}

Status Hold::UpstreamId(std::string_view id) {
  TW_CHECK(ledger_ != nullptr);
  return ledger_->Step(RecordType::kUpstreamId, id_, std::string(id));
}

Status Hold::Progress(NanoUsd cost, NanoUsd charge, Metering metering, std::string text) {
  TW_CHECK(ledger_ != nullptr);
  const std::lock_guard lock(ledger_->mutex_);
  if (ledger_->is_released_ && metering == Metering::kRuns) {
    return {};  // all of it counts already, until its end says how much it was
  }
  return ledger_->CommitWithUpstreamId(
      ledger_->book_.DecideProgress(id_, cost, charge, metering, std::move(text)), upstream_id_);
}

std::expected<void, Refusal> Hold::Extend(NanoUsd cost, NanoUsd charge) {
  TW_CHECK(ledger_ != nullptr);
  const std::lock_guard lock(ledger_->mutex_);
  if (!ledger_->stopped_because_.empty()) {
    return std::unexpected(Stopped(ledger_->stopped_because_));
  }
  std::expected<Record, Refusal> decided =
      ledger_->book_.DecideExtend(id_, cost, charge, payer_, ledger_->MomentNow());
  if (!decided.has_value()) {
    return std::unexpected(std::move(decided).error());
  }
  if (Status written = ledger_->CommitWithLeases(std::span(&*decided, 1)); !written.has_value()) {
    return std::unexpected(Stopped(written.error().message));
  }
  goes_out_after_ =
      std::max(goes_out_after_, ledger_->book_.DrawLeases(decided->legs, ledger_->book_.time_ns()));
  cost_ += cost;
  charge_ += charge;
  return {};
}

Status Hold::Settle(NanoUsd cost, NanoUsd charge, std::string text) {
  TW_CHECK(ledger_ != nullptr);
  const std::lock_guard lock(ledger_->mutex_);
  TW_RETURN_IF_ERROR(ledger_->CommitWithUpstreamId(
      ledger_->DecideSettle(id_, cost, charge, std::move(text)), upstream_id_));
  Leave();
  return {};
}

Status Hold::Void(std::string reason) {
  TW_CHECK(ledger_ != nullptr);
  const std::lock_guard lock(ledger_->mutex_);
  TW_RETURN_IF_ERROR(ledger_->CommitWithUpstreamId(
      ledger_->book_.DecideStep(RecordType::kVoid, id_, std::move(reason)), upstream_id_));
  Leave();
  return {};
}

Status Hold::Doubt(std::string reason) {
  TW_CHECK(ledger_ != nullptr);
  const std::lock_guard lock(ledger_->mutex_);
  TW_RETURN_IF_ERROR(ledger_->CommitWithUpstreamId(
      ledger_->book_.DecideStep(RecordType::kInDoubt, id_, std::move(reason)), upstream_id_));
  Leave();
  return {};
}

}  // namespace tradewind::ledger
