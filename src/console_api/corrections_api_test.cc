#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "billing/books.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

class CorrectionsApiTest : public ::testing::Test {
 protected:
  // A request that was settled at 1 USD a million tokens: 300,000 nano-USD; its receipt.
  std::string Buy() {
    billing::Offer offer;
    offer.id = {ledger::RequestId::Make(1'764'072'000'000), 1};
    offer.purchase = {"org", "prj", "key_1", "usr", "org/model", "site-a", "x"};
    offer.prices = &prices_;
    offer.input_tokens_max = 1000;
    offer.output_tokens_max = 1000;
    auto attempt = books_->meter().Begin(offer, ledger::Send::kNow);
    EXPECT_TRUE(attempt.has_value()) << attempt.error().message;
    const chat::Usage usage = {.input_tokens = 100, .output_tokens = 200};
    EXPECT_TRUE(attempt->End({.is_complete = true, .usage = usage, .finish = "stop"}).has_value());
    return offer.id.request.ToString();
  }
  Result<http::Response> Try(const std::string& body, const std::string& more = "") {
    http::Request request;
    request.method = "POST";
    request.path = "/tw/v1/corrections" + more;
    request.body = body;
    return money_.Answer(request, caller_);
  }
  boost::json::object Ask(const std::string& body, const std::string& more = "") {
    const auto answer = Try(body, more);
    EXPECT_TRUE(answer.has_value()) << answer.error().message;
    return dialects::ParseJsonObject(answer.has_value() ? answer->body : "{}").value();
  }
  std::string Param(const std::string& body, const std::string& more = "") {
    const auto answer = Try(body, more);
    return answer.has_value() ? "" : answer.error().param;
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

TEST_F(CorrectionsApiTest, AnswersWithTheReceiptThatSaysBoth) {
  const std::string receipt = Buy();
  const auto answer =
      Ask(R"({"receipt":")" + receipt + R"(","cost":"0.0000003","reason":"a mistyped price"})");
  EXPECT_EQ(answer.at("cost_nanousd"), "300");
  EXPECT_EQ(answer.at("charge_nanousd"), "300");
  const auto& attempt = answer.at("attempts").as_array()[0].as_object();
  EXPECT_EQ(attempt.at("cost_nanousd"), "300");
  const auto& made = attempt.at("corrections").as_array()[0].as_object();
  EXPECT_EQ(made.at("cost_before_nanousd"), "300000");
  EXPECT_EQ(made.at("cost_nanousd"), "300");
  EXPECT_EQ(made.at("reason"), "a mistyped price");
  EXPECT_EQ(made.at("by"), "the admin token");
  // Who bills its own users by these figures is told the corrected one.
  http::Request asked;
  asked.method = "POST";
  asked.path = "/v1/billing/requests";
  asked.body = R"({"requestIds":[")" + receipt + R"("]})";
  EXPECT_NE(money_.Answer(asked, caller_)->body.find(R"("costNanoUsd":300})"), std::string::npos);
}

TEST_F(CorrectionsApiTest, RefusalsNameTheField) {
  const std::string receipt = R"({"receipt":")" + Buy() + R"(",)";
  EXPECT_EQ(Param(receipt + R"("cost":"1"})"), "reason");
  EXPECT_EQ(Param(receipt + R"("reason":"x"})"), "cost");
  EXPECT_EQ(Param(receipt + R"("cost":"-1","reason":"x"})"), "cost");
  EXPECT_EQ(Param(receipt + R"("charge":"1","reason":"x"})"), "charge");
  EXPECT_EQ(Param(receipt + R"("cots":"1","reason":"x"})"), "cots");
  EXPECT_EQ(Param(R"({"receipt":"what","cost":"1","reason":"x"})"), "receipt");
  EXPECT_EQ(Param(R"({"provider":"site-a"})", "/rerate"), "model");
  EXPECT_EQ(Param(R"({"model":"org/model"})", "/rerate"), "provider");
  const std::string model = R"({"model":"org/model","provider":"site-a",)";
  EXPECT_EQ(Param(model + R"("input_usd_per_mtok":"1"})", "/rerate"), "output_usd_per_mtok");
  EXPECT_EQ(Param(model + R"("from":"yesterday"})", "/rerate"), "from");
  EXPECT_EQ(Param(model + R"("apply":true})", "/rerate"), "reason");
  EXPECT_EQ(Try("{}", "/what").error().code, ErrorCode::kNotFound);
  caller_.is_admin_token = false;
  EXPECT_EQ(Try("{}").error().code, ErrorCode::kPermissionDenied);
}

TEST_F(CorrectionsApiTest, ManyAreRatedAnewByANamedPrice) {
  Buy();
  const std::string receipt = Buy();
  const std::string asked =
      R"({"model":"org/model","provider":"site-a","input_usd_per_mtok":"0.5","output_usd_per_mtok":"0.25")";
  const auto told = Ask(asked + "}", "/rerate");
  ASSERT_EQ(told.at("corrections").as_array().size(), 2U);
  EXPECT_EQ(told.at("applied"), false);
  EXPECT_TRUE(told.at("next").is_null());
  const auto done = Ask(asked + R"(,"apply":true,"reason":"mistyped"})", "/rerate");
  const auto& one = done.at("corrections").as_array()[1].as_object();
  EXPECT_EQ(one.at("cost_before_nanousd"), "300000");
  EXPECT_EQ(one.at("cost_nanousd"), "100000");
  EXPECT_EQ(one.at("org"), "org");
  EXPECT_EQ(Ask(asked + R"(,"apply":true,"reason":"mistyped"})", "/rerate").at("right"), 2);
}

TEST_F(CorrectionsApiTest, ManyAreRatedAnewByThePriceThatTheCatalogueHasNow) {
  Buy();
  std::optional<Decimal> now = Decimal::Parse("0.5").value();
  money_.NamesFrom([&now] {
    catalog::CatalogSources sources;
    catalog::Mapping mapping;
    mapping.hf_model = "org/model";
    mapping.provider = "site-a";
    mapping.provider_model = "x";
    mapping.prices.input = mapping.prices.output = now;
    mapping.prices.origin = "config.toml line 7";
    catalog::ProviderConfig& provider = sources.configured.emplace_back();
    provider.name = "site-a";
    provider.kind = "openai";
    provider.base_url = "https://site.example/v1";
    provider.models = {mapping};
    return catalog::Catalog::Build(std::move(sources));
  });
  const std::string asked = R"({"model":"Org/Model","provider":"Site-A")";
  const auto told = Ask(asked + "}", "/rerate");
  ASSERT_EQ(told.at("corrections").as_array().size(), 1U) << "no request was held at it yet";
  EXPECT_EQ(told.at("price_source"), "config.toml line 7");
  EXPECT_EQ(told.at("price_version"), 0);
  const std::string apply = asked + R"(,"apply":true,"reason":"mistyped"})";
  const auto done = Ask(apply, "/rerate");
  EXPECT_EQ(done.at("corrections").as_array()[0].at("cost_nanousd"), "150000");
  EXPECT_EQ(done.at("price_version"), 2);
  EXPECT_EQ(Ask(apply, "/rerate").at("right"), 1);
  now.reset();
  EXPECT_EQ(Param(asked + "}", "/rerate"), "model") << "it has no price now";
}

}  // namespace
}  // namespace tradewind::console_api
