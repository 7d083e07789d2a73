// What money costs a request: hold, sent and settle, each written to the journal of a real disk,
// with a flush running behind them. CPU time is of the calling thread.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "ledger/ledger.h"
#include "testing/temp_dir.h"

namespace tradewind::ledger {
namespace {

struct World {
  testing::TempDir home;
  std::unique_ptr<Disk> disk;
  std::unique_ptr<Ledger> ledger;
  std::vector<AccountNumber> budgets;

  explicit World(int64_t scopes) {
    disk = std::move(*OpenFolder(home.path() / "journal"));
    ledger = std::move(*Ledger::Open(*disk, SystemClock()));
    for (int64_t i = 0; i < scopes; ++i) {
      budgets.push_back(*ledger->Define({.name = "scope:" + std::to_string(i),
                                         .limit = kAmountMax,
                                         .period = i % 2 == 0 ? Period::kTotal : Period::kDay,
                                         .zone = "Europe/Berlin"}));
    }
  }
};

void BM_HoldSentSettle(benchmark::State& state) {
  World world(state.range(0));
  uint64_t id = 0;
  HoldRequest request;
  request.cost = request.charge = 100;
  request.budgets = world.budgets;
  request.text = std::string(120, 'x');
  for (auto _ : state) {
    request.id = {{1, ++id}, 1};
    auto hold = world.ledger->Take(request);
    TW_CHECK(hold.has_value() && hold->Sent().has_value());
    TW_CHECK(hold->Settle(50, 50, std::string(40, 'x')).has_value());
    if (id % 10'000 == 0) {
      TW_CHECK(world.ledger->ForgetBefore(UINT64_MAX).has_value());
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(BM_HoldSentSettle)->Arg(0)->Arg(1)->Arg(4)->Arg(12);

// Paid by credits, of which the payer has so many.
void BM_HoldPaidByCredits(benchmark::State& state) {
  World world(1);
  for (int64_t i = 0; i < state.range(0); ++i) {
    CreditSpec credit{.name = std::to_string(i), .owner = "org:a", .amount = kAmountMax};
    credit.expires_s = kEndOfTime - i;
    TW_CHECK(world.ledger->Grant(credit).has_value());
    if (i % 10'000 == 0) {
      TW_CHECK(world.ledger->ForgetBefore(UINT64_MAX).has_value());
    }
  }
  TW_CHECK(world.ledger->SetPrepaid("org:a", true).has_value());
  uint64_t id = 0;
  HoldRequest request;
  request.cost = request.charge = 100;
  request.budgets = world.budgets;
  request.payer = "org:a";
  for (auto _ : state) {
    request.id = {{1, ++id}, 1};
    TW_CHECK(world.ledger->PrepaidLeft("org:a").has_value());
    auto hold = world.ledger->Take(request, Send::kNow);
    TW_CHECK(hold.has_value() && hold->Settle(50, 50, "").has_value());
    if (id % 10'000 == 0) {
      TW_CHECK(world.ledger->ForgetBefore(UINT64_MAX).has_value());
    }
  }
}
BENCHMARK(BM_HoldPaidByCredits)->Arg(1)->Arg(1'000)->Arg(9'000);

void BM_EncodeHold(benchmark::State& state) {
  Record record;
  record.text = std::string(120, 'x');
  for (int i = 0; i < 4; ++i) {
    record.legs.Push({.account = {static_cast<AccountNumber>(16 + i), 0}, .amount = 100});
  }
  std::vector<std::byte> bytes;
  uint32_t chain = 0;
  for (auto _ : state) {
    bytes.clear();
    chain = EncodeRecord(record, chain, bytes);
    benchmark::DoNotOptimize(chain);
  }
}
BENCHMARK(BM_EncodeHold);

// A start after a kill: so many open holds are read and ended.
void BM_Recovery(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    World world(4);
    std::vector<Hold> holds;
    for (int64_t i = 0; i < state.range(0); ++i) {
      HoldRequest request;
      request.id = {{2, static_cast<uint64_t>(i)}, 1};
      request.cost = 1;
      request.budgets = world.budgets;
      request.text = std::string(120, 'x');
      holds.push_back(std::move(*world.ledger->Take(request)));
      TW_CHECK(holds.back().Sent().has_value());
    }
    world.ledger->Release();  // as a kill does: nothing ends them
    state.ResumeTiming();
    TW_CHECK(world.ledger->Reopen().has_value());
    state.PauseTiming();
    TW_CHECK(world.ledger->recovery().in_doubt == state.range(0));
    world.ledger->Release();
    holds.clear();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_Recovery)->Arg(5'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tradewind::ledger
