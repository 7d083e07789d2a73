#include "billing/bill_cells.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tradewind::billing {
namespace {

constexpr int64_t kHour = 3600, kDay = 86'400;
constexpr int64_t kStart = 1'795'651'200;  // 2026-11-26
constexpr ledger::NanoUsd kDollar = 1'000'000'000;

BillLine Line(std::string model, int64_t start_s, int64_t end_s, ledger::NanoUsd cost = 0) {
  BillLine line;
  line.provider = "site-a";
  line.model = std::move(model);
  line.start_s = start_s;
  line.end_s = end_s;
  line.cost = cost;
  return line;
}

BilledUse Use(const char* provider_model, int64_t at_s, const char* model = "") {
  return {.model = model,
          .provider_model = provider_model,
          .is_priced = true,
          .at_s = at_s,
          .cost = kDollar};
}

std::vector<Difference> Compared(const std::vector<BillLine>& lines,
                                 const std::vector<BilledUse>& uses,
                                 const BillPeriod* month = nullptr) {
  BillCells cells = month == nullptr ? BillCells(lines) : BillCells(lines, *month);
  for (const BilledUse& use : uses) {
    cells.Add(use);
  }
  return cells.Take();
}

TEST(BillCells, WhatIsUsedBesideTheLinesOfItsModelIsMissingInTheBillOfThatTime) {
  const std::vector<BillLine> lines = {Line("b", kStart, kStart + kDay),
                                       Line("a", kStart + 3 * kHour, kStart + 4 * kHour, kDollar)};
  const auto found = Compared(lines, {Use("a", kStart + 3 * kHour + 1800),
                                      Use("a", kStart + 10 * kHour), Use("a", kStart + kDay)});
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[1].kind, DifferenceClass::kNone);
  EXPECT_EQ(found[2].line, Line("a", kStart, kStart + 3 * kHour));
  EXPECT_EQ(found[2].kind, DifferenceClass::kNone);
  EXPECT_EQ(found[3].line, Line("a", kStart + 4 * kHour, kStart + kDay));
  EXPECT_EQ(found[3].kind, DifferenceClass::kMissingRemote);
  EXPECT_EQ(found[3].local.requests, 1) << "of the next day the bill says nothing";
}

TEST(BillCells, OfAllOfAMonthSaysWhatNoLineIsOfAndNothingExplainsIt) {
  const BillPeriod month = ParseBillMonth("2026-11").value();
  const auto compared = [&](const char* name, const std::vector<BilledUse>& uses) {
    return Compared({Line(name, kStart, kStart + kDay, kDollar)}, uses, &month);
  };
  const BilledUse inside = Use("a", kStart + kHour), behind = Use("a", kStart + 2 * kDay);
  for (const char* name : {"a", ""}) {
    EXPECT_EQ(compared(name, {inside}).size(), 1U) << "where nothing was used nothing is said";
    const auto found =
        compared(name, {inside, behind, Use("a", month.from_s), Use("b", month.to_s)});
    ASSERT_EQ(found.size(), 3U) << "of other months nothing is";
    EXPECT_FALSE(found[0].is_uncovered);
    EXPECT_EQ(found[1].line, Line(name, month.from_s, kStart));
    EXPECT_EQ(found[2].line, Line(name, kStart + kDay, month.to_s));
    EXPECT_EQ(found[2].kind, DifferenceClass::kMissingRemote);
    EXPECT_TRUE(found[2].is_uncovered);
    EXPECT_EQ(found[2].local.requests, 1);
  }
  BilledUse use = behind;
  use.source = UsageSource::kBound;
  EXPECT_EQ(compared("a", {inside, use})[1].kind, DifferenceClass::kMissingRemote)
      << "nothing says that it cost less than it was estimated at";
  use = behind;
  use.cost = 0;
  EXPECT_EQ(compared("a", {inside, use})[1].kind, DifferenceClass::kNone) << "it is free";
  use.is_priced = false;
  EXPECT_EQ(compared("a", {inside, use})[1].kind, DifferenceClass::kMissingRemote)
      << "an unknown price is not zero";
  use.is_doubtful = true;
  EXPECT_EQ(compared("a", {inside, use})[1].local.in_doubt, 1);
}

TEST(BillCells, TokensThatNobodySaidAreCountedApart) {
  const auto estimated = [](UsageSource source, int64_t input, int64_t output) {
    BilledUse use = Use("a", kStart + kHour);
    use.source = source;
    use.input_tokens = input;
    use.output_tokens = output;
    return Compared({Line("a", kStart, kStart + kDay, kDollar)}, {use}).front().local.estimated;
  };
  EXPECT_EQ(estimated(UsageSource::kProvider, 10, 0).requests, 0);
  EXPECT_EQ(estimated(UsageSource::kBilled, 10, 5).requests, 0);
  for (const UsageSource source : {UsageSource::kMetered, UsageSource::kBound}) {
    const EstimatedUse use = estimated(source, 10, 5);
    EXPECT_EQ(use.requests, 1);
    EXPECT_EQ(use.input_tokens, 10);
    EXPECT_EQ(use.output_tokens, 5);
    EXPECT_EQ(use.cost, kDollar);
  }
  for (const auto& [input, output] : {std::pair(0, 0), {10, 0}, {0, 5}}) {
    EXPECT_EQ(estimated(UsageSource::kBilled, input, output).requests, 1);
    EXPECT_EQ(estimated(UsageSource::kBilled, input, output).cost, 0) << "which it said";
  }
}

TEST(BillCells, OneThatNamesAModelByTheHubMissesThatNameWhereverItDoesNot) {
  const std::vector<BillLine> lines = {Line("org/a", kStart, kStart + kDay, kDollar),
                                       Line("b", kStart, kStart + 2 * kDay)};
  const auto found = Compared(
      lines, {Use("x", kStart + kDay + kHour, "org/other"), Use("x", kStart + kHour, "org/a"),
              Use("x", kStart + kDay + kHour, "org/a")});
  std::vector<std::string> missing;
  for (const Difference& one : found) {
    if (one.kind == DifferenceClass::kMissingRemote) {
      missing.push_back(one.line.model);
      EXPECT_EQ(one.local.requests, 1);
    }
  }
  EXPECT_EQ(missing, (std::vector<std::string>{"org/a", "x"}));
  EXPECT_EQ(found[0].kind, DifferenceClass::kNone) << "the other one is not its";
}

// Lines of hours and days, in which a model may be named, and another one throughout.
TEST(BillCells, OfRandomLinesHoldEachUseInTheirTimesOnce) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    const auto between = [&](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    const std::vector<const char*> models = {"a", "b", "c", "never"};
    std::vector<BillLine> lines = {Line("a", kStart, kStart + kHour)};
    for (const char* model : {"a", "b", "c"}) {
      for (int64_t from_s = kStart + kHour; from_s < kStart + 4 * kDay;) {
        const int64_t to_s = from_s + between(1, 30) * kHour;
        if (between(0, 1) == 0) {
          lines.push_back(Line(model, from_s, to_s));
        }
        from_s = to_s;
      }
    }
    std::ranges::shuffle(lines, random);
    std::vector<BilledUse> uses;
    for (int64_t i = 0; i < 200; ++i) {
      uses.push_back(
          Use(models[static_cast<size_t>(between(0, 3))], kStart + between(-kHour, 6 * kDay)));
    }
    const auto found = Compared(lines, uses);
    const auto holds = [](const BillLine& line, const BilledUse& use) {
      return line.start_s <= use.at_s && use.at_s < line.end_s;
    };
    for (const BilledUse& use : uses) {
      const bool is_covered =
          std::ranges::any_of(lines, [&](const BillLine& line) { return holds(line, use); });
      EXPECT_EQ(std::ranges::count_if(found,
                                      [&](const Difference& one) {
                                        return one.line.model == use.provider_model &&
                                               holds(one.line, use);
                                      }),
                is_covered ? 1 : 0)
          << "seed " << seed << ", at " << use.at_s - kStart;
    }
    for (const Difference& one : found) {
      EXPECT_EQ(one.local.requests, std::ranges::count_if(uses, [&](const BilledUse& use) {
                  return one.line.model == use.provider_model && holds(one.line, use);
                }));
    }
    const BillPeriod month = {.name = "", .from_s = kStart - kDay, .to_s = kStart + 10 * kDay};
    int64_t requests = 0;
    for (const Difference& one : Compared(lines, uses, &month)) {
      requests += one.local.requests;
    }
    EXPECT_EQ(requests, 200) << "of the whole month each one";
  }
}

}  // namespace
}  // namespace tradewind::billing
