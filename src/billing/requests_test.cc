// Listing attempts: what is listed, in which order, by pages.
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

using State = AttemptState;

void Buy(World& world, const char* key, const char* org = "org_1", int64_t output = 3,
         const char* provider = "site-a") {
  Offer offer = world.Ask(10, 10);
  offer.purchase.key_id = key;
  offer.purchase.org_id = org;
  offer.purchase.provider = provider;
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  ASSERT_TRUE(attempt->Sent().has_value());
  attempt->End({.is_complete = true, .usage = Used(10, output), .finish = "stop"});
}

// All pages together.
std::vector<AttemptRow> All(World& world, const AttemptFilter& filter, size_t limit = 1000) {
  std::vector<AttemptRow> rows;
  for (AttemptCursor after;;) {
    auto list = world.recorder->List(filter, after, limit);
    EXPECT_TRUE(list.has_value()) << list.error().message;
    if (!list.has_value()) {
      return rows;
    }
    EXPECT_LE(list->rows.size(), limit);
    std::ranges::move(list->rows, std::back_inserter(rows));
    if (!list->next.has_value()) {
      return rows;
    }
    EXPECT_NE(*list->next, after);
    after = *list->next;
  }
}

TEST(Requests, AreListedByTheirFields) {
  World world;
  Buy(world, "key_1");
  Buy(world, "key_2", "org_2", 3, "site-b");
  world.clock.Advance(std::chrono::hours(1));
  Buy(world, "key_1", "org_2");
  EXPECT_EQ(All(world, {}).size(), 3U);
  EXPECT_EQ(All(world, {.key_id = "key_1"}).size(), 2U);
  EXPECT_EQ(All(world, {.org_id = "org_2"}).size(), 2U);
  EXPECT_EQ(All(world, {.org_id = "org_1", .key_id = "key_2"}).size(), 0U);
  EXPECT_EQ(All(world, {.provider = "site-b"}).front().purchase.key_id, "key_2");
  EXPECT_EQ(All(world, {.state = State::kVoid}).size(), 0U);
  EXPECT_EQ(All(world, {.own_key = true}).size(), 0U);
  EXPECT_EQ(All(world, {.price_version = 1}).size(), 2U) << "one for each provider";
  EXPECT_EQ(All(world, {.by_admission = true}).size(), 3U);
  const std::vector<AttemptRow> rows = All(world, {});
  EXPECT_GT(rows.front().ended_ns, rows.back().ended_ns) << "the newest first";
  const int64_t end = rows.front().ended_ns;
  EXPECT_EQ(All(world, {.to_ns = end}).size(), 2U) << "before, not at";
  EXPECT_EQ(All(world, {.from_ns = end}).size(), 1U);
}

TEST(Requests, ThatRunAreListedByTheirAdmissionOnly) {
  World world;
  Meter meter(*world.ledger);
  auto running = meter.Begin(world.Ask(10, 10));
  ASSERT_TRUE(running.has_value());
  EXPECT_TRUE(All(world, {}).empty()) << "no statement counts it";
  const auto rows = All(world, {.by_admission = true});
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows.front().state, State::kHeld);
}

TEST(Requests, OfOneMomentAreOnOnePageEach) {
  World world;
  for (int i = 0; i < 25; ++i) {
    Buy(world, i % 2 == 0 ? "key_1" : "key_2");
  }
  for (const bool by_admission : {false, true}) {
    for (const char* key : {"", "key_1"}) {
      std::map<ledger::HoldId, int> seen;
      for (const AttemptRow& row : All(world, {.key_id = key, .by_admission = by_admission}, 4)) {
        ++seen[row.id];
      }
      EXPECT_EQ(seen.size(), *key == '\0' ? 25U : 13U);
      for (const auto& [id, times] : seen) {
        EXPECT_EQ(times, 1) << id.request.ToString();
      }
    }
  }
}

// Rows of a thousand keys, straight into the table: more than one page looks at.
TEST(Requests, OfVeryManyAreFoundByPages) {
  World world;
  ASSERT_TRUE(world.recorder
                  ->Change([](storage::Database& database) {
                    return database.Execute(R"(
      WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
      INSERT INTO attempts (request, attempt, org, project, key, user, model, provider,
        provider_model, own_key, priced, state, admitted_ns, ended_ns, held, cost, charge,
        price_version, input, cached, output, reasoning, source, finish, upstream_id, reason)
      SELECT CAST(printf('%016x', i) AS BLOB), 1, 'org_' || (i % 20), 'prj', 'key_' || (i % 1000),
        'usr', 'org/model', CASE i WHEN 5 THEN 'rare' ELSE 'site-a' END, 'x', 0, 1, 3,
        1764072000000000000 + i * 1000000, 1764072000000000000 + i * 1000000, 9, 7, 7, 1, 1, 0, 1,
        0, 'provider', 'stop', '', '' FROM n)");
                  })
                  .has_value());
  struct Case {
    const char* what;
    AttemptFilter filter;
    size_t rows;  // of the first page of 100
  };
  const Case cases[] = {
      {"of all", {}, 100},
      {"of a key", {.key_id = "key_7"}, 100},
      {"of an organisation", {.org_id = "org_7"}, 100},
      {"of nobody", {.key_id = "key_none"}, 0},
      {"of a provider, far behind", {.provider = "rare"}, 0},
      {"of a key's provider", {.key_id = "key_5", .provider = "rare"}, 1},
      {"of all by admission", {.by_admission = true}, 100},
      {"of a key in one second",
       {.key_id = "key_7", .from_ns = 1764072050000000000, .to_ns = 1764072051000000000},
       1}};
  for (const Case& one : cases) {
    const auto list = world.recorder->List(one.filter, {}, 100);
    ASSERT_TRUE(list.has_value()) << list.error().message;
    EXPECT_EQ(list->rows.size(), one.rows) << one.what;
  }
  EXPECT_EQ(All(world, {.provider = "rare"}).size(), 1U) << "after pages without any";
  EXPECT_EQ(All(world, {.key_id = "key_7"}).size(), 100U);
}

}  // namespace
}  // namespace tradewind::billing
