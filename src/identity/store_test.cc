#include "identity/store.h"

#include <fstream>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "testing/temp_dir.h"

namespace tradewind::identity {
namespace {

namespace fs = std::filesystem;

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1000))); }

  Result<std::unique_ptr<Store>> TryOpen(StoreOptions options = {}) {
    options.home = options.home.empty() ? home_.path() : options.home;
    return Store::Open(std::move(options), clock_);
  }
  std::unique_ptr<Store> Open(StoreOptions options = {}) {
    auto store = TryOpen(std::move(options));
    EXPECT_TRUE(store.has_value()) << store.error().message;
    return std::move(*store);
  }
  static MintedKey Create(Store& store, KeySpec spec) {
    auto key = store.CreateKey(spec);
    EXPECT_TRUE(key.has_value()) << key.error().message;
    return std::move(*key);
  }
  static MintedKey Create(Store& store, const std::string& name) {
    KeySpec spec;
    spec.name = name;
    return Create(store, spec);
  }
  std::string AdminToken() {
    std::string text = ReadFile(home_.path() / "admin-token").value_or("");
    return text.substr(0, text.find('\n'));
  }
  // Every byte of every file of the home.
  std::string AllBytes() {
    std::string out;
    for (const auto& entry : fs::recursive_directory_iterator(home_.path())) {
      out += ReadFile(entry.path()).value_or("");
    }
    return out;
  }

  FakeClock clock_;
  testing::TempDir home_;
};

TEST_F(StoreTest, GivesItsFilesAwayAndTakesThemBack) {
  const auto store = Open();
  const MintedKey first = Create(*store, "first");
  store->Release();
  KeySpec spec;
  spec.name = "second";
  EXPECT_EQ(store->CreateKey(spec).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(store->ListKeys().error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(store->FlushLastUse().has_value());
  EXPECT_NE(store->keys().Find(first.token.Reveal()), nullptr);  // requests go on
  {
    const auto other = Open();
    spec.name = "made meanwhile";
    EXPECT_TRUE(other->CreateKey(spec).has_value());
    EXPECT_EQ(store->Reopen().error().code, ErrorCode::kUnavailable);
  }
  ASSERT_TRUE(store->Reopen().has_value());
  ASSERT_TRUE(store->Reopen().has_value());  // nothing was given away since
  spec.name = "second";
  EXPECT_TRUE(store->CreateKey(spec).has_value());
  EXPECT_EQ(store->ListKeys()->size(), 4u);  // with the admin token
}

TEST_F(StoreTest, MakesItsFilesAtTheFirstStartForTheirOwnerOnly) {
  const auto store = Open();
  EXPECT_FALSE(store->keys().is_closed());
  EXPECT_FALSE(store->has_live_key());
  for (const char* name : {"identity.db", "secret.key", "admin-token"}) {
    struct stat about{};
    ASSERT_EQ(::stat((home_.path() / name).c_str(), &about), 0) << name;
    EXPECT_EQ(about.st_mode & 0777, 0600u) << name;
  }
  const auto admin = store->keys().Find(AdminToken());
  ASSERT_NE(admin, nullptr);
  EXPECT_TRUE(admin->is_admin_token);
  EXPECT_TRUE(admin->scopes.Has(Scope::kManage));
  EXPECT_FALSE(admin->MayUseProvider("together"));
  EXPECT_TRUE(admin->MayUseProvider("local"));
}

TEST_F(StoreTest, AKeyIsFoundByItsTokenNowAndAfterARestart) {
  KeySpec spec;
  spec.name = "laptop";
  spec.org = "acme";
  spec.project = "site";
  spec.user = "ada";
  spec.models = {"org/a", "x/*"};
  spec.providers = {"local", "together"};
  spec.expires_unix_s = 5000;
  spec.limits = {60, 10'000, 4, 500};
  auto store = Open();
  const MintedKey key = Create(*store, spec);
  EXPECT_TRUE(LooksLikeToken(key.token.Reveal()));
  for (int i = 0; i < 2; ++i) {
    const auto principal = store->keys().Find(key.token.Reveal());
    ASSERT_NE(principal, nullptr);
    EXPECT_EQ(principal->key_id, key.info.id);
    EXPECT_EQ(principal->key_name, "laptop");
    EXPECT_EQ(principal->org, "acme");
    EXPECT_EQ(principal->project, "site");
    EXPECT_EQ(principal->user_name(), "ada");
    EXPECT_EQ(principal->role, Role::kMember);
    EXPECT_EQ(principal->scopes.Text(), "inference,read");
    EXPECT_EQ(principal->models, spec.models);
    EXPECT_EQ(principal->providers, spec.providers);
    EXPECT_EQ(principal->limits, spec.limits);
    EXPECT_FALSE(principal->is_admin_token);
    ASSERT_EQ(principal->user->memberships.size(), 1u);
    EXPECT_TRUE(store->keys().is_closed());
    store.reset();
    store = Open();
  }
  clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(5000)));
  EXPECT_EQ(store->keys().Check(key.token.Reveal()).state, TokenState::kExpired);
  EXPECT_FALSE(store->has_live_key());
}

TEST_F(StoreTest, NoFileHasATokenOrAProviderKeyInIt) {
  auto store = Open();
  const MintedKey key = Create(*store, "a");
  const MintedKey rotated = *store->RotateKey("a", 60);
  ASSERT_TRUE(store->PutProviderKey({}, "together", Secret("sk-provider-secret-0123")));
  ASSERT_TRUE(store->PutProviderKey({}, "together", Secret("sk-provider-secret-4567")));
  for (int i = 0; i < 2; ++i) {
    const std::string bytes = AllBytes();
    EXPECT_NE(bytes.find(key.info.id), std::string::npos) << "the files are read";
    EXPECT_EQ(bytes.find(key.token.Reveal()), std::string::npos);
    EXPECT_EQ(bytes.find(rotated.token.Reveal()), std::string::npos);
    EXPECT_EQ(bytes.find("sk-provider-secret"), std::string::npos);
    store.reset();  // moves the WAL into the file
  }
}

TEST_F(StoreTest, NamesAreUniqueForEver) {
  const auto store = Open();
  Create(*store, "a");
  KeySpec spec;
  spec.name = "a";
  const auto again = store->CreateKey(spec);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(again.error().param, "name");
  EXPECT_NE(again.error().message.find("keys rotate"), std::string::npos);
  ASSERT_TRUE(store->RevokeKey("a"));
  EXPECT_NE(store->CreateKey(spec).error().message.find("revoked"), std::string::npos);
}

TEST_F(StoreTest, RefusesWhatIsNoNameOrLimit) {
  const auto store = Open();
  for (const std::string& name :
       {std::string(), std::string(101, 'a'), std::string("a\nb"), std::string("\xff"),
        std::string(" a"), std::string("admin"), std::string("key_1"), std::string("hf_tw_1")}) {
    KeySpec spec;
    spec.name = name;
    EXPECT_EQ(store->CreateKey(spec).error().param, "name") << name;
  }
  const auto refused = [&](auto change) {
    KeySpec spec;
    spec.name = "a";
    change(spec);
    const auto created = store->CreateKey(spec);
    return created ? "created" : created.error().param;
  };
  EXPECT_EQ(refused([](KeySpec& s) { s.org = "a b"; }), "org");
  EXPECT_EQ(refused([](KeySpec& s) { s.user = "'; DROP TABLE keys"; }), "user");
  EXPECT_EQ(refused([](KeySpec& s) { s.models = {"a\nb"}; }), "models");
  EXPECT_EQ(refused([](KeySpec& s) { s.providers.resize(257, "x"); }), "providers");
  EXPECT_EQ(refused([](KeySpec& s) { s.limits.concurrency = 0; }), "concurrency");
  EXPECT_EQ(refused([](KeySpec& s) { s.limits.max_output = 0; }), "max_output");
  EXPECT_EQ(refused([](KeySpec& s) { s.expires_unix_s = 1000; }), "expires");
  EXPECT_EQ(refused([](KeySpec& s) { s.scopes = {}; }), "scopes");
  EXPECT_EQ(refused([](KeySpec& s) { s.user = "bob", s.scopes = {Scope::kManage}; }), "scopes");
  EXPECT_EQ(store->ListKeys()->size(), 1u) << "the admin token only";
  EXPECT_FALSE(store->keys().is_closed());
}

TEST_F(StoreTest, SqlInNamesAndTokensIsText) {
  const auto store = Open();
  const std::string name = "x'); DROP TABLE keys; --";
  const MintedKey key = Create(*store, name);
  EXPECT_EQ(store->keys().Find(key.token.Reveal())->key_name, name);
  EXPECT_EQ(store->keys().Find("hf_tw_' OR '1'='1' --aaaaaaaaaaaaaaaaaaaaaaaaaaaa"), nullptr);
  EXPECT_EQ(store->RotateKey("' OR '1'='1", 0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->RevokeKey("%").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store->RevokeKey(name));
}

TEST_F(StoreTest, RotationGivesANewSecretUnderTheSameId) {
  auto store = Open();
  const MintedKey first = Create(*store, "a");
  const MintedKey second = *store->RotateKey(first.info.id, 0);
  EXPECT_EQ(second.info.id, first.info.id);
  EXPECT_EQ(store->keys().Find(first.token.Reveal()), nullptr);
  EXPECT_NE(store->keys().Find(second.token.Reveal()), nullptr);
  const MintedKey third = *store->RotateKey("a", 60);
  EXPECT_EQ(third.info.old_secret_expires_unix_s, 1060);
  store.reset();
  store = Open();
  EXPECT_NE(store->keys().Find(second.token.Reveal()), nullptr) << "in its grace";
  EXPECT_NE(store->keys().Find(third.token.Reveal()), nullptr);
  clock_.Advance(std::chrono::seconds(60));
  EXPECT_EQ(store->keys().Check(second.token.Reveal()).state, TokenState::kExpired);
  EXPECT_NE(store->keys().Find(third.token.Reveal()), nullptr);
  EXPECT_EQ(store->RotateKey("a", -1).error().param, "grace");
}

TEST_F(StoreTest, RevokingEndsAKeyAndItsGrace) {
  const auto store = Open();
  const MintedKey first = Create(*store, "a");
  const MintedKey second = *store->RotateKey("a", 60);
  ASSERT_TRUE(store->RevokeKey("a"));
  EXPECT_EQ(store->keys().Find(first.token.Reveal()), nullptr);
  EXPECT_EQ(store->keys().Check(second.token.Reveal()).state, TokenState::kRevoked);
  EXPECT_TRUE(store->RevokeKey("a")) << "again is no error";
  EXPECT_EQ(store->RotateKey("a", 0).error().param, "key");
  EXPECT_TRUE(store->keys().is_closed());
  EXPECT_FALSE(store->has_live_key());
  EXPECT_FALSE(store->RevokeKey("admin"));
}

TEST_F(StoreTest, TheAdminTokenIsReplacedInItsFile) {
  auto store = Open();
  const std::string old = AdminToken();
  const MintedKey rotated = *store->RotateKey("admin", 0);
  EXPECT_EQ(AdminToken(), rotated.token.Reveal());
  EXPECT_NE(AdminToken(), old);
  EXPECT_EQ(store->keys().Find(old), nullptr);
  store.reset();
  store = Open();
  EXPECT_NE(store->keys().Find(AdminToken()), nullptr);
  EXPECT_FALSE(store->keys().is_closed()) << "no key was created";
}

TEST_F(StoreTest, AnAdminRotationCutShortIsFinishedAtTheNextStart) {
  auto store = Open();
  const std::string old = AdminToken();
  const MintedKey rotated = *store->RotateKey("admin", 0);
  store.reset();
  // As if the process had ended before the new file took the place of the old one.
  ASSERT_TRUE(WriteFileAtomic(home_.path() / "admin-token.next", AdminToken() + "\n", 0600));
  ASSERT_TRUE(WriteFileAtomic(home_.path() / "admin-token", old + "\n", 0600));
  store = Open();
  EXPECT_EQ(AdminToken(), rotated.token.Reveal());
  EXPECT_FALSE(fs::exists(home_.path() / "admin-token.next"));
}

TEST_F(StoreTest, AnAdminTokenThatTheDatabaseDoesNotKnowYetIsTaken) {
  std::string token;
  {
    const auto store = Open();
    token = AdminToken();
  }
  fs::remove(home_.path() / "identity.db");
  const auto store = Open();
  EXPECT_EQ(AdminToken(), token);
  EXPECT_NE(store->keys().Find(token), nullptr);
}

TEST_F(StoreTest, RemovingTheAdminTokenFileDoesNotOpenAnything) {
  std::string token;
  {
    const auto store = Open();
    token = AdminToken();
  }
  fs::remove(home_.path() / "admin-token");
  const auto store = Open();
  EXPECT_NE(store->keys().Find(token), nullptr) << "whoever keeps it elsewhere still has it";
  EXPECT_FALSE(fs::exists(home_.path() / "admin-token"));
  ASSERT_TRUE(store->RotateKey("admin", 0));
  EXPECT_NE(store->keys().Find(AdminToken()), nullptr);
}

TEST_F(StoreTest, ASecretFileThatEverybodyReadsIsRefused) {
  {
    const auto store = Open();
  }
  fs::permissions(home_.path() / "secret.key", fs::perms::others_read, fs::perm_options::add);
  const auto opened = TryOpen();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kPermissionDenied);
  EXPECT_NE(opened.error().message.find("chmod 600"), std::string::npos);
}

TEST_F(StoreTest, ADatabaseWithoutItsKeyFileIsRefusedAndNoNewOneIsMade) {
  {
    const auto store = Open();
    Create(*store, "a");
  }
  const std::string key = ReadFile(home_.path() / "secret.key").value();
  fs::remove(home_.path() / "secret.key");
  EXPECT_EQ(TryOpen().error().code, ErrorCode::kCorruptFile);
  EXPECT_FALSE(fs::exists(home_.path() / "secret.key"));
  ASSERT_TRUE(WriteFileAtomic(home_.path() / "secret.key", std::string(64, 'a') + "\n", 0600));
  EXPECT_EQ(TryOpen().error().code, ErrorCode::kCorruptFile);
  ASSERT_TRUE(WriteFileAtomic(home_.path() / "secret.key", "not hex\n", 0600));
  EXPECT_EQ(TryOpen().error().code, ErrorCode::kCorruptFile);
  ASSERT_TRUE(WriteFileAtomic(home_.path() / "secret.key", key, 0600));
  EXPECT_TRUE(TryOpen());
}

TEST_F(StoreTest, AKeyFileOfTheOperatorsIsUsedAndNeverMade) {
  const fs::path elsewhere = home_.path() / "elsewhere.key";
  EXPECT_EQ(TryOpen({.secret_key_file = elsewhere}).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomic(elsewhere, std::string(64, '7') + "\n", 0600));
  EXPECT_TRUE(TryOpen({.secret_key_file = elsewhere}));
  EXPECT_FALSE(fs::exists(home_.path() / "secret.key"));
}

TEST_F(StoreTest, KeepsProviderKeysOfServerOrganisationAndUser) {
  auto store = Open();
  KeySpec spec;
  spec.name = "a";
  spec.org = "acme";
  spec.user = "ada";
  const MintedKey key = Create(*store, spec);
  ASSERT_TRUE(store->PutProviderKey({}, "groq", Secret("sk-server")));
  ASSERT_TRUE(store->PutProviderKey({OwnerKind::kOrg, "acme"}, "groq", Secret("sk-org")));
  const auto put = store->PutProviderKey({OwnerKind::kUser, "ada"}, "groq", Secret("sk-user"));
  ASSERT_TRUE(put) << put.error().message;
  for (int i = 0; i < 2; ++i) {
    const auto who = store->keys().Find(key.token.Reveal());
    const auto& secrets = store->provider_secrets();
    EXPECT_EQ(secrets.Find(who->org_id, who->user_id(), "groq")->secret->Reveal(), "sk-user");
    EXPECT_EQ(secrets.Find(who->org_id, "", "groq")->secret->Reveal(), "sk-org");
    EXPECT_EQ(secrets.Find("", "", "groq")->secret->Reveal(), "sk-server");
    store.reset();
    store = Open();
  }
  const auto listed = store->ListProviderKeys();
  ASSERT_EQ(listed->size(), 3u);
  EXPECT_EQ((*listed)[0].owner_name, "acme");
  EXPECT_EQ((*listed)[2].fingerprint, put->fingerprint);
  ASSERT_TRUE(store->RemoveProviderKey({OwnerKind::kUser, "ada"}, "groq"));
  EXPECT_EQ(store->RemoveProviderKey({OwnerKind::kUser, "ada"}, "groq").error().code,
            ErrorCode::kNotFound);
  EXPECT_EQ(store->PutProviderKey({OwnerKind::kOrg, "nobody"}, "groq", Secret("x")).error().param,
            "owner");
  for (const char* bad : {"", "with space", "line\nbreak"}) {
    EXPECT_EQ(store->PutProviderKey({}, "groq", Secret(bad)).error().param, "key") << bad;
  }
  EXPECT_EQ(store->PutProviderKey({}, "groq", Secret(key.token.Reveal())).error().param, "key");
  EXPECT_EQ(store->PutProviderKey({}, "local", Secret("x")).error().param, "provider");
}

TEST_F(StoreTest, AManagerOfOneOrganisationReachesNoOther) {
  const auto store = Open();
  KeySpec spec;
  spec.name = "mine";
  spec.org = "acme";
  spec.user = "ada";
  const Reach acme{Create(*store, spec).info.org_id};
  spec.name = "theirs";
  spec.org = "other";
  spec.user = "bob";
  Create(*store, spec);
  EXPECT_EQ(store->ListKeys(acme)->size(), 1u);
  EXPECT_EQ(store->RevokeKey("theirs", acme).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->RotateKey("admin", 0, acme).error().code, ErrorCode::kNotFound);
  spec.name = "new";
  EXPECT_EQ(store->CreateKey(spec, acme).error().param, "org");
  spec.org = "acme";
  EXPECT_EQ(store->CreateKey(spec, acme).error().param, "user") << "bob is of another org too";
  spec.user = "ada";
  EXPECT_TRUE(store->CreateKey(spec, acme));
  spec.name = "theirs";
  const auto taken = store->CreateKey(spec, acme);
  EXPECT_EQ(taken.error().message.find("key_"), std::string::npos) << "no id of another org";
  ASSERT_TRUE(store->PutProviderKey({OwnerKind::kOrg, "other"}, "groq", Secret("x")));
  EXPECT_TRUE(store->ListProviderKeys(acme)->empty());
  EXPECT_FALSE(store->PutProviderKey({}, "groq", Secret("x"), acme));
  EXPECT_FALSE(store->PutProviderKey({OwnerKind::kOrg, "other"}, "groq", Secret("x"), acme));
  EXPECT_FALSE(store->PutProviderKey({OwnerKind::kUser, "bob"}, "groq", Secret("x"), acme));
  EXPECT_FALSE(store->RemoveProviderKey({OwnerKind::kOrg, "other"}, "groq", acme));
  EXPECT_TRUE(store->PutProviderKey({OwnerKind::kOrg, "acme"}, "groq", Secret("x"), acme));
  EXPECT_TRUE(store->PutProviderKey({OwnerKind::kUser, "ada"}, "groq", Secret("x"), acme));
}

TEST_F(StoreTest, WritesTheLastUseInBatchesAndAtTheEnd) {
  auto store = Open();
  const MintedKey key = Create(*store, "a");
  const auto last_use = [&] { return store->ListKeys()->back().last_used_unix_s; };
  EXPECT_EQ(last_use(), std::nullopt);
  EXPECT_NE(store->keys().Find(key.token.Reveal()), nullptr);
  EXPECT_EQ(last_use(), 1000);
  EXPECT_TRUE(store->FlushLastUse());
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_NE(store->keys().Find(key.token.Reveal()), nullptr);
  store.reset();
  store = Open();
  EXPECT_EQ(last_use(), 1005);
}

TEST_F(StoreTest, AFullDiskChangesNothing) {
  auto store = Open({.pages_max = 30});
  std::vector<MintedKey> keys;
  std::optional<Error> full;
  for (int i = 0; i < 1000 && !full; ++i) {
    KeySpec spec;
    spec.name = std::to_string(i);
    spec.models.resize(20, std::string(400, 'm'));
    auto key = store->CreateKey(spec);
    key ? keys.push_back(std::move(*key)) : (void)(full = key.error());
  }
  ASSERT_TRUE(full.has_value());
  EXPECT_EQ(full->code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(keys.empty());
  EXPECT_EQ(store->ListKeys()->size(), keys.size() + 1);
  store.reset();
  store = Open();
  for (const MintedKey& key : keys) {
    EXPECT_NE(store->keys().Find(key.token.Reveal()), nullptr);
  }
  EXPECT_EQ(store->ListKeys()->size(), keys.size() + 1);
}

TEST_F(StoreTest, AProcessKilledAfterCreatingHasItsKeyAndStaysClosed) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = TryOpen();
    KeySpec spec;
    spec.name = "a";
    const auto key = store ? (*store)->CreateKey(spec) : Fail(store.error());
    const bool told = key && ::write(pipe_ends[1], key->token.Reveal().data(), kTokenBytes) ==
                                 static_cast<ssize_t>(kTokenBytes);
    ::_exit(told ? 0 : 1);  // as a kill: nothing is closed
  }
  std::string token(kTokenBytes, '\0');
  ASSERT_EQ(::read(pipe_ends[0], token.data(), token.size()), static_cast<ssize_t>(kTokenBytes));
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  const auto store = Open();
  EXPECT_NE(store->keys().Find(token), nullptr);
  EXPECT_TRUE(store->keys().is_closed());
}

TEST_F(StoreTest, RotatingUnderLoadNeverRefusesASecretThatIsInForce) {
  const auto store = Open();
  MintedKey current = Create(*store, "a");
  const MintedKey steady = Create(*store, "b");
  std::atomic<bool> stop{false};
  std::atomic<int64_t> missed{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        missed += store->keys().Find(steady.token.Reveal()) == nullptr ? 1 : 0;
      }
    });
  }
  for (int i = 0; i < 10; ++i) {
    MintedKey next = *store->RotateKey("a", i % 2 == 0 ? 60 : 0);
    EXPECT_NE(store->keys().Find(next.token.Reveal()), nullptr);
    EXPECT_EQ(store->keys().Find(current.token.Reveal()) != nullptr, i % 2 == 0);
    current = std::move(next);
  }
  stop = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(missed.load(), 0);
}

TEST_F(StoreTest, AFileOfANewerVersionIsRefused) {
  {
    const auto store = Open();
  }
  {
    auto database = storage::Database::Open(home_.path() / "identity.db");
    ASSERT_TRUE(database->Execute("INSERT INTO migrations VALUES (9, 'later', 0)"));
  }
  EXPECT_EQ(TryOpen().error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tradewind::identity
