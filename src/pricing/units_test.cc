// Thought, sound, pictures, requests and tiers: each by hand, and all of them against rational
// arithmetic that is slow and obvious.
#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "pricing/cost.h"
#include "pricing/cost_parts.h"
#include "testing/property.h"

namespace tradewind::pricing {
namespace {

using catalog::Prices;
using catalog::PriceTier;
using catalog::TokenPrices;

Decimal Usd(const std::string& text) {
  return Decimal::Parse(text).value();
}

Prices Priced(const std::string& input, const std::string& output) {
  Prices prices;
  prices.input = Usd(input);
  prices.output = Usd(output);
  return prices;
}

TEST(Units, ThoughtHasItsOwnPriceWhereThereIsOne) {
  Prices prices = Priced("1", "2");
  TokenCounts counts{100, 0, 50};
  counts.reasoning = 30;
  EXPECT_EQ(CostNanoUsd(prices, counts), 100'000 + 50 * 2'000) << "it is output";
  prices.reasoning = Usd("0.5");
  EXPECT_EQ(CostNanoUsd(prices, counts), 100'000 + 20 * 2'000 + 30 * 500);
  counts.reasoning = 51;
  EXPECT_EQ(CostNanoUsd(prices, counts).error().param, "usage") << "more than all of the output";
  counts.reasoning = -1;
  EXPECT_EQ(CostNanoUsd(prices, counts).error().param, "usage");
  EXPECT_EQ(WorstCaseNanoUsd(prices, {100, 50, 1}), 100'000 + 50 * 2'000) << "nothing was thought";
  prices.reasoning = Usd("7");
  EXPECT_EQ(WorstCaseNanoUsd(prices, {100, 50, 1}), 100'000 + 50 * 7'000);
}

TEST(Units, ARequestCostsItsPriceOnce) {
  Prices prices = Priced("1", "2");
  prices.request = Usd("0.005");
  EXPECT_EQ(CostNanoUsd(prices, {10, 0, 5}), 5'000'000 + 10'000 + 10'000);
  EXPECT_EQ(WorstCaseNanoUsd(prices, {10, 5, 1}), 5'020'000);
  EXPECT_EQ(WorstCaseNanoUsd(prices, {10, 5, 3}), 15'000'000 + 10'000 + 30'000)
      << "some may bill each answer as a request";
  prices = Priced("0", "0");
  EXPECT_TRUE(prices.is_free());
  prices.request = Usd("0.000000001");
  EXPECT_FALSE(prices.is_free());
  EXPECT_EQ(CostNanoUsd(prices, {0, 0, 0}), 1);
}

TEST(Units, PicturesCostTheirPriceBesideTheirTokens) {
  Prices prices = Priced("1", "2");
  prices.image = Usd("0.0011");
  TokenCounts counts{300, 0, 5};
  counts.images = 2;
  EXPECT_EQ(CostNanoUsd(prices, counts), 300'000 + 10'000 + 2 * 1'100'000);
  UsageBounds bounds{300, 5, 1};
  bounds.images = 2;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 300'000 + 10'000 + 2 * 1'100'000);
  EXPECT_EQ(AffordableOutput(prices, bounds, 300'000 + 2'200'000 + 6'000), 3);
  EXPECT_EQ(AffordableOutput(prices, bounds, 300'000 + 2'200'000 - 1), 0);
}

TEST(Units, SoundHasItsOwnPrices) {
  Prices prices = Priced("2.5", "10");
  TokenCounts counts{100, 0, 50};
  counts.audio_input = 60;
  counts.audio_output = 40;
  EXPECT_EQ(CostNanoUsd(prices, counts), 250'000 + 500'000) << "nobody said another price";
  prices.audio_input = Usd("40");
  prices.audio_output = Usd("80");
  EXPECT_EQ(CostNanoUsd(prices, counts), 40 * 2'500 + 60 * 40'000 + 10 * 10'000 + 40 * 80'000);
  // Which of the cached ones are sound is not said: as few as can be, and 100 = 70 + 30.
  prices.cached_input = Usd("1");
  counts.cached = 70;
  EXPECT_EQ(CostNanoUsd(prices, counts), 70 * 1'000 + 30 * 40'000 + 10 * 10'000 + 40 * 80'000);
  counts.audio_input = 101;
  EXPECT_FALSE(CostNanoUsd(prices, counts).has_value());
  UsageBounds bounds{100, 50, 1};
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 250'000 + 500'000) << "a request of text alone";
  bounds.may_have_audio_input = bounds.may_have_audio_output = true;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 100 * 40'000 + 50 * 80'000);
}

Prices Tiered() {
  Prices prices = Priced("3", "15");
  prices.cached_input = Usd("0.3");
  PriceTier tier;
  tier.above = 200'000;
  tier.input = Usd("6");
  tier.output = Usd("22.5");
  tier.cached_input = Usd("0.6");
  prices.tiers.push_back(tier);
  return prices;
}

TEST(Tiers, AreOfTheWholeRequestByAllOfItsInput) {
  const Prices prices = Tiered();
  ASSERT_TRUE(prices.CheckTiers().has_value());
  EXPECT_EQ(CostNanoUsd(prices, {200'000, 0, 1000}), 600'000'000 + 15'000'000);
  EXPECT_EQ(CostNanoUsd(prices, {200'001, 0, 1000}), 200'001 * int64_t{6'000} + 22'500'000)
      << "every token, and those of the answer too";
  EXPECT_EQ(CostNanoUsd(prices, {200'001, 200'000, 0}), 6'000 + 200'000 * int64_t{600})
      << "cached ones count";
  const auto parts = CostPartsNanoUsd(prices, {200'001, 200'000, 10});
  EXPECT_EQ(parts->input, 6'000);
  EXPECT_EQ(parts->cached, 120'000'000);
  EXPECT_EQ(parts->output, 225'000);
}

TEST(Tiers, TheDearestThatCanBeReachedIsHeld) {
  Prices prices = Tiered();
  EXPECT_EQ(WorstCaseNanoUsd(prices, {200'000, 10, 1}), 600'000'000 + 150'000);
  EXPECT_EQ(WorstCaseNanoUsd(prices, {200'001, 10, 1}), 1'200'006'000 + 225'000);
  // A tier may be cheaper: a shorter prompt costs more, then.
  prices.tiers.front().input = Usd("1");
  prices.tiers.front().output = Usd("1");
  EXPECT_EQ(WorstCaseNanoUsd(prices, {200'001, 10, 1}), 600'000'000 + 150'000);
}

TEST(Tiers, SayAllPricesInTheirOrder) {
  const auto refused = [](auto change) {
    Prices prices = Tiered();
    change(prices);
    const Status sound = prices.CheckTiers();
    return sound.has_value() ? "none" : sound.error().message;
  };
  EXPECT_EQ(refused([](Prices&) {}), "none");
  EXPECT_NE(refused([](Prices& p) { p.tiers[0].cached_input.reset(); }).find("cached_input"),
            std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.tiers[0].reasoning = Usd("1"); }).find("reasoning"),
            std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.tiers.push_back(p.tiers[0]); }).find("before"),
            std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.tiers[0].above = 0; }).find("before"), std::string::npos);
  EXPECT_NE(refused([](Prices& p) {
              while (p.tiers.size() <= catalog::kPriceTiersMax) {
                p.tiers.push_back(p.tiers.back());
                p.tiers.back().above *= 2;
              }
            }).find("at most"),
            std::string::npos);
}

TEST(LongCache, WhatIsKeptForAnHourHasAPriceOfItsOwn) {
  Prices prices;
  prices.input = Usd("1");
  prices.output = Usd("2");
  prices.cache_write = Usd("1.25");
  prices.cache_write_1h = Usd("2");
  TokenCounts used{100, 10, 0, 50};
  EXPECT_EQ(CostNanoUsd(prices, used), 40'000 + 10'000 + 50 * 1'250);
  used.cache_write_1h = 30;
  EXPECT_EQ(CostNanoUsd(prices, used), 40'000 + 10'000 + 20 * 1'250 + 30 * 2'000);
  const CostParts parts = CostPartsNanoUsd(prices, used).value();
  EXPECT_EQ(parts.cache_write, 25'000);
  EXPECT_EQ(parts.cache_write_1h, 60'000);
  used.cache_write_1h = 51;
  EXPECT_EQ(CostNanoUsd(prices, used).error().param, "usage") << "more than was written";
  prices.cache_write_1h.reset();
  used.cache_write_1h = 30;
  EXPECT_EQ(CostNanoUsd(prices, used), 40'000 + 10'000 + 50 * 1'250)
      << "without a price it is written as anything";
}

TEST(LongCache, IsHeldForWhereTheRequestAsksForIt) {
  Prices prices;
  prices.input = Usd("1");
  prices.output = Usd("2");
  prices.cache_write = Usd("1.25");
  prices.cache_write_1h = Usd("2");
  UsageBounds bounds{1'000, 10};
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 1'250'000 + 20'000);
  bounds.may_write_cache_1h = true;
  EXPECT_EQ(WorstCaseNanoUsd(prices, bounds), 2'000'000 + 20'000);
}

TEST(LongCache, UncountedWritesAreNotForNothing) {
  Prices prices;
  prices.input = Usd("1");
  prices.output = Usd("2");
  prices.cache_write_1h = Usd("2");
  EXPECT_EQ(CostNanoUsd(prices, {100, 0, 0}).error().param, "usage");
  EXPECT_EQ(CostNanoUsd(prices, {100, 0, 0, 0}), 100'000);
}

// --- Oracle: fractions of nano-USD, added one token after another's price ---

struct Fraction {
  __int128 over = 0, under = 1;
};

Fraction Reduced(Fraction a) {
  __int128 x = a.over, y = a.under;
  while (y != 0) {
    std::swap(x, y);
    y %= x;
  }
  return x == 0 ? Fraction() : Fraction{a.over / x, a.under / x};
}

Fraction Plus(Fraction a, Fraction b) {
  return Reduced({a.over * b.under + b.over * a.under, a.under * b.under});
}

// USD for each of `per` units → nano-USD for `count` of them.
Fraction Times(int64_t count, const Decimal& usd, int64_t per) {
  Fraction value{__int128{usd.digits()} * 1'000'000'000, per};
  for (int i = usd.exponent(); i > 0; --i) {
    value.over *= 10;
  }
  for (int i = usd.exponent(); i < 0; ++i) {
    value.under *= 10;
  }
  value = Reduced(value);
  return Reduced({value.over * count, value.under});
}

int64_t Ceil(Fraction a) {
  return static_cast<int64_t>((a.over + a.under - 1) / a.under);
}

int64_t OracleCost(const Prices& prices, const TokenCounts& used) {
  constexpr int64_t kMillion = 1'000'000;
  const catalog::TieredPrices* list = &prices;
  if (used.service > 0) {
    list = &prices.service_tiers.at(used.service - 1);
  }
  const TokenPrices* of = list;
  for (const PriceTier& tier : list->tiers) {
    of = used.input > tier.above ? &tier : of;
  }
  const int64_t written = used.cache_write.value_or(0);
  const int64_t for_an_hour = of->cache_write_1h ? used.cache_write_1h : 0;
  const int64_t fresh = used.input - used.cached - written;
  const int64_t heard = of->audio_input ? std::min(used.audio_input, fresh) : 0;
  const int64_t thought = of->reasoning ? used.reasoning : 0;
  const int64_t said = of->audio_output ? used.audio_output : 0;
  Fraction sum;
  const auto add = [&](int64_t count, const Decimal& usd, int64_t per) {
    sum = Plus(sum, Times(count, usd, per));
  };
  add(fresh - heard, *of->input, kMillion);
  add(used.cached, of->cached_input.value_or(*of->input), kMillion);
  add(written - for_an_hour, of->cache_write.value_or(*of->input), kMillion);
  add(for_an_hour, of->cache_write_1h.value_or(Decimal()), kMillion);
  add(heard, of->audio_input.value_or(Decimal()), kMillion);
  add(used.output - thought - said, *of->output, kMillion);
  add(thought, of->reasoning.value_or(Decimal()), kMillion);
  add(said, of->audio_output.value_or(Decimal()), kMillion);
  add(used.images, prices.image.value_or(Decimal()), 1);
  add(used.requests, prices.request.value_or(Decimal()), 1);
  return Ceil(sum);
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  int64_t UpTo(int64_t most) {
    return static_cast<int64_t>(random_() % (static_cast<uint64_t>(most) + 1));
  }
  bool Flip() { return random_() % 2 == 0; }
  // "123.00456": up to 1,000, with up to 8 places.
  Decimal Price() {
    const std::string digits = std::to_string(UpTo(99'999));
    return Usd(digits + "e-" + std::to_string(2 + UpTo(6)));
  }
  TokenPrices Tokens(const TokenPrices* like) {
    TokenPrices prices;
    for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
      const bool is_always = field.name == "input" || field.name == "output";
      if (like != nullptr ? (like->*field.price).has_value() : is_always || Flip()) {
        prices.*field.price = Price();
      }
    }
    return prices;
  }
  Prices All() {
    Prices prices;
    static_cast<TokenPrices&>(prices) = Tokens(nullptr);
    if (Flip()) {
      prices.request = Price();
    }
    if (Flip()) {
      prices.image = Price();
    }
    for (int64_t left = UpTo(3), above = 0; left > 0; --left) {
      PriceTier tier;
      static_cast<TokenPrices&>(tier) = Tokens(&prices);
      tier.above = above += 1 + UpTo(3'000);
      prices.tiers.push_back(tier);
    }
    for (int64_t left = UpTo(prices.tiers.size() > 2 ? 1 : 2); left > 0; --left) {
      catalog::ServiceTier& service = prices.AddService(left == 1 ? "priority" : "flex");
      static_cast<TokenPrices&>(service) = Tokens(&prices);
      for (const PriceTier& usual : prices.tiers) {
        static_cast<TokenPrices&>(service.tiers.emplace_back()) = Tokens(&prices);
        service.tiers.back().above = usual.above;
      }
    }
    return prices;
  }
  TokenCounts Within(const UsageBounds& bounds) {
    TokenCounts used;
    used.input = UpTo(bounds.input_max);
    used.cached = UpTo(used.input);
    used.cache_write = UpTo(used.input - used.cached);
    used.cache_write_1h = bounds.may_write_cache_1h ? UpTo(*used.cache_write) : 0;
    used.audio_input = bounds.may_have_audio_input ? UpTo(used.input) : 0;
    used.output = UpTo(bounds.output_max * bounds.choices);
    used.reasoning = UpTo(used.output);
    used.audio_output = bounds.may_have_audio_output ? UpTo(used.output - used.reasoning) : 0;
    used.images = UpTo(bounds.images);
    used.service = Flip() ? bounds.service : 0;
    return used;
  }

 private:
  std::mt19937_64 random_;
};

TEST(UnitsOracle, CostsAreThoseOfFractionsAndNoHoldIsLess) {
  size_t with_tier = 0, with_service = 0;
  const uint64_t cases = testing::ForEachCase(20'000, [&](uint64_t seed) {
    Dice dice(seed);
    const Prices prices = dice.All();
    ASSERT_TRUE(prices.CheckTiers().has_value());
    for (const catalog::ServiceTier& service : prices.service_tiers) {
      ASSERT_TRUE(prices.CheckService(service).has_value());
    }
    UsageBounds bounds{dice.UpTo(8'000), dice.UpTo(2'000), 1 + dice.UpTo(3)};
    bounds.images = dice.UpTo(4);
    bounds.may_have_audio_input = dice.Flip();
    bounds.may_have_audio_output = dice.Flip();
    bounds.may_write_cache_1h = dice.Flip();
    bounds.service =
        static_cast<size_t>(dice.UpTo(static_cast<int64_t>(prices.service_tiers.size())));
    const int64_t held = WorstCaseNanoUsd(prices, bounds).value();
    for (int usage = 0; usage < 5; ++usage) {
      const TokenCounts used = dice.Within(bounds);
      const auto cost = CostNanoUsd(prices, used);
      ASSERT_TRUE(cost.has_value());
      ASSERT_EQ(*cost, OracleCost(prices, used));
      ASSERT_LE(*cost, held);
      ASSERT_EQ(CostPartsNanoUsd(prices, used)->total(), *cost);
      with_tier += prices.TierOf(used.input) > 0 ? 1 : 0;
      with_service += used.service > 0 ? 1 : 0;
    }
    // What fits a budget is held within it, and one token more is not.
    const int64_t budget = dice.UpTo(held);
    const int64_t fits = AffordableOutput(prices, bounds, budget);
    UsageBounds shorter = bounds;
    shorter.output_max = fits;
    if (fits > 0) {
      ASSERT_LE(WorstCaseNanoUsd(prices, shorter).value(), budget);
    }
  });
  if (cases >= 1000) {
    EXPECT_GT(with_tier, cases) << "tiers are reached";
    EXPECT_GT(with_service, cases / 2) << "service tiers too";
  }
}

// Where the parts are as large as they may be, a hold is what it costs.
TEST(UnitsOracle, HoldsAreReached) {
  testing::ForEachCase(2'000, [](uint64_t seed) {
    Dice dice(seed + (uint64_t{1} << 40));  // others than those above
    Prices prices = dice.All();
    const bool is_long = dice.Flip();
    const auto forget = [&](TokenPrices& of) {
      of.cache_write.reset();
      if (!is_long) {
        of.cache_write_1h.reset();
      }
    };
    const auto forget_all = [&](catalog::TieredPrices& of) {
      forget(of);
      std::ranges::for_each(of.tiers, forget);
    };
    forget_all(prices);
    std::ranges::for_each(prices.service_tiers, forget_all);
    UsageBounds bounds{1 + dice.UpTo(8'000), 1 + dice.UpTo(2'000), 1};
    bounds.images = dice.UpTo(4);
    bounds.may_have_audio_input = bounds.may_have_audio_output = true;
    bounds.may_write_cache_1h = is_long;
    bounds.service = prices.service_tiers.size();
    int64_t most = 0;
    std::vector<std::pair<int64_t, size_t>> lengths = {{bounds.input_max, 0},
                                                       {bounds.input_max, bounds.service}};
    for (const PriceTier& tier : prices.tiers) {
      lengths.emplace_back(std::min(bounds.input_max, tier.above), 0);
      lengths.emplace_back(lengths.back().first, bounds.service);
    }
    for (const auto& [input, service] : lengths) {
      for (const int kind : {0, 1, 2, 3}) {
        for (const int way : {0, 1, 2}) {
          TokenCounts used{input, kind == 1 ? input : 0, bounds.output_max};
          used.audio_input = kind == 2 ? input : 0;
          used.cache_write = kind == 3 && is_long ? input : 0;
          used.cache_write_1h = *used.cache_write;
          used.reasoning = way == 1 ? used.output : 0;
          used.audio_output = way == 2 ? used.output : 0;
          used.images = bounds.images;
          used.service = service;
          most = std::max(most, CostNanoUsd(prices, used).value());
        }
      }
    }
    ASSERT_EQ(WorstCaseNanoUsd(prices, bounds), most);
  });
}

}  // namespace
}  // namespace tradewind::pricing
