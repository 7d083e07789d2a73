// What a provider's billing says, and requests in doubt that are settled by it, over real
// connections.
#include "gateway/reconciler.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "catalog/catalog.h"
#include "http/server.h"
#include "http/test_support.h"
#include "ledger/disk.h"
#include "providers/test_support.h"
#include "testing/temp_dir.h"

namespace tradewind::gateway {
namespace {

using providers::testing::Eventually;

// A provider's billing address.
class FakeBilling {
 public:
  FakeBilling() {
    server_ =
        http::testing::StartServer([this](http::Exchange& exchange) { return Answer(exchange); });
  }
  std::string address() const { return "http://127.0.0.1:" + std::to_string(server_->port()); }
  void Say(std::vector<http::Response> answers) {
    const std::lock_guard lock(mutex_);
    answers_ = std::move(answers);
  }
  std::vector<http::Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  Task<void> Answer(http::Exchange& exchange) {
    http::Response response{200, {}, R"({"requests":[]})"};
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(exchange.request());
      if (!answers_.empty()) {
        response = answers_.front();
        answers_.erase(answers_.begin());
      }
    }
    static_cast<void>(co_await exchange.Respond(std::move(response)));
  }

  mutable std::mutex mutex_;
  std::vector<http::Request> requests_;
  std::vector<http::Response> answers_;
  std::unique_ptr<http::Server> server_;
};

class ReconcilerTest : public ::testing::Test {
 protected:
  void Start(bool allow_private = true) {
    ledger_ = ledger::Ledger::Open(*disk_, SystemClock()).value();
    meter_ = std::make_unique<billing::Meter>(*ledger_);
    catalog::ProviderConfig config;
    config.name = "site-a";
    config.kind = "openai";
    config.base_url = "https://a.example/v1";
    config.api_key_env = "KEY";
    config.allow_private = allow_private;
    config.api_key_header = api_key_header_;
    config.billing.url = billing_.address() + "/agreed";
    catalog::CatalogSources sources;
    sources.configured = {config};
    market_ = std::make_unique<routing::Marketplace>(
        routing::Market::Build(
            catalog::Catalog::Build(std::move(sources)), {},
            [](const catalog::Provider&) { return std::optional<std::string>("the-key"); }),
        upstreams_.get(), SystemClock(), SystemRandom());
    ReconcilerOptions options;
    options.every = std::chrono::milliseconds(20);
    reconciler_ =
        std::make_unique<Reconciler>(*market_, *ledger_, *meter_, metrics_, std::move(options));
  }
  void Doubt() {
    billing::Offer offer;
    offer.id = {{1, 1}, 1};
    offer.purchase.provider = "site-a";
    offer.prices = &prices_;
    offer.output_tokens_max = 1000;
    offer.askable = {true, false};
    auto attempt = meter_->Begin(offer);
    ASSERT_TRUE(attempt.has_value());
    ASSERT_TRUE(attempt->Sent().has_value());
    attempt->UpstreamId("inf-1");
    static_cast<void>(attempt->End({.is_complete = true, .delivered_bytes = 300}));
    ASSERT_EQ(ledger_->HoldsInDoubt().size(), 1U);
  }

  std::string api_key_header_;
  FakeBilling billing_;
  const tradewind::testing::TempDir home_;
  std::unique_ptr<ledger::Disk> disk_ = ledger::OpenFolder(home_.path() / "journal").value();
  std::unique_ptr<ledger::Ledger> ledger_;
  std::unique_ptr<billing::Meter> meter_;
  telemetry::Registry metrics_;
  std::unique_ptr<http::UpstreamClient> upstreams_ = http::UpstreamClient::Create();
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Reconciler> reconciler_;
  catalog::Prices prices_ = [] {
    catalog::Prices prices;
    prices.input = prices.output = Decimal::Parse("1").value();
    return prices;
  }();
};

TEST_F(ReconcilerTest, AsksAgainUntilItIsToldAndThenNoMore) {
  billing_.Say({{500, {}, ""},
                {200, {}, "not json"},
                {302, {}, ""},
                {200, {}, R"({"requests":[{"requestId":"inf-1","costNanoUsd":1234}]})"}});
  Start();
  Doubt();
  ASSERT_TRUE(Eventually([&] { return ledger_->HoldsInDoubt().empty(); }));
  EXPECT_EQ(ledger_->OwedTo("provider:site-a"), 1234);
  const auto requests = billing_.requests();
  ASSERT_EQ(requests.size(), 4U);
  EXPECT_EQ(requests[3].method, "POST");
  EXPECT_EQ(requests[3].path, "/agreed");
  EXPECT_EQ(requests[3].headers.Find("Authorization"), "Bearer the-key");
  EXPECT_EQ(requests[3].body, R"({"requestIds":["inf-1"]})");
}

TEST_F(ReconcilerTest, SendsTheKeyWhereInferenceSendsIt) {
  api_key_header_ = "x-api-key";
  Start();
  Doubt();
  ASSERT_TRUE(Eventually([&] { return !billing_.requests().empty(); }));
  const http::Headers headers = billing_.requests()[0].headers;
  EXPECT_EQ(headers.Find("x-api-key"), "the-key");
  EXPECT_EQ(headers.Find("Authorization"), std::nullopt);
}

TEST_F(ReconcilerTest, GoesNowhereThatTheAddressPolicyForbids) {
  Start(false);
  Doubt();
  ASSERT_TRUE(Eventually([&] {
    return metrics_
               .GetCounter("tradewind_billing_calls_failed_total",
                           "Calls to providers' billing that failed.", {{"provider", "site-a"}})
               .value() > 0;
  }));
  EXPECT_TRUE(billing_.requests().empty());
  EXPECT_EQ(ledger_->HoldsInDoubt().size(), 1U);
}

}  // namespace
}  // namespace tradewind::gateway
