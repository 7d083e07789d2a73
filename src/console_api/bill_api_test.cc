#include "console_api/bill_api.h"

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/decimal.h"
#include "billing/adjust.h"
#include "billing/bill_period.h"
#include "billing/hash.h"
#include "billing/remote_bill.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

constexpr int64_t kNovember = 1'793'491'200;  // 2026-11-01T00:00:00Z
constexpr int64_t kDayS = 86'400;

class BillApiTest : public ::testing::Test {
 protected:
  BillApiTest() {
    SetTime(kNovember + 10 * kDayS);
    auto store = identity::Store::Open({.home = home_.path()});
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    identity::KeySpec spec;
    spec.name = "laptop";
    spec.org = "acme";
    key_ = store_->CreateKey(spec).value().info;
    for (const identity::OrgInfo& org : store_->ListOrgs().value()) {
      org_id_ = org.name == "acme" ? org.id : org_id_;
    }
    auto books = billing::Books::Open(home_.path(), clock_);
    EXPECT_TRUE(books) << books.error().message;
    books_ = std::move(*books);
    bill_ = std::make_unique<BillApi>(*books_, *store_, home_.path(), Issuer{{"Wind Ltd", "", ""}});
    caller_.is_admin_token = true;
  }
  void SetTime(int64_t unix_s) {
    clock_.PassTo(std::chrono::system_clock::time_point(std::chrono::seconds(unix_s)));
  }
  Result<http::Response> Try(const std::string& method, const std::string& path,
                             const std::string& body = "", const std::string& query = "") {
    http::Request request;
    request.method = method;
    request.path = path;
    request.query = query;
    request.body = body;
    EXPECT_TRUE(BillApi::Has(path)) << path;
    return bill_->Answer(request, caller_);
  }
  std::string Ask(const std::string& method, const std::string& path, const std::string& body = "",
                  const std::string& query = "") {
    const auto response = Try(method, path, body, query);
    EXPECT_TRUE(response) << response.error().message;
    return response ? http::WholeBody(*response).value() : "{}";
  }
  boost::json::object AskJson(const std::string& method, const std::string& path,
                              const std::string& body = "", const std::string& query = "") {
    return dialects::ParseJsonObject(Ask(method, path, body, query)).value();
  }
  std::string Refusal(const std::string& body) {
    const auto response = Try("POST", "/tw/v1/invoices", body);
    EXPECT_FALSE(response.has_value());
    return response.has_value() ? "" : response.error().param + ": " + response.error().message;
  }
  // 1,000 nano-USD a token.
  void Spend(int64_t output, bool ends = true) {
    billing::Offer offer;
    offer.id = {ledger::RequestId::Make(clock_.UnixMs()), 1};
    offer.purchase = {org_id_, "prj", key_.id, "usr", "org/model", "site-a", "x"};
    offer.prices = &prices_;
    offer.output_tokens_max = output;
    auto attempt = books_->meter().Begin(offer);
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    chat::Usage usage;
    usage.output_tokens = output;
    if (ends) {
      attempt->End({.is_complete = true, .usage = usage, .finish = "stop"});
    } else {
      attempt->End({.likely_billed = true, .finish = "cut"});
    }
  }

  testing::TempDir home_;
  FakeClock clock_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<billing::Books> books_;
  std::unique_ptr<BillApi> bill_;
  identity::Principal caller_;
  identity::KeyInfo key_;
  std::string org_id_;
  catalog::Prices prices_ = [] {
    catalog::Prices prices;
    prices.input = prices.output = Decimal::Parse("1").value();
    return prices;
  }();
};

constexpr const char* kInvoice = R"({"org":"acme","period":"2026-11","issuer":"Wind Ltd"})";

TEST_F(BillApiTest, ShowsTheBillOfAMonthWithItsHash) {
  Spend(4000);
  const std::string text = Ask("GET", "/tw/v1/bill", "", "period=2026-11&org=acme");
  const auto bill = dialects::ParseJsonObject(text).value();
  const size_t at = text.find("\"statement\":") + 12;
  EXPECT_EQ(bill.at("hash").as_string(), billing::Sha256Hex(text.substr(at, text.size() - at - 1)))
      << "anybody can check it";
  const auto& statement = bill.at("statement").as_object();
  EXPECT_EQ(statement.at("charge_nanousd").as_string(), "4000000");
  EXPECT_EQ(statement.at("lines").as_array().size(), 2U) << "requests, and tokens";
  const std::string org(statement.at("lines").as_array()[0].as_object().at("org").as_string());
  EXPECT_EQ(bill.at("names").as_object().at(org).as_string(), "acme") << "beside what is hashed";
  const auto verified = AskJson("GET", "/tw/v1/bill/verify", "", "period=2026-11&org=acme");
  EXPECT_TRUE(verified.at("good").as_bool());
  EXPECT_EQ(verified.at("hash"), bill.at("hash"));
  EXPECT_EQ(Try("GET", "/tw/v1/bill", "", "org=nobody").error().param, "org");
  EXPECT_EQ(Try("GET", "/tw/v1/bill", "", "period=soon").error().param, "period");
  EXPECT_EQ(Try("GET", "/tw/v1/bill/other").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("GET", "/tw/v1/bill/focus", "", "version=9").error().param, "version");
  EXPECT_EQ(Try("GET", "/tw/v1/bill/focus", "", "format=xls").error().param, "format");
}

TEST_F(BillApiTest, ShowsCallersTheirOwnAlone) {
  Spend(4000);
  caller_.is_admin_token = false;
  caller_.key_id = key_.id;
  caller_.org_id = org_id_;
  caller_.org = "acme";
  EXPECT_NE(Ask("GET", "/tw/v1/bill", "", "period=2026-11").find("4000000"), std::string::npos);
  EXPECT_EQ(Try("GET", "/tw/v1/bill/verify").error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("POST", "/tw/v1/backup").error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("POST", "/tw/v1/invoices", kInvoice).error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("GET", "/tw/v1/bill", "", "org=other").error().code, ErrorCode::kNotFound);
  caller_.key_id = "key_other";
  EXPECT_EQ(Ask("GET", "/tw/v1/bill", "", "period=2026-11").find("4000000"), std::string::npos);
}

TEST_F(BillApiTest, InvoicesAMonthInWhichSomethingWasPutRight) {
  Spend(40'000);
  Spend(50'000);
  ASSERT_TRUE(books_->recorder().CatchUp().has_value());
  const auto rows = books_->recorder().Page({}, 10).value();
  ASSERT_EQ(rows.size(), 2U);
  billing::Adjuster adjuster(books_->ledger(), books_->recorder());
  ASSERT_TRUE(adjuster.Adjust(rows[0].id, {rows[0].cost, 0, "an outage", "admin"}).has_value());
  SetTime(kNovember + 31 * kDayS);
  const auto issued =
      AskJson("POST", "/tw/v1/invoices", kInvoice).at("invoices").as_array()[0].as_object();
  EXPECT_EQ(issued.at("net_nanousd").as_string(), std::to_string(rows[1].charge));
}

TEST_F(BillApiTest, AMonthInWhichMoreWasGivenBackThanUsedIsNoInvoice) {
  Spend(40'000);
  ASSERT_TRUE(books_->recorder().CatchUp().has_value());
  const auto rows = books_->recorder().Page({}, 10).value();
  billing::Adjuster adjuster(books_->ledger(), books_->recorder());
  SetTime(kNovember + 31 * kDayS);
  ASSERT_TRUE(adjuster.Adjust(rows[0].id, {rows[0].cost, 0, "an outage", "admin"}).has_value());
  SetTime(kNovember + 62 * kDayS);
  const std::string refused = Refusal(R"({"org":"acme","period":"2026-12","issuer":"Wind Ltd"})");
  EXPECT_NE(refused.find("credit note"), std::string::npos) << refused;
}

TEST_F(BillApiTest, InvoicesAMonthOnceAndHandsItsDocumentsOut) {
  Spend(40'000);
  Spend(5);
  EXPECT_NE(Refusal(kInvoice).find("period: "), std::string::npos) << "the month is not over";
  const std::string draft =
      Ask("POST", "/tw/v1/invoices",
          R"({"org":"acme","period":"2026-11","draft":"true","format":"html"})");
  EXPECT_NE(draft.find("DRAFT"), std::string::npos);
  SetTime(kNovember + 31 * kDayS);
  const auto issued =
      AskJson("POST", "/tw/v1/invoices", kInvoice).at("invoices").as_array()[0].as_object();
  EXPECT_EQ(issued.at("number").as_string(), "TW-000001");
  EXPECT_EQ(issued.at("net_nanousd").as_string(), "40005000");
  EXPECT_EQ(issued.at("payable_cents").as_int64(), 4);
  EXPECT_NE(Refusal(kInvoice).find("TW-000001"), std::string::npos);
  const std::string html = Ask("GET", "/tw/v1/invoices/TW-000001", "", "format=html");
  EXPECT_NE(html.find("Wind Ltd"), std::string::npos);
  EXPECT_NE(html.find("laptop"), std::string::npos) << "keys by their names";
  const std::string json = Ask("GET", "/tw/v1/invoices/TW-000001");
  EXPECT_EQ(billing::Sha256Hex(json), issued.at("sha256").as_string());
  const std::string focus =
      Ask("GET", "/tw/v1/bill/focus", "", "period=2026-11&version=1.4&format=csv");
  EXPECT_NE(focus.find("TW-000001/"), std::string::npos);
  const auto note = AskJson("POST", "/tw/v1/invoices/TW-000001/credit-notes",
                            R"({"usd":"0.01","reason":"outage","reference":"case 7"})");
  EXPECT_EQ(note.at("invoices").as_array()[0].at("number").as_string(), "TW-000002");
  EXPECT_EQ(note.at("invoices").as_array()[0].at("reference").as_string(), "case 7");
  EXPECT_EQ(Try("POST", "/tw/v1/invoices/TW-000001/credit-notes",
                R"({"usd":"9","reason":"x","reference":"case 8"})")
                .error()
                .param,
            "usd");
  EXPECT_EQ(AskJson("GET", "/tw/v1/invoices").at("invoices").as_array().size(), 2U);
}

TEST_F(BillApiTest, InvoicesWhatCreditsLeftToPayAndExportsTheSame) {
  ASSERT_TRUE(books_->ledger()
                  .Grant({.name = "crd_1", .owner = "org:" + org_id_, .amount = 15'000'000})
                  .has_value());
  Spend(40'000);
  Spend(5);
  SetTime(kNovember + 31 * kDayS);
  const auto bill = AskJson("GET", "/tw/v1/bill", "", "period=2026-11&org=acme");
  const auto& statement = bill.at("statement").as_object();
  EXPECT_EQ(statement.at("credit_nanousd").as_string(), "15000000");
  EXPECT_EQ(statement.at("payable_nanousd").as_string(), "25005000");
  const auto issued =
      AskJson("POST", "/tw/v1/invoices", kInvoice).at("invoices").as_array()[0].as_object();
  EXPECT_EQ(issued.at("net_nanousd").as_string(), "25005000");
  EXPECT_EQ(issued.at("payable_cents").as_int64(), 3) << "2.5005 cents";
  const std::string focus =
      Ask("GET", "/tw/v1/bill/focus", "", "period=2026-11&version=1.4&format=csv");
  EXPECT_NE(focus.find("-0.015,"), std::string::npos) << focus;
}

// The columns of FOCUS by name; none of these fields has a comma or a quote in it.
std::vector<std::map<std::string, std::string>> RowsOf(const std::string& csv) {
  std::vector<std::map<std::string, std::string>> rows;
  std::vector<std::string> names;
  size_t at = 0;
  while (at < csv.size()) {
    std::vector<std::string> fields(1);
    bool is_quoted = false;
    for (; is_quoted || csv[at] != '\r'; ++at) {
      if (csv[at] == '"') {
        is_quoted = !is_quoted;
      } else if (csv[at] == ',' && !is_quoted) {
        fields.emplace_back();
      } else {
        fields.back() += csv[at];
      }
    }
    at += 2;
    if (names.empty()) {
      names = fields;
      continue;
    }
    std::map<std::string, std::string>& row = rows.emplace_back();
    for (size_t i = 0; i < names.size(); ++i) {
      row[names[i]] = fields[i];
    }
  }
  return rows;
}

// In nano-USD.
int64_t CostOf(const std::map<std::string, std::string>& row, const std::string& column) {
  const Decimal cost = Decimal::Parse(row.at(column)).value();
  int64_t nano = cost.digits();
  for (int i = cost.exponent(); i > -9; --i) {
    nano *= 10;
  }
  return cost.is_negative() && nano > 0 ? -nano : nano;
}

TEST_F(BillApiTest, ExportsDocumentsSoThatTheirRowsAddUpToWhatIsToBePaid) {
  const std::string owner = "org:" + org_id_;
  ASSERT_TRUE(books_->ledger().Grant({.name = "paid", .owner = owner, .amount = 15'000'000}));
  ASSERT_TRUE(books_->ledger().Grant(
      {.name = "gift", .owner = owner, .amount = 1'000'000, .promotional = true}));
  Spend(40'000);
  Spend(12'345'678);
  const std::string open =
      Ask("GET", "/tw/v1/bill/focus", "", "period=2026-11&version=1.3&org=acme");
  EXPECT_NE(open.find("Purchase"), std::string::npos) << "invoiced or not";
  SetTime(kNovember + 31 * kDayS);
  Ask("POST", "/tw/v1/invoices", R"({"org":"acme","period":"2026-11","tax_percent":"19"})");
  const std::string notes = "/tw/v1/invoices/TW-000001/credit-notes";
  Ask("POST", notes, R"({"usd":"1.2345","reason":"outage","reference":"1"})");
  Ask("POST", notes,
      R"({"usd":"11.15","reason":"the rest, and what credits paid","reference":"2"})");
  for (const char* version : {"1.2", "1.3", "1.4"}) {
    const auto rows = RowsOf(Ask("GET", "/tw/v1/bill/focus", "",
                                 std::string("period=2026-11&org=acme&version=") + version));
    std::map<std::string, int64_t> sums;
    std::set<std::string> kinds;
    for (const auto& row : rows) {
      sums[row.at("InvoiceId")] += CostOf(row, "BilledCost");
      kinds.insert(row.at("ChargeCategory") + ":" + row.at("ChargeClass"));
    }
    for (const auto& entry : AskJson("GET", "/tw/v1/invoices").at("invoices").as_array()) {
      const auto& document = entry.as_object();
      EXPECT_EQ(sums[std::string(document.at("number").as_string())],
                document.at("payable_cents").as_int64() * 10'000'000)
          << document.at("number");
    }
    EXPECT_EQ(sums.at(""), 15'000'000) << "what was bought; nobody buys a gift, or what comes back";
    EXPECT_EQ(sums.size(), 4U);
    EXPECT_EQ(kinds, (std::set<std::string>{"Usage:", "Credit:", "Tax:", "Adjustment:", "Purchase:",
                                            "Credit:Correction", "Tax:Correction",
                                            "Adjustment:Correction"}));
  }
  caller_.is_admin_token = false;
  caller_.key_id = key_.id;
  const std::string own = Ask("GET", "/tw/v1/bill/focus", "", "period=2026-11");
  EXPECT_EQ(own.find("Tax"), std::string::npos) << "who sees one key sees no documents";
}

TEST_F(BillApiTest, WhatANoteGivesBackOfAMonthThatItSettlesIsExportedOnce) {
  Spend(50'000);
  ASSERT_TRUE(books_->recorder().CatchUp().has_value());
  const auto rows = books_->recorder().Page({}, 10).value();
  SetTime(kNovember + 31 * kDayS);
  Ask("POST", "/tw/v1/invoices", kInvoice);
  Spend(5'000);
  billing::Adjuster adjuster(books_->ledger(), books_->recorder());
  ASSERT_TRUE(adjuster.Adjust(rows[0].id, {20'000'000, {}, "a slip", "admin"}).has_value());
  const std::string notes = "/tw/v1/invoices/TW-000001/credit-notes";
  const auto note = [](const std::string& usd, const std::string& reference) {
    return R"({"settles":"2026-12","reason":"a slip","usd":")" + usd + R"(","reference":")" +
           reference + R"("})";
  };
  EXPECT_EQ(Try("POST", notes, note("0.02", "1")).error().param, "period") << "it is not over";
  SetTime(kNovember + 62 * kDayS);
  const std::string refused = Refusal(R"({"org":"acme","period":"2026-12"})");
  EXPECT_NE(refused.find("--usd 0.025 --settles 2026-12"), std::string::npos) << refused;
  const auto months = [this] {
    int64_t billed = 0, effective = 0;
    for (const char* month : {"2026-11", "2026-12"}) {
      const std::string query = std::string("org=acme&period=") + month;
      for (const auto& row : RowsOf(Ask("GET", "/tw/v1/bill/focus", "", query))) {
        billed += CostOf(row, "BilledCost");
        effective += CostOf(row, "EffectiveCost");
      }
    }
    EXPECT_EQ(billed, effective);
    return billed;
  };
  EXPECT_EQ(months(), 25'000'000) << "what is owed all in all";
  EXPECT_EQ(Try("POST", notes, note("0.026", "1")).error().param, "settles");
  Ask("POST", notes, note("0.02", "1"));
  Ask("POST", notes, note("0.02", "1"));
  EXPECT_EQ(Try("POST", notes, note("0.006", "2")).error().param, "settles") << "0.005 is left";
  const auto issued = AskJson("POST", notes, note("0.005", "2"));
  EXPECT_EQ(issued.at("invoices").as_array()[0].at("settles").as_string(), "2026-12");
  EXPECT_EQ(months(), 30'000'000) << "what was to be paid, in whole cents: 0.05 - 0.02 - 0.00";
  EXPECT_EQ(Try("POST", notes, R"({"usd":"0.02","reason":"a slip","reference":"1"})").error().param,
            "reference")
      << "that one settles a month";
  EXPECT_EQ(Try("POST", notes, R"({"settles":"2026-10","usd":"0.01","reason":"x","reference":"3"})")
                .error()
                .param,
            "settles")
      << "in which nothing was given back";
}

TEST_F(BillApiTest, ExportsShowWhatIsPaidAheadWhenItIsPaidAndAsACostWhenItIsUsed) {
  const std::string owner = "org:" + org_id_;
  ASSERT_TRUE(books_->ledger().Grant({.name = "paid", .owner = owner, .amount = 90'000'000}));
  SetTime(kNovember + 35 * kDayS);
  ASSERT_TRUE(books_->ledger().Grant(
      {.name = "gift", .owner = owner, .amount = 1'000'000, .promotional = true}));
  Spend(21'000);
  const auto sums = [this](const std::string& period) {
    std::map<std::string, std::pair<int64_t, int64_t>> found;  // billed and effective
    for (const auto& row :
         RowsOf(Ask("GET", "/tw/v1/bill/focus", "", "org=acme&period=" + period))) {
      auto& [billed, effective] = found[row.at("ChargeCategory") + row.at("x_CreditId")];
      billed += CostOf(row, "BilledCost");
      effective += CostOf(row, "EffectiveCost");
    }
    return found;
  };
  using Sums = std::map<std::string, std::pair<int64_t, int64_t>>;
  const Sums bought = {{"Purchasepaid", {90'000'000, 0}}};
  EXPECT_EQ(sums("2026-11"), bought) << "nothing was used, and nothing is invoiced";
  EXPECT_EQ(sums("2026-11-11"), bought);
  EXPECT_EQ(sums("2026-11-12"), Sums());
  Sums used = {{"Usage", {21'000'000, 21'000'000}},
               {"Creditgift", {-1'000'000, -1'000'000}},
               {"Creditpaid", {-20'000'000, 0}}};
  EXPECT_EQ(sums("2026-12"), used);

  SetTime(kNovember + 62 * kDayS);
  Ask("POST", "/tw/v1/invoices", R"({"org":"acme","period":"2026-12"})");
  Ask("POST", "/tw/v1/invoices/TW-000001/credit-notes",
      R"({"usd":"0.01","reason":"outage","reference":"1"})");
  used["Credit"] = {0, -10'000'000};
  EXPECT_EQ(sums("2026-12"), used) << "what a note gives back as a credit was no cost";
  Spend(10'000);
  EXPECT_EQ(sums("2027-01"),
            (Sums{{"Usage", {10'000'000, 10'000'000}}, {"Creditpaid", {-10'000'000, 0}}}));
}

TEST_F(BillApiTest, ExportsNameTheIssuerOfTheDocumentThatARowStandsOn) {
  bill_ = std::make_unique<BillApi>(*books_, *store_, home_.path(), Issuer{{"House Ltd", "", ""}});
  const auto issuers = [this](const std::string& query) {
    std::set<std::string> found;
    for (const auto& row : RowsOf(Ask("GET", "/tw/v1/bill/focus", "", "period=2026-11" + query))) {
      EXPECT_EQ(row.at("InvoiceIssuerName"), row.at("ServiceProviderName"));
      found.insert(row.at("InvoiceId") + ": " + row.at("InvoiceIssuerName"));
    }
    return found;
  };
  Spend(40'005'000);
  EXPECT_EQ(issuers(""), (std::set<std::string>{": House Ltd"}));
  EXPECT_EQ(issuers("&issuer=Others"), (std::set<std::string>{": Others"}));
  SetTime(kNovember + 31 * kDayS);
  Ask("POST", "/tw/v1/invoices", kInvoice);
  Ask("POST", "/tw/v1/invoices/TW-000001/credit-notes",
      R"({"usd":"0.01","reason":"outage","reference":"1"})");
  EXPECT_EQ(issuers("&issuer=Others"),
            (std::set<std::string>{"TW-000001: Wind Ltd", "TW-000002: Wind Ltd"}))
      << "as the documents say, whoever asks";
}

TEST_F(BillApiTest, AnInvoiceIsOfTheServersIssuerWhereTheRequestNamesNone) {
  const billing::InvoiceParty house = {"House Ltd", "1 Harbour Road", "GB 1"};
  bill_ = std::make_unique<BillApi>(*books_, *store_, home_.path(), Issuer{house, "20"});
  Spend(40'000);
  const auto draft = [this](const std::string& more) {
    const auto shown = AskJson("POST", "/tw/v1/invoices",
                               R"({"org":"acme","period":"2026-11","draft":"true")" + more + "}");
    const auto& issuer = shown.at("issuer").as_object();
    return fmt::format("{}, {}, {}, {}%", std::string(issuer.at("name").as_string()),
                       std::string(issuer.at("address").as_string()),
                       std::string(issuer.at("tax_id").as_string()),
                       std::string(shown.at("tax_percent").as_string()));
  };
  EXPECT_EQ(draft(""), "House Ltd, 1 Harbour Road, GB 1, 20%");
  EXPECT_EQ(draft(R"(,"issuer":"House Ltd","issuer_tax_id":"FR 2","tax_percent":"0")"),
            "House Ltd, 1 Harbour Road, FR 2, 0%");
  EXPECT_EQ(draft(R"(,"issuer":"Other Ltd")"), "Other Ltd, , , 0%")
      << "the address, the number and the rate are not his";
  SetTime(kNovember + 31 * kDayS);
  const auto issued = AskJson("POST", "/tw/v1/invoices", R"({"org":"acme","period":"2026-11"})");
  EXPECT_EQ(issued.at("invoices").as_array()[0].at("tax_cents").as_int64(), 1);
}

TEST_F(BillApiTest, AnInvoiceThatNobodyIssuesIsADraftAlone) {
  bill_ = std::make_unique<BillApi>(*books_, *store_, home_.path());
  Spend(40'000);
  SetTime(kNovember + 31 * kDayS);
  const std::string refused = Refusal(R"({"org":"acme","period":"2026-11"})");
  EXPECT_TRUE(refused.starts_with("issuer: ")) << refused;
  EXPECT_NE(refused.find("[billing]"), std::string::npos);
  EXPECT_NE(Ask("POST", "/tw/v1/invoices", R"({"org":"acme","period":"2026-11","draft":"true"})")
                .find("DRAFT"),
            std::string::npos);
  Ask("POST", "/tw/v1/invoices", kInvoice);
}

TEST_F(BillApiTest, ListsTheInvoicesOfWhomAndWhenItIsAsked) {
  Spend(40'000);
  const std::string acme = org_id_;
  identity::KeySpec spec;
  spec.name = "desk";
  spec.org = "beta";
  ASSERT_TRUE(store_->CreateKey(spec).has_value());
  for (const identity::OrgInfo& org : store_->ListOrgs().value()) {
    org_id_ = org.name == "beta" ? org.id : org_id_;
  }
  Spend(40'000);
  SetTime(kNovember + 31 * kDayS);
  Ask("POST", "/tw/v1/invoices", kInvoice);
  Ask("POST", "/tw/v1/invoices", R"({"org":"beta","period":"2026-11"})");
  const auto numbers = [this](const std::string& query) {
    std::string found;
    for (const auto& one : AskJson("GET", "/tw/v1/invoices", "", query).at("invoices").as_array()) {
      found += std::string(one.at("number").as_string()) + " ";
    }
    return found;
  };
  EXPECT_EQ(numbers(""), "TW-000001 TW-000002 ");
  EXPECT_EQ(numbers("org=beta"), "TW-000002 ");
  EXPECT_EQ(numbers("org=" + acme + "&period=2026-11"), "TW-000001 ");
  EXPECT_EQ(numbers("period=2026-10"), "");
  EXPECT_EQ(Try("GET", "/tw/v1/invoices", "", "org=nosuch").error().param, "org");
  EXPECT_EQ(Try("GET", "/tw/v1/invoices", "", "period=2026-11-25").error().param, "period");
  caller_.is_admin_token = false;
  caller_.org_id = acme;
  caller_.org = "acme";
  caller_.scopes = {identity::Scope::kManage};
  EXPECT_EQ(numbers("org=acme"), "TW-000001 ");
  EXPECT_EQ(Try("GET", "/tw/v1/invoices", "", "org=beta").error().code, ErrorCode::kNotFound);
}

TEST_F(BillApiTest, RecordsPaymentsAndShowsWhatIsOpen) {
  Spend(40'005'000);
  SetTime(kNovember + 31 * kDayS);
  Ask("POST", "/tw/v1/invoices", kInvoice);
  const std::string path = "/tw/v1/invoices/TW-000001/payments";
  const std::string payment = R"({"usd":"15.5","reference":"bank 1"})";
  AskJson("POST", path, payment);
  const auto paid = AskJson("POST", path, payment).at("invoices").as_array()[0].as_object();
  const int64_t payable = paid.at("payable_cents").as_int64();
  EXPECT_EQ(paid.at("paid_cents").as_int64(), 1550);
  EXPECT_EQ(paid.at("open_cents").as_int64(), payable - 1550);
  EXPECT_EQ(Try("POST", path, R"({"usd":"9999","reference":"bank 2"})").error().param, "usd");
  EXPECT_EQ(Try("POST", path, R"({"usd":"-1","reference":"bank 2"})").error().param, "usd");
  EXPECT_EQ(Try("POST", path, R"({"usd":"1"})").error().param, "reference");
  EXPECT_EQ(AskJson("GET", path).at("payments").as_array().size(), 1U);
  caller_.is_admin_token = false;
  caller_.org_id = "org_other";
  caller_.scopes = {identity::Scope::kManage};
  EXPECT_EQ(Try("POST", path, payment).error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(Try("GET", path).error().code, ErrorCode::kNotFound) << "another's";
}

TEST_F(BillApiTest, GivesBackAsACreditWhatThePrepaidHadPaid) {
  ledger::Ledger& ledger = books_->ledger();
  const std::string payer = "org:" + org_id_;
  ASSERT_TRUE(ledger.SetPrepaid(payer, true).has_value());
  ASSERT_TRUE(ledger.Grant({.name = "crd_1", .owner = payer, .amount = 50'000'000}).has_value());
  Spend(40'000);
  SetTime(kNovember + 31 * kDayS);
  EXPECT_EQ(AskJson("POST", "/tw/v1/invoices", kInvoice)
                .at("invoices")
                .as_array()[0]
                .at("net_nanousd")
                .as_string(),
            "0");
  const std::string notes = "/tw/v1/invoices/TW-000001/credit-notes";
  const std::string body = R"({"usd":"0.03","reason":"a price","reference":"case 7"})";
  const auto first = AskJson("POST", notes, body);
  EXPECT_EQ(AskJson("POST", notes, body), first) << "a repeat is the same note";
  const auto note = first.at("invoices").as_array()[0];
  EXPECT_EQ(note.at("returned_nanousd").as_string(), "30000000");
  EXPECT_EQ(note.at("returned_as").as_string(), "note:TW-000002");
  EXPECT_EQ(note.at("payable_cents").as_int64(), 0);
  EXPECT_EQ(ledger.PrepaidLeft(payer), 40'000'000);
  const auto credits = ledger.Credits(payer);
  ASSERT_EQ(credits.size(), 2U);
  EXPECT_EQ(credits[1].spec.note, "credit note TW-000002 for TW-000001");
  EXPECT_FALSE(credits[1].spec.promotional);
  EXPECT_EQ(
      Try("POST", notes, R"({"usd":"0.011","reason":"x","reference":"case 8"})").error().param,
      "usd")
      << "no more than was charged";
  EXPECT_EQ(Try("POST", notes, R"({"usd":"0.001","reason":"x"})").error().param, "reference");
  EXPECT_EQ(
      Try("POST", notes, R"({"usd":"0.02","reason":"a price","reference":"case 7"})").error().param,
      "reference")
      << "another amount";
  EXPECT_TRUE(
      AskJson("GET", "/tw/v1/bill/verify", "", "period=2026-11&org=acme").at("good").as_bool());
}

TEST_F(BillApiTest, GivesBackOnceWhatANoteSaysWhereverTheProcessWasKilled) {
  const std::string payer = "org:" + org_id_;
  ASSERT_TRUE(
      books_->ledger().Grant({.name = "crd_1", .owner = payer, .amount = 50'000'000}).has_value());
  Spend(40'000);
  SetTime(kNovember + 31 * kDayS);
  AskJson("POST", "/tw/v1/invoices", kInvoice);
  billing::InvoiceDraft note;
  note.kind = "credit_note";
  note.refers_to = "TW-000001";
  note.org_id = org_id_;
  note.reference = "case 7";
  note.credit = 10'000'000;
  ASSERT_TRUE(books_->invoices().Issue(note).has_value());  // and the grant did not come
  bill_.reset();
  for (int starts = 0; starts < 2; ++starts) {
    books_.reset();
    books_ = std::move(billing::Books::Open(home_.path()).value());
    const auto credits = books_->ledger().Credits(payer);
    ASSERT_EQ(credits.size(), 2U);
    EXPECT_EQ(credits[1].spec.name, "note:TW-000002");
    EXPECT_EQ(credits[1].left, 10'000'000);
  }
}

TEST_F(BillApiTest, RefusesAnInvoiceThatWouldHaveToBeTakenBack) {
  Spend(1000);
  Spend(1000, false);
  SetTime(kNovember + 31 * kDayS);
  EXPECT_NE(Refusal(kInvoice).find("in doubt"), std::string::npos);
  EXPECT_NE(Refusal(R"({"org":"acme","period":"2026-09"})").find("Nothing was used"),
            std::string::npos);
  EXPECT_NE(Refusal(R"({"org":"acme","period":"2026-10-01"})").find("a month"), std::string::npos);
  EXPECT_NE(Refusal(R"({"org":"acme","period":"2026-11","colour":"red"})").find("colour"),
            std::string::npos);
}

// A bill of site-a for November, of the day on which everything was spent.
billing::BillLine SiteLine(ledger::NanoUsd cost) {
  billing::BillLine line;
  line.provider = "site-a";
  line.start_s = kNovember + 10 * kDayS;
  line.end_s = line.start_s + kDayS;
  line.cost = cost;
  return line;
}

TEST_F(BillApiTest, RefusesAnInvoiceWhileAProvidersBillOfTheMonthIsNotExplained) {
  Spend(40'000);
  SetTime(kNovember + 31 * kDayS);
  ASSERT_TRUE(books_->recorder().CatchUp().has_value());
  ASSERT_EQ(books_->recorder().Page({}, 10)->size(), 1U);
  const auto bill = [&](const char* provider, ledger::NanoUsd cost) {
    billing::BillLine line = SiteLine(cost);
    line.provider = provider;
    ASSERT_TRUE(books_->recorder().PutBillLines(std::vector{line}).has_value());
  };
  bill("site-b", 5'000'000'000);  // which served nothing of theirs
  bill("site-a", 1'040'000'000);
  const std::string refused = Refusal(kInvoice);
  EXPECT_EQ(refused.find("accept: Bills of 2026-11 differ"), 0U) << refused;
  EXPECT_NE(refused.find("site-a (lines: 1, $1.00 off in all)"), std::string::npos) << refused;
  EXPECT_NE(refused.find("`accept` (--accept TEXT)"), std::string::npos) << refused;
  EXPECT_EQ(refused.find("site-b"), std::string::npos) << refused;
  EXPECT_EQ(AskJson("GET", "/tw/v1/invoices").at("invoices").as_array().size(), 0U);
  const auto issued =
      AskJson("POST", "/tw/v1/invoices",
              R"({"org":"acme","period":"2026-11","accept":"their clerk looks into it"})")
          .at("invoices")
          .as_array()[0];
  EXPECT_EQ(issued.at("accepted").as_string(), "their clerk looks into it");
  EXPECT_NE(Refusal(kInvoice).find("TW-000001"), std::string::npos) << "a repeat hears of it";
  EXPECT_EQ(Ask("GET", "/tw/v1/invoices/TW-000001").find("clerk"), std::string::npos);
  caller_.is_admin_token = false;
  caller_.org_id = org_id_;
  caller_.scopes = {identity::Scope::kManage};
  EXPECT_EQ(Ask("GET", "/tw/v1/invoices").find("clerk"), std::string::npos) << "the operator's";
}

TEST_F(BillApiTest, InvoicesAMonthOnceItsBillIsPutRightOrItsMonthIsClosed) {
  Spend(40'000);
  SetTime(kNovember + 31 * kDayS);
  ASSERT_TRUE(books_->recorder().PutBillLines(std::vector{SiteLine(1'040'000'000)}).has_value());
  EXPECT_NE(Refusal(kInvoice).find("accept: "), std::string::npos);
  ASSERT_TRUE(books_->recorder().PutBillLines(std::vector{SiteLine(40'000'000)}).has_value());
  const auto issued =
      AskJson("POST", "/tw/v1/invoices", kInvoice).at("invoices").as_array()[0].as_object();
  EXPECT_FALSE(issued.contains("accepted"));

  SetTime(kNovember + 40 * kDayS);
  Spend(40'000);
  SetTime(kNovember + 62 * kDayS);
  billing::BillLine line = SiteLine(1'040'000'000);
  line.start_s += 30 * kDayS;
  line.end_s += 30 * kDayS;
  ASSERT_TRUE(books_->recorder().PutBillLines(std::vector{line}).has_value());
  const char* december = R"({"org":"acme","period":"2026-12"})";
  EXPECT_NE(Refusal(december).find("accept: "), std::string::npos);
  const auto suspense = books_->ledger().Payee("suspense:site-a/2026-12");
  ASSERT_TRUE(suspense.has_value());
  ASSERT_TRUE(
      books_->ledger()
          .Transfer(ledger::kExpense, *suspense, 0,
                    billing::TransferText("close", "site-a",
                                          billing::ParseBillPeriod("2026-12").value(), "a fee"))
          .has_value());
  EXPECT_EQ(AskJson("POST", "/tw/v1/invoices", december).at("invoices").as_array().size(), 1U);
}

TEST_F(BillApiTest, AsksWhetherAnUnusualTotalIsRight) {
  Spend(1'000'000);  // $1
  SetTime(kNovember + 31 * kDayS);
  Ask("POST", "/tw/v1/invoices", kInvoice);
  for (int i = 0; i < 20; ++i) {
    Spend(1'000'000);
  }
  SetTime(kNovember + 63 * kDayS);
  const std::string refused = Refusal(R"({"org":"acme","period":"2026-12"})");
  EXPECT_NE(refused.find("\"20.00\" (--confirm-total 20.00)"), std::string::npos) << refused;
  Refusal(R"({"org":"acme","period":"2026-12","confirm_total":"$2.00"})");
  Ask("POST", "/tw/v1/invoices", R"({"org":"acme","period":"2026-12","confirm_total":"$20.00"})");
}

TEST_F(BillApiTest, ListsVersionsOfPrices) {
  Spend(10);
  const auto versions =
      AskJson("GET", "/tw/v1/prices", "", "model=org/model").at("versions").as_array();
  ASSERT_EQ(versions.size(), 1U);
  EXPECT_EQ(versions[0].at("input_usd_per_mtok").as_string(), "1");
  EXPECT_TRUE(versions[0].at("valid_to").is_null());
  EXPECT_TRUE(versions[0].at("source").is_string());
  caller_.is_admin_token = false;
  const auto seen = AskJson("GET", "/tw/v1/prices").at("versions").as_array();
  caller_.is_admin_token = true;
  EXPECT_EQ(seen[0].at("input_usd_per_mtok").as_string(), "1");
  EXPECT_TRUE(seen[0].at("source").is_null()) << "it names the operator's files";
  const auto mistyped = Try("GET", "/tw/v1/prices", "", "modle=org/model");
  ASSERT_FALSE(mistyped.has_value()) << "it would be the prices of all models";
  EXPECT_EQ(mistyped.error().param, "modle");
}

TEST_F(BillApiTest, BacksUpWhatBelongsTogether) {
  Spend(4000);
  const auto backup = AskJson("POST", "/tw/v1/backup");
  const std::filesystem::path folder(std::string(backup.at("folder").as_string()));
  for (const char* name :
       {"ledger.db", "invoices.db", "identity.db", "secret.key", "admin-token"}) {
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    EXPECT_EQ(entry.status().permissions() & std::filesystem::perms(077),
              std::filesystem::perms::none)
        << entry.path() << " is for nobody else";
  }
  EXPECT_EQ(folder.extension(), "") << "it is whole";
  EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms::owner_all);
  Spend(5000);  // after it
  auto restored = billing::Books::Open(folder, clock_);
  ASSERT_TRUE(restored.has_value()) << restored.error().message;
  auto sum = (*restored)->recorder().Sum({});
  EXPECT_EQ(sum->cost, 4'000'000);
}

}  // namespace
}  // namespace tradewind::console_api
