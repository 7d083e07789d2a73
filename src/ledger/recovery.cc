// A start: what the journal says, and the end of what the last process left.
#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ledger/ledger.h"

namespace tradewind::ledger {

namespace {

constexpr std::string_view kUnread = ".unread";
constexpr size_t kUnreadMax = 4;  // of those that were set aside; each was left by a kill

// Kept for people, should it say more than this program can read; what was never begun says
// nothing.
Status SetAside(Disk& disk, const std::string& name) {
  TW_ASSIGN_OR_RETURN(const std::vector<std::byte> header, disk.Read(name, 0, kSegmentHeaderBytes));
  if (std::ranges::all_of(header, [](std::byte byte) { return byte == std::byte{0}; })) {
    return disk.Remove(name);
  }
  TW_RETURN_IF_ERROR(disk.Rename(name, name + std::string(kUnread)));
  TW_ASSIGN_OR_RETURN(std::vector<std::string> names, disk.List());
  std::erase_if(names, [](const std::string& other) { return !other.ends_with(kUnread); });
  for (size_t i = 0; i + kUnreadMax < names.size(); ++i) {
    TW_RETURN_IF_ERROR(disk.Remove(names[i]));
  }
  return {};
}

}  // namespace

// The newest segment with a whole snapshot. Newer ones were left while they were begun: they say
// nothing that an older one does not, and are set aside.
Result<std::optional<uint64_t>> Ledger::FindLastSnapshot() {
  TW_ASSIGN_OR_RETURN(std::vector<uint64_t> segments, ListSegments(disk_));
  while (!segments.empty()) {
    const uint64_t last = segments.back();
    JournalReader reader(disk_, last);
    while (true) {
      TW_ASSIGN_OR_RETURN(const std::optional<Record> record, reader.Next());
      if (!record.has_value()) {
        break;
      }
      if (record->type == RecordType::kSnapshotEnd) {
        first_segment_ = segments.front();
        return last;
      }
    }
    if (segments.size() == 1 && last != 1) {
      return Fail(
          ErrorCode::kCorruptFile,
          fmt::format("{} has no whole snapshot, and no segment before it is there: restore "
                      "the journal from a backup",
                      SegmentName(last)));
    }
    TW_RETURN_IF_ERROR(SetAside(disk_, SegmentName(last)));
    segments.pop_back();
  }
  return std::nullopt;
}

Status Ledger::Recover() {
  TW_ASSIGN_OR_RETURN(const std::optional<uint64_t> start, FindLastSnapshot());
  uint64_t last = 0;
  uint32_t checksum = 0;
  if (start.has_value()) {
    JournalReader reader(disk_, *start);
    while (true) {
      TW_ASSIGN_OR_RETURN(const std::optional<Record> record, reader.Next());
      if (!record.has_value()) {
        break;
      }
      TW_RETURN_IF_ERROR(book_.Apply(*record));
      ++recovery_.records;
    }
    last = reader.segment();
    checksum = reader.checksum();
  }
  TW_RETURN_IF_ERROR(book_.Audit());
  // A segment of our own: what a killed process left unfinished is never written over.
  TW_ASSIGN_OR_RETURN(journal_, Journal::Begin(disk_, last + 1, checksum, SegmentBytes()));
  TW_RETURN_IF_ERROR(
      book_.Snapshot(NowNs(), [this](const Record& record) { return journal_->Append(record); }));
  snapshot_segment_ = journal_->segment();
  snapshot_seq_ = book_.seq();
  TW_RETURN_IF_ERROR(EndWhatWasOpen());
  TW_RETURN_IF_ERROR(CountWhatWasLost());
  TW_RETURN_IF_ERROR(FindHandOvers());
  Adopt(ReadHandOvers(SIZE_MAX));
  TW_RETURN_IF_ERROR(journal_->Sync());
  synced_seq_ = 0;
  NoteSynced(book_.seq());
  return {};
}

// After a power cut, of which a start of the system tells: a kill of the process takes nothing.
Status Ledger::CountWhatWasLost() {
  const std::string boot_id = disk_.BootId();
  book_.SetBootId(boot_id);
  std::vector<Record> lost = book_.DecideUnaccounted(boot_id, NowNs());
  for (Record& record : lost) {
    const AccountKey key{record.account, record.key.window_start_s};
    recovery_.unaccounted += record.charge - book_.AccountOf(key).unaccounted;
    TW_RETURN_IF_ERROR(Commit(record));
  }
  return {};
}

Status Ledger::EndWhatWasOpen() {
  std::vector<std::pair<HoldId, HoldState>> open;
  for (const auto& [id, hold] : book_.holds()) {
    open.emplace_back(id, hold.state);
    recovery_.in_doubt_cost += hold.state == HoldState::kHeld ? 0 : hold.cost;
  }
  std::ranges::sort(open);  // the same journal gives the same records
  for (const auto& [id, state] : open) {
    if (state == HoldState::kHeld) {
      ++recovery_.voided;
      TW_RETURN_IF_ERROR(
          CommitDecided(book_.DecideStep(RecordType::kVoid, id, "ended before it was sent")));
    } else {
      ++recovery_.in_doubt;
      if (state == HoldState::kSent) {
        if (const OpenHold& hold = *book_.Find(id); hold.metered_cost == 0) {
          // How far it was nobody knows: all of it may have been billed, and nobody has got it.
          TW_RETURN_IF_ERROR(CommitDecided(book_.DecideProgress(id, hold.cost, 0)));
        }
        TW_RETURN_IF_ERROR(CommitDecided(
            book_.DecideStep(RecordType::kInDoubt, id, "the process ended before the answer")));
      }
    }
  }
  return {};
}

}  // namespace tradewind::ledger
