#include "ledger/journal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace tradewind::ledger {
namespace {

constexpr std::string_view kPrefix = "journal-", kHandOverPrefix = "handover-";
constexpr std::string_view kMagic = "TWJRNL1\n", kMagicOfAny = "TWJRNL";
constexpr size_t kReadBytes = 256 << 10;
static_assert(kReadBytes > kRecordBytesMax + kRecordAlignment);

// magic, u64 segment, u32 checksum of the record before, u32 checksum of all this.
constexpr size_t kSegmentAt = 8;
constexpr size_t kPreviousAt = 16;
constexpr size_t kChecksumAt = 20;

std::array<std::byte, kSegmentHeaderBytes> HeaderOf(uint64_t segment, uint32_t previous) {
  std::array<std::byte, kSegmentHeaderBytes> header{};
  std::ranges::copy(AsBytes(kMagic), header.begin());
  StoreLe(header.data() + kSegmentAt, segment);
  StoreLe(header.data() + kPreviousAt, previous);
  StoreLe(header.data() + kChecksumAt, Crc32c(std::span(header).first(kChecksumAt)));
  return header;
}

std::string_view PrefixOf(Segments which) {
  return which == Segments::kHandOver ? kHandOverPrefix : kPrefix;
}

}  // namespace

std::string SegmentName(uint64_t segment, Segments which) {
  return fmt::format("{}{:012}", PrefixOf(which), segment);
}

Result<std::vector<uint64_t>> ListSegments(Disk& disk, Segments which) {
  // In this order what is set aside meanwhile stands in both lists; in the other it may be in none.
  TW_ASSIGN_OR_RETURN(std::vector<std::string> names, disk.List());
  if (which == Segments::kAll) {
    TW_ASSIGN_OR_RETURN(const std::vector<std::string> retired, disk.ListRetired());
    names.insert(names.end(), retired.begin(), retired.end());
  }
  std::vector<uint64_t> segments;
  for (const std::string& name : names) {
    uint64_t number = 0;
    const char* end = name.data() + name.size();
    const std::string_view prefix = PrefixOf(which);
    if (name.starts_with(prefix) &&
        std::from_chars(name.data() + prefix.size(), end, number).ptr == end) {
      segments.push_back(number);
    }
  }
  std::ranges::sort(segments);
  const auto twice = std::ranges::unique(segments);
  segments.erase(twice.begin(), twice.end());
  return segments;
}

Result<bool> JournalReader::Enter() {
  TW_ASSIGN_OR_RETURN(const std::vector<std::byte> header,
                      disk_.Read(SegmentName(segment_, which_), 0, kSegmentHeaderBytes));
  if (header.size() < kSegmentHeaderBytes) {
    return false;
  }
  const std::string_view magic = AsString(std::span(header).first(kMagic.size()));
  if (magic != kMagic && magic.starts_with(kMagicOfAny) && magic.ends_with(kMagic.back())) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{} was begun by a newer program; start that program again, nothing "
                            "was changed",
                            SegmentName(segment_, which_)));
  }
  const auto previous = LoadLe<uint32_t>(header.data() + kPreviousAt);
  if (!std::ranges::equal(header, HeaderOf(segment_, previous))) {
    return false;
  }
  previous_ = previous;
  offset_ = kSegmentHeaderBytes;
  buffer_.clear();
  at_ = 0;
  entered_ = true;
  return true;
}

Status JournalReader::Fill() {
  offset_ += at_;
  at_ = 0;
  TW_ASSIGN_OR_RETURN(buffer_, disk_.Read(SegmentName(segment_, which_), offset_, kReadBytes));
  return {};
}

Result<std::optional<Record>> JournalReader::TryNext() {
  for (const bool is_fresh : {false, true}) {
    if (is_fresh) {
      TW_RETURN_IF_ERROR(Fill());
    }
    Result<DecodedRecord> decoded = DecodeRecord(std::span(buffer_).subspan(at_), previous_);
    if (decoded.has_value()) {
      at_ += decoded->bytes;
      previous_ = decoded->checksum;
      return std::move(decoded->record);
    }
    if (is_fresh && decoded.error().code == ErrorCode::kUnsupported) {
      return Fail(std::move(decoded).error());
    }
  }
  return std::nullopt;
}

// Of one whose flush failed the disk may have nothing: others took over.
Result<std::optional<uint64_t>> JournalReader::FirstBegun(
    std::span<const uint64_t> segments) const {
  for (const uint64_t segment : segments) {
    JournalReader reader(disk_, segment, which_);
    TW_ASSIGN_OR_RETURN(const bool has_begun, reader.Enter());
    if (has_begun) {
      return segment;
    }
  }
  return std::nullopt;
}

Result<bool> JournalReader::Advance() {
  if (which_ == Segments::kHandOver) {
    return false;
  }
  TW_ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, ListSegments(disk_, which_));
  const std::span later(std::ranges::upper_bound(segments, segment_), segments.end());
  TW_ASSIGN_OR_RETURN(std::optional<uint64_t> next, FirstBegun(later));
  if (next.has_value() && *next != later.front()) {
    // Those before it have begun by now, or never will.
    TW_ASSIGN_OR_RETURN(next, FirstBegun(later));
  }
  if (!next.has_value()) {
    return false;
  }
  JournalReader ahead(disk_, *next, which_);
  TW_RETURN_IF_ERROR(ahead.Enter());
  // The writer may have appended here and gone on there after we looked.
  TW_ASSIGN_OR_RETURN(const std::vector<std::byte> more,
                      disk_.Read(SegmentName(segment_), offset_ + at_, kReadBytes));
  if (const auto decoded = DecodeRecord(more, previous_);
      decoded.has_value() || decoded.error().code == ErrorCode::kUnsupported) {
    return true;
  }
  if (ahead.previous_ != previous_) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("records are missing between {} and {}: restore them from a backup",
                            SegmentName(segment_), SegmentName(*next)));
  }
  segment_ = *next;
  entered_ = false;
  return true;
}

Result<std::optional<Record>> JournalReader::Next() {
  while (true) {
    if (!entered_) {
      TW_ASSIGN_OR_RETURN(const bool has_begun, Enter());
      if (!has_begun) {
        return std::nullopt;
      }
    }
    TW_ASSIGN_OR_RETURN(std::optional<Record> record, TryNext());
    if (record.has_value()) {
      return record;
    }
    TW_ASSIGN_OR_RETURN(const bool has_more, Advance());
    if (!has_more) {
      return std::nullopt;
    }
  }
}

Result<std::unique_ptr<Journal>> Journal::Begin(Disk& disk, uint64_t segment, uint32_t previous,
                                                uint64_t segment_bytes, Segments which) {
  std::unique_ptr<Journal> journal(new Journal(disk, segment, previous, segment_bytes, which));
  TW_ASSIGN_OR_RETURN(std::shared_ptr<DiskFile> file,
                      disk.Create(SegmentName(segment, which), segment_bytes));
  TW_RETURN_IF_ERROR(journal->Start(std::move(file)));
  return journal;
}

Status Journal::Start(std::shared_ptr<DiskFile> file) {
  TW_RETURN_IF_ERROR(file->Write(0, HeaderOf(segment(), previous_)));
  offset_ = kSegmentHeaderBytes;
  broken_ = false;
  const std::lock_guard lock(mutex_);
  if (file_ != nullptr && !sync_failed_) {
    unsynced_.push_back(std::move(file_));
  }
  file_ = std::move(file);
  sync_failed_ = false;
  return {};
}

Journal::Appended Journal::Append(std::span<const Record> records) {
  if (broken_) {
    return {0, Fail(ErrorCode::kIo, "the journal's segment cannot be written any more")};
  }
  scratch_.clear();
  ends_.clear();
  uint32_t checksum = previous_;
  for (const Record& record : records) {
    checksum = EncodeRecord(record, checksum, scratch_);
    ends_.push_back({scratch_.size(), checksum});
  }
  if (offset_ + scratch_.size() > bytes_) {
    return {0, Fail(ErrorCode::kResourceExhausted, "the journal's segment is full")};
  }
  const Status written = file_->Write(offset_, scratch_);
  if (!written.has_value()) {
    broken_ = true;  // what follows a torn record could not be read
    // Readers may see some all the same; then these count.
    const auto there = disk_.Read(SegmentName(segment(), which_), offset_, scratch_.size());
    const size_t same =
        there.has_value()
            ? static_cast<size_t>(std::ranges::mismatch(*there, scratch_).in1 - there->begin())
            : 0;
    std::erase_if(ends_, [same](const RecordEnd& end) { return end.bytes > same; });
  }
  if (!ends_.empty()) {
    offset_ += ends_.back().bytes;
    previous_ = ends_.back().checksum;
  }
  return {ends_.size(), ends_.size() == records.size() ? Status() : written};
}

void Journal::SetSegmentBytes(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  segment_bytes_ = bytes;
}

Status Journal::Rotate() {
  if (Status made = PrepareSpare(); !made.has_value()) {
    return made;
  }
  std::shared_ptr<DiskFile> file;
  const uint64_t bytes_before = bytes_;
  {
    const std::lock_guard lock(mutex_);
    file = std::move(spare_);
    bytes_ = spare_bytes_;
    ++segment_;
  }
  const Status started = Start(std::move(file));
  if (!started.has_value()) {
    // As if it had not been tried: a segment that never began would end every reader's way.
    const std::lock_guard lock(mutex_);
    static_cast<void>(disk_.Remove(SegmentName(segment_)));
    bytes_ = bytes_before;
    --segment_;
  }
  return started;
}

Status Journal::Sync() {
  std::vector<std::shared_ptr<DiskFile>> files;
  {
    const std::lock_guard lock(mutex_);
    if (sync_failed_) {
      return Fail(ErrorCode::kIo,
                  "the journal's segment could not be flushed");  // never tried again
    }
    files = std::exchange(unsynced_, {});
    files.push_back(file_);
  }
  for (const std::shared_ptr<DiskFile>& file : files) {
    if (Status synced = file->Sync(); !synced.has_value()) {
      const std::lock_guard lock(mutex_);
      // Of a file that was left already, the next segment's snapshot has all that counts.
      sync_failed_ = sync_failed_ || file == file_;
      return synced;
    }
  }
  return {};
}

bool Journal::sync_failed() const {
  const std::lock_guard lock(mutex_);
  return sync_failed_;
}

Status Journal::PrepareSpare() {
  if (which_ == Segments::kHandOver) {
    return Fail(ErrorCode::kResourceExhausted, "nothing follows a hand-over's file");
  }
  const std::lock_guard making(making_spare_);
  uint64_t next = 0, bytes = 0;
  bool is_too_small = false;
  {
    const std::lock_guard lock(mutex_);
    if (spare_ != nullptr && spare_bytes_ >= segment_bytes_) {
      return {};
    }
    is_too_small = spare_ != nullptr;
    spare_ = nullptr;
    next = segment_ + 1;
    bytes = segment_bytes_;
  }
  if (is_too_small) {
    TW_RETURN_IF_ERROR(disk_.Remove(SegmentName(next)));
  }
  TW_ASSIGN_OR_RETURN(std::shared_ptr<DiskFile> file, disk_.Create(SegmentName(next), bytes));
  const std::lock_guard lock(mutex_);
  spare_ = std::move(file);
  spare_bytes_ = bytes;
  return {};
}

uint64_t Journal::segment() const {
  const std::lock_guard lock(mutex_);
  return segment_;
}

bool Journal::has_spare() const {
  const std::lock_guard lock(mutex_);
  return spare_ != nullptr;
}

}  // namespace tradewind::ledger
