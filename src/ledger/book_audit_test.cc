// The audit in parts: it finds what the whole one finds, whatever happens between two of them.
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/book.h"
#include "ledger/fake_disk.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNow = int64_t{1'764'072'000} * 1'000'000'000;

Status Commit(Book& book, Record record) {
  record.seq = book.seq() + 1;
  record.time_ns = std::max(kNow, book.time_ns()) + 1;
  return book.Apply(record);
}

TEST(AuditStep, FindsNothingWrongWhileHoldsComeAndGo) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    Book book;
    std::vector<AccountNumber> budgets;
    for (const char* name : {"key:a", "user:a", "org:a"}) {
      Record record = *book.DecideBudget({.name = name, .limit = kAmountMax}, 0);
      ASSERT_TRUE(Commit(book, record).has_value());
      budgets.push_back(record.account);
    }
    ASSERT_TRUE(Commit(book, *book.DecideCredit({.name = "c", .owner = "o", .amount = 1'000'000}))
                    .has_value());
    std::vector<HoldId> open;
    int rounds = 0;
    for (uint64_t step = 0; step < 3000; ++step) {
      const int64_t event = random.Below(8);
      if (event < 4) {
        HoldRequest request;
        request.id = {{seed, step}, 1};
        request.cost = request.charge = 1 + random.Below(100);
        request.budgets = budgets;
        request.payer = "o";
        ASSERT_TRUE(Commit(book, *book.DecideHold(request, kNow)).has_value());
        open.push_back(request.id);
      } else if (!open.empty()) {
        std::swap(open[static_cast<size_t>(random.Below(static_cast<int64_t>(open.size())))],
                  open.back());
        const HoldId id = open.back();
        if (event == 4) {
          ASSERT_TRUE(Commit(book, *book.DecideStep(RecordType::kInDoubt, id, "")).has_value());
        } else if (event == 5) {
          ASSERT_TRUE(Commit(book, *book.DecideExtend(id, 5, 5, "o", kNow)).has_value());
        } else if (event == 6) {
          ASSERT_TRUE(Commit(book, *book.DecideSettle(id, 7, 1, "", kNow)).has_value());
          open.pop_back();
        } else {
          ASSERT_TRUE(Commit(book, *book.DecideStep(RecordType::kVoid, id, "")).has_value());
          open.pop_back();
        }
      }
      const Result<bool> audited = book.AuditStep(static_cast<size_t>(random.Below(200)));
      ASSERT_TRUE(audited.has_value()) << seed << " " << step << " " << audited.error().message;
      rounds += *audited ? 1 : 0;
    }
    EXPECT_TRUE(book.Audit().has_value());
    EXPECT_GT(rounds, 5) << "it comes round";
    EXPECT_LT(rounds, 3000) << "and not at once";
  }
}

TEST(AuditStep, FindsMoneyThatCameFromNowhere) {
  Book book;
  ASSERT_TRUE(Commit(book, {.type = RecordType::kSnapshotBegin}).has_value());
  Record balance{.type = RecordType::kSnapshotAccount};
  balance.key = {kExpense, 0};
  balance.debits = 5;
  ASSERT_TRUE(Commit(book, balance).has_value());
  ASSERT_FALSE(book.Audit().has_value());
  Result<bool> audited = false;
  for (int step = 0; step < 1000 && audited.has_value() && !*audited; ++step) {
    audited = book.AuditStep(1);
  }
  ASSERT_FALSE(audited.has_value());
  EXPECT_EQ(audited.error().code, ErrorCode::kInternal);
}

TEST(AuditStep, LooksAtSmallBooksWhole) {
  Book book;
  EXPECT_EQ(book.AuditStep(4096), true);
}

}  // namespace
}  // namespace tradewind::ledger
