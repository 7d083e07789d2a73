// /tw/v1/requests: who sees which, and what a query may say.
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "billing/books.h"
#include "console_api/bill_api.h"
#include "console_api/keys_api.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

class RequestsApiTest : public ::testing::Test {
 protected:
  RequestsApiTest()
      : store_(identity::Store::Open({.home = home_.path()}).value()),
        books_(billing::Books::Open(home_.path()).value()),
        money_(books_->ledger(), books_->recorder(), *store_),
        bill_(*books_, *store_, home_.path()),
        keys_(*store_, &money_) {
    admin_.is_admin_token = true;
    prices_.input = prices_.output = Decimal::Parse("1.2345678").value();
  }
  Result<http::Response> Try(const std::string& path, const std::string& query,
                             const identity::Principal& caller, const std::string& body = "") {
    http::Request request;
    request.method = body.empty() ? "GET" : "POST";
    request.path = path;
    request.query = query;
    request.body = body;
    return BillApi::Has(path)    ? bill_.Answer(request, caller)
           : MoneyApi::Has(path) ? money_.Answer(request, caller)
                                 : keys_.Answer(request, caller);
  }
  boost::json::object Ask(const std::string& path, const std::string& query,
                          const identity::Principal& caller, const std::string& body = "") {
    const auto response = Try(path, query, caller, body);
    EXPECT_TRUE(response) << response.error().message;
    return dialects::ParseJsonObject(response ? response->body : "{}").value();
  }
  std::string ErrorOf(const std::string& query, const identity::Principal& caller) {
    const auto response = Try("/tw/v1/requests", query, caller);
    return response ? "none" : response.error().param;
  }
  size_t Count(const std::string& query, const identity::Principal& caller) {
    return Ask("/tw/v1/requests", query, caller).at("requests").as_array().size();
  }
  std::shared_ptr<const identity::Principal> Key(const std::string& body) {
    const auto key = Ask("/tw/v1/keys", "", admin_, body);
    return store_->keys().Find(std::string(key.at("token").as_string()));
  }
  void Spend(const identity::Principal& key, int64_t input, int64_t output) {
    billing::Offer offer;
    offer.id = {ledger::RequestId::Make(1'764'072'000'000), 1};
    offer.purchase = {key.org_id, key.project_id, key.key_id, "usr", "org/model", "site-a", "x"};
    offer.prices = &prices_;
    offer.input_tokens_max = input;
    offer.output_tokens_max = output;
    auto attempt = books_->meter().Begin(offer);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    chat::Usage usage;
    usage.input_tokens = input;
    usage.output_tokens = output;
    attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
  }

  testing::TempDir home_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<billing::Books> books_;
  MoneyApi money_;
  BillApi bill_;
  KeysApi keys_;
  identity::Principal admin_;
  catalog::Prices prices_;
};

TEST_F(RequestsApiTest, ShowEverybodyWhatHeMaySee) {
  const auto mine = Key(R"({"name":"mine","org":"acme"})");
  const auto other = Key(R"({"name":"other","org":"acme"})");
  const auto head = Key(R"({"name":"head","org":"acme","role":"admin","scopes":["manage"]})");
  const auto stranger =
      Key(R"({"name":"stranger","org":"umbrella","role":"admin","scopes":["manage"]})");
  Spend(*mine, 7, 3);
  Spend(*other, 7, 3);
  EXPECT_EQ(Count("", admin_), 2U);
  EXPECT_EQ(Count("org=acme", admin_), 2U);
  EXPECT_EQ(Count("key=mine", admin_), 1U);
  EXPECT_EQ(Count("", *mine), 1U);
  EXPECT_EQ(Count("", *head), 2U);
  EXPECT_EQ(Count("", *stranger), 0U);
  EXPECT_EQ(Count("key=" + mine->key_id, *stranger), 0U);
  EXPECT_EQ(ErrorOf("key=other", *mine), "key");
  EXPECT_EQ(ErrorOf("key=" + other->key_id, *mine), "key");
  EXPECT_EQ(ErrorOf("org=acme", *stranger), "org");
  EXPECT_EQ(Count("user=nobody", *stranger), 0U) << "nor whether there is one";
}

TEST_F(RequestsApiTest, NameTheFieldThatIsWrong) {
  for (const std::string field :
       {"state", "by", "from", "to", "period", "limit", "price_version", "own_key", "after",
        "usage_source", "key", "org", "user", "project", "colour"}) {
    EXPECT_EQ(ErrorOf(field + "=bogus", admin_), field);
  }
  EXPECT_EQ(ErrorOf("limit=0", admin_), "limit");
  EXPECT_EQ(ErrorOf("limit=1001", admin_), "limit");
  for (const char* after :
       {"-", "--", "1-", "1-0-1", "-00000000000000000000000000000001-1",
        "1-00000000000000000000000000000001-", "1-00000000000000000000000000000001-70000",
        "1-00000000000000000000000000000001-1x"}) {
    EXPECT_EQ(ErrorOf(std::string("after=") + after, admin_), "after") << after;
  }
  EXPECT_EQ(ErrorOf("state=in_doubt&by=end", admin_), "by");
  EXPECT_EQ(ErrorOf("state=in_doubt", admin_), "none");
}

TEST_F(RequestsApiTest, SumsAreOfWhatIsAskedForOrRefused) {
  const auto head = Key(R"({"name":"head","org":"acme","role":"admin","scopes":["manage"]})");
  const auto other = Key(R"({"name":"other","org":"umbrella"})");
  Spend(*head, 700, 300);
  Spend(*other, 70, 30);
  const auto settled = [&](const std::string& query, const identity::Principal& caller) {
    return Ask("/tw/v1/usage", query, caller).at("requests").as_object().at("settled").as_int64();
  };
  EXPECT_EQ(settled("", admin_), 2);
  EXPECT_EQ(settled("org=acme", admin_), 1);
  EXPECT_EQ(settled("org=" + head->org_id, admin_), 1);
  EXPECT_EQ(settled("org=acme", *head), 1);
  EXPECT_EQ(settled("org=acme", *other), 0) << "spent by this key for it";
  const auto refused = [&](const std::string& path, const std::string& query,
                           const identity::Principal& caller) {
    const auto response = Try(path, query, caller);
    return response ? "none" : response.error().param;
  };
  EXPECT_EQ(refused("/tw/v1/usage", "org=nobody", admin_), "org");
  EXPECT_EQ(refused("/tw/v1/usage", "org=umbrella", *head), "org");
  EXPECT_EQ(refused("/tw/v1/usage", "org=" + other->org_id, *head), "org");
  for (const char* path : {"/tw/v1/usage", "/tw/v1/bill", "/tw/v1/bill/verify"}) {
    for (const std::string field : {"month", "colour", "version"}) {
      EXPECT_EQ(refused(path, field + "=1.3", admin_), field) << path;
    }
  }
  EXPECT_EQ(refused("/tw/v1/bill/focus", "version=1.3&format=csv&org=acme", admin_), "none");
  EXPECT_EQ(refused("/tw/v1/bill/focus", "month=2026-10", admin_), "month");
}

TEST_F(RequestsApiTest, SumsAreOfWholeQuartersOfAnHourAndSayWhich) {
  const auto message = [&](const std::string& query) {
    const auto response = Try("/tw/v1/usage", query, admin_);
    return response ? "none" : response.error().param + ": " + response.error().message;
  };
  for (const std::string field : {"from", "to"}) {
    EXPECT_EQ(message(field + "=2025-11-25T12:20:00Z"),
              field + ": Sums are kept by quarters of an hour: give `" + field +
                  "` as 2025-11-25T12:15:00Z or 2025-11-25T12:30:00Z.");
  }
  const auto whole = Ask("/tw/v1/usage", "from=2025-11-25T12:15:00Z&to=2025-11-26", admin_);
  EXPECT_EQ(whole.at("from").as_string(), "2025-11-25T12:15:00Z");
  EXPECT_EQ(whole.at("to").as_string(), "2025-11-26T00:00:00Z");
  const auto all = Ask("/tw/v1/usage", "", admin_);
  EXPECT_TRUE(all.at("from").is_null());
  EXPECT_TRUE(all.at("to").is_null());
  const auto span = Ask("/tw/v1/usage", "from=91m", admin_);
  const int64_t from_s = ParseExpiry(span.at("from").as_string(), 0).value();
  EXPECT_EQ(from_s % 900, 0) << "the quarter that it reaches into";
}

TEST_F(RequestsApiTest, BehindALineAddUpToIt) {
  const auto key = Key(R"({"name":"mine","org":"acme"})");
  for (int64_t i = 1; i <= 25; ++i) {
    Spend(*key, i, 3 * i % 7);
  }
  const auto bill = Ask("/tw/v1/bill", "", admin_);
  const auto& queries = bill.at("requests").as_object();
  const auto& lines = bill.at("statement").as_object().at("lines").as_array();
  ASSERT_EQ(lines.size(), 3U);
  for (const auto& entry : lines) {
    const auto& line = entry.as_object();
    const std::string id(line.at("id").as_string());
    const std::string whole(queries.at(id).as_string());
    int64_t quantity = 0, cost = 0, pages = 0;
    for (std::string after;; ++pages) {
      const auto page =
          Ask("/tw/v1/requests", whole.substr(whole.find('?') + 1) + "&limit=4" + after, admin_);
      for (const auto& request : page.at("requests").as_array()) {
        quantity += request.as_object().at("line_quantity").as_int64();
        cost += std::stoll(std::string(request.as_object().at("line_cost_nanousd").as_string()));
      }
      if (page.at("next").is_null()) {
        break;
      }
      after = "&after=" + std::string(page.at("next").as_string());
    }
    EXPECT_EQ(pages, 6);
    EXPECT_EQ(quantity, line.at("quantity").as_int64());
    EXPECT_EQ(std::to_string(cost), line.at("cost_nanousd").as_string());
  }
}

}  // namespace
}  // namespace tradewind::console_api
