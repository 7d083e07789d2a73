#include "alerts/series.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alerts/alert.h"
#include "alerts/watch.h"
#include "testing/temp_dir.h"

namespace tradewind::alerts {
namespace {

constexpr int64_t kNow = 6'000'000;  // a bucket

class SeriesTest : public ::testing::Test {
 protected:
  SeriesTest() : database_(storage::Database::Open(home_.path() / "ledger.db").value()) {
    EXPECT_TRUE(watch_.Opened(database_).has_value());
  }
  // As so many keys of an organisation leave it that each spent once.
  void FillWithKeys(const std::string& org, int64_t count) {
    for (const char* table : {"alert_series SELECT key, ?1, ?3 - n, ?3 - n, ?3, 0, 0, 0, 0",
                              "alert_buckets SELECT key, ?3 - n, 1"}) {
      const Status filled = database_.Run(
          "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?2), "
          "keys(n, key) AS (SELECT n, 'key:' || ?1 || n FROM number) INSERT INTO " +
              std::string(table) + " FROM keys",
          std::string_view(org), count, kNow);
      ASSERT_TRUE(filled.has_value()) << filled.error().message;
    }
  }
  void Spend(const std::string& key, const std::string& org, int64_t bucket) {
    billing::AttemptRow row;
    row.state = billing::AttemptState::kSettled;
    row.purchase = {org, "prj_1", key, "usr_1", "org/model", "site-a", "model-x"};
    row.cost = row.charge = row.held = 5;
    row.admitted_ns = row.ended_ns = bucket * kBucketS * 1'000'000'000;
    const Status ended = watch_.Ended(database_, {&row, 1});
    ASSERT_TRUE(ended.has_value()) << ended.error().message;
  }
  bool IsWatched(const std::string& series) {
    return FindSeries(database_, series).value().has_value();
  }
  int64_t Count(const std::string& from) {
    storage::Statement query = database_.Prepare("SELECT count(*) FROM " + from).value();
    EXPECT_TRUE(query.Next().value());
    return query.Integer(0);
  }

  testing::TempDir home_;
  Watch watch_{Policy{}};
  storage::Database database_;
};

TEST_F(SeriesTest, OfTheServerBeginAnewOnceWhereOwnKeysWereInThem) {
  const auto has_cost = [&](const char* series) {
    return CostBetween(database_, series, kNow, kNow + 1).value() > 0;
  };
  Spend("key_1", "org_1", kNow);
  ASSERT_TRUE(database_.Execute("DROP TABLE alert_upgrades").has_value());
  ASSERT_TRUE(watch_.Opened(database_).has_value());
  for (const char* series : {"provider:site-a", "model:org/model"}) {
    EXPECT_FALSE(IsWatched(series) || has_cost(series)) << series;
  }
  EXPECT_TRUE(IsWatched("key:key_1") && has_cost("key:key_1") && has_cost("org:org_1"));
  Spend("key_1", "org_1", kNow);
  ASSERT_TRUE(watch_.Opened(database_).has_value());
  EXPECT_TRUE(IsWatched("provider:site-a") && has_cost("provider:site-a")) << "at the next start";
}

TEST_F(SeriesTest, NewcomersAreWatchedHoweverManyKeysOthersHave) {
  FillWithKeys("org_many", kKeySeriesMax);
  Spend("key_new", "org_new", kNow);
  for (const char* series : {"key:key_new", "org:org_new", "model:org/model", "provider:site-a"}) {
    EXPECT_TRUE(IsWatched(series)) << series;
  }
  EXPECT_EQ(CostBetween(database_, "key:key_new", kNow, kNow + 1).value(), 5);
  EXPECT_EQ(Count("alert_series WHERE org = 'org_many'"), kKeySeriesMax) << "and none of them goes";
}

TEST_F(SeriesTest, OfTooManyKeysTheLongestUnusedMakesRoom) {
  FillWithKeys("org_many", kKeySeriesMax);
  const std::string oldest = "key:org_many" + std::to_string(kKeySeriesMax);
  ASSERT_TRUE(IsWatched(oldest));
  Spend("key_new", "org_many", kNow);
  EXPECT_TRUE(IsWatched("key:key_new"));
  EXPECT_TRUE(IsWatched("org:org_many"));
  EXPECT_FALSE(IsWatched(oldest));
  EXPECT_TRUE(IsWatched("key:org_many" + std::to_string(kKeySeriesMax - 1)));
  EXPECT_EQ(Count("alert_series WHERE series GLOB 'key:*'"), kKeySeriesMax);
  EXPECT_EQ(Count("alert_buckets WHERE series = '" + oldest + "'"), 0) << "nor what it spent";
  Spend("key_new", "org_many", kNow);
  EXPECT_EQ(Count("alert_series WHERE series GLOB 'key:*'"), kKeySeriesMax) << "known already";
}

}  // namespace
}  // namespace tradewind::alerts
