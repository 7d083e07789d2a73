// Service tiers from the hold to the bill: held at the dearer of the one asked for and the usual
// one, settled at the one that the provider says.
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "billing/focus.h"
#include "billing/invoice.h"
#include "billing/meter.h"
#include "billing/price_version.h"
#include "billing/recorder_parts.h"
#include "billing/statement.h"
#include "billing/test_support.h"
#include "billing/verify.h"
#include "storage/migrations.h"

namespace tradewind::billing {
namespace {

Decimal Usd(const char* text) {
  return Decimal::Parse(text).value();
}

// Of 1,000 and 2,000 nano-USD a token, and 3,000 of thought: half as much, and twice.
catalog::Prices WithServices() {
  catalog::Prices prices = Priced("1", "2");
  prices.reasoning = Usd("3");
  for (const auto& [name, input, output, thought] :
       {std::tuple("priority", "2", "4", "6"), std::tuple("flex", "0.5", "1", "1.5")}) {
    catalog::ServiceTier& service = prices.AddService(name);
    service.input = Usd(input);
    service.output = Usd(output);
    service.reasoning = Usd(thought);
  }
  return prices;
}

struct ServiceWorld : World {
  ServiceWorld() {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
    prices = WithServices();
  }
  Offer AskAt(const std::string& tier) {
    Offer offer = Ask(1'000, 100);
    offer.service_tier = tier;
    return offer;
  }
  // What it cost; of 100 tokens of input and 50 of output, 20 of them thought.
  std::optional<int64_t> Buy(const std::string& asked, const std::string& said) {
    Meter meter(*ledger);
    chat::Usage usage = Used(100, 50);
    usage.reasoning_tokens = 20;
    usage.service_tier = said;
    auto attempt = meter.Begin(AskAt(asked));
    EXPECT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    return attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  }
  AttemptRow Last() { return recorder->Find({1, ids})->front(); }
};

constexpr int64_t kUsual = 100 * 1'000 + 30 * 2'000 + 20 * 3'000;
constexpr int64_t kMostUsual = 1'000 * 1'000 + 100 * 3'000;

TEST(ServiceTiers, TermsOfPricesWithoutAnyAreAsTheyWere) {
  const Purchase bought = {"o", "p", "k", "u", "org/model", "site-a", "model-x"};
  catalog::Prices prices = WithServices();
  EXPECT_EQ(SpecOf(bought, prices).terms,
            "1\x1F\x1F\x1F"
            "2\x1Freasoning=3\x1F"
            "flex:input=0.5\x1F"
            "flex:output=1\x1F"
            "flex:reasoning=1.5\x1F"
            "priority:input=2\x1Fpriority:output=4\x1Fpriority:reasoning=6");
  EXPECT_EQ(VersionOf(1, SpecOf(bought, prices)).prices.service_tiers, prices.service_tiers);
  prices.service_tiers.clear();
  EXPECT_EQ(SpecOf(bought, prices).terms,
            "1\x1F\x1F\x1F"
            "2\x1Freasoning=3");
}

TEST(ServiceTiers, TermsOfAsManyAsThereMayBeFitTheLedger) {
  const Purchase bought = {"o", "p", "k", "u", "org/model", "site-a", "model-x"};
  catalog::Prices prices;
  for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
    prices.*field.price = Usd("123.456789012");
  }
  for (const int64_t above : {200'000, 1'000'000}) {
    prices.tiers.emplace_back() = {static_cast<const catalog::TokenPrices&>(prices), above};
  }
  for (const char* name : {"flex-sixteen-abc", "priority-sixteen"}) {
    static_cast<catalog::TieredPrices&>(prices.AddService(name)) = prices;
    ASSERT_TRUE(prices.CheckService(prices.service_tiers.back()).has_value());
  }
  const ledger::PriceSpec spec = SpecOf(bought, prices);
  EXPECT_LE(spec.terms.size(), ledger::kPriceTextBytesMax);
  const catalog::Prices read = VersionOf(1, spec).prices;
  EXPECT_EQ(read.service_tiers, prices.service_tiers);
  EXPECT_EQ(read.tiers, prices.tiers);
}

TEST(ServiceTiers, TheOneAskedForIsHeldWhereItIsDearer) {
  ServiceWorld world;
  Meter meter(*world.ledger);
  const auto held = [&](const char* tier) { return meter.Begin(world.AskAt(tier))->held(); };
  for (const char* usual : {"", "auto", "default", "flex"}) {
    EXPECT_EQ(held(usual), kMostUsual) << usual;
  }
  EXPECT_EQ(held("priority"), 2 * kMostUsual);
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = kMostUsual}).has_value());
  EXPECT_TRUE(meter.Begin(world.AskAt("flex")).has_value()) << "the usual price fits";
  EXPECT_EQ(meter.Begin(world.AskAt("priority")).error().code, ErrorCode::kPaymentRequired);
}

TEST(ServiceTiers, TheOneThatTheAnswerSaysIsSettled) {
  ServiceWorld world;
  EXPECT_EQ(world.Buy("flex", "flex"), kUsual / 2) << "thought at its price there too";
  EXPECT_EQ(world.Last().outcome.service_tier, "flex");
  EXPECT_EQ(world.Last().reason, "");
  EXPECT_EQ(world.Buy("priority", "priority"), 2 * kUsual);
  EXPECT_EQ(world.Buy("priority", "default"), kUsual) << "it had no room there";
  EXPECT_EQ(world.Last().outcome.service_tier, "");
  EXPECT_EQ(world.Buy("flex", "on_demand"), kUsual);
  EXPECT_EQ(world.Buy("", "flex"), kUsual / 2);
  EXPECT_EQ(world.Buy("auto", ""), kUsual);
}

TEST(ServiceTiers, AnAnswerThatSaysNoneIsSettledAtTheDearerThatItMayHaveBeen) {
  ServiceWorld world;
  EXPECT_EQ(world.Buy("priority", ""), 2 * kUsual);
  EXPECT_EQ(world.Last().outcome.service_tier, "priority");
  EXPECT_EQ(world.Buy("flex", ""), kUsual);
  EXPECT_EQ(world.Last().outcome.service_tier, "");
  // Without a usage: 64 tokens of margin, and one for three bytes.
  Meter meter(*world.ledger);
  const auto metered = [&](const char* tier) {
    auto attempt = meter.Begin(world.AskAt(tier));
    EXPECT_TRUE(attempt->Sent().has_value());
    return attempt->End({.is_complete = true, .delivered_bytes = 3});
  };
  EXPECT_EQ(metered("flex"), 1'000 * 1'000 + 67 * 2'000);
  EXPECT_EQ(metered("priority"), 2 * (1'000 * 1'000 + 67 * 2'000));
  EXPECT_EQ(world.Last().outcome.service_tier, "priority");
}

TEST(ServiceTiers, AUsageThatContradictsItselfCostsItsDearestThere) {
  ServiceWorld world;
  Meter meter(*world.ledger);
  chat::Usage usage = Used(100, 50);
  usage.reasoning_tokens = 51;
  auto attempt = meter.Begin(world.AskAt("priority"));
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = usage}), 100 * 2'000 + 50 * 6'000);
}

TEST(ServiceTiers, OneWithoutPricesIsIncompleteUnlessTheProviderTellsTheCost) {
  ServiceWorld world;
  EXPECT_EQ(world.Buy("flex", "scale"), kUsual);
  EXPECT_EQ(world.Last().reason, "incomplete: service_tier is billed apart from tokens");
  Meter meter(*world.ledger);
  Offer pool = world.AskAt("");
  pool.price_varies = true;
  chat::Usage usage = Used(100, 50);
  usage.service_tier = "scale";
  usage.cost_nanousd = 77;
  auto attempt = meter.Begin(pool);
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = usage}), 77);
  EXPECT_EQ(world.Last().reason, "");
}

TEST(ServiceTiers, ADearerOneThatNobodyAskedForIsChargedUpToTheHoldAndRecordedWhole) {
  ServiceWorld world;
  Meter meter(*world.ledger);
  chat::Usage usage = Used(1'000, 100);
  usage.service_tier = "priority";
  auto attempt = meter.Begin(world.AskAt(""));
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = usage}), 1'000 * 2'000 + 100 * 4'000);
  EXPECT_EQ(world.Last().cost, 1'000 * 2'000 + 100 * 4'000) << "what the provider will bill";
  EXPECT_EQ(world.Last().charge, kMostUsual);
}

TEST(ServiceTiers, AreLinesOfTheirOwnOnABillThatVerifies) {
  ServiceWorld world;
  world.Buy("flex", "flex");
  world.Buy("flex", "flex");
  world.Buy("priority", "priority");
  world.Buy("", "");
  const StatementOrder order{ParseBillPeriod("2025-11").value(), "", ""};
  const auto verified = VerifyStatement(order, *world.recorder, *world.ledger, world.disk);
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_TRUE(verified->is_good());
  std::map<std::string, StatementLine> lines;
  std::map<std::string, int> ids;
  for (const StatementLine& line : verified->statement.lines) {
    lines[line.meter()] = line;
    ++ids[line.id];
  }
  EXPECT_EQ(ids.size(), verified->statement.lines.size());
  EXPECT_EQ(lines["reasoning_tokens at flex"].sum.quantity, 40);
  EXPECT_EQ(lines["reasoning_tokens at flex"].price, "1.5");
  EXPECT_EQ(lines["reasoning_tokens at flex"].sum.charge, 40 * 1'500);
  EXPECT_EQ(lines["output_tokens at priority"].sum.charge, 30 * 4'000);
  EXPECT_EQ(lines["input_tokens"].sum.charge, 100 * 1'000);
  EXPECT_EQ(lines["requests"].sum.quantity, 4);
  EXPECT_EQ(lines["requests"].sum.charge, 0) << "nothing is left unexplained";
  EXPECT_NE(verified->statement.text.find(R"("service_tier":"flex")"), std::string::npos);

  MeterFilter hours = FilterOf(order);
  hours.by_day = false;
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters(hours, meters).has_value());
  const auto versions = *world.recorder->Prices();
  const std::string csv =
      FocusFile(FocusFormat::kCsv, {FocusVersion::k13, order.period, ""}, meters, versions, {});
  EXPECT_NE(csv.find("1/input_tokens/priority"), std::string::npos);
  EXPECT_NE(csv.find(R"(""x_ServiceTier"":""flex"")"), std::string::npos);
  InvoiceDraft draft;
  draft.period = order.period;
  draft.statement = verified->statement;
  const InvoiceDocuments documents = WriteInvoice(draft, SumsOf(draft).value());
  EXPECT_NE(documents.csv.find("input_tokens at flex"), std::string::npos);
  EXPECT_NE(documents.html.find(">flex<"), std::string::npos);
  EXPECT_NE(documents.json.find(R"("service_tier":"priority")"), std::string::npos);
}

TEST(ServiceTiers, AreOfNoAttemptFromBeforeThereWereAny) {
  const std::string before = Encode(Outcome{1, 2, 3, 4, UsageSource::kProvider, "stop"});
  EXPECT_EQ(DecodeOutcome(before).service_tier, "");
  Outcome now = DecodeOutcome(before);
  now.service_tier = "flex";
  EXPECT_EQ(DecodeOutcome(Encode(now)), now);
  World world;
  world.recorder.reset();
  std::filesystem::remove(world.home.path() / "ledger.db");
  {
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(storage::Migrate(*database, RecorderTables().first(9)).has_value());
    ASSERT_TRUE(database
                    ->Execute("INSERT INTO attempts VALUES (zeroblob(16),1,'org_1','prj_1','key_1',"
                              "'usr_1','org/model','site-a','model-x',0,1,3,5,6,100,70,70,1,10,0,5,"
                              "3,'provider','stop','id','',NULL,0,0,0,0,0,0);"
                              "INSERT INTO meters VALUES (0,'org_1','prj_1','key_1','org/model',"
                              "'site-a','model-x',0,1,1284,5,70,70,0)")
                    .has_value());
  }
  world.Start();
  EXPECT_EQ(world.recorder->Find({0, 0})->front().outcome.service_tier, "");
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters({}, meters).has_value());
  ASSERT_EQ(meters.size(), 1U);
  EXPECT_EQ(meters.begin()->first.kind, MeterKind::kOutput);
  EXPECT_EQ(meters.begin()->first.tier, 5);
  EXPECT_EQ(meters.begin()->first.service, 0);
}

}  // namespace
}  // namespace tradewind::billing
