// From attempts to bills: versions of prices, sums by kind of token, statements, exports.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "billing/bill_period.h"
#include "billing/credits.h"
#include "billing/focus.h"
#include "billing/hash.h"
#include "billing/meter.h"
#include "billing/meters.h"
#include "billing/price_version.h"
#include "billing/recorder.h"
#include "billing/recorder_parts.h"
#include "billing/statement.h"
#include "billing/verify.h"
#include "ledger/fake_disk.h"
#include "storage/migrations.h"
#include "testing/temp_dir.h"

namespace tradewind::billing {
namespace {

catalog::Prices Priced(const char* input, const char* cached, const char* output) {
  catalog::Prices prices;
  prices.input = Decimal::Parse(input).value();
  prices.cached_input = Decimal::Parse(cached).value();
  prices.output = Decimal::Parse(output).value();
  prices.origin = "test";
  return prices;
}

struct World {
  testing::TempDir home;
  ledger::FakeDisk disk;
  FakeClock clock;
  std::unique_ptr<ledger::Ledger> ledger;
  std::unique_ptr<Recorder> recorder;
  catalog::Prices prices = Priced("1.0001", "0.1", "2.00007");
  uint64_t ids = 0;

  World() {
    SetTime(1'764'072'000);  // 2025-11-25T12:00:00Z
    Start();
  }
  void Start(const char* database = "ledger.db") {
    recorder.reset();
    ledger.reset();
    auto opened =
        ledger::Ledger::Open(disk, clock, {.segment_bytes = 64 << 10, .background = false});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger = std::move(*opened);
    auto records = Recorder::Open(home.path() / database, disk, *ledger, {.background = false});
    ASSERT_TRUE(records.has_value()) << records.error().message;
    recorder = std::move(*records);
  }
  void SetTime(int64_t unix_s) {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(unix_s)));
  }
  // A settled attempt; what it cost.
  int64_t Buy(int64_t input, int64_t cached, int64_t output, const char* key = "key_1",
              bool own_key = false, std::optional<int64_t> output_max = 10'000,
              bool degraded = false) {
    Offer offer;
    offer.id = {{1, ++ids}, 1};
    offer.purchase = {"org_1", "prj_1", key, "usr_1", "org/model", "site-a", "model-x", own_key};
    offer.prices = &prices;
    offer.purchase.degraded = degraded;
    offer.input_tokens_max = 10'000;
    offer.output_tokens_max = output_max;
    Meter meter(*ledger);
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt.has_value()) << attempt.error().message;
    EXPECT_TRUE(attempt->Sent().has_value());
    chat::Usage usage;
    usage.input_tokens = input;
    usage.cached_tokens = cached;
    usage.output_tokens = output;
    return attempt->End({.is_complete = true, .usage = usage, .finish = "stop"}).value_or(-1);
  }
  Verification Verify(const StatementOrder& order) {
    auto verified = VerifyStatement(order, *recorder, *ledger, disk);
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
    return verified.has_value() ? std::move(*verified) : Verification();
  }
};

StatementOrder Month(const char* period = "2025-11") {
  return {ParseBillPeriod(period).value(), "", ""};
}

TEST(BillPeriod, IsAMonthOrADayOfUtc) {
  const auto month = ParseBillPeriod("2026-02").value();
  EXPECT_EQ(UtcTime(month.from_s), "2026-02-01T00:00:00Z");
  EXPECT_EQ(UtcTime(month.to_s), "2026-03-01T00:00:00Z");
  EXPECT_TRUE(month.is_month());
  const auto day = ParseBillPeriod("2024-02-29").value();
  EXPECT_EQ(UtcTime(day.to_s), "2024-03-01T00:00:00Z");
  EXPECT_FALSE(day.is_month());
  EXPECT_EQ(MonthBefore(ParseBillPeriod("2026-01").value()).name, "2025-12");
  EXPECT_EQ(MonthOf(month.from_s).name, "2026-02");
  for (const char* wrong : {"", "2026", "2026-13", "2026-00", "2025-02-29", "2026-1", "26-01-01",
                            "1969-12", "2026/01", "2026-+1", "abcd-ef", "2026-01-01T00"}) {
    EXPECT_EQ(ParseBillPeriod(wrong).error().param, "period") << wrong;
  }
}

TEST(Hash, IsSha256) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(PriceVersions, ArePinnedAtTheHoldAndListedWithTheirTimes) {
  World world;
  world.Buy(10, 0, 5);
  world.SetTime(1'764'072'600);
  world.prices = Priced("3", "1", "4");
  world.Buy(10, 0, 5);
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  const auto rows = world.recorder->Page({}, 10).value();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].price_version, 1U);
  EXPECT_EQ(rows[1].price_version, 2U);
  const auto versions = world.recorder->Prices("org/model").value();
  ASSERT_EQ(versions.size(), 2U);
  EXPECT_EQ(versions[0].prices.input->ToString(), "1.0001");
  EXPECT_EQ(versions[0].to_ns, versions[1].from_ns);
  EXPECT_EQ(versions[1].to_ns, INT64_MAX);
  EXPECT_EQ(versions[1].provider, "site-a");
  EXPECT_EQ(versions[1].source, "test");
  EXPECT_NE(versions[0].hash, versions[1].hash);
  EXPECT_TRUE(world.recorder->Prices("org/other")->empty());
}

TEST(Statement, SaysWhatEachKindOfTokenCostAndAddsUpExactly) {
  World world;
  int64_t cost = 0;
  for (int i = 0; i < 50; ++i) {
    cost += world.Buy(100 + i, i, 7 * i, i % 2 == 0 ? "key_1" : "key_2");
  }
  const int64_t own = world.Buy(33, 1, 9, "key_1", true);
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters(FilterOf(Month()), meters).has_value());
  const Statement all = MakeStatement(Month(), meters, *world.recorder->Prices());
  EXPECT_EQ(all.requests, 51);
  EXPECT_EQ(all.cost, cost + own);
  EXPECT_EQ(all.charge, cost) << "own keys are paid elsewhere";
  int64_t input = 0, cached = 0;
  for (const StatementLine& line : all.lines) {
    input += line.key.kind == MeterKind::kInput ? line.sum.quantity : 0;
    cached += line.key.kind == MeterKind::kCachedInput ? line.sum.quantity : 0;
    if (line.key.kind == MeterKind::kOutput) {
      EXPECT_EQ(line.price, "2.00007");
    }
    if (line.key.kind == MeterKind::kRequests) {
      EXPECT_EQ(line.sum.cost, 0) << "tokens explain all of it";
    }
  }
  EXPECT_EQ(cached, 25 * 49 + 1);
  EXPECT_EQ(input, 50 * 100 + 25 * 49 + 33 - cached);
  StatementOrder one = Month();
  one.key_id = "key_2";
  Meters of_one;
  ASSERT_TRUE(world.recorder->AddMeters(FilterOf(one), of_one).has_value());
  EXPECT_EQ(MakeStatement(one, of_one, {}).requests, 25);
  EXPECT_TRUE(world.Verify(Month("2025-12")).statement.lines.empty());
}

TEST(Statement, IsMadeAgainFromTheJournalByteForByte) {
  World world;
  for (int i = 0; i < 20; ++i) {
    world.Buy(100 + i, i, 7 * i);
  }
  const Verification good = world.Verify(Month());
  EXPECT_TRUE(good.is_good());
  EXPECT_EQ(good.from_journal, 20);
  EXPECT_EQ(good.statement.hash, good.recomputed_hash);
  // The tables are lost, and made again.
  world.Start("again.db");
  const Verification again = world.Verify(Month());
  EXPECT_TRUE(again.is_good());
  EXPECT_EQ(again.statement.text, good.statement.text);
}

// The journal also says how an attempt ran; the rows do not, and no sum depends on it.
TEST(Statement, IsTheJournalsAlsoOfAttemptsWithoutABoundBeyondOneAndDegraded) {
  World world;
  world.Buy(100, 0, 7, "key_1", false, std::nullopt);
  world.Buy(20'000, 0, 7);
  world.Buy(100, 0, 7, "key_1", false, 10'000, true);
  const Verification verified = world.Verify(Month());
  EXPECT_TRUE(verified.is_good()) << verified.differences.front();
  EXPECT_EQ(verified.from_journal, 3);
}

TEST(Verify, ABillOfAProviderThatCanBeAskedIsTheSame) {
  World world;
  Meter meter(*world.ledger);
  Offer offer;
  offer.id = {{1, 1}, 1};
  offer.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
  offer.prices = &world.prices;
  offer.input_tokens_max = offer.output_tokens_max.emplace(100);
  offer.askable.theirs = true;
  auto attempt = meter.Begin(std::move(offer), ledger::Send::kNow);
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  attempt->UpstreamId("id-7");
  attempt->End({.is_complete = true, .usage = chat::Usage{.input_tokens = 9, .output_tokens = 2}});
  const Verification verified = world.Verify(Month());
  EXPECT_TRUE(verified.is_good()) << verified.differences.front();
  EXPECT_EQ(verified.from_journal, 1);
}

TEST(Statement, IsMadeFromSegmentsThatWereSetAsideAndFromRowsWhereThoseAreGone) {
  World world;
  int64_t cost = 0;
  constexpr int64_t kAttempts = 2'500;  // more than are compared together
  for (int64_t i = 0; i < kAttempts; ++i) {
    cost += world.Buy(100 + i, i, 7 * i);
    if (i % 50 == 0) {
      ASSERT_TRUE(world.recorder->CatchUp().has_value());
    }
  }
  const Verification whole = world.Verify(Month());
  EXPECT_TRUE(whole.is_good());
  EXPECT_EQ(whole.from_journal, kAttempts);
  EXPECT_FALSE(world.disk.ListRetired()->empty()) << "the test is too small";
  ASSERT_TRUE(world.disk.TrimRetired(0).has_value());
  const Verification verified = world.Verify(Month());
  EXPECT_TRUE(verified.is_good());
  EXPECT_GT(verified.from_rows, 0);
  EXPECT_GT(verified.from_journal, 0);
  EXPECT_EQ(verified.from_rows + verified.from_journal, kAttempts);
  EXPECT_EQ(verified.statement.cost, cost);
}

// Another request ends first, before each of the first reads of the journal.
class BusyDisk final : public ledger::Disk {
 public:
  explicit BusyDisk(World& world) : world_(world) {}

  Result<std::vector<std::byte>> Read(const std::string& name, uint64_t offset,
                                      size_t bytes) override {
    if (left_ > 0) {
      --left_;
      EXPECT_GT(world_.Buy(100, 10, 20), 0);
    }
    return world_.disk.Read(name, offset, bytes);
  }
  Result<std::vector<std::string>> List() override { return world_.disk.List(); }
  Result<std::vector<std::string>> ListRetired() override { return world_.disk.ListRetired(); }
  Result<std::unique_ptr<ledger::DiskFile>> Create(const std::string& name,
                                                   uint64_t bytes) override {
    return world_.disk.Create(name, bytes);
  }
  Status Remove(const std::string& name) override { return world_.disk.Remove(name); }
  Status Rename(const std::string& name, const std::string& to) override {
    return world_.disk.Rename(name, to);
  }
  Status Retire(const std::string& name) override { return world_.disk.Retire(name); }
  Status TrimRetired(uint64_t bytes_max) override { return world_.disk.TrimRetired(bytes_max); }
  Result<ledger::DiskRoom> Room() override { return world_.disk.Room(); }
  std::string BootId() override { return world_.disk.BootId(); }

 private:
  World& world_;
  int left_ = 20;
};

TEST(Verify, IsGoodWhileRequestsEnd) {
  World world;
  ASSERT_TRUE(world.ledger->Grant({"gift", "org:org_1", 900'000'000}).has_value());
  for (int i = 0; i < 5; ++i) {
    world.Buy(100, 0, 7);
  }
  BusyDisk busy(world);
  const auto verified = VerifyStatement(Month(), *world.recorder, *world.ledger, busy);
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_TRUE(verified->is_good()) << verified->differences.size();
  EXPECT_EQ(verified->statement.requests, 5) << "those that ended before it began";
  EXPECT_EQ(verified->statement.payable(), 0);
  EXPECT_GT(world.ids, 5U) << "the test is too small";
  EXPECT_EQ(world.Verify(Month()).statement.requests, static_cast<int64_t>(world.ids));
}

TEST(Statement, ThatWasTamperedWithIsFoundOut) {
  World world;
  for (int i = 0; i < 5; ++i) {
    world.Buy(100, 0, 7);
  }
  ASSERT_TRUE(world.Verify(Month()).is_good());
  const auto tamper = [&](const char* sql) {
    world.recorder->Release();
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(database->Execute(sql).has_value());
    database->Release();
    ASSERT_TRUE(world.recorder->Reopen().has_value());
  };
  tamper("UPDATE day_meters SET charge = charge - 1 WHERE kind = 1");
  EXPECT_NE(world.Verify(Month()).statement.hash, world.Verify(Month()).recomputed_hash);
  tamper("UPDATE day_meters SET charge = charge + 1 WHERE kind = 1");
  ASSERT_TRUE(world.Verify(Month()).is_good());
  tamper("UPDATE meters SET charge = charge - 1 WHERE kind = 1");
  EXPECT_EQ(world.Verify(Month()).differences.size(), 1U) << "exports are made of hours";
  tamper("UPDATE meters SET charge = charge + 1 WHERE kind = 1");
  ASSERT_TRUE(world.Verify(Month()).is_good());
  tamper("UPDATE attempts SET cost = cost + 1 WHERE attempt = 1");
  EXPECT_EQ(world.Verify(Month()).differences.size(), 5U);
  EXPECT_EQ(world.Verify(Month()).recomputed_hash, world.Verify(Month()).statement.hash)
      << "the journal's attempts are counted";
  tamper("UPDATE attempts SET cost = cost - 1 WHERE attempt = 1");
  ASSERT_TRUE(world.Verify(Month()).is_good());
  tamper("DELETE FROM attempts WHERE cost = (SELECT max(cost) FROM attempts)");
  EXPECT_FALSE(world.Verify(Month()).differences.empty());
}

TEST(Statement, BelongsToTheHourOfTheSettleSoThatAPastPeriodNeverChanges) {
  World world;
  world.SetTime(ParseBillPeriod("2025-11")->to_s - 1);
  Offer offer;
  offer.id = {{1, ++world.ids}, 1};
  offer.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
  offer.prices = &world.prices;
  offer.input_tokens_max = offer.output_tokens_max.emplace(10);
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt.has_value());
  ASSERT_TRUE(attempt->Sent().has_value());
  world.SetTime(ParseBillPeriod("2025-11")->to_s + 1);
  chat::Usage usage;
  usage.output_tokens = 5;
  attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  EXPECT_EQ(world.Verify(Month("2025-11")).statement.requests, 0);
  EXPECT_EQ(world.Verify(Month("2025-12")).statement.requests, 1);
}

// Everything of a month, with what credits paid of it.
struct Billed {
  Meters meters;
  CreditUses credits;
  std::vector<PriceVersion> prices;
  Statement statement;

  explicit Billed(World& world, const StatementOrder& order = Month()) {
    MeterFilter hours = FilterOf(order);
    hours.by_day = false;
    EXPECT_TRUE(world.recorder->AddMeters(hours, meters).has_value());
    EXPECT_TRUE(world.recorder->AddCreditUses(hours, credits).has_value());
    prices = *world.recorder->Prices();
    statement = MakeStatement(order, meters, prices, credits);
  }
};

TEST(Statement, SaysWhatCreditsPaidAndIsMadeAgainWithIt) {
  World world;
  int64_t cost = world.Buy(100, 0, 7);
  const Statement before = Billed(world).statement;
  EXPECT_EQ(before.text.find("credit"), std::string::npos) << "as it was before there were any";
  ASSERT_TRUE(world.ledger
                  ->Grant({.name = "gift",
                           .owner = "org:org_1",
                           .amount = 300'000,
                           .promotional = true,
                           .note = "welcome"})
                  .has_value());
  ASSERT_TRUE(
      world.ledger->Grant({.name = "paid", .owner = "org:org_1", .amount = 200'000}).has_value());
  for (int i = 0; i < 20; ++i) {
    cost += world.Buy(100 + i, i, 7 * i, i % 2 == 0 ? "key_1" : "key_2");
  }
  static_cast<void>(world.Buy(33, 1, 9, "key_1", true));
  const Billed books(world);
  const Statement& statement = books.statement;
  ASSERT_EQ(statement.credits.size(), 2U);
  EXPECT_EQ(statement.credits[0].credit, "gift");
  EXPECT_EQ(statement.credits[0].note, "welcome");
  EXPECT_EQ(statement.credits[0].amount, 300'000);
  EXPECT_EQ(statement.credits[1].amount, 200'000);
  EXPECT_EQ(statement.charge, cost);
  EXPECT_EQ(statement.payable(), cost - 500'000);
  for (const ledger::CreditState& credit : world.ledger->Credits("org:org_1")) {
    EXPECT_EQ(credit.spent(), credit.spec.amount) << "the ledger says the same";
  }
  Verification verified = world.Verify(Month());
  EXPECT_TRUE(verified.is_good());
  EXPECT_EQ(verified.statement.text, statement.text);
  StatementOrder one = Month();
  one.key_id = "key_2";
  EXPECT_TRUE(world.Verify(one).is_good());
  EXPECT_LT(Billed(world, one).statement.credited, 500'000) << "of this key alone";
  world.Start("again.db");
  verified = world.Verify(Month());
  EXPECT_TRUE(verified.is_good());
  EXPECT_EQ(verified.statement.text, statement.text) << "made again from the journal";
}

TEST(Statement, IsTheSameFromTablesThatWereMadeBeforeThereWereCredits) {
  World world;
  world.Buy(100, 0, 7);
  const std::string before = Billed(world).statement.text;
  {
    auto database = storage::Database::Open(world.home.path() / "old.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(storage::Migrate(*database, RecorderTables().first(3)).has_value());
  }
  world.Start("old.db");
  EXPECT_EQ(Billed(world).statement.text, before);
  ASSERT_TRUE(
      world.ledger->Grant({.name = "paid", .owner = "org:org_1", .amount = 1000}).has_value());
  world.Buy(100, 0, 7);
  EXPECT_EQ(Billed(world).statement.credited, 1000);
  EXPECT_TRUE(world.Verify(Month()).is_good());
}

TEST(Statement, IsMadeFromRowsWithTheirCreditsWhereTheJournalIsGone) {
  World world;
  ASSERT_TRUE(world.ledger->Grant({.name = "paid", .owner = "org:org_1", .amount = 50'000'000})
                  .has_value());
  for (int i = 0; i < 600; ++i) {
    world.Buy(100 + i, i, 7 * i);
    if (i % 50 == 0) {
      ASSERT_TRUE(world.recorder->CatchUp().has_value());
    }
  }
  ASSERT_TRUE(world.disk.TrimRetired(0).has_value());
  const Verification verified = world.Verify(Month());
  EXPECT_TRUE(verified.is_good());
  EXPECT_GT(verified.from_rows, 0);
  EXPECT_EQ(verified.statement.credited, 50'000'000);
}

TEST(Statement, ShowsWhenProvidersAreOwedAnythingElseThanAttemptsCost) {
  World world;
  world.Buy(100, 0, 7);
  world.Buy(50, 0, 7, "key_2", true);
  const auto site = world.ledger->Payee("provider:site-a").value();
  const auto suspense = world.ledger->Payee("suspense:site-a/2025-11").value();
  ASSERT_TRUE(world.ledger->Transfer(suspense, site, 70, "suspense").has_value());
  ASSERT_TRUE(world.Verify(Month()).is_good());
  ASSERT_TRUE(world.Verify({ParseBillPeriod("2025-10").value(), "", ""}).is_good())
      << "it is of no period";
  // Rows of which the journal says nothing any more are all that there is of a cost.
  for (const char* sql : {"UPDATE transfers SET amount = amount + 1",
                          "UPDATE transfers SET amount = amount - 2", "DELETE FROM transfers"}) {
    world.recorder->Release();
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(database->Execute(sql).has_value());
    database->Release();
    ASSERT_TRUE(world.recorder->Reopen().has_value());
    const Verification verified = world.Verify(Month());
    EXPECT_FALSE(verified.is_good()) << sql;
    ASSERT_FALSE(verified.differences.empty());
    EXPECT_NE(verified.differences.front().find("is owed"), std::string::npos)
        << verified.differences.front();
  }
}

TEST(Statement, ShowsACostThatIsOwedToNobody) {
  World world;
  world.Buy(100, 0, 7);
  ASSERT_TRUE(world.Verify(Month()).is_good());
  world.recorder->Release();
  auto database = storage::Database::Open(world.home.path() / "ledger.db");
  ASSERT_TRUE(database.has_value());
  ASSERT_TRUE(
      database
          ->Execute("INSERT INTO attempts SELECT zeroblob(16), attempt, org, project, key, "
                    "user, model, provider, provider_model, own_key, priced, state, "
                    "admitted_ns, 5, held, 9, 9, price_version, input, cached, output, "
                    "reasoning, source, finish, upstream_id, reason, cache_write, "
                    "audio_input, audio_output, images, 0, cache_write_1h, 0, '', '' FROM attempts")
          .has_value());
  database->Release();
  ASSERT_TRUE(world.recorder->Reopen().has_value());
  const Verification verified = world.Verify(Month());
  EXPECT_FALSE(verified.is_good());
}

TEST(Statement, ShowsWhenSomebodyTamperedWithItsCredits) {
  World world;
  ASSERT_TRUE(
      world.ledger->Grant({.name = "paid", .owner = "org:org_1", .amount = 1000}).has_value());
  world.Buy(100, 0, 7);
  ASSERT_TRUE(world.Verify(Month()).is_good());
  for (const char* sql :
       {"UPDATE credit_uses SET amount = amount + 1",
        "UPDATE attempt_credits SET amount = amount + 1", "UPDATE credits SET note = 'another'"}) {
    world.recorder->Release();
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(database->Execute(sql).has_value());
    database->Release();
    ASSERT_TRUE(world.recorder->Reopen().has_value());
    EXPECT_FALSE(world.Verify(Month()).is_good()) << sql;
  }
}

TEST(Focus, HasARowForWhatACreditPaidSoThatItAddsUpToWhatIsLeftToPay) {
  World world;
  ASSERT_TRUE(
      world.ledger->Grant({.name = "crd_1", .owner = "org:org_1", .amount = 12'345, .note = "a, b"})
          .has_value());
  const int64_t cost = world.Buy(100, 0, 7) + world.Buy(10, 0, 70);
  const Billed books(world);
  BillNames names;
  names.invoices["org_1"] = "TW-000001";
  const FocusOrder order{FocusVersion::k14, Month().period, books.statement.hash};
  const std::string csv =
      FocusFile(FocusFormat::kCsv, order, books.meters, books.prices, names, books.credits);
  EXPECT_NE(csv.find("-0.000012345"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",Credit,,\"credit crd_1: a, b\",One-Time,"), std::string::npos) << csv;
  EXPECT_NE(csv.find("TW-000001/" + CreditLineId("org_1", "crd_1")), std::string::npos)
      << "the line of the invoice";
  EXPECT_EQ(books.statement.payable(), cost - 12'345);
  const std::string parquet =
      FocusFile(FocusFormat::kParquet, order, books.meters, books.prices, names, books.credits);
  EXPECT_TRUE(parquet.starts_with("PAR1") && parquet.ends_with("PAR1"));
}

TEST(Focus, AddsUpToTheStatementInEveryVersion) {
  World world;
  int64_t cost = 0;
  for (int i = 0; i < 30; ++i) {
    cost += world.Buy(100 + i, i, 7 * i);
  }
  MeterFilter hours = FilterOf(Month());
  hours.by_day = false;
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters(hours, meters).has_value());
  const auto prices = *world.recorder->Prices();
  const Statement statement = MakeStatement(Month(), meters, prices);
  BillNames names;
  names.orgs["org_1"] = "Acme, \"Inc\"";
  names.keys["key_1"] = "=cmd|' /C calc'!A0";
  for (const auto& [name, version] :
       {std::pair("1.2", FocusVersion::k12), std::pair("1.3", FocusVersion::k13),
        std::pair("1.4", FocusVersion::k14)}) {
    EXPECT_EQ(ParseFocusVersion(name).value(), version);
    const FocusOrder order{version, Month().period, statement.hash};
    const std::string csv = FocusFile(FocusFormat::kCsv, order, meters, prices, names);
    EXPECT_NE(csv.find("\"Acme, \"\"Inc\"\"\""), std::string::npos);
    EXPECT_NE(csv.find(",'=cmd|' /C calc'!A0,"), std::string::npos) << "no formula: " << csv;
    EXPECT_EQ(csv.find(",=cmd"), std::string::npos);
    EXPECT_EQ(csv.find("ProviderName,PublisherName") != std::string::npos,
              version != FocusVersion::k14);
    EXPECT_EQ(csv.find("InvoiceDetailId") != std::string::npos, version == FocusVersion::k14);
    EXPECT_EQ(csv.find("HostProviderName") == std::string::npos, version == FocusVersion::k12);
    const std::string parquet = FocusFile(FocusFormat::kParquet, order, meters, prices, names);
    EXPECT_TRUE(parquet.starts_with("PAR1") && parquet.ends_with("PAR1"));
  }
  EXPECT_EQ(ParseFocusVersion("1.1").error().param, "version");
  EXPECT_EQ(statement.charge, cost);
}

}  // namespace
}  // namespace tradewind::billing
