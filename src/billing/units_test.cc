// Prices of thought, requests, pictures, sound and tiers, from the hold to the bill; and what was
// written before there were any.
#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "billing/focus.h"
#include "billing/invoice.h"
#include "billing/meter.h"
#include "billing/meters.h"
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

catalog::Prices AllUnits() {
  catalog::Prices prices = Priced("1", "2");
  prices.cached_input = Usd("0.1");
  prices.reasoning = Usd("3.0007");
  prices.audio_input = Usd("40");
  prices.audio_output = Usd("80");
  prices.request = Usd("0.005");
  prices.image = Usd("0.0011");
  for (const int64_t above : {1'000, 2'000}) {
    catalog::PriceTier tier;
    static_cast<catalog::TokenPrices&>(tier) = prices;
    tier.above = above;
    tier.input = Usd(above == 1'000 ? "1.5" : "2.5");
    tier.output = Usd("4");
    prices.tiers.push_back(tier);
  }
  return prices;
}

const Purchase kBought = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};

TEST(PriceVersion, KeepsTheBytesOfTermsFromBeforeThereWereOtherUnits) {
  catalog::Prices prices = Priced("1", "2");
  EXPECT_EQ(SpecOf(kBought, prices).terms,
            "1\x1F\x1F\x1F"
            "2");
  prices.cached_input = Usd("0.1");
  prices.cache_write = Usd("1.25");
  const ledger::PriceSpec old{"site-a\x1Forg/model\x1Fmodel-x",
                              "1\x1F"
                              "0.1\x1F"
                              "1.25\x1F"
                              "2",
                              "config.toml line 7"};
  EXPECT_EQ(SpecOf(kBought, prices).terms, old.terms) << "the same price is the same version";
  EXPECT_EQ(SpecOf(kBought, prices).item, old.item);
  const PriceVersion read = VersionOf(7, old);
  EXPECT_EQ(static_cast<const catalog::TokenPrices&>(read.prices), prices);
  EXPECT_TRUE(read.prices.tiers.empty());
  EXPECT_FALSE(read.prices.request.has_value());
  EXPECT_EQ(read.hash, "95e20a61c282f545befbd835ee482ebc81ec5e4700311fe04c2aedd1335b3b37");
}

TEST(PriceVersion, ComesBackWithEveryUnitAndTier) {
  const catalog::Prices prices = AllUnits();
  const ledger::PriceSpec spec = SpecOf(kBought, prices);
  EXPECT_LE(spec.terms.size(), ledger::kPriceTextBytesMax);
  const catalog::Prices read = VersionOf(1, spec).prices;
  EXPECT_EQ(static_cast<const catalog::TokenPrices&>(read), prices);
  EXPECT_EQ(read.tiers, prices.tiers);
  EXPECT_EQ(read.request, prices.request);
  EXPECT_EQ(read.image, prices.image);
  for (const char* odd : {"", "\x1F",
                          "1\x1F\x1F\x1F"
                          "2\x1F=\x1F>\x1Fx>y=z\x1F=>",
                          "a>b",
                          "1\x1F\x1F\x1F\x1F:=1\x1F:>=1\x1F"
                          "a:b>c=1\x1F"
                          "a:=\x1F::"}) {
    static_cast<void>(VersionOf(1, {"i", odd, ""}));  // whatever is in it
  }
}

TEST(Outcome, IsReadFromTextsOfBeforeSoundAndPicturesWereCounted) {
  const Outcome old = DecodeOutcome(
      "10\x1F"
      "2\x1F"
      "5\x1F"
      "3\x1Fprovider\x1Fstop\x1F"
      "4");
  EXPECT_EQ(old.input_tokens, 10);
  EXPECT_EQ(old.reasoning_tokens, 3);
  EXPECT_EQ(old.cache_write_tokens, 4);
  EXPECT_EQ(old.audio_input_tokens, 0);
  EXPECT_EQ(old.images, 0);
  EXPECT_EQ(DecodeOutcome("10\x1F"
                          "2\x1F"
                          "5\x1F"
                          "3\x1Fprovider\x1Fstop\x1F")
                .cache_write_tokens,
            std::nullopt);
  Outcome now = old;
  now.audio_input_tokens = 5;
  now.audio_output_tokens = 6;
  now.images = 7;
  EXPECT_EQ(DecodeOutcome(Encode(now)), now);
  EXPECT_EQ(Encode(old),
            "10\x1F"
            "2\x1F"
            "5\x1F"
            "3\x1Fprovider\x1Fstop\x1F"
            "4")
      << "without any the text is the one of before";
}

TEST(Outcome, SaysWhatWasKeptForAnHourOnlyWhereSomethingWas) {
  Outcome beyond;
  beyond.input_tokens = 10;
  beyond.cache_write_tokens = 4;
  beyond.is_beyond = true;
  const std::string before = Encode(beyond);
  beyond.cache_write_1h_tokens = 3;
  EXPECT_EQ(Encode(beyond), before +
                                "\x1F"
                                "3");
  EXPECT_EQ(DecodeOutcome(Encode(beyond)), beyond);
  beyond.has_unpriced_writes = true;
  EXPECT_EQ(DecodeOutcome(Encode(beyond)), beyond);
  beyond.is_other_tier = beyond.is_told = true;
  EXPECT_EQ(DecodeOutcome(Encode(beyond)), beyond);
  beyond.is_beyond = false;
  EXPECT_EQ(DecodeOutcome(Encode(beyond)), beyond);
  EXPECT_EQ(DecodeOutcome(before).cache_write_1h_tokens, 0);
}

TEST(Recorder, ReadsAJournalFromBeforeThereWereOtherUnits) {
  World world;
  ledger::HoldRequest request;
  request.id = {{1, 1}, 1};
  request.cost = request.charge = 1'000'000;
  request.text = Encode(kBought);
  request.price_version = world.ledger
                              ->PriceVersion({"site-a\x1Forg/model\x1Fmodel-x",
                                              "1\x1F\x1F\x1F"
                                              "2",
                                              "test"})
                              .value();
  auto hold = world.ledger->Take(request, ledger::Send::kNow);
  ASSERT_TRUE(hold.has_value());
  ASSERT_TRUE(hold->Settle(20'000, 20'000,
                           "10\x1F"
                           "0\x1F"
                           "5\x1F"
                           "3\x1Fprovider\x1Fstop\x1F")
                  .has_value());
  const AttemptRow row = world.recorder->Find({1, 1})->front();
  EXPECT_EQ(row.outcome.reasoning_tokens, 3);
  EXPECT_EQ(row.outcome.images, 0);
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters({}, meters).has_value());
  for (const auto& [key, sum] : meters) {
    EXPECT_EQ(key.tier, 0);
    EXPECT_EQ(sum.cost, key.kind == MeterKind::kInput    ? 10'000
                        : key.kind == MeterKind::kOutput ? 10'000
                                                         : 0);
  }
  EXPECT_EQ(meters.size(), 3U) << "thought is output where it has no price";
  // The same price again is the same version.
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(10, 10));
  ASSERT_TRUE(attempt.has_value());
  EXPECT_EQ(attempt->price_version(), request.price_version);
}

TEST(Recorder, OpensADatabaseFromBeforeThereWereOtherUnits) {
  World world;
  world.recorder.reset();
  std::filesystem::remove(world.home.path() / "ledger.db");
  {
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(storage::Migrate(*database, RecorderTables().first(3)).has_value());
    ASSERT_TRUE(database
                    ->Execute("INSERT INTO attempts VALUES (zeroblob(16),1,'org_1','prj_1','key_1',"
                              "'usr_1','org/model','site-a','model-x',0,1,3,5,6,100,70,70,1,10,0,5,"
                              "3,'provider','stop','id','',NULL);"
                              "INSERT INTO meters VALUES (0,'org_1','prj_1','key_1','org/model',"
                              "'site-a','model-x',0,1,4,5,70,70)")
                    .has_value());
  }
  world.Start();
  const auto rows = world.recorder->Page({}, 10);
  ASSERT_TRUE(rows.has_value()) << rows.error().message;
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters({}, meters).has_value());
  ASSERT_EQ(meters.size(), 1U);
  EXPECT_EQ(meters.begin()->first.kind, MeterKind::kOutput);
  EXPECT_EQ(meters.begin()->first.tier, 0);
  EXPECT_EQ(meters.begin()->second.cost, 70);
  const auto found = world.recorder->Find({0, 0});
  ASSERT_EQ(found->size(), 1U);
  EXPECT_EQ(found->front().outcome.output_tokens, 5);
  EXPECT_EQ(found->front().outcome.images, 0);
  EXPECT_EQ(found->front().cost, 70);
}

struct UnitsWorld : World {
  UnitsWorld() {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
    prices = AllUnits();
    static_cast<void>(ledger->Define({.name = "key:key_1", .limit = 10'000'000'000}));
  }
  // Holds, sends, settles by `usage`; what it cost.
  int64_t Buy(const chat::Usage& usage, int64_t images = 0) {
    Meter meter(*ledger);
    Offer offer = Ask(10'000, 1'000);
    offer.images = images;
    offer.has_audio_input = usage.audio_input_tokens > 0;
    offer.wants_audio_output = usage.audio_output_tokens > 0;
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt.has_value()) << attempt.error().message;
    EXPECT_TRUE(attempt->Sent().has_value());
    const NanoUsd held = attempt->held();
    const int64_t cost =
        attempt->End({.is_complete = true, .usage = usage, .finish = "stop"}).value_or(-1);
    EXPECT_LE(cost, held);
    return cost;
  }
  using NanoUsd = ledger::NanoUsd;
};

chat::Usage Everything(int64_t input) {
  chat::Usage usage;
  usage.input_tokens = input;
  usage.cached_tokens = 100;
  usage.audio_input_tokens = 50;
  usage.output_tokens = 200;
  usage.reasoning_tokens = 150;
  usage.audio_output_tokens = 20;
  return usage;
}

TEST(UnitsOnABill, AreLinesOfTheirOwnThatAddUpExactly) {
  UnitsWorld world;
  const int64_t each = 5'000'000 + 2 * 1'100'000 + 100 * 100 + 50 * 40'000 + 20 * 80'000;
  const int64_t thought = 450'105;  // 150 x 3,000.7
  int64_t cost = world.Buy(Everything(1'000), 2);
  EXPECT_EQ(cost, each + thought + 850 * 1'000 + 30 * 2'000);
  int64_t second = world.Buy(Everything(1'001), 2);
  EXPECT_EQ(second, each + thought + 851 * 1'500 + 30 * 4'000);
  second += world.Buy(Everything(2'001), 2);
  EXPECT_EQ(world.At("key:key_1").debits, cost + second);
  EXPECT_EQ(world.At("key:key_1").pending, 0);

  const StatementOrder order{ParseBillPeriod("2025-11").value(), "", ""};
  const auto verified = VerifyStatement(order, *world.recorder, *world.ledger, world.disk);
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_TRUE(verified->is_good());
  const Statement& statement = verified->statement;
  EXPECT_EQ(statement.charge, cost + second);
  EXPECT_EQ(statement.requests, 3);
  int64_t sum = 0;
  std::map<std::string, int64_t> quantities;
  std::map<std::string, std::string> prices;
  for (const StatementLine& line : statement.lines) {
    sum += line.sum.charge;
    quantities[line.meter()] = line.sum.quantity;
    prices[line.meter()] = line.price;
    EXPECT_EQ(line.usd_each().empty(), IsOfTokens(line.key.kind));
  }
  EXPECT_EQ(sum, cost + second);
  EXPECT_EQ(quantities["requests"], 3);
  EXPECT_EQ(prices["requests"], "0.005");
  EXPECT_EQ(quantities["input_images"], 6);
  EXPECT_EQ(prices["input_images"], "0.0011");
  EXPECT_EQ(quantities["input_tokens"], 850);
  EXPECT_EQ(quantities["input_tokens above 1000"], 851);
  EXPECT_EQ(prices["input_tokens above 1000"], "1.5");
  EXPECT_EQ(quantities["input_tokens above 2000"], 1'851);
  EXPECT_EQ(prices["input_tokens above 2000"], "2.5");
  EXPECT_EQ(quantities["output_tokens"], 30);
  EXPECT_EQ(quantities["reasoning_tokens above 2000"], 150);
  EXPECT_EQ(quantities["input_audio_tokens"], 50);
  EXPECT_EQ(quantities["output_audio_tokens above 1000"], 20);
  EXPECT_NE(statement.text.find(R"("above_input_tokens":1000)"), std::string::npos);
  EXPECT_NE(statement.text.find(R"("usd_each":"0.005")"), std::string::npos);
}

TEST(UnitsOnABill, AreTheSameInEveryExport) {
  UnitsWorld world;
  const int64_t cost = world.Buy(Everything(1'000), 1) + world.Buy(Everything(1'500), 0);
  const StatementOrder order{ParseBillPeriod("2025-11").value(), "", ""};
  MeterFilter hours = FilterOf(order);
  hours.by_day = false;
  Meters meters;
  ASSERT_TRUE(world.recorder->AddMeters(hours, meters).has_value());
  const auto versions = *world.recorder->Prices();
  const Statement statement = MakeStatement(order, meters, versions);
  EXPECT_EQ(statement.charge, cost);
  const std::string csv = FocusFile(
      FocusFormat::kCsv, {FocusVersion::k13, order.period, statement.hash}, meters, versions, {});
  EXPECT_NE(csv.find("1/input_tokens/above-1000"), std::string::npos);
  EXPECT_NE(csv.find("above 1000 input tokens"), std::string::npos);
  EXPECT_NE(csv.find("reasoning_tokens"), std::string::npos);
  EXPECT_NE(csv.find("Images"), std::string::npos);
  EXPECT_NE(csv.find("0.0011"), std::string::npos);
  InvoiceDraft draft;
  draft.period = order.period;
  draft.statement = statement;
  const InvoiceDocuments documents = WriteInvoice(draft, SumsOf(draft).value());
  EXPECT_NE(documents.csv.find("input_tokens above 1000"), std::string::npos);
  EXPECT_NE(documents.html.find("above 1,000 input tokens"), std::string::npos);
  EXPECT_NE(documents.html.find("Reasoning tokens"), std::string::npos);
  EXPECT_NE(documents.json.find(R"("usd_each":"0.0011")"), std::string::npos);
}

TEST(UnitsHeld, TheDearestTierAndUnitThatTheRequestMayReach) {
  World world;
  world.prices = AllUnits();
  Meter meter(*world.ledger);
  const auto held = [&](int64_t input, int64_t images, bool hears, bool speaks) {
    Offer offer = world.Ask(input, 100);
    offer.images = images;
    offer.has_audio_input = hears;
    offer.wants_audio_output = speaks;
    return meter.Begin(offer)->held();
  };
  const int64_t request = 5'000'000;
  EXPECT_EQ(held(1'000, 0, false, false), request + 1'000 * 1'000 + 300'070);
  EXPECT_EQ(held(1'001, 0, false, false), request + 1'001 * 1'500 + 400'000);
  EXPECT_EQ(held(2'001, 0, false, false), request + 2'001 * 2'500 + 400'000);
  EXPECT_EQ(held(1'000, 3, false, false), request + 1'000'000 + 300'070 + 3'300'000);
  EXPECT_EQ(held(1'000, 0, true, true), request + 1'000 * 40'000 + 100 * 80'000);
}

TEST(UnitsHeld, AUsageThatContradictsItselfCostsItsDearest) {
  UnitsWorld world;
  chat::Usage usage = Everything(1'000);
  usage.reasoning_tokens = 201;
  EXPECT_EQ(world.Buy(usage), 5'000'000 + 1'000 * 40'000 + 200 * 80'000);
}

struct LongCacheWorld : World {
  LongCacheWorld() {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(1'764'072'000)));
    prices.cache_write = Usd("1.25");
    prices.cache_write_1h = Usd("2");
  }
  Offer Long() {
    Offer offer = Ask(1'000, 10);
    offer.wants_long_cache = true;
    return offer;
  }
  static chat::Usage Written(std::optional<int64_t> for_an_hour) {
    chat::Usage usage = Used(1'000, 10);
    usage.cache_write_tokens = 900;
    usage.cache_write_1h_tokens = for_an_hour;
    return usage;
  }
};

TEST(LongCache, WritesThatAreNotSplitCostInAllPlacesWhatIsSettled) {
  LongCacheWorld world;
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Long());
  ASSERT_TRUE(attempt->Sent().has_value());
  const chat::Usage unsaid = LongCacheWorld::Written(std::nullopt);
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = unsaid}),
            *pricing::CostNanoUsd(world.prices, CountsOf(unsaid, 0, true)));
}

TEST(LongCache, AHardBudgetIsNeverSpentBeyondByWritesThatAreKeptForAnHour) {
  LongCacheWorld world;
  Meter meter(*world.ledger);
  const int64_t most = 1'000 * 2'000 + 10 * 2'000;
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = most - 1}).has_value());
  EXPECT_EQ(meter.Begin(world.Long()).error().code, ErrorCode::kPaymentRequired);
  EXPECT_TRUE(meter.Begin(world.Ask(1'000, 10)).has_value()) << "other requests need less";
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = most}).has_value());
  auto attempt = meter.Begin(world.Long());
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  EXPECT_EQ(attempt->held(), most);
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = LongCacheWorld::Written(900)}),
            100 * 1'000 + 900 * 2'000 + 10 * 2'000);
}

TEST(LongCache, AUsageThatDoesNotSayForHowLongIsSettledForAsLongAsWasAsked) {
  LongCacheWorld world;
  Meter meter(*world.ledger);
  const auto cost = [&](Offer offer, const chat::Usage& usage) {
    auto attempt = meter.Begin(std::move(offer));
    EXPECT_TRUE(attempt->Sent().has_value());
    return attempt->End({.is_complete = true, .usage = usage});
  };
  const int64_t rest = 100 * 1'000 + 10 * 2'000;
  EXPECT_EQ(cost(world.Long(), LongCacheWorld::Written({})), rest + 900 * 2'000);
  EXPECT_EQ(cost(world.Long(), LongCacheWorld::Written(0)), rest + 900 * 1'250);
  EXPECT_EQ(cost(world.Ask(1'000, 10), LongCacheWorld::Written({})), rest + 900 * 1'250);
  EXPECT_EQ(cost(world.Ask(1'000, 10), LongCacheWorld::Written(400)),
            rest + 500 * 1'250 + 400 * 2'000)
      << "what the provider says it billed";
  EXPECT_EQ(cost(world.Long(), Used(1'000, 10)), 1'000 * 2'000 + 10 * 2'000)
      << "nobody counted any: the dearest";
  auto attempt = meter.Begin(world.Long());
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .delivered_bytes = 3}), 1'000 * 2'000 + 10 * 2'000)
      << "without a usage all of it may have been written; an estimate is no overrun";
}

TEST(LongCache, IsALineOfItsOwnOnTheBillThatVerifies) {
  LongCacheWorld world;
  Meter meter(*world.ledger);
  for (const int64_t for_an_hour : {400, 0, 900}) {
    auto attempt = meter.Begin(world.Long());
    ASSERT_TRUE(attempt->Sent().has_value());
    ASSERT_TRUE(attempt->End({.is_complete = true, .usage = LongCacheWorld::Written(for_an_hour)}));
  }
  const StatementOrder order{ParseBillPeriod("2025-11").value(), "", ""};
  const auto verified = VerifyStatement(order, *world.recorder, *world.ledger, world.disk);
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_TRUE(verified->is_good());
  std::map<std::string, const StatementLine*> lines;
  for (const StatementLine& line : verified->statement.lines) {
    lines[line.meter()] = &line;
  }
  ASSERT_NE(lines["cache_write_1h_tokens"], nullptr);
  EXPECT_EQ(lines["cache_write_1h_tokens"]->sum.quantity, 1'300);
  EXPECT_EQ(lines["cache_write_1h_tokens"]->sum.charge, 1'300 * 2'000);
  EXPECT_EQ(lines["cache_write_1h_tokens"]->price, "2");
  ASSERT_NE(lines["cache_write_tokens"], nullptr);
  EXPECT_EQ(lines["cache_write_tokens"]->sum.quantity, 1'400);
  EXPECT_EQ(lines["requests"]->sum.charge, 0) << "nothing is left unexplained";
  EXPECT_EQ(world.recorder->Find({1, 1})->front().outcome.cache_write_1h_tokens, 400);
}

TEST(UnitsHeld, WhatWasMeteredHasItsPicturesAndItsRequest) {
  UnitsWorld world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(500, 1'000);
  offer.images = 2;
  auto attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt->Sent().has_value());
  // 64 tokens of margin, and one for three bytes.
  EXPECT_EQ(attempt->End({.is_complete = true, .delivered_bytes = 3}),
            5'000'000 + 2'200'000 + 500 * 1'000 + 67 * 2'000);
  offer = world.Ask(500, 1'000);
  offer.has_audio_input = true;
  attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .delivered_bytes = 3}),
            5'000'000 + 500 * 40'000 + 67 * 2'000)
      << "all of the input may be sound";
  offer = world.Ask(500, 1'000);
  offer.wants_audio_output = true;
  attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .delivered_bytes = 3}),
            5'000'000 + 500 * 1'000 + 1'000 * 80'000)
      << "what is spoken is not counted here: all that was held";
}

}  // namespace
}  // namespace tradewind::billing
