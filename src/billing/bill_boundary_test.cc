#include "billing/bill_boundary.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tradewind::billing {
namespace {

constexpr int64_t kHour = 3600, kDay = 86'400;
constexpr int64_t kStart = 1'795'651'200;  // 2026-11-26
constexpr ledger::NanoUsd kDollar = 1'000'000'000;

struct Use {
  int64_t at_s = 0, input = 0, output = 0;
  ledger::NanoUsd cost = 0;
};

// What the bill says of `uses`, with its times, against what was recorded of them.
struct Bill {
  int64_t width_s = kDay;
  int64_t cells = 1;
  bool tells_tokens = true;

  std::vector<Difference> Against(const std::vector<Use>& recorded,
                                  const std::vector<Use>& billed) const {
    std::vector<Difference> differences;
    for (int64_t i = 0; i < cells; ++i) {
      Difference one;
      one.line.start_s = kStart + i * width_s;
      one.line.end_s = one.line.start_s + width_s;
      Use all;
      for (const Use& use : billed) {
        if (one.line.start_s <= use.at_s && use.at_s < one.line.end_s) {
          all.cost += use.cost;
          all.input += use.input;
          all.output += use.output;
        }
      }
      one.line.cost = all.cost;
      if (tells_tokens) {
        one.line.input_tokens = all.input;
        one.line.output_tokens = all.output;
      }
      for (const Use& use : recorded) {
        Record(use, one.line, one.local);
      }
      one.kind = Compare(one.line, one.local);
      differences.push_back(one);
    }
    return differences;
  }
  std::vector<Difference> Judged(const std::vector<Use>& recorded,
                                 const std::vector<Use>& billed) const {
    std::vector<Difference> differences = Against(recorded, billed);
    JudgeBoundaries(differences);
    return differences;
  }

 private:
  static void Record(const Use& use, const BillLine& line, LocalCell& local) {
    if (line.start_s <= use.at_s && use.at_s < line.end_s) {
      ++local.requests;
      local.cost += use.cost;
      local.input_tokens += use.input;
      local.output_tokens += use.output;
    }
    const auto near = [&](int64_t end_s, BoundaryUse& end) {
      if (std::abs(use.at_s * 2 + 1 - end_s * 2) < 2 * kEdgeS) {
        (use.at_s < end_s ? end.before : end.after).Add(use.input, use.output, use.cost);
      }
    };
    near(line.start_s, local.at_start);
    near(line.end_s, local.at_end);
  }
};

int64_t CountOf(DifferenceClass kind, const std::vector<Difference>& differences) {
  return std::ranges::count(differences, kind, &Difference::kind);
}

int64_t Unexplained(const std::vector<Difference>& differences) {
  return std::ranges::count_if(differences,
                               [](const Difference& one) { return !IsExplained(one.kind); });
}

std::vector<Use> Times(std::vector<Use> uses, int64_t percent, bool is_of_tokens = true) {
  for (Use& use : uses) {
    use.cost = use.cost * percent / 100;
    if (is_of_tokens) {
      use.input = use.input * percent / 100;
      use.output = use.output * percent / 100;
    }
  }
  return uses;
}

// A batch of ten dollars a minute after each midnight.
std::vector<Use> NightlyBatches(int64_t days) {
  std::vector<Use> uses;
  for (int64_t day = 0; day < days; ++day) {
    uses.push_back({kStart + day * kDay + 60, 1'000'000, 1'000'000, 10 * kDollar});
  }
  return uses;
}

TEST(Boundary, ExplainsWhatIsMissingInOneCellAndTooMuchInTheNext) {
  const Bill bill{.cells = 2};
  std::vector<Use> uses = {{kStart + kHour, 900'000, 900'000, 9 * kDollar},
                           {kStart + kDay - 10, 100'000, 100'000, kDollar},
                           {kStart + kDay + kHour, 900'000, 900'000, 9 * kDollar}};
  std::vector<Use> shifted = uses;
  shifted[1].at_s += 20;
  EXPECT_EQ(CountOf(DifferenceClass::kBoundary, bill.Judged(uses, shifted)), 2);
  shifted[1] = {};
  EXPECT_EQ(Unexplained(bill.Judged(uses, shifted)), 1) << "it came into no cell";
  EXPECT_EQ(Unexplained(Bill{.cells = 1}.Judged(uses, shifted)), 0)
      << "of the next cell nothing is known";
}

TEST(Boundary, DoesNotExplainABillOfTwiceTheBatchesNearTheEndsOfDays) {
  const std::vector<Use> uses = NightlyBatches(25);
  for (const bool tells_tokens : {true, false}) {
    const Bill bill{.cells = 24, .tells_tokens = tells_tokens};
    EXPECT_EQ(Unexplained(bill.Judged(uses, uses)), 0);
    EXPECT_EQ(Unexplained(bill.Judged(uses, Times(uses, 200))), 24);
    EXPECT_EQ(Unexplained(bill.Judged(uses, {})), 24) << "nor of none";
    EXPECT_GT(Unexplained(bill.Judged(uses, Times(uses, 105))), 0);
  }
}

TEST(Boundary, OfOneCellExplainsNoMoreThanARequestNearItsEnds) {
  const Bill bill{.cells = 1};
  const std::vector<Use> uses = {{kStart + kHour, 900'000, 900'000, 9 * kDollar},
                                 {kStart + kDay - 10, 100'000, 100'000, kDollar}};
  const auto billed = [&](int64_t tokens, ledger::NanoUsd cost) {
    const std::vector<Use> all = {{kStart + kHour, tokens, tokens, cost}};
    return bill.Judged(uses, all).front().kind;
  };
  EXPECT_EQ(billed(900'000, 9 * kDollar), DifferenceClass::kBoundary);
  EXPECT_EQ(billed(800'000, 8 * kDollar), DifferenceClass::kUnits);
  EXPECT_EQ(billed(1'100'000, 11 * kDollar), DifferenceClass::kUnits);
}

TEST(Boundary, DoesNotExplainAnotherPriceOfTheSameOrOfOtherTokens) {
  const std::vector<Use> uses = {{kStart + 10, 500'000, 500'000, kDollar},
                                 {kStart + kDay - 10, 500'000, 500'000, kDollar}};
  const Bill bill{.cells = 1};
  const auto billed = [&](int64_t tokens, ledger::NanoUsd cost) {
    const std::vector<Use> all = {{kStart + kHour, tokens, tokens, cost}};
    return bill.Judged(uses, all).front().kind;
  };
  EXPECT_EQ(billed(500'000, kDollar), DifferenceClass::kBoundary);
  EXPECT_EQ(billed(1'000'000, kDollar), DifferenceClass::kPrice) << "all of it, at half the price";
  EXPECT_EQ(billed(500'000, 2 * kDollar), DifferenceClass::kUnits) << "half of it, for as much";
  EXPECT_EQ(billed(500'000, kDollar * 12 / 10), DifferenceClass::kUnits);
}

TEST(Boundary, OfCellsThatTellTokensAloneIsJudgedByTheseAlone) {
  const Bill bill{.cells = 2};
  const std::vector<Use> uses = {{kStart + kHour, 900'000, 900'000, 9 * kDollar},
                                 {kStart + kDay - 10, 100'000, 100'000, kDollar}};
  std::vector<Use> shifted = uses;
  shifted[1].at_s += 20;
  for (const auto& [billed, unexplained] :
       {std::pair(shifted, 0), std::pair(Times(shifted, 200), 2)}) {
    std::vector<Difference> differences = bill.Against(uses, billed);
    for (Difference& one : differences) {
      one.line.cost = std::nullopt;
      one.kind = Compare(one.line, one.local);
    }
    JudgeBoundaries(differences);
    EXPECT_EQ(Unexplained(differences), unexplained);
  }
}

TEST(Boundary, OfOneWrongCellLeavesTheOthersExplained) {
  std::vector<Use> uses, billed;
  for (int64_t hour = 0; hour < 48; ++hour) {
    const int64_t start_s = kStart + hour * kHour;
    for (const int64_t at_s : {start_s + 5, start_s + 1800}) {
      uses.push_back({at_s, 100'000, 100'000, kDollar});
      billed.push_back(uses.back());
      billed.back().at_s -= hour % 3 == 0 ? 10 : 0;
    }
  }
  const Bill bill{.width_s = kHour, .cells = 48};
  EXPECT_EQ(Unexplained(bill.Judged(uses, billed)), 0);
  for (Use& use : billed) {
    use.cost *= use.at_s / kHour == kStart / kHour + 20 ? 4 : 1;
  }
  const auto differences = bill.Judged(uses, billed);
  EXPECT_EQ(Unexplained(differences), 1);
  EXPECT_FALSE(IsExplained(differences[20].kind));
}

TEST(Boundary, OfTheSumOfAMonthIsWhatCrossedItsEndsAndNotWhatEachLineIsOffBy) {
  std::vector<Use> uses;
  for (int64_t hour = 0; hour < 24; ++hour) {
    uses.push_back({kStart + hour * kHour + 1800, 1000, 1000, kDollar / 10});
  }
  const Bill hours{.width_s = kHour, .cells = 24};
  EXPECT_TRUE(SumUp(hours.Judged(uses, uses)).IsWithinTolerance());
  std::vector<Use> dear = uses;
  for (Use& use : dear) {
    use.cost += 9'000'000;
  }
  const auto lines = hours.Judged(uses, dear);
  EXPECT_EQ(Unexplained(lines), 0) << "each is a cent off at most";
  EXPECT_FALSE(SumUp(lines).IsWithinTolerance());
  EXPECT_EQ(SumUp(lines).apart, 24 * 9'000'000);
  EXPECT_EQ(SumUp(lines).recorded, 24 * kDollar / 10);

  uses.push_back({kStart + kDay - 5, 10'000, 10'000, kDollar});
  dear = uses;
  dear.back().at_s += 10;
  const auto moved = hours.Judged(uses, dear);
  EXPECT_EQ(CountOf(DifferenceClass::kBoundary, moved), 1);
  EXPECT_EQ(SumUp(moved).apart, 0);
}

// Random requests, and a provider whose clock is up to five minutes off in either direction.
class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  int64_t Between(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  std::vector<Use> Uses(const Bill& bill) {
    const int64_t input_price = Between(100, 3000), output_price = input_price * Between(1, 5);
    const bool is_near_ends = Between(0, 2) == 0;
    std::vector<Use> uses;
    // Also of the cell before and behind the bill's.
    for (int64_t cell = -1; cell <= bill.cells; ++cell) {
      const int64_t count = Between(3, 30);
      for (int64_t i = 0; i < count; ++i) {
        Use use{kStart + cell * bill.width_s, Between(20, 4000) * 1000, Between(1, 800) * 1000, 0};
        use.at_s += Between(0, (is_near_ends ? kEdgeS : bill.width_s) - 1);
        use.cost = use.input * input_price + use.output * output_price;
        uses.push_back(use);
      }
    }
    return uses;
  }
  std::vector<Use> Shifted(std::vector<Use> uses) {
    const auto [low, high] = std::array<std::pair<int64_t, int64_t>, 3>{
        {{-kEdgeS, kEdgeS}, {0, kEdgeS}, {-20, 20}}}[static_cast<size_t>(Between(0, 2))];
    for (Use& use : uses) {
      use.at_s += Between(low, high);
    }
    return uses;
  }

 private:
  std::mt19937_64 random_;
};

TEST(Boundary, OfRandomCellsExplainsHonestClocksAndNoOtherBills) {
  constexpr uint64_t kSeeds = 200;
  int64_t boundaries = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Chance chance(seed);
    const Bill bill{.width_s = chance.Between(0, 1) == 0 ? kHour : kDay,
                    .cells = chance.Between(60, 100),
                    .tells_tokens = chance.Between(0, 1) == 0};
    const std::vector<Use> uses = chance.Uses(bill);
    const std::vector<Use> honest = chance.Shifted(uses);
    const std::vector<Difference> same = bill.Judged(uses, honest);
    EXPECT_EQ(Unexplained(same), 0) << "seed " << seed;
    EXPECT_TRUE(SumUp(same).IsWithinTolerance()) << "seed " << seed;
    boundaries += CountOf(DifferenceClass::kBoundary, same);
    for (const bool is_of_tokens : {true, false}) {
      for (const int64_t percent : {0, 50, 95, 105, 200}) {
        const auto wrong = bill.Judged(uses, Times(honest, percent, is_of_tokens));
        const bool is_far = percent % 100 == 0 || percent == 50;
        EXPECT_GE(Unexplained(wrong), is_far ? bill.cells / 2 : 1)
            << "seed " << seed << ", " << percent << " %" << (is_of_tokens ? " of tokens" : "");
      }
    }
  }
  EXPECT_GT(boundaries, 1000) << "so that there is something to explain";
}

// One thing that lines may tell, the other way round: cells `first` to `last` cannot be explained
// when what they have too much in all is more than can have come over their two ends.
struct Told {
  std::optional<int64_t> BillLine::* billed;
  int64_t LocalCell::* recorded;
  int64_t EdgeUse::* edge;

  bool IsContradicted(const std::vector<Difference>& cells, size_t first, size_t last) const {
    const auto of_edge = [&](const EdgeUse& use) { return use.*edge; };
    int64_t low = 0, high = 0;
    for (size_t at = first; at <= last; ++at) {
      const auto remote = cells[at].line.*billed;
      if (!remote.has_value()) {
        return false;  // it may have any of it
      }
      const LocalCell& local = cells[at].local;
      const int64_t tolerance = edge == &EdgeUse::cost
                                    ? CostTolerance(*remote, local.*recorded) + local.requests
                                    : std::max(*remote, local.*recorded) / 1000;
      low += *remote - local.*recorded - tolerance;
      high += *remote - local.*recorded + tolerance;
    }
    const BoundaryUse &start = cells[first].local.at_start, &end = cells[last].local.at_end;
    return low > of_edge(start.before) + of_edge(end.after) ||
           high < -of_edge(start.after) - of_edge(end.before);
  }

  // Of the fewest cells together, from the first ones on.
  void Mark(const std::vector<Difference>& cells, std::vector<bool>& marked) const {
    size_t from = 0;
    for (size_t last = 0; last < cells.size(); ++last) {
      for (size_t first = last + 1; first > from; --first) {
        if (IsContradicted(cells, first - 1, last)) {
          std::fill(marked.begin() + static_cast<std::ptrdiff_t>(first - 1),
                    marked.begin() + static_cast<std::ptrdiff_t>(last) + 1, true);
          from = last + 1;
          break;
        }
      }
    }
  }
};
const std::array<Told, 3> kTold = {
    {{&BillLine::cost, &LocalCell::cost, &EdgeUse::cost},
     {&BillLine::input_tokens, &LocalCell::input_tokens, &EdgeUse::input_tokens},
     {&BillLine::output_tokens, &LocalCell::output_tokens, &EdgeUse::output_tokens}}};

TEST(Boundary, OfLinesThatTellAnyOneThingIsWhatTheSumsOfCellsAllow) {
  std::array<int64_t, 3> kinds = {};  // explained, near ends, neither
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Chance chance(seed);
    const Bill bill{.width_s = kHour, .cells = chance.Between(1, 12)};
    const std::vector<Use> uses = chance.Uses(bill);
    std::vector<Use> billed = chance.Shifted(uses);
    for (Use& use : billed) {
      if (chance.Between(0, 60) == 0) {
        use = Times({use}, chance.Between(0, 1) * 300).front();
      }
    }
    std::vector<Difference> cells = bill.Against(uses, billed);
    for (Difference& one : cells) {  // cost or tokens: their proportion is another matter
      const int64_t told = chance.Between(0, 4);
      if (told > 0) {
        one.line.cost = std::nullopt;
      }
      if (told == 0 || told == 2) {
        one.line.input_tokens = std::nullopt;
      }
      if (told == 0 || told == 1) {
        one.line.output_tokens = std::nullopt;
      }
      one.kind = Compare(one.line, one.local);
    }
    std::vector<bool> marked(cells.size());
    for (const Told& told : kTold) {
      told.Mark(cells, marked);
    }
    std::vector<Difference> judged = cells;
    JudgeBoundaries(judged);
    for (size_t at = 0; at < cells.size(); ++at) {
      const bool differs = !IsExplained(cells[at].kind);
      const DifferenceClass kind =
          differs && !marked[at] ? DifferenceClass::kBoundary : cells[at].kind;
      EXPECT_EQ(judged[at].kind, kind) << "seed " << seed << ", cell " << at;
      ++kinds[differs ? (marked[at] ? 2 : 1) : 0];
    }
  }
  EXPECT_GT(*std::ranges::min_element(kinds), 500);
}

}  // namespace
}  // namespace tradewind::billing
