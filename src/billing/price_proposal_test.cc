#include "billing/price_proposal.h"

#include <gtest/gtest.h>

#include "ledger/fake_disk.h"

namespace tradewind::billing {
namespace {

using ledger::NanoUsd;

constexpr NanoUsd kDollar = 1'000'000'000;

// A line of a bill, and the same tokens recorded here at another cost.
Difference Priced(int64_t input, int64_t output, NanoUsd cost, std::string model = "model-x") {
  Difference difference;
  difference.kind = DifferenceClass::kPrice;
  difference.line.model = std::move(model);
  difference.line.input_tokens = difference.local.input_tokens = input;
  difference.line.output_tokens = difference.local.output_tokens = output;
  difference.line.cost = cost;
  difference.local.requests = 10;
  difference.local.hf_model = "org/name";
  difference.local.provider_model = "model-x";
  return difference;
}

Difference Cached(int64_t input, int64_t cached, int64_t output, NanoUsd cost) {
  Difference difference = Priced(input, output, cost);
  difference.line.cached_tokens = difference.local.cached_tokens = cached;
  return difference;
}

PriceProposal Only(const std::vector<Difference>& differences) {
  const std::vector<PriceProposal> proposals = ProposePrices(differences);
  EXPECT_EQ(proposals.size(), 1U);
  return proposals.empty() ? PriceProposal() : proposals.front();
}

std::string Text(const std::optional<Decimal>& price) {
  return price.has_value() ? price->ToString() : "none";
}

TEST(PriceProposal, IsThePriceThatAllLinesOfAModelAgreeOn) {
  // $0.103 and $0.309 a million: 103 and 309 nano-USD a token.
  const PriceProposal found =
      Only({Priced(1'000'000, 200'000, 164'800'000), Priced(500'000, 900'000, 329'600'000),
            Priced(3'000'000, 0, 309'000'000)});
  EXPECT_EQ(found.none_because, "");
  EXPECT_EQ(Text(found.input), "0.103");
  EXPECT_EQ(Text(found.output), "0.309");
  EXPECT_EQ(found.cached_input, std::nullopt);
  EXPECT_EQ(found.lines, 3);
  EXPECT_EQ(found.confirmed_by, 1) << "two find two prices, the third agrees";
  EXPECT_TRUE(found.is_exact);
  EXPECT_EQ(found.config,
            "{ id = \"org/name\", provider_id = \"model-x\", input_usd_per_mtok = \"0.103\", "
            "output_usd_per_mtok = \"0.309\" }");
}

TEST(PriceProposal, KnowsCachedInputWhereTheBillTellsIt) {
  const auto cost = [](int64_t fresh, int64_t cached, int64_t output) {
    return fresh * 3000 + cached * 300 + output * 15'000;  // $3, $0.30 and $15
  };
  const PriceProposal found =
      Only({Cached(900'000, 400'000, 10'000, cost(500'000, 400'000, 10'000)),
            Cached(800'000, 100'000, 90'000, cost(700'000, 100'000, 90'000)),
            Cached(100'000, 0, 50'000, cost(100'000, 0, 50'000)),
            Cached(70'000, 60'000, 1'000, cost(10'000, 60'000, 1'000))});
  EXPECT_EQ(found.none_because, "");
  EXPECT_EQ(Text(found.input), "3");
  EXPECT_EQ(Text(found.cached_input), "0.3");
  EXPECT_EQ(Text(found.output), "15");
}

catalog::Prices Recorded() {
  catalog::Prices prices;
  prices.input = Decimal::Parse("0.1").value();
  prices.output = Decimal::Parse("0.3").value();
  return prices;
}

std::vector<Difference> WithRecorded(std::vector<Difference> differences,
                                     const catalog::Prices& prices) {
  for (Difference& difference : differences) {
    difference.local.prices = prices;
  }
  return differences;
}

// 103 and 309 nano-USD a token.
const std::vector<Difference> kThree = {Priced(1'000'000, 200'000, 164'800'000),
                                        Priced(500'000, 900'000, 329'600'000),
                                        Priced(3'000'000, 0, 309'000'000)};

TEST(PriceProposal, KeepsWhatElseTheModelIsPricedBy) {
  catalog::Prices recorded = Recorded();
  recorded.cached_input = Decimal::Parse("0.01").value();
  recorded.cache_write = Decimal::Parse("0.125").value();
  recorded.image = Decimal::Parse("0.001").value();
  catalog::PriceTier tier;
  static_cast<catalog::TokenPrices&>(tier) = recorded;
  tier.above = 200'000;
  tier.output = Decimal::Parse("0.6").value();
  recorded.tiers = {tier};
  const PriceProposal found = Only(WithRecorded(kThree, recorded));
  EXPECT_EQ(found.none_because, "");
  EXPECT_EQ(found.config,
            "{ id = \"org/name\", provider_id = \"model-x\", input_usd_per_mtok = \"0.103\", "
            "cached_input_usd_per_mtok = \"0.01\", output_usd_per_mtok = \"0.309\", "
            "cache_write_usd_per_mtok = \"0.125\", image_usd = \"0.001\", "
            "tiers = [{ above = 200000, input_usd_per_mtok = \"0.1\", "
            "cached_input_usd_per_mtok = \"0.01\", output_usd_per_mtok = \"0.6\", "
            "cache_write_usd_per_mtok = \"0.125\" }] }");
  const PriceProposal guess = Only(WithRecorded({kThree[0], kThree[1]}, recorded));
  EXPECT_EQ(guess.input, std::nullopt) << "its tiers might explain two lines as well";
  EXPECT_NE(guess.none_because.find("do not tell"), std::string::npos) << guess.none_because;
}

TEST(PriceProposal, KeepsServiceTiersAndDoesNotGuessWhichOneABillIsOf) {
  catalog::Prices recorded = Recorded();
  for (const char* name : {"flex", "priority"}) {
    static_cast<catalog::TieredPrices&>(recorded.AddService(name)) = recorded;
  }
  recorded.service_tiers[0].output = Decimal::Parse("0.15").value();
  EXPECT_EQ(Only(WithRecorded(kThree, recorded)).config,
            "{ id = \"org/name\", provider_id = \"model-x\", input_usd_per_mtok = \"0.103\", "
            "output_usd_per_mtok = \"0.309\", service_tiers = { "
            "flex = { input_usd_per_mtok = \"0.1\", output_usd_per_mtok = \"0.15\" }, "
            "priority = { input_usd_per_mtok = \"0.1\", output_usd_per_mtok = \"0.3\" } } }");
  EXPECT_EQ(Only(WithRecorded({kThree[0], kThree[1]}, recorded)).input, std::nullopt);
}

TEST(PriceProposal, TakesTheFeesOfRequestsOffAndKeepsThem) {
  catalog::Prices recorded = Recorded();
  recorded.request = Decimal::Parse("0.0005").value();  // ten requests a line: 5,000,000 nano-USD
  std::vector<Difference> lines = WithRecorded(kThree, recorded);
  for (Difference& line : lines) {
    *line.line.cost += 5'000'000;
  }
  const PriceProposal found = Only(lines);
  EXPECT_EQ(Text(found.input), "0.103");
  EXPECT_EQ(Text(found.output), "0.309");
  EXPECT_NE(found.config.find(R"(output_usd_per_mtok = "0.309", request_usd = "0.0005" })"),
            std::string::npos)
      << found.config;
}

TEST(PriceProposal, IsNoneWhereItsConfigWouldBeRefused) {
  catalog::Prices recorded = Recorded();
  catalog::PriceTier tier;
  static_cast<catalog::TokenPrices&>(tier) = recorded;
  tier.above = 200'000;
  recorded.tiers = {tier};
  const auto cost = [](int64_t fresh, int64_t cached, int64_t output) {
    return fresh * 3000 + cached * 300 + output * 15'000;
  };
  const PriceProposal found =
      Only(WithRecorded({Cached(900'000, 400'000, 10'000, cost(500'000, 400'000, 10'000)),
                         Cached(800'000, 100'000, 90'000, cost(700'000, 100'000, 90'000)),
                         Cached(100'000, 0, 50'000, cost(100'000, 0, 50'000)),
                         Cached(70'000, 60'000, 1'000, cost(10'000, 60'000, 1'000))},
                        recorded));
  EXPECT_EQ(found.config, "");
  EXPECT_NE(found.none_because.find("tiers"), std::string::npos) << found.none_because;
}

TEST(PriceProposal, OneLineTellsThePriceOfOneKindOfToken) {
  EXPECT_EQ(Text(Only({Priced(4'000'000, 0, 80'000'000)}).input), "0.02");
  const PriceProposal two = Only({Priced(4'000'000, 1'000'000, 80'000'000)});
  EXPECT_NE(two.none_because.find("by day or hour"), std::string::npos) << two.none_because;
  EXPECT_EQ(two.input, std::nullopt);
  const PriceProposal alike =
      Only({Priced(4'000'000, 1'000'000, 80'000'000), Priced(8'000'000, 2'000'000, 160'000'000)});
  EXPECT_NE(alike.none_because.find("by day or hour"), std::string::npos) << "the same line twice";
}

TEST(PriceProposal, IsNeverInvented) {
  const auto none = [](std::vector<Difference> differences) {
    const PriceProposal found = Only(differences);
    EXPECT_EQ(found.input, std::nullopt);
    EXPECT_EQ(found.output, std::nullopt);
    EXPECT_EQ(found.config, "");
    return found.none_because;
  };
  EXPECT_EQ(none({Priced(1'000'000, 200'000, 164'800'000), Priced(500'000, 900'000, 329'600'000),
                  Priced(3'000'000, 0, 400'000'000)}),
            "its lines agree on no price");
  EXPECT_EQ(none({Priced(1'000'000, 0, 100'000'000), Priced(1'000'000, 10, 9'000'000)}),
            "its lines agree on no price")
      << "one of the prices would be negative";
  EXPECT_EQ(none({Priced(3'000'001, 0, 123'456'789)}), "its lines agree on no price")
      << "a fee, not a price: too many digits for one line";
  EXPECT_EQ(none({Priced(14'000, 0, 10'000'000)}), "its lines agree on no price")
      << "a cent of rounding leaves everything open";
  Difference untold = Priced(1'000'000, 0, kDollar);
  untold.line.output_tokens = std::nullopt;
  EXPECT_NE(none({untold}).find("do not tell their input and output"), std::string::npos);
  Difference cached = Priced(1'000'000, 0, kDollar);
  cached.local.cached_tokens = 5;
  EXPECT_NE(none({cached}).find("cached"), std::string::npos);
  EXPECT_NE(none({Priced(1'000'000, 0, kDollar, "")}).find("models apart"), std::string::npos);
  EXPECT_NE(none({Priced(1'000'000, 0, -kDollar)}).find("negative"), std::string::npos);
  EXPECT_NE(none({Priced(INT64_MAX, INT64_MAX, kDollar)}).find("too large"), std::string::npos);
  EXPECT_NE(none({Priced(0, 0, kDollar)}).find("no tokens"), std::string::npos);
}

TEST(PriceProposal, SeesThroughABillThatIsRoundedToCents) {
  // $0.25 and $1.25 a million.
  const PriceProposal found = Only({Priced(400'123'456, 7'000'001, 108'780'000'000),
                                    Priced(12'345'678, 90'000'123, 115'590'000'000),
                                    Priced(100'000'777, 100'000'333, 150'000'000'000)});
  EXPECT_EQ(found.none_because, "");
  EXPECT_EQ(Text(found.input), "0.25");
  EXPECT_EQ(Text(found.output), "1.25");
  EXPECT_FALSE(found.is_exact);
}

TEST(PriceProposal, LeavesOutWhatDiffersInOtherWays) {
  Difference units = Priced(9, 9, kDollar);
  units.kind = DifferenceClass::kUnits;
  EXPECT_TRUE(ProposePrices(std::vector<Difference>{units}).empty());
  const std::vector<Difference> two = {Priced(1'000'000, 0, 2 * kDollar), units,
                                       Priced(1'000'000, 0, 3 * kDollar, "model-y")};
  const auto proposals = ProposePrices(two);
  ASSERT_EQ(proposals.size(), 2U) << "one for each model";
  EXPECT_EQ(Text(proposals[0].input), "2");
  EXPECT_EQ(Text(proposals[1].input), "3");
}

TEST(PriceProposal, FindsAnyPriceThatMadeTheBill) {
  ledger::SeededRandom random(20'261'126);
  for (int round = 0; round < 500; ++round) {
    // Up to $99.99 a million, so a tenth of a nano-dollar a token and more; rounded up by request.
    const int64_t input_price = random.Below(9999) + 1, output_price = random.Below(9999) + 1;
    std::vector<Difference> bill;
    for (int line = 0; line < 5; ++line) {
      const int64_t input = 100'000 + random.Below(50'000'000);
      const int64_t output = 100'000 + random.Below(50'000'000);
      bill.push_back(Priced(
          input, output, input * input_price * 10 + output * output_price * 10 + random.Below(10)));
    }
    const PriceProposal found = Only(bill);
    const auto usd = [](int64_t cents) { return Decimal::Parse(std::to_string(cents) + "e-2"); };
    ASSERT_EQ(found.input, usd(input_price).value()) << round << ": " << found.none_because;
    ASSERT_EQ(found.output, usd(output_price).value()) << round;
  }
}

TEST(PriceProposal, NamesStayWithinTheirQuotes) {
  Difference odd = Priced(1'000'000, 0, kDollar);
  odd.local.hf_model = "a\"\n\\b";
  EXPECT_NE(Only({odd}).config.find("id = \"a\\\" \\\\b\","), std::string::npos);
}

}  // namespace
}  // namespace tradewind::billing
