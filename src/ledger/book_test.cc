#include "ledger/book.h"

#include <gtest/gtest.h>

namespace tradewind::ledger {
namespace {

constexpr int64_t kNoonNs = 1'764'072'000'000'000'000;  // 2025-11-25 12:00 UTC

// A book that lives by itself: what it decides, it applies.
struct Live {
  Book book;
  int64_t now_ns = kNoonNs;
  uint64_t ids = 0;

  Record Commit(Record record) {
    record.seq = book.seq() + 1;
    record.time_ns = now_ns = std::max(now_ns, book.time_ns()) + 1;
    const Status applied = book.Apply(record);
    EXPECT_TRUE(applied.has_value()) << applied.error().message;
    EXPECT_TRUE(book.Audit().has_value()) << book.Audit().error().message;
    return record;
  }
  AccountNumber Budget(BudgetSpec spec) { return Commit(*book.DecideBudget(spec, now_ns)).account; }
  AccountNumber Budget(std::string name, NanoUsd limit) {
    return Budget(BudgetSpec{.name = std::move(name), .limit = limit});
  }
  AccountNumber Credit(CreditSpec spec) { return Commit(*book.DecideCredit(spec)).account; }

  std::expected<HoldId, Refusal> Hold(std::vector<AccountNumber> budgets, NanoUsd cost,
                                      NanoUsd charge = 0, std::string_view payer = {}) {
    HoldRequest request;
    request.id = {{7, ++ids}, 1};
    request.cost = cost;
    request.charge = charge;
    request.budgets = budgets;
    request.payer = payer;
    auto decided = book.DecideHold(request, now_ns);
    if (!decided.has_value()) {
      return std::unexpected(decided.error());
    }
    Commit(*decided);
    return request.id;
  }
  void Settle(HoldId id, NanoUsd cost, NanoUsd charge = 0) {
    Commit(*book.DecideSettle(id, cost, charge, "", now_ns));
  }
  Account At(AccountNumber number) { return book.BudgetAccount(number, now_ns / 1'000'000'000); }
};

TEST(Book, HoldsTheWorstCaseAndGivesBackWhatWasNotUsed) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto hold = live.Hold({key}, 70);
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(live.At(key).pending, 70);
  EXPECT_EQ(live.At(key).available(), 30);
  live.Settle(*hold, 25);
  EXPECT_EQ(live.At(key).pending, 0);
  EXPECT_EQ(live.At(key).debits, 25);
  EXPECT_EQ(live.At(key).available(), 75);
}

TEST(Book, RefusesWhatAHardBudgetHasNoRoomForAndSaysWhichAndHowMuch) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  ASSERT_TRUE(live.Hold({key}, 70).has_value());
  const auto refused = live.Hold({key}, 31);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Refusal::Reason::kBudget);
  EXPECT_EQ(refused.error().account, key);
  EXPECT_EQ(refused.error().asked, 31);
  EXPECT_EQ(refused.error().available, 30);
  EXPECT_TRUE(live.Hold({key}, 30).has_value()) << "the last nano-dollar is usable";
  EXPECT_TRUE(live.Hold({key}, 0).has_value()) << "what is free is never refused";
}

TEST(Book, TakesFromEveryScopeOrFromNone) {
  Live live;
  const AccountNumber org = live.Budget("org:o", 50), key = live.Budget("key:a", 100);
  const auto refused = live.Hold({key, org}, 60);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().account, org);
  EXPECT_EQ(live.At(key).pending, 0);
  ASSERT_TRUE(live.Hold({key, org, key}, 40).has_value());
  EXPECT_EQ(live.At(key).pending, 40) << "a scope named twice counts once";
  EXPECT_EQ(live.At(org).pending, 40);
}

TEST(Book, SoftBudgetsTellButNeverRefuse) {
  Live live;
  const AccountNumber key = live.Budget({.name = "key:a", .limit = 100, .mode = Mode::kSoft});
  const auto hold = live.Hold({key}, 500);
  ASSERT_TRUE(hold.has_value());
  live.Settle(*hold, 85);
  const std::vector<Notice> notices = live.book.TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].account, key);
  EXPECT_EQ(notices[0].percent, 80);
  EXPECT_EQ(notices[0].amount, 85);
  live.Settle(*live.Hold({key}, 1), 1);
  EXPECT_TRUE(live.book.TakeNotices().empty()) << "each share is told once";
}

TEST(Book, EndsEveryHoldOnce) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto hold = live.Hold({key}, 10);
  live.Settle(*hold, 5);
  const auto again = live.book.DecideSettle(*hold, 5, 0, "", live.now_ns);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().reason, Refusal::Reason::kNoHold);
  EXPECT_FALSE(live.book.DecideStep(RecordType::kVoid, *hold, "").has_value());
  EXPECT_EQ(live.At(key).debits, 5);
}

TEST(Book, PostsACostBeyondItsHoldWholeAndTellsOfIt) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto hold = live.Hold({key}, 90, 90);
  live.Settle(*hold, 120, 120);
  EXPECT_EQ(live.At(key).debits, 120) << "the provider has billed it";
  EXPECT_EQ(live.At(key).available(), -20);
  EXPECT_EQ(live.book.AccountOf({kReceivable, 0}).debits, 90) << "the user pays what was held";
  const std::vector<Notice> notices = live.book.TakeNotices();
  ASSERT_EQ(notices.size(), 2U);
  EXPECT_EQ(notices[1].account, 0U);
  EXPECT_EQ(notices[1].amount, 30);
  EXPECT_FALSE(live.Hold({key}, 1).has_value());
}

TEST(Book, CountsARequestInTheWindowInWhichItWasAdmitted) {
  Live live;
  const AccountNumber key = live.Budget({.name = "key:a", .limit = 100, .period = Period::kDay});
  const auto late = live.Hold({key}, 60);
  const int64_t today_s = live.now_ns / 1'000'000'000;
  live.now_ns += 86'400'000'000'000;
  ASSERT_TRUE(live.Hold({key}, 100).has_value()) << "a new day has its whole limit";
  live.Settle(*late, 60);
  EXPECT_EQ(live.book.BudgetAccount(key, today_s).debits, 60);
  EXPECT_EQ(live.At(key).debits, 0);
}

TEST(Book, RaisesALimitAtOnceAndLoweringOnlyStopsAdmission) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto hold = live.Hold({key}, 80);
  EXPECT_EQ(live.Budget("key:a", 50), key);
  EXPECT_EQ(live.At(key).available(), -30);
  EXPECT_FALSE(live.Hold({key}, 1).has_value());
  live.Settle(*hold, 80);
  live.Budget("key:a", 200);
  EXPECT_EQ(live.At(key).available(), 120);
  live.Budget({.name = "key:a", .limit = 200, .closed = true});
  EXPECT_TRUE(live.Hold({key}, 5000).has_value()) << "a closed budget holds nothing back";
}

TEST(Book, ExtendsAHoldAsFarAsItsBudgetsGo) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto hold = live.Hold({key}, 40);
  live.Commit(*live.book.DecideExtend(*hold, 40, 0, {}, live.now_ns));
  EXPECT_EQ(live.At(key).pending, 80);
  const auto refused = live.book.DecideExtend(*hold, 40, 0, {}, live.now_ns);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().available, 20);
  live.Settle(*hold, 75);
  EXPECT_EQ(live.At(key).available(), 25);
}

TEST(Book, SpendsCreditsInAFixedOrderPromotionalOnesFirst) {
  Live live;
  const int64_t soon = live.now_ns / 1'000'000'000 + 1000;
  const AccountNumber paid = live.Credit({.name = "paid", .owner = "org:o", .amount = 100});
  const AccountNumber expiring =
      live.Credit({.name = "expiring", .owner = "org:o", .amount = 10, .expires_s = soon});
  const AccountNumber promo =
      live.Credit({.name = "promo", .owner = "org:o", .amount = 20, .promotional = true});
  const auto hold = live.Hold({}, 50, 50, "org:o");
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(live.book.AccountOf({promo, 0}).pending, 20);
  EXPECT_EQ(live.book.AccountOf({expiring, 0}).pending, 10);
  EXPECT_EQ(live.book.AccountOf({paid, 0}).pending, 20);
  live.Settle(*hold, 25, 25);
  EXPECT_EQ(live.book.AccountOf({promo, 0}).available(), 0);
  EXPECT_EQ(live.book.AccountOf({expiring, 0}).available(), 5);
  EXPECT_EQ(live.book.AccountOf({paid, 0}).available(), 100);
  live.Commit(*live.book.DecidePayer("org:o", true));
  const auto refused = live.Hold({}, 0, 106, "org:o");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Refusal::Reason::kCredit);
  EXPECT_EQ(refused.error().available, 105);
}

TEST(Book, LetsCreditsExpireButNotWhatIsHeldOfThem) {
  Live live;
  live.Commit(*live.book.DecidePayer("org:o", true));
  const int64_t soon = live.now_ns / 1'000'000'000 + 1000;
  const AccountNumber credit =
      live.Credit({.name = "c", .owner = "org:o", .amount = 100, .expires_s = soon});
  const auto hold = live.Hold({}, 0, 30, "org:o");
  live.now_ns += 2'000'000'000'000;
  for (const Record& record : live.book.DecideExpiries(live.now_ns)) {
    live.Commit(record);
  }
  EXPECT_EQ(live.book.AccountOf({kBreakage, 0}).credits, 70);
  EXPECT_EQ(live.book.AccountOf({credit, 0}).expired, 70);
  EXPECT_FALSE(live.Hold({}, 0, 1, "org:o").has_value());
  live.Settle(*hold, 0, 10);
  EXPECT_EQ(live.book.AccountOf({credit, 0}).available(), 20);
  ASSERT_EQ(live.book.DecideExpiries(live.now_ns).size(), 1U) << "the rest follows";
}

TEST(Book, APresentThatNobodySpentGoesBackAndIsNoRevenue) {
  Live live;
  const int64_t soon = live.now_ns / 1'000'000'000 + 1000;
  live.Credit({.name = "paid", .owner = "org:o", .amount = 100, .expires_s = soon});
  live.Credit(
      {.name = "gift", .owner = "org:o", .amount = 40, .expires_s = soon, .promotional = true});
  live.now_ns += 2'000'000'000'000;
  for (const Record& record : live.book.DecideExpiries(live.now_ns)) {
    live.Commit(record);
  }
  EXPECT_EQ(live.book.AccountOf({kBreakage, 0}).credits, 100);
  const Account source = live.book.AccountOf({kCreditSource, 0});
  EXPECT_EQ(source.debits, 140);
  EXPECT_EQ(source.credits, 40);
  EXPECT_EQ(live.book.AccountOf({*live.book.FindCredit("gift"), 0}).expired, 40);
}

TEST(Book, OwesWhatIsBeyondTheCreditsOfWhoIsNotPrepaid) {
  Live live;
  const auto owed = [&] { return live.book.AccountOf({kReceivable, 0}).debits; };
  live.Settle(*live.Hold({}, 30, 30, "org:o"), 30, 30);
  EXPECT_EQ(owed(), 30) << "who was never granted anything owes everything";
  const AccountNumber credit = live.Credit({.name = "c", .owner = "org:o", .amount = 100});
  const auto first = live.Hold({}, 90, 90, "org:o");
  const auto second = live.Hold({}, 40, 40, "org:o");
  EXPECT_EQ(live.book.AccountOf({credit, 0}).pending, 100) << "the rest of the second is owed";
  live.Settle(*first, 20, 20);
  live.Settle(*second, 40, 40);
  EXPECT_EQ(owed(), 30) << "what the first gave back pays for the second";
  EXPECT_EQ(live.book.AccountOf({credit, 0}).available(), 40);
  live.Settle(*live.Hold({}, 70, 70, "org:o"), 70, 70);
  EXPECT_EQ(owed(), 60);
  live.Settle(*live.Hold({}, 5, 5, "org:other"), 5, 5);
  EXPECT_EQ(owed(), 65);
  EXPECT_EQ(live.book.Spendable("org:o", live.now_ns), 0);
}

TEST(Book, RefusesThePrepaidWithoutCreditAndNobodyElse) {
  Live live;
  live.Commit(*live.book.DecidePayer("org:o", true));
  const auto refused = live.Hold({}, 0, 1, "org:o");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Refusal::Reason::kCredit);
  EXPECT_EQ(refused.error().available, 0);
  EXPECT_TRUE(live.Hold({}, 9, 0, "org:o").has_value()) << "what is charged nothing";
  EXPECT_TRUE(live.Hold({}, 1, 1, "org:p").has_value());
  live.Credit({.name = "c", .owner = "org:o", .amount = 1});
  EXPECT_TRUE(live.Hold({}, 0, 1, "org:o").has_value());
  EXPECT_FALSE(live.Hold({}, 0, 1, "org:o").has_value()) << "it is held";
  live.Commit(*live.book.DecidePayer("org:o", false));
  EXPECT_TRUE(live.Hold({}, 0, 1, "org:o").has_value());
}

TEST(Book, PaysALateSettleFromACreditThatWasHeldInTime) {
  Live live;
  const int64_t soon = live.now_ns / 1'000'000'000 + 1000;
  const AccountNumber credit =
      live.Credit({.name = "c", .owner = "org:o", .amount = 100, .expires_s = soon});
  const auto hold = live.Hold({}, 30, 30, "org:o");
  const auto more = live.Hold({}, 100, 100, "org:o");
  live.now_ns += 2'000'000'000'000;
  live.Settle(*hold, 10, 10);
  live.Settle(*more, 100, 100);
  EXPECT_EQ(live.book.AccountOf({credit, 0}).debits, 80) << "but not by what is free of it now";
  EXPECT_EQ(live.book.AccountOf({kReceivable, 0}).debits, 30);
}

TEST(Book, ReadsAJournalFromBeforeCreditsHadAPayer) {
  Live live;
  const AccountNumber credit = live.Credit({.name = "c", .owner = "org:o", .amount = 100});
  Record hold = {.type = RecordType::kHold, .hold = {{1, 1}, 1}, .cost = 30, .charge = 30};
  hold.legs.Push(
      {.account = {credit, 0}, .dimension = Dimension::kCharge, .is_credit = true, .amount = 30});
  live.Commit(hold);
  live.Commit({.type = RecordType::kSettle, .hold = {{1, 1}, 1}, .cost = 20, .charge = 20});
  EXPECT_EQ(live.book.AccountOf({credit, 0}).debits, 20);
  EXPECT_EQ(live.book.AccountOf({kReceivable, 0}).debits, 0);
}

TEST(Book, MetersLessOnlyOfWhatHasEnded) {
  Live live;
  const auto hold = live.Hold({}, 100, 100);
  live.Commit(*live.book.DecideProgress(*hold, 100, 5));
  live.Commit(*live.book.DecideProgress(*hold, 20, 20));
  EXPECT_EQ(live.book.Find(*hold)->metered_cost, 100) << "it runs, and may be billed whole";
  live.Commit(*live.book.DecideProgress(*hold, 20, 20, Metering::kEnded));
  EXPECT_EQ(live.book.Find(*hold)->metered_cost, 20);
}

TEST(Book, KeepsTheTextOfAnEndUntilAnotherComes) {
  Live live;
  const auto hold = live.Hold({}, 100, 100);
  const auto text = [&] { return live.book.Find(*hold)->metered_text; };
  EXPECT_EQ(text(), "");
  live.Commit(*live.book.DecideProgress(*hold, 20, 20, Metering::kEnded, "ten tokens"));
  live.Commit(*live.book.DecideProgress(*hold, 30, 20));
  EXPECT_EQ(text(), "ten tokens");
  live.Commit(*live.book.DecideProgress(*hold, 40, 20, Metering::kEnded, "twelve"));
  EXPECT_EQ(text(), "twelve");
}

TEST(Book, KeepsWhatIsInDoubtHeldUntilItIsResolved) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto hold = live.Hold({key}, 60);
  live.Commit(*live.book.DecideStep(RecordType::kSent, *hold, ""));
  live.Commit(*live.book.DecideStep(RecordType::kInDoubt, *hold, "killed"));
  EXPECT_EQ(live.At(key).in_doubt, 60);
  EXPECT_EQ(live.At(key).available(), 40);
  live.Settle(*hold, 7);
  EXPECT_EQ(live.At(key).in_doubt, 0);
  EXPECT_EQ(live.At(key).available(), 93);
}

TEST(Book, NamesTheFieldOfABadDefinition) {
  const Book book;
  const auto param = [&](const BudgetSpec& spec) {
    return book.DecideBudget(spec, 0).error().param;
  };
  EXPECT_EQ(param({.name = "", .limit = 1}), "name");
  EXPECT_EQ(param({.name = "a", .limit = -1}), "budget");
  EXPECT_EQ(param({.name = "a", .limit = kAmountMax + 1}), "budget");
  EXPECT_EQ(param({.name = "a", .limit = 1, .zone = "Mars/Olympus"}), "zone");
  EXPECT_EQ(book.DecideCredit({.name = "a", .owner = "o", .amount = 0}).error().param, "amount");
  EXPECT_EQ(book.DecideCredit({.name = "a", .owner = "", .amount = 1}).error().param, "owner");
}

TEST(Book, RefusesRecordsThatCannotFollow) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 100);
  const auto expect_refused = [&](Record record, const char* what) {
    record.seq = live.book.seq() + 1;
    record.time_ns = live.book.time_ns() + 1;
    EXPECT_EQ(live.book.Apply(record).error().code, ErrorCode::kCorruptFile) << what;
    EXPECT_TRUE(live.book.Audit().has_value()) << what;
  };
  Record hold;
  hold.hold = {{1, 1}, 1};
  hold.cost = 101;
  hold.legs.Push({.account = {key, 0}, .amount = 101});
  expect_refused(hold, "beyond a hard bound");
  hold.legs.all()[0].amount = 60;
  hold.legs.Push(hold.legs.all()[0]);
  expect_refused(hold, "an account twice");
  Record other = {.type = RecordType::kHold, .hold = {{1, 1}, 1}};
  other.legs.Push({.account = {99, 0}, .amount = 1});
  expect_refused(other, "an account that there is not");
  other.legs.all()[0] = {.account = {key, 0}, .is_credit = true, .amount = 1};
  expect_refused(other, "a budget as a credit");
  expect_refused({.type = RecordType::kSettle, .hold = {{1, 1}, 1}}, "no such hold");
  expect_refused({.type = RecordType::kSettle, .hold = {{1, 1}, 1}, .cost = -1}, "negative");
  expect_refused({.type = RecordType::kExpire, .cost = 5, .account = key}, "no such credit");
  expect_refused({.type = RecordType::kPayee, .account = kRevenue}, "a fixed account's number");
  const AccountNumber credit = live.Credit({.name = "c", .owner = "org:o", .amount = 50});
  live.Commit({.type = RecordType::kHold, .hold = {{2, 2}, 1}, .charge = 60, .payer = "org:o"});
  Record settle = {.type = RecordType::kSettle, .hold = {{2, 2}, 1}, .charge = 60};
  settle.legs.Push({.account = {credit, 0}, .is_credit = true, .amount = 51});
  expect_refused(settle, "a credit that pays more than it has");
  settle.legs.all()[0].amount = 50;
  settle.charge = 49;
  expect_refused(settle, "credits that pay more than is charged");
  settle.charge = 60;
  settle.legs.Push(settle.legs.all()[0]);
  expect_refused(settle, "a credit that pays twice");
  settle.legs.all()[1] = {.account = {key, 0}, .is_credit = true, .amount = 1};
  expect_refused(settle, "a budget that pays");
  expect_refused({.type = RecordType::kPayer, .is_prepaid = true}, "nobody's terms");
  Record skipped = {.type = RecordType::kPayee, .seq = live.book.seq() + 2, .account = 40};
  EXPECT_FALSE(live.book.Apply(skipped).has_value());
}

TEST(Book, ComesBackWholeFromItsSnapshot) {
  Live live;
  const AccountNumber key = live.Budget("key:a", 1000);
  const AccountNumber day = live.Budget({.name = "day", .limit = 500, .period = Period::kDay});
  const AccountNumber credit =
      live.Credit({.name = "c", .owner = "org:o", .amount = 100, .note = "a gift"});
  const AccountNumber gone = live.Credit(
      {.name = "gone", .owner = "org:p", .amount = 7, .expires_s = live.now_ns / 1'000'000'000});
  live.Commit(live.book.DecideExpiries(live.now_ns).at(0));
  live.Commit(*live.book.DecidePayer("org:o", true));
  live.Settle(*live.Hold({key, day}, 50, 30, "org:o"), 44, 20);
  const auto running = live.Hold({key, day}, 200, 10, "org:o");
  live.Commit(*live.book.DecideStep(RecordType::kSent, *running, ""));
  live.Commit(*live.book.DecideProgress(*running, 12, 3));
  const auto doubtful = live.Hold({key}, 5);
  live.Commit(*live.book.DecideProgress(*doubtful, 4, 2, Metering::kEnded, "ten tokens"));
  live.Commit(*live.book.DecideStep(RecordType::kInDoubt, *doubtful, ""));

  Book copy;
  uint32_t chain = 0, read_chain = 0;
  const Status written = live.book.Snapshot(live.now_ns + 1, [&](const Record& record) -> Status {
    std::vector<std::byte> bytes;
    chain = EncodeRecord(record, chain, bytes);
    const Result<DecodedRecord> decoded = DecodeRecord(bytes, read_chain);
    EXPECT_TRUE(decoded.has_value());
    read_chain = decoded->checksum;
    return copy.Apply(decoded->record);
  });
  ASSERT_TRUE(written.has_value()) << written.error().message;
  EXPECT_TRUE(copy.Audit().has_value());
  EXPECT_EQ(copy.seq(), live.book.seq());
  const int64_t now_s = live.now_ns / 1'000'000'000;
  for (const AccountNumber number : {key, day}) {
    const Account a = live.book.BudgetAccount(number, now_s), b = copy.BudgetAccount(number, now_s);
    EXPECT_EQ(std::tuple(a.limit, a.debits, a.pending, a.in_doubt, a.warned_percent),
              std::tuple(b.limit, b.debits, b.pending, b.in_doubt, b.warned_percent));
  }
  EXPECT_EQ(copy.AccountOf({credit, 0}).available(), live.book.AccountOf({credit, 0}).available());
  EXPECT_EQ(copy.credits(), live.book.credits()) << "when they were granted, too";
  EXPECT_EQ(copy.AccountOf({gone, 0}).expired, 7);
  EXPECT_TRUE(copy.IsPrepaid("org:o"));
  EXPECT_EQ(copy.Spendable("org:o", live.now_ns), live.book.Spendable("org:o", live.now_ns));
  EXPECT_EQ(copy.Find(*running)->payer, "org:o");
  const OpenHold* hold = copy.Find(*running);
  ASSERT_NE(hold, nullptr);
  EXPECT_EQ(hold->state, HoldState::kSent);
  EXPECT_EQ(hold->metered_cost, 12);
  EXPECT_EQ(copy.Find(*doubtful)->metered_text, "ten tokens");
  EXPECT_EQ(copy.Find(*doubtful)->metered_cost, 4);
  EXPECT_EQ(copy.Find(*doubtful)->metered_charge, 2);
  EXPECT_EQ(hold->since_ns, live.book.Find(*running)->since_ns);
  EXPECT_EQ(copy.BudgetOf(day)->period, Period::kDay);
}

TEST(Book, ForgetsWindowsThatEndedLongAgo) {
  Live live;
  const AccountNumber key = live.Budget({.name = "key:a", .limit = 100, .period = Period::kDay});
  live.Settle(*live.Hold({key}, 10), 10);
  const int64_t then_s = live.now_ns / 1'000'000'000;
  const auto ignore = [](const Record&) { return Status(); };
  ASSERT_TRUE(live.book.Snapshot(live.now_ns + 86'400'000'000'000, ignore).has_value());
  EXPECT_EQ(live.book.BudgetAccount(key, then_s).debits, 10);
  ASSERT_TRUE(live.book.Snapshot(live.now_ns + 30 * 86'400'000'000'000, ignore).has_value());
  EXPECT_EQ(live.book.BudgetAccount(key, then_s).debits, 0);
}

}  // namespace
}  // namespace tradewind::ledger
