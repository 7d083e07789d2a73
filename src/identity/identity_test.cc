// Tokens, scopes and roles, key ring, provider secrets: what needs no disk.
#include <set>
#include <sodium.h>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "identity/key_ring.h"
#include "identity/principal.h"
#include "identity/provider_secrets.h"
#include "identity/secret.h"
#include "identity/token.h"

namespace tradewind::identity {
namespace {

template <class T>
concept Streamable = requires(std::ostream& out, const T& value) { out << value; };

TEST(Secret, HasNoWayIntoAStreamOrAFormatString) {
  static_assert(!Streamable<Secret>);
  static_assert(!fmt::is_formattable<Secret>::value);
  static_assert(!std::is_convertible_v<Secret, std::string_view>);
  static_assert(!std::is_copy_constructible_v<Secret>);
  std::string text = "sesame";
  const Secret secret = Secret::TakeFrom(text);
  EXPECT_EQ(secret.Reveal(), "sesame");
  EXPECT_EQ(text, "");
  EXPECT_EQ(secret.Clone().Reveal(), "sesame");
}

TEST(Secret, MovesLeaveNothingBehind) {
  Secret a("one");
  Secret b(std::move(a));
  EXPECT_TRUE(a.empty());
  a = std::move(b);
  EXPECT_EQ(a.Reveal(), "one");
  EXPECT_TRUE(b.empty());
}

TEST(Token, HasThePrefixAndTwoHundredFiftySixBits) {
  std::set<std::string> seen;
  std::set<char> digits;
  for (int i = 0; i < 500; ++i) {
    const Secret token = MintToken();
    EXPECT_TRUE(LooksLikeToken(token.Reveal()));
    EXPECT_EQ(token.Reveal().substr(0, 6), "hf_tw_");
    seen.emplace(token.Reveal());
    digits.insert(token.Reveal().begin() + 6, token.Reveal().end());
  }
  EXPECT_EQ(seen.size(), 500u);
  EXPECT_EQ(digits.size(), 62u);  // each of them comes 347 times on average
}

TEST(Token, ManyShapesAreNoTokens) {
  const std::string good(MintToken().Reveal());
  EXPECT_TRUE(LooksLikeToken(good));
  for (const std::string& bad :
       {std::string(), std::string("hf_tw_"), good.substr(1), good + "a", "hf_TW_" + good.substr(6),
        good.substr(0, 48) + "-", good.substr(0, 48) + std::string(1, '\0'),
        std::string("hf_tw_' OR '1'='1' --aaaaaaaaaaaaaaaaaaaaaaaaaaaa")}) {
    EXPECT_FALSE(LooksLikeToken(bad)) << bad;
  }
}

TEST(Scopes, ReadTheirOwnTextAndHuggingFacesSpelling) {
  EXPECT_EQ(Scopes::Parse("inference,read")->Text(), "inference,read");
  EXPECT_EQ(Scopes::Parse("manage,inference.serverless.write")->Text(), "inference,manage");
  for (const char* bad : {"", "inferenc", "read,", ",", "read;manage", "READ"}) {
    const auto parsed = Scopes::Parse(bad);
    const bool trailing = std::string_view(bad) == "read,";
    EXPECT_EQ(parsed.has_value(), trailing) << bad;
    if (!parsed) {
      EXPECT_EQ(parsed.error().param, "scopes");
    }
  }
}

TEST(Role, SaysWhatEachMayDo) {
  EXPECT_EQ(ScopesOf(Role::kViewer).Text(), "read");
  EXPECT_EQ(ScopesOf(Role::kMember).Text(), "inference,read");
  EXPECT_EQ(ScopesOf(Role::kAdmin).Text(), "inference,read,manage");
  EXPECT_EQ(RoleFromName("member"), Role::kMember);
  EXPECT_EQ(RoleFromName("Member"), std::nullopt);
}

TEST(Principal, AllowListsAreExactOrByAPrefix) {
  Principal principal;
  EXPECT_TRUE(principal.MayUseModel("org/a"));
  EXPECT_TRUE(principal.MayUseProvider("together"));
  principal.models = {"org/a", "other/*"};
  principal.providers = {"local"};
  EXPECT_TRUE(principal.MayUseModel("org/a"));
  EXPECT_TRUE(principal.MayUseModel("other/x"));
  EXPECT_FALSE(principal.MayUseModel("org/ab"));
  EXPECT_FALSE(principal.MayUseModel("other"));
  EXPECT_TRUE(principal.MayUseProvider("local"));
  EXPECT_FALSE(principal.MayUseProvider("together"));
}

TEST(Principal, BillsItsOwnOrganisationAndThoseThatItsUserWasAddedTo) {
  Principal principal;
  EXPECT_FALSE(BillTo(principal, "acme"));
  auto user = std::make_shared<User>();
  user->memberships = {{"org_1", "acme", Role::kMember},
                       {"org_2", "other", Role::kMember},
                       {"org_3", "friends", Role::kMember, {}, false, /*is_added=*/true}};
  principal.user = user;
  principal.org_id = "org_1";
  EXPECT_EQ(BillTo(principal, "friends")->org_id, "org_3");
  EXPECT_EQ(BillTo(principal, "acme")->org_id, "org_1");
  EXPECT_EQ(BillTo(principal, "org_1")->org, "acme");
  EXPECT_EQ(BillTo(principal, "other").error().code, ErrorCode::kPermissionDenied)
      << "another key of its user made him a member there";
  EXPECT_EQ(BillTo(principal, "other").error().message,
            BillTo(principal, "nobody").error().message);
  EXPECT_EQ(BillTo(principal, "").error().code, ErrorCode::kPermissionDenied);
}

TEST(Principal, BillsNoOrganisationInWhichItsUserMayOnlyLook) {
  auto user = std::make_shared<User>();
  user->memberships = {{"org_1", "home", Role::kMember},
                       {"org_2", "acme", Role::kViewer, {}, false, /*is_added=*/true},
                       {"org_3", "zoo", Role::kAdmin, {}, false, /*is_added=*/true}};
  Principal principal;
  principal.user = user;
  for (const char* name : {"acme", "org_2"}) {
    const auto refused = BillTo(principal, name);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code, ErrorCode::kPermissionDenied);
    EXPECT_NE(refused.error().message.find("a viewer"), std::string::npos);
  }
  EXPECT_EQ(BillTo(principal, "zoo")->org_id, "org_3");
}

TEST(ProviderSecrets, TellWhichKeysChangedAndNoOthers) {
  ProviderSecrets secrets;
  const auto key = [](const char* text) {
    return ProviderSecrets::Stored{std::make_shared<const Secret>(text)};
  };
  const std::tuple server(OwnerKind::kServer, std::string(), std::string("groq"));
  const std::tuple org(OwnerKind::kOrg, std::string("org_1"), std::string("groq"));
  const std::tuple user(OwnerKind::kUser, std::string("user_1"), std::string("groq"));
  secrets.Publish({{server, key("a")}, {org, key("b")}});
  std::vector<std::string> told;
  secrets.OnChange([&](OwnerKind kind, std::string_view owner, std::string_view provider) {
    EXPECT_EQ(provider, "groq");
    told.push_back(std::string(OwnerKindName(kind)) + "/" + OwnerRef(kind, owner));
  });
  secrets.Publish({{server, key("a")}, {org, key("c")}, {user, key("d")}});
  EXPECT_EQ(told, (std::vector<std::string>{"org/org:org_1", "user/user:user_1"}));
  told.clear();
  secrets.Publish({{org, key("c")}, {user, key("d")}});
  EXPECT_EQ(told, std::vector<std::string>{"server/"});
  secrets.OnChange(nullptr);
  secrets.Publish({});
  EXPECT_EQ(told.size(), 1u);
}

class KeyRingTest : public ::testing::Test {
 protected:
  RingEntry Entry(const Secret& token, const std::string& id) {
    auto principal = std::make_shared<Principal>();
    principal->key_id = id;
    RingEntry entry;
    entry.digest = hasher_.Hash(token.Reveal());
    entry.principal = principal;
    entry.last_used_unix_s = used_;
    return entry;
  }

  FakeClock clock_;
  TokenHasher hasher_{Secret(std::string(32, 'k'))};
  KeyRing ring_{TokenHasher(Secret(std::string(32, 'k'))), clock_};
  std::shared_ptr<std::atomic<int64_t>> used_ = std::make_shared<std::atomic<int64_t>>(0);
};

TEST_F(KeyRingTest, FindsWhatWasPublishedAndNothingElse) {
  const Secret token = MintToken();
  EXPECT_EQ(ring_.Find(token.Reveal()), nullptr);
  ring_.Publish({Entry(token, "key_1")}, true);
  ASSERT_NE(ring_.Find(token.Reveal()), nullptr);
  EXPECT_EQ(ring_.Find(token.Reveal())->key_id, "key_1");
  EXPECT_EQ(ring_.Find(MintToken().Reveal()), nullptr);
  EXPECT_EQ(ring_.Find(""), nullptr);
  EXPECT_EQ(ring_.Find(std::string(1 << 20, 'a')), nullptr);
  ring_.Publish({}, false);
  EXPECT_EQ(ring_.Find(token.Reveal()), nullptr);
  EXPECT_TRUE(ring_.is_closed()) << "closed for good";
}

TEST_F(KeyRingTest, TellsExpiredAndRevokedOnlyToTheLog) {
  const Secret token = MintToken(), old = MintToken(), gone = MintToken();
  RingEntry expiring = Entry(old, "key_1"), revoked = Entry(gone, "key_2");
  expiring.expires_unix_s = 100;
  revoked.is_revoked = true;
  clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(99)));
  ring_.Publish({Entry(token, "key_1"), expiring, revoked}, true);
  EXPECT_EQ(ring_.Check(old.Reveal()).state, TokenState::kLive);
  clock_.Advance(std::chrono::seconds(1));
  const KeyRing::Lookup lookup = ring_.Check(old.Reveal());
  EXPECT_EQ(lookup.state, TokenState::kExpired);
  EXPECT_EQ(lookup.principal, nullptr);
  EXPECT_EQ(lookup.key_id, "key_1");
  EXPECT_EQ(ring_.Check(gone.Reveal()).state, TokenState::kRevoked);
  EXPECT_EQ(ring_.Check(gone.Reveal()).principal, nullptr);
  EXPECT_EQ(ring_.Check(token.Reveal()).state, TokenState::kLive);
}

TEST_F(KeyRingTest, RemembersTheLastUseOfLiveKeysOnly) {
  const Secret token = MintToken(), gone = MintToken();
  RingEntry revoked = Entry(gone, "key_2");
  revoked.is_revoked = true;
  ring_.Publish({Entry(token, "key_1"), revoked}, true);
  clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(77)));
  ring_.Check(gone.Reveal());
  EXPECT_EQ(used_->load(), 0);
  ring_.Check(token.Reveal());
  EXPECT_EQ(used_->load(), 77);
}

TEST_F(KeyRingTest, LookUpsGoOnWhileTheStorePublishes) {
  const Secret token = MintToken();
  ring_.Publish({Entry(token, "key_1")}, true);
  std::atomic<bool> stop{false};
  std::atomic<int64_t> missed{0}, found{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      do {
        ring_.Find(token.Reveal()) != nullptr ? ++found : ++missed;
      } while (!stop.load());
    });
  }
  for (int i = 0; i < 200; ++i) {
    ring_.Publish({Entry(token, "key_1"), Entry(MintToken(), "key_2")}, true);
  }
  stop = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(missed.load(), 0);
  EXPECT_GT(found.load(), 0);
}

TEST(ProviderSecrets, AUsersOwnKeyComesFirstThenTheOrganisationsThenTheServers) {
  ProviderSecrets secrets;
  EXPECT_FALSE(secrets.Find("org_1", "usr_1", "together").has_value());
  const auto secret = [](const char* text, const char* only_org_id = "") {
    return ProviderSecrets::Stored{std::make_shared<const Secret>(text), only_org_id};
  };
  ProviderSecrets::Map map;
  map.emplace(std::tuple(OwnerKind::kServer, "", "together"), secret("s"));
  map.emplace(std::tuple(OwnerKind::kOrg, "org_1", "together"), secret("o"));
  map.emplace(std::tuple(OwnerKind::kUser, "usr_1", "together"), secret("u"));
  map.emplace(std::tuple(OwnerKind::kUser, "usr_3", "together"), secret("u3", "org_3"));
  secrets.Publish(std::move(map));
  EXPECT_EQ(secrets.Find("org_1", "usr_1", "together")->secret->Reveal(), "u");
  EXPECT_EQ(secrets.Find("org_1", "usr_2", "together")->owner, OwnerKind::kOrg);
  EXPECT_EQ(secrets.Find("org_2", "usr_2", "together")->owner, OwnerKind::kServer);
  EXPECT_EQ(secrets.Find("", "", "together")->secret->Reveal(), "s");
  EXPECT_EQ(secrets.Find("org_3", "usr_3", "together")->secret->Reveal(), "u3");
  EXPECT_EQ(secrets.Find("org_1", "usr_3", "together")->secret->Reveal(), "o")
      << "what this organisation pays is not for the key that another one chose";
  EXPECT_FALSE(secrets.Find("org_1", "usr_1", "groq").has_value());
}

TEST(Sealer, OpensOnlyTheRowThatWasSealed) {
  ASSERT_GE(sodium_init(), 0);
  const Sealer sealer(Secret(std::string(32, 'a')), Secret(std::string(32, 'b')));
  const Secret secret("sk-1234567890");
  std::string sealed = sealer.Seal("org/org_1/groq", secret);
  EXPECT_EQ(sealed.find("1234"), std::string::npos);
  EXPECT_NE(sealed, sealer.Seal("org/org_1/groq", secret));
  EXPECT_EQ(sealer.Open("org/org_1/groq", sealed)->Reveal(), "sk-1234567890");
  EXPECT_EQ(sealer.Open("org/org_2/groq", sealed).error().code, ErrorCode::kCorruptFile);
  EXPECT_EQ(sealer.Open("org/org_1/groq", "").error().code, ErrorCode::kCorruptFile);
  sealed.back() ^= 1;
  EXPECT_EQ(sealer.Open("org/org_1/groq", sealed).error().code, ErrorCode::kCorruptFile);
  const Sealer other(Secret(std::string(32, 'c')), Secret(std::string(32, 'd')));
  EXPECT_FALSE(other.Open("org/org_1/groq", sealer.Seal("org/org_1/groq", secret)).has_value());
  EXPECT_EQ(sealer.Fingerprint(secret), sealer.Fingerprint(Secret("sk-1234567890")));
  EXPECT_NE(sealer.Fingerprint(secret), other.Fingerprint(secret));
}

TEST(CheckProviderSlug, TakesSlugsAndNothingElse) {
  EXPECT_TRUE(CheckProviderSlug("fireworks-ai"));
  for (const char* bad : {"", "local", "Together", "a b", "a/b", "a'--", "a\n"}) {
    EXPECT_FALSE(CheckProviderSlug(bad)) << bad;
  }
}

}  // namespace
}  // namespace tradewind::identity
