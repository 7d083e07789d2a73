// For tests of the gateway where a provider answers, over real connections to providers that say
// what the test says, byte by byte.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "catalog/catalog.h"
#include "gateway/gateway.h"
#include "gateway/test_support.h"
#include "http/server.h"
#include "http/upstream_test_support.h"
#include "identity/store.h"
#include "ledger/fake_disk.h"
#include "providers/test_support.h"
#include "testing/temp_dir.h"

namespace tradewind::gateway::testing {

using http::testing::Eventually;
using http::testing::TestSocket;
using http::testing::TestUpstream;
using providers::testing::FakeModels;
using providers::testing::FakeOptions;
using providers::testing::FakeSequence;
using providers::testing::FakeWorld;
using providers::testing::TextEvent;

inline constexpr const char* kProviderKey = "sk-the-operators-secret-key";
inline constexpr const char* kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
inline constexpr const char* kLastChunk = "0\r\n\r\n";

inline std::string Chunk(const std::string& bytes) {
  return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}
inline std::string Event(const std::string& data) {
  return Chunk("data: " + data + "\n\n");
}
inline std::string Role() {
  return Event(R"({"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]})");
}
inline std::string Text(const std::string& text, int choice = 0) {
  return Event(
      fmt::format(R"({{"choices":[{{"index":{},"delta":{{"content":"{}"}}}}]}})", choice, text));
}
inline std::string End(int choice = 0) {
  return Event(
      fmt::format(R"({{"choices":[{{"index":{},"delta":{{}},"finish_reason":"stop"}}]}})", choice));
}
inline std::string Whole(int status, const std::string& body) {
  return fmt::format(
      "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
      "{}\r\n"
      "\r\n{}",
      status, body.size(), body);
}
inline std::string WholeAnswer(const std::string& text) {
  return Whole(200, R"({"choices":[{"index":0,"message":{"role":"assistant","content":")" + text +
                        R"("},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,)"
                        R"("completion_tokens":3,"total_tokens":5}})");
}

class UpstreamRouteTest : public ::testing::Test {
 protected:
  UpstreamRouteTest() {
    auto store = identity::Store::Open({.home = home_.path()});
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
  }
  ~UpstreamRouteTest() override { server_.reset(); }

  // Routes of org/model in the order of `slugs`; org-m is on this device.
  void Start(const std::vector<std::string>& slugs, std::optional<int64_t> tokens_per_minute = {}) {
    identity::KeySpec spec;
    spec.name = "test";
    spec.limits.tokens_per_minute = tokens_per_minute;
    token_ = store_->CreateKey(spec).value().token.Reveal();
    local_ = std::make_unique<providers::LocalProvider>(files_.models, FakeOptions(world_),
                                                        MakeLoader(world_));
    market_ = std::make_unique<routing::Marketplace>(MarketWith(slugs), upstreams_.get(),
                                                     SystemClock(), SystemRandom());
    GatewayOptions options;
    options.admission.keys = &store_->keys();
    options.times = times_;
    options.meter = meter_.get();
    gateway_ = std::make_unique<Gateway>(options, *local_, *market_, metrics_, &log_);
    server_ = http::testing::StartServer(
        [this](http::Exchange& exchange) { return gateway_->Handle(exchange); }, server_options_);
  }
  std::shared_ptr<const routing::Market> MarketWith(const std::vector<std::string>& slugs) {
    catalog::CatalogSources sources;
    sources.local = files_.models;
    for (const std::string& slug : slugs) {
      catalog::Mapping mapping;
      mapping.provider = slug;
      mapping.hf_model = "org/model";
      mapping.provider_model = "m-1";
      mapping.source = catalog::Source::kConfig;
      mapping.prices = prices_;
      catalog::ProviderConfig config;
      config.name = slug;
      config.kind = "openai";
      config.base_url = fmt::format("http://127.0.0.1:{}/v1", (slug == "site-a" ? a_ : b_).port());
      config.allow_private = true;
      config.api_key_header = api_key_header_;
      config.billing.bills_refusals = bills_refusals_;
      config.assistant_prefix = "message";
      config.models = {mapping};
      sources.configured.push_back(config);
    }
    catalog::RouteConfig route;
    route.order = slugs;
    return routing::Market::Build(catalog::Catalog::Build(std::move(sources)), route,
                                  [](const catalog::Provider&) { return kProviderKey; });
  }

  // A request on its way.
  TestSocket Ask(const std::string& fields = "", const std::string& model = "org/model") {
    TestSocket client(server_->port());
    Ask(client, fields, model);
    return client;
  }
  void Ask(TestSocket& client, const std::string& fields = "",
           const std::string& model = "org/model") {
    const std::string body = R"({"model":")" + model +
                             R"(","messages":[{"role":"user","content":"hi"}])" +
                             (fields.empty() ? "" : "," + fields) + "}";
    EXPECT_TRUE(client.Send(fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n"
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        token_, body.size(), body)));
  }
  // The provider takes the next request.
  static TestSocket Take(TestUpstream& upstream) {
    TestSocket socket = upstream.Accept();
    EXPECT_TRUE(socket.ReadResponse().starts_with("POST /v1/chat/completions"));
    return socket;
  }
  static std::string ReadStream(TestSocket& client) { return client.ReadUntil("\r\n0\r\n\r\n"); }
  // The log's line of the n-th request.
  telemetry::AccessRecord Logged(size_t n = 0) {
    EXPECT_TRUE(Eventually([&] { return log_.records().size() > n; })) << "no line in the log";
    return log_.records().size() > n ? log_.records()[n] : telemetry::AccessRecord();
  }
  routing::HealthSnapshot Health(const std::string& slug = "site-a",
                                 const std::string& model = "m-1") {
    return market_->health.Route(slug, model).Snapshot();
  }

  static constexpr const char* kStream = R"("stream":true)";

  tradewind::testing::TempDir home_;
  FakeWorld world_;
  FakeModels files_{{"org-m"}};
  std::string api_key_header_;
  bool bills_refusals_ = false;
  catalog::Prices prices_;  // of both; unpriced
  TestUpstream a_, b_;
  RouteTimes times_;
  telemetry::Registry metrics_;
  MemoryLog log_;
  std::string token_;
  ledger::FakeDisk disk_;
  std::unique_ptr<ledger::Ledger> ledger_;
  std::unique_ptr<billing::Meter> meter_;  // null: nothing is counted
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<http::UpstreamClient> upstreams_ = http::UpstreamClient::Create();
  http::ServerOptions server_options_ = http::testing::TestOptions();
  std::unique_ptr<providers::LocalProvider> local_;
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace tradewind::gateway::testing
