// Rolling budgets against a slow obvious model: a list of what was admitted when.
#include <array>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/book.h"
#include "testing/property.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kSecond = 1'000'000'000, kHour = 3600;
constexpr int64_t kBegin = 1'764'072'000;  // 2025-11-25 12:00 UTC

struct World {
  Book book;
  int64_t time_ns = kBegin * kSecond;
  uint64_t ids = 0;

  void Commit(Record record) {
    record.seq = book.seq() + 1;
    record.time_ns = ++time_ns;
    const Status applied = book.Apply(record);
    ASSERT_TRUE(applied.has_value()) << applied.error().message;
  }
  AccountNumber Define(const BudgetSpec& budget) {
    const Result<Record> record = book.DecideBudget(budget, time_ns);
    EXPECT_TRUE(record.has_value());
    Commit(*record);
    return record->account;
  }
  std::expected<HoldId, Refusal> Take(AccountNumber budget, NanoUsd cost) {
    HoldRequest request;
    request.id = {{1, ++ids}, 1};
    request.cost = cost;
    request.budgets = {&budget, 1};
    std::expected<Record, Refusal> decided = book.DecideHold(request, time_ns + 1);
    if (!decided.has_value()) {
      return std::unexpected(decided.error());
    }
    const std::vector<Record> leases = book.DecideLeases(decided->legs, time_ns);
    for (const Record& lease : leases) {
      Commit(lease);
    }
    Commit(*decided);
    book.DrawLeases(decided->legs, time_ns);  // asserts that the lease covers it
    return request.id;
  }
  void Settle(HoldId id, NanoUsd cost) { Commit(*book.DecideSettle(id, cost, 0, "", time_ns)); }
  void Pass(int64_t seconds) { time_ns += seconds * kSecond; }
  void Restart() {
    Book again;
    const Status read =
        book.Snapshot(time_ns, [&](const Record& record) { return again.Apply(record); });
    ASSERT_TRUE(read.has_value()) << read.error().message;
    book = std::move(again);
    time_ns = book.time_ns();
  }
  Account At(AccountNumber number) { return book.BudgetAccount(number, time_ns / kSecond); }
};

BudgetSpec Rolling(int64_t span_s, NanoUsd limit) {
  return {.name = "key:a", .limit = limit, .period = Period::kRolling, .span_s = span_s};
}

TEST(BookRolling, NothingBeginsAnewAtAnHour) {
  World world;
  world.Pass(3590);
  const AccountNumber key = world.Define(Rolling(kHour, 100));
  world.Settle(*world.Take(key, 90), 60);
  world.Pass(20);
  const auto refused = world.Take(key, 41);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().available, 40);
  EXPECT_EQ(refused.error().resets_at_s, kBegin + 2 * kHour)
      << "the bucket of a minute that it is in, and an hour";
  world.Pass(3570);
  EXPECT_FALSE(world.Take(key, 41).has_value());
  world.Pass(20);
  EXPECT_TRUE(world.Take(key, 100).has_value());
}

TEST(BookRolling, SaysWhenTheFirstFallsOutAndWhenARequestFits) {
  World world;
  const AccountNumber key = world.Define(Rolling(kHour, 100));
  EXPECT_EQ(world.At(key).window_end_s, kEndOfTime) << "nothing is used";
  world.Settle(*world.Take(key, 30), 30);
  world.Pass(600);
  world.Settle(*world.Take(key, 60), 60);
  world.Pass(600);
  EXPECT_EQ(world.At(key).debits, 90);
  EXPECT_EQ(world.At(key).available(), 10);
  EXPECT_EQ(world.At(key).window_end_s, kBegin + 60 + kHour);
  EXPECT_EQ(world.Take(key, 40).error().resets_at_s, kBegin + 60 + kHour);
  EXPECT_EQ(world.Take(key, 41).error().resets_at_s, kBegin + 660 + kHour);
  EXPECT_EQ(world.Take(key, 101).error().resets_at_s, kEndOfTime) << "never";
}

TEST(BookRolling, TellsOfSharesAndRefusalsOnceInASpan) {
  World world;
  const AccountNumber key = world.Define(Rolling(kHour, 100));
  const auto told = [&] {
    std::vector<int> percents;
    for (const Notice& notice : world.book.TakeNotices()) {
      percents.push_back(notice.asked > 0 ? -1 : notice.percent);
    }
    return percents;
  };
  world.Settle(*world.Take(key, 30), 30);
  world.Pass(600);
  world.Settle(*world.Take(key, 20), 20);
  EXPECT_EQ(told(), std::vector{50}) << "of all that counts";
  world.Pass(600);
  world.Settle(*world.Take(key, 10), 10);
  EXPECT_EQ(told(), std::vector<int>{}) << "once";
  world.book.NoteRefused(key, 90, world.time_ns);
  world.Pass(600);
  world.book.NoteRefused(key, 90, world.time_ns);
  EXPECT_EQ(told(), std::vector{-1});
  world.Pass(2 * kHour);
  world.Settle(*world.Take(key, 60), 60);
  world.book.NoteRefused(key, 90, world.time_ns);
  EXPECT_EQ(told(), (std::vector{50, -1})) << "that fell out";
}

TEST(BookRolling, WhatAPowerCutMayHaveTakenFallsOutWithItsBucket) {
  World world;
  world.book.SetBootId("one");
  const AccountNumber key = world.Define(Rolling(kHour, 1000));
  for (int i = 0; i < 5; ++i) {
    world.Settle(*world.Take(key, 10), 10);
  }
  world.Restart();
  for (const Record& record : world.book.DecideUnaccounted("two", world.time_ns)) {
    world.Commit(record);
  }
  world.book.SetBootId("two");
  const NanoUsd lost = world.At(key).unaccounted;
  EXPECT_GT(lost, 0);
  EXPECT_EQ(world.At(key).available(), 950 - lost);
  EXPECT_EQ(world.Take(key, 951 - lost).error().available, 950 - lost);
  world.Pass(120);
  world.Settle(*world.Take(key, 10), 10);
  EXPECT_EQ(world.book.KeysNow(key, world.time_ns / kSecond).size(), 2U);
  world.Pass(kHour);
  EXPECT_EQ(world.At(key).unaccounted, 0);
  EXPECT_EQ(world.At(key).available(), 990);
}

TEST(BookRolling, AnExtensionKeepsTheLimitOfEverySpanThatItsHoldIsIn) {
  World world;
  const AccountNumber key = world.Define(Rolling(kHour, 100));
  const HoldId early = *world.Take(key, 50);
  world.Pass(1800);
  const HoldId late = *world.Take(key, 10);
  world.Settle(early, 50);
  world.Pass(1800 + 120);
  EXPECT_EQ(world.At(key).available(), 90) << "the early one has fallen out";
  EXPECT_FALSE(world.book.DecideExtend(late, 41, 0, "", world.time_ns).has_value())
      << "but counted beside it";
  EXPECT_TRUE(world.book.DecideExtend(late, 40, 0, "", world.time_ns).has_value());
  world.Pass(kHour);
  EXPECT_FALSE(world.book.DecideExtend(late, 1, 0, "", world.time_ns).has_value());
}

TEST(BookRolling, KeepsNoMoreAccountsThanTwoSpansHave) {
  World world;
  const AccountNumber key = world.Define(Rolling(kHour, 1'000'000));
  for (int i = 0; i < 500; ++i) {
    world.Settle(*world.Take(key, 10), 1);
    world.Pass(60);
  }
  world.Restart();
  size_t accounts = 0;
  for (int64_t start = kBegin - kHour; start < world.time_ns / kSecond; start += 60) {
    accounts += world.book.AccountOf({key, start}).debits > 0 ? 1 : 0;
  }
  EXPECT_LE(accounts, 122U);
  EXPECT_EQ(world.At(key).debits, 60) << "of the buckets before this one, which has nothing";
}

// What a file may say and no decision would.
TEST(BookRolling, AHoldInTwoBucketsOfOneBudgetDoesNotFollow) {
  World world;
  const AccountNumber key = world.Define(Rolling(kHour, 100));
  for (const int64_t start : {INT64_MIN, INT64_MIN + 1, INT64_MAX, int64_t{7}}) {
    Record hold;
    hold.hold = {{1, ++world.ids}, 1};
    hold.cost = 60;
    hold.legs.Push({{key, start}, kEndOfTime, Dimension::kCost, false, 1});
    hold.seq = world.book.seq() + 1;
    hold.time_ns = ++world.time_ns;
    EXPECT_TRUE(world.book.Apply(hold).has_value()) << start;
  }
  Record both;
  both.hold = {{1, ++world.ids}, 1};
  both.cost = 60;
  both.legs.Push({{key, kBegin}, kEndOfTime, Dimension::kCost, false, 60});
  both.legs.Push({{key, kBegin + 60}, kEndOfTime, Dimension::kCost, false, 60});
  both.seq = world.book.seq() + 1;
  both.time_ns = ++world.time_ns;
  EXPECT_EQ(world.book.Apply(both).error().code, ErrorCode::kCorruptFile);
}

// A span, seeded clients, and what they were told: the model adds it all up each time.
class Clients {
 public:
  explicit Clients(uint64_t seed) : random_(seed), span_s_(kSpans[Below(kSpans.size())]) {
    key_ = world_.Define(Rolling(span_s_, limit_));
  }

  void Run() {
    for (int step = 0; step < 150 && !::testing::Test::HasFailure(); ++step) {
      const uint64_t what = Below(10);
      if (what < 5) {
        Take();
      } else if (what < 8 && !open_.empty()) {
        End();
      } else if (what == 8 && !open_.empty()) {
        Extend();
      } else if (Below(10) == 0) {
        world_.Restart();
      } else {
        world_.Pass(static_cast<int64_t>(Below(static_cast<uint64_t>(span_s_) / 8)));
      }
      Check();
    }
  }

  int refused = 0, extended = 0;

 private:
  static constexpr std::array<int64_t, 4> kSpans = {60, 600, 86'400, 7 * 86'400};
  struct Admitted {
    int64_t at_s = 0;
    NanoUsd counts = 0;
  };

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  int64_t NowS() const { return world_.time_ns / kSecond; }
  int64_t BucketOfTime(int64_t at_s) const { return at_s / (span_s_ / kBuckets); }

  // Of all that was admitted in the buckets that one of them ends, and `kBuckets` before it.
  NanoUsd UsedUntil(int64_t bucket) const {
    NanoUsd sum = 0;
    for (const auto& [id, one] : admitted_) {
      const int64_t own = BucketOfTime(one.at_s);
      sum += own <= bucket && own >= bucket - kBuckets ? one.counts : 0;
    }
    return sum;
  }

  void Take() {
    const auto cost = static_cast<NanoUsd>(Below(60));
    const NanoUsd used = UsedUntil(BucketOfTime(NowS()));
    const auto taken = world_.Take(key_, cost);
    ASSERT_EQ(taken.has_value(), cost == 0 || used + cost <= limit_) << used << " + " << cost;
    if (!taken.has_value()) {
      ++refused;
      ASSERT_EQ(taken.error().available, limit_ - used);
      CheckFits(cost, taken.error().resets_at_s);
      return;
    }
    admitted_[*taken] = {NowS(), cost};
    open_.push_back({*taken, cost});
  }

  // It fits at the second that the refusal says, and not before.
  void CheckFits(NanoUsd cost, int64_t at_s) {
    ASSERT_LT(at_s, kEndOfTime);
    ASSERT_LE(UsedUntil(BucketOfTime(at_s)) + cost, limit_);
    ASSERT_GT(UsedUntil(BucketOfTime(at_s - 1)) + cost, limit_);
  }

  void Extend() {
    auto& [id, held] = open_[Below(open_.size())];
    const auto more = static_cast<NanoUsd>(1 + Below(30));
    Admitted& own = admitted_.at(id);
    const int64_t bucket = BucketOfTime(own.at_s), now = BucketOfTime(NowS());
    bool fits = now - bucket <= kBuckets;
    for (int64_t until = bucket; until <= now; ++until) {
      fits = fits && UsedUntil(until) + more <= limit_;
    }
    const auto decided = world_.book.DecideExtend(id, more, 0, "", world_.time_ns + 1);
    ASSERT_EQ(decided.has_value(), fits);
    if (fits) {
      for (const Record& lease : world_.book.DecideLeases(decided->legs, world_.time_ns)) {
        world_.Commit(lease);
      }
      world_.Commit(*decided);
      held += more;
      own.counts += more;
      ++extended;
    }
  }

  void End() {
    const size_t at = Below(open_.size());
    const auto [id, held] = open_[at];
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
    const auto cost = static_cast<NanoUsd>(Below(static_cast<uint64_t>(held) + 1));
    world_.Settle(id, cost);
    admitted_.at(id).counts = cost;
  }

  void Check() {
    ASSERT_TRUE(world_.book.Audit().has_value());
    const Account account = world_.At(key_);
    ASSERT_EQ(account.debits + account.pending, UsedUntil(BucketOfTime(NowS())));
    // The promise, to the second: in no span of that length was more than the limit admitted.
    for (const auto& [id, last] : admitted_) {
      NanoUsd sum = 0;
      for (const auto& [other, one] : admitted_) {
        sum += one.at_s <= last.at_s && one.at_s > last.at_s - span_s_ ? one.counts : 0;
      }
      ASSERT_LE(sum, limit_);
    }
  }

  std::mt19937_64 random_;
  World world_;
  const int64_t span_s_;
  const NanoUsd limit_ = 100;
  AccountNumber key_ = 0;
  std::map<HoldId, Admitted> admitted_;
  std::vector<std::pair<HoldId, NanoUsd>> open_;
};

TEST(BookRolling, AdmitsWhatTheSlowModelAdmits) {
  int refused = 0, extended = 0;
  const uint64_t cases = testing::ForEachCase(300, [&](uint64_t seed) {
    Clients clients(seed);
    clients.Run();
    refused += clients.refused;
    extended += clients.extended;
  });
  if (cases >= 100) {  // what never comes tests nothing
    EXPECT_GT(refused, static_cast<int>(cases));
    EXPECT_GT(extended, static_cast<int>(cases));
  }
}

}  // namespace
}  // namespace tradewind::ledger
