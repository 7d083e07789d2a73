// Who spends too fast, and what is told and refused once that was acknowledged.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alerts/watch.h"
#include "billing/meter.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::alerts {
namespace {

using ledger::NanoUsd;
using std::chrono::hours;
using std::chrono::minutes;

constexpr NanoUsd kUsd = 1'000'000'000;
const std::vector<std::string> kBoth = {"key:key_1", "org:org_1"};
const std::vector<std::string> kNobody;

struct SpeedWorld {
  testing::TempDir home;
  ledger::FakeDisk disk;
  FakeClock clock;
  Policy policy;
  std::unique_ptr<Watch> watch;
  std::unique_ptr<ledger::Ledger> ledger =
      ledger::Ledger::Open(disk, clock, {.background = false}).value();
  std::unique_ptr<billing::Recorder> recorder;

  explicit SpeedWorld(bool throttles = true) : policy{.velocity = kUsd, .throttle = throttles} {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(1'790'000'100)));
    Open();
  }
  void Open() {
    recorder.reset();
    watch = std::make_unique<Watch>(policy);
    recorder = billing::Recorder::Open(home.path() / "ledger.db", disk, *ledger,
                                       {.watcher = watch.get(), .background = false})
                   .value();
  }
  int64_t now_ns() const {
    return std::chrono::nanoseconds(clock.WallNow().time_since_epoch()).count();
  }
  // Of a key that is new; then looks.
  Seen Spend(NanoUsd cost) {
    ledger::HoldRequest request;
    request.id = {ledger::RequestId::Make(now_ns() / 1'000'000), 1};
    request.cost = request.charge = cost;
    request.text = billing::Encode(
        billing::Purchase{"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"});
    auto hold = ledger->Take(request);
    EXPECT_TRUE(hold.has_value() && hold->Sent().has_value());
    EXPECT_TRUE(hold->Settle(cost, cost, billing::Encode(billing::Outcome{})).has_value());
    return Look();
  }
  Seen Look() {
    EXPECT_TRUE(recorder->CatchUp().has_value());
    auto seen = watch->Look(*recorder, *ledger);
    EXPECT_TRUE(seen.has_value()) << seen.error().message;
    return seen.value_or(Seen());
  }
  void Change(const std::function<Status(storage::Database&)>& work) {
    const Status changed = recorder->Change(work);
    EXPECT_TRUE(changed.has_value()) << changed.error().message;
  }
  std::vector<Alert> All(const AlertFilter& filter = {}) {
    std::vector<Alert> all;
    Change([&](storage::Database& database) -> Status {
      TW_ASSIGN_OR_RETURN(all, ListAlerts(database, filter));
      return {};
    });
    return all;
  }
  int64_t Told() { return std::ranges::count(All(), Kind::kVelocity, &Alert::kind); }
  // Whatever is open.
  void Acknowledge(decltype(&alerts::Acknowledge) way = alerts::Acknowledge) {
    for (const Alert& alert : All({.open_only = true})) {
      Change([&](storage::Database& database) { return way(database, alert.id, "ada", now_ns()); });
    }
  }
};

TEST(Speed, AnOrganisationsAcknowledgementEndsNoThrottle) {
  SpeedWorld world;
  EXPECT_EQ(world.Spend(2 * kUsd).throttled, kBoth);
  world.Acknowledge(AcknowledgeForOrg);
  EXPECT_EQ(world.Look().throttled, kBoth);
  EXPECT_TRUE(world.All({.open_only = true, .org_id = "org_1"}).empty());
  const std::vector<Alert> open = world.All({.open_only = true});
  ASSERT_EQ(open.size(), 3U) << "the operator's: of both speeds and of what is new";
  EXPECT_EQ(open[0].org_acknowledged_by, "ada");
  EXPECT_EQ(open[0].acknowledged_by, "");
  world.Acknowledge();
  EXPECT_EQ(world.Look().throttled, kNobody);
  EXPECT_TRUE(world.All({.open_only = true}).empty());
}

TEST(Speed, TheOperatorsAcknowledgementIsTheOrganisationsToo) {
  SpeedWorld world;
  world.Spend(2 * kUsd);
  world.Acknowledge();
  EXPECT_TRUE(world.All({.open_only = true, .org_id = "org_1"}).empty());
  const int64_t id = world.All()[0].id;
  world.Change([&](storage::Database& database) {
    return AcknowledgeForOrg(database, id, "bob", world.now_ns());
  });
  EXPECT_EQ(world.All()[0].org_acknowledged_ns, 0) << "it stays as it was";
}

TEST(Speed, WhatIsSpentAfterAnAcknowledgementIsToldAndThrottledAnew) {
  SpeedWorld world;
  world.Spend(2 * kUsd);
  world.Acknowledge();
  EXPECT_EQ(world.Spend(kUsd).throttled, kNobody) << "no more than the bound since then";
  world.Open();
  EXPECT_EQ(world.Look().throttled, kNobody) << "also after a start";
  EXPECT_EQ(world.Spend(kUsd / 10).throttled, kBoth) << "within the same five minutes";
  EXPECT_EQ(world.Told(), 4);
  EXPECT_EQ(world.All()[0].amount, kUsd + kUsd / 10);
  world.Acknowledge();
  EXPECT_EQ(world.Spend(kUsd / 2).throttled, kNobody);
  world.clock.Advance(minutes(5));
  EXPECT_EQ(world.Spend(kUsd).throttled, kBoth) << "and across their end";
  world.Acknowledge();
  world.clock.Advance(minutes(20));
  EXPECT_EQ(world.Spend(kUsd).throttled, kNobody);
  EXPECT_EQ(world.Told(), 6);
}

TEST(Speed, AThrottleThatIsOverLetsNobodySpendForTheRestOfTheDay) {
  SpeedWorld world;
  world.Spend(2 * kUsd);
  world.clock.Advance(minutes(59));
  EXPECT_EQ(world.Spend(2 * kUsd).throttled, kBoth) << "what was on its way";
  EXPECT_EQ(world.Told(), 2) << "is told already";
  world.clock.Advance(minutes(10));
  EXPECT_EQ(world.Look().throttled, kNobody) << "an hour is over";
  EXPECT_EQ(world.Spend(kUsd).throttled, kNobody);
  EXPECT_EQ(world.Spend(kUsd).throttled, kBoth);
  EXPECT_EQ(world.Told(), 4);
}

TEST(Speed, AClockThatIsFarAheadForALookLiftsNoThrottleAndForgetsNothing) {
  SpeedWorld world;
  const auto buckets = [&] {
    int64_t count = 0;
    world.Change([&](storage::Database& database) -> Status {
      TW_ASSIGN_OR_RETURN(auto query, database.Prepare("SELECT count(*) FROM alert_buckets"));
      TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
      count = has_row ? query.Integer(0) : 0;
      return {};
    });
    return count;
  };
  world.Spend(2 * kUsd);
  const int64_t before = buckets();
  world.clock.SetWall(world.clock.WallNow() + hours(40 * 24));
  EXPECT_EQ(world.Look().throttled, kBoth);
  world.clock.SetWall(world.clock.WallNow() - hours(40 * 24));
  EXPECT_EQ(world.Look().throttled, kBoth);
  EXPECT_EQ(buckets(), before);
  world.clock.Advance(minutes(70));
  EXPECT_EQ(world.Look().throttled, kNobody);
  EXPECT_EQ(world.Spend(2 * kUsd).throttled, kBoth) << "and who is too fast is seen";
  EXPECT_EQ(world.Told(), 4);
}

TEST(Speed, IsToldOnceADayWhereNothingIsThrottledUntilTheOperatorHasSeenIt) {
  SpeedWorld world(false);
  world.Spend(2 * kUsd);
  world.Acknowledge(AcknowledgeForOrg);
  world.clock.Advance(hours(2));
  world.Spend(2 * kUsd);
  EXPECT_EQ(world.Told(), 2);
  world.Acknowledge();
  world.Spend(kUsd);
  EXPECT_EQ(world.Told(), 2);
  world.Spend(kUsd);
  EXPECT_EQ(world.Told(), 4);
  world.clock.Advance(hours(25));
  world.Spend(2 * kUsd);
  EXPECT_EQ(world.Told(), 6);
}

TEST(Speed, WhatAnOlderVersionAcknowledgedStaysSoForBoth) {
  SpeedWorld world;
  world.Spend(2 * kUsd);
  world.clock.Advance(minutes(15));
  world.Change([&](storage::Database& database) {
    return database.Execute("UPDATE alerts SET acknowledged_by = 'boss', acknowledged_ns = " +
                            std::to_string(world.now_ns()) +
                            "; DROP TABLE alert_org_acknowledged; DROP TABLE alert_spent_then");
  });
  world.Open();
  EXPECT_EQ(world.Look().throttled, kNobody);
  EXPECT_TRUE(world.All({.open_only = true}).empty());
  EXPECT_TRUE(world.All({.open_only = true, .org_id = "org_1"}).empty());
  EXPECT_EQ(world.All()[0].acknowledged_by, "boss");
}

}  // namespace
}  // namespace tradewind::alerts
