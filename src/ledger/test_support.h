// For tests in seeded worlds: a ledger whose process is killed and whose power is cut, and the
// seeds that are tried.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "ledger/fake_disk.h"
#include "ledger/ledger.h"

namespace tradewind::ledger::testing {

class SeededWorld {
 protected:
  SeededWorld(uint64_t seed, std::chrono::seconds begins) : random_(seed) {
    clock_.SetWall(std::chrono::system_clock::time_point(begins));
    Open();
  }

  // Between the two steps that it stands between: `forget` drops what the process has of holds. The
  // next process has a disk that works.
  void KillAndStart(bool is_power_cut, const std::function<void()>& forget) {
    disk_.Kill();
    disk_.Heal();
    forget();
    if (is_power_cut) {
      disk_.CutPower(random_);
    }
    ledger_.reset();
    disk_.Revive();
    Open();
  }

  SeededRandom random_;
  FakeDisk disk_;
  FakeClock clock_;
  std::unique_ptr<Ledger> ledger_;

 private:
  void Open() {
    constexpr LedgerOptions kByHand = {
        .segment_bytes = 128 << 10, .segments_max = 64, .background = false};
    auto opened = Ledger::Open(disk_, clock_, kByHand);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger_ = std::move(*opened);
  }
};

// Calls `run` with each seed until one fails, and prints how that is replayed. TW_LEDGER_SEEDS sets
// how many (`make prove`: 5,000), TW_LEDGER_SEED names the only one. True when there were so many
// that each rare event must have come.
inline bool ForEachSeed(std::string_view suite, const std::function<void(uint64_t seed)>& run) {
  const char* one = std::getenv("TW_LEDGER_SEED");
  const char* count = std::getenv("TW_LEDGER_SEEDS");
  const uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const uint64_t seeds = one != nullptr     ? 1
                         : count != nullptr ? std::strtoull(count, nullptr, 10)
                                            : 200;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    run(seed);
    if (::testing::Test::HasFatalFailure()) {
      ADD_FAILURE() << "replay: TW_LEDGER_SEED=" << seed << " ledger_test --gtest_filter='" << suite
                    << ".*'";
      return false;
    }
  }
  return seeds >= 100;
}

}  // namespace tradewind::ledger::testing
