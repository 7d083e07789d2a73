// Cases that hurt users of other gateways, exact to the nano-dollar, and what no such gateway may
// do: wait for a database. tests/binary/README_money.md lists them all.
#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/recorder.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::billing {
namespace {

catalog::Prices Priced(const char* input, const char* output, const char* cached,
                       const char* write) {
  catalog::Prices prices;
  prices.input = Decimal::Parse(input).value();
  prices.output = Decimal::Parse(output).value();
  prices.cached_input = Decimal::Parse(cached).value();
  if (*write != '\0') {
    prices.cache_write = Decimal::Parse(write).value();
  }
  return prices;
}

struct World {
  testing::TempDir home;
  ledger::FakeDisk disk;
  FakeClock clock;
  std::unique_ptr<ledger::Ledger> ledger;
  std::unique_ptr<Recorder> recorder;
  std::vector<std::unique_ptr<ledger::Ledger>> dead;
  uint64_t ids = 0;

  World() { Start(); }
  void Start() {
    auto opened =
        ledger::Ledger::Open(disk, clock, {.segment_bytes = 64 << 10, .background = false});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger = std::move(*opened);
    auto records = Recorder::Open(home.path() / "ledger.db", disk, *ledger, {.background = false});
    ASSERT_TRUE(records.has_value()) << records.error().message;
    recorder = std::move(*records);
  }
  std::optional<int64_t> Request(const catalog::Prices& prices, const chat::Usage& usage) {
    Meter meter(*ledger);
    Offer offer;
    offer.id = {{1, ++ids}, 1};
    offer.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
    offer.prices = &prices;
    offer.input_tokens_max = 1'000'000;
    offer.output_tokens_max = 100'000;
    auto metered = meter.Begin(offer);
    EXPECT_TRUE(metered.has_value() && metered->Sent().has_value());
    return metered.has_value() ? metered->End({.is_complete = true, .usage = usage}) : std::nullopt;
  }
};

// T25, T26: cached tokens are input tokens at another price, never both.
TEST(Cases, CachedTokensAreChargedOnce) {
  World world;
  // 100,000 of input, 90,000 of them cached, 1,000 of output: $0.25 + $1.25 + $0.10, in tenths.
  const catalog::Prices openai = Priced("2.50", "10", "1.25", "");
  EXPECT_EQ(world.Request(
                openai, {.input_tokens = 100'000, .output_tokens = 1'000, .cached_tokens = 90'000}),
            25'000'000 + 112'500'000 + 10'000'000);
  // 159,217 tokens read from the cache at $0.50, whose second charge at $5 was $0.796085 too much.
  const catalog::Prices anthropic = Priced("5", "25", "0.50", "6.25");
  EXPECT_EQ(world.Request(anthropic, {.input_tokens = 159'217 + 2'000 + 1'000,
                                      .output_tokens = 4'000,
                                      .cached_tokens = 159'217,
                                      .cache_write_tokens = 2'000}),
            79'608'500 + 12'500'000 + 5'000'000 + 100'000'000);
}

// T28: reasoning is output, and counted in it once.
TEST(Cases, ReasoningIsPartOfTheOutput) {
  World world;
  const catalog::Prices prices = Priced("1", "10", "0.1", "");
  EXPECT_EQ(world.Request(prices,
                          {.input_tokens = 100, .output_tokens = 5'000, .reasoning_tokens = 4'900}),
            100'000 + 50'000'000);
}

// T17: an explicit zero is a value.
TEST(Cases, AnExplicitUsageOfZeroCostsNothing) {
  World world;
  const catalog::Prices prices = Priced("1", "10", "0.1", "");
  EXPECT_EQ(world.Request(prices, {}), 0);
}

// Who brings his own key is billed by the provider: nothing of it is held or charged here.
TEST(Cases, ABudgetOfChargesHasRoomForOwnKeys) {
  World world;
  ASSERT_TRUE(
      world.ledger
          ->Define({.name = "key:key_1", .limit = 1, .dimension = ledger::Dimension::kCharge})
          .has_value());
  const catalog::Prices prices = Priced("1", "10", "0.1", "");
  Meter meter(*world.ledger);
  Offer offer;
  offer.id = {{1, 1}, 1};
  offer.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
  offer.purchase.own_key = true;
  offer.prices = &prices;
  offer.input_tokens_max = 1000;
  offer.output_tokens_max = 1000;
  auto metered = meter.Begin(offer);
  ASSERT_TRUE(metered.has_value());
  EXPECT_EQ(world.ledger->FindBudget("key:key_1")->account.pending, 0);
}

// T37: requests are held and settled while the database stands still.
TEST(Cases, NoRequestWaitsForTheDatabase) {
  World world;
  const catalog::Prices prices = Priced("1", "10", "0.1", "");
  std::mutex mutex;
  std::condition_variable changed;
  bool is_stuck = false, may_go_on = false;
  std::thread stuck([&] {
    EXPECT_TRUE(world.recorder
                    ->Change([&](storage::Database&) -> Status {
                      std::unique_lock lock(mutex);
                      is_stuck = true;
                      changed.notify_all();
                      changed.wait(lock, [&] { return may_go_on; });
                      return {};
                    })
                    .has_value());
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return is_stuck; });
  }
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(world.Request(prices, {.input_tokens = 1}), 1000);
  }
  {
    const std::lock_guard lock(mutex);
    may_go_on = true;
  }
  changed.notify_all();
  stuck.join();
  const auto sum = world.recorder->Sum({});
  ASSERT_TRUE(sum.has_value());
  EXPECT_EQ(sum->settled, 500) << "and all of them are recorded afterwards";
}

// L-T7, of the tables: after a power cut at any point they are not ahead of the journal, nothing is
// in them twice, and they say what it says.
TEST(Cases, TablesAndJournalAgreeAfterAPowerCutAtAnyPoint) {
  ledger::SeededRandom random(9);
  const catalog::Prices prices = Priced("1", "10", "0.1", "");
  for (int cut = 0; cut < 40; ++cut) {
    World world;
    ASSERT_TRUE(
        world.ledger->Define({.name = "key:key_1", .limit = ledger::kAmountMax}).has_value());
    const int64_t steps = random.Below(60);
    for (int64_t i = 0; i < steps; ++i) {
      EXPECT_EQ(world.Request(prices, {.input_tokens = 1}), 1000);
      if (random.Below(6) == 0) {
        world.ledger->Tend();
      }
      if (random.Below(6) == 0) {
        static_cast<void>(world.recorder->Sum({}));
      }
    }
    world.disk.Kill();
    world.disk.CutPower(random);
    world.recorder.reset();
    world.dead.push_back(std::move(world.ledger));
    world.disk.Revive();
    world.Start();
    ASSERT_FALSE(HasFatalFailure()) << "cut " << cut;
    const auto sum = world.recorder->Sum({});
    ASSERT_TRUE(sum.has_value()) << "cut " << cut;
    const auto budget = world.ledger->FindBudget("key:key_1");
    ASSERT_EQ(sum->cost, budget.has_value() ? budget->account.debits : 0) << "cut " << cut;
  }
}

TEST(Cases, TheRecordersThreadReadsNoFurtherThanWhatWasFlushed) {
  const catalog::Prices prices = Priced("1", "10", "0.1", "");
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    ledger::SeededRandom random(seed);
    World world;
    world.recorder.reset();
    ASSERT_TRUE(
        world.ledger->Define({.name = "key:key_1", .limit = ledger::kAmountMax}).has_value());
    const auto spend = [&] {
      for (int i = 0; i < 8; ++i) {
        EXPECT_EQ(world.Request(prices, {.input_tokens = 1}), 1000);
      }
    };
    spend();
    world.ledger->Tend();
    spend();  // not flushed
    auto opened = Recorder::Open(world.home.path() / "ledger.db", world.disk, *world.ledger);
    ASSERT_TRUE(opened.has_value());
    while ((*opened)->behind() > 0) {
      std::this_thread::yield();
    }
    world.disk.Kill();
    world.disk.CutPower(random);
    opened->reset();
    world.dead.push_back(std::move(world.ledger));
    world.disk.Revive();
    world.Start();
    ASSERT_FALSE(HasFatalFailure()) << "seed " << seed;
    const auto sum = world.recorder->Sum({});
    ASSERT_TRUE(sum.has_value());
    ASSERT_EQ(sum->cost, world.ledger->FindBudget("key:key_1")->account.debits) << seed;
  }
}

}  // namespace
}  // namespace tradewind::billing
