#include "console_api/keys_api.h"

#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "console_api/keys_json.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

class KeysApiTest : public ::testing::Test {
 protected:
  KeysApiTest() {
    clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'000'000)));
    auto store = identity::Store::Open({.home = home_.path()}, clock_);
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    api_ = std::make_unique<KeysApi>(*store_, nullptr, clock_);
    admin_.is_admin_token = true;
  }
  Result<http::Response> Try(const std::string& method, const std::string& path,
                             const std::string& body = "") {
    http::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    return api_->Answer(request, caller_ == nullptr ? admin_ : *caller_);
  }
  boost::json::object Ask(const std::string& method, const std::string& path,
                          const std::string& body = "", int status = 200) {
    const auto response = Try(method, path, body);
    EXPECT_TRUE(response) << response.error().message;
    EXPECT_EQ(response ? response->status : 0, status);
    return dialects::ParseJsonObject(response ? response->body : "{}").value();
  }
  static std::string Text(const boost::json::object& object, const char* name) {
    return std::string(object.at(name).as_string());
  }

  FakeClock clock_;
  testing::TempDir home_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<KeysApi> api_;
  identity::Principal admin_;
  std::shared_ptr<const identity::Principal> caller_;
};

TEST_F(KeysApiTest, CreatesAKeyAndShowsItsTokenOnce) {
  const auto key = Ask("POST", "/tw/v1/keys",
                       R"({"name":"ci","org":"acme","user":"bot","scopes":["inference"],)"
                       R"("models":["org/a"],"providers":["local"],"expires":"30d","rpm":60})",
                       201);
  EXPECT_EQ(Text(key, "schema"), "tradewind.key/v1");
  const std::string token = Text(key, "token");
  const auto principal = store_->keys().Find(token);
  ASSERT_NE(principal, nullptr);
  EXPECT_EQ(principal->key_id, Text(key, "id"));
  EXPECT_EQ(principal->scopes.Text(), "inference");
  EXPECT_EQ(principal->limits.requests_per_minute, 60);
  EXPECT_EQ(principal->expires_unix_s, 1'000'000 + 30 * 86'400);
  EXPECT_EQ(Text(key, "state"), "live");
  EXPECT_TRUE(key.at("tpm").is_null());
  EXPECT_EQ(Text(key, "created"), "1970-01-12T13:46:40Z");
  EXPECT_EQ(Text(key, "org_id"), principal->org_id);
  EXPECT_EQ(Text(key, "project_id"), principal->project_id);
  EXPECT_EQ(Text(key, "user_id"), principal->user_id());
  const auto listed = Try("GET", "/tw/v1/keys");
  EXPECT_EQ(listed->body.find(token), std::string::npos);
  EXPECT_NE(listed->body.find(principal->key_id), std::string::npos);
}

TEST_F(KeysApiTest, RefusesFieldsItDoesNotKnowAndBudgets) {
  const auto refused = [&](const std::string& body) {
    const auto response = Try("POST", "/tw/v1/keys", body);
    return response ? Error{ErrorCode::kInternal, "created"} : response.error();
  };
  EXPECT_EQ(refused(R"({"name":"a","rmp":60})").param, "rmp");
  EXPECT_EQ(refused(R"({"name":"a","budget":"5"})").code, ErrorCode::kUnsupported);
  EXPECT_EQ(refused(R"({"name":"a","budget":"5"})").param, "budget");
  EXPECT_EQ(refused(R"({"name":"a","rpm":0})").param, "rpm");
  EXPECT_EQ(refused(R"({"name":"a","scopes":["all"]})").param, "scopes");
  EXPECT_EQ(refused(R"({"name":"a","scopes":[]})").param, "scopes");
  EXPECT_EQ(refused(R"({"name":"a","models":[1]})").param, "models");
  EXPECT_EQ(refused(R"({"name":"a","role":"boss"})").param, "role");
  EXPECT_EQ(refused(R"({"name":"a","expires":"soon"})").param, "expires");
  EXPECT_EQ(refused("{}").param, "name");
  EXPECT_EQ(refused("[]").code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(store_->keys().is_closed());
}

TEST_F(KeysApiTest, RotatesAndRevokesByNameOrId) {
  const auto key = Ask("POST", "/tw/v1/keys", R"({"name":"a/b"})", 201);
  const auto rotated = Ask("POST", "/tw/v1/keys/a/b/rotate", R"({"grace_s":60})");
  EXPECT_EQ(Text(rotated, "id"), Text(key, "id"));
  EXPECT_NE(Text(rotated, "token"), Text(key, "token"));
  EXPECT_NE(store_->keys().Find(Text(key, "token")), nullptr);
  const auto again = Ask("POST", "/tw/v1/keys/" + Text(key, "id") + "/rotate");
  EXPECT_EQ(store_->keys().Find(Text(rotated, "token")), nullptr);
  const auto revoked = Ask("DELETE", "/tw/v1/keys/a/b");
  EXPECT_EQ(Text(revoked, "state"), "revoked");
  EXPECT_EQ(revoked.if_contains("token"), nullptr);
  EXPECT_EQ(store_->keys().Find(Text(again, "token")), nullptr);
  EXPECT_EQ(Try("DELETE", "/tw/v1/keys/none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("POST", "/tw/v1/keys/a/b/rotate", R"({"grace":1})").error().param, "grace");
  EXPECT_EQ(Try("POST", "/tw/v1/keys/a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("PUT", "/tw/v1/keys").error().code, ErrorCode::kMethodNotAllowed);
}

TEST_F(KeysApiTest, KeepsProviderKeysAndNeverShowsThem) {
  Ask("POST", "/tw/v1/keys", R"({"name":"a","org":"acme"})", 201);
  const auto put = Ask("PUT", "/tw/v1/provider-keys/groq", R"({"key":"gsk_abcdef"})");
  EXPECT_EQ(Text(put, "owner"), "server");
  EXPECT_TRUE(put.at("set").as_bool());
  Ask("PUT", "/tw/v1/provider-keys/groq/org/acme", R"({"key":"gsk_of_acme"})");
  const auto listed = Try("GET", "/tw/v1/provider-keys");
  EXPECT_EQ(listed->body.find("gsk_"), std::string::npos) << listed->body;
  EXPECT_EQ(listed->body.find("cdef"), std::string::npos) << "not even its end";
  EXPECT_NE(listed->body.find(Text(put, "fingerprint")), std::string::npos);
  EXPECT_EQ(store_->provider_secrets().Find("", "", "groq")->secret->Reveal(), "gsk_abcdef");
  Ask("DELETE", "/tw/v1/provider-keys/groq");
  EXPECT_FALSE(store_->provider_secrets().Find("", "", "groq").has_value());
  EXPECT_EQ(Try("DELETE", "/tw/v1/provider-keys/groq").error().code, ErrorCode::kNotFound);
  for (const char* path : {"groq/server/x", "groq/org", "groq/team/x", "Groq", ""}) {
    EXPECT_FALSE(Try("PUT", std::string("/tw/v1/provider-keys/") + path, R"({"key":"x"})")) << path;
  }
  EXPECT_EQ(Try("PUT", "/tw/v1/provider-keys/groq", R"({"token":"x"})").error().param, "token");
}

TEST_F(KeysApiTest, AManagerReachesItsOrganisationOnly) {
  Ask("POST", "/tw/v1/keys", R"({"name":"theirs","org":"other"})", 201);
  const auto key = Ask("POST", "/tw/v1/keys",
                       R"({"name":"boss","org":"acme","user":"ada","role":"admin",)"
                       R"("scopes":["manage"]})",
                       201);
  caller_ = store_->keys().Find(Text(key, "token"));
  ASSERT_NE(caller_, nullptr);
  EXPECT_EQ(Ask("GET", "/tw/v1/keys").at("keys").as_array().size(), 1u);
  EXPECT_EQ(Try("DELETE", "/tw/v1/keys/theirs").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("POST", "/tw/v1/keys/admin/rotate").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Try("PUT", "/tw/v1/provider-keys/groq", R"({"key":"x"})").error().code,
            ErrorCode::kPermissionDenied);
}

TEST(ParseExpiry, ReadsSpansDatesAndTimes) {
  EXPECT_EQ(ParseExpiry("30d", 100), 100 + 30 * 86'400);
  EXPECT_EQ(ParseExpiry("12h", 0), 12 * 3'600);
  EXPECT_EQ(ParseExpiry("5m", 0), 300);
  EXPECT_EQ(ParseExpiry("1970-01-02", 0), 86'400);
  EXPECT_EQ(ParseExpiry("2000-02-29T12:00:00Z", 0), 951'825'600);
  for (const char* bad :
       {"", "d", "-1d", "+1d", "1.5d", "99999999d", "9223372036854775807d", "30", "2001-02-29",
        "2001-2-1", "1969-12-31", "2000-01-01T24:00:00Z", "2000-01-01T00:00:00", "never"}) {
    EXPECT_FALSE(ParseExpiry(bad, 0)) << bad;
  }
}

TEST_F(KeysApiTest, MakesAnOrganisationAndChangesItsLimitsOneByOne) {
  const auto made = Ask("PUT", "/tw/v1/orgs/acme", R"({"rpm":60,"concurrency":2})");
  EXPECT_EQ(Text(made, "schema"), "tradewind.org/v1");
  EXPECT_EQ(made.at("rpm").as_int64(), 60);
  EXPECT_TRUE(made.at("tpm").is_null());
  const auto changed = Ask("PUT", "/tw/v1/orgs/acme", R"({"rpm":null,"tpm":1000})");
  EXPECT_TRUE(changed.at("rpm").is_null());
  EXPECT_EQ(changed.at("tpm").as_int64(), 1000);
  EXPECT_EQ(changed.at("concurrency").as_int64(), 2) << "what was not named stays";
  EXPECT_EQ(Text(changed, "id"), Text(made, "id"));
  EXPECT_TRUE(changed.at("max_output").is_null());
  EXPECT_EQ(Ask("PUT", "/tw/v1/orgs/acme", R"({"max_output":900})").at("max_output"), 900);
  const std::string token =
      Text(Ask("POST", "/tw/v1/keys", R"({"name":"k","org":"acme","user":"ada"})", 201), "token");
  EXPECT_EQ(store_->keys().Find(token)->org_limits.tokens_per_minute, 1000);
  Ask("PUT", "/tw/v1/orgs/acme", R"({"tpm":5})");
  const auto principal = store_->keys().Find(token);
  EXPECT_EQ(principal->org_limits.tokens_per_minute, 5) << "at once";
  EXPECT_EQ(principal->user->memberships.at(0).limits.tokens_per_minute, 5);
  EXPECT_EQ(principal->org_limits.max_output, 900);
  EXPECT_EQ(principal->user->memberships.at(0).limits.max_output, 900);
  EXPECT_FALSE(principal->limits.tokens_per_minute) << "of the key itself";
  EXPECT_FALSE(changed.at("strict").as_bool());
  EXPECT_TRUE(Ask("PUT", "/tw/v1/orgs/acme", R"({"strict":true})").at("strict").as_bool());
  EXPECT_TRUE(Ask("PUT", "/tw/v1/orgs/acme", R"({"tpm":6})").at("strict").as_bool());
  EXPECT_TRUE(store_->keys().Find(token)->org_is_strict);
  EXPECT_TRUE(store_->keys().Find(token)->user->memberships.at(0).is_strict);
  EXPECT_EQ(Ask("GET", "/tw/v1/orgs").at("orgs").as_array().size(), 2u);
}

TEST_F(KeysApiTest, MembersComeGoAndChangeTheirRole) {
  Ask("PUT", "/tw/v1/orgs/acme");
  Ask("PUT", "/tw/v1/orgs/acme/members/ada", R"({"role":"admin"})");
  const auto org = Ask("PUT", "/tw/v1/orgs/acme/members/bob");
  ASSERT_EQ(org.at("members").as_array().size(), 2u);
  EXPECT_EQ(Text(org.at("members").as_array()[0].as_object(), "role"), "admin");
  const auto& bob = org.at("members").as_array()[1].as_object();
  EXPECT_EQ(Text(bob, "role"), "member");
  EXPECT_TRUE(bob.at("added").as_bool());
  const std::string token =
      Text(Ask("POST", "/tw/v1/keys", R"({"name":"k","org":"acme","user":"bob"})", 201), "token");
  EXPECT_EQ(Text(bob, "user_id"), store_->keys().Find(token)->user_id());
  Ask("POST", "/tw/v1/keys", R"({"name":"e","org":"acme","user":"eve"})", 201);
  const auto eve = Ask("GET", "/tw/v1/orgs").at("orgs").as_array()[0].at("members").as_array()[2];
  EXPECT_FALSE(eve.at("added").as_bool());
  EXPECT_TRUE(store_->keys().Find(token)->scopes.Has(identity::Scope::kInference));
  Ask("DELETE", "/tw/v1/orgs/acme/members/bob");
  EXPECT_TRUE(store_->keys().Find(token)->scopes.empty()) << "nothing is left of what it could do";
  const auto again = Try("DELETE", "/tw/v1/orgs/acme/members/bob");
  EXPECT_EQ(again.error().code, ErrorCode::kNotFound);
}

TEST_F(KeysApiTest, WhoManagesOneOrganisationChangesItsMembersAndNoLimits) {
  const std::string body =
      R"({"name":"boss","org":"acme","user":"ada","role":"admin","scopes":["manage"]})";
  const std::string token = Text(Ask("POST", "/tw/v1/keys", body, 201), "token");
  Ask("POST", "/tw/v1/keys", R"({"name":"x","org":"other","user":"eve"})", 201);
  caller_ = store_->keys().Find(token);
  EXPECT_EQ(Ask("GET", "/tw/v1/orgs").at("orgs").as_array().size(), 1u);
  Ask("PUT", "/tw/v1/orgs/acme/members/bob", R"({"role":"viewer"})");
  const auto code = [&](const char* method, const char* path, const char* text = "") {
    const auto answer = Try(method, path, text);
    return answer ? ErrorCode::kInternal : answer.error().code;
  };
  EXPECT_EQ(code("PUT", "/tw/v1/orgs/acme", R"({"rpm":1000000})"), ErrorCode::kPermissionDenied);
  EXPECT_EQ(code("PUT", "/tw/v1/orgs/other/members/bob"), ErrorCode::kNotFound);
  EXPECT_EQ(code("DELETE", "/tw/v1/orgs/other/members/eve"), ErrorCode::kNotFound);
  EXPECT_EQ(code("PUT", "/tw/v1/orgs/acme/members/eve"), ErrorCode::kPermissionDenied)
      << "she is somebody else's";
}

TEST_F(KeysApiTest, NamesWhatIsWrongWithAnOrganisation) {
  for (const auto& [method, path, body, param] : std::vector<std::array<std::string, 4>>{
           {"PUT", "/tw/v1/orgs/a b", "", "org"},
           {"PUT", "/tw/v1/orgs/a/b", "", "org"},
           {"PUT", "/tw/v1/orgs/a", R"({"rpm":0})", "rpm"},
           {"PUT", "/tw/v1/orgs/a", R"({"x":1})", "x"},
           {"PUT", "/tw/v1/orgs/default/members/a b", "", "user"},
           {"PUT", "/tw/v1/orgs/default/members/a", R"({"role":"king"})", "role"}}) {
    const auto answer = Try(method, path, body);
    ASSERT_FALSE(answer) << path;
    EXPECT_EQ(answer.error().code, ErrorCode::kInvalidArgument) << path;
    EXPECT_EQ(answer.error().param, param) << path;
  }
  EXPECT_EQ(Try("POST", "/tw/v1/orgs").error().code, ErrorCode::kMethodNotAllowed);
}

}  // namespace
}  // namespace tradewind::console_api
