#include "gateway/admission.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "identity/token.h"

namespace tradewind::gateway {
namespace {

http::Request Request(const std::string& method,
                      const std::vector<std::pair<std::string, std::string>>& headers) {
  http::Request request;
  request.method = method;
  request.peer_is_loopback = true;
  request.headers.Set("Host", "127.0.0.1:8737");
  request.headers.Set("Content-Type", "application/json");
  for (const auto& [name, value] : headers) {
    request.headers.Set(name, value);
  }
  return request;
}

TEST(IsLoopbackHost, KnowsTheNamesOfThisDevice) {
  for (const char* host : {"localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8737", "127.1.2.3:9",
                           "[::1]", "[::1]:8737"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host : {"", ":80", "localhost.", "localhost.evil.example", "evil.example",
                           "127.evil.example", "127.0.0.1.evil.example", "127.0.0", "127.0.0.256",
                           "128.0.0.1", "0.0.0.0", "[::2]", "::1", "localhost:80:90", "127.0.0.1:x",
                           "127.0.0.1@evil.example", "0177.0.0.1", "127..0.1", "127.0.0.1."}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(AdmitWithoutToken, TakesProgramsOfThisDevice) {
  EXPECT_TRUE(AdmitWithoutToken(Request("POST", {}), {}).has_value());
  EXPECT_TRUE(
      AdmitWithoutToken(Request("POST", {{"Content-Type", "Application/JSON; charset=utf-8"}}), {})
          .has_value());
  EXPECT_TRUE(AdmitWithoutToken(Request("POST", {{"Content-Type", "application/vnd.x+json"}}), {})
                  .has_value());
  EXPECT_TRUE(AdmitWithoutToken(Request("GET", {{"Content-Type", ""}}), {}).has_value());
  EXPECT_TRUE(
      AdmitWithoutToken(Request("POST", {{"Origin", "http://127.0.0.1:8737"}}), {}).has_value());
  EXPECT_TRUE(
      AdmitWithoutToken(
          Request("POST", {{"Host", "LocalHost:8737"}, {"Origin", "http://localhost:8737"}}), {})
          .has_value());
}

TEST(AdmitWithoutToken, RefusesEveryoneElse) {
  const std::pair<std::pair<std::string, std::string>, ErrorCode> table[] = {
      {{"Host", "evil.example"}, ErrorCode::kPermissionDenied},  // DNS rebinding
      {{"Forwarded", "for=1.2.3.4"}, ErrorCode::kPermissionDenied},
      {{"X-Forwarded-For", "1.2.3.4"}, ErrorCode::kPermissionDenied},
      {{"x-forwarded-host", "a"}, ErrorCode::kPermissionDenied},
      {{"X-Real-IP", "1.2.3.4"}, ErrorCode::kPermissionDenied},
      {{"Origin", "http://evil.example"}, ErrorCode::kPermissionDenied},
      {{"Origin", "null"}, ErrorCode::kPermissionDenied},
      {{"Origin", "https://127.0.0.1:8737"}, ErrorCode::kPermissionDenied},
      {{"Origin", "http://127.0.0.1:3000"}, ErrorCode::kPermissionDenied},
      {{"Content-Type", "text/plain"}, ErrorCode::kUnsupportedMediaType},
      {{"Content-Type", "application/x-www-form-urlencoded"}, ErrorCode::kUnsupportedMediaType},
      {{"Content-Type", ""}, ErrorCode::kUnsupportedMediaType},
      {{"Content-Type", "text/plain; application/json"}, ErrorCode::kUnsupportedMediaType},
  };
  for (const auto& [header, code] : table) {
    const Status admitted = AdmitWithoutToken(Request("POST", {header}), {});
    ASSERT_FALSE(admitted.has_value()) << header.first << ": " << header.second;
    EXPECT_EQ(admitted.error().code, code) << header.first << ": " << header.second;
  }
}

TEST(AdmitWithoutToken, RefusesWhatComesFromOutside) {
  http::Request request = Request("GET", {});
  EXPECT_EQ(AdmitWithoutToken(request, {.listener_is_loopback = false}).error().code,
            ErrorCode::kUnauthenticated);
  request.peer_is_loopback = false;
  EXPECT_EQ(AdmitWithoutToken(request, {}).error().code, ErrorCode::kUnauthenticated);
}

TEST(AdmitWithoutToken, NeedsAHost) {
  http::Request request;
  request.method = "GET";
  request.peer_is_loopback = true;
  EXPECT_EQ(AdmitWithoutToken(request, {}).error().code, ErrorCode::kPermissionDenied);
}

// --- With tokens

using identity::Principal;
using identity::Scope;

class AdmitTest : public ::testing::Test {
 protected:
  static constexpr const char* kHashKey = "01234567890123456789012345678901";
  AdmitTest() { policy_.keys = &keys_; }

  // A live token of a key with these scopes.
  std::string Publish(identity::Scopes scopes, bool is_revoked = false) {
    auto user = std::make_shared<identity::User>();
    user->name = "ada";
    user->memberships = {{"org_1", "acme", identity::Role::kMember}};
    auto principal = std::make_shared<Principal>();
    principal->key_id = "key_1";
    principal->org_id = "org_1";
    principal->user = user;
    principal->scopes = scopes;
    return Publish(std::move(principal), is_revoked);
  }
  std::string Publish(std::shared_ptr<const Principal> principal, bool is_revoked = false) {
    const identity::Secret token = identity::MintToken();
    identity::RingEntry entry;
    entry.digest = identity::TokenHasher(identity::Secret(kHashKey)).Hash(token.Reveal());
    entry.principal = std::move(principal);
    entry.is_revoked = is_revoked;
    entry.last_used_unix_s = std::make_shared<std::atomic<int64_t>>(0);
    entries_.push_back(entry);
    keys_.Publish(entries_, true);
    return std::string(token.Reveal());
  }
  static http::Request Bearer(const std::string& token) {
    return Request("POST", {{"Authorization", "Bearer " + token}});
  }

  FakeClock clock_;
  identity::KeyRing keys_{identity::TokenHasher(identity::Secret(kHashKey)), clock_};
  std::vector<identity::RingEntry> entries_;
  AdmissionPolicy policy_;
};

TEST_F(AdmitTest, ATokenSpeaksForItselfFromAnywhere) {
  const std::string token = Publish({Scope::kInference});
  http::Request request = Bearer(token);
  request.peer_is_loopback = false;
  request.headers.Set("Host", "gateway.example");
  request.headers.Set("X-Forwarded-For", "1.2.3.4");
  request.headers.Set("Content-Type", "text/plain");
  policy_.listener_is_loopback = false;
  const auto caller = Admit(request, Access::kInference, policy_);
  ASSERT_TRUE(caller.has_value()) << caller.error().message;
  EXPECT_EQ((*caller)->key_id, "key_1");
}

TEST_F(AdmitTest, FindsTheTokenInEitherHeader) {
  const std::string token = Publish({Scope::kRead});
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"Authorization", "Bearer " + token},
                                                        {"authorization", "bearer  " + token},
                                                        {"x-api-key", token}}) {
    EXPECT_TRUE(Admit(Request("GET", {{name, value}}), Access::kRead, policy_)) << name << value;
  }
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"Authorization", token}, {"Authorization", "Basic " + token}, {"Cookie", token}}) {
    EXPECT_FALSE(Admit(Request("GET", {{name, value}}), Access::kRead, policy_)) << name;
  }
}

TEST_F(AdmitTest, AMissingScopeIsNamed) {
  const std::string token = Publish({Scope::kRead});
  EXPECT_TRUE(Admit(Bearer(token), Access::kRead, policy_));
  const auto refused = Admit(Bearer(token), Access::kInference, policy_);
  EXPECT_EQ(refused.error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(refused.error().message,
            "This authentication method does not have sufficient permissions to call Inference "
            "Providers on behalf of user ada: the scope inference is missing.");
  EXPECT_NE(Admit(Bearer(token), Access::kManage, policy_).error().message.find("scope manage"),
            std::string::npos);
}

TEST_F(AdmitTest, UnknownAndRevokedTokensLookTheSame) {
  const std::string revoked = Publish({Scope::kInference}, true);
  const std::string unknown(identity::MintToken().Reveal());
  std::vector<Error> errors;
  for (const std::string& token : {revoked, unknown, std::string("x"), unknown + "x",
                                   std::string("' OR '1'='1"), std::string(100'000, 'a')}) {
    const auto admitted = Admit(Bearer(token), Access::kInference, policy_);
    ASSERT_FALSE(admitted) << token;
    EXPECT_EQ(admitted.error().code, ErrorCode::kUnauthenticated);
    EXPECT_EQ(admitted.error().message, "Invalid username or password.");
    EXPECT_EQ(admitted.error().param, "");
  }
}

TEST_F(AdmitTest, WithoutATokenOnlyUntilAKeyWasCreated) {
  for (const Access access : {Access::kRead, Access::kInference}) {
    const auto caller = Admit(Request("POST", {}), access, policy_);
    ASSERT_TRUE(caller);
    EXPECT_TRUE((*caller)->is_anonymous);
    EXPECT_TRUE((*caller)->MayUseProvider("local"));
    EXPECT_FALSE((*caller)->MayUseProvider("together"));
    EXPECT_TRUE(Admit(Bearer("sk-anything"), access, policy_)) << "SDKs insist on some token";
  }
  EXPECT_EQ(Admit(Request("GET", {}), Access::kManage, policy_).error().code,
            ErrorCode::kUnauthenticated);
  EXPECT_EQ(Admit(Request("POST", {{"Host", "evil.example"}}), Access::kRead, policy_).error().code,
            ErrorCode::kPermissionDenied);
  Publish({Scope::kRead});
  keys_.Publish({}, false);  // and even when no key is left
  for (const Access access : {Access::kRead, Access::kInference, Access::kManage}) {
    EXPECT_EQ(Admit(Request("POST", {}), access, policy_).error().code,
              ErrorCode::kUnauthenticated);
    EXPECT_EQ(Admit(Bearer("sk-anything"), access, policy_).error().code,
              ErrorCode::kUnauthenticated);
  }
  EXPECT_TRUE(Admit(Request("GET", {}), Access::kOpen, policy_));
}

TEST_F(AdmitTest, ListsOfModelsAndProvidersAreKept) {
  Principal caller;
  caller.models = {"org/*"};
  caller.providers = {"local"};
  EXPECT_TRUE(CheckAllowed(&caller, "org/a", "local"));
  EXPECT_TRUE(CheckAllowed(nullptr, "x", "y"));
  EXPECT_EQ(CheckAllowed(&caller, "other/a", "local").error().param, "model");
  EXPECT_EQ(CheckAllowed(&caller, "org/a", "groq").error().code, ErrorCode::kPermissionDenied);
}

TEST_F(AdmitTest, WhatIsOfTheWholeServerIsForWhoRunsIt) {
  const auto status = [&](const char* org_id, identity::Scopes scopes, bool is_admin = false) {
    auto caller = std::make_shared<Principal>();
    caller->org_id = org_id;
    caller->scopes = scopes;
    caller->is_admin_token = is_admin;
    const auto admitted = Admit(Bearer(Publish(caller)), Access::kServer, policy_);
    return admitted.has_value() ? ErrorCode::kInternal : admitted.error().code;
  };
  const std::string own(identity::kDefaultOrgId);
  EXPECT_EQ(status(own.c_str(), {Scope::kRead}, true), ErrorCode::kInternal);
  EXPECT_EQ(status(own.c_str(), {Scope::kManage}), ErrorCode::kInternal);
  EXPECT_EQ(status(own.c_str(), {Scope::kRead, Scope::kInference}), ErrorCode::kPermissionDenied);
  EXPECT_EQ(status("org_1", {Scope::kRead, Scope::kManage}), ErrorCode::kPermissionDenied);
  EXPECT_EQ(Admit(Request("GET", {}), Access::kServer, policy_).error().code,
            ErrorCode::kUnauthenticated);
}

TEST_F(AdmitTest, BillsTheOrganisationThatTheHeaderNamesIfItIsTheCallers) {
  const auto caller = *Admit(Bearer(Publish({Scope::kInference})), Access::kInference, policy_);
  EXPECT_EQ(*BillTo(Request("POST", {}), *caller), std::nullopt);
  EXPECT_EQ((*BillTo(Request("POST", {{"X-HF-Bill-To", "acme"}}), *caller))->org_id, "org_1");
  for (const char* org : {"other", "", "ACME", "' OR 1=1"}) {
    const auto refused = BillTo(Request("POST", {{"x-hf-bill-to", org}}), *caller);
    EXPECT_EQ(refused.error().code, ErrorCode::kPermissionDenied) << org;
  }
}

TEST_F(AdmitTest, CorsIsClosedButForTheOriginsOfTheConfig) {
  const http::Request page = Request(
      "OPTIONS", {{"Origin", "https://app.example"}, {"Access-Control-Request-Method", "POST"}});
  ASSERT_TRUE(IsPreflight(page));
  EXPECT_FALSE(IsPreflight(Request("OPTIONS", {})));
  EXPECT_EQ(AnswerPreflight(page, policy_).status, 403);
  EXPECT_TRUE(CorsHeaders(page, policy_).all().empty());
  policy_.cors_origins = {"https://app.example"};
  const http::Response allowed = AnswerPreflight(page, policy_);
  EXPECT_EQ(allowed.status, 204);
  EXPECT_EQ(allowed.headers.Find("Access-Control-Allow-Origin"), "https://app.example");
  for (const char* header : {"authorization", "content-type", "x-hf-bill-to"}) {
    EXPECT_NE(allowed.headers.Find("Access-Control-Allow-Headers")->find(header),
              std::string_view::npos);
  }
  EXPECT_EQ(CorsHeaders(page, policy_).Find("Access-Control-Allow-Origin"), "https://app.example");
  EXPECT_NE(
      CorsHeaders(page, policy_).Find("Access-Control-Expose-Headers")->find("x-tradewind-receipt"),
      std::string_view::npos);
  for (const char* origin :
       {"https://app.example.evil", "http://app.example", "https://app.example:8443", "null"}) {
    const http::Request other =
        Request("OPTIONS", {{"Origin", origin}, {"Access-Control-Request-Method", "POST"}});
    EXPECT_EQ(AnswerPreflight(other, policy_).status, 403) << origin;
    EXPECT_FALSE(CorsHeaders(other, policy_).Find("Access-Control-Allow-Origin").has_value());
    EXPECT_EQ(CorsHeaders(other, policy_).Find("Vary"), "Origin");
  }
}

TEST_F(AdmitTest, APageMaySendTheHeadersThatItsSdkAddsByItself) {
  policy_.cors_origins = {"https://app.example"};
  const auto allowed = [&](const char* origin, const std::string& asked) {
    const http::Response response =
        AnswerPreflight(Request("OPTIONS", {{"Origin", origin},
                                            {"Access-Control-Request-Method", "POST"},
                                            {"Access-Control-Request-Headers", asked}}),
                        policy_);
    return std::string(response.headers.Find("Access-Control-Allow-Headers").value_or(""));
  };
  const std::string sdk = "authorization,content-type,x-stainless-lang,x-stainless-retry-count";
  EXPECT_NE(allowed("https://app.example", sdk).find(sdk), std::string::npos);
  EXPECT_EQ(allowed("https://other.example", sdk), "");
  for (const std::string& odd : {std::string("x-a\"b"), std::string("x-a:b"),
                                 "x-a" + std::string(5000, 'a'), std::string("x-\xc3\xa9")}) {
    EXPECT_EQ(allowed("https://app.example", odd), allowed("https://app.example", "")) << odd;
  }
}

}  // namespace
}  // namespace tradewind::gateway
