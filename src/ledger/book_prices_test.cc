#include <vector>

#include <gtest/gtest.h>

#include "ledger/fake_disk.h"
#include "ledger/ledger.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kDayS = 86'400;

struct World {
  FakeDisk disk;
  FakeClock clock;
  std::unique_ptr<Ledger> ledger;

  World() {
    SetSeconds(1'764'072'000);
    Start();
  }
  void Start() {
    ledger.reset();
    auto opened = Ledger::Open(disk, clock, {.segment_bytes = 64 << 10, .background = false});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger = std::move(*opened);
  }
  void SetSeconds(int64_t unix_s) {
    now_s = unix_s;
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(unix_s)));
  }
  uint32_t Version(const char* item, const char* terms) {
    const auto version = ledger->PriceVersion({.item = item, .terms = terms, .source = "test"});
    EXPECT_TRUE(version.has_value()) << version.error().message;
    return version.value_or(0);
  }
  int64_t now_s = 0;
};

TEST(PriceVersions, TheSameTermsAreTheSameVersionAndOthersAreTheNext) {
  World world;
  EXPECT_EQ(world.Version("a", "1"), 1U);
  EXPECT_EQ(world.Version("a", "1"), 1U);
  EXPECT_EQ(world.Version("b", "1"), 2U);
  EXPECT_EQ(world.Version("a", "2"), 3U);
  EXPECT_EQ(world.Version("a", "2"), 3U);
}

TEST(PriceVersions, OldTermsAreTheOldVersionWhileRequestsThatBeganWithThemRun) {
  World world;
  EXPECT_EQ(world.Version("a", "1"), 1U);
  EXPECT_EQ(world.Version("a", "2"), 2U);
  world.SetSeconds(world.now_s + 899);
  EXPECT_EQ(world.Version("a", "1"), 1U);
  EXPECT_EQ(world.Version("a", "2"), 2U);
  world.SetSeconds(world.now_s + 2);
  EXPECT_EQ(world.Version("a", "1"), 3U) << "a price that came back is in force from now on";
}

TEST(PriceVersions, SurviveARestartAndSnapshots) {
  World world;
  EXPECT_EQ(world.Version("a", "1"), 1U);
  EXPECT_EQ(world.Version("a", "2"), 2U);
  for (int i = 0; i < 2000; ++i) {  // several segments
    ASSERT_TRUE(world.ledger->Payee("payee " + std::to_string(i % 7)).has_value());
    ASSERT_TRUE(world.ledger->Define({.name = "key:k", .limit = i}).has_value());
  }
  world.Start();
  EXPECT_EQ(world.Version("a", "2"), 2U);
  EXPECT_EQ(world.Version("a", "3"), 3U) << "numbers are never given twice";
}

TEST(PriceVersions, ThoseLongOutOfForceAreForgottenUnlessAHoldHasThem) {
  Book book;
  int64_t time_ns = kDayS * 1'000'000'000;
  const auto apply = [&](Result<Record> record) {
    ASSERT_TRUE(record.has_value());
    record->seq = book.seq() + 1;
    record->time_ns = time_ns = std::max(time_ns, book.time_ns() + 1);
    ASSERT_TRUE(book.Apply(*record).has_value());
  };
  for (const char* terms : {"1", "2", "3"}) {
    apply(book.DecidePrice({.item = "a", .terms = terms}));
  }
  HoldRequest hold;
  hold.id = {{1, 1}, 1};
  hold.price_version = 2;
  auto taken = book.DecideHold(hold, time_ns);
  ASSERT_TRUE(taken.has_value());
  apply(std::move(*taken));
  const auto snapshot = [&](int64_t days) {
    std::vector<Record> records;
    EXPECT_TRUE(book.Snapshot(time_ns + days * kDayS * 1'000'000'000,
                              [&](const Record& record) {
                                records.push_back(record);
                                return Status();
                              })
                    .has_value());
    return records;
  };
  static_cast<void>(snapshot(7));
  EXPECT_EQ(book.prices().size(), 3U);
  const std::vector<Record> records = snapshot(9);
  EXPECT_FALSE(book.prices().contains(1));
  EXPECT_TRUE(book.prices().contains(2)) << "an open hold was bought at it";
  EXPECT_EQ(book.FindPrice("a", "3", time_ns), 3U);
  Book again;
  for (const Record& record : records) {
    ASSERT_TRUE(again.Apply(record).has_value());
  }
  EXPECT_EQ(again.prices(), book.prices());
}

TEST(PriceVersions, ARecordThatGoesBackIsNotTaken) {
  Book book;
  Record record;
  record.type = RecordType::kPrice;
  record.seq = 1;
  record.time_ns = 1;
  record.price_version = 5;
  record.price = {.item = "a", .terms = "1"};
  EXPECT_TRUE(book.Apply(record).has_value());
  record.seq = 2;
  record.time_ns = 2;
  record.price_version = 5;
  EXPECT_EQ(book.Apply(record).error().code, ErrorCode::kCorruptFile);
  EXPECT_FALSE(book.DecidePrice({.item = ""}).has_value());
  EXPECT_FALSE(book.DecidePrice({.item = std::string(kPriceTextBytesMax + 1, 'x')}).has_value());
}

}  // namespace
}  // namespace tradewind::ledger
