// What the recorder makes of the journal.
#include "billing/recorder.h"

#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/recorder_parts.h"
#include "billing/test_support.h"
#include "storage/migrations.h"

namespace tradewind::billing {
namespace {

TEST(Recorder, WritesNoRowsIntoADatabaseThatANewerProgramHasTaken) {
  World world;
  world.recorder->Release();
  {
    auto newer = storage::Database::Open(world.home.path() / "ledger.db");
    constexpr storage::Migration kNewer[] = {{"tomorrow", "CREATE TABLE tomorrow (a)"}};
    std::vector<storage::Migration> steps(RecorderTables().begin(), RecorderTables().end());
    steps.push_back(kNewer[0]);
    ASSERT_TRUE(storage::Migrate(*newer, steps).has_value());
  }
  EXPECT_EQ(world.recorder->Reopen().error().code, ErrorCode::kUnsupported);
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 1}).has_value());
  EXPECT_EQ(world.recorder->CatchUp().error().code, ErrorCode::kUnavailable);
}
TEST(Recorder, SaysWhatIsMissingWhenItsDatabaseIsOlderThanTheJournal) {
  World world;
  Meter meter(*world.ledger);
  const auto spend = [&] {
    auto attempt = meter.Begin(world.Ask(100, 100));
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(10, 10), .finish = "stop"});
  };
  spend();
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  const auto older = world.home.path() / "older.db", file = world.home.path() / "ledger.db";
  world.recorder->Release();
  std::filesystem::copy_file(file, older);
  ASSERT_TRUE(world.recorder->Reopen().has_value());
  for (int i = 0; i < 4000; ++i) {
    spend();
    if (i % 500 == 0) {
      ASSERT_TRUE(world.recorder->CatchUp().has_value());
    }
  }
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  ASSERT_GT(ledger::ListSegments(world.disk)->front(), 1U) << "the first one is gone";
  world.recorder.reset();
  for (const char* log : {"ledger.db-wal", "ledger.db-shm"}) {
    std::filesystem::remove(world.home.path() / log);
  }
  std::filesystem::copy_file(older, file, std::filesystem::copy_options::overwrite_existing);
  auto opened = Recorder::Open(file, world.disk, *world.ledger, {.background = false});
  const Status read = opened.has_value() ? (*opened)->CatchUp() : Fail(opened.error());
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kCorruptFile);
  EXPECT_NE(read.error().message.find("one backup"), std::string::npos) << read.error().message;
}

TEST(Recorder, TellsWhatCallersOwnKeysPaidOfACostAlsoFromTablesOfBefore) {
  World world;
  Meter meter(*world.ledger);
  for (const bool is_own : {false, true}) {
    Offer offer = world.Ask(100, 100);
    offer.purchase.own_key = is_own;
    auto attempt = meter.Begin(std::move(offer));
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(10, is_own ? 5 : 10), .finish = "stop"});
  }
  const UsageSum sum = world.Sum();
  EXPECT_EQ(sum.cost, 50'000);
  EXPECT_EQ(sum.own_key_cost, 20'000);
  EXPECT_EQ(sum.charge, 30'000);
  world.recorder->Release();
  {
    auto before = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(before.has_value());
    ASSERT_TRUE(before
                    ->Execute("ALTER TABLE sums DROP COLUMN own_key_cost; "
                              "ALTER TABLE day_sums DROP COLUMN own_key_cost; "
                              "DELETE FROM migrations WHERE number > 14")
                    .has_value());
  }
  ASSERT_TRUE(world.recorder->Reopen().has_value());
  EXPECT_EQ(world.Sum().own_key_cost, 20'000) << "by the day";
  const int64_t slot_ns = int64_t{900} * 1'000'000'000;
  const int64_t at_ns = std::chrono::nanoseconds(world.clock.WallNow().time_since_epoch()).count();
  EXPECT_EQ(world.Sum({.from_ns = at_ns, .to_ns = at_ns + slot_ns}).own_key_cost, 20'000)
      << "by quarters of an hour";
  ASSERT_TRUE(world.recorder
                  ->Change([](storage::Database& database) {
                    return database.Execute("UPDATE day_sums SET own_key_cost = cost + 1");
                  })
                  .has_value());
  EXPECT_EQ(world.Sum().own_key_cost, 50'000) << "of a cost that is another day's, no more";
}

TEST(Recorder, SaysTheSameAfterAKillAsBefore) {
  World world;
  Meter meter(*world.ledger);
  for (int i = 0; i < 40; ++i) {
    auto attempt = meter.Begin(world.Ask(100, 50));
    ASSERT_TRUE(attempt->Sent().has_value());
    if (i % 4 != 0) {
      attempt->End({.is_complete = true, .usage = Used(10, i)});
    } else if (i % 8 == 0) {
      attempt->End({.surely_unbilled = true, .finish = "429"});
    }
    if (i == 20) {
      ASSERT_TRUE(world.recorder->CatchUp().has_value());
    }
  }
  const UsageSum before = world.Sum();
  EXPECT_EQ(before.settled, 30);
  EXPECT_EQ(before.voided, 5);
  EXPECT_EQ(before.in_doubt, 5);
  world.KillAndStart();
  const UsageSum after = world.Sum();
  EXPECT_EQ(std::tie(after.settled, after.voided, after.in_doubt, after.cost, after.output_tokens,
                     after.doubtful),
            std::tie(before.settled, before.voided, before.in_doubt, before.cost,
                     before.output_tokens, before.doubtful));
}

TEST(Recorder, CatchesUpAtAStartThatReadsMoreThanABatchOfWhatItHas) {
  World world;
  const auto doubt = [&](int count) {
    Meter meter(*world.ledger, world.clock);
    for (int i = 0; i < count; ++i) {
      auto attempt = meter.Begin(world.Ask(10, 5));
      ASSERT_TRUE(attempt->Sent().has_value());
      attempt->End({.likely_billed = true, .delivered_bytes = 30, .finish = "cut"});
    }
  };
  doubt(9'000);
  ASSERT_EQ(world.Sum().in_doubt, 9'000);
  world.KillAndStart();
  ASSERT_EQ(world.Sum().in_doubt, 9'000);
  Meter meter(*world.ledger, world.clock);
  auto runs = meter.Begin(world.Ask(10, 5));
  ASSERT_TRUE(runs->Sent().has_value());
  ASSERT_EQ(world.Sum().running, 1);
  world.KillAndStart();
  EXPECT_EQ(world.Sum().running, 0);
  EXPECT_EQ(world.Sum().in_doubt, 9'001);
}

TEST(Recorder, SaysWhatACostByTokensLeavesOut) {
  World world;
  Meter meter(*world.ledger);
  const auto reason_of = [&](const Offer& offer, chat::Usage usage) {
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = usage});
    const AttemptRow row = world.recorder->Find(offer.id.request)->front();
    EXPECT_GT(row.cost, 0) << "budgets count what is known";
    return row.reason;
  };
  EXPECT_EQ(reason_of(world.Ask(100, 50), Used(10, 5)), "");
  Offer search = world.Ask(100, 50);
  search.billed_apart = "web_search_options";
  EXPECT_EQ(reason_of(search, Used(10, 5)),
            "incomplete: web_search_options is billed apart from tokens");
  chat::Usage flex = Used(10, 5);
  flex.service_tier = "flex";
  EXPECT_EQ(reason_of(world.Ask(100, 50), flex),
            "incomplete: service_tier is billed apart from tokens");
  // In doubt over a restart.
  Offer cut = world.Ask(100, 50);
  cut.billed_apart = "tools";
  {
    auto attempt = meter.Begin(cut);
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.likely_billed = true, .delivered_bytes = 30, .finish = "cut"});
  }
  EXPECT_EQ(world.recorder->Find(cut.id.request)->front().reason, "cut");
  world.KillAndStart();
  ASSERT_TRUE(world.ledger->ResolveSettled(cut.id, 5, 5, Encode(Outcome())).has_value());
  EXPECT_EQ(world.recorder->Find(cut.id.request)->front().reason,
            "incomplete: tools is billed apart from tokens");
}

TEST(Recorder, ReadsTheJournalAgainWhenItsDatabaseWasNotWritten) {
  World world;
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(attempt->Sent().has_value());
  attempt->End({.is_complete = true, .usage = Used(10, 5)});
  auto running = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(running->Sent().has_value());
  world.KillAndStart();  // nothing was read before
  EXPECT_EQ(world.Sum().settled, 1);
  EXPECT_EQ(world.Sum().in_doubt, 1);
  EXPECT_EQ(world.recorder->Find({1, 2})->front().reason, "the process ended before the answer");
}

TEST(Recorder, IsNeverAheadOfWhatSurvivesAPowerCut) {
  World world;
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(attempt->Sent().has_value());
  world.disk.syncs_left = 0;
  EXPECT_FALSE(world.recorder->CatchUp().has_value());
  world.disk.syncs_left = -1;
  ledger::SeededRandom random(3);
  world.disk.Kill();
  world.disk.CutPower(random);
  attempt = Metered();
  world.recorder.reset();
  world.ledger.reset();
  world.disk.Revive();
  world.Start();
  Meter again(*world.ledger);
  auto next = again.Begin(world.Ask(100, 50));
  ASSERT_TRUE(next->Sent().has_value());
  next->End({.is_complete = true, .usage = Used(1, 1)});
  EXPECT_EQ(world.Sum().settled, 1) << "no record is taken for one that was seen before";
}

TEST(Recorder, LetsSegmentsGoThatItHasRead) {
  World world;
  Meter meter(*world.ledger);
  for (int i = 0; i < 2000; ++i) {
    auto attempt = meter.Begin(world.Ask(100, 50));
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(1, 1)});
    if (i % 200 == 0) {
      ASSERT_TRUE(world.recorder->CatchUp().has_value());
      EXPECT_LE(ledger::ListSegments(world.disk)->size(), 3U);
    }
  }
  EXPECT_EQ(world.disk.trimmed_to, ledger::kArchiveBytesMax);
  EXPECT_EQ(world.Sum().settled, 2000);
  EXPECT_EQ(world.Sum().cost, 2000 * 3000);
}

TEST(Recorder, SumsByKeyModelProviderAndTime) {
  World world;
  Meter meter(*world.ledger);
  const auto buy = [&](const char* key, const char* model, int64_t output) {
    Offer offer = world.Ask(100, 5000);
    offer.purchase.key_id = key;
    offer.purchase.model = model;
    auto attempt = meter.Begin(offer);
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(0, output)});
  };
  buy("key_1", "a/a", 1);
  buy("key_1", "b/b", 10);
  world.clock.Advance(std::chrono::hours(48));
  buy("key_2", "a/a", 100);
  EXPECT_EQ(world.Sum().output_tokens, 111);
  EXPECT_EQ(world.Sum({.key_id = "key_1"}).output_tokens, 11);
  EXPECT_EQ(world.Sum({.model = "a/a"}).output_tokens, 101);
  EXPECT_EQ(world.Sum({.provider = "nobody"}).output_tokens, 0);
  EXPECT_EQ(world.Sum({.from_ns = int64_t{24} * 3600 * 1'000'000'000}).output_tokens, 100);
}

}  // namespace
}  // namespace tradewind::billing
