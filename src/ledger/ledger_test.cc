#include "ledger/ledger.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::ledger {
namespace {

constexpr LedgerOptions kByHand = {
    .segment_bytes = 256 << 10, .segments_max = 4, .background = false};

struct World {
  LedgerOptions options;
  FakeDisk disk;
  FakeClock clock;
  std::vector<std::unique_ptr<Ledger>> dead;
  std::unique_ptr<Ledger> ledger;
  uint64_t ids = 0;

  explicit World(LedgerOptions how = kByHand) : options(how) { Start(); }
  void Start() {
    auto opened = Ledger::Open(disk, clock, options);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger = std::move(*opened);
  }
  // The holds of the dead process may still be destroyed: its ledger stays as long as this.
  void Kill() {
    disk.Kill();
    dead.push_back(std::move(ledger));
    disk.Revive();
    Start();
  }
  std::expected<Hold, Refusal> Take(AccountNumber budget, NanoUsd cost, Send send = Send::kLater) {
    HoldRequest request;
    request.id = {{1, ++ids}, 1};
    request.cost = request.charge = cost;
    request.budgets = {&budget, 1};
    return ledger->Take(request, send);
  }
  Account At(std::string_view name) { return ledger->FindBudget(name)->account; }
};

TEST(Ledger, FindsEveryHoldOfAKilledProcess) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  auto settled = world.Take(key, 100);
  ASSERT_TRUE(settled->Sent().has_value());
  ASSERT_TRUE(settled->Settle(40, 40, "").has_value());
  auto held = world.Take(key, 200);
  auto sent = world.Take(key, 300);
  ASSERT_TRUE(sent->Sent().has_value());
  ASSERT_TRUE(sent->Progress(10, 10).has_value());
  world.Kill();
  EXPECT_EQ(world.ledger->recovery().voided, 1);
  EXPECT_EQ(world.ledger->recovery().in_doubt, 1);
  const Account account = world.At("key:a");
  EXPECT_EQ(account.debits, 40);
  EXPECT_EQ(account.pending, 300) << "what may have been billed stays held";
  EXPECT_EQ(account.in_doubt, 300);
  const auto doubtful = world.ledger->HoldsInDoubt();
  ASSERT_EQ(doubtful.size(), 1U);
  EXPECT_EQ(doubtful[0].second.metered_cost, 10);
  ASSERT_TRUE(world.ledger->ResolveSettled(doubtful[0].first, 25, 25, "by id").has_value());
  EXPECT_EQ(world.At("key:a").debits, 65);
  EXPECT_EQ(world.At("key:a").pending, 0);
  EXPECT_EQ(world.ledger->ResolveVoid(doubtful[0].first, "").error().code, ErrorCode::kNotFound);
}

TEST(Ledger, WritesOnceForAHoldThatIsSentAtOnceAndOnceForItsEnd) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  ASSERT_TRUE(world.Take(key, 100)->Void("it has leased what follows").has_value());
  world.disk.writes_left = 2;
  auto hold = world.Take(key, 100, Send::kNow);
  ASSERT_TRUE(hold.has_value());
  hold->UpstreamIdWithNext("req-1");
  ASSERT_TRUE(hold->Settle(40, 40, "").has_value());
  EXPECT_EQ(world.disk.writes_left, 0);
  world.disk.writes_left = -1;
  EXPECT_EQ(world.At("key:a").debits, 40);
}

TEST(Ledger, KeepsTheIdOfAHoldWhateverItsEnd) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  {
    auto forgotten = world.Take(key, 100, Send::kNow);
    forgotten->UpstreamIdWithNext("req-1");
  }
  std::string id;
  JournalReader reader(world.disk, 1);
  while (auto record = reader.Next().value_or(std::nullopt)) {
    id = record->type == RecordType::kUpstreamId ? record->text : id;
  }
  EXPECT_EQ(id, "req-1");
}

// A whole record in what a failing write leaves has happened: readers see it.
TEST(Ledger, CountsTheFirstOfTwoRecordsWhenTheirWriteFailsBetweenThem) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  ASSERT_TRUE(world.Take(key, 100)->Void("it has leased what follows").has_value());
  world.disk.writes_left = world.disk.creates_left = 0;
  world.disk.torn_percent = 80;
  auto refused = world.Take(key, 100, Send::kNow);
  world.disk.writes_left = world.disk.creates_left = -1;
  ASSERT_FALSE(refused.has_value()) << "nothing may be sent";
  world.Kill();
  EXPECT_EQ(world.ledger->recovery().voided, 1);
  EXPECT_EQ(world.At("key:a").pending, 0);
}

TEST(Ledger, GoesOnInTheNextSegmentWhenTheSecondOfTwoRecordsCannotBeWritten) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  world.disk.writes_left = 0;
  world.disk.torn_percent = 80;
  world.disk.only_once = true;
  auto hold = world.Take(key, 100, Send::kNow);
  ASSERT_TRUE(hold.has_value());
  world.Kill();
  EXPECT_EQ(world.ledger->recovery().in_doubt, 1);
  EXPECT_EQ(world.At("key:a").in_doubt, 100);
}

TEST(Ledger, EndsAHoldThatNobodyEnded) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  {
    auto forgotten = world.Take(key, 100);
  }
  EXPECT_EQ(world.At("key:a").pending, 0) << "never sent: void";
  {
    auto forgotten = world.Take(key, 100);
    ASSERT_TRUE(forgotten->Sent().has_value());
    Hold moved = std::move(*forgotten);
  }
  EXPECT_EQ(world.At("key:a").in_doubt, 100) << "sent: in doubt";
  EXPECT_EQ(world.ledger->HoldsInDoubt()[0].second.metered_cost, 100)
      << "all of it may have been billed";
  EXPECT_EQ(world.ledger->HoldsInDoubt()[0].second.metered_charge, 0) << "and nobody got anything";
}

TEST(Ledger, KeepsWhatWasMeteredOfAHoldThatNobodyEnded) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  {
    auto forgotten = world.Take(key, 100, Send::kNow);
    ASSERT_TRUE(forgotten->Progress(30, 20).has_value());
  }
  EXPECT_EQ(world.ledger->HoldsInDoubt()[0].second.metered_cost, 30);
  EXPECT_EQ(world.ledger->HoldsInDoubt()[0].second.metered_charge, 20);
}

// A clock that was wrong for a moment takes no credit away.
struct CreditWorld : World {
  static constexpr auto kDay = std::chrono::hours(24);

  CreditWorld() {
    SetWall(std::chrono::seconds(1'764'072'000));
    Pass(CreditTime::kBelievedAfter);
    CreditSpec credit{.name = "c", .owner = "org:a", .amount = 100};
    credit.expires_s = clock.UnixSeconds() + 12 * 3600;
    EXPECT_TRUE(ledger->Grant(credit).has_value());
    EXPECT_TRUE(ledger->SetPrepaid("org:a", true).has_value());
  }
  void SetWall(std::chrono::nanoseconds since_epoch) {
    clock.SetWall(std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(since_epoch)));
  }
  void Jump(std::chrono::nanoseconds by) {
    SetWall(std::chrono::nanoseconds(clock.WallNow().time_since_epoch()) + by);
  }
  void Pass(std::chrono::nanoseconds time) {
    for (auto left = time; left > std::chrono::seconds(0); left -= std::chrono::seconds(10)) {
      clock.Advance(std::chrono::seconds(10));
      ledger->Tend();
    }
  }
  CreditState Credit() { return ledger->Credits("org:a").front(); }
  bool CanSpend(NanoUsd amount) {
    HoldRequest request;
    request.id = {{1, ++ids}, 1};
    request.cost = request.charge = amount;
    request.payer = "org:a";
    auto hold = ledger->Take(request);
    return hold.has_value() && hold->Void("").has_value();
  }
};

TEST(LedgerCredits, AWallClockThatIsADayAheadForSecondsEndsNone) {
  CreditWorld world;
  world.Jump(CreditWorld::kDay);
  EXPECT_EQ(world.Credit().left, 0) << "what may be over is not spent";
  EXPECT_FALSE(world.CanSpend(1));
  EXPECT_EQ(world.ledger->PrepaidLeft("org:a"), 0);
  world.Pass(std::chrono::minutes(1));
  world.Jump(-CreditWorld::kDay);
  EXPECT_EQ(world.Credit().left, 100);
  EXPECT_TRUE(world.CanSpend(100));
  EXPECT_EQ(world.ledger->PrepaidLeft("org:a"), 100);
  EXPECT_FALSE(world.CanSpend(101)) << "and no more than there is";
  world.Pass(std::chrono::hours(12));
  EXPECT_EQ(world.Credit().expired, 100) << "at its time it is gone";
  world.Jump(-CreditWorld::kDay);
  EXPECT_FALSE(world.CanSpend(1)) << "for good";
}

TEST(LedgerCredits, NorDoesOneThatIsWrongWhenAProcessStarts) {
  CreditWorld world;
  world.Jump(CreditWorld::kDay);
  world.Kill();
  world.Pass(std::chrono::minutes(5));
  EXPECT_FALSE(world.CanSpend(1));
  world.Jump(-CreditWorld::kDay);
  world.Pass(CreditTime::kBelievedAfter + std::chrono::minutes(1));
  EXPECT_EQ(world.Credit().left, 100);
  EXPECT_TRUE(world.CanSpend(100));
}

TEST(LedgerCredits, AWallClockThatStaysAheadIsBelieved) {
  CreditWorld world;
  world.Jump(CreditWorld::kDay);
  world.Pass(CreditTime::kBelievedAfter + std::chrono::minutes(1));
  world.Jump(-CreditWorld::kDay);
  EXPECT_EQ(world.Credit().expired, 100);
  EXPECT_FALSE(world.CanSpend(1));
}

TEST(LedgerCredits, AreListedInPages) {
  CreditWorld world;
  for (const char* name : {"d", "e", "f"}) {
    const std::string owner = std::string("org:") + (*name == 'e' ? "b" : "a");
    ASSERT_TRUE(world.ledger->Grant({.name = name, .owner = owner, .amount = 5}).has_value());
  }
  const auto names = [](const std::vector<CreditState>& credits) {
    std::string all;
    for (const CreditState& credit : credits) {
      all += credit.spec.name;
    }
    return all;
  };
  EXPECT_EQ(names(world.ledger->Credits()), "cdef");
  EXPECT_EQ(names(world.ledger->Credits("org:a", 0, 2)), "cd");
  EXPECT_EQ(names(world.ledger->Credits("org:a", *world.ledger->FindCredit("d"), 2)), "f");
  EXPECT_EQ(world.ledger->FindCredit("g"), std::nullopt);
  EXPECT_EQ(world.ledger->CreditSums().at("org:a").left, 110);
  EXPECT_EQ(world.ledger->CreditSums("org:b").size(), 1U);
}

TEST(Ledger, KeepsCreditsTermsAndWhoPaysOverAKill) {
  World world;
  world.clock.Advance(std::chrono::hours(1));
  CreditSpec gift{.name = "gift", .owner = "org:a", .amount = 100, .promotional = true};
  gift.expires_s = 7200;
  gift.note = "welcome";
  ASSERT_TRUE(world.ledger->Grant(gift).has_value());
  ASSERT_TRUE(world.ledger->Grant({.name = "paid", .owner = "org:a", .amount = 50}).has_value());
  ASSERT_TRUE(world.ledger->Grant({.name = "other", .owner = "org:b", .amount = 9}).has_value());
  ASSERT_TRUE(world.ledger->SetPrepaid("org:a", true).has_value());
  EXPECT_EQ(world.ledger->PrepaidLeft("org:a"), 150);
  EXPECT_EQ(world.ledger->PrepaidLeft("org:b"), std::nullopt);
  HoldRequest request;
  request.id = {{1, 1}, 1};
  request.cost = request.charge = 120;
  request.payer = "org:a";
  auto hold = world.ledger->Take(request, Send::kNow);
  ASSERT_TRUE(hold.has_value());
  world.Kill();
  std::vector<CreditState> credits = world.ledger->Credits("org:a");
  ASSERT_EQ(credits.size(), 2U);
  EXPECT_EQ(credits[0].spec.note, "welcome");
  EXPECT_EQ(credits[0].spec.granted_ns / 1'000'000'000, 3600);
  EXPECT_EQ(credits[0].held, 100);
  EXPECT_EQ(credits[1].held, 20);
  EXPECT_EQ(credits[1].left, 30);
  EXPECT_EQ(world.ledger->PrepaidLeft("org:a"), 30);
  EXPECT_EQ(world.ledger->PrepaidPayers(), std::vector<std::string>{"org:a"});
  world.clock.Advance(std::chrono::hours(2));
  ASSERT_TRUE(world.ledger->ResolveSettled(request.id, 70, 70, "billed").has_value());
  credits = world.ledger->Credits("org:a");
  EXPECT_EQ(credits[0].spent(), 70) << "it was held before its time was over";
  EXPECT_EQ(credits[0].left, 0);
  EXPECT_EQ(credits[0].expired, 30) << "before the sweep too";
  world.ledger->Tend();
  credits = world.ledger->Credits("org:a");
  EXPECT_EQ(credits[0].expired, 30);
  EXPECT_EQ(credits[1].left, 50);
  EXPECT_EQ(world.ledger->stopped_because(), "");
  ASSERT_TRUE(world.ledger->SetPrepaid("org:a", false).has_value());
  world.Kill();
  EXPECT_EQ(world.ledger->PrepaidLeft("org:a"), std::nullopt);
  EXPECT_EQ(world.ledger->Credits("org:a")[0].expired, 30);
}

TEST(Ledger, RefusesToResolveWhatIsRunning) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  auto running = world.Take(key, 100);
  EXPECT_EQ(world.ledger->ResolveVoid(running->id(), "").error().param, "id");
  EXPECT_EQ(world.ledger->ResolveSettled(running->id(), 1, 1, "").error().param, "id");
}

TEST(Ledger, GoesOnAcrossManySegmentsAndForgetsThem) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = kAmountMax});
  for (int i = 0; i < 3000; ++i) {
    auto hold = world.Take(key, 1000);
    ASSERT_TRUE(hold.has_value()) << RefusalName(hold.error().reason) << hold.error().detail;
    ASSERT_TRUE(hold->Settle(7, 7, std::string(100, 'x')).has_value());
    if (i % 100 == 0) {
      world.ledger->Tend();
      ASSERT_TRUE(world.ledger->ForgetBefore(UINT64_MAX).has_value());
      EXPECT_LE(ListSegments(world.disk)->size(), 2U) << "this one, and the next";
    }
  }
  world.Kill();
  EXPECT_EQ(world.At("key:a").debits, 21'000);
}

TEST(Ledger, KeepsTheLastOfTheDiskForWhatRuns) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = kAmountMax});
  auto running = world.Take(key, 500);
  world.disk.room = {kLowWaterBytes - 1, uint64_t{1} << 40, "/data"};
  EXPECT_TRUE(world.Take(key, 1).has_value()) << "nobody has looked yet";
  world.ledger->Tend();
  const auto refused = world.Take(key, 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Refusal::Reason::kStopped);
  EXPECT_NE(refused.error().detail.find("/data has 2047 MiB free"), std::string::npos)
      << refused.error().detail;
  EXPECT_EQ(world.ledger->stopped_because(), "") << "it is no fault";
  HoldRequest free;
  free.id = {{9, 9}, 1};
  EXPECT_TRUE(world.ledger->Take(free).has_value()) << "what costs nothing";
  EXPECT_TRUE(running->Settle(500, 500, "").has_value());
  world.Kill();
  EXPECT_FALSE(world.Take(key, 1).has_value()) << "a start has looked before the first request";
  EXPECT_EQ(world.ledger->disk().room.where, "/data");
  world.disk.room.free_bytes = kLowWaterBytes;
  world.ledger->Tend();
  EXPECT_TRUE(world.Take(key, 1).has_value());
  EXPECT_EQ(world.ledger->disk().low_because, "");
}

TEST(Ledger, KeepsLessOfASmallDisk) {
  const uint64_t kMegabyte = 1 << 20;
  EXPECT_EQ(LowWaterOf({0, 32 * kMegabyte, ""}), kMegabyte);
  EXPECT_EQ(LowWaterOf({0, kMegabyte << 20, ""}), kLowWaterBytes);
  EXPECT_EQ(LowWaterOf({0, 0, ""}), 0U) << "a disk that tells nothing is never low";
}

TEST(Ledger, TellsTheFirstRefusalOfAWindowForEachLimit) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  ASSERT_TRUE(world.Take(key, 100)->Settle(60, 60, "").has_value());
  auto doubtful = world.Take(key, 300);
  ASSERT_TRUE(doubtful->Sent().has_value());
  ASSERT_TRUE(doubtful->Doubt("cut").has_value());
  auto running = world.Take(key, 500);
  const auto refuse = [&](NanoUsd cost) {
    auto hold = world.Take(key, cost);
    ASSERT_FALSE(hold.has_value());
    world.ledger->NoteRefused(hold.error());
  };
  static_cast<void>(world.ledger->TakeNotices());
  refuse(150);
  refuse(150);
  const std::vector<Notice> notices = world.ledger->TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].account, key);
  EXPECT_EQ(notices[0].asked, 150);
  EXPECT_EQ(notices[0].limit, 1000);
  EXPECT_EQ(notices[0].amount, 60);
  EXPECT_EQ(notices[0].held, 500);
  EXPECT_EQ(notices[0].in_doubt, 300);
  ASSERT_TRUE(world.ledger->Define({.name = "key:a", .limit = 990}).has_value());
  refuse(150);
  EXPECT_EQ(world.ledger->TakeNotices().size(), 1U) << "another limit is another matter";
}

TEST(Ledger, AdmitsNothingMoreWhenTheJournalIsAsLargeAsItMayGet) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = kAmountMax});
  auto running = world.Take(key, 500);
  std::optional<Refusal> refusal;
  for (int i = 0; i < 10'000 && !refusal.has_value(); ++i) {
    auto hold = world.Take(key, 1000);
    if (hold.has_value()) {
      ASSERT_TRUE(hold->Settle(1, 1, "").has_value());
    } else {
      refusal = hold.error();
    }
  }
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, Refusal::Reason::kStopped);
  EXPECT_NE(refusal->detail.find("fallen behind"), std::string::npos);
  world.ledger->NoteBehind("ledger.db: the disk is full");
  EXPECT_EQ(world.ledger->trouble().kind, Trouble::Kind::kStopped);
  EXPECT_NE(world.ledger->trouble().why.find("fallen behind: ledger.db: the disk is full"),
            std::string::npos);
  world.ledger->NoteBehind("");
  // With one that is made before it is begun.
  EXPECT_LE(ListSegments(world.disk)->size(), kByHand.segments_max + 1) << "it never outgrows that";
  EXPECT_TRUE(running->Settle(500, 500, "").has_value()) << "what runs is still recorded";
  ASSERT_TRUE(world.ledger->ForgetBefore(UINT64_MAX).has_value());
  EXPECT_FALSE(world.Take(key, 1).has_value()) << "nothing goes before a later snapshot is flushed";
  world.ledger->Tend();
  ASSERT_TRUE(world.ledger->ForgetBefore(UINT64_MAX).has_value());
  EXPECT_TRUE(world.Take(key, 1).has_value()) << "until there is room again";
  EXPECT_EQ(world.ledger->trouble(), Trouble());
}

TEST(Ledger, MakesSegmentsLargeEnoughForWhatTheyBeginWith) {
  World world;
  for (int i = 0; i < 3000; ++i) {
    const auto key = world.ledger->Define(
        {.name = "key:" + std::string(200, 'k') + std::to_string(i), .limit = 1000});
    ASSERT_TRUE(key.has_value()) << i << " " << key.error().message;
    ASSERT_TRUE(world.Take(*key, 10)->Settle(5, 5, "").has_value());
    if (i % 100 == 0) {
      world.ledger->Tend();
      ASSERT_TRUE(world.ledger->ForgetBefore(UINT64_MAX).has_value());
    }
  }
  world.Kill();
  EXPECT_EQ(world.ledger->Budgets().size(), 3000U);
  EXPECT_EQ(world.At("key:" + std::string(200, 'k') + "2999").debits, 5);
}

TEST(Ledger, NeverStartsAfreshOverOldMoney) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:a", .limit = 1}));
  world.Kill();
  ASSERT_TRUE(world.ledger->ForgetBefore(UINT64_MAX).has_value());
  const uint64_t last = ListSegments(world.disk)->back();
  world.disk.file(SegmentName(last)).bytes[kSegmentHeaderBytes + 10] ^= std::byte{1};
  const auto opened = Ledger::Open(world.disk, world.clock, kByHand);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorruptFile);
}

TEST(Ledger, ChangesNothingThatANewerProgramHasWritten) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:a", .limit = 1}));
  std::vector<std::byte> foreign;
  {
    JournalReader reader(world.disk, 1);
    while (reader.Next().value_or(std::nullopt).has_value()) {
    }
    Record record;
    record.seq = world.ledger->seq() + 1;
    record.time_ns = INT64_MAX;
    record.type = RecordType::kSent;
    EncodeRecord(record, reader.checksum(), foreign);
    foreign[40] = std::byte{200};  // its type
    std::array<std::byte, 4> chain;
    StoreLe(chain.data(), reader.checksum());
    const auto size = LoadLe<uint32_t>(foreign.data());
    const uint32_t crc = Crc32c(std::span(foreign).first(4), Crc32c(chain));
    StoreLe(foreign.data() + 4, Crc32c(std::span(foreign).subspan(8, size - 8), crc));
  }
  std::vector<std::byte>& bytes = world.disk.file(SegmentName(1)).bytes;
  const auto last = std::ranges::find_if(bytes.rbegin(), bytes.rend(),
                                         [](std::byte byte) { return byte != std::byte{0}; });
  const auto used = static_cast<size_t>(bytes.rend() - last);
  const size_t end = (used + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
  std::ranges::copy(foreign, bytes.begin() + static_cast<ptrdiff_t>(end));
  const std::vector<std::byte> before = bytes;
  const std::vector<std::string> names = *world.disk.List();
  const auto opened = Ledger::Open(world.disk, world.clock, kByHand);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(opened.error().message.find("newer program"), std::string::npos);
  EXPECT_EQ(*world.disk.List(), names);
  EXPECT_EQ(world.disk.file(SegmentName(1)).bytes, before);
}

TEST(Ledger, SetsAsideWhatItCannotRead) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:a", .limit = 1}));
  world.Kill();
  const uint64_t last = ListSegments(world.disk)->back();
  world.disk.file(SegmentName(last)).bytes[kSegmentHeaderBytes + 10] ^= std::byte{1};
  const std::vector<std::byte> unread = world.disk.file(SegmentName(last)).bytes;
  world.Kill();
  EXPECT_EQ(world.disk.file(SegmentName(last) + ".unread").bytes, unread);
  EXPECT_EQ(world.ledger->Budgets().size(), 1U) << "the one before has all there is";
}

TEST(Ledger, KeepsTheWindowOfAHoldOfNothing) {
  World world;
  world.clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
  const AccountNumber key = *world.ledger->Define(
      {.name = "key:a", .limit = 100, .mode = Mode::kSoft, .period = Period::kMinute});
  auto hold = world.Take(key, 0);
  ASSERT_TRUE(hold->Sent().has_value());
  world.clock.Advance(std::chrono::hours(24 * 30));
  world.Kill();
  ASSERT_EQ(world.ledger->HoldsInDoubt().size(), 1U);
  EXPECT_TRUE(world.ledger->ResolveVoid(hold->id(), "").has_value());
}

TEST(Ledger, MayHaveBeenBilledInFullWhatAKilledProcessHadSentAndNobodyGot) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  auto hold = world.Take(key, 70);
  ASSERT_TRUE(hold->Sent().has_value());
  world.Kill();
  const OpenHold left = world.ledger->HoldsInDoubt()[0].second;
  EXPECT_EQ(left.metered_cost, 70);
  EXPECT_EQ(left.metered_charge, 0);
}

TEST(Ledger, LosesNothingWhenNeitherThisSegmentNorTheNextCanBeWritten) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = kAmountMax});
  int admitted = 0;
  while (ListSegments(world.disk)->size() < 2 && admitted < 10'000) {
    ASSERT_TRUE(world.Take(key, 10)->Settle(5, 5, "").has_value());
    world.ledger->Tend();  // until the next segment's file is there
    ++admitted;
  }
  world.disk.writes_left = 0;
  EXPECT_EQ(world.ledger->trouble(), Trouble());
  EXPECT_FALSE(world.Take(key, 10).has_value());
  EXPECT_EQ(world.ledger->trouble().kind, Trouble::Kind::kStopped);
  EXPECT_TRUE(world.ledger->trouble().why.starts_with("the journal cannot be written: "));
  world.disk.writes_left = -1;
  world.Kill();
  EXPECT_EQ(world.At("key:a").debits, admitted * 5);
}

// The disk fails at each call in turn: nothing is admitted that is not written, and what the next
// start reads is what was confirmed.
TEST(Ledger, SurvivesADiskThatFailsAtAnyWrite) {
  for (int64_t failing = 0; failing < 60; ++failing) {
    World world;
    const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
    world.disk.writes_left = failing;
    world.disk.creates_left = 0;
    NanoUsd confirmed = 0;
    std::vector<Hold> holds;
    for (int i = 0; i < 20; ++i) {
      auto hold = world.Take(key, 10);
      if (!hold.has_value()) {
        EXPECT_EQ(hold.error().reason, Refusal::Reason::kStopped);
        EXPECT_FALSE(world.ledger->stopped_because().empty());
        continue;
      }
      if (hold->Sent().has_value() && hold->Settle(5, 5, "").has_value()) {
        confirmed += 5;
      } else {
        holds.push_back(std::move(*hold));
      }
    }
    world.disk.writes_left = world.disk.creates_left = -1;
    world.Kill();
    const Account account = world.At("key:a");
    EXPECT_EQ(account.debits, confirmed) << failing;
    EXPECT_LE(account.pending, static_cast<NanoUsd>(holds.size()) * 10);
    EXPECT_EQ(account.pending, account.in_doubt);
  }
}

TEST(Ledger, LeavesASegmentThatCannotBeWrittenForTheNext) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  auto hold = world.Take(key, 10);
  world.disk.writes_left = 0;
  world.disk.syncs_left = 0;
  world.ledger->Tend();  // the flush fails
  world.disk.writes_left = world.disk.syncs_left = -1;
  ASSERT_TRUE(hold->Settle(5, 5, "").has_value());
  world.Kill();
  EXPECT_EQ(world.At("key:a").debits, 5);
}

// However many requests come meanwhile: a disk that cannot flush is not filled with segments, and
// once it can, all goes on by itself.
TEST(Ledger, RefusesWhileNothingCanBeFlushedAndGoesOnByItself) {
  World world({.segment_bytes = 256 << 10, .segments_max = 64, .background = false});
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = kAmountMax});
  std::vector<Hold> running;
  for (int i = 0; i < 300; ++i) {
    running.push_back(std::move(*world.Take(key, 10, Send::kNow)));
  }
  world.ledger->Tend();
  world.disk.syncs_left = 0;
  std::optional<Refusal> refusal;
  for (int second = 0; second < 300; ++second) {
    if (auto hold = world.Take(key, 10); !hold.has_value()) {
      refusal = hold.error();
    }
    ASSERT_TRUE(running[static_cast<size_t>(second)].Settle(5, 5, "").has_value());
    world.ledger->Tend();
    world.clock.Advance(std::chrono::seconds(1));
  }
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, Refusal::Reason::kStopped);
  EXPECT_TRUE(refusal->detail.starts_with("the journal cannot be flushed")) << refusal->detail;
  EXPECT_EQ(world.ledger->trouble().kind, Trouble::Kind::kStopped);
  EXPECT_LE(ListSegments(world.disk)->size(), 16U);
  world.disk.syncs_left = -1;
  world.clock.Advance(std::chrono::minutes(10));
  world.ledger->Tend();
  world.ledger->Tend();
  EXPECT_TRUE(world.Take(key, 10).has_value());
  EXPECT_EQ(world.ledger->trouble(), Trouble());
  world.Kill();
  EXPECT_EQ(world.At("key:a").debits, 1500) << "what ended meanwhile is not lost";
}

// The flush of a segment that was left fails, and the one after it has no whole snapshot: what the
// dropped pages said is nowhere but in this process.
TEST(Ledger, WritesAgainWhatStandsInNoSegment) {
  World world;
  const AccountNumber key = *world.ledger->Define({.name = "key:a", .limit = 1000});
  auto hold = world.Take(key, 10, Send::kNow);
  world.disk.syncs_left = 0;
  world.disk.writes_left = 1;  // the next segment's header, and nothing of its snapshot
  world.ledger->Tend();
  world.disk.syncs_left = world.disk.writes_left = -1;
  world.ledger->Tend();
  world.Kill();
  ASSERT_EQ(world.ledger->HoldsInDoubt().size(), 1U);
  EXPECT_EQ(world.ledger->HoldsInDoubt()[0].first, hold->id());
}

// Whoever flushes, the flusher or the round of every second, wakes those who wait for it.
TEST(Ledger, WaitsForADiskAlsoWhenItHasSleptForLong) {
  const testing::TempDir folder;
  const auto disk = *OpenFolder(folder.path() / "journal");
  const auto ledger = *Ledger::Open(*disk, SystemClock());
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    ASSERT_TRUE(ledger->Define({.name = "key:a", .limit = 1000 + i}).has_value());
    EXPECT_TRUE(ledger->WaitDurable().has_value());
    EXPECT_EQ(ledger->synced_seq(), ledger->seq());
  }
}

TEST(Ledger, TimeOnlyGoesForwardWhateverTheClockDoes) {
  World world;
  world.clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(2'000'000'000)));
  const AccountNumber key =
      *world.ledger->Define({.name = "key:a", .limit = 100, .period = Period::kDay});
  ASSERT_TRUE(world.Take(key, 100)->Settle(100, 100, "").has_value());
  world.clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'900'000'000)));
  EXPECT_FALSE(world.Take(key, 1).has_value()) << "a clock set back opens no window again";
}

TEST(Ledger, OnARealDiskIsUsedByManyThreadsAtOnce) {
  const tradewind::testing::TempDir home;
  auto disk = OpenFolder(home.path() / "journal");
  ASSERT_TRUE(disk.has_value());
  constexpr int kThreads = 4, kEach = 500;
  {
    auto ledger = Ledger::Open(**disk, SystemClock(), {.segment_bytes = 1 << 20});
    ASSERT_TRUE(ledger.has_value()) << ledger.error().message;
    const AccountNumber key = *(*ledger)->Define({.name = "key:a", .limit = 1000});
    std::atomic<int64_t> admitted{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          HoldRequest request;
          request.id = {{static_cast<uint64_t>(t), static_cast<uint64_t>(i)}, 1};
          request.cost = 3;
          request.budgets = {&key, 1};
          auto hold = (*ledger)->Take(request);
          if (hold.has_value() && hold->Sent().has_value()) {
            ++admitted;
            EXPECT_TRUE(hold->Settle(3, 0, "").has_value());
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(admitted, 333);
    EXPECT_EQ((*ledger)->FindBudget("key:a")->account.debits, 999);
    EXPECT_TRUE((*ledger)->WaitDurable().has_value());
  }
  auto again = Ledger::Open(**disk, SystemClock(), {.segment_bytes = 1 << 20});
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ((*again)->FindBudget("key:a")->account.debits, 999);
}

}  // namespace
}  // namespace tradewind::ledger
