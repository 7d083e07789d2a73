// For tests of billing: a ledger on a disk in memory with its recorder.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/recorder.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::billing {

inline catalog::Prices Priced(const char* input, const char* output) {
  catalog::Prices prices;
  prices.input = Decimal::Parse(input).value();
  prices.output = Decimal::Parse(output).value();
  return prices;
}

inline chat::Usage Used(int64_t input, int64_t output) {
  return {.input_tokens = input, .output_tokens = output};
}

struct World {
  testing::TempDir home;
  ledger::FakeDisk disk;
  FakeClock clock;
  std::vector<std::unique_ptr<ledger::Ledger>> dead;
  std::unique_ptr<ledger::Ledger> ledger;
  std::unique_ptr<Recorder> recorder;
  catalog::Prices prices = Priced("1", "2");  // 1,000 and 2,000 nano-USD a token
  uint64_t ids = 0;

  World() { Start(); }
  void Start() {
    recorder.reset();
    auto opened =
        ledger::Ledger::Open(disk, clock, {.segment_bytes = 256 << 10, .background = false});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger = std::move(*opened);
    auto records = Recorder::Open(home.path() / "ledger.db", disk, *ledger, {.background = false});
    ASSERT_TRUE(records.has_value()) << records.error().message;
    recorder = std::move(*records);
  }
  void KillAndStart() {
    disk.Kill();
    recorder.reset();
    dead.push_back(std::move(ledger));  // its holds may still be destroyed
    disk.Revive();
    Start();
  }
  Offer Ask(int64_t input, std::optional<int64_t> output) {
    Offer offer;
    offer.id = {{1, ++ids}, 1};
    offer.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
    offer.prices = &prices;
    offer.input_tokens_max = offer.input_tokens_likely = input;
    offer.output_tokens_max = output;
    return offer;
  }
  ledger::Account At(std::string_view name) { return ledger->FindBudget(name)->account; }
  UsageSum Sum(UsageFilter filter = {}) {
    auto sum = recorder->Sum(filter);
    EXPECT_TRUE(sum.has_value()) << sum.error().message;
    return sum.value_or(UsageSum());
  }
};

}  // namespace tradewind::billing
