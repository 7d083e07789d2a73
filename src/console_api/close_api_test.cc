#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "billing/bill_period.h"
#include "billing/books.h"
#include "billing/ending.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

constexpr int64_t kNovember = 1'793'491'200;  // 2026-11-01T00:00:00Z
constexpr int64_t kDayS = 86'400;
constexpr int64_t kDollar = 1'000'000'000;
constexpr const char* kClose = R"({"provider":"site-a","period":"2026-11"})";
constexpr const char* kAccept = R"({"provider":"site-a","period":"2026-11","accept":"so be it"})";
constexpr const char* kReopen = R"({"provider":"site-a","period":"2026-11","reason":"it came"})";

class CloseApiTest : public ::testing::Test {
 protected:
  // What the day of November is at, at ten.
  void SetDay(int day) {
    clock_.PassTo(std::chrono::system_clock::time_point(
        std::chrono::seconds(kNovember + (day - 1) * kDayS + 36'000)));
  }
  enum class End { kSettled, kInDoubt, kUnpriced };
  void Spend(int day, int64_t cents, End end = End::kSettled) {
    SetDay(day);
    billing::Offer offer;
    offer.id = {ledger::RequestId::Make(clock_.UnixMs()), 1};
    offer.purchase = {"org", "prj", "key_1", "usr", "org/model", "site-a", "x"};
    offer.prices = end == End::kUnpriced ? nullptr : &prices_;
    offer.output_tokens_max = cents * 10'000;
    auto attempt = books_->meter().Begin(offer, ledger::Send::kNow);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    chat::Usage usage;
    usage.output_tokens = cents * 10'000;
    attempt->End(end == End::kInDoubt
                     ? billing::Ended{.likely_billed = true, .finish = "cut"}
                     : billing::Ended{.is_complete = true, .usage = usage, .finish = "stop"});
  }
  Result<http::Response> Try(const std::string& path, const std::string& body) {
    http::Request request;
    request.method = body.empty() ? "GET" : "POST";
    request.path = "/tw/v1/reconcile" + path;
    request.query = body.empty() ? "period=2026-11" : "";
    request.body = body;
    return money_->Answer(request, caller_);
  }
  // Of the provider's month.
  boost::json::object Ask(const std::string& path, const std::string& body = "") {
    const auto response = Try(path, body);
    EXPECT_TRUE(response) << response.error().message;
    const auto answer = dialects::ParseJsonObject(response ? response->body : "{}").value();
    return answer.at("providers").as_array().at(0).as_object();
  }
  boost::json::object Import(const std::string& lines, const std::string& more = "") {
    return Ask("/import",
               R"({"provider":"site-a","bill":"date,cost_usd\n)" + lines + "\"" + more + "}");
  }
  // "" where it is not refused.
  std::string Refusal(const std::string& path, const std::string& body) {
    const auto response = Try(path, body);
    return response ? "" : response.error().param + ": " + response.error().message;
  }
  void Start() {
    money_.reset();
    books_.reset();
    books_ = std::move(billing::Books::Open(home_.path(), clock_).value());
    money_ = std::make_unique<MoneyApi>(books_->ledger(), books_->recorder(), *store_);
  }
  void SetUp() override {
    SetDay(1);
    Start();
  }

  testing::TempDir home_;
  FakeClock clock_;
  std::unique_ptr<identity::Store> store_ =
      std::move(identity::Store::Open({.home = home_.path()}).value());
  std::unique_ptr<billing::Books> books_;
  std::unique_ptr<MoneyApi> money_;
  identity::Principal caller_ = [] {
    identity::Principal admin;
    admin.is_admin_token = true;
    return admin;
  }();
  catalog::Prices prices_ = [] {
    catalog::Prices prices;
    prices.input = prices.output = Decimal::Parse("1").value();
    return prices;
  }();
};

TEST_F(CloseApiTest, RequestsThatNoLineIsOfAreDifferences) {
  Spend(5, 100);
  Spend(20, 200);
  EXPECT_EQ(Import(R"(2026-11-05,1\n)").at("unexplained").as_int64(), 0) << "more of it may come";
  EXPECT_EQ(Ask("").at("unexplained").as_int64(), 0) << "likewise";
  SetDay(32);
  const auto status = Ask("");
  EXPECT_EQ(status.at("unexplained").as_int64(), 1) << "the month is over";
  EXPECT_EQ(status.at("lines").as_array().at(1).at("class"), "missing_remote");
  EXPECT_EQ(status.at("recorded_nanousd"), "3000000000");
  EXPECT_EQ(status.at("suspense_nanousd"), "0");
  const std::string refused = Refusal("/close", kClose);
  EXPECT_TRUE(refused.starts_with("accept: ")) << refused;
  EXPECT_NE(refused.find("1 requests ($2.00) of times that no line is of"), std::string::npos)
      << refused;
  Import(R"(2026-11-20,2\n)");
  EXPECT_TRUE(Ask("/close", kClose).at("closed").as_bool());
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 3 * kDollar);
}

TEST_F(CloseApiTest, AcceptedTheyAreNotOwed) {
  Spend(5, 100);
  Spend(20, 200);
  SetDay(32);
  Import(R"(2026-11-05,1\n)");
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 3 * kDollar) << "as recorded";
  EXPECT_TRUE(Ask("/close", kAccept).at("closed").as_bool());
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), kDollar) << "as billed";
  EXPECT_EQ(books_->ledger().OwedTo("suspense:site-a/2026-11"), 0);
}

TEST_F(CloseApiTest, NoMonthIsClosedWhileARequestOfAnyOfItsDaysIsOpen) {
  Spend(5, 100);
  Spend(20, 200, End::kInDoubt);
  SetDay(32);
  EXPECT_EQ(Import(R"(2026-11-05,1\n)").at("in_doubt").as_int64(), 1);
  const std::string refused = Refusal("/close", kAccept);
  EXPECT_TRUE(refused.starts_with("period: 1 requests of 2026-11 to site-a run or are in doubt"))
      << refused;
  EXPECT_NE(refused.find("tradewind reconcile resolve"), std::string::npos) << refused;
  ASSERT_TRUE(
      books_->ledger().ResolveVoid(books_->ledger().HoldsInDoubt()[0].first, "told").has_value());
  Spend(32, 200, End::kInDoubt);
  EXPECT_EQ(Refusal("/close", kClose), "") << "that one is of December";
}

TEST_F(CloseApiTest, AMonthOfWhichRequestsWereSetAsideIsClosedByWhatItsImportPosted) {
  Spend(1, 100);
  SetDay(32);
  Import(R"(2026-11-01,1.5\n)");
  const auto set_aside_until = [&](int64_t unix_s) {
    const std::string ns = std::to_string(unix_s) + "000000000";
    ASSERT_TRUE(books_->recorder()
                    .Change([&](storage::Database& database) {
                      return database.Execute(
                          "INSERT OR REPLACE INTO set_aside VALUES "
                          "('file', 1, 1, 1, x'01', x'02', 1, " +
                          ns + "); DELETE FROM attempts WHERE ended_ns <= " + ns);
                    })
                    .has_value());
  };
  set_aside_until(kNovember - 60);
  EXPECT_TRUE(Refusal("/close", kClose).starts_with("accept: Requests until 2026-10-31T23:59:00Z"))
      << "near its first line";
  set_aside_until(kNovember + kDayS);
  EXPECT_TRUE(Refusal("/close", kClose).starts_with("accept: Requests until 2026-11-02T00:00:00Z"));
  const auto closed = Ask("/close", kAccept);
  EXPECT_TRUE(closed.at("closed").as_bool());
  EXPECT_EQ(closed.at("set_aside_until"), "2026-11-02T00:00:00Z");
  EXPECT_EQ(closed.at("suspense_nanousd"), "0");
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 3 * kDollar / 2) << "as billed";
}

TEST_F(CloseApiTest, WhatCostsNothingNeedsNoLine) {
  Spend(5, 100);
  Spend(20, 0);
  SetDay(32);
  Import(R"(2026-11-05,1\n)");
  EXPECT_EQ(Refusal("/close", kClose), "");
}

TEST_F(CloseApiTest, WhatHasNoPriceDoes) {
  Spend(5, 100);
  Spend(20, 10, End::kUnpriced);
  SetDay(32);
  Import(R"(2026-11-05,1\n)");
  const std::string refused = Refusal("/close", kClose);
  EXPECT_NE(refused.find("1 requests ($0.00) of times"), std::string::npos) << refused;
}

TEST_F(CloseApiTest, AMonthIsOverWhenNothingMoreIsDatedInIt) {
  Spend(5, 100);
  SetDay(29);
  Import(R"(2026-11-05,1\n)");
  const auto right = clock_.WallNow();
  clock_.SetWall(right + std::chrono::days(5));  // a jump, which the ledger doubts
  EXPECT_NE(Refusal("/close", kClose).find("2026-11 is not over"), std::string::npos);
  clock_.SetWall(right);
  SetDay(32);
  EXPECT_EQ(Refusal("/close", kClose), "");
}

TEST_F(CloseApiTest, ARequestNearTheEndOfALineMayStandInIt) {
  Spend(5, 100);
  clock_.PassTo(std::chrono::system_clock::time_point(
      std::chrono::seconds(kNovember + 5 * kDayS + 120)));  // two minutes behind its day
  billing::Offer offer;
  offer.id = {ledger::RequestId::Make(clock_.UnixMs()), 1};
  offer.purchase = {"org", "prj", "key_1", "usr", "org/model", "site-a", "x"};
  offer.prices = &prices_;
  offer.output_tokens_max = 1'000'000;
  auto attempt = books_->meter().Begin(offer, ledger::Send::kNow);
  chat::Usage usage;
  usage.output_tokens = 1'000'000;
  attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  SetDay(32);
  Import(R"(2026-11-05,1\n)");
  EXPECT_NE(Refusal("/close", kClose), "") << "it stands nowhere";
  Import(R"(2026-11-05,2\n)");
  EXPECT_EQ(Refusal("/close", kClose), "");
}

TEST_F(CloseApiTest, AMonthThatWasClosedIsOpenedForABillThatCameLate) {
  Spend(5, 100);
  Spend(20, 200);
  SetDay(32);
  Import(R"(2026-11-05,1.5\n)");
  EXPECT_TRUE(Refusal("/reopen", kReopen).starts_with("period: 2026-11 of site-a is not closed"));
  Ask("/close", kAccept);
  const std::string invoice =
      R"({"provider":"site-a","invoice":true,"bill":"start,end,cost_usd\n2026-11-01,2026-12-01,3.5\n"})";
  const std::string refused = Refusal("/import", invoice);
  EXPECT_NE(refused.find("tradewind reconcile reopen 2026-11 --provider site-a"), std::string::npos)
      << refused;
  EXPECT_TRUE(Refusal("/reopen", kClose).starts_with("reason: Say with `reason` (--reason TEXT)"));
  const auto opened = Ask("/reopen", kReopen);
  EXPECT_FALSE(opened.at("closed").as_bool());
  EXPECT_EQ(opened.at("suspense_nanousd"), "500000000") << "as behind the import";
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 7 * kDollar / 2);
  Start();
  EXPECT_EQ(Ask("/import", invoice).at("suspense_nanousd"), "500000000");
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 7 * kDollar / 2);
  EXPECT_TRUE(Refusal("/close", kClose).starts_with("accept: "));
  EXPECT_TRUE(Ask("/close", kAccept).at("closed").as_bool());
  Start();
  EXPECT_TRUE(Ask("").at("closed").as_bool());
  EXPECT_EQ(books_->ledger().OwedTo("suspense:site-a/2026-11"), 0);
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 7 * kDollar / 2);
}

}  // namespace
}  // namespace tradewind::console_api
