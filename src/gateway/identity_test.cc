// Tokens over real connections: what callers see of 401 and 403, whoami, CORS on answers and
// streams, and the way to what people manage.
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "dialects/json_reader.h"
#include "gateway/gateway.h"
#include "gateway/test_support.h"
#include "http/client.h"
#include "http/server.h"
#include "identity/store.h"
#include "providers/test_support.h"
#include "testing/temp_dir.h"

namespace tradewind::gateway {
namespace {

using providers::testing::FakeModels;
using providers::testing::FakeOptions;
using providers::testing::FakeWorld;

class TokenTest : public ::testing::Test {
 protected:
  using HeaderList = std::vector<std::pair<std::string, std::string>>;

  TokenTest() {
    auto store = identity::Store::Open({.home = home_.path()});
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    local_ = std::make_unique<providers::LocalProvider>(files_.models, FakeOptions(world_),
                                                        MakeLoader(world_));
    GatewayOptions options;
    options.default_model = "org-m";
    options.admission.keys = &store_->keys();
    options.admission.cors_origins = {"https://app.example"};
    options.console = [this](const http::Request& request, const identity::Principal& caller) {
      console_caller_ = caller.key_id;
      EXPECT_TRUE(request.headers.all().empty()) << "header values stay behind";
      http::Response response;
      response.body = request.method + " " + request.path + " " + request.body;
      response.more = console_more_;
      return response;
    };
    options.provider_secrets = &store_->provider_secrets();
    market_ = std::make_unique<routing::Marketplace>(OnlyThisDevice(files_.models), nullptr,
                                                     SystemClock(), SystemRandom());
    gateway_ = std::make_unique<Gateway>(options, *local_, *market_, metrics_, nullptr);
    auto started = http::Server::Start(
        {.port = 0}, [this](http::Exchange& exchange) { return gateway_->Handle(exchange); },
        [this](const Error& error) { return gateway_->OnProtocolError(error); });
    EXPECT_TRUE(started);
    server_ = std::move(*started);
  }
  ~TokenTest() override { server_.reset(); }

  identity::MintedKey Create(identity::KeySpec spec) {
    auto key = store_->CreateKey(spec);
    EXPECT_TRUE(key) << key.error().message;
    return std::move(*key);
  }
  std::string Token(const std::string& name, identity::Scopes scopes = {identity::Scope::kInference,
                                                                        identity::Scope::kRead}) {
    identity::KeySpec spec;
    spec.name = name;
    spec.scopes = scopes;
    return std::string(Create(spec).token.Reveal());
  }
  std::string Limited(const std::string& name, identity::KeyLimits limits) {
    identity::KeySpec spec;
    spec.name = name;
    spec.scopes = {identity::Scope::kInference, identity::Scope::kRead};
    spec.limits = limits;
    return std::string(Create(spec).token.Reveal());
  }
  std::string AdminToken() { return *ReadAdmin(); }
  std::optional<std::string> ReadAdmin() {
    auto text = identity::ReadPrivateFile(home_.path() / identity::kAdminTokenFile);
    return std::string((*text)->Reveal());
  }
  http::Response Send(const std::string& method, const std::string& target,
                      const std::string& token = "", const HeaderList& headers = {},
                      const std::string& body = kChat) {
    http::ClientRequest request;
    request.port = server_->port();
    request.method = method;
    request.target = target;
    request.body = method == "GET" || method == "OPTIONS" ? "" : body;
    request.headers.Set("Content-Type", "application/json");
    if (!token.empty()) {
      request.headers.Set("Authorization", "Bearer " + token);
    }
    for (const auto& [name, value] : headers) {
      request.headers.Set(name, value);
    }
    auto response = http::Fetch(request);
    EXPECT_TRUE(response) << response.error().message;
    return response.value_or(http::Response{});
  }
  static constexpr const char* kChat =
      R"({"model":"org-m","messages":[{"role":"user","content":"hi"}]})";
  static constexpr const char* kChatPath = "/v1/chat/completions";

  tradewind::testing::TempDir home_;
  FakeWorld world_;
  FakeModels files_{{"org-m", "other"}};
  telemetry::Registry metrics_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<providers::LocalProvider> local_;
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
  std::string console_caller_;
  std::function<Result<std::string>()> console_more_;  // of its answers
};

TEST_F(TokenTest, CreatingTheFirstKeyClosesTheOpenDoorAtOnce) {
  EXPECT_EQ(Send("POST", kChatPath).status, 200);
  EXPECT_EQ(Send("GET", "/v1/models").status, 200);
  EXPECT_EQ(Send("GET", "/metrics").status, 200);
  const std::string token = Token("a");
  EXPECT_EQ(Send("GET", "/metrics").status, 401);
  for (const char* path : {"/v1/models", "/tw/v1/engine", "/api/whoami-v2"}) {
    EXPECT_EQ(Send("GET", path).status, 401) << path;
    EXPECT_EQ(Send("GET", path, token).status, 200) << path;
  }
  EXPECT_EQ(Send("POST", kChatPath).status, 401);
  EXPECT_EQ(Send("POST", kChatPath, token).status, 200);
  EXPECT_EQ(Send("GET", "/healthz").status, 200);
}

TEST_F(TokenTest, TheServersTotalsAreForTheOperatorAndWhoManagesHisOrganisation) {
  identity::KeySpec spec;
  spec.name = "tenant";
  spec.org = "acme";
  spec.user = "ada";
  spec.role = identity::Role::kAdmin;
  spec.scopes = {identity::Scope::kRead, identity::Scope::kManage};
  const std::string tenant(Create(spec).token.Reveal());
  const http::Response refused = Send("GET", "/metrics", tenant);
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.body.find("tradewind_"), std::string::npos);
  EXPECT_EQ(Send("GET", "/metrics", Token("reads")).status, 403);
  EXPECT_EQ(Send("GET", "/metrics", Token("scrapes", {identity::Scope::kManage})).status, 200);
  EXPECT_EQ(Send("GET", "/metrics", AdminToken()).status, 200);
}

TEST_F(TokenTest, A401SaysWhatTheSdksShowAndNothingMore) {
  const std::string good = Token("a");
  std::string wrong = good;
  wrong.back() = wrong.back() == 'a' ? 'b' : 'a';
  const http::Response response = Send("POST", kChatPath, wrong);
  EXPECT_EQ(response.status, 401);
  EXPECT_EQ(response.headers.Find("X-Error-Message"), "Invalid username or password.");
  EXPECT_EQ(response.headers.Find("WWW-Authenticate"),
            "Bearer realm=\"Authentication required\", charset=\"UTF-8\"");
  EXPECT_EQ(response.body,
            R"({"error":{"message":"Invalid username or password.","type":"authentication_error",)"
            R"("param":null,"code":"invalid_api_key"}})");
  const http::Response none = Send("POST", kChatPath);
  EXPECT_EQ(none.status, 401);
  for (const http::Response& answer : {response, none}) {  // no product, no table, no hash
    for (const char* word : {"tradewind", "tw_", "key_", "sqlite", "blake", "identity"}) {
      EXPECT_EQ(answer.body.find(word), std::string::npos) << answer.body;
    }
  }
  EXPECT_TRUE(world_.Seen().empty());
}

TEST_F(TokenTest, A403NamesTheMissingScope) {
  const http::Response response = Send("POST", kChatPath, Token("a", {identity::Scope::kRead}));
  EXPECT_EQ(response.status, 403);
  EXPECT_NE(response.body.find("scope inference"), std::string::npos) << response.body;
  EXPECT_TRUE(response.headers.Find("X-Error-Message").has_value());
  EXPECT_EQ(Send("GET", "/tw/v1/keys", Token("b")).status, 403);
}

TEST_F(TokenTest, AllowListsHoldForEveryCallThatAsksAModel) {
  identity::KeySpec spec;
  spec.name = "a";
  spec.models = {"other"};
  const identity::MintedKey narrow = Create(spec);
  spec.name = "b";
  spec.models = {};
  spec.providers = {"together"};
  const identity::MintedKey remote = Create(spec);
  for (const auto* key : {&narrow, &remote}) {
    const std::string token(key->token.Reveal());
    EXPECT_EQ(Send("POST", kChatPath, token).status, 403);
    EXPECT_EQ(
        Send("POST", "/v1/completions", token, {}, R"({"model":"org-m","prompt":"x"})").status,
        403);
    EXPECT_EQ(Send("POST", "/tokenize", token, {}, R"({"prompt":"x"})").status, 403);
    EXPECT_EQ(Send("POST", "/detokenize", token, {}, R"({"tokens":[104]})").status, 403);
  }
  EXPECT_EQ(Send("POST", "/v1/completions", std::string(narrow.token.Reveal()), {},
                 R"({"model":"other","prompt":"x"})")
                .status,
            200);
}

TEST_F(TokenTest, OrganisationsShareNoBeginnings) {
  EXPECT_EQ(Send("POST", kChatPath).status, 200) << "the door is open";
  identity::KeySpec spec;
  const auto chat_as = [&](const std::string& key, const std::string& org) {
    spec.name = key;
    spec.org = org;
    EXPECT_EQ(Send("POST", kChatPath, std::string(Create(spec).token.Reveal())).status, 200);
    return world_.Seen().back()->request.cache_scope;
  };
  const std::string acme = chat_as("a", "acme"), globex = chat_as("b", "globex");
  EXPECT_EQ(world_.Seen().front()->request.cache_scope, "");
  EXPECT_FALSE(acme.empty());
  EXPECT_NE(acme, globex);
  EXPECT_EQ(chat_as("c", "acme"), acme);
}

TEST_F(TokenTest, TheAdminTokenManagesAndAsksTheLocalModelOnly) {
  EXPECT_EQ(Send("GET", "/tw/v1/keys").status, 401) << "not even while the door is open";
  const http::Response managed =
      Send("PUT", "/tw/v1/provider-keys/groq", AdminToken(), {}, R"({"key":"x"})");
  EXPECT_EQ(managed.status, 200);
  EXPECT_EQ(managed.body, R"(PUT /tw/v1/provider-keys/groq {"key":"x"})");
  EXPECT_EQ(managed.headers.Find("Cache-Control"), "no-store");
  EXPECT_EQ(console_caller_, "key_admin");
  EXPECT_EQ(Send("POST", kChatPath, AdminToken()).status, 200);
  EXPECT_FALSE(store_->keys().Find(AdminToken())->MayUseProvider("together"));
}

TEST_F(TokenTest, WhatIsManagedMayAnswerInPiecesAndOneThatFailsIsNotWhole) {
  int pieces = 0;
  console_more_ = [&pieces]() -> Result<std::string> {
    return ++pieces > 3 ? "" : ":" + std::to_string(pieces);
  };
  const http::Response whole = Send("GET", "/tw/v1/bill/focus", AdminToken());
  EXPECT_EQ(whole.body, "GET /tw/v1/bill/focus :1:2:3");
  EXPECT_EQ(whole.headers.Find("Cache-Control"), "no-store");
  EXPECT_TRUE(whole.headers.Find("x-request-id").has_value());
  console_more_ = []() -> Result<std::string> {
    return Fail(ErrorCode::kUnavailable, "the disk is gone");
  };
  http::ClientRequest request;
  request.port = server_->port();
  request.target = "/tw/v1/bill/focus";
  request.headers.Set("Authorization", "Bearer " + AdminToken());
  EXPECT_FALSE(http::Fetch(request).has_value());
  console_more_ = {};
  EXPECT_EQ(Send("GET", "/tw/v1/keys", AdminToken()).status, 200) << "and the next one is answered";
}

TEST_F(TokenTest, WhoAmIHasTheShapeThatTheSdksParse) {
  EXPECT_EQ(Send("GET", "/api/whoami-v2").status, 401);
  EXPECT_EQ(Send("GET", "/api/whoami-v2", "hf_bad").status, 401);
  identity::KeySpec spec;
  spec.name = "laptop";
  spec.org = "acme";
  spec.user = "ada";
  spec.role = identity::Role::kAdmin;
  const http::Response response =
      Send("GET", "/api/whoami-v2", std::string(Create(spec).token.Reveal()));
  ASSERT_EQ(response.status, 200);
  const auto body = dialects::ParseJsonObject(response.body);
  ASSERT_TRUE(body) << response.body;
  EXPECT_EQ(body->at("type").as_string(), "user");
  EXPECT_EQ(body->at("name").as_string(), "ada");
  EXPECT_TRUE(body->at("periodEnd").is_int64());
  const auto& org = body->at("orgs").as_array().at(0).as_object();
  EXPECT_EQ(org.at("name").as_string(), "acme");
  EXPECT_EQ(org.at("roleInOrg").as_string(), "admin");
  const auto& token = body->at("auth").as_object().at("accessToken").as_object();
  EXPECT_EQ(token.at("displayName").as_string(), "laptop");
  EXPECT_EQ(token.at("role").as_string(), "fineGrained");
  const auto& scopes = token.at("fineGrained").as_object().at("global").as_array();
  EXPECT_EQ(scopes.at(0).as_string(), "inference.serverless.write");
}

TEST_F(TokenTest, BillToMustBeAnOrganisationOfTheCallers) {
  const std::string token = Token("a");  // of owner, who belongs to default
  const auto billed = [&](const char* org) {
    return Send("POST", kChatPath, token, {{"X-HF-Bill-To", org}}).status;
  };
  EXPECT_EQ(billed("default"), 200);
  EXPECT_EQ(billed("acme"), 403);
  identity::KeySpec spec;
  spec.name = "of a customer";
  spec.org = "acme";
  Create(spec);  // of owner too
  EXPECT_EQ(billed("acme"), 403);
  const auto shows_acme = [&] {
    return Send("GET", "/api/whoami-v2", token).body.find("acme") != std::string::npos;
  };
  EXPECT_FALSE(shows_acme()) << "who the other customers are";
  ASSERT_TRUE(store_->PutMember("acme", "owner", identity::Role::kMember));
  EXPECT_EQ(billed("acme"), 200);
  EXPECT_TRUE(shows_acme());
}

TEST_F(TokenTest, PagesOfAllowedOriginsMayReadAnswersStreamsAndErrors) {
  const std::string token = Token("a");
  const HeaderList page = {{"Origin", "https://app.example"}};
  const http::Response preflight =
      Send("OPTIONS", kChatPath, "",
           {{"Origin", "https://app.example"}, {"Access-Control-Request-Method", "POST"}});
  EXPECT_EQ(preflight.status, 204);
  const std::string stream =
      R"({"model":"org-m","stream":true,"messages":[{"role":"user","content":"hi"}]})";
  for (const http::Response& response :
       {preflight, Send("POST", kChatPath, token, page), Send("POST", kChatPath, "bad", page),
        Send("POST", kChatPath, token, page, stream)}) {
    EXPECT_EQ(response.headers.Find("Access-Control-Allow-Origin"), "https://app.example");
    EXPECT_EQ(response.headers.Find("Vary"), "Origin");
  }
  const http::Response other = Send("POST", kChatPath, token, {{"Origin", "https://evil.example"}});
  EXPECT_FALSE(other.headers.Find("Access-Control-Allow-Origin").has_value());
  EXPECT_EQ(Send("OPTIONS", kChatPath).status, 405) << "no preflight";
}

TEST_F(TokenTest, AllowedOriginsMayChangeWhileItServes) {
  const HeaderList page = {{"Origin", "https://new.example"}};
  EXPECT_FALSE(Send("GET", "/v1/models", "", page).headers.Find("Access-Control-Allow-Origin"));
  gateway_->SetCorsOrigins({"https://new.example"});
  EXPECT_EQ(Send("GET", "/v1/models", "", page).headers.Find("Access-Control-Allow-Origin"),
            "https://new.example");
  const HeaderList before = {{"Origin", "https://app.example"}};
  EXPECT_FALSE(Send("GET", "/v1/models", "", before).headers.Find("Access-Control-Allow-Origin"))
      << "one that was taken out of the list is shut out";
}

TEST_F(TokenTest, OverALimitOfTheKeyTheAnswerSaysWhoseWhichAndWhen) {
  const std::string laptop = Limited("laptop", {2, {}, {}});
  const std::string phone = Token("phone");
  EXPECT_EQ(Send("POST", kChatPath, laptop).status, 200);
  EXPECT_EQ(Send("POST", kChatPath, laptop).status, 200);
  const http::Response refused = Send("POST", kChatPath, laptop);
  EXPECT_EQ(refused.status, 429);
  EXPECT_NE(refused.body.find("key laptop: its 2 requests per minute are used up"),
            std::string::npos)
      << refused.body;
  EXPECT_NE(refused.body.find("rate_limit_exceeded"), std::string::npos);
  ASSERT_TRUE(refused.headers.Find("Retry-After").has_value());
  const int seconds = std::stoi(std::string(*refused.headers.Find("Retry-After")));
  EXPECT_TRUE(seconds >= 1 && seconds <= 62) << seconds;
  EXPECT_EQ(Send("POST", kChatPath, phone).status, 200) << "another key has none of its own";
  EXPECT_EQ(Send("GET", "/v1/models", laptop).status, 200) << "looking is free";
}

TEST_F(TokenTest, TokensAreReservedByEstimateAndCorrectedByUsage) {
  const std::string token = Limited("laptop", {{}, 200, {}});
  const auto ask = [&](const std::string& model, int max_tokens) {
    return Send("POST", kChatPath, token, {},
                R"({"model":")" + model +
                    R"(","messages":[{"role":"user","content":"hi"}],"max_tokens":)" +
                    std::to_string(max_tokens) + "}");
  };
  EXPECT_EQ(ask("org/nobody", 150).status, 400);
  EXPECT_EQ(ask("org-m", 150).status, 200) << "what nobody could serve used nothing";
  EXPECT_EQ(ask("org-m", 150).status, 200) << "the first one used a few of what it reserved";
  const http::Response refused = ask("org-m", 1000);
  EXPECT_EQ(refused.status, 429);
  EXPECT_FALSE(refused.headers.Find("Retry-After").has_value())
      << "coming back would not help: the request alone is over the limit";
}

TEST_F(TokenTest, RequestsAtATimeAreCountedUntilTheyEnd) {
  using providers::testing::FakeSequence;
  const std::string token = Limited("laptop", {{}, {}, 1});
  world_.play = [](FakeSequence& sequence) {
    sequence.Push(providers::testing::TextEvent("a"));  // and goes on
  };
  std::thread first([&] { EXPECT_EQ(Send("POST", kChatPath, token).status, 200); });
  EXPECT_TRUE(providers::testing::Eventually([&] { return world_.Seen().size() == 1; }));
  EXPECT_EQ(Send("POST", kChatPath, token).status, 429);
  const auto end = [](FakeSequence& sequence) {
    sequence.Push(providers::testing::FinishEvent(engine::FinishReason::kStop));
  };
  world_.play = end;
  end(*world_.Seen()[0]);
  first.join();
  EXPECT_TRUE(providers::testing::Eventually([&] {
    return Send("POST", kChatPath, token).status == 200;
  })) << "its place is free again";
}

TEST_F(TokenTest, RoutesAreForReadersAndProbesForTheOperator) {
  const std::string token = Token("a");
  EXPECT_EQ(Send("GET", "/tw/v1/route?model=org-m").status, 401);
  EXPECT_EQ(Send("GET", "/tw/v1/route?model=org-m", token).status, 200);
  const http::Response state = Send("GET", "/tw/v1/providers", token);
  EXPECT_EQ(state.status, 200);
  EXPECT_NE(state.body.find(R"("probes":"free")"), std::string::npos) << state.body;
  EXPECT_EQ(Send("POST", "/tw/v1/probes", token, {}, "{}").status, 403);
  identity::KeySpec spec;
  spec.name = "manager";
  spec.org = "acme";
  spec.user = "ada";
  spec.role = identity::Role::kAdmin;
  spec.scopes = {identity::Scope::kManage};
  EXPECT_EQ(
      Send("POST", "/tw/v1/probes", std::string(Create(spec).token.Reveal()), {}, "{}").status, 403)
      << "who manages an organisation does not spend the operator's money";
  const auto ask = [&](const char* body) {
    return Send("POST", "/tw/v1/probes", AdminToken(), {}, body).status;
  };
  EXPECT_EQ(ask("{}"), 202);
  EXPECT_EQ(ask(R"({"provider":"nobody"})"), 404);
  EXPECT_EQ(ask(R"({"provider":7})"), 400);
}

}  // namespace
}  // namespace tradewind::gateway
