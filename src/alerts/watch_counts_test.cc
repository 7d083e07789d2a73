#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alerts/watch.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::alerts {
namespace {

struct CountsWorld {
  testing::TempDir home;
  ledger::FakeDisk disk;
  FakeClock clock;
  Watch watch{Policy{}};
  std::unique_ptr<ledger::Ledger> ledger =
      ledger::Ledger::Open(disk, clock, {.background = false}).value();
  std::unique_ptr<billing::Recorder> recorder =
      billing::Recorder::Open(home.path() / "ledger.db", disk, *ledger,
                              {.watcher = &watch, .background = false})
          .value();

  void Count(int answers, int64_t told, const char* model = "org/m") {
    for (int i = 0; i < answers; ++i) {
      watch.Counted("site-a", model, told, 100);
    }
  }
  std::vector<Alert> Raised() {
    clock.Advance(std::chrono::seconds(1));
    auto seen = watch.Look(*recorder, *ledger);
    EXPECT_TRUE(seen.has_value()) << seen.error().message;
    return seen.value_or(Seen()).raised;
  }
  void Acknowledge(int64_t id) {
    Change(
        [&](storage::Database& database) { return alerts::Acknowledge(database, id, "admin", 5); });
  }
  void Execute(const std::string& sql) {
    Change([&](storage::Database& database) { return database.Execute(sql); });
  }

 private:
  void Change(const std::function<Status(storage::Database&)>& work) {
    const Status changed = recorder->Change(work);
    EXPECT_TRUE(changed.has_value()) << changed.error().message;
  }
};

TEST(Counts, OfATwentiethMoreThanIsCountedHereAreToldAfter200Answers) {
  CountsWorld world;
  world.Count(199, 120);
  world.Count(1000, 104, "org/honest");
  EXPECT_TRUE(world.Raised().empty()) << "too few to tell";
  world.Count(1, 120);
  const std::vector<Alert> raised = world.Raised();
  ASSERT_EQ(raised.size(), 1U);
  EXPECT_EQ(raised[0].kind, Kind::kRecount);
  EXPECT_EQ(raised[0].scope, "provider:site-a/model:org/m");
  EXPECT_TRUE(raised[0].text.starts_with("site-a counts 1.20 times the tokens")) << raised[0].text;
}

TEST(Counts, AreToldOnceUntilThatIsAcknowledged) {
  CountsWorld world;
  world.Count(200, 120);
  const std::vector<Alert> raised = world.Raised();
  ASSERT_EQ(raised.size(), 1U);
  world.Count(1000, 120);
  EXPECT_TRUE(world.Raised().empty());
  world.Count(10, 120);
  world.Acknowledge(raised[0].id);
  EXPECT_TRUE(world.Raised().empty()) << "what was told is forgotten";
  world.Count(190, 120);
  EXPECT_EQ(world.Raised().size(), 1U);
}

TEST(Counts, AreToldByTheNextLookWhenOneFails) {
  CountsWorld world;
  world.Count(200, 120);
  world.Execute(
      "CREATE TRIGGER full BEFORE INSERT ON alerts WHEN new.scope LIKE '%/z' BEGIN "
      "SELECT RAISE(ABORT, 'no room'); END");
  world.Count(200, 120, "org/z");
  EXPECT_FALSE(world.watch.Look(*world.recorder, *world.ledger).has_value());
  world.Execute("DROP TRIGGER full");
  EXPECT_EQ(world.Raised().size(), 2U);
  EXPECT_TRUE(world.Raised().empty());
}

TEST(Counts, OfAFewOddAnswersAmongHonestOnesAreNotTold) {
  CountsWorld world;
  for (int i = 0; i < 100; ++i) {
    world.Count(19, 100);
    world.Count(1, 150);
    EXPECT_TRUE(world.Raised().empty());
  }
}

}  // namespace
}  // namespace tradewind::alerts
