// What providers' usage interfaces say, over real connections: pages, faults and lies.
#include "gateway/usage_api.h"

#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "http/event_loop.h"
#include "http/server.h"
#include "http/test_support.h"

namespace tradewind::gateway {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kFrom = 1'795'651'200;  // 2026-11-26
constexpr UsageDays kTwoDays = {kFrom, kFrom + 2 * kDay};

// Answers one request after the other with what stands for its path.
class FakeUsage {
 public:
  FakeUsage() {
    server_ =
        http::testing::StartServer([this](http::Exchange& exchange) { return Answer(exchange); });
  }
  std::string address() const { return fmt::format("http://127.0.0.1:{}/v1", server_->port()); }
  void Say(const std::string& path, std::vector<http::Response> answers) {
    const std::lock_guard lock(mutex_);
    answers_[path] = {answers.begin(), answers.end()};
  }
  std::vector<http::Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  Task<void> Answer(http::Exchange& exchange) {
    http::Response response{404, {}, ""};
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(exchange.request());
      auto& left = answers_[std::string(exchange.request().path)];
      if (!left.empty()) {
        response = left.front();
        left.pop_front();
      }
    }
    static_cast<void>(co_await exchange.Respond(std::move(response)));
  }

  mutable std::mutex mutex_;
  std::vector<http::Request> requests_;
  std::map<std::string, std::deque<http::Response>> answers_;
  std::unique_ptr<http::Server> server_;
};

std::string Bucket(int64_t start, const std::string& results) {
  return fmt::format(R"({{"start_time":{},"end_time":{},"results":[{}]}})", start, start + kDay,
                     results);
}

http::Response Page(const std::string& buckets, const std::string& next = "") {
  return {200,
          {},
          fmt::format(R"({{"object":"page","data":[{}],"has_more":{},"next_page":{}}})", buckets,
                      !next.empty(), next.empty() ? "null" : "\"" + next + "\"")};
}

class UsageApiTest : public ::testing::Test {
 protected:
  static constexpr const char* kUsage = "/v1/organization/usage/completions";
  static constexpr const char* kCosts = "/v1/organization/costs";

  ~UsageApiTest() override {
    loop_->Stop();
    loop_->Destroy();
  }
  UsageSource Source() const {
    UsageSource source;
    source.provider = "site-a";
    source.url = http::ParseUrl(provider_.address()).value();
    source.key = "admin-key";
    source.allow_private = true;
    return source;
  }
  Result<std::vector<billing::BillLine>> Fetch(UsageSource source, UsageDays days = kTwoDays) {
    std::promise<Result<std::vector<billing::BillLine>>> done;
    loop_->Spawn([&]() -> Task<void> {
      done.set_value(co_await FetchUsage(*client_, source, days, SystemClock()));
    });
    return done.get_future().get();
  }
  Result<std::vector<billing::BillLine>> Fetch() { return Fetch(Source()); }
  void SayGood() {
    provider_.Say(
        kUsage, {Page(Bucket(kFrom, R"({"input_tokens":10,"output_tokens":4,"model":"m"})"), "p2"),
                 Page(Bucket(kFrom + kDay, ""))});
    provider_.Say(kCosts, {Page(Bucket(kFrom, R"({"amount":{"value":0.5,"currency":"usd"}})") +
                                "," + Bucket(kFrom + kDay, ""))});
  }

  FakeUsage provider_;
  std::unique_ptr<http::UpstreamClient> client_ = http::UpstreamClient::Create();
  std::shared_ptr<http::EventLoop> loop_ = http::EventLoop::Start();
};

TEST_F(UsageApiTest, ReadsAllPagesOfTokensAndCosts) {
  SayGood();
  const auto lines = Fetch();
  ASSERT_TRUE(lines.has_value()) << lines.error().message;
  ASSERT_EQ(lines->size(), 3U);
  EXPECT_EQ((*lines)[0].model, "");
  EXPECT_EQ((*lines)[0].cost, 500'000'000);
  EXPECT_EQ((*lines)[1].model, "m");
  EXPECT_EQ((*lines)[1].input_tokens, 10);
  EXPECT_EQ((*lines)[1].cost, std::nullopt);
  EXPECT_EQ((*lines)[2].start_s, kFrom + kDay) << "a day without anything is told too";
  EXPECT_EQ((*lines)[2].cost, 0);
  const auto requests = provider_.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].method, "GET");
  EXPECT_EQ(requests[0].headers.Find("Authorization"), "Bearer admin-key");
  EXPECT_EQ(requests[0].query,
            "start_time=1795651200&end_time=1795824000&bucket_width=1d&group_by=model&limit=31");
  EXPECT_EQ(requests[1].query, std::string(requests[0].query) + "&page=p2");
}

TEST_F(UsageApiTest, ReadsTheShapesOfAnthropicToo) {
  const auto bucket = [](const char* results) {
    return fmt::format(R"({{"starting_at":"2026-11-26T00:00:00Z",)"
                       R"("ending_at":"2026-11-27T00:00:00Z","results":[{}]}})",
                       results);
  };
  provider_.Say("/v1/organizations/usage_report/messages",
                {Page(bucket(R"({"uncached_input_tokens":7,"cache_read_input_tokens":3,)"
                             R"("output_tokens":5,"model":"claude"})"))});
  provider_.Say("/v1/organizations/cost_report",
                {Page(bucket(R"({"amount":"12.5","currency":"USD","model":"claude"},)"
                             R"({"amount":"1","currency":"USD","description":"Searches"})"))});
  UsageSource source = Source();
  source.api = catalog::UsageApi::kAnthropic;
  const auto lines = Fetch(source, {kFrom, kFrom + kDay});
  ASSERT_TRUE(lines.has_value()) << lines.error().message;
  ASSERT_EQ(lines->size(), 2U);
  EXPECT_EQ((*lines)[0].model, "(no model)") << "beside the models, not instead of all of them";
  EXPECT_EQ((*lines)[0].cost, 10'000'000);
  EXPECT_EQ((*lines)[1].model, "claude");
  EXPECT_EQ((*lines)[1].input_tokens, 10);
  EXPECT_EQ((*lines)[1].cost, 125'000'000);
  EXPECT_EQ(provider_.requests()[0].headers.Find("x-api-key"), "admin-key");
  EXPECT_EQ(provider_.requests()[0].headers.Find("Authorization"), std::nullopt);
}

TEST_F(UsageApiTest, AsksAgainAfterWhatPasses) {
  SayGood();
  http::Response busy{429, {}, ""};
  busy.headers.Set("Retry-After", "0.01");
  provider_.Say(kCosts, {busy, {500, {}, ""}, Page(Bucket(kFrom, ""))});
  EXPECT_TRUE(Fetch().has_value());
  EXPECT_EQ(provider_.requests().size(), 5U);
}

TEST_F(UsageApiTest, SaysWhatToDoAboutARefusal) {
  struct Case {
    int status;
    const char* retry_after;
    ErrorCode code;
    const char* param;
    const char* advice;
    size_t requests;
  };
  for (const Case& one :
       {Case{401, "", ErrorCode::kUnauthenticated, "usage_api_key_env", "admin key", 1},
        Case{403, "", ErrorCode::kPermissionDenied, "usage_api_key_env", "admin key", 1},
        Case{404, "", ErrorCode::kUpstreamFailed, "usage_api_url", "usage_api_url", 1},
        Case{302, "", ErrorCode::kUpstreamFailed, "usage_api_url", "answers 302", 1},
        Case{429, "3600", ErrorCode::kTooManyRequests, "usage_api", "ask again in 3600 s", 1}}) {
    const size_t before = provider_.requests().size();
    http::Response refused{one.status, {}, ""};
    if (*one.retry_after != '\0') {
      refused.headers.Set("Retry-After", one.retry_after);
    }
    provider_.Say(kUsage, std::vector(5, refused));
    const auto lines = Fetch();
    ASSERT_FALSE(lines.has_value()) << one.status;
    EXPECT_EQ(lines.error().code, one.code) << one.status;
    EXPECT_EQ(lines.error().param, one.param) << one.status;
    EXPECT_NE(lines.error().message.find(one.advice), std::string::npos) << lines.error().message;
    EXPECT_EQ(lines.error().message.find("admin-key"), std::string::npos);
    EXPECT_EQ(provider_.requests().size() - before, one.requests) << one.status;
  }
}

TEST_F(UsageApiTest, TakesNothingFromOneThatContradictsItself) {
  struct Case {
    const char* what;
    std::vector<http::Response> pages;
    const char* words;
  };
  const std::vector<Case> cases = {
      {"no report", {{200, {}, "<html>"}}, "no report"},
      {"a negative count",
       {Page(Bucket(kFrom, R"({"input_tokens":-5,"model":"m"})"))},
       "`input_tokens`"},
      {"a day before", {Page(Bucket(kFrom - kDay, ""))}, "not asked for"},
      {"a day behind", {Page(Bucket(kFrom + 2 * kDay, ""))}, "not asked for"},
      {"a day twice", {Page(Bucket(kFrom, ""), "p2"), Page(Bucket(kFrom, ""))}, "twice"},
      {"the same page again",
       {Page(Bucket(kFrom, ""), "p2"), Page(Bucket(kFrom + kDay, ""), "p2")},
       "same page"},
      {"more, and not where",
       {{200, {}, R"({"data":[],"has_more":true,"next_page":null})"}},
       "next_page"}};
  for (const Case& one : cases) {
    SayGood();
    provider_.Say(kUsage, one.pages);
    const auto lines = Fetch();
    ASSERT_FALSE(lines.has_value()) << one.what;
    EXPECT_EQ(lines.error().code, ErrorCode::kUpstreamFailed) << one.what;
    EXPECT_NE(lines.error().message.find(one.words), std::string::npos)
        << one.what << ": " << lines.error().message;
  }
}

TEST_F(UsageApiTest, ReadsNoMorePagesThanItsBound) {
  std::vector<http::Response> pages;
  for (int i = 0; i <= kUsagePagesMax; ++i) {
    pages.push_back(Page("", fmt::format("p{}", i)));
  }
  provider_.Say(kUsage, pages);
  const auto lines = Fetch();
  ASSERT_FALSE(lines.has_value());
  EXPECT_NE(lines.error().message.find("fewer days"), std::string::npos) << lines.error().message;
  EXPECT_EQ(provider_.requests().size(), static_cast<size_t>(kUsagePagesMax));
}

TEST_F(UsageApiTest, GoesNowhereThatTheAddressPolicyForbids) {
  SayGood();
  UsageSource source = Source();
  source.allow_private = false;
  const auto lines = Fetch(source);
  ASSERT_FALSE(lines.has_value());
  EXPECT_EQ(lines.error().code, ErrorCode::kPermissionDenied);
  EXPECT_TRUE(provider_.requests().empty());
}

TEST(UsageDays, AreThoseOfTheMonthThatAreOverForAWhile) {
  const auto at = [](int64_t now_s) {
    const UsageDays days = UsageDaysAt(now_s);
    return std::pair(days.from_s, days.to_s);
  };
  constexpr int64_t kNovember = kFrom - 25 * kDay, kDecember = kFrom + 5 * kDay;
  EXPECT_EQ(at(kFrom + kUsageLateS), std::pair(kNovember, kFrom));
  EXPECT_EQ(at(kFrom + kUsageLateS - 1), std::pair(kNovember, kFrom - kDay));
  EXPECT_EQ(at(kDecember + kUsageLateS), std::pair(kNovember, kDecember));
  EXPECT_EQ(at(kDecember + 3 * kDay + kUsageLateS), std::pair(kNovember, kDecember + 3 * kDay));
  EXPECT_EQ(at(kDecember + 4 * kDay + kUsageLateS), std::pair(kDecember, kDecember + 4 * kDay));
}

}  // namespace
}  // namespace tradewind::gateway
