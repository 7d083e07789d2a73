#include "billing/reconcile.h"

#include <gtest/gtest.h>

#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

using std::chrono::minutes;

AskableIds Both(std::string_view provider) {
  return provider == "site-a" ? AskableIds{true, true} : AskableIds{};
}

class ReconciliationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(world_.ledger->Define({.name = "key:key_1", .limit = 1'000'000'000}).has_value());
  }
  // An attempt in doubt, by this id of its provider; "" = the provider named none.
  ledger::HoldId Doubt(std::string_view upstream_id, std::string provider = "site-a",
                       bool own_key = false, int64_t delivered_bytes = 30) {
    Meter meter(*world_.ledger, world_.clock);
    Offer offer = world_.Ask(100, 50);  // holds 200,000
    offer.purchase.provider = std::move(provider);
    offer.purchase.own_key = own_key;
    auto attempt = meter.Begin(offer);
    EXPECT_TRUE(attempt->Sent().has_value());
    attempt->UpstreamId(upstream_id);
    static_cast<void>(
        attempt->End({.likely_billed = true, .delivered_bytes = delivered_bytes, .finish = "cut"}));
    return offer.id;
  }
  AttemptRow RowOf(ledger::HoldId id) {
    const auto rows = world_.recorder->Find(id.request);
    EXPECT_EQ(rows->size(), 1U);
    return rows->front();
  }
  std::vector<BillingQuestion> Ask(Reconciliation& reconciliation) {
    return reconciliation.Questions(Both);
  }
  std::chrono::steady_clock::time_point now() const { return world_.clock.Now(); }

  World world_;
};

TEST_F(ReconciliationTest, SettlesNothingByAnIdThatASettledRequestHasToo) {
  Meter meter(*world_.ledger, world_.clock);
  Offer asked = world_.Ask(100, 50);
  asked.askable = {.theirs = true};
  auto first = meter.Begin(asked);
  ASSERT_TRUE(first->Sent().has_value());
  first->UpstreamId("again");
  first->End({.is_complete = true, .usage = Used(10, 5)});
  const auto second = Doubt("again"), third = Doubt("its-own");
  Reconciliation reconciliation(
      *world_.ledger, minutes(30),
      [&](std::string_view provider, std::string_view id, ledger::HoldId hold) {
        return world_.recorder->HasTwin(provider, id, hold);
      });
  const auto questions = Ask(reconciliation);
  const BillingOutcome outcome = reconciliation.Take(
      questions[0], std::vector<BilledCost>{{"again", 7}, {"its-own", 9}}, now());
  EXPECT_EQ(outcome.ambiguous, 1);
  EXPECT_EQ(outcome.settled, 1);
  EXPECT_EQ(RowOf(second).state, AttemptState::kInDoubt) << "the cost may be the first one's";
  EXPECT_EQ(RowOf(third).cost, 9);
  EXPECT_FALSE(world_.recorder->HasTwin("site-b", "again", second)) << "another provider's";
  EXPECT_FALSE(world_.recorder->HasTwin("site-a", "", second));
}

TEST_F(ReconciliationTest, KnowsAnIdAgainThatWasInDoubtWhenTheServerStarted) {
  Meter meter(*world_.ledger, world_.clock);
  Offer asked = world_.Ask(100, 50);
  asked.askable = {.theirs = true};
  {
    auto first = meter.Begin(asked);
    ASSERT_TRUE(first->Sent().has_value());
    first->UpstreamId("again");
    ASSERT_TRUE(world_.recorder->CatchUp().has_value());
    world_.KillAndStart();
  }
  ASSERT_TRUE(world_.ledger->ResolveSettled(asked.id, 5, 5, Encode(Outcome())).has_value());
  const auto second = Doubt("again");
  EXPECT_TRUE(world_.recorder->HasTwin("site-a", "again", second));
}

TEST_F(ReconciliationTest, SettlesWhatTheProviderNamesAndAsksForTheRestAgain) {
  const auto billed = Doubt("inf-1"), later = Doubt("inf-2"), elsewhere = Doubt("x", "site-b");
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  ASSERT_EQ(questions.size(), 1U);
  EXPECT_EQ(questions[0].ids, (std::vector<std::string>{"inf-1", "inf-2"}));
  const std::vector<BilledCost> answer = {{"inf-1", 1234}, {"inf-1", 99}, {"stray", 5}};
  const BillingOutcome outcome = reconciliation.Take(questions[0], answer, now());
  EXPECT_EQ(outcome.settled, 1);
  EXPECT_EQ(outcome.unknown, 1);
  const AttemptRow row = RowOf(billed);
  EXPECT_EQ(row.state, AttemptState::kSettled);
  EXPECT_EQ(row.cost, 1234) << "the first counts";
  EXPECT_EQ(row.charge, 1234);
  EXPECT_EQ(row.outcome.source, UsageSource::kBilled);
  EXPECT_EQ(row.outcome.output_tokens, 0) << "which nobody said";
  EXPECT_EQ(RowOf(later).state, AttemptState::kInDoubt);
  EXPECT_EQ(RowOf(elsewhere).state, AttemptState::kInDoubt);
  EXPECT_EQ(world_.At("key:key_1").debits, 1234);
  EXPECT_EQ(Ask(reconciliation)[0].ids, std::vector<std::string>{"inf-2"});
}

TEST_F(ReconciliationTest, ABillBeyondTheHoldIsPostedWholeAndChargesWhatWasHeld) {
  const auto id = Doubt("inf-1", "site-a", false, 150);
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  const std::vector<BilledCost> answer = {{"inf-1", 300'000}};
  EXPECT_EQ(reconciliation.Take(questions[0], answer, now()).overruns, 1);
  EXPECT_EQ(RowOf(id).cost, 300'000);
  EXPECT_EQ(RowOf(id).charge, 200'000);
  const auto notices = world_.ledger->TakeNotices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].account, 0U) << "an overrun";
  EXPECT_EQ(notices[0].amount, 100'000);
}

TEST_F(ReconciliationTest, ABillForWhatNobodyGotChargesNobody) {
  const auto id = Doubt("inf-1", "site-a", false, 0);
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  const std::vector<BilledCost> answer = {{"inf-1", 100'000}};
  EXPECT_EQ(reconciliation.Take(questions[0], answer, now()).settled, 1);
  EXPECT_EQ(RowOf(id).cost, 100'000);
  EXPECT_EQ(RowOf(id).charge, 0);
  EXPECT_EQ(world_.At("key:key_1").debits, 100'000) << "a budget of cost";
}

TEST_F(ReconciliationTest, ZeroIsACostAndNegativeOrImpossibleOnesAreNone) {
  const auto free = Doubt("free"), negative = Doubt("negative"), huge = Doubt("huge");
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  const std::vector<BilledCost> answer = {
      {"free", 0}, {"negative", -1}, {"huge", ledger::kAmountMax + 1}};
  const BillingOutcome first = reconciliation.Take(questions[0], answer, now());
  EXPECT_EQ(first.failed, 2);
  EXPECT_EQ(first.unknown, 0);
  EXPECT_EQ(RowOf(free).state, AttemptState::kSettled);
  EXPECT_EQ(RowOf(free).cost, 0);
  world_.clock.Advance(minutes(31));
  const auto again = Ask(reconciliation);
  EXPECT_EQ(reconciliation.Take(again[0], answer, now()).voided, 0) << "it knows them";
  EXPECT_EQ(RowOf(negative).state, AttemptState::kInDoubt);
  EXPECT_EQ(RowOf(huge).state, AttemptState::kInDoubt);
}

TEST_F(ReconciliationTest, WhatTheProviderDoesNotKnowForLongIsVoid) {
  const auto id = Doubt("");  // no answer ever began
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  for (const auto after : {minutes(0), minutes(29)}) {
    world_.clock.Advance(after);
    const auto questions = Ask(reconciliation);
    ASSERT_EQ(questions[0].ids, std::vector<std::string>{OwnId(id)});
    EXPECT_EQ(reconciliation.Take(questions[0], {}, now()).unknown, 1);
  }
  world_.clock.Advance(minutes(1));
  EXPECT_EQ(reconciliation.Take(Ask(reconciliation)[0], {}, now()).voided, 1);
  EXPECT_EQ(RowOf(id).state, AttemptState::kVoid);
  EXPECT_TRUE(Ask(reconciliation).empty());
}

TEST_F(ReconciliationTest, AnotherRequestUnderTheSameIdHasItsOwnHalfHour) {
  const auto first = Doubt("again");
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  EXPECT_EQ(reconciliation.Take(Ask(reconciliation)[0], {}, now()).unknown, 1);
  ASSERT_TRUE(world_.ledger->ResolveVoid(first, "the operator says so").has_value());
  const auto second = Doubt("again");
  world_.clock.Advance(minutes(31));
  const BillingOutcome outcome = reconciliation.Take(Ask(reconciliation)[0], {}, now());
  EXPECT_EQ(outcome.voided, 0);
  EXPECT_EQ(outcome.unknown, 1);
  EXPECT_EQ(RowOf(second).state, AttemptState::kInDoubt);
}

TEST_F(ReconciliationTest, AProviderIsAskedOnlyByIdsThatItCanKnow) {
  Doubt("inf-1");
  Doubt("");
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto theirs = [](std::string_view) { return AskableIds{true, false}; };
  EXPECT_EQ(reconciliation.Questions(theirs)[0].ids, std::vector<std::string>{"inf-1"});
}

TEST_F(ReconciliationTest, AnIdOfSeveralRequestsSettlesNone) {
  const auto one = Doubt("same"), other = Doubt("same");
  Reconciliation reconciliation(*world_.ledger, minutes(0));
  const auto questions = Ask(reconciliation);
  const std::vector<BilledCost> answer = {{"same", 10}};
  EXPECT_EQ(reconciliation.Take(questions[0], answer, now()).ambiguous, 1);
  EXPECT_EQ(reconciliation.Take(questions[0], {}, now()).voided, 0);
  EXPECT_EQ(RowOf(one).state, AttemptState::kInDoubt);
  EXPECT_EQ(RowOf(other).state, AttemptState::kInDoubt);
}

TEST_F(ReconciliationTest, OwnKeysAreAskedAboutWithTheirOwnKeyAndChargedNothing) {
  const auto id = Doubt("theirs", "site-a", true);
  Doubt("ours");
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  ASSERT_EQ(questions.size(), 2U);
  const BillingQuestion& own = questions[0].asker.own_key ? questions[0] : questions[1];
  EXPECT_EQ(own.asker.org_id, "org_1");
  EXPECT_EQ(own.ids, std::vector<std::string>{"theirs"});
  const std::vector<BilledCost> answer = {{"theirs", 77}, {"ours", 5}};
  EXPECT_EQ(reconciliation.Take(own, answer, now()).settled, 1) << "it was asked about one";
  EXPECT_EQ(RowOf(id).cost, 77);
  EXPECT_EQ(RowOf(id).charge, 0);
}

TEST_F(ReconciliationTest, ManyAreAskedAboutInBatches) {
  world_.prices = Priced("0.001", "0.001");
  constexpr size_t kMany = kBillingIdsMax + 5;
  for (size_t i = 0; i < kMany; ++i) {
    Doubt("inf-" + std::to_string(i));
  }
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  ASSERT_EQ(questions.size(), 2U);
  EXPECT_EQ(questions[0].ids.size(), kBillingIdsMax);
  EXPECT_EQ(questions[1].ids.size(), 5U);
}

TEST_F(ReconciliationTest, AKillInTheMiddleChangesNothing) {
  const auto one = Doubt("inf-1"), two = Doubt("inf-2");
  {
    Reconciliation reconciliation(*world_.ledger, minutes(30));
    const auto questions = Ask(reconciliation);
    const std::vector<BilledCost> first = {{"inf-1", 100}};
    EXPECT_EQ(reconciliation.Take(questions[0], first, now()).settled, 1);
  }
  world_.KillAndStart();  // twice: the second start reads the first one's snapshot
  world_.KillAndStart();
  Reconciliation reconciliation(*world_.ledger, minutes(30));
  const auto questions = Ask(reconciliation);
  ASSERT_EQ(questions.size(), 1U);
  EXPECT_EQ(questions[0].ids, std::vector<std::string>{"inf-2"}) << "its id came back";
  const std::vector<BilledCost> both = {{"inf-1", 100}, {"inf-2", 200}};
  EXPECT_EQ(reconciliation.Take(questions[0], both, now()).settled, 1);
  EXPECT_EQ(RowOf(one).cost, 100);
  EXPECT_EQ(RowOf(two).cost, 200);
  EXPECT_EQ(world_.At("key:key_1").debits, 300);
  EXPECT_EQ(world_.At("key:key_1").pending, 0);
}

TEST_F(ReconciliationTest, AnOperatorSaysWhatADoubtCostAndNobodyIsChargedForMoreThanHeGot) {
  const auto cheap = Doubt("a"), own = Doubt("c", "site-a", true);
  const auto dear = Doubt("b", "site-a", false, 0);
  ASSERT_TRUE(ResolveDoubt(*world_.ledger, cheap, {1234, "ticket 17"}).has_value());
  ASSERT_TRUE(ResolveDoubt(*world_.ledger, {dear.request, 0}, {200'000, "a bill"}).has_value());
  ASSERT_TRUE(ResolveDoubt(*world_.ledger, own, {500, "a bill"}).has_value());
  const AttemptRow row = RowOf(cheap);
  EXPECT_EQ(row.state, AttemptState::kSettled);
  EXPECT_EQ(row.cost, 1234);
  EXPECT_EQ(row.charge, 1234);
  EXPECT_EQ(row.outcome.source, UsageSource::kOperator);
  EXPECT_EQ(row.outcome.finish, "the operator: ticket 17");
  EXPECT_EQ(row.outcome.output_tokens, 0) << "which nobody said";
  EXPECT_EQ(RowOf(dear).cost, 200'000);
  EXPECT_EQ(RowOf(dear).charge, 0) << "nothing had come of it";
  EXPECT_EQ(RowOf(own).cost, 500);
  EXPECT_EQ(RowOf(own).charge, 0);
  EXPECT_EQ(world_.At("key:key_1").pending, 0);
  EXPECT_TRUE(world_.ledger->TakeNotices().empty()) << "no overrun";
  EXPECT_EQ(ResolveDoubt(*world_.ledger, cheap, {1, "again"}).error().code, ErrorCode::kNotFound);
}

TEST_F(ReconciliationTest, AnOperatorEndsADoubtForNothingAndFreesWhatWasHeld) {
  const auto id = Doubt("");
  EXPECT_EQ(world_.At("key:key_1").in_doubt, 200'000);
  ASSERT_TRUE(ResolveDoubt(*world_.ledger, id, {std::nullopt, "not on the bill"}).has_value());
  EXPECT_EQ(RowOf(id).state, AttemptState::kVoid);
  EXPECT_EQ(RowOf(id).reason, "the operator: not on the bill");
  EXPECT_EQ(world_.At("key:key_1").pending, 0);
  EXPECT_EQ(world_.At("key:key_1").debits, 0);
}

TEST_F(ReconciliationTest, AnOperatorEndsNothingThatRunsOrThatHeDoesNotNameOrForMoreThanWasHeld) {
  Meter meter(*world_.ledger, world_.clock);
  const Offer runs = world_.Ask(100, 50);
  auto attempt = meter.Begin(runs);
  ASSERT_TRUE(attempt->Sent().has_value());
  const OperatorsWord nothing = {std::nullopt, "why not"};
  EXPECT_EQ(ResolveDoubt(*world_.ledger, runs.id, nothing).error().code, ErrorCode::kNotFound);
  attempt->End({.is_complete = true, .usage = Used(10, 5)});
  const auto id = Doubt("a");
  EXPECT_EQ(ResolveDoubt(*world_.ledger, id, {200'001, "a bill"}).error().param, "cost");
  EXPECT_EQ(ResolveDoubt(*world_.ledger, id, {5, ""}).error().param, "reason");
  EXPECT_EQ(ResolveDoubt(*world_.ledger, id, {5, std::string(1025, 'x')}).error().param, "reason");
  Offer second = world_.Ask(100, 50);
  second.id = {id.request, 2};
  {
    auto lost = meter.Begin(second);
    ASSERT_TRUE(lost->Sent().has_value());
  }
  EXPECT_EQ(ResolveDoubt(*world_.ledger, {id.request, 0}, nothing).error().param, "receipt");
  EXPECT_TRUE(ResolveDoubt(*world_.ledger, second.id, nothing).has_value());
  EXPECT_EQ(world_.At("key:key_1").in_doubt, 200'000) << "the first attempt's";
}

}  // namespace
}  // namespace tradewind::billing
