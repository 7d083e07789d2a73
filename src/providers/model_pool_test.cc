#include "providers/model_pool.h"

#include <atomic>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "providers/test_support.h"

namespace tradewind::providers {
namespace {

using testing::Eventually;
using testing::FakeModels;
using testing::FakeWorld;
using testing::RunTask;

TEST(ModelPool, LoadsOnceForAllWhoAsk) {
  FakeWorld world;
  FakeModels files({"a"});
  ModelPool pool(files.models, {}, 1, MakeLoader(world));
  RunTask([&]() -> Task<void> {
    const auto first = co_await pool.Acquire("a");
    const auto second = co_await pool.Acquire("A");
    EXPECT_TRUE(first.has_value() && second.has_value());
    EXPECT_EQ(&first->engine(), &second->engine());
    EXPECT_EQ(pool.loaded().at(0).users, 2);
  });
  EXPECT_EQ(world.loads.size(), 1u);
  EXPECT_EQ(pool.loaded().at(0).users, 0);
  EXPECT_TRUE(pool.was_loaded("a"));
}

TEST(ModelPool, UnloadsTheLeastRecentlyUsedIdleModelToMakeRoom) {
  FakeWorld world;
  FakeModels files({"a", "b", "c"});
  ModelPool pool(files.models, {}, 2, MakeLoader(world));
  RunTask([&]() -> Task<void> {
    for (const char* id : {"a", "b", "a", "c"}) {
      EXPECT_TRUE((co_await pool.Acquire(id)).has_value());
    }
  });
  ASSERT_EQ(pool.loaded().size(), 2u);
  EXPECT_EQ(pool.loaded()[0].id, "a");
  EXPECT_EQ(pool.loaded()[1].id, "c");
  EXPECT_EQ(world.alive, 2);
}

TEST(ModelPool, SaysWhenToComeBackWhenEveryModelIsBusy) {
  FakeWorld world;
  FakeModels files({"a", "b"});
  ModelPool pool(files.models, {}, 1, MakeLoader(world));
  RunTask([&]() -> Task<void> {
    const auto held = co_await pool.Acquire("a");
    const auto refused = co_await pool.Acquire("b");
    EXPECT_TRUE(held.has_value());
    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
    EXPECT_TRUE(refused.error().retry_after_ms.has_value());
  });
  RunTask([&]() -> Task<void> { EXPECT_TRUE((co_await pool.Acquire("b")).has_value()); });
}

TEST(ModelPool, HandsTheErrorOfLoadingToAllAndTriesAgainNextTime) {
  FakeWorld world;
  std::atomic<bool> broken = true;
  world.fail_load = [&]() -> std::optional<Error> {
    return broken ? std::optional<Error>({ErrorCode::kCorruptFile, "bad tensor"}) : std::nullopt;
  };
  FakeModels files({"a"});
  ModelPool pool(files.models, {}, 1, MakeLoader(world));
  RunTask([&]() -> Task<void> {
    const auto failed = co_await pool.Acquire("a");
    EXPECT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().message, "bad tensor");
  });
  EXPECT_EQ(pool.load_error("a")->code, ErrorCode::kCorruptFile);
  EXPECT_FALSE(pool.was_loaded("a"));
  broken = false;
  RunTask([&]() -> Task<void> { EXPECT_TRUE((co_await pool.Acquire("a")).has_value()); });
  EXPECT_FALSE(pool.load_error("a").has_value());
}

TEST(ModelPool, SurvivesALoaderThatThrows) {
  FakeWorld world;
  world.fail_load = []() -> std::optional<Error> { throw std::bad_alloc(); };
  FakeModels files({"a"});
  ModelPool pool(files.models, {}, 1, MakeLoader(world));
  RunTask([&]() -> Task<void> {
    const auto failed = co_await pool.Acquire("a");
    EXPECT_EQ(failed.error().code, ErrorCode::kResourceExhausted);
  });
}

TEST(ModelPool, RefusesUnknownModelsAndEverythingOnceDraining) {
  FakeWorld world;
  FakeModels files({"a"});
  ModelPool pool(files.models, {}, 1, MakeLoader(world));
  RunTask([&]() -> Task<void> {
    EXPECT_EQ((co_await pool.Acquire("nope")).error().code, ErrorCode::kModelNotSupported);
    EXPECT_TRUE((co_await pool.Acquire("a")).has_value());
    pool.Drain();
    EXPECT_EQ((co_await pool.Acquire("a")).error().code, ErrorCode::kUnavailable);
  });
}

TEST(ModelPool, PreloadsWithoutWaiting) {
  FakeWorld world;
  FakeModels files({"a"});
  ModelPool pool(files.models, {}, 1, MakeLoader(world));
  EXPECT_TRUE(pool.Preload("a").has_value());
  EXPECT_TRUE(Eventually([&] { return pool.was_loaded("a"); }));
  EXPECT_FALSE(pool.Preload("nope").has_value());
}

TEST(ModelPool, ListsABadFileButDoesNotOpenIt) {
  FakeWorld world;
  tradewind::testing::TempDir dir;
  std::ofstream(dir.path() / "bad.gguf") << "text";
  const std::filesystem::path folder = dir.path();
  const auto models = std::make_shared<const catalog::LocalModels>(
      catalog::LocalModels::Scan(std::span(&folder, 1)));
  ModelPool pool(models, {}, 1, MakeLoader(world));
  EXPECT_EQ(pool.Preload("bad").error().code, ErrorCode::kCorruptFile);
  EXPECT_TRUE(world.loads.empty());
}

TEST(WorkerPool, RefusesWhenTooManyJobsWait) {
  WorkerPool pool({.threads = 1, .jobs_max = 1});
  std::mutex gate;
  std::atomic<int> started = 0;
  std::unique_lock closed(gate);
  std::vector<std::thread> clients;
  std::atomic<int> refused = 0;
  std::atomic<int> done = 0;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      RunTask([&]() -> Task<void> {
        std::function<Result<int>()> job = [&]() -> Result<int> {
          ++started;
          const std::lock_guard wait(gate);
          return 7;
        };
        const auto result = co_await pool.Run(std::move(job));
        ++(result.has_value() ? done : refused);
      });
    });
    // One runs, one waits, the third is refused.
    EXPECT_TRUE(Eventually([&] { return started == 1 && (i < 2 || refused == 1); }));
    if (i == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  closed.unlock();
  for (std::thread& client : clients) {
    client.join();
  }
  EXPECT_EQ(done, 2);
  EXPECT_EQ(refused, 1);
}

}  // namespace
}  // namespace tradewind::providers
