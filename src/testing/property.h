// Property tests: many random cases, each from a seed of its own, so that a failing one can be
// tried alone.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>

#include <gtest/gtest.h>

namespace tradewind::testing {

// Calls `run` with the seeds 0, 1 ... until one fails, and prints how that is replayed.
// TW_PROPERTY_CASES sets how many instead of `usual` (`make prove`: 1,000,000), TW_PROPERTY_SEED
// names the only one. `run` asserts with ASSERT_*. Returns how many cases were asked for.
inline uint64_t ForEachCase(uint64_t usual, const std::function<void(uint64_t seed)>& run) {
  const auto number = [](const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
  };
  const bool is_one = std::getenv("TW_PROPERTY_SEED") != nullptr;
  const uint64_t first = number("TW_PROPERTY_SEED", 0);
  const uint64_t cases = is_one ? 1 : number("TW_PROPERTY_CASES", usual);
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    run(seed);
    if (::testing::Test::HasFatalFailure()) {
      const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
      ADD_FAILURE() << "replay: TW_PROPERTY_SEED=" << seed << " --gtest_filter='"
                    << info->test_suite_name() << "." << info->name() << "' (the same program)";
      break;
    }
  }
  return cases;
}

}  // namespace tradewind::testing
