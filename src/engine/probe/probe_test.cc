#include "engine/probe/probe.h"

#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "engine/probe/loops.h"

namespace tradewind::engine {
namespace {

using internal::ProbeLoops;

std::vector<const ProbeLoops*> AllLoops() {
  std::vector<const ProbeLoops*> all = {&internal::PlainLoops()};
  for (const ProbeLoops* loops : {internal::Avx2Loops(), internal::Avx512Loops()}) {
    if (loops != nullptr) {
      all.push_back(loops);
    }
  }
  return all;
}

TEST(ProbeLoops, ReadEveryWord) {
  std::vector<uint64_t> words(4096 / sizeof(uint64_t));
  std::iota(words.begin(), words.end(), uint64_t{1} << 40);
  const auto* data = reinterpret_cast<const std::byte*>(words.data());
  for (const ProbeLoops* loops : AllLoops()) {
    uint64_t sum = loops->read(data, 4096);
    for (uint64_t& word : words) {
      word += 7;
      sum += 7;
      ASSERT_EQ(loops->read(data, 4096), sum);
    }
  }
}

TEST(ProbeLoops, NameTheInstructionOfEachDotProduct) {
  for (const ProbeLoops* loops : AllLoops()) {
    for (const internal::DotLoop& loop : {loops->f32, loops->int16, loops->int8}) {
      EXPECT_EQ(loop.run != nullptr, !loop.mnemonic.empty());
      EXPECT_EQ(loop.run != nullptr, loop.macs > 0);
      if (loop.run != nullptr) {
        loop.run();
      }
    }
    // A register holds twice as many values of half the width.
    EXPECT_EQ(loops->int16.macs, 2 * loops->f32.macs);
    EXPECT_EQ(loops->int8.macs, 2 * loops->int16.macs);
  }
}

TEST(Probe, MeasuresWhatThisCpuHas) {
  for (const int threads : {1, 2}) {
    const auto read = ProbeReadBandwidth(threads);
    ASSERT_TRUE(read);
    EXPECT_GT(*read, 0);
    const DotPeaks peaks = ProbeDotPeaks(threads);
    EXPECT_EQ(peaks.f32.has_value(), internal::Avx2Loops() != nullptr);
    for (const auto& peak : {peaks.f32, peaks.int16, peaks.int8}) {
      EXPECT_TRUE(!peak || (peak->gmac_per_s > 0 && !peak->instruction.empty()));
    }
  }
}

}  // namespace
}  // namespace tradewind::engine
