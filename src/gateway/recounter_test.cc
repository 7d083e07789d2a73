#include "gateway/recounter.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include <gtest/gtest.h>

#include "http/upstream_test_support.h"
#include "providers/test_support.h"

namespace tradewind::gateway {
namespace {

using http::testing::Eventually;

// A token for each byte, which makes them easy to count.
Result<CountTokens> ByBytes(const std::filesystem::path& /*path*/) {
  return [](std::string_view text) { return static_cast<int64_t>(text.size()); };
}

struct Counts {
  providers::testing::FakeModels files{{"org-m"}};
  std::mutex mutex;
  std::vector<Recount> taken;
  Recounter recounter;

  explicit Counts(LoadCounter load = ByBytes)
      : recounter(files.models, std::move(load), [this](const Recount& recount) {
          const std::lock_guard lock(mutex);
          taken.push_back(recount);
        }) {}
  size_t size() {
    const std::lock_guard lock(mutex);
    return taken.size();
  }
  // What is behind it has been counted too.
  void CountLast(CountedAnswer answer) {
    recounter.Count(std::move(answer));
    recounter.Count({"last", "org-m", "z", false, 1});
    EXPECT_TRUE(Eventually([this] {
      const std::lock_guard lock(mutex);
      return !taken.empty() && taken.back().provider == "last";
    }));
  }
};

TEST(Recounter, CountsATextByTheModelsOwnTokens) {
  Counts counts;
  EXPECT_TRUE(counts.recounter.has("org-m"));
  EXPECT_FALSE(counts.recounter.has("org/other"));
  counts.CountLast({"site-a", "org-m", "hello", false, 9});
  EXPECT_EQ(counts.taken[0].provider, "site-a");
  EXPECT_EQ(counts.taken[0].told, 9);
  EXPECT_EQ(counts.taken[0].counted, 7) << "and what ends an answer";
}

TEST(Recounter, FindsTheTextOfABodyWhereItIsAllThereIs) {
  for (const char* body :
       {R"({"choices":[{"message":{"role":"assistant","content":"hello","tool_calls":[]}}]})",
        R"({"choices":[{"message":{"content":"hello","reasoning":null,"refusal":""}}]})",
        R"({"choices":[{"text":"hello"}]})"}) {
    Counts counts;
    counts.CountLast({"site-a", "org-m", body, true, 9});
    ASSERT_EQ(counts.size(), 2U) << body;
    EXPECT_EQ(counts.taken[0].counted, 7) << body;
  }
  for (const char* body :
       {R"({"choices":[{"message":{"content":"hello","reasoning_content":"well"}}]})",
        R"({"choices":[{"message":{"content":"hello","tool_calls":[{"id":"1"}]}}]})",
        R"({"choices":[{"message":{"content":[{"type":"text","text":"hello"}]}}]})",
        R"({"choices":[{"message":{"content":""}}]})", R"({"choices":[]})", "no JSON"}) {
    Counts counts;
    counts.CountLast({"site-a", "org-m", body, true, 9});
    EXPECT_EQ(counts.size(), 1U) << body;
  }
}

TEST(Recounter, CountsNothingOfAModelWhoseFileHasNoTokenizer) {
  std::atomic<int> loads = 0;
  Counts counts([&](const std::filesystem::path&) -> Result<CountTokens> {
    ++loads;
    return Fail(ErrorCode::kUnsupported, "no such tokenizer");
  });
  counts.recounter.Count({"site-a", "org-m", "hello", false, 9});
  counts.recounter.Count({"site-a", "org-m", "hello", false, 9});
  EXPECT_TRUE(Eventually([&] { return loads == 1; }));
  EXPECT_EQ(counts.size(), 0U);
}

TEST(Recounter, DropsWhatIsTooMuchAtATime) {
  std::mutex gate;
  std::unique_lock closed(gate);
  std::atomic<int> counted = 0;
  Counts counts([&](const std::filesystem::path&) -> Result<CountTokens> {
    return [&](std::string_view) {
      const std::lock_guard open(gate);
      ++counted;
      return int64_t{1};
    };
  });
  for (int i = 0; i < 1000; ++i) {
    counts.recounter.Count({"site-a", "org-m", "hello", false, 9});
  }
  closed.unlock();
  EXPECT_TRUE(Eventually([&] { return counted >= 64; }));
  EXPECT_LE(counted, 65);
}

}  // namespace
}  // namespace tradewind::gateway
