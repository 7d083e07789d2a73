// Who belongs where, whom that lets pay, and what names and ids mean.
#include <gtest/gtest.h>

#include "identity/store.h"
#include "testing/temp_dir.h"

namespace tradewind::identity {
namespace {

class AccountsTest : public ::testing::Test {
 protected:
  std::unique_ptr<Store> Open() {
    auto store = Store::Open({.home = home_.path()});
    EXPECT_TRUE(store.has_value()) << store.error().message;
    return std::move(*store);
  }
  static KeySpec Spec(std::string name, std::string org, std::string project = "default",
                      std::string user = "owner") {
    KeySpec spec;
    spec.name = std::move(name);
    spec.org = std::move(org);
    spec.project = std::move(project);
    spec.user = std::move(user);
    return spec;
  }
  static MintedKey Create(Store& store, const KeySpec& spec) {
    auto key = store.CreateKey(spec);
    EXPECT_TRUE(key.has_value()) << key.error().message;
    return std::move(*key);
  }

  testing::TempDir home_;
};

TEST_F(AccountsTest, AKeyInAnOrganisationLetsNoOtherKeyOfItsUserSpendItsMoney) {
  auto store = Open();
  const std::string a(Create(*store, Spec("customer a", "acme")).token.Reveal());
  Create(*store, Spec("customer b", "globex"));
  const auto may_bill = [&](const char* org) {
    return BillTo(*store->keys().Find(a), org).has_value();
  };
  EXPECT_TRUE(may_bill("acme")) << "its own";
  EXPECT_FALSE(may_bill("globex")) << "both are of `owner`";
  EXPECT_FALSE(may_bill("default")) << "the operator's own";
  ASSERT_TRUE(store->PutMember("globex", "owner", Role::kMember));
  EXPECT_TRUE(may_bill("globex")) << "somebody said so";
  Create(*store, Spec("another", "globex"));
  EXPECT_TRUE(may_bill("globex")) << "one more key takes nothing back";
  store.reset();
  store = Open();
  EXPECT_TRUE(may_bill("globex"));
  ASSERT_TRUE(store->RemoveMember("globex", "owner"));
  EXPECT_FALSE(may_bill("globex"));
}

TEST_F(AccountsTest, MembersOfAnOlderHomeStayAddedButForTheOwnerElsewhere) {
  std::vector<std::string> tokens;
  {
    const auto store = Open();
    for (const auto& [user, org] : {std::pair("owner", "acme"), std::pair("owner", "globex"),
                                    std::pair("ada", "acme"), std::pair("ada", "globex")}) {
      const KeySpec spec = Spec(std::string(user) + " of " + org, org, "default", user);
      tokens.emplace_back(Create(*store, spec).token.Reveal());
    }
    ASSERT_TRUE(store->PutProviderKey({OwnerKind::kUser, "ada"}, "groq", Secret("sk-ada")));
  }
  {  // as the version before left it
    auto database = storage::Database::Open(home_.path() / "identity.db");
    ASSERT_TRUE(
        database->Execute("ALTER TABLE members RENAME TO newer;"
                          "CREATE TABLE members (org_id TEXT NOT NULL REFERENCES orgs,"
                          " user_id TEXT NOT NULL REFERENCES users, role TEXT NOT NULL,"
                          " PRIMARY KEY (org_id, user_id)) STRICT, WITHOUT ROWID;"
                          "INSERT INTO members SELECT org_id, user_id, role FROM newer;"
                          "DROP TABLE newer;"
                          "ALTER TABLE provider_keys DROP COLUMN org_id;"
                          "DELETE FROM migrations WHERE number > 5"));
  }
  const auto store = Open();
  const auto may_bill = [&](size_t key, const char* org) {
    return BillTo(*store->keys().Find(tokens[key]), org).has_value();
  };
  EXPECT_FALSE(may_bill(0, "globex"));
  EXPECT_TRUE(may_bill(0, "acme"));
  EXPECT_FALSE(may_bill(0, "default"));
  EXPECT_TRUE(may_bill(2, "globex")) << "whoever named her in both may have meant it";
  for (const char* org : {"acme", "globex"}) {
    const auto ada = store->keys().Find(tokens[2]);
    EXPECT_EQ(store->provider_secrets()
                  .Find(*store->AccountId("org", org), ada->user_id(), "groq")
                  ->secret->Reveal(),
              "sk-ada");
  }
}

TEST_F(AccountsTest, WhoHadAUserFirstSpendsNothingOfWhereHeComesLater) {
  const auto store = Open();
  const Reach initech{Create(*store, Spec("boss", "initech", "default", "ann")).info.org_id};
  const auto early = store->CreateKey(Spec("early", "initech", "default", "bob"), initech);
  ASSERT_TRUE(early) << early.error().message;
  ASSERT_TRUE(store->PutProviderKey({OwnerKind::kUser, "bob"}, "groq", Secret("sk-i"), initech));
  ASSERT_TRUE(store->PutProviderKey({}, "groq", Secret("sk-server")));
  const Reach globex{Create(*store, Spec("late", "globex", "default", "bob")).info.org_id};
  const auto bob = store->keys().Find(early->token.Reveal());
  EXPECT_FALSE(BillTo(*bob, "globex"));
  const auto key_of = [&](const Reach& org) {
    return std::string(
        store->provider_secrets().Find(*org.org_id, bob->user_id(), "groq")->secret->Reveal());
  };
  EXPECT_EQ(key_of(initech), "sk-i");
  EXPECT_EQ(key_of(globex), "sk-server") << "its prompts do not go to initech's account";
  EXPECT_EQ(store->ListProviderKeys(initech)->size(), 1U);
  EXPECT_TRUE(store->ListProviderKeys(globex)->empty());
  ASSERT_TRUE(store->PutProviderKey({OwnerKind::kUser, "bob"}, "groq", Secret("sk-bob")));
  EXPECT_EQ(key_of(initech), "sk-bob");
  EXPECT_EQ(key_of(globex), "sk-bob") << "the operator's word is for all";
}

TEST_F(AccountsTest, AnIdMeansWhatItIsOfWhereverOneIsNamed) {
  const auto store = Open();
  KeySpec spec = Spec("first", "acme", "site", "ada");
  const KeyInfo first = Create(*store, spec).info;
  spec = Spec("second", first.org_id, first.project_id, first.user_id);
  const KeyInfo second = Create(*store, spec).info;
  EXPECT_EQ(second.org, "acme");
  EXPECT_EQ(second.org_id, first.org_id);
  EXPECT_EQ(second.project_id, first.project_id);
  EXPECT_EQ(second.user_id, first.user_id);
  EXPECT_EQ(store->PutOrg(first.org_id, {.max_output = 100})->name, "acme");
  EXPECT_EQ(store->PutMember(first.org_id, first.user_id, Role::kAdmin)->members.size(), 1U);
  const auto put = store->PutProviderKey({OwnerKind::kOrg, first.org_id}, "groq", Secret("sk-org"));
  EXPECT_EQ(put->owner_name, "acme");
  EXPECT_TRUE(store->RemoveProviderKey({OwnerKind::kOrg, "acme"}, "groq"));
  spec.name = "third";
  EXPECT_TRUE(store->CreateKey(spec, {first.org_id})) << "who manages it too";
  spec.name = "fourth";
  spec.org = "other";
  EXPECT_EQ(store->CreateKey(spec).error().param, "project") << "that one is acme's";
  EXPECT_TRUE(store->RemoveMember(first.org_id, first.user_id)->members.empty());
  EXPECT_EQ(store->ListOrgs()->size(), 2U) << "default and acme: nothing was made in passing";
}

TEST_F(AccountsTest, NobodyNewIsCalledLikeAnId) {
  const auto store = Open();
  const auto param_of = [](const auto& refused) {
    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    return refused.error().param;
  };
  for (const std::string name : {"org_a", "usr_a", "prj_a"}) {
    EXPECT_EQ(param_of(store->CreateKey(Spec("k", name))), "org");
    EXPECT_EQ(param_of(store->CreateKey(Spec("k", "acme", name))), "project");
    EXPECT_EQ(param_of(store->CreateKey(Spec("k", "acme", "site", name))), "user");
    EXPECT_EQ(param_of(store->PutOrg(name, {})), "org");
    EXPECT_EQ(param_of(store->PutMember("default", name, Role::kMember)), "user");
  }
  EXPECT_EQ(store->ListOrgs()->size(), 1U);
  EXPECT_EQ(store->ListOrgs()->front().members.size(), 1U);
  EXPECT_FALSE(store->keys().is_closed());
}

TEST_F(AccountsTest, AnOrganisationThatIsCalledLikeAnIdIsStillFound) {
  std::string acme;
  {
    const auto store = Open();
    acme = Create(*store, Spec("a", "acme")).info.org_id;
  }
  {  // older versions made such
    auto database = storage::Database::Open(home_.path() / "identity.db");
    ASSERT_TRUE(
        database->Run("INSERT INTO orgs (id, name, created_unix_s) VALUES "
                      "('org_1', 'org_old', 0), ('org_2', ?1, 0)",
                      std::string_view(acme)));
  }
  const auto store = Open();
  EXPECT_EQ(Create(*store, Spec("b", "org_old")).info.org_id, "org_1");
  EXPECT_EQ(Create(*store, Spec("c", acme)).info.org_id, acme);
  EXPECT_EQ(Create(*store, Spec("d", "org_2")).info.org_id, "org_2");
}

TEST_F(AccountsTest, AProjectIsNamedWithItsOrganisationToo) {
  const auto store = Open();
  const KeyInfo acme = Create(*store, Spec("a", "acme", "site")).info;
  const KeyInfo globex = Create(*store, Spec("g", "globex", "site")).info;
  EXPECT_EQ(store->AccountId("project", "acme/site"), acme.project_id);
  EXPECT_EQ(store->AccountId("project", globex.org_id + "/site"), globex.project_id);
  EXPECT_EQ(store->AccountId("project", acme.project_id), acme.project_id);
  EXPECT_EQ(store->LabelOf("project", acme.project_id)->name, "acme/site");
  EXPECT_EQ(store->LabelOf("project", acme.project_id)->org_id, acme.org_id);
  EXPECT_EQ(store->LabelOf("key", acme.id)->name, acme.name);
  EXPECT_EQ(store->LabelOf("key", acme.id)->org_id, acme.org_id);
  EXPECT_EQ(store->LabelOf("user", acme.user_id)->org_id, "");
  EXPECT_EQ(store->LabelOf("org", acme.org_id)->name, "acme");
  EXPECT_EQ(store->LabelOf("org", "org_gone")->name, "");
  const auto ambiguous = store->AccountId("project", "site");
  EXPECT_NE(ambiguous.error().message.find("ORG/site"), std::string::npos);
  for (const std::string none : {"acme/other", "nobody/site", "/site", "acme/", "acme/site/x"}) {
    EXPECT_EQ(store->AccountId("project", none).error().code, ErrorCode::kNotFound) << none;
  }
  EXPECT_EQ(store->AccountId("project", "acme/" + globex.project_id).error().code,
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace tradewind::identity
