// Old attempts go into files: when, which, and what stays right without them.
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "billing/credits.h"
#include "billing/statement.h"
#include "billing/test_support.h"
#include "billing/verify.h"
#include "ledger/credit_time.h"

namespace tradewind::billing {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::days kKeep{40};
constexpr int64_t kStart = 1'764'072'000;  // 2025-11-25T12:00:00Z

// Requests of three days, two weeks apart from anything else.
struct OldWorld : World {
  OldWorld() {
    SetTime(kStart);
    EXPECT_TRUE(ledger
                    ->Grant({.name = "c1",
                             .owner = BudgetName("org", "org_1"),
                             .amount = 100'000'000,
                             .note = "pays a part of all"})
                    .has_value());
    for (int day = 0; day < 3; ++day) {
      for (int i = 0; i < 700; ++i) {
        Buy(100 + i, i % 7, i % 3 == 0 ? "key_1" : "key_2");
      }
      clock.Advance(std::chrono::days(1));
    }
    EXPECT_TRUE(recorder->CatchUp().has_value());
  }
  // For as long as it takes to be believed.
  void SetTime(int64_t unix_s) {
    constexpr auto kBefore = ledger::CreditTime::kBelievedAfter;
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(unix_s)) - kBefore);
    if (recorder != nullptr) {
      EXPECT_TRUE(recorder->SetAsideStep().has_value());
    }
    clock.Advance(kBefore);
  }
  void Buy(int64_t input, int64_t output, const char* key) {
    Offer offer = Ask(input, 10);
    offer.id.request = ledger::RequestId::Make(clock.UnixSeconds() * 1000);
    offer.purchase.key_id = key;
    Meter meter(*ledger);
    auto attempt = meter.Begin(offer);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    last = offer.id;
    attempt->End({.is_complete = true, .usage = Used(input, output), .finish = "stop"});
  }
  // As World does, with what a server that keeps so long has.
  void Reopen() {
    recorder.reset();
    auto records = Recorder::Open(home.path() / "ledger.db", disk, *ledger,
                                  {.background = false, .keep = kKeep, .clock = &clock});
    ASSERT_TRUE(records.has_value()) << records.error().message;
    recorder = std::move(*records);
  }
  int Steps(int most = 1000) {
    int steps = 0;
    while (steps < most) {
      const auto step = recorder->SetAsideStep();
      EXPECT_TRUE(step.has_value()) << step.error().message;
      if (!step.value_or(false)) {
        break;
      }
      ++steps;
    }
    return steps;
  }
  int64_t Count(const char* table) {
    int64_t count = -1;
    EXPECT_TRUE(recorder
                    ->Change([&](storage::Database& database) -> Status {
                      TW_ASSIGN_OR_RETURN(
                          auto query,
                          database.Prepare(std::string("SELECT count(*) FROM ") + table));
                      TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
                      EXPECT_TRUE(has_row);
                      count = query.Integer(0);
                      return {};
                    })
                    .has_value());
    return count;
  }
  // That a provider's month is closed, or opened again.
  void Note(const std::string& what, const BillPeriod& month) {
    const auto suspense = ledger->Payee(SuspenseName("site-a", month)).value();
    ASSERT_TRUE(ledger
                    ->Transfer(ledger::kExpense, suspense, 1,
                               TransferText(what, "site-a", month, "so be it"))
                    .has_value());
    EXPECT_EQ(recorder->IsClosed("site-a", month).value(), what == "close");
    EXPECT_FALSE(recorder->IsClosed("site-b", month).value());
  }
  std::set<std::string> Files() {
    std::set<std::string> names;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(home.path() / "archive", none)) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }
  Verification Verify() {
    const StatementOrder order{ParseBillPeriod("2025-11").value(), "", ""};
    auto verified = VerifyStatement(order, *recorder, *ledger, disk);
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
    return verified.has_value() ? std::move(*verified) : Verification();
  }

  ledger::HoldId last;
};

TEST(SetAside, HappensToWholeDaysWhenTheyAreOldEnough) {
  OldWorld world;
  world.Reopen();
  const int64_t first_due = (kStart / 86'400 + 1 + kKeep.count()) * 86'400;
  world.SetTime(first_due - 1);
  EXPECT_EQ(world.Steps(), 0);
  EXPECT_EQ(world.Count("attempts"), 2100);
  world.SetTime(first_due + 60);
  EXPECT_GT(world.Steps(), 0);
  EXPECT_EQ(world.Count("attempts"), 1400);
  EXPECT_EQ(world.Files(), std::set<std::string>{"requests-2025-11-25.parquet"});
  world.SetTime(first_due + 2 * 86'400 + 120);
  world.Steps();
  EXPECT_EQ(world.Count("attempts"), 0);
  EXPECT_EQ(world.Files().size(), 3U);
  EXPECT_EQ(world.recorder->SetAsideUntil().value() / 1'000'000'000, kStart + 2 * 86'400);
}

TEST(SetAside, DoesNotBelieveAClockThatIsFarAheadForAWhile) {
  OldWorld world;
  world.Reopen();
  const auto right = world.clock.WallNow();
  const auto looks = [&](std::chrono::minutes minutes) {
    for (auto passed = minutes - minutes; passed < minutes; passed += std::chrono::minutes(1)) {
      EXPECT_EQ(world.Steps(), 0);
      world.clock.Advance(std::chrono::minutes(1));
    }
  };
  world.clock.SetWall(right + std::chrono::days(365));  // at a start, before the time is known
  looks(std::chrono::minutes(9));
  world.clock.SetWall(right);
  looks(std::chrono::minutes(12));
  world.clock.SetWall(right + std::chrono::days(365));  // while it runs
  looks(std::chrono::minutes(9));
  world.clock.SetWall(right);
  looks(std::chrono::minutes(12));
  EXPECT_EQ(world.Count("attempts"), 2100);
  world.clock.SetWall(right + std::chrono::days(365));  // and that it stays there is believed
  looks(std::chrono::minutes(10));
  EXPECT_GT(world.Steps(), 0);
}

TEST(SetAside, NeverHappensWhereEverythingIsKept) {
  OldWorld world;
  world.SetTime(kStart + 400 * 86'400);
  EXPECT_EQ(world.Steps(), 0) << "without `keep`";
  EXPECT_EQ(world.Count("attempts"), 2100);
}

TEST(SetAside, LeavesBillsUsageAndTheirProofAsTheyWere) {
  OldWorld world;
  const Verification before = world.Verify();
  ASSERT_TRUE(before.is_good());
  const UsageSum used = world.Sum();
  world.Reopen();
  world.SetTime(kStart + 200 * 86'400);
  const int steps = world.Steps(4);
  EXPECT_EQ(steps, 4) << "one file is written, and some of its rows are gone";
  for (int more = 0; more < 2; ++more) {
    const Verification after = world.Verify();
    EXPECT_TRUE(after.is_good()) << (after.differences.empty() ? "hash" : after.differences[0]);
    EXPECT_EQ(after.statement.hash, before.statement.hash);
    EXPECT_EQ(after.set_aside + world.Count("attempts"), 2100);
    EXPECT_EQ(world.Sum().cost, used.cost);
    EXPECT_EQ(world.Sum().settled, used.settled);
    EXPECT_EQ(after.statement.credited, 100'000'000);
    world.Steps();
  }
  EXPECT_EQ(world.Count("attempts"), 0);
  const auto file = world.recorder->SetAsideOf(world.last.request);
  ASSERT_TRUE(file.has_value() && file->has_value());
  EXPECT_EQ((*file)->file, "requests-2025-11-27.parquet");
  EXPECT_FALSE(world.recorder->SetAsideOf(ledger::RequestId::Make(1)).value().has_value());
}

TEST(SetAside, TellsWhenTheSumsAreNotWhatWasKept) {
  OldWorld world;
  world.Reopen();
  world.SetTime(kStart + 200 * 86'400);
  world.Steps();
  ASSERT_TRUE(world.recorder
                  ->Change([](storage::Database& database) {
                    return database.Execute(
                        "UPDATE day_meters SET cost = cost + 1 WHERE kind = 1 AND key = 'key_1'");
                  })
                  .has_value());
  EXPECT_FALSE(world.Verify().is_good());
}

TEST(SetAside, WaitsForWhatIsInDoubt) {
  OldWorld world;
  Meter meter(*world.ledger);
  world.SetTime(kStart + 2 * 86'400);  // of the third day
  auto attempt = meter.Begin(world.Ask(10, 10));
  ASSERT_TRUE(attempt.has_value());
  world.Reopen();
  world.SetTime(kStart + 200 * 86'400);
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  world.Steps();
  EXPECT_EQ(world.Files().size(), 2U) << "of the days before it";
  EXPECT_EQ(world.Count("attempts"), 701);
}

// At every step, and what is left goes into another file.
TEST(SetAside, IsKilledAtAnyStepAndLosesNothing) {
  for (int killed_after = 0; killed_after < 8; ++killed_after) {
    OldWorld world;
    world.Reopen();
    world.SetTime(kStart + 200 * 86'400);
    world.Steps(killed_after);
    world.Reopen();
    world.SetTime(kStart + 200 * 86'400);
    world.Steps();
    EXPECT_EQ(world.Count("attempts"), 0);
    const Verification after = world.Verify();
    EXPECT_TRUE(after.is_good()) << killed_after;
    EXPECT_EQ(after.set_aside, 2100);
  }
}

TEST(SetAside, KeepsEverythingWhileItsFileCannotBeWritten) {
  OldWorld world;
  world.Reopen();
  std::ofstream(world.home.path() / "archive") << "a file where the folder should be";
  world.SetTime(kStart + 200 * 86'400);
  Result<bool> step = true;
  for (int i = 0; i < 10 && step.has_value() && *step; ++i) {
    step = world.recorder->SetAsideStep();
  }
  EXPECT_FALSE(step.has_value());
  EXPECT_EQ(world.Count("attempts"), 2100);
  EXPECT_EQ(world.Count("set_aside"), 0);
  EXPECT_FALSE(world.recorder->SetAsideStep().value()) << "and is not tried again at once";
  fs::remove(world.home.path() / "archive");
  world.clock.Advance(std::chrono::minutes(11));
  world.Steps();
  EXPECT_EQ(world.Count("attempts"), 0);
}

TEST(SetAside, StandsStillWhileSomebodyWalksThrough) {
  OldWorld world;
  world.Reopen();
  world.SetTime(kStart + 200 * 86'400);
  {
    const Recorder::Stillness still = world.recorder->HoldStill();
    EXPECT_EQ(world.Steps(), 0);
  }
  EXPECT_GT(world.Steps(), 0);
}

TEST(SetAside, AMonthWhoseBillIsOpenKeepsWhatNoLineIsOf) {
  OldWorld world;
  const BillPeriod month = ParseBillPeriod("2025-11").value();
  BillLine line;
  line.provider = "site-a";
  line.start_s = kStart + 4 * 86'400;  // behind all of them
  line.end_s = line.start_s + 3600;
  line.cost = 5;
  ASSERT_TRUE(world.recorder->PutBillLines({&line, 1}).has_value());
  world.Reopen();
  world.SetTime(kStart + 200 * 86'400);
  EXPECT_EQ(world.Steps(), 0) << "closing counts them";
  world.Note("close", month);
  world.Note("reopen", month);
  world.SetTime(kStart + 201 * 86'400);
  EXPECT_EQ(world.Steps(), 0) << "it is open again";
  world.Note("close", month);
  world.SetTime(kStart + 202 * 86'400);
  while (world.Files().empty()) {
    ASSERT_EQ(world.Steps(1), 1);
  }
  world.Note("reopen", month);
  world.SetTime(kStart + 203 * 86'400);
  EXPECT_EQ(world.Steps(), 0) << "it was opened while the file was written";
  EXPECT_EQ(world.Count("set_aside"), 0);
  EXPECT_EQ(world.Count("attempts"), 2100);
  world.Note("close", month);
  world.SetTime(kStart + 204 * 86'400);
  EXPECT_GT(world.Steps(), 0);
  EXPECT_EQ(world.Count("attempts"), 0);
  EXPECT_EQ(world.Verify().set_aside, 2100);
}

TEST(SetAside, RefusesToCompareABillWithWhatIsNotThere) {
  OldWorld world;
  const BillPeriod month = ParseBillPeriod("2025-11").value();
  BillLine line;
  line.provider = "site-a";
  line.is_invoice = true;
  line.start_s = month.from_s;
  line.end_s = month.to_s;
  line.model = "model-x";
  line.cost = 5;
  ASSERT_TRUE(world.recorder->PutBillLines({&line, 1}).has_value());
  ASSERT_TRUE(world.recorder->Differences("site-a", month).has_value());
  world.Reopen();
  world.SetTime(kStart + 200 * 86'400);
  EXPECT_EQ(world.Steps(), 0) << "the month is not closed: comparing it takes the rows";
  ASSERT_TRUE(world.recorder->Differences("site-a", month).has_value());
  const auto suspense = world.ledger->Payee("suspense:site-a/2025-11").value();
  ASSERT_TRUE(
      world.ledger
          ->Transfer(ledger::kExpense, suspense, 1, TransferText("close", "site-a", month, "done"))
          .has_value());
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  world.SetTime(kStart + 201 * 86'400);
  EXPECT_GT(world.Steps(), 0);
  const auto compared = world.recorder->Differences("site-a", month);
  ASSERT_FALSE(compared.has_value());
  EXPECT_EQ(compared.error().param, "period");
  const ImportedBill gone = world.recorder->BillOf("site-a", month).value();
  EXPECT_EQ(gone.lines, std::vector{line});
  EXPECT_EQ(gone.set_aside_until_s, world.recorder->SetAsideUntil().value() / 1'000'000'000);
  line.provider = "site-b";  // of days whose requests are there
  line.start_s = kStart + 4 * 86'400;
  ASSERT_TRUE(world.recorder->PutBillLines({&line, 1}).has_value());
  EXPECT_EQ(world.recorder->BillOf("site-b", month)->set_aside_until_s, std::nullopt);
  EXPECT_TRUE(world.recorder->Differences("site-b", month).has_value());
}

}  // namespace
}  // namespace tradewind::billing
