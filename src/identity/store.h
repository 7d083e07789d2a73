// Organisations, users, keys and provider keys on the disk, and their images in memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "identity/key_ring.h"
#include "identity/private_file.h"
#include "identity/provider_secrets.h"
#include "storage/database.h"

namespace tradewind::identity {

inline constexpr std::string_view kDefaultOrg = "default";
inline constexpr std::string_view kDefaultProject = "default";
inline constexpr std::string_view kDefaultUser = "owner";
inline constexpr std::string_view kAdminKeyName = "admin";
inline constexpr std::string_view kDatabaseFile = "identity.db";    // in the data folder
inline constexpr std::string_view kAdminTokenFile = "admin-token";  // in the data folder

struct StoreOptions {
  std::filesystem::path home = {};             // a private folder that is there
  std::filesystem::path secret_key_file = {};  // "" = HOME/secret.key, made at the first start
  int64_t pages_max = 0;                       // as in storage::DatabaseOptions
};

struct KeySpec {
  std::string name;
  // By name or id; what is missing is made, and called so.
  std::string org{kDefaultOrg}, project{kDefaultProject}, user{kDefaultUser};
  std::optional<Role> role;  // of the user in the org; absent: as it is, or member
  Scopes scopes{Scope::kInference, Scope::kRead};
  std::vector<std::string> models, providers;  // empty = all
  std::optional<int64_t> expires_unix_s;
  KeyLimits limits;
  bool local_when_exhausted = false;  // as in Principal
};

struct KeyInfo {
  std::string id, name, org_id, org, project_id, project, user_id, user;
  Role role = Role::kMember;
  Scopes scopes;  // as asked for; Principal has what the role leaves of them
  std::vector<std::string> models, providers;
  KeyLimits limits, org_limits;
  bool org_is_strict = false;
  int64_t created_unix_s = 0;
  std::optional<int64_t> expires_unix_s, rotated_unix_s, revoked_unix_s, last_used_unix_s;
  std::optional<int64_t> old_secret_expires_unix_s;  // a grace after a rotation
  bool local_when_exhausted = false;
  bool is_admin_token = false;
};

struct MintedKey {
  KeyInfo info;
  Secret token;  // never to be had again
};

struct MemberInfo {
  std::string user_id, user;
  Role role = Role::kMember;
  bool is_added = false;  // Membership::is_added
};

struct OrgInfo {
  std::string id, name;
  KeyLimits limits;
  bool is_strict = false;  // Membership::is_strict
  int64_t created_unix_s = 0;
  std::vector<MemberInfo> members;  // by name
};

// New limits of an organisation: absent = as it was, an absent number inside = none any more.
struct OrgChange {
  std::optional<bool> is_strict = {};
  std::optional<std::optional<int64_t>> requests_per_minute = {}, tokens_per_minute = {},
                                        concurrency = {}, max_output = {};
};

struct ProviderKeyInfo {
  OwnerKind owner = OwnerKind::kServer;
  std::string owner_id, owner_name, provider, fingerprint;
  int64_t created_unix_s = 0;
};

struct ProviderKeyOwner {
  OwnerKind kind = OwnerKind::kServer;
  std::string name;  // or id of the org or user; "" for the server
};

// What a caller may see and change: everything, or one organisation.
struct Reach {
  std::optional<std::string> org_id;  // absent = everything
};

// The only user of HOME/identity.db. Thread-safe; all calls but the two accessors wait for the
// disk: not on an event loop. What a call changed is on the disk and in force when it returns; on
// an error nothing has changed. Errors of all: those of storage::Database; kNotFound (no such key,
// also for one beyond `reach`), kInvalidArgument naming the field, kPermissionDenied (beyond
// `reach`).
class Store {
 public:
  // Opens or makes identity.db, the key file and the admin token. Errors besides: kCorruptFile when
  // the key file does not belong to the database, kUnsupported for a newer version's file.
  static Result<std::unique_ptr<Store>> Open(StoreOptions options,
                                             const Clock& clock = SystemClock());
  ~Store();  // writes the last uses

  const KeyRing& keys() const { return *ring_; }
  const ProviderSecrets& provider_secrets() const { return provider_secrets_; }
  ProviderSecrets& provider_secrets() { return provider_secrets_; }

  // The first one ends calls without a token for good.
  Result<MintedKey> CreateKey(const KeySpec& spec, const Reach& reach = {});
  Result<std::vector<KeyInfo>> ListKeys(const Reach& reach = {});
  // `key` is a name or an id. A new secret under the same id; the old one works for `grace_s` more.
  Result<MintedKey> RotateKey(std::string_view key, int64_t grace_s, const Reach& reach = {});
  Result<KeyInfo> RevokeKey(std::string_view key, const Reach& reach = {});
  bool has_live_key();  // one that is neither revoked nor expired, the admin token aside

  // The id of what has it or is called so; `kind` is org, project (also ORG/PROJECT) or user.
  // Errors: kNotFound; kInvalidArgument when several projects are called so.
  Result<std::string> AccountId(std::string_view kind, std::string_view text);

  // How what has this id is called, of a project with its organisation: ORG/PROJECT, and whose it
  // is; `kind` is besides key. Nothing has it: both are "".
  struct Label {
    std::string name, org_id;  // a user is no organisation's
  };
  Result<Label> LabelOf(std::string_view kind, std::string_view id);

  Result<std::vector<OrgInfo>> ListOrgs(const Reach& reach = {});  // by name
  // Makes it when it is not there. For the operator alone: his are the limits.
  Result<OrgInfo> PutOrg(std::string_view org, const OrgChange& change, const Reach& reach = {});
  // Makes the user when he is not there; who manages one organisation adds nobody of another one.
  // His other keys may bill it from then on: Principal::MayBill.
  Result<OrgInfo> PutMember(std::string_view org, std::string_view user, Role role,
                            const Reach& reach = {});
  // What his keys of this organisation could do is over at once.
  Result<OrgInfo> RemoveMember(std::string_view org, std::string_view user,
                               const Reach& reach = {});

  // Replaces one that is there. A user's that was put by who manages one organisation is for what
  // that one pays alone.
  Result<ProviderKeyInfo> PutProviderKey(const ProviderKeyOwner& owner, std::string_view provider,
                                         const Secret& secret, const Reach& reach = {});
  Result<std::vector<ProviderKeyInfo>> ListProviderKeys(const Reach& reach = {});
  Status RemoveProviderKey(const ProviderKeyOwner& owner, std::string_view provider,
                           const Reach& reach = {});

  // Writes when keys were used last, in one transaction; nothing to do costs nothing.
  Status FlushLastUse();

  // A copy of the database, the key file and the admin token, in a folder that is there. Errors
  // besides: kIo.
  Status BackUp(const std::filesystem::path& folder);

  // Gives the files to another process, last uses written. Requests are still told apart by what is
  // known; changes and lists fail with kUnavailable.
  void Release();
  // Takes them back, when they were given away; what was known holds when that fails. Errors: as
  // Open, but the key file and the admin token are not looked at.
  Status Reopen();

 private:
  Store(StoreOptions options, const Clock& clock, storage::Database database)
      : options_(std::move(options)), clock_(clock), database_(std::move(database)) {}

  // store.cc
  Status LoadMasterKey();
  Status EnsureAdminToken();
  Status Publish();
  std::filesystem::path AdminTokenFile() const { return options_.home / kAdminTokenFile; }
  // store_keys.cc
  Result<KeyInfo> FindKey(std::string_view key, const Reach& reach);
  Result<MintedKey> RotateAdmin(const KeyInfo& key);
  Status CheckNewKey(const KeySpec& spec, const Reach& reach);
  // store_accounts.cc: ids; what is missing is made
  struct AccountIds {
    std::string org, project, user;
  };
  Result<AccountIds> EnsureAccount(const KeySpec& spec);
  // By name or id; "" when there is none.
  Result<std::string> FindOrg(std::string_view org);
  Result<std::string> FindUser(std::string_view user);
  Result<std::string> FindProject(std::string_view org_id, std::string_view project);
  Result<std::string> EnsureOrg(std::string_view org);
  Result<std::string> EnsureUser(std::string_view user);
  Result<std::string> EnsureProject(std::string_view org_id, std::string_view project);
  Status CheckReach(const KeySpec& spec, const Reach& reach);
  // store_orgs.cc
  Result<std::vector<OrgInfo>> ReadOrgs(const Reach& reach);
  Result<OrgInfo> ReadOrg(std::string_view id);
  Result<std::string> OrgWithin(std::string_view org, const Reach& reach);
  Status CheckUserWithin(std::string_view user_id, const Reach& reach);
  using Users = std::map<std::string, std::shared_ptr<const User>, std::less<>>;  // by id
  Result<Users> LoadUsers();
  // store_provider_keys.cc
  Result<std::string> OwnerId(const ProviderKeyOwner& owner, const Reach& reach);
  Result<std::string> OwnerName(OwnerKind kind, std::string_view id);
  Status PublishProviderKeys();

  const StoreOptions options_;
  const Clock& clock_;
  std::mutex mutex_;  // for everything below but the images
  storage::Database database_;
  std::optional<TokenHasher> hasher_;
  std::optional<Sealer> sealer_;
  std::unique_ptr<KeyRing> ring_;
  ProviderSecrets provider_secrets_;
  struct LastUse {
    std::shared_ptr<std::atomic<int64_t>> at;
    int64_t written = 0;
  };
  std::map<std::string, LastUse, std::less<>> last_uses_;  // by key id
};

// Rules for names. Errors: kInvalidArgument with `field` as param.
Status CheckKeyName(std::string_view name);
Status CheckLimits(const KeyLimits& bounds);
Status CheckAccountName(std::string_view name, std::string_view field);
Status CheckNewAccountName(std::string_view name, std::string_view field);  // never like an id

}  // namespace tradewind::identity
