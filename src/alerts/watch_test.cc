// Whole because all of it looks at one watch over one small shop, which most of its lines set up.
#include "alerts/watch.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alerts/season.h"
#include "alerts/series.h"
#include "base/decimal.h"
#include "billing/correction.h"
#include "billing/meter.h"
#include "billing/price_version.h"
#include "ledger/fake_disk.h"
#include "testing/temp_dir.h"

namespace tradewind::alerts {
namespace {

using ledger::NanoUsd;
using ledger::Period;

constexpr NanoUsd kUsd = 1'000'000'000;

struct World {
  testing::TempDir home;
  ledger::FakeDisk disk;
  FakeClock clock;
  Policy policy;
  std::unique_ptr<Watch> watch;
  std::vector<std::unique_ptr<ledger::Ledger>> dead;
  std::unique_ptr<ledger::Ledger> ledger;
  std::unique_ptr<billing::Recorder> recorder;
  uint64_t ids = 0;
  std::map<std::string, std::string, std::less<>> names, orgs;  // by scope
  std::string own_key_of;  // the organisation that spends, and by its own key; "": org_1's by ours
  billing::UsageSource source = billing::UsageSource::kProvider;  // of what is spent
  bool has_unpriced_writes = false;                               // likewise

  explicit World(Policy wanted = {}) : policy(wanted) {
    clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'790'000'000)));
    Start();
  }
  void Start() {
    watch = std::make_unique<Watch>(policy, [this](std::string_view scope) {
      const auto found = [scope](const auto& of) {
        const auto at = of.find(scope);
        return at == of.end() ? std::string() : at->second;
      };
      return Watch::Owner{found(names), found(orgs)};
    });
    auto opened =
        ledger::Ledger::Open(disk, clock, {.segment_bytes = 256 << 10, .background = false});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ledger = std::move(*opened);
    auto records = billing::Recorder::Open(home.path() / "ledger.db", disk, *ledger,
                                           {.watcher = watch.get(), .background = false});
    ASSERT_TRUE(records.has_value()) << records.error().message;
    recorder = std::move(*records);
  }
  void KillAndStart(bool is_power_cut = false) {
    disk.Kill();
    if (is_power_cut) {
      ledger::SeededRandom random(1);
      disk.lost_percent = 100;
      disk.CutPower(random);
    }
    recorder.reset();
    watch.reset();
    dead.push_back(std::move(ledger));
    disk.Revive();
    Start();
  }
  // One request that is settled at `cost`, of `held`.
  void Spend(NanoUsd cost, NanoUsd held = 0, const std::string& model = "org/model",
             bool open_ended = false, bool is_beyond = false, bool is_other_tier = false) {
    std::vector<ledger::AccountNumber> budgets;
    for (const ledger::BudgetState& state : ledger->Budgets()) {
      budgets.push_back(state.number);
    }
    ledger::HoldRequest request;
    request.id = {ledger::RequestId::Make(now_ns() / 1'000'000), 1};
    request.cost = request.charge = held == 0 ? cost : held;
    request.budgets = budgets;
    billing::Purchase bought{"org_1", "prj_1", "key_1", "usr_1", model, "site-a", "model-x"};
    bought.open_ended = open_ended;
    if (!own_key_of.empty()) {
      bought.own_key = true;
      bought.org_id = own_key_of;
      request.charge = 0;
    }
    request.text = billing::Encode(bought);
    auto hold = ledger->Take(request);
    ASSERT_TRUE(hold.has_value());
    ASSERT_TRUE(hold->Sent().has_value());
    billing::Outcome outcome;
    outcome.is_beyond = is_beyond;
    outcome.source = source;
    outcome.is_other_tier = is_other_tier;
    outcome.has_unpriced_writes = has_unpriced_writes;
    ASSERT_TRUE(
        hold->Settle(cost, std::min(cost, request.charge), billing::Encode(outcome)).has_value());
  }
  // At prices that are dearer above 1000 input tokens, and at "priority"; and cheaper at "flex".
  void SpendAt(int64_t input_tokens, const std::string& service_tier) {
    catalog::Prices prices;
    const auto put = [](catalog::TokenPrices& tokens, const char* usd) {
      tokens.input = tokens.output = Decimal::Parse(usd).value();
    };
    put(prices, "1");
    put(prices.tiers.emplace_back(), "2");
    prices.tiers[0].above = 1000;
    for (const auto& [name, usd] : {std::pair("flex", "0.5"), std::pair("priority", "3")}) {
      catalog::ServiceTier& service = prices.AddService(name);
      put(service, usd);
      put(service.tiers.emplace_back(), usd);
      service.tiers[0].above = 1000;
    }
    const billing::Purchase bought{"org_1", "prj_1", "key_1", "usr_1", "org/m", "site-a", "m"};
    ledger::HoldRequest request;
    request.id = {ledger::RequestId::Make(now_ns() / 1'000'000), 1};
    request.cost = request.charge = 10;
    request.text = billing::Encode(bought);
    request.price_version = ledger->PriceVersion(billing::SpecOf(bought, prices)).value();
    auto hold = ledger->Take(request);
    ASSERT_TRUE(hold.has_value());
    ASSERT_TRUE(hold->Sent().has_value());
    billing::Outcome outcome;
    outcome.source = billing::UsageSource::kProvider;
    outcome.input_tokens = input_tokens;
    outcome.service_tier = service_tier;
    ASSERT_TRUE(hold->Settle(10, 10, billing::Encode(outcome)).has_value());
  }
  int64_t now_ns() const {
    return std::chrono::nanoseconds(clock.WallNow().time_since_epoch()).count();
  }
  Seen Look() {
    EXPECT_TRUE(recorder->CatchUp().has_value());
    auto seen = watch->Look(*recorder, *ledger);
    EXPECT_TRUE(seen.has_value()) << seen.error().message;
    return seen.value_or(Seen());
  }
  std::vector<std::string> LookFor(Kind kind) {
    std::vector<std::string> texts;
    for (const Alert& alert : Look().raised) {
      if (alert.kind == kind) {
        texts.push_back(alert.text);
      }
    }
    return texts;
  }
  void Change(const std::function<Status(storage::Database&)>& work) {
    const Status changed = recorder->Change(work);
    ASSERT_TRUE(changed.has_value()) << changed.error().message;
  }
  std::vector<Alert> All(const AlertFilter& filter = {}) {
    std::vector<Alert> all;
    Change([&](storage::Database& database) -> Status {
      TW_ASSIGN_OR_RETURN(all, ListAlerts(database, filter));
      return {};
    });
    return all;
  }
  size_t Count(Kind kind) {
    return static_cast<size_t>(std::ranges::count(All({.limit = 1000}), kind, &Alert::kind));
  }
};

TEST(Watch, TellsEachShareOfABudgetOncePerWindow) {
  World world;
  ASSERT_TRUE(world.ledger
                  ->Define({.name = "key:key_1",
                            .limit = 10 * kUsd,
                            .mode = ledger::Mode::kSoft,
                            .period = Period::kDay})
                  .has_value());
  world.Spend(4 * kUsd);
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
  world.Spend(2 * kUsd);
  EXPECT_EQ(world.LookFor(Kind::kBudget),
            std::vector<std::string>{"50 % of the budget key:key_1 are used: $6.00 of $10.00."});
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
  world.Spend(2 * kUsd);
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U) << "80 %";
  world.Spend(3 * kUsd);
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U) << "100 %";
  world.clock.Advance(std::chrono::hours(24));
  world.Spend(5 * kUsd);
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U) << "the next day begins anew";
  EXPECT_EQ(world.All({.org_id = "org_1"}).size(), world.All().size()) << "known by what it spent";
  EXPECT_TRUE(world.All({.org_id = "org_2"}).empty());
}

TEST(Watch, TellsAgainWhatIsCrossedAgainAfterACorrection) {
  World world;
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 10 * kUsd}).has_value());
  for (const NanoUsd cost : {6 * kUsd, 3 * kUsd}) {
    world.Spend(cost);
    EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U) << "50 %, then 80 %";
  }
  const auto refuse = [&] {
    const ledger::BudgetState state = *world.ledger->FindBudget("key:key_1");
    ledger::Refusal refusal;
    refusal.reason = ledger::Refusal::Reason::kBudget;
    refusal.account = state.number;
    refusal.asked = 2 * kUsd;
    world.ledger->NoteRefused(refusal);
  };
  refuse();
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U) << "used up";
  const std::vector<billing::AttemptRow> rows = world.recorder->Page({}, 1).value();
  const std::vector<ledger::Leg> legs = billing::BudgetsOf(rows.at(0).budgets);
  ASSERT_TRUE(world.ledger
                  ->Adjust({.id = rows[0].id,
                            .cost_before = 6 * kUsd,
                            .charge_before = 6 * kUsd,
                            .cost = 0,
                            .charge = 0,
                            .budgets = legs})
                  .has_value());
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
  world.KillAndStart();
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
  world.Spend(6 * kUsd);
  world.KillAndStart();  // nobody has looked
  world.KillAndStart();
  EXPECT_EQ(world.LookFor(Kind::kBudget),
            std::vector<std::string>{"80 % of the budget key:key_1 are used: $9.00 of $10.00."});
  refuse();
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U) << "used up again";
  world.KillAndStart();
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
}

TEST(Watch, ARefusalThatAKillLostIsToldWithTheNextOne) {
  World world;
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 10 * kUsd}).has_value());
  const auto refuse = [&] {
    ledger::Refusal refusal;
    refusal.reason = ledger::Refusal::Reason::kBudget;
    refusal.account = world.ledger->FindBudget("key:key_1")->number;
    refusal.asked = 11 * kUsd;
    world.ledger->NoteRefused(refusal);
  };
  refuse();
  world.KillAndStart();  // nobody has looked
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
  refuse();
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U);
  world.KillAndStart();
  refuse();
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty()) << "it was told";
}

TEST(Watch, AKillRepeatsNoAlertAndLosesNone) {
  World world;
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 10 * kUsd}).has_value());
  world.Spend(5 * kUsd);
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U);
  world.KillAndStart();
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty());
  world.Spend(3 * kUsd);  // nobody has looked when the process is killed, twice
  world.KillAndStart();
  world.KillAndStart();
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U);
  EXPECT_EQ(world.Count(Kind::kBudget), 2U);
  EXPECT_EQ(world.Count(Kind::kNewSku), 1U);
}

TEST(Watch, SurvivesKillsWhereverSettlesAndLooksStand) {
  ledger::SeededRandom random(3);
  for (int round = 0; round < 5; ++round) {
    World world;
    ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 100 * kUsd}).has_value());
    for (int i = 0; i < 100; ++i) {
      world.Spend(kUsd);
      if (random.Below(5) == 0) {
        ASSERT_TRUE(world.recorder->CatchUp().has_value());
      }
      if (random.Below(8) == 0) {
        world.Look();
      }
      if (random.Below(10) == 0) {
        world.KillAndStart();
      }
    }
    world.Look();
    std::map<std::string, int> texts;
    for (const Alert& alert : world.All({.limit = 1000})) {
      ++texts[alert.dedup];
    }
    EXPECT_EQ(texts.size(), world.All({.limit = 1000}).size());
    const auto has = [&](int percent) {
      return std::ranges::any_of(world.All({.limit = 1000}), [&](const Alert& alert) {
        return alert.kind == Kind::kBudget && alert.text.starts_with(std::to_string(percent));
      });
    };
    EXPECT_TRUE(has(100)) << round;
  }
}

TEST(Watch, TellsOfNewGoodsAndOfBillsBeyondTheirHolds) {
  World world;
  world.Spend(10);
  world.Spend(10);
  EXPECT_EQ(world.LookFor(Kind::kNewSku),
            std::vector<std::string>{"org/model is paid for at site-a for the first time."});
  world.Spend(10, 0, "org/other");
  EXPECT_EQ(world.LookFor(Kind::kNewSku).size(), 1U);
  world.Spend(30, 20);
  const std::vector<std::string> overruns = world.LookFor(Kind::kOverrun);
  ASSERT_EQ(overruns.size(), 1U);
  EXPECT_NE(overruns[0].find("$0.00000001 more than was held"), std::string::npos) << overruns[0];
}

TEST(Watch, TellsOfADearerTierTheFirstTimeThatItIsPaidFor) {
  World world;
  world.SpendAt(1000, "");
  EXPECT_EQ(world.LookFor(Kind::kNewSku).size(), 1U) << "the model";
  world.SpendAt(1000, "flex");
  EXPECT_TRUE(world.LookFor(Kind::kNewSku).empty()) << "cheaper";
  world.SpendAt(1001, "");
  world.SpendAt(5000, "");
  EXPECT_EQ(world.LookFor(Kind::kNewSku),
            std::vector<std::string>{"org/m is paid for above 1000 input tokens at site-a for the "
                                     "first time, which costs more than what is usual."});
  world.SpendAt(5, "priority");
  const std::vector<std::string> told = world.LookFor(Kind::kNewSku);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("at priority"), std::string::npos) << told[0];
  world.KillAndStart();
  world.SpendAt(5000, "");
  world.SpendAt(5, "priority");
  EXPECT_TRUE(world.LookFor(Kind::kNewSku).empty()) << "once, also after a kill";
}

TEST(Watch, BarsARouteThatBilledMoreThanItsHoldUntilSomebodyAcknowledgesIt) {
  World world;
  world.Spend(20, 20);
  world.Spend(30, 20, "org/open", true);
  EXPECT_TRUE(world.Look().barred.empty()) << "nothing bounded that request";
  world.Spend(30, 20, "org/a/model:b");  // a name as odd as its scope
  world.Spend(40, 20, "org/a/model:b");
  const Seen seen = world.Look();
  ASSERT_EQ(seen.barred.size(), 1U);
  EXPECT_EQ(seen.barred[0].provider, "site-a");
  EXPECT_EQ(seen.barred[0].model, "org/a/model:b");
  EXPECT_EQ(world.Count(Kind::kBarred), 1U) << "told once while it lasts";
  EXPECT_EQ(world.Count(Kind::kOverrun), 2U) << "one of each route";
  world.KillAndStart();
  EXPECT_EQ(world.Look().barred, seen.barred) << "a start forgives nothing";
  world.Change([&](storage::Database& database) {
    return Acknowledge(database, seen.barred[0].alert_id, "admin", 5);
  });
  EXPECT_TRUE(world.Look().barred.empty());
  world.Spend(30, 20, "org/a/model:b");
  EXPECT_EQ(world.Look().barred.size(), 1U) << "and it begins again";
  EXPECT_TRUE(world.All({.org_id = "org_1"}).size() < world.All().size())
      << "the operator's, and no organisation's";
}

TEST(Watch, BarsForWhoPaysTheProviderAndNobodyElse) {
  World world;
  world.own_key_of = "evil-corp";
  world.Spend(30, 20, "org/a/model:b");
  const std::vector<std::string> told = world.LookFor(Kind::kBarred);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("Hard budgets of evil-corp are not spent, by its own key,"),
            std::string::npos)
      << told[0];
  std::vector<billing::BarredRoute> barred = world.Look().barred;
  ASSERT_EQ(barred.size(), 1U);
  EXPECT_EQ(std::tuple(barred[0].org_id, barred[0].provider, barred[0].model),
            std::tuple("evil-corp", "site-a", "org/a/model:b"));
  const std::vector<Alert> seen = world.All({.org_id = "evil-corp"});
  EXPECT_EQ(std::ranges::count(seen, Kind::kBarred, &Alert::kind), 1) << "it is theirs";
  world.own_key_of = "";
  world.Spend(30, 20, "org/a/model:b");
  EXPECT_EQ(world.Look().barred.size(), 2U) << "the server's account is another one";
  world.KillAndStart();
  barred = world.Look().barred;
  ASSERT_EQ(barred.size(), 2U);
  EXPECT_EQ(barred[1].org_id, "");
  world.Change([&](storage::Database& database) {
    return AcknowledgeForOrg(database, barred[0].alert_id, "ada", 5);
  });
  ASSERT_EQ(world.Look().barred.size(), 1U) << "it pays there itself";
  world.own_key_of = "evil-corp";
  world.Spend(30, 20, "org/a/model:b");
  EXPECT_EQ(world.Look().barred.size(), 2U) << "and it begins again";
}

TEST(Watch, CountsOverrunsOfARouteInTheOneThatIsOpen) {
  World world;
  world.Spend(30, 20);
  world.Spend(50, 20);
  world.Look();
  world.Spend(40, 20);
  world.Look();
  const auto all = [&] {
    std::vector<Alert> found;
    std::ranges::copy_if(world.All(), std::back_inserter(found),
                         [](const Alert& alert) { return alert.kind == Kind::kOverrun; });
    return found;
  };
  ASSERT_EQ(all().size(), 1U);
  const Alert told = all()[0];
  EXPECT_EQ(told.amount, 60);
  EXPECT_TRUE(
      told.text.ends_with("So were 2 more since then: $0.00000006 more than was held in "
                          "all."))
      << told.text;
  EXPECT_EQ(told.org_id, "") << "others pay by the same key";
  world.Change(
      [&](storage::Database& database) { return Acknowledge(database, told.id, "admin", 5); });
  world.Spend(30, 20);
  world.Look();
  EXPECT_EQ(all().size(), 2U);
}

TEST(Watch, BarsForAllWhatWasBilledAThousandTimesItsHold) {
  World world;
  world.Spend(30, 20, "org/open");
  world.Spend(1'000'000'001, 20, "org/open", true);
  std::vector<billing::BarredRoute> barred = world.Look().barred;
  ASSERT_EQ(barred.size(), 2U) << "what hard budgets leave is one thing, and what all do another";
  EXPECT_EQ(std::tuple(barred[1].provider, barred[1].model, barred[1].for_all),
            std::tuple("site-a", "org/open", true));
  EXPECT_FALSE(barred[0].for_all);
  world.own_key_of = "evil";
  world.Spend(1'000'000'001, 20, "org/open", true);
  barred = world.Look().barred;
  ASSERT_EQ(barred.size(), 3U);
  EXPECT_TRUE(barred[2].for_all && barred[2].org_id == "evil");
}

TEST(Watch, TellsWhatDoesNotFitIntoTheBooks) {
  World world;
  ledger::HoldRequest request;
  request.id = {ledger::RequestId::Make(world.now_ns() / 1'000'000), 1};
  auto hold = world.ledger->Take(request);
  ASSERT_TRUE(hold.has_value() && hold->Sent().has_value());
  EXPECT_FALSE(hold->Settle(ledger::kAmountMax + 1, 0, "").has_value());
  const std::vector<std::string> told = world.LookFor(Kind::kLedger);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].starts_with("What a request cost cannot be posted, and it stays in doubt: "))
      << told[0];
  EXPECT_EQ(LedgerAlert(*world.ledger, 1)->scope, "ledger:full");
}

TEST(Watch, KnowsAcrossAKillWhatNothingBounded) {
  World world;
  billing::Purchase bought{"org_1", "prj_1", "key_1", "usr_1", "org/open", "site-a", "model-x"};
  bought.open_ended = true;
  ledger::HoldRequest request;
  request.id = {ledger::RequestId::Make(world.now_ns() / 1'000'000), 1};
  request.cost = request.charge = 20;
  request.text = billing::Encode(bought);
  auto hold = world.ledger->Take(request);
  ASSERT_TRUE(hold->Sent().has_value() && hold->Doubt("it was cut").has_value());
  world.Look();
  world.KillAndStart();
  ASSERT_TRUE(world.ledger->ResolveSettled(request.id, 30, 20, billing::Encode(billing::Outcome{}))
                  .has_value());
  EXPECT_TRUE(world.Look().barred.empty());
  EXPECT_EQ(world.Count(Kind::kOverrun), 1U);
}

TEST(Watch, TellsOfUsageBeyondItsBoundsOnceForEachRoute) {
  World world;
  world.Spend(20, 30, "org/a", false, true);
  world.Spend(20, 30, "org/a", false, true);
  world.Spend(20, 30, "org/b", false, true);
  const std::vector<std::string> told = world.LookFor(Kind::kUsage);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_TRUE(
      told[0].starts_with("site-a counts 0 tokens of input and 0 of output (thoughts: 0) for "))
      << told[0];
  EXPECT_TRUE(world.Look().barred.empty()) << "it cost no more than was held";
}

// Its price is not the one that was held.
TEST(Watch, BarsARouteThatServedATierWithoutAPrice) {
  World world;
  world.Spend(20, 30, "org/m", true, false, true);
  EXPECT_TRUE(world.Look().barred.empty()) << "no hard bound was held";
  world.Spend(20, 30, "org/m", false, false, true);
  const std::vector<std::string> told = world.LookFor(Kind::kBarred);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("a service tier that has no price here"), std::string::npos) << told[0];
  EXPECT_EQ(world.Look().barred.size(), 1U);
}

TEST(Watch, TellsOfWritesToACacheThatHaveNoPrice) {
  World world;
  world.has_unpriced_writes = true;
  world.Spend(20, 30, "org/m", true);
  world.Spend(20, 30, "org/m", true);
  const std::vector<std::string> told = world.LookFor(Kind::kUsage);
  ASSERT_EQ(told.size(), 1U) << "once a route";
  EXPECT_NE(told[0].find("(cache_write)"), std::string::npos) << told[0];
  EXPECT_NE(told[0].find("cache_write_usd_per_mtok"), std::string::npos) << told[0];
  EXPECT_TRUE(world.Look().barred.empty()) << "no hard bound was held";
  world.Spend(20, 30, "org/m");
  const std::vector<std::string> barred = world.LookFor(Kind::kBarred);
  ASSERT_EQ(barred.size(), 1U);
  EXPECT_NE(barred[0].find("cache_write_usd_per_mtok"), std::string::npos) << barred[0];
  world.source = billing::UsageSource::kBilled;
  world.Spend(20, 30, "org/named");
  EXPECT_TRUE(world.LookFor(Kind::kUsage).empty()) << "its cost is known";
}

TEST(Watch, BarsNoRouteWhoseCostWasNamedLater) {
  World world;
  world.source = billing::UsageSource::kBilled;
  world.Spend(20, 30, "org/m", false, false, true);
  EXPECT_TRUE(world.Look().barred.empty());
}

TEST(Watch, TellsOnceWhatAPowerCutMayHaveTaken) {
  World world;
  ASSERT_TRUE(world.ledger->Define({.name = "org:o", .limit = 1'000'000'000}).has_value());
  world.Spend(100'000'000);
  world.ledger->Tend();
  world.KillAndStart();
  EXPECT_TRUE(world.LookFor(Kind::kPowerCut).empty()) << "a kill takes nothing";
  world.Spend(100'000'000);
  world.KillAndStart(true);
  const std::vector<std::string> told = world.LookFor(Kind::kPowerCut);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("tradewind budget release org:o"), std::string::npos) << told[0];
  world.Spend(1000);
  world.KillAndStart();
  EXPECT_TRUE(world.LookFor(Kind::kPowerCut).empty());
  EXPECT_EQ(world.Count(Kind::kPowerCut), 1U);
}

TEST(Watch, TellsOfADiskThatIsNearlyFullOnceADay) {
  World world;
  EXPECT_TRUE(world.LookFor(Kind::kDisk).empty());
  world.disk.room = {0, uint64_t{1} << 40, "/data"};
  world.ledger->Tend();
  const std::vector<std::string> told = world.LookFor(Kind::kDisk);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("/data has 0 MiB free, and 2048 MiB are kept"), std::string::npos);
  EXPECT_TRUE(world.LookFor(Kind::kDisk).empty());
  world.clock.Advance(std::chrono::hours(25));
  EXPECT_EQ(world.LookFor(Kind::kDisk).size(), 1U);
}

ledger::Refusal NoRoomFor(NanoUsd asked, ledger::AccountNumber budget) {
  ledger::Refusal refusal;
  refusal.reason = ledger::Refusal::Reason::kBudget;
  refusal.account = budget;
  refusal.asked = asked;
  return refusal;
}

TEST(Watch, ABudgetWithoutRoomIsUsedUpOnlyWhereItIs) {
  World world;
  const auto key = world.ledger->Define(
      {.name = "key:key_1", .limit = 10 * kUsd, .period = Period::kDay, .warn_percent = {}});
  ASSERT_TRUE(key.has_value());
  world.Spend(10 * kUsd);
  const ledger::Refusal refusal = NoRoomFor(9 * kUsd, *key);
  world.ledger->NoteRefused(refusal);
  const std::vector<std::string> told = world.LookFor(Kind::kBudget);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].starts_with("The budget key:key_1 is used up, and has no room")) << told[0];
}

TEST(Watch, NamesWhoseAlertItIsBehindTheId) {
  World world;
  world.names = {{"key:key_1", "demo"}, {"org:org_1", "acme"}};
  for (const char* name : {"key:key_1", "org:org_1/model:org/model", "all"}) {
    ASSERT_TRUE(world.ledger->Define({.name = name, .limit = 10 * kUsd, .period = Period::kDay}));
  }
  world.Spend(5 * kUsd);
  std::vector<std::string> told = world.LookFor(Kind::kBudget);
  std::ranges::sort(told);
  EXPECT_EQ(told, (std::vector<std::string>{
                      "50 % of the budget all are used: $5.00 of $10.00.",
                      "50 % of the budget key:key_1 (demo) are used: $5.00 of $10.00.",
                      "50 % of the budget org:org_1/model:org/model (acme) are used: $5.00 of "
                      "$10.00."}));
}

TEST(Watch, AnAlertOfAKeyIsItsOrganisationsWhomeverItBills) {
  World world;
  world.orgs = {{"key:key_1", "org_2"}};
  ASSERT_TRUE(
      world.ledger->Define({.name = "key:key_1", .limit = 10 * kUsd, .period = Period::kDay}));
  world.Spend(5 * kUsd);  // billed to org_1
  ASSERT_EQ(world.LookFor(Kind::kBudget).size(), 1U);
  const auto told = [&](const char* org_id) {
    return std::ranges::count(world.All({.org_id = org_id}), Kind::kBudget, &Alert::kind);
  };
  EXPECT_EQ(told("org_1"), 0);
  EXPECT_EQ(told("org_2"), 1);
}

TEST(Watch, NamesTheOrganisationWhoseOwnKeyIsBarred) {
  World world;
  world.names = {{"org:org_2", "initech"}};
  world.own_key_of = "org_2";
  ASSERT_TRUE(world.ledger->Define({.name = "key:key_1", .limit = 100'000 * kUsd}));
  world.Spend(2000 * kUsd, kUsd);
  const std::vector<std::string> told = world.LookFor(Kind::kBarred);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("by the own key of org_2 (initech)"), std::string::npos) << told[0];
}

TEST(Watch, TellsThatABudgetHasNoRoomWhenItRefusesFirst) {
  World world;
  const auto key = world.ledger->Define(
      {.name = "key:key_1", .limit = 10 * kUsd, .period = Period::kDay, .warn_percent = {}});
  ASSERT_TRUE(key.has_value());
  world.Spend(2 * kUsd);
  const ledger::Refusal refusal = NoRoomFor(9 * kUsd, *key);
  world.ledger->NoteRefused(refusal);
  const std::vector<std::string> told = world.LookFor(Kind::kBudget);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0],
            "The budget key:key_1 has no room for a request that may cost $9.00: of $10.00, "
            "$2.00 are spent, $0.00 held by what runs, and $0.00 by what is in doubt.");
  world.KillAndStart();
  world.ledger->NoteRefused(refusal);
  EXPECT_TRUE(world.LookFor(Kind::kBudget).empty()) << "once in a period, whatever is killed";
  world.clock.Advance(std::chrono::hours(24));
  world.ledger->NoteRefused(refusal);
  EXPECT_EQ(world.LookFor(Kind::kBudget).size(), 1U);
}

TEST(Watch, TellsOfALedgerThatHasStoppedAndOfADatabaseThatIsBehindOnceADay) {
  World world;
  EXPECT_FALSE(LedgerAlert(*world.ledger, world.now_ns()).has_value());
  world.ledger->NoteBehind("ledger.db: the disk is full");
  std::vector<std::string> told = world.LookFor(Kind::kLedger);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].starts_with("ledger.db is behind")) << told[0];
  EXPECT_NE(told[0].find("the disk is full"), std::string::npos);
  EXPECT_TRUE(world.LookFor(Kind::kLedger).empty());
  world.clock.Advance(std::chrono::hours(25));
  EXPECT_EQ(world.LookFor(Kind::kLedger).size(), 1U);
  world.ledger->NoteBehind("");
  world.disk.writes_left = 0;
  EXPECT_FALSE(world.ledger->Define({.name = "key:b", .limit = 1}).has_value());
  told = world.LookFor(Kind::kLedger);
  ASSERT_EQ(told.size(), 1U) << "the worse of both is told, too";
  EXPECT_NE(told[0].find("paid requests are refused: the journal cannot be written"),
            std::string::npos)
      << told[0];
  EXPECT_TRUE(world.LookFor(Kind::kLedger).empty());
  world.disk.writes_left = -1;
}

// What `provider` bills for the month of the world's clock, in one line of a day.
billing::BillLine BilledToday(const World& world, const char* model, NanoUsd cost) {
  billing::BillLine line;
  line.provider = "site-a";
  line.model = model;
  line.start_s = world.now_ns() / 1'000'000'000 / 86'400 * 86'400;
  line.end_s = line.start_s + 86'400;
  line.cost = cost;
  return line;
}

void Import(World& world, const std::vector<billing::BillLine>& lines) {
  ASSERT_TRUE(world.recorder->PutBillLines(lines).has_value());
  const billing::BillPeriod month = billing::MonthOf(lines.front().start_s);
  const auto found = world.recorder->Differences("site-a", month);
  ASSERT_TRUE(found.has_value());
  ASSERT_TRUE(world.recorder->TellDifferences("site-a", month, *found, world.now_ns()).has_value());
}

TEST(Watch, TellsWhereAProvidersBillSaysOtherwise) {
  World world;
  const auto import = [&](const std::vector<billing::BillLine>& lines) { Import(world, lines); };
  import({BilledToday(world, "model-z", 4'000'000)});
  EXPECT_TRUE(world.LookFor(Kind::kBill).empty()) << "half a cent is rounding";
  import({BilledToday(world, "model-y", 2 * kUsd), BilledToday(world, "model-z", 5 * kUsd)});
  const std::vector<std::string> told = world.LookFor(Kind::kBill);
  ASSERT_EQ(told.size(), 1U) << "of one class";
  EXPECT_NE(
      told[0].find("bills what is not known here (missing_local): 2 lines, $7.00 in all, most "
                   "of it $5.00 for model-z"),
      std::string::npos)
      << told[0];
  EXPECT_NE(told[0].find("tradewind reconcile status 2026-09"), std::string::npos) << told[0];
  import({BilledToday(world, "model-y", 2 * kUsd)});
  EXPECT_TRUE(world.LookFor(Kind::kBill).empty()) << "the same bill again";
  import({BilledToday(world, "model-y", 3 * kUsd)});
  EXPECT_EQ(world.LookFor(Kind::kBill).size(), 1U) << "another one";
  EXPECT_EQ(world.All().front().scope, "provider:site-a");
  EXPECT_EQ(world.All().front().amount, 8 * kUsd);
}

TEST(Watch, TellsOfABillWhoseToleratedLinesAddUpOnceForEachState) {
  World world;
  const auto import = [&](int hours, NanoUsd cost) {
    std::vector<billing::BillLine> lines;
    for (int hour = 0; hour < hours; ++hour) {
      lines.push_back(BilledToday(world, "model-x", cost));
      lines.back().start_s += int64_t{3600} * hour;
      lines.back().end_s = lines.back().start_s + 3600;
    }
    Import(world, lines);
  };
  import(2, 4'900'000);
  EXPECT_TRUE(world.LookFor(Kind::kBill).empty()) << "within a cent in all";
  import(3, 4'900'000);
  const std::vector<std::string> told = world.LookFor(Kind::kBill);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].starts_with("site-a's bill of 2026-09 is $0.0147 off in all (sum)"))
      << told[0];
  EXPECT_NE(told[0].find("tradewind reconcile status 2026-09"), std::string::npos) << told[0];
  EXPECT_EQ(world.All().front().amount, 14'700'000);
  import(3, 4'900'000);
  EXPECT_TRUE(world.LookFor(Kind::kBill).empty()) << "the same bill again";
  import(3, 4'800'000);
  EXPECT_EQ(world.LookFor(Kind::kBill).size(), 1U) << "another one";
}

TEST(Watch, TellsThePriceThatABillImplies) {
  World world;
  world.Spend(2 * kUsd);
  billing::BillLine line = BilledToday(world, "model-x", 3 * kUsd);
  line.input_tokens = line.output_tokens = 0;
  ASSERT_TRUE(world.recorder->PutBillLines(std::vector{line}).has_value());
  const billing::BillPeriod month = billing::MonthOf(line.start_s);
  ASSERT_TRUE(world.recorder->CatchUp().has_value());
  auto differences = world.recorder->Differences("site-a", month).value();
  ASSERT_EQ(differences.size(), 1U);
  EXPECT_EQ(differences[0].kind, billing::DifferenceClass::kPrice);
  EXPECT_EQ(differences[0].local.hf_model, "org/model");
  EXPECT_EQ(differences[0].local.provider_model, "model-x");
  differences[0].line.input_tokens = 1'000'000;  // as if both had counted them
  world.Change([&](storage::Database& database) {
    return world.watch->Compared(database, "site-a", month, differences, world.now_ns());
  });
  const std::vector<std::string> told = world.LookFor(Kind::kBill);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("Its figures say of model-x: input $3 per million tokens."),
            std::string::npos)
      << told[0];
}

TEST(Watch, TellsWhoSpendsTooFastForTheDayOnceADay) {
  World world({.velocity = 0, .throttle = true});
  ASSERT_TRUE(
      world.ledger->Define({.name = "key:key_1", .limit = 100 * kUsd, .period = Period::kDay})
          .has_value());
  world.Spend(kUsd);
  EXPECT_TRUE(world.Look().throttled.empty()) << "one request is no speed";
  world.Spend(4 * kUsd);
  const Seen seen = world.Look();
  EXPECT_EQ(seen.throttled, std::vector<std::string>{"key:key_1"});
  EXPECT_EQ(world.Count(Kind::kVelocity), 1U);
  world.Spend(kUsd / 2);
  world.Look();
  EXPECT_EQ(world.Count(Kind::kVelocity), 1U);
  world.KillAndStart();
  EXPECT_EQ(world.Look().throttled.size(), 1U) << "a start lets nobody off";
}

TEST(Watch, AnAcknowledgedAlertThrottlesNobodyAndStaysAsItWas) {
  World world({.throttle = true});
  world.Spend(6 * kUsd);
  EXPECT_EQ(world.Look().throttled.size(), 2U) << "the key and its organisation, both new";
  for (const Alert& alert : world.All()) {
    world.Change([&](storage::Database& database) -> Status {
      TW_RETURN_IF_ERROR(Acknowledge(database, alert.id, "ada", 5));
      return Acknowledge(database, alert.id, "bob", 6);
    });
  }
  EXPECT_TRUE(world.Look().throttled.empty());
  EXPECT_TRUE(world.All({.open_only = true}).empty());
  EXPECT_EQ(world.All().front().acknowledged_by, "ada");
}

TEST(Watch, FiveDollarsWithinTenMinutesAreFastForWhoIsNewOnly) {
  World world;
  world.Spend(kUsd);
  world.clock.Advance(std::chrono::hours(73));
  world.Spend(6 * kUsd);
  world.Look();
  EXPECT_EQ(world.Count(Kind::kVelocity), 0U);
}

TEST(Watch, WhatIsSettledLateIsNotSpentAtOnce) {
  World world;
  for (int i = 0; i < 6; ++i) {
    ledger::HoldRequest request;
    request.id = {{1, ++world.ids}, 1};
    request.cost = request.charge = kUsd;
    request.text = billing::Encode(
        billing::Purchase{"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"});
    auto hold = world.ledger->Take(request);
    ASSERT_TRUE(hold->Sent().has_value() && hold->Doubt("the provider's books are closed"));
    world.clock.Advance(std::chrono::minutes(30));
  }
  world.clock.Advance(std::chrono::hours(2));
  for (const auto& [id, hold] : world.ledger->HoldsInDoubt()) {
    ASSERT_TRUE(world.ledger->ResolveSettled(id, kUsd, kUsd, billing::Encode(billing::Outcome{}))
                    .has_value());
  }
  world.Look();
  EXPECT_EQ(world.Count(Kind::kVelocity), 0U) << "six dollars in three hours";
}

// Three weeks of a quarter of a dollar each five minutes, and then ten times that.
TEST(Watch, FindsABurstByTheSeasonAndArmsItselfAgainADayLater) {
  World world({.velocity = 0});
  constexpr int64_t kDays = 21;
  const int64_t start = world.now_ns() / 1'000'000'000 / kBucketS;
  world.Change([&](storage::Database& database) -> Status {
    for (int64_t i = 0; i < kDays * kBucketsPerDay; ++i) {
      TW_RETURN_IF_ERROR(
          AddCost(database, "key:key_1", "org_1", start + i, kUsd / 4 + (i % 7) * 10'000'000));
    }
    return {};
  });
  world.clock.Advance(std::chrono::hours(24 * kDays));
  world.Look();
  EXPECT_EQ(world.Count(Kind::kUnusual), 0U);
  int64_t buckets = 0;
  for (; world.Count(Kind::kUnusual) == 0 && buckets < 20; ++buckets) {
    world.Spend(5 * kUsd / 2);
    world.clock.Advance(std::chrono::seconds(kBucketS));
    world.Look();
  }
  EXPECT_LE(buckets, 4) << "twenty minutes";
  const std::vector<Alert> unusual = world.All({.limit = 1000});
  const auto found = std::ranges::find(unusual, Kind::kUnusual, &Alert::kind);
  ASSERT_NE(found, unusual.end());
  EXPECT_EQ(found->scope, "key:key_1");
  EXPECT_NE(found->text.find("$2.50 in five minutes where $0."), std::string::npos) << found->text;
  for (int i = 0; i < 100; ++i) {
    world.Spend(5 * kUsd / 2);
    world.clock.Advance(std::chrono::seconds(kBucketS));
  }
  world.Look();
  EXPECT_EQ(world.Count(Kind::kUnusual), 1U) << "told once a day";
  for (int i = 0; i < 250; ++i) {
    world.Spend(5 * kUsd / 2);
    world.clock.Advance(std::chrono::seconds(kBucketS));
  }
  world.Look();
  EXPECT_EQ(world.Count(Kind::kUnusual), 2U);
}

TEST(Watch, ForecastsThatAMonthWillEndAboveItsBudget) {
  World world({.velocity = 0});
  // 2026-09-21, and $2 a day since two weeks ago.
  ASSERT_TRUE(world.ledger
                  ->Define({.name = "org:org_1",
                            .limit = 20 * kUsd,
                            .mode = ledger::Mode::kSoft,
                            .period = Period::kMonth})
                  .has_value());
  for (int day = 0; day < 9; ++day) {
    world.Spend(2 * kUsd);
    EXPECT_EQ(world.LookFor(Kind::kForecast).size(), 0U) << "a week has to be known";
    world.clock.Advance(std::chrono::hours(24));
    if (day == 7) {
      break;
    }
  }
  world.Spend(2 * kUsd);
  const std::vector<std::string> told = world.LookFor(Kind::kForecast);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("above its $20.00"), std::string::npos) << told[0];
  EXPECT_TRUE(world.LookFor(Kind::kForecast).empty());
}

TEST(Watch, CountsWhatCallersOwnKeysPayForThemAndNotForTheServer) {
  World world;
  const auto spent_of = [&](const char* series) {
    EXPECT_TRUE(world.recorder->CatchUp().has_value());
    NanoUsd spent = 0;
    EXPECT_TRUE(world.recorder
                    ->Change([&](storage::Database& database) -> Status {
                      TW_ASSIGN_OR_RETURN(spent, CostBetween(database, series, 0, INT64_MAX));
                      return {};
                    })
                    .has_value());
    return spent;
  };
  world.Spend(3 * kUsd);
  world.own_key_of = "org_2";
  world.Spend(20 * kUsd);
  EXPECT_EQ(spent_of("provider:site-a"), 3 * kUsd);
  EXPECT_EQ(spent_of("model:org/model"), 3 * kUsd);
  EXPECT_EQ(spent_of("org:org_1"), 3 * kUsd);
  EXPECT_EQ(spent_of("org:org_2"), 20 * kUsd);
}

TEST(Watch, PutsOutWhatIsWantedOnEachChannelUntilItIsDelivered) {
  World world({.wants = {true, false}});
  world.Spend(10);
  world.Look();
  ASSERT_EQ(world.All().size(), 1U);
  const auto due = [&](Channel channel, int64_t now_ns) {
    std::vector<Alert> found;
    world.Change([&](storage::Database& database) -> Status {
      TW_ASSIGN_OR_RETURN(found, DueAlerts(database, channel, now_ns, 10));
      return {};
    });
    return found.size();
  };
  const auto note = [&](const Sent& sent) {
    world.Change([&](storage::Database& database) {
      return NoteDelivery(database, 1, Channel::kWebhook, sent, "no");
    });
  };
  EXPECT_EQ(due(Channel::kCommand, 0), 0U);
  EXPECT_EQ(due(Channel::kWebhook, 0), 1U);
  note({Delivery::kPending, 1, 100});
  EXPECT_EQ(due(Channel::kWebhook, 99), 0U);
  EXPECT_EQ(due(Channel::kWebhook, 100), 1U);
  world.KillAndStart();
  EXPECT_EQ(due(Channel::kWebhook, 100), 1U);
  note({Delivery::kDelivered, 2, 0});
  EXPECT_EQ(due(Channel::kWebhook, INT64_MAX), 0U);
}

}  // namespace
}  // namespace tradewind::alerts
