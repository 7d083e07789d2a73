#include "ledger/journal.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <thread>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::ledger {
namespace {

constexpr uint64_t kSmall = 64 << 10;

Record Payee(uint64_t seq, std::string text = "provider") {
  Record record = {.type = RecordType::kPayee, .seq = seq, .time_ns = static_cast<int64_t>(seq)};
  record.text = std::move(text);
  return record;
}

std::vector<uint64_t> Seqs(JournalReader& reader) {
  std::vector<uint64_t> seqs;
  while (true) {
    const auto record = reader.Next();
    EXPECT_TRUE(record.has_value()) << record.error().message;
    if (!record.has_value() || !record->has_value()) {
      return seqs;
    }
    seqs.push_back((*record)->seq);
  }
}

TEST(Record, ComesBackAsItWasWritten) {
  Record hold;
  hold.seq = 7;
  hold.time_ns = 99;
  hold.hold = {{1, 2}, 3};
  hold.account = 17;
  hold.cost = 5;
  hold.charge = 4;
  hold.price_version = 8;
  hold.text = "org/model";
  hold.legs.Push({{16, 100}, 200, Dimension::kCharge, false, 5});
  hold.legs.Push({{18, 0}, kEndOfTime, Dimension::kCharge, true, 4});
  std::vector<std::byte> bytes;
  EncodeRecord(hold, 1234, bytes);
  EXPECT_EQ(bytes.size() % kRecordAlignment, 0U);
  const Result<DecodedRecord> decoded = DecodeRecord(bytes, 1234);
  ASSERT_TRUE(decoded.has_value());
  const Record& back = decoded->record;
  EXPECT_EQ(std::tie(back.seq, back.time_ns, back.hold, back.account, back.cost, back.charge,
                     back.price_version, back.text),
            std::tie(hold.seq, hold.time_ns, hold.hold, hold.account, hold.cost, hold.charge,
                     hold.price_version, hold.text));
  ASSERT_EQ(back.legs.size(), 2U);
  EXPECT_TRUE(std::ranges::equal(back.legs.all(), hold.legs.all()));
}

TEST(Record, OfABudgetSaysWhichWindowEndsOtherwiseWhereOneDoes) {
  Record budget;
  budget.type = RecordType::kBudget;
  budget.account = 17;
  budget.budget = {.name = "key:a", .limit = 5, .period = Period::kMonth};
  std::vector<std::byte> plain, with_end;
  EncodeRecord(budget, 0, plain);
  budget.key.window_start_s = 100;
  budget.window_end_s = 200;
  EncodeRecord(budget, 0, with_end);
  const Result<DecodedRecord> old = DecodeRecord(plain, 0), now = DecodeRecord(with_end, 0);
  ASSERT_TRUE(old.has_value() && now.has_value());
  EXPECT_EQ(old->record.window_end_s, kEndOfTime);
  EXPECT_EQ(now->record.key.window_start_s, 100);
  EXPECT_EQ(now->record.window_end_s, 200);
  EXPECT_EQ(now->record.budget, budget.budget);
  for (const int64_t end_s : {int64_t{200}, kEndOfTime}) {
    budget.budget.first_day = 15;
    budget.window_end_s = end_s;
    std::vector<std::byte> with_day;
    EncodeRecord(budget, 0, with_day);
    const Result<DecodedRecord> read = DecodeRecord(with_day, 0);
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->record.window_end_s, end_s);
    EXPECT_EQ(read->record.budget, budget.budget);
  }
}

TEST(Record, WithAnyBitTurnedIsRefused) {
  std::vector<std::byte> bytes;
  EncodeRecord(Payee(1, "abc"), 0, bytes);
  const auto size = LoadLe<uint32_t>(bytes.data());
  for (size_t bit = 0; bit < size * 8; ++bit) {
    std::vector<std::byte> turned = bytes;
    turned[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    EXPECT_FALSE(DecodeRecord(turned, 0).has_value()) << bit;
  }
  EXPECT_FALSE(DecodeRecord(bytes, 1).has_value()) << "behind another record";
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(DecodeRecord(std::span(bytes).first(cut), 0).has_value()) << cut;
  }
}

TEST(Journal, IsReadWhileItIsWrittenAndAcrossSegments) {
  FakeDisk disk;
  auto journal = Journal::Begin(disk, 1, 0, kSmall);
  ASSERT_TRUE(journal.has_value());
  JournalReader reader(disk, 1);
  EXPECT_TRUE(Seqs(reader).empty());
  uint64_t seq = 0;
  for (int round = 0; round < 4; ++round) {
    std::vector<uint64_t> written;
    for (int i = 0; i < 100; ++i) {
      if ((*journal)->is_nearly_full()) {
        ASSERT_TRUE((*journal)->Rotate().has_value());
      }
      ASSERT_TRUE((*journal)->Append(Payee(++seq, std::string(500, 'x'))).has_value());
      written.push_back(seq);
    }
    ASSERT_TRUE((*journal)->PrepareSpare().has_value());
    EXPECT_EQ(Seqs(reader), written);
  }
  EXPECT_GT((*journal)->segment(), 3U);
  JournalReader again(disk, 1);
  EXPECT_EQ(Seqs(again).size(), 400U);
}

TEST(Journal, EndsBeforeWhatAKilledProcessLeftUnfinished) {
  FakeDisk disk;
  auto journal = Journal::Begin(disk, 1, 0, kSmall);
  ASSERT_TRUE((*journal)->Append(Payee(1)).has_value());
  ASSERT_TRUE((*journal)->Append(Payee(2)).has_value());
  disk.writes_left = 0;
  EXPECT_FALSE((*journal)->Append(Payee(3)).has_value());
  disk.writes_left = -1;
  EXPECT_EQ((*journal)->Append(Payee(3)).error().code, ErrorCode::kIo)
      << "what follows a torn record could not be read";
  JournalReader reader(disk, 1);
  EXPECT_EQ(Seqs(reader), (std::vector<uint64_t>{1, 2}));
  auto next = Journal::Begin(disk, 2, reader.checksum(), kSmall);
  ASSERT_TRUE((*next)->Append(Payee(3)).has_value());
  EXPECT_EQ(Seqs(reader), (std::vector<uint64_t>{3}));
}

// A whole record that this program does not know: a newer one has written it.
TEST(Journal, SaysWhenANewerProgramHasWrittenIt) {
  FakeDisk disk;
  auto journal = *Journal::Begin(disk, 1, 0);
  Record known;
  known.seq = 1;
  known.hold = {{1, 2}, 3};
  known.cost = 9;
  ASSERT_TRUE(journal->Append(known).has_value());
  std::vector<std::byte>& bytes = disk.file(SegmentName(1)).bytes;
  const std::span<std::byte> record = std::span(bytes).subspan(kSegmentHeaderBytes);
  const auto size = LoadLe<uint32_t>(record.data());
  constexpr size_t kTypeAt = 40, kVersionAt = 41;
  for (const auto& [at, value] : {std::pair(kTypeAt, 200), std::pair(kVersionAt, 2)}) {
    const std::vector<std::byte> before = bytes;
    record[at] = static_cast<std::byte>(value);
    const std::array<std::byte, 4> none{};
    const uint32_t crc = Crc32c(record.first(4), Crc32c(none));
    StoreLe(record.data() + 4, Crc32c(record.subspan(8, size - 8), crc));
    JournalReader reader(disk, 1);
    const auto read = reader.Next();
    ASSERT_FALSE(read.has_value()) << at;
    EXPECT_EQ(read.error().code, ErrorCode::kUnsupported) << at;
    EXPECT_NE(read.error().message.find("newer program"), std::string::npos);
    bytes = before;
  }
  bytes[6] = std::byte{'2'};  // TWJRNL2
  JournalReader reader(disk, 1);
  EXPECT_EQ(reader.Next().error().code, ErrorCode::kUnsupported);
}

TEST(Journal, SaysWhenRecordsAreMissing) {
  FakeDisk disk;
  auto journal = Journal::Begin(disk, 1, 0, kSmall);
  for (uint64_t seq = 1; seq <= 3; ++seq) {
    ASSERT_TRUE((*journal)->Append(Payee(seq)).has_value());
  }
  ASSERT_TRUE((*journal)->Rotate().has_value());
  ASSERT_TRUE((*journal)->Append(Payee(4)).has_value());
  disk.file(SegmentName(1)).bytes[kSegmentHeaderBytes + kRecordAlignment * 2 + 50] ^= std::byte{1};
  JournalReader reader(disk, 1);
  Result<std::optional<Record>> last;
  do {
    last = reader.Next();
  } while (last.has_value() && last->has_value());
  ASSERT_FALSE(last.has_value());
  EXPECT_EQ(last.error().code, ErrorCode::kCorruptFile);
  EXPECT_NE(last.error().message.find("journal-000000000001"), std::string::npos);
}

TEST(Journal, AFailedFlushAsksForANewSegment) {
  FakeDisk disk;
  auto journal = Journal::Begin(disk, 1, 0, kSmall);
  ASSERT_TRUE((*journal)->Append(Payee(1)).has_value());
  disk.syncs_left = 0;
  EXPECT_FALSE((*journal)->Sync().has_value());
  EXPECT_TRUE((*journal)->sync_failed());
  disk.syncs_left = -1;
  ASSERT_TRUE((*journal)->Rotate().has_value());
  EXPECT_FALSE((*journal)->sync_failed());
  EXPECT_TRUE((*journal)->Sync().has_value());
}

TEST(Journal, IsReadPastASegmentOfWhichAFailedFlushLeftNothing) {
  FakeDisk disk;
  const auto journal = *Journal::Begin(disk, 1, 0, kSmall);
  ASSERT_TRUE(journal->Append(Payee(1)).has_value());
  JournalReader reader(disk, 1);
  EXPECT_EQ(Seqs(reader), std::vector<uint64_t>{1});
  ASSERT_TRUE(journal->Rotate().has_value());
  disk.syncs_left = 1;  // of the first segment
  EXPECT_FALSE(journal->Sync().has_value());
  EXPECT_EQ(Seqs(reader), std::vector<uint64_t>{});
  disk.syncs_left = -1;
  ASSERT_TRUE(journal->Rotate().has_value());
  ASSERT_TRUE(journal->Append(Payee(2)).has_value());
  EXPECT_EQ(Seqs(reader), std::vector<uint64_t>{2});
}

TEST(Folder, KeepsFilesOfOneSizeThatNobodyElseReads) {
  const tradewind::testing::TempDir home;
  auto disk = OpenFolder(home.path() / "journal");
  ASSERT_TRUE(disk.has_value());
  auto journal = Journal::Begin(**disk, 1, 0, kSmall);
  ASSERT_TRUE(journal.has_value());
  ASSERT_TRUE((*journal)->Append(Payee(1)).has_value());
  ASSERT_TRUE((*journal)->Sync().has_value());
  const auto path = home.path() / "journal" / SegmentName(1);
  EXPECT_EQ(std::filesystem::file_size(path), kSmall);
  EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  JournalReader reader(**disk, 1);
  EXPECT_EQ(Seqs(reader), (std::vector<uint64_t>{1}));
  EXPECT_EQ((*disk)->Create(SegmentName(1), kSmall).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ((*disk)->Read("nothing", 0, 1).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE((*disk)->Remove(SegmentName(1)).has_value());
  EXPECT_TRUE(ListSegments(**disk)->empty());
}

// As from a disk that is full, or that has become read-only: the mapped page is refused.
TEST(Folder, WritesAlsoWhereTheSystemRefusesAMappedPage) {
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "ThreadSanitizer keeps its own account of handlers, and none of one that is left "
                  "by a jump";
#endif
  const tradewind::testing::TempDir home;
  auto disk = OpenFolder(home.path() / "journal");
  ASSERT_TRUE(disk.has_value());
  auto file = (*disk)->Create("file", kSmall);
  ASSERT_TRUE(file.has_value());
  const auto Byte = [](uint8_t value) { return std::vector<std::byte>(1, std::byte{value}); };
  ASSERT_TRUE((*file)->Write(0, Byte(1)).has_value());
  std::filesystem::resize_file(home.path() / "journal" / "file", 0);
  for (const uint8_t value : {uint8_t{2}, uint8_t{3}}) {  // refused again and again
    std::filesystem::resize_file(home.path() / "journal" / "file", 0);
    ASSERT_TRUE((*file)->Write(7, Byte(value)).has_value());
    EXPECT_EQ(*(*disk)->Read("file", 7, 10), Byte(value));
  }
  std::thread([&] { EXPECT_TRUE((*file)->Write(7, Byte(4)).has_value()); }).join();
  EXPECT_EQ(*(*disk)->Read("file", 7, 10), Byte(4));
}

TEST(Folder, SetsSegmentsAsideWithoutLosingARecordOfThem) {
  const tradewind::testing::TempDir home;
  auto disk = OpenFolder(home.path() / "journal");
  ASSERT_TRUE(disk.has_value());
  constexpr uint64_t kLong = 1 << 20;
  auto journal = Journal::Begin(**disk, 1, 0, kLong);
  ASSERT_TRUE(journal.has_value());
  Record zeros;
  zeros.type = RecordType::kProgress;  // ends with zeros
  std::vector<uint64_t> all;
  for (uint64_t seq = 1; seq <= 20; ++seq) {
    zeros.seq = seq;
    ASSERT_TRUE((*journal)->Append(std::span(&zeros, 1)).status.has_value());
    all.push_back(seq);
  }
  ASSERT_TRUE((*journal)->Sync().has_value());
  ASSERT_TRUE((*disk)->Retire(SegmentName(1)).has_value());
  EXPECT_EQ((*disk)->Retire(SegmentName(1)).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(ListSegments(**disk)->empty());
  EXPECT_EQ(*ListSegments(**disk, Segments::kAll), (std::vector<uint64_t>{1}));
  ASSERT_TRUE((*disk)->TrimRetired(kLong).has_value());
  const auto path = home.path() / "journal" / "archive" / SegmentName(1);
  EXPECT_LT(std::filesystem::file_size(path), kLong / 8);
  JournalReader reader(**disk, 1, Segments::kAll);
  EXPECT_EQ(Seqs(reader), all);
  ASSERT_TRUE((*disk)->TrimRetired(0).has_value());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE((*disk)->ListRetired()->empty());
}

TEST(Folder, KeepsTheNewestOfWhatWasSetAsideAndNoMoreThanItMay) {
  const tradewind::testing::TempDir home;
  auto disk = OpenFolder(home.path() / "journal");
  ASSERT_TRUE(disk.has_value());
  constexpr uint64_t kSegments = 8, kMost = 256 << 10;
  Record record;
  record.type = RecordType::kVoid;
  record.text = std::string(4000, 'x');
  for (uint64_t segment = 1; segment <= kSegments; ++segment) {
    auto journal = Journal::Begin(**disk, segment, 0, 1 << 20);
    ASSERT_TRUE(journal.has_value());
    for (record.seq = 1; record.seq <= 10; ++record.seq) {
      ASSERT_TRUE((*journal)->Append(std::span(&record, 1)).status.has_value());
    }
    ASSERT_TRUE((*journal)->Sync().has_value());
    journal->reset();
    ASSERT_TRUE((*disk)->Retire(SegmentName(segment)).has_value());
    ASSERT_TRUE((*disk)->TrimRetired(kMost).has_value());
    uint64_t bytes = 0;
    for (const auto& file :
         std::filesystem::directory_iterator(home.path() / "journal" / "archive")) {
      bytes += file.file_size();
    }
    EXPECT_LE(bytes, kMost);
    EXPECT_EQ((*disk)->ListRetired()->back(), SegmentName(segment));
  }
  const size_t kept = (*disk)->ListRetired()->size();
  EXPECT_GT(kept, 1U);
  EXPECT_LT(kept, kSegments);
  EXPECT_EQ((*disk)->ListRetired()->front(), SegmentName(kSegments - kept + 1)) << "the oldest go";
}

}  // namespace
}  // namespace tradewind::ledger
