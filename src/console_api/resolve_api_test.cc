#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "billing/books.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

class ResolveApiTest : public ::testing::Test {
 protected:
  // A request in doubt; its receipt.
  std::string Doubt() {
    billing::Offer offer;
    offer.id = {ledger::RequestId::Make(1'764'072'000'000), 1};
    offer.purchase = {"org", "prj", "key_1", "usr", "org/model", "site-a", "x"};
    offer.prices = &prices_;
    offer.output_tokens_max = 1000;
    auto attempt = books_->meter().Begin(offer, ledger::Send::kNow);
    EXPECT_TRUE(attempt.has_value()) << attempt.error().message;
    attempt->End({.likely_billed = true, .delivered_bytes = 300, .finish = "cut"});
    return offer.id.request.ToString();
  }
  Result<http::Response> Try(const std::string& receipt, const std::string& fields) {
    http::Request request;
    request.method = "POST";
    request.path = "/tw/v1/reconcile/resolve";
    request.body = R"({"receipt":")" + receipt + R"(",)" + fields + "}";
    return money_.Answer(request, caller_);
  }

  testing::TempDir home_;
  std::unique_ptr<identity::Store> store_ =
      std::move(identity::Store::Open({.home = home_.path()}).value());
  std::unique_ptr<billing::Books> books_ = std::move(billing::Books::Open(home_.path()).value());
  MoneyApi money_{books_->ledger(), books_->recorder(), *store_};
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

TEST_F(ResolveApiTest, AnswersWithTheReceiptThatSaysWhatTheOperatorSaid) {
  const auto resolved = Try(Doubt() + "-1", R"("cost":"0.00005","reason":"their console says so")");
  ASSERT_TRUE(resolved.has_value()) << resolved.error().message;
  const auto receipt = dialects::ParseJsonObject(resolved->body).value();
  const auto& attempt = receipt.at("attempts").as_array()[0].as_object();
  EXPECT_EQ(attempt.at("state"), "settled");
  EXPECT_EQ(attempt.at("cost_nanousd"), "50000");
  EXPECT_EQ(attempt.at("usage_source"), "operator");
  EXPECT_EQ(attempt.at("finish"), "the operator: their console says so");
  EXPECT_EQ(books_->ledger().open_holds(), 0U);
}

TEST_F(ResolveApiTest, SaysWhatIsWrongWithTheErrandAndEndsNothing) {
  const std::string receipt = Doubt();
  for (const auto& [named, fields, param] :
       {std::tuple("", R"("cost":"1","void":true,"reason":"x")", "cost"),
        std::tuple("", R"("reason":"x")", "cost"), std::tuple("", R"("void":true)", "reason"),
        std::tuple("", R"("cost":"much","reason":"x")", "cost"),
        std::tuple("", R"("cost":"0.01","reason":"x")", "cost"),
        std::tuple("-0", R"("void":true,"reason":"x")", "receipt"),
        std::tuple("-x", R"("void":true,"reason":"x")", "receipt"),
        std::tuple("-", R"("void":true,"reason":"x")", "receipt"),
        std::tuple("0", R"("void":true,"reason":"x")", "receipt"),
        std::tuple("", R"("void":true,"reason":"x","by":"me")", "by")}) {
    EXPECT_EQ(Try(receipt + named, fields).error().param, param) << named << fields;
  }
  EXPECT_NE(Try(receipt, R"("reason":"x")").error().message.find("(--cost USD, --void)"),
            std::string::npos);
  EXPECT_NE(Try(receipt, R"("void":true)").error().message.find("(--reason TEXT)"),
            std::string::npos);
  EXPECT_EQ(Try(receipt + "-2", R"("void":true,"reason":"x")").error().code, ErrorCode::kNotFound);
  caller_.is_admin_token = false;
  EXPECT_EQ(Try(receipt, R"("void":true,"reason":"x")").error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(books_->ledger().open_holds(), 1U);
}

}  // namespace
}  // namespace tradewind::console_api
