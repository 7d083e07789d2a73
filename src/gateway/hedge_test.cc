// The money of two attempts beside each other, over real connections to two providers that say what
// the test says.
#include <future>
#include <memory>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "billing/test_support.h"
#include "catalog/catalog.h"
#include "gateway/gateway.h"
#include "gateway/test_support.h"
#include "http/server.h"
#include "http/upstream_test_support.h"
#include "identity/store.h"
#include "providers/test_support.h"
#include "testing/temp_dir.h"

namespace tradewind::gateway {
namespace {

using billing::AttemptRow;
using billing::AttemptState;
using http::testing::Eventually;
using http::testing::TestSocket;
using http::testing::TestUpstream;

std::string AnswerOf(int64_t output_tokens) {
  const std::string body = fmt::format(
      R"({{"choices":[{{"index":0,"message":{{"role":"assistant","content":"hello"}},)"
      R"("finish_reason":"stop"}}],"usage":{{"prompt_tokens":10,"completion_tokens":{}}}}})",
      output_tokens);
  return fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
      "x-request-id: req-{}\r\nContent-Length: {}\r\n\r\n{}",
      output_tokens, body.size(), body);
}

// Its line is written by the event loop's thread, which waits here until it is let go.
class HoldingLog final : public telemetry::AccessLog {
 public:
  void Write(const telemetry::AccessRecord& record) override {
    if (record.path == "/healthz") {
      held_.set_value();
      go_.get_future().wait();
    }
  }
  int64_t dropped() const override { return 0; }
  void AwaitHeld() { held_.get_future().wait(); }
  void Go() { go_.set_value(); }

 private:
  std::promise<void> held_, go_;
};

class HedgeTest : public ::testing::Test {
 protected:
  HedgeTest() {
    store_ = identity::Store::Open({.home = home_.path()}).value();
    identity::KeySpec spec;
    spec.name = "test";
    token_ = store_->CreateKey(spec).value().token.Reveal();
    local_ = std::make_unique<providers::LocalProvider>(
        files_.models, providers::testing::FakeOptions(fakes_), MakeLoader(fakes_));
    catalog::CatalogSources sources;
    sources.local = files_.models;
    catalog::RouteConfig route;
    for (const auto& [slug, upstream] : {std::pair("site-a", &a_), std::pair("site-b", &b_)}) {
      catalog::Mapping mapping;
      mapping.provider = slug;
      mapping.hf_model = "org/model";
      mapping.provider_model = "m-1";
      mapping.source = catalog::Source::kConfig;
      mapping.prices = billing::Priced("1", "2");
      catalog::ProviderConfig config;
      config.name = slug;
      config.kind = "openai";
      config.base_url = fmt::format("http://127.0.0.1:{}/v1", upstream->port());
      config.allow_private = true;
      config.models = {mapping};
      sources.configured.push_back(config);
      route.order.emplace_back(slug);
    }
    market_ = std::make_unique<routing::Marketplace>(
        routing::Market::Build(catalog::Catalog::Build(std::move(sources)), route,
                               [](const catalog::Provider&) { return "sk-1"; }),
        upstreams_.get(), SystemClock(), SystemRandom());
    GatewayOptions options;
    options.admission.keys = &store_->keys();
    options.meter = &meter_;
    gateway_ = std::make_unique<Gateway>(options, *local_, *market_, metrics_, &log_);
    server_ = http::testing::StartServer(
        [this](http::Exchange& exchange) { return gateway_->Handle(exchange); });
  }
  ~HedgeTest() override { server_.reset(); }

  TestSocket Ask(const std::string& method, const std::string& path, const std::string& body) {
    TestSocket client(server_->port());
    client.Send(
        fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n"
                    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                    method, path, token_, body.size(), body));
    return client;
  }
  static TestSocket Take(TestUpstream& upstream) {
    TestSocket socket = upstream.Accept();
    EXPECT_TRUE(socket.ReadResponse().starts_with("POST /v1/chat/completions"));
    return socket;
  }
  AttemptRow RowOf(const std::string& answer, uint16_t attempt) {
    const std::string name = "x-tradewind-receipt: ";
    const size_t at = answer.find(name) + name.size();
    const auto id = ledger::RequestId::Parse(answer.substr(at, answer.find('\r', at) - at));
    AttemptRow row;
    EXPECT_TRUE(id.has_value() && Eventually([&] {
                  for (const AttemptRow& one : *world_.recorder->Find(*id)) {
                    row = one.id.attempt == attempt ? one : row;
                  }
                  return row.state >= AttemptState::kInDoubt;
                }))
        << answer;
    return row;
  }

  tradewind::testing::TempDir home_;
  billing::World world_;
  billing::Meter meter_{*world_.ledger, world_.clock};
  providers::testing::FakeWorld fakes_;
  providers::testing::FakeModels files_{{"org-m"}};
  TestUpstream a_, b_;
  telemetry::Registry metrics_;
  HoldingLog log_;
  std::string token_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<http::UpstreamClient> upstreams_ = http::UpstreamClient::Create();
  std::unique_ptr<providers::LocalProvider> local_;
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
};

constexpr const char* kHedged =
    R"({"model":"org/model","messages":[{"role":"user","content":"hi"}],)"
    R"("provider":{"hedge":1})";

TEST_F(HedgeTest, TwoWholeAnswersAtOnceAreBothSettledByTheirUsageAndOneIsCharged) {
  TestSocket client = Ask("POST", "/v1/chat/completions", std::string(kHedged) + "}");
  TestSocket a = Take(a_), b = Take(b_);
  TestSocket other = Ask("GET", "/healthz", "");
  log_.AwaitHeld();
  a.Send(AnswerOf(20));
  b.Send(AnswerOf(30));
  log_.Go();
  const std::string answer = client.ReadResponse();
  const AttemptRow first = RowOf(answer, 1), second = RowOf(answer, 2);
  const bool first_won = answer.find("x-inference-provider: site-a") != std::string::npos;
  EXPECT_EQ(first.state, AttemptState::kSettled);
  EXPECT_EQ(second.state, AttemptState::kSettled);
  EXPECT_EQ(first.cost, 10 * 1000 + 20 * 2000);
  EXPECT_EQ(second.cost, 10 * 1000 + 30 * 2000);
  EXPECT_EQ(first.charge, first_won ? first.cost : 0);
  EXPECT_EQ(second.charge, first_won ? 0 : second.cost);
  EXPECT_EQ((first_won ? second : first).outcome.finish, "hedge_lost");
  EXPECT_EQ(first.upstream_id, "req-20");
  EXPECT_EQ(second.upstream_id, "req-30");
}

// How far it would have gone nobody knows.
TEST_F(HedgeTest, OfTwoStreamsThatBeginAtOnceTheOneThatIsClosedIsHeldWhole) {
  TestSocket client =
      Ask("POST", "/v1/chat/completions", std::string(kHedged) + R"(,"stream":true})");
  TestSocket a = Take(a_), b = Take(b_);
  TestSocket other = Ask("GET", "/healthz", "");
  log_.AwaitHeld();
  for (TestSocket* site : {&a, &b}) {
    const std::string event =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n";
    site->Send(
        fmt::format("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n",
                    event.size(), event));
  }
  log_.Go();
  const std::string answer = client.ReadUntil("\"one\"");  // an id may have the bare word in it
  const bool first_won = answer.find("x-inference-provider: site-a") != std::string::npos;
  const AttemptRow lost = RowOf(answer, first_won ? 2 : 1);
  EXPECT_EQ(lost.state, AttemptState::kInDoubt);
  const auto doubt = world_.ledger->HoldsInDoubt().front().second;
  EXPECT_EQ(doubt.metered_cost, doubt.cost);
  EXPECT_EQ(doubt.metered_charge, 0);
}

}  // namespace
}  // namespace tradewind::gateway
