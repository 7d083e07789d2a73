// What budgets say was spent, added up again from the journal.
#include "billing/budget_audit.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "billing/statement.h"
#include "billing/test_support.h"
#include "billing/verify.h"
#include "ledger/journal.h"

namespace tradewind::billing {
namespace {

using ledger::Record;
using ledger::RecordType;

struct SpendingWorld : World {
  SpendingWorld() {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
    Define("key:key_1", ledger::Period::kDay);
    Define("org:org_1/provider:site-a", ledger::Period::kTotal);
  }
  void Define(const char* name, ledger::Period period) {
    EXPECT_TRUE(
        ledger->Define({.name = name, .limit = 1'000'000'000, .period = period}).has_value());
  }
  void Buy(int64_t output) {
    Meter meter(*ledger);
    auto attempt = meter.Begin(Ask(10, 10));
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(10, output), .finish = "stop"});
  }
  Verification Verify() {
    const StatementOrder order{ParseBillPeriod("2025-11").value(), "", ""};
    auto verified = VerifyStatement(order, *recorder, *ledger, disk);
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
    return verified.has_value() ? std::move(*verified) : Verification();
  }
  // Of a journal that says something else.
  BudgetAudit Audit(const std::function<bool(Record&)>& change) {
    EXPECT_TRUE(ledger->WaitDurable().has_value());
    const auto segments = ledger::ListSegments(disk, ledger::Segments::kAll).value();
    ledger::JournalReader reader(disk, segments.front(), ledger::Segments::kAll);
    BudgetAudit audit;
    while (auto record = reader.Next().value()) {
      if (change(*record)) {
        audit.Take(*record);
      }
    }
    audit.Check(ledger->Budgets(), ledger->Budgets());
    return audit;
  }
};

TEST(BudgetAudit, FindsWhatEachWindowSaysInItsEntries) {
  SpendingWorld world;
  for (int day = 0; day < 3; ++day) {
    for (int64_t i = 0; i < 5; ++i) {
      world.Buy(i);
    }
    world.Buy(50);  // beyond its hold
    world.clock.Advance(std::chrono::days(1));
    EXPECT_TRUE(world.Verify().is_good());
    world.KillAndStart();  // a snapshot says it again
  }
  world.Buy(1);
  const Verification verified = world.Verify();
  EXPECT_TRUE(verified.is_good()) << (verified.differences.empty() ? "hash"
                                                                   : verified.differences[0]);
  // Snapshots of three starts have each window that they know, and the ledger both of now.
  EXPECT_EQ(verified.budgets, 2 + 3 + 4 + 2);
}

TEST(BudgetAudit, CountsNothingOfWhatRunsOrIsVoid) {
  SpendingWorld world;
  Meter meter(*world.ledger);
  auto running = meter.Begin(world.Ask(10, 10));
  {
    auto dropped = meter.Begin(world.Ask(10, 10));
    ASSERT_TRUE(running.has_value() && dropped.has_value());
  }
  world.Buy(3);
  EXPECT_TRUE(world.Verify().is_good());
}

TEST(BudgetAudit, NamesTheBudgetAndWindowThatSayOtherwise) {
  SpendingWorld world;
  world.Buy(3);
  world.Buy(4);
  int settles = 0;
  const BudgetAudit other = world.Audit([&](Record& record) {
    record.cost += record.type == RecordType::kSettle && ++settles == 2 ? 7 : 0;
    return true;
  });
  ASSERT_EQ(other.differences().size(), 2U);
  EXPECT_NE(other.differences()[0].find("key:key_1"), std::string::npos);
  EXPECT_NE(other.differences()[0].find("2025-11-25T00:00:00Z"), std::string::npos);
  EXPECT_NE(other.differences()[1].find("the beginning"), std::string::npos);
  EXPECT_TRUE(world.Audit([](Record&) { return true; }).differences().empty());
}

TEST(BudgetAudit, BeginsAtASnapshotWhereTheJournalOfBeforeIsGone) {
  SpendingWorld world;
  world.Buy(3);
  world.KillAndStart();
  world.Buy(4);
  bool is_spent = false, is_behind = false;
  const auto behind = [&](Record& record) {  // of the snapshot that followed the first request
    is_spent |= record.type == RecordType::kSettle;
    is_behind |= is_spent && record.type == RecordType::kSnapshotBegin;
    return is_behind;
  };
  const BudgetAudit audit = world.Audit(behind);
  EXPECT_EQ(audit.checked(), 2);
  EXPECT_TRUE(audit.differences().empty());
  is_spent = is_behind = false;
  EXPECT_EQ(world
                .Audit([&](Record& record) {
                  record.debits += record.type == RecordType::kSnapshotAccount ? 1 : 0;
                  return behind(record);
                })
                .differences()
                .size(),
            2U);
  EXPECT_EQ(world.Audit([](Record& record) { return record.seq != 2; }).checked(), 2)
      << "a gap: it begins with the next snapshot";
}

}  // namespace
}  // namespace tradewind::billing
