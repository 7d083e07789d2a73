// An upgrade in place: what the old process still runs ends in the books of the new one. The old
// one writes the ends into a file beside the journal, whose records go on from the journal's last
// one; the new one reads it, again and again, and books them by its own decisions. Whoever starts
// after it finds the file too, until nothing is in doubt that could stand in it.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "ledger/ledger.h"

namespace tradewind::ledger {
namespace {

bool IsAnEnd(const Record& record) {
  switch (record.type) {
    case RecordType::kUpstreamId:
    case RecordType::kProgress:
    case RecordType::kSettle:
    case RecordType::kVoid:
    case RecordType::kInDoubt:
      return true;
    default:
      return false;
  }
}

}  // namespace

// Of what ends well, the file takes it back. A process that dies cannot.
void Ledger::CountAllOfWhatRuns() {
  std::vector<HoldId> running;
  for (const auto& [id, hold] : book_.holds()) {
    if (hold.state == HoldState::kSent && hold.metered_cost < hold.cost) {
      running.push_back(id);
    }
  }
  std::ranges::sort(running);
  for (const HoldId id : running) {
    const OpenHold& hold = *book_.Find(id);
    if (!CommitDecided(book_.DecideProgress(id, hold.cost, hold.metered_charge)).has_value()) {
      return;  // as a kill would leave it
    }
  }
}

void Ledger::BeginHandOver() {
  // An id, what it cost, and its end: their texts are billing's, and short.
  constexpr uint64_t kMegabyte = 1 << 20, kHoldBytes = 2048;
  const uint64_t bytes = std::max(kMegabyte, book_.holds().size() * kHoldBytes);
  auto begun =
      Journal::Begin(disk_, journal_->segment(), journal_->checksum(), bytes, Segments::kHandOver);
  if (begun.has_value()) {
    journal_ = std::move(*begun);
    hands_over_ = true;
  }
}

Status Ledger::HandOver(std::span<Record> records) {
  if (!hands_over_ || !std::ranges::all_of(records, IsAnEnd)) {
    return Fail(ErrorCode::kUnavailable, "another process has the ledger");
  }
  return AppendAndApply(records);
}

Status Ledger::FindHandOvers() {
  hand_overs_.clear();
  handed_over_.clear();
  elsewhere_.clear();
  all_adopted_seq_ = 0;
  TW_ASSIGN_OR_RETURN(const std::vector<uint64_t> files, ListSegments(disk_, Segments::kHandOver));
  for (const uint64_t file : files) {
    hand_overs_.emplace_back(disk_, file, Segments::kHandOver);
  }
  if (!files.empty()) {
    for (const auto& [id, hold] : book_.holds()) {
      handed_over_.push_back(id);
    }
    elsewhere_ = book_.doubts();
    elsewhere_until_ = clock_.Now() + std::chrono::milliseconds(limits::kUpgradeDrainMs);
  }
  return {};
}

std::vector<Record> Ledger::ReadHandOvers(size_t max) {
  std::vector<Record> ends;
  for (JournalReader& reader : hand_overs_) {
    // A file that cannot be read says nothing: what it is about stays in doubt.
    while (ends.size() < max) {
      Result<std::optional<Record>> record = reader.Next();
      if (!record.has_value() || !record->has_value()) {
        break;
      }
      ends.push_back(std::move(**record));
    }
  }
  return ends;
}

// What has ended otherwise meanwhile is not there any more.
void Ledger::Adopt(std::span<const Record> ends) {
  for (const Record& end : ends) {
    const OpenHold* const hold = book_.Find(end.hold);
    if (hold == nullptr || hold->state != HoldState::kInDoubt) {
      continue;
    }
    if (end.type != RecordType::kUpstreamId && end.type != RecordType::kProgress) {
      elsewhere_.erase(end.hold);
    }
    Record metered;
    switch (end.type) {
      case RecordType::kUpstreamId:
        static_cast<void>(
            CommitDecided(book_.DecideStep(RecordType::kUpstreamId, end.hold, end.text)));
        break;
      case RecordType::kProgress:
        // The last word of whoever ran it: less than had to be feared, too.
        metered.type = RecordType::kProgress;
        metered.hold = end.hold;
        metered.cost = std::clamp<NanoUsd>(end.cost, 0, hold->cost);
        metered.charge = std::clamp<NanoUsd>(end.charge, 0, hold->charge);
        metered.text = end.text;
        static_cast<void>(Commit(metered));
        break;
      case RecordType::kSettle:
        static_cast<void>(CommitDecided(
            book_.DecideSettle(end.hold, end.cost, end.charge, end.text, CreditNowNs())));
        break;
      case RecordType::kVoid:
      case RecordType::kInDoubt:
        static_cast<void>(CommitDecided(book_.DecideStep(end.type, end.hold, end.text)));
        break;
      default:
        break;
    }
  }
}

bool Ledger::MayRun(HoldId id) const {
  return runs_here_.contains(id) || (elsewhere_.contains(id) && clock_.Now() < elsewhere_until_);
}

std::vector<std::pair<HoldId, OpenHold>> Ledger::DoubtsToAskAbout() {
  std::vector<std::pair<HoldId, OpenHold>> doubts = HoldsInDoubt();
  const std::lock_guard lock(mutex_);
  std::erase_if(doubts, [&](const auto& doubt) { return MayRun(doubt.first); });
  return doubts;
}

std::optional<OpenHold> Ledger::DoubtToAskAbout(HoldId id) {
  const std::lock_guard lock(mutex_);
  const OpenHold* hold = book_.Find(id);
  const bool is_one = hold != nullptr && hold->state == HoldState::kInDoubt && !MayRun(id);
  return is_one ? std::optional(*hold) : std::nullopt;
}

// When no hold is in doubt that could stand in them, and that survives a power cut.
void Ledger::ForgetHandOvers() {
  if (hand_overs_.empty()) {
    return;
  }
  while (!handed_over_.empty() && book_.Find(handed_over_.back()) == nullptr) {
    handed_over_.pop_back();
  }
  if (!handed_over_.empty()) {
    return;
  }
  if (all_adopted_seq_ == 0) {
    all_adopted_seq_ = book_.seq();
  }
  if (synced_seq_ < all_adopted_seq_) {
    return;
  }
  for (const JournalReader& reader : hand_overs_) {
    static_cast<void>(disk_.Remove(SegmentName(reader.segment(), Segments::kHandOver)));
  }
  hand_overs_.clear();
}

}  // namespace tradewind::ledger
