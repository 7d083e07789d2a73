#include <array>
#include <barrier>
#include <thread>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "billing/meter.h"
#include "billing/recorder.h"
#include "billing/test_support.h"
#include "billing/usd.h"

namespace tradewind::billing {
namespace {

using ledger::Mode;
using ledger::NanoUsd;

TEST(Usd, IsExactBothWays) {
  EXPECT_EQ(ParseUsd("5", "budget"), 5'000'000'000);
  EXPECT_EQ(ParseUsd("0.000000001", "budget"), 1);
  EXPECT_EQ(ParseUsd("1e3", "budget"), 1'000'000'000'000);
  EXPECT_EQ(ParseUsd("0", "budget"), 0);
  EXPECT_EQ(ParseUsd(FormatUsd(12'500'000'000), "budget"), 12'500'000'000);
  for (const char* wrong :
       {"", "-1", "five", "$", "$$5", "$-5", "0.0000000001", "1000001", "1e30"}) {
    EXPECT_EQ(ParseUsd(wrong, "budget").error().param, "budget") << wrong;
  }
  EXPECT_EQ(FormatUsd(0), "$0.00");
  EXPECT_EQ(FormatUsd(12'500'000'000), "$12.50");
  EXPECT_EQ(FormatUsd(-1), "-$0.000000001");
  EXPECT_EQ(FormatUsd(INT64_MIN), "-$9223372036.854775808");
}

TEST(Purchase, ComesBackFromItsTextWhateverIsInIt) {
  const Purchase bought = {"o", "p", "k", "", "org/model", "site\x1F-a", "x", true, false};
  Purchase expected = bought;
  expected.provider = "site -a";
  EXPECT_EQ(DecodePurchase(Encode(bought)), expected);
  EXPECT_EQ(DecodePurchase("").model, "");
  Purchase apart = expected;
  apart.billed_apart = "service_tier";
  EXPECT_EQ(DecodePurchase(Encode(apart)), apart);
  EXPECT_TRUE(Encode(apart).starts_with(Encode(bought) + "\x1F")) << "else the text is as before";
  const Outcome outcome = {1, 2, 3, 4, UsageSource::kMetered, "stop"};
  EXPECT_EQ(DecodeOutcome(Encode(outcome)), outcome);
  for (const bool by_ours : {false, true}) {
    expected.askable = true;
    expected.askable_by_ours = by_ours;
    EXPECT_EQ(DecodePurchase(Encode(expected)), expected);
  }
}

TEST(Meter, HoldsTheWorstCaseAndSettlesWhatWasUsed) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000}));
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  EXPECT_EQ(attempt->held(), 200'000);
  EXPECT_EQ(attempt->output_cap(), std::nullopt);
  EXPECT_EQ(world.At("key:key_1").pending, 200'000);
  ASSERT_TRUE(attempt->Sent().has_value());
  attempt->UpstreamId("chatcmpl-7");
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = Used(10, 5), .finish = "stop"}), 20'000);
  EXPECT_EQ(world.At("key:key_1").debits, 20'000);
  EXPECT_EQ(world.At("key:key_1").pending, 0);
  const auto rows = world.recorder->Find({1, 1});
  ASSERT_EQ(rows->size(), 1U);
  const AttemptRow& row = rows->front();
  EXPECT_EQ(row.state, AttemptState::kSettled);
  EXPECT_EQ(row.purchase.model, "org/model");
  EXPECT_EQ(row.outcome.output_tokens, 5);
  EXPECT_EQ(row.outcome.source, UsageSource::kProvider);
  EXPECT_EQ(row.upstream_id, "chatcmpl-7");
  EXPECT_EQ(row.held, 200'000);
  EXPECT_EQ(row.cost, 20'000);
}

TEST(Meter, RefusesInWordsThatSayWhatWouldFit) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 150'000}));
  Meter meter(*world.ledger);
  const auto refused = meter.Begin(world.Ask(100, 50));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kPaymentRequired);
  EXPECT_EQ(refused.error().message,
            "This request may cost up to $0.0002, and the budget \"key:key_1\" of $0.00015 has "
            "$0.00015 left; max_tokens 25 would fit.");
  const std::vector<ledger::Notice> notices = world.ledger->TakeNotices();
  ASSERT_EQ(notices.size(), 1U) << "its owner is told, too";
  EXPECT_EQ(notices[0].asked, 200'000);
  EXPECT_TRUE(meter.Begin(world.Ask(100, 25)).has_value());
}

TEST(Meter, TellsOfARefusalWhenItIsSaidThatNothingElseHadRoom) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 250'000}));
  Meter meter(*world.ledger);
  const auto first = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(first.has_value());
  std::optional<ledger::Refusal> refused;
  EXPECT_TRUE(
      IsOutOfBudget(meter.Begin(world.Ask(100, 50), ledger::Send::kLater, &refused).error()));
  EXPECT_TRUE(world.ledger->TakeNotices().empty()) << "another route may be cheaper";
  ASSERT_TRUE(refused.has_value());
  meter.NoteRefused(*refused);
  EXPECT_EQ(world.ledger->TakeNotices().size(), 1U);
}

TEST(Meter, BoundsAnOutputThatTheRequestDoesNotByWhatIsAffordable) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "org:org_1", .limit = 1'100'000}));
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(100, std::nullopt));
  ASSERT_TRUE(attempt.has_value());
  EXPECT_EQ(attempt->output_cap(), 500);
  EXPECT_EQ(attempt->held(), 1'100'000);
  attempt = Metered();  // void: never sent
  EXPECT_EQ(world.At("org:org_1").pending, 0);
  static_cast<void>(world.ledger->Define({.name = "org:org_1", .limit = 500'000}));
  const auto refused = meter.Begin(world.Ask(100, std::nullopt));
  EXPECT_FALSE(refused.has_value()) << "200 tokens are no answer";
  static_cast<void>(
      world.ledger->Define({.name = "org:org_1", .limit = 500'000, .mode = Mode::kSoft}));
  attempt = meter.Begin(world.Ask(100, std::nullopt));
  ASSERT_TRUE(attempt.has_value());
  EXPECT_EQ(attempt->output_cap(), std::nullopt) << "a soft budget changes no request";
}

TEST(Meter, TakesWhatItIsToldForAnAnswerThatNobodyBounds) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, std::nullopt);
  offer.output_default = 300;
  EXPECT_EQ(meter.Begin(offer)->output_cap(), 300);
  offer.model_output_max = 280;
  EXPECT_EQ(meter.Begin(offer)->output_cap(), 280);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 500'000}));
  const auto refused = meter.Begin(offer);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message,
            "This request may cost up to $0.000612, and the budget \"key:key_1\" of $0.0005 has "
            "$0.0005 left; as it names no max_tokens, it is given 256 at least; max_tokens 184 "
            "would fit.");
}

TEST(Meter, KeepsBudgetsOfTheServerForWhatItPaysItself) {
  for (const char* scope : {"all", "provider:site-a", "model:org/model"}) {
    World world;
    static_cast<void>(world.ledger->Define({.name = scope, .limit = 150'000}));
    Meter meter(*world.ledger);
    const auto refused = meter.Begin(world.Ask(100, 50));
    ASSERT_FALSE(refused.has_value()) << scope;
    EXPECT_EQ(refused.error().message, std::string("This request may cost up to $0.0002, and the "
                                                   "server's own budget \"") +
                                           scope +
                                           "\" has no room for it; max_tokens 25 would fit.");
    Offer own = world.Ask(100, 50);
    own.purchase.own_key = true;
    EXPECT_TRUE(meter.Begin(own).has_value()) << "its caller pays the provider himself";
    EXPECT_TRUE(meter.Begin(world.Ask(100, 25)).has_value());
  }
}

TEST(Meter, MakesNoAttemptBeyondWhatItsRequestMayCost) {
  World world;
  Meter meter(*world.ledger, world.clock);
  Offer offer = world.Ask(100, 500);
  auto first = meter.Begin(offer);
  ASSERT_TRUE(first.has_value());
  const ledger::NanoUsd held = first->held();
  EXPECT_EQ(first->may_cost(), held) << "all of it, while it runs";
  offer.id.attempt = 2;
  offer.cost_max = held - 1;
  const auto refused = meter.Begin(offer);
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(IsBeyondRequest(refused.error()));
  EXPECT_FALSE(IsOutOfBudget(refused.error())) << "no budget is at fault";
  EXPECT_EQ(refused.error().param, "provider.dear_failover");
  offer.cost_max = held;
  auto second = meter.Begin(offer);
  ASSERT_TRUE(second.has_value()) << "to the nano-dollar";
  ASSERT_TRUE(first->Sent().has_value());
  const auto cost = first->End({.is_complete = true, .usage = Used(10, 20)});
  EXPECT_EQ(first->may_cost(), cost) << "what it did cost";
  ASSERT_TRUE(second->Sent().has_value());
  static_cast<void>(second->End({.surely_unbilled = true}));
  EXPECT_EQ(second->may_cost(), 0);
  for (const bool is_likely : {true, false}) {
    ++offer.id.attempt;
    offer.cost_max = std::nullopt;
    auto failed = meter.Begin(offer);
    ASSERT_TRUE(failed->Sent().has_value());
    static_cast<void>(failed->End({.provider_ended = !is_likely, .likely_billed = is_likely}));
    EXPECT_EQ(failed->may_cost(), is_likely ? held : 0) << "in doubt, as it is settled in the end";
  }
}

TEST(Meter, CountsTheEndOfEachOfSeveralAnswers) {
  World world;
  Meter meter(*world.ledger, world.clock);
  Offer offer = world.Ask(100, 1000);
  offer.choices = 8;
  auto cut = meter.Begin(offer, ledger::Send::kNow);
  static_cast<void>(cut->End({.likely_billed = true, .delivered_bytes = 300, .finish = "cut"}));
  EXPECT_EQ(cut->may_cost(), 100 * 1000 + (300 + 8 * 64) * 2000);
  offer = world.Ask(100, 1000);
  offer.choices = 8;
  offer.hides_answers = true;  // best_of
  auto best = meter.Begin(offer, ledger::Send::kNow);
  static_cast<void>(best->End({.likely_billed = true, .delivered_bytes = 300, .finish = "cut"}));
  EXPECT_EQ(best->may_cost(), best->held());
}

TEST(Meter, CountsWhatCameOfARouteWithoutAPriceThoughItWasCut) {
  World world;
  world.prices = {};
  Meter meter(*world.ledger, world.clock);
  auto cut = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(cut->Sent().has_value());
  static_cast<void>(cut->End({.likely_billed = true, .delivered_bytes = 300, .finish = "cut"}));
  const AttemptRow row = world.recorder->Find({1, 1})->front();
  EXPECT_EQ(row.state, AttemptState::kSettled);
  EXPECT_EQ(row.outcome.source, UsageSource::kMetered);
  EXPECT_EQ(row.outcome.output_tokens, 50);
  EXPECT_EQ(world.Sum().unpriced, 1);
}

// Who asks while another one takes what he was about to take gets a shorter answer.
TEST(Meter, RefusesNobodyForWhatOthersTakeMeanwhile) {
  constexpr int kThreads = 4, kRounds = 200;
  World world;
  Meter meter(*world.ledger);
  const int64_t floor = 100 * 1000 + kOutputTokensMin * 2000;
  const int64_t whole = 100 * 1000 + kOutputTokensDefault * 2000;
  for (int round = 0; round < kRounds; ++round) {
    static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 3 * whole + 4 * floor}));
    std::vector<Offer> offers;
    for (int i = 0; i < kThreads; ++i) {
      offers.push_back(world.Ask(100, std::nullopt));
    }
    std::array<Result<Metered>, kThreads> begun;
    std::barrier all(kThreads);
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        all.arrive_and_wait();
        begun[i] = meter.Begin(offers[i]);
      });
    }
    threads.clear();
    for (const Result<Metered>& one : begun) {
      EXPECT_TRUE(one.has_value()) << one.error().message;
    }
  }  // never sent: void
}

TEST(Meter, KeepsNoBudgetWithARouteWithoutAPrice) {
  World world;
  world.prices = {};
  Meter meter(*world.ledger);
  auto unbudgeted = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(unbudgeted.has_value());
  ASSERT_TRUE(unbudgeted->Sent().has_value());
  EXPECT_EQ(unbudgeted->End({.is_complete = true, .usage = Used(10, 5)}), std::nullopt)
      << "unknown is not zero";
  EXPECT_EQ(world.Sum().unpriced, 1);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000}));
  const auto refused = meter.Begin(world.Ask(100, 50));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().param, "model");
}

// Anybody may send what nothing bounds: only what a hard bound was held for says something of a
// route.
TEST(Meter, MarksWhatNoHardBoundWasHeldFor) {
  World world;
  Meter meter(*world.ledger);
  const auto is_open_ended = [&](const Offer& offer) {
    {
      auto attempt = meter.Begin(offer);
      EXPECT_TRUE(attempt.has_value() && attempt->Sent().has_value());
    }  // nobody ended it: it can be looked at
    for (const auto& [id, hold] : world.ledger->HoldsInDoubt()) {
      if (id == offer.id) {
        return std::optional(DecodePurchase(hold.text).open_ended);
      }
    }
    return std::optional<bool>();
  };
  EXPECT_EQ(is_open_ended(world.Ask(100, 50)), true);
  EXPECT_EQ(is_open_ended(world.Ask(100, std::nullopt)), true);
  Offer zero = world.Ask(100, 0);
  zero.has_zero_bound = true;
  EXPECT_EQ(is_open_ended(zero), true);
  Offer apart = world.Ask(100, 50);
  apart.billed_apart = "tools";
  EXPECT_EQ(is_open_ended(apart), true);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  EXPECT_EQ(is_open_ended(world.Ask(100, std::nullopt)), false) << "a bound goes out with it";
  EXPECT_EQ(is_open_ended(world.Ask(100, 50)), false);
}

TEST(Meter, MarksNothingOfAPrepaidOrganisation) {
  World world;
  Meter meter(*world.ledger);
  static_cast<void>(
      world.ledger->Grant({.name = "c", .owner = "org:org_1", .amount = 1'000'000'000}));
  static_cast<void>(world.ledger->SetPrepaid("org:org_1", true));
  Offer offer = world.Ask(100, 50);
  {
    auto attempt = meter.Begin(offer);
    ASSERT_TRUE(attempt.has_value() && attempt->Sent().has_value());
  }
  EXPECT_FALSE(DecodePurchase(world.ledger->HoldsInDoubt().at(0).second.text).open_ended)
      << "its credit is a hard bound";
}

TEST(Meter, RefusesWhatCostsMoneyWhileTheDiskIsNearlyFull) {
  World world;
  Meter meter(*world.ledger);
  auto running = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(running->Sent().has_value());
  world.disk.room.free_bytes = 1 << 20;
  world.ledger->Tend();
  const auto refused = meter.Begin(world.Ask(100, 50));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted)
      << "no 503: some clients would ask again at once, for ever";
  EXPECT_GT(refused.error().retry_after_ms, 0);
  EXPECT_NE(
      refused.error().message.find("the disk of a disk in memory has 1 MiB free, and 2048 MiB"),
      std::string::npos)
      << refused.error().message;
  Offer local = world.Ask(100, 50);
  local.purchase.provider = catalog::kLocalSlug;
  EXPECT_TRUE(meter.Begin(local).has_value()) << "what costs nothing goes on";
  EXPECT_EQ(running->End({.is_complete = true, .usage = Used(10, 5)}), 20'000)
      << "and what runs is settled";
  world.disk.room.free_bytes = uint64_t{3} << 30;
  world.ledger->Tend();
  EXPECT_TRUE(meter.Begin(world.Ask(100, 50)).has_value()) << "by itself, once there is room";
}

TEST(Meter, SendsNothingThatCostsMoneyOnceAnotherProcessHasTheLedger) {
  World world;
  Meter meter(*world.ledger);
  auto running = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(running->Sent().has_value());
  EXPECT_FALSE(meter.is_handed_over());
  world.ledger->Release();
  EXPECT_TRUE(meter.is_handed_over());
  Offer unpriced = world.Ask(100, 50);
  const catalog::Prices none;
  unpriced.prices = &none;
  for (const Offer& offer : {world.Ask(100, 50), unpriced}) {
    const auto refused = meter.Begin(offer);
    ASSERT_FALSE(refused.has_value()) << "it would be on no bill";
    EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable) << "and may be asked again";
    EXPECT_GT(refused.error().retry_after_ms, 0);
  }
  Offer local = world.Ask(100, 50);
  local.purchase.provider = catalog::kLocalSlug;
  EXPECT_TRUE(meter.Begin(local).has_value()) << "what costs nothing goes on";
  EXPECT_EQ(running->End({.is_complete = true, .usage = Used(10, 5)}), 20'000);
  world.KillAndStart();
  EXPECT_EQ(world.Sum().cost, 20'000) << "what ran is in the next one's books";
}

// Of an error without an answer, where nobody can be asked what it cost.
TEST(Meter, ForgetsAnErrorSoonWhereNobodyCanBeAsked) {
  struct Case {
    const char* what;
    AskableIds can;
    const char* upstream_id;
    Ended ended;
    AttemptState soon;
    AskableIds could = {};  // when it began
  };
  const Ended error{.finish = "server_error"};
  const Ended cut{.likely_billed = true, .delivered_bytes = 30, .finish = "cut"};
  for (const Case& row : {
           Case{"nobody", {}, "inf-1", error, AttemptState::kVoid},
           Case{"it has named no id of its own", {.theirs = true}, "", error, AttemptState::kVoid},
           Case{"by its id", {.theirs = true}, "inf-1", error, AttemptState::kInDoubt},
           Case{"by ours", {.theirs = true, .ours = true}, "", error, AttemptState::kInDoubt},
           Case{"something was delivered", {}, "inf-1", cut, AttemptState::kInDoubt},
           Case{"it could by its id", {}, "inf-1", error, AttemptState::kInDoubt, {.theirs = true}},
           Case{"it could by ours", {}, "", error, AttemptState::kInDoubt, {true, true}},
           Case{"it could, by an id that it named not", {}, "", error, AttemptState::kVoid, {true}},
       }) {
    World world;
    Meter meter(*world.ledger, world.clock);
    Offer offer = world.Ask(100, 50);
    offer.askable = row.could;
    auto attempt = meter.Begin(std::move(offer));
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->UpstreamId(row.upstream_id);
    static_cast<void>(attempt->End(row.ended));
    world.KillAndStart();
    Meter next(*world.ledger, world.clock);
    const auto settle = [&] {
      next.SettleOverdue(std::chrono::hours(24), [&](std::string_view provider) {
        return provider == "site-a" ? row.can : AskableIds{true, true};
      });
      return world.recorder->Find({1, 1})->front().state;
    };
    EXPECT_EQ(settle(), AttemptState::kInDoubt) << row.what;
    world.clock.SetWall(world.clock.WallNow() + std::chrono::minutes(11));
    EXPECT_EQ(settle(), AttemptState::kInDoubt) << row.what << ": the wall clock alone has jumped";
    world.clock.Advance(std::chrono::minutes(11));
    EXPECT_EQ(settle(), row.soon) << row.what;
  }
}

TEST(Meter, KeepsNoBudgetWithWhatIsBilledApartFromTokens) {
  World world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, 50);
  offer.billed_apart = "web_search_options";
  EXPECT_TRUE(meter.Begin(offer).has_value());
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  offer.id.attempt = 2;
  EXPECT_EQ(meter.Begin(offer).error().param, "web_search_options");
}

TEST(Meter, KeepsNoBudgetWithAFieldThatNobodyHereKnows) {
  World world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, 50);
  offer.unknown_field = "turbo";
  EXPECT_TRUE(meter.Begin(offer).has_value()) << "nothing to be kept";
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  offer.id.attempt = 2;
  const auto refused = meter.Begin(offer);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().param, "turbo");
  EXPECT_NE(refused.error().message.find("`harmless_fields`"), std::string::npos);
}

TEST(Meter, ChargesNothingForOwnKeysAndAsksNoBudgetForTheModelOnThisDevice) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 0}));
  Meter meter(*world.ledger);
  Offer local = world.Ask(100, 50);
  local.purchase.provider = catalog::kLocalSlug;
  local.prices = nullptr;
  auto here = meter.Begin(local);
  ASSERT_TRUE(here.has_value()) << "what is free is never refused";
  ASSERT_TRUE(here->Sent().has_value());
  EXPECT_EQ(here->End({.is_complete = true, .usage = Used(10, 5)}), 0);
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000}));
  Offer own = world.Ask(100, 50);
  own.purchase.own_key = true;
  auto there = meter.Begin(own);
  ASSERT_TRUE(there->Sent().has_value());
  EXPECT_EQ(there->End({.is_complete = true, .usage = Used(10, 5)}), 20'000);
  EXPECT_EQ(world.Sum().cost, 20'000);
  EXPECT_EQ(world.Sum().charge, 0);
  EXPECT_EQ(world.ledger->OwedTo("provider:site-a"), 0) << "the caller pays it there";
  EXPECT_EQ(world.ledger->OwedTo("callers:site-a"), 20'000);
  EXPECT_EQ(world.At("key:key_1").debits, 20'000)
      << "a hard budget is over what the provider bills";
  own.id.attempt = 2;
  auto lost = meter.Begin(own);
  ASSERT_TRUE(lost.has_value() && lost->Sent().has_value());
  lost->End({.likely_billed = true, .delivered_bytes = 30});
  const auto doubts = world.ledger->HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U);
  EXPECT_GT(doubts[0].second.cost, 0);
  EXPECT_EQ(doubts[0].second.charge, 0) << "nor is it held for a charge";
}

TEST(Meter, ACreditOfAModelAndAProviderPaysForTheseAlone) {
  World world;
  Meter meter(*world.ledger);
  ASSERT_TRUE(world.ledger
                  ->Grant({.name = "c",
                           .owner = "org:org_1",
                           .amount = 1'000'000,
                           .scope = "model:Org/MODEL\nprovider:Site-A"})
                  .has_value());
  ASSERT_TRUE(world.ledger->SetPrepaid("org:org_1", true).has_value());
  const auto ask = [&](const std::string& model, const std::string& provider) {
    Offer offer = world.Ask(0, 100);
    offer.purchase.model = model;
    offer.purchase.provider = provider;
    auto attempt = meter.Begin(offer);
    if (!attempt.has_value()) {
      return attempt.error().message;
    }
    EXPECT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(0, 100)});
    return std::string();
  };
  EXPECT_EQ(ask("org/model", "site-a"), "");
  EXPECT_EQ(world.ledger->Credits("org:org_1").at(0).left, 800'000);
  for (const auto& [model, provider] :
       {std::pair("org/model", "site-b"), {"org/other", "site-a"}}) {
    const std::string refused = ask(model, provider);
    EXPECT_NE(refused.find("has $0.00 of credit left"), std::string::npos) << refused;
  }
  EXPECT_EQ(world.ledger->Credits("org:org_1").at(0).left, 800'000);
}

TEST(Meter, ABudgetOfChargesBindsWhatIsChargedAndNoOwnKey) {
  World world;
  ASSERT_TRUE(
      world.ledger
          ->Define({.name = "key:key_1", .limit = 100'000, .dimension = ledger::Dimension::kCharge})
          .has_value());
  Meter meter(*world.ledger);
  const auto refused = meter.Begin(world.Ask(100, 50));
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("of $0.0001 of charges has"), std::string::npos)
      << refused.error().message;
  Offer own = world.Ask(100, 50);
  const catalog::Prices none;
  own.prices = &none;
  own.purchase.own_key = true;
  own.purchase.priced = false;
  auto there = meter.Begin(own);
  ASSERT_TRUE(there.has_value()) << there.error().message;
  ASSERT_TRUE(there->Sent().has_value());
  there->End({.is_complete = true, .usage = Used(10, 5)});
  EXPECT_EQ(world.At("key:key_1").debits, 0);
}

TEST(Meter, SettlesWritesToACacheAndNothingPricedForNothing) {
  World world;
  world.prices.cache_write = Decimal::Parse("4").value();
  Meter meter(*world.ledger);
  const auto ask = [&](std::optional<int64_t> written) {
    auto attempt = meter.Begin(world.Ask(100, 50));
    EXPECT_TRUE(attempt->Sent().has_value());
    chat::Usage usage = Used(10, 5);
    usage.cache_write_tokens = written;
    return attempt->End({.is_complete = true, .usage = usage});
  };
  EXPECT_EQ(ask(4), 6 * 1000 + 4 * 4000 + 5 * 2000);
  EXPECT_EQ(ask(std::nullopt), 10 * 4000 + 5 * 2000) << "not counted: at the dearest";
  EXPECT_EQ(ask(11), 10 * 4000 + 5 * 2000) << "contradicts itself: likewise";
}

TEST(Meter, NeverMakesAnOverrunOfAnEstimate) {
  World world;
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(100, 50));
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(attempt->End({.is_complete = true, .delivered_bytes = 1 << 20}), 200'000);
}

TEST(Meter, TakesABudgetOfOneModelOrProviderToo) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1/model:org/model", .limit = 10}));
  Meter meter(*world.ledger);
  EXPECT_FALSE(meter.Begin(world.Ask(1, 1)).has_value());
  Offer other = world.Ask(1, 1);
  other.purchase.model = "org/other";
  EXPECT_TRUE(meter.Begin(other).has_value());
  static_cast<void>(world.ledger->Define({.name = "org:org_1/provider:site-a", .limit = 10}));
  EXPECT_FALSE(meter.Begin(other).has_value());
}

TEST(Meter, LeavesWhatItDoesNotKnowInDoubtAndSettlesItAfterADay) {
  World world;
  static_cast<void>(world.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}));
  Meter meter(*world.ledger, world.clock);
  auto cut = meter.Begin(world.Ask(100, 5000));
  ASSERT_TRUE(cut->Sent().has_value());
  EXPECT_EQ(cut->End({.delivered_bytes = 3000, .finish = "cut"}), std::nullopt);
  auto silent = meter.Begin(world.Ask(100, 5000));
  ASSERT_TRUE(silent->Sent().has_value());
  EXPECT_EQ(silent->End({.finish = "timeout"}), std::nullopt);
  EXPECT_EQ(world.Sum().in_doubt, 2);
  EXPECT_EQ(world.Sum().doubtful, 2 * 10'100'000);
  meter.SettleOverdue();
  EXPECT_EQ(world.Sum().in_doubt, 2);
  world.clock.Advance(std::chrono::hours(25));
  meter.SettleOverdue();
  const UsageSum sum = world.Sum();
  EXPECT_EQ(sum.in_doubt, 0);
  EXPECT_EQ(sum.settled, 1);
  EXPECT_EQ(sum.voided, 1);
  EXPECT_EQ(sum.cost, 100'000 + (3000 + 64) * 2000) << "the most that it can have been";
  EXPECT_EQ(sum.charge, 100'000 + 1000 * 2000);
  EXPECT_EQ(world.At("key:key_1").pending, 0);
}

TEST(Meter, CountsAllThatIsHeldOfAProviderThatBillsOnAndChargesWhatWasDelivered) {
  World world;
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 100'000'000}).has_value());
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, 5000);
  offer.bills_whole = true;
  {
    auto cut = meter.Begin(offer);
    ASSERT_TRUE(cut->Sent().has_value());
    EXPECT_EQ(cut->End({.likely_billed = true, .delivered_bytes = 3000, .finish = "client_left"}),
              std::nullopt);
  }
  Offer killed = world.Ask(100, 5000);
  killed.bills_whole = true;
  auto running = meter.Begin(killed);
  ASSERT_TRUE(running->Sent().has_value());
  running->Progress(3000);
  world.KillAndStart();
  Meter next(*world.ledger, world.clock);
  next.SettleOverdue();
  world.clock.Advance(std::chrono::hours(25));
  next.SettleOverdue();
  const UsageSum sum = world.Sum();
  EXPECT_EQ(sum.settled, 2);
  EXPECT_EQ(sum.cost, 2 * 10'100'000) << "it may have billed all that it was asked for";
  EXPECT_EQ(sum.charge, 2 * (100'000 + 1000 * 2000));
}

TEST(Meter, MetersWhatAProviderThatBillsOnHasEndedByAnErrorOfItsOwn) {
  World world;
  Meter meter(*world.ledger, world.clock);
  Offer offer = world.Ask(100, 5000);
  offer.bills_whole = true;
  auto failed = meter.Begin(offer);
  ASSERT_TRUE(failed->Sent().has_value());
  failed->Progress(3000);  // should a kill come now, all of it is billed
  EXPECT_EQ(failed->End({.provider_ended = true, .delivered_bytes = 3000, .finish = "error_event"}),
            std::nullopt);
  meter.SettleOverdue();
  world.clock.Advance(std::chrono::hours(25));
  meter.SettleOverdue();
  UsageSum sum = world.Sum();
  EXPECT_EQ(sum.settled, 1);
  EXPECT_EQ(sum.cost, 100'000 + (3000 + 64) * 2000) << "it goes on with nothing";
  EXPECT_EQ(sum.charge, 100'000 + 1000 * 2000);
  Offer garbled = world.Ask(100, 5000);
  garbled.bills_whole = true;
  auto left = meter.Begin(garbled);
  ASSERT_TRUE(left->Sent().has_value());
  EXPECT_EQ(left->End({.delivered_bytes = 3000, .finish = "garbage"}), std::nullopt);
  meter.SettleOverdue();
  world.clock.Advance(std::chrono::hours(25));
  meter.SettleOverdue();
  EXPECT_EQ(world.Sum().cost, sum.cost + 10'100'000) << "it may go on: we have stopped reading";
}

class Doubtful {
 public:
  Doubtful() {
    auto cut = meter_.Begin(world_.Ask(100, 5000));
    EXPECT_TRUE(cut->Sent().has_value());
    EXPECT_EQ(cut->End({.delivered_bytes = 3000, .finish = "cut"}), std::nullopt);
    meter_.SettleOverdue();
  }
  // The steady clock goes `passed` on, the wall clock jumps besides.
  void Wait(std::chrono::hours passed, std::chrono::hours jump = {}) {
    world_.clock.Advance(passed);
    world_.clock.SetWall(world_.clock.WallNow() + jump);
  }
  bool IsInDoubt() {
    meter_.SettleOverdue();
    return world_.Sum().in_doubt == 1;
  }

 private:
  World world_;
  Meter meter_{*world_.ledger, world_.clock};
};

TEST(Meter, EndsNoDoubtBecauseTheWallClockJumped) {
  using std::chrono::hours;
  Doubtful ahead;
  ahead.Wait(hours(1), hours(24));
  EXPECT_TRUE(ahead.IsInDoubt()) << "the provider could be asked for an hour";
  ahead.Wait(hours(22));
  EXPECT_TRUE(ahead.IsInDoubt());
  ahead.Wait(hours(1));
  EXPECT_FALSE(ahead.IsInDoubt());
  Doubtful behind;
  behind.Wait(hours(20), hours(-400));
  EXPECT_TRUE(behind.IsInDoubt());
  behind.Wait(hours(5));
  EXPECT_FALSE(behind.IsInDoubt()) << "nor does it wait for a clock that was set back";
}

TEST(Meter, PaysFromTheCreditsOfAnOrganisationAndNamesItWhenItIsPrepaid) {
  World world;
  Meter meter(*world.ledger);
  const auto owed = [&](int64_t output) {
    auto attempt = meter.Begin(world.Ask(0, output));
    if (!attempt.has_value()) {
      return attempt.error().message;
    }
    EXPECT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(0, output)});
    return std::string();
  };
  const auto left = [&] { return world.ledger->Credits("org:org_1").at(0).left; };
  ASSERT_TRUE(
      world.ledger->Grant({.name = "c", .owner = "org:org_1", .amount = 1'000'000}).has_value());
  EXPECT_EQ(owed(100), "");
  EXPECT_EQ(left(), 800'000);
  {
    Offer own = world.Ask(0, 100);
    own.purchase.own_key = true;
    auto attempt = meter.Begin(own);
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->End({.is_complete = true, .usage = Used(0, 100)});
    EXPECT_EQ(left(), 800'000) << "an own key pays elsewhere";
  }
  ASSERT_TRUE(world.ledger->SetPrepaid("org:org_1", true).has_value());
  const std::string refused = owed(401);
  EXPECT_NE(refused.find("\"org:org_1\", which is prepaid, has $0.0008 of credit left"),
            std::string::npos)
      << refused;
  EXPECT_NE(refused.find("max_tokens 400 would fit"), std::string::npos) << refused;
  {
    const auto unbounded = meter.Begin(world.Ask(0, std::nullopt));
    ASSERT_TRUE(unbounded.has_value()) << unbounded.error().message;
    EXPECT_EQ(unbounded->output_cap(), 400) << "what is left affords so many";
  }
  Offer unpriced = world.Ask(0, 1);
  const catalog::Prices none;
  unpriced.prices = &none;
  EXPECT_EQ(meter.Begin(unpriced).error().param, "model");
  EXPECT_EQ(owed(400), "");
  EXPECT_EQ(left(), 0);
  const auto empty = meter.Begin(world.Ask(0, 1));
  ASSERT_FALSE(empty.has_value());
  EXPECT_TRUE(IsOutOfBudget(empty.error()));
  ASSERT_TRUE(world.ledger->SetPrepaid("org:org_1", false).has_value());
  EXPECT_EQ(owed(5), "") << "and then it is owed";
}

TEST(Meter, BoundsAnOutputOfZeroWhereABudgetIsHard) {
  World world;
  Meter meter(*world.ledger);
  Offer offer = world.Ask(100, 0);
  offer.has_zero_bound = true;
  {
    const auto free = meter.Begin(offer);
    EXPECT_EQ(free->output_cap(), std::nullopt) << "nothing is changed that nobody asked for";
    EXPECT_EQ(free->held(), 100'000 + kOutputTokensDefault * 2000) << "0 may be no bound";
  }
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 100'000'000}).has_value());
  for (const auto& [asked, cap] : {std::pair<int64_t, int64_t>(0, 1), {50, 50}}) {
    offer = world.Ask(100, asked);
    offer.has_zero_bound = true;
    const auto bound = meter.Begin(offer);
    ASSERT_TRUE(bound.has_value()) << bound.error().message;
    EXPECT_EQ(bound->output_cap(), cap);
    EXPECT_EQ(bound->held(), 100'000 + cap * 2000);
  }
}

TEST(Meter, NeverLetsAnImpossibleUsageBeForNothing) {
  World world;
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 100'000'000}).has_value());
  Meter meter(*world.ledger);
  auto attempt = meter.Begin(world.Ask(100, 5000));
  ASSERT_TRUE(attempt->Sent().has_value());
  const ledger::NanoUsd most = PostedMax(attempt->held());
  EXPECT_EQ(attempt->End({.is_complete = true, .usage = Used(10, int64_t{1} << 62)}), most);
  EXPECT_EQ(world.Sum().settled, 1);
  EXPECT_EQ(world.At("key:key_1").pending, 0);
  EXPECT_EQ(world.At("key:key_1").debits, most);
}

TEST(Meter, LeavesRoomForRequestsHoweverManyAreInDoubt) {
  World world;
  Meter meter(*world.ledger);
  const auto count = static_cast<int64_t>(limits::kHoldsInDoubtMax) + 3;
  for (int64_t i = 0; i < count; ++i) {
    auto cut = meter.Begin(world.Ask(1, 1));
    ASSERT_TRUE(cut->Sent().has_value());
    EXPECT_EQ(cut->End({.delivered_bytes = 3, .finish = "cut"}), std::nullopt);
  }
  meter.SettleOverdue();
  EXPECT_EQ(world.Sum().in_doubt, limits::kHoldsInDoubtMax);
  EXPECT_EQ(world.Sum().settled, 3) << "the oldest, at what was metered";
}

}  // namespace
}  // namespace tradewind::billing
