// Tokens that a provider alone can count, as a column of every book; and books from before there
// was one.
#include <algorithm>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "billing/focus.h"
#include "billing/invoice.h"
#include "billing/meter.h"
#include "billing/recorder_parts.h"
#include "billing/statement.h"
#include "billing/test_support.h"
#include "billing/verify.h"
#include "storage/migrations.h"

namespace tradewind::billing {
namespace {

const StatementOrder kAll{{"all", 0, 4'000'000'000}, "", ""};

struct BooksWorld : World {
  void Buy(int64_t output, int64_t thought, const char* provider = "site-a") {
    Meter meter(*ledger);
    Offer offer = Ask(1'000, 1'000);
    offer.purchase.provider = provider;
    auto attempt = meter.Begin(offer);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    chat::Usage usage = Used(10, output);
    usage.reasoning_tokens = thought;
    attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  }
  Verification Verify() {
    auto verified = VerifyStatement(kAll, *recorder, *ledger, disk);
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
    return verified.value_or(Verification());
  }
  // The tables are lost, and made again from the journal.
  void MakeTablesAgain() {
    recorder.reset();
    std::filesystem::remove(home.path() / "ledger.db");
    Start();
  }
};

const StatementLine& LineOf(const Statement& statement, MeterKind kind) {
  const auto found = std::ranges::find_if(
      statement.lines, [kind](const StatementLine& line) { return line.key.kind == kind; });
  EXPECT_NE(found, statement.lines.end());
  return *found;
}

int64_t Columns(std::string_view line) {
  return std::ranges::count(line, ',') + 1;
}

TEST(Unverifiable, AreAColumnOfTheLineThatBillsThem) {
  BooksWorld world;
  world.Buy(100, 30);
  world.Buy(50, 20);
  world.Buy(7, 0);
  Verification verified = world.Verify();
  EXPECT_TRUE(verified.is_good());
  EXPECT_EQ(verified.statement.unverifiable, 50);
  EXPECT_EQ(world.Sum().unverifiable_tokens, 50) << "usage says the same";
  const StatementLine& output = LineOf(verified.statement, MeterKind::kOutput);
  EXPECT_EQ(output.sum.unverifiable, 50);
  EXPECT_EQ(output.sum.quantity, 157) << "they are part of what was billed";
  EXPECT_EQ(LineOf(verified.statement, MeterKind::kInput).sum.unverifiable, 0);
  const std::string before = verified.statement.text;
  EXPECT_NE(before.find("\"unverifiable_tokens\":50"), std::string::npos) << before;
  world.MakeTablesAgain();
  EXPECT_EQ(world.Verify().statement.text, before);
}

TEST(Unverifiable, StandOnALineOfTheirOwnWhereThoughtsHaveAPrice) {
  BooksWorld world;
  world.prices.reasoning = Decimal::Parse("3").value();
  world.Buy(100, 30);
  const Statement statement = world.Verify().statement;
  EXPECT_EQ(statement.unverifiable, 30);
  EXPECT_EQ(LineOf(statement, MeterKind::kReasoning).sum.unverifiable, 30);
  EXPECT_EQ(LineOf(statement, MeterKind::kOutput).sum.unverifiable, 0);
}

TEST(Unverifiable, AreNoneOfWhatThisDeviceCounts) {
  BooksWorld world;
  world.Buy(100, 30, "local");
  world.Buy(100, 0);
  const Statement statement = world.Verify().statement;
  EXPECT_EQ(statement.unverifiable, 0);
  EXPECT_EQ(statement.text.find("unverifiable"), std::string::npos)
      << "without any, the text is what it always was";
}

TEST(Unverifiable, AreInExportsAndInvoices) {
  BooksWorld world;
  world.Buy(100, 30);
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters({}, meters).has_value());
  const auto prices = world.recorder->Prices().value();
  for (const FocusVersion version : {FocusVersion::k12, FocusVersion::k13, FocusVersion::k14}) {
    const std::string csv =
        FocusFile(FocusFormat::kCsv, {version, kAll.period, ""}, meters, prices, {});
    EXPECT_NE(csv.find(",x_UnverifiableTokens\r\n"), std::string::npos);
    EXPECT_NE(csv.find(",0.0,30.0\r\n"), std::string::npos) << csv;
  }
  InvoiceDraft draft;
  draft.statement = MakeStatement(kAll, meters, prices);
  draft.period = kAll.period;
  const InvoiceDocuments documents = WriteInvoice(draft, SumsOf(draft).value());
  EXPECT_NE(documents.json.find("\"unverifiable_tokens\":30,\"charge_nanousd\":\"200000\""),
            std::string::npos)
      << documents.json;
  EXPECT_NE(documents.json.find("\"unverifiable_tokens\":30,\"statement_hash\""),
            std::string::npos);
  EXPECT_NE(documents.html.find("Unverifiable</th>"), std::string::npos);
  EXPECT_NE(documents.html.find("<td class=\"n\">30</td>"), std::string::npos);
  EXPECT_NE(documents.csv.find(",200000,30\r\n"), std::string::npos) << documents.csv;
  EXPECT_NE(documents.csv.find("unverifiable,,,,,,,,,,,30\r\n"), std::string::npos);
  for (size_t at = 0; at < documents.csv.size();) {
    const size_t end = documents.csv.find("\r\n", at);
    EXPECT_EQ(Columns(std::string_view(documents.csv).substr(at, end - at)), 13);
    at = end + 2;
  }
}

TEST(Unverifiable, ThatWereTamperedWithAreFoundOut) {
  BooksWorld world;
  world.Buy(100, 30);
  ASSERT_TRUE(world.Verify().is_good());
  for (const std::string table : {"attempts", "meters", "day_meters"}) {
    const auto change = [&](const char* by) {
      world.recorder->Release();
      auto database = storage::Database::Open(world.home.path() / "ledger.db");
      ASSERT_TRUE(database.has_value());
      ASSERT_TRUE(database->Execute("UPDATE " + table + " SET unverifiable = unverifiable " + by)
                      .has_value());
      database->Release();
      ASSERT_TRUE(world.recorder->Reopen().has_value());
    };
    change("- 1");
    EXPECT_FALSE(world.Verify().is_good()) << table;
    change("+ 1");
    ASSERT_TRUE(world.Verify().is_good()) << table;
  }
}

// A request that was settled before bills had the column.
void SettleAsBefore(World& world, const char* thought) {
  ledger::HoldRequest request;
  request.id = {{1, ++world.ids}, 1};
  request.cost = request.charge = 1'000'000;
  request.text = Encode(world.Ask(10, 10).purchase);
  request.payee = world.ledger->Payee("provider:site-a").value();
  auto hold = world.ledger->Take(request, ledger::Send::kNow);
  ASSERT_TRUE(hold.has_value());
  ASSERT_TRUE(hold->Settle(20'000, 20'000,
                           "10\x1F"
                           "0\x1F"
                           "5\x1F" +
                               std::string(thought) + "\x1Fprovider\x1Fstop\x1F")
                  .has_value());
}

TEST(Unverifiable, LeaveTheBillsOfBeforeAsTheyWereByteForByte) {
  BooksWorld old, without;
  SettleAsBefore(old, "3");
  SettleAsBefore(without, "0");
  const Verification verified = old.Verify();
  EXPECT_TRUE(verified.is_good());
  EXPECT_EQ(verified.statement.text, without.Verify().statement.text)
      << "thoughts without a price were in no bill";
  EXPECT_EQ(old.Sum().unverifiable_tokens, 3) << "usage has known them all along";
  old.Buy(100, 30);
  EXPECT_EQ(old.Verify().statement.unverifiable, 30) << "from now on";
}

TEST(Unverifiable, AreAddedToADatabaseFromBefore) {
  BooksWorld world;
  world.recorder.reset();
  std::filesystem::remove(world.home.path() / "ledger.db");
  {
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(storage::Migrate(*database, RecorderTables().first(8)).has_value());
    ASSERT_TRUE(
        database
            ->Execute("INSERT INTO attempts VALUES (zeroblob(16),1,'org_1','prj_1','key_1','usr_1',"
                      "'org/model','site-a','model-x',0,1,3,5,6,100,0,0,1,10,0,5,3,'provider',"
                      "'stop','id','',NULL,0,0,0,0,0);"
                      "INSERT INTO meters VALUES (0,'org_1','prj_1','key_1','org/model','site-a',"
                      "'model-x',0,1,4,5,0,0);"
                      "INSERT INTO day_meters SELECT * FROM meters")
            .has_value());
  }
  world.Start();
  const auto rows = world.recorder->Page({}, 10);
  ASSERT_TRUE(rows.has_value()) << rows.error().message;
  EXPECT_EQ(rows->front().outcome.reasoning_tokens, 3);
  EXPECT_EQ(rows->front().outcome.unverifiable_tokens, 0) << "no bill had a column for them";
  world.Buy(100, 30);
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters(FilterOf(kAll), meters).has_value());
  const Statement statement = MakeStatement(kAll, meters, world.recorder->Prices().value());
  EXPECT_EQ(statement.unverifiable, 30);
}

TEST(Outcome, SaysWhatOnlyTheProviderCanCountOnlyWhereThereIsAny) {
  Outcome outcome;
  outcome.output_tokens = 10;
  outcome.reasoning_tokens = 4;
  const std::string before = Encode(outcome);
  EXPECT_EQ(DecodeOutcome(before).unverifiable_tokens, 0);
  outcome.unverifiable_tokens = 4;
  EXPECT_TRUE(Encode(outcome).starts_with(before)) << "who knows less reads the rest";
  EXPECT_EQ(DecodeOutcome(Encode(outcome)), outcome);
  outcome.cache_write_tokens = 3;
  outcome.cache_write_1h_tokens = 2;
  EXPECT_EQ(DecodeOutcome(Encode(outcome)), outcome);
}

}  // namespace
}  // namespace tradewind::billing
