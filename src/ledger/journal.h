// The journal on the disk: records in segments of a fixed size, each of which begins with a
// snapshot, so that the ones before it can go. Format: docs/formats/journal.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "ledger/disk.h"
#include "ledger/record.h"

namespace tradewind::ledger {

inline constexpr uint64_t kSegmentBytes = 16 << 20;  // some 50,000 requests
// Of segments that no start needs, set aside for bills: a million requests take about as much.
inline constexpr uint64_t kArchiveBytesMax = uint64_t{1} << 30;
inline constexpr size_t kSegmentHeaderBytes = 64;

enum class Segments : uint8_t {
  kNeeded,
  kAll,       // those too that were set aside
  kHandOver,  // files of what ends in a process that has given the journal away; each for itself
};
// "journal-000000000012", "handover-000000000012"
std::string SegmentName(uint64_t segment, Segments which = Segments::kNeeded);
// The numbers of those in the folder, ascending.
Result<std::vector<uint64_t>> ListSegments(Disk& disk, Segments which = Segments::kNeeded);

// Reads records in their order, across segments; also while they are being written. One thread.
class JournalReader {
 public:
  // From the beginning of `segment`.
  JournalReader(Disk& disk, uint64_t segment, Segments which = Segments::kNeeded)
      : disk_(disk), which_(which), segment_(segment) {}

  // Nothing: what is written ends here (for now), or behind it is what a killed process left
  // unfinished. Errors: kCorruptFile when records are missing between two segments; kUnsupported
  // when what follows was written by a newer program; those of Disk.
  Result<std::optional<Record>> Next();

  uint64_t segment() const { return segment_; }  // of the last record
  uint32_t checksum() const { return previous_; }

 private:
  Result<std::optional<Record>> TryNext();
  Result<bool> Enter();  // reads the header; false: the segment has none yet
  Result<std::optional<uint64_t>> FirstBegun(std::span<const uint64_t> segments) const;
  Result<bool> Advance();  // to the next segment that has begun; false: there is none
  Status Fill();

  Disk& disk_;
  const Segments which_;
  uint64_t segment_;
  bool entered_ = false;
  uint64_t offset_ = 0;  // in the segment, of buffer_[at_]
  std::vector<std::byte> buffer_;
  size_t at_ = 0;
  uint32_t previous_ = 0;
};

// Writes. Append and Rotate are for one thread at a time, Sync and PrepareSpare for another.
class Journal {
 public:
  // Begins `segment` behind a record with the checksum `previous`; a kHandOver has no segments
  // after it. Errors: those of Disk.
  static Result<std::unique_ptr<Journal>> Begin(Disk& disk, uint64_t segment, uint32_t previous,
                                                uint64_t segment_bytes = kSegmentBytes,
                                                Segments which = Segments::kNeeded);

  // All of them in one write. When it returns, a kill of the process does not lose the records that
  // it counts; a kill before that may leave the first few. Errors: kResourceExhausted when the
  // segment is full, kIo; after kIo every call fails until Rotate.
  struct Appended {
    size_t records = 0;  // from the first on: readers see them, also when what follows failed
    Status status;
  };
  Appended Append(std::span<const Record> records);
  Status Append(const Record& record) { return Append(std::span(&record, 1)).status; }
  // True: what comes next should be a new segment. There is room left for what is running.
  bool is_nearly_full() const { return offset_ + bytes_ / 4 > bytes_; }
  // Of the segments to come: a snapshot has to find room in one, and more than that beside it.
  void SetSegmentBytes(uint64_t bytes);
  // Goes on in the next segment, which its owner then begins with a snapshot.
  Status Rotate();

  // What was appended before the call survives a power cut. After an error the segment's pages are
  // not to be trusted: Rotate, and write a snapshot.
  Status Sync();
  bool sync_failed() const;
  // Makes the next segment's file ahead of time, so that Rotate does not wait for the disk.
  Status PrepareSpare();
  // There is time enough to make the next segment's file now.
  bool wants_spare() const { return offset_ > bytes_ / 2 && !has_spare(); }
  // True: a full disk would not stop Rotate.
  bool has_spare() const;

  uint64_t segment() const;
  uint64_t offset() const { return offset_; }
  uint32_t checksum() const { return previous_; }  // of the last record

 private:
  Journal(Disk& disk, uint64_t segment, uint32_t previous, uint64_t segment_bytes, Segments which)
      : disk_(disk),
        which_(which),
        bytes_(segment_bytes),
        previous_(previous),
        segment_(segment),
        segment_bytes_(segment_bytes) {}
  Status Start(std::shared_ptr<DiskFile> file);

  Disk& disk_;
  const Segments which_;
  uint64_t bytes_;  // of this segment
  uint32_t previous_;
  uint64_t offset_ = 0;
  bool broken_ = false;
  struct RecordEnd {
    size_t bytes;
    uint32_t checksum;
  };
  std::vector<std::byte> scratch_;
  std::vector<RecordEnd> ends_;  // of the records in scratch_

  std::mutex making_spare_;   // held while a file is made; taken before mutex_
  mutable std::mutex mutex_;  // guards what follows
  uint64_t segment_;
  std::shared_ptr<DiskFile> file_;
  std::vector<std::shared_ptr<DiskFile>> unsynced_;  // segments that ended since the last Sync
  uint64_t segment_bytes_;                           // of those to come
  std::shared_ptr<DiskFile> spare_;                  // of segment_ + 1
  uint64_t spare_bytes_ = 0;
  bool sync_failed_ = false;
};

}  // namespace tradewind::ledger
