#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "billing/books.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

std::shared_ptr<const catalog::Catalog> CatalogOfSiteA() {
  catalog::CatalogSources sources;
  catalog::ProviderConfig& provider = sources.configured.emplace_back();
  provider.name = "site-a";
  provider.kind = "openai";
  provider.base_url = "https://site.example/v1";
  return catalog::Catalog::Build(std::move(sources));
}

class ReconcileApiTest : public ::testing::Test {
 protected:
  ReconcileApiTest() { money_.NamesFrom(CatalogOfSiteA); }
  Result<http::Response> Ask(const std::string& method, const std::string& path,
                             const std::string& body, const std::string& query = "") {
    http::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.query = query;
    identity::Principal admin;
    admin.is_admin_token = true;
    return money_.Answer(request, admin);
  }
  Result<http::Response> Import(const std::string& provider, bool is_invoice = false) {
    return Ask("POST", "/tw/v1/reconcile/import",
               R"({"provider":")" + provider +
                   R"(","bill":"date,model,cost_usd\n2025-11-25,org/model,9.99\n","invoice":)" +
                   (is_invoice ? "true}" : "false}"));
  }

  testing::TempDir home_;
  std::unique_ptr<identity::Store> store_ =
      std::move(identity::Store::Open({.home = home_.path()}).value());
  std::unique_ptr<billing::Books> books_ = std::move(billing::Books::Open(home_.path()).value());
  MoneyApi money_{books_->ledger(), books_->recorder(), *store_};
};

TEST_F(ReconcileApiTest, ABillOfAProviderThatNeverWasHereIsRefusedWithTheNearest) {
  const auto refused = Import("site-aa");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(refused.error().param, "provider");
  EXPECT_NE(refused.error().message.find("The nearest: site-a."), std::string::npos)
      << refused.error().message;
  EXPECT_TRUE(books_->ledger().Payees().empty()) << "nobody is owed anything";
}

TEST_F(ReconcileApiTest, SoIsTheStatusOfOne) {
  const auto status = [this](const std::string& provider) {
    return Ask("GET", "/tw/v1/reconcile", "", "period=2025-11&provider=" + provider);
  };
  const auto refused = status("site-aa");
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(
      refused.error().message.starts_with("There is no provider \"site-aa\". The nearest: site-a."))
      << refused.error().message;
  EXPECT_TRUE(status("site-a").has_value());
}

TEST_F(ReconcileApiTest, WhereInvoicesAloneCountTheImportOfAnotherBillSaysSo) {
  const auto says_so = [](const Result<http::Response>& answer) {
    return dialects::ParseJsonObject(answer.value().body)
        ->at("providers")
        .as_array()
        .at(0)
        .as_object()
        .at("invoices_alone")
        .as_bool();
  };
  EXPECT_FALSE(says_so(Import("site-a")));
  EXPECT_TRUE(says_so(Import("site-a", true)));
  EXPECT_TRUE(says_so(Import("site-a")));
}

TEST_F(ReconcileApiTest, ABillIsOfTheProviderAsTheCatalogueSpellsIt) {
  ASSERT_TRUE(Import("Site-A").has_value());
  EXPECT_EQ(books_->ledger().OwedTo("provider:site-a"), 9'990'000'000);
}

TEST_F(ReconcileApiTest, AProviderThatTheConfigHasNoMoreMayBill) {
  ASSERT_TRUE(books_->ledger().Payee("provider:gone").has_value());
  ASSERT_TRUE(Import("gone").has_value());
  EXPECT_EQ(books_->ledger().OwedTo("provider:gone"), 9'990'000'000);
}

}  // namespace
}  // namespace tradewind::console_api
