// Usages of more tokens than a request, its bounds and its answer allow.
#include <optional>

#include <gtest/gtest.h>

#include "billing/meter.h"
#include "billing/test_support.h"
#include "catalog/mapping.h"

namespace tradewind::billing {
namespace {

TEST(Meter, MarksAUsageThatIsMoreThanTheBoundsAllow) {
  World world;
  Meter meter(*world.ledger);
  const auto is_beyond = [&](Offer offer, int64_t input, int64_t output) {
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    const int64_t before = meter.beyond_bounds();
    static_cast<void>(attempt->End({.is_complete = true, .usage = Used(input, output)}));
    return meter.beyond_bounds() > before;
  };
  EXPECT_FALSE(is_beyond(world.Ask(100, 50), 100, 50));
  EXPECT_TRUE(is_beyond(world.Ask(100, 50), 101, 1)) << "though it costs less than was held";
  EXPECT_TRUE(is_beyond(world.Ask(100, 50), 1, 51));
  EXPECT_FALSE(is_beyond(world.Ask(100, std::nullopt), 1, 20'000)) << "nothing bounds it";
  Offer several = world.Ask(100, 50);
  several.choices = 3;
  EXPECT_FALSE(is_beyond(several, 1, 150));
  several.id.attempt = 2;
  EXPECT_TRUE(is_beyond(several, 1, 151));
}

TEST(Meter, MarksAUsageThatIsMoreThanTheBytesThatCame) {
  World world;
  Meter meter(*world.ledger);
  struct Came {
    int64_t output = 0, reasoning = 0, delivered_bytes = 0, unread_bytes = 0;
  };
  const auto is_beyond = [&](const Came& came, Offer offer) {
    offer.id.request.low += ++world.ids * 1000;
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    chat::Usage usage = Used(10, came.output);
    usage.reasoning_tokens = came.reasoning;
    const int64_t before = meter.beyond_bounds();
    static_cast<void>(attempt->End({.is_complete = true,
                                    .usage = usage,
                                    .delivered_bytes = came.delivered_bytes,
                                    .unread_bytes = came.unread_bytes}));
    return meter.beyond_bounds() > before;
  };
  const Offer plain = world.Ask(100, 10'000);
  EXPECT_FALSE(is_beyond({.output = 164, .delivered_bytes = 100}, plain));
  EXPECT_TRUE(is_beyond({.output = 165, .delivered_bytes = 100}, plain));
  EXPECT_FALSE(is_beyond({.output = 165, .delivered_bytes = 100, .unread_bytes = 1}, plain));
  EXPECT_FALSE(is_beyond({.output = 165, .reasoning = 1, .delivered_bytes = 100}, plain))
      << "thoughts that are reported are no part of what is shown";
  EXPECT_FALSE(is_beyond({.output = 165}, plain)) << "nobody knows what came";
  Offer several = plain, spoken = plain, thinks = plain, here = plain;
  several.choices = 2;
  EXPECT_FALSE(is_beyond({.output = 228, .delivered_bytes = 100}, several));
  EXPECT_TRUE(is_beyond({.output = 229, .delivered_bytes = 100}, several));
  spoken.wants_audio_output = true;
  EXPECT_FALSE(is_beyond({.output = 165, .delivered_bytes = 100}, spoken));
  thinks.thinks_unseen = true;
  EXPECT_FALSE(is_beyond({.output = 165, .delivered_bytes = 100}, thinks));
  EXPECT_TRUE(is_beyond({.output = 175, .reasoning = 10, .delivered_bytes = 100}, thinks));
  Offer best = several;
  best.hides_answers = true;
  EXPECT_FALSE(is_beyond({.output = 229, .delivered_bytes = 100}, best));
  here.purchase.provider = catalog::kLocalSlug;
  EXPECT_FALSE(is_beyond({.output = 165, .delivered_bytes = 100}, here));
}

TEST(Meter, HoldsForAsFarAsAModelGoesBeyondItsCapAndSendsTheCapItself) {
  World world;
  Meter meter(*world.ledger);
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 10'000'000}).has_value());
  const auto ask = [&](std::optional<int64_t> output) {
    Offer offer = world.Ask(100, output);
    offer.cap_trust = {.factor_permille = 3000, .slack = 10};
    return offer;
  };
  auto attempt = meter.Begin(ask(50));
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  EXPECT_EQ(attempt->held(), 100 * 1000 + 160 * 2000);
  EXPECT_FALSE(attempt->output_cap().has_value()) << "it says its own";
  ASSERT_TRUE(attempt->Sent().has_value());
  const int64_t before = meter.beyond_bounds();
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = Used(100, 160)}), 420'000);
  EXPECT_EQ(meter.beyond_bounds(), before) << "within what it may be";
  EXPECT_TRUE(world.ledger->TakeNotices().empty()) << "no overrun";
  auto longest = meter.Begin(ask(std::nullopt));
  ASSERT_TRUE(longest.has_value()) << longest.error().message;
  EXPECT_EQ(longest->output_cap(), 1576) << "3 times that, and 10, is what $0.00948 affords";
  EXPECT_LE(longest->held(), 10'000'000 - 420'000);
}

TEST(Meter, SendsWhatAnAnswerHasUnaskedAndHoldsForMoreWhereNothingIsSent) {
  World world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, std::nullopt);
  offer.output_sent_max = 16;
  auto attempt = meter.Begin(offer);
  ASSERT_TRUE(attempt.has_value());
  EXPECT_FALSE(attempt->output_cap().has_value());
  EXPECT_EQ(attempt->held(), 100 * 1000 + 8192 * 2000) << "the provider's default may be another";
  EXPECT_FALSE(attempt->is_hard());
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 10'000'000'000}).has_value());
  offer.id = world.Ask(100, std::nullopt).id;
  auto bounded = meter.Begin(offer);
  ASSERT_TRUE(bounded.has_value()) << bounded.error().message;
  EXPECT_EQ(bounded->output_cap(), 16);
  EXPECT_EQ(bounded->held(), 100 * 1000 + 16 * 2000);
  EXPECT_TRUE(bounded->is_hard());
}

TEST(Meter, GivesNoFewerTokensThanTheLeastThatIsAnAnswer) {
  World world;
  Meter meter(*world.ledger);
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 10'000'000}).has_value());
  Offer offer = world.Ask(100, std::nullopt);
  offer.output_min = 4256;
  EXPECT_EQ(meter.Begin(offer)->output_cap(), 4950) << "as many as there is room for";
  offer.id = world.Ask(100, std::nullopt).id;
  offer.output_min = 5000;
  const auto refused = meter.Begin(offer);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("it is given 5000 at least"), std::string::npos)
      << refused.error().message;
  offer.id = world.Ask(100, std::nullopt).id;
  offer.output_default = 300;
  EXPECT_EQ(meter.Begin(offer)->output_cap(), 300) << "nor more than the most";
}

}  // namespace
}  // namespace tradewind::billing
