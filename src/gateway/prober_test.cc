// Probes against a small provider of our own, over real connections.
#include "gateway/prober.h"

#include <atomic>
#include <chrono>
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
#include "ledger/ledger.h"
#include "providers/test_support.h"
#include "routing/probe_book.h"
#include "testing/temp_dir.h"

namespace tradewind::gateway {
namespace {

using providers::testing::Eventually;
using routing::Known;
using routing::ProbeEnd;
using routing::RouteStatus;

constexpr const char* kStream =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n"
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":24,\"total_tokens\":33}}\n\n"
    "data: [DONE]\n\n";

std::string Whole(const std::string& message, const std::string& finish) {
  return R"({"choices":[{"index":0,"message":)" + message + R"(,"finish_reason":")" + finish +
         R"("}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}})";
}

// A provider with one model; what it says can be changed while it runs.
class FakeProvider {
 public:
  FakeProvider() {
    server_ =
        http::testing::StartServer([this](http::Exchange& exchange) { return Answer(exchange); });
  }
  std::string base_url() const {
    return "http://127.0.0.1:" + std::to_string(server_->port()) + "/v1";
  }
  size_t count() const {
    const std::lock_guard lock(mutex_);
    return bodies_.size();
  }
  std::vector<std::string> bodies() const {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }
  std::vector<http::Headers> headers() const {
    const std::lock_guard lock(mutex_);
    return headers_;
  }
  void Say(int status, std::string tools, std::string schema) {
    const std::lock_guard lock(mutex_);
    status_ = status;
    tools_ = std::move(tools);
    schema_ = std::move(schema);
  }
  void SayStreamsAre(std::string type) {
    const std::lock_guard lock(mutex_);
    stream_type_ = std::move(type);
  }

 private:
  Task<void> Answer(http::Exchange& exchange) {
    const std::string& body = exchange.request().body;
    http::Response response;
    {
      const std::lock_guard lock(mutex_);
      bodies_.push_back(body);
      headers_.push_back(exchange.request().headers);
      response.status = status_;
      const bool is_stream = body.find("\"stream\":true") != std::string::npos;
      response.headers.Set("Content-Type",
                           is_stream && status_ == 200 ? stream_type_ : "application/json");
      response.body = status_ != 200 ? R"({"error":{"message":"no capacity today"}})"
                      : is_stream    ? kStream
                      : body.find("get_weather") != std::string::npos ? tools_
                                                                      : schema_;
    }
    static_cast<void>(co_await exchange.Respond(std::move(response)));
  }

  mutable std::mutex mutex_;
  std::vector<std::string> bodies_;
  std::vector<http::Headers> headers_;
  int status_ = 200;
  std::string stream_type_ = "text/event-stream";
  std::string tools_ = Whole(
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":)"
      R"({"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]})",
      "tool_calls");
  std::string schema_ = Whole(
      R"({"role":"assistant","content":"{\"city\":\"Paris\",\"continent\":\"Europe\"}"})", "stop");
  std::unique_ptr<http::Server> server_;
};

// The real one, and hours can be put before it.
class ShiftedClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override {
    return SystemClock().Now() + std::chrono::hours(hours_.load());
  }
  std::chrono::system_clock::time_point WallNow() const override { return SystemClock().WallNow(); }
  void Advance(int hours) { hours_ += hours; }

 private:
  std::atomic<int> hours_{0};
};

class ProberTest : public ::testing::Test {
 protected:
  void Start(const char* price, catalog::ProbeRule rule = catalog::ProbeRule::kFree) {
    market_ = std::make_unique<routing::Marketplace>(Build(price, rule), upstreams_.get(),
                                                     SystemClock(), SystemRandom());
    prober_ = std::make_unique<Prober>(*market_, metrics_, &meter_, *clock_, SystemRandom(),
                                       ask_pause_ms_);
    prober_->MarketChanged();
  }
  std::shared_ptr<const routing::Market> Build(const char* price, catalog::ProbeRule rule) {
    catalog::Mapping mapping;
    mapping.provider = "site-a";
    mapping.hf_model = "org/model";
    mapping.provider_model = provider_model_;
    mapping.source = catalog::Source::kConfig;
    mapping.prices.input = mapping.prices.output = Decimal::Parse(price).value();
    catalog::ProviderConfig config;
    config.name = "site-a";
    config.kind = "openai";
    config.base_url = provider_.base_url();
    config.allow_private = true;
    config.api_key_header = api_key_header_;
    config.models = {mapping};
    catalog::CatalogSources sources;
    sources.configured = {config};
    catalog::RouteConfig route;
    route.probes = rule;
    return routing::Market::Build(catalog::Catalog::Build(std::move(sources)), route,
                                  [this](const catalog::Provider&) { return api_key_; });
  }
  // The note of the n-th probe; the counter tells how many have ended.
  std::optional<routing::ProbeNote> NoteOf(uint64_t ended, const std::string& end) {
    auto& counter =
        metrics_.GetCounter("tradewind_probes_total", "", {{"provider", "site-a"}, {"end", end}});
    EXPECT_TRUE(Eventually([&] {
      return counter.value() >= ended && prober_->asked() == 0 &&
             market_->probes.Find("site-a", provider_model_).has_value();
    }));
    return market_->probes.Find("site-a", provider_model_);
  }

  int64_t ask_pause_ms_ = 0;
  const Clock* clock_ = &SystemClock();
  ShiftedClock shifted_;
  void SetBudget(const std::string& scope, ledger::NanoUsd limit) {
    ASSERT_TRUE(ledger_->Define({.name = scope, .limit = limit}).has_value());
  }
  // Used of it, once nothing is held any more.
  ledger::NanoUsd UsedOf(const std::string& scope) {
    EXPECT_TRUE(Eventually([&] { return ledger_->FindBudget(scope)->account.pending == 0; }));
    return ledger_->FindBudget(scope)->account.debits;
  }

  const testing::TempDir home_;
  std::unique_ptr<ledger::Disk> disk_ = ledger::OpenFolder(home_.path() / "journal").value();
  std::unique_ptr<ledger::Ledger> ledger_ = ledger::Ledger::Open(*disk_, SystemClock()).value();
  billing::Meter meter_{*ledger_};
  std::string provider_model_ = "m-1", api_key_header_;
  std::optional<std::string> api_key_;
  FakeProvider provider_;
  telemetry::Registry metrics_;
  std::unique_ptr<http::UpstreamClient> upstreams_ = http::UpstreamClient::Create();
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Prober> prober_;
};

TEST_F(ProberTest, AFreeMappingIsProbedAtOnceAndWhatItCanDoIsKnownAfterwards) {
  Start("0");
  const auto note = NoteOf(1, "well");
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(note->last.end, ProbeEnd::kWell) << note->last.words;
  EXPECT_EQ(note->verdict.status, RouteStatus::kLive);
  EXPECT_EQ(note->verdict.supports_tools, Known::kYes);
  EXPECT_EQ(note->verdict.supports_structured_output, Known::kYes);
  EXPECT_EQ(provider_.count(), 3u) << "a stream, a tool, a schema";
  EXPECT_NE(provider_.bodies()[0].find("\"m-1\""), std::string::npos) << "the provider's own id";
  const auto health = market_->health.Route("site-a", "m-1").Snapshot();
  EXPECT_TRUE(health.ttft_ms.has_value()) << "a probe measures";
  EXPECT_EQ(health.window_successes, 1);
}

TEST_F(ProberTest, AProbeSendsTheKeyAsRequestsDo) {
  api_key_ = "sk-of-the-operator";
  api_key_header_ = "x-api-key";
  Start("0");
  ASSERT_TRUE(NoteOf(1, "well").has_value());
  for (const http::Headers& headers : provider_.headers()) {
    EXPECT_EQ(headers.Find("x-api-key"), "sk-of-the-operator");
    EXPECT_EQ(headers.Find("Authorization"), std::nullopt);
  }
}

TEST_F(ProberTest, WhatCostsMoneyIsProbedWhenSomebodyAsksAndNotBefore) {
  Start("0.10");
  EXPECT_EQ(prober_->Ask("site-b").count, 0u) << "nobody of that name";
  EXPECT_EQ(provider_.count(), 0u);
  EXPECT_EQ(prober_->Ask("site-a").count, 1u);
  EXPECT_EQ(NoteOf(1, "well")->last.end, ProbeEnd::kWell);
  EXPECT_EQ(provider_.count(), 3u);
}

TEST_F(ProberTest, WhatWasWellAMomentAgoIsNotPaidForAgain) {
  ask_pause_ms_ = 3'600'000;
  Start("0.10");
  EXPECT_EQ(prober_->Ask("site-a"), (Prober::Asked{.count = 1, .too_soon = 0}));
  ASSERT_TRUE(NoteOf(1, "well").has_value());
  EXPECT_EQ(prober_->Ask("site-a"), (Prober::Asked{.count = 0, .too_soon = 1}));
  EXPECT_EQ(prober_->asked(), 0u);
}

TEST_F(ProberTest, WhatFailedMayBeProbedAgainAtOnce) {
  ask_pause_ms_ = 3'600'000;
  provider_.Say(500, "", "");
  Start("0.10");
  prober_->Ask("site-a");
  ASSERT_TRUE(NoteOf(1, "failed").has_value());
  EXPECT_EQ(prober_->Ask("site-a").count, 1u);
}

// Nothing else would end its verdict: the catalogue is right, and nobody asks again.
TEST_F(ProberTest, WhatWasAskedForAndFailedIsProbedAgainAnHourLater) {
  clock_ = &shifted_;
  provider_.Say(500, "", "");
  Start("0.10");
  prober_->Ask("site-a");
  EXPECT_EQ(NoteOf(1, "failed")->verdict.status, RouteStatus::kError);
  provider_.Say(200, Whole(R"({"content":"no"})", "stop"), Whole(R"({"content":"no"})", "stop"));
  shifted_.Advance(2);
  prober_->MarketChanged();  // looks at the time anew
  EXPECT_EQ(NoteOf(1, "well")->verdict.status, RouteStatus::kLive);
  EXPECT_TRUE(Eventually([&] { return provider_.count() == 4; }));
  shifted_.Advance(24);
  prober_->MarketChanged();
  EXPECT_EQ(prober_->Ask("site-b").count, 0u);
  EXPECT_EQ(provider_.count(), 4u) << "it is well: only who asks pays for another one";
}

TEST_F(ProberTest, WithTheRuleAllPaidMappingsAreProbedUnasked) {
  Start("0.10", catalog::ProbeRule::kAll);
  EXPECT_EQ(NoteOf(1, "well")->last.end, ProbeEnd::kWell);
}

TEST_F(ProberTest, AFailureSaysWhatTheProviderSaidAndIsNotAskedFurther) {
  provider_.Say(500, "", "");
  Start("0");
  const auto note = NoteOf(1, "failed");
  EXPECT_EQ(note->verdict.status, RouteStatus::kError);
  EXPECT_NE(note->verdict.words.find("500 no capacity today"), std::string::npos)
      << note->verdict.words;
  EXPECT_EQ(provider_.count(), 1u) << "what does not answer is not asked for tools";
  EXPECT_EQ(market_->health.Route("site-a", "m-1").Snapshot().window_faults, 1);
}

TEST_F(ProberTest, AContentTypeIsReadWithoutItsCaseAndParameters) {
  provider_.SayStreamsAre("Text/Event-Stream ; charset=utf-8");
  Start("0");
  EXPECT_EQ(NoteOf(1, "well")->last.end, ProbeEnd::kWell);
}

TEST_F(ProberTest, AContentTypeThatOnlyBeginsLikeTheRightOneIsAnother) {
  provider_.SayStreamsAre("text/event-streams");
  Start("0");
  EXPECT_EQ(NoteOf(1, "failed")->verdict.status, RouteStatus::kError);
}

TEST_F(ProberTest, ALimitOfOurAccountSaysNothingAboutTheMapping) {
  provider_.Say(429, "", "");
  Start("0");
  const auto note = NoteOf(1, "nothing_learned");
  EXPECT_FALSE(note->verdict.status.has_value());
}

TEST_F(ProberTest, AnAnswerThatDoesNotCallTheToolOrFollowTheSchemaIsANo) {
  provider_.Say(200, Whole(R"({"role":"assistant","content":"Sunny, I guess."})", "stop"),
                Whole(R"({"role":"assistant","content":"{\"city\":\"Paris\"}"})", "stop"));
  Start("0");
  const auto note = NoteOf(1, "well");
  EXPECT_EQ(note->verdict.status, RouteStatus::kLive) << "it answers all the same";
  EXPECT_EQ(note->verdict.supports_tools, Known::kNo);
  EXPECT_EQ(note->verdict.supports_structured_output, Known::kNo) << "a field is missing";
}

TEST_F(ProberTest, AnAnswerThatWasCutOffBeforeItWasDoneLeavesTheQuestionOpen) {
  provider_.Say(200, Whole(R"({"role":"assistant","content":"Let me think"})", "length"),
                Whole(R"({"role":"assistant","content":"{\"city\":"})", "length"));
  Start("0");
  const auto note = NoteOf(1, "well");
  EXPECT_EQ(note->verdict.supports_tools, Known::kUnknown);
  EXPECT_EQ(note->verdict.supports_structured_output, Known::kUnknown);
}

TEST_F(ProberTest, AMappingThatChangesIsProbedAgainAtOnce) {
  Start("0");
  ASSERT_TRUE(NoteOf(1, "well").has_value());
  provider_model_ = "m-2";
  market_->board.Set(Build("0", catalog::ProbeRule::kFree));
  prober_->MarketChanged();
  EXPECT_EQ(NoteOf(2, "well")->last.end, ProbeEnd::kWell);
  EXPECT_FALSE(market_->probes.Find("site-a", "m-1").has_value()) << "forgotten with its mapping";
  EXPECT_EQ(provider_.count(), 6u);
  prober_->MarketChanged();
  prober_->Ask("site-a");
  ASSERT_TRUE(NoteOf(3, "well").has_value());
  EXPECT_EQ(provider_.count(), 9u) << "a reload that changes nothing probes nothing";
}

TEST_F(ProberTest, EndsWhileAProbeRuns) {
  provider_.Say(200, "", "");
  Start("0");
  EXPECT_TRUE(Eventually([&] { return provider_.count() > 0; }));
  prober_.reset();
}

TEST_F(ProberTest, WhatAProbeCostsStandsInTheLedgerAndIsChargedToNobody) {
  SetBudget("all", 1'000'000'000);
  SetBudget("probes", 1'000'000'000);
  Start("1", catalog::ProbeRule::kAll);
  ASSERT_TRUE(NoteOf(1, "well").has_value());
  // 9 + 24 tokens, and twice 9 + 9, at $1 a million.
  EXPECT_EQ(UsedOf("all"), (33 + 18 + 18) * 1'000);
  EXPECT_EQ(UsedOf("probes"), 69'000);
  EXPECT_EQ(ledger_->OwedTo("provider:site-a"), 69'000);
}

TEST_F(ProberTest, AProbeThatFailsIsHeldAsAnyRequestUntilItsCostIsKnown) {
  SetBudget("all", 1'000'000'000);
  provider_.SayStreamsAre("text/xml");
  Start("1", catalog::ProbeRule::kAll);
  ASSERT_TRUE(NoteOf(1, "failed").has_value());
  const auto doubts = ledger_->HoldsInDoubt();
  ASSERT_EQ(doubts.size(), 1U) << "an answer came that nobody can read: it may be billed";
  EXPECT_EQ(doubts[0].second.charge, 0);
}

TEST_F(ProberTest, NothingIsAskedThatABudgetOfTheServerHasNoRoomFor) {
  SetBudget("provider:site-a", 1'000);
  Start("1", catalog::ProbeRule::kAll);
  const auto note = NoteOf(1, "nothing_learned");
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(provider_.count(), 0U);
  EXPECT_NE(note->last.words.find("provider:site-a"), std::string::npos) << note->last.words;
  EXPECT_EQ(market_->health.Route("site-a", "m-1").Snapshot().window_faults, 0)
      << "the route is not to blame";
}

}  // namespace
}  // namespace tradewind::gateway
