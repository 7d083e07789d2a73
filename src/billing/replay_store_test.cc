#include "billing/replay_store.h"

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "billing/replay_end.h"
#include "testing/temp_dir.h"

namespace tradewind::billing {
namespace {

using Kind = ReplayClaim::Kind;

constexpr int64_t kNow = 1'764'072'000, kDay = 86'400;

ReplayKey Named(std::string name) {
  return {"org_1", "key_1", std::move(name)};
}
const ReplayKey kKey = Named("order-7");

// Both clocks go on; the wall clock is ahead of the other by `jumped_s`.
ReplayTime After(int64_t steady_s, int64_t jumped_s = 0) {
  return {kNow + steady_s + jumped_s,
          std::chrono::steady_clock::time_point(std::chrono::seconds(steady_s))};
}

struct World {
  testing::TempDir home;
  bool was_billed = true;
  std::unique_ptr<ReplayStore> store;

  explicit World(ReplayLimits limits = {}) { Start(limits); }
  void Start(ReplayLimits limits = {}) {
    store.reset();
    auto opened = ReplayStore::Open(
        home.path() / "replies.db",
        [this](ledger::RequestId) -> Result<bool> { return !was_billed; }, limits);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store = std::move(*opened);
  }
  ReplayClaim Begin(const ReplayKey& key = kKey, const char* hash = "h",
                    ReplayTime now = After(0)) {
    auto claim = store->Begin(key, hash, {7, 9}, now);
    EXPECT_TRUE(claim.has_value()) << claim.error().message;
    return claim.has_value() ? std::move(*claim) : ReplayClaim();
  }
  // Its end is not known.
  void Cut(const ReplayKey& key) {
    EXPECT_EQ(Begin(key).kind, Kind::kNew);
    store->Leave(key);
  }
  void Answer(const ReplayKey& key, std::string body, ReplayTime now = After(0)) {
    ASSERT_EQ(Begin(key, "h", now).kind, Kind::kNew);
    StoredAnswer answer;
    answer.headers = {{"Content-Type", "application/json"}, {"x-empty", ""}};
    answer.body = std::move(body);
    ASSERT_TRUE(store->Finish(key, answer, now).has_value());
  }
};

TEST(ReplayStore, GivesTheAnswerAgainForADayAndOverARestart) {
  World world;
  world.Answer(kKey, std::string("{\0}", 3));
  world.Start();
  const ReplayClaim again = world.Begin();
  ASSERT_EQ(again.kind, Kind::kDone);
  EXPECT_EQ(again.answer.body, std::string("{\0}", 3));
  EXPECT_EQ(again.answer.headers[0].second, "application/json");
  EXPECT_EQ(again.answer.headers[1], std::pair(std::string("x-empty"), std::string()));
  EXPECT_EQ(again.receipt, (ledger::RequestId{7, 9}.ToString()));
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay - 1)).kind, Kind::kDone);
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay)).kind, Kind::kNew) << "a day later it is new";
}

TEST(ReplayStore, FreesNoKeyBecauseTheWallClockJumped) {
  World world;
  const ReplayKey other = Named("order-8");
  world.Answer(kKey, "{}");
  constexpr int64_t kHour = 3600;
  EXPECT_EQ(world.Begin(kKey, "h", After(kHour, 2 * kDay)).kind, Kind::kDone);
  world.Answer(other, "{}", After(kHour, 2 * kDay));
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay - 1, 2 * kDay)).kind, Kind::kDone);
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay, 2 * kDay)).kind, Kind::kNew);
  EXPECT_EQ(world.Begin(other, "h", After(kDay + kHour - 1, 2 * kDay)).kind, Kind::kDone);
  EXPECT_EQ(world.Begin(other, "h", After(kDay + kHour, 2 * kDay)).kind, Kind::kNew);
}

TEST(ReplayStore, FreesNoKeyOfATimeInWhichTheWallClockWasWrong) {
  World world;
  EXPECT_EQ(world.Begin(Named("before")).kind, Kind::kNew);
  world.Answer(kKey, "{}", After(kDay / 2, -3 * kDay));
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay, 0)).kind, Kind::kDone) << "it was set right";
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay * 3 / 2 - 1, 0)).kind, Kind::kDone);
  EXPECT_EQ(world.Begin(kKey, "h", After(kDay * 3 / 2, 0)).kind, Kind::kNew);
}

TEST(ReplayStore, GoesByTheWallClockForWhatAProcessFinds) {
  World world;
  world.Answer(kKey, "{}");
  world.Start();
  EXPECT_EQ(world.Begin(kKey, "h", After(0, kDay - 1)).kind, Kind::kDone);
  world.Start();
  EXPECT_EQ(world.Begin(kKey, "h", After(0, kDay)).kind, Kind::kNew);
}

TEST(ReplayStore, TellsWhileTheFirstRunsAndForAnotherRequest) {
  World world;
  EXPECT_EQ(world.Begin().kind, Kind::kNew);
  EXPECT_EQ(world.Begin().kind, Kind::kRunning);
  EXPECT_EQ(world.Begin(kKey, "other").kind, Kind::kOther);
  EXPECT_EQ(world.Begin({"org_1", "key_2", "order-7"}).kind, Kind::kNew) << "of another key";
  EXPECT_EQ(world.Begin({"org_2", "key_1", "order-7"}).kind, Kind::kNew)
      << "another organisation's";
  ASSERT_TRUE(world.store->Forget(kKey).has_value());
  EXPECT_EQ(world.Begin(kKey, "other").kind, Kind::kNew) << "the first one failed";
}

TEST(ReplayStore, NeverRunsTwiceWhatAKillCutAndMayHaveBeenBilled) {
  World world;
  EXPECT_EQ(world.Begin().kind, Kind::kNew);
  world.Start();
  const ReplayClaim cut = world.Begin();
  EXPECT_EQ(cut.kind, Kind::kCut);
  EXPECT_EQ(cut.receipt, (ledger::RequestId{7, 9}.ToString()));
  world.was_billed = false;
  EXPECT_EQ(world.Begin().kind, Kind::kNew) << "nothing was sent: it runs";
  world.was_billed = true;
  world.store->Leave(kKey);
  EXPECT_EQ(world.Begin().kind, Kind::kCut) << "its client left";
}

Status Finish(ReplayStore& store, const ReplayKey& key, const StoredAnswer& answer) {
  return store.Finish(key, answer, After(0));
}

TEST(ReplayStore, WhatRunsInTheOldProcessOfAnUpgradeRunsUntilItsEndIsKnown) {
  World world;
  for (const char* name : {"answered", "failed", "left", "killed", "huge"}) {
    ASSERT_EQ(world.Begin(Named(name)).kind, Kind::kNew);
  }
  const std::unique_ptr<ReplayStore> old = std::move(world.store);
  old->Release();
  world.Start({.answer_bytes_max = 100});
  for (const char* name : {"answered", "failed", "left", "killed", "huge"}) {
    EXPECT_EQ(world.Begin(Named(name)).kind, Kind::kRunning) << name;
    EXPECT_EQ(world.Begin(Named(name), "other").kind, Kind::kOther) << name;
  }
  StoredAnswer answer;
  answer.status = 200;
  answer.is_stream = true;
  answer.headers = {{"Content-Type", "text/event-stream"}, {"x-empty", ""}};
  answer.body = std::string("{\0}", 3);
  ASSERT_TRUE(Finish(*old, Named("answered"), answer).has_value());
  ASSERT_TRUE(old->Forget(Named("failed")).has_value());
  old->Leave(Named("left"));
  const ReplayClaim again = world.Begin(Named("answered"));
  ASSERT_EQ(again.kind, Kind::kDone);
  EXPECT_TRUE(again.answer.is_stream);
  EXPECT_EQ(again.answer.status, 200);
  EXPECT_EQ(again.answer.headers, answer.headers);
  EXPECT_EQ(again.answer.body, answer.body);
  EXPECT_EQ(world.Begin(Named("answered")).kind, Kind::kDone);
  EXPECT_EQ(world.Begin(Named("failed")).kind, Kind::kNew);
  EXPECT_EQ(world.Begin(Named("left")).kind, Kind::kCut);
  EXPECT_EQ(world.Begin(Named("killed")).kind, Kind::kRunning);
  answer.body = std::string(kStoredAnswerBytesMax + 1, 'x');
  ASSERT_TRUE(Finish(*old, Named("huge"), answer).has_value());
  EXPECT_FALSE(world.Begin(Named("huge")).answer.is_kept);
}

TEST(ReplayStore, WhatAnOldProcessDidNotEndBeforeItWasKilledWasCut) {
  World world;
  EXPECT_EQ(world.Begin().kind, Kind::kNew);
  std::unique_ptr<ReplayStore> old = std::move(world.store);
  old->Release();
  world.Start();
  old.reset();
  EXPECT_EQ(world.Begin().kind, Kind::kCut);
}

TEST(ReplayEnd, IsReadWholeOrNotAtAll) {
  const std::string forgotten = EncodeEnd(kKey, nullptr);
  StoredAnswer answer;
  answer.status = 404;
  answer.headers = {{"a", "b"}, {"c", ""}};
  answer.body = "{}";
  const std::string answered = EncodeEnd(kKey, &answer);
  EXPECT_EQ(DecodeEnd(forgotten), (ReplayEnd{kKey, std::nullopt}));
  EXPECT_EQ(DecodeEnd(answered), (ReplayEnd{kKey, answer}));
  EXPECT_EQ(DecodeEnd(answered + "x"), std::nullopt);
  for (size_t size = 0; size < answered.size(); ++size) {
    EXPECT_EQ(DecodeEnd(answered.substr(0, size)).has_value(), size == forgotten.size()) << size;
  }
}

// The key's request begins in a process that is followed by another, and ends there.
void AnswerInAnOldProcess(World& world) {
  EXPECT_EQ(world.Begin().kind, Kind::kNew);
  const std::unique_ptr<ReplayStore> old = std::move(world.store);
  old->Release();
  StoredAnswer answer;
  answer.body = "{}";
  ASSERT_TRUE(Finish(*old, kKey, answer).has_value());
}

TEST(ReplayStore, AHandOverThatAKillLeftUnfinishedSaysNothing) {
  World world;
  AnswerInAnOldProcess(world);
  const auto files = std::filesystem::directory_iterator(world.home.path() / "replies-handover");
  const std::filesystem::path file = files->path();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  world.Start();
  EXPECT_EQ(world.Begin().kind, Kind::kCut);
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST(ReplayStore, AStartTakesOverWhatNobodyAskedFor) {
  World world;
  AnswerInAnOldProcess(world);
  world.Start();
  EXPECT_TRUE(std::filesystem::is_empty(world.home.path() / "replies-handover"));
  EXPECT_EQ(world.Begin().answer.body, "{}");
}

TEST(ReplayStore, AFailedUpgradeLeavesAllAsItWas) {
  World world;
  for (const char* name : {"before", "after"}) {
    ASSERT_EQ(world.Begin(Named(name)).kind, Kind::kNew);
  }
  StoredAnswer answer;
  answer.body = "{}";
  world.store->Release();
  ASSERT_TRUE(Finish(*world.store, Named("before"), answer).has_value());
  ASSERT_TRUE(world.store->Reopen().has_value());
  EXPECT_EQ(world.Begin(Named("before")).kind, Kind::kDone);
  EXPECT_EQ(world.Begin(Named("after")).kind, Kind::kRunning);
  ASSERT_TRUE(Finish(*world.store, Named("after"), answer).has_value());
  EXPECT_EQ(world.Begin(Named("after")).answer.body, "{}");
  EXPECT_TRUE(std::filesystem::is_empty(world.home.path() / "replies-handover"));
}

TEST(ReplayStore, IsBoundedAndLetsTheOldestGo) {
  World world({.answers_max = 10, .bytes_max = 1000, .answer_bytes_max = 300});
  for (int i = 0; i < 30; ++i) {
    world.Answer(Named("n" + std::to_string(i)), std::string(50, 'x'));
  }
  EXPECT_LE(world.store->count(), 10);
  const auto is_kept = [&world](int large) {
    const ReplayClaim claim = world.Begin(Named("large" + std::to_string(large)));
    EXPECT_EQ(claim.kind, Kind::kDone) << "that it was answered stays: it is not run again";
    return claim.answer.is_kept;
  };
  for (int i = 0; i < 5; ++i) {
    world.Answer(Named("large" + std::to_string(i)), std::string(290, 'x'));
  }
  EXPECT_FALSE(is_kept(0));
  EXPECT_FALSE(is_kept(1));
  EXPECT_TRUE(is_kept(2));
  EXPECT_TRUE(is_kept(4));
  world.Start({.answers_max = 10, .bytes_max = 1000, .answer_bytes_max = 300});
  EXPECT_FALSE(is_kept(1)) << "over a restart too";
  EXPECT_EQ(world.Begin(Named("large4")).answer.body, std::string(290, 'x'));
  world.Answer(Named("huge"), std::string(301, 'x'));
  const ReplayClaim huge = world.Begin(Named("huge"));
  EXPECT_EQ(huge.kind, Kind::kDone);
  EXPECT_FALSE(huge.answer.is_kept) << "it was given, and is too long to be given again";
}

TEST(ReplayStore, LetsNobodyLoseKeysByWhatAnotherOrganisationDoes) {
  World world({.answers_of_one_max = 20, .answers_max = 30, .bytes_max = 10'000});
  world.Answer({"org_2", "key_1", "theirs"}, std::string(100, 'x'));
  for (int i = 0; i < 100; ++i) {
    world.Answer(Named("n" + std::to_string(i)), std::string(300, 'x'));
  }
  EXPECT_EQ(world.Begin({"org_2", "key_1", "theirs"}).kind, Kind::kDone);
  EXPECT_EQ(world.store->count(), 21) << "its own bound";
  for (int i = 0; i < 100; ++i) {
    world.Answer({"org_3", "key_1", "n" + std::to_string(i)}, std::string(600, 'x'));
  }
  EXPECT_EQ(world.Begin({"org_2", "key_1", "theirs"}).kind, Kind::kDone);
  EXPECT_LE(world.store->count(), 30) << "the bound of all: who keeps most gives";
  world.Start({.answers_of_one_max = 20, .answers_max = 30, .bytes_max = 10'000});
  world.Answer(Named("after"), std::string(300, 'x'));
  EXPECT_EQ(world.Begin({"org_2", "key_1", "theirs"}).kind, Kind::kDone) << "over a restart too";
}

TEST(ReplayStore, NeverForgetsWhatMayHaveBeenBilledBeforeItsDayIsOver) {
  World world({.answers_of_one_max = 5, .answers_max = 100});
  for (int i = 0; i < 5; ++i) {
    world.Cut(Named("cut" + std::to_string(i)));
  }
  const auto refused = world.store->Begin(Named("more"), "h", {7, 9}, After(0));
  ASSERT_FALSE(refused.has_value()) << "none of the five may go";
  EXPECT_EQ(refused.error().code, ErrorCode::kTooManyRequests);
  EXPECT_EQ(world.Begin(Named("cut0")).kind, Kind::kCut);
  world.Answer({"org_2", "key_1", "theirs"}, "x");
  EXPECT_EQ(world.Begin(Named("more"), "h", After(kDay)).kind, Kind::kNew);
}

TEST(ReplayStore, TakesFromTheNextWhenWhoKeepsMostHasNothingToGive) {
  World world({.answers_of_one_max = 20, .answers_max = 10});
  for (int i = 0; i < 6; ++i) {
    world.Cut(Named("cut" + std::to_string(i)));
  }
  for (int i = 0; i < 20; ++i) {
    world.Answer({"org_2", "key_1", "n" + std::to_string(i)}, "x");
  }
  EXPECT_EQ(world.store->count(), 10);
  EXPECT_EQ(world.Begin(Named("cut0")).kind, Kind::kCut);
}

TEST(ReplayStore, ComesDownToOtherBoundsStepByStepAndRefusesNobodyMeanwhile) {
  World world;
  for (int i = 0; i < 600; ++i) {
    world.Answer(Named("n" + std::to_string(i)), "x");
  }
  world.Start({.answers_of_one_max = 10, .answers_max = 10});
  world.Answer(Named("first"), "x");
  EXPECT_LT(world.store->count(), 600);
  EXPECT_GT(world.store->count(), 10);
  for (int i = 0; i < 5; ++i) {
    world.Answer(Named("more" + std::to_string(i)), "x");
  }
  EXPECT_EQ(world.store->count(), 10);
}

TEST(ReplayStore, AsksForNoRoomToAnswerAgain) {
  World world({.answers_of_one_max = 1, .answers_max = 1});
  world.Answer(kKey, "once");
  EXPECT_EQ(world.Begin().kind, Kind::kDone);
  EXPECT_EQ(world.Begin().kind, Kind::kDone);
}

}  // namespace
}  // namespace tradewind::billing
