// What mutants showed that no test looked at (tests/mutants).
#include <array>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNow = int64_t{1'764'072'000} * 1'000'000'000;

struct World {
  Book book;
  int64_t time_ns = kNow;
  uint64_t ids = 0;

  Status Commit(Record record) {
    record.seq = book.seq() + 1;
    record.time_ns = ++time_ns;
    return book.Apply(record);
  }
  AccountNumber Define(const BudgetSpec& budget) {
    Record record = *book.DecideBudget(budget, time_ns);
    EXPECT_TRUE(Commit(record).has_value());
    return record.account;
  }
  std::expected<HoldId, Refusal> Take(std::span<const AccountNumber> budgets, NanoUsd cost,
                                      NanoUsd charge, AccountNumber payee = kUnknownPayee) {
    HoldRequest request;
    request.id = {{1, ++ids}, 1};
    request.cost = cost;
    request.charge = charge;
    request.budgets = budgets;
    request.payee = payee;
    std::expected<Record, Refusal> decided = book.DecideHold(request, time_ns);
    if (!decided.has_value()) {
      return std::unexpected(decided.error());
    }
    EXPECT_TRUE(Commit(*decided).has_value());
    return request.id;
  }
  Account At(AccountNumber number) { return book.BudgetAccount(number, time_ns / 1'000'000'000); }
};

TEST(BookMore, AClosedBudgetRefusesNothing) {
  World world;
  BudgetSpec spec{.name = "key:a", .limit = 10};
  const AccountNumber key = world.Define(spec);
  EXPECT_FALSE(world.Take({&key, 1}, 11, 11).has_value());
  spec.closed = true;
  world.Define(spec);
  EXPECT_TRUE(world.Take({&key, 1}, 11, 11).has_value());
  EXPECT_EQ(world.At(key).pending, 0);
}

constexpr int64_t kDayNs = int64_t{86'400} * 1'000'000'000;
// 2025-12-01 10:00 UTC: a day, a week and a month began at the same instant.
constexpr int64_t kFirstOfMonthNs = (int64_t{1'764'547'200} + 36'000) * 1'000'000'000;
const BudgetSpec kDaily = {.name = "key:a", .limit = 100, .period = Period::kDay};
const BudgetSpec kMonthly = {.name = "key:a", .limit = 100, .period = Period::kMonth};

Status Ignore(const Record& /*record*/) {
  return {};
}

TEST(BookMore, AMonthThatIsSetOnItsFirstDayAfterADayKeepsWhatItSpentUntilItEnds) {
  World world;
  world.time_ns = kFirstOfMonthNs;
  const AccountNumber key = world.Define(kDaily);
  ASSERT_TRUE(world.Commit(*world.book.DecideSettle(*world.Take({&key, 1}, 60, 0), 60, 0, "", 0))
                  .has_value());
  BudgetSpec closed = kDaily;
  closed.closed = true;
  world.Define(closed);
  world.Define(kMonthly);
  world.time_ns += 20 * kDayNs;
  ASSERT_TRUE(world.book.Snapshot(world.time_ns, Ignore).has_value());
  world.time_ns = world.book.time_ns();
  EXPECT_EQ(world.At(key).debits, 60) << "it is the month's";
  EXPECT_FALSE(world.Take({&key, 1}, 41, 0).has_value());
  BudgetSpec other = kMonthly;
  other.limit = 70;
  world.Define(other);
  EXPECT_FALSE(world.Take({&key, 1}, 11, 0).has_value()) << "lowered";
  other.limit = 200;
  world.Define(other);
  EXPECT_TRUE(world.Take({&key, 1}, 140, 0).has_value()) << "raised";
  world.time_ns += 20 * kDayNs;
  EXPECT_EQ(world.At(key).debits, 0) << "the next month";
}

TEST(BookMore, ADayThatIsSetAfterItsMonthEndsWithTheDay) {
  World world;
  world.time_ns = kFirstOfMonthNs;
  const AccountNumber key = world.Define(kMonthly);
  ASSERT_TRUE(world.Take({&key, 1}, 60, 0).has_value());
  world.Define(kDaily);
  EXPECT_EQ(world.At(key).window_end_s, (kFirstOfMonthNs + 14 * (kDayNs / 24)) / 1'000'000'000);
}

// As an older program wrote it, which had let the window end with the day.
TEST(BookMore, ReadsAJournalInWhichTheMonthEndedWithTheDayAndMendsItInItsNextSnapshot) {
  World world;
  world.time_ns = kFirstOfMonthNs;
  const AccountNumber key = world.Define(kDaily);
  ASSERT_TRUE(world.Take({&key, 1}, 60, 0).has_value());
  const auto define = [&](const BudgetSpec& budget) {
    Record record;
    record.type = RecordType::kBudget;
    record.account = key;
    record.budget = budget;
    ASSERT_TRUE(world.Commit(record).has_value());
  };
  define(kMonthly);
  world.time_ns += 5 * kDayNs;
  BudgetSpec lowered = kMonthly;
  lowered.limit = 50;
  define(lowered);
  ASSERT_TRUE(world.Take({&key, 1}, 40, 0).has_value()) << "its limit was not lowered then";
  ASSERT_TRUE(world.book.Snapshot(world.time_ns, Ignore).has_value());
  EXPECT_EQ(world.At(key).limit, 50);
  EXPECT_FALSE(world.Take({&key, 1}, 1, 0).has_value());
  EXPECT_GT(world.At(key).window_end_s, (world.time_ns + 20 * kDayNs) / 1'000'000'000);
}

// What the journal says of windows that were opened by other rules of the zone: of a day that began
// and ends `moved_s` later.
struct MovedDay {
  World world;
  AccountNumber key = 0;
  Window moved;

  explicit MovedDay(int64_t moved_s) {
    world.time_ns = kFirstOfMonthNs;
    key = world.Define(kDaily);
    const int64_t day_s = (kFirstOfMonthNs - 10 * (kDayNs / 24)) / 1'000'000'000;
    moved = {day_s + moved_s, day_s + 86'400 + moved_s};
    Record hold;
    hold.type = RecordType::kHold;
    hold.hold = {{9, 9}, 1};
    hold.cost = 60;
    Leg leg;
    leg.account = {key, moved.start_s};
    leg.window_end_s = moved.end_s;
    leg.amount = 60;
    hold.legs.Push(leg);
    EXPECT_TRUE(world.Commit(hold).has_value());
  }
  void Restart() {
    Book again;
    EXPECT_TRUE(
        world.book
            .Snapshot(world.time_ns, [&](const Record& record) { return again.Apply(record); })
            .has_value());
    world.book = std::move(again);
    world.time_ns = world.book.time_ns();
  }
  Window At(int64_t unix_s) { return world.book.WindowNow(key, unix_s); }
};

TEST(BookMore, AWindowStaysAsItWasOpenedWhateverTheZoneSaysLater) {
  for (const int64_t moved_s : {-3600, 3600}) {
    MovedDay day(moved_s);
    const AccountNumber key = day.key;
    for (int start = 0; start < 2; ++start) {
      EXPECT_FALSE(day.world.Take({&key, 1}, 41, 0).has_value()) << "60 of 100 are held";
      EXPECT_EQ(day.At(day.moved.end_s - 1), day.moved);
      day.Restart();
    }
    BudgetSpec raised = kDaily;
    raised.limit = 101;
    day.world.Define(raised);
    EXPECT_FALSE(day.world.Take({&key, 1}, 42, 0).has_value());
    EXPECT_TRUE(day.world.Take({&key, 1}, 41, 0).has_value());
    EXPECT_EQ(day.world.At(key).window_end_s, day.moved.end_s) << "a new limit moves no end";
  }
}

TEST(BookMore, TheNextWindowBeginsAtTheEndOfTheOneThatWasOpened) {
  MovedDay later(3600), earlier(-3600);
  // One hour is left of the day by the new rules: it is the next day's.
  EXPECT_EQ(later.At(later.moved.end_s), (Window{later.moved.end_s, later.moved.end_s + 82'800}));
  // An hour more until it ends by them: too short to have a limit of its own.
  EXPECT_EQ(earlier.At(earlier.moved.end_s),
            (Window{earlier.moved.end_s, earlier.moved.end_s + 86'400 + 3600}));
}

TEST(BookMore, AnotherZoneOrFirstDayBeginsWindowsOfItsOwn) {
  MovedDay day(3600);
  BudgetSpec elsewhere = kDaily;
  elsewhere.zone = "Asia/Kathmandu";
  day.world.Define(elsewhere);
  EXPECT_EQ(day.world.At(day.key).pending, 0);
  EXPECT_EQ(day.world.At(day.key).window_end_s % 86'400, 86'400 - 20'700);
  const AccountNumber week =
      day.world.Define({.name = "key:b", .limit = 10, .period = Period::kWeek, .first_day = 3});
  ASSERT_TRUE(day.world.Take({&week, 1}, 10, 0).has_value());
  day.Restart();
  EXPECT_EQ(day.world.book.BudgetOf(week)->first_day, 3);
  EXPECT_FALSE(day.world.Take({&week, 1}, 1, 0).has_value());
  day.world.time_ns += 2 * kDayNs;  // from Monday to Wednesday
  EXPECT_TRUE(day.world.Take({&week, 1}, 10, 0).has_value());
}

TEST(BookMore, AScopeThatIsNamedTwiceIsHeldOnce) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 10});
  const std::array twice = {key, key};
  ASSERT_TRUE(world.Take(twice, 10, 10).has_value());
  EXPECT_EQ(world.At(key).pending, 10);
}

TEST(BookMore, BudgetsCountCostOrChargeAsTheySay) {
  World world;
  const std::array both = {
      world.Define({.name = "cost", .limit = 100}),
      world.Define({.name = "charge", .limit = 100, .dimension = Dimension::kCharge})};
  Record payee = *world.book.DecidePayee("provider:a");
  ASSERT_TRUE(world.Commit(payee).has_value());
  const auto id = world.Take(both, 30, 50, payee.account);
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(world.At(both[0]).pending, 30);
  EXPECT_EQ(world.At(both[1]).pending, 50);
  ASSERT_TRUE(world.Commit(*world.book.DecideSettle(*id, 7, 9, "", world.time_ns)).has_value());
  EXPECT_EQ(world.At(both[0]).debits, 7);
  EXPECT_EQ(world.At(both[1]).debits, 9);
  EXPECT_EQ(world.book.AccountOf({payee.account, 0}).credits, 7) << "owed to the provider";
  EXPECT_EQ(world.book.AccountOf({kExpense, 0}).debits, 7);
  EXPECT_EQ(world.book.AccountOf({kReceivable, 0}).debits, 9);
  EXPECT_EQ(world.book.AccountOf({kRevenue, 0}).credits, 9);
}

TEST(BookMore, AChargeIsNeverMoreThanWasHeld) {
  World world;
  const AccountNumber key =
      world.Define({.name = "key:a", .limit = 100, .dimension = Dimension::kCharge});
  const auto id = world.Take({&key, 1}, 10, 10);
  ASSERT_TRUE(world.Commit(*world.book.DecideSettle(*id, 25, 25, "", world.time_ns)).has_value());
  EXPECT_EQ(world.At(key).debits, 10);
}

TEST(BookMore, AShareIsToldWhenItIsReachedAndNotAgainAfterASnapshot) {
  World world;
  const AccountNumber key = world.Define({.name = "key:a", .limit = 100, .mode = Mode::kSoft});
  const auto first = world.Take({&key, 1}, 50, 50);
  ASSERT_TRUE(
      world.Commit(*world.book.DecideSettle(*first, 50, 50, "", world.time_ns)).has_value());
  ASSERT_EQ(world.book.TakeNotices().size(), 1U) << "half, to the nano-dollar";
  Book again;
  ASSERT_TRUE(
      world.book
          .Snapshot(++world.time_ns, [&](const Record& record) { return again.Apply(record); })
          .has_value());
  // Whoever keeps notices may have been killed: what was told last is told once more.
  const std::vector<Notice> notices = again.TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].percent, 50);
  EXPECT_EQ(notices[0].limit, 100);
  world.book = std::move(again);
  world.time_ns += 1000;  // a snapshot's records have times too
  const auto second = world.Take({&key, 1}, 1, 1);
  ASSERT_TRUE(world.Commit(*world.book.DecideSettle(*second, 1, 1, "", world.time_ns)).has_value());
  EXPECT_TRUE(world.book.TakeNotices().empty());
}

TEST(BookMore, OpensNoMoreHoldsThanItMay) {
  World world;
  for (size_t i = 0; i < kOpenHoldsMax; ++i) {
    ASSERT_TRUE(world.Take({}, 1, 1).has_value());
  }
  const auto one_more = world.Take({}, 1, 1);
  ASSERT_FALSE(one_more.has_value());
  EXPECT_EQ(one_more.error().reason, Refusal::Reason::kTooMany);
}

TEST(BookMore, ACreditIsSpentUntilItsTimeAndNotAfterIt) {
  constexpr int64_t kSecond = 1'000'000'000;
  World world;
  CreditSpec spec{.name = "grant", .owner = "org:a", .amount = 100};
  spec.expires_s = kNow / kSecond + 10;
  Record credit = *world.book.DecideCredit(spec);
  ASSERT_TRUE(world.Commit(credit).has_value());
  ASSERT_TRUE(world.Commit(*world.book.DecidePayer("org:a", true)).has_value());
  HoldRequest request;
  request.id = {{7, 1}, 1};
  request.cost = request.charge = 30;
  request.payer = "org:a";
  EXPECT_TRUE(world.book.DecideExpiries(kNow + 9 * kSecond).empty()) << "before its time";
  EXPECT_TRUE(world.book.DecideHold(request, kNow + 9 * kSecond).has_value());
  const auto late = world.book.DecideHold(request, kNow + 10 * kSecond);
  ASSERT_FALSE(late.has_value()) << "also when nobody has swept yet";
  EXPECT_EQ(late.error().reason, Refusal::Reason::kCredit);
  EXPECT_EQ(world.book.DecideExpiries(kNow + 10 * kSecond).size(), 1U);
}

TEST(BookMore, WhatACreditPaidIsNotInvoiced) {
  World world;
  ASSERT_TRUE(
      world.Commit(*world.book.DecideCredit({.name = "grant", .owner = "org:a", .amount = 100}))
          .has_value());
  HoldRequest request;
  request.id = {{7, 1}, 1};
  request.cost = request.charge = 30;
  request.payer = "org:a";
  ASSERT_TRUE(world.Commit(*world.book.DecideHold(request, world.time_ns)).has_value());
  ASSERT_TRUE(
      world.Commit(*world.book.DecideSettle(request.id, 20, 20, "", world.time_ns)).has_value());
  EXPECT_EQ(world.book.AccountOf({kReceivable, 0}).debits, 0);
  EXPECT_EQ(world.book.AccountOf({kRevenue, 0}).credits, 20);
}

// A hold has room for 24 legs: the last of them stands for all small credits that are left.
TEST(BookMore, ManySmallCreditsHideNoLargeOne) {
  World world;
  for (int i = 0; i < 40; ++i) {
    CreditSpec small{.name = "small" + std::to_string(i), .owner = "org:a", .amount = 1};
    small.promotional = true;  // paid with first
    ASSERT_TRUE(world.Commit(*world.book.DecideCredit(small)).has_value());
  }
  ASSERT_TRUE(world
                  .Commit(*world.book.DecideCredit(
                      {.name = "large", .owner = "org:a", .amount = 1'000'000}))
                  .has_value());
  ASSERT_TRUE(world.Commit(*world.book.DecidePayer("org:a", true)).has_value());
  HoldRequest request;
  request.id = {{7, 1}, 1};
  request.cost = request.charge = 500;
  request.payer = "org:a";
  const auto held = world.book.DecideHold(request, world.time_ns);
  ASSERT_TRUE(held.has_value()) << "he has 1,000,040";
  ASSERT_TRUE(world.Commit(*held).has_value());
  ASSERT_TRUE(
      world.Commit(*world.book.DecideSettle(request.id, 400, 400, "", world.time_ns)).has_value());
  EXPECT_EQ(world.book.AccountOf({kReceivable, 0}).debits, 0) << "nothing is owed";
  EXPECT_EQ(world.book.AccountOf({kRevenue, 0}).credits, 400);
}

// What no balance has room for is refused where it is decided: a record that cannot be applied
// would end every start.
TEST(BookMore, NothingIsDecidedThatNoBalanceHasRoomFor) {
  World world;
  uint64_t id = 0;
  const auto spend = [&](NanoUsd cost) {
    HoldRequest request;
    request.id = {{8, ++id}, 1};
    EXPECT_TRUE(world.Commit(*world.book.DecideHold(request, world.time_ns)).has_value());
    const auto settled = world.book.DecideSettle(request.id, cost, 0, "", world.time_ns);
    return settled.has_value() && world.Commit(*settled).has_value();
  };
  constexpr NanoUsd kMost = kNanoUsdMax / kAmountMax;
  for (NanoUsd i = 0; i < kMost; ++i) {
    ASSERT_TRUE(spend(kAmountMax));
  }
  EXPECT_FALSE(spend(kAmountMax)) << "of a provider that claims to be owed billions";
  EXPECT_TRUE(spend(1));
  for (NanoUsd i = 0; i < kMost; ++i) {
    const CreditSpec credit{
        .name = "c" + std::to_string(i), .owner = "org:" + std::to_string(i), .amount = kAmountMax};
    ASSERT_TRUE(world.Commit(*world.book.DecideCredit(credit)).has_value());
  }
  const CreditSpec more{.name = "more", .owner = "org:a", .amount = kAmountMax};
  EXPECT_EQ(world.book.DecideCredit(more).error().code, ErrorCode::kResourceExhausted);
}

TEST(BookMore, AHoldIsTakenOnce) {
  World world;
  HoldRequest request;
  request.id = {{7, 1}, 1};
  request.cost = 1;
  ASSERT_TRUE(world.Commit(*world.book.DecideHold(request, world.time_ns)).has_value());
  const auto again = world.book.DecideHold(request, world.time_ns);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().reason, Refusal::Reason::kDuplicate);
}

TEST(BookMore, NoRecordIsLeftOutAndTimeNeverStands) {
  World world;
  HoldRequest request;
  request.id = {{7, 1}, 1};
  Record first = *world.book.DecideHold(request, world.time_ns);
  ASSERT_TRUE(world.Commit(first).has_value());
  Record next = *world.book.DecideStep(RecordType::kSent, request.id, "");
  next.seq = world.book.seq() + 2;
  next.time_ns = world.time_ns + 1;
  EXPECT_EQ(world.book.Apply(next).error().code, ErrorCode::kCorruptFile);
  next.seq = world.book.seq() + 1;
  next.time_ns = world.time_ns;
  EXPECT_EQ(world.book.Apply(next).error().code, ErrorCode::kCorruptFile);
  next.time_ns = world.time_ns + 1;
  EXPECT_TRUE(world.book.Apply(next).has_value());
}

// Debian moved old names into a package of their own; a container may have none.
TEST(Book, NamesTheBudgetWhoseTimeZoneThisSystemLacks) {
  Book book;
  Record record;
  record.type = RecordType::kBudget;
  record.seq = 1;
  record.time_ns = 1;
  record.account = kFirstNumber;
  record.budget = {.name = "key:a", .limit = 1, .zone = "Mars/Olympus"};
  const Status applied = book.Apply(record);
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(applied.error().code, ErrorCode::kInvalidArgument) << "the books are right";
  EXPECT_NE(applied.error().message.find("\"key:a\" is in the time zone Mars/Olympus"),
            std::string::npos);
  EXPECT_TRUE(book.budgets().empty());
}

}  // namespace
}  // namespace tradewind::ledger
