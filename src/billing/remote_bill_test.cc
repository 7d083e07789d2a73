#include "billing/remote_bill.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "billing/bill_boundary.h"
#include "billing/bill_overlap.h"
#include "billing/recorder_parts.h"
#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kStart = 1'795'651'200;  // 2026-11-26
constexpr ledger::NanoUsd kDollar = 1'000'000'000;

TEST(BillTime, IsReadAsDatesTimesAndMonths) {
  EXPECT_EQ(ReadBillTime("2026-11-26"), kStart);
  EXPECT_EQ(ReadBillTime("2026-11-26T01:02:03Z"), kStart + 3723);
  for (const char* wrong :
       {"", "2026-13-01", "2026-02-30", "26-11-2026", "2026-11-26T25:00:00Z", "2200-01-01"}) {
    EXPECT_EQ(ReadBillTime(wrong), std::nullopt) << wrong;
  }
  const BillPeriod period = ParseBillMonth("2026-11").value();
  EXPECT_EQ(period.from_s, kStart - 25 * kDay);
  EXPECT_EQ(period.to_s - period.from_s, 30 * kDay);
  EXPECT_EQ(MonthOf(kStart).name, "2026-11");
  EXPECT_EQ(ParseBillMonth("2026-12")->to_s, ParseBillMonth("2027-01")->from_s);
  for (const char* wrong : {"", "2026", "2026-13", "2026-1", "2026-11-01"}) {
    EXPECT_EQ(ParseBillMonth(wrong).error().param, "period") << wrong;
  }
}

TEST(BillUsd, IsExactAndRoundedUpToTheNanoDollar) {
  EXPECT_EQ(ReadBillUsd("1.5"), 1'500'000'000);
  EXPECT_EQ(ReadBillUsd("$0.000000001"), 1);
  EXPECT_EQ(ReadBillUsd("0.0000000001"), 1);
  EXPECT_EQ(ReadBillUsd("-2"), -2 * kDollar);
  EXPECT_EQ(ReadBillUsd("1e3"), 1000 * kDollar);
  for (const char* wrong : {"", "x", "1,5", "1000001", "1e30", "nan"}) {
    EXPECT_EQ(ReadBillUsd(wrong), std::nullopt) << wrong;
  }
}

TEST(BillCsv, IsReadByItsNames) {
  const auto lines = ReadBillCsv(
      "\xEF\xBB\xBF"
      "Date,Model,note,input_tokens,output_tokens,cost_usd\r\n"
      "2026-11-26,\"org/a, \"\"b\"\"\",x,100,,0.25\r\n"
      "\r\n"
      "2026-11-26T10:00:00Z,m,,1,2,0.1\n"
      "2026-11-26T10:00:00Z,m,,10,20,0.2",
      "site-a", true);
  ASSERT_TRUE(lines.has_value()) << lines.error().message;
  ASSERT_EQ(lines->size(), 2U);
  const BillLine& hour = (*lines)[1];
  EXPECT_EQ(hour.end_s - hour.start_s, 3600);
  EXPECT_EQ(hour.input_tokens, 11) << "lines of one cell are one";
  EXPECT_EQ(hour.cost, 300'000'000);
  const BillLine& day = (*lines)[0];
  EXPECT_EQ(day.model, "org/a, \"b\"");
  EXPECT_EQ(day.end_s - day.start_s, kDay);
  EXPECT_EQ(day.output_tokens, std::nullopt) << "not said";
  EXPECT_EQ(day.provider, "site-a");
  EXPECT_TRUE(day.is_invoice);
}

TEST(BillCsv, IsRefusedInWordsThatNameTheLine) {
  const auto error = [](std::string_view text) {
    return ReadBillCsv(text, "p", false).error().message;
  };
  EXPECT_NE(error("").find("first line"), std::string::npos);
  EXPECT_NE(error("date,model\n").find("cost_usd"), std::string::npos);
  EXPECT_NE(error("date,cost_usd\n2026-11-26,much\n").find("line 2"), std::string::npos);
  EXPECT_NE(error("date,cost_usd\n2026-11-26,1\nsoon,1\n").find("line 3"), std::string::npos);
  EXPECT_NE(error("date,cost_usd\n\"2026").find("does not end"), std::string::npos);
  EXPECT_NE(error("start,end,cost_usd\n2026-11-26,2026-11-25,1").find("start"), std::string::npos);
  EXPECT_NE(error("date,requests,cost_usd\n2026-11-26,-1,1").find("requests"), std::string::npos);
}

TEST(BillCsv, ReadsNoAmountThatACommaHasCut) {
  const auto read = [](const std::string& row) {
    return ReadBillCsv("date,model,cost_usd,input_tokens\n" + row + "\n", "p", false);
  };
  EXPECT_TRUE(read("2026-11-19,m,1.5,").has_value());
  for (const char* row : {"2026-11-19,m,1,234.56,9", "2026-11-19,m,12,5,9", "2026-11-19",
                          "2026-11-19,m,1.5", "2026-11-19,m,1.5,9,"}) {
    const auto lines = read(row);
    ASSERT_FALSE(lines.has_value()) << row;
    EXPECT_TRUE(lines.error().message.starts_with("line 2 of the bill: ")) << lines.error().message;
  }
}

TEST(BillCsv, HasNoLineThatSaysNothing) {
  const auto read = [](const std::string& row) {
    return ReadBillCsv("date,model,cost_usd,input_tokens,requests\n" + row + "\n", "p", false);
  };
  EXPECT_FALSE(read("2026-11-19,m,,,").has_value());
  EXPECT_FALSE(read("2026-11-19,m,,,7").has_value());
  EXPECT_TRUE(read("2026-11-19,m,,5,").has_value());
  EXPECT_TRUE(read("2026-11-19,m,0,,").has_value());
}

TEST(BillCsv, OfLinesIsReadAsTheseLines) {
  BillLine day;
  day.provider = "p";
  day.model = "a \"b\", c";
  day.start_s = kStart;
  day.end_s = kStart + kDay;
  day.requests = 3;
  day.cached_tokens = 0;
  day.cost = -7;
  BillLine tokens = day;
  tokens.model = "m";
  tokens.cost = std::nullopt;
  tokens.output_tokens = kBillCountMax;
  const std::vector<BillLine> lines = {day, tokens};
  EXPECT_EQ(ReadBillCsv(WriteBillCsv(lines), "p", false), lines);
}

TEST(BillCsv, CountsNoFurtherThanABillCan) {
  const std::string head = "date,requests,cost_usd\n";
  EXPECT_FALSE(ReadBillCsv(head + "2026-11-26,1000000000000001,1", "p", false).has_value());
  const std::string most = "2026-11-26,1000000000000000,1\n";
  EXPECT_TRUE(ReadBillCsv(head + most, "p", false).has_value());
  EXPECT_FALSE(ReadBillCsv(head + most + most, "p", false).has_value());
}

struct Case {
  const char* what;
  BillLine line;
  LocalCell local;
  DifferenceClass kind;
};

BillLine Billed(ledger::NanoUsd cost, std::optional<int64_t> input = {},
                std::optional<int64_t> output = {}) {
  BillLine line;
  line.cost = cost;
  line.input_tokens = input;
  line.output_tokens = output;
  return line;
}

LocalCell Recorded(ledger::NanoUsd cost, int64_t input = 1'000'000, int64_t output = 1'000'000) {
  LocalCell local;
  local.requests = 1000;
  local.cost = cost;
  local.input_tokens = input;
  local.output_tokens = output;
  return local;
}

TEST(Difference, HasAClass) {
  const std::vector<Case> cases = {
      {"equal", Billed(10 * kDollar), Recorded(10 * kDollar), DifferenceClass::kNone},
      {"half a cent and a nano a request", Billed(10 * kDollar + 5'001'000), Recorded(10 * kDollar),
       DifferenceClass::kRounding},
      {"0.5 %", Billed(10 * kDollar + 50'000'000), Recorded(10 * kDollar), DifferenceClass::kNone},
      {"3 % more for the same tokens", Billed(10'300'000'000, 1'000'000, 1'000'000),
       Recorded(10 * kDollar), DifferenceClass::kPrice},
      {"3 % more, tokens not told", Billed(10'300'000'000), Recorded(10 * kDollar),
       DifferenceClass::kPrice},
      {"a fifth more tokens", Billed(12 * kDollar, 1'200'000, 1'200'000), Recorded(10 * kDollar),
       DifferenceClass::kUnits},
      {"0.1 % of the tokens", Billed(10 * kDollar, 1'001'000, 1'000'000), Recorded(10 * kDollar),
       DifferenceClass::kNone},
      {"nothing is known here", Billed(kDollar), LocalCell(), DifferenceClass::kMissingLocal},
      {"nothing is billed", Billed(0), Recorded(kDollar), DifferenceClass::kMissingRemote},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(DifferenceClassName(Compare(one.line, one.local)), DifferenceClassName(one.kind))
        << one.what;
  }
  EXPECT_TRUE(IsExplained(DifferenceClass::kBoundary));
  EXPECT_FALSE(IsExplained(DifferenceClass::kMissingLocal));
}

// Of a thousand requests ten were cut: a tenth of the tokens, and at most a fifth of the cost.
TEST(Difference, IsExplainedByRequestsWhoseTokensNobodySaid) {
  LocalCell local = Recorded(10 * kDollar);
  local.estimated = {10, 100'000, 100'000, 2 * kDollar};
  const auto kind = [&](const BillLine& line) { return Compare(line, local); };
  EXPECT_EQ(kind(Billed(10 * kDollar, 1'000'000, 1'000'000)), DifferenceClass::kNone);
  EXPECT_EQ(kind(Billed(8 * kDollar, 900'000, 900'000)), DifferenceClass::kEstimated);
  EXPECT_EQ(kind(Billed(9 * kDollar, 1'050'000, 930'000)), DifferenceClass::kEstimated);
  EXPECT_EQ(kind(Billed(9 * kDollar)), DifferenceClass::kEstimated);
  EXPECT_EQ(kind(Billed(8 * kDollar, 890'000, 900'000)), DifferenceClass::kUnits)
      << "fewer than were said of the others";
  EXPECT_EQ(kind(Billed(11 * kDollar, 1'100'000, 1'100'000)), DifferenceClass::kUnits)
      << "dearer than all of it can have been";
  EXPECT_EQ(kind(Billed(7 * kDollar, 1'000'000, 1'000'000)), DifferenceClass::kPrice);
  EXPECT_EQ(kind(Billed(0)), DifferenceClass::kMissingRemote);
  local.estimated.cost = 0;  // the provider named it, request by request
  EXPECT_EQ(kind(Billed(10 * kDollar, 1'050'000, 900'000)), DifferenceClass::kEstimated);
  EXPECT_EQ(kind(Billed(9 * kDollar, 1'000'000, 1'000'000)), DifferenceClass::kPrice);
  EXPECT_TRUE(IsExplained(DifferenceClass::kEstimated));
}

class BillsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_.clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(kStart + 60)));
  }
  void Use(int64_t tokens, std::string model = "model-x", bool own_key = false) {
    Meter meter(*world_.ledger, world_.clock);
    Offer offer = world_.Ask(100, 50'000);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
        world_.clock.WallNow().time_since_epoch());
    offer.id.request = ledger::RequestId::Make(ms.count());
    offer.purchase.provider_model = std::move(model);
    offer.purchase.own_key = own_key;
    auto attempt = meter.Begin(offer);
    ASSERT_TRUE(attempt->Sent().has_value());
    static_cast<void>(attempt->End({.is_complete = true, .usage = Used(100, tokens)}));
  }
  // One whose client left, a day before it was settled.
  void Leave(int64_t delivered_bytes) {
    Meter meter(*world_.ledger, world_.clock);
    Offer offer = world_.Ask(100, 50'000);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
        world_.clock.WallNow().time_since_epoch());
    offer.id.request = ledger::RequestId::Make(ms.count());
    offer.purchase.provider_model = "model-x";
    auto attempt = meter.Begin(offer, ledger::Send::kNow);
    static_cast<void>(attempt->End(
        {.likely_billed = true, .delivered_bytes = delivered_bytes, .finish = "left"}));
    meter.SettleOverdue(std::chrono::nanoseconds(0));
  }
  BillLine Line(std::string model, ledger::NanoUsd cost, bool is_invoice = false) {
    BillLine line = Billed(cost);
    line.provider = "site-a";
    line.model = std::move(model);
    line.start_s = kStart;
    line.end_s = kStart + kDay;
    line.is_invoice = is_invoice;
    return line;
  }
  std::vector<Difference> Differences() {
    auto found = world_.recorder->Differences("site-a", ParseBillPeriod("2026-11").value());
    EXPECT_TRUE(found.has_value()) << found.error().message;
    return std::move(*found);
  }
  World world_;
};

TEST_F(BillsTest, OfAMonthWithAnswersThatWereCutAreExplained) {
  Use(1000);      // 2,100,000 nano-USD
  Leave(30'000);  // at most 60,228,000, and probably 20,228,000
  BillLine line = Line("model-x", 2'100'000 + 100'000 + 7000 * 2000);
  line.input_tokens = 200;
  line.output_tokens = 8000;
  ASSERT_TRUE(world_.recorder->PutBillLines(std::vector{line}).has_value());
  const auto found = Differences();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].kind, DifferenceClass::kEstimated);
  EXPECT_EQ(found[0].local.estimated.requests, 1);
  EXPECT_EQ(found[0].local.output_tokens, 1000 + 10'000) << "beside their cost";
  EXPECT_TRUE(SumUp(found).IsWithinTolerance());
}

TEST_F(BillsTest, AreComparedWithWhatWasRecordedOfTheSameModelAndTime) {
  Use(50);                     // 200,000 nano-USD
  Use(1000, "model-y");        // 2,100,000, and not on the bill
  Use(1000, "model-x", true);  // another account's
  world_.clock.Advance(std::chrono::hours(48));
  Use(1000);  // on another day
  const std::vector<BillLine> lines = {Line("model-x", 200'000), Line("model-z", kDollar)};
  ASSERT_TRUE(world_.recorder->PutBillLines(lines).has_value());
  const auto differences = Differences();
  ASSERT_EQ(differences.size(), 3U);
  EXPECT_EQ(differences[0].kind, DifferenceClass::kNone);
  EXPECT_EQ(differences[0].local.cost, 200'000);
  EXPECT_EQ(differences[1].kind, DifferenceClass::kMissingLocal);
  EXPECT_EQ(differences[1].amount(), kDollar);
  EXPECT_EQ(differences[2].line.model, "model-y");
  EXPECT_EQ(differences[2].amount(), -2'100'000);
  const auto providers = world_.recorder->BilledProviders(ParseBillPeriod("2026-11").value());
  EXPECT_EQ(*providers, std::vector<std::string>{"site-a"});
  EXPECT_TRUE(world_.recorder->BilledProviders(ParseBillPeriod("2026-12").value())->empty());
}

// `count` settled requests of a dollar, one every `step_s` from the day's beginning on.
void Fill(Recorder& recorder, int64_t count, int64_t step_s) {
  const Status filled = recorder.Change([&](storage::Database& database) -> Status {
    TW_ASSIGN_OR_RETURN(
        storage::Statement put,
        database.Prepare(
            "INSERT INTO attempts (request, attempt, org, project, key, user, model, provider, "
            "provider_model, own_key, priced, state, admitted_ns, ended_ns, held, cost, charge, "
            "price_version, input, cached, output, reasoning, source, finish, upstream_id, reason) "
            "VALUES (?1, 1, 'o', 'p', 'k', 'u', 'org/model', 'site-a', 'model-x', 0, 1, 3, ?2, 0, "
            "0, 1000000000, 0, 0, 10, 0, 5, 0, '', '', '', '')"));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at_s = kStart + i * step_s;
      const auto id = BytesOf({static_cast<uint64_t>(at_s * 1000) << 16, static_cast<uint64_t>(i)});
      put.Reset();
      put.Bind(1, std::span<const std::byte>(id)).Bind(2, at_s * 1'000'000'000);
      TW_RETURN_IF_ERROR(put.Run());
    }
    return {};
  });
  ASSERT_TRUE(filled.has_value()) << filled.error().message;
}

TEST_F(BillsTest, EachLineIsComparedWithAllOfItsTimeHoweverMuchThatIs) {
  constexpr int64_t kCount = 20'000, kStep = 4;
  Fill(*world_.recorder, kCount, kStep);
  std::vector<BillLine> lines;
  for (int64_t hour = 0; hour < 24; ++hour) {
    BillLine line = Line(hour % 2 == 0 ? "model-x" : "org/model", 900 * kDollar);
    line.start_s = kStart + hour * 3600;
    line.end_s = line.start_s + 3600;
    lines.push_back(line);
  }
  ASSERT_TRUE(world_.recorder->PutBillLines(lines).has_value());
  const auto differences = Differences();
  ASSERT_EQ(differences.size(), 24U);
  int64_t requests = 0;
  for (const Difference& one : differences) {
    requests += one.local.requests;
    EXPECT_EQ(one.local.cost, one.local.requests * kDollar);
    EXPECT_EQ(one.local.at_start.after.requests, kEdgeS / kStep * (one.local.requests > 0 ? 1 : 0));
  }
  EXPECT_EQ(requests, kCount);
  EXPECT_EQ(differences[3].kind, DifferenceClass::kNone);
  EXPECT_EQ(differences[22].local.requests, kCount - 22 * 900);
}

TEST_F(BillsTest, OthersGoOnWhileTheyAreCompared) {
  Fill(*world_.recorder, 80'000, 1);
  const std::vector<BillLine> lines = {Line("model-x", 80'000 * kDollar)};
  ASSERT_TRUE(world_.recorder->PutBillLines(lines).has_value());
  std::atomic<bool> has_begun = false, has_ended = false;
  std::thread comparing([&] {
    has_begun = true;
    EXPECT_EQ(Differences().size(), 1U);
    has_ended = true;
  });
  int looks = 0;
  while (!has_ended) {
    looks += has_begun ? 1 : 0;
    EXPECT_TRUE(world_.recorder->Sum({.from_ns = kStart * 1'000'000'000}).has_value());
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  comparing.join();
  EXPECT_GT(looks, 8);
}

TEST_F(BillsTest, AModelIsNotMissingWhereItsDayHasALineOfAnotherLength) {
  Use(50, "model-x");
  Use(50, "model-y");
  std::vector<BillLine> lines = {Line("model-x", 200'000), Line("model-y", 200'000)};
  lines[1].end_s = kStart + 3600;
  ASSERT_TRUE(world_.recorder->PutBillLines(lines).has_value());
  const auto is_missing = [](const Difference& one) {
    return one.kind == DifferenceClass::kMissingRemote;
  };
  EXPECT_TRUE(std::ranges::none_of(Differences(), is_missing));
  world_.clock.Advance(std::chrono::hours(10));
  Use(50'000, "model-y");
  const auto differences = Differences();
  ASSERT_EQ(std::ranges::count_if(differences, is_missing), 1);
  EXPECT_TRUE(is_missing(differences.back()));
  EXPECT_EQ(differences.back().line.start_s, kStart + 3600) << "where its own line ends";
}

TEST_F(BillsTest, AnImportedCellReplacesItselfAndInvoicesCountBeforeUsage) {
  Use(50);
  for (const ledger::NanoUsd cost : {kDollar, 2 * kDollar}) {
    const std::vector<BillLine> lines = {Line("model-x", cost)};
    ASSERT_TRUE(world_.recorder->PutBillLines(lines).has_value());
  }
  ASSERT_EQ(Differences().size(), 1U);
  EXPECT_EQ(Differences()[0].line.cost, 2 * kDollar);
  const std::vector<BillLine> invoice = {Line("", 200'000, true)};
  ASSERT_TRUE(world_.recorder->PutBillLines(invoice).has_value());
  ASSERT_EQ(Differences().size(), 1U);
  EXPECT_EQ(Differences()[0].kind, DifferenceClass::kNone);
}

TEST_F(BillsTest, ALineThatCountsTheSameRequestsAsAnotherIsRefusedOrTakesItsPlace) {
  Use(50);
  const BillLine day = Line("model-x", kDollar);
  BillLine hour = day, by_hub_name = day, together = day, month = day;
  hour.start_s += 3600;
  hour.end_s = hour.start_s + 3600;
  by_hub_name.model = "org/model";
  together.model = "";
  month.start_s -= 25 * kDay;
  month.end_s += 4 * kDay;
  BillLine next_day = day, other = Line("model-y", kDollar);
  next_day.start_s += kDay;
  next_day.end_s += kDay;
  const auto put = [&](std::vector<BillLine> lines, bool takes_place = false) {
    return world_.recorder->PutBillLines(lines, takes_place);
  };
  ASSERT_TRUE(put({day, next_day, other}).has_value());
  for (const BillLine& line : {hour, by_hub_name, together, month}) {
    const Status refused = put({line});
    ASSERT_FALSE(refused.has_value()) << CellName(line);
    for (const std::string& named : {CellName(line), CellName(day), std::string("--replace")}) {
      EXPECT_NE(refused.error().message.find(named), std::string::npos) << refused.error().message;
    }
    EXPECT_EQ(Differences().size(), 3U) << "nothing of it was taken";
  }
  EXPECT_FALSE(put({hour, day}, true).has_value()) << "both are of one bill";
  ASSERT_TRUE(put({hour}, true).has_value());
  const auto differences = Differences();
  EXPECT_TRUE(std::ranges::none_of(differences, [&](const Difference& one) {
    return one.line.model == "model-x" && one.line.cost == kDollar &&
           one.line.start_s == day.start_s;
  }));
}

TEST_F(BillsTest, OfAUsageInterfaceCountNoRequestsThatAFileOfALongerTimeCounts) {
  BillLine month = Line("", kDollar);
  month.start_s -= 25 * kDay;
  month.end_s += 4 * kDay;
  ASSERT_TRUE(world_.recorder->PutBillLines(std::vector{month}).has_value());
  const std::vector<BillLine> days = {Line("", kDollar)};
  const auto replace = [&](bool takes_place) {
    return world_.recorder->ReplaceBillLines("site-a", kStart, kStart + kDay, days, takes_place);
  };
  EXPECT_FALSE(replace(false).has_value());
  EXPECT_EQ(Differences()[0].line, month);
  EXPECT_TRUE(replace(true).has_value());
  ASSERT_EQ(Differences().size(), 1U);
  EXPECT_EQ(Differences()[0].line, days[0]);
}

TEST_F(BillsTest, TokensByModelStandBesideTheCostOfAllTogether) {
  BillLine tokens = Line("model-x", 0);
  tokens.cost = std::nullopt;
  tokens.input_tokens = 7;
  EXPECT_TRUE(world_.recorder->PutBillLines(std::vector{tokens, Line("", kDollar)}).has_value());
  EXPECT_EQ(Differences().size(), 2U);
}

TEST_F(BillsTest, AllThatIsSaidOfATimeReplacesWhatWasSaidOfIt) {
  Use(50);
  const std::vector<BillLine> first = {Line("model-x", kDollar), Line("model-z", kDollar)};
  const std::vector<BillLine> later = {Line("", 200'000)};
  const auto replace = [&](const char* provider, int64_t from_s, std::span<const BillLine> lines) {
    EXPECT_TRUE(world_.recorder->ReplaceBillLines(provider, from_s, kStart + kDay, lines));
    return Differences();
  };
  ASSERT_TRUE(world_.recorder->PutBillLines(first).has_value());
  EXPECT_EQ(replace("site-b", kStart, {}).size(), 2U) << "another provider's";
  EXPECT_EQ(replace("site-a", kStart + 1, {}).size(), 2U) << "another time's";
  const auto after = replace("site-a", kStart, later);
  ASSERT_EQ(after.size(), 1U);
  EXPECT_EQ(after[0].kind, DifferenceClass::kNone);
  const std::vector<BillLine> invoice = {Line("", kDollar, true)};
  ASSERT_TRUE(world_.recorder->PutBillLines(invoice).has_value());
  EXPECT_EQ(replace("site-a", kStart, {}).size(), 1U) << "an invoice stays";
}

TEST_F(BillsTest, TransfersAreRecordedOnceAndSurviveAKill) {
  const auto suspense = world_.ledger->Payee("suspense:site-a/2026-11").value();
  const auto payee = world_.ledger->Payee("provider:site-a").value();
  ASSERT_TRUE(world_.ledger->Transfer(suspense, payee, 700, "suspense\x1Fsite-a").has_value());
  EXPECT_EQ(world_.recorder->Transfers("suspense\x1F")->size(), 1U);
  world_.KillAndStart();
  const auto rows = world_.recorder->Transfers("suspense\x1F");
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ((*rows)[0].amount, 700);
  EXPECT_EQ((*rows)[0].debit, suspense);
  EXPECT_TRUE(world_.recorder->Transfers("close\x1F")->empty());
  EXPECT_EQ(world_.ledger->OwedTo("provider:site-a"), 700);
  EXPECT_EQ(world_.ledger->OwedTo("suspense:site-a/2026-11"), -700);
  EXPECT_EQ(world_.ledger->OwedTo("nobody"), 0);
  EXPECT_FALSE(world_.ledger->Transfer(payee, payee, 1, "").has_value());
  EXPECT_FALSE(world_.ledger->Transfer(payee, suspense, -1, "").has_value());
  EXPECT_FALSE(world_.ledger->Transfer(payee, 999, 1, "").has_value());
}

TEST_F(BillsTest, ThoughtsAreCountedApart) {
  Meter meter(*world_.ledger, world_.clock);
  auto attempt = meter.Begin(world_.Ask(100, 500));
  ASSERT_TRUE(attempt->Sent().has_value());
  chat::Usage usage = Used(10, 100);
  usage.reasoning_tokens = 80;
  static_cast<void>(attempt->End({.is_complete = true, .usage = usage}));
  EXPECT_EQ(world_.Sum().unverifiable_tokens, 80);
  EXPECT_EQ(world_.Sum().output_tokens, 100);
}

}  // namespace
}  // namespace tradewind::billing
