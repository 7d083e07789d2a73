// Whole because all of it asks one API about one small shop, which most of its lines set up.
#include "console_api/money_api.h"

#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "billing/books.h"
#include "console_api/keys_api.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

class MoneyApiTest : public ::testing::Test {
 protected:
  MoneyApiTest() {
    auto store = identity::Store::Open({.home = home_.path()});
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    auto books = billing::Books::Open(home_.path());
    EXPECT_TRUE(books) << books.error().message;
    books_ = std::move(*books);
    money_ = std::make_unique<MoneyApi>(books_->ledger(), books_->recorder(), *store_);
    keys_ = std::make_unique<KeysApi>(*store_, money_.get());
    admin_.is_admin_token = true;
  }
  Result<http::Response> Try(const std::string& method, const std::string& path,
                             const std::string& body = "", const std::string& query = "") {
    http::Request request;
    request.method = method;
    request.path = path;
    request.query = query;
    request.body = body;
    const identity::Principal& caller = caller_ == nullptr ? admin_ : *caller_;
    return MoneyApi::Has(path) ? money_->Answer(request, caller) : keys_->Answer(request, caller);
  }
  boost::json::object Ask(const std::string& method, const std::string& path,
                          const std::string& body = "", const std::string& query = "") {
    const auto response = Try(method, path, body, query);
    EXPECT_TRUE(response) << response.error().message;
    return dialects::ParseJsonObject(response ? response->body : "{}").value();
  }
  static std::string Text(const boost::json::object& object, const char* name) {
    return std::string(object.at(name).as_string());
  }
  // A key; its token becomes the caller.
  std::string Key(const std::string& body, bool become = true) {
    const auto key = Ask("POST", "/tw/v1/keys", body);
    if (become) {
      caller_ = store_->keys().Find(Text(key, "token"));
    }
    return Text(key, "id");
  }
  void Spend(const std::string& key_id, int64_t output) {
    billing::Offer offer;
    offer.id = {ledger::RequestId::Make(1'764'072'000'000), 1};
    offer.purchase = {"org", "prj", key_id, "usr", "org/model", "site-a", "x"};
    offer.prices = &prices_;
    offer.output_tokens_max = output;
    last_ = offer.id.request.ToString();
    auto attempt = books_->meter().Begin(offer);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    chat::Usage usage;
    usage.output_tokens = output;
    attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  }

  testing::TempDir home_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<billing::Books> books_;
  std::unique_ptr<MoneyApi> money_;
  std::unique_ptr<KeysApi> keys_;
  identity::Principal admin_;
  std::shared_ptr<const identity::Principal> caller_;
  catalog::Prices prices_ = [] {
    catalog::Prices prices;
    prices.input = prices.output = Decimal::Parse("1").value();
    return prices;
  }();
  std::string last_;
};

TEST_F(MoneyApiTest, ABudgetIsSetWhereWhatWasSpentBeforeItCannotBeRead) {
  Key(R"({"name":"a"})", false);
  books_->recorder().Release();
  const auto set = Ask("PUT", "/tw/v1/budgets/key:a", R"({"budget":"3","period":"month"})");
  EXPECT_TRUE(set.at("spent_before_nanousd").is_null());
  EXPECT_EQ(books_->ledger().Budgets().size(), 1U);
}

TEST_F(MoneyApiTest, AProjectsBudgetIsNamedWithItsOrganisationToo) {
  Key(R"({"name":"a","org":"acme"})", false);
  Key(R"({"name":"g","org":"globex"})", false);
  const std::string id = *store_->AccountId("project", "globex/default");
  const auto set = [&](const std::string& scope) {
    return Text(Ask("PUT", "/tw/v1/budgets/" + scope, R"({"budget":"3"})"), "scope");
  };
  EXPECT_EQ(set("project:globex/default"), "project:" + id);
  EXPECT_EQ(set("project:globex/default/provider:site-a"), "project:" + id + "/provider:site-a");
  EXPECT_EQ(set("project:" + id + "/model:org/model"), "project:" + id + "/model:org/model");
  for (const char* none :
       {"project:globex/other", "project:globex/default/else", "project:a/b/c/d"}) {
    EXPECT_FALSE(Try("PUT", std::string("/tw/v1/budgets/") + none, R"({"budget":"3"})")) << none;
  }
}

TEST_F(MoneyApiTest, ANewBudgetSaysWhatWasSpentBeforeItInItsPeriod) {
  const std::string key = Key(R"({"name":"a"})", false);
  Spend(key, 4000);
  const auto spent = [&](const std::string& scope, const std::string& body) {
    const auto set = Ask("PUT", "/tw/v1/budgets/" + scope, body);
    if (!set.contains("spent_before_nanousd")) {
      return std::string("no word");
    }
    const auto& value = set.at("spent_before_nanousd");
    return value.is_null() ? "unknown" : std::string(value.as_string());
  };
  const std::string month = R"({"budget":"3","period":"month"})";
  EXPECT_EQ(spent("key:a", month), "4000000");
  EXPECT_EQ(spent("key:a", R"({"budget":"4"})"), "no word") << "it is none that is new";
  EXPECT_EQ(spent("provider:site-a", month), "4000000");
  EXPECT_EQ(spent("key:a/model:org/model", month), "4000000");
  EXPECT_EQ(spent("key:a/model:org/other", month), "0");
  EXPECT_EQ(spent("all", month), "4000000");
  EXPECT_EQ(spent("probes", month), "unknown");
  EXPECT_EQ(spent("user:owner", month), "unknown");
  Spend(key, 1000);
  Ask("DELETE", "/tw/v1/budgets/key:a");
  EXPECT_EQ(spent("key:a", month), "4000000") << "the other was in the one that was removed";
  Ask("DELETE", "/tw/v1/budgets/key:a");
  EXPECT_EQ(spent("key:a", R"({"budget":"3","period":"quarter"})"), "5000000");
  Ask("DELETE", "/tw/v1/budgets/key:a");
  EXPECT_EQ(spent("key:a", R"({"budget":"3","period":"rolling:24h"})"), "unknown");
}

TEST_F(MoneyApiTest, GivesAKeyItsBudgetAndSaysWhatIsLeft) {
  const std::string key =
      Key(R"({"name":"a","budget":"0.01","period":"day","zone":"Europe/Berlin"})", false);
  Spend(key, 4000);
  const auto usage = Ask("GET", "/tw/v1/usage", "", "key=a");
  EXPECT_EQ(Text(usage, "key"), key);
  EXPECT_EQ(Text(usage, "cost_nanousd"), "4000000");
  EXPECT_EQ(usage.at("requests").as_object().at("settled").as_int64(), 1);
  EXPECT_EQ(usage.at("output_tokens").as_int64(), 4000);
  const auto& budget = usage.at("budget").as_object();
  EXPECT_EQ(Text(budget, "budget_nanousd"), "10000000");
  EXPECT_EQ(Text(budget, "available_nanousd"), "6000000");
  EXPECT_EQ(Text(budget, "period"), "day");
  EXPECT_EQ(Text(budget, "zone"), "Europe/Berlin");
  EXPECT_EQ(Text(Ask("GET", "/tw/v1/usage"), "cost_nanousd"), "4000000");
}

TEST_F(MoneyApiTest, NamesTheFieldOfABadBudgetAndMakesNoKey) {
  const auto param = [&](const std::string& fields) {
    const auto response = Try("POST", "/tw/v1/keys", R"({"name":"a",)" + fields + "}");
    return response ? std::string("created") : response.error().param;
  };
  EXPECT_EQ(param(R"("budget":"much")"), "budget");
  EXPECT_EQ(param(R"("budget":"-1")"), "budget");
  EXPECT_EQ(param(R"("budget":"1","period":"fortnight")"), "period");
  EXPECT_EQ(param(R"("budget":"1","zone":"Nowhere/City")"), "zone");
  EXPECT_EQ(param(R"("period":"day")"), "period");
  EXPECT_TRUE(Ask("GET", "/tw/v1/keys").at("keys").as_array().size() <= 1) << "the admin's at most";
}

TEST_F(MoneyApiTest, SetsListsAndRemovesBudgetsOfAnyScope) {
  Key(R"({"name":"a","org":"acme"})", false);
  const auto set = Ask("PUT", "/tw/v1/budgets/org:acme/model:org/x",
                       R"({"budget":"2","period":"month","mode":"soft"})");
  EXPECT_TRUE(Text(set, "scope").starts_with("org:org_")) << Text(set, "scope");
  EXPECT_TRUE(Text(set, "scope").ends_with("/model:org/x")) << Text(set, "scope");
  EXPECT_EQ(Text(set, "mode"), "soft");
  EXPECT_EQ(Ask("GET", "/tw/v1/budgets").at("budgets").as_array().size(), 1U);
  EXPECT_TRUE(Ask("DELETE", "/tw/v1/budgets/org:acme/model:org/x").at("closed").as_bool());
  EXPECT_EQ(Try("DELETE", "/tw/v1/budgets/org:acme/model:org/x").error().code, ErrorCode::kNotFound)
      << "it is gone";
  EXPECT_EQ(Ask("GET", "/tw/v1/budgets").at("budgets").as_array().size(), 0U);
  EXPECT_EQ(Try("GET", "/tw/v1/budgets/org:acme/model:org/x").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("PUT", "/tw/v1/budgets/org:acme", R"({"budget":"2","limt":"3"})").error().param,
            "limt");
  for (const char* scope : {"acme", "kye:x", "org:", "org:acme/modell:x", "org:acme/model:"}) {
    EXPECT_EQ(Try("PUT", std::string("/tw/v1/budgets/") + scope, R"({"budget":"2"})").error().param,
              "scope")
        << "it would bind nobody: " << scope;
  }
  for (const char* scope : {"org:nobody", "user:nobody", "project:nobody/model:org/x"}) {
    EXPECT_EQ(Try("PUT", std::string("/tw/v1/budgets/") + scope, R"({"budget":"2"})").error().code,
              ErrorCode::kNotFound)
        << "it would bind nobody: " << scope;
  }
  EXPECT_EQ(
      Text(Ask("PUT", "/tw/v1/budgets/user:owner", R"({"budget":"2"})"), "scope").substr(0, 9),
      "user:usr_");
  EXPECT_EQ(Try("POST", "/tw/v1/budgets").error().code, ErrorCode::kMethodNotAllowed);
}

TEST_F(MoneyApiTest, ABudgetIsNamedAsWhoseItIsIsCalled) {
  Key(R"({"name":"demo","org":"acme","project":"site","user":"ada"})", false);
  for (const auto& [scope, name] :
       {std::pair("key:demo", "demo"), std::pair("project:acme/site/provider:x", "acme/site"),
        std::pair("user:ada", "ada"), std::pair("org:acme/model:org/x", "acme")}) {
    const std::string path = std::string("/tw/v1/budgets/") + scope;
    EXPECT_EQ(Text(Ask("PUT", path, R"({"budget":"2"})"), "name"), name) << scope;
    EXPECT_EQ(Text(Ask("GET", path), "name"), name) << scope;
  }
  EXPECT_TRUE(Ask("PUT", "/tw/v1/budgets/all", R"({"budget":"2"})").at("name").is_null());
}

TEST_F(MoneyApiTest, ReleasesOnlyWhatAPowerCutLeftUnaccounted) {
  const std::string path = "/tw/v1/budgets/org:acme", wish = R"({"release":"unaccounted"})";
  Key(R"({"name":"a","org":"acme"})", false);
  EXPECT_EQ(Text(Ask("PUT", path, R"({"budget":"2"})"), "unaccounted_nanousd"), "0");
  EXPECT_EQ(Try("POST", path, wish).error().code, ErrorCode::kNotFound) << "no power was cut";
  for (const char* bad : {"{}", R"({"release":"all"})", R"({"release":"unaccounted","usd":"1"})"}) {
    EXPECT_EQ(Try("POST", path, bad).error().param, "release") << bad;
  }
}

TEST_F(MoneyApiTest, WhatOfABudgetIsNotNamedStaysAsItIs) {
  const std::string path = "/tw/v1/budgets/org:acme";
  Key(R"({"name":"a","org":"acme"})", false);
  EXPECT_EQ(Try("PUT", path, R"({"mode":"soft"})").error().param, "budget") << "there is none yet";
  EXPECT_EQ(Try("PUT", path, R"({"budget":""})").error().param, "budget");
  Ask("PUT", path, R"({"budget":"2","period":"month","zone":"Europe/Berlin","warn":"60"})");
  const auto soft = Ask("PUT", path, R"({"mode":"soft"})");
  EXPECT_EQ(Text(soft, "mode"), "soft");
  EXPECT_EQ(Text(soft, "budget_nanousd"), "2000000000");
  const auto warned = Ask("PUT", path, R"({"warn":"50"})");
  for (const auto& [name, value] :
       {std::pair("budget_nanousd", "2000000000"), std::pair("mode", "soft"),
        std::pair("period", "month"), std::pair("zone", "Europe/Berlin")}) {
    EXPECT_EQ(Text(warned, name), value) << name;
  }
  Ask("DELETE", path);
  EXPECT_EQ(Try("PUT", path, R"({"mode":"soft"})").error().param, "budget") << "nor any more";
}

TEST_F(MoneyApiTest, AnotherPeriodIsNoWayToSpendABudgetTwice) {
  const std::string key = Key(R"({"name":"a","budget":"0.02","period":"day"})", false);
  Spend(key, 4000);
  for (const char* change :
       {R"({"budget":"0.02","period":"month"})", R"({"budget":"0.02","zone":"Europe/Berlin"})"}) {
    const auto refused = Try("PUT", "/tw/v1/budgets/key:a", change);
    ASSERT_FALSE(refused.has_value()) << change;
    EXPECT_NE(refused.error().message.find("remove it first"), std::string::npos);
  }
  EXPECT_EQ(Text(Ask("PUT", "/tw/v1/budgets/key:a", R"({"budget":"0.03","period":"day"})"),
                 "spent_nanousd"),
            "4000000");
  Ask("DELETE", "/tw/v1/budgets/key:a");
  Ask("PUT", "/tw/v1/budgets/key:a", R"({"budget":"0.03","period":"month"})");
}

TEST_F(MoneyApiTest, WeeksAndMonthsBeginOnTheDayThatIsSet) {
  Key(R"({"name":"a","org":"acme"})", false);
  Key(R"({"name":"c","org":"other"})", false);
  const auto week = Ask("PUT", "/tw/v1/budgets/org:acme",
                        R"({"budget":"2","period":"week","week_start":"sunday"})");
  EXPECT_EQ(Text(week, "week_start"), "sunday");
  EXPECT_FALSE(week.contains("cycle_day"));
  EXPECT_EQ(Text(Ask("PUT", "/tw/v1/budgets/org:acme", R"({"budget":"3"})"), "week_start"),
            "sunday");
  const auto month =
      Ask("PUT", "/tw/v1/budgets/org:other", R"({"budget":"2","period":"month","cycle_day":15})");
  EXPECT_EQ(month.at("cycle_day").as_int64(), 15);
  EXPECT_EQ(Text(month, "resets_at").substr(7), "-15T00:00:00Z");
  const std::string key =
      Key(R"({"name":"b","budget":"1","period":"month","cycle_day":31,"of":"charge"})", false);
  const auto own = Ask("GET", "/tw/v1/budgets/key:b");
  EXPECT_EQ(own.at("cycle_day").as_int64(), 31);
  EXPECT_EQ(Text(own, "of"), "charge");
  const auto param = [&](const std::string& path, const std::string& body) {
    const auto response = Try("PUT", "/tw/v1/budgets/" + path, body);
    return response ? std::string("set") : response.error().param;
  };
  EXPECT_EQ(param("key:a", R"({"budget":"1","period":"week","week_start":"someday"})"),
            "week_start");
  EXPECT_EQ(param("key:a", R"({"budget":"1","period":"day","week_start":"sunday"})"), "week_start");
  EXPECT_EQ(param("key:a", R"({"budget":"1","cycle_day":2})"), "cycle_day");
  EXPECT_EQ(param("key:a", R"({"budget":"1","period":"month","cycle_day":32})"), "cycle_day");
  EXPECT_EQ(param("org:acme", R"({"week_start":"monday"})"), "week_start") << "it has been used";
  EXPECT_EQ(param("org:other", R"({"cycle_day":16})"), "cycle_day");
  EXPECT_EQ(param("org:other", R"({"period":"month","cycle_day":15})"), "set");
}

TEST_F(MoneyApiTest, ARollingBudgetCountsTheSpanBeforeNow) {
  const std::string key = Key(R"({"name":"a","budget":"0.01","period":"rolling:24h"})", false);
  const std::string path = "/tw/v1/budgets/key:a";
  EXPECT_TRUE(Ask("GET", path).at("resets_at").is_null()) << "nothing is used";
  Spend(key, 4000);
  const auto budget = Ask("GET", path);
  EXPECT_EQ(Text(budget, "period"), "rolling:24h");
  EXPECT_EQ(Text(budget, "spent_nanousd"), "4000000");
  EXPECT_EQ(Text(budget, "available_nanousd"), "6000000");
  EXPECT_TRUE(budget.at("resets_at").is_string());
  for (const char* other : {"rolling:7d", "day"}) {
    EXPECT_EQ(Try("PUT", path, fmt::format(R"({{"period":"{}"}})", other)).error().param, "period");
  }
  EXPECT_EQ(
      Text(Ask("PUT", path, R"({"budget":"0.02","period":"rolling:1440m"})"), "available_nanousd"),
      "16000000");
  EXPECT_EQ(Try("PUT", path, R"({"period":"rolling:24"})").error().param, "period");
}

TEST_F(MoneyApiTest, ABudgetIsOfWhatProvidersBillOrOfWhatUsersAreCharged) {
  Key(R"({"name":"a","org":"acme"})", false);
  const std::string path = "/tw/v1/budgets/key:a";
  EXPECT_EQ(Text(Ask("PUT", path, R"({"budget":"1"})"), "of"), "cost");
  EXPECT_EQ(Try("PUT", path, R"({"of":"charge"})").error().param, "of");
  Ask("DELETE", path);
  EXPECT_EQ(Text(Ask("PUT", path, R"({"budget":"1","of":"charge"})"), "of"), "charge");
  EXPECT_EQ(Text(Ask("PUT", path, R"({"budget":"2"})"), "of"), "charge");
  EXPECT_EQ(Try("PUT", path, R"({"of":"money"})").error().param, "of");
}

TEST_F(MoneyApiTest, ABudgetThatBoundNobodyIsRemovedAndDoesNotHideTheRightOne) {
  Key(R"({"name":"a","org":"acme"})", false);
  for (const char* name : {"org:acme", "org:gone"}) {
    ASSERT_TRUE(books_->ledger().Define({.name = name, .limit = 5}).has_value());
  }
  EXPECT_TRUE(Text(Ask("PUT", "/tw/v1/budgets/org:acme", R"({"budget":"2"})"), "scope")
                  .starts_with("org:org_"));
  EXPECT_EQ(Try("PUT", "/tw/v1/budgets/org:gone", R"({"budget":"2"})").error().code,
            ErrorCode::kNotFound);
  EXPECT_EQ(Text(Ask("GET", "/tw/v1/budgets/org:gone"), "scope"), "org:gone");
  EXPECT_TRUE(Ask("DELETE", "/tw/v1/budgets/org:gone").at("closed").as_bool());
}

TEST_F(MoneyApiTest, GrantsCreditOnceAndListsWhatIsLeftOfIt) {
  Key(R"({"name":"a","org":"acme"})", false);
  const auto granted = Ask("POST", "/tw/v1/credits",
                           R"({"org":"acme","usd":"0.01","note":"welcome","id":"order-7",
                               "expires":"2100-01-01","promotional":true,"priority":7})");
  EXPECT_EQ(granted.at("priority").as_int64(), 7);
  EXPECT_TRUE(granted.at("models").is_null()) << "it pays for all";
  EXPECT_EQ(Text(granted, "id"), "order-7");
  EXPECT_EQ(Text(granted, "amount_nanousd"), "10000000");
  EXPECT_EQ(Text(granted, "left_nanousd"), "10000000");
  EXPECT_EQ(Text(granted, "expires_at"), "2100-01-01T00:00:00Z");
  const std::string org = Text(granted, "org");
  EXPECT_TRUE(
      Text(Ask("POST", "/tw/v1/credits", R"({"org":"acme","usd":"2"})"), "id").starts_with("crd_"));
  const auto list = Ask("GET", "/tw/v1/credits", "", "org=acme");
  ASSERT_EQ(list.at("credits").as_array().size(), 2U);
  EXPECT_TRUE(list.at("credits").as_array()[1].as_object().at("expires_at").is_null());
  EXPECT_FALSE(list.contains("next"));
  const auto first = Ask("GET", "/tw/v1/credits", "", "org=acme&limit=1");
  ASSERT_EQ(first.at("credits").as_array().size(), 1U);
  EXPECT_EQ(Text(first, "next"), "order-7");
  EXPECT_EQ(first.at("organisations"), list.at("organisations")) << "of all pages";
  const auto second = Ask("GET", "/tw/v1/credits", "", "org=acme&limit=1&after=order-7");
  ASSERT_EQ(second.at("credits").as_array().size(), 1U);
  EXPECT_EQ(second.at("credits").as_array()[0], list.at("credits").as_array()[1]);
  EXPECT_FALSE(second.contains("next"));
  EXPECT_EQ(Try("GET", "/tw/v1/credits", "", "after=nobodys").error().param, "after");
  EXPECT_EQ(Try("GET", "/tw/v1/credits", "", "limit=0").error().param, "limit");
  const auto& acme = list.at("organisations").as_array().at(0).as_object();
  EXPECT_EQ(Text(acme, "name"), "acme");
  EXPECT_EQ(Text(acme, "org"), org);
  EXPECT_EQ(Text(acme, "terms"), "postpaid");
  EXPECT_EQ(Text(acme, "left_nanousd"), "2010000000");
  const auto param = [&](const std::string& body) {
    const auto response = Try("POST", "/tw/v1/credits", body);
    return response ? std::string("granted") : response.error().param;
  };
  EXPECT_EQ(param(R"({"org":"nobody","usd":"1"})"), "org");
  EXPECT_EQ(param(R"({"org":"acme","usd":"0"})"), "usd");
  EXPECT_EQ(param(R"({"org":"acme","usd":"-1"})"), "usd");
  EXPECT_EQ(param(R"({"org":"acme","usd":"1","expires":"2020-01-01"})"), "expires");
  EXPECT_EQ(param(R"({"org":"acme","usd":"1","expirs":"2100-01-01"})"), "expirs");
  EXPECT_EQ(param(R"({"org":"acme","usd":"1","id":"a b"})"), "id");
  EXPECT_EQ(param(R"({"org":"acme","usd":"1","priority":101})"), "priority");
  EXPECT_EQ(param(R"({"org":"acme","usd":"1","note":")" + std::string(600, 'x') + R"("})"), "note");
}

TEST_F(MoneyApiTest, AGrantUnderAnIdIsRepeatedAsItWasOrRefused) {
  Key(R"({"name":"a","org":"acme"})", false);
  Key(R"({"name":"b","org":"other"})", false);
  const std::string grant =
      R"({"org":"acme","usd":"25","expires":"30d","note":"paid","models":["org/x"],"id":"order-7"})";
  const auto granted = Ask("POST", "/tw/v1/credits", grant);
  EXPECT_EQ(Ask("POST", "/tw/v1/credits", grant), granted) << "its answer may have been lost";
  for (const auto& [was, is] :
       {std::pair("\"25\"", "\"26\""), std::pair("acme", "other"), std::pair("30d", "31d"),
        std::pair("paid", "gift"), std::pair("org/x", "org/y")}) {
    std::string other = grant;
    other.replace(other.find(was), std::string_view(was).size(), is);
    const auto refused = Try("POST", "/tw/v1/credits", other);
    ASSERT_FALSE(refused.has_value()) << other;
    EXPECT_EQ(refused.error().param, "id") << other;
  }
  EXPECT_EQ(Ask("GET", "/tw/v1/credits").at("credits").as_array().size(), 1U);
}

TEST_F(MoneyApiTest, ACreditWithAScopePaysForThatAlone) {
  const std::string key = Key(R"({"name":"a","org":"acme"})", false);
  const auto credit = Ask("POST", "/tw/v1/credits",
                          R"({"org":"acme","usd":"1","models":["org/a","org/b"],
                              "providers":"site-a,site-b"})");
  EXPECT_EQ(credit.at("models"), (boost::json::array{"org/a", "org/b"}));
  EXPECT_EQ(credit.at("providers"), (boost::json::array{"site-a", "site-b"}));
  for (const auto& [field, value] :
       {std::pair("models", R"("")"), std::pair("models", R"(["a b"])"),
        std::pair("providers", R"(["x\ny"])"), std::pair("models", "7"),
        std::pair("models", "[]")}) {
    EXPECT_EQ(Try("POST", "/tw/v1/credits",
                  fmt::format(R"({{"org":"acme","usd":"1","{}":{}}})", field, value))
                  .error()
                  .param,
              field)
        << value;
  }
  EXPECT_EQ(Try("POST", "/tw/v1/credits",
                R"({"org":"acme","usd":"1","models":")" + std::string(1100, 'm') + R"("})")
                .error()
                .param,
            "models");
}

// Two models at two sites.
std::shared_ptr<const catalog::Catalog> CatalogOfTwo() {
  catalog::CatalogSources sources;
  for (const auto& [site, id] : {std::pair("site-a", "org/model"), {"site-b", "org/other"}}) {
    catalog::Mapping mapping;
    mapping.hf_model = id;
    mapping.provider = site;
    mapping.provider_model = "m";
    catalog::ProviderConfig& provider = sources.configured.emplace_back();
    provider.name = site;
    provider.kind = "openai";
    provider.base_url = "https://site.example/v1";
    provider.models = {mapping};
  }
  return catalog::Catalog::Build(std::move(sources));
}

TEST_F(MoneyApiTest, ABudgetIsSetAsTheCatalogueSpellsItOrRefused) {
  money_->NamesFrom(CatalogOfTwo);
  const std::string key = Key(R"({"name":"a","org":"acme"})", false);
  const auto set = [&](const std::string& scope) {
    return Text(Ask("PUT", "/tw/v1/budgets/" + scope, R"({"budget":"2"})"), "scope");
  };
  EXPECT_EQ(set("key:a/model:ORG/Model"), "key:" + key + "/model:org/model");
  EXPECT_EQ(set("key:a/provider:Site-A"), "key:" + key + "/provider:site-a");
  EXPECT_EQ(set("model:OTHER"), "model:org/other") << "as requests may name it, too";
  EXPECT_EQ(set("provider:SITE-B"), "provider:site-b");
  EXPECT_EQ(set("all"), "all");
  for (const auto& [scope, nearest] :
       {std::pair("model:org/modle", "The nearest: org/model."),
        {"key:a/model:org/othr", "The nearest: org/other"},
        {"provider:sita-a", "The nearest: site-a, site-b."},
        {"org:acme/provider:far-away", "`tradewind providers` lists"},
        {"model:far/away-from-all", "`tradewind search` lists"}}) {
    const auto refused = Try("PUT", fmt::format("/tw/v1/budgets/{}", scope), R"({"budget":"2"})");
    ASSERT_FALSE(refused.has_value()) << scope;
    EXPECT_EQ(refused.error().code, ErrorCode::kNotFound) << scope;
    EXPECT_EQ(refused.error().param, "scope") << scope;
    EXPECT_NE(refused.error().message.find(nearest), std::string::npos) << refused.error().message;
  }
}

TEST_F(MoneyApiTest, ABudgetSetInAnotherCaseOrOfAModelThatIsGoneStaysTheOneThatItIs) {
  money_->NamesFrom(CatalogOfTwo);
  for (const char* name : {"model:ORG/Model", "model:gone/model"}) {
    ASSERT_TRUE(books_->ledger().Define({.name = name, .limit = 5}).has_value());
  }
  for (const auto& [asked, known] : {std::pair("model:org/model", "model:ORG/Model"),
                                     {"model:Gone/Model", "model:gone/model"}}) {
    const std::string path = fmt::format("/tw/v1/budgets/{}", asked);
    EXPECT_EQ(Text(Ask("GET", path), "scope"), known);
    EXPECT_EQ(Text(Ask("PUT", path, R"({"budget":"3"})"), "scope"), known);
    EXPECT_EQ(Text(Ask("GET", path), "budget_nanousd"), "3000000000");
    EXPECT_TRUE(Ask("DELETE", path).at("closed").as_bool());
  }
  EXPECT_EQ(Text(Ask("PUT", "/tw/v1/budgets/model:org/MODEL", R"({"budget":"2"})"), "scope"),
            "model:org/model");
  EXPECT_EQ(Try("PUT", "/tw/v1/budgets/model:gone/model", R"({"budget":"2"})").error().code,
            ErrorCode::kNotFound);
}

TEST_F(MoneyApiTest, ACreditIsOfWhatTheCatalogueHasAsItSpellsIt) {
  money_->NamesFrom(CatalogOfTwo);
  Key(R"({"name":"a","org":"acme"})", false);
  const auto credit = Ask("POST", "/tw/v1/credits",
                          R"({"org":"acme","usd":"1","models":["ORG/Model","other"],
                              "providers":"Site-A"})");
  EXPECT_EQ(credit.at("models"), (boost::json::array{"org/model", "org/other"}));
  EXPECT_EQ(credit.at("providers"), (boost::json::array{"site-a"}));
  for (const char* field : {"models", "providers"}) {
    const auto refused = Try("POST", "/tw/v1/credits",
                             fmt::format(R"({{"org":"acme","usd":"1","{}":["nobodys"]}})", field));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(refused.error().param, field) << "a grant is for good";
  }
}

TEST_F(MoneyApiTest, MakesAnOrganisationPayFromItsCreditsAlone) {
  Key(R"({"name":"boss","org":"acme","scopes":["manage","read"],"role":"admin"})");
  const auto boss = std::exchange(caller_, nullptr);
  EXPECT_EQ(Text(Ask("PUT", "/tw/v1/credits/acme", R"({"terms":"prepaid"})"), "terms"), "prepaid");
  EXPECT_EQ(Try("PUT", "/tw/v1/credits/acme", R"({"terms":"later"})").error().param, "terms");
  EXPECT_EQ(Try("PUT", "/tw/v1/credits/nobody", R"({"terms":"prepaid"})").error().code,
            ErrorCode::kNotFound);
  EXPECT_EQ(books_->ledger().PrepaidLeft("org:" + boss->org_id), 0);
  Ask("POST", "/tw/v1/credits", R"({"org":"acme","usd":"1"})");
  Key(R"({"name":"rival","org":"rival"})", false);
  Ask("POST", "/tw/v1/credits", R"({"org":"rival","usd":"1"})");
  caller_ = boss;
  const auto mine = Ask("GET", "/tw/v1/credits");
  EXPECT_EQ(mine.at("credits").as_array().size(), 1U) << "nothing of others";
  ASSERT_EQ(mine.at("organisations").as_array().size(), 1U);
  EXPECT_EQ(Text(mine.at("organisations").as_array()[0].as_object(), "terms"), "prepaid");
  EXPECT_EQ(Try("GET", "/tw/v1/credits", "", "org=rival").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("POST", "/tw/v1/credits", R"({"org":"acme","usd":"9"})").error().code,
            ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("PUT", "/tw/v1/credits/acme", R"({"terms":"postpaid"})").error().code,
            ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("DELETE", "/tw/v1/credits/acme").error().code, ErrorCode::kMethodNotAllowed);
  caller_ = nullptr;
  Ask("PUT", "/tw/v1/credits/acme", R"({"terms":"postpaid"})");
  EXPECT_EQ(books_->ledger().PrepaidLeft("org:" + boss->org_id), std::nullopt);
}

TEST_F(MoneyApiTest, TellsATenantNothingOfOthers) {
  Key(R"({"name":"rival","org":"rival"})", false);
  Key(R"({"name":"boss","org":"acme","scopes":["manage","read"],"role":"admin"})");
  const auto there = Try("GET", "/tw/v1/budgets/org:rival");
  const auto nobody = Try("GET", "/tw/v1/budgets/org:nobody");
  EXPECT_EQ(there.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(there.error().message, "There is no \"org:rival\".");
  EXPECT_EQ(nobody.error().message, "There is no \"org:nobody\".");
}

TEST_F(MoneyApiTest, ChangesOnlyWhatIsNamedAndTakesAKeyByItsName) {
  const std::string key = Key(R"({"name":"a","budget":"1","period":"month"})", false);
  const auto set = Ask("PUT", "/tw/v1/budgets/key:a", R"({"budget":"2"})");
  EXPECT_EQ(Text(set, "scope"), "key:" + key);
  EXPECT_EQ(Text(set, "period"), "month");
  EXPECT_EQ(Text(set, "budget_nanousd"), "2000000000");
  EXPECT_EQ(Try("PUT", "/tw/v1/budgets/key:nobody", R"({"budget":"2"})").error().code,
            ErrorCode::kNotFound);
}

TEST_F(MoneyApiTest, LetsATenantSeeButNotLiftItsBudgets) {
  const std::string key = Key(R"({"name":"boss","scopes":["manage","read"],"role":"admin"})");
  const std::string org = "/tw/v1/budgets/org:" + caller_->org_id;
  caller_ = nullptr;
  Ask("PUT", org, R"({"budget":"1"})");
  caller_ = store_->keys().Find(Text(Ask("POST", "/tw/v1/keys/boss/rotate"), "token"));
  EXPECT_EQ(Text(Ask("GET", org), "budget_nanousd"), "1000000000");
  EXPECT_EQ(Try("PUT", org, R"({"budget":"9"})").error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("DELETE", org).error().code, ErrorCode::kPermissionDenied);
}

TEST_F(MoneyApiTest, AReceiptSaysHowMuchMayComeOfWhatRunsOrIsInDoubt) {
  const std::string key = Key(R"({"name":"a"})", false);
  Spend(key, 5);
  billing::Offer offer;
  offer.id = {*ledger::RequestId::Parse(last_), 2};
  offer.purchase = {"org", "prj", key, "usr", "org/model", "site-a", "x"};
  offer.prices = &prices_;
  offer.output_tokens_max = 100;
  const auto amounts = [&] {
    const auto receipt = Ask("GET", "/v1/receipts/" + last_);
    std::string text;
    for (const char* name : {"cost_nanousd", "held_nanousd", "in_doubt_nanousd"}) {
      text += Text(receipt, name) + " ";
    }
    return text;
  };
  EXPECT_EQ(amounts(), "5000 0 0 ");
  auto attempt = books_->meter().Begin(offer);
  ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
  EXPECT_EQ(amounts(), "5000 100000 0 ");
  ASSERT_TRUE(attempt->Sent().has_value());
  EXPECT_EQ(amounts(), "5000 100000 0 ");
  attempt->End({.likely_billed = true, .delivered_bytes = 30, .finish = "cut"});
  EXPECT_EQ(amounts(), "5000 0 100000 ");
}

TEST_F(MoneyApiTest, ShowsTheReceiptOfEveryAttempt) {
  const std::string key = Key(R"({"name":"a"})", false);
  Spend(key, 5);
  const auto receipt = Ask("GET", "/v1/receipts/" + last_);
  EXPECT_EQ(Text(receipt, "cost_nanousd"), "5000");
  const auto& attempt = receipt.at("attempts").as_array().at(0).as_object();
  EXPECT_EQ(Text(attempt, "state"), "settled");
  EXPECT_EQ(Text(attempt, "usage_source"), "provider");
  EXPECT_EQ(Text(attempt, "finish"), "stop");
  EXPECT_EQ(Try("GET", "/v1/receipts/nothing").error().param, "id");
}

TEST_F(MoneyApiTest, ShowsAKeyItsOwnSpendingOnly) {
  const std::string other = Key(R"({"name":"other"})", false);
  Spend(other, 7);
  const std::string receipt = last_;
  const std::string key = Key(R"({"name":"mine"})");
  EXPECT_EQ(Text(Ask("GET", "/tw/v1/usage"), "cost_nanousd"), "0");
  EXPECT_EQ(Try("GET", "/tw/v1/usage", "", "key=other").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("GET", "/v1/receipts/" + receipt).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("PUT", "/tw/v1/budgets/key:" + key, R"({"budget":"1000"})").error().code,
            ErrorCode::kPermissionDenied);
}

TEST_F(MoneyApiTest, TellsAnOrganisationWhatItsRequestsCostAndNobodyElse) {
  const std::string key = Key(R"({"name":"mine"})");
  billing::Offer offer;
  offer.id = {ledger::RequestId::Make(1'764'072'000'000), 1};
  offer.purchase = {caller_->org_id, "prj", key, "usr", "org/model", "site-a", "x"};
  offer.prices = &prices_;
  offer.output_tokens_max = 10;
  auto attempt = books_->meter().Begin(offer);
  ASSERT_TRUE(attempt->Sent().has_value());
  const std::string id = offer.id.request.ToString();
  const std::string body = R"({"requestIds":[")" + id + R"(","nonsense"]})";
  EXPECT_TRUE(Ask("POST", "/v1/billing/requests", body).at("requests").as_array().empty())
      << "it runs";
  chat::Usage usage;
  usage.output_tokens = 4;
  attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  const auto told = Ask("POST", "/v1/billing/requests", body).at("requests").as_array();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(Text(told[0].as_object(), "requestId"), id);
  EXPECT_EQ(told[0].as_object().at("costNanoUsd").as_int64(), 4000);
  identity::Principal other;
  other.org_id = "org_other";
  caller_ = std::make_shared<const identity::Principal>(other);
  EXPECT_TRUE(Ask("POST", "/v1/billing/requests", body).at("requests").as_array().empty());
}

TEST_F(MoneyApiTest, ARequestIsBilledOnceItsChargeCanNoMoreChange) {
  const std::string key = Key(R"({"name":"a"})", false);
  Spend(key, 4);
  const std::string body = R"({"requestIds":[")" + last_ + R"("]})";
  const auto told = [&] {
    std::string text;
    for (const auto& one : Ask("POST", "/v1/billing/requests", body).at("requests").as_array()) {
      text += std::to_string(one.as_object().at("costNanoUsd").as_int64());
    }
    return text;
  };
  const auto cut = [&](uint16_t number, int64_t delivered_bytes) {
    billing::Offer offer;
    offer.id = {*ledger::RequestId::Parse(last_), number};
    offer.purchase = {"org", "prj", key, "usr", "org/model", "site-a", "x"};
    offer.prices = &prices_;
    offer.output_tokens_max = 100;
    auto attempt = books_->meter().Begin(offer);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    EXPECT_EQ(told(), "") << "it runs";
    attempt->End({.likely_billed = true, .delivered_bytes = delivered_bytes, .finish = "cut"});
  };
  cut(2, 0);
  EXPECT_EQ(told(), "4000") << "whatever becomes of what nobody got, nobody is charged for it";
  cut(3, 30);
  EXPECT_EQ(told(), "") << "the provider may say that it cost less";
  ASSERT_TRUE(books_->ledger()
                  .ResolveSettled({*ledger::RequestId::Parse(last_), 2}, 100'000, 0, "")
                  .has_value());
  ASSERT_TRUE(
      books_->ledger().ResolveVoid({*ledger::RequestId::Parse(last_), 3}, "free").has_value());
  EXPECT_EQ(told(), "4000") << "as was told";
}

TEST_F(MoneyApiTest, ClosesAMonthOnceAndNotOverDifferencesThatNobodyExplains) {
  const std::string bill =
      R"({"provider":"site-a","bill":"date,cost_usd\n2025-11-25,5\n"})";  // and nothing recorded
  const auto imported = Ask("POST", "/tw/v1/reconcile/import", bill);
  const auto& month = imported.at("providers").as_array()[0].as_object();
  EXPECT_EQ(Text(month, "suspense_nanousd"), "5000000000");
  EXPECT_EQ(Text(month.at("lines").as_array()[0].as_object(), "class"), "missing_local");
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 5'000'000'000);
  Ask("POST", "/tw/v1/reconcile/import", bill);
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 5'000'000'000) << "the same bill again";
  const std::string close = R"({"provider":"site-a","period":"2025-11")";
  EXPECT_EQ(Try("POST", "/tw/v1/reconcile/close", close + "}").error().param, "accept");
  const auto closed = Ask("POST", "/tw/v1/reconcile/close", close + R"(,"accept":"a fee"})");
  EXPECT_TRUE(closed.at("providers").as_array()[0].as_object().at("closed").as_bool());
  EXPECT_EQ(books_->ledger().OwedTo("suspense:site-a/2025-11"), 0);
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 5'000'000'000);
  EXPECT_EQ(Try("POST", "/tw/v1/reconcile/close", close + "}").error().param, "period");
  EXPECT_EQ(Try("POST", "/tw/v1/reconcile/import", bill).error().param, "period");
  const std::string across =
      R"({"provider":"p","bill":"start,end,cost_usd\n2025-11-25,2026-01-01,5\n"})";
  EXPECT_EQ(Try("POST", "/tw/v1/reconcile/import", across).error().param, "file");
  const std::string to_come =
      R"({"provider":"p","bill":"start,end,cost_usd\n2199-01-01,2199-01-02,5\n"})";
  EXPECT_EQ(Try("POST", "/tw/v1/reconcile/import", to_come).error().param, "file");
  EXPECT_EQ(books_->ledger().OwedTo("provider:p"), 0);
  Key(R"({"name":"someone","scopes":["manage"]})");
  EXPECT_EQ(Try("GET", "/tw/v1/reconcile").error().code, ErrorCode::kPermissionDenied);
}

TEST_F(MoneyApiTest, ABillThatCoversATimeReplacesWhatWasImportedOfIt) {
  const auto body = [](const std::string& lines, const std::string& more = "") {
    return R"({"provider":"site-a","bill":"date,model,cost_usd\n)" + lines + "\"" + more + "}";
  };
  const auto billed = [&](const std::string& lines, const std::string& more = "") {
    const auto answer = Ask("POST", "/tw/v1/reconcile/import", body(lines, more));
    return Text(answer.at("providers").as_array()[0].as_object(), "billed_nanousd");
  };
  EXPECT_EQ(billed(R"(2025-11-25,m,5\n2025-11-26,m,1\n)"), "6000000000");
  const std::string day = R"(,"from":"2025-11-25","to":"2025-11-26")";
  EXPECT_EQ(billed(R"(2025-11-25,n,2\n)", day), "3000000000") << "m of that day is gone";
  EXPECT_EQ(billed(R"(2025-11-25,m,5\n)"), "8000000000") << "without a time only its own cell is";
  for (const std::string& more :
       {std::string(R"(,"from":"2025-11-25")"), day + R"(,"invoice":true)",
        std::string(R"(,"from":"2025-11-26","to":"2025-11-27")")}) {
    const auto wrong = Try("POST", "/tw/v1/reconcile/import", body(R"(2025-11-25,n,2\n)", more));
    ASSERT_FALSE(wrong.has_value()) << more;
    EXPECT_EQ(wrong.error().param, "from") << more;
  }
}

TEST_F(MoneyApiTest, ClosesNoMonthWhoseToleratedDifferencesAddUp) {
  std::string lines;
  for (int hour = 10; hour < 20; ++hour) {
    lines += "2025-10-25T" + std::to_string(hour) + R"(:00:00Z,0.005\n)";
  }
  const auto imported = Ask("POST", "/tw/v1/reconcile/import",
                            R"({"provider":"site-a","bill":"date,cost_usd\n)" + lines + R"("})");
  const auto& month = imported.at("providers").as_array()[0].as_object();
  EXPECT_EQ(month.at("unexplained").as_int64(), 0) << "half a cent each";
  EXPECT_FALSE(month.at("sum_explained").as_bool());
  EXPECT_EQ(Text(month, "tolerated_nanousd"), "50000000");
  const std::string close = R"({"provider":"site-a","period":"2025-10")";
  const auto refused = Try("POST", "/tw/v1/reconcile/close", close + "}");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().param, "accept");
  EXPECT_NE(refused.error().message.find("$0.05"), std::string::npos) << refused.error().message;
  Ask("POST", "/tw/v1/reconcile/close", close + R"(,"accept":"so be it"})");
}

TEST_F(MoneyApiTest, PostsABillOfTheSameRequestsOnce) {
  const auto body = [](const std::string& line, const std::string& more = "") {
    return R"({"provider":"site-a","bill":"date,model,cost_usd\n)" + line + "\"" + more + "}";
  };
  Ask("POST", "/tw/v1/reconcile/import", body("2025-11-25,m,5"));
  const auto again = Try("POST", "/tw/v1/reconcile/import", body("2025-11-25T10:00:00Z,m,5"));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().param, "file");
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 5'000'000'000);
  Ask("POST", "/tw/v1/reconcile/import", body("2025-11-25T10:00:00Z,m,6", R"(,"replace":true)"));
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 6'000'000'000);
}

TEST_F(MoneyApiTest, TakesWhatAUsageApiSaysButNothingOfClosedMonths) {
  constexpr int64_t kDay = 86'400, kNovember = 1'761'955'200;  // 2025-11-01
  const auto line = [](int64_t start_s, const char* model, std::optional<int64_t> cost) {
    billing::BillLine line;
    line.provider = "site-a";
    line.model = model;
    line.start_s = start_s;
    line.end_s = start_s + kDay;
    line.cost = cost;
    return line;
  };
  const auto take = [&](int64_t cost) {
    billing::BillLine tokens = line(kNovember, "m", std::nullopt);
    tokens.input_tokens = 7;
    return money_->TakeUsage("site-a", kNovember - kDay, kNovember + kDay,
                             {line(kNovember - kDay, "", cost), line(kNovember, "", cost), tokens});
  };
  const auto billed = [&](const char* month) {
    const auto answer = Ask("GET", "/tw/v1/reconcile", "", std::string("period=") + month);
    return Text(answer.at("providers").as_array()[0].as_object(), "billed_nanousd");
  };
  ASSERT_TRUE(take(100).has_value());
  EXPECT_EQ(billed("2025-10"), "100");
  EXPECT_EQ(billed("2025-11"), "100") << "tokens without a cost are in the day's sum";
  EXPECT_EQ(books_->ledger().OwedTo("suspense:site-a/2025-11"), -100);
  Ask("POST", "/tw/v1/reconcile/close",
      R"({"provider":"site-a","period":"2025-10","accept":"late"})");
  ASSERT_TRUE(take(300).has_value());
  EXPECT_EQ(billed("2025-10"), "100") << "closed";
  EXPECT_EQ(billed("2025-11"), "300");
  EXPECT_EQ(books_->ledger().OwedTo("suspense:site-a/2025-11"), -300);
}

TEST_F(MoneyApiTest, AMonthThatWasClosedEarlyTakesNothingAwayFromTheOneBefore) {
  constexpr int64_t kDay = 86'400, kNovember = 1'761'955'200;  // 2025-11-01
  const auto take = [&](int64_t cost) {
    std::vector<billing::BillLine> lines(2);
    for (size_t i = 0; i < lines.size(); ++i) {
      lines[i].provider = "site-a";
      lines[i].start_s = kNovember + (static_cast<int64_t>(i) - 1) * kDay;
      lines[i].end_s = lines[i].start_s + kDay;
      lines[i].cost = cost;
    }
    return money_->TakeUsage("site-a", kNovember - kDay, kNovember + kDay, std::move(lines));
  };
  const auto billed = [&](const char* month) {
    const auto answer = Ask("GET", "/tw/v1/reconcile", "", std::string("period=") + month);
    return Text(answer.at("providers").as_array()[0].as_object(), "billed_nanousd");
  };
  ASSERT_TRUE(take(100).has_value());
  Ask("POST", "/tw/v1/reconcile/close",
      R"({"provider":"site-a","period":"2025-11","accept":"early"})");
  ASSERT_TRUE(take(300).has_value());
  EXPECT_EQ(billed("2025-10"), "300");
  EXPECT_EQ(billed("2025-11"), "100") << "closed";
}

}  // namespace
}  // namespace tradewind::console_api
